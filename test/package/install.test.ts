// SPDX-License-Identifier: GPL-2.0-or-later
// make install, and what qubes-builder reads of us.
import { chmodSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { parse } from 'yaml';
import { folderOf } from '../support/folders.js';
import { copySources, dropIn, filesBelow, listing, must, pillar, run, states, top } from './package-tree.js';

const sourcesOfManifests = (tree: string): string[] => {
  const folder = join(tree, states, 'manifests');
  return readdirSync(folder).flatMap((name) =>
    [
      ...readFileSync(join(folder, name), 'utf8').matchAll(/(?:source|template): ([^\s,}]+[/.][^\s,}]+)/g),
    ].map((found) => found[1] as string),
  );
};

await test('the tree of dom0 lies where the formula, the pillar and the drop-in belong, and nowhere else', async (t) => {
  const root = join(folderOf(t), 'with a space');
  must('make', ['install', `DESTDIR=${root}`], { cwd: top });
  const files = filesBelow(root).map((name) => `/${name}`);
  t.strictSame(
    files.filter((name) => !name.startsWith(`${states}/`) && !name.startsWith(`${pillar}/`)),
    [dropIn],
  );
  for (const name of [
    'init.top',
    'vm.sls',
    'template.sls',
    'manifests/keys.yaml',
    'policy.jinja',
    'dist/keys-agent.mjs',
    'dist/NOTICES.txt',
    'qrexec-services/keys/qubes.Gpg/rpc-config',
  ]) {
    t.ok(files.includes(`${states}/${name}`), name);
  }
  for (const name of ['init.top', 'init.sls', 'farm.example.yaml'])
    t.ok(files.includes(`${pillar}/${name}`), name);
  t.strictSame(
    readFileSync(join(root, pillar, 'farm.example.yaml')),
    readFileSync(join(top, 'salt/pillar.example.yaml')),
  );
  t.strictSame(parse(readFileSync(join(root, dropIn), 'utf8')), {
    file_roots: { base: ['/srv/formulas/base/build-infra'] },
  });
  t.ok(
    'qubes-build-infra.conf' > 'f_defaults.conf',
    'a drop-in that sorts first would put our root before /srv/salt',
  );
});

await test('what the manifests name is there, and of the bundles nothing else', async (t) => {
  const root = folderOf(t);
  must('make', ['install', `DESTDIR=${root}`], { cwd: top });
  const sources = sourcesOfManifests(root);
  t.ok(sources.length > 30);
  for (const name of sources) t.ok(existsSync(join(root, states, name)), name);
  t.strictSame(
    readdirSync(join(root, states, 'dist')).sort(),
    [...new Set(sources.filter((name) => name.startsWith('dist/')).map((name) => name.slice(5)))].sort(),
  );
});

await test('no mode comes from the checkout or the umask', async (t) => {
  const work = folderOf(t);
  const tree = copySources(join(work, 'tree'));
  for (const name of [
    'salt/build-infra/files/make-keys',
    'salt/build-infra/policy.jinja',
    'dist/keys-agent.mjs',
    'salt/pillar/build-infra/init.sls',
  ])
    chmodSync(join(tree, name), 0o700);
  must('sh', ['-c', 'umask 077; make install DESTDIR="$1"', 'sh', join(work, 'narrow')], { cwd: tree });
  must('sh', ['-c', 'umask 000; make install DESTDIR="$1"', 'sh', join(work, 'wide')], { cwd: top });
  const narrow = listing(join(work, 'narrow'));
  t.strictSame(narrow, listing(join(work, 'wide')));
  t.strictSame(
    narrow
      .filter((line) => !/^(file 0644|folder 0750) \/srv\/(formulas|pillar)\/base\/build-infra/.test(line))
      .map((line) => line.replace(/ [0-9a-f]{64}$/, '')),
    [
      'folder 0755 /etc',
      'folder 0755 /etc/salt',
      'folder 0755 /etc/salt/minion.d',
      `file 0644 ${dropIn}`,
      'folder 0755 /srv',
      'folder 0755 /srv/formulas',
      'folder 0755 /srv/formulas/base',
      'folder 0755 /srv/pillar',
      'folder 0755 /srv/pillar/base',
    ],
  );
});

await test('without bundles one line says what to run, and nothing is laid', async (t) => {
  const work = folderOf(t);
  const tree = copySources(join(work, 'tree'));
  rmSync(join(tree, 'dist'), { recursive: true });
  const done = run('make', ['install', `DESTDIR=${join(work, 'root')}`], { cwd: tree });
  t.not(done.status, 0);
  t.equal(
    done.stderr
      .split('\n')
      .filter((line) => line.startsWith('build-infra: '))
      .join('\n'),
    'build-infra: dist/NOTICES.txt is missing: run "npm run bundle" first',
  );
  t.notOk(existsSync(join(work, 'root')));
});

await test('a farm.yaml that lies in the checkout, and what an editor left, are not installed', async (t) => {
  const work = folderOf(t);
  const tree = copySources(join(work, 'tree'));
  must('make', ['install', `DESTDIR=${join(work, 'clean')}`], { cwd: tree });
  for (const name of ['farm.yaml', 'init.sls~', '.init.sls.swp', '__pycache__/farm_file.cpython-311.pyc']) {
    mkdirSync(join(tree, 'salt/pillar/build-infra/__pycache__'), { recursive: true });
    writeFileSync(join(tree, 'salt/pillar/build-infra', name), 'mine');
  }
  must('make', ['install', `DESTDIR=${join(work, 'root')}`], { cwd: tree });
  t.strictSame(listing(join(work, 'root')), listing(join(work, 'clean')));
});

const formulaKeys = [
  'package-name',
  'saltenv',
  'version',
  'release',
  'name',
  'top_level_dir',
  'formula_dir',
  'pillar_dir',
  'os',
  'os_family',
  'summary',
  'description',
];

await test('FORMULA is YAML with keys that qubes-builder knows, and the version stands everywhere', async (t) => {
  const about = parse(readFileSync(join(top, 'FORMULA'), 'utf8')) as Record<string, unknown>;
  t.strictSame(
    Object.keys(about).filter((key) => !formulaKeys.includes(key)),
    [],
  );
  for (const key of ['package-name', 'name', 'version', 'release', 'summary', 'description'])
    t.ok(about[key], key);
  const { version } = JSON.parse(readFileSync(join(top, 'package.json'), 'utf8')) as { version: string };
  t.equal(about['version'], version);
  t.equal(
    readFileSync(join(top, 'version'), 'utf8'),
    `${version}\n`,
    'the file that qubes-builder takes the version from',
  );
  t.equal(
    /^## \[([0-9][^\]]*)\]/m.exec(readFileSync(join(top, 'CHANGELOG.md'), 'utf8'))?.[1],
    version,
    'the newest version of the changelog',
  );
  t.equal(
    readFileSync(join(top, 'rel'), 'utf8'),
    `${String(about['release'])}\n`,
    'and the one for the release',
  );
  // Its generate-spec: @VERSION@ from `version`, @REL@ from `rel` (used and not there is an error), and
  // entries of git in the place of @CHANGELOG@.
  const spec = readFileSync(join(top, 'packaging/build-infra-dom0.spec.in'), 'utf8')
    .replaceAll('@VERSION@', version)
    .replaceAll('@REL@', '1')
    .replace('@CHANGELOG@', '* Sun Nov 22 2026 Somebody <s@example.org> - 0.1.0-1\n- 0.1.0');
  t.notMatch(spec, /@[A-Z0-9_]+@/, 'nothing is left to fill in');
  t.match(spec, /^%changelog\n\* Sun Nov 22 2026 /m);
  t.match(spec, /^BuildRequires: make$/m);
  const { host } = parse(readFileSync(join(top, '.qubesbuilder'), 'utf8')) as {
    host: { rpm: { build: string[] } };
  };
  for (const spec of host.rpm.build) t.ok(existsSync(join(top, `${spec}.in`)), spec);
});

await test('with the Makefiles of qubes-builder beside ours the same is laid, once', async (t) => {
  const work = folderOf(t);
  const tree = copySources(join(work, 'tree'));
  must('make', ['install', `DESTDIR=${join(work, 'ours')}`], { cwd: tree });
  // As theirs: double-colon rules, and "required" before anything else.
  writeFileSync(join(tree, 'Makefile.vars'), 'MGMT_NAME = build-infra\nMGMT_FORMULA_FILES ?= ""\n');
  writeFileSync(
    join(tree, 'Makefile.install'),
    [
      '.PHONY: required all install install-custom',
      'required:',
      '\t@test -n "$(MGMT_NAME)"',
      'all: required',
      '\t@true',
      'install-custom::',
      '\t@true',
      'install:: required install-custom',
      '\t@echo builder laid $(MGMT_FORMULA_FILES)',
      '',
    ].join('\n'),
  );
  const said = must('make', ['install', `DESTDIR=${join(work, 'theirs')}`], { cwd: tree });
  t.match(said, /builder laid\s*$/m);
  t.strictSame(listing(join(work, 'theirs')), listing(join(work, 'ours')));
});
