// SPDX-License-Identifier: GPL-2.0-or-later
// What a spec may say, read by the real rpmspec in a jail: one bad thing per case.
import { existsSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { EngineJob } from '../../agents/engines/contract.js';
import { buildRpm } from '../../agents/engines/rpm/engine.js';
import { extraRepositories, readEngineOptions } from '../../agents/engines/rpm/engine-options.js';
import {
  buildWithMock,
  dnfSections,
  mockCommands,
  mockConfiguration,
  mockProgram,
} from '../../agents/engines/rpm/package-build.js';
import { prepareSources } from '../../agents/engines/rpm/source-files.js';
import {
  findSpec,
  refuseOtherVersion,
  rpmArchitecture,
  type Spec,
} from '../../agents/engines/rpm/spec-file.js';
import { jobSpecs, planBuild, planRebuild, type PlannedBuild } from '../../agents/engines/rpm/spec-query.js';
import {
  codeOf,
  engineJob,
  epoch,
  Lines,
  makePlace,
  tinySpec,
  tinyTree,
  writeTree,
  type Files,
} from './rpm-packages.js';

function setUp(
  test: Test,
  files: Files,
  change: Partial<EngineJob> = {},
): {
  job: EngineJob;
  tree: string;
  plan: (distTag?: string) => Promise<PlannedBuild>;
  sources: () => Promise<string>;
} {
  const place = makePlace();
  test.teardown(() => place.end());
  const tree = writeTree(place.make('source'), files);
  const job = engineJob(place, tree, change);
  const plan = async (distTag?: string): Promise<PlannedBuild> =>
    planBuild(job, '/', distTag, jobSpecs(job)[0] as Spec);
  return {
    job,
    tree,
    plan,
    sources: async () => {
      await prepareSources(tree, await plan(), place.make('build'), epoch, new Lines());
      return join(place.folder, 'build/SOURCES');
    },
  };
}

function makeFolderOf(test: Test): string {
  const place = makePlace();
  test.teardown(() => place.end());
  return place.folder;
}

// The jail gives up root for the build's user.
const needsRoot =
  process.getuid?.() === 0 ? {} : { skip: 'the jail changes its user, which needs root here' };

void t.test('a rebuild raises the release behind the suffix, and nothing else', needsRoot, async (t) => {
  const planned = async (
    release: string,
    distTag: string | undefined,
    rebuild: { of: string; number: number },
    version = '1.2-3',
    head = '',
  ): Promise<PlannedBuild | { code: string }> => {
    const { job } = setUp(t, tinyTree(tinySpec({ release, head })), { version });
    return await planRebuild(job, '/', distTag, jobSpecs(job)[0] as Spec, rebuild).catch(
      (error: { code: string }) => ({ code: error.code }),
    );
  };
  const first = (await planned('3%{?dist}', '.fc41', { of: '1.2-3.fc41', number: 1 })) as PlannedBuild;
  t.same(
    [first.sourcePackage, first.packages.map(({ release }) => release)],
    ['demo-rpm-1.2-3.fc41.1.src.rpm', ['3.fc41.1']],
  );
  t.equal(
    first.spec.text.toString().replace('Release: 3%{?dist}.1\n', 'Release: 3%{?dist}\n'),
    tinySpec({ release: '3%{?dist}' }),
    "the spec says it, and is the tree's otherwise",
  );
  t.match(await planned('3%{dist}', '.fc41', { of: '1.2-3.fc41', number: 999 }), {
    sourcePackage: 'demo-rpm-1.2-3.fc41.999.src.rpm',
  });
  t.match(
    await planned('1%{?dist}', '.fc41', { of: '1.2-1.fc41', number: 1 }, '1.2'),
    { sourcePackage: 'demo-rpm-1.2-1.fc41.1.src.rpm' },
    'a tag that says no release',
  );
  for (const [what, release, of, head, code] of [
    ['another suffix than was published', '3%{?dist}', '1.2-3.fc40', '', 'VERSION_MISMATCH'],
    ['another release', '3%{?dist}', '1.2-2.fc41', '', 'VERSION_MISMATCH'],
    ['no suffix', '3', '1.2-3', '', 'NO_REBUILD'],
    ['a suffix in the middle', '3%{?dist}.0', '1.2-3.fc41.0', '', 'NO_REBUILD'],
    [
      'two releases',
      '3%{?dist}',
      '1.2-3.fc41',
      '%package -n other\nSummary: x\nRelease: 9%{?dist}\n%description -n other\nx',
      'NO_REBUILD',
    ],
  ] as const) {
    const version = of.includes('fc41.0') ? '1.2-3.0' : '1.2-3';
    t.match(await planned(release, '.fc41', { of, number: 1 }, version, head), { code }, what);
  }
  // Between what was published and the next release, in rpm's own order.
  const older = (a: string, b: string): boolean =>
    execFileSync('rpm', ['--eval', `%{lua: print(rpm.vercmp('${a}', '${b}'))}`], {
      encoding: 'utf8',
    }).trim() === '-1';
  const order = ['3.fc41', '3.fc41.1', '3.fc41.2', '3.fc41.10', '3.1.fc41', '4.fc41'];
  for (const [index, one] of order.slice(1).entries())
    t.ok(older(order[index] as string, one), `${order[index]} < ${one}`);
});

void t.test('a spec says what will come of it, with and without the distribution', needsRoot, async (t) => {
  const head =
    'Epoch: 2\nPatch0: fix.patch\n%package -n other\nSummary: Other\nVersion: 7\n%description -n other\nOther.';
  const { plan } = setUp(t, tinyTree(tinySpec({ release: '3%{?dist}', head, files: '%files -n other' })), {
    version: '2:1.2-3',
  });
  const planned = await plan('.fc41');
  t.equal(planned.sourcePackage, 'demo-rpm-1.2-3.fc41.src.rpm');
  t.same(
    planned.packages.map((one) => [one.name, one.epoch, one.version, one.release, one.arch]),
    [
      ['demo-rpm', '2', '1.2', '3.fc41', 'noarch'],
      ['other', '2', '7', '3.fc41', 'noarch'],
    ],
  );
  t.same([...planned.source.files].sort(), ['demo-rpm-1.2.tar.gz', 'fix.patch']);
  t.same(planned.debugPackages, []);
});

void t.test('packages with debug information may come, and need not', needsRoot, async (t) => {
  const { plan } = setUp(
    t,
    tinyTree(tinySpec({ head: '%debug_package' }).replace('BuildArch: noarch\n', '')),
  );
  const planned = await plan();
  t.same(
    planned.packages.map((one) => one.name),
    ['demo-rpm'],
  );
  t.same(
    [...new Set(planned.debugPackages.map((one) => `${one.name}.${one.arch}`))],
    [`demo-rpm-debuginfo.${rpmArchitecture()}`, `demo-rpm-debugsource.${rpmArchitecture()}`],
  );
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
  ["a version that is not the tag's", { version: '1.3' }, 'VERSION_MISMATCH'],
  ["a release that is not the tag's", { release: '2' }, 'VERSION_MISMATCH'],
  ['an epoch that the tag does not have', { head: 'Epoch: 1' }, 'VERSION_MISMATCH'],
  ['a version that no file name of ours holds', { version: '1.2^git' }, 'BAD_SPEC'],
  ['a release that no file name of ours holds', { release: '1^x' }, 'BAD_SPEC'],
  [
    'a package that no file name of ours holds',
    { head: '%package -n _x\nSummary: x\n%description -n _x\nx', files: '%files -n _x' },
    'BAD_SPEC',
  ],
  ['another name than the one that it shows', { head: '%{lua: print("Na" .. "me: other")}' }, 'BAD_SPEC'],
  ['nonsense', { head: '%if' }, 'BAD_SPEC'],
  ['a version by a command that goes on for ever', { head: '%(yes)' }, 'BAD_SPEC'],
] as [string, Parameters<typeof tinySpec>[0], string][]) {
  void t.test(`a spec with ${what} is refused`, needsRoot, async (t) => {
    const { plan } = setUp(t, tinyTree(tinySpec(words)));
    t.equal(await codeOf(() => plan()), code);
  });
}

void t.test(
  "the tag's version is version and release; without a release it stands for release 1",
  async (t) => {
    const spec = (
      version: string,
      release: string,
      specEpoch = '',
    ): Parameters<typeof refuseOtherVersion>[1] => ({
      name: 'x',
      epoch: specEpoch,
      version,
      release,
      arch: 'noarch',
    });
    for (const [job, one] of [
      ['1.2-1', spec('1.2', '1')],
      ['1.2', spec('1.2', '1')],
      ['1.2-3', spec('1.2', '3')],
      ['2:1.2', spec('1.2', '1', '2')],
      ['1.2~rc1-0.1', spec('1.2~rc1', '0.1')],
    ] as const)
      t.doesNotThrow(() => refuseOtherVersion(job, one), job);
    for (const [job, one] of [
      ['1.2', spec('1.2', '2')],
      ['1.2-1', spec('1.2', '1', '0')],
      ['1.2-1-1', spec('1.2', '1')],
      ['1.2-2', spec('1.2', '1')],
    ] as const)
      t.throws(() => refuseOtherVersion(job, one), { code: 'VERSION_MISMATCH' }, job);
  },
);

void t.test(
  'a command in a spec sees no network and nothing of this VM, writes nothing, and is not root',
  needsRoot,
  async (t) => {
    // What it finds it can say in the release alone.
    const release =
      '1.%(id -u).%(tail -n +2 /proc/net/route | wc -l).%(touch /mnt/planted /usr/planted /planted 2>/dev/null && echo written || echo unwritten).%(ls -d /var/lib /rw /root /home /etc/hostname 2>/dev/null | wc -l)';
    const { plan, tree } = setUp(t, tinyTree(tinySpec({ release })), { version: '1.2-1.1234.0.unwritten.0' });
    t.equal((await plan()).source.release, '1.1234.0.unwritten.0');
    for (const path of [join(tree, 'planted'), '/usr/planted']) t.notOk(existsSync(path), path);
  },
);

void t.test(
  'sources come from the tree, as files beside the spec or as the tree itself',
  needsRoot,
  async (t) => {
    const { sources, tree } = setUp(
      t,
      tinyTree(tinySpec({ head: 'Source1: extra.conf\nPatch0: https://example.org/fix.patch' }), {
        'extra.conf': 'a',
        'fix.patch': 'b',
      }),
    );
    symlinkSync('greeting', join(tree, 'link'));
    const folder = await sources();
    t.equal(readFileSync(join(folder, 'fix.patch'), 'utf8'), 'b');
    const listing = execFileSync(
      'tar',
      ['--list', '--verbose', '--numeric-owner', '--file', join(folder, 'demo-rpm-1.2.tar.gz')],
      { encoding: 'utf8', env: { ...process.env, TZ: 'UTC' } },
    );
    t.match(listing, /^-rw-r--r-- 0\/0 +18 2026-11-21 20:00 demo-rpm-1\.2\/greeting$/m);
    t.match(listing, /^l.* demo-rpm-1\.2\/link -> greeting$/m);
    // gzip's flags and time: no name, no time.
    t.equal(readFileSync(join(folder, 'demo-rpm-1.2.tar.gz')).toString('hex', 0, 8), '1f8b080000000000');
  },
);

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
  t.same(
    readEngineOptions({
      ...job,
      options: { suite: 'bookworm', packages: ['gcc'], distTag: '.fc41', mock: 'fedora-41-x86_64' },
    }),
    { suite: 'bookworm', packages: ['gcc'], distTag: '.fc41', mock: 'fedora-41-x86_64' },
  );
  for (const options of [
    { other: 1 },
    { packages: ['-o=x'] },
    { distTag: '.a b' },
    { mock: '../x' },
    { suite: '$(x)' },
    { mock: 'fedora-41-x86_64' },
  ])
    t.throws(() => readEngineOptions({ ...job, options }), { code: 'BAD_DOCUMENT' });
});

void t.test('mock is asked for a build without network, from our sources', needsRoot, async (t) => {
  const { job, plan } = setUp(t, tinyTree());
  const planned = await plan('.fc41');
  const [source = [], binary = []] = mockCommands(
    '/w/fedora-41-x86_64.cfg',
    planned,
    job,
    '/w/build',
    '.fc41',
  );
  for (const argv of [source, binary]) {
    t.same(argv.slice(0, 3), ['/usr/bin/mock', '--root', '/w/fedora-41-x86_64.cfg']);
    t.ok(argv.includes('--config-opts=rpmbuild_networking=False'));
    t.notOk(argv.includes('--enable-network'));
    t.ok(argv.includes('dist .fc41'));
    const values = argv.flatMap((word) => /^--config-opts=[a-z_]+=(.*)$/.exec(word)?.[1] ?? []);
    t.ok(
      values.every((value) => /^(?:True|False)$/.test(value)),
      'nothing that mock would take as one word',
    );
  }
  t.same(source.slice(-5), [
    '--buildsrpm',
    '--spec',
    '/w/build/SPECS/demo-rpm.spec',
    '--sources',
    '/w/build/SOURCES',
  ]);
  t.same(binary.slice(-2), ['--rebuild', `/w/build/SRPMS/${planned.sourcePackage}`]);
});

void t.test('what mock reads keeps the named configuration, and its environment with one value more', (t) => {
  const { job } = setUp(t, tinyTree());
  // mock puts the text of an included file in the place of the line and runs the whole as Python; the
  // defaults are there before.
  const reader = `import json, re, sys
config_opts = {'environment': {'HOME': '/builddir', 'LANG': 'C.UTF-8'}}
seen = []
text = re.sub(r'^\\s*include\\((.*)\\)', lambda found: 'seen.append(' + found.group(1) + '); config_opts["root"] = "fedora-41-x86_64"', sys.stdin.read(), flags=re.MULTILINE)
exec(text)
print(json.dumps([seen, config_opts]))`;
  const read = JSON.parse(
    execFileSync('python3', ['-c', reader], {
      input: mockConfiguration('fedora-41-x86_64', job),
      encoding: 'utf8',
    }),
  ) as unknown;
  t.same(read, [
    ['fedora-41-x86_64.cfg'],
    {
      environment: { HOME: '/builddir', LANG: 'C.UTF-8', SOURCE_DATE_EPOCH: String(epoch) },
      root: 'fedora-41-x86_64',
    },
  ]);
  const withMore = JSON.parse(
    execFileSync(
      'python3',
      ['-c', reader.replace('seen = []', 'config_opts["dnf.conf"] = "[main]\\n"\nseen = []')],
      { input: mockConfiguration('fedora-41-x86_64', job, '[own]\nbaseurl=http://x/y\n'), encoding: 'utf8' },
    ),
  ) as [string[], Record<string, unknown>];
  t.equal(withMore[1]['dnf.conf'], '[main]\n\n[own]\nbaseurl=http://x/y\n', 'repositories come to its own');
  t.end();
});

void t.test(
  'where build dependencies come from: what is published, of a line its own first, and further ones',
  async (t) => {
    const published = { url: 'http://forge.example/rpm/fc41', publicKey: '/keys/own.asc' };
    const told = {
      mock: 'fedora-41-x86_64',
      distTag: '.fc41',
      ownPackages: 'current',
      repositories: ['https://yum.example/r4.3/fc41 /keys/other.asc'],
    };
    const of = (change: Partial<EngineJob>): unknown => extraRepositories(setUp(t, tinyTree(), change).job);
    const other = { url: 'https://yum.example/r4.3/fc41', key: '/keys/other.asc' };
    t.same(of({ options: told }), [other], 'nothing was published yet');
    t.same(of({ options: told, published }), [
      { url: `${published.url}/current`, key: '/keys/own.asc' },
      other,
    ]);
    t.same(of({ options: told, published: { ...published, suites: 'lts' } }), [
      { url: `${published.url}/lts-current`, key: '/keys/own.asc', preferred: true },
      { url: `${published.url}/current`, key: '/keys/own.asc' },
      other,
    ]);
    t.same(
      of({ options: { mock: 'x', distTag: '.fc41' }, published }),
      [],
      'who does not ask for them does not get them',
    );
    const place = makePlace();
    t.teardown(() => place.end());
    const log = new Lines();
    for (const name of ['a.asc', 'b.asc']) writeFileSync(join(place.folder, name), name);
    const keys = place.make('keys');
    const text = dnfSections(
      [
        { url: 'http://a/lts-current', key: join(place.folder, 'a.asc'), preferred: true },
        { url: 'http://b', key: join(place.folder, 'b.asc') },
      ],
      keys,
      log,
    );
    // As mock itself reads it, for what it shows to its dnf.
    const parsed = JSON.parse(
      execFileSync(
        'python3',
        [
          '-c',
          'import configparser, json, sys\nc = configparser.ConfigParser(strict=False)\nc.read_string(sys.stdin.read())\nprint(json.dumps({s: dict(c[s]) for s in c.sections()}))',
        ],
        { input: text, encoding: 'utf8' },
      ),
    ) as Record<string, Record<string, string>>;
    t.match(parsed, {
      'build-infra-0': {
        baseurl: 'http://a/lts-current',
        gpgkey: `file://${keys}/0.asc`,
        gpgcheck: '1',
        repo_gpgcheck: '1',
        skip_if_unavailable: '0',
        priority: '50',
      },
      'build-infra-1': { baseurl: 'http://b', gpgkey: `file://${keys}/1.asc` },
      'build-infra-keys': { baseurl: `file://${keys}`, enabled: '0' },
    });
    t.equal(parsed['build-infra-1']?.['priority'], undefined);
    t.equal(readFileSync(join(keys, '1.asc'), 'utf8'), 'b.asc');
    t.match(
      log.text(),
      /build dependencies from http:\/\/a\/lts-current first, signed by a key with sha256:[0-9a-f]{64}/,
    );
    t.equal(
      await codeOf(async () =>
        dnfSections([{ url: 'http://a', key: join(place.folder, 'c.asc') }], keys, log),
      ),
      'NO_BUILD_DEPENDENCIES',
    );
    t.equal(dnfSections([], keys, log), '');
    for (const [what, options] of [
      ['no mock', { ownPackages: 'current' }],
      ['no mock, a further one', { repositories: told.repositories }],
      ['no suite', { ...told, ownPackages: 'stable' }],
      ['no key', { ...told, repositories: ['https://yum.example/x'] }],
      ['a quote', { ...told, repositories: ["https://yum.example/x'y /k"] }],
    ] as const) {
      t.equal(
        await codeOf(async () => readEngineOptions(setUp(t, tinyTree(), { options }).job)),
        'BAD_DOCUMENT',
        what,
      );
    }
    if (!existsSync(mockProgram))
      t.equal(
        await codeOf(() => buildRpm(setUp(t, tinyTree(), { options: told, published }).job, log)),
        'NO_BUILD_DEPENDENCIES',
        'where mock is missing nothing is built without them',
      );
  },
);

void t.test(
  'a build waits for a dependency where mock says that its package manager failed, and there is a repository that may get it',
  needsRoot,
  async (t) => {
    const key = join(makeFolderOf(t), 'key.asc');
    writeFileSync(key, 'key');
    const mock = { mock: 'fedora-41-x86_64', distTag: '.fc41' };
    const { job, plan } = setUp(t, tinyTree(), {
      options: { ...mock, repositories: [`https://yum.example/x ${key}`] },
    });
    const planned = await plan('.fc41');
    const ending = (
      status: number,
      options: Record<string, unknown> = job.options ?? {},
    ): Promise<string> => {
      const folder = makeFolderOf(t);
      writeFileSync(join(folder, 'mock'), `#!/bin/sh\nexit ${status}\n`, { mode: 0o755 });
      return codeOf(() =>
        buildWithMock(
          mock,
          planned,
          { ...job, work: folder, options },
          folder,
          new Lines(),
          join(folder, 'mock'),
        ),
      );
    };
    t.equal(await ending(30), 'DEP_WAIT');
    t.equal(
      await ending(30, mock),
      'BUILD_FAILED',
      'without a further repository nothing is worth waiting for',
    );
    for (const status of [1, 10, 20, 31, 40]) t.equal(await ending(status), 'BUILD_FAILED', String(status));
  },
);
