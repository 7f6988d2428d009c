// SPDX-License-Identifier: GPL-2.0-or-later
// From a hint to a verified tree. The order of the checks is the argument; the forge and whoever can push there is the attacker.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { printable, Refusal } from '../../shared/refusal.js';
import type { Component } from '../config.js';
import { readChangelog } from '../control-file.js';
import { downloadFiles, downloadLimits, type DownloadLimits } from './downloads.js';
import { fetchTag, objectType, readObject, treeOfCommit, type Forge } from './git.js';
import type { Evidence, Job } from '../jobs/job-document.js';
import type { HighestVersion } from '../jobs/job-queue.js';
import type { LineSink } from '../logs/logged-program.js';
import { listName, readListedFiles } from './listed-files.js';
import { readVersionFiles, refuseOtherChangelog } from './package-version.js';
import { sourceEvidence } from './source-evidence.js';
import { changedName, type PackageKind, type SourceNames } from './source-names.js';
import { exportTree, manifestOf, roomOfTrees } from './source-tree.js';
import { exportSubmodules } from './submodules.js';
import { readTagObject, tagLimitBytes } from './tag-object.js';
import { readMaintainerKeys, verifyTag } from './tag-verification.js';
import { findSpec } from '../rpm-engine/spec-file.js';
import { isInTree } from './tree-file.js';
import { compareVersions, versionOfTag } from './version-tag.js';

export interface FetchOptions {
  forge: Forge;
  publicKeys: string;
  /** the job's folder: `source` is made there */
  folder: string;
  highest: HighestVersion | undefined;
  /** kinds of packages that are made of the tree: what it has to say its name for */
  packages: ReadonlySet<PackageKind>;
  /** components that are known to be this source package */
  componentsOf(kind: PackageKind, source: string): string[];
  now: Date;
  downloads?: DownloadLimits;
}

/**
 * A tag says its version and not its component, so one repository's signed tag could be shown under another's: an old version of a
 * package would come back as a new version of its neighbour. A component stays the source package that it was, by each kind of packaging, and no two are the same.
 * @throws Refusal OTHER_SOURCE_PACKAGE; for a package that was renamed, a person removes highest/<component>.json
 */
function refuseOtherPackage(component: Component, sources: SourceNames, options: FetchOptions): void {
  const changed = changedName(options.highest, sources);
  if (changed !== undefined) throw new Refusal('OTHER_SOURCE_PACKAGE', `${component.name} was the source package ${changed.was} and would be ${changed.is} now`);
  for (const [kind, source] of Object.entries(sources) as [PackageKind, string][]) {
    const other = options.componentsOf(kind, source).find((name) => name !== component.name);
    if (other !== undefined) throw new Refusal('OTHER_SOURCE_PACKAGE', `the source package ${source} is the component ${other}`);
  }
}

/**
 * What the tree calls itself, by each kind of packaging that is used of it. A spec's version is a program's answer: the engine looks at it.
 * @throws Refusal NOT_A_PACKAGE, VERSION_MISMATCH, NO_SPEC, TWO_SPECS, BAD_SPEC
 */
function sourcePackageOf(tree: string, version: string, packages: ReadonlySet<PackageKind>): { sources: SourceNames; date: number | undefined } {
  const changelog = packages.has('deb') ? readChangelog(tree) : undefined;
  // A file called `version` says something in a Qubes tree alone.
  if (changelog !== undefined) refuseOtherChangelog(changelog.version, version, isInTree(tree, listName) ? readVersionFiles(tree) : undefined);
  const sources: SourceNames = { ...(changelog === undefined ? {} : { deb: changelog.source }), ...(packages.has('rpm') ? { rpm: findSpec(tree).name } : {}) };
  return { sources, date: changelog?.date };
}

/** By kinds that nothing is made of: the tree need not have them, but where it does they tell it from its neighbour's as well. */
function otherNamesOf(tree: string, packages: ReadonlySet<PackageKind>): SourceNames {
  const found: SourceNames = {};
  for (const [kind, read] of [['deb', () => readChangelog(tree).source], ['rpm', () => findSpec(tree).name]] as const) {
    if (packages.has(kind)) continue;
    try {
      found[kind] = read();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
    }
  }
  return found;
}

const manifestLinesLogged = 2000;

/** @throws Refusal ROLLBACK unless the version is higher than any before, or is the same tag object once more */
export function refuseRollback(highest: HighestVersion | undefined, version: string, tagObject: string): void {
  if (highest === undefined || compareVersions(version, highest.version) > 0) return;
  if (version === highest.version && tagObject === highest.tagObject) return;
  throw new Refusal('ROLLBACK', `version ${version}, but ${highest.version} was verified before`);
}

/**
 * Fetches, verifies without network, and exports; then what the verified tree pins elsewhere: submodules by their commits, files by digest or signature.
 * @throws Refusal FORGE_UNREACHABLE, TAG_MOVED, NOT_ANNOTATED, BAD_OBJECT, TAG_NAME_MISMATCH, those of readTagObject, verifyTag and exportTree,
 *   ROLLBACK, NOT_A_PACKAGE, VERSION_MISMATCH, OTHER_SOURCE_PACKAGE, those of exportSubmodules, readListedFiles and downloadFiles
 */
export async function fetchSource(job: Job, component: Component, options: FetchOptions, log: LineSink): Promise<{ evidence: Evidence; sources: SourceNames; sourceDateEpoch: number }> {
  const repositoryFolder = join(options.folder, 'repository.git');
  const tree = join(options.folder, 'source');
  log.say(`fetch ${job.tag} of ${component.url}`);
  const { repository, object } = await fetchTag(repositoryFolder, component.url, job.tag, options.forge);
  if (object !== job.tagObject) throw new Refusal('TAG_MOVED', `${job.tag} was ${job.tagObject} and is ${object} now`);
  const type = await objectType(repository, object);
  if (type !== 'tag') throw new Refusal('NOT_ANNOTATED', `${job.tag} is a ${printable(type)}, not an annotated tag`);

  const tag = readTagObject(await readObject(repository, 'tag', object, tagLimitBytes + 1));
  if (tag.name !== job.tag) throw new Refusal('TAG_NAME_MISMATCH', `the tag under ${job.tag} calls itself ${tag.name}`);
  if (versionOfTag(component.tag, tag.name) !== job.version) throw new Refusal('TAG_NAME_MISMATCH', `${tag.name} is not the tag of ${job.version}`);
  const signers = await verifyTag(tag, component, await readMaintainerKeys(options.publicKeys, component.maintainers), options.now);
  log.say(`tag object ${object}, signed by ${signers.map((signer) => `${signer.name} ${signer.fingerprint}`).join(', ')}`);
  refuseRollback(options.highest, job.version, object);

  const treeId = await treeOfCommit(repository, tag.commit);
  const room = roomOfTrees();
  const exported = await exportTree(repository, treeId, tree, tag.time, room);
  const submodules = await exportSubmodules(repository, exported, component.url, { tree, work: join(options.folder, 'submodules'), time: tag.time, room, forge: options.forge }, log);
  const { sources, date } = sourcePackageOf(tree, job.version, options.packages);
  refuseOtherPackage(component, { ...otherNamesOf(tree, options.packages), ...sources }, options);
  // An engine that publishes itself reads its sources, and that list, in its own way.
  const listed = options.packages.size === 0 ? [] : await readListedFiles(tree);
  const downloads = await downloadFiles(listed, {
    tree, work: join(options.folder, 'downloads'), time: tag.time, limits: options.downloads ?? downloadLimits(options.forge.timeoutMs), now: options.now,
  }, log);
  const manifest = manifestOf([...exported.lines, ...submodules.lines, ...downloads.lines], exported.bytes + submodules.bytes + downloads.bytes);
  log.say(`commit ${tag.commit}, tree ${treeId}, ${manifest.files} files, ${manifest.bytes} bytes, manifest sha256:${manifest.sha256}`);
  for (const line of manifest.lines.slice(0, manifestLinesLogged)) log.tool(Buffer.from(line, 'latin1'));
  if (manifest.lines.length > manifestLinesLogged) log.say(`and ${manifest.lines.length - manifestLinesLogged} files more`);

  rmSync(repositoryFolder, { recursive: true });
  const evidence: Evidence = {
    url: component.url, tag: job.tag, tagObject: object, commit: tag.commit, tree: treeId, tagger: printable(tag.tagger), signers,
    manifest: { files: manifest.files, bytes: manifest.bytes, sha256: manifest.sha256 },
  };
  log.say(`evidence ${sourceEvidence(evidence)}`);
  return { sources, evidence, sourceDateEpoch: date ?? tag.time };
}
