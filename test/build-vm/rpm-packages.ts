// SPDX-License-Identifier: GPL-2.0-or-later
// Small RPM source trees, and packages made of them by this machine's own rpmbuild: for tests of what happens
// to packages after a build.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { EngineJob } from '../../agents/engines/contract.js';
import { newJob, type BuildJob } from '../../agents/build-vm/jobs/job-document.js';
import type { Config } from '../../agents/build-vm/configuration/config.js';
import { hashFile } from '../../agents/shared/files/frozen-files.js';
import { AnyRefusal } from '../../agents/shared/refusal.js';

export const epoch = 1795291200;

export interface SpecWords {
  name?: string;
  version?: string;
  release?: string;
  head?: string;
  build?: string;
  install?: string;
  files?: string;
}

export function tinySpec({
  name = 'demo-rpm',
  version = '1.2',
  release = '1',
  head = '',
  build = 'echo building as $(id -u)',
  install = '',
  files = '',
}: SpecWords = {}): string {
  return `Name: ${name}
Version: ${version}
Release: ${release}
Summary: Tiny greeting
License: GPL-2.0-or-later
URL: https://example.org/
Source0: %{name}-%{version}.tar.gz
BuildArch: noarch
${head}
%description
It greets.

%prep
%setup -q

%build
${build}

%install
install -D -m 644 greeting %{buildroot}/usr/share/demo-rpm/greeting
${install}

%files
/usr/share/demo-rpm
${files}

%changelog
* Sat Nov 21 2026 Alice <alice@example.org> - 1.2-1
- First.
`;
}

export type Files = Record<string, string>;

export function tinyTree(spec = tinySpec(), more: Files = {}): Files {
  return { 'demo-rpm.spec': spec, greeting: 'hello from an rpm\n', ...more };
}

export function writeTree(folder: string, files: Files): string {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(join(folder, path, '..'), { recursive: true });
    writeFileSync(join(folder, path), content);
  }
  return folder;
}

export interface Place {
  folder: string;
  make: (name: string) => string;
  end: () => void;
}

export function makePlace(): Place {
  const folder = mkdtempSync(join(tmpdir(), 'bi-rpm-'));
  return {
    folder,
    make: (name) => {
      mkdirSync(join(folder, name), { recursive: true });
      return join(folder, name);
    },
    end: () => {
      // A chroot of layers; an engine's own process removes its own.
      for (const line of readFileSync('/proc/self/mounts', 'utf8').split('\n')) {
        const path = line.split(' ')[1] ?? '';
        if (path.startsWith(`${folder}/`)) execFileSync('umount', ['--lazy', path]);
      }
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export function engineJob(place: Place, tree: string, change: Partial<EngineJob> = {}): EngineJob {
  return {
    format: 'build-infra/engine-job@1',
    stage: 'build',
    job: 'demo-rpm-1.2-1-aaaaaaaaaaaa',
    component: 'demo-rpm',
    version: '1.2-1',
    env: 'rpm',
    dist: 'fc41',
    packages: 'rpm',
    source: { url: 'ssh://forge/demo-rpm', tag: 'v1.2-1', tagObject: 'a'.repeat(40), commit: 'b'.repeat(40) },
    sourceTree: tree,
    sourceDateEpoch: epoch,
    output: place.make('output'),
    work: place.make('work'),
    state: place.make('state'),
    cache: place.make('cache'),
    buildSeconds: 120,
    ...change,
  };
}

/** Packages of this machine's own rpmbuild, into `into`. */
export function buildHere(
  spec: string,
  into: string,
  files: Files = { greeting: 'hello from an rpm\n' },
): string[] {
  const place = makePlace();
  const [, name, version] = /^Name: (.*)\nVersion: (.*)$/m.exec(spec) ?? [];
  const tree = writeTree(place.make(`${name}-${version}`), files);
  execFileSync('tar', [
    '--create',
    '--gzip',
    '--file',
    join(place.make('SOURCES'), `${name}-${version}.tar.gz`),
    '--directory',
    place.folder,
    `${name}-${version}`,
  ]);
  writeFileSync(join(tree, 'x.spec'), spec);
  execFileSync(
    'rpmbuild',
    [
      '--quiet',
      '-ba',
      '--nodeps',
      '--define',
      `_topdir ${place.folder}`,
      '--define',
      '_buildhost build',
      join(tree, 'x.spec'),
    ],
    { stdio: 'pipe', env: { ...process.env, HOME: place.folder, SOURCE_DATE_EPOCH: String(epoch) } },
  );
  mkdirSync(into, { recursive: true });
  const made = [
    join(place.folder, 'SRPMS'),
    ...readdirSync(join(place.folder, 'RPMS')).map((arch) => join(place.folder, 'RPMS', arch)),
  ].flatMap((folder) => readdirSync(folder).map((file) => join(folder, file)));
  execFileSync('cp', [...made, into]);
  place.end();
  return made.map((path) => path.split('/').at(-1) as string).sort();
}

/** A job document whose frozen packages are what lies in `<folder>/artifacts/<dist>`. */
export function rpmJob(folder: string, change: Partial<BuildJob> = {}, dist = 'fc41'): BuildJob {
  const component = {
    name: 'demo-rpm',
    url: 'https://example.org/demo-rpm',
    tag: 'v{version}',
    maintainers: [],
    requiredSignatures: 1,
  };
  const config = {
    env: 'rpm',
    distributions: [{ name: dist }],
    signingKey: '',
    apt: {},
  } as unknown as Config;
  const files = readdirSync(join(folder, 'artifacts', dist))
    .sort()
    .map((name) => hashFile(join(folder, 'artifacts', dist), name));
  const job = newJob(
    config,
    component,
    { tag: 'v1.2-1', tagObject: 'a'.repeat(40), version: '1.2-1' },
    1,
    new Date(epoch * 1000),
  );
  return { ...job, sourceDateEpoch: epoch, artifacts: [{ dist, files }], ...change };
}

export class Lines {
  readonly lines: string[] = [];
  readonly whenFailed = new Promise<never>(() => undefined);

  say(text: string): void {
    this.lines.push(`== ${text}`);
  }

  tool(line: Buffer): boolean {
    this.lines.push(line.toString('latin1'));
    return true;
  }

  drained(): Promise<void> {
    return Promise.resolve();
  }

  text(): string {
    return this.lines.join('\n');
  }
}

/** The code of the refusal, or what came of it. */
export async function codeOf(act: () => unknown): Promise<string> {
  try {
    await act();
    return 'none';
  } catch (error) {
    return error instanceof AnyRefusal ? error.code : String((error as Error).stack ?? error);
  }
}
