// SPDX-License-Identifier: GPL-2.0-or-later
// A build VM with Qubes' builder as it is recorded (recorded-qb/qb), and a component that it can build as deb
// and as rpm.
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BuildVm, type Outside } from './build-vm.js';
import { tinyPackage, type TestRepository, type TreeFile } from './forge.js';

const recordedQb = fileURLToPath(new URL('../../../test/build-vm/recorded-qb/qb', import.meta.url));

/**
 * A package of a kind that trees of Qubes are: a spec to be filled in, whose second one is of the first one's
 * tarball; quilt, or native without a revision.
 */
export function qubesComponent(version: string, rel: string, greeting = 'hello', native = false): TreeFile[] {
  const spec = (name: string, tarball: string, file: string): string =>
    `Name: ${name}\nVersion: @VERSION@\nRelease: @REL@%{?dist}\nSummary: Tiny greeting\nLicense: GPL-2.0-or-later\nSource0: ${tarball}-%{version}.tar.gz\nBuildArch: noarch\n%description\nIt greets.\n%prep\n%setup -q -n ${tarball === '%{name}' ? name : tarball}-%{version}\n%build\n%install\ninstall -D hello-tiny.sh %{buildroot}/usr/bin/${file}\n%files\n/usr/bin/${file}\n%changelog\n@CHANGELOG@\n`;
  return [
    ...tinyPackage(native ? version : `${version}-${rel}`).map((file) =>
      file.path === 'hello-tiny.sh'
        ? { ...file, content: `#!/bin/sh\necho ${greeting}\n` }
        : file.path === 'debian/source/format' && native
          ? { ...file, content: '3.0 (native)\n' }
          : file,
    ),
    { path: 'version', content: `${version}\n` },
    { path: 'rel', content: `${rel}\n` },
    {
      path: '.qubesbuilder',
      content:
        'vm:\n  deb:\n    build: [debian]\n  rpm:\n    build:\n      - rpm_spec/hello-tiny.spec\n      - rpm_spec/hello-tiny-dom0.spec\n',
    },
    { path: 'rpm_spec/hello-tiny.spec.in', content: spec('hello-tiny', '%{name}', 'hello-tiny') },
    {
      path: 'rpm_spec/hello-tiny-dom0.spec.in',
      content: spec('hello-tiny-dom0', 'hello-tiny', 'hello-tiny-dom0'),
    },
  ];
}

export type Kind = 'deb' | 'rpm';
const words = {
  deb: { name: 'trixie', distribution: 'vm-trixie' },
  rpm: { name: 'fc41', distribution: 'vm-fc41' },
};

export class BuilderVm extends BuildVm {
  readonly builder: string;
  readonly dist: string;

  constructor(outside: Outside, repository: string, kind: Kind, change: Record<string, unknown> = {}) {
    const { name, distribution } = words[kind];
    const builder = mkdtempSync(join(tmpdir(), 'bi-qb-'));
    const place = {
      upload: `ssh://127.0.0.1:${outside.apt.sshPort}${outside.apt.folder}/${repository}`,
      url: `http://127.0.0.1:${outside.apt.httpPort}/${repository}`,
    };
    const options = {
      builder,
      conf: join(builder, 'builder.yml'),
      distribution,
      release: 'r4.3',
      components: ['hello-tiny=hello-tiny'],
    };
    super(outside, repository, {
      distributions: [{ name, engine: 'qubesbuilderv2', packages: kind, publisher: 'engine', options }],
      apt: { ...place, origin: 'x', label: 'x' },
      dnf: place,
      ...change,
    });
    this.builder = builder;
    this.dist = name;
    copyFileSync(recordedQb, join(builder, 'qb'));
    // What is not ours is to be overridden: a key that nobody has, another client, another place.
    writeFileSync(
      join(builder, 'builder.yml'),
      JSON.stringify({
        'artifacts-dir': '/nonexistent/artifacts',
        'qubes-release': 'r4.2',
        git: { baseurl: `git://127.0.0.1:${outside.forge.port}`, prefix: '', branch: 'main' },
        distributions: ['vm-trixie', 'vm-fc41'],
        components: [{ 'hello-tiny': { timeout: 60 } }],
        templates: [{ 'debian-13': { dist: 'vm-trixie', flavor: 'minimal' } }],
        executor: { type: 'local' },
        'gpg-client': 'false',
        'sign-key': { rpm: '0'.repeat(40), deb: '0'.repeat(40), 'vm-trixie': '1'.repeat(40) },
        'repository-publish': { components: 'current-testing' },
        'repository-upload-remote-host': { rpm: 'nowhere.invalid:/', deb: 'nowhere.invalid:/' },
      }),
    );
    // As our client does it: what needs no secret is the local gpg's, with what its home has.
    this.beforeSigning('');
  }

  override beforeSigning(script: string): void {
    super.beforeSigning(`case "$*" in *--export*) exec /usr/bin/gpg "$@" ;; esac\n${script}\n`);
  }

  /** What the builder does before or after one of its stages; '' takes it away. */
  hook(name: string, script: string): void {
    const path = join(this.builder, name);
    if (script === '') rmSync(path, { force: true });
    else writeFileSync(path, script);
  }

  reconfigureBuilder(change: Record<string, unknown>): void {
    const path = join(this.builder, 'builder.yml');
    writeFileSync(
      path,
      JSON.stringify({ ...(JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>), ...change }),
    );
  }

  calls(): string[] {
    const path = join(this.builder, 'calls');
    return existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n') : [];
  }

  override async end(): Promise<void> {
    await super.end();
    rmSync(this.builder, { recursive: true, force: true });
  }
}

/**
 * The component at a signed tag, from which its branch has gone on: a later commit carries another signed
 * tag.
 */
export function releaseComponent(
  outside: Outside,
  repository: TestRepository,
  version: string,
  rel: string,
  greeting?: string,
  tag = `v${version}-${rel}`,
): string {
  const { commit } = repository.release(
    outside.keys,
    [outside.alice],
    tag,
    qubesComponent(version, rel, greeting, !tag.includes('-')),
  );
  const later = repository.release(outside.keys, [outside.alice], `mm_${commit.slice(0, 8)}`, [
    ...qubesComponent(version, rel, greeting),
    { path: 'later', content: 'not of this version\n' },
  ]);
  repository.git(['update-ref', 'refs/heads/main', later.commit]);
  return commit;
}
