// SPDX-License-Identifier: GPL-2.0-or-later
// When something was published, as the logs VM's signed commits say it. This VM's own clock, and its own notes, may be wrong or of an attacker's
// making; the record is everybody's. Only commits are fetched where the server can leave the rest out.
import { rmSync } from 'node:fs';
import * as openpgp from 'openpgp';
import { makeFolder, renameDurably } from '../../shared/durable-files.js';
import { readGitCommit } from '../../shared/formats/git-commit.js';
import { matches, objectIdPattern } from '../../shared/formats/names.js';
import { printable, Refusal } from '../../shared/refusal.js';
import { gitEnvironment, gitIn, initRepository, limitedFetch, readObject, type Forge } from '../source/git.js';
import { verifyDetached } from '../one-signature.js';
import { ProgramFailed, runProgram } from '../program.js';

export interface RecordOptions {
  /** of the logs repository */
  url: string;
  /** armored, and which key it has to be */
  logsKey: { armored: string; fingerprint: string };
  /** a bare repository, kept between calls; it may be removed at any time */
  folder: string;
  forge: Forge;
}

export interface Published {
  commit: string;
  /** what the commit says about itself, UTC */
  time: Date;
}

const commitLimitBytes = 4 * 1024 * 1024;
const gitMs = 30_000;
const ref = 'refs/build-infra/record';
const fetchedRef = 'refs/build-infra/fetched';

/** By folder: promotions for several distributions look into one copy, one after the other. */
const turns = new Map<string, Promise<unknown>>();

function inTurn<T>(folder: string, act: () => Promise<T>): Promise<T> {
  const mine = (turns.get(folder) ?? Promise.resolve()).then(act);
  turns.set(folder, mine.catch(() => undefined));
  return mine;
}

/** git itself did not work, or was not answered: nothing is known by that. */
function unreachable(error: unknown): never {
  if (error instanceof ProgramFailed) throw new Refusal('RECORD_UNREACHABLE', error.complaint);
  if (error instanceof Refusal && error.code === 'TIMED_OUT') throw new Refusal('RECORD_UNREACHABLE', error.detail);
  throw error;
}

export class PublishedRecord {
  readonly #options: RecordOptions;

  constructor(options: RecordOptions) {
    this.#options = options;
  }

  /**
   * Fetches, and says what the newest publication is. A history that does not hold the one that was fetched before is refused: it was rewritten.
   * A copy with which git cannot work (a kill left a lock, or half a repository) is made anew; no alarm rests on what one copy lacks.
   * @throws Refusal RECORD_UNREACHABLE, RECORD_REWRITTEN, BAD_RECORD
   */
  async newest(): Promise<Published> {
    const { folder } = this.#options;
    return await inTurn(folder, async () => await this.#fetch(folder, await this.#seen(folder)).catch(async (error: unknown) => {
      if (error instanceof ProgramFailed || (error instanceof Refusal && error.code === 'RECORD_REWRITTEN')) return await this.#fetchAnew();
      throw error;
    })).catch(unreachable);
  }

  /**
   * The publication with this id, if it is a part of the history that newest() saw and published this log, or its `.xz`.
   * @throws Refusal NOT_PUBLISHED, BAD_RECORD, RECORD_UNREACHABLE
   */
  async published(id: string, log: string): Promise<Published> {
    if (!matches(objectIdPattern, id)) throw new Refusal('NOT_PUBLISHED', 'there is no commit of that name');
    const { folder, url } = this.#options;
    return await inTurn(folder, async () => {
      // git says the same of a commit that is not there and of a copy that cannot be read.
      if (!await this.#holds(folder, ref, ref)) throw new Refusal('RECORD_UNREACHABLE', `${folder} cannot be read`);
      if (!await this.#holds(folder, ref, id)) throw new Refusal('NOT_PUBLISHED', `${id} is no part of ${url}`);
      return await this.#read(folder, id, log);
    }).catch(unreachable);
  }

  async #fetchAnew(): Promise<Published> {
    const { folder } = this.#options;
    const part = `${folder}.part`;
    // A kill between the two last steps leaves what was seen in the new copy only.
    const seen = await this.#seen(folder) ?? await this.#seen(part);
    rmSync(part, { recursive: true, force: true });
    makeFolder(part, 0o700);
    await initRepository(part);
    const newest = await this.#fetch(part, seen);
    rmSync(folder, { recursive: true, force: true });
    renameDurably(part, folder);
    return newest;
  }

  /** @param seen what the history has to hold. @throws ProgramFailed where git does not work in that folder, or reaches nobody */
  async #fetch(folder: string, seen: string | undefined): Promise<Published> {
    const { url, forge } = this.#options;
    const argv = [...limitedFetch, ...gitIn({ folder }, 'fetch', '--quiet', '--no-tags', '--filter=tree:0', '--no-write-fetch-head', '--no-recurse-submodules', '--no-auto-maintenance', '--', url, `+HEAD:${fetchedRef}`)];
    await runProgram(argv, { env: gitEnvironment(forge), timeoutMs: forge.timeoutMs });
    const id = await this.#git(folder, 'rev-parse', '--verify', fetchedRef);
    const newest = await this.#read(folder, id);
    if (seen !== undefined && !await this.#holds(folder, id, seen)) throw new Refusal('RECORD_REWRITTEN', `${url} no longer holds what it held before`);
    await this.#git(folder, 'update-ref', ref, id);
    return newest;
  }

  /** The publication that was the newest one, as long as that copy can say it. */
  async #seen(folder: string): Promise<string | undefined> {
    return await this.#git(folder, 'rev-parse', '--verify', '--quiet', ref).catch((error: unknown) => {
      if (error instanceof ProgramFailed) return undefined;
      throw error;
    });
  }

  /** @throws ProgramFailed where git was ended from outside */
  async #holds(folder: string, history: string, id: string): Promise<boolean> {
    return await this.#git(folder, 'merge-base', '--is-ancestor', id, history).then(() => true, (error: unknown) => {
      if (error instanceof ProgramFailed && error.exitCode !== undefined) return false;
      throw error;
    });
  }

  async #git(folder: string, ...argv: string[]): Promise<string> {
    return (await runProgram(gitIn({ folder }, ...argv), { env: gitEnvironment(), timeoutMs: gitMs })).toString('utf8').trim();
  }

  async #read(folder: string, id: string, log?: string): Promise<Published> {
    const { armored, fingerprint } = this.#options.logsKey;
    const commit = readGitCommit(await readObject({ folder }, 'commit', id, commitLimitBytes));
    const seconds = /^committer .* ([0-9]{1,12}) [+-][0-9]{4}$/m.exec(commit.signedBytes.toString('utf8').split('\n\n')[0] as string)?.[1];
    if (seconds === undefined) throw new Refusal('BAD_RECORD', `${id} has no time`);
    try {
      const key = await openpgp.readKey({ armoredKey: armored });
      if (key.getFingerprint().toUpperCase() !== fingerprint) throw new Error('the public key here is another one');
      await verifyDetached(commit.signedBytes, commit.signature, key);
    } catch (error) {
      throw new Refusal('BAD_RECORD', `${id}: ${printable((error as Error).message)}`);
    }
    const told = commit.message.split('\n').some((line) => line.startsWith(`file ${log} `) || line.startsWith(`file ${log}.xz `));
    if (log !== undefined && !told) throw new Refusal('NOT_PUBLISHED', `${id} does not publish ${printable(log)}`);
    return { commit: id, time: new Date(Number(seconds) * 1000) };
  }
}
