// SPDX-License-Identifier: GPL-2.0-or-later
// What the agent and an engine say to each other; docs/engines.md. An engine is a program: it could be replaced by anyone's.
import { fileNamePattern, objectIdPattern, plainNamePattern, sha256Pattern } from '../shared/formats/names.js';
import type { HashedFile } from '../shared/formats/intent.js';
import { checkWith } from '../shared/json-schema.js';

/** The file whose path is the engine's last argument. */
export interface EngineJob {
  format: 'build-infra/engine-job@1';
  job: string;
  component: string;
  version: string;
  env: string;
  dist: string;
  /** what was verified, for an engine that records it or looks once more */
  source: { url: string; tag: string; tagObject: string; commit: string };
  /** the verified tree; the engine does not write there */
  sourceTree: string;
  /** seconds since 1970 */
  sourceDateEpoch: number;
  /** an empty folder for artifacts and artifacts.json */
  output: string;
  /** an empty folder of the engine's own, removed after the job */
  work: string;
  /** a folder that stays between jobs and may be emptied at any time */
  cache: string;
  /** limit for the build itself */
  buildSeconds: number;
  /** what the distribution's configuration tells this engine, which checks it itself */
  options?: Record<string, unknown>;
}

/** `<output>/artifacts.json` of an engine that ended with 0. */
export interface EngineArtifacts {
  format: 'build-infra/artifacts@1';
  artifacts: HashedFile[];
}

/** `<output>/failure.json` of an engine that ended with 1. */
export interface EngineFailure {
  format: 'build-infra/engine-failure@1';
  code: string;
  detail: string;
}

export const documentLimitBytes = 1024 * 1024;

export const checkArtifacts = checkWith<EngineArtifacts>({
  type: 'object',
  additionalProperties: false,
  required: ['format', 'artifacts'],
  properties: {
    format: { const: 'build-infra/artifacts@1' },
    artifacts: {
      type: 'array',
      minItems: 1,
      maxItems: 1000,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['name', 'size', 'sha256'],
        properties: {
          name: { type: 'string', pattern: fileNamePattern },
          size: { type: 'integer', minimum: 0 },
          sha256: { type: 'string', pattern: sha256Pattern },
        },
      },
    },
  },
});

export const checkFailure = checkWith<EngineFailure>({
  type: 'object',
  additionalProperties: false,
  required: ['format', 'code', 'detail'],
  properties: {
    format: { const: 'build-infra/engine-failure@1' },
    code: { type: 'string', pattern: '^[A-Z][A-Z0-9_]{0,63}$' },
    detail: { type: 'string', maxLength: 1000 },
  },
});

export const checkEngineJob = checkWith<EngineJob>({
  type: 'object',
  additionalProperties: false,
  required: ['format', 'job', 'component', 'version', 'env', 'dist', 'source', 'sourceTree', 'sourceDateEpoch', 'output', 'work', 'cache', 'buildSeconds'],
  properties: {
    format: { const: 'build-infra/engine-job@1' },
    job: { type: 'string' },
    component: { type: 'string', pattern: plainNamePattern },
    version: { type: 'string' },
    env: { type: 'string', pattern: plainNamePattern },
    dist: { type: 'string', pattern: plainNamePattern },
    source: {
      type: 'object',
      additionalProperties: false,
      required: ['url', 'tag', 'tagObject', 'commit'],
      properties: { url: { type: 'string' }, tag: { type: 'string' }, tagObject: { type: 'string', pattern: objectIdPattern }, commit: { type: 'string', pattern: objectIdPattern } },
    },
    sourceTree: { type: 'string', pattern: '^/' },
    sourceDateEpoch: { type: 'integer', minimum: 0 },
    output: { type: 'string', pattern: '^/' },
    work: { type: 'string', pattern: '^/' },
    cache: { type: 'string', pattern: '^/' },
    buildSeconds: { type: 'integer', minimum: 1 },
    options: { type: 'object' },
  },
});
