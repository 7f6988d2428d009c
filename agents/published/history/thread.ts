// SPDX-License-Identifier: GPL-2.0-or-later
// A thread that reads ahead: commits and their signatures, what each changed, and the new versions of their
// files; while the main thread judges what came before. Both ends are here: Node loads this module as the
// thread's own, or the one program that everything is bundled into.
import { once } from 'node:events';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import type { BadFolder } from './tree-walk.js';
import { ObjectReader, ReadingEnded, type Pipes } from './objects.js';
import { QuickSignatures, type QuickKey } from './quick-signatures.js';
import { readCommit, type ReadCommit } from './read-commit.js';
import type { PlacedChange } from './versions.js';
import { WindowFiles } from './window-files.js';

/** What fits into a receipt, and so the largest commit that a keys VM ever took. */
export const commitLimitBytes = 4 * 1024 * 1024;
/** Commits read and judged at once: so many, or those that have so many bytes, and one more. */
const windowCommits = 128;
const windowCommitBytes = 8 * 1024 * 1024;
/** Of large ones fewer are asked for: those that do not fit are asked for again. */
const windowLargeCommits = 8;
/** Of files in a window. */
const windowBytes = 24 * 1024 * 1024;

export interface ReadChange extends PlacedChange {
  body?: Buffer;
}

export interface ReadWindow {
  commits: { commit: ReadCommit; changes: ReadChange[]; bad: BadFolder[] }[];
  /** what was read for it */
  objects: number;
  bytes: number;
}

/** What the thread is given to do. */
export interface Reading {
  pipes: Pipes;
  /** oldest first */
  ids: readonly string[];
  keys: readonly QuickKey[];
  /** the most that it may read */
  limits: { objects: number; bytes: number };
}

export interface Shared {
  /** two windows' files, one being judged while the other is read */
  memory: [SharedArrayBuffer, SharedArrayBuffer];
  /** how many windows are judged */
  judged: SharedArrayBuffer;
}

/** JSON of a ReadWindow; or the end: all is read; a limit is met; git ended, or answered something else. */
export type Said =
  { window: string } | { end: 'done' | 'objects' | 'bytes' | 'git'; why?: string | undefined };

const name = 'build-infra audit: reading';

/**
 * Of threads that have ended: malloc gives memory that was used and freed only after it has filled it with
 * zeros.
 */
const idle: Shared['memory'][] = [];

export class ReadingThread {
  readonly #shared: Shared = {
    memory: idle.pop() ?? [new SharedArrayBuffer(windowBytes), new SharedArrayBuffer(windowBytes)],
    judged: new SharedArrayBuffer(4),
  };
  readonly #worker = new Worker(new URL(import.meta.url), {
    name,
    workerData: { name, shared: this.#shared },
    execArgv: [],
    env: {},
    trackUnmanagedFds: false,
    resourceLimits: { maxYoungGenerationSizeMb: 12 },
  });

  constructor() {
    // Nobody waits for it before there is something to read.
    this.#worker.unref();
    this.#worker.on('error', () => undefined);
  }

  /**
   * A window's bodies are good until the next one is asked for.
   * @throws what `onEnd` makes of an end before all is read, or at it
   */
  async *windows(
    reading: Reading,
    onEnd: (end: Exclude<Said, { window: string }>) => Promise<void>,
  ): AsyncGenerator<ReadWindow> {
    const worker = this.#worker;
    const said: (Said | Error)[] = [];
    let onSaid = (): void => undefined;
    worker.on('message', (one: Said) => {
      said.push(one);
      onSaid();
    });
    worker.once('error', (error) => {
      said.push(error);
      onSaid();
    });
    worker.ref();
    worker.postMessage(reading);
    const memory = this.#shared.memory.map((part) => Buffer.from(part)) as [Buffer, Buffer];
    const judged = new Int32Array(this.#shared.judged);
    for (let n = 0; ; n++) {
      if (said.length === 0) await new Promise<void>((resolve) => (onSaid = resolve));
      const one = said.shift() as Said | Error;
      if (one instanceof Error) throw one;
      if (!('window' in one)) return await onEnd(one);
      const window = JSON.parse(one.window) as ReadWindow;
      const part = memory[n % 2] as Buffer;
      for (const { changes } of window.commits)
        for (const change of changes)
          if (change.size !== undefined)
            change.body = part.subarray(change.at, (change.at as number) + change.size);
      yield window;
      Atomics.store(judged, 0, n + 1);
      Atomics.notify(judged, 0);
    }
  }

  /** Once, after git has ended: the thread may be waiting for it. */
  async end(): Promise<void> {
    await this.#worker.terminate();
    idle.push(this.#shared.memory);
  }
}

/** What the thread does; a test calls it in its own. */
export function readWindows(
  { memory, judged }: Shared,
  { pipes, ids, keys, limits }: Reading,
  say: (said: Said) => void,
): void {
  const left = { ...limits };
  const spend = (what: 'objects' | 'bytes', count: number): void => {
    if ((left[what] -= count) < 0) throw new LimitMet(what);
  };
  const objects = new ObjectReader(pipes, spend);
  try {
    const signatures = new QuickSignatures(keys);
    const files = new WindowFiles(objects);
    const memories = memory.map((part) => Buffer.from(part)) as [Buffer, Buffer];
    const done = new Int32Array(judged);
    let wanted = windowCommits;
    for (let n = 0, next = 0; next < ids.length; n++) {
      const before = { ...left };
      const commits: ReadWindow['commits'] = [];
      let bytes = 0;
      const here = ids.slice(next, next + wanted);
      objects.readAll(here, 'commit', commitLimitBytes, (_, body) => {
        if (bytes >= windowCommitBytes) return;
        if (typeof body !== 'number') bytes += body.length;
        commits.push({
          commit: typeof body === 'number' ? { tooLarge: body, parents: [] } : readCommit(body, signatures),
          changes: [],
          bad: [],
        });
      });
      next += commits.length;
      wanted = bytes < windowCommitBytes ? windowCommits : windowLargeCommits;
      for (let seen = Atomics.load(done, 0); seen < n - 1; seen = Atomics.load(done, 0))
        Atomics.wait(done, 0, seen);
      files.read(here, commits, memories[n % 2] as Buffer);
      const window: ReadWindow = {
        commits,
        objects: before.objects - left.objects,
        bytes: before.bytes - left.bytes,
      };
      say({ window: JSON.stringify(window) });
    }
    objects.finish();
    say({ end: 'done' });
  } catch (error) {
    if (error instanceof LimitMet) say({ end: error.what });
    else if (error instanceof ReadingEnded) say({ end: 'git', why: error.unreadable });
    else throw error;
  } finally {
    objects.close();
  }
}

class LimitMet extends Error {
  override readonly name = 'LimitMet';
  readonly what: 'objects' | 'bytes';

  constructor(what: 'objects' | 'bytes') {
    super(what);
    this.what = what;
  }
}

const given = workerData as { name?: unknown; shared: Shared } | undefined;
if (!isMainThread && given?.name === name && parentPort !== null) {
  const port = parentPort;
  void once(port, 'message').then(([reading]) =>
    readWindows(given.shared, reading as Reading, (said) => port.postMessage(said)),
  );
}
