// SPDX-License-Identifier: GPL-2.0-or-later
// Lays one VM's files into a folder exactly as they belong on a Qubes VM. A second run changes nothing; what
// a former run laid and the plan no longer holds is removed; nothing else in the tree is touched.
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Account } from '../../shared/formats/manifest.js';
import { Refusal } from '../refusals.js';
import { findTree } from './checkout.js';
import type { PlannedEntry, PlannedFarm } from './planned-farm.js';

import { pathParts, RootedTree } from './rooted-tree.js';

export interface ProvisionOptions {
  farm: PlannedFarm;
  /** a VM of the pillar, or dom0 */
  vm: string;
  /** made where it is missing */
  root: string;
  /** the bundles' folder; by default dist/ of `tree` */
  dist?: string;
  /** top of the checkout; by default found above this program */
  tree?: string;
  /**
   * false: leave owners as they come. By default only root (also of a user namespace that maps ids 0 to 1000)
   * may provision.
   */
  owners?: boolean;
}

export interface Provisioned {
  vm: string;
  /** what is left out because its VM has not made the key yet: `path needs key` */
  waiting: string[];
  /** paths made or replaced, with their content, owner or mode */
  changed: string[];
  removed: string[];
}

/** The accounts of every Qubes VM, by number: the names mean nothing outside it. */
const ids: Record<Account, number> = { root: 0, qubes: 98, user: 1000 };
/** What this VM got, so that the next run can take away what is no longer wanted. */
const recordPath = '/usr/lib/build-infra/provisioned.json';

/**
 * `dist/…` lies in the bundles' folder, `qrexec-services/…` at the top of the tree, all else in
 * salt/build-infra.
 */
function sourceOf(name: string, tree: string, dist: string): Buffer {
  const [folder, ...below] = name.split('/');
  const path =
    folder === 'dist'
      ? join(dist, ...below)
      : join(tree, folder === 'qrexec-services' ? '' : 'salt/build-infra', name);
  try {
    return readFileSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    throw new Refusal(
      'NO_SOURCE',
      folder === 'dist' ? `${name} is missing: run "npm run bundle"` : `${name} is missing`,
    );
  }
}

/**
 * A put for each entry, with its content in memory: what cannot be read stops everything before anything is
 * written.
 */
function prepare(
  { path, owner, group, mode = '', source, content, link }: PlannedEntry,
  tree: string,
  dist: string,
): (rooted: RootedTree) => boolean {
  const ownership = { uid: ids[owner], gid: ids[group] };
  if (link !== undefined) return (rooted) => rooted.putLink(path, link, ownership);
  const attributes = { ...ownership, mode: Number.parseInt(mode, 8) };
  if (source === undefined && content === undefined) return (rooted) => rooted.putFolder(path, attributes);
  const bytes = source === undefined ? Buffer.from(content as string) : sourceOf(source, tree, dist);
  return (rooted) => rooted.putFile(path, bytes, attributes);
}

/**
 * The VM could have written the record itself: a doubtful one counts as none, and only plain paths below the
 * tree come out of it.
 */
function recordedPaths(tree: RootedTree): string[] {
  try {
    const untrusted = JSON.parse(tree.read(recordPath)?.toString('utf8') ?? '[]') as unknown;
    if (!Array.isArray(untrusted)) return [];
    return untrusted.filter((path): path is string => typeof path === 'string' && pathParts(path).length > 0);
  } catch {
    return [];
  }
}

/** @throws Refusal NOT_ROOT, UNKNOWN_VM, NO_SOURCE, NOT_A_FOLDER, IS_A_FOLDER, OWNER_NOT_MAPPED */
export function provision({
  farm,
  vm,
  root,
  tree = findTree(),
  dist = join(tree, 'dist'),
  owners = true,
}: ProvisionOptions): Provisioned {
  if (owners && process.getuid?.() !== 0) {
    throw new Refusal(
      'NOT_ROOT',
      'owners can be set by root only: run it below "unshare --map-root-user --map-auto", or with --no-owner',
    );
  }
  const machine = Object.hasOwn(farm.machines, vm) ? farm.machines[vm] : undefined;
  if (machine === undefined)
    throw new Refusal(
      'UNKNOWN_VM',
      `the pillar makes no VM ${vm}, only ${farm.vms.map(({ name }) => name).join(', ')} and dom0`,
    );
  const puts = machine.entries.map((entry) => ({ path: entry.path, put: prepare(entry, tree, dist) }));
  mkdirSync(root, { recursive: true });
  const rooted = new RootedTree(root, owners);
  try {
    const wanted = puts.map(({ path }) => path);
    const stale = recordedPaths(rooted).filter((path) => !wanted.includes(path) && path !== recordPath);
    const changed = puts.filter(({ put }) => put(rooted)).map(({ path }) => path);
    // Deepest first, so that a folder is empty by the time its turn comes.
    const removed = stale
      .sort()
      .reverse()
      .filter((path) => rooted.remove(path));
    const record = `${JSON.stringify([...wanted].sort(), null, 1)}\n`;
    if (vm !== 'dom0') rooted.putFile(recordPath, Buffer.from(record), { uid: 0, gid: 0, mode: 0o644 });
    rooted.sync();
    return { vm, waiting: machine.waiting, changed, removed };
  } finally {
    rooted.close();
  }
}
