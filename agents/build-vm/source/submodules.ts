// SPDX-License-Identifier: GPL-2.0-or-later
// Submodules: which commit is in the tree and so under the tag's signature; where it is fetched from is in
// .gitmodules, and so as well. Whoever has that place is the attacker: it can refuse the commit, and give no
// other. git's own submodule code, which acts on settings, never runs.
import { lstatSync, mkdirSync, rmSync, utimesSync } from 'node:fs';
import { join, posix } from 'node:path';
import { makeFolder } from '../../shared/durable-files.js';
import { matches } from '../../shared/formats/names.js';
import { printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import { repositoryUrlPattern } from '../configuration/config.js';
import type { LineSink } from '../../shared/programs/logged-program.js';
import { ProgramFailed } from '../../shared/programs/program.js';
import { fetchCommit, objectType, readGitmodules, treeOfCommit, type Forge, type Repository } from './git.js';
import { exportInto, type ExportedTree, type Gitlink, type Room } from './source-tree.js';

const depthLimit = 3;
const submodulesLimit = 50;
const gitmodulesLimitBytes = 64 * 1024;
const urlLimit = 1000;

export interface SubmoduleOptions {
  /** the exported tree of the component */
  tree: string;
  /** for repositories; made new, and removed at the end */
  work: string;
  /** seconds; of every file */
  time: number;
  room: Room;
  /** timeoutMs is that of all submodules together */
  forge: Forge;
}

const bad = (detail: string): Refusal => new Refusal('SUBMODULE', detail);

/**
 * An address beside that of the repository that names it, as git resolves it; never above its host.
 * @throws Refusal SUBMODULE where the result is not one that a component may have
 */
export function resolveUrl(base: string, untrustedUrl: string): string {
  let url = untrustedUrl;
  if (/^\.\.?\//.test(untrustedUrl)) {
    const [, host, path] = /^([a-z]+:\/\/[^/]+)\/(.*)$/.exec(base) ?? [];
    if (host === undefined || path === undefined)
      throw bad(`${printable(untrustedUrl)} stands beside no address`);
    const parts = path.split('/').filter((part) => part !== '');
    for (const part of untrustedUrl.split('/')) {
      if (part === '.' || part === '') continue;
      if (part !== '..') parts.push(part);
      else if (parts.pop() === undefined)
        throw bad(`the address ${printable(untrustedUrl)} climbs above its host`);
    }
    url = `${host}/${parts.join('/')}`;
  }
  const [, path = ''] = /^[a-z]+:\/\/[^/]+(\/.*)$/.exec(url) ?? [];
  if (
    url.length > urlLimit ||
    !matches(repositoryUrlPattern, url) ||
    (/^[a-z]+:\/\/[^/]*@/.test(url) && !url.startsWith('ssh://')) ||
    path.split('/').includes('..')
  ) {
    throw bad(`the address ${printable(untrustedUrl)} is not one that may be fetched from`);
  }
  return url;
}

/**
 * @param untrustedSettings as readGitmodules has them
 * @param base where the repository itself is
 * @returns each one's address; a section without a submodule in the tree says nothing
 * @throws Refusal SUBMODULE: none or two sections for one, a setting twice, `update` with a program, an
 * address that is not fetched from
 */
export function submoduleUrls(
  untrustedSettings: string,
  gitlinks: readonly Gitlink[],
  base: string,
): Map<string, string> {
  const sections = new Map<string, Map<string, string>>();
  for (const setting of untrustedSettings.split('\0').slice(0, -1)) {
    const [, name, key, value = ''] =
      /^submodule\.([^\n]*)\.([a-z0-9-]+)(?:\n([\s\S]*))?$/i.exec(setting) ?? [];
    if (name === undefined || key === undefined) continue;
    const section = sections.get(name) ?? new Map<string, string>();
    if (section.has(key)) throw bad(`.gitmodules says ${printable(name)}.${key} twice`);
    sections.set(name, section.set(key, value));
  }
  return new Map(
    gitlinks.map(({ path }) => {
      const its = [...sections.values()].filter(
        (section) => section.get('path') === Buffer.from(path, 'latin1').toString('utf8'),
      );
      const url = its[0]?.get('url');
      if (its.length !== 1 || url === undefined)
        throw bad(`.gitmodules has not one section with an address for the submodule ${printable(path)}`);
      if (!['checkout', 'none', 'merge', 'rebase'].includes(its[0]?.get('update') ?? 'checkout'))
        throw bad(`the submodule ${printable(path)} asks to run a program`);
      return [path, resolveUrl(base, url)];
    }),
  );
}

async function urlsIn(
  repository: Repository,
  exported: ExportedTree,
  base: string,
): Promise<Map<string, string>> {
  const file = exported.entries.find((entry) => entry.path === '.gitmodules');
  if (file === undefined || file.mode === '120000' || file.size > gitmodulesLimitBytes)
    throw bad('the tree has submodules, and no plain .gitmodules of at most 64 KiB');
  const untrustedSettings = await readGitmodules(repository, file.blob).catch((error: unknown) => {
    throw error instanceof ProgramFailed ? bad(`.gitmodules cannot be read: ${error.complaint}`) : error;
  });
  return submoduleUrls(untrustedSettings, exported.gitlinks, base);
}

/**
 * The folder of a submodule, empty, below folders that are no links. @returns folders whose times are no
 * longer as they were @throws Refusal SUBMODULE
 */
function makeSubmoduleFolder(tree: string, path: string): Buffer[] {
  const parts = path.split('/');
  const changed: Buffer[] = [Buffer.from(tree)];
  for (const [index] of parts.entries()) {
    const folder = Buffer.from(`${tree}/${parts.slice(0, index + 1).join('/')}`, 'latin1');
    try {
      mkdirSync(folder);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      if (index === parts.length - 1 || !lstatSync(folder).isDirectory())
        throw bad(`where the submodule ${printable(path)} belongs lies something else`);
    }
    changed.push(folder);
  }
  return changed.slice(0, -1);
}

/**
 * Fetches, and writes into the tree, every submodule of it and theirs.
 * @param exported the component's own tree
 * @returns lines of the manifest, and how many bytes the files have
 * @throws Refusal SUBMODULE, TOO_LARGE, FORGE_UNREACHABLE, BAD_OBJECT, and those of exportInto
 */
export async function exportSubmodules(
  repository: Repository,
  exported: ExportedTree,
  url: string,
  options: SubmoduleOptions,
  log: Pick<LineSink, 'say'>,
): Promise<{ lines: string[]; bytes: number }> {
  const { tree, work, time, room, forge } = options;
  const lines: string[] = [];
  const changed: Buffer[] = [];
  let [count, bytes] = [0, 0];
  const until = Date.now() + forge.timeoutMs;
  const each = async (
    inside: Repository,
    its: ExportedTree,
    base: string,
    below: string,
    depth: number,
  ): Promise<void> => {
    if (its.gitlinks.length === 0) return;
    if (depth > depthLimit) throw bad(`submodules lie more than ${depthLimit} deep: ${printable(below)}`);
    const urls = await urlsIn(inside, its, base);
    for (const { path, commit } of its.gitlinks) {
      if (++count > submodulesLimit) throw bad(`more than ${submodulesLimit} submodules`);
      const from = urls.get(path) as string;
      const place = posix.join(below, path);
      if (!/^[\x20-\x7e]+$/.test(path))
        throw bad(`the submodule ${printable(path)} has a name that is not ASCII`);
      changed.push(...makeSubmoduleFolder(tree, place));
      const folder = join(work, `${count}.git`);
      const sub = await fetchCommit(folder, from, commit, {
        ...forge,
        timeoutMs: Math.max(1, until - Date.now()),
      });
      if ((await objectType(sub, commit)) !== 'commit')
        throw bad(`the submodule ${printable(place)} is no commit`);
      const made = await exportInto(
        sub,
        await treeOfCommit(sub, commit),
        `${tree}/${place}`,
        `${place}/`,
        time,
        room,
      );
      log.say(
        `submodule ${printable(place)}: commit ${commit} of ${from}, ${made.files} files, ${made.bytes} bytes`,
      );
      for (const line of made.lines) lines.push(line);
      bytes += made.bytes;
      await each(sub, made, from, place, depth + 1);
      rmSync(folder, { recursive: true });
    }
  };
  rmSync(work, { recursive: true, force: true });
  makeFolder(work, 0o700);
  try {
    await each(repository, exported, url, '', 1);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  for (const folder of changed.reverse()) utimesSync(folder, time, time);
  return { lines, bytes };
}
