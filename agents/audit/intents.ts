// SPDX-License-Identifier: GPL-2.0-or-later
// Published intents: valid, named by their own hash, never changed, and with every log that they name published by then.
import { intentLimitBytes, intentSchema, intentsOf, type Intent, type IntentDocument } from '../shared/formats/intent.js';
import { readPublicDocument } from '../shared/json-document.js';
import { checkWith } from '../shared/json-schema.js';
import { Refusal } from '../shared/refusal.js';
import { AnnouncedNames } from './announced-names.js';
import type { Findings } from './findings.js';
import type { NewBytes, PublishedContent } from './published-content.js';

const checkIntent = checkWith<IntentDocument>(intentSchema);

/** A valid document, however often it is published. */
interface PublishedDocument {
  intents: readonly Intent[];
  /** the VM that it is of → places in the history of its first and its newest publication */
  sources: Map<string, { first: number; newest: number }>;
}

export class PublishedIntents {
  readonly names = new AnnouncedNames();
  readonly #bySha256 = new Map<string, PublishedDocument>();
  readonly #content: PublishedContent;
  readonly #findings: Findings;

  constructor(content: PublishedContent, findings: Findings) {
    this.#content = content;
    this.#findings = findings;
  }

  add(commit: string, commitIndex: number, file: NewBytes): void {
    const wrong = (code: 'BAD_INTENT' | 'INTENT_NAME' | 'LOG_NOT_PUBLISHED' | 'INTENT_TWICE', expected: string, found: string): void => {
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
      if (!log.startsWith(`${source}/`) || !this.#content.hasLog(log)) wrong('LOG_NOT_PUBLISHED', `${log}, published by ${source} with the intent or before`, 'it is not there');
    }
    let known = this.#bySha256.get(sha256);
    if (known === undefined) {
      // Logs and artifacts were looked at; a long history must not fill the memory with them.
      this.#bySha256.set(sha256, known = { intents: intents.map((intent) => ({ ...intent, logs: [], artifacts: [] })), sources: new Map() });
      this.names.add(known.intents);
    }
    // A grant names the document and its VM; of one document for two VMs nobody could say who asked.
    const [first] = known.sources.keys();
    if (first !== undefined && !known.sources.has(source)) wrong('INTENT_TWICE', `an intent of ${first} alone`, `one of ${source} too`);
    known.sources.set(source, { first: known.sources.get(source)?.first ?? commitIndex, newest: commitIndex });
  }

  /** What this document announced; nothing where it is not published. */
  announced(sha256: string): readonly Intent[] {
    return this.#bySha256.get(sha256)?.intents ?? [];
  }

  /** Places in the history of this VM's first and newest publication of the document. */
  published(sha256: string, source: string): { first: number; newest: number } | undefined {
    return this.#bySha256.get(sha256)?.sources.get(source);
  }
}
