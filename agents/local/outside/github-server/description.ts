// SPDX-License-Identifier: GPL-2.0-or-later
// Checks requests and answers against GitHub's published OpenAPI description (description.json, made by
// extract-description.mjs).
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Ajv, type ValidateFunction } from 'ajv';

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
type JsonObject = { [key: string]: Json };

type Which = 'api.github.com' | 'ghes-3.17';
type Documents = Record<Which, { paths: Record<string, Record<string, JsonObject>>; components: JsonObject }>;

/**
 * Beside the program, where it was laid into a machine of its own; else in the checkout that this code came
 * from.
 */
export function descriptionFile(): string {
  const here = dirname(fileURLToPath(import.meta.url));
  for (let folder = here; ; folder = dirname(folder)) {
    const found = [
      ...(folder === here ? [join(here, 'description.json')] : []),
      join(folder, 'agents/local/outside/github-server/description.json'),
    ].find((path) => existsSync(path));
    if (found !== undefined) return found;
    if (folder === dirname(folder))
      throw new Error('the description of GitHub was not found beside or above this program');
  }
}

/** OpenAPI 3.0's `nullable`, and for requests: what the description does not name is a spelling mistake. */
function asJsonSchema(value: Json, closed: boolean): Json {
  if (Array.isArray(value)) return value.map((one) => asJsonSchema(one, closed));
  if (value === null || typeof value !== 'object') return value;
  const { nullable, ...rest } = value;
  const made = Object.fromEntries(
    Object.entries(rest).map(([key, one]) => [
      key,
      key === 'enum' || key === 'default' ? one : asJsonSchema(one, closed),
    ]),
  );
  if (
    closed &&
    made['type'] === 'object' &&
    made['properties'] !== undefined &&
    made['additionalProperties'] === undefined
  )
    made['additionalProperties'] = false;
  return nullable === true ? { anyOf: [made, { type: 'null' }] } : made;
}

interface Parameter {
  name: string;
  in: 'path' | 'query' | 'header';
  required?: boolean;
  schema: JsonObject;
}

interface Operation {
  template: string;
  segments: string[];
  parameters: { parameter: Parameter; check: ValidateFunction }[];
  body: ValidateFunction | undefined;
  bodyRequired: boolean;
  answers: Map<string, ValidateFunction>;
}

export interface MatchedOperation {
  template: string;
  path: Record<string, string>;
  query: Record<string, string>;
  violations: string[];
  checkAnswer: (status: number, body: unknown) => string[];
}

const say = (check: ValidateFunction): string =>
  (check.errors ?? [])
    .map((error) => `${error.instancePath} ${error.message ?? ''} ${JSON.stringify(error.params)}`)
    .join('; ');
const typed = (text: string, schema: JsonObject): unknown =>
  schema['type'] === 'integer' && /^-?[0-9]+$/.test(text)
    ? Number(text)
    : schema['type'] === 'boolean' && /^(true|false)$/.test(text)
      ? text === 'true'
      : text;

const made = new Map<string, Description>();

/** Compiled once a process. */
export function descriptionOf(which: Which): Description {
  const known = made.get(which) ?? new Description(which);
  made.set(which, known);
  return known;
}

class Description {
  readonly #operations = new Map<string, Operation[]>();

  constructor(which: Which) {
    const { paths, components } = (JSON.parse(readFileSync(descriptionFile(), 'utf8')) as Documents)[which];
    const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: false });
    ajv.addSchema({ $id: 'open', components: asJsonSchema(components, false) as object });
    ajv.addSchema({ $id: 'closed', components: asJsonSchema(components, true) as object });
    const compile = (schema: Json, closed: boolean): ValidateFunction =>
      ajv.compile(
        JSON.parse(
          JSON.stringify(asJsonSchema(schema, closed)).replaceAll(
            '"#/components/',
            `"${closed ? 'closed' : 'open'}#/components/`,
          ),
        ) as object,
      );
    const resolve = (value: Json): JsonObject => {
      const reference = (value as JsonObject)['$ref'];
      if (typeof reference !== 'string') return value as JsonObject;
      const [kind, name] = reference.replace('#/components/', '').split('/') as [string, string];
      return (components[kind] as JsonObject)[name] as JsonObject;
    };
    for (const [template, methods] of Object.entries(paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        const requestBody =
          operation['requestBody'] === undefined ? undefined : resolve(operation['requestBody']);
        const schemaOf = (holder: JsonObject | undefined): Json | undefined =>
          ((holder?.['content'] as JsonObject | undefined)?.['application/json'] as JsonObject | undefined)?.[
            'schema'
          ];
        const body = schemaOf(requestBody);
        const answers = Object.entries((operation['responses'] ?? {}) as JsonObject).flatMap(
          ([status, answer]): [string, ValidateFunction][] => {
            const schema = schemaOf(resolve(answer));
            return schema === undefined ? [] : [[status, compile(schema, false)]];
          },
        );
        const parameters = ((operation['parameters'] ?? []) as Json[]).map(
          (one) => resolve(one) as unknown as Parameter,
        );
        const known = this.#operations.get(method) ?? [];
        known.push({
          template,
          segments: template.split('/'),
          bodyRequired: requestBody?.['required'] === true,
          parameters: parameters.map((parameter) => ({ parameter, check: compile(parameter.schema, true) })),
          body: body === undefined ? undefined : compile(body, true),
          answers: new Map(answers),
        });
        this.#operations.set(method, known);
      }
    }
  }

  /** Undefined: the description knows no such call. */
  match(method: string, path: string, query: URLSearchParams, body: unknown): MatchedOperation | undefined {
    const segments = path.split('/');
    for (const operation of this.#operations.get(method.toLowerCase()) ?? []) {
      if (operation.segments.length !== segments.length) continue;
      const found: Record<string, string> = {};
      if (
        !operation.segments.every((segment, index) => {
          const name = /^\{(.+)\}$/.exec(segment)?.[1];
          if (name !== undefined) found[name] = decodeURIComponent(segments[index] as string);
          return name !== undefined || segment === segments[index];
        })
      )
        continue;
      return {
        template: operation.template,
        path: found,
        query: Object.fromEntries(query),
        violations: violationsOf(operation, found, query, body),
        checkAnswer: (status, answer) => checkAnswer(operation, status, answer),
      };
    }
    return undefined;
  }
}

function violationsOf(
  operation: Operation,
  path: Record<string, string>,
  query: URLSearchParams,
  body: unknown,
): string[] {
  const violations: string[] = [];
  for (const { parameter, check } of operation.parameters) {
    if (parameter.in === 'header') continue;
    const given = parameter.in === 'path' ? path[parameter.name] : (query.get(parameter.name) ?? undefined);
    if (given === undefined) {
      if (parameter.required === true) violations.push(`${parameter.name} is missing`);
    } else if (!check(typed(given, parameter.schema))) {
      violations.push(`${parameter.name}: ${say(check)}`);
    }
  }
  for (const name of query.keys())
    if (!operation.parameters.some(({ parameter }) => parameter.in === 'query' && parameter.name === name))
      violations.push(`there is no parameter ${name}`);
  if (body === undefined) {
    if (operation.bodyRequired) violations.push('there is no body');
  } else if (operation.body === undefined) {
    violations.push('there is a body');
  } else if (!operation.body(body)) {
    violations.push(`body: ${say(operation.body)}`);
  }
  return violations;
}

function checkAnswer(operation: Operation, status: number, body: unknown): string[] {
  const check = operation.answers.get(String(status));
  if (check === undefined || check(body)) return [];
  return [`the test server's own answer ${status} to ${operation.template}: ${say(check)}`];
}
