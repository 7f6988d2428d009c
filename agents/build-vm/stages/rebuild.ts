// SPDX-License-Identifier: GPL-2.0-or-later
// Builds a finished job once more: the same tag, fetched and verified anew, by the same engines with the same
// documents, in a folder beside the agent's own. Says of every file whether it is what was frozen then.
// Nothing is signed, published or sent to a log.
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder, readIfThere } from '../../shared/durable-files.js';
import type { HashedFile } from '../../shared/formats/intent.js';
import { jobIdPattern, matches } from '../../shared/formats/names.js';
import { AnyRefusal, printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import { buildFor } from './build-stage.js';
import type { Config } from '../configuration/config.js';
import { engineOptions } from './distribution-options.js';
import { toStdout } from '../../engines/engine-run.js';
import { fetchSource, fetchTarget } from './fetch-stage.js';
import { artifactsFolder, readJob, type BuildJob, type Job } from '../jobs/job-document.js';
import type { LineSink } from '../../shared/programs/logged-program.js';
import type { Paths } from '../configuration/paths.js';

const fetchMs = 1800_000;

export type Verdict = 'same' | 'same-but-time' | 'differs' | 'missing' | 'new';

export interface Compared {
  dist: string;
  name: string;
  verdict: Verdict;
  /** SHA-256 then and now */
  was: string | null;
  is: string | null;
}

export interface RebuildOptions {
  config: Config;
  paths: Paths;
  /** the distributions of the job that are built again; all unless told */
  dists?: readonly string[];
}

function readDocument(bytes: Buffer, id: string): Job {
  try {
    return readJob(bytes);
  } catch (error) {
    throw new Refusal(
      'NO_SUCH_JOB',
      `${id} is not a job of this version: ${printable((error as Error).message)}`,
    );
  }
}

function findJob(paths: Paths, id: string): { job: BuildJob; folder: string } {
  const folder = join(paths.jobs, id);
  const bytes = matches(jobIdPattern, id) ? readIfThere(join(folder, 'job.json')) : undefined;
  if (bytes === undefined) throw new Refusal('NO_SUCH_JOB', `there is no job ${printable(id)}`);
  const job = readDocument(bytes, id);
  if (job.kind === 'template')
    throw new Refusal(
      'NO_SUCH_JOB',
      `${id} is of a template, which has no source that could be fetched again: command it anew`,
    );
  if (job.kind !== 'build' || job.evidence === null || job.artifacts.length === 0)
    throw new Refusal('NO_SUCH_JOB', `${id} has built nothing`);
  return { job, folder };
}

/**
 * A .buildinfo says when and where it was made, and .changes holds its hash: the text without that. Packages
 * and sources are compared as they are.
 * @returns undefined for every other file, and where the file of then is gone
 */
function withoutTime(folder: string, name: string): string | undefined {
  if (!/\.(?:buildinfo|changes)$/.test(name) || !existsSync(join(folder, name))) return undefined;
  return readFileSync(join(folder, name), 'utf8')
    .split('\n')
    .filter((line) => !/^Build-Date: |^ [0-9a-f]{32,64} [0-9]+ .*_[a-z0-9-]+\.buildinfo$/.test(line))
    .join('\n');
}

function compare(
  dist: string,
  was: readonly HashedFile[],
  is: readonly HashedFile[],
  then: string,
  now: string,
): Compared[] {
  const before = new Map(was.map((file) => [file.name, file]));
  const after = new Map(is.map((file) => [file.name, file]));
  return [...new Set([...before.keys(), ...after.keys()])].sort().map((name): Compared => {
    const [old, made] = [before.get(name), after.get(name)];
    const one = { dist, name, was: old?.sha256 ?? null, is: made?.sha256 ?? null };
    if (old === undefined) return { ...one, verdict: 'new' };
    if (made === undefined) return { ...one, verdict: 'missing' };
    if (old.sha256 === made.sha256 && old.size === made.size) return { ...one, verdict: 'same' };
    const text = withoutTime(then, name);
    return {
      ...one,
      verdict: text !== undefined && text === withoutTime(now, name) ? 'same-but-time' : 'differs',
    };
  });
}

/** @throws Refusal NO_SUCH_JOB, CONFIG_CHANGED, TAG_MOVED, those of the stages fetch and build */
export async function rebuildJob(
  id: string,
  { config, paths, dists }: RebuildOptions,
  log: LineSink,
): Promise<Compared[]> {
  const { job, folder: then } = findJob(paths, id);
  const component = config.components.find((one) => one.name === job.component);
  if (component === undefined || component.url !== job.url)
    throw new Refusal('CONFIG_CHANGED', `${job.component} is not configured here as it was`);
  const folder = join(paths.state, 'rebuild', id);
  rmSync(folder, { recursive: true, force: true });
  makeFolder(folder, 0o700);
  try {
    const chosen = job.artifacts.filter((made) => dists === undefined || dists.includes(made.dist));
    const distributions = chosen.map((made) => config.distributions.find((one) => one.name === made.dist));
    const found = await fetchSource(
      job,
      component,
      {
        // An older version is built once more as well, and other components were looked at when this one was
        // first.
        forge: { sshConfig: paths.sshConfig, timeoutMs: fetchMs },
        publicKeys: paths.publicKeys,
        folder,
        highest: undefined,
        componentsOf: () => [],
        targets: distributions.flatMap((one) => (one === undefined ? [] : [fetchTarget(one)])),
        now: new Date(),
      },
      log,
    );
    const manifest = job.evidence?.manifest.sha256;
    if (found.evidence.manifest.sha256 !== manifest || found.sourceDateEpoch !== job.sourceDateEpoch)
      throw new Refusal('TAG_MOVED', `${job.tag} gives another tree than it gave then`);
    const compared: Compared[] = [];
    for (const [index, { dist, files }] of chosen.entries()) {
      const distribution = distributions[index];
      if (distribution === undefined)
        throw new Refusal('CONFIG_CHANGED', `${dist} is not a distribution of this VM any more`);
      const made = await buildFor(
        { ...job, evidence: found.evidence },
        dist,
        engineOptions(distribution, folder, { config, paths }, job.suites, join(folder, 'work')),
        log,
      );
      compared.push(
        ...compare(dist, files, made, artifactsFolder(then, dist), artifactsFolder(folder, dist)),
      );
    }
    return compared;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export function isReproduced(compared: readonly Compared[]): boolean {
  return compared.every(({ verdict }) => verdict === 'same' || verdict === 'same-but-time');
}

/**
 * `build-agent rebuild JOB [DIST...]`. @returns the exit status: 0 all as it was, 1 something differs, 2 it
 * could not be built
 */
export async function runRebuild(id: string, options: RebuildOptions): Promise<number> {
  try {
    const compared = await rebuildJob(id, options, toStdout);
    for (const { dist, name, verdict, was, is } of compared)
      toStdout.say(`rebuilt ${verdict} ${dist} ${name} was sha256:${was ?? '-'} is sha256:${is ?? '-'}`);
    return isReproduced(compared) ? 0 : 1;
  } catch (error) {
    if (!(error instanceof AnyRefusal)) throw error;
    toStdout.say(error.message);
    return 2;
  }
}
