// SPDX-License-Identifier: GPL-2.0-or-later
import type { AuditResult } from './audit.js';
import { type CheckName, type Finding, type Row } from './findings.js';
import type { Unseen } from './signed-metadata.js';

const titles: Record<CheckName, string> = {
  'mirrors': 'all remotes hold the same history',
  'one-line': 'one line of commits, numbered without gaps',
  'commits-signed': 'every commit is signed by the logs key',
  'file-lines': 'every file is as its commit message says',
  'files-grow': 'published files only grow',
  'intents': 'intents are valid and name published logs',
  'payloads': 'what was to be signed is published with its intent',
  'journal-chain': 'the journals are unbroken chains',
  'journal-grants': 'every use of a key follows a published intent',
  'apt-signatures': 'every signature in the APT repository is in a journal',
  'apt-files': 'signed hashes fix every file of the APT repository',
  'dnf-signatures': 'every signature in the DNF repository is in a journal',
  'dnf-files': 'signed hashes fix every file of the DNF repository',
};

/** So many pieces of evidence per row for people; --json has more. */
const shown = 10;

function evidence(finding: Finding): string {
  const where = [finding.commit === undefined ? '' : `commit ${finding.commit}`, finding.path ?? ''].filter((part) => part !== '').join('  ');
  return [`    ${finding.code}${where === '' ? '' : `  ${where}`}`, `      expected  ${finding.expected}`, `      found     ${finding.found}`].join('\n');
}

/** Kinds of repositories that were looked at. */
export type Kinds = ReadonlySet<'apt' | 'dnf'>;

function line(row: Row, kinds: Kinds): string {
  const skipped = (['apt', 'dnf'] as const).some((kind) => row.name.startsWith(`${kind}-`) && !kinds.has(kind));
  const state = skipped ? 'skipped' : row.ok ? 'ok' : 'FAILED';
  const unit = row.count === 1 ? row.unit.replace(/ies$/, 'y').replace(/s$/, '') : row.unit;
  const count = skipped ? '-' : `${row.count} ${unit}`;
  return `  ${state.padEnd(8)}${titles[row.name].padEnd(56)}${count}`;
}

export function asTable(result: AuditResult, kinds: Kinds): string {
  const lines = [`Audit of ${result.commits} commits up to ${result.head}`, ''];
  for (const row of result.findings.rows) {
    lines.push(line(row, kinds));
    for (const finding of row.findings.slice(0, shown)) lines.push(evidence(finding));
    if (row.wrong > shown) lines.push(`    and ${row.wrong - shown} more`);
  }
  lines.push(...unseen(result.unseen));
  const signed = result.findings.rows.find((row) => row.name === 'journal-grants')?.count ?? 0;
  lines.push('', result.findings.ok ? `Good.${signed === 0 ? ' Nothing has been signed yet.' : ''}` : 'SOMETHING IS WRONG. The lines above are the evidence: keep copies of the repositories.', '');
  return lines.join('\n');
}

/** What a victim may have been shown alone: no proof that something is wrong, and so no finding. */
function unseen(all: readonly Unseen[]): string[] {
  const told = all.filter(({ state }) => state !== 'earlier');
  const earlier = all.length - told.length;
  if (all.length === 0) return [];
  const words = ({ state, names, sha256, time, purposes, payloadNames, dists, commit, path }: Unseen): string =>
    `    ${state.padEnd(11)}${names.join(' ') || payloadNames.join(' ')}  sha256:${sha256}  signed ${time}\n      announced as ${purposes.join(', ') || 'nothing'} of ${dists.join(', ') || 'nothing'} in commit ${commit}${path === null ? ', bytes not public' : `\n      ${path}`}`;
  return [
    '', `  Signed, and served by none of these repositories: ${all.length}, of them ${earlier} that a newer one took the place of (--json lists all).`,
    ...told.slice(0, shown).map(words), ...(told.length > shown ? [`    and ${told.length - shown} more`] : []),
  ];
}

/** For machines: {format, ok, head, commits, checks: [{name, ok, count, unit, wrong, findings}], unseen: [signed-metadata.ts, Unseen]} */
export function asJson(result: AuditResult): string {
  const { head, commits, findings, unseen: notServed } = result;
  return `${JSON.stringify({ format: 'build-infra/audit@1', ok: findings.ok, head, commits, checks: findings.rows, unseen: notServed }, null, 1)}\n`;
}
