// SPDX-License-Identifier: GPL-2.0-or-later
// A template by Qubes' own builder (docs/engines.md, "The qubes-builderv2 engine"): it fetches and verifies
// its components by its own configuration, makes the image and the package. Signing, publishing and every
// promotion are the agent's.
import { existsSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder } from '../../shared/durable-files.js';
import { printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import type { EngineArtifacts, EngineTemplateJob } from '../contract.js';
import { announce } from '../engine-run.js';
import type { LineSink } from '../../shared/programs/logged-program.js';
import { readYaml, takeInto } from './artifacts-dir.js';
import { readTemplateOptions } from './options.js';
import { makeHome, qbWords, refuseMissingBuilder, runWords, type QbPlace } from './qb.js';

const fetchMs = 3 * 3600_000;

/**
 * @throws Refusal NO_SUCH_STAGE, NO_BUILDER, FETCH_FAILED, BUILD_FAILED, NOT_BUILT, BAD_METADATA,
 * VERSION_MISMATCH, BAD_ARTIFACT, TIMED_OUT, OUTPUT_LIMIT
 */
export async function driveTemplate(job: EngineTemplateJob, log: LineSink): Promise<EngineArtifacts> {
  const { name, timestamp } = job.template;
  if (job.stage !== 'build')
    throw new Refusal('NO_SUCH_STAGE', 'what is built here is signed and published by the agent');
  const options = readTemplateOptions(job);
  refuseMissingBuilder(options.builder, 'rpm');
  const artifacts = join(job.state, 'artifacts');
  const cache = join(job.cache, 'qubesbuilderv2');
  for (const folder of [artifacts, cache]) makeFolder(folder);
  symlinkSync(cache, join(artifacts, 'cache'));
  const qb: QbPlace = { options, artifacts, home: join(job.state, 'home'), job, kind: 'rpm' };
  await makeHome(qb.home, job);
  // Of all components: which of them a template is made with is the builder's to know.
  await runWords(
    qb,
    qbWords(qb, ['package', 'fetch']),
    'package fetch',
    { timeoutMs: fetchMs, failed: (why) => new Refusal('FETCH_FAILED', why) },
    log,
  );
  const words = ['-t', name, 'template', 'prep', '--template-timestamp', timestamp, 'build'];
  await runWords(
    qb,
    qbWords(qb, words),
    'template prep build',
    { timeoutMs: job.buildSeconds * 1000, failed: (why) => new Refusal('BUILD_FAILED', why) },
    log,
  );
  const templates = join(artifacts, 'templates');
  const metadata = `${name}.build.yml`;
  if (!existsSync(join(templates, metadata)))
    throw new Refusal(
      'NOT_BUILT',
      'the builder ended well and left no template: its log says what it skipped',
    );
  const { rpms, timestamp: said } = readYaml(templates, metadata);
  if (said !== timestamp)
    throw new Refusal(
      'VERSION_MISMATCH',
      `${timestamp} was commanded, the builder says ${printable(String(said)).slice(0, 80)}`,
    );
  const wanted = `${job.component}-${job.version}.noarch.rpm`;
  if (!Array.isArray(rpms) || rpms.length !== 1 || rpms[0] !== wanted)
    throw new Refusal('BAD_METADATA', `${metadata}: rpms is not ${wanted} alone`);
  const files = takeInto(job.output, [wanted], () => join(templates, 'rpm'));
  // Images of gigabytes, which nobody needs again; `cache` is a link.
  rmSync(artifacts, { recursive: true, force: true });
  return announce(files, log);
}
