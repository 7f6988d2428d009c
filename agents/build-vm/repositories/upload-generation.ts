// SPDX-License-Identifier: GPL-2.0-or-later
// Puts a generation on the server: into a folder of its own, packages before metadata, then one rename of a
// symlink. A client sees the old repository or the new one.
import { posix } from 'node:path';
import type { HashedFile } from '../../shared/formats/intent.js';
import { readDestination } from '../../shared/formats/upload-url.js';
import { AnyRefusal, printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import { runLogged, type LineSink } from '../../shared/programs/logged-program.js';
import { ProgramFailed, runProgram } from '../../shared/programs/program.js';
import type { Generation, Generations } from './repository-generations.js';

export interface UploadOptions {
  /**
   * ssh://user@host[:port]/path, as config.ts checks it, and the distribution; the path becomes a symlink
   * into `<path>.releases/`
   */
  upload: string;
  sshConfig: string;
  /** of the generation: what nothing on the server refers to yet; pool unless told */
  packages?: readonly string[];
  /** of the generation: what refers to packages; dists unless told */
  metadata?: readonly string[];
  /** for each of the steps; an hour unless told */
  timeoutMs?: number | undefined;
  /**
   * called before the server is told to switch: from then on nobody here knows what readers see, until it
   * says so. What it throws ends the upload.
   */
  beforeSwitch?: () => void;
}

const readBackAttempts = 3;
const readBackPauseMs = 2000;

/** A reader may be a moment behind. @throws what the last attempt throws */
export async function tryAgain<T>(log: LineSink, readBack: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await readBack();
    } catch (error) {
      if (!(error instanceof AnyRefusal) || attempt === readBackAttempts) throw error;
      log.say(`${error.message}; once more`);
      await new Promise((resolve) => setTimeout(resolve, readBackPauseMs));
    }
  }
}

/** Tor has been this slow. */
const slowestBytesInMs = 50;

/** How long these files may take, in ms: ten minutes, and more the larger they are. */
export function transferMs(files: readonly HashedFile[]): number {
  return 600_000 + files.reduce((sum, file) => sum + file.size, 0) / slowestBytesInMs;
}

/** A program that talks to the world: no end within its time is the world's fault. @throws Refusal `code` */
export function orTimedOut(
  code: 'READ_BACK_FAILED' | 'UPLOAD_FAILED',
  label: string,
): (error: unknown) => never {
  return (error) => {
    if (error instanceof Refusal && error.code === 'TIMED_OUT')
      throw new Refusal(code, `${label}: ${error.detail}`);
    throw error;
  };
}

const uploadMs = 3600_000;
const silenceSeconds = 300;
const keptOnServer = 5;

const askMs = 120_000;

/** The release that the server's link names; undefined where there is none. @throws Refusal UPLOAD_FAILED */
export async function releaseOnServer({
  upload,
  sshConfig,
}: Pick<UploadOptions, 'upload' | 'sshConfig'>): Promise<string | undefined> {
  const { login, port, path } = readDestination(upload);
  const argv = [
    'ssh',
    '-F',
    sshConfig,
    '-o',
    'BatchMode=yes',
    ...(port === '' ? [] : ['-p', port]),
    login,
    `readlink ${path} || true`,
  ];
  const untrusted = await runProgram(argv, { timeoutMs: askMs, limitBytes: 4096 }).catch((error: unknown) => {
    if (error instanceof ProgramFailed || error instanceof AnyRefusal)
      throw new Refusal(
        'UPLOAD_FAILED',
        `upload: ask ${login} for ${path}: ${printable(error instanceof AnyRefusal ? error.detail : error.complaint)}`,
      );
    throw error;
  });
  return /^[^/\n]+\.releases\/([0-9]{6}-[0-9a-f]{12})\n$/.exec(untrusted.toString('latin1'))?.[1];
}

/**
 * Before a job's change to a repository is made: what the world sees is known then, or this job's own is what
 * nobody knows of. @throws as releaseOnServer
 */
export async function settle(
  generations: Generations,
  job: string,
  publicKey: string,
  to: Pick<UploadOptions, 'upload' | 'sshConfig'>,
  log: LineSink,
): Promise<void> {
  await generations.settle(job, publicKey, () => releaseOnServer(to), log);
}

/**
 * Uploads and switches to it, and leaves word of that: first the job's document, then the repository's note,
 * then the server's link.
 * @param note durable when it returns; what it throws ends the upload before anything has changed for readers
 * @throws Refusal UPLOAD_FAILED: readers have the old one, or the new one
 */
export async function publishGeneration(
  generations: Generations,
  generation: Generation,
  note: () => void,
  options: Omit<UploadOptions, 'beforeSwitch'>,
  log: LineSink,
): Promise<void> {
  const beforeSwitch = (): void => {
    note();
    generations.switching(generation);
  };
  await uploadGeneration(generation, { ...options, beforeSwitch }, log);
  generations.switched(generation);
}

/**
 * @throws Refusal UPLOAD_FAILED: nothing has changed for readers then, unless the connection broke in the
 * last step
 */
export async function uploadGeneration(
  generation: Pick<Generation, 'release' | 'folder'> & Partial<Pick<Generation, 'publicKeyName'>>,
  options: UploadOptions,
  log: LineSink,
): Promise<void> {
  const { upload, sshConfig, packages = ['pool'], metadata = ['dists'], timeoutMs = uploadMs } = options;
  const { login, port, path } = readDestination(upload);
  const ssh = ['ssh', '-F', sshConfig, '-o', 'BatchMode=yes', ...(port === '' ? [] : ['-p', port])];
  const releases = `${path}.releases`;
  const name = posix.basename(path);
  const target = `${releases}/${generation.release}`;
  const run = async (argv: string[], label: string): Promise<void> => {
    const status = await runLogged(argv, log, { timeoutMs, label }).catch(orTimedOut('UPLOAD_FAILED', label));
    if (status !== 0) throw new Refusal('UPLOAD_FAILED', `${label}: ended with ${status}`);
  };
  // The remote shell reads these words; config.ts allows no character in `path` that it could read as
  // anything but itself.
  const remote = (command: string, label: string): Promise<void> => run([...ssh, login, command], label);
  await remote(`mkdir -p ${releases}/.part-${generation.release}`, `upload: make ${releases} on ${login}`);
  const rsync = (sources: readonly string[], label: string): Promise<void> =>
    run(
      [
        'rsync',
        '--archive',
        '--relative',
        '--hard-links',
        '--no-owner',
        '--no-group',
        '--chmod=D755,F644',
        '--delete',
        '--partial',
        `--timeout=${silenceSeconds}`,
        '--link-dest',
        path,
        '--rsh',
        ssh.join(' '),
        ...sources.map((source) => `${generation.folder}/./${source}`),
        `${login}:${releases}/.part-${generation.release}/`,
      ],
      label,
    );
  await rsync(packages, 'upload: packages');
  await rsync(
    [...metadata, ...(generation.publicKeyName === undefined ? [] : [generation.publicKeyName])],
    'upload: metadata',
  );
  options.beforeSwitch?.();
  await remote(
    `set -e; if [ ! -d ${target} ]; then mv -T ${releases}/.part-${generation.release} ${target}; else rm -rf ${releases}/.part-${generation.release}; fi; ` +
      `if [ -d ${path} ] && [ ! -L ${path} ]; then rmdir ${path}; fi; ln -sfn ${name}.releases/${generation.release} ${releases}/.next; mv -T ${releases}/.next ${path}; ` +
      // Old generations stay for clients in the middle of a download; their packages are links, so they cost
      // little.
      `ls -1 ${releases} | grep -E '^[0-9]{6,12}-[0-9a-f]{12}$' | grep -vx ${generation.release} | sort -n | head -n -${keptOnServer - 1} | while read -r old; do rm -rf ${releases}/$old; done; ` +
      // What a broken-off upload left.
      `find ${releases} -maxdepth 1 -name '.part-*' -mtime +1 -exec rm -rf {} +`,
    `upload: switch ${path} to ${generation.release}`,
  );
}
