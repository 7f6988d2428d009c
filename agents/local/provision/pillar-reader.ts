// SPDX-License-Identifier: GPL-2.0-or-later
// Reads and checks the pillar as a whole before anything is written; the first thing wrong is named in one line.
import { readFileSync } from 'node:fs';
import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv';
import { parseDocument } from 'yaml';
import { Refusal } from '../refusals.js';
import { pillarSchema } from './pillar-schema.js';
import type { Pillar } from './pillar.js';
import { checkMeaning } from './pillar-meaning.js';

const ajv = new Ajv({ allErrors: false, strict: true, allowUnionTypes: true, verbose: true, validateSchema: false });
let compiled: ValidateFunction<Pillar> | undefined;

function explain(error: ErrorObject): Refusal {
  const field = error.instancePath.split('/').slice(1).map((name) => name.replace(/~1/g, '/').replace(/~0/g, '~'));
  const title = (error.parentSchema as { title?: string } | undefined)?.title;
  switch (error.keyword) {
    case 'additionalProperties':
      return new Refusal('UNKNOWN_FIELD', 'is not a known field', [...field, error.params['additionalProperty'] as string].join('.'));
    case 'required':
      return new Refusal('MISSING_FIELD', 'is missing', [...field, error.params['missingProperty'] as string].join('.'));
    case 'uniqueItems':
      return new Refusal('BAD_VALUE', 'holds the same entry twice', field.join('.'));
    default: {
      const place = [...field, ...(error.propertyName === undefined ? [] : [error.propertyName])].join('.');
      return new Refusal('BAD_VALUE', `is not ${title ?? error.message ?? 'as it should be'}`, place);
    }
  }
}

/**
 * The content of `build-infra`, checked for shape and meaning.
 * @throws Refusal with the field as `build-envs.debian.key`; codes in salt/README.md
 */
export async function checkPillar(untrusted: unknown): Promise<Pillar> {
  const matchesShape = compiled ??= ajv.compile<Pillar>(pillarSchema);
  if (!matchesShape(untrusted)) {
    // For "anyOf" and "propertyNames" ajv lists the inner failures first; the outer one has the words for people.
    const errors = matchesShape.errors as ErrorObject[];
    throw explain(errors.find(({ keyword }) => keyword === 'anyOf') ?? errors[0] as ErrorObject);
  }
  await checkMeaning(untrusted);
  return untrusted;
}

/** Reads a pillar file: YAML 1.2, one document, top key `build-infra` and no other. Anchors and repeated keys are refused. */
export async function readPillar(path: string): Promise<Pillar> {
  const document = parseDocument(readFileSync(path, 'utf8'), { version: '1.2', uniqueKeys: true, strict: true });
  const problem = document.errors[0] ?? document.warnings[0];
  if (problem !== undefined) throw new Refusal('NOT_YAML', problem.message.split('\n')[0] as string);
  const untrusted = document.toJS({ maxAliasCount: 0 }) as unknown;
  const top = typeof untrusted === 'object' && untrusted !== null ? Object.keys(untrusted) : [];
  if (top.length !== 1 || top[0] !== 'build-infra') throw new Refusal('BAD_VALUE', 'a pillar has the one top key build-infra');
  return checkPillar((untrusted as { 'build-infra': unknown })['build-infra']);
}
