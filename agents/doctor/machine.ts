// SPDX-License-Identifier: GPL-2.0-or-later
// The VM as the doctor sees it. It looks and never touches: no file is written, no agent is called, no
// network is used (but by online.ts).
import { lstatSync, readdirSync, readFileSync, statfsSync, type Stats } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { runProcess } from '../shared/programs/bounded-process.js';
import type { Account } from '../shared/formats/manifest.js';

/** The accounts of every Qubes VM, by number. */
export const ids: Record<Account, number> = { root: 0, qubes: 98, user: 1000 };
export const accountOf = (id: number): string =>
  Object.entries(ids).find(([, number]) => number === id)?.[0] ?? String(id);

export interface Ran {
  /** exit status; 255 where it did not start, was killed, or took too long */
  status: number;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  /** as this account, where the doctor is root and may choose */
  account: 'root' | 'user';
  env?: Record<string, string>;
  timeoutMs?: number;
}

export interface Machine {
  /** prefix of all paths; '' in a VM */
  root: string;
  name: string;
  /** who runs the doctor */
  uid: number;
  nodeVersion: string;
  now: () => Date;
  /** bytes of the file system that holds this path */
  space: (path: string) => { free: number; size: number };
  /** @throws NotAllowed: who runs the doctor cannot become that account */
  run: (argv: readonly string[], options: RunOptions) => Promise<Ran>;
}

const outputLimitBytes = 1024 * 1024;

/** A program with an environment of our own, the whole group killed after its time. Never rejects. */
export async function runProgram(argv: readonly string[], options: RunOptions, uid: number): Promise<Ran> {
  const account = ids[options.account];
  const home = options.account === 'root' ? '/root' : '/home/user';
  const { status, stdout, stderr } = await runProcess({
    program: argv[0] as string,
    args: argv.slice(1),
    env: { PATH: '/usr/bin:/bin:/usr/sbin:/sbin', LC_ALL: 'C', HOME: home, ...options.env },
    limitBytes: outputLimitBytes,
    timeoutMs: options.timeoutMs ?? 20_000,
    ...(uid === 0 && account !== 0 ? { account } : {}),
  });
  return { status: status === -1 ? 255 : status, stdout: stdout.toString('latin1'), stderr };
}

/** @param root prefix for all paths, as BUILD_INFRA_ROOT of the agents */
export function thisMachine(root: string): Machine {
  const uid = process.geteuid?.() ?? 0;
  return {
    root,
    uid,
    name: hostname(),
    nodeVersion: process.versions.node,
    now: () => new Date(),
    space: (path) => {
      const about = statfsSync(join(root, path));
      return { free: about.bavail * about.bsize, size: about.blocks * about.bsize };
    },
    run: async (argv, options) => {
      if (uid !== 0 && uid !== ids[options.account]) throw new NotAllowed(`${argv[0]} as ${options.account}`);
      return await runProgram(argv, options, uid);
    },
  };
}

export const at = (machine: Machine, path: string): string => join(machine.root, path);

/** This account may not look there: root may. */
export class NotAllowed extends Error {
  override readonly name = 'NotAllowed';
  constructor(readonly path: string) {
    super(path);
  }
}

function looking<T>(path: string, look: () => T): T | undefined {
  try {
    return look();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    if (['ENOENT', 'ENOTDIR'].includes(code)) return undefined;
    if (['EACCES', 'EPERM'].includes(code)) throw new NotAllowed(path);
    throw error;
  }
}

/** What lies there, a link not followed; undefined where nothing does. @throws NotAllowed */
export function look(machine: Machine, path: string): Stats | undefined {
  return looking(path, () => lstatSync(at(machine, path)));
}

/** A plain file's bytes, undefined where there is none. @throws NotAllowed */
export function read(machine: Machine, path: string): Buffer | undefined {
  return looking(path, () =>
    lstatSync(at(machine, path)).isFile() ? readFileSync(at(machine, path)) : undefined,
  );
}

export const readText = (machine: Machine, path: string): string | undefined =>
  read(machine, path)?.toString('utf8');

/** Names in a folder, sorted; none where there is no such folder. @throws NotAllowed */
export function list(machine: Machine, path: string): string[] {
  return looking(path, () => readdirSync(at(machine, path)).sort()) ?? [];
}
