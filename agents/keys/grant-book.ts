// SPDX-License-Identifier: GPL-2.0-or-later
// Which byte strings may be signed now. The state is nothing but the journal read from its start: each entry
// is applied here, at start and while running alike, so that what was published about a grant and what this
// VM does with it cannot differ.
import { createHash } from 'node:crypto';
import type { Clock } from '../shared/clock.js';
import { Refusal } from './refusals.js';
import type { SigningMode } from '../shared/formats/intent.js';
import type { JournalEntry } from '../shared/formats/journal.js';

/**
 * One use. The payload's size needs no place here: the SHA-256 fixes it, and the receipt's check compared it.
 */
export interface Grant {
  source: string;
  sha256: string;
  key: string;
  mode: SigningMode;
  commit: string;
  intent: string;
  boot: string;
  /** by the wall clock, so that a reader of the journal can check it */
  untilWall: number;
  /** by the steady clock, so that setting the clock back lengthens nothing */
  untilSteady: number;
}

/**
 * What makes an entry of an intent document one and the same; the same entry can stand in a document several
 * times.
 */
type GrantName = Pick<Grant, 'source' | 'sha256' | 'key' | 'mode' | 'intent'>;

/** 32 bytes for what would be 250 characters: one is kept for every grant ever made. */
function nameOf(grant: GrantName): string {
  return createHash('sha256')
    .update([grant.source, grant.sha256, grant.key, grant.mode, grant.intent].join('\n'))
    .digest()
    .toString('latin1');
}

const rememberedEnds = 10_000;

export class GrantBook {
  readonly #clock: Pick<Clock, 'wall' | 'steady'>;
  readonly #grantMs: number;
  #boot = '';
  #live: Grant[] = [];
  readonly #everGranted = new Map<string, number>();
  /** how a payload's last grant ended: only for the words of a refusal */
  readonly #ended = new Map<string, 'GRANT_USED' | 'GRANT_EXPIRED'>();

  constructor(clock: Pick<Clock, 'wall' | 'steady'>, grantSeconds: number) {
    this.#clock = clock;
    this.#grantMs = grantSeconds * 1000;
  }

  /**
   * @throws Error if the entry cannot follow on what was applied: the journal was not written by this program
   */
  apply(entry: JournalEntry): void {
    if (entry.event === 'start') {
      this.#boot = entry.result;
      return;
    }
    if (entry.event === 'refused' || entry.event === 'signed') return;
    const { source, sha256, key, mode, commit, intent } = entry;
    if (
      source === null ||
      sha256 === null ||
      key === null ||
      mode === null ||
      commit === null ||
      intent === null
    )
      throw new Error(
        `journal entry ${entry.seq} names no grant; nothing will be signed until a person has looked at it`,
      );
    const grant = { source, sha256, key, mode, commit, intent };
    const name = nameOf(grant);
    if (entry.event === 'granted') {
      const untilWall = Date.parse(entry.result);
      if (Number.isNaN(untilWall))
        throw new Error(
          `journal entry ${entry.seq} does not say when its grant ends; nothing will be signed until a person has looked at it`,
        );
      this.#everGranted.set(name, (this.#everGranted.get(name) ?? 0) + 1);
      this.#live.push({
        ...grant,
        boot: this.#boot,
        untilWall,
        untilSteady: this.#clock.steady() + this.#grantMs,
      });
      return;
    }
    const at = this.#live.findIndex(
      (live) => live.sha256 === sha256 && live.commit === commit && nameOf(live) === name,
    );
    if (at < 0)
      throw new Error(
        `journal entry ${entry.seq} ends a grant that there was not; nothing will be signed until a person has looked at it`,
      );
    this.#live.splice(at, 1);
    this.#ended.delete(sha256);
    this.#ended.set(sha256, entry.event === 'claimed' ? 'GRANT_USED' : 'GRANT_EXPIRED');
    if (this.#ended.size > rememberedEnds) this.#ended.delete(this.#ended.keys().next().value as string);
  }

  /** How often this entry of this intent document was granted, ever. */
  timesGranted(grant: GrantName): number {
    return this.#everGranted.get(nameOf(grant)) ?? 0;
  }

  #alive(grant: Grant): boolean {
    return (
      grant.boot === this.#boot &&
      this.#clock.wall() < grant.untilWall &&
      this.#clock.steady() < grant.untilSteady
    );
  }

  /** Grants that time or a reboot has ended and the journal does not say so yet. */
  overdue(): Grant[] {
    return this.#live.filter((grant) => !this.#alive(grant));
  }

  /**
   * The grant for exactly these bytes, this key and mode, for this source; the oldest if there are several.
   * @throws Refusal NO_GRANT, OTHER_KEY_OR_MODE, GRANT_USED, GRANT_EXPIRED
   */
  find(source: string, sha256: string, key: string, mode: SigningMode): Grant {
    const same = this.#live.filter((grant) => grant.sha256 === sha256 && grant.source === source);
    const grant = same.find(
      (candidate) => candidate.key === key && candidate.mode === mode && this.#alive(candidate),
    );
    if (grant !== undefined) return grant;
    const bytes = `the bytes with sha256 ${sha256}`;
    if (same.some((candidate) => this.#alive(candidate)))
      throw new Refusal('OTHER_KEY_OR_MODE', `${bytes} may be signed with another key or mode only`);
    if (same.length > 0) throw new Refusal('GRANT_EXPIRED', `the grant for ${bytes} has expired`);
    const ended = this.#ended.get(sha256);
    if (ended === 'GRANT_USED') throw new Refusal(ended, `the grant for ${bytes} was used`);
    if (ended === 'GRANT_EXPIRED') throw new Refusal(ended, `the grant for ${bytes} has expired`);
    throw new Refusal('NO_GRANT', `no published intent names ${bytes}`);
  }
}
