// SPDX-License-Identifier: GPL-2.0-or-later
// The page goes to its server as a repository does: into a folder of its own, then one rename of a symlink.
import { join } from 'node:path';
import { makeFolder } from '../../shared/durable-files.js';
import { printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import type { StatusPage } from '../configuration/config.js';
import type { LineSink } from '../../shared/programs/logged-program.js';
import { uploadGeneration } from '../repositories/upload-generation.js';
import type { PageGeneration } from './page-generations.js';

const uploadMs = 600_000;

/** No log tells of this upload: the last words of what failed are all that is kept. */
function lastWords(): LineSink & { last: string } {
  const sink = {
    last: '',
    say: () => undefined,
    tool: (line: Buffer) => {
      sink.last = printable(line.subarray(0, 200).toString('latin1'));
      return true;
    },
    drained: () => Promise.resolve(),
    whenFailed: new Promise<never>(() => undefined),
  };
  return sink;
}

/** @throws Refusal UPLOAD_FAILED, TIMED_OUT: readers have the last page then */
export async function uploadPage(
  generation: PageGeneration,
  { upload }: StatusPage,
  sshConfig: string,
): Promise<void> {
  const sink = lastWords();
  // A farm without components has none.
  makeFolder(join(generation.folder, 'components'));
  try {
    await uploadGeneration(
      generation,
      {
        upload,
        sshConfig,
        packages: ['components'],
        metadata: ['index.html', 'status.json'],
        timeoutMs: uploadMs,
      },
      sink,
    );
  } catch (error) {
    if (error instanceof Refusal && error.code === 'UPLOAD_FAILED')
      throw new Refusal(error.code, `${error.detail}: ${sink.last}`);
    throw error;
  }
}
