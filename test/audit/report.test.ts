// SPDX-License-Identifier: GPL-2.0-or-later
// What a person is shown, and what a program.
import tap from 'tap';
import type { AuditResult } from '../../agents/audit/audit.js';
import { checkNames, Findings } from '../../agents/audit/findings.js';
import { asJson, asTable, type Kinds } from '../../agents/audit/report.js';
import type { Unseen } from '../../agents/audit/signed-metadata.js';

const now = Date.parse('2026-11-29T12:00:00.000Z');
const ago = (seconds: number): string => new Date(now - seconds * 1000).toISOString();
const resultOf = (change: Partial<AuditResult> = {}): AuditResult => ({
  head: 'abc',
  commits: 3,
  findings: new Findings(),
  unseen: [],
  journals: [],
  endings: [],
  ...change,
});
const both: Kinds = new Set(['apt', 'dnf']);
const table = (change: Partial<AuditResult> = {}, kinds = both): string[] =>
  asTable(resultOf(change), kinds, now).split('\n');

void tap.test('a good farm is a row for each check, and says whether anything was signed', (t) => {
  const findings = new Findings();
  t.same(table({ findings }).slice(0, 3), [
    'Audit of 3 commits up to abc',
    '',
    '  ok      all remotes hold the same history                       0 remotes',
  ]);
  t.equal(table().filter((line) => line.startsWith('  ok      ')).length, checkNames.length);
  t.equal(
    new Set(table().map((line) => line.slice(10, 60))).size,
    checkNames.length + 3,
    'each with a title of its own',
  );
  t.same(table().slice(-3), ['', 'Good. Nothing has been signed yet.', '']);
  findings.looked('journal-grants');
  findings.looked('journal-chain', 2);
  findings.looked('intents');
  t.same(table({ findings }).slice(-2), ['Good.', '']);
  t.ok(table({ findings }).some((line) => line.endsWith(' 1 signature')));
  t.ok(table({ findings }).some((line) => line.endsWith(' 2 entries')));
  findings.looked('journal-chain', -1);
  t.ok(table({ findings }).some((line) => line.endsWith(' 1 entry')));
  const skipped = (kinds: Kinds): string[] =>
    table({}, kinds)
      .filter((line) => line.startsWith('  skipped '))
      .map((line) => line.slice(10).trim());
  t.same([skipped(both).length, skipped(new Set(['apt'])).length, skipped(new Set()).length], [0, 2, 4]);
  t.ok(skipped(new Set(['apt'])).every((line) => line.includes('DNF') && line.endsWith('  -')));
  t.end();
});

void tap.test('what is wrong stands under its row with its evidence, ten of each', (t) => {
  const findings = new Findings();
  findings.wrong('mirrors', { code: 'HEAD_LOST', commit: 'c', expected: 'this', found: 'that' });
  findings.wrong('intents', { code: 'BAD_INTENT', commit: 'c', path: 'p', expected: 'this', found: 'that' });
  for (let i = 1; i <= 11; i++)
    findings.wrong('apt-files', { code: 'WRONG_SIZE', path: `path ${i}`, expected: 'this', found: 'that' });
  findings.wrong('dnf-files', { code: 'BAD_INDEX', expected: 'this', found: 'that' });
  const lines = table({ findings });
  const after = (title: string, count: number): string[] =>
    lines.slice(lines.findIndex((line) => line.includes(title)) + 1).slice(0, count);
  t.same(after('all remotes hold', 4).slice(0, 3), [
    '    HEAD_LOST  commit c',
    '      expected  this',
    '      found     that',
  ]);
  t.same(after('intents are valid', 1), ['    BAD_INTENT  commit c  p']);
  t.same(after('every file of the APT', 31).slice(27), [
    '    WRONG_SIZE  path 10',
    '      expected  this',
    '      found     that',
    '    and 1 more',
  ]);
  t.same(after('every file of the DNF', 1), ['    BAD_INDEX']);
  t.equal(lines.filter((line) => line.includes('more')).length, 1);
  t.equal(lines.filter((line) => line.startsWith('  FAILED  ')).length, 4);
  t.match(lines.at(-2), /^SOMETHING IS WRONG\./);
  t.end();
});

void tap.test('how old a head is, and until when a Release is good', (t) => {
  const head = (seconds: number): AuditResult['journals'] => [
    { keysVm: 'keys', entries: 5, head: { seq: 5, time: ago(seconds), commit: 'c' } as never },
  ];
  for (const [seconds, words] of [
    [0, '0 seconds'],
    [1, '1 second'],
    [119, '119 seconds'],
    [120, '2 minutes'],
    [7199, '119 minutes'],
    [7200, '2 hours'],
    [172_799, '47 hours'],
    [172_800, '2 days'],
    [-5, '0 seconds'],
  ] as const) {
    t.same(table({ journals: head(seconds) }).slice(-4, -2), [
      `  keys: newest journal head ${words} old (entry 5, ${ago(seconds)})`,
      '',
    ]);
  }
  t.same(table({ journals: [{ keysVm: 'keys', entries: 4, head: undefined }] }).slice(-5, -2), [
    '',
    '  keys: 4 journal entries and no head',
    '',
  ]);
  const endings = [
    { path: 'a', validUntil: ago(-7200), earlier: null },
    { path: 'b', validUntil: ago(0), earlier: null },
    { path: 'c', validUntil: null, earlier: 'then' },
    { path: 'd', validUntil: null, earlier: null },
  ];
  t.same(
    table({ endings }).slice(-7),
    [
      '',
      `  a: valid until ${ago(-7200)}, for 2 hours`,
      `  b: valid until ${ago(0)}, which is over`,
      '  c: no Valid-Until, though an earlier one had it (then)',
      '  d: no Valid-Until, though an earlier one had it ()',
      '',
      'Good. Nothing has been signed yet.',
      '',
    ].slice(1),
  );
  t.end();
});

const one: Unseen = {
  kind: 'apt',
  names: ['n', 'm'],
  state: 'nowhere',
  key: 'K',
  sha256: 'S',
  path: 'P',
  time: 'T',
  keysVm: 'V',
  commit: 'C',
  purposes: ['apt-release', 'other'],
  payloadNames: ['f'],
  dists: ['d', 'e'],
};
void tap.test('what nobody serves is told of, but for what a newer one took the place of', (t) => {
  const of = (...unseen: Unseen[]): string[] => table({ unseen }).slice(2 + checkNames.length, -3);
  t.same(of(), []);
  t.same(of(one, { ...one, state: 'earlier' }), [
    '',
    '  Signed, and served by none of these repositories: 2, of them 1 that a newer one took the place of (--json lists all).',
    '    nowhere    n m  sha256:S  signed T',
    '      announced as apt-release, other of d, e in commit C',
    '      P',
  ]);
  t.same(of({ ...one, state: 'not-public', names: [], path: null, purposes: [], dists: [] }).slice(2), [
    '    not-public f  sha256:S  signed T',
    '      announced as nothing of nothing in commit C, bytes not public',
  ]);
  const many = of(...Array.from({ length: 11 }, () => one));
  t.equal(many.length, 2 + 30 + 1);
  t.equal(many.at(-1), '    and 1 more');
  t.notOk(of(...Array.from({ length: 10 }, () => one)).some((line) => line.includes('more')));
  t.end();
});

void tap.test('a program is given all of it', (t) => {
  const result = resultOf({
    unseen: [one],
    endings: [{ path: 'a', validUntil: 'x', earlier: null }],
    journals: [
      { keysVm: 'a', entries: 1, head: { seq: 1, time: ago(61.5), commit: 'c' } as never },
      { keysVm: 'b', entries: 0, head: undefined },
    ],
  });
  t.same(JSON.parse(asJson(result, now)), {
    format: 'build-infra/audit@1',
    ok: true,
    head: 'abc',
    commits: 3,
    journals: [
      { keysVm: 'a', entries: 1, head: { seq: 1, time: ago(61.5), ageSeconds: 61, commit: 'c' } },
      { keysVm: 'b', entries: 0, head: null },
    ],
    checks: JSON.parse(JSON.stringify(new Findings().rows)),
    unseen: [one],
    endings: [{ path: 'a', validUntil: 'x', earlier: null }],
  });
  t.ok(asJson(result, now).endsWith('}\n'));
  t.end();
});
