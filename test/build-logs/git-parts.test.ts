// SPDX-License-Identifier: GPL-2.0-or-later
// The parts of the logs repository on a small real one: what git reads of what is written here, what is read
// back, and how the branch moves.
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { BranchMover } from '../../agents/build-logs/branch-mover.js';
import { BranchMoved, CommitChain } from '../../agents/build-logs/commit-chain.js';
import { LooseObjects, readTree, writeTree, type TreeEntry } from '../../agents/build-logs/git-objects.js';
import type { GitRepository } from '../../agents/build-logs/git-repository.js';
import { ObjectPacking } from '../../agents/build-logs/object-packing.js';
import { gitObjectId, readGitCommit } from '../../agents/shared/formats/git-commit.js';
import { GitObjects } from '../../agents/shared/programs/git-objects.js';
import { readPublicationMessage, type PublishedFile } from '../../agents/shared/formats/publication.js';
import { folderOf } from '../support/folders.js';
import { until } from '../support/until.js';
import { git, headOf, logsKey, repositoryIn, signerOf, strayCommit } from './git-pieces.js';
import { sha256 } from './rig.js';

const id = (digit: string): string => digit.repeat(40);
const emptyTree = '4b825dc642cb6eb9a060e54bf8d69288fbee4904';
const objectFile = (repository: string, object: string): string =>
  join(repository, 'objects', object.slice(0, 2), object.slice(2));
const temporary = (repository: string): string[] =>
  readdirSync(join(repository, 'objects')).filter((name) => name.startsWith('tmp_obj_'));

await t.test("a tree is written in git's order, and read as it was written", async (t) => {
  const { path } = await repositoryIn(t);
  const entries: TreeEntry[] = [
    { mode: '40000', name: 'a', id: id('1') },
    { mode: '100644', name: 'a0', id: id('2') },
    { mode: '100644', name: 'a.b', id: id('3') },
    { mode: '100644', name: 'B', id: id('4') },
    { mode: '40000', name: 'a-', id: id('5') },
    { mode: '100644', name: 'é', id: id('6') },
  ];
  const body = writeTree(entries);
  const listed = entries
    .map((entry) => `${entry.mode} ${entry.mode === '40000' ? 'tree' : 'blob'} ${entry.id}\t${entry.name}\n`)
    .join('');
  t.equal(
    gitObjectId('tree', body),
    git(path, ['-c', 'core.quotePath=false', 'mktree', '--missing'], listed).toString().trim(),
  );
  t.same(
    readTree(body).map(({ name }) => name),
    ['B', 'a-', 'a.b', 'a', 'a0', 'é'],
  );
  t.same(
    readTree(body).sort((a, b) => (a.id < b.id ? -1 : 1)),
    entries,
  );
  t.equal(entries[0]?.name, 'a', 'the list that was given stays as it was');
  t.same([readTree(Buffer.alloc(0)), writeTree([]).length], [[], 0]);
  for (const mode of ['100755', '120000', '160000'])
    t.throws(
      () => readTree(Buffer.concat([Buffer.from(`${mode} x\0`), Buffer.alloc(20)])),
      new RegExp(`mode ${mode}`),
    );
});

await t.test('an object has its name at once, and is there for git once all is synced', async (t) => {
  const { path } = await repositoryIn(t);
  const objects = new LooseObjects(path);
  const body = Buffer.from('one\n\0two');
  const written = objects.write('blob', body);
  t.same(written, { id: gitObjectId('blob', body), size: 8, sha256: sha256(body) });
  await objects.sync();
  t.ok(git(path, ['cat-file', 'blob', written.id]).equals(body));
  t.equal(statSync(objectFile(path, written.id)).mode & 0o777, 0o444 & ~process.umask());
  const { ino } = statSync(objectFile(path, written.id));
  t.same(objects.write('blob', body), written);
  await objects.sync();
  t.equal(statSync(objectFile(path, written.id)).ino, ino, 'what is there is not written again');
  const tree = objects.write('tree', writeTree([{ mode: '100644', name: 'x', id: written.id }]));
  await objects.sync();
  t.equal(git(path, ['ls-tree', tree.id]).toString(), `100644 blob ${written.id}\tx\n`);
  await objects.sync();
  t.same(temporary(path), []);

  const lost = new LooseObjects(join(path, 'nowhere'));
  lost.write('blob', body);
  await sleep(20);
  await t.rejects(lost.sync(), { code: 'ENOENT' }, 'what went wrong is said by the next sync');
  await lost.sync();
});

await t.test(
  'so many bytes of a file become a blob, nothing of it stays in this process, and a file that is shorter is a fault',
  async (t) => {
    const { path } = await repositoryIn(t);
    const objects = new LooseObjects(path);
    const warnings: string[] = [];
    const warned = (warning: Error): void => void warnings.push(warning.message);
    process.on('warning', warned);
    t.teardown(() => process.off('warning', warned));
    const file = join(folderOf(t), 'f');
    // Bytes that do not shrink: zlib is behind with every chunk.
    const body = randomBytes(8 * 1024 * 1024);
    writeFileSync(file, body);
    for (const size of [0, 1, 10, 1_048_576, 1_048_577, body.length - 1]) {
      const part = body.subarray(0, size);
      const written = await objects.writeFile(file, size);
      await objects.sync();
      t.same(written, { id: gitObjectId('blob', part), size, sha256: sha256(part) }, `${size}`);
      t.ok(git(path, ['cat-file', 'blob', written.id]).equals(part), `${size} bytes: git reads them back`);
    }
    await t.rejects(objects.writeFile(file, body.length + 1), /shorter/);
    writeFileSync(file, '0123456789');
    await t.rejects(objects.writeFile(file, 11), /shorter than 11 bytes/);
    await t.rejects(objects.writeFile(file, 1_048_577), /shorter/);
    await t.rejects(objects.writeFile(`${file}2`, 1), { code: 'ENOENT' });
    t.same(temporary(path), [], 'nothing is left of what failed');
    await sleep(20);
    t.same(warnings, [], 'no listener stays where one waited for the next chunk');
  },
);

await t.test(
  'objects are read in the order in which they were asked for, and a reader that ended begins anew',
  async (t) => {
    const folder = folderOf(t);
    const later = join(folder, 'later.git');
    const reader = new GitObjects(['git', '--git-dir', later], {});
    t.teardown(() => reader.stop());
    await t.rejects(
      Promise.all([reader.read(id('1')), reader.read(id('2'))]),
      /cat-file ended early with 128/,
    );
    const { path, objects } = await repositoryIn(t, folder, 'later.git');
    const bodies = ['', '\n', 'a\nb\n', 'x'.repeat(200_000), `y${'\n'.repeat(70_000)}`, 'last'].map((text) =>
      Buffer.from(text),
    );
    const ids = bodies.map((body) => objects.write('blob', body).id);
    await objects.sync();
    const asked = [...ids, id('a'), ...ids.slice().reverse(), emptyTree];
    const answers = await Promise.all(asked.map((one) => reader.read(one)));
    answers.forEach((answer, index) => {
      const body = bodies[ids.indexOf(asked[index] as string)];
      if (asked[index] === id('a')) t.equal(answer, undefined);
      else
        t.ok(
          answer?.type === (body === undefined ? 'tree' : 'blob') &&
            answer.body.equals(body ?? Buffer.alloc(0)),
          `answer ${index}`,
        );
    });
    reader.stop();
    t.equal((await reader.read(ids[5] as string))?.body.toString(), 'last', 'after a stop too');
    t.ok(existsSync(objectFile(path, ids[5] as string)));
  },
);

await t.test('the branch moves from where it is and from nowhere else', async (t) => {
  const { path } = await repositoryIn(t);
  const [one, two, three] = [
    await strayCommit(path),
    await strayCommit(path, { seq: 2 }),
    await strayCommit(path, { seq: 3 }),
  ];
  const mover = new BranchMover(path);
  t.teardown(() => mover.stop());
  await t.rejects(mover.move(one, two), /did not move refs\/heads\/main/);
  t.equal(headOf(path), '');
  await mover.move(null, one);
  t.equal(headOf(path), one);
  await t.rejects(mover.move(null, two), /did not move/);
  await t.rejects(mover.move(three, two), /did not move/);
  t.equal(headOf(path), one);
  await mover.move(one, two);
  await mover.move(two, three);
  t.equal(headOf(path), three);
  mover.stop();
  await mover.move(three, one);
  t.equal(headOf(path), one);
  await t.rejects(new BranchMover(join(path, 'none')).move(null, one), /did not move/);
});

await t.test(
  'a repository is made where none is, its configuration is ours, and left-overs go',
  async (t) => {
    const folder = folderOf(t);
    const { path } = await repositoryIn(t, folder);
    const files = ['config', 'HEAD'].map((name) => readFileSync(join(path, name), 'utf8'));
    t.equal(files[1], 'ref: refs/heads/main\n');
    t.same(
      ['core.bare', 'core.fsync', 'gc.auto', 'push.default', 'core.logAllRefUpdates'].map((name) =>
        git(path, ['config', name]).toString().trim(),
      ),
      ['true', 'all', '0', 'nothing', 'false'],
    );
    t.notOk(existsSync(join(path, 'hooks')), 'without a template');
    writeFileSync(join(path, 'config'), '[core]\n\tbare = false\n');
    writeFileSync(join(path, 'HEAD'), 'ref: refs/heads/other\n');
    for (const name of ['tmp_obj_1', 'other']) writeFileSync(join(path, 'objects', name), '');
    const lock = join(path, 'refs/heads/main.lock');
    writeFileSync(lock, '');
    const commit = await strayCommit(path);
    const before = Date.now();
    const again = await repositoryIn(t, folder);
    t.ok(Date.now() - before >= 990, 'a git that is about to end gets the time for it');
    t.same(
      ['config', 'HEAD'].map((name) => readFileSync(join(path, name), 'utf8')),
      files,
    );
    t.same(
      [
        existsSync(lock),
        existsSync(join(path, 'objects/tmp_obj_1')),
        existsSync(join(path, 'objects/other')),
      ],
      [false, false, true],
    );
    rmSync(join(path, 'objects/other'));
    t.equal(await again.head(), null);
    await again.moveBranch(null, commit);
    t.equal(await again.head(), commit);
    const begun = Date.now();
    t.equal(await (await repositoryIn(t, folder)).head(), commit);
    t.ok(Date.now() - begun < 990, 'nobody is waited for where no lock is');
  },
);

await t.test('who comes before whom; what is not here comes before nobody', async (t) => {
  const repository = await repositoryIn(t);
  const { path } = repository;
  const one = await strayCommit(path);
  const two = await strayCommit(path, { parent: one, seq: 2 });
  const three = await strayCommit(path, { parent: two, seq: 3 });
  const other = await strayCommit(path, { parent: one, seq: 4 });
  const cases: [string, string, boolean][] = [
    [one, three, true],
    [one, one, true],
    [three, one, false],
    [other, three, false],
    [three, other, false],
    [id('a'), three, false],
    [one, id('a'), false],
  ];
  for (const [older, newer, is] of cases) t.equal(await repository.isAncestor(older, newer), is);
  t.equal(
    (await repository.object(one, 'commit'))?.length,
    Number(git(path, ['cat-file', '-s', one]).toString()),
  );
  await t.rejects(repository.object(one, 'tree'), /is a commit, not a tree/);
  t.equal(await repository.object(id('b'), 'blob'), undefined);
  await t.rejects(repository.tree(id('b')), /tree b+ is missing/);
});

await t.test('files are put into a tree and taken out of it, and are found by their path', async (t) => {
  const folder = folderOf(t);
  const repository = await repositoryIn(t, folder);
  const { path, objects } = repository;
  const blob = (text: string): string => objects.write('blob', Buffer.from(text)).id;
  const [a, bb, ccc] = [blob('a'), blob('bb'), blob('ccc')];
  const first = await repository.withFiles(
    null,
    new Map([
      ['top', a],
      ['d/e/f', bb],
      ['d/g', a],
      ['d.x/h', a],
    ]),
  );
  const second = await repository.withFiles(
    first,
    new Map<string, string | null>([
      ['top', null],
      ['d/e/f', ccc],
      ['d/e/new', a],
      ['d/g', null],
    ]),
  );
  await objects.sync();
  const listed = (tree: string): string[] =>
    git(path, ['ls-tree', '-r', tree])
      .toString()
      .trim()
      .split('\n')
      .map((line) => line.replace(/^100644 blob ([0-9a-f]+)\t(.*)$/, '$2 $1'));
  t.same(listed(first), [`d.x/h ${a}`, `d/e/f ${bb}`, `d/g ${a}`, `top ${a}`]);
  t.same(listed(second), [`d.x/h ${a}`, `d/e/f ${ccc}`, `d/e/new ${a}`]);
  t.equal(await repository.withFiles(first, new Map()), first);
  await t.rejects(
    repository.withFiles(first, new Map([['top/x', a]])),
    /top is a file in the repository, not a folder/,
  );
  git(path, ['fsck', '--strict']);
  // One that wrote nothing of it finds the same.
  const other = await repositoryIn(t, folder);
  for (const reading of [repository, other]) {
    t.same(await reading.find(second, 'd/e/f'), { mode: '100644', name: 'f', id: ccc });
    t.match(await reading.find(second, 'd/e'), { mode: '40000', name: 'e' });
    for (const none of ['top', 'd/e/none', 'none/x', 'd/e/f/x'])
      t.equal(await reading.find(second, none), undefined, none);
    t.equal(await reading.find(null, 'd'), undefined);
    t.equal((await reading.tree(second)).length, 2);
  }
  t.equal(
    await other.withFiles(
      second,
      new Map([
        ['d/e/new', null],
        ['d/e/f', bb],
        ['top', a],
        ['d/g', a],
      ]),
    ),
    first,
    'and goes on from it',
  );
  const commit = objects.write(
    'commit',
    Buffer.from(`tree ${second}\nauthor a <a@b> 1 +0000\ncommitter a <a@b> 1 +0000\n\nx\n`),
  ).id;
  await repository.moveBranch(null, commit);
  t.same(await repository.filesBelow(commit, ['d/e', 'd.x']), [
    { path: 'd.x/h', size: 1 },
    { path: 'd/e/f', size: 3 },
    { path: 'd/e/new', size: 1 },
  ]);
  t.same(
    [await repository.filesBelow(commit, ['d/e/f']), await repository.filesBelow(commit, ['e'])],
    [[], []],
    'below a folder only',
  );
  await repository.pack();
  t.equal(readdirSync(join(path, 'objects/pack')).filter((name) => name.endsWith('.pack')).length, 1);
  t.equal((await repository.object(ccc, 'blob'))?.toString(), 'ccc');
});

interface Chain {
  repository: GitRepository;
  chain: CommitChain;
  path: string;
  set: (microseconds: number) => void;
  commit: (
    files?: Record<string, string>,
    more?: { intents?: number; notBefore?: number },
  ) => ReturnType<CommitChain['append']>;
}
async function chainIn(t: Test, folder = folderOf(t)): Promise<Chain> {
  const repository = await repositoryIn(t, folder);
  let now = 1_700_000_000_999_999;
  const chain = new CommitChain({ repository, signer: logsKey, vm: 'build-logs', clock: () => now });
  return {
    repository,
    chain,
    path: repository.path,
    set: (microseconds) => (now = microseconds),
    commit: (files = {}, { intents = 0, notBefore = 0 } = {}) => {
      const blobs = new Map<string, string>();
      const named = Object.entries(files).map(([path, text]): PublishedFile => {
        blobs.set(path, repository.objects.write('blob', Buffer.from(text)).id);
        return { path, size: text.length, sha256: sha256(text) };
      });
      return chain.append({ files: named, blobs, intents, notBefore });
    },
  };
}

await t.test(
  'each commit follows on the last one, carries the next number, and is signed over what it says',
  async (t) => {
    const one = await chainIn(t);
    t.equal(one.chain.head, null);
    t.equal(await one.chain.find('a/b'), undefined);
    const root = await one.commit({ 'a/b': 'text' });
    const second = await one.commit(
      { 'a/c': 'c', 'a/d': 'dd' },
      { intents: 1, notBefore: 1_700_000_005_000_001 },
    );
    one.set(1_800_000_000_000_000);
    const third = await one.commit({}, { intents: 2, notBefore: 5 });
    t.same(
      [root.seq, second.seq, third.seq, one.chain.head, headOf(one.path)],
      [1, 2, 3, third, third.commit],
    );
    const commits = [root, second, third].map(({ commit }) =>
      readGitCommit(git(one.path, ['cat-file', 'commit', commit])),
    );
    t.same(
      commits.map(({ parents }) => parents),
      [[], [root.commit], [second.commit]],
    );
    for (const commit of commits) t.ok(await logsKey.verifies(commit.signedBytes, commit.signature));
    const messages = commits.map(({ message }) => readPublicationMessage(message));
    t.same(
      messages.map(({ subject, seq }) => [subject, seq]),
      [
        ['Publish 1 file', 1],
        ['Publish 2 files, 1 intent', 2],
        ['Publish 0 files, 2 intents', 3],
      ],
    );
    t.same(messages[1]?.files, [
      { path: 'a/c', size: 1, sha256: sha256('c') },
      { path: 'a/d', size: 2, sha256: sha256('dd') },
    ]);
    const who = (seconds: number): string => `build-logs <build-logs@build-infra.invalid> ${seconds} +0000`;
    for (const [index, seconds] of [1_700_000_000, 1_700_000_005, 1_800_000_000].entries())
      t.match(
        commits[index]?.signedBytes.toString(),
        `author ${who(seconds)}\ncommitter ${who(seconds)}\n\n`,
      );
    t.equal(commits[2]?.tree, second.tree);
    t.equal((await one.chain.find('a/b'))?.id, gitObjectId('blob', Buffer.from('text')));
    git(one.path, ['fsck', '--strict']);
    // The proof that keys VMs get, and what whoever asks is shown.
    const raw = [root, second, third].map(({ commit }) => git(one.path, ['cat-file', 'commit', commit])) as [
      Buffer,
      Buffer,
      Buffer,
    ];
    const other = new CommitChain({ repository: one.repository, signer: logsKey, vm: 'x', clock: () => 0 });
    t.equal((await other.open(third.commit)).seq, 3);
    for (const chain of [one.chain, other]) {
      t.same(await chain.commitsAfter(null, third.commit), raw);
      t.same(await chain.commitsAfter(root.commit, third.commit), raw.slice(1));
      t.same(await chain.commitsAfter(root.commit, second.commit), [raw[1]]);
      t.same(await chain.commitsAfter(third.commit, third.commit), []);
      t.equal(await chain.commitsAfter(id('a'), third.commit), undefined);
    }
    await t.rejects(other.commitsAfter(null, id('a')), /commit a+ is missing/);
    const newest = (from: string, limit: number): Buffer[] => one.chain.newestCommits(from, limit);
    t.same(newest(third.commit, 1 << 20), [raw[2], raw[1], raw[0]]);
    t.same(newest(second.commit, raw[1].length + raw[0].length), [raw[1], raw[0]]);
    t.same(newest(second.commit, raw[1].length + raw[0].length - 1), [raw[1]]);
    t.same(
      [newest(third.commit, 0), newest(id('a'), 1000), other.newestCommits(third.commit, 1 << 20)],
      [[], [], []],
    );
  },
);

await t.test('a chain goes on from the head of the repository', async (t) => {
  const folder = folderOf(t);
  const first = await chainIn(t, folder);
  await first.commit({ 'a/b': 'x' });
  const head = await first.commit({ 'a/c': 'x' });
  const again = await chainIn(t, folder);
  t.same(await again.chain.open(head.commit), head);
  t.same(again.chain.head, head);
  const next = await again.commit({ 'a/d': 'x' });
  t.equal(next.seq, 3);
  for (const path of ['a/b', 'a/c', 'a/d']) t.ok(await again.chain.find(path), path);
  await t.rejects((await chainIn(t, folder)).chain.open(id('a')), /commit a+ is missing/);
});

await t.test(
  'a branch that somebody moved is followed where the commit is ours and the next one',
  async (t) => {
    const make = async (): Promise<Chain & { before: string }> => {
      const one = await chainIn(t);
      return { ...one, before: (await one.commit({ 'a/b': 'x' })).commit };
    };
    const ours = await make();
    const moved = await strayCommit(ours.path, { parent: ours.before, seq: 2 });
    git(ours.path, ['update-ref', 'refs/heads/main', moved]);
    t.ok((await ours.commit({ 'a/c': 'x' }).catch((error: unknown) => error)) instanceof BranchMoved);
    t.same([ours.chain.head?.commit, ours.chain.head?.seq], [moved, 2]);
    t.equal((await ours.commit({ 'a/c': 'x' })).seq, 3, 'and the next attempt goes on from there');
    for (const [by, onTop] of [
      [signerOf('stranger'), true],
      [logsKey, false],
    ] as const) {
      const one = await make();
      const stray = await strayCommit(one.path, { by, seq: 2, ...(onTop ? { parent: one.before } : {}) });
      git(one.path, ['update-ref', 'refs/heads/main', stray]);
      const error: unknown = await one.commit({ 'a/c': 'x' }).catch((caught: unknown) => caught);
      t.notOk(error instanceof BranchMoved);
      t.match(error, { message: /did not move/ });
      t.equal(one.chain.head?.commit, one.before, "nothing is made of another's commit");
      t.equal(headOf(one.path), stray);
    }
    const gone = await make();
    git(gone.path, ['update-ref', '-d', 'refs/heads/main']);
    await t.rejects(gone.commit({}), /did not move/);
    t.equal(gone.chain.head?.commit, gone.before);

    const complaining = await make();
    const move = complaining.repository.moveBranch.bind(complaining.repository);
    complaining.repository.moveBranch = async (from, to) => {
      await move(from, to);
      throw new Error('and then git complained');
    };
    const head = await complaining.commit({ 'a/c': 'x' });
    t.same(
      [complaining.chain.head, headOf(complaining.path)],
      [head, head.commit],
      'what the branch shows counts',
    );
  },
);

await t.test(
  'objects are packed after so many publications or bytes, one packing at a time, and a failure is said',
  async (t) => {
    let packed = 0;
    let end: (error?: Error) => void = () => undefined;
    const repository = {
      pack: () => (
        packed++,
        new Promise<void>(
          (resolve, reject) => (end = (error) => (error === undefined ? resolve() : reject(error))),
        )
      ),
    } as unknown as GitRepository;
    const reported: string[] = [];
    const packing = new ObjectPacking(repository, (line) => reported.push(line), 3);
    const publish = (times: number): void => void Array.from({ length: times }, () => packing.published());
    publish(2);
    t.equal(packed, 0);
    publish(1);
    t.equal(packed, 1);
    publish(7);
    t.equal(packed, 1, 'not while it packs');
    end();
    await sleep(5);
    publish(1);
    t.equal(packed, 2);
    end(new Error('no\nroom'));
    await until('the failure is reported', () => reported.length > 0);
    t.same(reported, ['git repack: Error: no.room']);
    packing.wrote(256 * 1024 * 1024 - 1);
    publish(1);
    t.equal(packed, 2);
    packing.wrote(1);
    publish(1);
    t.equal(packed, 3, 'for its bytes');
    end();
    await sleep(5);
    publish(2);
    t.equal(packed, 3, 'both are counted anew');
    const usual = new ObjectPacking(repository, () => undefined);
    for (let i = 0; i < 399; i++) usual.published();
    t.equal(packed, 3);
    usual.published();
    t.equal(packed, 4, 'after 400 where nothing is said');
    end();
  },
);
