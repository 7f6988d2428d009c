// SPDX-License-Identifier: GPL-2.0-or-later
// Runs an engine for one distribution and freezes what it made. The engine is believed to jail the build, not to be right about it.
import { existsSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder, syncFolder } from '../shared/durable-files.js';
import type { HashedFile } from '../shared/formats/intent.js';
import { callEngine, freezeAnnounced, type EngineOptions } from './engine-call.js';
import type { Job } from './job-document.js';
import type { LineSink } from './logged-program.js';

export type BuildOptions = EngineOptions;

// For the chroot and the build dependencies, which have limits of their own in the engine.
const overheadSeconds = 5400;

export function artifactsFolder(jobFolder: string, dist: string): string {
  return join(jobFolder, 'artifacts', dist);
}

/** @throws Refusal what the engine says (BUILD_FAILED, TIMED_OUT, …), BAD_ARTIFACT, ENGINE_FAILED */
export async function buildFor(job: Job, dist: string, options: BuildOptions, log: LineSink): Promise<HashedFile[]> {
  const frozen = artifactsFolder(options.folder, dist);
  for (const left of [frozen, `${frozen}.part`]) if (existsSync(left)) rmSync(left, { recursive: true });
  makeFolder(`${frozen}.part`);
  return await callEngine(job, dist, { stage: 'build' }, options, { timeoutMs: (options.buildSeconds + overheadSeconds) * 1000 }, log, (output, { artifacts }) => {
    const files = freezeAnnounced(output, `${frozen}.part`, artifacts);
    renameSync(`${frozen}.part`, frozen);
    syncFolder(join(frozen, '..'));
    for (const file of files) log.say(`frozen sha256:${file.sha256} ${file.size} ${file.name}`);
    return files;
  });
}
