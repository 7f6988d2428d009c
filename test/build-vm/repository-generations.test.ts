// SPDX-License-Identifier: GPL-2.0-or-later
// From which generation the next one is made, after everything that may have come between.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Generations, type Generation } from '../../agents/build-vm/repositories/repository-generations.js';
import { releaseOnServer, uploadGeneration } from '../../agents/build-vm/repositories/upload-generation.js';

interface Place {
  home: string;
  key: string;
  open: () => Generations;
  make: (job: string, hash: string, base?: string | null) => Generation;
}

function place(test: Test): Place {
  const home = mkdtempSync(join(tmpdir(), 'bi-gen-'));
  test.teardown(() => rmSync(home, { recursive: true, force: true }));
  const key = join(home, 'key.asc');
  writeFileSync(key, 'key');
  const open = (): Generations => new Generations(home);
  return {
    home,
    key,
    open,
    make: (job, hash, base) => {
      const generations = open();
      const made = generations.next(hash.repeat(12));
      mkdirSync(made.folder);
      writeFileSync(join(made.folder, 'key.asc'), readFileSync(key));
      writeFileSync(
        join(made.folder, 'made-by.json'),
        JSON.stringify({ job, base: base === undefined ? (generations.published()?.release ?? null) : base }),
      );
      return made;
    },
  };
}
const names = (all: readonly Generation[]): string[] => all.map(({ release }) => release);
const log = { say: () => undefined } as never;
const never = (): Promise<string | undefined> => Promise.reject(new Error('nobody is asked'));

void t.test(
  "the first one is made from nothing, the next from what was switched to, and what stayed here is nobody's base",
  async (t) => {
    const { open, make, key } = place(t);
    t.equal(open().published(), undefined);
    const first = make('a', 'a');
    t.equal(open().published(), undefined, 'made is not public');
    open().switching(first);
    t.throws(() => open().published(), /nobody knows/);
    await open().settle('a', key, never, log);
    t.equal(open().ofJob('a', key)?.release, first.release, 'its job begins where it was broken off');
    open().switched(first);
    t.match(open().published(), first);
    const given = make('b', 'b');
    const third = make('c', 'c');
    t.strictSame(names([first, given, third]), [
      '000001-aaaaaaaaaaaa',
      '000002-bbbbbbbbbbbb',
      '000003-cccccccccccc',
    ]);
    t.match(open().published(), first);
    open().switching(third);
    open().switched(third);
    t.strictSame(names(open().all()), names([first, third]), 'what was given up goes');
    t.strictSame(names(open().lineage()), names([third, first]));
  },
);

void t.test(
  'a job goes on with what it made, unless something else went public since or the key is another',
  (t) => {
    const { open, make, key } = place(t);
    const [mine, other] = [make('mine', 'a'), make('other', 'b')];
    t.match(open().ofJob('mine', key), mine);
    t.equal(open().ofJob('nobody', key), undefined);
    writeFileSync(key, 'another key');
    t.equal(open().ofJob('mine', key), undefined, 'its metadata is by a key that nobody trusts any more');
    writeFileSync(key, 'key');
    open().switched(other);
    t.equal(open().ofJob('mine', key), undefined);
    const again = make('mine', 'c');
    t.match(open().ofJob('mine', key), again);
    open().switched(again);
    t.match(open().ofJob('mine', key), again, 'also when it is public');
    t.end();
  },
);

for (const [what, answer, expected] of [
  ['switched', '000002-bbbbbbbbbbbb', '000002-bbbbbbbbbbbb'],
  ['did not', '000001-aaaaaaaaaaaa', '000001-aaaaaaaaaaaa'],
  ['says something else', '000000-cccccccccccc', '000002-bbbbbbbbbbbb'],
  ['has nothing', undefined, '000002-bbbbbbbbbbbb'],
] as const) {
  void t.test(`where nobody knows whether the server switched it is asked: it ${what}`, async (t) => {
    const { open, make, key } = place(t);
    open().switched(make('a', 'a'));
    open().switching(make('b', 'b'));
    await t.rejects(
      open().settle('c', key, () => Promise.reject(new Error('away')), log),
      /away/,
    );
    t.throws(() => open().published(), /nobody knows/, 'without an answer nothing is made');
    await open().settle('c', key, () => Promise.resolve(answer), log);
    t.equal(open().published()?.release, expected);
    await open().settle('d', key, never, log);
  });
}

void t.test('what is public and not here any more is not replaced by an empty repository', (t) => {
  const { home, open, make } = place(t);
  const only = make('a', 'a');
  open().switched(only);
  rmSync(only.folder, { recursive: true });
  t.throws(() => open().published(), { code: 'REPOSITORY_LOST' });
  make('b', 'b', null);
  rmSync(join(home, 'public.json'));
  t.throws(
    () => open().published(),
    { code: 'REPOSITORY_LOST' },
    'nor is it where nobody knows any more what is public',
  );
  t.end();
});

void t.test(
  'a server that cannot be asked, or an upload that is stopped before the switch, is no answer',
  async (t) => {
    const to = { upload: 'ssh://127.0.0.1:9/srv/x', sshConfig: '/dev/null' };
    await t.rejects(releaseOnServer(to), { code: 'UPLOAD_FAILED' });
    await t.rejects(
      uploadGeneration({ release: '000001-aaaaaaaaaaaa', folder: '/nonexistent' }, to, {
        say: () => undefined,
        tool: () => true,
        drained: () => Promise.resolve(),
        whenFailed: new Promise(() => undefined),
      } as never),
      { code: 'UPLOAD_FAILED' },
    );
  },
);
