// SPDX-License-Identifier: GPL-2.0-or-later
// Published intents: valid, named by their own hash, never changed, and with every log that they name published by then.
import { intentLimitBytes, intentSchema, intentsOf, type Intent, type IntentDocument } from '../shared/formats/intent.js';
import { codenameOf, suites } from '../shared/formats/suites.js';
import { readPublicDocument } from '../shared/json-document.js';
import { checkWith } from '../shared/json-schema.js';
import { Refusal } from '../shared/refusal.js';
import type { Findings } from './findings.js';
import type { NewBytes, PublishedContent } from './published-content.js';

const checkIntent = checkWith<IntentDocument>(intentSchema);

export interface PublishedIntent {
  source: string;
  intents: Intent[];
  /** 0 is the root commit */
  commitIndex: number;
}

export class PublishedIntents {
  readonly #bySha256 = new Map<string, PublishedIntent[]>();
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
    const known = this.#bySha256.get(sha256) ?? [];
    // A grant names the document and its VM; of one document for two VMs nobody could say who asked.
    const other = known.find((one) => one.source !== source);
    if (other !== undefined) wrong('INTENT_TWICE', `an intent of ${other.source} alone`, `one of ${source} too`);
    // Logs and artifacts were looked at; a long history must not fill the memory with them.
    this.#bySha256.set(sha256, [...known, { source, intents: intents.map((intent) => ({ ...intent, logs: [], artifacts: [] })), commitIndex }]);
  }

  /** Each publication of this document, oldest first. */
  named(sha256: string): readonly PublishedIntent[] {
    return this.#bySha256.get(sha256) ?? [];
  }

  /** Whether anything of a distribution was to be signed with this key for this purpose. */
  isAnnounced(key: string, purpose: Intent['purpose'], dist: string): boolean {
    return [...this.#bySha256.values()].some((published) => published.some((one) => one.intents.some((intent) => intent.key === key && intent.purpose === purpose && intent.dist === dist)));
  }

  /** Suites whose Release somebody wanted signed with this key; `none` is what a person says who signs by hand. */
  suites(key: string): Set<string> {
    const all = [...this.#bySha256.values()].flatMap((published) => published.flatMap((one) => one.intents));
    const dists = new Set(all.filter((intent) => intent.purpose === 'apt-release' && intent.key === key && intent.dist !== 'none').map((intent) => intent.dist));
    // One Release may stand for the distribution itself, or one for each of its suites.
    return new Set([...dists].flatMap((dist) => [dist, ...suites.map((suite) => codenameOf(dist, suite))]));
  }

  /** Names of payloads of these purposes that were to be signed with this key. */
  payloadNames(key: string, purposes: readonly Intent['purpose'][]): Set<string> {
    const all = [...this.#bySha256.values()].flatMap((published) => published.flatMap((one) => one.intents));
    return new Set(all.filter((intent) => purposes.includes(intent.purpose) && intent.key === key).map((intent) => intent.payload.name));
  }
}
