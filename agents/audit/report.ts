// SPDX-License-Identifier: GPL-2.0-or-later
import type { AuditResult } from './audit.js';
import { type CheckName, type Finding, type Row } from './findings.js';
import type { Ending, Unseen } from './signed-metadata.js';

const titles: Record<CheckName, string> = {
  mirrors: 'all remotes hold the same history',
  'one-line': 'one line of commits, numbered without gaps',
  'commits-signed': 'every commit is signed by the logs key',
  'file-lines': 'every file is as its commit message says',
  'files-grow': 'published files only grow',
  intents: 'intents are valid and name published logs',
  payloads: 'what was to be signed is published with its intent',
  'journal-chain': 'the journals are unbroken chains',
  'journal-heads': 'the keys VMs signed where their journals end',
  'journal-grants': 'every use of a key follows a published intent',
  'apt-signatures': 'every signature in the APT repository is in a journal',
  'apt-files': 'signed hashes fix every file of the APT repository',
  'dnf-signatures': 'every signature in the DNF repository is in a journal',
  'dnf-files': 'signed hashes fix every file of the DNF repository',
};

/** So many pieces of evidence per row for people; --json has more. */
const shown = 10;

function evidence(finding: Finding): string {
  const where = [finding.commit === undefined ? '' : `commit ${finding.commit}`, finding.path ?? '']
    .filter((part) => part !== '')
    .join('  ');
  return [
    `    ${finding.code}${where === '' ? '' : `  ${where}`}`,
    `      expected  ${finding.expected}`,
    `      found     ${finding.found}`,
  ].join('\n');
}

/** Kinds of repositories that were looked at. */
export type Kinds = ReadonlySet<'apt' | 'dnf'>;

function line(row: Row, kinds: Kinds): string {
  const skipped = (['apt', 'dnf'] as const).some(
    (kind) => row.name.startsWith(`${kind}-`) && !kinds.has(kind),
  );
  const state = skipped ? 'skipped' : row.ok ? 'ok' : 'FAILED';
  const unit = row.count === 1 ? row.unit.replace(/ies$/, 'y').replace(/s$/, '') : row.unit;
  const count = skipped ? '-' : `${row.count} ${unit}`;
  return `  ${state.padEnd(8)}${titles[row.name].padEnd(56)}${count}`;
}

const units: [string, number][] = [
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60],
  ['second', 1],
];

/** In the largest unit of which it is two or more. */
function inWords(seconds: number): string {
  const [unit, size] = units.find(([, each]) => seconds >= 2 * each) ?? ['second', 1];
  const count = Math.max(0, Math.floor(seconds / size));
  return `${count} ${unit}${count === 1 ? '' : 's'}`;
}

/**
 * How fresh the newest signed word of each keys VM is: an old one may be an idle farm, or somebody who holds
 * a journal back.
 */
function journalLines(result: AuditResult, now: number): string[] {
  return result.journals.map(
    ({ keysVm, entries, head }) =>
      `  ${keysVm}: ${head === undefined ? `${entries} journal entries and no head` : `newest journal head ${inWords(ageOf(head.time, now))} old (entry ${head.seq}, ${head.time})`}`,
  );
}

const ageOf = (time: string, now: number): number => Math.floor((now - Date.parse(time)) / 1000);

export function asTable(result: AuditResult, kinds: Kinds, now = Date.now()): string {
  const lines = [`Audit of ${result.commits} commits up to ${result.head}`, ''];
  for (const row of result.findings.rows) {
    lines.push(line(row, kinds));
    for (const finding of row.findings.slice(0, shown)) lines.push(evidence(finding));
    if (row.wrong > shown) lines.push(`    and ${row.wrong - shown} more`);
  }
  lines.push(...endings(result.endings, now), ...unseen(result.unseen));
  if (result.journals.length > 0) lines.push('', ...journalLines(result, now));
  const signed = result.findings.rows.find((row) => row.name === 'journal-grants')?.count ?? 0;
  lines.push(
    '',
    result.findings.ok
      ? `Good.${signed === 0 ? ' Nothing has been signed yet.' : ''}`
      : 'SOMETHING IS WRONG. The lines above are the evidence: keep copies of the repositories.',
    '',
  );
  return lines.join('\n');
}

/**
 * Until when apt takes what is served; that one has no end which earlier ones had may be a setting, or an
 * attack.
 */
function endings(all: readonly Ending[], now: number): string[] {
  const words = ({ path, validUntil, earlier }: Ending): string => {
    if (validUntil === null)
      return `  ${path}: no Valid-Until, though an earlier one had it (${earlier ?? ''})`;
    const left = Math.floor((Date.parse(validUntil) - now) / 1000);
    return `  ${path}: valid until ${validUntil}, ${left > 0 ? `for ${inWords(left)}` : 'which is over'}`;
  };
  return all.length === 0 ? [] : ['', ...all.map(words)];
}

/** What a victim may have been shown alone: no proof that something is wrong, and so no finding. */
function unseen(all: readonly Unseen[]): string[] {
  const told = all.filter(({ state }) => state !== 'earlier');
  const earlier = all.length - told.length;
  if (all.length === 0) return [];
  const words = ({
    state,
    names,
    sha256,
    time,
    purposes,
    payloadNames,
    dists,
    commit,
    path,
  }: Unseen): string =>
    `    ${state.padEnd(11)}${names.join(' ') || payloadNames.join(' ')}  sha256:${sha256}  signed ${time}\n      announced as ${purposes.join(', ') || 'nothing'} of ${dists.join(', ') || 'nothing'} in commit ${commit}${path === null ? ', bytes not public' : `\n      ${path}`}`;
  return [
    '',
    `  Signed, and served by none of these repositories: ${all.length}, of them ${earlier} that a newer one took the place of (--json lists all).`,
    ...told.slice(0, shown).map(words),
    ...(told.length > shown ? [`    and ${told.length - shown} more`] : []),
  ];
}

/**
 * For machines: {format, ok, head, commits, journals: [{keysVm, entries, head: null or {seq, time,
 * ageSeconds, commit}}], checks: [{name, ok, count, unit, wrong, findings}], unseen: [signed-metadata.ts,
 * Unseen], endings: [the same, Ending]}
 */
export function asJson(result: AuditResult, now = Date.now()): string {
  const { head, commits, findings, unseen: notServed } = result;
  const journals = result.journals.map(({ keysVm, entries, head: newest }) => ({
    keysVm,
    entries,
    head:
      newest === undefined
        ? null
        : { seq: newest.seq, time: newest.time, ageSeconds: ageOf(newest.time, now), commit: newest.commit },
  }));
  return `${JSON.stringify({ format: 'build-infra/audit@1', ok: findings.ok, head, commits, journals, checks: findings.rows, unseen: notServed, endings: result.endings }, null, 1)}\n`;
}
