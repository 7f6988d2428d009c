// SPDX-License-Identifier: GPL-2.0-or-later
// Published intents: valid, named by their own hash, never changed, and with every log that they name
// published by then.
import {
  intentLimitBytes,
  intentSchema,
  intentsOf,
  type Intent,
  type IntentDocument,
} from '../shared/formats/intent.js';
import { readPublicDocument, type Check } from '../shared/json-document.js';
import { checkWith } from '../shared/json-schema.js';
import { Refusal } from './refusals.js';
import { AnnouncedNames, type AnnouncedIntent } from './announced-names.js';
import type { Findings } from './findings.js';
import { OneText } from '../published/one-text.js';
import type { NewBytes, PublishedContent } from './published-content.js';

const checkIntent: Check<IntentDocument> = checkWith(intentSchema);

/** One VM's publications of a document: places in the history. */
interface Publications {
  readonly first: number;
  newest: number;
}

/** A valid document, however often it is published. */
interface PublishedDocument extends Publications {
  readonly sha256: string;
  readonly intents: readonly AnnouncedIntent[];
  /** the VM that published it first; others, which have none of their own, by name */
  readonly source: string;
  others: Map<string, Publications> | undefined;
}

export class PublishedIntents {
  readonly names = new AnnouncedNames();
  readonly #texts = new OneText();
  readonly #bySha256 = new Map<string, PublishedDocument>();
  readonly #content: PublishedContent;
  readonly #findings: Findings;

  constructor(content: PublishedContent, findings: Findings) {
    this.#content = content;
    this.#findings = findings;
  }

  add(commit: string, commitIndex: number, file: NewBytes): void {
    const wrong = (
      code: 'BAD_INTENT' | 'INTENT_NAME' | 'LOG_NOT_PUBLISHED' | 'INTENT_TWICE',
      expected: string,
      found: string,
    ): void => {
      this.#findings.wrong('intents', { code, commit, path: file.path, expected, found });
    };
    this.#findings.looked('intents');
    if (!file.isNew) return wrong('BAD_INTENT', 'an intent never changes', 'bytes were appended');
    const [, source = '', , name = ''] = file.path.split('/');
    const { sha256 } = file;
    if (name !== `${sha256}.json`) return wrong('INTENT_NAME', `${sha256}.json`, name);
    let intents: Intent[];
    try {
      intents = intentsOf(readPublicDocument(file.bytes, intentLimitBytes, checkIntent));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return wrong('BAD_INTENT', 'a document of build-infra/intent@1', error.message);
    }
    for (const log of new Set(intents.flatMap((intent) => intent.logs))) {
      if (!log.startsWith(`${source}/`) || !this.#content.hasLog(log))
        wrong(
          'LOG_NOT_PUBLISHED',
          `${log}, published by ${source} with the intent or before`,
          'it is not there',
        );
    }
    const known = this.#bySha256.get(sha256);
    if (known === undefined) {
      const kept = intents.map((intent) => this.#kept(intent));
      this.#bySha256.set(sha256, {
        sha256,
        intents: kept,
        source: this.#texts.of(source),
        first: commitIndex,
        newest: commitIndex,
        others: undefined,
      });
      this.names.add(kept);
      return;
    }
    // A grant names the document and its VM; of one document for two VMs nobody could say who asked.
    const before = this.published(sha256, source);
    if (before !== undefined) before.newest = commitIndex;
    else {
      wrong('INTENT_TWICE', `an intent of ${known.source} alone`, `one of ${source} too`);
      (known.others ??= new Map()).set(source, { first: commitIndex, newest: commitIndex });
    }
  }

  #kept({ purpose, dist, key, mode, payload: { name, size, sha256 } }: Intent): AnnouncedIntent {
    return {
      purpose: this.#texts.of(purpose),
      dist: this.#texts.of(dist),
      key: this.#texts.of(key),
      mode: this.#texts.of(mode),
      payload: { name, size, sha256 },
    };
  }

  /** What this document announced; nothing where it is not published. */
  announced(sha256: string): readonly AnnouncedIntent[] {
    return this.#bySha256.get(sha256)?.intents ?? [];
  }

  /** Places in the history of this VM's first and newest publication of the document. */
  published(sha256: string, source: string): Publications | undefined {
    const document = this.#bySha256.get(sha256);
    return document?.source === source ? document : document?.others?.get(source);
  }

  /** The same hash of a document, as the one text that is kept of it. */
  text(sha256: string): string {
    return this.#bySha256.get(sha256)?.sha256 ?? sha256;
  }
}
