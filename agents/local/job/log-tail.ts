// SPDX-License-Identifier: GPL-2.0-or-later
// The running logs as build-logs received them, read from that VM's tree on this host.
import { closeSync, openSync, readSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

export class LogTail {
  readonly #folder: string;
  readonly #read = new Map<string, { bytes: number; partial: string }>();
  #timer: NodeJS.Timeout | undefined;

  /** @param root of the logs VM */
  constructor(root: string) {
    this.#folder = join(root, 'var/lib/build-infra/logs');
  }

  /** Calls back for each new line. @param fromStart also what is there already */
  follow(onLine: (path: string, line: string) => void, fromStart = false): void {
    if (!fromStart) this.#scan(() => undefined);
    this.#timer = setInterval(() => this.#scan(onLine), 250);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #scan(onLine: (path: string, line: string) => void): void {
    for (const path of this.#logs()) {
      const full = join(this.#folder, path);
      const state = this.#read.get(path) ?? { bytes: 0, partial: '' };
      this.#read.set(path, state);
      const size = statSync(full, { throwIfNoEntry: false })?.size ?? 0;
      if (size <= state.bytes) continue;
      const chunk = Buffer.alloc(Math.min(size - state.bytes, 4 * 1024 * 1024));
      const fd = openSync(full, 'r');
      const got = readSync(fd, chunk, 0, chunk.length, state.bytes);
      closeSync(fd);
      state.bytes += got;
      const lines = (state.partial + chunk.subarray(0, got).toString('latin1')).split('\n');
      state.partial = lines.pop() as string;
      for (const line of lines) onLine(path, line);
    }
  }

  #logs(): string[] {
    const below = (folder: string): string[] => {
      try {
        return readdirSync(join(this.#folder, folder));
      } catch {
        return [];
      }
    };
    return below('.')
      .flatMap((vm) =>
        below(vm).flatMap((day) =>
          below(join(vm, day))
            .filter((name) => /^log_[0-9_.-]+$/.test(name))
            .map((name) => `${vm}/${day}/${name}`),
        ),
      )
      .sort();
  }
}
