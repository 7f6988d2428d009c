// SPDX-License-Identifier: GPL-2.0-or-later
// When something was published, as the logs VM's signed commits say it. This VM's own clock, and its own notes, may be wrong or of an attacker's
// making; the record is everybody's. Only commits are fetched where the server can leave the rest out.
import { existsSync } from 'node:fs';
import * as openpgp from 'openpgp';
import { makeFolder } from '../../shared/durable-files.js';
import { readGitCommit } from '../../shared/formats/git-commit.js';
import { matches, objectIdPattern } from '../../shared/formats/names.js';
import { printable, Refusal } from '../../shared/refusal.js';
import { gitEnvironment, gitIn, initRepository, readObject, type Forge } from '../source/git.js';
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

export class PublishedRecord {
  readonly #options: RecordOptions;

  constructor(options: RecordOptions) {
    this.#options = options;
  }

  /**
   * Fetches, and says what the newest publication is. A history that does not hold the one that was fetched before is refused: it was rewritten.
   * @throws Refusal RECORD_UNREACHABLE, RECORD_REWRITTEN, BAD_RECORD
   */
  async newest(): Promise<Published> {
    const { folder, url, forge } = this.#options;
    if (!existsSync(folder)) {
      makeFolder(folder, 0o700);
      await initRepository(folder);
    }
    const argv = gitIn({ folder }, 'fetch', '--quiet', '--no-tags', '--filter=tree:0', '--no-write-fetch-head', '--no-recurse-submodules', '--no-auto-maintenance', '--', url, `+HEAD:${fetchedRef}`);
    await runProgram(argv, { env: gitEnvironment(forge), timeoutMs: forge.timeoutMs }).catch((error: unknown) => {
      if (error instanceof ProgramFailed || error instanceof Refusal) throw new Refusal('RECORD_UNREACHABLE', printable(error instanceof ProgramFailed ? error.complaint : error.detail));
      throw error;
    });
    const id = await this.#git('rev-parse', '--verify', fetchedRef) as string;
    if (await this.#git('rev-parse', '--verify', '--quiet', ref) !== undefined && await this.#git('merge-base', '--is-ancestor', ref, fetchedRef) === undefined) {
      throw new Refusal('RECORD_REWRITTEN', `${url} no longer holds what it held before`);
    }
    await this.#git('update-ref', ref, id);
    return await this.#read(id);
  }

  /**
   * The publication with this id, if it is a part of the history that newest() saw and published this log, or its `.xz`.
   * @throws Refusal NOT_PUBLISHED, BAD_RECORD
   */
  async published(id: string, log: string): Promise<Published> {
    if (!matches(objectIdPattern, id)) throw new Refusal('NOT_PUBLISHED', 'there is no commit of that name');
    if (await this.#git('merge-base', '--is-ancestor', id, ref) === undefined) throw new Refusal('NOT_PUBLISHED', `${id} is no part of ${this.#options.url}`);
    return await this.#read(id, log);
  }

  /** @returns undefined where git says no */
  async #git(...argv: string[]): Promise<string | undefined> {
    return await runProgram(gitIn({ folder: this.#options.folder }, ...argv), { env: gitEnvironment(), timeoutMs: gitMs }).then((out) => out.toString('utf8').trim(), (error: unknown) => {
      if (error instanceof ProgramFailed) return undefined;
      throw error;
    });
  }

  async #read(id: string, log?: string): Promise<Published> {
    const { armored, fingerprint } = this.#options.logsKey;
    const commit = readGitCommit(await readObject({ folder: this.#options.folder }, 'commit', id, commitLimitBytes));
    const seconds = /^committer .* ([0-9]{1,12}) [+-][0-9]{4}$/m.exec(commit.signedBytes.toString('utf8').split('\n\n')[0] as string)?.[1];
    if (seconds === undefined) throw new Refusal('BAD_RECORD', `${id} has no time`);
    try {
      const key = await openpgp.readKey({ armoredKey: armored });
      if (key.getFingerprint().toUpperCase() !== fingerprint) throw new Error('the public key here is another one');
      const signature = await openpgp.readSignature({ armoredSignature: commit.signature });
      const { signatures } = await openpgp.verify({ message: await openpgp.createMessage({ binary: commit.signedBytes }), signature, verificationKeys: key });
      if (signatures.length !== 1) throw new Error('not exactly one signature');
      await signatures[0]?.verified;
    } catch (error) {
      throw new Refusal('BAD_RECORD', `${id}: ${printable((error as Error).message)}`);
    }
    const told = commit.message.split('\n').some((line) => line.startsWith(`file ${log} `) || line.startsWith(`file ${log}.xz `));
    if (log !== undefined && !told) throw new Refusal('NOT_PUBLISHED', `${id} does not publish ${printable(log)}`);
    return { commit: id, time: new Date(Number(seconds) * 1000) };
  }
}
