// SPDX-License-Identifier: GPL-2.0-or-later
// Size, then UTF-8, then JSON, then shape: the order in which every document from another VM is read.
import { Refusal } from './refusals.js';

/**
 * Narrows an untrusted value or throws a Refusal. Compiled from a JSON Schema (json-schema.ts), or written by
 * hand in the keys VM.
 */
export type Check<T> = (untrusted: unknown) => T;

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function parse(untrustedBytes: Uint8Array, limitBytes: number): { text: string; untrustedValue: unknown } {
  if (untrustedBytes.length > limitBytes)
    throw new Refusal('TOO_LARGE', `the document is larger than ${limitBytes} bytes`);
  let text: string;
  try {
    text = utf8.decode(untrustedBytes);
  } catch {
    throw new Refusal('NOT_UTF8', 'the document is not UTF-8');
  }
  try {
    return { text, untrustedValue: JSON.parse(text) };
  } catch {
    throw new Refusal('NOT_JSON', 'the document is not JSON');
  }
}

/** @throws Refusal TOO_LARGE, NOT_UTF8, NOT_JSON, or what `check` throws. */
export function readDocument<T>(untrustedBytes: Uint8Array, limitBytes: number, check: Check<T>): T {
  return check(parse(untrustedBytes, limitBytes).untrustedValue);
}

/**
 * A document that strangers will read with readers of their own, and that must tell each of them the same: as
 * readDocument, and refused where a field stands twice, or a number or text is spelled otherwise than
 * JSON.stringify spells it. Blanks between tokens are free.
 * @throws Refusal AMBIGUOUS_JSON, and as readDocument
 */
export function readPublicDocument<T>(untrustedBytes: Uint8Array, limitBytes: number, check: Check<T>): T {
  const { text, untrustedValue } = parse(untrustedBytes, limitBytes);
  const spelled = JSON.stringify(untrustedValue);
  const document = check(untrustedValue);
  if (text === spelled) return document;
  const withoutBlanks = text.replace(/"[^"\\]*(?:\\.[^"\\]*)*"|[\t\n\r ]+/g, (token) =>
    token.startsWith('"') ? token : '',
  );
  if (withoutBlanks !== spelled)
    throw new Refusal('AMBIGUOUS_JSON', 'a field is there twice, or a value is spelled in an unusual way');
  return document;
}
