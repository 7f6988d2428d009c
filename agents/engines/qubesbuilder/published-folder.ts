// SPDX-License-Identifier: GPL-2.0-or-later
// The builder's repositories, which all jobs of this VM share. It works on a copy that becomes the next state
// by a rename: a kill in its middle leaves neither a damaged database nor a lock.
import { chmodSync, copyFileSync, existsSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder, syncFolder } from '../../shared/durable-files.js';
import type { HashedFile } from '../../shared/formats/intent.js';
import { Refusal } from '../refusals.js';
import { syncBelow } from '../../shared/files/durable-folder.js';
import { hashFile } from '../../shared/files/frozen-files.js';
import { endGroup, runProgram, startProgram } from '../../shared/programs/program.js';

const copyMs = 3600_000;
const lockSeconds = 3600;
/**
 * Written in place by reprepro and createrepo_c; everything else is a package, which is never written twice.
 */
const rewritten = ['db', 'conf', 'dists', 'repodata'];

export class PublishedFolder {
  readonly folder: string;
  readonly next: string;
  readonly #old: string;

  constructor(folder: string) {
    this.folder = join(folder, 'repository-publish');
    this.next = `${this.folder}.next`;
    this.#old = `${this.folder}.old`;
  }

  /** A kill between two renames is made good. */
  repair(): void {
    if (!existsSync(this.folder) && existsSync(this.#old)) renameSync(this.#old, this.folder);
    makeFolder(this.folder);
    for (const left of [this.#old, this.next]) rmSync(left, { recursive: true, force: true });
  }

  async copy(): Promise<void> {
    await runProgram(['cp', '--archive', '--link', '--', this.folder, this.next], { timeoutMs: copyMs });
    for (const entry of readdirSync(this.folder, { withFileTypes: true, recursive: true })) {
      if (!entry.isDirectory() || !rewritten.includes(entry.name)) continue;
      const from = join(entry.parentPath, entry.name);
      const to = join(this.next, from.slice(this.folder.length));
      rmSync(to, { recursive: true, force: true });
      await runProgram(['cp', '--archive', '--', from, to], { timeoutMs: copyMs });
    }
  }

  /** @param name below the next state @param file what stands there then */
  replace(name: string, file: string): void {
    const to = join(this.next, name);
    rmSync(to, { force: true });
    copyFileSync(file, to);
    chmodSync(to, 0o644);
  }

  async become(): Promise<void> {
    await syncBelow(this.next);
    renameSync(this.folder, this.#old);
    renameSync(this.next, this.folder);
    syncFolder(join(this.folder, '..'));
    rmSync(this.#old, { recursive: true, force: true });
  }

  /**
   * In one distribution's repositories a file name stands for one content. @param below what is compared.
   * @throws Refusal ALREADY_PUBLISHED
   */
  refuseOtherBytes(files: readonly HashedFile[], below: string): void {
    const folder = join(this.folder, below);
    const wanted = new Map(files.map((file) => [file.name, file.sha256]));
    for (const entry of existsSync(folder)
      ? readdirSync(folder, { withFileTypes: true, recursive: true })
      : []) {
      const sha256 = entry.isFile() ? wanted.get(entry.name) : undefined;
      if (sha256 !== undefined && hashFile(entry.parentPath, entry.name).sha256 !== sha256)
        throw new Refusal(
          'ALREADY_PUBLISHED',
          `${entry.name} is published with other bytes; a version is published once`,
        );
    }
  }
}

/**
 * Holds the lock of `folder` while `act` runs; it ends with this process. @throws Refusal PUBLISH_FAILED when
 * others hold it for an hour
 */
export async function whileLocked<T>(folder: string, act: () => Promise<T>): Promise<T> {
  const holder = startProgram(
    [
      'flock',
      '--exclusive',
      '--timeout',
      String(lockSeconds),
      join(folder, 'lock'),
      'sh',
      '-c',
      'echo locked; exec cat',
    ],
    { stdin: 'pipe' },
  );
  holder.stderr.resume();
  const locked = await Promise.race([
    new Promise<boolean>((resolve) => holder.stdout.once('data', () => resolve(true))),
    holder.ended.then(() => false),
  ]);
  if (!locked) throw new Refusal('PUBLISH_FAILED', `${folder} was in use for ${lockSeconds} s`);
  try {
    return await act();
  } finally {
    endGroup(holder.pid);
    await holder.ended;
  }
}
