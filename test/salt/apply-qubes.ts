// SPDX-License-Identifier: GPL-2.0-or-later
// Real salt-calls as the ids of a rig, each inside a folder that looks like the root of its qube
// (stand-ins/qube_root.py). Several side by side.
import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { chmodSync, lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import {
  cleanEnvironment,
  run,
  salted,
  saltPython,
  top,
  type Applied,
  type Rendered,
  type Returned,
  type Rig,
} from './rig.js';

const standIns = join(top, 'test/salt/stand-ins');
const isRoot = process.getuid?.() === 0;
/** Options for every test that applies states. */
export const applied: { skip: string | false } = {
  skip:
    salted.skip !== false
      ? salted.skip
      : isRoot
        ? false
        : 'it makes namespaces as root: start it with "node test/run.mjs salt/apply"',
};

interface Ending {
  teardown: (fn: () => void) => void;
}
export interface Output {
  status: number;
  stdout: string;
  stderr: string;
}
export interface Made {
  kind: 'file' | 'folder' | 'link' | 'other';
  mode: string;
  uid: number;
  gid: number;
  content: string;
}

export class Qubes {
  readonly folder: string;
  /** dom0's VMs, for the stand-ins of qvm */
  readonly machine: string;

  constructor(
    t: Ending,
    private readonly rig: Rig,
  ) {
    this.folder = join(rig.folder, 'qubes');
    this.machine = join(rig.folder, 'machine.json');
    mkdirSync(this.folder);
    // Every account of a qube may pass, as it may through a real root.
    for (const path of [rig.folder, this.folder]) chmodSync(path, 0o755);
    t.teardown(() => rmSync(this.folder, { recursive: true, force: true }));
  }

  root(id: string): string {
    return join(this.folder, id);
  }

  /**
   * Programs inside roots, under a umask that hides every mode that a state forgets to set; the jobs of a
   * round side by side. argv null: the root is only laid out.
   */
  async rounds(rounds: { root: string; argv: string[] | null }[][]): Promise<Output[][]> {
    const env = cleanEnvironment({
      PATH: `${join(standIns, 'bin')}:/usr/sbin:/usr/bin:/sbin:/bin`,
      BUILD_INFRA_MACHINE: this.machine,
      BUILD_INFRA_NODE: process.execPath,
      BUILD_INFRA_PROGRAM: join(top, 'dist/build-infra.mjs'),
    });
    const see = [
      top,
      ...(process.execPath.startsWith('/usr/bin/') || process.execPath.startsWith(`${top}/`)
        ? []
        : [process.execPath]),
    ];
    const input = JSON.stringify({
      see,
      write: [this.rig.folder],
      rounds: rounds.map((jobs) => jobs.map((job) => ({ ...job, env, 'strict-umask': true }))),
    });
    const done = await run([saltPython, join(standIns, 'qube_root.py')], { input });
    if (done.status !== 0)
      throw new Error(`qube_root.py ended with ${done.status}: ${done.stderr.slice(-4000)}`);
    return JSON.parse(done.stdout) as Output[][];
  }

  async layOut(...ids: string[]): Promise<void> {
    await this.rounds([ids.map((id) => ({ root: this.root(id), argv: null }))]);
  }

  /**
   * The same salt-call as each id, `times` times one after the other; what each time said. Two ids at once.
   */
  async call(
    ids: string[],
    args: string[] = ['state.highstate'],
    times = 1,
    grains?: Record<string, unknown>,
  ): Promise<Map<string, Applied>[]> {
    // dom0 makes its own pillar, in the run.
    const others = ids.filter((id) => id !== 'dom0');
    const rendered =
      others.length === 0
        ? new Map<string, Rendered>()
        : await this.rig.render(others, { want: [], ...(grains === undefined ? {} : { grains }) });
    const pairs: string[][] = [];
    for (let at = 0; at < ids.length; at += 2) pairs.push(ids.slice(at, at + 2));
    const rounds = Array.from({ length: times }, () => pairs)
      .flat()
      .map((pair) =>
        pair.map((id) => {
          if (id === 'dom0')
            return { id, root: this.root(id), argv: this.rig.saltCall(join(this.rig.folder, 'dom0'), args) };
          const found = rendered.get(id);
          if (found === undefined || found.errors.length > 0)
            throw new Error(`the pillar of ${id}: ${found?.errors.join('\n') ?? 'nothing'}`);
          return { id, root: this.root(id), argv: this.rig.saltCall(found.config, args) };
        }),
      );
    const outputs = await this.rounds(rounds);
    return Array.from(
      { length: times },
      (_, time) =>
        new Map(
          rounds.slice(time * pairs.length, (time + 1) * pairs.length).flatMap((jobs, pair) =>
            jobs.map(({ id }, job) => {
              const output = outputs[time * pairs.length + pair]?.[job] as Output;
              return [id, understood(output)] as [string, Applied];
            }),
          ),
        ),
    );
  }
}

function understood({ status, stdout, stderr }: Output): Applied {
  let local: unknown;
  try {
    local = (JSON.parse(stdout) as { local: unknown }).local;
  } catch {
    local = [`${stdout}${stderr}`.trim()];
  }
  if (local === null || typeof local !== 'object' || Array.isArray(local))
    return { status, states: {}, errors: [local].flat().map(String), stderr };
  return { status, states: local as Record<string, Returned>, errors: [], stderr };
}

/** The ids of what a run failed at, with why; and of what it changed. */
export function failures(done: Applied | undefined): string[] {
  if (done === undefined) return ['did not run'];
  return [
    ...done.errors,
    ...Object.values(done.states)
      .filter(({ result }) => result !== true)
      .map((state) => `${state.__id__}: ${state.comment}`),
  ];
}
export function changes(done: Applied | undefined): string[] {
  return Object.values(done?.states ?? {})
    .filter((state) => Object.keys(state.changes).length > 0)
    .map((state) => state.__id__ ?? state.name)
    .sort();
}

const octal = (mode: number): string => (mode & 0o7777).toString(8).padStart(4, '0');
/** Everything below a folder by its path, as an absolute one. */
export function contents(root: string, below = ''): Map<string, Made> {
  const found = new Map<string, Made>();
  for (const name of readdirSync(join(root, below)).sort()) {
    const path = `${below}/${name}`;
    const stat = lstatSync(join(root, path));
    const kind = stat.isFile()
      ? 'file'
      : stat.isDirectory()
        ? 'folder'
        : stat.isSymbolicLink()
          ? 'link'
          : 'other';
    const content =
      kind === 'file'
        ? createHash('sha256')
            .update(readFileSync(join(root, path)))
            .digest('hex')
        : kind === 'link'
          ? readlinkSync(join(root, path))
          : '';
    found.set(path, {
      kind,
      mode: kind === 'link' ? '' : octal(stat.mode),
      uid: stat.uid,
      gid: stat.gid,
      content,
    });
    if (kind === 'folder') for (const [inner, made] of contents(root, path)) found.set(inner, made);
  }
  return found;
}

/** What is there now and was not, or not so, before. */
export function made(before: Map<string, Made>, after: Map<string, Made>): Map<string, Made> {
  return new Map(
    [...after].filter(([path, now]) => JSON.stringify(now) !== JSON.stringify(before.get(path))),
  );
}

/**
 * Entries of one root into another with all their attributes, as a VM has what its template's root has, or
 * keeps its private volume.
 */
export function carry(from: string, to: string, paths: Iterable<string>): void {
  mkdirSync(to, { recursive: true });
  const there = [...paths].map((path) => `.${path}`);
  if (there.length > 0) execFileSync('cp', ['-a', '--parents', ...there, to], { cwd: from });
}
/** What is on a VM's own volume and outlives its root. */
export const ownVolume = ['/rw', '/home', '/usr/local'];
