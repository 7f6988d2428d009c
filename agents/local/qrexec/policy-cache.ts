// SPDX-License-Identifier: GPL-2.0-or-later
// The policy as it is now: read again at the first call after any of its files or folders changed, and never
// half.
import { statSync } from 'node:fs';
import { loadPolicy, type LoadOptions } from '../policy/policy-files.js';
import { PolicyError, type Rule } from '../policy/rule.js';

export class PolicyCache {
  readonly #folders: readonly string[];
  readonly #options: LoadOptions;
  #seen = new Map<string, string>();
  #rules: Rule[] | PolicyError | undefined;

  constructor(folders: readonly string[], options: LoadOptions = {}) {
    this.#folders = folders;
    this.#options = options;
  }

  /** The rules, or the mistake for which every call is denied. */
  current(): Rule[] | PolicyError {
    if (this.#rules === undefined || [...this.#seen].some(([path, before]) => fingerprint(path) !== before))
      this.#load();
    return this.#rules as Rule[] | PolicyError;
  }

  #load(): void {
    const seen = new Map<string, string>();
    try {
      this.#rules = loadPolicy(this.#folders, {
        ...this.#options,
        onRead: (path) => seen.set(path, fingerprint(path)),
      });
    } catch (error) {
      if (!(error instanceof PolicyError)) throw error;
      this.#rules = error;
    }
    this.#seen = seen;
  }
}

function fingerprint(path: string): string {
  const found = statSync(path, { bigint: true, throwIfNoEntry: false });
  return found === undefined ? '' : `${found.ino} ${found.size} ${found.mtimeNs} ${found.ctimeNs}`;
}
