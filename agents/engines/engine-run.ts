// SPDX-License-Identifier: GPL-2.0-or-later
// What every engine of this program does around its build: reads the job document, writes lines to stdout,
// and says in a file how it ended (docs/engines.md).
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { writeDurably } from '../shared/durable-files.js';
import { readDocument } from '../shared/json-document.js';
import { printable } from '../shared/refusal.js';
import { Refusal } from './refusals.js';
import type { HashedFile } from '../shared/formats/intent.js';
import { removeLayers } from './chroot/layered-chroot.js';
import {
  checkEngineJob,
  documentLimitBytes,
  type EngineArtifacts,
  type EngineFailure,
  type EngineJob,
  type EngineStage,
  type EngineTemplateJob,
} from './contract.js';
import { sayIfFull } from '../shared/files/free-room.js';
import type { LineSink } from '../shared/programs/logged-program.js';

/**
 * `==` begins a line of ours: a tool that begins its own so, or with an escape sequence that is taken away
 * later, gets a space before it.
 */
export function toolLine(line: Buffer): Buffer {
  return Buffer.concat([
    Buffer.from(line[0] === 0x3d || line[0] === 0x1b ? ' ' : ''),
    line,
    Buffer.from('\n'),
  ]);
}

/** Lines to stdout; waits where the agent does not take them. */
export const toStdout: LineSink = {
  say: (text) => void process.stdout.write(`== ${printable(text)}\n`),
  tool: (line) => process.stdout.write(toolLine(line)),
  drained: () =>
    process.stdout.writableNeedDrain
      ? new Promise((resolve) => process.stdout.once('drain', resolve))
      : Promise.resolve(),
  whenFailed: new Promise(() => undefined),
};

/** What an engine announces, said in the log too. */
export function announce(artifacts: HashedFile[], log: LineSink): EngineArtifacts {
  for (const { name, size, sha256 } of artifacts) log.say(`artifact ${sha256} ${size} ${name}`);
  return { format: 'build-infra/artifacts@1', artifacts };
}

function refuseTemplates(): never {
  throw new Refusal('NO_SUCH_STAGE', 'this engine builds no templates');
}

/**
 * @param stages that this engine knows @param template builds a template, where it can @param rebuilds
 * whether it can build packages anew
 * @returns the exit status: 0 well, 1 not, and failure.json says why, 2 a fault
 */
export async function runEngineOn(
  documentPath: string,
  work: (job: EngineJob, log: LineSink) => Promise<EngineArtifacts>,
  stages: readonly EngineStage[] = ['build'],
  template?: (job: EngineTemplateJob, log: LineSink) => Promise<EngineArtifacts>,
  rebuilds = false,
): Promise<number> {
  // The agent is gone when nobody reads: then nothing of this may stay.
  process.stdout.on('error', () => process.exit(2));
  let job: EngineJob | EngineTemplateJob | undefined;
  try {
    job = readDocument(readFileSync(documentPath), documentLimitBytes, checkEngineJob);
    if (!stages.includes(job.stage))
      throw new Refusal(
        'NO_SUCH_STAGE',
        `this engine knows ${stages.join(', ')} and not ${job.stage}: its distribution's publisher is the agent`,
      );
    if (job.rebuild !== undefined && !rebuilds)
      throw new Refusal('NO_REBUILD', 'this engine builds nothing anew without a new source');
    const artifacts =
      'template' in job ? await (template ?? refuseTemplates)(job, toStdout) : await work(job, toStdout);
    writeDurably(join(job.output, 'artifacts.json'), JSON.stringify(artifacts));
    return 0;
  } catch (plain) {
    const error = job === undefined || !existsSync(job.work) ? plain : sayIfFull(plain, job.work);
    // First, so that there is room to say why.
    if (job !== undefined) await removeLayers(job.work);
    if (job !== undefined) rmSync(job.work, { recursive: true, force: true });
    if (!(error instanceof Refusal) || job === undefined) {
      toStdout.say(`fault: ${String((error as Error).stack ?? error)}`);
      return 2;
    }
    toStdout.say(error.message);
    const failure: EngineFailure = {
      format: 'build-infra/engine-failure@1',
      code: error.code,
      detail: error.detail,
    };
    writeDurably(join(job.output, 'failure.json'), JSON.stringify(failure));
    return 1;
  } finally {
    if (job !== undefined) await removeLayers(job.work);
    if (job !== undefined) rmSync(job.work, { recursive: true, force: true });
  }
}
