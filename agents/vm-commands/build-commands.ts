// SPDX-License-Identifier: GPL-2.0-or-later
// trigger, retry, cancel and status in a build VM: hands to the agent's spool folder, eyes on its status
// document (agents/build-vm/README.md). Both are root's.
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { renameDurably, writeDurably } from '../shared/durable-files.js';
import { jobIdPattern, matches, plainNamePattern, versionPattern } from '../shared/formats/names.js';
import { visibleLine } from '../shared/visible-text.js';
import { Refusal } from './refusals.js';

const answerMs = 90_000;

interface Waiting {
  code: string;
  detail: string;
}
/** The part of build-infra/build-status@2 that is shown. */
interface BuildStatus {
  format: string;
  time: string;
  queue: { job: string; waiting: (Waiting & { dist: string | null })[] }[];
  running: { job: string; stage: string; dist: string | null; log: string | null }[];
  recent: {
    job: string;
    state: string;
    reason: Waiting | null;
    reasons: (Waiting & { stage: string; dist: string | null })[];
    ended: string | null;
    seconds: { stage: string; dist: string | null; seconds: number; commands: number | null }[];
  }[];
}

const needRoot = (error: unknown): never => {
  if (['EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? ''))
    throw new Refusal('NOT_ROOT', "the build agent is root's here: run it as root");
  throw error;
};

const wanted = {
  trigger: { patterns: [plainNamePattern], wants: 'the name of a component' },
  retry: { patterns: [jobIdPattern], wants: 'a job, as status shows it' },
  cancel: { patterns: [jobIdPattern], wants: 'a job, as status shows it' },
  withdraw: {
    patterns: [plainNamePattern, versionPattern],
    wants: 'a component and a version of it that was published',
  },
};

/** @returns the agent's one line. @throws Refusal BAD_COMMAND, NOT_A_BUILD_VM, NOT_ROOT, NO_ANSWER */
export async function giveCommand(
  root: string,
  verb: keyof typeof wanted,
  words: readonly string[],
): Promise<string> {
  const { patterns, wants } = wanted[verb];
  if (words.length !== patterns.length || !patterns.every((pattern, index) => matches(pattern, words[index])))
    throw new Refusal('BAD_COMMAND', `${verb} needs ${wants}`);
  const spool = join(root, '/var/lib/build-infra/spool');
  const name = `by-hand-${process.pid}-${randomBytes(6).toString('hex')}`;
  const answer = join(spool, 'answers', `${name}.answer`);
  try {
    if (!existsSync(join(root, '/run/qubes-service/build-infra-build')))
      throw new Refusal('NOT_A_BUILD_VM', 'this VM builds nothing: run it in build-<env>');
    // The agent takes what ends in .cmd; a name that begins with a dot it leaves alone.
    writeDurably(join(spool, `.${name}`), `${[verb, ...words].join(' ')}\n`, 0o600);
    renameDurably(join(spool, `.${name}`), join(spool, `${name}.cmd`));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      throw new Refusal(
        'NO_AGENT',
        'the agent has made no spool folder yet: build-infra doctor says what it waits for',
      );
    return needRoot(error);
  }
  for (const until = Date.now() + answerMs; Date.now() < until; await sleep(100)) {
    if (existsSync(answer)) return readFileSync(answer, 'utf8').trim();
  }
  throw new Refusal('NO_ANSWER', 'the agent does not answer: build-infra doctor');
}

const why = (waiting: Waiting | null): string =>
  waiting === null ? '' : `  ${waiting.code} ${visibleLine(waiting.detail)}`;
const withDist = (word: string, dist: string | null): string => (dist === null ? word : `${word} ${dist}`);
/** Of the newest jobs that are over, where their time went. */
const jobsWithTimes = 5;

function recentLines(job: BuildStatus['recent'][number], index: number): string[] {
  const times = job.seconds.map(
    ({ stage, dist, seconds, commands }) =>
      `${withDist(stage, dist)} ${seconds.toFixed(1)} s${commands === null ? '' : ` (overhead ${(seconds - commands).toFixed(1)} s)`}`,
  );
  return [
    `${job.state.padEnd(8)} ${job.job}  ${job.ended ?? ''}${why(job.reason)}`,
    // What the job as a whole says already is not said again.
    ...(job.reasons.length < 2 && job.seconds.every((step) => step.stage !== 'publish')
      ? []
      : job.reasons.map((reason) => `         ${withDist(reason.stage, reason.dist)}:${why(reason)}`)),
    ...(index < jobsWithTimes && times.length > 0 ? [`         ${times.join(', ')}`] : []),
  ];
}

/** @throws Refusal NOT_ROOT, NO_STATUS */
export function readStatus(root: string): { text: string; lines: string[] } {
  let text: string;
  try {
    text = readFileSync(join(root, '/var/lib/build-infra/status.json'), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      throw new Refusal(
        'NO_STATUS',
        'no build agent has run here: build-infra doctor says what it waits for',
      );
    return needRoot(error);
  }
  const { format, queue, running, recent } = JSON.parse(text) as BuildStatus;
  if (format !== 'build-infra/build-status@2')
    throw new Refusal('NO_STATUS', 'the status is of another release: restart this VM');
  const lines = [
    ...running.map((step) => `running  ${step.job}  ${withDist(step.stage, step.dist)}`),
    ...queue.map(
      (job) =>
        `queued   ${job.job}${job.waiting.map((chain) => `${chain.dist === null ? '' : `  ${chain.dist}:`}${why(chain)}`).join('')}`,
    ),
    ...recent.flatMap(recentLines),
  ];
  return { text, lines: lines.length === 0 ? ['no job yet'] : lines };
}
