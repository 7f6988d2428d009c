// SPDX-License-Identifier: GPL-2.0-or-later
// Size, then UTF-8, then JSON, then shape: the order in which every document from another VM is read.
import { Refusal } from './refusal.js';

/** Narrows an untrusted value or throws a Refusal. Compiled from a JSON Schema (json-schema.ts), or written by hand in the keys VM. */
export type Check<T> = (untrusted: unknown) => T;

/** @throws Refusal TOO_LARGE, NOT_UTF8, NOT_JSON, or what `check` throws. */
export function readDocument<T>(untrustedBytes: Uint8Array, limitBytes: number, check: Check<T>): T {
  if (untrustedBytes.length > limitBytes) throw new Refusal('TOO_LARGE', `the document is larger than ${limitBytes} bytes`);
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(untrustedBytes);
  } catch {
    throw new Refusal('NOT_UTF8', 'the document is not UTF-8');
  }
  let untrustedValue: unknown;
  try {
    untrustedValue = JSON.parse(text);
  } catch {
    throw new Refusal('NOT_JSON', 'the document is not JSON');
  }
  return check(untrustedValue);
}
