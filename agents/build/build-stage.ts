// SPDX-License-Identifier: GPL-2.0-or-later
// Runs an engine for one distribution and freezes what it made. The engine is believed to jail the build, not to be right about it.
import { existsSync, renameSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { makeFolder, syncFolder } from '../shared/durable-files.js';
import { readDocument } from '../shared/json-document.js';
import { Refusal } from '../shared/refusal.js';
import type { HashedFile } from '../shared/formats/intent.js';
import { checkArtifacts, checkFailure, documentLimitBytes, type EngineJob } from './engine-contract.js';
import { contained } from './contained-program.js';
import { sayIfFull } from './free-room.js';
import { freezeFile, readPlainFile } from './frozen-files.js';
import type { Job } from './job-document.js';
import { runLogged, type LineSink } from './logged-program.js';
import { proxyEnvironment } from './program.js';

export interface BuildOptions {
  /** argv of the engine without the document */
  engine: readonly string[];
  /** the job's folder: `source` is read, `artifacts/<dist>` is made */
  folder: string;
  work: string;
  cache: string;
  buildSeconds: number;
  /** how much longer than the build itself an engine may take */
  preparationSeconds?: number;
  /** the distribution's own, for the engine */
  engineOptions: Record<string, unknown> | undefined;
}

// For the chroot and the build dependencies, which have limits of their own in an engine of ours.
const preparationSeconds = 5400;

export function artifactsFolder(jobFolder: string, dist: string): string {
  return join(jobFolder, 'artifacts', dist);
}

/** @throws Refusal what the engine says (BUILD_FAILED, TIMED_OUT, …), BAD_ARTIFACT, ENGINE_FAILED */
export async function buildFor(job: Job, dist: string, options: BuildOptions, log: LineSink): Promise<HashedFile[]> {
  const frozen = artifactsFolder(options.folder, dist);
  const work = join(options.work, job.job, dist);
  const output = join(work, 'output');
  for (const left of [frozen, `${frozen}.part`, work]) await rm(left, { recursive: true, force: true });
  for (const folder of [`${frozen}.part`, output, join(work, 'engine'), options.cache]) makeFolder(folder);
  const { evidence } = job;
  if (evidence === null) throw new Error(`${job.job} is built before its source was verified`);
  const document: EngineJob = {
    format: 'build-infra/engine-job@1', job: job.job, component: job.component, version: job.version, env: job.env, dist,
    source: { url: evidence.url, tag: evidence.tag, tagObject: evidence.tagObject, commit: evidence.commit },
    sourceTree: join(options.folder, 'source'), sourceDateEpoch: job.sourceDateEpoch ?? 0, output, work: join(work, 'engine'), cache: options.cache, buildSeconds: options.buildSeconds,
    ...(options.engineOptions === undefined ? {} : { options: options.engineOptions }),
  };
  const documentPath = join(work, 'engine-job.json');
  writeFileSync(documentPath, JSON.stringify(document, null, 1));
  try {
    const status = await runLogged(await contained([...options.engine, documentPath]), log, {
      timeoutMs: (options.buildSeconds + (options.preparationSeconds ?? preparationSeconds)) * 1000, env: proxyEnvironment(), label: `engine for ${dist}`,
    });
    if (status === 1 && existsSync(join(output, 'failure.json'))) {
      const failure = readDocument(readPlainFile(output, 'failure.json', documentLimitBytes), documentLimitBytes, checkFailure);
      throw new Refusal(failure.code, failure.detail);
    }
    if (status !== 0) throw new Refusal('ENGINE_FAILED', `the engine for ${dist} ended with ${status}`);
    const { artifacts } = readDocument(readPlainFile(output, 'artifacts.json', documentLimitBytes), documentLimitBytes, checkArtifacts);
    const files = artifacts.map((announced) => {
      const file = freezeFile(output, `${frozen}.part`, announced.name);
      if (file.sha256 !== announced.sha256 || file.size !== announced.size) throw new Refusal('BAD_ARTIFACT', `${file.name} is not what the engine said`);
      return file;
    });
    renameSync(`${frozen}.part`, frozen);
    syncFolder(join(frozen, '..'));
    for (const file of files) log.say(`frozen sha256:${file.sha256} ${file.size} ${file.name}`);
    return files;
  } catch (error) {
    throw sayIfFull(error, work);
  } finally {
    // Not at once: other steps go on meanwhile, and what was just ended may still have been writing.
    for (const left of [work, `${frozen}.part`]) await rm(left, { recursive: true, force: true, maxRetries: 10 });
  }
}
