// SPDX-License-Identifier: GPL-2.0-or-later
// Attacks that git itself goes along with, or breaks on: trees, commits, logs and packed logs of another
// shape than this farm writes.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { readKey } from 'openpgp';
import tap from 'tap';
import { Budget, defaultLimits } from '../../agents/published/budget.js';
import { readOptions } from '../../agents/audit/options.js';
import { Findings } from '../../agents/audit/findings.js';
import { PublishedHistory } from '../../agents/audit/history.js';
import { PublishedGit } from '../../agents/published/history/published-git.js';
import { ReadingThread } from '../../agents/published/history/thread.js';
import { attack, good, keys } from './attack.js';
import { line, lineAttacks, other, xz } from './content-attacks.js';
import { Farm, sha256, type LogsRepository } from './farm.js';
import { Pack } from './long-history.js';
import { argumentsFor, runAudit, verdict } from './run-audit.js';

tap.setTimeout(600_000);

type Entry = readonly [mode: string, name: string, id: string];
const tree = (logs: LogsRepository, entries: readonly Entry[]): string =>
  logs.object(
    'tree',
    Buffer.concat(
      entries.map(([mode, name, id]) =>
        Buffer.concat([Buffer.from(`${mode} ${name}\0`), Buffer.from(id, 'hex')]),
      ),
    ),
  );
const entriesOf = (logs: LogsRepository, name: string): Entry[] =>
  execFileSync('git', ['--git-dir', logs.path, 'ls-tree', '-z', name])
    .toString()
    .split('\0')
    .filter((line) => line !== '')
    .map((line) => {
      const [, mode, id, path] = /^(\d+) \w+ ([0-9a-f]+)\t(.*)$/.exec(line) as unknown as [
        string,
        string,
        string,
        string,
      ];
      return [mode.replace(/^0/, ''), path, id];
    });
/** The head's tree with more in it; git's order is the caller's matter. */
const withTop = (logs: LogsRepository, ...more: Entry[]): string =>
  tree(logs, [...entriesOf(logs, 'HEAD'), ...more]);
const folder = 'build-debian/hello';
/** The head's tree, with the folder of the log as `change` has it. */
function withFolder(logs: LogsRepository, change: (entries: Entry[]) => Entry[]): string {
  const inner = tree(logs, change(entriesOf(logs, `HEAD:${folder}`)));
  const vm = tree(
    logs,
    entriesOf(logs, 'HEAD:build-debian').map(([mode, name, id]) => [
      mode,
      name,
      name === 'hello' ? inner : id,
    ]),
  );
  return tree(
    logs,
    entriesOf(logs, 'HEAD').map(([mode, name, id]) => [mode, name, name === 'build-debian' ? vm : id]),
  );
}
function deep(logs: LogsRepository, folders: number): string {
  // One pack, where a file for each of 20,000 objects takes minutes.
  const path = join(logs.path, `objects/pack/pack-${String(folders).padStart(40, '0')}.pack`);
  mkdirSync(dirname(path), { recursive: true });
  const pack = new Pack(path, folders + 2);
  const entry = (mode: string, name: string, id: string): Buffer =>
    Buffer.concat([Buffer.from(`${mode} ${name}\0`), Buffer.from(id, 'hex')]);
  let id = pack.put('tree', entry('100644', 'f', pack.put('blob', Buffer.from('x'))));
  for (let i = 0; i < folders; i++) id = pack.put('tree', entry('40000', 'd', id));
  pack.end();
  execFileSync('git', ['index-pack', path], { stdio: 'ignore' });
  return id;
}
const name = other.slice(folder.length + 1);

attack(
  'one folder too many',
  ['file-lines BAD_TREE'],
  ({ logs }) => void logs.commit({ tree: withTop(logs, ['40000', 'z', deep(logs, 4)]) }),
  { commit: 'head' },
);
attack(
  'a file with the bit that git hides',
  ['file-lines BAD_FILE_MODE'],
  ({ logs }) =>
    void logs.commit({ tree: withFolder(logs, (all) => all.map(([, one, id]) => ['100664', one, id])) }),
  { commit: 'head' },
);
for (const mode of ['100755', '120000', '160000', '100600', '0100644']) {
  attack(
    `an entry of mode ${mode}`,
    ['file-lines BAD_FILE_MODE'],
    ({ logs }) =>
      void logs.commit({ tree: withFolder(logs, (all) => [...all, [mode, 'zz', logs.object('blob', 'x')]]) }),
    { commit: 'head' },
  );
}
attack(
  'an empty folder',
  ['file-lines BAD_TREE'],
  ({ logs }) => void logs.commit({ tree: withTop(logs, ['40000', 'z', tree(logs, [])]) }),
  { commit: 'head' },
);
attack(
  'a name twice in a tree',
  ['file-lines BAD_TREE'],
  ({ logs }) =>
    void logs.commit({
      tree: withFolder(logs, (all) => [
        ...all,
        ['100644', name, logs.object('blob', line())],
        ['100644', name, logs.object('blob', line('other'))],
      ]),
    }),
  { commit: 'head' },
);
attack(
  'a file and a folder of one name',
  ['file-lines BAD_TREE'],
  ({ logs }) =>
    void logs.commit({
      tree: withFolder(logs, (all) => [
        ...all,
        ['100644', name, logs.object('blob', line())],
        ['100644', `${name}.1`, logs.object('blob', line())],
        ['40000', name, tree(logs, [['100644', 'x', logs.object('blob', '')]])],
      ]),
    }),
  { commit: 'head' },
);
attack(
  'entries in another order',
  ['file-lines BAD_TREE'],
  ({ logs }) =>
    void logs.commit({
      tree: withFolder(logs, (all) => [['100644', name, logs.object('blob', line())], ...all]),
    }),
  { commit: 'head' },
);
for (const odd of ['.git', '..', '-x', 'a b', 'é'])
  attack(
    `a folder that is called ${odd}`,
    ['file-lines BAD_PATH'],
    ({ logs }) => {
      const all: Entry[] = [...entriesOf(logs, 'HEAD'), ['40000', odd, deep(logs, 0)]];
      logs.commit({
        tree: tree(
          logs,
          all.sort(([, a], [, b]) => Buffer.compare(Buffer.from(`${a}/`), Buffer.from(`${b}/`))),
        ),
      });
    },
    { commit: 'head' },
  );
for (const [what, width, levels] of [
  ['wide', 40_000, 1],
  ['deep', 1000, 4],
] as const) {
  attack(`a tree bomb, ${what}`, ['file-lines TOO_MANY_CHANGES'], ({ logs }) => {
    let id = tree(logs, [['100644', 'f', logs.object('blob', 'x'.repeat(1000))]]);
    for (let level = 0; level < levels; level++)
      id = tree(
        logs,
        Array.from({ length: width }, (_, i) => ['40000', `d${String(i).padStart(6, '0')}`, id] as const),
      );
    logs.commit({ tree: withTop(logs, ['40000', 'z', id]) });
  });
}

attack(
  'a signature of class 01 on a commit',
  ['commits-signed BAD_SIGNATURE'],
  ({ logs }) => void logs.commit({ put: { [other]: line() }, more: ['--textmode'] }),
  { commit: 'head' },
);
attack(
  'a committer of ten years ago',
  ['one-line COMMIT_TIME', 'files-grow BAD_LINE'],
  ({ logs }) => void logs.commit({ put: { [other]: line() }, time: 1479762000 }),
  { commit: 'head' },
);
attack(
  'a committer of tomorrow',
  ['one-line COMMIT_TIME'],
  ({ logs }) => void logs.commit({ put: { [other]: line() }, time: Math.floor(Date.now() / 1000) + 86_400 }),
  { commit: 'head' },
);
attack(
  'commits that go back, their signatures too',
  ['one-line COMMIT_TIME'],
  ({ logs }) => {
    const later = Math.floor(Date.now() / 1000);
    logs.commit({ put: { [other]: line() }, time: later });
    const before = later - 2 * 3600;
    logs.commit({
      put: { [other]: line() + line() },
      time: before,
      more: ['--faked-system-time', `${before}!`],
    });
  },
  { commit: 'head' },
);
attack(
  'a signature of a time before its commit, when the key was still good',
  ['one-line COMMIT_TIME'],
  ({ logs }) =>
    void logs.commit({
      put: { [other]: line() },
      more: ['--faked-system-time', `${Math.floor(Date.now() / 1000) - 7200}!`],
    }),
  { commit: 'head' },
);

lineAttacks(attack, keys);

void tap.test('a line may go back where the receiver says so, and lines may be long', async (t) => {
  const farm = new Farm(keys, good);
  t.teardown(() => farm.remove());
  farm.logs.commit({ put: { [other]: line() } });
  farm.logs.commit({
    put: {
      [other]:
        line() +
        line('clock set back from 2026-11-21 21:00:05.000000 +0000', '2026-11-21 20:00:01.000000', '> ') +
        line('x'.repeat(64 * 1024), '2026-11-21 20:00:01.000000'),
    },
  });
  t.same((await verdict(farm)).codes, []);
});

void tap.test('an annotated tag as the head is no head', async (t) => {
  const farm = new Farm(keys, good);
  t.teardown(() => farm.remove());
  const git = (...args: string[]): string =>
    execFileSync('git', [
      '--git-dir',
      farm.logs.path,
      '-c',
      'user.name=x',
      '-c',
      'user.email=x@farm.example',
      ...args,
    ])
      .toString()
      .trim();
  git('tag', '-a', '-m', 'x', 'cover', 'main');
  writeFileSync(join(farm.logs.path, 'refs/heads/main'), `${git('rev-parse', 'refs/tags/cover')}\n`);
  t.same((await verdict(farm)).codes, ['mirrors HEAD_NOT_COMMIT']);
});

void tap.test('a git that does not end well is not believed', async (t) => {
  const real = execFileSync('which', ['git']).toString().trim();
  const logsKey = await readKey({ armoredKey: keys.export('logs').toString() });
  const cases: readonly [string, string, RegExp][] = [
    ['that ends early', 'cat-file) head -c 1 >/dev/null; exit 0;;', /git cat-file ended early with 0/],
    ['that ends with a status', 'cat-file) "$real" "$@"; exit 3;;', /git cat-file ended with 3/],
    ['that is killed at its end', 'cat-file) "$real" "$@"; kill -9 $$;;', /git cat-file ended with SIGKILL/],
    [
      'that answers with another type',
      'cat-file) "$real" "$@" | sed -u "s/ commit / tree /";;',
      /a commit was expected, git has: tree/,
    ],
    [
      'that answers another question',
      'cat-file) sed -u "/^contents /{s///;y/abcdef/fedcba/;s/^/contents /}" | "$real" "$@";;',
      /answered what nobody asked/,
    ],
    [
      'that does not have it',
      'cat-file) while read word id; do [ "$word" = flush ] || echo "$id missing"; done;;',
      /a commit was expected, git has: missing/,
    ],
    [
      'that leaves the end of the list out',
      'rev-list) "$real" "$@" | head -n 2;;',
      /rev-list does not end with/,
    ],
    ['whose list fails', 'rev-list) "$real" "$@"; exit 1;;', /git rev-list/],
    ['whose list is no list', 'rev-list) "$real" "$@"; echo warning;;', /did not answer with object ids/],
  ];
  for (const [name, words, expected] of cases) {
    const scratch = mkdtempSync(join(good.top, 'git-'));
    const program = join(scratch, 'git');
    writeFileSync(
      program,
      `#!/bin/bash\nreal=${real}\ncase "$3" in\n${words}\n*) exec "$real" "$@";;\nesac\n`,
      { mode: 0o755 },
    );
    const budget = new Budget(defaultLimits);
    const git = new PublishedGit(scratch, budget, program);
    const thread = new ReadingThread();
    let read = 0;
    await t.rejects(
      budget.within(async () => {
        const ids = await git.commits((await git.fetch([good.logs.path]))[0] as string);
        const history = new PublishedHistory(git, ids, logsKey, new Findings());
        for await (const window of history.windows(thread)) read += window.length;
        t.equal(read, ids.length);
        await git.close();
      }),
      { name: 'Unreadable', message: expected },
      `a git ${name}`,
    );
    await thread.end();
  }
});

void tap.test(
  'commits that fill a window by their size are each judged once, and so is what comes after them',
  async (t) => {
    const farm = new Farm(keys, good);
    t.teardown(() => farm.remove());
    const { logs } = farm;
    const large = Array.from({ length: 7 }, (_, i) =>
      logs.commit({
        put: { [other]: Array.from({ length: i + 1 }, () => line()).join('') },
        message: `Publish ${i}\n\n${'x'.repeat(3_500_000)}\n`,
      }),
    );
    logs.commit({ put: { [`${folder}/log_2026-11-21_23-00-00`]: 'no line of a log\n' } });
    const { commits, checks } = await verdict(farm);
    const found = (name: string, code: string): (string | undefined)[] =>
      checks
        .find((row) => row.name === name)
        ?.findings.filter((one) => one.code === code)
        .map(({ commit }) => commit) ?? [];
    t.strictSame(found('file-lines', 'BAD_PUBLICATION'), large);
    t.strictSame(found('file-lines', 'CHANGE_WITHOUT_LINE'), large);
    t.strictSame(found('files-grow', 'BAD_LINE'), [logs.head]);
    t.equal(checks.find((row) => row.name === 'one-line')?.count, commits);
  },
);

void tap.test('each limit ends the audit with 2 and says what was not checked', async (t) => {
  const farm = new Farm(keys, good);
  t.teardown(() => farm.remove());
  const with2 = async (
    option: string,
    value: string,
    expected: RegExp,
    remotes: readonly string[] = [farm.logs.path],
  ): Promise<void> => {
    const { status, out, err } = await runAudit([...argumentsFor(farm, remotes), option, value]);
    t.equal(status, 2, option);
    t.equal(out, '');
    t.match(err, expected, option);
    t.equal(err.split('\n').length, 2, 'one line');
  };
  await with2('--max-objects', '9', /--max-objects of 9 git objects is met: .* was not checked/);
  await with2('--max-memory', '20', /(--max-memory of 20 MiB is met|cannot be checked): /);
  const { logs } = farm;
  logs.commit({ put: { [`${other}.xz`]: xz(Buffer.from(line('x'.repeat(60_000)).repeat(400))) } });
  await with2(
    '--max-read',
    '5',
    /--max-read of 5 MiB is met: what comes after commit \d+ of 7, and no package repository, was not checked/,
  );
  logs.commit({
    put: {
      [other]: Array.from({ length: 30_000 }, (_, i) => line(sha256(String(i)) + sha256(`${i}x`))).join(''),
    },
  });
  await with2('--max-download', '1', /logs\.git: git fetch/);
  // A remote that never answers is late on every machine, however fast.
  const silent = createServer(() => undefined).listen(0, '127.0.0.1');
  await once(silent, 'listening');
  await with2('--max-seconds', '1', /--max-seconds of 1 s is met|cannot be checked/, [
    `http://127.0.0.1:${(silent.address() as AddressInfo).port}/logs.git`,
  ]);
  silent.close();
});

void tap.test('bad values of limits', async (t) => {
  for (const value of ['0', '-1', '1.5', 'x', ''])
    t.throws(
      () => readOptions(['--logs', 'x', '--logs-key', 'y', `--max-objects=${value}`]),
      { name: 'Misuse', message: /--max-objects (is not a number|needs a value)/ },
      value,
    );
  const { status, err } = await runAudit(['--logs', 'x', '--logs-key', 'y', '--max-objects=0']);
  t.equal(status, 2);
  t.match(err, /^build-infra audit: --max-objects is not a number\n/);
});

// Last: they leave this process so large that each child would take longer to start.
attack('forty commits whose messages are 15 MB each', ['commits-signed BAD_COMMIT'], ({ logs }) => {
  // Whoever serves them need not look for deltas between them.
  execFileSync('git', ['--git-dir', logs.path, 'config', 'core.bigFileThreshold', '1m']);
  const same = execFileSync('git', ['--git-dir', logs.path, 'rev-parse', 'HEAD^{tree}']).toString().trim();
  for (let i = 0; i < 40; i++)
    logs.commit({ tree: same, signer: null, message: `Publish\n\n${String(i).padStart(15_000_000, 'x')}\n` });
});
// A tree so deep that git crashes on it, and a head whose every log is gone.
attack(
  'a tree 20,000 folders deep, with every log removed',
  ['file-lines BAD_TREE', 'files-grow FILE_REMOVED'],
  ({ logs }) =>
    void logs.commit({
      tree: tree(logs, [
        ...entriesOf(logs, 'HEAD').filter(([, one]) => one !== 'build-debian'),
        ['40000', 'z', deep(logs, 20_000)],
      ]),
    }),
  { commit: 'head' },
);
