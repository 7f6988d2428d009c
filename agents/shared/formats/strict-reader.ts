// SPDX-License-Identifier: GPL-2.0-or-later
// Hand-written readers of JSON values, tied to the types that they return, for programs that hold Node's
// builtins only. Those of the keys VM accept exactly what the JSON Schemas in agents/shared accept;
// test/keys/documents.test.ts compares the two on good and mutated documents.
import { Refusal } from '../refusals.js';
import { matches } from './names.js';

/**
 * Narrows `untrusted` or refuses; `at` is where it stands in the document, for the person who reads the
 * refusal.
 */
export type Reader<T> = (untrusted: unknown, at: string) => T;

function bad(at: string, why: string): Refusal {
  return new Refusal('BAD_DOCUMENT', why, at === '' ? '/' : at);
}

export function text(pattern: string): Reader<string> {
  return (untrusted, at) => {
    if (!matches(pattern, untrusted)) throw bad(at, 'is not text of the expected form');
    return untrusted;
  };
}

export const anyText: Reader<string> = (untrusted, at) => {
  if (typeof untrusted !== 'string') throw bad(at, 'is not text');
  return untrusted;
};

export function oneOf<const T extends string>(values: readonly T[]): Reader<T> {
  return (untrusted, at) => {
    const found = values.find((value) => value === untrusted);
    if (found === undefined) throw bad(at, 'is not one of the known words');
    return found;
  };
}

export function whole(minimum: number, maximum: number): Reader<number> {
  return (untrusted, at) => {
    if (
      typeof untrusted !== 'number' ||
      !Number.isInteger(untrusted) ||
      untrusted < minimum ||
      untrusted > maximum
    )
      throw bad(at, 'is not a whole number in range');
    return untrusted;
  };
}

export function orNull<T>(reader: Reader<T>): Reader<T | null> {
  return (untrusted, at) => (untrusted === null ? null : reader(untrusted, at));
}

export function list<T>(reader: Reader<T>, minimum: number, maximum: number): Reader<T[]> {
  return (untrusted, at) => {
    if (!Array.isArray(untrusted) || untrusted.length < minimum || untrusted.length > maximum)
      throw bad(at, 'is not a list of the expected length');
    return untrusted.map((item, index) => reader(item, `${at}/${index}`));
  };
}

/** By names that nobody knows before. */
export function dictionary<T>(reader: Reader<T>): Reader<Record<string, T>> {
  return (untrusted, at) => {
    if (typeof untrusted !== 'object' || untrusted === null || Array.isArray(untrusted))
      throw bad(at, 'is not an object');
    return Object.fromEntries(
      Object.entries(untrusted).map(([name, value]) => [name, reader(value, `${at}/${name}`)]),
    );
  };
}

/**
 * Every field of `required`, possibly those of `optional`, and no other. The result is a new object with
 * those fields only.
 */
export function record<T extends object, O extends object = object>(
  required: { [K in keyof T]: Reader<T[K]> },
  optional: { [K in keyof O]: Reader<O[K]> } = {} as { [K in keyof O]: Reader<O[K]> },
): Reader<T & Partial<O>> {
  const readers = new Map<string, Reader<unknown>>([
    ...Object.entries<Reader<unknown>>(required),
    ...Object.entries<Reader<unknown>>(optional),
  ]);
  return (untrusted, at) => {
    if (typeof untrusted !== 'object' || untrusted === null || Array.isArray(untrusted))
      throw bad(at, 'is not an object');
    const given = new Map<string, unknown>(Object.entries(untrusted));
    for (const name of given.keys())
      if (!readers.has(name)) throw bad(`${at}/${name}`, 'is not a known field');
    for (const name of Object.keys(required)) if (!given.has(name)) throw bad(`${at}/${name}`, 'is missing');
    const fields = [...given].map(
      ([name, value]) => [name, (readers.get(name) as Reader<unknown>)(value, `${at}/${name}`)] as const,
    );
    return Object.fromEntries(fields) as T & Partial<O>;
  };
}
