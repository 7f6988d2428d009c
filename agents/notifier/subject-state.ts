// SPDX-License-Identifier: GPL-2.0-or-later
// What we know of one status issue and of what was said there, replaced durably before and after each thing
// that must not happen twice.
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder, readIfThere, removeDurably, writeDurably } from '../shared/durable-files.js';
import { readDocument, type Check } from '../shared/json-document.js';
import { checkWith } from '../shared/json-schema.js';
import { Refusal } from './refusals.js';
import { GitHubTrouble } from './github/trouble.js';

export interface SubjectState {
  format: 'build-infra/notifier-subject@1';
  title: string;
  /** of the status issue; null: not known */
  issue: number | null;
  /** looked for a second issue of the same marker after ours was made */
  alone: boolean;
  /** what was said and need not be said again */
  said: string[];
  /** what was begun and not answered: mark → when. It may have happened */
  begun: Record<string, string>;
  /** labels of ours that shall be there, and all that we ever had a word on */
  labels: { wanted: string[]; known: string[] };
  /** Its file was damaged, and this one began without it: what GitHub shows decides what was said before. */
  anew?: boolean;
}

const marksLimit = 5000;
const strings = { type: 'array', maxItems: marksLimit, items: { type: 'string', maxLength: 500 } } as const;
const check: Check<SubjectState> = checkWith({
  type: 'object',
  additionalProperties: false,
  required: ['format', 'title', 'issue', 'alone', 'said', 'begun', 'labels'],
  properties: {
    format: { const: 'build-infra/notifier-subject@1' },
    title: { type: 'string' },
    issue: { type: ['integer', 'null'], minimum: 1 },
    alone: { type: 'boolean' },
    said: strings,
    begun: { type: 'object', additionalProperties: { type: 'string' } },
    anew: { type: 'boolean' },
    labels: {
      type: 'object',
      additionalProperties: false,
      required: ['wanted', 'known'],
      properties: { wanted: strings, known: strings },
    },
  },
});

const emptyState = (title: string): SubjectState => ({
  format: 'build-infra/notifier-subject@1',
  title,
  issue: null,
  alone: false,
  said: [],
  begun: {},
  labels: { wanted: [], known: [] },
});

export class SubjectStates {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
    makeFolder(folder, 0o700);
  }

  /** A damaged one begins anew: nothing is said twice for it, and no later document waits for a person. */
  read(id: string, title: string): SubjectState {
    try {
      const bytes = readIfThere(join(this.#folder, `${id}.json`));
      return bytes === undefined ? emptyState(title) : readDocument(bytes, 8 * 1024 * 1024, check);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return { ...emptyState(title), anew: true };
    }
  }

  /** Of another subject than the one that is spoken of: what is damaged there is nothing known. */
  labelsOf(id: string): SubjectState['labels'] {
    return this.read(id, '').labels;
  }

  all(): SubjectState[] {
    return readdirSync(this.#folder)
      .filter((name) => name.endsWith('.json'))
      .map((name) => this.read(name.slice(0, -'.json'.length), ''));
  }

  /** The oldest marks go where there are more than can be read again. */
  write(id: string, state: SubjectState): void {
    if (state.said.length > marksLimit)
      state.said = [
        ...state.said.filter((mark) => mark === 'issue'),
        ...state.said.filter((mark) => mark !== 'issue').slice(1 - marksLimit),
      ];
    writeDurably(join(this.#folder, `${id}.json`), `${JSON.stringify(state, null, 1)}\n`, 0o600);
  }

  /**
   * Of issues that nobody spoke about for so long only the number would be asked for, and that is found again
   * by its marker.
   */
  forgetOlderThan(before: Date): void {
    for (const name of readdirSync(this.#folder)) {
      if (statSync(join(this.#folder, name)).mtimeMs < before.getTime())
        removeDurably(join(this.#folder, name));
    }
  }
}

/**
 * GitHub shows what was made a moment later to others: how long to wait before "it is not there" is believed,
 * in milliseconds.
 */
export const settleMs = 15_000;

export interface OnceOptions<T> {
  now: Date;
  save: () => void;
  /** Whether it happened before. Asked only where a beginning is noted, or notes were lost. */
  find: () => Promise<T | undefined>;
  make: () => Promise<T>;
}

/**
 * Does a thing once, over kills, lost answers and repetitions: a beginning is on disk before the request
 * leaves, and as long as no end is, what is looked for on GitHub first. `undefined` where it was noted as
 * done before.
 */
export async function once<T>(
  state: SubjectState,
  mark: string,
  options: OnceOptions<T>,
): Promise<T | undefined> {
  if (state.said.includes(mark)) return undefined;
  const begun = Object.hasOwn(state.begun, mark) ? state.begun[mark] : undefined;
  let result: T | undefined;
  if (begun !== undefined || state.anew === true) {
    result = await options.find();
    const age = begun === undefined ? settleMs : options.now.getTime() - Date.parse(begun);
    if (result === undefined && age >= 0 && age < settleMs)
      throw new GitHubTrouble(
        'later',
        'UNSETTLED',
        'what was begun before may still show up',
        0,
        settleMs - age,
      );
  }
  if (result === undefined) {
    state.begun[mark] = options.now.toISOString();
    options.save();
    try {
      result = await options.make();
    } catch (error) {
      // An answer "no" is certain: nothing happened.
      if (error instanceof GitHubTrouble && error.kind !== 'later') {
        if (begun === undefined) delete state.begun[mark];
        else state.begun[mark] = begun;
        options.save();
      }
      throw error;
    }
  }
  delete state.begun[mark];
  state.said.push(mark);
  options.save();
  return result;
}
