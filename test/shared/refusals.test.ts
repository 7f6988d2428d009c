// SPDX-License-Identifier: GPL-2.0-or-later
// The codes with which an agent says no are a closed union, so an unknown one does not compile. Here: each
// that is listed is said somewhere, no comparison of a code escapes the compiler, and what one program makes
// of another's codes is about codes that the other has.
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { contradictions } from '../../agents/build-logs/receipts.js';
import { gateIsAway } from '../../agents/build-vm/gate/refusals-heard.js';
import { final } from '../../agents/build-vm/logs/log-sender.js';
import { words } from '../../agents/notifier/refusal-words.js';
import { codesOf, refusalCodes, seenCodes } from '../support/refusal-codes.js';

const { thrown, doctor, audit, unchecked } = seenCodes();
const sorted = (codes: Iterable<string>): string[] => [...codes].sort();

for (const [agent, codes] of thrown) {
  if (agent === 'doctor' || agent === 'published') continue;
  t.test(`${agent}: every code that is listed is thrown, and no other`, (t) => {
    t.strictSame(sorted(codes), sorted(refusalCodes(agent)));
    t.end();
  });
}

t.test('every code of the doctor is that of a check, and every code of the audit that of a finding', (t) => {
  for (const agent of ['doctor', 'published'])
    t.strictSame(sorted(thrown.get(agent) ?? []), [], `${agent} refuses nothing`);
  t.strictSame(sorted(doctor), sorted(codesOf('doctor/finding.ts', 'FindingCode')));
  t.strictSame(
    sorted(codesOf('audit/findings.ts', 'FindingCode')).filter((code) => !audit.has(code)),
    [],
  );
  t.end();
});

t.test('a code that is compared with a word is one of a union', (t) => {
  t.strictSame(unchecked, []);
  t.end();
});

const acts: [string, Iterable<string>, readonly string[]][] = [
  ['build-logs: an answer of the keys VM that is an alarm', contradictions, ['keys']],
  [
    'build-vm: an answer of the gate that is worth asking again',
    gateIsAway,
    ['keys', 'build-logs', 'build-vm', 'shared'],
  ],
  ['build-vm: an answer of the logs VM that ends a log', final, ['build-logs', 'shared']],
  ['notifier: a reason of the build VM that has words for the public', words.keys(), ['build-vm']],
];
for (const [what, codes, agents] of acts) {
  t.test(what, (t) => {
    const known = new Set(agents.flatMap((agent) => [...refusalCodes(agent)]));
    t.strictSame(
      [...codes].filter((code) => !known.has(code)),
      [],
    );
    t.end();
  });
}

t.test('what sys-net ignores is in its README.md', (t) => {
  const page = readFileSync(
    join(dirname(fileURLToPath(import.meta.url)), '../../../agents/sys-net/README.md'),
    'utf8',
  );
  const row = /^\| 202 `ignored CODE why` \| `([A-Z_ ]+)`/m.exec(page)?.[1] as string;
  t.strictSame(sorted(row.split(' ')), sorted(codesOf('sys-net/refusals.ts', 'IgnoredCode')));
  t.end();
});
