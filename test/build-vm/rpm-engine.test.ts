// SPDX-License-Identifier: GPL-2.0-or-later
// The RPM engine with a real clean chroot and a real rpmbuild: the same bytes twice, and nothing that the
// spec did not announce.
import { execFileSync, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { EngineJob } from '../../agents/engines/contract.js';
import { hashFile } from '../../agents/shared/files/frozen-files.js';
import { takePackages } from '../../agents/engines/rpm/artifacts.js';
import { buildRpm } from '../../agents/engines/rpm/engine.js';
import { buildInChroot, makeRpmChroot } from '../../agents/engines/rpm/package-build.js';
import { prepareSources } from '../../agents/engines/rpm/source-files.js';
import { rpmArchitecture, type Spec } from '../../agents/engines/rpm/spec-file.js';
import { jobSpecs, planBuild, type PlannedBuild } from '../../agents/engines/rpm/spec-query.js';
import type { HashedFile } from '../../agents/shared/formats/intent.js';
import { chrootCache } from '../support/clean-chroots.js';
import {
  buildHere,
  codeOf,
  engineJob,
  Lines,
  makePlace,
  tinySpec,
  tinyTree,
  writeTree,
  type Files,
} from './rpm-packages.js';

const needsRoot = process.getuid?.() === 0 ? {} : { skip: 'makes chroots, which needs root here' };
mkdirSync(chrootCache, { recursive: true });

function setUp(
  test: Test,
  files: Files,
  change: Partial<EngineJob> = {},
): { job: EngineJob; log: Lines; build: () => Promise<unknown> } {
  const place = makePlace();
  test.teardown(() => place.end());
  const job = engineJob(place, writeTree(place.make('source'), files), { cache: chrootCache, ...change });
  const log = new Lines();
  return { job, log, build: () => buildRpm(job, log) };
}

void t.test(
  'a tree becomes source and binary package, and a rebuild the same bytes',
  needsRoot,
  async (t) => {
    const made = [];
    for (let round = 0; round < 2; round++) {
      const { job, log, build } = setUp(t, tinyTree());
      const code = await codeOf(build);
      t.equal(code, 'none', log.text().slice(-3000));
      t.match(log.text(), /^building as 1234$/m);
      made.push(
        readdirSync(job.output)
          .sort()
          .map((name) => hashFile(job.output, name)),
      );
      // Another time of day, and another time of the files.
      await new Promise((resolve) => setTimeout(resolve, 1100));
    }
    t.same(
      made[0]?.map((file) => file.name),
      ['demo-rpm-1.2-1.noarch.rpm', 'demo-rpm-1.2-1.src.rpm'],
    );
    t.same(made[0], made[1]);
  },
);

void t.test(
  'a rebuild makes packages of a raised release, and a source package that says so',
  needsRoot,
  async (t) => {
    const { job, log, build } = setUp(t, tinyTree(tinySpec({ release: '1%{?dist}' })), {
      options: { distTag: '.fc41' },
      rebuild: { of: '1.2-1.fc41', number: 2 },
    });
    t.equal(await codeOf(build), 'none', log.text().slice(-3000));
    t.same(
      readdirSync(job.output)
        .filter((name) => name.endsWith('.rpm'))
        .sort(),
      ['demo-rpm-1.2-1.fc41.2.noarch.rpm', 'demo-rpm-1.2-1.fc41.2.src.rpm'],
    );
  },
);

void t.test('a build that misbehaves', needsRoot, async (t) => {
  // One chroot for all: what a build can write to is its folder alone.
  const place = makePlace();
  t.teardown(() => place.end());
  const work = engineJob(place, place.make('source'), { cache: chrootCache });
  const chroot = await makeRpmChroot(work, {}, new Lines());
  const build = async (
    files: Files,
    change: Partial<EngineJob> = {},
  ): Promise<{ code: string; text: string; left: HashedFile[] }> => {
    const own = makePlace();
    const log = new Lines();
    rmSync(join(chroot, 'build'), { recursive: true, force: true });
    mkdirSync(join(chroot, 'build'));
    const job = engineJob(own, writeTree(own.make('source'), files), change);
    const code = await codeOf(async () => {
      const plan = await planBuild(job, chroot, undefined, jobSpecs(job)[0] as Spec);
      await prepareSources(job.sourceTree, plan, join(chroot, 'build'), job.sourceDateEpoch, log);
      await buildInChroot(chroot, plan, job, undefined, log);
      await takePackages(join(chroot, 'build'), job.output, plan, chroot);
    });
    const left = readdirSync(job.output)
      .sort()
      .map((name) => hashFile(job.output, name));
    own.end();
    return { code, text: log.text(), left };
  };

  await t.test('that fails is said to have failed', async (t) => {
    t.match(await build(tinyTree(tinySpec({ build: 'exit 3' }))), { code: 'BUILD_FAILED', left: [] });
  });

  await t.test('that never ends is stopped, and nothing of it stays', async (t) => {
    const { code } = await build(tinyTree(tinySpec({ build: 'setsid sleep 98767 &\nsleep 98767' })), {
      buildSeconds: 3,
    });
    t.equal(code, 'TIMED_OUT');
    t.throws(() => execFileSync('pgrep', ['-f', 'sleep 98767']), 'no process of it is left');
  });

  await t.test(
    'leaves no process behind, reaches no network, writes nowhere else, and is nobody',
    async (t) => {
      const server = createServer().listen(0, '127.0.0.1');
      t.teardown(() => server.close());
      await new Promise((resolve) => server.once('listening', resolve));
      const { port } = server.address() as AddressInfo;
      const script = [
        'setsid sleep 98768 > /dev/null 2>&1 < /dev/null &',
        `if perl -MIO::Socket::INET -e 'exit !IO::Socket::INET->new(PeerAddr=>"127.0.0.1",PeerPort=>${port},Timeout=>2)'; then echo REACHED; else echo UNREACHED; fi`,
        'if touch /usr/planted 2>/dev/null; then echo WRITTEN; else echo UNWRITTEN; fi',
        'if kill -0 1 2>/dev/null; then echo KILLS; else echo KILLSNOT; fi',
        `if test -e ${work.work}; then echo SEES; else echo SEESNOT; fi`,
      ].join('\n');
      const { code, text } = await build(tinyTree(tinySpec({ build: script })));
      t.equal(code, 'none', text);
      for (const word of ['UNREACHED', 'UNWRITTEN', 'KILLSNOT', 'SEESNOT'])
        t.match(text, new RegExp(`^${word}$`, 'm'));
      t.throws(() => execFileSync('pgrep', ['-f', 'sleep 98768']), 'no process of it is left');
    },
  );

  await t.test('floods its log is stopped', async (t) => {
    t.equal((await build(tinyTree(tinySpec({ build: 'yes "$(printf %04000d 0)"' })))).code, 'OUTPUT_LIMIT');
  });

  for (const [what, install] of [
    ['a package more', 'cp /bin/true /build/RPMS/surprise-1-1.noarch.rpm'],
    ['a file that is no package', 'mkdir -p /build/RPMS/noarch; touch /build/RPMS/noarch/notes.txt'],
    ['a file whose name is an option', 'touch -- /build/SRPMS/--all'],
    ['a package for another architecture', 'touch /build/RPMS/demo-rpm-1.2-1.x86_64.rpm'],
  ] as const) {
    await t.test(`leaves ${what}, and nothing is taken`, async (t) => {
      t.match(await build(tinyTree(tinySpec({ install }))), { code: 'BAD_ARTIFACT', left: [] });
    });
  }

  await t.test('compiles for this machine, and a rebuild gives the same bytes', async (t) => {
    const spec = tinySpec({
      build: 'gcc -g -O2 -o greet greet.c',
      install: 'install -D -m 755 greet %{buildroot}/usr/bin/greet',
      files: '/usr/bin/greet',
    }).replace('BuildArch: noarch\n', '');
    const files = tinyTree(spec, {
      'greet.c': 'int main(void) { return sizeof __DATE__ + sizeof __TIME__; }\n',
    });
    const [one, two] = [await build(files), await build(files)];
    t.equal(one.code, 'none', one.text.slice(-3000));
    t.same(
      one.left.map((file) => file.name),
      [`demo-rpm-1.2-1.${rpmArchitecture()}.rpm`, 'demo-rpm-1.2-1.src.rpm'].sort(),
    );
    t.same(one.left, two.left);
  });
});

void t.test('an engine that cannot build says why in a file, and leaves nothing', async (t) => {
  const place = makePlace();
  t.teardown(() => place.end());
  const job = engineJob(place, writeTree(place.make('source'), { greeting: '' }));
  writeFileSync(join(place.folder, 'job.json'), JSON.stringify(job));
  const engine = new URL('../../agents/engines/rpm/engine.js', import.meta.url).href;
  const run = spawnSync(
    process.execPath,
    [
      '--input-type=module',
      '--eval',
      `process.exitCode = await (await import('${engine}')).runEngine('${place.folder}/job.json');`,
    ],
    { encoding: 'utf8' },
  );
  t.equal(run.status, 1, run.stderr);
  t.match(run.stdout, /^== NO_SPEC: /m);
  t.match(JSON.parse(readFileSync(join(job.output, 'failure.json'), 'utf8')), {
    format: 'build-infra/engine-failure@1',
    code: 'NO_SPEC',
  });
  t.notOk(existsSync(job.work));
});

void t.test('what a hostile build left in place of a package is not taken', async (t) => {
  const plan: PlannedBuild = {
    spec: { file: 'demo-rpm.spec', folder: '', name: 'demo-rpm', text: Buffer.from(''), isListed: false },
    source: { name: 'demo-rpm', epoch: '', version: '1.2', release: '1', arch: 'src', files: [] },
    sourcePackage: 'demo-rpm-1.2-1.src.rpm',
    packages: [{ name: 'demo-rpm', epoch: '', version: '1.2', release: '1', arch: 'noarch' }],
    debugPackages: [],
  };
  const source = makePlace();
  t.teardown(() => source.end());
  buildHere(tinySpec(), source.make('good'));
  buildHere(tinySpec({ name: 'second' }), source.make('second'));
  buildHere(tinySpec({ head: 'Epoch: 9' }), source.make('epoch'));
  const name = 'demo-rpm-1.2-1.noarch.rpm';
  const from = (kind: string, file: string): string => join(source.folder, kind, file);
  const take = async (test: Test, change: (packages: string) => void): Promise<string> => {
    const place = makePlace();
    test.teardown(() => place.end());
    const packages = place.make('build/RPMS/noarch');
    copyFileSync(from('good', name), join(packages, name));
    copyFileSync(from('good', plan.sourcePackage), join(place.make('build/SRPMS'), plan.sourcePackage));
    change(packages);
    return codeOf(() => takePackages(join(place.folder, 'build'), place.make('output'), plan, '/'));
  };
  t.equal(await take(t, () => undefined), 'none');
  for (const [what, change] of [
    [
      'another package under the name',
      (packages) => copyFileSync(from('second', 'second-1.2-1.noarch.rpm'), join(packages, name)),
    ],
    [
      'a package with an epoch that nobody announced',
      (packages) => copyFileSync(from('epoch', name), join(packages, name)),
    ],
    [
      'a source package as a binary one',
      (packages) => copyFileSync(from('good', plan.sourcePackage), join(packages, name)),
    ],
    [
      'a binary package as the source',
      (packages) => copyFileSync(from('good', name), join(packages, '../../SRPMS', plan.sourcePackage)),
    ],
    ['no package at all', (packages) => rmSync(join(packages, name))],
    ['nonsense', (packages) => writeFileSync(join(packages, name), 'x'.repeat(1000))],
    [
      'a link out of the folder',
      (packages) => {
        rmSync(join(packages, name));
        symlinkSync(from('good', name), join(packages, name));
      },
    ],
    [
      'a second name of one file',
      (packages) => linkSync(join(packages, name), join(packages, '../../elsewhere')),
    ],
    ['the package twice', (packages) => copyFileSync(join(packages, name), join(packages, '..', name))],
  ] as [string, (packages: string) => void][]) {
    await t.test(what, needsRoot, async (t) => t.equal(await take(t, change), 'BAD_ARTIFACT'));
  }
});
