// SPDX-License-Identifier: GPL-2.0-or-later
import { appendFileSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { AppendOnlyLines, writeDurably } from '../../agents/shared/durable-files.js';

const folder = mkdtempSync(join(tmpdir(), 'durable-'));
t.teardown(() => rmSync(folder, { recursive: true }));

t.test('a file is replaced whole, with the mode asked for, and leaves no temporary name', (t) => {
  const path = join(folder, 'a');
  writeDurably(path, 'one', 0o600);
  writeDurably(path, 'two', 0o600);
  t.equal(readFileSync(path, 'utf8'), 'two');
  t.equal(statSync(path).mode & 0o777, 0o600);
  t.strictSame(readdirSync(folder), ['a']);
  t.end();
});

t.test('a write that fails leaves the old content and no temporary name', (t) => {
  const path = join(folder, 'a');
  writeFileSync(path, 'old');
  const breaks = { get length(): number { throw new Error('in the middle'); } };
  t.throws(() => writeDurably(path, breaks as unknown as Uint8Array), { message: 'in the middle' });
  t.equal(readFileSync(path, 'utf8'), 'old');
  t.strictSame(readdirSync(folder), ['a']);
  t.end();
});

t.test('a last line that a kill cut short is gone after the next open, whole lines stay', (t) => {
  const path = join(folder, 'lines');
  const first = AppendOnlyLines.open(path);
  first.file.append(['one', 'two']);
  first.file.close();
  appendFileSync(path, 'thr');
  const second = AppendOnlyLines.open(path);
  t.strictSame(second.lines, ['one', 'two']);
  second.file.append(['three']);
  second.file.close();
  t.equal(readFileSync(path, 'utf8'), 'one\ntwo\nthree\n');
  t.end();
});

t.test('a line that holds a newline is not appended', (t) => {
  const { file } = AppendOnlyLines.open(join(folder, 'more'));
  t.throws(() => file.append(['a\nb']));
  file.close();
  t.end();
});
