// SPDX-License-Identifier: GPL-2.0-or-later
// The page on this VM's disk: each time a folder of its own, and then one rename of a symlink. What did not
// change is a link to the file as it was.
import { readdirSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { link, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { makeFolder } from '../../shared/durable-files.js';
import type { PageFile } from './page-files.js';

export interface PageGeneration {
  /** its name here and on the server: `<number>-<12 hex>`, ever higher */
  release: string;
  folder: string;
}

const kept = 3;
/** files that are written side by side */
const atOnce = 32;
const releasePattern = /^([0-9]{6,12})-[0-9a-f]{12}$/;
const numberOf = (release: string): number => Number(releasePattern.exec(release)?.[1] ?? 0);

export class PageGenerations {
  readonly #folder: string;
  /**
   * what this process made last; after a start nothing of before is linked, since a power cut may have left
   * it empty
   */
  #last: PageGeneration | undefined;

  /** @param folder gets `generations/` and the symlink `current` */
  constructor(folder: string) {
    this.#folder = folder;
    makeFolder(join(folder, 'generations'));
    for (const name of readdirSync(join(folder, 'generations')))
      if (name.startsWith('.')) rmSync(join(folder, 'generations', name), { recursive: true, force: true });
  }

  get last(): PageGeneration | undefined {
    return this.#last;
  }

  /**
   * Also while other work goes on: it waits between files.
   * @param inUse a generation that is not to be removed, besides the last ones
   * @throws what the file system says; readers have the last page then
   */
  async make(
    files: Iterable<PageFile>,
    now: Date,
    inUse: () => string | undefined = () => undefined,
  ): Promise<PageGeneration> {
    const generations = join(this.#folder, 'generations');
    const names = readdirSync(generations).filter((name) => releasePattern.test(name));
    // Seconds since 1970, so that a VM that was made anew goes on above what its server has.
    const number = Math.max(Math.floor(now.getTime() / 1000), ...names.map((name) => numberOf(name) + 1));
    const release = `${number}-${randomBytes(6).toString('hex')}`;
    const part = join(generations, `.${release}`);
    const folders = new Map<string, Promise<unknown>>();
    const lay = async ({ path, content }: PageFile): Promise<void> => {
      const target = join(part, path);
      const folder = dirname(target);
      if (!folders.has(folder)) folders.set(folder, mkdir(folder, { recursive: true }));
      await folders.get(folder);
      if (content !== undefined) await writeFile(target, content);
      else await link(join(this.#last?.folder ?? '', path), target);
    };
    let under: Promise<void>[] = [];
    try {
      for (const file of files) {
        under.push(lay(file));
        if (under.length < atOnce) continue;
        await Promise.all(under);
        under = [];
      }
      await Promise.all(under);
      await rename(part, join(generations, release));
    } catch (error) {
      await Promise.allSettled(under);
      await rm(part, { recursive: true, force: true });
      throw error;
    }
    this.#switchTo(release);
    this.#last = { release, folder: join(generations, release) };
    const old = names.sort((a, b) => numberOf(a) - numberOf(b)).slice(0, -(kept - 1));
    for (const name of old)
      if (name !== inUse()) await rm(join(generations, name), { recursive: true, force: true });
    return this.#last;
  }

  #switchTo(release: string): void {
    const next = join(this.#folder, '.next');
    rmSync(next, { force: true });
    symlinkSync(join('generations', release), next);
    renameSync(next, join(this.#folder, 'current'));
  }
}
