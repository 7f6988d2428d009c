// SPDX-License-Identifier: GPL-2.0-or-later
// JSON Schema by ajv. Not for the keys VM, whose bundle holds Node's builtins only.
import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv';
import type { Check } from './json-document.js';
import { Refusal } from './refusals.js';

// Strict mode refuses unknown keywords, and values of keywords that are none: to compile the schema of
// schemas as well would double every program's start.
const ajv = new Ajv({ allErrors: false, strict: true, allowUnionTypes: true, validateSchema: false });

type Keys<S> = S extends { required: readonly (infer Key)[] } ? Key : never;
type Fields<P, Required> = { -readonly [K in Extract<keyof P, Required>]: Read<P[K]> } & {
  -readonly [K in Exclude<keyof P, Required>]?: Read<P[K]>;
};
type Scalars = { string: string; integer: number; number: number; boolean: boolean; null: null };
type OfType<S, Type> = Type extends keyof Scalars
  ? Scalars[Type]
  : Type extends 'array'
    ? S extends { items: infer Item }
      ? Read<Item>[]
      : unknown[]
    : Type extends 'object'
      ? S extends { properties: infer P }
        ? Fields<P, Keys<S>>
        : S extends { additionalProperties: infer Value extends object }
          ? Record<string, Read<Value>>
          : Record<string, unknown>
      : unknown;

/**
 * What a schema lets through, as a type. It is exact for the keywords that we use; a part that says nothing
 * of its type is `unknown`, which no document's type takes.
 */
export type Read<S> = S extends { const: infer Value }
  ? Value
  : S extends { enum: readonly (infer Value)[] }
    ? Value
    : S extends { anyOf: readonly (infer One)[] }
      ? Read<One>
      : S extends { oneOf: readonly (infer One)[] }
        ? Read<One>
        : S extends { type: readonly (infer Type)[] }
          ? OfType<S, Type>
          : S extends { type: infer Type }
            ? OfType<S, Type>
            : unknown;

export const text = (pattern: string) => ({ type: 'string', pattern }) as const;
export const orNull = <const S extends object>(schema: S) => ({ anyOf: [schema, { type: 'null' }] }) as const;
/** All of these fields, and no other. */
export const object = <const P extends Record<string, object>>(properties: P) =>
  ({
    type: 'object',
    additionalProperties: false,
    required: Object.keys(properties) as (keyof P)[],
    properties,
  }) as const;

/**
 * A Check that throws Refusal BAD_DOCUMENT naming the first field that is wrong. Unknown fields are refused
 * by the schemas.
 */
export function checkWith<const S extends object>(schema: S): Check<Read<S>> {
  // At its first use: a program knows many schemas, and most of its runs need few.
  let compiled: ValidateFunction | undefined;
  return (untrusted) => {
    const validate = (compiled ??= ajv.compile(schema));
    if (validate(untrusted)) return untrusted as Read<S>;
    const first = (validate.errors as ErrorObject[])[0];
    const extra = first?.params['additionalProperty'] as string | undefined;
    const field = `${first?.instancePath ?? ''}${extra === undefined ? '' : `/${extra}`}` || '/';
    throw new Refusal(
      'BAD_DOCUMENT',
      extra === undefined ? (first?.message ?? 'does not match') : 'is not a known field',
      field,
    );
  };
}
