// SPDX-License-Identifier: GPL-2.0-or-later
// A repository's generations on this disk: whole folders, numbered, each made from the one that the world saw
// then. One that was made and not brought to the server is nobody's base but its own job's: that job may have
// been given up, and nothing of it may go out with the next upload. Decision 109
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder, readIfThere, writeDurably } from '../../shared/durable-files.js';
import { Refusal } from '../refusals.js';
import type { LineSink } from '../../shared/programs/logged-program.js';

export interface Generation {
  /** its name here and on the server */
  release: string;
  folder: string;
  /** the armored public key, at the top */
  publicKeyName: string;
}

/** In each generation, as made-by.json. */
export interface MadeBy {
  job: string;
  /** the release it was made from; null of the first one */
  base: string | null;
  /** of DNF metadata */
  revision?: number;
}

/** What the server's link names, as far as this VM knows. */
interface PublicNote {
  /** known to have been switched to */
  switched: string | null;
  /** where the server was told to switch to, and nobody knows whether it did */
  switching: string | null;
}

export const publicKeyName = 'key.asc';
/** So many earlier ones stay, for clients in the middle of a download. */
export const keptGenerations = 5;
const releasePattern = /^[0-9]{6}-[0-9a-f]{12}$/;

export class Generations {
  readonly #folder: string;
  readonly #note: string;

  /** @param home holds `generations/` and `public.json` */
  constructor(home: string) {
    this.#folder = join(home, 'generations');
    this.#note = join(home, 'public.json');
    makeFolder(this.#folder);
    if (!existsSync(this.#note) && this.all().length === 0) this.#write({ switched: null, switching: null });
  }

  /** Whether the world surely sees one, whichever it is: an upload may be in doubt beside it. */
  get isPublic(): boolean {
    return this.#read().switched !== null;
  }

  /** In the order in which they were made. */
  all(): Generation[] {
    return readdirSync(this.#folder)
      .filter((name) => releasePattern.test(name))
      .sort()
      .map((release) => ({ release, folder: join(this.#folder, release), publicKeyName }));
  }

  madeBy({ folder }: Generation): MadeBy {
    return JSON.parse(readFileSync(join(folder, 'made-by.json'), 'utf8')) as MadeBy;
  }

  /**
   * To be called before a change is made: where a connection broke in the last step of an upload, only the
   * server knows what the world sees. A server may lie about it; what it can choose between are the two that
   * this VM signed and brought there last.
   * @param ask what the server's link names
   */
  async settle(
    job: string,
    publicKey: string,
    ask: () => Promise<string | undefined>,
    log: LineSink,
  ): Promise<void> {
    const { switched, switching } = this.#read();
    // Its own job begins where it was broken off.
    if (switching === null || this.ofJob(job, publicKey)?.release === switching) return;
    const there = await ask();
    const next = (there ?? null) === switched ? switched : switching;
    log.say(
      `an upload of ${switching} was broken off: the server has ${there ?? 'nothing'}, so the next one is made from ${next ?? 'nothing'}`,
    );
    this.#write({ switched: next, switching: null });
  }

  /**
   * What the world sees, from which the next one is made; undefined where there was none yet. @throws Refusal
   * REPOSITORY_LOST
   */
  published(): Generation | undefined {
    const { switched, switching } = this.#read();
    if (switching !== null)
      throw new Error(`nobody knows whether ${switching} is public: settle() comes first`);
    const found = this.#find(switched);
    // Made from nothing, the next one would take everything away that is published.
    if (switched !== null && found === undefined)
      throw new Refusal('REPOSITORY_LOST', `${switched}, which is public, is not on this disk any more`);
    return found;
  }

  /**
   * What readers may see: two where nobody knows whether the server switched. @throws Refusal REPOSITORY_LOST
   */
  perhapsPublic(): Generation[] {
    const { switched, switching } = this.#read();
    return [switched, switching]
      .filter((release) => release !== null)
      .map((release) => {
        const found = this.#find(release);
        if (found === undefined)
          throw new Refusal(
            'REPOSITORY_LOST',
            `${release}, which may be public, is not on this disk any more`,
          );
        return found;
      });
  }

  /**
   * What this job made, where it still fits: it may be public, or nothing went public since, and the key that
   * is published beside it is today's.
   */
  ofJob(job: string, publicKey: string): Generation | undefined {
    const { switched, switching } = this.#read();
    return this.all().findLast((one) => {
      const made = this.madeBy(one);
      if (made.job !== job) return false;
      const fits = one.release === switching || one.release === switched || made.base === switched;
      return fits && readFileSync(join(one.folder, publicKeyName)).equals(readFileSync(publicKey));
    });
  }

  /** The public one and those that were public before it, newest first. */
  lineage(): Generation[] {
    const found: Generation[] = [];
    let one = this.#find(this.#read().switched);
    while (one !== undefined && found.length < keptGenerations) {
      found.push(one);
      one = this.#find(this.madeBy(one).base);
    }
    return found;
  }

  /** Where the next one is to lie. @param hash 12 hex digits of its signed metadata */
  next(hash: string): Generation {
    const release = `${String(Number(this.all().at(-1)?.release.slice(0, 6) ?? '0') + 1).padStart(6, '0')}-${hash}`;
    return { release, folder: join(this.#folder, release), publicKeyName };
  }

  /** The server is about to be told. Durable when it returns. */
  switching({ release }: Generation): void {
    const { switched } = this.#read();
    if (switched !== release) this.#write({ switched, switching: release });
  }

  /** The server said that it did. Durable when it returns. */
  switched({ release }: Generation): void {
    this.#write({ switched: release, switching: null });
    this.#prune();
  }

  /** What nobody needs: neither clients, nor a job that may go on with it. */
  #prune(): void {
    const { switched } = this.#read();
    const kept = new Set(this.lineage().map(({ release }) => release));
    for (const one of this.all())
      if (!kept.has(one.release) && this.madeBy(one).base !== switched)
        rmSync(one.folder, { recursive: true });
  }

  #find(release: string | null): Generation | undefined {
    return release === null ? undefined : this.all().find((one) => one.release === release);
  }

  #read(): PublicNote {
    const bytes = readIfThere(this.#note);
    if (bytes === undefined)
      throw new Refusal(
        'REPOSITORY_LOST',
        `${this.#note}, which says what is public, is not on this disk any more`,
      );
    return JSON.parse(bytes.toString('utf8')) as PublicNote;
  }

  #write(note: PublicNote): void {
    writeDurably(this.#note, `${JSON.stringify(note)}\n`);
  }
}
