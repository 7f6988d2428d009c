// SPDX-License-Identifier: GPL-2.0-or-later
// One publication: the logs that are due, the intents, the new journal entries, in one signed commit. An
// intent goes into the same commit as every line that its build VM had said by then, or into a later one,
// never into an earlier one.
import { intentPath, payloadPath, type PublishedFile } from '../shared/formats/publication.js';
import type { CommitChain } from './commit-chain.js';
import type { Batch } from './confirmation.js';
import type { GitRepository } from './git-repository.js';
import type { WaitingIntent } from './intents-to-publish.js';
import type { KeysJournals } from './keys-journals.js';
import { writePlainBlob } from './log-blob.js';
import type { Log } from './log.js';
import type { LogInPublication, LogsToPublish } from './logs-to-publish.js';
import type { Signer } from './signer.js';

export interface RoundOptions {
  repository: GitRepository;
  chain: CommitChain;
  logs: LogsToPublish;
  journals: KeysJournals;
  signer: Signer;
  /** fingerprint */
  logsKey: string;
  /** so many bytes of new blobs were written */
  wrote: (bytes: number) => void;
}

/** The files of the commit that is being made. */
class CommitFiles {
  readonly listed: PublishedFile[] = [];
  readonly blobs = new Map<string, string | null>();
  readonly #wrote: (bytes: number) => void;

  constructor(wrote: (bytes: number) => void) {
    this.#wrote = wrote;
  }

  put(path: string, object: { id: string; size: number; sha256: string }): void {
    this.blobs.set(path, object.id);
    this.listed.push({ path, size: object.size, sha256: object.sha256 });
    this.#wrote(object.size);
  }
}

/**
 * Commits `intents`, the logs of `chosen` and the journal entries that wait. Where nothing changed there is
 * no new commit and the last one stands for it.
 * @returns what rides on that commit, undefined in a repository without any
 */
export async function publishRound(
  intents: WaitingIntent[],
  chosen: ReadonlyMap<Log, boolean>,
  options: RoundOptions,
): Promise<Batch | undefined> {
  const { repository, chain, journals, signer } = options;
  const files = new CommitFiles(options.wrote);
  const logs = await putLogs(chosen, files, options);
  const write = (path: string, body: Buffer): void => files.put(path, repository.objects.write('blob', body));
  for (const { source, day, sha256, bytes, payloads } of intents) {
    const path = intentPath(source, day, sha256);
    if (files.blobs.has(path)) continue;
    write(path, bytes);
    for (const payload of payloads) write(payloadPath(source, day, sha256, payload.sha256), payload.bytes);
  }
  const entries = journals.take();
  for (const { path, body } of entries.files) write(path, body);
  // An outsider who knows the fingerprint finds the key where the history begins.
  if (chain.head === null && files.listed.length > 0)
    write(`keys/${options.logsKey}.asc`, Buffer.from(await signer.publicKey()));

  const notBefore = Math.max(0, ...logs.filter(({ ended }) => ended).map(({ log }) => log.lastStamp));
  const head =
    files.listed.length > 0
      ? await chain.append({ files: files.listed, blobs: files.blobs, intents: intents.length, notBefore })
      : chain.head;
  if (head === null) return undefined;
  entries.committed();
  options.logs.committed(logs);
  return { commit: head.commit, seq: head.seq, intents, logs };
}

async function putLogs(
  chosen: ReadonlyMap<Log, boolean>,
  files: CommitFiles,
  { repository, chain, logs }: RoundOptions,
): Promise<LogInPublication[]> {
  for (const log of chosen.keys()) log.noteClock();
  await Promise.all([...chosen.keys()].map((log) => log.flush().catch(() => undefined)));
  const put: LogInPublication[] = [];
  for (const [log, ended] of chosen) {
    if (!logs.begin(log)) continue;
    const blob = logs.packedBlob(log) ?? (await writePlainBlob(log, repository));
    const before = await chain.find(blob.path);
    if (!(await logs.mayFollow(log, blob, before?.id))) continue;
    put.push({ log, blob, ended });
    if (before?.id === blob.id) continue;
    files.put(blob.path, blob);
    // It has outgrown its plain form.
    if (blob.path !== log.record.path && (await chain.find(log.record.path)) !== undefined)
      files.blobs.set(log.record.path, null);
  }
  return put;
}
