// SPDX-License-Identifier: GPL-2.0-or-later
// What the audit starts, git and xz, part by part; and the whole of it on one farm that was signed in this
// process.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import tap, { type Test } from 'tap';
import { audit } from '../../agents/audit/audit.js';
import { Budget, defaultLimits, type Limits } from '../../agents/published/budget.js';
import { readOptions } from '../../agents/audit/options.js';
import { gitSource, PublishedGit } from '../../agents/published/history/published-git.js';
import { unpack } from '../../agents/published/logs/unpacked.js';
import { folderOf } from '../support/folders.js';
import { line, xz } from './content-attacks.js';
import { Farm, journalKey, log, removedAfter, sha256 } from './farm.js';
import { addPackage, publish, suites } from './made-dnf.js';
import { pens } from './pens.js';
import { asWas, newRelease, serve } from './release-attacks.js';
import { verdict } from './run-audit.js';

tap.setTimeout(300_000);
const top = folderOf(tap);
const farm = new Farm(pens);
farm.build();
tap.teardown(() => farm.remove());
const budgetOf = (limits: Partial<Limits> = {}): Budget => new Budget({ ...defaultLimits, ...limits });
let scratches = 0;
function scratch(): string {
  const folder = join(top, `s${scratches++}`);
  mkdirSync(folder);
  return folder;
}

void tap.test('only a path or an address of a protocol that we know is a repository', (t) => {
  for (const source of ['file:///x', 'git://x/y', 'http://x/y', 'https://x/y'])
    t.equal(gitSource(source), source);
  for (const bad of ['HTTPS://x/y', 'ssh://x/y', 'ext://x', 'ftp://x'])
    t.throws(() => gitSource(bad), { name: 'Unreadable', message: /only a path, file:/ }, bad);
  t.equal(gitSource('/x/../y'), '/y');
  t.equal(gitSource('--upload-pack=x'), join(process.cwd(), '--upload-pack=x'));
  t.equal(gitSource('ext::sh -c true'), join(process.cwd(), 'ext::sh -c true'));
  t.end();
});

void tap.test('git is asked for heads, lists and objects', async (t) => {
  const git = new PublishedGit(scratch(), budgetOf());
  const mirror = join(top, 'mirror.git');
  cpSync(farm.logs.path, mirror, { recursive: true });
  const before = execFileSync('git', ['--git-dir', mirror, 'rev-parse', 'main~1']).toString().trim();
  writeFileSync(join(mirror, 'refs/heads/main'), `${before}\n`);
  t.same(await git.fetch([farm.logs.path, `file://${mirror}`]), [farm.logs.head, before]);
  t.equal(await git.commitOf(before), before);
  const ids = await git.commits(before);
  t.same([ids.length, ids.at(-1)], [5, before]);
  const there = farm.logs.content.get(log) as Buffer;
  t.ok((await git.file(farm.logs.head as string, log, there.length))?.equals(there));
  t.equal(await git.file(farm.logs.head as string, log, there.length - 1), undefined, 'too large');
  t.equal(await git.file(farm.logs.head as string, 'nothing', 100), undefined);
  t.equal(await git.file(farm.logs.head as string, 'build-debian', 10_000), undefined, 'a folder');
  const blob = farm.logs.tree.get(log)?.blob as string;
  let read = '';
  const chunks = (chunk: Buffer): void => void (read += chunk.toString());
  await Promise.all([git.read(blob, 'blob', chunks), git.read(before, 'commit', () => undefined)]);
  t.equal(read, there.toString());
  await t.rejects(git.read(before, 'blob', chunks), {
    name: 'Unreadable',
    message: /a blob was expected, git has: commit/,
  });
  await t.rejects(git.read('f'.repeat(40), 'blob', chunks), {
    name: 'Unreadable',
    message: /git has: missing/,
  });
  await git.close();
  await t.rejects(git.git(['no-such-command']), {
    name: 'Unreadable',
    message: /^git no-such-command: .*not a git command/,
  });
  await t.rejects(git.commits('refs/audit/0'), { message: /does not end with/ });
  await t.rejects(new PublishedGit(scratch(), budgetOf()).fetch([join(top, 'nowhere.git')]), {
    name: 'Unreadable',
    message: /nowhere\.git: git fetch: /,
  });
  await new PublishedGit(scratch(), budgetOf()).close();
});

void tap.test(
  'what nobody wants is not read over when it is large, and the next question is answered all the same',
  async (t) => {
    const own = removedAfter(t, new Farm(pens, farm));
    const large = line('x'.repeat(60_000)).repeat(40);
    own.logs.commit({
      put: { 'build-debian/log_2026-11-21_20-00-00': large, 'build-debian/log_2026-11-21_20-00-01': 'small' },
    });
    const budget = budgetOf();
    const git = new PublishedGit(scratch(), budget);
    const [head] = (await git.fetch([own.logs.path])) as [string];
    const left = budget.left;
    const [none, small] = await Promise.all([
      git.file(head, 'build-debian/log_2026-11-21_20-00-00', 1000),
      git.file(head, 'build-debian/log_2026-11-21_20-00-01', 1000),
    ]);
    t.same([none, small?.toString()], [undefined, 'small']);
    t.equal((await git.file(head, 'build-debian/log_2026-11-21_20-00-00', large.length))?.toString(), large);
    t.same(
      [left.objects - budget.left.objects, left.bytes - budget.left.bytes],
      [3, 5 + large.length],
      'what was not wanted is not paid for',
    );
    await git.close();
    const poor = new PublishedGit(scratch(), budgetOf({ readMiB: 1 }));
    const [same] = (await poor.fetch([own.logs.path])) as [string];
    await t.rejects(poor.file(same, 'build-debian/log_2026-11-21_20-00-00', large.length), {
      message: /--max-read of 1 MiB/,
    });
  },
);

void tap.test('a git that is too old, ends badly or answers something else is not believed', async (t) => {
  const real = execFileSync('which', ['git']).toString().trim();
  const cases: [string, string, RegExp][] = [
    [
      'too old',
      'case "$3" in version) echo "git version 2.35.9";; *) exec $real "$@";; esac',
      /git 2\.36 or later is needed; this is git version 2\.35\.9/,
    ],
    ['older still', 'echo "git version 1.99"', /git 2\.36/],
    ['none', 'echo hello', /git 2\.36/],
    [
      'an id too few',
      'case "$3" in rev-parse) ;; *) exec $real "$@";; esac',
      /did not answer with object ids/,
    ],
    [
      'an id too many',
      'case "$3" in rev-parse) $real "$@"; $real "$@";; *) exec $real "$@";; esac',
      /did not answer with object ids/,
    ],
    [
      'an id that is none',
      'case "$3" in rev-parse) echo x;; *) exec $real "$@";; esac',
      /did not answer with object ids/,
    ],
    [
      'that fails',
      'case "$3" in version) exec $real "$@";; *) echo out of memory >&2; exit 3;; esac',
      /^git init: out of memory$/,
    ],
  ];
  const program = (text: string): [string, string] => {
    const folder = scratch();
    writeFileSync(join(folder, 'git'), `#!/bin/sh\nreal=${real}\n${text}\n`, { mode: 0o755 });
    return [folder, join(folder, 'git')];
  };
  for (const [name, text, message] of cases) {
    const [folder, path] = program(text);
    await t.rejects(
      new PublishedGit(folder, budgetOf(), path).fetch([farm.logs.path]),
      { name: 'Unreadable', message },
      name,
    );
  }
  for (const [name, text, message] of [
    ['ends early', 'head -c 1 > /dev/null', /cat-file ended early with 0/],
    ['is killed', 'head -c 1 > /dev/null; kill -9 $$', /ended early with SIGKILL/],
    [
      'says nonsense',
      'head -c 1 > /dev/null; echo nonsense; sleep 5',
      /answered what nobody asked: nonsense/,
    ],
    [
      'answers for another',
      `head -c 1 > /dev/null; echo "${'a'.repeat(40)} blob 1"; echo x; sleep 5`,
      /answered what nobody asked: a+ blob 1/,
    ],
    ['has another answer', `read name; echo "$name ambiguous"; sleep 5`, /git cat-file answered ambiguous/],
    ['answers twice', `read name; printf "$name blob 1\\nx\\n$name blob 1\\nx\\n"; sleep 5`, /none/],
  ] as const) {
    const [folder, path] = program(text);
    const git = new PublishedGit(folder, budgetOf(), path);
    const asked = git.read('b'.repeat(40), 'blob', () => undefined);
    if (name === 'answers twice') await asked;
    else await t.rejects(asked, { name: 'Unreadable', message }, name);
    git.budget.signal.throwIfAborted();
  }
  const [folder, path] = program('cat > /dev/null; exit 3');
  const git = new PublishedGit(folder, budgetOf(), path);
  const never = git.read('b'.repeat(40), 'blob', () => undefined);
  await Promise.all([
    t.rejects(never, { message: /ended early with 3/ }),
    t.rejects(git.close(), { message: 'git cat-file ended with 3' }),
  ]);
});

void tap.test('what is in an .xz comes out piece by piece, from where it went on', async (t) => {
  const blobs = new Map<string, Buffer>();
  const folder = scratch();
  const budget = budgetOf({ readMiB: 4 });
  const git = {
    scratch: folder,
    budget,
    read: (id: string, _: string, onChunk: (chunk: Buffer) => void) => {
      const all = blobs.get(id) as Buffer;
      for (let at = 0; at < all.length; at += 5) onChunk(all.subarray(at, at + 5));
      return Promise.resolve();
    },
  } as unknown as PublishedGit;
  const read = async (
    bytes: Buffer,
    options: { skipBytes?: number; prefixBytes?: number } = {},
  ): Promise<unknown> => {
    blobs.set('x', bytes);
    let news = '';
    const found = await unpack(git, 'x', options, (chunk) => void (news += chunk.toString()));
    return found === undefined
      ? undefined
      : [found.size, found.sha256 === sha256(news) || found.sha256, found.prefix, news];
  };
  const one = xz('one');
  const both = Buffer.concat([one, xz('two')]);
  t.same(await read(one), [3, true, sha256(''), 'one']);
  t.same(await read(both), [6, true, sha256(''), 'onetwo']);
  t.same(await read(both, { skipBytes: one.length }), [3, true, sha256(''), 'two']);
  t.same(await read(both, { prefixBytes: 3 }), [6, sha256('onetwo'), sha256('one'), 'two']);
  t.same(await read(both, { prefixBytes: 6 }), [6, sha256('onetwo'), sha256('onetwo'), '']);
  t.same(await read(both, { prefixBytes: 7 }), [6, sha256('onetwo'), undefined, '']);
  t.same(await read(xz('')), [0, true, sha256(''), '']);
  const lzma = execFileSync('xz', ['-c', '--format=lzma'], { input: 'one' });
  for (const bad of [
    Buffer.alloc(0),
    Buffer.from('none'),
    one.subarray(0, -4),
    one.subarray(0, 5),
    Buffer.concat([one, Buffer.alloc(4)]),
    Buffer.concat([one, Buffer.from('more')]),
    lzma,
    Buffer.from(one.map((byte, i) => (i === 28 ? byte ^ 0xff : byte))),
  ])
    t.equal(await read(bad), undefined);
  t.same(execFileSync('ls', [folder]).toString(), '', 'nothing is left');
  const before = budget.left.bytes;
  await read(one);
  t.equal(before - budget.left.bytes, 3);
  await t.rejects(read(xz('x'.repeat(5 * 1024 * 1024))), { message: /--max-read of 4 MiB/ });
});

async function whole(
  t: Test,
  own: Farm,
  codes: string[],
  ...rest: [extra?: readonly string[], logs?: readonly string[]]
): Promise<Awaited<ReturnType<typeof verdict>>> {
  const result = await verdict(own, ...rest);
  t.same(result.codes, codes);
  t.equal(result.ok, codes.length === 0);
  return result;
}
void tap.test('the whole audit, on a good farm and on bad ones', async (t) => {
  const good = await whole(t, farm, [], ['--apt', farm.apt]);
  t.equal(good.commits, 6);
  t.same(
    good.checks.map(({ name, count }) => `${name} ${count}`),
    [
      'mirrors 1',
      'one-line 6',
      'commits-signed 6',
      'file-lines 15',
      'files-grow 15',
      'intents 2',
      'payloads 3',
      'journal-chain 13',
      'journal-heads 9',
      'journal-grants 4',
      'apt-signatures 8',
      'apt-files 12',
      'dnf-signatures 0',
      'dnf-files 0',
    ],
  );
  t.match(JSON.parse(good.json), {
    format: 'build-infra/audit@1',
    ok: true,
    head: farm.logs.head,
    commits: 6,
    journals: [{ keysVm: 'keys-debian', entries: 13, head: { seq: 13 } }],
    unseen: [],
    endings: [],
  });
  const mirror = join(farm.top, 'mirror.git');
  cpSync(farm.logs.path, mirror, { recursive: true });
  const own = removedAfter(t, new Farm(pens, farm));
  const seen = own.logs.head as string;
  own.logs.commit({ put: { [log]: own.grow() } });
  await whole(t, own, [], ['--contains', seen], [mirror, own.logs.path]);
  const forked = removedAfter(t, new Farm(pens, farm));
  forked.logs.commit({ put: { [log]: Buffer.concat([forked.grow(), Buffer.from(line())]) } });
  const fork = await whole(t, own, ['mirrors MIRROR_FORKED'], [], [own.logs.path, mirror, forked.logs.path]);
  t.match(fork.checks[0]?.findings, [
    {
      commit: forked.logs.head,
      path: forked.logs.path,
      expected: `a part of the history that ends in ${own.logs.head} at ${own.logs.path}`,
      found: `a different history after ${seen}`,
    },
  ]);
  t.match(
    (await whole(t, own, ['mirrors HEAD_LOST'], ['--contains', forked.logs.head as string])).checks[0]
      ?.findings,
    [{ commit: forked.logs.head, found: /does not hold it/ }],
  );
  const alone = removedAfter(t, new Farm(pens));
  alone.logs.commit({ put: { [log]: alone.grow() } });
  t.match(
    (await whole(t, own, ['mirrors MIRROR_FORKED'], [], [own.logs.path, alone.logs.path])).checks[0]
      ?.findings,
    [{ found: 'nothing in common' }],
  );
  const tag = execFileSync('git', ['--git-dir', mirror, 'mktag'], {
    input: `object ${seen}\ntype commit\ntag x\ntagger x <x@farm.example> 1 +0000\n\nx\n`,
  })
    .toString()
    .trim();
  writeFileSync(join(mirror, 'refs/heads/main'), `${tag}\n`);
  t.match(
    (await whole(t, own, ['mirrors HEAD_NOT_COMMIT'], [], [own.logs.path, mirror])).checks[0]?.findings,
    [{ commit: tag, path: mirror, found: `a tag, of ${seen}` }],
  );
  own.put('pool/x', 'x');
  const both = await whole(t, own, ['apt-files UNLISTED_FILE'], ['--apt', farm.apt, '--suite', 'bookworm']);
  t.equal(
    both.checks.find(({ name }) => name === 'apt-files')?.findings[0]?.path,
    `${own.apt}/pool/x`,
    'says of which repository',
  );
  await t.rejects(verdict(own, ['--max-objects', '9']), {
    name: 'Unreadable',
    message:
      /--max-objects of 9 git objects is met: what comes after commit 0 of 7, and no package repository, was not checked/,
  });
  await t.rejects(verdict(own, ['--apt', join(own.top, 'nowhere')]), {
    name: 'Unreadable',
    message: /nowhere is not there/,
  });
});

void tap.test('the whole audit, on repositories of both kinds', async (t) => {
  const own = removedAfter(t, new Farm(pens, farm));
  mkdirSync(own.dnf);
  const moon = addPackage(own, 'moon');
  for (const suite of suites) publish(own, suite, suite === 'current-testing' ? [moon] : []);
  const dnf = ['--dnf', own.dnf];
  const good = await whole(t, own, [], dnf);
  t.same(
    good.checks.slice(-2).map(({ name, count }) => `${name} ${count}`),
    ['dnf-signatures 4', 'dnf-files 10'],
  );
  t.same(good.unseen, []);
  t.match(
    (await whole(t, own, [])).unseen,
    suites.map(() => ({ kind: 'dnf', state: 'nowhere' })),
    'where the DNF repository was not looked at',
  );
  const options = [
    '--logs',
    own.logs.path,
    '--logs-key',
    join(own.top, 'logs.asc'),
    '--journal-key',
    `keys-debian=${journalKey.public}`,
  ];
  t.same((await audit(readOptions(options))).unseen, [], 'without any repository nothing is told of');
  // Each in its own place, and each the newest of its own suite.
  const one = removedAfter(t, new Farm(pens, own));
  serve(one, newRelease(one, 'newer'));
  t.match((await whole(t, one, [], ['--dnf', one.dnf])).unseen, [{ kind: 'apt', state: 'earlier' }]);
  const old = removedAfter(t, new Farm(pens, own));
  newRelease(old, 'victim');
  publish(old, 'current', [], { repomd: (text) => text.replace('<revision>1', '<revision>2') });
  for (const name of ['repomd.xml', 'repomd.xml.asc'])
    cpSync(join(own.dnf, 'current/repodata', name), join(old.dnf, 'current/repodata', name));
  const found = await whole(
    t,
    old,
    ['apt-signatures OLD_RELEASE', 'dnf-signatures OLD_RELEASE'],
    ['--dnf', old.dnf],
  );
  t.same(
    found.checks.flatMap(({ findings }) => findings.map(({ path }) => path)),
    [
      `${old.apt}/dists/bookworm/InRelease`,
      `${old.apt}/dists/bookworm/Release.gpg`,
      `${old.dnf}/current/repodata/repomd.xml.asc`,
    ],
  );
  t.same(
    (
      await whole(
        t,
        old,
        ['apt-signatures OLD_RELEASE', 'dnf-signatures OLD_RELEASE'],
        ['--dnf', join(old.dnf, 'current')],
      )
    ).checks
      .find(({ name }) => name === 'dnf-signatures')
      ?.findings.map(({ path }) => path),
    [`${old.dnf}/current/repodata/repomd.xml.asc`],
    'one suite alone',
  );
  const other = removedAfter(t, new Farm(pens, own));
  addPackage(other, 'star', { purpose: 'other' });
  publish(other, 'current', [], { purpose: 'link' });
  serve(other, newRelease(other, 'x', { purpose: 'other' }));
  const purposes = await whole(
    t,
    other,
    ['apt-signatures WRONG_PURPOSE', 'dnf-signatures WRONG_PURPOSE'],
    ['--dnf', other.dnf],
  );
  t.same(
    purposes.checks
      .find(({ name }) => name === 'dnf-signatures')
      ?.findings.map(({ path }) => path?.slice(other.dnf.length + 1))
      .sort(),
    ['current-testing/packages/star-1-2.noarch.rpm', 'current/repodata/repomd.xml.asc'],
    'each once',
  );
  const renamed = removedAfter(t, new Farm(pens, own));
  renameSync(renamed.dnf, join(renamed.top, 'fc42'));
  await whole(
    t,
    renamed,
    ['dnf-signatures RELEASE_DIFFERS', 'dnf-signatures WRONG_NAME'],
    ['--dnf', join(renamed.top, 'fc42')],
  );
  const releases = removedAfter(t, new Farm(pens, own));
  const before = asWas(releases);
  serve(releases, newRelease(releases, 'newer'));
  releases.putBeside('apt.releases/1/dists/bookworm/InRelease', before.inRelease);
  t.same(
    (await whole(t, releases, [], ['--dnf', releases.dnf])).unseen,
    [],
    'what earlier generations hold is in use',
  );
});
