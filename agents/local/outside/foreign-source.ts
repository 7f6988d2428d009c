// SPDX-License-Identifier: GPL-2.0-or-later
// A component that somebody else maintains: its repository with its own signed tags goes to the local forge
// as it is, and the keys of its maintainers are read from files.
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { readKeys, type Key } from 'openpgp';
import { matches, plainNamePattern } from '../../shared/formats/names.js';
import { runProgram } from '../../shared/programs/program.js';
import type { MadeKey } from './made-key.js';
import type { ImportedSource } from './developer.js';
import { gitFolder } from './forge.js';
import { must, type Machine } from './machine.js';

const fetchMs = 3600_000;

export interface ForeignSource {
  /** path or address of a git repository */
  repository: string;
  tag: string;
  /** files of public keys, armored or not */
  keyFiles: readonly string[];
}

/** What the component is called: its repository, without what Qubes puts before each. */
export function nameOf({ repository }: ForeignSource): string {
  const name = basename(repository.replace(/\/+(?:\.git)?\/*$/, ''))
    .replace(/\.git$/, '')
    .replace(/^qubes-/, '')
    .toLowerCase();
  if (!matches(plainNamePattern, name)) throw new Error(`${repository} gives no name for a component`);
  return name;
}

/** One key a file. @throws Error that names the file */
export async function readMaintainers(files: readonly string[]): Promise<MadeKey[]> {
  return await Promise.all(
    files.map(async (file) => {
      const bytes = readFileSync(file);
      let keys: Key[];
      try {
        keys = bytes.includes('-----BEGIN')
          ? await readKeys({ armoredKeys: bytes.toString('latin1') })
          : await readKeys({ binaryKeys: new Uint8Array(bytes) });
      } catch (error) {
        throw new Error(`${file}: ${(error as Error).message}`, { cause: error });
      }
      const [key] = keys;
      if (key === undefined || keys.length > 1)
        throw new Error(`${file} holds ${keys.length} public keys, and a maintainer has one`);
      return {
        fingerprint: key.getFingerprint().toUpperCase(),
        publicKey: `${key.toPublic().armor().replaceAll('\r', '').trim()}\n`,
      };
    }),
  );
}

/** What the build VM takes the tag for, where the pillar says `v{version}`. */
function versionOf(tag: string): string {
  if (!/^v[0-9]/.test(tag)) throw new Error(`the tag ${tag} is not v and a version`);
  return tag
    .slice(1)
    .replaceAll('%', ':')
    .replaceAll('_', '~')
    .replaceAll('#', '')
    .replace(/-rc(?=[0-9])/, '~rc');
}

/** Its branches and this tag, as they are. */
export async function importForeign(forge: Machine, source: ForeignSource): Promise<ImportedSource> {
  const name = nameOf(source);
  // As whoever tries this out has set up git, with the keys and addresses that lead to the repository.
  const env = process.env as Record<string, string>;
  const git = async (...args: string[]): Promise<string> =>
    (await runProgram(['git', ...args], { env, cwd: process.cwd(), timeoutMs: fetchMs }))
      .toString('utf8')
      .trim();
  const folder = mkdtempSync(join(tmpdir(), 'build-infra-source-'));
  try {
    const from = existsSync(source.repository) ? resolve(source.repository) : source.repository;
    await git('init', '--quiet', '--bare', folder);
    await git(
      '-C',
      folder,
      'fetch',
      '--quiet',
      '--no-tags',
      '--',
      from,
      '+refs/heads/*:refs/heads/*',
      `+refs/tags/${source.tag}:refs/tags/${source.tag}`,
    );
    const bundle = `${gitFolder}/${name}.bundle`;
    await git('-C', folder, 'bundle', 'create', '--quiet', join(forge.root, bundle), '--all');
    await must(forge, [
      'git',
      '-C',
      `${gitFolder}/${name}.git`,
      'fetch',
      '--quiet',
      '--update-head-ok',
      bundle,
      '+refs/*:refs/*',
    ]);
    rmSync(join(forge.root, bundle));
    const commit = await git('-C', folder, 'rev-parse', `refs/tags/${source.tag}^{commit}`);
    const changelogs = (await git('-C', folder, 'ls-tree', '-r', '--name-only', commit))
      .split('\n')
      .filter((path) => /(?:^|\/)debian\/changelog$/.test(path));
    const changelog =
      changelogs[0] === undefined ? '' : await git('-C', folder, 'show', `${commit}:${changelogs[0]}`);
    const debianVersion = /^\S+ \(([^)]+)\)/.exec(changelog)?.[1];
    return {
      package: name,
      version: versionOf(source.tag),
      tag: source.tag,
      tagObject: await git('-C', folder, 'rev-parse', `refs/tags/${source.tag}`),
      commit,
      ...(debianVersion === undefined ? {} : { debianVersion }),
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
