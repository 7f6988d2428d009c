// SPDX-License-Identifier: GPL-2.0-or-later
// The audit, in order: fetch, agree, walk the commits once, oldest first, then hold the package repositories
// against what was found.
import { mkdtempSync, rmSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PublicKey } from 'openpgp';
import { wordsIn } from '../shared/formats/suites.js';
import { printable } from '../shared/refusal.js';
import { judgeUse } from './announced-purpose.js';
import { AptAudit } from './apt-repository.js';
import { Budget } from '../published/budget.js';
import { BudgetedFiles } from '../published/files/budgeted-files.js';
import { DnfAudit, placeOf } from './dnf-repository.js';
import { signaturesOfGenerations } from './earlier-generations.js';
import { Findings } from './findings.js';
import { chooseHistory, PublishedHistory } from './history.js';
import { PublishedIntents } from './intents.js';
import { PublishedJournals, type Signature } from './journal.js';
import { JournalHeads } from './journal-heads.js';
import type { AuditOptions } from './options.js';
import { findKey, type KeyPlace } from './public-keys.js';
import type { PathKind } from '../published/history/path-kind.js';
import { PublishedContent } from './published-content.js';
import { PublishedGit } from '../published/history/published-git.js';
import { PublishedPayloads } from './published-payloads.js';
import { ReadingThread } from '../published/history/thread.js';
import { SignedMetadata, type Ending, type Served, type Unseen } from './signed-metadata.js';

export interface AuditResult {
  head: string;
  commits: number;
  findings: Findings;
  /** what was signed and is served nowhere that was looked at, in the order of the journals */
  unseen: Unseen[];
  journals: ReturnType<JournalHeads['summary']>;
  /** of each InRelease and Release.gpg that is served, where there is something to say */
  endings: Ending[];
}

const keyLimitBytes = 1024 * 1024;

/** @throws Unreadable: nothing can be said */
export async function audit(options: AuditOptions, now = Date.now()): Promise<AuditResult> {
  const scratch = mkdtempSync(join(tmpdir(), 'audit-'));
  const budget = new Budget(options.limits);
  const git = new PublishedGit(scratch, budget);
  const retries = { maxRetries: 20, retryDelay: 50 };
  // Ended by a signal; what was fetched may be gigabytes.
  const atExit = (): void => rmSync(scratch, { recursive: true, force: true, ...retries });
  process.once('exit', atExit);
  // It loads while git fetches.
  const thread = new ReadingThread();
  try {
    return await budget.within(async () => {
      const result = await auditWith(git, thread, options, now);
      await git.close();
      return result;
    });
  } finally {
    await thread.end();
    // A git that was just ended may still be writing.
    await rm(scratch, { recursive: true, force: true, ...retries });
    process.removeListener('exit', atExit);
  }
}

async function auditWith(
  git: PublishedGit,
  thread: ReadingThread,
  options: AuditOptions,
  now: number,
): Promise<AuditResult> {
  const findings = new Findings();
  const repositories = options.repositories.map((one) => ({
    ...one,
    files: new BudgetedFiles(one.source, git.budget),
  }));
  const { budget } = git;
  const ids = await chooseHistory(git, options.logs, options.contains, findings);
  const head = ids.at(-1) as string;

  const keyPlaces: KeyPlace[] = [(path) => git.file(head, path, keyLimitBytes)];
  for (const { files } of repositories) keyPlaces.push((path) => files.read(path, keyLimitBytes));
  const logsKey = await findKey(options.logsKey, '--logs-key', keyPlaces);
  const signingKeys = new Map<string, PublicKey>();
  for (const { signingKey } of repositories)
    if (!signingKeys.has(signingKey))
      signingKeys.set(signingKey, await findKey(signingKey, '--signing-key', keyPlaces));

  const content = new PublishedContent(git, findings);
  const intents = new PublishedIntents(content, findings);
  const payloads = new PublishedPayloads(intents, findings);
  const places = new Map(ids.map((id, i) => [id, i]));
  const heads = new JournalHeads(places, options.journalKeys, findings);
  const journals = new PublishedJournals(places, intents, heads, findings);
  let place = 0;
  const rest = (): string =>
    `what comes after commit ${place} of ${ids.length}${repositories.length === 0 ? '' : ', and no package repository,'} was not checked`;
  budget.doing = rest();
  for await (const window of new PublishedHistory(git, ids, logsKey, findings).windows(thread)) {
    budget.doing = rest();
    for (const one of window) {
      const { commit } = one;
      const news = await content.apply(one);
      const ofKind = (wanted: PathKind): typeof news => news.filter(({ kind }) => kind === wanted);
      for (const file of ofKind('intent')) intents.add(commit.id, place, file);
      payloads.add(commit.id, place, ofKind('intent'), ofKind('payload'), content.files);
      for (const file of ofKind('journal')) journals.add(commit.id, file);
      for (const file of ofKind('journal-heads')) heads.add(commit.id, place, file);
      heads.endCommit(commit.id);
      place += 1;
    }
  }

  const { signatures } = journals;
  const named = [...payloads.known.values()].flatMap((one) => one?.metadata?.names ?? []);
  const linesOf = (dist: string): string[] =>
    wordsIn(named.flatMap((name) => (name.startsWith(`${dist}-`) ? [name.slice(dist.length + 1)] : [])));
  const served: Served[] = [];
  const seen = new Set<Signature>();
  const looked = new Set<string>();
  for (const { kind, source, signingKey: given, files } of repositories) {
    budget.doing = `${printable(source)} was not checked to its end, nor any repository after it`;
    const signingKey = signingKeys.get(given) as PublicKey;
    const fingerprint = signingKey.getFingerprint().toUpperCase();
    const place = repositories.length > 1 ? `${source.replace(/\/+$/, '')}/` : '';
    // The last names are the distribution's, and perhaps the suite's.
    const where = placeOf(source, linesOf);
    const { dist, suites } = where;
    looked.add(`${kind} ${fingerprint}`);
    const met = (path: string, signature: Signature): void => {
      seen.add(signature);
      const bad = judgeUse(path, kind === 'dnf' ? dist : undefined, signature, intents);
      // DnfAudit has said it already.
      if (bad !== undefined && (kind === 'apt' || bad.code !== 'WRONG_PURPOSE'))
        findings.wrong(`${kind}-signatures`, { ...bad, path: printable(`${place}${path}`) });
      const folder =
        kind === 'apt'
          ? /^dists\/(.+)\/(?:InRelease|Release\.gpg)$/.exec(path)?.[1]
          : /^(.*?)\/?repodata\/repomd\.xml\.asc$/.exec(path)?.[1];
      const suite = kind === 'apt' ? folder : suites.find((one) => one.folder === folder)?.codename;
      if (suite !== undefined) served.push({ kind, place, suite, path, signature });
    };
    for (const signature of await signaturesOfGenerations(source, signatures, budget)) seen.add(signature);
    const expected = { place, signingKey, signatures, commits: places, met };
    if (kind === 'dnf') {
      await new DnfAudit(where, files, intents, expected, findings).run();
      continue;
    }
    await new AptAudit(
      files,
      {
        ...expected,
        suites: new Set(options.suites),
        announced: intents.names.suites(fingerprint, linesOf),
        signedNames: intents.names.lists(fingerprint),
      },
      findings,
    ).run();
  }
  const metadata = new SignedMetadata(signatures.values(), payloads.known, intents, findings, now);
  metadata.judge(served);
  return {
    head,
    commits: ids.length,
    findings,
    journals: heads.summary(),
    endings: metadata.endings(served),
    unseen: repositories.length === 0 ? [] : metadata.unseen(served, seen, looked),
  };
}
