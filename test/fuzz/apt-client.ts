// SPDX-License-Identifier: GPL-2.0-or-later
// Real apt with nothing but one key and some repositories: this machine's, or that of another suite in a root
// of its own.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { chrootCache } from '../support/clean-chroots.js';

function run(
  argv: readonly string[],
  cwd: string,
  root: string | undefined,
): Promise<{ status: number | null; said: string }> {
  const [program, ...args] = root === undefined ? argv : ['chroot', root, ...argv];
  const child = spawn(program as string, args, {
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LANG: 'C.UTF-8', HOME: '/' },
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => (said += chunk.toString()));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status) => resolve({ status, said }));
  });
}

/**
 * A root with another suite's apt, made once on this machine, from the mirror that its apt configuration
 * names.
 */
export function suiteRoot(suite: string): string {
  const root = join(chrootCache, `root-${suite}`);
  if (existsSync(root)) return root;
  const listed = spawnSync(
    'apt-get',
    ['indextargets', '--format', '$(REPO_URI)|$(COMPONENT)', 'Created-By: Packages'],
    { encoding: 'utf8' },
  );
  const mirror = /^(\S+\/debian\/)\|main$/m.exec(listed.stdout)?.[1];
  if (mirror === undefined) throw new Error('the apt configuration of this machine names no mirror');
  mkdirSync(chrootCache, { recursive: true });
  const part = `${root}.${process.pid}`;
  const made = spawnSync(
    'mmdebstrap',
    ['--quiet', '--variant=apt', suite, part, `deb ${mirror} ${suite} main`],
    { encoding: 'utf8', timeout: 600_000 },
  );
  if (made.status !== 0) throw new Error(`mmdebstrap ${suite}: ${made.stderr}`);
  if (existsSync(root)) rmSync(part, { recursive: true });
  else renameSync(part, root);
  return root;
}

export interface Source {
  /** package, unlike that of any other source */
  name: string;
  uri: string;
}

/**
 * What apt downloaded of each source's package; undefined where it refused. @param root of another suite's
 * apt
 */
export async function aptDownloads(
  sources: readonly Source[],
  key: Buffer,
  scratch: string,
  root: string | undefined,
): Promise<Map<string, Buffer | undefined>> {
  const outside = join(root ?? '', scratch);
  rmSync(outside, { recursive: true, force: true });
  for (const sub of ['etc', 'state/lists/partial', 'cache/archives/partial', 'log', 'download'])
    mkdirSync(join(outside, sub), { recursive: true });
  writeFileSync(join(outside, 'state/status'), '');
  writeFileSync(join(outside, 'key.asc'), key);
  writeFileSync(
    join(outside, 'etc/sources.list'),
    sources.map(({ uri }) => `deb [signed-by=${scratch}/key.asc] ${uri} bookworm main\n`).join(''),
  );
  writeFileSync(
    join(outside, 'apt.conf'),
    [
      `Dir "${scratch}/"`,
      'Dir::Etc "etc/"',
      'Dir::Etc::SourceList "sources.list"',
      'Dir::Etc::SourceParts "-"',
      'Dir::Etc::Main "none"',
      'Dir::Etc::Parts "-"',
      'Dir::Etc::TrustedParts "-"',
      'Dir::State "state/"',
      'Dir::State::status "status"',
      'Dir::Cache "cache/"',
      'Dir::Log "log/"',
      'APT::Sandbox::User "root"',
      'Acquire::Languages "none"',
      'Acquire::Retries "0"',
      'APT::Update::Error-Mode "any"',
      'Acquire::Check-Date "false"',
    ]
      .map((line) => `${line};\n`)
      .join(''),
  );
  const apt = (...argv: string[]): Promise<unknown> => {
    const command = ['apt-get', '-q', '-c', `${scratch}/apt.conf`, '-o', `Dir::Etc::Main=none`, ...argv];
    return run(
      ['sh', '-c', 'cd "$1" && shift && exec "$@"', 'sh', `${scratch}/download`, ...command],
      '/',
      root,
    );
  };
  await apt('update');
  const found = new Map<string, Buffer | undefined>();
  // One command each: apt gives up at the first package that it cannot find.
  for (const { name } of sources) {
    await apt('download', name);
    const file = readdirSync(join(outside, 'download')).find(
      (one) => one.startsWith(`${name}_`) && one.endsWith('.deb'),
    );
    found.set(name, file === undefined ? undefined : readFileSync(join(outside, 'download', file)));
  }
  rmSync(outside, { recursive: true, force: true });
  return found;
}
