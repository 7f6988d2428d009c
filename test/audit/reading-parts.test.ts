// SPDX-License-Identifier: GPL-2.0-or-later
// The reading thread's parts in this process, with git's answers made here: objects, commits, trees, what
// messages tell, and the windows of all of it.
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readKey } from 'openpgp';
import tap from 'tap';
import { quickKeysOf } from '../../agents/audit/commit-signature.js';
import { ObjectReader, ReadingEnded } from '../../agents/published/history/objects.js';
import type { ObjectType } from '../../agents/shared/programs/git-objects.js';
import { QuickSignatures } from '../../agents/published/history/quick-signatures.js';
import { readCommit } from '../../agents/published/history/read-commit.js';
import {
  readWindows,
  type ReadWindow,
  type Said,
  type Shared,
} from '../../agents/published/history/thread.js';
import { TreeWalk, type BadFolder } from '../../agents/published/history/tree-walk.js';
import { WindowFiles, type CommitFiles } from '../../agents/published/history/window-files.js';
import { writePublicationMessage } from '../../agents/shared/formats/publication.js';
import { folderOf } from '../support/folders.js';
import { LogsRepository, log, sha256, type CommitOptions } from './farm.js';
import { pens } from './pens.js';
import { chance, compareTold, dishonest, honest, type Commit } from './told-histories.js';
import { UnwrittenLogs } from './unwritten-farm.js';

tap.setTimeout(300_000);
const top = folderOf(tap);
const quickKeys = await quickKeysOf(await readKey({ armoredKey: pens.export('logs').toString() }));

/** What a git would answer, in a file. */
function answering(
  text: string | Buffer,
  spend: (what: 'objects' | 'bytes', count: number) => void = () => undefined,
): { objects: ObjectReader; asked: () => string } {
  const [questions, answers] = [join(top, 'questions'), join(top, 'answers')];
  writeFileSync(answers, text);
  return {
    objects: new ObjectReader(
      { questions: openSync(questions, 'w'), answers: openSync(answers, 'r') },
      spend,
    ),
    asked: () => readFileSync(questions, 'latin1'),
  };
}
const [a, b, c] = ['a', 'b', 'c'].map((digit) => digit.repeat(40)) as [string, string, string];
const answer = (id: string, body: Buffer | string, type = 'blob'): Buffer =>
  Buffer.concat([Buffer.from(`${id} ${type} ${body.length}\n`), Buffer.from(body), Buffer.from('\n')]);

void tap.test(
  'objects come in order, whole, or as their size where they are too large, and each is paid for',
  (t) => {
    const spent: string[] = [];
    const large = 'x'.repeat(700_000);
    const { objects, asked } = answering(
      Buffer.concat([answer(a, 'one'), answer(b, large), answer(c, ''), answer(a, large), answer(b, 'last')]),
      (what, count) => spent.push(`${what} ${count}`),
    );
    const got: unknown[] = [];
    objects.readAll([a, b, c], 'blob', 1000, (n, body) =>
      got.push([n, typeof body === 'number' ? body : body.toString()]),
    );
    t.same(got, [
      [0, 'one'],
      [1, 700_000],
      [2, ''],
    ]);
    t.same(spent, ['objects 1', 'bytes 3', 'objects 1', 'bytes 700000', 'objects 1', 'bytes 0']);
    t.equal(asked(), `contents ${a}\ncontents ${b}\ncontents ${c}\nflush\n`);
    const place = Buffer.alloc(700_000);
    objects.readAll(
      [a, b],
      'blob',
      700_000,
      (n, body) => got.push([n, (body as Buffer).toString('latin1', 0, 6)]),
      (_, bytes) => place.subarray(0, bytes),
    );
    t.same(got.slice(3), [
      [0, 'xxxxxx'],
      [1, 'last'],
    ]);
    t.ok(
      place.subarray(4).every((byte) => byte === 120),
      'all of it',
    );
    objects.finish();
    objects.close();
    t.end();
  },
);

void tap.test('a large object is whole, and more are asked for as answers come', (t) => {
  const body = Array.from({ length: 700_000 }, (_, i) => String(i % 10)).join('');
  const many = Array.from({ length: 1200 }, (_, i) => i.toString(16).padStart(40, '0'));
  const { objects, asked } = answering(Buffer.concat([answer(a, body), ...many.map((id) => answer(id, id))]));
  objects.readAll([a], 'blob', 1_000_000, (_, found) => t.ok((found as Buffer).equals(Buffer.from(body))));
  const seen: number[] = [];
  objects.readAll(many, 'blob', 40, (n, found) => {
    if ((found as Buffer).toString() !== many[n]) t.fail(`the ${n}th`);
    seen.push(asked().split('\n').length - asked().split('flush').length);
  });
  t.equal(seen.length, 1200);
  t.equal(
    asked().replaceAll('flush\n', ''),
    [a, ...many].map((id) => `contents ${id}\n`).join(''),
    'each once',
  );
  t.equal(asked().split('flush').length - 1, 5);
  objects.finish();
  objects.close();
  t.end();
});

void tap.test('an object by its name', (t) => {
  const { objects, asked } = answering(
    Buffer.concat([
      answer(a, 'one'),
      Buffer.from(`${b}:x missing\n`),
      answer(a, 'one', 'tree'),
      answer(a, 'large'),
      answer(c, 'four'),
    ]),
  );
  const named = (limit: number): string | undefined => {
    const found = objects.readNamed(`${b}:x`, 'blob', limit);
    return found === undefined ? undefined : `${found.id} ${found.body.toString()}`;
  };
  t.same(
    [named(3), named(3), named(3), named(4), named(4)],
    [`${a} one`, undefined, undefined, undefined, `${c} four`],
  );
  t.equal(asked(), `contents ${b}:x\nflush\n`.repeat(5));
  objects.finish();
  objects.close();
  t.end();
});

void tap.test('a git that answers something else, or ends, is not believed', (t) => {
  const cases: [string | Buffer, RegExp | undefined][] = [
    ['', undefined],
    [`${a} blob 3\n`, undefined],
    [`${a} blob 3\non`, undefined],
    [`${a} blob 3\none`, undefined],
    [`${a} blob 3`, undefined],
    [`${a} blob 3\none?`, /another size/],
    [`${b} blob 3\none\n`, /what nobody asked: b/],
    [`${a} tree 3\none\n`, /object a+: a blob was expected, git has: tree/],
    [`${a} missing\n`, /git has: missing/],
    [`${a} blob x\n`, /git has: blob/],
    ['x'.repeat(5000), /what nobody asked/],
    [`${a} blob 1234567890123456\n`, /git has: blob/],
  ];
  for (const [text, why] of cases) {
    for (const place of [undefined, (_: number, bytes: number): Buffer => Buffer.alloc(bytes)]) {
      const { objects } = answering(text);
      try {
        objects.readAll([a], 'blob', 100, () => undefined, place);
        t.fail(String(text).slice(0, 60));
      } catch (error) {
        t.ok(error instanceof ReadingEnded, String(text).slice(0, 60));
        t.match((error as ReadingEnded).unreadable ?? 'none', why ?? 'none', String(text).slice(0, 60));
        t.match((error as Error).message, why ?? /git ended/);
      }
      objects.close();
    }
  }
  const { objects } = answering(Buffer.concat([answer(a, 'one'), Buffer.from('more')]));
  objects.readAll([a], 'blob', 100, () => undefined);
  t.throws(() => objects.finish(), {
    name: 'ReadingEnded',
    message: 'git cat-file answered what nobody asked',
  });
  objects.close();
  const skipped = answering(`${a} blob 300\nx`);
  t.throws(() => skipped.objects.readAll([a], 'blob', 1, () => undefined), { name: 'ReadingEnded' });
  skipped.objects.close();
  const fd = openSync(join(top, 'answers'), 'r');
  const readOnly = new ObjectReader(
    { questions: openSync(join(top, 'answers'), 'r'), answers: fd },
    () => undefined,
  );
  t.throws(() => readOnly.readAll([a], 'blob', 1, () => undefined), {
    name: 'ReadingEnded',
    message: 'git ended',
  });
  readOnly.close();
  t.throws(() => closeSync(fd), 'it is closed');
  t.end();
});

/** The objects of a history that was never written. */
function objectsOf(logs: UnwrittenLogs, reads: string[] = []): ObjectReader {
  return {
    readAll(
      ids: readonly string[],
      type: ObjectType,
      limit: number,
      onObject: (n: number, body: Buffer | number) => void,
      place?: (n: number, bytes: number) => Buffer,
    ) {
      for (const [n, id] of ids.entries()) {
        const found = logs.objects.get(id);
        if (found?.type !== type) throw new ReadingEnded(`object ${id}`);
        reads.push(`${type} ${id}`);
        if (found.body.length > limit) onObject(n, found.body.length);
        else if (place === undefined) onObject(n, found.body);
        else {
          const body = place(n, found.body.length);
          found.body.copy(body);
          onObject(n, body);
        }
      }
    },
    readNamed(name: string, type: ObjectType, limit: number) {
      const [commit = '', path = ''] = name.split(':');
      let id = /^tree ([0-9a-f]{40})/.exec(logs.objects.get(commit)?.body.toString() ?? '')?.[1];
      for (const part of path.split('/')) {
        const tree = logs.objects.get(id ?? '')?.body ?? Buffer.alloc(0);
        const at = tree.indexOf(` ${part}\0`, 0, 'latin1');
        id = at < 0 ? undefined : tree.toString('hex', at + part.length + 2, at + part.length + 22);
      }
      const found = logs.objects.get(id ?? '');
      return found?.type === type && found.body.length <= limit ? { id, body: found.body } : undefined;
    },
  } as unknown as ObjectReader;
}

for (const [kind, seed] of [
  ['honest', 1],
  ['honest', 2],
  ['dishonest', 1000],
  ['dishonest', 2000],
] as const) {
  void tap.test(`what is told of a history by chance is what is there (${kind}, ${seed})`, (t) => {
    const random = chance(seed);
    const logs = new UnwrittenLogs(pens);
    for (let n = 1; n <= 90; n++) {
      const commits = kind === 'honest' || n < 3 || random(4) > 0 ? honest : dishonest;
      (commits[random(commits.length)] as Commit)(logs, random, n);
    }
    const ids = logs.commits.map(({ commit: { id } }) => id);
    for (const windowCommits of kind === 'honest' ? [1, 7, 128] : [1, 3]) {
      const { told, windows } = compareTold(t, objectsOf(logs), ids, windowCommits);
      if (kind === 'honest') t.equal(told, windows, `all windows of ${windowCommits}`);
      else if (windowCommits === 1)
        t.ok(told > 15 && told < windows, `${told} of ${windows} windows are told`);
    }
    t.end();
  });
}

void tap.test('an honest window is told with few questions, and what was read stays known', (t) => {
  const logs = new UnwrittenLogs(pens);
  for (let n = 0; n < 6; n++)
    logs.commit({
      put: {
        [log]: 'x'.repeat(10 * n + 10),
        [`intents/build-debian/2026-11-21/${sha256(String(n))}.json`]: `{"n":${n}}`,
      },
    });
  const ids = logs.commits.map(({ commit: { id } }) => id);
  const reads: string[] = [];
  const objects = objectsOf(logs, reads);
  const memory = Buffer.alloc(1024 * 1024);
  const files = new WindowFiles(objects);
  const windows = [ids.slice(0, 4), ids.slice(4)].map((here): CommitFiles[] => {
    const commits = here.map((id): CommitFiles => ({
      commit: readCommit(logs.objects.get(id)?.body as Buffer, new QuickSignatures([])),
      changes: [],
      bad: [],
    }));
    files.read(here, commits, memory);
    return commits;
  });
  t.same(
    windows.flat().map(({ changes, bad }) => [changes.length, bad.length]),
    Array.from({ length: 6 }, () => [2, 0]),
  );
  t.ok(
    windows
      .flat()
      .every(({ changes }) => changes.every(({ at, size }) => at !== undefined && size !== undefined)),
  );
  t.equal(
    reads.filter((one) => one.startsWith('blob')).length,
    6 + 2,
    'each intent, and of the log the last version of each window',
  );
  t.equal(
    files.treeBefore,
    /^tree ([0-9a-f]{40})/.exec(logs.objects.get(ids.at(-1) as string)?.body.toString() ?? '')?.[1],
  );
  t.end();
});

void tap.test("a file that is larger than its message tells takes no other file's place", (t) => {
  const logs = new UnwrittenLogs(pens);
  const names = ['0', '1', '2'].map((digit) => `build-debian/log_2026-11-21_21-00-0${digit}`) as [
    string,
    string,
    string,
  ];
  logs.commit({
    put: { [names[0]]: 'zero'.repeat(200), [names[1]]: 'x'.repeat(500), [names[2]]: 'two' },
    lines: (lines) => lines.map((one) => (one.path === names[1] ? { ...one, size: 3 } : one)),
  });
  const id = logs.commits[0]?.commit.id as string;
  const memory = Buffer.alloc(2000);
  const commits: CommitFiles[] = [
    {
      commit: readCommit(logs.objects.get(id)?.body as Buffer, new QuickSignatures([])),
      changes: [],
      bad: [],
    },
  ];
  new WindowFiles(objectsOf(logs)).read([id], commits, memory);
  t.same(
    commits[0]?.changes.map(({ at: from = 0, size }) =>
      size === undefined ? 'not read' : memory.toString('latin1', from, from + size),
    ),
    ['zero'.repeat(200), 'not read', 'two'],
  );
  t.end();
});

void tap.test('of a file that is gone nothing is read, whatever its message tells', (t) => {
  const logs = new UnwrittenLogs(pens);
  const path = 'build-debian/log_2026-11-21_21-00-00';
  logs.commit({ put: { [path]: 'one' } });
  logs.commit({
    put: { [log]: 'two' },
    remove: [path],
    lines: (lines) => [...lines, { path, size: 3, sha256: sha256('one') }],
  });
  const ids = logs.commits.map(({ commit: { id } }) => id);
  const commits = ids.map((id): CommitFiles => ({
    commit: readCommit(logs.objects.get(id)?.body as Buffer, new QuickSignatures([])),
    changes: [],
    bad: [],
  }));
  new WindowFiles(objectsOf(logs)).read(ids, commits, Buffer.alloc(1000));
  t.same(
    commits.map(({ changes }) => changes.map((one) => [one.path, one.after !== undefined, one.size])),
    [
      [[path, true, 3]],
      [
        [log, true, 3],
        [path, false, undefined],
      ],
    ],
  );
  t.end();
});

void tap.test('files are read ahead up to their limit, and as long as there is memory', (t) => {
  const limit = 256 * 1024;
  // 32 bytes of room before each.
  for (const [sizes, bytes, wanted] of [
    [[10], 42, [true]],
    [[10], 41, [false]],
    [[10, 20], 94, [true, true]],
    [[10, 20], 93, [true, false]],
    [[limit], 2 * limit, [true]],
    [[limit + 1], 2 * limit, [false]],
  ] as const) {
    const logs = new UnwrittenLogs(pens);
    logs.commit({
      put: Object.fromEntries(
        sizes.map((size, i) => [`build-debian/log_2026-11-21_21-00-0${i}`, String(i).repeat(size)]),
      ),
    });
    const id = logs.commits[0]?.commit.id as string;
    const commits: CommitFiles[] = [
      {
        commit: readCommit(logs.objects.get(id)?.body as Buffer, new QuickSignatures([])),
        changes: [],
        bad: [],
      },
    ];
    new WindowFiles(objectsOf(logs)).read([id], commits, Buffer.alloc(bytes));
    t.same(
      commits[0]?.changes.map(({ size }) => size !== undefined),
      wanted,
      `${sizes.join()} in ${bytes}`,
    );
    t.ok(commits[0]?.changes.every(({ after }) => after !== undefined));
  }
  t.end();
});

type Entry = [mode: string, name: string, id: string];
const treeOf = (logs: UnwrittenLogs, entries: readonly Entry[]): string =>
  logs.object(
    'tree',
    Buffer.concat(
      entries.map(([mode, name, id]) =>
        Buffer.concat([Buffer.from(`${mode} ${name}\0`), Buffer.from(id, 'hex')]),
      ),
    ),
  );
void tap.test('a tree walk says what differs, and what is no folder of ours', (t) => {
  const logs = new UnwrittenLogs(pens);
  const [x, y] = [logs.object('blob', 'x'), logs.object('blob', 'y')];
  const walk = (
    before: string | undefined,
    after: string,
    told = 0,
  ): { changes: string[]; bad: string[] } => {
    const [found] = new TreeWalk(objectsOf(logs)).changes([{ before, after, told }]) as [
      { changes: { path: string; after: string | undefined }[]; bad: BadFolder[] },
    ];
    return {
      changes: found.changes.map(
        ({ path, after: id }) => `${path} ${id === x ? 'x' : id === y ? 'y' : id === undefined ? '-' : '?'}`,
      ),
      bad: found.bad.map(({ code, path }) => `${code} ${path}`),
    };
  };
  const one = treeOf(logs, [
    ['100644', 'a', x],
    ['100644', 'b', x],
  ]);
  const other = treeOf(logs, [
    ['100644', 'a', y],
    ['100644', 'c', x],
  ]);
  const empty = treeOf(logs, []);
  t.same(walk(undefined, one), { changes: ['a x', 'b x'], bad: [] });
  t.same(walk(one, other), { changes: ['a y', 'b -', 'c x'], bad: [] });
  t.same(
    walk(
      treeOf(logs, [['40000', 'f', one]]),
      treeOf(logs, [
        ['40000', 'f', other],
        ['40000', 'g', one],
      ]),
    ),
    { changes: ['f/a y', 'f/b -', 'f/c x', 'g/a x', 'g/b x'], bad: [] },
  );
  t.same(
    walk(treeOf(logs, [['40000', 'f', one]]), treeOf(logs, [['100644', 'f', x]])),
    { changes: ['f x', 'f/a -', 'f/b -'], bad: [] },
    'a file in the place of a folder',
  );
  t.same(walk(treeOf(logs, [['100644', 'f', x]]), treeOf(logs, [['40000', 'f', one]])), {
    changes: ['f -', 'f/a x', 'f/b x'],
    bad: [],
  });
  t.same(
    walk(
      treeOf(logs, [
        ['40000', 'f', one],
        ['100644', 'z', x],
      ]),
      treeOf(logs, [['100644', 'z', x]]),
    ),
    { changes: ['f/a -', 'f/b -'], bad: [] },
  );
  t.same(walk(undefined, empty), { changes: [], bad: ['BAD_TREE '] });
  t.same(walk(undefined, treeOf(logs, [['40000', 'f', empty]])), { changes: [], bad: ['BAD_TREE f/'] });
  t.same(walk(undefined, treeOf(logs, [['100755', 'f', x]])), { changes: [], bad: ['BAD_FILE_MODE f'] });
  t.same(
    walk(
      undefined,
      treeOf(logs, [
        ['100644', 'b', x],
        ['100644', 'a', x],
      ]),
    ),
    { changes: [], bad: ['BAD_TREE a'] },
  );
  for (const name of ['.git', '-x', 'a b'])
    t.same(walk(undefined, treeOf(logs, [['40000', name, one]])), { changes: [], bad: [`BAD_PATH ${name}`] });
  const deep = (folders: number): string =>
    folders === 0 ? one : treeOf(logs, [['40000', 'd', deep(folders - 1)]]);
  t.same(walk(undefined, deep(4)), { changes: ['d/d/d/d/a x', 'd/d/d/d/b x'], bad: [] });
  t.same(walk(undefined, deep(5)), { changes: [], bad: ['BAD_TREE d/d/d/d/d'] });
  t.same(walk(undefined, treeOf(logs, [['100644', 'long', logs.object('tree', Buffer.alloc(0))]])).bad, []);
  const wide = (count: number): string =>
    treeOf(
      logs,
      Array.from({ length: count }, (_, i): Entry => ['100644', `n${String(i).padStart(5, '0')}`, x]),
    );
  t.same(walk(undefined, wide(1000)).bad, []);
  const more = walk(undefined, wide(1001));
  t.same([more.bad, more.changes.length], [['TOO_MANY_CHANGES '], 1000]);
  t.same(walk(undefined, wide(1001), 1).bad, [], 'as many as the message tells of');
  t.same(walk(wide(1001), treeOf(logs, [['100644', 'n00000', x]])).bad, [], 'what goes counts as well');
  t.same(walk(wide(1002), treeOf(logs, [['100644', 'n00000', x]])).bad, ['TOO_MANY_CHANGES ']);
  const large = logs.object('tree', Buffer.alloc(16 * 1024 * 1024 + 1));
  t.same(walk(undefined, large), { changes: [], bad: ['BAD_TREE '] });
  const reads: string[] = [];
  const kept = new TreeWalk(objectsOf(logs, reads));
  kept.changes([
    { before: undefined, after: one, told: 0 },
    { before: one, after: other, told: 0 },
  ]);
  kept.changes([{ before: other, after: one, told: 0 }]);
  t.same(reads, [`tree ${one}`, `tree ${other}`], 'each is read once');
  t.end();
});

/** Commits whose bodies are kept, signed as gpg would. */
class SignedLogs extends LogsRepository {
  readonly bodies: Buffer[] = [];
  constructor() {
    super('', pens);
  }

  override object(type: 'blob' | 'tree' | 'commit', body: Buffer | string): string {
    if (type === 'commit') this.bodies.push(Buffer.from(body));
    return super.object(type, body);
  }

  make(options: CommitOptions): Buffer {
    this.commit(options);
    return this.bodies.at(-1) as Buffer;
  }
}
const time = Math.floor(Date.now() / 1000) - 60;
const put = { [log]: 'x' };
const at = ['--faked-system-time', `${time}!`];

void tap.test('a commit is read as it is signed, or with what is wrong with it', (t) => {
  const logs = new SignedLogs();
  const read = (body: Buffer): ReturnType<typeof readCommit> =>
    readCommit(body, new QuickSignatures(quickKeys));
  const first = read(logs.make({ put, time, more: at }));
  t.match(first, {
    tree: /^[0-9a-f]{40}$/,
    parents: [],
    time: time * 1000,
    signedAt: time * 1000,
    message: { seq: 1, files: [{ path: log, size: 1, sha256: sha256('x') }] },
  });
  t.same(
    [first.refusal, first.unjudged, first.badMessage, first.tooLarge],
    [undefined, undefined, undefined, undefined],
  );
  const good = logs.make({ put, time, more: at });
  t.equal(read(good).parents.length, 1);
  for (const who of ['signing', 'stranger'] as const)
    t.match(read(logs.make({ put, signer: who })), {
      signedAt: undefined,
      unjudged: { signed: /^tree /, signature: /^-----BEGIN PGP SIGNATURE-----\n/ },
    });
  const unjudged = read(Buffer.from(good.toString().replace('Publish 1', 'Publish 2'))).unjudged;
  t.match(unjudged?.signed, /Publish 2 files/);
  t.equal(read(logs.make({ put, message: 'Update\n' })).message, undefined);
  t.ok(read(logs.make({ put, message: 'Update\n' })).badMessage);
  const unsigned = read(logs.make({ put, signer: null, parents: [a, b] }));
  t.match(unsigned, {
    tree: /^[0-9a-f]{40}$/,
    parents: [a, b],
    refusal: { code: 'NOT_SIGNED' },
    message: { files: [{ path: log }] },
  });
  t.same([unsigned.signedAt, unsigned.unjudged, unsigned.time], [undefined, undefined, undefined]);
  t.match(read(Buffer.from('nothing at all')), { parents: [], refusal: {}, tree: undefined });
  t.notOk('tree' in read(Buffer.from(`x\ntree ${a}\n\nUpdate\n`)));
  for (const [from, to] of [
    ['build-logs <build-logs@', 'other <build-logs@'],
    ['@build-infra.invalid', '@elsewhere.invalid'],
    ['+0000', '+0100'],
    ['author build-logs', 'author Build-logs'],
  ] as const) {
    const text = good.toString();
    t.equal(read(Buffer.from(text.replace(from, to))).time, undefined, to);
    t.equal(
      read(
        Buffer.from(
          text.replace(/\ncommitter .*/, (line) =>
            line.replace(from.replace('author', 'committer'), to.replace('author', 'committer')),
          ),
        ),
      ).time,
      undefined,
      `${to} of the committer`,
    );
  }
  t.end();
});

void tap.test('windows of commits are read until all are, a limit is met, or git ends', async (t) => {
  const logs = new UnwrittenLogs(pens);
  for (let n = 0; n < 130; n++) logs.commit({ put: n % 2 === 0 ? { [log]: 'x'.repeat(n + 1) } : {}, time });
  const ids = logs.commits.map(({ commit: { id } }) => id);
  const shared = (): Shared => ({
    memory: [new SharedArrayBuffer(1024 * 1024), new SharedArrayBuffer(1024 * 1024)],
    judged: new SharedArrayBuffer(4),
  });
  // Answers as they will be asked for: what a reader over the objects asks for, written down first.
  const order: Buffer[] = [];
  const recorded = objectsOf(logs);
  const recorder = {
    readAll(...[all, type, limit, onObject, place]: Parameters<ObjectReader['readAll']>) {
      for (const id of all) order.push(answer(id, logs.objects.get(id)?.body as Buffer, type));
      recorded.readAll(all, type, limit, onObject, place);
    },
    readNamed: recorded.readNamed.bind(recorded),
  } as unknown as ObjectReader;
  const files = new WindowFiles(recorder);
  for (const here of [ids.slice(0, 128), ids.slice(128)]) {
    const commits: CommitFiles[] = [];
    recorder.readAll(
      here,
      'commit',
      1_000_000,
      (_, body) =>
        void commits.push({
          commit: readCommit(body as Buffer, new QuickSignatures(quickKeys)),
          changes: [],
          bad: [],
        }),
    );
    files.read(here, commits, Buffer.alloc(1024 * 1024));
  }
  const all = Buffer.concat(order);
  const run = (
    text: Buffer,
    limits = { objects: 10_000, bytes: 1e9 },
  ): { windows: ReadWindow[]; end: Said | undefined } => {
    const windows: ReadWindow[] = [];
    let end: Said | undefined;
    writeFileSync(join(top, 'answers'), text);
    const pipes = {
      questions: openSync(join(top, 'questions'), 'w'),
      answers: openSync(join(top, 'answers'), 'r'),
    };
    readWindows(shared(), { pipes, ids, keys: quickKeys, limits }, (said) => {
      if ('window' in said) windows.push(JSON.parse(said.window) as ReadWindow);
      else end = said;
    });
    t.throws(() => closeSync(pipes.answers), 'closed');
    return { windows, end };
  };
  const whole = run(all);
  t.same(whole.end, { end: 'done' });
  t.same(
    whole.windows.map(({ commits }) => commits.length),
    [128, 2],
  );
  t.same(
    whole.windows.flatMap(({ commits }) =>
      commits.map(({ changes, bad }) => [changes.map(({ path, size }) => `${path} ${size}`), bad]),
    ),
    ids.map((_, n) => [n % 2 === 0 ? [`${log} ${n + 1}`] : [], []]),
  );
  t.equal(
    whole.windows.reduce((sum, { objects }) => sum + objects, 0),
    order.length,
  );
  t.equal(
    whole.windows.reduce((sum, { bytes }) => sum + bytes, 0),
    order.reduce((sum, one) => sum + one.length - one.indexOf(10) - 2, 0),
  );
  t.same(run(all, { objects: 5, bytes: 1e9 }), { windows: [], end: { end: 'objects' } });
  t.same(run(all, { objects: order.length, bytes: 1e9 }).end, { end: 'done' }, 'the last one counts');
  t.same(run(all, { objects: order.length - 1, bytes: 1e9 }).end, { end: 'objects' });
  t.same(run(all, { objects: 1e9, bytes: 100 }).end, { end: 'bytes' });
  t.same(run(all.subarray(0, -1)).end, { end: 'git' });
  t.same(run(Buffer.concat([all, Buffer.from('x')])).end, {
    end: 'git',
    why: 'git cat-file answered what nobody asked',
  });
  t.same(run(Buffer.from(`${ids[0] as string} missing\n`)).end, {
    end: 'git',
    why: `object ${ids[0] as string}: a commit was expected, git has: missing`,
  });
  // Too large to be read: nothing is known of it.
  const large = `tree ${a}\n\n${'x'.repeat(4 * 1024 * 1024)}`;
  writeFileSync(join(top, 'answers'), answer(a, large, 'commit'));
  const said: Said[] = [];
  readWindows(
    shared(),
    {
      pipes: {
        questions: openSync(join(top, 'questions'), 'w'),
        answers: openSync(join(top, 'answers'), 'r'),
      },
      ids: [a],
      keys: quickKeys,
      limits: { objects: 10, bytes: 1e9 },
    },
    (one) => said.push(one),
  );
  t.same((JSON.parse((said[0] as { window: string }).window) as ReadWindow).commits, [
    { commit: { tooLarge: large.length, parents: [] }, changes: [], bad: [] },
  ]);
  t.same(said[1], { end: 'done' });
  // A message that fills the window: what does not fit is asked for again.
  const filled = new UnwrittenLogs(pens);
  const message = (n: number): string =>
    `${writePublicationMessage({ subject: 'Publish 0 files', files: [], seq: n })}${'x'.repeat(3_000_000)}\n`;
  for (let n = 1; n <= 5; n++) filled.commit({ put: n === 1 ? put : {}, message: message(n), time });
  const five = filled.commits.map(({ commit: { id } }) => id);
  const commit = (id: string): Buffer => answer(id, filled.objects.get(id)?.body as Buffer, 'commit');
  const tree = /^tree ([0-9a-f]{40})/.exec(
    filled.objects.get(five[0] as string)?.body.toString('latin1', 0, 60) ?? '',
  )?.[1] as string;
  const folders = [
    tree,
    ...['build-debian', 'hello'].map(
      (_, i) =>
        [...filled.objects].filter(([id, { type }]) => type === 'tree' && id !== tree)[1 - i]?.[0] as string,
    ),
  ];
  writeFileSync(
    join(top, 'answers'),
    Buffer.concat([
      ...five.map(commit),
      ...folders.map((id) => answer(id, filled.objects.get(id)?.body as Buffer, 'tree')),
      ...five.slice(3).map(commit),
    ]),
  );
  const parts: Said[] = [];
  readWindows(
    shared(),
    {
      pipes: {
        questions: openSync(join(top, 'questions'), 'w'),
        answers: openSync(join(top, 'answers'), 'r'),
      },
      ids: five,
      keys: quickKeys,
      limits: { objects: 100, bytes: 1e9 },
    },
    (one) => parts.push(one),
  );
  t.same(
    parts.map((one) => ('window' in one ? (JSON.parse(one.window) as ReadWindow).commits.length : one)),
    [3, 2, { end: 'done' }],
  );
  await Promise.resolve();
});
