// SPDX-License-Identifier: GPL-2.0-or-later
// The Debian engine: one job document in, artifacts out, lines on stdout (docs/engines.md).
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { writeDurably } from '../../shared/durable-files.js';
import { readDocument } from '../../shared/json-document.js';
import { printable, Refusal } from '../../shared/refusal.js';
import { checkEngineJob, documentLimitBytes, type EngineArtifacts, type EngineFailure, type EngineJob } from '../engine-contract.js';
import type { LineSink } from '../logged-program.js';
import { readAptProxies, readAptSources } from './apt-sources.js';
import { baseTar, unpackChroot } from './base-chroot.js';
import { buildPackage, installBuildDependencies, takeArtifacts } from './package-build.js';
import { prepareSource } from './source-package.js';

/** `==` begins a line of ours: a tool that begins its own so, or with an escape sequence that is taken away later, gets a space before it. */
export function toolLine(line: Buffer): Buffer {
  return Buffer.concat([Buffer.from(line[0] === 0x3d || line[0] === 0x1b ? ' ' : ''), line, Buffer.from('\n')]);
}

/** Lines to stdout; waits where the agent does not take them. */
const toStdout: LineSink = {
  say: (text) => void process.stdout.write(`== ${printable(text)}\n`),
  tool: (line) => process.stdout.write(toolLine(line)),
  drained: () => (process.stdout.writableNeedDrain ? new Promise((resolve) => process.stdout.once('drain', resolve)) : Promise.resolve()),
  whenFailed: new Promise(() => undefined),
};

export async function buildDebian(job: EngineJob, log: LineSink): Promise<EngineArtifacts> {
  const sources = await readAptSources(job.dist);
  const proxies = await readAptProxies();
  const tar = await baseTar(job.cache, job.dist, sources, proxies, log);
  const chroot = join(job.work, 'chroot');
  await unpackChroot(tar, chroot, sources, proxies, log);
  const source = await prepareSource(job.sourceTree, job.version, chroot, log);
  await installBuildDependencies(chroot, job.cache, job.dist, source, log);
  await buildPackage(chroot, source, job.sourceDateEpoch, job.buildSeconds, log);
  const artifacts = takeArtifacts(join(chroot, 'build'), job.output, source);
  for (const { name, size, sha256 } of artifacts) log.say(`artifact ${sha256} ${size} ${name}`);
  return { format: 'build-infra/artifacts@1', artifacts };
}

/** @returns the exit status: 0 built, 1 not built and failure.json says why, 2 a fault */
export async function runEngine(documentPath: string): Promise<number> {
  // The agent is gone when nobody reads: then nothing of this may stay.
  process.stdout.on('error', () => process.exit(2));
  let job: EngineJob | undefined;
  try {
    job = readDocument(readFileSync(documentPath), documentLimitBytes, checkEngineJob);
    const artifacts = await buildDebian(job, toStdout);
    writeDurably(join(job.output, 'artifacts.json'), JSON.stringify(artifacts));
    return 0;
  } catch (error) {
    if (!(error instanceof Refusal) || job === undefined) {
      toStdout.say(`fault: ${String((error as Error).stack ?? error)}`);
      return 2;
    }
    toStdout.say(error.message);
    const failure: EngineFailure = { format: 'build-infra/engine-failure@1', code: error.code, detail: error.detail };
    writeDurably(join(job.output, 'failure.json'), JSON.stringify(failure));
    return 1;
  } finally {
    if (job !== undefined && existsSync(job.work)) rmSync(job.work, { recursive: true, force: true });
  }
}
