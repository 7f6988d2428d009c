// SPDX-License-Identifier: GPL-2.0-or-later
// Waits for a job of the build VM by the status document that its agent keeps.
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { readIfThere } from '../../shared/durable-files.js';
import { must, type Machine } from '../outside/machine.js';

/** `commands` of the seconds are those of tools and engines, the rest is the farm's own */
export interface StepSeconds {
  stage: string;
  dist: string | null;
  seconds: number;
  commands: number | null;
}

export interface BuildStatus {
  queue: {
    job: string;
    component: string;
    version: string;
    waiting: { dist: string | null; code: string; detail: string }[];
  }[];
  running: { job: string; component: string; version: string; stage: string; dist: string | null }[];
  recent: {
    job: string;
    component: string;
    version: string;
    state: string;
    reason: { code: string; detail: string } | null;
    logs: string[];
    uploaded: string[];
    seconds: StepSeconds[];
  }[];
}

export function readBuildStatus(build: Machine): BuildStatus | undefined {
  const bytes = readIfThere(join(build.root, 'var/lib/build-infra/status.json'));
  return bytes === undefined ? undefined : (JSON.parse(bytes.toString()) as BuildStatus);
}

export function withDist(word: string, dist: string | null): string {
  return dist === null ? word : `${word} ${dist}`;
}

/** `build bookworm 12.3 s (overhead 0.4 s)`: of it the farm's own */
export function stepLine({ stage, dist, seconds, commands }: StepSeconds): string {
  return `${withDist(stage, dist)} ${seconds.toFixed(1)} s${commands === null ? '' : ` (overhead ${(seconds - commands).toFixed(1)} s)`}`;
}

/** The finished job. @throws Error when it ends in anything but "done", or takes longer than `timeoutMs` */
export async function untilBuilt(
  build: Machine,
  component: string,
  version: string,
  onStage: (stage: string) => void,
  timeoutMs = 3_600_000,
): Promise<BuildStatus['recent'][number]> {
  const until = Date.now() + timeoutMs;
  const same = (job: { component: string; version: string }): boolean =>
    job.component === component && job.version === version;
  for (let last = ''; Date.now() < until; await sleep(200)) {
    const status = readBuildStatus(build);
    const over = status?.recent.find(same);
    if (over?.state === 'done') return over;
    if (over !== undefined)
      throw new Error(
        `the job ${over.job} ended as ${over.state}: ${over.reason?.code ?? ''} ${over.reason?.detail ?? ''}`,
      );
    const running = (status?.running ?? []).filter(same).map((step) => withDist(step.stage, step.dist));
    const waiting = (status?.queue ?? [])
      .filter(same)
      .flatMap((job) => job.waiting)
      .map((chain) => `${withDist('waits', chain.dist)}: ${chain.code} ${chain.detail}`);
    const stage = [...running, ...waiting].join(', ');
    if (stage !== '' && stage !== last) onStage((last = stage));
  }
  throw new Error(`${component} ${version} was not built within ${timeoutMs / 60_000} minutes`);
}

/**
 * A job by its name, when it is over, however it ended. @throws Error when that takes longer than `timeoutMs`
 */
export async function untilOver(
  build: Machine,
  job: string,
  onStage: (stage: string) => void,
  timeoutMs = 600_000,
): Promise<BuildStatus['recent'][number]> {
  const until = Date.now() + timeoutMs;
  for (let last = ''; Date.now() < until; await sleep(200)) {
    const status = readBuildStatus(build);
    const over = status?.recent.find((one) => one.job === job);
    if (over !== undefined) return over;
    const stage = (status?.running ?? [])
      .filter((step) => step.job === job)
      .map((step) => withDist(step.stage, step.dist))
      .join(', ');
    if (stage !== '' && stage !== last) onStage((last = stage));
  }
  throw new Error(`${job} was not over within ${timeoutMs / 60_000} minutes`);
}

/** A command of people, through the agent's spool folder; the agent's one line of answer. */
export async function giveCommand(build: Machine, line: string, timeoutMs = 300_000): Promise<string> {
  const script = `set -eu; cd /var/lib/build-infra/spool; name=by-hand-$$-$(date +%s%N); printf '%s\\n' "$1" > .$name.tmp; mv .$name.tmp $name.cmd
for n in $(seq 1 ${Math.ceil(timeoutMs / 200)}); do if test -e answers/$name.answer; then cat answers/$name.answer; exit 0; fi; sleep 0.2; done; echo 'the agent does not answer' >&2; exit 1`;
  return (
    await must(build, ['sh', '-c', script, 'command', line], { user: 'root', timeoutMs: timeoutMs + 10_000 })
  ).trim();
}
