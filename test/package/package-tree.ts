// SPDX-License-Identifier: GPL-2.0-or-later
// Copies of the checkout to make packages from, and trees to compare.
import { spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  statSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const top = join(dirname(fileURLToPath(import.meta.url)), '../../..');
/** Any time will do: 2026-11-22. */
export const epoch = '1795300000';
export const formula = '/srv/formulas/base/build-infra';
export const states = `${formula}/build-infra`;
export const pillar = '/srv/pillar/base/build-infra';
export const dropIn = '/etc/salt/minion.d/qubes-build-infra.conf';

export function run(
  program: string,
  args: readonly string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv; input?: Buffer } = {},
): SpawnSyncReturns<string> {
  return spawnSync(program, args, { encoding: 'utf8', maxBuffer: 1 << 27, timeout: 300_000, ...options });
}

/** @throws where the program fails, with what it said */
export function must(
  program: string,
  args: readonly string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
): string {
  const done = run(program, args, options);
  if (done.status !== 0)
    throw new Error(
      `${program} ${args.join(' ')} ended with ${done.status ?? done.signal}: ${done.error?.message ?? ''}${done.stderr}${done.stdout}`,
    );
  return done.stdout;
}

/** What a source archive has of this checkout, and the bundles. */
export function copySources(target: string): string {
  const listed = run('git', ['-C', top, 'ls-files', '-z', '--cached', '--others', '--exclude-standard']);
  const names =
    listed.status === 0
      ? listed.stdout.split('\0').filter((name) => name !== '')
      : filesBelow(top).filter((name) => !/^(node_modules|out|dist|packages|\.)/.test(name));
  const bundles = readdirSync(join(top, 'dist'))
    .filter((name) => !name.startsWith('.'))
    .map((name) => `dist/${name}`);
  for (const name of [...names, ...bundles]) {
    const from = join(top, name);
    // Somebody may just be editing.
    if (!existsSync(from) || !statSync(from).isFile()) continue;
    mkdirSync(dirname(join(target, name)), { recursive: true });
    copyFileSync(from, join(target, name));
  }
  return target;
}

export interface MadePackages {
  rpm: string;
  source: string;
  said: string;
}

/**
 * Calls the program of that tree, as `npm run package` does. @param before words before the command line, to
 * run it by
 */
export function makePackages(
  tree: string,
  out: string,
  env: NodeJS.ProcessEnv = {},
  before: readonly string[] = [],
): MadePackages {
  const [program, ...words] = [
    ...before,
    process.execPath,
    join(tree, 'packaging/make-rpm.mjs'),
    '--out',
    out,
  ];
  const said = must(program, words, { env: { ...process.env, SOURCE_DATE_EPOCH: epoch, ...env } });
  const made = readdirSync(out);
  const named = (ending: string): string =>
    join(out, made.find((name) => name.endsWith(ending)) ?? `no ${ending}`);
  return { rpm: named('.noarch.rpm'), source: named('.src.rpm'), said };
}

/** rpm2archive comes with rpm itself; cpio may not be there. */
export function unpack(rpm: string, target: string): string {
  const archive = spawnSync('rpm2archive', ['-'], { input: readFileSync(rpm), maxBuffer: 1 << 27 });
  if (archive.status !== 0) throw new Error(`rpm2archive: ${archive.stderr.toString()}`);
  mkdirSync(target, { recursive: true });
  const tar = spawnSync('tar', ['-xzp', '-C', target], { input: archive.stdout });
  if (tar.status !== 0) throw new Error(`tar: ${tar.stderr.toString()}`);
  return target;
}

export function filesBelow(root: string, folder = ''): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true })
    .flatMap((entry) => {
      const name = folder === '' ? entry.name : `${folder}/${entry.name}`;
      return entry.isDirectory() ? filesBelow(root, name) : [name];
    })
    .sort();
}

/** One line for each folder, file and link below `root`: kind, mode, path, content. */
export function listing(root: string, folder = ''): string[] {
  return readdirSync(join(root, folder))
    .sort()
    .flatMap((entry) => {
      const name = `${folder}/${entry}`;
      const found = lstatSync(join(root, name));
      const mode = (found.mode & 0o7777).toString(8).padStart(4, '0');
      if (found.isDirectory()) return [`folder ${mode} ${name}`, ...listing(root, name)];
      if (found.isSymbolicLink()) return [`link ${name} -> ${readlinkSync(join(root, name))}`];
      return [
        `file ${mode} ${name} ${createHash('sha256')
          .update(readFileSync(join(root, name)))
          .digest('hex')}`,
      ];
    });
}
