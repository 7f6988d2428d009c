// SPDX-License-Identifier: GPL-2.0-or-later
// What Qubes' builder writes is read as from a stranger: hostile YAML, names, trees and versions. And its
// command line, word by word.
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { hashFile } from '../../agents/shared/files/frozen-files.js';
import { ArtifactsDir, readYaml } from '../../agents/engines/qubesbuilder/artifacts-dir.js';
import { refuseOtherVersion } from '../../agents/engines/qubesbuilder/engine.js';
import { readBuilderOptions } from '../../agents/engines/qubesbuilder/options.js';
import { PublishedFolder, whileLocked } from '../../agents/engines/qubesbuilder/published-folder.js';
import { qbCommand, refuseMissingBuilder } from '../../agents/engines/qubesbuilder/qb.js';
import { refuseOtherTree } from '../../agents/engines/qubesbuilder/same-tree.js';
import { isBuiltOfTag } from '../../agents/engines/source-tree/package-version.js';
import type { EngineJob } from '../../agents/engines/contract.js';
import { codeOf, engineJob, makePlace, writeTree } from './rpm-packages.js';

const said = {
  builder: '/home/user/qb',
  conf: '/home/user/builder.yml',
  distribution: 'vm-trixie',
  release: 'r4.3',
};

function place(t: Test): ReturnType<typeof makePlace> {
  const made = makePlace();
  t.teardown(() => made.end());
  return made;
}

void t.test('YAML of the builder is a plain map or it is refused', async (t) => {
  const { folder } = place(t);
  const read = (text: string): Promise<string> => {
    writeFileSync(join(folder, 'x.yml'), text);
    return codeOf(() => readYaml(folder, 'x.yml'));
  };
  t.equal(await read('srpm: a.src.rpm\nrpms: [a.rpm, b.rpm]\n'), 'none');
  const bomb = [
    'a: &a [x,x,x,x,x,x,x,x,x]',
    ...'bcdefgh'
      .split('')
      .map(
        (name, index) =>
          `${name}: &${name} [${Array.from({ length: 9 }, () => `*${'abcdefgh'[index]}`).join(',')}]`,
      ),
  ].join('\n');
  const bad: [string, string][] = [
    ['a tag', 'a: !!python/object/apply:os.system [id]\n'],
    ['a tag of its own', 'a: !x 1\n'],
    ['a key twice', 'a: 1\na: 2\n'],
    ['a list', '- a\n'],
    ['a text', 'a\n'],
    ['nothing', ''],
    ['no YAML', 'a: [\n'],
    ['two documents', 'a: 1\n---\na: 2\n'],
    ['a bomb of aliases', bomb],
    ['two megabytes', `a: ${'x'.repeat(2 * 1024 * 1024)}\n`],
  ];
  for (const [what, text] of bad) t.equal(await read(text), 'BAD_METADATA', what);
  rmSync(join(folder, 'x.yml'));
  symlinkSync('/etc/hostname', join(folder, 'x.yml'));
  t.equal(await codeOf(() => readYaml(folder, 'x.yml')), 'BAD_METADATA', 'a link');
});

void t.test('only plain file names leave the builder', async (t) => {
  const { folder, make } = place(t);
  const build = make('components/hello/1.0-1/vm-trixie/build');
  const options = readBuilderOptions({ component: 'hello', options: said });
  const names = (text: string): Promise<string> => {
    writeFileSync(join(build, 'debian.build.yml'), text);
    return codeOf(() => new ArtifactsDir(folder, options).builtFiles());
  };
  t.equal(
    await names(
      'dsc: a.dsc\norig: a.orig.tar.gz\ndebian: a.debian.tar.xz\npackages: [a.deb]\nchanges: a.changes\nbuildinfo: a.buildinfo\nfiles: [never-there.deb]\n',
    ),
    'none',
  );
  t.same(new ArtifactsDir(folder, options).builtFiles(), [
    'a.dsc',
    'a.orig.tar.gz',
    'a.debian.tar.xz',
    'a.deb',
    'a.changes',
    'a.buildinfo',
  ]);
  for (const name of [
    '../a.deb',
    'a/b.deb',
    '/etc/passwd',
    '.a.deb',
    '-a.deb',
    'a b.deb',
    "a'.deb",
    '$(id).deb',
    '"a\\nb.deb"',
    '1',
    '{a: 1}',
    '[[a.deb]]',
  ])
    t.equal(await names(`dsc: a.dsc\npackages: [${name}]\n`), 'BAD_METADATA', name);
  t.equal(await names('dsc: a.dsc\npackages: [a.dsc]\n'), 'BAD_METADATA', 'a name twice');
  t.equal(await names('files: [a.deb]\n'), 'NOT_BUILT', 'nothing that is known');
  rmSync(join(build, 'debian.build.yml'));
  t.equal(await codeOf(() => new ArtifactsDir(folder, options).builtFiles()), 'NOT_BUILT');
  make('components/hello/1.0-2');
  t.equal(
    await codeOf(() => new ArtifactsDir(folder, options).versionRelease()),
    'BAD_METADATA',
    'two versions',
  );
});

void t.test("a distribution's options are in the builder's words, or refused", async (t) => {
  const read = (change: Record<string, unknown>): Promise<string> =>
    codeOf(() => readBuilderOptions({ component: 'hello', options: { ...said, ...change } }));
  t.match(
    readBuilderOptions({
      component: 'hello',
      options: { ...said, components: ['other=x', 'hello=core-hello'] },
    }),
    { packageSet: 'vm', distName: 'trixie', component: 'core-hello', repository: 'current-testing' },
  );
  for (const [name, value] of Object.entries({
    builder: 'qubes-builderv2',
    conf: '/a b',
    distribution: 'dom0',
    release: '4.3',
    repository: 'current',
    components: ['hello=../x'],
    more: 'x',
  }))
    t.equal(await read({ [name]: value }), 'BAD_DOCUMENT', name);
  t.equal(await read({ builder: '/a/../b' }), 'BAD_DOCUMENT');
  t.equal(await read({ conf: undefined }), 'BAD_DOCUMENT');
});

void t.test('the command line is the recorded one', async (t) => {
  const made = place(t);
  const options = readBuilderOptions({ component: 'hello', options: said });
  const job: EngineJob = engineJob(made, '/tree', {
    component: 'hello',
    packages: 'deb',
    signing: { gpg: '/usr/lib/build-infra/gpg', key: 'A'.repeat(40), publicKey: '/key.asc' },
    repository: {
      upload: 'ssh://user@host.example:2222/srv/apt',
      url: 'http://host.example/apt',
      sshConfig: '/ssh_config',
      folder: '/engines',
    },
  });
  t.same(
    qbCommand({ options, artifacts: '/state/artifacts', home: '/state/home', job, kind: 'deb' }, ['sign']),
    [
      '/home/user/qb/qb',
      '--verbose',
      '--builder-conf',
      '/home/user/builder.yml',
      '-o',
      'artifacts-dir=/state/artifacts',
      '-o',
      'qubes-release=r4.3',
      '-o',
      'repository-publish:components=current-testing',
      '-o',
      'automatic-upload-on-publish=false',
      '-o',
      'increment-devel-versions=false',
      '-o',
      'debug=false',
      '-o',
      'gpg-client=/usr/lib/build-infra/gpg',
      '-o',
      `sign-key:deb=${'A'.repeat(40)}`,
      '-o',
      `sign-key:vm-trixie=${'A'.repeat(40)}`,
      '-o',
      'repository-upload-remote-host:deb=user@host.example:/srv/apt',
      '-o',
      `+components+hello:branch=${job.source.commit}`,
      '-c',
      'hello',
      '-d',
      'vm-trixie',
      'package',
      'sign',
    ],
  );
});

void t.test('what the builder calls and the template lacks is named before anything is built', async (t) => {
  const { folder } = place(t);
  const codeAndWords = (kind: 'deb' | 'rpm'): string => {
    try {
      refuseMissingBuilder(folder, kind, folder);
      return 'none';
    } catch (error) {
      return (error as Error).message;
    }
  };
  t.match(codeAndWords('deb'), `there is no qb in ${folder}`);
  for (const name of ['qb', 'python3', 'git', 'rsync', 'gpg2', 'reprepro', 'rpmsign', 'rpmkeys'])
    writeFileSync(join(folder, name), '');
  t.match(codeAndWords('deb'), /qb calls debsign, which is not/);
  t.match(codeAndWords('rpm'), /qb calls createrepo_c, which is not/);
  rmSync(join(folder, 'gpg2'));
  t.match(codeAndWords('deb'), /qb calls gpg2, debsign, which are not/);
  for (const name of ['gpg2', 'debsign']) writeFileSync(join(folder, name), '');
  t.equal(codeAndWords('deb'), 'none');
  t.end();
});

void t.test("a tag's version is the builder's, or a first release of it", async (t) => {
  t.equal(await codeOf(() => refuseOtherVersion('1.0-1', '1.0-1')), 'none');
  t.equal(await codeOf(() => refuseOtherVersion('1.0', '1.0-1')), 'none');
  t.equal(await codeOf(() => refuseOtherVersion('4.2.0~rc1', '4.2.0-rc1-1')), 'none');
  for (const [tag, builder] of [
    ['1.0', '1.0-2'],
    ['1.0-1', '1.0-1.1'],
    ['1.0-1', '1.0'],
    ['1.0', '1.01-1'],
  ] as const)
    t.equal(await codeOf(() => refuseOtherVersion(tag, builder)), 'VERSION_MISMATCH');
  for (const [deb, tag, fits] of [
    ['1.0-1+deb13u1', '1.0-1', true],
    ['1.0-1+deb13u1', '1.0', true],
    ['1.0-1', '1.0-1', true],
    ['1.0-11', '1.0-1', false],
    ['1.0-2+deb13u1', '1.0', false],
    ['1.0+x', '1.0', false],
    ['1:1.0-1', '1.0-1', false],
    ['4.3.19+deb13u1', '4.3.19', true],
    ['4.3.19+deb13u1', '4.3.1', false],
    ['4.2.0~rc1-1+deb13u1', '4.2.0~rc1', true],
    ['4.2.0-1+deb13u1', '4.2.0~rc1', false],
  ] as const) {
    t.equal(isBuiltOfTag(deb, tag), fits, `${deb} of ${tag}`);
  }
});

void t.test('a checkout is the verified tree, file by file', async (t) => {
  const { make } = place(t);
  const files = { a: 'a', 'd/b': 'b', 'd/e/c': 'c' };
  const verified = writeTree(make('verified'), files);
  const compare = async (change: (folder: string) => void): Promise<string> => {
    const fetched = writeTree(make('fetched'), { ...files, '.git/config': 'x' });
    change(fetched);
    const code = await codeOf(() => refuseOtherTree(verified, fetched));
    rmSync(fetched, { recursive: true });
    return code;
  };
  t.equal(await compare(() => undefined), 'none');
  const changes: ((folder: string) => void)[] = [
    (folder) => writeFileSync(join(folder, 'd/e/c'), 'C'),
    (folder) => rmSync(join(folder, 'a')),
    (folder) => writeFileSync(join(folder, 'd/more'), ''),
    (folder) => mkdirSync(join(folder, 'd/.git')),
    (folder) => {
      renameSync(join(folder, 'a'), join(folder, '.git/a'));
      symlinkSync('.git/a', join(folder, 'a'));
    },
    (folder) => {
      rmSync(join(folder, 'd'), { recursive: true });
      symlinkSync(join(verified, 'd'), join(folder, 'd'));
    },
    (folder) => {
      rmSync(join(folder, 'a'));
      mkdirSync(join(folder, 'a'));
    },
  ];
  for (const change of changes) t.equal(await compare(change), 'OTHER_TREE');

  const fetched = writeTree(make('fetched'), files);
  writeFileSync(join(verified, 'hello.tar.gz'), 'downloaded');
  t.equal(await codeOf(() => refuseOtherTree(verified, fetched)), 'OTHER_TREE');
  t.equal(
    await codeOf(() => refuseOtherTree(verified, fetched, '', ['hello.tar.gz'])),
    'none',
    'what this agent downloaded the builder keeps elsewhere',
  );
  writeFileSync(join(fetched, 'hello.tar.gz'), 'another');
  t.equal(await codeOf(() => refuseOtherTree(verified, fetched, '', ['hello.tar.gz'])), 'OTHER_TREE');
});

void t.test(
  'what is published changes by a rename: a kill at any point leaves the old or the new',
  async (t) => {
    const { folder } = place(t);
    const published = new PublishedFolder(folder);
    published.repair();
    writeTree(published.folder, {
      'deb/r4.3/vm/pool/a.deb': 'a',
      'deb/r4.3/vm/db/x.db': 'one',
      'rpm/x/repodata/repomd.xml': 'one',
    });
    const database = (): string => readFileSync(join(published.folder, 'deb/r4.3/vm/db/x.db'), 'utf8');
    await published.copy();
    writeFileSync(join(published.next, 'deb/r4.3/vm/db/x.db'), 'half');
    writeFileSync(join(published.next, 'rpm/x/repodata/repomd.xml'), 'half');
    t.equal(database(), 'one', 'a database is copied, not linked');
    t.equal(readFileSync(join(published.folder, 'rpm/x/repodata/repomd.xml'), 'utf8'), 'one');
    published.repair();
    t.notOk(existsSync(published.next));
    await published.copy();
    writeFileSync(join(published.next, 'deb/r4.3/vm/db/x.db'), 'two');
    // Killed between the two renames.
    renameSync(published.folder, `${published.folder}.old`);
    published.repair();
    t.equal(database(), 'one');
    await published.copy();
    writeFileSync(join(published.next, 'deb/r4.3/vm/db/x.db'), 'two');
    await published.become();
    t.equal(database(), 'two');
    t.same(readdirSync(folder), ['repository-publish']);
    const other = {
      ...hashFile(join(published.folder, 'deb/r4.3/vm/pool'), 'a.deb'),
      sha256: '0'.repeat(64),
    };
    t.equal(await codeOf(() => published.refuseOtherBytes([other], 'deb/r4.3/vm/pool')), 'ALREADY_PUBLISHED');
    t.equal(await codeOf(() => published.refuseOtherBytes([other], 'rpm')), 'none');
  },
);

void t.test('one at a time works on what is published', async (t) => {
  const { folder } = place(t);
  const order: string[] = [];
  const turn = (name: string): Promise<void> =>
    whileLocked(folder, async () => {
      order.push(`${name} in`);
      await new Promise((resolve) => setTimeout(resolve, 200));
      order.push(`${name} out`);
    });
  await Promise.all([turn('a'), turn('b')]);
  t.match(order.join(), /^(a|b) in,\1 out,(?!\1)(a|b) in,\2 out$/);
});
