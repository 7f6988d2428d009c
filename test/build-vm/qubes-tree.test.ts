// SPDX-License-Identifier: GPL-2.0-or-later
// What a tree of Qubes' shape says about its own building: which specs and folders for which distribution,
// and what is made of its templates. The judges are dpkg, rpm, make, reprepro and apt.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { withSuffix } from '../../agents/engines/debian/source-package.js';
import {
  buildsOf,
  isTreeArchived,
  modulesOf,
  moduleArchive,
  targetOf,
} from '../../agents/engines/source-tree/build-file.js';
import { formulaFiles } from '../../agents/engines/source-tree/formula.js';
import { readSpec } from '../../agents/engines/source-tree/spec-template.js';
import { codeOf, epoch, writeTree, type Files } from './rpm-packages.js';

function tree(test: Test, files: Files): string {
  const folder = mkdtempSync(join(tmpdir(), 'bi-qubes-'));
  test.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return writeTree(folder, files);
}

const lists = `host:
  rpm:
    build: [rpm_spec/one.spec, rpm_spec/one-dom0.spec]
vm:
  rpm:
    build: [rpm_spec/one.spec]
  deb:
    build: [debian]
  ubuntu:
    build: [debian-ubuntu/debian]
  archlinux:
    build: [archlinux]
vm-fc41:
  rpm:
    build: []
vm-trixie:
  deb:
    build: [debian-pkg/debian]
vm-bullseye:
  build: [elsewhere]
`;

void t.test(
  'what is built is listed by set, then by family, then by distribution, the last one counting',
  async (t) => {
    const folder = tree(t, { '.qubesbuilder': lists });
    for (const [name, packages, distribution, builds] of [
      ['bookworm', 'deb', undefined, ['debian']],
      ['trixie', 'deb', undefined, ['debian-pkg/debian']],
      ['trixie', 'deb', 'vm-bookworm', ['debian']],
      ['bullseye', 'deb', undefined, ['debian']],
      ['noble', 'deb', undefined, ['debian-ubuntu/debian']],
      ['ours', 'deb', 'vm-noble', ['debian-ubuntu/debian']],
      ['trixie', 'deb', 'host-trixie', []],
      ['fc41', 'rpm', undefined, []],
      ['fc42', 'rpm', undefined, ['rpm_spec/one.spec']],
      ['fc41', 'rpm', 'host-fc41', ['rpm_spec/one.spec', 'rpm_spec/one-dom0.spec']],
    ] as const)
      t.same(
        buildsOf(folder, targetOf({ name, packages, options: { distribution } })),
        builds,
        `${name} ${distribution ?? ''}`,
      );
    for (const content of ['', 'source:\n  files: []\n', 'source:\n  commands: [x]\n'])
      t.equal(
        buildsOf(tree(t, { '.qubesbuilder': content }), targetOf({ name: 'fc41', packages: 'rpm' })),
        undefined,
        'a tree that lists nothing at all is as any other',
      );
    t.equal(buildsOf(tree(t, {}), targetOf({ name: 'fc41', packages: 'rpm' })), undefined);
  },
);

for (const [what, content, code] of [
  ['commands', 'vm:\n  deb:\n    build: [debian]\n    source:\n      commands: [sed]\n', 'NOT_DONE_HERE'],
  ['commands for all', 'vm:\n  deb:\n    build: [debian]\nsource:\n  commands: [sed]\n', 'NOT_DONE_HERE'],
  [
    'commands that are no list',
    'vm:\n  deb:\n    build: [debian]\n    source:\n      commands: sed\n',
    'NOT_DONE_HERE',
  ],
  [
    'commands of a family',
    'vm:\n  deb:\n    build: [debian]\n  debian:\n    source:\n      commands: [sed]\n',
    'NOT_DONE_HERE',
  ],
  ['modules', 'vm:\n  deb:\n    build: [debian]\nsource:\n  modules: [linux]\n', 'NOT_DONE_HERE'],
  [
    'files for one distribution',
    'vm:\n  deb:\n    build: [debian]\nvm-bookworm:\n  source:\n    files: []\n',
    'NOT_DONE_HERE',
  ],
  ['two folders of packaging', 'vm:\n  deb:\n    build: [debian1, debian2]\n', 'NOT_DONE_HERE'],
  ['an unknown word', 'vm:\n  deb:\n    build: [debian]\n    patches: [x]\n', 'NOT_DONE_HERE'],
  [
    'an unknown word of the source',
    'vm:\n  deb:\n    build: [debian]\nsource:\n  git-url: x\n',
    'NOT_DONE_HERE',
  ],
  ['a folder outside of the tree', 'vm:\n  deb:\n    build: [../debian]\n', 'BAD_SOURCE_FILES'],
  ['a folder that is absolute', 'vm:\n  deb:\n    build: [/debian]\n', 'BAD_SOURCE_FILES'],
  ['one folder twice', 'vm:\n  deb:\n    build: [debian, debian]\n', 'BAD_SOURCE_FILES'],
  ['no list', 'vm:\n  deb:\n    build: debian\n', 'BAD_SOURCE_FILES'],
  ['a list of tables', 'vm:\n  deb:\n    build: [{a: b}]\n', 'BAD_SOURCE_FILES'],
  ['no table', 'vm: [deb]\n', 'BAD_SOURCE_FILES'],
  ['empty commands', 'vm:\n  deb:\n    build: [debian]\n    source:\n      commands: []\n', 'none'],
  [
    'commands of another family',
    'vm:\n  deb:\n    build: [debian]\n  ubuntu:\n    build: [debian]\n    source:\n      commands: [sed]\n',
    'none',
  ],
  [
    'commands where nothing is built',
    'vm:\n  deb:\n    build: []\n    source:\n      commands: [sed]\n',
    'none',
  ],
] as const) {
  void t.test(`a tree that asks for ${what}: ${code}`, async (t) => {
    t.equal(
      await codeOf(() =>
        buildsOf(tree(t, { '.qubesbuilder': content }), targetOf({ name: 'bookworm', packages: 'deb' })),
      ),
      code,
    );
  });
}

void t.test('a spec that is no .spec is refused', async (t) => {
  t.equal(
    await codeOf(() =>
      buildsOf(
        tree(t, { '.qubesbuilder': 'vm:\n  rpm:\n    build: [one.txt]\n' }),
        targetOf({ name: 'fc41', packages: 'rpm' }),
      ),
    ),
    'BAD_SOURCE_FILES',
  );
});

void t.test(
  'the tree is an archive of its own sources unless others are listed, or it says so',
  async (t) => {
    for (const [content, is] of [
      ['', true],
      ['source:\n  files: []\n', true],
      ['source:\n  files: [{url: x}]\n', false],
      ['source:\n  files: [{url: x}]\n  create-archive: true\n', true],
    ] as const)
      t.equal(isTreeArchived(tree(t, { '.qubesbuilder': content })), is, content);
  },
);

const specIn =
  'Name: one\nVersion: @VERSION@\nRelease: 1%{?dist}\nSummary: x\nLicense: x\n%description\n%{VERSION1}@LIBDIR@\n%build\ntrue @BACKEND_VMM@\n%changelog\n@CHANGELOG@\n';

void t.test('a spec is made of its template, and rpmspec reads it', async (t) => {
  const stamp = { time: epoch, url: 'ssh://forge/100%25/one' };
  const folder = tree(t, { 'rpm_spec/one.spec.in': specIn, version: '1.2\n7\n', 'plain.spec': specIn });
  const text = (readSpec(folder, 'rpm_spec/one.spec', stamp) as Buffer).toString();
  t.match(text, /^Version: 1\.2$/m);
  t.match(text, /^true xen$/m);
  t.match(text, '@LIBDIR@', 'what the builder does not fill in either stays for the build');
  writeFileSync(join(folder, 'one.spec'), text);
  t.equal(
    execFileSync(
      'rpmspec',
      ['-q', '--qf', '%{name} %{version} [%{changelogtime} %{changelogtext}]', join(folder, 'one.spec')],
      { encoding: 'utf8' },
    ).trim(),
    `one 1.2 ${epoch - (epoch % 86_400) + 43_200} - For the complete changelog see: ssh://forge/100%25/one`,
  );
  t.equal(
    (readSpec(folder, 'plain.spec', stamp) as Buffer).toString(),
    specIn,
    'a spec that is none of a template is taken as it is',
  );
  t.equal(readSpec(folder, 'missing.spec', stamp), undefined);
  const lines = tree(t, {
    'one.spec.in': '@VERSION@ @VERSION1@ @REL@ @REL1@',
    version: '1.2\n7\n',
    rel: '3\n4\n',
  });
  t.equal((readSpec(lines, 'one.spec', stamp) as Buffer).toString(), '1.2 7 3 4');
  for (const [what, files] of [
    ['no version', { 'one.spec.in': '@VERSION@' }],
    ['no rel', { 'one.spec.in': '@REL@', version: '1\n' }],
    ['no second line', { 'one.spec.in': '@VERSION1@', version: '1\n' }],
  ] as const)
    t.equal(await codeOf(() => readSpec(tree(t, files), 'one.spec', stamp)), 'BAD_SPEC', what);
  t.equal(
    await codeOf(() =>
      readSpec(tree(t, { 'one.spec.in': '@VERSION@', version: '1\nName: two\n' }), 'one.spec', stamp),
    ),
    'VERSION_MISMATCH',
    'a version that is another line of the spec',
  );
});

const formula = `package-name: one
name: one-formula
version: 4.10
release: 1
top_level_dir: one
formula-files: one _modules
pillar-files: pillar
summary: Tiny
description: |
  Two
  lines
state-tops:
  base: [one]
`;
const formulaTree: Files = {
  FORMULA: formula,
  Makefile:
    'include Makefile.vars\ninclude Makefile.install\ninstall::\n\t@echo own $(MGMT_VERSION) > $(DESTDIR)/own\n',
  'one/init.sls': 'x',
  '_modules/one.py': 'y',
  'pillar/one.sls': 'z',
  LICENSE: 'l',
  'README.rst': 'r',
};

void t.test('a module stands in a spec as the name of its archive, and other words stay', async (t) => {
  const commit = '0123456789abcdef0123456789abcdef01234567';
  const folder = tree(t, {
    '.qubesbuilder': 'vm:\n  rpm:\n    build: [one.spec]\nsource:\n  modules: [linux-utils, v4l2loopback]\n',
    'one.spec.in': 'Source1: @linux-utils@\nSource2: @v4l2loopback@ @linux-utils-x@ @other@ @VERSION@\n',
    version: '1.0\n',
  });
  t.same(
    [modulesOf(folder), buildsOf(folder, targetOf({ name: 'fc41', packages: 'rpm' }))],
    [['linux-utils', 'v4l2loopback'], ['one.spec']],
  );
  t.equal(
    moduleArchive('linux-utils', commit),
    'linux-utils-0123456789abcdef.tar.gz',
    'as the builder calls it',
  );
  const filled = readSpec(folder, 'one.spec', {
    time: epoch,
    url: '',
    modules: { 'linux-utils': commit, v4l2loopback: `f${commit.slice(1)}` },
  }) as Buffer;
  t.equal(
    filled.toString(),
    'Source1: linux-utils-0123456789abcdef.tar.gz\nSource2: v4l2loopback-f123456789abcdef.tar.gz @linux-utils-x@ @other@ 1.0\n',
  );
});

void t.test("what a formula's Makefile includes is made of FORMULA, and make installs by it", async (t) => {
  const folder = tree(t, formulaTree);
  for (const [name, content] of formulaFiles(folder)) writeFileSync(join(folder, name), content);
  const root = tree(t, {});
  execFileSync('make', ['install', `DESTDIR=${root}`], { cwd: folder, stdio: 'pipe' });
  const found = readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((name) => /[.a-zE]$/.test(name) && /\/|own/.test(name))
    .sort();
  t.same(
    found.filter((name) => /\.(?:sls|py|rst)$|LICENSE|own$/.test(name)),
    [
      'own',
      'srv/pillar/one.sls',
      'srv/salt/_modules/one.py',
      'srv/salt/one/LICENSE',
      'srv/salt/one/README.rst',
      'srv/salt/one/init.sls',
    ],
  );
  t.equal(readFileSync(join(root, 'own'), 'utf8'), 'own 4.10\n', 'a version stays as it is written');
  t.same(formulaFiles(tree(t, {})), []);
  t.same(
    formulaFiles(tree(t, { ...formulaTree, 'Makefile.install': 'own' })).map(([name]) => name),
    ['Makefile.vars'],
    "a tree's own is kept",
  );
  for (const bad of ['- a', 'a: [', 'a: 1\na: 2\n', '"$(shell x)": 1\n'])
    t.equal(await codeOf(() => formulaFiles(tree(t, { FORMULA: bad }))), 'BAD_FORMULA', bad);
  const incomplete = tree(t, { ...formulaTree, FORMULA: 'name: one\n' });
  for (const [name, content] of formulaFiles(incomplete)) writeFileSync(join(incomplete, name), content);
  t.match(spawnSync('make', ['install', `DESTDIR=${root}`], { cwd: incomplete, encoding: 'utf8' }), {
    status: 2,
    stderr: /FORMULA does not say/,
  });
});

const changelog = (version: string): string =>
  `one (${version}) unstable; urgency=low\n\n  * Ünder way.\n\n -- Alice <alice@example.org>  Sat, 21 Nov 2026 20:00:00 +0000\n\none (0.1) unstable; urgency=low\n\n  * First.\n\n -- Bob <bob@example.org>  Sat, 21 Nov 2020 20:00:00 +0000\n`;

void t.test("a distribution's entry is dated and signed as the one below it", async (t) => {
  for (const [version, suffix] of [
    ['1.0-1', '+deb12u1'],
    ['4.3.19', '+deb13u1'],
    ['1:1.0~rc1-1', '+deb13u1'],
  ] as const) {
    const folder = tree(t, {
      changelog: withSuffix(changelog(version), 'one', `${version}${suffix}`, 'trixie'),
    });
    const parsed = execFileSync('dpkg-parsechangelog', ['-l', join(folder, 'changelog'), '--all'], {
      encoding: 'utf8',
    });
    t.match(parsed, new RegExp(`^Version: ${`${version}${suffix}`.replace(/[+.]/g, '\\$&')}$`, 'm'));
    t.match(parsed, /^Date: Sat, 21 Nov 2026 20:00:00 \+0000$/m);
    t.match(parsed, /^Distribution: trixie$/m);
    t.match(parsed, 'Ünder way');
    t.equal(
      spawnSync('dpkg-parsechangelog', ['-l', join(folder, 'changelog')], { encoding: 'utf8' }).stderr,
      '',
    );
  }
  t.equal(
    await codeOf(() => withSuffix('one (1.0) unstable; urgency=low\n', 'one', '1.0+deb12u1', 'trixie')),
    'NOT_A_PACKAGE',
  );
});

/** A repository of one release, made by reprepro, with the package in this version. */
function repository(test: Test, codename: string, version: string): string {
  const folder = tree(test, {
    'conf/distributions': `Origin: x\nLabel: x\nSuite: ${codename}\nCodename: ${codename}\nArchitectures: amd64 source\nComponents: main\n`,
    'package/DEBIAN/control': `Package: one\nVersion: ${version}\nArchitecture: all\nMaintainer: Alice <alice@example.org>\nSection: misc\nPriority: optional\nDescription: x\n`,
  });
  execFileSync('dpkg-deb', ['--root-owner-group', '--build', join(folder, 'package'), folder], {
    stdio: 'pipe',
  });
  const [deb] = readdirSync(folder).filter((name) => name.endsWith('.deb'));
  execFileSync('reprepro', ['--basedir', folder, 'includedeb', codename, join(folder, deb as string)], {
    stdio: 'pipe',
  });
  return folder;
}

/**
 * What apt would do on a machine that has the one release's package and looks at the next release's
 * repository.
 */
function upgrade(test: Test, installed: string, from: string, codename: string): string {
  const root = tree(test, {
    'etc/sources.list': `deb [trusted=yes] file:${from} ${codename} main\n`,
    'state/status': `Package: one\nStatus: install ok installed\nVersion: ${installed}\nArchitecture: all\nMaintainer: x\nDescription: x\n`,
  });
  for (const name of ['state/lists/partial', 'cache/archives/partial', 'empty'])
    mkdirSync(join(root, name), { recursive: true });
  const options = {
    'Dir::Etc::SourceList': `${root}/etc/sources.list`,
    'Dir::Etc::SourceParts': `${root}/empty`,
    'Dir::Etc::Preferences': '/dev/null',
    'Dir::Etc::PreferencesParts': `${root}/empty`,
    'Dir::State': `${root}/state`,
    'Dir::State::status': `${root}/state/status`,
    'Dir::Cache': `${root}/cache`,
    'APT::Sandbox::User': 'root',
    'APT::Architecture': 'amd64',
  };
  const apt = (...argv: string[]): string =>
    execFileSync(
      'apt-get',
      [...Object.entries(options).flatMap(([key, value]) => ['-o', `${key}=${value}`]), ...argv],
      { encoding: 'utf8', stdio: 'pipe' },
    );
  apt('update');
  return apt('--simulate', 'dist-upgrade');
}

void t.test(
  'with a suffix for each release a machine that moves to the next release gets its package, and without one it does not',
  async (t) => {
    const [bookworm, trixie] = ['+deb12u1', '+deb13u1'];
    for (const version of ['1.0-1', '4.3.19', '1.0~rc1-1']) {
      t.match(
        upgrade(t, `${version}${bookworm}`, repository(t, 'trixie', `${version}${trixie}`), 'trixie'),
        `Inst one [${version}${bookworm}] (${version}${trixie}`,
      );
    }
    t.notMatch(upgrade(t, '1.0-1', repository(t, 'trixie', '1.0-1'), 'trixie'), 'Inst one');
    t.match(
      upgrade(t, '1.0-1+deb13u1', repository(t, 'trixie', '1.0-2+deb13u1'), 'trixie'),
      'Inst one',
      'the next revision is newer still',
    );
    t.match(
      upgrade(t, '1.0-1', repository(t, 'trixie', '1.0-2+deb13u1'), 'trixie'),
      'Inst one',
      'and newer than what a farm published before it had suffixes',
    );
  },
);
