// SPDX-License-Identifier: GPL-2.0-or-later
import { execFileSync } from 'node:child_process';
import { appendFileSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { folderOf } from '../support/folders.js';
import { smallDisk } from '../support/small-disk.js';
import { AppendOnlyLines } from '../../agents/shared/append-only-lines.js';
import {
  makeFolder,
  readIfThere,
  removeDurably,
  renameDurably,
  writeDurably,
} from '../../agents/shared/durable-files.js';

const folder = folderOf(t);

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
  const breaks = {
    get length(): number {
      throw new Error('in the middle');
    },
  };
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

const disk = smallDisk(1);
t.test(
  'an append that the disk has no room for leaves nothing, and the next line is a line of its own',
  { skip: disk === undefined ? 'needs to mount a tmpfs' : false },
  (t) => {
    t.teardown(() => {
      execFileSync('umount', [disk as string]);
      rmSync(disk as string, { recursive: true });
    });
    const path = join(disk as string, 'lines');
    const { file } = AppendOnlyLines.open(path);
    file.append(['one']);
    for (const lines of [
      ['x'.repeat(2 << 20)],
      ['two', 'x'.repeat(2 << 20)],
      Array.from({ length: 3000 }, () => 'y'.repeat(1000)),
    ]) {
      t.throws(() => file.append(lines), { code: 'ENOSPC' });
      t.equal(
        readFileSync(path, 'utf8'),
        'one\n',
        'also the lines that there was room for: nobody was told of them',
      );
    }
    // What stands there although the cut failed as well.
    appendFileSync(path, 'tor');
    file.append(['two', 'three']);
    t.equal(readFileSync(path, 'utf8'), 'one\ntwo\nthree\n');
    file.close();
    const again = AppendOnlyLines.open(path);
    t.strictSame(again.lines, ['one', 'two', 'three']);
    again.file.close();
    t.end();
  },
);

t.test('a line that holds a newline is not appended', (t) => {
  const { file } = AppendOnlyLines.open(join(folder, 'more'));
  t.throws(() => file.append(['a\nb']));
  file.close();
  t.end();
});

t.test('a name is moved and removed, in one folder and between two, and a folder made where none is', (t) => {
  const [one, two] = [join(folder, 'deep/one'), join(folder, 'deep/two')];
  makeFolder(one, 0o700);
  makeFolder(one, 0o700);
  makeFolder(two);
  t.equal(statSync(one).mode & 0o777, 0o700);
  t.equal(statSync(two).mode & 0o777, 0o755 & ~process.umask());
  writeDurably(join(one, 'x'), Buffer.from('x'));
  t.equal(statSync(join(one, 'x')).mode & 0o777, 0o644 & ~process.umask());
  renameDurably(join(one, 'x'), join(one, 'y'));
  renameDurably(join(one, 'y'), join(two, 'z'));
  t.strictSame([readdirSync(one), readdirSync(two)], [[], ['z']]);
  removeDurably(join(two, 'z'));
  t.strictSame(readdirSync(two), []);
  t.throws(() => removeDurably(join(two, 'z')), { code: 'ENOENT' });
  t.throws(() => writeDurably(join(two, 'none/z'), ''), { code: 'ENOENT' });
  t.end();
});

t.test('nothing is there, or it is read, or it is a fault', (t) => {
  t.equal(readIfThere(join(folder, 'nothing')), undefined);
  writeFileSync(join(folder, 'a'), 'a');
  t.equal(readIfThere(join(folder, 'a'))?.toString(), 'a');
  t.throws(() => readIfThere(folder), { code: 'EISDIR' });
  t.end();
});

t.test('a file of lines keeps its mode when its end is cut, and takes no line that is none', (t) => {
  const path = join(folder, 'kept');
  t.strictSame(AppendOnlyLines.open(path, 0o600).lines, []);
  t.equal(statSync(path).mode & 0o777, 0o600);
  t.strictSame(AppendOnlyLines.open(path).lines, [], 'an empty file has no line');
  for (const [before, lines, after] of [
    ['cut', [], ''],
    ['\n', [''], '\n'],
    ['one\n\ntwo\ncut', ['one', '', 'two'], 'one\n\ntwo\n'],
  ] as const) {
    writeFileSync(path, before);
    const { file, lines: read } = AppendOnlyLines.open(path, 0o644);
    t.strictSame(read, lines);
    t.equal(readFileSync(path, 'utf8'), after);
    file.append([]);
    file.append(['a', 'b']);
    t.equal(readFileSync(path, 'utf8'), `${after}a\nb\n`);
    t.throws(() => file.append(['c', 'd\ne']), /holds a newline/);
    t.equal(readFileSync(path, 'utf8'), `${after}a\nb\n`);
    file.close();
    t.throws(() => file.append(['c']), { code: 'EBADF' });
  }
  t.equal(statSync(path).mode & 0o777, 0o600);
  const inode = statSync(path).ino;
  AppendOnlyLines.open(path).file.close();
  t.equal(statSync(path).ino, inode, 'a whole file is left as it is');
  t.end();
});
