// SPDX-License-Identifier: GPL-2.0-or-later
// What one build VM may have published in a day (UTC): a compromised one can neither fill the disk and every
// remote for ever, nor make the others wait behind it. What was published is counted where it is, in the
// repository, so a restart forgets nothing.
import { Refusal } from './refusals.js';

export interface IntentSharesOptions {
  /** documents */
  perDay: number;
  /** of documents and of what is published with them, bytes */
  bytesPerDay: number;
  /** YYYY-MM-DD, by the clock that makes the paths */
  today: () => string;
  sources: readonly string[];
  /** of that day, in the repository */
  published: (source: string, day: string) => Promise<Used>;
}

export interface Used {
  intents: number;
  bytes: number;
}

export class IntentShares {
  readonly #options: IntentSharesOptions;
  #day = '';
  readonly #used = new Map<string, Used>();

  constructor(options: IntentSharesOptions) {
    this.#options = options;
  }

  /** Counts what is in the repository already. */
  async start(): Promise<void> {
    const { sources, today, published } = this.#options;
    const day = this.#today();
    for (const source of sources) {
      const { intents, bytes } = await published(source, day);
      // Over midnight nothing of the new day can be there yet.
      if (today() === day) this.add(source, intents, bytes);
    }
  }

  #today(): string {
    const day = this.#options.today();
    if (day !== this.#day) this.#used.clear();
    return (this.#day = day);
  }

  #of(source: string): Used {
    this.#today();
    return this.#used.get(source) ?? { intents: 0, bytes: 0 };
  }

  /**
   * Whether one more of so many bytes is within the share.
   * @param waiting of this source, accepted and not in a commit yet
   * @throws Refusal DAY_SHARE_USED
   */
  demand(source: string, bytes: number, waiting: Used): void {
    const { perDay, bytesPerDay } = this.#options;
    const used = this.#of(source);
    const intents = used.intents + waiting.intents;
    const published = used.bytes + waiting.bytes;
    if (intents < perDay && published + bytes <= bytesPerDay) return;
    throw new Refusal(
      'DAY_SHARE_USED',
      `${source} has used its share of today: ${intents} of ${perDay} intents, ${published} of ${bytesPerDay} bytes, and this one has ${bytes}; a new day begins at 00:00 UTC`,
    );
  }

  /** They go into a commit; with minus, they did not. */
  add(source: string, intents: number, bytes: number): void {
    const used = this.#of(source);
    this.#used.set(source, { intents: used.intents + intents, bytes: used.bytes + bytes });
  }
}
