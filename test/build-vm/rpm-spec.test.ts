// SPDX-License-Identifier: GPL-2.0-or-later
// What a spec may say, read by the real rpmspec in a jail: one bad thing per case.
import { existsSync, readFileSync, symlinkSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { EngineJob } from '../../agents/engines/contract.js';
import { readEngineOptions } from '../../agents/engines/rpm/engine-options.js';
import { mockCommands, mockConfiguration } from '../../agents/engines/rpm/package-build.js';
import { prepareSources } from '../../agents/engines/rpm/source-files.js';
import { findSpec, refuseOtherVersion, rpmArchitecture, type Spec } from '../../agents/engines/rpm/spec-file.js';
import { jobSpecs, planBuild, type PlannedBuild } from '../../agents/engines/rpm/spec-query.js';
import { codeOf, engineJob, epoch, Lines, makePlace, tinySpec, tinyTree, writeTree, type Files } from './rpm-packages.js';

function setUp(test: Test, files: Files, change: Partial<EngineJob> = {}): { job: EngineJob; tree: string; plan: (distTag?: string) => Promise<PlannedBuild>; sources: () => Promise<string> } {
  const place = makePlace();
  test.teardown(() => place.end());
  const tree = writeTree(place.make('source'), files);
  const job = engineJob(place, tree, change);
  const plan = async (distTag?: string): Promise<PlannedBuild> => planBuild(job, '/', distTag, jobSpecs(job)[0] as Spec);
  return {
    job, tree, plan,
    sources: async () => {
      await prepareSources(tree, await plan(), place.make('build'), epoch, new Lines());
      return join(place.folder, 'build/SOURCES');
    },
  };
}

// The jail gives up root for the build's user.
const needsRoot = process.getuid?.() === 0 ? {} : { skip: 'the jail changes its user, which needs root here' };

void t.test('a spec says what will come of it, with and without the distribution', needsRoot, async (t) => {
  const head = 'Epoch: 2\nPatch0: fix.patch\n%package -n other\nSummary: Other\nVersion: 7\n%description -n other\nOther.';
  const { plan } = setUp(t, tinyTree(tinySpec({ release: '3%{?dist}', head, files: '%files -n other' })), { version: '2:1.2-3' });
  const planned = await plan('.fc41');
  t.equal(planned.sourcePackage, 'demo-rpm-1.2-3.fc41.src.rpm');
  t.same(planned.packages.map((one) => [one.name, one.epoch, one.version, one.release, one.arch]), [['demo-rpm', '2', '1.2', '3.fc41', 'noarch'], ['other', '2', '7', '3.fc41', 'noarch']]);
  t.same([...planned.source.files].sort(), ['demo-rpm-1.2.tar.gz', 'fix.patch']);
  t.same(planned.debugPackages, []);
});

void t.test('packages with debug information may come, and need not', needsRoot, async (t) => {
  const { plan } = setUp(t, tinyTree(tinySpec({ head: '%debug_package' }).replace('BuildArch: noarch\n', '')));
  const planned = await plan();
  t.same(planned.packages.map((one) => one.name), ['demo-rpm']);
  t.same([...new Set(planned.debugPackages.map((one) => `${one.name}.${one.arch}`))], [`demo-rpm-debuginfo.${rpmArchitecture()}`, `demo-rpm-debugsource.${rpmArchitecture()}`]);
});

void t.test('packaging/ may hold the spec', async (t) => {
  const { tree } = setUp(t, { 'packaging/demo.spec': tinySpec(), greeting: '' });
  t.same(findSpec(tree), { file: 'demo.spec', folder: 'packaging', name: 'demo-rpm' });
});

for (const [what, files, code] of [
  ['no spec', { greeting: '' }, 'NO_SPEC'],
  ['a spec deeper in the tree', { 'a/b/demo.spec': tinySpec() }, 'NO_SPEC'],
  ['two specs', tinyTree(tinySpec(), { 'second.spec': tinySpec() }), 'TWO_SPECS'],
  ['a spec whose file name is an option', { '-x.spec': tinySpec() }, 'BAD_SPEC'],
  ['a name that is computed', tinyTree(tinySpec({ name: '%(cat /etc/hostname)' })), 'BAD_SPEC'],
  ['a name with a slash', tinyTree(tinySpec({ name: 'a/../../b' })), 'BAD_SPEC'],
  ['a name twice', tinyTree(tinySpec({ head: 'Name: other' })), 'BAD_SPEC'],
] as [string, Files, string][]) {
  void t.test(`${what} is refused before anything of the tree is run`, async (t) => {
    const { tree } = setUp(t, files);
    t.equal(await codeOf(() => findSpec(tree)), code);
  });
}

void t.test('a spec that is a link is refused', async (t) => {
  const { tree } = setUp(t, { 'real/demo.txt': tinySpec() });
  symlinkSync('real/demo.txt', join(tree, 'demo.spec'));
  t.equal(await codeOf(() => findSpec(tree)), 'BAD_SPEC');
});

for (const [what, words, code] of [
  ['a version that is not the tag\'s', { version: '1.3' }, 'VERSION_MISMATCH'],
  ['a release that is not the tag\'s', { release: '2' }, 'VERSION_MISMATCH'],
  ['an epoch that the tag does not have', { head: 'Epoch: 1' }, 'VERSION_MISMATCH'],
  ['a version that no file name of ours holds', { version: '1.2^git' }, 'BAD_SPEC'],
  ['a release that no file name of ours holds', { release: '1^x' }, 'BAD_SPEC'],
  ['a package that no file name of ours holds', { head: '%package -n _x\nSummary: x\n%description -n _x\nx', files: '%files -n _x' }, 'BAD_SPEC'],
  ['another name than the one that it shows', { head: '%{lua: print("Na" .. "me: other")}' }, 'BAD_SPEC'],
  ['nonsense', { head: '%if' }, 'BAD_SPEC'],
  ['a version by a command that goes on for ever', { head: '%(yes)' }, 'BAD_SPEC'],
] as [string, Parameters<typeof tinySpec>[0], string][]) {
  void t.test(`a spec with ${what} is refused`, needsRoot, async (t) => {
    const { plan } = setUp(t, tinyTree(tinySpec(words)));
    t.equal(await codeOf(() => plan()), code);
  });
}

void t.test('the tag\'s version is version and release; without a release it stands for release 1', async (t) => {
  const spec = (version: string, release: string, specEpoch = ''): Parameters<typeof refuseOtherVersion>[1] => ({ name: 'x', epoch: specEpoch, version, release, arch: 'noarch' });
  for (const [job, one] of [['1.2-1', spec('1.2', '1')], ['1.2', spec('1.2', '1')], ['1.2-3', spec('1.2', '3')], ['2:1.2', spec('1.2', '1', '2')], ['1.2~rc1-0.1', spec('1.2~rc1', '0.1')]] as const) t.doesNotThrow(() => refuseOtherVersion(job, one), job);
  for (const [job, one] of [['1.2', spec('1.2', '2')], ['1.2-1', spec('1.2', '1', '0')], ['1.2-1-1', spec('1.2', '1')], ['1.2-2', spec('1.2', '1')]] as const) t.throws(() => refuseOtherVersion(job, one), { code: 'VERSION_MISMATCH' }, job);
});

void t.test('a command in a spec sees no network and nothing of this VM, writes nothing, and is not root', needsRoot, async (t) => {
  // What it finds it can say in the release alone.
  const release = '1.%(id -u).%(tail -n +2 /proc/net/route | wc -l).%(touch /mnt/planted /usr/planted /planted 2>/dev/null && echo written || echo unwritten).%(ls -d /var/lib /rw /root /home /etc/hostname 2>/dev/null | wc -l)';
  const { plan, tree } = setUp(t, tinyTree(tinySpec({ release })), { version: '1.2-1.1234.0.unwritten.0' });
  t.equal((await plan()).source.release, '1.1234.0.unwritten.0');
  for (const path of [join(tree, 'planted'), '/usr/planted']) t.notOk(existsSync(path), path);
});

void t.test('sources come from the tree, as files beside the spec or as the tree itself', needsRoot, async (t) => {
  const { sources, tree } = setUp(t, tinyTree(tinySpec({ head: 'Source1: extra.conf\nPatch0: https://example.org/fix.patch' }), { 'extra.conf': 'a', 'fix.patch': 'b' }));
  symlinkSync('greeting', join(tree, 'link'));
  const folder = await sources();
  t.equal(readFileSync(join(folder, 'fix.patch'), 'utf8'), 'b');
  const listing = execFileSync('tar', ['--list', '--verbose', '--numeric-owner', '--file', join(folder, 'demo-rpm-1.2.tar.gz')], { encoding: 'utf8', env: { ...process.env, TZ: 'UTC' } });
  t.match(listing, /^-rw-r--r-- 0\/0 +18 2026-11-21 20:00 demo-rpm-1\.2\/greeting$/m);
  t.match(listing, /^l.* demo-rpm-1\.2\/link -> greeting$/m);
  // gzip's flags and time: no name, no time.
  t.equal(readFileSync(join(folder, 'demo-rpm-1.2.tar.gz')).toString('hex', 0, 8), '1f8b080000000000');
});

for (const [what, head, files] of [
  ['is not in the tree', 'Source1: missing.conf', {}],
  ['is on the network only', 'Source1: https://example.org/missing.tar.gz', {}],
  ['is a patch that is not in the tree', 'Patch0: missing.patch', {}],
  ['is in another folder of the tree', 'Source1: extra.conf', { 'sub/extra.conf': '' }],
  ['has a name that is not taken', 'Source1: a;b', { 'a;b': '' }],
] as [string, string, Files][]) {
  void t.test(`a source that ${what} is refused`, needsRoot, async (t) => {
    const { sources } = setUp(t, tinyTree(tinySpec({ head }), files));
    t.equal(await codeOf(sources), 'SOURCE_NOT_IN_TREE');
  });
}

void t.test('a source that is a link out of the tree is refused', needsRoot, async (t) => {
  const { sources, tree } = setUp(t, tinyTree(tinySpec({ head: 'Source1: extra.conf' })));
  symlinkSync('/etc/hostname', join(tree, 'extra.conf'));
  t.equal(await codeOf(sources), 'BAD_ARTIFACT');
});

void t.test('options that the engine does not know are refused', async (t) => {
  const { job } = setUp(t, tinyTree());
  t.same(readEngineOptions({ ...job, options: { suite: 'bookworm', packages: ['gcc'], distTag: '.fc41', mock: 'fedora-41-x86_64' } }), { suite: 'bookworm', packages: ['gcc'], distTag: '.fc41', mock: 'fedora-41-x86_64' });
  for (const options of [{ other: 1 }, { packages: ['-o=x'] }, { distTag: '.a b' }, { mock: '../x' }, { suite: '$(x)' }, { mock: 'fedora-41-x86_64' }]) t.throws(() => readEngineOptions({ ...job, options }), { code: 'BAD_DOCUMENT' });
});

void t.test('mock is asked for a build without network, from our sources', needsRoot, async (t) => {
  const { job, plan } = setUp(t, tinyTree());
  const planned = await plan('.fc41');
  const [source = [], binary = []] = mockCommands('/w/fedora-41-x86_64.cfg', planned, job, '/w/build', '.fc41');
  for (const argv of [source, binary]) {
    t.same(argv.slice(0, 3), ['/usr/bin/mock', '--root', '/w/fedora-41-x86_64.cfg']);
    t.ok(argv.includes('--config-opts=rpmbuild_networking=False'));
    t.notOk(argv.includes('--enable-network'));
    t.ok(argv.includes('dist .fc41'));
    const values = argv.flatMap((word) => /^--config-opts=[a-z_]+=(.*)$/.exec(word)?.[1] ?? []);
    t.ok(values.every((value) => /^(?:True|False)$/.test(value)), 'nothing that mock would take as one word');
  }
  t.same(source.slice(-5), ['--buildsrpm', '--spec', '/w/build/SPECS/demo-rpm.spec', '--sources', '/w/build/SOURCES']);
  t.same(binary.slice(-2), ['--rebuild', `/w/build/SRPMS/${planned.sourcePackage}`]);
});

void t.test('what mock reads keeps the named configuration, and its environment with one value more', (t) => {
  const { job } = setUp(t, tinyTree());
  // mock puts the text of an included file in the place of the line and runs the whole as Python; the defaults are there before.
  const reader = `import json, re, sys
config_opts = {'environment': {'HOME': '/builddir', 'LANG': 'C.UTF-8'}}
seen = []
text = re.sub(r'^\\s*include\\((.*)\\)', lambda found: 'seen.append(' + found.group(1) + '); config_opts["root"] = "fedora-41-x86_64"', sys.stdin.read(), flags=re.MULTILINE)
exec(text)
print(json.dumps([seen, config_opts]))`;
  const read = JSON.parse(execFileSync('python3', ['-c', reader], { input: mockConfiguration('fedora-41-x86_64', job), encoding: 'utf8' })) as unknown;
  t.same(read, [['fedora-41-x86_64.cfg'], { environment: { HOME: '/builddir', LANG: 'C.UTF-8', SOURCE_DATE_EPOCH: String(epoch) }, root: 'fedora-41-x86_64' }]);
  t.end();
});
