// SPDX-License-Identifier: GPL-2.0-or-later
// The small farm's history, of which nothing is written anywhere: its commits go to the parts of the audit
// that judge files, intents and journals, in this process, without git and gpg. So a case costs a thousandth
// of a second; attack.ts has the same cases judged by the whole audit.
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tap, { type Test } from 'tap';
import { Budget, defaultLimits } from '../../agents/published/budget.js';
import { Findings, type Row } from '../../agents/audit/findings.js';
import type { PublishedCommit } from '../../agents/audit/history.js';
import { PublishedIntents } from '../../agents/audit/intents.js';
import { JournalHeads } from '../../agents/audit/journal-heads.js';
import { PublishedJournals } from '../../agents/audit/journal.js';
import type { PathKind } from '../../agents/published/history/path-kind.js';
import { PublishedContent, type NewBytes } from '../../agents/audit/published-content.js';
import type { PublishedGit } from '../../agents/published/history/published-git.js';
import { PublishedPayloads } from '../../agents/audit/published-payloads.js';
import type { ReadChange } from '../../agents/published/history/thread.js';
import { readPublicationMessage, writePublicationMessage } from '../../agents/shared/formats/publication.js';
import { AnyRefusal } from '../../agents/shared/refusal.js';
import { pens } from './pens.js';
import { Farm, journalKey, LogsRepository, sha256, type CommitOptions, type Keys } from './farm.js';

/**
 * One thing wrong, all else as it should be. @param expected "check CODE" of everything that must be found,
 * and nothing else
 */
export type Attack = (
  name: string,
  expected: string[],
  change: (farm: Farm) => void,
  evidence?: { commit?: 'head'; path?: string },
  extra?: (farm: Farm) => readonly string[],
) => void;

interface Unwritten {
  commit: PublishedCommit;
  changes: ReadChange[];
}

export class UnwrittenLogs extends LogsRepository {
  readonly commits: Unwritten[];
  readonly objects = new Map<string, { type: string; body: Buffer }>();

  constructor(keys: Keys, from?: UnwrittenLogs) {
    super('', keys, from);
    this.commits = [...(from?.commits ?? [])];
  }

  override object(type: 'blob' | 'tree' | 'commit', body: Buffer | string): string {
    const id = super.object(type, body);
    this.objects.set(id, { type, body: Buffer.from(body) });
    return id;
  }

  override commit(options: CommitOptions): string {
    const before = new Map(this.tree);
    const time = options.time ?? Math.floor(Date.now() / 1000);
    const id = super.commit({ ...options, signer: null, time });
    const files = Object.entries(options.put ?? {}).map(([path, data]) => ({
      path,
      size: Buffer.byteLength(data),
      sha256: sha256(data),
    }));
    const text =
      options.message ??
      writePublicationMessage({
        subject: `Publish ${files.length} files`,
        files: options.lines?.(files) ?? files,
        seq: this.seq,
      });
    const changes = [...new Set([...before.keys(), ...this.tree.keys()])]
      .filter((path) => before.get(path)?.blob !== this.tree.get(path)?.blob)
      .sort()
      .map((path): ReadChange => {
        const body = this.content.get(path);
        return body === undefined
          ? { path, after: undefined }
          : { path, after: this.tree.get(path)?.blob, body };
      });
    this.commits.push({
      commit: { id, tree: undefined, time: time * 1000, message: messageOf(text) },
      changes,
    });
    return id;
  }
}

function messageOf(text: string): PublishedCommit['message'] {
  try {
    return readPublicationMessage(text);
  } catch (error) {
    if (error instanceof AnyRefusal) return undefined;
    throw error;
  }
}

const fingerprint = { logs: 'A'.repeat(40), signing: 'B'.repeat(40), stranger: 'C'.repeat(40) };
/** Nobody looks at a signature here, but at its hash. */
const keys = {
  fingerprint,
  sign: (_: unknown, mode: string, data: Buffer, more: readonly string[]) =>
    Buffer.from(`${mode} ${sha256(data)} ${more.join(' ')}`),
  export: () => Buffer.from('a key'),
} as unknown as Keys;

export function unwrittenFarm(from?: Farm): Farm & { logs: UnwrittenLogs } {
  const farm = Object.create(Farm.prototype) as Farm & { logs: UnwrittenLogs };
  return Object.assign(farm, {
    keys,
    logs: new UnwrittenLogs(keys, from?.logs as UnwrittenLogs | undefined),
    put: () => undefined,
    apt: '/apt',
    dnf: '/dnf',
    top: '/',
  });
}

/** The same with package repositories that are there, signed without gpg. */
export function servedFarm(from?: Farm): Farm & { logs: UnwrittenLogs } {
  const top = mkdtempSync(join(tmpdir(), 'sf-'));
  const farm = Object.create(Farm.prototype) as Farm & { logs: UnwrittenLogs };
  Object.assign(farm, {
    keys: pens,
    logs: new UnwrittenLogs(pens, from?.logs as UnwrittenLogs | undefined),
    top,
    apt: join(top, 'apt'),
    dnf: join(top, 'fc41'),
  });
  for (const name of ['apt', 'fc41']) {
    if (from === undefined) mkdirSync(join(top, name));
    else cpSync(join(from.top, name), join(top, name), { recursive: true });
  }
  return farm;
}

export interface Judged {
  codes: string[];
  rows: readonly Row[];
  intents: PublishedIntents;
  journals: PublishedJournals;
  heads: JournalHeads;
  payloads: PublishedPayloads;
  content: PublishedContent;
}

/** As audit.ts has them judged. @param streamed of which no file was read ahead */
export async function judge(
  { logs }: { logs: UnwrittenLogs },
  pinned: ReadonlyMap<string, readonly string[]> = new Map([['keys-debian', [journalKey.public]]]),
  streamed = false,
): Promise<Judged> {
  const findings = new Findings();
  const blobs = new Map(
    logs.commits.flatMap(({ changes }) => changes.map(({ after, body }) => [after, body] as const)),
  );
  const scratch = mkdtempSync(join(tmpdir(), 'ju-'));
  const read = (id: string, _: string, onChunk: (chunk: Buffer) => void): Promise<void> => {
    const body = blobs.get(id) as Buffer;
    for (let at = 0; at < body.length; at += 1000) onChunk(body.subarray(at, at + 1000));
    return Promise.resolve();
  };
  const content = new PublishedContent(
    { scratch, budget: new Budget(defaultLimits), read } as unknown as PublishedGit,
    findings,
  );
  const intents = new PublishedIntents(content, findings);
  const payloads = new PublishedPayloads(intents, findings);
  const places = new Map(logs.commits.map(({ commit: { id } }, i) => [id, i]));
  const heads = new JournalHeads(places, pinned, findings);
  const journals = new PublishedJournals(places, intents, heads, findings);
  for (const [place, { commit, changes }] of logs.commits.entries()) {
    const news = await content.apply({
      commit,
      changes: streamed ? changes.map(({ path, after }) => ({ path, after })) : changes,
      bad: [],
    });
    const ofKind = (wanted: PathKind): NewBytes[] => news.filter(({ kind }) => kind === wanted);
    for (const file of ofKind('intent')) intents.add(commit.id, place, file);
    payloads.add(commit.id, place, ofKind('intent'), ofKind('payload'), content.files);
    for (const file of ofKind('journal')) journals.add(commit.id, file);
    for (const file of ofKind('journal-heads')) heads.add(commit.id, place, file);
    heads.endCommit(commit.id);
  }
  rmSync(scratch, { recursive: true });
  const codes = [
    ...new Set(findings.rows.flatMap((row) => row.findings.map(({ code }) => `${row.name} ${code}`))),
  ].sort();
  return { codes, rows: findings.rows, intents, journals, heads, payloads, content };
}

const good = unwrittenFarm();
good.build();

export const attack: Attack = (name, expected, change, evidence = {}, extra = () => []) => {
  void tap.test(name, async (t: Test) => {
    const farm = unwrittenFarm(good);
    change(farm);
    const more = extra(farm)
      .filter((word) => word.includes('='))
      .map((word): [string, string[]] => [word.split('=')[0] as string, [word.split('=')[1] as string]]);
    const pinned = new Map([['keys-debian', [journalKey.public]], ...more]);
    const { codes, rows } = await judge(farm, pinned);
    t.same(codes, [...expected].sort());
    const findings = rows.find((row) => row.name === expected[0]?.split(' ')[0])?.findings ?? [];
    if (evidence.commit === 'head') t.equal(findings[0]?.commit, farm.logs.head);
    if (evidence.path !== undefined)
      t.ok(
        findings.some(({ path }) => path === evidence.path),
        `names ${evidence.path}`,
      );
    for (const row of rows)
      for (const finding of row.findings)
        t.ok(finding.expected && finding.found, 'says what was expected and what was found');
  });
};
export const laterCommit = (farm: Farm): string => unwrittenFarm(farm).logs.commit({ put: {} });
