// SPDX-License-Identifier: GPL-2.0-or-later
// Each bad tag is bad in one way and good in all others; the forge is a real one.
import { existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { Component, Config } from '../../agents/build/config.js';
import { fetchSource } from '../../agents/build/fetch-stage.js';
import { listRemoteTags } from '../../agents/build/git.js';
import { newJob, type Evidence } from '../../agents/build/job-document.js';
import { JobQueue, type HighestVersion } from '../../agents/build/job-queue.js';
import type { LineSink } from '../../agents/build/logged-program.js';
import { Refusal } from '../../agents/shared/refusal.js';
import { Forge, Keys, tinyPackage, writeKeys, type TestRepository } from './forge.js';

const keys = new Keys();
const forge = new Forge();
const alice = keys.make('alice');
const bob = keys.make('bob');
const stranger = keys.make('stranger');
keys.make('carol');
keys.gpg(['--quick-add-key', keys.exported('carol').fingerprint, 'ed25519', 'sign', 'never']);
keys.gpg(['--quick-add-key', keys.exported('carol').fingerprint, 'ed25519', 'sign', 'never']);
const carol = keys.exported('carol');
const publicKeys = mkdtempSync(join(tmpdir(), 'bi-keys-'));
writeKeys(publicKeys, [alice, bob, carol]);
await forge.start();
t.teardown(() => {
  forge.end();
  keys.end();
  rmSync(publicKeys, { recursive: true });
});

let count = 0;
interface Situation {
  repository: TestRepository;
  component: Component;
  fetch(tag?: string, options?: { highest?: HighestVersion; componentsOf?: string[]; now?: Date; keys?: string; version?: string; object?: string }): Promise<{ evidence: Evidence; folder: string; lines: string[] }>;
  code(...args: Parameters<Situation['fetch']>): Promise<string>;
}

function situation(test: { teardown(handler: () => void): void }, change: Partial<Component> = {}): Situation {
  const name = `hello${count++}`;
  const repository = forge.create(name);
  const component: Component = {
    name: 'hello-tiny', url: forge.url(name), tag: 'v{version}', requiredSignatures: 1,
    maintainers: [{ name: 'alice', fingerprint: alice.fingerprint }, { name: 'bob', fingerprint: bob.fingerprint }, { name: 'carol', fingerprint: carol.fingerprint }], ...change,
  };
  const folder = mkdtempSync(join(tmpdir(), 'bi-fetch-'));
  test.teardown(() => rmSync(folder, { recursive: true }));
  const config = { env: 'debian', distributions: [{ name: 'bookworm', engine: 'debian' }], signingKey: 'F'.repeat(40), apt: {} } as unknown as Config;
  const lines: string[] = [];
  const log: LineSink = { say: (text) => void lines.push(text), tool: (line) => lines.push(line.toString()) > 0, drained: async () => undefined, whenFailed: new Promise(() => undefined) };
  const options = { forge: { sshConfig: '/dev/null', timeoutMs: 30_000 }, publicKeys, folder };
  const fetch: Situation['fetch'] = async (tag = 'v1.0-1', change = {}) => {
    const shown = (await listRemoteTags(component.url, options.forge)).find((remote) => remote.name === tag);
    const job = newJob(config, component, { tag, tagObject: change.object ?? shown?.object ?? '0'.repeat(40), version: change.version ?? tag.slice(1) }, 1, new Date());
    const found = await fetchSource(job, component, { ...options, publicKeys: change.keys ?? publicKeys, highest: change.highest, componentsOf: () => change.componentsOf ?? [], now: change.now ?? new Date() }, log);
    return { evidence: found.evidence, folder, lines };
  };
  return {
    repository, component, fetch,
    code: (...args) => fetch(...args).then(() => 'none', (error: unknown) => (error instanceof Refusal ? error.code : String((error as Error).stack))),
  };
}

void t.test('a good tag is fetched, and the evidence says who signed what', async (t) => {
  const s = situation(t);
  const { commit, object } = s.repository.release(keys, [alice], 'v1.0-1', tinyPackage('1.0-1'));
  const { evidence, folder, lines } = await s.fetch();
  t.match(evidence, { tagObject: object, commit, signers: [{ name: 'alice', fingerprint: alice.fingerprint }], manifest: { files: 5 } });
  t.equal(readFileSync(join(folder, 'source/hello-tiny.sh'), 'utf8'), '#!/bin/sh\necho hello tiny\n');
  t.equal(lstatSync(join(folder, 'source/hello-tiny.sh')).mode & 0o777, 0o755);
  t.match(lines.join('\n'), new RegExp(`signed by alice ${alice.fingerprint}`));
  t.notOk(existsSync(join(folder, 'repository.git')));
});

void t.test('a lightweight tag is refused', async (t) => {
  const s = situation(t);
  s.repository.ref('v1.0-1', s.repository.commit(s.repository.tree(tinyPackage('1.0-1'))));
  t.equal(await s.code(), 'NOT_ANNOTATED');
});

void t.test('an unsigned tag is refused', async (t) => {
  const s = situation(t);
  s.repository.ref('v1.0-1', s.repository.tagObject(s.repository.tagText('v1.0-1', s.repository.commit(s.repository.tree(tinyPackage('1.0-1'))))));
  t.equal(await s.code(), 'NOT_SIGNED');
});

void t.test('a tag signed by a stranger is refused', async (t) => {
  const s = situation(t);
  s.repository.release(keys, [stranger], 'v1.0-1', tinyPackage('1.0-1'));
  t.equal(await s.code(), 'UNKNOWN_SIGNER');
});

void t.test('a signed tag object under another ref name is refused', async (t) => {
  const s = situation(t);
  const { object } = s.repository.release(keys, [alice], 'v1.0-1', tinyPackage('1.0-1'));
  s.repository.ref('v2.0-1', object);
  t.equal(await s.code('v2.0-1'), 'TAG_NAME_MISMATCH');
});

void t.test('a lower version than one that was verified is refused', async (t) => {
  const s = situation(t);
  s.repository.release(keys, [alice], 'v1.0-1', tinyPackage('1.0-1'));
  t.equal(await s.code('v1.0-1', { highest: { version: '1.0-1+deb1', tagObject: 'f'.repeat(40), job: 'x' } }), 'ROLLBACK');
});

void t.test('the same version from another tag object is refused', async (t) => {
  const s = situation(t);
  s.repository.release(keys, [alice], 'v1.0-1', tinyPackage('1.0-1'));
  t.equal(await s.code('v1.0-1', { highest: { version: '1.0-1', tagObject: 'f'.repeat(40), job: 'x' } }), 'ROLLBACK');
});

void t.test('a tag whose version is not the one in debian/changelog is refused', async (t) => {
  const s = situation(t);
  s.repository.release(keys, [alice], 'v1.0-1', tinyPackage('1.0-2'));
  t.equal(await s.code(), 'VERSION_MISMATCH');
});

void t.test('a signed tag of one component is refused under another one, whose versions it would continue', async (t) => {
  const s = situation(t);
  const { object } = s.repository.release(keys, [alice], 'v1.0-1', tinyPackage('1.0-1'));
  const older = { version: '0.9-1', tagObject: 'f'.repeat(40), job: 'x' };
  t.equal(await s.code('v1.0-1', { highest: { ...older, source: 'hello-large' } }), 'OTHER_SOURCE_PACKAGE');
  t.equal(await s.code('v1.0-1', { componentsOf: ['hello-other'] }), 'OTHER_SOURCE_PACKAGE');
  t.equal(await s.code('v1.0-1', { highest: { ...older, source: 'hello-tiny' }, componentsOf: ['hello-tiny'] }), 'none');
  t.equal(await s.code('v1.0-1', { highest: older }), 'none');

  const folder = mkdtempSync(join(tmpdir(), 'bi-queue-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const queue = new JobQueue(join(folder, 'jobs'), join(folder, 'highest'));
  queue.rememberHighest('hello-tiny', { version: '1.0-1', tagObject: object, job: 'x', source: 'hello-tiny' });
  queue.rememberHighest('hello.json', { version: '1.0-1', tagObject: object, job: 'x' });
  t.same(queue.componentsOf('hello-tiny'), ['hello-tiny']);
  t.same(queue.componentsOf('hello'), []);
});

void t.test('a tree without debian/changelog is refused', async (t) => {
  const s = situation(t);
  s.repository.release(keys, [alice], 'v1.0-1', [{ path: 'README', content: 'x' }]);
  t.equal(await s.code(), 'NOT_A_PACKAGE');
});

void t.test('a tag that was moved since the trigger is refused', async (t) => {
  const s = situation(t);
  const { object } = s.repository.release(keys, [alice], 'v1.0-1', tinyPackage('1.0-1'));
  s.repository.release(keys, [alice], 'v1.0-1', tinyPackage('1.0-1', [{ path: 'more', content: 'x' }]));
  t.equal(await s.code('v1.0-1', { object }), 'TAG_MOVED');
});

void t.test('a tag that is gone since the trigger is refused', async (t) => {
  const s = situation(t);
  s.repository.release(keys, [alice], 'v1.0-1', tinyPackage('1.0-1'));
  t.equal(await s.code('v1.0-2'), 'TAG_MOVED');
});

void t.test('a changed byte under a good signature is refused', async (t) => {
  const s = situation(t);
  const text = s.repository.tagText('v1.0-1', s.repository.commit(s.repository.tree(tinyPackage('1.0-1'))));
  s.repository.ref('v1.0-1', s.repository.tagObject(text.replace('Release', 'release') + keys.sign([alice], text)));
  t.equal(await s.code(), 'BAD_SIGNATURE');
});

void t.test('a signature of another kind than over a document is refused', async (t) => {
  const s = situation(t);
  const text = s.repository.tagText('v1.0-1', s.repository.commit(s.repository.tree(tinyPackage('1.0-1'))));
  const clear = keys.gpg(['--clearsign', '--local-user', alice.fingerprint], text).toString();
  s.repository.ref('v1.0-1', s.repository.tagObject(text + clear.slice(clear.indexOf('-----BEGIN PGP SIGNATURE-----'))));
  // A clear signature is one over text; its bytes are canonical, and so it may stand for the same text, but never for another.
  s.repository.ref('v1.0-2', s.repository.tagObject(text.replace('v1.0-1', 'v1.0-2') + clear.slice(clear.indexOf('-----BEGIN PGP SIGNATURE-----'))));
  t.equal(await s.code('v1.0-2'), 'BAD_SIGNATURE');
});

void t.test('an expired key is refused', async (t) => {
  const s = situation(t);
  const short = keys.make('short', '2d');
  const folder = mkdtempSync(join(tmpdir(), 'bi-keys-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  writeKeys(folder, [short]);
  s.component.maintainers = [{ name: 'short', fingerprint: short.fingerprint }];
  s.repository.release(keys, [short], 'v1.0-1', tinyPackage('1.0-1'));
  t.equal(await s.code('v1.0-1', { keys: folder }), 'none');
  t.equal(await s.code('v1.0-1', { keys: folder, now: new Date(Date.now() + 3 * 86_400_000) }), 'KEY_EXPIRED');
});

void t.test('a revoked key is refused', async (t) => {
  const s = situation(t);
  const gone = keys.make('gone');
  s.repository.release(keys, [gone], 'v1.0-1', tinyPackage('1.0-1'));
  const certificate = readFileSync(join(keys.home, 'openpgp-revocs.d', `${gone.fingerprint}.rev`), 'utf8').replace(':-----BEGIN', '-----BEGIN');
  keys.gpg(['--import'], certificate);
  const folder = mkdtempSync(join(tmpdir(), 'bi-keys-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  writeKeys(folder, [keys.exported('gone')]);
  s.component.maintainers = [{ name: 'gone', fingerprint: gone.fingerprint }];
  t.equal(await s.code('v1.0-1', { keys: folder }), 'KEY_REVOKED');
});

void t.test('a key file that holds another key is refused', async (t) => {
  const s = situation(t);
  s.repository.release(keys, [alice], 'v1.0-1', tinyPackage('1.0-1'));
  const folder = mkdtempSync(join(tmpdir(), 'bi-keys-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  writeKeys(folder, [bob, carol]);
  writeFileSync(join(folder, `${alice.fingerprint}.asc`), stranger.armored);
  t.equal(await s.code('v1.0-1', { keys: folder }), 'BAD_MAINTAINER_KEY');
});

void t.test('two people are enough where two are required, in one block or in two', async (t) => {
  const s = situation(t, { requiredSignatures: 2 });
  s.repository.release(keys, [alice, bob], 'v1.0-1', tinyPackage('1.0-1'));
  const { evidence } = await s.fetch();
  t.same(evidence.signers.map((signer) => signer.name).sort(), ['alice', 'bob']);
  const text = s.repository.tagText('v1.0-2', s.repository.commit(s.repository.tree(tinyPackage('1.0-2'))));
  s.repository.ref('v1.0-2', s.repository.tagObject(text + keys.sign([alice], text) + keys.sign([bob], text)));
  t.equal(await s.code('v1.0-2'), 'none');
});

void t.test('one person is not two, whatever the number of signatures', async (t) => {
  const s = situation(t, { requiredSignatures: 2 });
  const text = s.repository.tagText('v1.0-1', s.repository.commit(s.repository.tree(tinyPackage('1.0-1'))));
  s.repository.ref('v1.0-1', s.repository.tagObject(text + keys.sign([alice], text) + keys.sign([alice], text)));
  t.equal(await s.code(), 'TOO_FEW_SIGNERS');
});

void t.test('two subkeys of one key are one person', async (t) => {
  const s = situation(t, { requiredSignatures: 2 });
  const subkeys = keys.gpg(['--with-colons', '--list-keys', carol.fingerprint]).toString().split('\n').filter((line) => line.startsWith('fpr:')).map((line) => line.split(':')[9] as string).slice(1);
  t.equal(subkeys.length, 2);
  const text = s.repository.tagText('v1.0-1', s.repository.commit(s.repository.tree(tinyPackage('1.0-1'))));
  const signature = keys.gpg(['--armor', '--detach-sign', ...subkeys.flatMap((key) => ['--local-user', `${key}!`])], text).toString();
  s.repository.ref('v1.0-1', s.repository.tagObject(text + signature));
  t.equal(await s.code(), 'TOO_FEW_SIGNERS');
});

void t.test('two keys of one name are one person', async (t) => {
  const s = situation(t, { requiredSignatures: 2, maintainers: [{ name: 'alice', fingerprint: alice.fingerprint }, { name: 'alice', fingerprint: bob.fingerprint }] });
  s.repository.release(keys, [alice, bob], 'v1.0-1', tinyPackage('1.0-1'));
  t.equal(await s.code(), 'TOO_FEW_SIGNERS');
});

void t.test('two blocks where one is asked for are refused', async (t) => {
  const s = situation(t);
  const text = s.repository.tagText('v1.0-1', s.repository.commit(s.repository.tree(tinyPackage('1.0-1'))));
  s.repository.ref('v1.0-1', s.repository.tagObject(text + keys.sign([alice], text) + keys.sign([bob], text)));
  t.equal(await s.code(), 'BAD_TAG');
});

void t.test('text after the signature is refused', async (t) => {
  const s = situation(t);
  const text = s.repository.tagText('v1.0-1', s.repository.commit(s.repository.tree(tinyPackage('1.0-1'))));
  s.repository.ref('v1.0-1', s.repository.tagObject(`${text}${keys.sign([alice], text)}more\n`));
  t.equal(await s.code(), 'BAD_TAG');
});

void t.test('an unknown header in the tag is refused', async (t) => {
  const s = situation(t);
  const text = s.repository.tagText('v1.0-1', s.repository.commit(s.repository.tree(tinyPackage('1.0-1'))), 'gpgsig-sha256 x\n');
  s.repository.ref('v1.0-1', s.repository.tagObject(text + keys.sign([alice], text)));
  t.match(await s.code(), /^BAD_(?:TAG|OBJECT)$/);
});

void t.test('a signed tag of a tree or of another tag is refused', async (t) => {
  const s = situation(t);
  const tree = s.repository.tree(tinyPackage('1.0-1'));
  const text = s.repository.tagText('v1.0-1', tree).replace('type commit', 'type tree');
  s.repository.ref('v1.0-1', s.repository.tagObject(text + keys.sign([alice], text)));
  t.equal(await s.code(), 'BAD_TAG');
});

const trees: [name: string, files: (repository: TestRepository) => Parameters<TestRepository['tree']>[0], code: RegExp][] = [
  ['a path out of the tree', () => [{ path: '../escaped', content: 'x' }], /^(?:UNSAFE_PATH|BAD_OBJECT)$/],
  ['a .git folder with configuration', () => [{ path: '.git/config', content: '[core]\n\tfsmonitor = touch /tmp/owned\n' }], /^(?:UNSAFE_PATH|BAD_OBJECT)$/],
  ['a .GIT folder', () => [{ path: 'deep/.GIT/config', content: 'x' }], /^(?:UNSAFE_PATH|BAD_OBJECT)$/],
  ['an absolute link', () => [{ path: 'link', content: '/etc/passwd', mode: '120000' }], /^UNSAFE_SYMLINK$/],
  ['a link that climbs out', () => [{ path: 'a/link', content: '../../x', mode: '120000' }], /^UNSAFE_SYMLINK$/],
  ['a link that climbs after a name', () => [{ path: 'a/link', content: 'b/../../..', mode: '120000' }], /^UNSAFE_SYMLINK$/],
  ['a submodule', () => [{ path: 'sub', mode: '160000', id: '1'.repeat(40) }], /^SUBMODULE$/],
  ['a name with a newline', () => [{ path: 'a\nb', content: 'x' }], /^UNSAFE_PATH$/],
];
for (const [name, files, code] of trees) {
  void t.test(`a tree with ${name} is refused, and nothing lies outside`, async (t) => {
    const s = situation(t);
    s.repository.release(keys, [alice], 'v1.0-1', tinyPackage('1.0-1', [...files(s.repository)]));
    t.match(await s.code(), code);
    t.notOk(existsSync(join(tmpdir(), 'escaped')));
  });
}

void t.test('a link and a file below it cannot write through the link', async (t) => {
  const s = situation(t);
  const outside = mkdtempSync(join(tmpdir(), 'bi-outside-'));
  t.teardown(() => rmSync(outside, { recursive: true }));
  const inner = s.repository.tree([{ path: 'planted', content: 'x' }]);
  const blob = s.repository.blob('hello-dir');
  const base = s.repository.git(['ls-tree', s.repository.tree(tinyPackage('1.0-1'))]).split('\n').map((line) => {
    const [mode, , rest] = line.split(' ') as [string, string, string];
    const [id, entry] = rest.split('\t') as [string, string];
    return { mode, id, name: entry };
  });
  const tree = s.repository.rawTree([...base, { mode: '120000', name: 'x', id: blob }, { mode: '40000', name: 'x', id: inner }]);
  const text = s.repository.tagText('v1.0-1', s.repository.commit(tree));
  s.repository.ref('v1.0-1', s.repository.tagObject(text + keys.sign([alice], text)));
  t.not(await s.code(), 'none');
  t.same(readdirSync(outside), []);
});

void t.test('attributes, filters and hooks of the repository and of the tree run nothing', async (t) => {
  const s = situation(t);
  const marker = join(mkdtempSync(join(tmpdir(), 'bi-marker-')), 'owned');
  t.teardown(() => rmSync(join(marker, '..'), { recursive: true }));
  const home = mkdtempSync(join(tmpdir(), 'bi-home-'));
  t.teardown(() => rmSync(home, { recursive: true }));
  writeFileSync(join(home, '.gitconfig'), `[filter "evil"]\n\tsmudge = touch ${marker}\n\tprocess = touch ${marker}\n[core]\n\tfsmonitor = touch ${marker}\n\thooksPath = ${home}/hooks\n[gpg]\n\tprogram = touch ${marker}\n`);
  mkdirSync(join(home, 'hooks'));
  for (const hook of ['post-checkout', 'reference-transaction', 'post-merge', 'pre-auto-gc']) writeFileSync(join(home, 'hooks', hook), `#!/bin/sh\ntouch ${marker}\n`, { mode: 0o755 });
  const before = process.env['HOME'];
  process.env['HOME'] = home;
  t.teardown(() => {
    process.env['HOME'] = before;
  });
  s.repository.release(keys, [alice], 'v1.0-1', tinyPackage('1.0-1', [
    { path: '.gitattributes', content: '* filter=evil ident export-subst eol=crlf working-tree-encoding=UTF-16\nhidden export-ignore\n' }, { path: 'hidden', content: '$Id$ $Format:%H$\n' },
    { path: '.gitmodules', content: '[submodule "x"]\n\tpath = x\n\turl = https://example.org/x\n' }, { path: 'hooks/post-checkout', content: `#!/bin/sh\ntouch ${marker}\n`, mode: '100755' },
  ]));
  const { folder } = await s.fetch();
  t.notOk(existsSync(marker));
  t.equal(readFileSync(join(folder, 'source/hidden'), 'utf8'), '$Id$ $Format:%H$\n', 'bytes are as committed');
});

void t.test('links inside the tree are kept', async (t) => {
  const s = situation(t);
  s.repository.release(keys, [alice], 'v1.0-1', tinyPackage('1.0-1', [{ path: 'a/link', content: '../hello-tiny.sh', mode: '120000' }]));
  const { folder } = await s.fetch();
  t.equal(readFileSync(join(folder, 'source/a/link'), 'utf8'), '#!/bin/sh\necho hello tiny\n');
});

void t.test('a forge that is not there is said to be so', async (t) => {
  const s = situation(t);
  s.component.url = 'git://127.0.0.1:1/nothing.git';
  t.equal(await listRemoteTags(s.component.url, { sshConfig: '/dev/null', timeoutMs: 5000 }).then(() => 'none', (error: Refusal) => error.code), 'FORGE_UNREACHABLE');
});

void t.test('a forge by a protocol that is not allowed is not asked', async (t) => {
  t.equal(await listRemoteTags(`file://${forge.folder}/hello0.git`, { sshConfig: '/dev/null', timeoutMs: 5000 }).then(() => 'none', (error: Refusal) => error.code), 'FORGE_UNREACHABLE');
});
