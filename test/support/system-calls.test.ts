// SPDX-License-Identifier: GPL-2.0-or-later
// The reader of strace's records, on records written by hand and on one of a real program.
import { spawnSync } from 'node:child_process';
import { realpathSync } from 'node:fs';
import t from 'tap';
import { folderOf } from './folders.js';
import {
  cannotRecord,
  inOrder,
  notOnDisk,
  onlyThen,
  readSystemCalls,
  recorded,
  recordingTo,
  renaming,
  starting,
  syncing,
  writing,
  type SystemCall,
} from './system-calls.js';

const good = `10  openat(AT_FDCWD</w>, "/s/.a.tmp", O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0666) = 22</s/.a.tmp>
10  write(22</s/.a.tmp>, "{\\"x\\":\\"y\\"}\\n", 10) = 10
11  fsync(22</s/.a.tmp> <unfinished ...>
10  write(17<anon_inode:[eventfd]>, "\\1\\0", 2) = 2
11  <... fsync resumed>)              = 0
10  rename("/s/.a.tmp", "/s/a") = 0
10  fsync(23</s>)        = 0
12  execve("/usr/bin/gpg", ["gpg", "--detach-sign", "-"], 0x1 /* 4 vars */) = 0
12  +++ exited with 0 +++
10  writev(21<UNIX-STREAM:[5->6,"/s/x.sock"]>, [{iov_base="an", iov_len=2}, {iov_base="swer\\n", iov_len=5}], 2) = 7
`;
const steps = [
  writing('/s/.a.tmp', /"x":"y"/),
  syncing('/s/.a.tmp'),
  renaming('/s/.a.tmp', '/s/a'),
  syncing('/s'),
  onlyThen(starting(/^gpg --detach-sign -$/)),
  onlyThen(writing('/s/x.sock')),
];
const without = (text: RegExp): SystemCall[] =>
  readSystemCalls(
    good
      .split('\n')
      .filter((line) => !text.test(line))
      .join('\n'),
  );
const lines = (order: number[]): SystemCall[] =>
  readSystemCalls(`${order.map((at) => good.split('\n')[at]).join('\n')}\n`);

t.test(
  'a call has its process, its file or socket, its text and its result, and lasts from its beginning to its end',
  (t) => {
    const calls = readSystemCalls(good);
    t.strictSame(
      calls.map(({ pid, name, of, text, result }) => [pid, name, of, text, result]),
      [
        [10, 'openat', '/s/.a.tmp', '/s/.a.tmp', 22],
        [10, 'write', '/s/.a.tmp', '{"x":"y"}\n', 10],
        [11, 'fsync', '/s/.a.tmp', '', 0],
        [10, 'write', 'anon_inode:[eventfd]', '\u0001\0', 2],
        [10, 'rename', '/s/.a.tmp', '/s/.a.tmp\n/s/a', 0],
        [10, 'fsync', '/s', '', 0],
        [12, 'execve', '/usr/bin/gpg', '/usr/bin/gpg\ngpg\n--detach-sign\n-', 0],
        [10, 'writev', '/s/x.sock', 'an\nswer\n', 7],
      ],
    );
    t.strictSame([calls[2]?.begin, calls[2]?.end], [2, 4]);
    t.end();
  },
);

t.test('a call that never came back, and one that failed, are no success', (t) => {
  const calls = readSystemCalls(
    '1  fsync(3</a> <unfinished ...>\n2  fdatasync(4</b>) = -1 ENOSPC (No space left on device)\n3  write(5</c>, "x", 1 <unfinished ...>) = ?\n1  +++ killed by SIGKILL +++\n',
  );
  t.strictSame(
    calls.map(({ result, end }) => [result, end]),
    [
      [undefined, Infinity],
      [-1, 1],
      [undefined, Infinity],
    ],
  );
  for (const path of ['/a', '/b', '/c']) t.throws(() => inOrder(calls, [syncing(path)]), path);
  t.end();
});

t.test('a line that is not understood is an error, half of one at the end is not there yet', (t) => {
  t.throws(() => readSystemCalls('1  what is this\n'), /line 1/);
  t.throws(() => readSystemCalls('1  <... fsync resumed>) = 0\n'), /had not begun/);
  t.equal(readSystemCalls('1  fsync(3</a>) = 0\n1  wri').length, 1);
  t.end();
});

t.test('steps in their order are found, a missing or an early one is named', (t) => {
  t.equal(inOrder(readSystemCalls(good), steps).length, 6);
  for (const [missing, named] of [
    [/write\(22/, /no "write/],
    [/fsync(\(22| res)/, /no "sync \/s\/\.a\.tmp/],
    [/rename/, /no "rename/],
    [/fsync\(23/, /no "sync \/s"/],
    [/execve/, /no "start/],
  ] as const)
    t.throws(() => inOrder(without(missing), steps), named);
  t.throws(
    () => inOrder(lines([0, 1, 2, 4, 7, 5, 6, 9]), steps),
    /"start .* began before "sync \/s" was done/,
  );
  t.throws(
    () => inOrder(lines([0, 1, 2, 9, 4, 5, 6, 7, 9]), steps),
    /"write .*x\.sock" began before/,
    'said once too early is too early, though said again',
  );
  t.throws(
    () => inOrder(lines([0, 1, 2, 5, 4, 6, 7, 9]), steps),
    /no "rename/,
    'a name given while the sync was not over',
  );
  t.end();
});

t.test('what is not on disk is named: file, folder, and a write during the sync', (t) => {
  const at = (calls: SystemCall[]): string[] => notOnDisk(calls, '/s', calls.at(-1) as SystemCall, /\.sock$/);
  t.strictSame(at(readSystemCalls(good)), []);
  t.strictSame(at(without(/fsync(\(22| res)/)), ['/s/a']);
  t.strictSame(at(without(/fsync\(23/)), ['/s']);
  t.strictSame(at(lines([0, 2, 1, 4, 5, 6, 9])), ['/s/a']);
  t.strictSame(
    at(
      readSystemCalls(
        '1  openat(AT_FDCWD</>, "/s/j", O_RDWR|O_CREAT|O_APPEND, 0600) = 3</s/j>\n1  write(9</t/x>, "y", 1) = 1\n1  write(5</s/x.sock>, "y", 1) = 1\n',
      ),
    ),
    ['/s'],
    'a new name; other folders do not matter',
  );
  t.end();
});

t.test(
  'a real program is recorded with its children, under its own number',
  { skip: cannotRecord() },
  async (t) => {
    const folder = realpathSync(folderOf(t));
    const script = `import { openSync, writeSync, fdatasyncSync, renameSync, fsyncSync } from 'node:fs'; import { execFileSync } from 'node:child_process';
    const fd = openSync('${folder}/.a', 'w'); writeSync(fd, 'ü"\\n'); fdatasyncSync(fd); renameSync('${folder}/.a', '${folder}/a'); fsyncSync(openSync('${folder}', 'r')); execFileSync('/bin/echo', ['a b']);`;
    const [program, ...args] = [
      ...recordingTo(`${folder}/record`),
      process.execPath,
      '--input-type=module',
      '-e',
      script,
    ];
    t.equal(spawnSync(program, args, { encoding: 'utf8' }).status, 0);
    const calls = await recorded(`${folder}/record`, starting(/echo a b/));
    inOrder(calls, [
      writing(`${folder}/.a`, /^ü"\n$/),
      syncing(`${folder}/.a`),
      renaming(`${folder}/.a`, `${folder}/a`),
      syncing(folder),
      starting(/echo a b/),
    ]);
  },
);
