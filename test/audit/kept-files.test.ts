// SPDX-License-Identifier: GPL-2.0-or-later
// What the audit keeps of a file is short, and tells the same.
import tap from 'tap';
import { KeptFiles, type FileVersion } from '../../agents/audit/kept-files.js';
import { sha256 } from './farm.js';

const [one, other] = [sha256('one'), sha256('other')];
const version = (hash: string, size = 3): FileVersion => ({
  size,
  sha256: hash,
  packed: undefined,
  log: undefined,
});
const intent = (hash: string): string => `intents/build-debian/2026-11-21/${hash}.json`;
const payload = (of: string, hash: string): string => `payloads/build-debian/2026-11-21/${of}/${hash}`;

void tap.test('every file is told as it was put', async (t) => {
  const all: [string, FileVersion][] = [
    [intent(one), version(one)],
    [intent(other), version(one)],
    [payload(one, other), version(other, 0)],
    [payload(other, one), version(one)],
    [payload(one, one), version(other)],
    ['build-debian/log_2026-11-21_21-00-00', { ...version(one), log: { lastStamp: 'a stamp' } }],
    ['build-debian/log_2026-11-21_21-00-00.xz', { ...version(one), packed: 'c'.repeat(40) }],
    [`z/${one}${other}`, version(one)],
    [`z/${other}${one}`, version(other)],
    [`z/${Buffer.from(one, 'hex').toString('latin1').replaceAll('/', '_')}${one}`, version(one)],
  ];
  const files = new KeptFiles();
  for (const [path, put] of all) {
    t.notOk(files.has(path));
    t.equal(files.get(path), undefined);
    files.set(path, put);
  }
  for (const [path, put] of all) t.same(files.get(path), put, path);
  files.delete(intent(one));
  t.notOk(files.has(intent(one)));
  t.same(files.get(intent(other)), version(one), 'and only that');
  files.set(intent(other), version(other, 9));
  t.same(files.get(intent(other)), version(other, 9), 'what it became');
});
