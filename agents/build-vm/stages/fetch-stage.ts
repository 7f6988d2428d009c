// SPDX-License-Identifier: GPL-2.0-or-later
// From a hint to a verified tree. The order of the checks is the argument; the forge and whoever can push
// there is the attacker.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { AnyRefusal, printable } from '../../shared/refusal.js';
import { visibleLine } from '../../shared/visible-text.js';
import { Refusal } from '../refusals.js';
import type { Component, Distribution } from '../configuration/config.js';
import { readChangelog } from '../../shared/formats/control-file.js';
import { downloadFiles, downloadLimits, type DownloadLimits } from '../source/downloads.js';
import { fetchTag, objectType, readObject, treeOfCommit, type Forge } from '../source/git.js';
import type { BuildJob, Evidence } from '../jobs/job-document.js';
import type { HighestVersion } from '../jobs/job-queue.js';
import type { LineSink } from '../../shared/programs/logged-program.js';
import { readListedFiles } from '../../engines/source-tree/listed-files.js';
import { readVersionFiles, refuseOtherChangelog } from '../../engines/source-tree/package-version.js';
import {
  buildFileName,
  buildsOf,
  modulesOf,
  targetOf,
  type Target,
} from '../../engines/source-tree/build-file.js';
import { formulaFiles } from '../../engines/source-tree/formula.js';
import { sourceEvidence } from '../source/source-evidence.js';
import type { PackageKind } from '../../engines/contract.js';
import { changedName, nameBy, type SourceNames } from '../jobs/source-names.js';
import { exportTree, manifestOf, roomOfTrees, type Gitlink } from '../source/source-tree.js';
import { exportSubmodules } from '../source/submodules.js';
import { readTagObject, tagLimitBytes } from '../source/tag-object.js';
import { readMaintainerKeys, verifyTag } from '../source/tag-verification.js';
import { findSpec, readListedSpec } from '../../engines/rpm/spec-file.js';
import { isInTree } from '../../engines/source-tree/tree-file.js';
import { meaningOfTag } from '../configuration/release-lines.js';
import { compareVersions } from '../configuration/version-tag.js';

/** A distribution of this job. */
export interface FetchTarget extends Target {
  /** its engine publishes: what it makes of a tree is its own */
  isForeign: boolean;
}

export function fetchTarget(distribution: Distribution): FetchTarget {
  return { ...targetOf(distribution), isForeign: distribution.publisher === 'engine' };
}

export interface FetchOptions {
  forge: Forge;
  publicKeys: string;
  /** the job's folder: `source` is made there */
  folder: string;
  highest: HighestVersion | undefined;
  /** what is made of the tree, and for what: it has to say its name for each kind */
  targets: readonly FetchTarget[];
  /** components that are known to be this source package */
  componentsOf: (kind: PackageKind, source: string) => string[];
  now: Date;
  downloads?: DownloadLimits;
}

/**
 * A tag says its version and not its component, so one repository's signed tag could be shown under
 * another's: an old version of a package would come back as a new version of its neighbour. A component stays
 * the source package that it was, by each kind of packaging, and no two are the same.
 * @throws Refusal OTHER_SOURCE_PACKAGE; for a package that was renamed, a person removes
 * highest/<component>.json
 */
function refuseOtherPackage(component: Component, found: FoundNames, options: FetchOptions): SourceNames {
  const remembered = options.highest?.sources ?? {};
  const sources = nameBy(remembered, found);
  const changed = changedName(remembered, sources);
  if (changed !== undefined)
    throw new Refusal(
      'OTHER_SOURCE_PACKAGE',
      `${component.name} was the source package ${changed.was} and would be ${changed.is} now`,
    );
  for (const [kind, names] of Object.entries(found) as [PackageKind, string[]][]) {
    for (const source of names) {
      const other = options.componentsOf(kind, source).find((name) => name !== component.name);
      if (other !== undefined)
        throw new Refusal('OTHER_SOURCE_PACKAGE', `the source package ${source} is the component ${other}`);
    }
  }
  return sources;
}

/** What is made of the tree, by each kind of packaging: the folders and specs, over all distributions. */
type Builds = Map<PackageKind, string[]>;

/**
 * @returns what is built, and the distributions for which the tree says that nothing is
 * @throws Refusal BAD_SOURCE_FILES, NOT_DONE_HERE, BAD_FORMULA
 */
function buildsOfTree(tree: string, targets: readonly FetchTarget[]): { builds: Builds; nothing: string[] } {
  const builds: Builds = new Map();
  const nothing: string[] = [];
  for (const target of targets) {
    const found = unlessForeign(target, () => buildsOf(tree, target));
    if (found?.length === 0) nothing.push(target.dist);
    // An engine that publishes itself reads its sources, and that list, in its own way.
    else if (!target.isForeign)
      builds.set(target.packages, [...new Set([...(builds.get(target.packages) ?? []), ...(found ?? [''])])]);
  }
  if (builds.size > 0) formulaFiles(tree);
  return { builds, nothing };
}

/** The tree itself says which commit of them: nothing else does. @throws Refusal BAD_SOURCE_FILES */
function pinnedModules(tree: string, gitlinks: readonly Gitlink[]): Record<string, string> {
  return Object.fromEntries(
    modulesOf(tree).map((name) => {
      const commit = gitlinks.find(({ path }) => path === name)?.commit;
      if (commit === undefined)
        throw new Refusal(
          'BAD_SOURCE_FILES',
          `${buildFileName} lists the module ${name}, and the tree has no submodule ${name} that pins its commit`,
        );
      return [name, commit];
    }),
  );
}

/** What its own engine can do nobody here knows: that it builds nothing is all that is looked for. */
function unlessForeign<T>({ isForeign }: FetchTarget, read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (isForeign && error instanceof AnyRefusal) return undefined;
    throw error;
  }
}

/** Several specs have several names. */
type FoundNames = Partial<Record<PackageKind, string[]>>;

function changelogsOf(tree: string, folders: readonly string[]): ReturnType<typeof readChangelog>[] {
  return folders.map((folder) => readChangelog(tree, folder === '' ? 'debian' : folder));
}

function specNamesOf(tree: string, paths: readonly string[]): string[] {
  return [
    ...new Set(
      paths.map(
        (path) => (path === '' ? findSpec(tree) : readListedSpec(tree, path, { time: 0, url: '' })).name,
      ),
    ),
  ];
}

/**
 * What the tree calls itself, by each kind of packaging that is used of it. A spec's version is a program's
 * answer: the engine looks at it.
 * @throws Refusal NOT_A_PACKAGE, VERSION_MISMATCH, NO_SPEC, TWO_SPECS, BAD_SPEC
 */
function sourcePackageOf(
  tree: string,
  version: string,
  builds: Builds,
): { names: FoundNames; date: number | undefined } {
  const changelogs = changelogsOf(tree, builds.get('deb') ?? []);
  // A file called `version` says something in a Qubes tree alone.
  const files = changelogs.length > 0 && isInTree(tree, buildFileName) ? readVersionFiles(tree) : undefined;
  for (const changelog of changelogs) refuseOtherChangelog(changelog.version, version, files);
  const specs = builds.get('rpm');
  return {
    names: {
      ...(changelogs.length === 0 ? {} : { deb: [...new Set(changelogs.map(({ source }) => source))] }),
      ...(specs === undefined ? {} : { rpm: specNamesOf(tree, specs) }),
    },
    date: changelogs[0]?.date,
  };
}

/**
 * By kinds that nothing is made of: the tree need not have them, but where it does they tell it from its
 * neighbour's as well.
 */
function otherNamesOf(tree: string, builds: Builds): FoundNames {
  const found: FoundNames = {};
  for (const [kind, read] of [
    ['deb', () => changelogsOf(tree, ['']).map(({ source }) => source)],
    ['rpm', () => specNamesOf(tree, [''])],
  ] as const) {
    if (builds.has(kind)) continue;
    try {
      found[kind] = read();
    } catch (error) {
      if (!(error instanceof AnyRefusal)) throw error;
    }
  }
  return found;
}

const manifestLinesLogged = 2000;

/**
 * @throws Refusal ROLLBACK unless the version is higher than any before, or is the same tag object once more
 */
export function refuseRollback(
  highest: HighestVersion | undefined,
  version: string,
  tagObject: string,
): void {
  if (highest === undefined || compareVersions(version, highest.version) > 0) return;
  if (version === highest.version && tagObject === highest.tagObject) return;
  throw new Refusal('ROLLBACK', `version ${version}, but ${highest.version} was verified before`);
}

/**
 * Fetches, verifies without network, and exports; then what the verified tree pins elsewhere: submodules by
 * their commits, files by digest or signature.
 * @throws Refusal FORGE_UNREACHABLE, TAG_MOVED, NOT_ANNOTATED, BAD_OBJECT, TAG_NAME_MISMATCH, those of
 * readTagObject, verifyTag and exportTree,
 *   ROLLBACK, NOT_A_PACKAGE, VERSION_MISMATCH, NO_SPEC, TWO_SPECS, BAD_SPEC, NOT_DONE_HERE,
 *   OTHER_SOURCE_PACKAGE, those of exportSubmodules, readListedFiles and downloadFiles
 */
export async function fetchSource(
  job: BuildJob,
  component: Component,
  options: FetchOptions,
  log: LineSink,
): Promise<{
  evidence: Evidence;
  sources: SourceNames;
  sourceDateEpoch: number;
  nothing: string[];
  specs: string[];
  modules: Record<string, string>;
}> {
  const repositoryFolder = join(options.folder, 'repository.git');
  const tree = join(options.folder, 'source');
  log.say(`fetch ${job.tag} of ${component.url}`);
  const { repository, object } = await fetchTag(repositoryFolder, component.url, job.tag, options.forge);
  if (object !== job.tagObject)
    throw new Refusal('TAG_MOVED', `${job.tag} was ${job.tagObject} and is ${object} now`);
  const type = await objectType(repository, object);
  if (type !== 'tag')
    throw new Refusal('NOT_ANNOTATED', `${job.tag} is a ${printable(type)}, not an annotated tag`);

  const tag = readTagObject(await readObject(repository, 'tag', object, tagLimitBytes + 1));
  if (tag.name !== job.tag)
    throw new Refusal('TAG_NAME_MISMATCH', `the tag under ${job.tag} calls itself ${tag.name}`);
  const meaning = meaningOfTag(component, tag.name);
  if (meaning?.version !== job.version || meaning.line !== job.line)
    throw new Refusal(
      'TAG_NAME_MISMATCH',
      `${tag.name} is not the tag of ${job.version}${job.line === undefined ? '' : ` in the line ${job.line}`}`,
    );
  const signers = await verifyTag(
    tag,
    component,
    await readMaintainerKeys(options.publicKeys, component.maintainers),
    options.now,
  );
  log.say(
    `tag object ${object}, signed by ${signers.map((signer) => `${signer.name} ${signer.fingerprint}`).join(', ')}`,
  );
  refuseRollback(options.highest, job.version, object);

  const treeId = await treeOfCommit(repository, tag.commit);
  const room = roomOfTrees();
  const exported = await exportTree(repository, treeId, tree, tag.time, room);
  const submodules = await exportSubmodules(
    repository,
    exported,
    component.url,
    { tree, work: join(options.folder, 'submodules'), time: tag.time, room, forge: options.forge },
    log,
  );
  const { builds, nothing } = buildsOfTree(tree, options.targets);
  for (const dist of nothing) log.say(`nothing is built for ${dist}: the tree's ${buildFileName} says so`);
  const { names, date } = sourcePackageOf(tree, job.version, builds);
  const all = refuseOtherPackage(component, { ...otherNamesOf(tree, builds), ...names }, options);
  const sources = Object.fromEntries(Object.entries(all).filter(([kind]) => builds.has(kind as PackageKind)));
  const modules = builds.has('rpm') ? pinnedModules(tree, exported.gitlinks) : {};
  const listed = builds.size === 0 ? [] : await readListedFiles(tree);
  const downloads = await downloadFiles(
    listed,
    {
      tree,
      work: join(options.folder, 'downloads'),
      time: tag.time,
      limits: options.downloads ?? downloadLimits(options.forge.timeoutMs),
      now: options.now,
    },
    log,
  );
  const manifest = manifestOf(
    [...exported.lines, ...submodules.lines, ...downloads.lines],
    exported.bytes + submodules.bytes + downloads.bytes,
  );
  log.say(
    `commit ${tag.commit}, tree ${treeId}, ${manifest.files} files, ${manifest.bytes} bytes, manifest sha256:${manifest.sha256}`,
  );
  for (const line of manifest.lines.slice(0, manifestLinesLogged)) log.tool(Buffer.from(line, 'latin1'));
  if (manifest.lines.length > manifestLinesLogged)
    log.say(`and ${manifest.lines.length - manifestLinesLogged} files more`);

  rmSync(repositoryFolder, { recursive: true });
  const evidence: Evidence = {
    url: component.url,
    tag: job.tag,
    tagObject: object,
    commit: tag.commit,
    tree: treeId,
    tagger: visibleLine(tag.tagger).slice(0, 500),
    signers,
    manifest: { files: manifest.files, bytes: manifest.bytes, sha256: manifest.sha256 },
  };
  log.say(`evidence ${sourceEvidence(evidence)}`);
  return { sources, evidence, sourceDateEpoch: date ?? tag.time, nothing, specs: names.rpm ?? [], modules };
}
