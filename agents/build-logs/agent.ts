// SPDX-License-Identifier: GPL-2.0-or-later
// Puts the parts of the build-logs agent together; every effect and path comes in from outside, so that a
// test can run it anywhere.
import { join } from 'node:path';
import { makeFolder } from '../shared/durable-files.js';
import { callService } from '../shared/calls/qrexec-call.js';
import { printable } from '../shared/refusal.js';
import { Refusal } from './refusals.js';
import { serveSockets, type Reporter } from '../shared/calls/socket-service.js';
import { receiptLimitBytes } from '../shared/formats/receipt.js';
import { Alarms } from './alarms.js';
import { buildLogHandler } from './build-log-service.js';
import { followingTime } from './stamp-time.js';
import type { BuildLogsConfig } from './config.js';
import { GitRepository } from './git-repository.js';
import { findHistory } from './history.js';
import { intentHandler } from './intent-service.js';
import { LogStore } from './log-store.js';
import { Publisher } from './publisher.js';
import { Receipts } from './receipts.js';
import { Remote } from './remote.js';
import { gpgSigner } from './signer.js';

export interface AgentOptions {
  config: BuildLogsConfig;
  stateFolder: string;
  socketFolder: string;
  gnupgHome: string;
  sshConfig: string;
  /** in place of /usr/bin/qrexec-client-vm */
  qrexecClient?: string;
  /** publications between two packings of the repository; by default some hundred */
  packEvery?: number;
  report: Reporter;
}

/** A journal of 1000 entries comes back in one answer. */
const replyLimitBytes = receiptLimitBytes;
const receiptTimeoutMs = 60_000;
const startRetryMs = 5000;

export async function startAgent(options: AgentOptions): Promise<{ close: () => Promise<void> }> {
  const { config, report, stateFolder } = options;
  makeFolder(stateFolder);
  const clock = followingTime();
  const repository = await GitRepository.open(join(stateFolder, 'repository.git'));
  const signer = gpgSigner(options.gnupgHome, config.logsKey);
  makeFolder(join(stateFolder, 'remotes'));
  const alarms = new Alarms({
    file: join(stateFolder, 'alarms.jsonl'),
    report,
    publish: (text) => logs.write(config.vm, 'alarms', text),
  });
  const remotes = config.remotes.map(
    (remote) =>
      new Remote(remote, {
        repository,
        signer,
        alarms,
        report,
        memory: join(stateFolder, 'remotes', remote.name),
        // Short enough that one retry fits into the time of an intent.
        timeoutMs: Math.min(60_000, Math.max(1000, config.intentSeconds * 500)),
        sshCommand: `ssh -F ${options.sshConfig} -o BatchMode=yes`,
        changed: () => publisher.remoteChanged(),
      }),
  );
  const logs: LogStore = new LogStore({
    folder: join(stateFolder, 'logs'),
    clock,
    report,
    limitBytes: config.logBytes,
    openLogs: config.openLogs,
    reopenMs: config.reopenSeconds * 1000,
    changed: (log) => publisher.changed(log),
    isPublished: (path) => publisher.isPublished(path),
  });
  const receipts = new Map(
    config.sources.map((source) => [
      source.vm,
      new Receipts({
        source,
        stateFolder,
        report,
        commitsAfter: (from, to) => publisher.commitsAfter(from, to),
        call: (receipt) =>
          callService({
            service: `qubesbuilder.LogReceived+${source.vm}`,
            input: receipt,
            limitBytes: replyLimitBytes,
            timeoutMs: receiptTimeoutMs,
            ...(options.qrexecClient === undefined ? {} : { client: options.qrexecClient }),
          }),
        journalGrew: () => publisher.journalGrew(),
      }),
    ]),
  );
  const publisher: Publisher = new Publisher({
    config,
    repository,
    signer,
    logs,
    remotes,
    receipts,
    report,
    clock,
    ...(options.packEvery === undefined ? {} : { packEvery: options.packEvery }),
  });

  logs.recover();
  let stopped = false;
  const findAndStart = async (): Promise<void> => {
    if (stopped) return;
    try {
      await publisher.start(await findHistory(repository, remotes, signer, report));
    } catch (error) {
      report(
        `ALARM cannot publish: ${printable(String((error as Error).message))}; again in ${startRetryMs / 1000} s`,
      );
      setTimeout(() => void findAndStart(), startRetryMs).unref();
    }
  };
  // Logs are taken even while the remotes cannot be asked; nothing is published before it is known on which
  // history.
  await Promise.race([findAndStart(), new Promise((resolve) => setTimeout(resolve, startRetryMs).unref())]);

  const sources = new Map(config.sources.map((source) => [source.vm, source]));
  const buildLog = buildLogHandler({
    store: logs,
    sources: new Set(sources.keys()),
    publication: (log) => publisher.publication(log),
  });
  const intent = intentHandler({
    sources,
    receipts,
    publisher,
    report,
    logExists: async (path) => {
      if (logs.get(path) !== undefined) return true;
      if (!publisher.started)
        throw new Refusal('NOT_PUBLISHED', 'the remotes could not be asked yet which history to continue');
      return (await publisher.isPublished(path)) || (await publisher.isPublished(`${path}.xz`));
    },
  });
  const server = await serveSockets(
    [
      {
        name: 'qubesbuilder.BuildLog',
        argument: '^(?:|[A-Za-z0-9][A-Za-z0-9._-]{0,63})$',
        handle: (call) => (call.argument === 'intent' ? intent(call) : buildLog(call)),
      },
    ],
    { report, folder: options.socketFolder, callers: config.sources.length },
  );
  return {
    close: async () => {
      stopped = true;
      publisher.stop();
      await logs.stop();
      repository.stop();
      await Promise.race([server.close(), new Promise((resolve) => setTimeout(resolve, 500).unref())]);
    },
  };
}
