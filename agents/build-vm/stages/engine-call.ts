// SPDX-License-Identifier: GPL-2.0-or-later
// One call of an engine: its document, its folders, its log, and what it says of its end (docs/engines.md).
// Every word of it is untrusted.
import { existsSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { makeFolder } from '../../shared/durable-files.js';
import { readDocument, type Check } from '../../shared/json-document.js';
import { AnyRefusal, printable, RelayedRefusal } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import type { HashedFile } from '../../shared/formats/intent.js';
import { contained } from './contained-program.js';
import {
  checkArtifacts,
  checkFailure,
  documentLimitBytes,
  type EngineArtifacts,
  type EngineCall,
  type EngineJob,
  type EngineTemplateJob,
  type PackageKind,
} from '../../engines/contract.js';
import { sayIfFull } from '../../shared/files/free-room.js';
import { freezeFile, readPlainFile } from '../../shared/files/frozen-files.js';
import { rebuildOf, type Job, type MakingJob } from '../jobs/job-document.js';
import { runLogged, type LineSink } from '../../shared/programs/logged-program.js';
import { proxyEnvironment } from '../../shared/programs/program.js';

export interface EngineOptions {
  /** argv of the engine without the document */
  engine: readonly string[];
  packages: PackageKind;
  /** the job's folder: `source` is read */
  folder: string;
  work: string;
  cache: string;
  buildSeconds: number;
  /** the distribution's own, for the engine */
  engineOptions: Record<string, unknown> | undefined;
  /** this distribution's own repository, if there is one */
  published?: EngineCall['published'];
  /** of a template: its word for what is in it */
  distribution?: string;
}

/** What a stage adds to the document. */
export type StageFields = Pick<EngineCall, 'stage' | 'artifacts' | 'signing' | 'signed' | 'repository'>;

/**
 * What the agent itself says of a job: an engine that could say it would have a job tried again for ever, or
 * told of as somebody else's fault.
 */
const agentsCodes = new Set<string>([
  'FAULT',
  'CANCELLED',
  'NO_LOG_SINK',
  'LOG_FAILED',
  'LOG_ABANDONED',
  'CONFIG_CHANGED',
  'NO_ENGINE',
  'DIST_RETIRED',
  'READ_BACK_FAILED',
  'TAG_MOVED',
  'ROLLBACK',
] satisfies ('FAULT' | Refusal['code'])[]);

export function engineState(jobFolder: string, dist: string): string {
  return join(jobFolder, 'engine', dist);
}

function readSaid<T>(output: string, name: string, check: Check<T>): T {
  try {
    return readDocument(readPlainFile(output, name, documentLimitBytes), documentLimitBytes, check);
  } catch (error) {
    if (error instanceof AnyRefusal)
      throw new Refusal('ENGINE_FAILED', `its ${name} cannot be taken: ${error.line()}`);
    throw error;
  }
}

/** Copies what was announced to `into`. @throws Refusal BAD_ARTIFACT */
export function freezeAnnounced(
  output: string,
  into: string,
  artifacts: readonly HashedFile[],
): HashedFile[] {
  if (new Set(artifacts.map((announced) => announced.name)).size !== artifacts.length)
    throw new Refusal('BAD_ARTIFACT', 'the engine announced one name twice');
  return artifacts.map((announced) => {
    const file = freezeFile(output, into, announced.name);
    if (file.sha256 !== announced.sha256 || file.size !== announced.size)
      throw new Refusal('BAD_ARTIFACT', `${file.name} is not what the engine said`);
    return file;
  });
}

function builtFrom(
  job: MakingJob,
  { folder, distribution = '' }: EngineOptions,
): Pick<EngineJob, 'source' | 'sourceTree'> | Pick<EngineTemplateJob, 'template'> {
  if (job.kind === 'template')
    return {
      template: {
        name: job.template.name,
        release: job.template.release,
        timestamp: job.template.timestamp,
        distribution,
      },
    };
  const { evidence, modules } = job;
  if (evidence === null) throw new Error(`${job.job} is built before its source was verified`);
  return {
    source: {
      url: evidence.url,
      tag: evidence.tag,
      tagObject: evidence.tagObject,
      commit: evidence.commit,
      ...(modules === undefined ? {} : { modules }),
    },
    sourceTree: join(folder, 'source'),
  };
}

function rebuildFor(job: Job, dist: string, stage: EngineCall['stage']): Pick<EngineCall, 'rebuild'> {
  const rebuild = rebuildOf(job);
  const published = rebuild?.sources[dist];
  return rebuild === undefined || published === undefined || stage !== 'build'
    ? {}
    : { rebuild: { of: published.version, number: rebuild.number } };
}

/**
 * @param env added to the clean environment @param take is given what the engine announced while it is still
 * there
 * @throws Refusal what the engine says (BUILD_FAILED, …), ENGINE_FAILED, TIMED_OUT, OUTPUT_LIMIT, and what
 * `take` throws
 */
export async function callEngine<T>(
  job: MakingJob,
  dist: string,
  fields: StageFields,
  options: EngineOptions,
  limits: { timeoutMs: number; env?: Record<string, string> },
  log: LineSink,
  take: (output: string, said: EngineArtifacts) => T | Promise<T>,
): Promise<T> {
  const from = builtFrom(job, options);
  const work = join(options.work, job.job, dist);
  const output = join(work, 'output');
  const state = engineState(options.folder, dist);
  for (const left of fields.stage === 'build' ? [work, state] : [work])
    await rm(left, { recursive: true, force: true });
  for (const folder of [output, join(work, 'engine'), state, options.cache]) makeFolder(folder);
  const document: EngineJob | EngineTemplateJob = {
    format: 'build-infra/engine-job@1',
    ...fields,
    job: job.job,
    component: job.component,
    version: job.version,
    env: job.env,
    dist,
    packages: options.packages,
    ...from,
    sourceDateEpoch: job.sourceDateEpoch ?? 0,
    output,
    work: join(work, 'engine'),
    state,
    cache: options.cache,
    buildSeconds: options.buildSeconds,
    ...(fields.stage === 'build' && options.published !== undefined ? { published: options.published } : {}),
    ...rebuildFor(job, dist, fields.stage),
    ...(options.engineOptions === undefined ? {} : { options: options.engineOptions }),
  };
  const documentPath = join(work, 'engine-job.json');
  writeFileSync(documentPath, JSON.stringify(document, null, 1));
  try {
    const status = await runLogged(await contained([...options.engine, documentPath]), log, {
      timeoutMs: limits.timeoutMs,
      env: { ...proxyEnvironment(), ...limits.env },
      label: `engine for ${dist}, ${fields.stage}`,
    });
    if (status === 1 && existsSync(join(output, 'failure.json'))) {
      const failure = readSaid(output, 'failure.json', checkFailure);
      const detail = printable(failure.detail);
      if (agentsCodes.has(failure.code))
        throw new Refusal(
          'ENGINE_FAILED',
          `it said ${failure.code}, which is not an engine's to say: ${detail}`,
        );
      throw new RelayedRefusal(failure.code, detail);
    }
    if (status !== 0) throw new Refusal('ENGINE_FAILED', `the engine for ${dist} ended with ${status}`);
    return await take(output, readSaid(output, 'artifacts.json', checkArtifacts));
  } catch (error) {
    throw sayIfFull(error, work);
  } finally {
    // Not at once: other steps go on meanwhile, and what was just ended may still have been writing.
    await rm(work, { recursive: true, force: true, maxRetries: 10 });
  }
}
