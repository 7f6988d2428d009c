// SPDX-License-Identifier: GPL-2.0-or-later
// Lays one VM's files into a folder exactly as they belong on a Qubes VM. A second run changes nothing; what a former run laid and the plan no
// longer holds is removed; nothing else in the tree is touched.
import { existsSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Account, Option } from '../../shared/formats/manifest.js';
import { Refusal } from '../refusals.js';
import type { Pillar } from './pillar.js';
import { planFor, type Entry, type Plan } from './plan.js';
import { pathParts, RootedTree } from './rooted-tree.js';

export interface ProvisionOptions {
  /** checked: from readPillar() or checkPillar() */
  pillar: Pillar;
  /** a VM of the pillar, or dom0 */
  vm: string;
  /** made where it is missing */
  root: string;
  /** the bundles' folder; by default dist/ of `tree` */
  dist?: string;
  /** top of the checkout; by default found above this program */
  tree?: string;
  /** false: leave owners as they come. By default only root (also of a user namespace that maps ids 0 to 1000) may provision. */
  owners?: boolean;
  /** the farm's options; by default all are on */
  enabled?: readonly Option[];
}

export interface Provisioned extends Plan {
  /** paths made or replaced, with their content, owner or mode */
  changed: string[];
  removed: string[];
}

/** The accounts of every Qubes VM, by number: the names mean nothing outside it. */
const ids: Record<Account, number> = { root: 0, qubes: 98, user: 1000 };
/** What this VM got, so that the next run can take away what is no longer wanted. */
const recordPath = '/usr/lib/build-infra/provisioned.json';

/** The folder above this program that holds salt/build-infra: in a checkout, the top, for dist/ and out/ alike. */
export function findTree(): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    if (existsSync(join(folder, 'salt/build-infra/manifests'))) return folder;
    if (dirname(folder) === folder) throw new Refusal('NO_SOURCE', 'salt/build-infra is not above this program: name the checkout with --tree');
  }
}

function put(tree: RootedTree, entry: Entry): boolean {
  const owner = { uid: ids[entry.owner], gid: ids[entry.group] };
  switch (entry.kind) {
    case 'folder': return tree.putFolder(entry.path, { ...owner, mode: entry.mode });
    case 'link': return tree.putLink(entry.path, entry.target, owner);
    case 'file': return tree.putFile(entry.path, entry.content, { ...owner, mode: entry.mode });
  }
}

/** The VM could have written the record itself: a doubtful one counts as none, and only plain paths below the tree come out of it. */
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
export function provision(options: ProvisionOptions): Provisioned {
  const top = options.tree ?? findTree();
  const owners = options.owners ?? true;
  if (owners && process.getuid?.() !== 0) {
    throw new Refusal('NOT_ROOT', 'owners can be set by root only: run it below "unshare --map-root-user --map-auto", or with --no-owner');
  }
  const plan = planFor(options.pillar, options.vm, { tree: top, dist: options.dist ?? join(top, 'dist') }, options.enabled);
  mkdirSync(options.root, { recursive: true });
  const tree = new RootedTree(options.root, owners);
  try {
    const wanted = plan.entries.map(({ path }) => path);
    const stale = recordedPaths(tree).filter((path) => !wanted.includes(path) && path !== recordPath);
    const changed = plan.entries.filter((entry) => put(tree, entry)).map(({ path }) => path);
    // Deepest first, so that a folder is empty by the time its turn comes.
    const removed = stale.sort().reverse().filter((path) => tree.remove(path));
    const record = plan.vm === 'dom0' ? undefined : `${JSON.stringify([...wanted].sort(), null, 1)}\n`;
    if (record !== undefined) tree.putFile(recordPath, Buffer.from(record), { uid: 0, gid: 0, mode: 0o644 });
    tree.sync();
    return { ...plan, changed, removed };
  } finally {
    tree.close();
  }
}
