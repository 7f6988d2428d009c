// SPDX-License-Identifier: GPL-2.0-or-later
// JSON Schema by ajv. Not for the keys VM, whose bundle holds Node's builtins only.
import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv';
import type { Check } from './json-document.js';
import { Refusal } from './refusals.js';

// Strict mode refuses unknown keywords, and values of keywords that are none: to compile the schema of schemas as well would double every program's start.
const ajv = new Ajv({ allErrors: false, strict: true, allowUnionTypes: true, validateSchema: false });

/** A Check that throws Refusal BAD_DOCUMENT naming the first field that is wrong. Unknown fields are refused by the schemas. */
export function checkWith<T>(schema: object): Check<T> {
  // At its first use: a program knows many schemas, and most of its runs need few.
  let compiled: ValidateFunction | undefined;
  return (untrusted) => {
    const validate = compiled ??= ajv.compile(schema);
    if (validate(untrusted)) return untrusted as T;
    const first = (validate.errors as ErrorObject[])[0];
    const extra = first?.params['additionalProperty'] as string | undefined;
    const field = `${first?.instancePath ?? ''}${extra === undefined ? '' : `/${extra}`}` || '/';
    throw new Refusal('BAD_DOCUMENT', extra === undefined ? first?.message ?? 'does not match' : 'is not a known field', field);
  };
}
