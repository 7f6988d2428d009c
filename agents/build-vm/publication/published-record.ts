// SPDX-License-Identifier: GPL-2.0-or-later
// What was published and when, as the logs VM's signed commits say it in a remote that this VM asks itself.
// The logs VM may lie to us, and this VM's own clock and notes may be wrong or of an attacker's making; the
// record is everybody's. Only commits are fetched where the server can leave the rest out.
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { PublicKey } from 'openpgp';
import { makeFolder, renameDurably } from '../../shared/durable-files.js';
import { gitObjectId, readGitCommit, type GitCommit } from '../../shared/formats/git-commit.js';
import { matches, objectIdPattern } from '../../shared/formats/names.js';
import { AnyRefusal, printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import {
  gitEnvironment,
  gitIn,
  initRepository,
  limitedFetch,
  readObject,
  remoteHead,
  type Forge,
} from '../source/git.js';
import { readOneKey } from '../../shared/openpgp/packets.js';
import { verifyDetached } from '../signatures/one-signature.js';
import { GitFailed, GitObjects } from '../../shared/programs/git-objects.js';
import { ProgramFailed, runProgram } from '../../shared/programs/program.js';

export interface RecordOptions {
  /** of the logs repository */
  url: string;
  /** armored, and which key it has to be */
  logsKey: { armored: string; fingerprint: string };
  /** a bare repository, kept between calls; it may be removed at any time */
  folder: string;
  forge: Forge;
  /** only so many commits are fetched: for a copy that is not kept */
  depth?: number;
}

export interface Published {
  commit: string;
  /** what the commit says about itself, UTC */
  time: Date;
}

const commitLimitBytes = 4 * 1024 * 1024;
const gitMs = 30_000;
const branch = 'refs/heads/main';
const ref = 'refs/build-infra/record';
const fetchedRef = 'refs/build-infra/fetched';

/** Commits that are gone through one by one; what lies further apart git compares. */
const walkLimit = 2000;
/** Commits in memory whose signature was found good. */
const goodLimit = 50;
/** What was seen is written down so often, ms; a kill forgets no more. */
const noteMs = 60_000;
/** Each fetch leaves a pack. */
const packsLimit = 200;

/** By folder: promotions for several distributions look into one copy, one after the other. */
const turns = new Map<string, Promise<unknown>>();

function inTurn<T>(folder: string, act: () => Promise<T>): Promise<T> {
  const mine = (turns.get(folder) ?? Promise.resolve()).then(act);
  turns.set(
    folder,
    mine.catch(() => undefined),
  );
  return mine;
}

/** git itself did not work, or was not answered: nothing is known by that. */
function unreachable(error: unknown): never {
  if (error instanceof ProgramFailed) throw new Refusal('RECORD_UNREACHABLE', error.complaint);
  if (error instanceof Refusal && error.code === 'TIMED_OUT')
    throw new Refusal('RECORD_UNREACHABLE', error.detail);
  throw error;
}

/**
 * @param name a commit's id, or a ref. @returns undefined where there is no such commit @throws ProgramFailed
 * where git fails: that is no answer
 */
async function readCommit(
  reader: GitObjects,
  name: string,
): Promise<{ id: string; body: Buffer } | undefined> {
  const failed = (how: string): ProgramFailed => new ProgramFailed(['git cat-file'], how, '');
  const found = await reader.read(name, commitLimitBytes).catch((error: unknown) => {
    throw error instanceof GitFailed ? failed(error.message) : error;
  });
  if (
    found !== undefined &&
    (found.type !== 'commit' || (found.id.length === 40 && gitObjectId('commit', found.body) !== found.id))
  )
    throw failed(`found no commit in ${found.id}`);
  return found;
}

export class PublishedRecord {
  readonly #options: RecordOptions;
  /**
   * of this history, the newest ones: those that were gone through, and of these the ones whose signature is
   * good
   */
  readonly #known = new Set<string>();
  readonly #good = new Map<string, GitCommit>();
  #head: string | undefined;
  #notedAt = -Infinity;
  #key: Promise<PublicKey> | undefined;

  constructor(options: RecordOptions) {
    this.#options = options;
  }

  /**
   * Fetches, and says what the newest publication is. A history that does not hold the one that was fetched
   * before is refused: it was rewritten. A copy with which git cannot work (a kill left a lock, or half a
   * repository) is made anew; no alarm rests on what one copy lacks.
   * @throws Refusal RECORD_UNREACHABLE, RECORD_REWRITTEN, BAD_RECORD
   */
  async newest(): Promise<Published> {
    const { folder } = this.#options;
    return await inTurn(
      folder,
      async () =>
        await this.#fetch(folder, await this.#seen(folder)).catch(async (error: unknown) => {
          if (
            error instanceof ProgramFailed ||
            (error instanceof Refusal && error.code === 'RECORD_REWRITTEN')
          )
            return await this.#fetchAnew();
          throw error;
        }),
    ).catch(unreachable);
  }

  /**
   * The publication with this id, if it is a part of the history that newest() saw and published this log, or
   * its `.xz`.
   * @throws Refusal NOT_PUBLISHED, BAD_RECORD, RECORD_UNREACHABLE
   */
  async published(id: string, log: string): Promise<Published> {
    if (!matches(objectIdPattern, id)) throw new Refusal('NOT_PUBLISHED', 'there is no commit of that name');
    const { folder, url } = this.#options;
    return await inTurn(folder, async () => {
      // git says the same of a commit that is not there and of a copy that cannot be read.
      if (!(await this.#holds(folder, ref, ref)))
        throw new Refusal('RECORD_UNREACHABLE', `${folder} cannot be read`);
      if (!(await this.#holds(folder, ref, id)))
        throw new Refusal('NOT_PUBLISHED', `${id} is no part of ${url}`);
      return await this.#read(folder, id, log);
    }).catch(unreachable);
  }

  /**
   * Asks the remote once, and says which of these commits are in the history that it shows, each signed by
   * the logs key. As newest() for the rest.
   * @param told raw commits, by whomever: where they lead from the head that the remote shows down to what it
   * held before, nothing is fetched
   * @throws Refusal RECORD_UNREACHABLE, RECORD_REWRITTEN, BAD_RECORD
   */
  async seen(ids: readonly string[], told: readonly Buffer[] = []): Promise<ReadonlyMap<string, GitCommit>> {
    const { folder } = this.#options;
    return await inTurn(folder, async () => {
      const seen =
        (await this.#lookAtHead(ids, told)) ??
        (await this.#look(ids).catch(async (error: unknown) => {
          if (
            !(error instanceof ProgramFailed) &&
            !(error instanceof Refusal && error.code === 'RECORD_REWRITTEN')
          )
            throw error;
          await this.#fetchAnew();
          return await this.#look(ids);
        }));
      // Nobody waits for it, but the next fetch does.
      void inTurn(folder, () => this.#tidy());
      return seen;
    }).catch(unreachable);
  }

  /** @returns undefined where it takes a fetch to say it: for every doubt there is the other way */
  async #lookAtHead(
    ids: readonly string[],
    told: readonly Buffer[],
  ): Promise<Map<string, GitCommit> | undefined> {
    const before = this.#head;
    if (before === undefined || told.length === 0) return undefined;
    const bodies = new Map(told.map((body) => [gitObjectId('commit', body), body]));
    const head = await remoteHead(this.#options.url, branch, this.#options.forge);
    const walked: string[] = [];
    try {
      for (let id = head ?? ''; id !== before;) {
        const body = bodies.get(id);
        if (body === undefined) return undefined;
        walked.push(id);
        id = readGitCommit(body).parents[0] ?? '';
      }
      const seen = new Map<string, GitCommit>();
      for (const id of new Set([head as string, ...ids])) {
        const body = bodies.get(id);
        if ((!walked.includes(id) && !this.#known.has(id)) || (body === undefined && !this.#good.has(id)))
          return undefined;
        seen.set(id, await this.#verified(id, body as Buffer));
      }
      this.#head = head;
      this.#remember(walked);
      return seen;
    } catch (error) {
      if (error instanceof AnyRefusal) return undefined;
      throw error;
    }
  }

  async #look(ids: readonly string[]): Promise<Map<string, GitCommit>> {
    const { folder, depth } = this.#options;
    const reader = new GitObjects(gitIn({ folder }), { env: gitEnvironment() });
    try {
      const before = this.#head ?? (await this.#seen(folder));
      await this.#download(folder);
      const head = await readCommit(reader, fetchedRef);
      if (head === undefined) throw new ProgramFailed(['git fetch'], 'brought nothing', '');
      await this.#verified(head.id, head.body);
      const missing = new Set(ids.filter((id) => !this.#known.has(id)));
      const bodies = new Map<string, Buffer>();
      const walked: string[] = [];
      let followed = before === undefined || before === head.id;
      let next: { id: string; body: Buffer } | undefined = head;
      for (
        let i = 1;
        next !== undefined && (!followed || missing.size > 0) && i < (depth ?? walkLimit);
        i++
      ) {
        walked.push(next.id);
        if (missing.delete(next.id)) bodies.set(next.id, next.body);
        const [parent]: string[] = readGitCommit(next.body).parents;
        followed ||= parent === before;
        next =
          parent === undefined || (followed && missing.size === 0)
            ? undefined
            : await readCommit(reader, parent);
      }
      if (!followed && !(await this.#holds(folder, head.id, before as string)))
        throw new Refusal('RECORD_REWRITTEN', `${this.#options.url} no longer holds what it held before`);
      this.#head = head.id;
      this.#remember(walked);
      const seen = new Map<string, GitCommit>();
      for (const id of new Set(ids)) {
        if (
          missing.has(id) &&
          (depth !== undefined || !matches(objectIdPattern, id) || !(await this.#holds(folder, head.id, id)))
        )
          continue;
        const body =
          bodies.get(id) ?? (this.#good.has(id) ? undefined : (await readCommit(reader, id))?.body);
        seen.set(id, this.#good.get(id) ?? (await this.#verified(id, body as Buffer)));
      }
      return seen;
    } finally {
      reader.stop();
    }
  }

  #remember(ids: readonly string[]): void {
    if (this.#known.size > walkLimit) this.#known.clear();
    for (const id of ids) this.#known.add(id);
  }

  async #tidy(): Promise<void> {
    const { folder, depth } = this.#options;
    if (depth !== undefined || this.#head === undefined) return;
    try {
      if (performance.now() - this.#notedAt >= noteMs) {
        if (
          !(await this.#git(folder, 'cat-file', '-e', this.#head).then(
            () => true,
            () => false,
          ))
        )
          await this.#download(folder);
        await this.#git(folder, 'update-ref', ref, this.#head);
        this.#notedAt = performance.now();
      }
      if (
        readdirSync(join(folder, 'objects/pack')).filter((name) => name.endsWith('.pack')).length > packsLimit
      )
        await this.#git(folder, 'repack', '-a', '-d', '-q');
    } catch {
      // What is wrong with the copy here the next fetch finds, and makes it anew.
    }
  }

  async #fetchAnew(): Promise<Published> {
    const { folder } = this.#options;
    const part = `${folder}.part`;
    // A kill between the two last steps leaves what was seen in the new copy only.
    const seen = this.#head ?? (await this.#seen(folder)) ?? (await this.#seen(part));
    rmSync(part, { recursive: true, force: true });
    makeFolder(part, 0o700);
    await initRepository(part);
    const newest = await this.#fetch(part, seen);
    rmSync(folder, { recursive: true, force: true });
    renameDurably(part, folder);
    return newest;
  }

  /**
   * @param seen what the history has to hold. @throws ProgramFailed where git does not work in that folder,
   * or reaches nobody
   */
  async #fetch(folder: string, seen: string | undefined): Promise<Published> {
    await this.#download(folder);
    const id = await this.#git(folder, 'rev-parse', '--verify', fetchedRef);
    const newest = await this.#read(folder, id);
    if (seen !== undefined && !(await this.#holds(folder, id, seen)))
      throw new Refusal('RECORD_REWRITTEN', `${this.#options.url} no longer holds what it held before`);
    await this.#git(folder, 'update-ref', ref, id);
    return newest;
  }

  async #download(folder: string): Promise<void> {
    const { url, forge } = this.#options;
    const argv = [
      ...limitedFetch,
      ...gitIn(
        { folder },
        'fetch',
        '--quiet',
        '--no-tags',
        ...(this.#options.depth === undefined ? [] : [`--depth=${this.#options.depth}`]),
        '--filter=tree:0',
        '--no-write-fetch-head',
        '--no-recurse-submodules',
        '--no-auto-maintenance',
        '--',
        url,
        `+${branch}:${fetchedRef}`,
      ),
    ];
    await runProgram(argv, { env: gitEnvironment(forge), timeoutMs: forge.timeoutMs });
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
    return await this.#git(folder, 'merge-base', '--is-ancestor', id, history).then(
      () => true,
      (error: unknown) => {
        if (error instanceof ProgramFailed && error.exitCode !== undefined) return false;
        throw error;
      },
    );
  }

  async #git(folder: string, ...argv: string[]): Promise<string> {
    return (await runProgram(gitIn({ folder }, ...argv), { env: gitEnvironment(), timeoutMs: gitMs }))
      .toString('utf8')
      .trim();
  }

  async #read(folder: string, id: string, log?: string): Promise<Published> {
    const commit = await this.#verified(id, await readObject({ folder }, 'commit', id, commitLimitBytes));
    const seconds = /^committer .* ([0-9]{1,12}) [+-][0-9]{4}$/m.exec(
      commit.signedBytes.toString('utf8').split('\n\n')[0] as string,
    )?.[1];
    if (seconds === undefined) throw new Refusal('BAD_RECORD', `${id} has no time`);
    const told = commit.message
      .split('\n')
      .some((line) => line.startsWith(`file ${log} `) || line.startsWith(`file ${log}.xz `));
    if (log !== undefined && !told)
      throw new Refusal('NOT_PUBLISHED', `${id} does not publish ${printable(log)}`);
    return { commit: id, time: new Date(Number(seconds) * 1000) };
  }

  /** @throws Refusal BAD_RECORD, KEY_EXPIRED, KEY_REVOKED, KEY_NOT_USABLE */
  async #verified(id: string, body: Buffer): Promise<GitCommit> {
    const known = this.#good.get(id);
    if (known !== undefined) return known;
    const { armored, fingerprint } = this.#options.logsKey;
    try {
      const commit = readGitCommit(body);
      const key = await (this.#key ??= readOneKey(armored, fingerprint));
      await verifyDetached(commit.signedBytes, commit.signature, { name: 'the logs VM', key });
      if (this.#good.size >= goodLimit) this.#good.delete(this.#good.keys().next().value as string);
      this.#good.set(id, commit);
      return commit;
    } catch (error) {
      // The key's own end is no sign of a record that somebody changed.
      if (error instanceof Refusal && error.code.startsWith('KEY_')) throw error;
      throw new Refusal('BAD_RECORD', `${id}: ${printable((error as Error).message)}`);
    }
  }
}
