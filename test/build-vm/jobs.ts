// SPDX-License-Identifier: GPL-2.0-or-later
// Jobs for tests of what decides about them: a configuration with some distributions, jobs of it, and steps
// that only note their names.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import type { Component, Config } from '../../agents/build-vm/configuration/config.js';
import { newJob, type BuildJob, type Evidence, type Stage } from '../../agents/build-vm/jobs/job-document.js';
import { JobQueue } from '../../agents/build-vm/jobs/job-queue.js';

export function configFor(dists: readonly string[], change: Partial<Config> = {}): Config {
  const component = (name: string): Component => ({
    name,
    url: `git://forge.example/${name}.git`,
    tag: 'v{version}',
    maintainers: [{ name: 'alice', fingerprint: 'A'.repeat(40) }],
    requiredSignatures: 1,
  });
  return {
    vm: 'build-debian',
    env: 'debian',
    signingKey: 'F'.repeat(40),
    components: ['one', 'two', 'three'].map(component),
    distributions: dists.map((name) => ({ name, engine: 'debian', packages: 'deb' })),
    apt: { upload: '', url: '', origin: '', label: '' },
    pollSeconds: 1,
    buildSeconds: 1,
    ...change,
  } as Config;
}

export function queueFor(test: Test): { folder: string; queue: JobQueue; again: () => JobQueue } {
  const folder = mkdtempSync(join(tmpdir(), 'bi-lanes-'));
  test.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const again = (): JobQueue => new JobQueue(join(folder, 'jobs'), join(folder, 'highest'));
  return { folder, queue: again(), again };
}

/** Of a source that was verified. */
export const evidenceOf = (commit = 'c'.repeat(40)): Evidence => ({
  url: '',
  tag: '',
  tagObject: '',
  commit,
  tree: '',
  tagger: '',
  signers: [],
  manifest: { files: 1, bytes: 1, sha256: '' },
});

/** `done` are steps as `fetch` or `build bookworm`. */
export function jobOf(
  config: Config,
  name: string,
  version: string,
  number: number,
  done: readonly string[] = [],
  change: Partial<BuildJob> = {},
): BuildJob {
  const component = config.components.find((candidate) => candidate.name === name) as Component;
  const job = newJob(
    config,
    component,
    { tag: `v${version}`, tagObject: number.toString(16).padStart(40, '0'), version },
    number,
    new Date(0),
  );
  job.finished = done.map((step) => {
    const [stage, dist = null] = step.split(' ') as [Stage, string?];
    return { stage, dist, started: '', ended: '', commandSeconds: null };
  });
  return Object.assign(job, change);
}
