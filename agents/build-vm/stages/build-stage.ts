// SPDX-License-Identifier: GPL-2.0-or-later
// Runs an engine for one distribution and freezes what it made. The engine is believed to jail the build, not
// to be right about it.
import { rm } from 'node:fs/promises';
import { makeFolder, renameDurably, syncFolder } from '../../shared/durable-files.js';
import type { HashedFile } from '../../shared/formats/intent.js';
import { callEngine, freezeAnnounced, type EngineOptions } from './engine-call.js';
import { artifactsFolder, type MakingJob } from '../jobs/job-document.js';
import type { LineSink } from '../../shared/programs/logged-program.js';

export interface BuildOptions extends EngineOptions {
  /** how much longer than the build itself an engine may take */
  preparationSeconds?: number;
}

// For the chroot and the build dependencies, which have limits of their own in an engine of ours.
const preparationSeconds = 5400;

/** @throws Refusal what the engine says (BUILD_FAILED, TIMED_OUT, …), BAD_ARTIFACT, ENGINE_FAILED */
export async function buildFor(
  job: MakingJob,
  dist: string,
  options: BuildOptions,
  log: LineSink,
): Promise<HashedFile[]> {
  const frozen = artifactsFolder(options.folder, dist);
  for (const left of [frozen, `${frozen}.part`]) await rm(left, { recursive: true, force: true });
  makeFolder(`${frozen}.part`);
  try {
    const timeoutMs = (options.buildSeconds + (options.preparationSeconds ?? preparationSeconds)) * 1000;
    return await callEngine(
      job,
      dist,
      { stage: 'build' },
      options,
      { timeoutMs },
      log,
      (output, { artifacts }) => {
        const files = freezeAnnounced(output, `${frozen}.part`, artifacts);
        // Each file is on disk already; this is for their names.
        syncFolder(`${frozen}.part`);
        renameDurably(`${frozen}.part`, frozen);
        for (const file of files) log.say(`frozen sha256:${file.sha256} ${file.size} ${file.name}`);
        return files;
      },
    );
  } finally {
    await rm(`${frozen}.part`, { recursive: true, force: true, maxRetries: 10 });
  }
}
