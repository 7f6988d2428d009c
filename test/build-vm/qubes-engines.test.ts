// SPDX-License-Identifier: GPL-2.0-or-later
// Trees of Qubes' shapes, built by our own engines in real clean chroots: by their tags, with the
// distribution's suffix, of packaging in another folder, of an upstream tarball that is listed, of a formula,
// and of several specs.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { AptSource } from '../../agents/engines/chroot/apt-sources.js';
import { baseTar } from '../../agents/engines/chroot/base-chroot.js';
import { buildDebian } from '../../agents/engines/debian/engine.js';
import type { EngineJob } from '../../agents/engines/contract.js';
import { hashFile } from '../../agents/shared/files/frozen-files.js';
import { buildRpm } from '../../agents/engines/rpm/engine.js';
import { chrootCache } from '../support/clean-chroots.js';
import type { AnyRefusal } from '../../agents/shared/refusal.js';
import { Keys, tinyPackage, tinyRules } from './forge.js';
import { codeOf, engineJob, Lines, makePlace, tinySpec, writeTree, type Files } from './rpm-packages.js';

const needsRoot = process.getuid?.() === 0 ? {} : { skip: 'makes chroots, which needs root here' };
mkdirSync(chrootCache, { recursive: true });

function job(test: Test, files: Files, change: Partial<EngineJob>): { job: EngineJob; log: Lines } {
  const place = makePlace();
  test.teardown(() => place.end());
  const tree = writeTree(place.make('source'), files);
  for (const folder of ['debian', 'debian-pkg/debian'])
    if (files[`${folder}/rules`] !== undefined) chmodSync(join(tree, folder, 'rules'), 0o755);
  return { job: engineJob(place, tree, { cache: chrootCache, ...change }), log: new Lines() };
}

async function debs(
  test: Test,
  files: Files,
  change: Partial<EngineJob>,
): Promise<{ names: string[]; folder: string; text: string }> {
  const made = job(test, files, {
    dist: 'bookworm',
    packages: 'deb',
    component: 'hello-tiny',
    options: { suffix: '+deb12u1' },
    ...change,
  });
  const code = await codeOf(() => buildDebian(made.job, made.log));
  test.equal(code, 'none', made.log.text().slice(-3000));
  return { names: readdirSync(made.job.output).sort(), folder: made.job.output, text: made.log.text() };
}

const control = (deb: string, field: string): string =>
  execFileSync('dpkg-deb', ['--field', deb, field], { encoding: 'utf8' }).trim();
const contentOf = (deb: string): string =>
  execFileSync('sh', ['-c', 'dpkg-deb --fsys-tarfile "$0" | tar --list', deb], { encoding: 'utf8' });
const packaging = (version: string, folder: string, rules = tinyRules): Files =>
  Object.fromEntries(
    tinyPackage(version, [], rules)
      .filter(({ path }) => path.startsWith('debian/'))
      .map(({ path, content }) => [path.replace(/^debian/, folder), content ?? '']),
  );

void t.test(
  'packaging in another folder, of the upstream tarball that the tree lists first',
  needsRoot,
  async (t) => {
    const upstream = makePlace();
    t.teardown(() => upstream.end());
    writeTree(upstream.make('x'), {
      'hello-2.0/hello-tiny.sh': '#!/bin/sh\necho from upstream\n',
      'hello-2.0/debian/rules': 'upstream has its own',
    });
    execFileSync('tar', [
      '--create',
      '--gzip',
      '--file',
      join(upstream.folder, 'hello-2.0.tar.gz'),
      '--directory',
      join(upstream.folder, 'x'),
      'hello-2.0',
    ]);
    const made = job(
      t,
      {
        ...packaging('2.0-2', 'debian-pkg/debian'),
        version: '2.0\n',
        rel: '2\n',
        Makefile: "not upstream's\n",
        '.qubesbuilder':
          'vm-bookworm:\n  deb:\n    build: [debian-pkg/debian]\nsource:\n  files:\n  - url: https://files.example/hello-@VERSION@.tar.gz\n    sha512: x\n',
      },
      { dist: 'bookworm', packages: 'deb', version: '2.0-2', options: { suffix: '+deb12u1' } },
    );
    execFileSync('cp', [join(upstream.folder, 'hello-2.0.tar.gz'), made.job.sourceTree]);
    t.equal(await codeOf(() => buildDebian(made.job, made.log)), 'none', made.log.text().slice(-3000));
    const names = readdirSync(made.job.output).sort();
    t.same(
      names.filter((name) => !/buildinfo|changes/.test(name)),
      [
        'hello-tiny_2.0-2+deb12u1.debian.tar.xz',
        'hello-tiny_2.0-2+deb12u1.dsc',
        'hello-tiny_2.0-2+deb12u1_all.deb',
        'hello-tiny_2.0.orig.tar.gz',
      ],
    );
    t.equal(
      hashFile(made.job.output, 'hello-tiny_2.0.orig.tar.gz').sha256,
      hashFile(upstream.folder, 'hello-2.0.tar.gz').sha256,
      'the listed file, byte for byte',
    );
    const unpacked = makePlace();
    t.teardown(() => unpacked.end());
    execFileSync(
      'dpkg-source',
      [
        '--no-check',
        '--extract',
        join(made.job.output, 'hello-tiny_2.0-2+deb12u1.dsc'),
        join(unpacked.folder, 'x'),
      ],
      { stdio: 'pipe' },
    );
    t.match(readFileSync(join(unpacked.folder, 'x/hello-tiny.sh'), 'utf8'), 'from upstream');
  },
);

void t.test(
  'a formula is installed by its own Makefile, and a rebuild is the same bytes',
  needsRoot,
  async (t) => {
    const rules = tinyRules.replace(
      'mkdir -p debian/hello-tiny/DEBIAN debian/hello-tiny/usr/bin\n\tcp hello-tiny.sh debian/hello-tiny/usr/bin/hello-tiny',
      'mkdir -p debian/hello-tiny/DEBIAN\n\tmake install DESTDIR=$(CURDIR)/debian/hello-tiny',
    );
    const files: Files = {
      ...packaging('1.0-1', 'debian', rules),
      version: '1.0\n',
      '.qubesbuilder': 'host:\n  rpm:\n    build: [x.spec]\nvm:\n  deb:\n    build: [debian]\n',
      Makefile: 'include Makefile.vars\ninclude Makefile.install\n',
      FORMULA:
        'package-name: hello-tiny\nname: hello-formula\nversion: 1.0\nrelease: 1\nformula-files: hello\nsummary: x\ndescription: x\n',
      'hello/init.sls': 'x',
      LICENSE: 'x',
      'README.rst': 'x',
    };
    const made = [await debs(t, files, { version: '1.0' }), await debs(t, files, { version: '1.0' })];
    const [first, second] = made.map(({ names, folder }) =>
      names.filter((name) => !/buildinfo|changes/.test(name)).map((name) => hashFile(folder, name)),
    );
    t.same(first, second);
    const deb = join(made[0]?.folder as string, 'hello-tiny_1.0-1+deb12u1_all.deb');
    t.equal(control(deb, 'Version'), '1.0-1+deb12u1');
    t.match(contentOf(deb), './srv/salt/hello/init.sls');
  },
);

void t.test(
  'a package waits for another one of the same distribution, and is built of it when that is published',
  needsRoot,
  async (t) => {
    const keys = new Keys();
    const [signer, other] = [keys.make('signer'), keys.make('other')];
    const place = makePlace();
    t.teardown(() => {
      place.end();
      keys.end();
    });
    const own = place.make('own');
    writeTree(own, {
      'conf/distributions': `Origin: x\nLabel: x\nSuite: current-testing\nCodename: bookworm-current-testing\nArchitectures: amd64 source\nComponents: main\nSignWith: ${signer.fingerprint}\n`,
      'key.asc': signer.armored,
      'other.asc': other.armored,
    });
    const package_ = writeTree(place.make('package'), {
      'DEBIAN/control':
        'Package: libown-dev\nVersion: 1.0-1+deb12u1\nArchitecture: all\nMaintainer: Alice <alice@example.org>\nSection: misc\nPriority: optional\nDescription: x\n',
      'usr/share/own': 'own',
    });
    execFileSync('dpkg-deb', ['--root-owner-group', '--build', package_, place.folder], { stdio: 'pipe' });
    execFileSync(
      'reprepro',
      [
        '--basedir',
        own,
        '--gnupghome',
        keys.home,
        'includedeb',
        'bookworm-current-testing',
        join(place.folder, 'libown-dev_1.0-1+deb12u1_all.deb'),
      ],
      { stdio: 'pipe' },
    );
    const server = createServer((request, response) => {
      const path = join(own, decodeURIComponent(new URL(request.url ?? '/', 'http://x').pathname));
      if (!existsSync(path)) return void response.writeHead(404).end();
      response.end(readFileSync(path));
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.teardown(() => server.close());
    const published = {
      url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      publicKey: join(own, 'key.asc'),
    };
    const files: Files = {
      ...packaging('1.0-1', 'debian', tinyRules.replace('@echo building as $$(id -u)', 'cat /usr/share/own')),
      'hello-tiny.sh': '#!/bin/sh\n',
    };
    files['debian/control'] = (files['debian/control'] as string).replace(
      '\n\n',
      '\nBuild-Depends: libown-dev (>= 1.0)\n\n',
    );
    const build = async (
      change: Partial<EngineJob>,
      options: Record<string, unknown>,
    ): Promise<{ code: string; detail: string; text: string; folder: string }> => {
      const made = job(t, files, {
        dist: 'bookworm',
        packages: 'deb',
        component: 'hello-tiny',
        version: '1.0-1',
        options,
        ...change,
      });
      const refusal = await buildDebian(made.job, made.log).then(
        () => undefined,
        (error: unknown) => error as AnyRefusal,
      );
      return {
        code: refusal?.code ?? 'none',
        detail: refusal?.detail ?? '',
        text: made.log.text(),
        folder: made.job.output,
      };
    };
    t.match(
      await build({}, { ownPackages: 'current-testing' }),
      { code: 'DEP_WAIT', detail: /libown-dev \(>= 1\.0\)/ },
      'nothing was published yet',
    );
    t.match(
      await build({ published }, {}),
      { code: 'NO_BUILD_DEPENDENCIES' },
      'who does not ask for its own packages does not get them',
    );
    t.match(
      await build(
        { published: { ...published, publicKey: join(own, 'other.asc') } },
        { ownPackages: 'current-testing' },
      ),
      { code: 'NO_BUILD_DEPENDENCIES' },
      'signed by another key',
    );
    const built = await build({ published }, { ownPackages: 'current-testing' });
    t.equal(built.code, 'none', built.text.slice(-3000));
    t.match(built.text, `build dependencies from ${published.url} bookworm-current-testing main too`);
    // A line's own come before what is newer elsewhere.
    const newer = execFileSync(
      'sh',
      [
        '-ec',
        'sed -i "s/^Version: .*/Version: 2.0-1/" "$0/DEBIAN/control"; dpkg-deb --root-owner-group --build "$0" "$1"',
        package_,
        place.folder,
      ],
      { stdio: 'pipe' },
    );
    t.ok(newer);
    appendFileSync(
      join(own, 'conf/distributions'),
      `\nOrigin: x\nLabel: x\nSuite: maint-current-testing\nCodename: bookworm-maint-current-testing\nArchitectures: amd64 source\nComponents: main\nSignWith: ${signer.fingerprint}\n`,
    );
    for (const words of [
      [
        'includedeb',
        'bookworm-maint-current-testing',
        join(place.folder, 'libown-dev_1.0-1+deb12u1_all.deb'),
      ],
      ['includedeb', 'bookworm-current-testing', join(place.folder, 'libown-dev_2.0-1_all.deb')],
    ])
      execFileSync('reprepro', ['--basedir', own, '--gnupghome', keys.home, ...words], { stdio: 'pipe' });
    const used = async (change: Partial<EngineJob>): Promise<string | undefined> => {
      const { folder, code, text } = await build(change, { ownPackages: 'current-testing' });
      t.equal(code, 'none', text.slice(-2000));
      return /libown-dev \(= (\S+)\)/.exec(
        readFileSync(
          join(folder, readdirSync(folder).find((name) => name.endsWith('.buildinfo')) ?? 'none'),
          'utf8',
        ),
      )?.[1];
    };
    t.same(
      [await used({ published }), await used({ published: { ...published, suites: 'maint' } })],
      ['2.0-1', '1.0-1+deb12u1'],
      'a line is built of its own',
    );
    const buildinfo = readdirSync(built.folder).find((name) => name.endsWith('.buildinfo')) ?? 'none';
    t.match(
      readFileSync(join(built.folder, buildinfo), 'utf8'),
      'libown-dev (= 1.0-1+deb12u1)',
      'what was used is said',
    );
  },
);

void t.test(
  'packages are looked at by lintian and installed in a clean root, where that is asked for',
  needsRoot,
  async (t) => {
    const look = async (
      control: (text: string) => string,
      options: Record<string, unknown>,
    ): Promise<{ code: string; text: string }> => {
      const files: Files = { ...packaging('1.0-1', 'debian'), 'hello-tiny.sh': '#!/bin/sh\n' };
      files['debian/control'] = control(files['debian/control'] as string);
      const made = job(t, files, {
        dist: 'bookworm',
        packages: 'deb',
        component: 'hello-tiny',
        version: '1.0-1',
        options,
      });
      return { code: await codeOf(() => buildDebian(made.job, made.log)), text: made.log.text() };
    };
    const missing = (text: string): string =>
      text.replace('Architecture: all\n', 'Architecture: all\nDepends: no-such-package\n');
    t.match(await look(missing, { installTest: 'stop' }), {
      code: 'INSTALL_FAILED',
      text: /no-such-package/,
    });
    const linted = await look((text) => text, { installTest: 'log', lint: 'stop' });
    t.match(linted, { code: 'LINT_FAILED', text: /^E: hello-tiny/m }, 'a package without a copyright file');
    t.match(linted.text, /the installation: well/);
  },
);

void t.test('a tree with modules is built of their archives, in the folder of each', needsRoot, async (t) => {
  const commit = 'c'.repeat(40);
  const spec = tinySpec({
    release: '1%{?dist}',
    head: 'Source1: @lib-one@',
    build: 'tar -tzf %{SOURCE1}',
    install: 'tar -xzf %{SOURCE1} -O lib-one/deep/x > %{buildroot}/usr/share/demo-rpm/x',
  });
  const files: Files = {
    '.qubesbuilder': 'vm:\n  rpm:\n    build: [demo-rpm.spec]\nsource:\n  modules: [lib-one]\n',
    'demo-rpm.spec.in': spec,
    version: '1.2\n',
    greeting: 'hello\n',
    'lib-one/deep/x': 'of the module\n',
    'lib-one/README': 'r\n',
  };
  const source = {
    url: 'ssh://forge/demo-rpm',
    tag: 'v1.2-1',
    tagObject: 'a'.repeat(40),
    commit: 'b'.repeat(40),
  };
  const build = async (
    modules?: Record<string, string>,
  ): Promise<{ code: string; text: string; folder: string }> => {
    const made = job(t, files, {
      component: 'demo-rpm',
      version: '1.2-1',
      options: { distTag: '.fc41' },
      source: { ...source, ...(modules === undefined ? {} : { modules }) },
    });
    return {
      code: await codeOf(() => buildRpm(made.job, made.log)),
      text: made.log.text(),
      folder: made.job.output,
    };
  };
  const [once, again] = [await build({ 'lib-one': commit }), await build({ 'lib-one': commit })];
  t.equal(once.code, 'none', once.text.slice(-2000));
  t.match(once.text, /source lib-one-cccccccccccccccc\.tar\.gz: made of the submodule lib-one/);
  t.match(once.text, /^lib-one\/deep\/x$/m);
  const name = 'demo-rpm-1.2-1.fc41.src.rpm';
  t.ok(
    readFileSync(join(once.folder, name)).equals(readFileSync(join(again.folder, name))),
    'the same bytes twice',
  );
  t.match(await build(), { code: 'SOURCE_NOT_IN_TREE' }, 'no archive of what nobody verified');
});

void t.test('packages are looked at by rpmlint, where that is asked for', needsRoot, async (t) => {
  const look = async (
    spec: string,
    options: Record<string, unknown>,
  ): Promise<{ code: string; text: string; made: string[] }> => {
    const made = job(
      t,
      { 'demo-rpm.spec': spec, greeting: 'hello\n' },
      { component: 'demo-rpm', version: '1.2-1', options },
    );
    return {
      code: await codeOf(() => buildRpm(made.job, made.log)),
      text: made.log.text(),
      made: readdirSync(made.job.output),
    };
  };
  const bad = tinySpec({ install: 'mkdir -p %{buildroot}/usr/local/strange', files: '/usr/local/strange' });
  const stopped = await look(bad, { lint: 'stop' });
  t.match(stopped, { code: 'LINT_FAILED', text: /^demo-rpm\.noarch: E: dir-or-file-in-usr-local/m });
  t.notMatch(stopped.text, /^== artifact /m, 'nothing is announced');
  t.match(await look(bad, { lint: 'log' }), {
    code: 'none',
    text: /rpmlint ended with 64, which stops nothing here/,
  });
  const good = await look(tinySpec(), { lint: 'stop' });
  t.match(good, { code: 'none', text: /^== rpmlint: well$/m }, 'that it is not signed yet stops nothing');
  t.strictSame(good.made.sort(), ['demo-rpm-1.2-1.noarch.rpm', 'demo-rpm-1.2-1.src.rpm']);
  t.match(await look(tinySpec(), { lint: 'stop', mock: 'fedora-41-x86_64', distTag: '.fc41' }), {
    code: 'BAD_DOCUMENT',
  });
});

void t.test("a folder in the cache that cannot be removed is in nobody's way", needsRoot, async (t) => {
  const place = makePlace();
  t.teardown(() => place.end());
  const left = join(place.folder, 'chroots/mmdebstrap.killed');
  mkdirSync(join(left, 'proc'), { recursive: true });
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', join(left, 'proc')]);
  t.teardown(() => execFileSync('umount', [join(left, 'proc')]));
  utimesSync(left, 0, 0);
  const log = new Lines();
  // What comes after it is refused: there is no such suite to make a chroot of.
  t.equal(
    await codeOf(() =>
      baseTar(
        place.folder,
        'nosuch',
        [
          {
            uri: 'http://127.0.0.1:9/debian',
            suite: 'nosuch',
            components: ['main'],
            signedBy: undefined,
          } satisfies AptSource,
        ],
        '',
        log,
      ),
    ),
    'NO_CHROOT',
    log.text(),
  );
  t.match(log.text(), /^== mmdebstrap\.killed is old and cannot be removed: /m);
});

void t.test('a native package has the suffix too', needsRoot, async (t) => {
  const files = {
    ...packaging('4.3.19', 'debian'),
    'debian/source/format': '3.0 (native)\n',
    'hello-tiny.sh': '#!/bin/sh\n',
    version: '4.3.19\n',
    '.qubesbuilder': 'vm:\n  deb:\n    build: [debian]\n',
  };
  t.same(
    (await debs(t, files, { version: '4.3.19' })).names.filter((name) => !/buildinfo|changes/.test(name)),
    [
      'hello-tiny_4.3.19+deb12u1.dsc',
      'hello-tiny_4.3.19+deb12u1.tar.xz',
      'hello-tiny_4.3.19+deb12u1_all.deb',
    ],
  );
});

void t.test(
  'what is built for a distribution is what the tree lists for it: several specs, of templates',
  needsRoot,
  async (t) => {
    const greet = (name: string, more = ''): string =>
      tinySpec({ name, version: '@VERSION@', release: '1%{?dist}' })
        .replace(/%changelog[\s\S]*/, '%changelog\n@CHANGELOG@\n')
        .replace('/usr/share/demo-rpm/greeting', `/usr/share/${name}/greeting`)
        .replace('\n/usr/share/demo-rpm\n', `\n/usr/share/${name}\n`) + more;
    const files: Files = {
      version: '1.2\n',
      greeting: 'hello\n',
      'rpm_spec/demo-rpm.spec.in': greet('demo-rpm'),
      'rpm_spec/demo-rpm-dom0.spec.in': greet('demo-rpm-dom0')
        .replace('Source0: %{name}-', 'Source0: demo-rpm-')
        .replace('%setup -q', '%setup -q -n demo-rpm-%{version}'),
      '.qubesbuilder':
        'host:\n  rpm:\n    build: [rpm_spec/demo-rpm.spec, rpm_spec/demo-rpm-dom0.spec]\nvm:\n  rpm:\n    build: [rpm_spec/demo-rpm.spec]\nvm-fc43:\n  rpm:\n    build: []\n',
    };
    const options = { distTag: '.fc41' };
    for (const [distribution, names] of [
      [
        'host-fc41',
        [
          'demo-rpm-1.2-1.fc41.noarch.rpm',
          'demo-rpm-1.2-1.fc41.src.rpm',
          'demo-rpm-dom0-1.2-1.fc41.noarch.rpm',
          'demo-rpm-dom0-1.2-1.fc41.src.rpm',
        ],
      ],
      ['vm-fc41', ['demo-rpm-1.2-1.fc41.noarch.rpm', 'demo-rpm-1.2-1.fc41.src.rpm']],
    ] as const) {
      const made = job(t, files, { version: '1.2', options: { ...options, distribution } });
      t.equal(await codeOf(() => buildRpm(made.job, made.log)), 'none', made.log.text().slice(-3000));
      t.same(readdirSync(made.job.output).sort(), names, distribution);
    }
    const nothing = job(t, files, { version: '1.2', dist: 'fc43', options });
    t.equal(
      await codeOf(() => buildRpm(nothing.job, nothing.log)),
      'NOTHING_TO_BUILD',
      'an engine that is asked all the same',
    );
    writeFileSync(join(nothing.job.sourceTree, 'rpm_spec/demo-rpm-dom0.spec.in'), greet('demo-rpm'));
    rmSync(join(nothing.job.work), { recursive: true });
    mkdirSync(nothing.job.work);
    t.equal(
      await codeOf(() =>
        buildRpm(
          { ...nothing.job, dist: 'fc41', options: { ...options, distribution: 'host-fc41' } },
          nothing.log,
        ),
      ),
      'BAD_SPEC',
      'two specs of one package',
    );
  },
);
