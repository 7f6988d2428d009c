// SPDX-License-Identifier: GPL-2.0-or-later
// Payloads that have to be public, beside their intent: docs/formats.md, "Intent". Of each only what a client
// would take it for is kept.
import { publishedPayloadLimitBytes, publishedPayloads } from '../shared/formats/intent.js';
import { payloadPath } from '../shared/formats/publication.js';
import type { FindingCode, Findings } from './findings.js';
import type { PublishedIntents } from './intents.js';
import type { FileVersion } from './kept-files.js';
import type { NewBytes } from './published-content.js';
import { readMetadata } from '../published/packages/taken-metadata.js';
import type { PublishedMetadata } from './signed-metadata.js';

export class PublishedPayloads {
  /**
   * SHA-256 of a payload → where it was published first, if a client would take it for a repository's
   * metadata
   */
  readonly known = new Map<string, PublishedMetadata | undefined>();
  readonly #intents: PublishedIntents;
  readonly #findings: Findings;

  constructor(intents: PublishedIntents, findings: Findings) {
    this.#intents = intents;
    this.#findings = findings;
  }

  /**
   * Judges one commit, whose intents are known already.
   * @param intents its new intents @param payloads its new payloads @param files all files as they stand
   * after it
   */
  add(
    commit: string,
    commitIndex: number,
    intents: readonly NewBytes[],
    payloads: readonly NewBytes[],
    files: Pick<ReadonlyMap<string, FileVersion>, 'get' | 'has'>,
  ): void {
    const wrong = (code: FindingCode, path: string, expected: string, found: string): void =>
      this.#findings.wrong('payloads', { code, commit, path, expected, found });
    const demanded = new Set<string>();
    /** the text of each hash that its intent keeps already */
    const named = new Map<string, string>();
    const here = new Map(payloads.map((file) => [file.path, file]));
    for (const { path } of intents) {
      const [, source = '', day = '', name = ''] = path.split('/');
      const intent = name.slice(0, 64);
      const announced =
        this.#intents.published(intent, source)?.newest === commitIndex
          ? this.#intents.announced(intent)
          : [];
      const published = new Map(publishedPayloads(announced).map((one) => [one.sha256, one]));
      for (const { sha256, size } of published.values()) {
        const at = payloadPath(source, day, intent, sha256);
        demanded.add(at);
        named.set(sha256, sha256);
        this.#findings.looked('payloads');
        const file = here.has(at) ? files.get(at) : undefined;
        const expected = `${size} bytes sha256:${sha256}, in the commit of the intent`;
        if (file === undefined)
          wrong(
            'PAYLOAD_NOT_PUBLISHED',
            at,
            expected,
            files.has(at) ? 'published by an earlier commit' : 'nothing',
          );
        else if (size > publishedPayloadLimitBytes)
          wrong('PAYLOAD_TOO_LARGE', at, `at most ${publishedPayloadLimitBytes} bytes`, `${size} bytes`);
        else if (file.size !== size || file.sha256 !== sha256)
          wrong('PAYLOAD_DIFFERS', at, expected, `${file.size} bytes sha256:${file.sha256}`);
      }
      for (const { payload } of announced) {
        const first = published.get(payload.sha256);
        if (first !== undefined && first.size !== payload.size)
          wrong(
            'PAYLOAD_DIFFERS',
            path,
            `one size of sha256:${payload.sha256}`,
            `${first.size} and ${payload.size} bytes`,
          );
      }
    }
    for (const { path, bytes, isNew, sha256 } of payloads) {
      if (!isNew) wrong('PAYLOAD_DIFFERS', path, 'a payload never changes', 'bytes were appended');
      else if (!demanded.has(path))
        wrong('PAYLOAD_WITHOUT_INTENT', path, 'an intent of the same commit that names it', 'none');
      if (bytes.length > publishedPayloadLimitBytes || this.known.has(sha256)) continue;
      const metadata = readMetadata(bytes);
      this.known.set(named.get(sha256) ?? sha256, metadata === undefined ? undefined : { path, metadata });
    }
  }
}
