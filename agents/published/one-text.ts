// SPDX-License-Identifier: GPL-2.0-or-later
// A long history says the same few things in each of its documents, and each reading makes a new text of
// them: one of all that are alike is kept.

export class OneText {
  readonly #known = new Map<string, string>();

  of<T extends string>(text: T): T {
    const known = this.#known.get(text);
    if (known !== undefined) return known as T;
    this.#known.set(text, text);
    return text;
  }
}

/** A text of its own: a piece of a longer one keeps all of that in memory. @param text of latin1 */
export function detached(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1');
}
