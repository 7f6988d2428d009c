// SPDX-License-Identifier: GPL-2.0-or-later
// `build-infra jobs` and `jobs show JOB`: everything that this VM knows of its jobs, from their documents
// (agents/build-vm/README.md). Only reads.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { HashedFile } from '../shared/formats/intent.js';
import {
  jobKinds,
  jobStates,
  moveOf,
  orderedBy,
  readJob,
  type Job,
  type Move,
  type ObeyedCommand,
  type Step,
  type StepResult,
} from '../shared/formats/job.js';
import { logLink } from '../shared/formats/log-link.js';
import { jobIdPattern, matches } from '../shared/formats/names.js';
import { visibleLine } from '../shared/visible-text.js';
import { Refusal } from './refusals.js';

const jobsFolder = '/var/lib/build-infra/jobs';

interface DamagedJob {
  job: string;
  fault: string;
}

/** @throws Refusal NOT_ROOT; undefined where there is no job */
function readJobFile(root: string, id: string): { text: string; job: Job } | DamagedJob | undefined {
  if (!matches(jobIdPattern, id)) return undefined;
  try {
    const bytes = readFileSync(join(root, jobsFolder, id, 'job.json'));
    const job = readJob(bytes);
    return job.job === id
      ? { text: bytes.toString('utf8'), job }
      : { job: id, fault: 'it is of another job' };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'EACCES' || code === 'EPERM')
      throw new Refusal('NOT_ROOT', "the jobs are root's here: run it as root");
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    return { job: id, fault: visibleLine(message) };
  }
}

function folderNames(root: string): string[] {
  try {
    return readdirSync(join(root, jobsFolder));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT')
      throw new Refusal(
        'NO_STATUS',
        'no build agent has run here: build-infra doctor says what it waits for',
      );
    if (code === 'EACCES' || code === 'EPERM')
      throw new Refusal('NOT_ROOT', "the jobs are root's here: run it as root");
    throw error;
  }
}

export interface Wanted {
  component: string | undefined;
  kind: string | undefined;
  state: string | undefined;
  /** a day or an ISO 8601 time: jobs that were made then or later */
  since: string | undefined;
  /** so many, the newest of those that are meant */
  limit: string | undefined;
}

/** @throws Refusal BAD_COMMAND */
function filterOf({ component, kind, state, since, limit }: Wanted): (jobs: readonly Job[]) => Job[] {
  const isOne = (word: string, said: string | undefined, known: readonly string[]): void => {
    if (said !== undefined && !known.includes(said))
      throw new Refusal('BAD_COMMAND', `a ${word} is one of ${known.join(' ')}`);
  };
  isOne('state', state, jobStates);
  isOne('kind', kind, jobKinds);
  const from = since === undefined ? undefined : Date.parse(since);
  if (since !== undefined && (!/^\d{4}-\d{2}-\d{2}(?:T[\d:.]+Z)?$/.test(since) || Number.isNaN(from)))
    throw new Refusal('BAD_COMMAND', 'a time is a day, 2026-11-22, or 2026-11-22T10:00:00Z');
  if (limit !== undefined && !/^[1-9]\d{0,8}$/.test(limit))
    throw new Refusal('BAD_COMMAND', 'a limit is a number of jobs from 1');
  return (jobs) =>
    jobs
      .filter(
        (job) =>
          (component === undefined || job.component === component) &&
          (kind === undefined || job.kind === kind) &&
          (state === undefined || job.state === state) &&
          (from === undefined || Date.parse(job.created) >= from),
      )
      .sort((a, b) => b.number - a.number)
      .slice(0, limit === undefined ? undefined : Number(limit));
}

const moveWords = ({ from, to }: Move): string =>
  to === null ? 'out of every suite' : `from ${from} to ${to}`;

/**
 * Newest first; what cannot be read is named, whatever jobs are meant. @throws Refusal NO_STATUS, NOT_ROOT,
 * BAD_COMMAND
 */
export function listJobs(root: string, wanted: Wanted): { document: object; lines: string[] } {
  const filter = filterOf(wanted);
  const found = folderNames(root).flatMap((id) => readJobFile(root, id) ?? []);
  const all = found.flatMap((one) => ('text' in one ? [one.job] : []));
  const damaged = found.filter((one) => 'fault' in one);
  const jobs = filter(all);
  const named = jobs.map((job) => {
    const { kind, component: name, version, dists, state: is, created, ended, reason } = job;
    const command = orderedBy(job);
    return {
      job: job.job,
      kind,
      component: name,
      version,
      dists,
      state: is,
      created,
      ended,
      reason,
      move: moveOf(job) ?? null,
      command:
        command === undefined ? null : { line: command.line, signer: command.signer, signed: command.signed },
    };
  });
  const lines = named.map(({ job, kind, state: is, created, ended, reason, move, command }) =>
    [
      `${is.padEnd(8)} ${kind.padEnd(10)} ${job}`,
      ended ?? `since ${created}`,
      ...(move === null ? [] : [moveWords(move)]),
      ...(command === null ? [] : [`commanded by ${command.signer.name} ${command.signed}: ${command.line}`]),
      ...(reason === null ? [] : [`${reason.code} ${reason.detail}`]),
    ].join('  '),
  );
  if (lines.length === 0) lines.push(all.length === 0 ? 'no job yet' : `none of ${all.length} jobs is so`);
  return {
    document: { format: 'build-infra/job-list@1', jobs: named, damaged },
    lines: [...damaged.map(({ job, fault }) => `damaged  ${job}/job.json: ${fault}`), ...lines].map(
      visibleLine,
    ),
  };
}

function logsUrlOf(root: string): string | undefined {
  try {
    const { logsUrl } = JSON.parse(readFileSync(join(root, '/rw/config/build-infra/build.json'), 'utf8')) as {
      logsUrl?: unknown;
    };
    return typeof logsUrl === 'string' ? logsUrl : undefined;
  } catch {
    // Links are an extra: the paths are there without.
    return undefined;
  }
}

const withDist = ({ stage, dist }: Step): string => (dist === null ? stage : `${stage} ${dist}`);
const seconds = (from: string, to: string): number => (Date.parse(to) - Date.parse(from)) / 1000;
const fileLine = ({ name, size, sha256 }: HashedFile): string => `  ${sha256}  ${size}  ${name}`;

function stepLine(step: StepResult): string {
  const took = seconds(step.started, step.ended);
  const overhead =
    step.commandSeconds !== null ? ` (overhead ${(took - step.commandSeconds).toFixed(1)} s)` : '';
  return `  ${withDist(step)}: ${step.started} to ${step.ended}, ${took.toFixed(1)} s${overhead}`;
}

const commandLines = (head: string, { line, signer, signed, sha256 }: ObeyedCommand): string[] => [
  `${head.padEnd(15)}${line}`,
  `commanded by   ${signer.name} ${signer.fingerprint}, ${signed}`,
  `               command sha256:${sha256}`,
];

/** What it is made of: a tag and who signed it, or the command that a template was built by. */
function originLines(job: Job): string[] {
  if (job.kind === 'renewal') return ['renews         the signed Release of every suite, and nothing else'];
  if ('template' in job)
    return [
      `template       ${job.template.name} of ${job.template.release}, ${job.template.timestamp}`,
      ...commandLines('built by', job.template.command),
    ];
  const { rebuild, tag, tagObject, evidence } = job;
  return [
    ...(rebuild === undefined
      ? []
      : [
          `rebuild        number ${rebuild.number} of ${rebuild.of}`,
          ...commandLines('built by', rebuild.command),
        ]),
    `tag            ${tag}`,
    `tag object     ${tagObject}`,
    ...(evidence === null
      ? ['not verified yet']
      : [
          `commit         ${evidence.commit}`,
          `tree           ${evidence.tree}`,
          `tagger         ${evidence.tagger}`,
          ...evidence.signers.map(
            (signer) => `tag signed by  ${signer.name} ${signer.fingerprint}, ${signer.signed}`,
          ),
          `source         ${evidence.manifest.files} files, ${evidence.manifest.bytes} bytes, manifest sha256:${evidence.manifest.sha256}`,
        ]),
  ];
}

function changeLines(job: Job): string[] {
  const [move, command] = [moveOf(job), orderedBy(job)];
  if (move === undefined) return [];
  return [
    `moves          ${move.of}, ${moveWords(move)}`,
    ...(command === undefined ? [] : commandLines('promoted by', command)),
  ];
}

function linesOf(job: Job, logsUrl: string | undefined): string[] {
  const part = (head: string, lines: readonly string[]): string[] =>
    lines.length === 0 ? [] : [head, ...lines];
  return [
    `job            ${job.job}`,
    `kind           ${job.kind}`,
    `state          ${job.state}${job.reason === null ? '' : `: ${job.reason.code} ${job.reason.detail}`}`,
    `component      ${job.component} ${job.version}${job.url === '' ? '' : `, of ${job.url}`}`,
    `for            ${job.env}: ${job.dists.join(' ')}`,
    `made           ${job.created}${job.priority > 0 ? `, priority ${job.priority}` : ''}`,
    `ended          ${job.ended ?? 'not yet'}`,
    ...(job.cancelled === undefined ? [] : [`cancelled      ${job.cancelled}`]),
    ...changeLines(job),
    ...originLines(job),
    ...(job.configuration !== null
      ? [
          `configuration  sha256:${job.configuration.common}`,
          ...Object.entries(job.configuration.dists).map(
            ([dist, digest]) => `               ${dist} sha256:${digest}`,
          ),
        ]
      : []),
    ...part(
      'running',
      job.running.map((step) => `  ${withDist(step)} since ${step.started}`),
    ),
    ...part(
      'waiting',
      job.waiting.map(
        (chain) =>
          `  ${chain.dist !== null ? `${chain.dist}: ` : ''}${chain.code} ${chain.detail}, since ${chain.since}`,
      ),
    ),
    ...part(
      'given up',
      job.reasons.map((reason) => `  ${withDist(reason)}: ${reason.code} ${reason.detail}`),
    ),
    ...part('steps', job.finished.map(stepLine)),
    ...part(
      'logs',
      job.logs.map(
        (log) =>
          `  ${withDist(log)}: ${(logsUrl === undefined ? undefined : logLink(logsUrl, log.path, log.commit)) ?? log.path}  ${log.commit === null ? 'not published whole' : `commit ${log.commit}`}`,
      ),
    ),
    ...job.artifacts.flatMap((made) => part(`built for ${made.dist}`, made.files.map(fileLine))),
    ...job.uploaded.flatMap((upload) =>
      part(
        `read back from ${upload.url} ${upload.suite}, release ${upload.release}`,
        upload.files.map(fileLine),
      ),
    ),
    ...(job.switched ?? [])
      .filter(({ dist }) => !job.uploaded.some((upload) => upload.dist === dist))
      .flatMap((upload) =>
        part(
          `perhaps public, not read back from ${upload.url} ${upload.suite}, release ${upload.release}`,
          upload.files.map(fileLine),
        ),
      ),
  ];
}

/**
 * @returns the document as it stands on disk, and the same for a person. @throws Refusal UNKNOWN_JOB,
 * BAD_DOCUMENT, NO_STATUS, NOT_ROOT
 */
export function showJob(root: string, untrustedId: string): { text: string; lines: string[] } {
  const found = readJobFile(root, untrustedId);
  if (found !== undefined && 'fault' in found)
    throw new Refusal('BAD_DOCUMENT', `${found.job}/job.json is not a job of this version: ${found.fault}`);
  if (found !== undefined)
    return { text: found.text, lines: linesOf(found.job, logsUrlOf(root)).map(visibleLine) };
  const near = folderNames(root)
    .filter((id) => untrustedId !== '' && id.startsWith(untrustedId))
    .slice(0, 3);
  throw new Refusal(
    'UNKNOWN_JOB',
    near.length > 0
      ? `there is no such job; there is ${near.join(', ')}`
      : 'there is no such job: build-infra jobs lists them',
  );
}
