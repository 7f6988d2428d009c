// SPDX-License-Identifier: GPL-2.0-or-later
// The codes with which an agent says no are a closed union, so an unknown one does not compile. Here: each that is listed is said somewhere,
// and no comparison of a code escapes the compiler.
import t from 'tap';
import { codesOf, refusalCodes, seenCodes } from '../support/refusal-codes.js';

const { thrown, doctor, audit, unchecked } = seenCodes();
const sorted = (codes: Iterable<string>): string[] => [...codes].sort();

for (const [agent, codes] of thrown) {
  if (agent === 'doctor') continue;
  t.test(`${agent}: every code that is listed is thrown, and no other`, (t) => {
    t.strictSame(sorted(codes), sorted(refusalCodes(agent)));
    t.end();
  });
}

t.test('every code of the doctor is that of a check, and every code of the audit that of a finding', (t) => {
  t.strictSame(sorted(thrown.get('doctor') ?? []), [], 'the doctor refuses nothing');
  t.strictSame(sorted(doctor), sorted(codesOf('doctor/finding.ts', 'FindingCode')));
  t.strictSame(sorted(codesOf('audit/findings.ts', 'FindingCode')).filter((code) => !audit.has(code)), []);
  t.end();
});

t.test('a code that is compared with a word is one of a union', (t) => {
  t.strictSame(unchecked, []);
  t.end();
});
