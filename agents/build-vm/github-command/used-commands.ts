// SPDX-License-Identifier: GPL-2.0-or-later
// A command is used once. Each has a file here before anything comes of it, named by what its signer signed and when: the same signature
// posted again, armored anew or with other line ends is the same use, and the same words signed again are another. Decision 091
import { createHash } from 'node:crypto';
import { readdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder, readIfThere, removeDurably, writeDurably } from '../../shared/durable-files.js';
import { matches, sha256Pattern } from '../../shared/formats/names.js';

export const commandFormat = 'build-infra/command@1';

export interface CommandRecord {
  format: typeof commandFormat;
  /** SHA-256 in hex, of fingerprint, time and line */
  command: string;
  line: string;
  signer: { name: string; fingerprint: string };
  /** as the signature says, ISO 8601 */
  signed: string;
  /** our clock */
  received: string;
  /** taken: a kill came before its outcome was noted, and it is carried out after the start */
  state: 'taken' | 'accepted' | 'refused';
  job: string | null;
  code: string | null;
  /** of the message, in base64: as long as its signer may still have to be answered */
  signature?: string;
}

/** @param created seconds since 1970. No byte of the signature itself is in it: those can be rewritten without the key. */
export function commandIdentity(fingerprint: string, created: number, line: string): string {
  return createHash('sha256')
    .update(JSON.stringify([fingerprint, created, line]))
    .digest('hex');
}

interface Floor {
  signed: string;
}

export class UsedCommands {
  readonly #folder: string;
  readonly #records = new Map<string, CommandRecord>();
  /** Whatever was signed then or before is too old, however far back this VM's clock is set: its record may be gone. */
  #floor: string;

  /**
   * @param begins where no command was ever taken (the VM is new, or its volume was lost with everything that was used), none is that was signed before
   * @throws Error on a file that is not one of ours: a person must look before a command is forgotten
   */
  constructor(folder: string, begins: Date) {
    this.#folder = folder;
    makeFolder(folder, 0o700);
    const floor = readIfThere(join(folder, 'floor.json'));
    this.#floor =
      floor === undefined
        ? this.#raiseFloor(begins.toISOString())
        : (JSON.parse(floor.toString('utf8')) as Floor).signed;
    for (const name of readdirSync(folder)) {
      if (/^\..*\.tmp$/.test(name)) unlinkSync(join(folder, name));
      const id = name.replace(/\.json$/, '');
      if (!matches(sha256Pattern, id)) continue;
      const record = JSON.parse(
        (readIfThere(join(folder, name)) as Buffer).toString('utf8'),
      ) as CommandRecord;
      if (record.format !== commandFormat || record.command !== id)
        throw new Error(`${name} is no command of this version`);
      this.#records.set(id, record);
    }
  }

  get(id: string): CommandRecord | undefined {
    return this.#records.get(id);
  }

  isForgotten(signed: Date): boolean {
    return signed.toISOString() <= this.#floor;
  }

  /** Those that a kill broke off, oldest first. */
  taken(): CommandRecord[] {
    return [...this.#records.values()]
      .filter((record) => record.state === 'taken')
      .sort((a, b) => (a.received < b.received ? -1 : 1));
  }

  /** Those whose refusal is not in the outbox yet. */
  unanswered(): CommandRecord[] {
    return [...this.#records.values()].filter(
      (record) => record.state === 'refused' && record.signature !== undefined,
    );
  }

  /** How many commands of one signer were refused since then. */
  refusedSince(fingerprint: string, since: Date): number {
    return [...this.#records.values()].filter(
      (record) =>
        record.state === 'refused' &&
        record.signer.fingerprint === fingerprint &&
        record.received >= since.toISOString(),
    ).length;
  }

  /** The answer is where the notifier finds it, or there shall be none. */
  answered(id: string): void {
    const record = this.#records.get(id);
    if (record?.signature === undefined) return;
    const { signature: _, ...kept } = record;
    this.#write(kept);
  }

  /** Durable when it returns; whether it was not used before. No other command runs between the question and the answer. */
  take(record: CommandRecord): boolean {
    if (this.#records.has(record.command)) return false;
    this.#write(record);
    return true;
  }

  finish(id: string, outcome: Pick<CommandRecord, 'state' | 'job' | 'code'>): void {
    const record = this.#records.get(id);
    if (record === undefined) throw new Error(`no command ${id} was taken`);
    this.#write({ ...record, ...outcome });
  }

  /** Nothing came of it and nothing will: it may be tried again. */
  release(id: string): void {
    removeDurably(this.#path(id));
    this.#records.delete(id);
  }

  /** Forgets what was signed before `since`, once the floor that stands in for it is on disk. */
  prune(since: Date): void {
    const old = [...this.#records.values()].filter(
      (record) => record.state !== 'taken' && record.signed < since.toISOString(),
    );
    if (old.length === 0) return;
    const floor = old.reduce(
      (highest, record) => (record.signed > highest ? record.signed : highest),
      this.#floor,
    );
    this.#floor = this.#raiseFloor(floor);
    for (const record of old) this.release(record.command);
  }

  #raiseFloor(signed: string): string {
    writeDurably(join(this.#folder, 'floor.json'), `${JSON.stringify({ signed } satisfies Floor)}\n`);
    return signed;
  }

  #path(id: string): string {
    return join(this.#folder, `${id}.json`);
  }

  #write(record: CommandRecord): void {
    writeDurably(this.#path(record.command), `${JSON.stringify(record, null, 1)}\n`);
    this.#records.set(record.command, record);
  }
}
