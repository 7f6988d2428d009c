// SPDX-License-Identifier: GPL-2.0-or-later
// What other components of a distribution are built with: each one's newest packages that were published
// here, where the builder looks for what it built before. Its own folder for that begins empty with each job,
// so that nothing unpublished is ever built against.
import { cpSync, existsSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder } from '../../shared/durable-files.js';
import type { EngineJob } from '../contract.js';
import type { BuilderOptions } from './options.js';

export class Neighbours {
  readonly #folder: string;
  readonly #options: Pick<BuilderOptions, 'distribution' | 'component'>;

  constructor(job: Pick<EngineJob, 'cache'>, options: Pick<BuilderOptions, 'distribution' | 'component'>) {
    this.#folder = join(job.cache, 'qubesbuilderv2-published', options.distribution);
    this.#options = options;
  }

  #names(): string[] {
    return existsSync(this.#folder)
      ? readdirSync(this.#folder)
          .filter((name) => !name.endsWith('.new'))
          .sort()
      : [];
  }

  #isOwn(name: string): boolean {
    return name.slice(0, name.lastIndexOf('_')) === this.#options.component;
  }

  /** Into an artifacts-dir. @returns COMPONENT_VERSION of each */
  giveTo(artifacts: string): string[] {
    const given = this.#names().filter((name) => !this.#isOwn(name));
    for (const name of given)
      cpSync(join(this.#folder, name), join(artifacts, 'repository', this.#options.distribution, name), {
        recursive: true,
      });
    return given;
  }

  /** @param files signed and published @param version VER-REL of the builder */
  take(files: string, version: string): void {
    const { component } = this.#options;
    const name = `${component}_${version.slice(0, version.lastIndexOf('-'))}`;
    makeFolder(this.#folder);
    const next = join(this.#folder, `${name}.new`);
    rmSync(next, { recursive: true, force: true });
    cpSync(files, next, { recursive: true });
    rmSync(join(this.#folder, name), { recursive: true, force: true });
    renameSync(next, join(this.#folder, name));
    for (const old of this.#names().filter((one) => one !== name && this.#isOwn(one)))
      rmSync(join(this.#folder, old), { recursive: true });
  }
}
