// SPDX-License-Identifier: GPL-2.0-or-later
// What the agent and an engine say to each other; docs/engines.md. An engine is a program: it could be
// replaced by anyone's.
import {
  fileNamePattern,
  fingerprintPattern,
  objectIdPattern,
  plainNamePattern,
  sha256Pattern,
  versionPattern,
} from '../shared/formats/names.js';
import type { HashedFile } from '../shared/formats/intent.js';
import { lineWordPattern, suites } from '../shared/formats/suites.js';
import { moduleNamePattern } from './source-tree/build-file.js';
import type { Check } from '../shared/json-document.js';
import { checkWith } from '../shared/json-schema.js';

/** What is built, and so which kind of repository it goes to. */
export const packageKinds = ['deb', 'rpm'] as const;
export type PackageKind = (typeof packageKinds)[number];

/**
 * An engine of a distribution with `publisher: engine` is called for each; any other one for `build` alone.
 */
export type EngineStage = 'build' | 'sign' | 'publish';

/** The file whose path is the engine's last argument, but for what it is built from. */
export interface EngineCall {
  format: 'build-infra/engine-job@1';
  stage: EngineStage;
  job: string;
  component: string;
  version: string;
  env: string;
  dist: string;
  /** the kind that is expected */
  packages: PackageKind;
  /** seconds since 1970 */
  sourceDateEpoch: number;
  /** an empty folder for artifacts and artifacts.json */
  output: string;
  /** an empty folder of the engine's own, removed after this call */
  work: string;
  /** a folder of this job and distribution: emptied before `build`, then kept until the job is done */
  state: string;
  /** a folder that stays between jobs and may be emptied at any time */
  cache: string;
  /** limit for the build itself */
  buildSeconds: number;
  /**
   * `build`: packages alone, anew from a source that is published as version `of`; theirs is
   * `<of>+b<number>`. An engine that does not know it refuses
   */
  rebuild?: { of: string; number: number };
  /**
   * `build`: this distribution's own repository, as the world reads it, once something was published to it:
   * build dependencies may come from there. `suites`: the word before those of the job's line, where it has
   * some of its own there
   */
  published?: { url: string; publicKey: string; suites?: string };
  /** what the distribution's configuration tells this engine, which checks it itself */
  options?: Record<string, unknown>;
  /** `sign` and `publish`: folder of what `build` announced, as it was frozen; not to be written to */
  artifacts?: string;
  /**
   * `sign` and `publish`: whoever signs calls this gpg, with this key (fingerprint) and the environment that
   * the engine was started with
   */
  signing?: { gpg: string; key: string; publicKey: string };
  /** `publish`: folder of what `sign` announced, as it was checked; not to be written to */
  signed?: string;
  /** `publish`: the environment's repositories of this kind of packages */
  repository?: {
    /** ssh://[user@]host[:port]/path, reached with sshConfig */
    upload: string;
    /** where the world reads that path */
    url: string;
    sshConfig: string;
    /** of the engine's own, for all its jobs, and stays: what was published so far */
    folder: string;
  };
}

/** Packages of a tag. */
export interface EngineJob extends EngineCall {
  /**
   * what was verified, for an engine that records it or looks once more; `modules`: submodules that the tree
   * wants archived, with the commits that it pins
   */
  source: { url: string; tag: string; tagObject: string; commit: string; modules?: Record<string, string> };
  /** the verified tree; the engine does not write there */
  sourceTree: string;
}

/**
 * A template, of no tag: the engine gets everything that is in it by its own means, and is called for `build`
 * alone.
 */
export interface EngineTemplateJob extends EngineCall {
  /**
   * `component` is qubes-template-<name>, `version` is X.Y.0-<timestamp>; `distribution` is the pillar's word
   * for what is in it
   */
  template: { name: string; release: string; timestamp: string; distribution: string };
}

/**
 * `<output>/artifacts.json` of an engine that ended with 0: the packages; the same names signed; or, after
 * `publish`, the signed index.
 */
export interface EngineArtifacts {
  format: 'build-infra/artifacts@1';
  artifacts: HashedFile[];
  /**
   * after `publish`: where below `repository.url` the world finds it now, in which suite (deb), and what that
   * is in our words
   */
  published?: { path: string; suite?: string; repository?: string };
}

/** The one file that `publish` announces: the index that it had signed, as the world shall see it. */
export const indexNames = { deb: 'InRelease', rpm: 'repomd.xml' } as const;

/** `<output>/failure.json` of an engine that ended with 1. */
export interface EngineFailure {
  format: 'build-infra/engine-failure@1';
  code: string;
  detail: string;
}

export const documentLimitBytes = 1024 * 1024;

export const checkArtifacts: Check<EngineArtifacts> = checkWith({
  type: 'object',
  additionalProperties: false,
  required: ['format', 'artifacts'],
  properties: {
    format: { const: 'build-infra/artifacts@1' },
    artifacts: {
      type: 'array',
      minItems: 1,
      maxItems: 999,
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
    published: {
      type: 'object',
      additionalProperties: false,
      required: ['path'],
      properties: {
        path: {
          type: 'string',
          pattern: '^[A-Za-z0-9][A-Za-z0-9._+~-]{0,99}(?:/[A-Za-z0-9][A-Za-z0-9._+~-]{0,99}){0,7}$',
        },
        suite: { type: 'string', pattern: '^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$' },
        repository: { enum: [...suites, 'unstable'] },
      },
    },
  },
});

export const checkFailure: Check<EngineFailure> = checkWith({
  type: 'object',
  additionalProperties: false,
  required: ['format', 'code', 'detail'],
  properties: {
    format: { const: 'build-infra/engine-failure@1' },
    code: { type: 'string', pattern: '^[A-Z][A-Z0-9_]{0,63}$' },
    detail: { type: 'string', maxLength: 1000 },
  },
});

const common = {
  format: { const: 'build-infra/engine-job@1' },
  stage: { enum: ['build', 'sign', 'publish'] },
  job: { type: 'string' },
  component: { type: 'string', pattern: plainNamePattern },
  version: { type: 'string' },
  env: { type: 'string', pattern: plainNamePattern },
  dist: { type: 'string', pattern: plainNamePattern },
  packages: { enum: packageKinds },
  sourceDateEpoch: { type: 'integer', minimum: 0 },
  output: { type: 'string', pattern: '^/' },
  work: { type: 'string', pattern: '^/' },
  state: { type: 'string', pattern: '^/' },
  cache: { type: 'string', pattern: '^/' },
  buildSeconds: { type: 'integer', minimum: 1 },
  published: {
    type: 'object',
    additionalProperties: false,
    required: ['url', 'publicKey'],
    properties: {
      url: { type: 'string', pattern: '^https?://[A-Za-z0-9][A-Za-z0-9:._~/+%-]*$' },
      publicKey: { type: 'string', pattern: '^/' },
      suites: { type: 'string', pattern: lineWordPattern },
    },
  },
  rebuild: {
    type: 'object',
    additionalProperties: false,
    required: ['of', 'number'],
    properties: {
      of: { type: 'string', pattern: versionPattern },
      number: { type: 'integer', minimum: 1, maximum: 999 },
    },
  },
  options: { type: 'object' },
  artifacts: { type: 'string', pattern: '^/' },
  signed: { type: 'string', pattern: '^/' },
  signing: {
    type: 'object',
    additionalProperties: false,
    required: ['gpg', 'key', 'publicKey'],
    properties: {
      gpg: { type: 'string', pattern: '^/' },
      key: { type: 'string', pattern: fingerprintPattern },
      publicKey: { type: 'string', pattern: '^/' },
    },
  },
  repository: {
    type: 'object',
    additionalProperties: false,
    required: ['upload', 'url', 'sshConfig', 'folder'],
    properties: {
      upload: { type: 'string' },
      url: { type: 'string' },
      sshConfig: { type: 'string', pattern: '^/' },
      folder: { type: 'string', pattern: '^/' },
    },
  },
} as const;
const ofTag = {
  source: {
    type: 'object',
    additionalProperties: false,
    required: ['url', 'tag', 'tagObject', 'commit'],
    properties: {
      url: { type: 'string' },
      tag: { type: 'string' },
      tagObject: { type: 'string', pattern: objectIdPattern },
      commit: { type: 'string', pattern: objectIdPattern },
      modules: {
        type: 'object',
        propertyNames: { pattern: moduleNamePattern },
        additionalProperties: { type: 'string', pattern: objectIdPattern },
      },
    },
  },
  sourceTree: { type: 'string', pattern: '^/' },
} as const;
const ofTemplate = {
  template: {
    type: 'object',
    additionalProperties: false,
    required: ['name', 'release', 'timestamp', 'distribution'],
    properties: {
      name: { type: 'string', pattern: plainNamePattern },
      release: { type: 'string', pattern: plainNamePattern },
      timestamp: { type: 'string', pattern: '^[0-9]{12}$' },
      distribution: { type: 'string', pattern: plainNamePattern },
    },
  },
} as const;
const required = [
  'format',
  'stage',
  'job',
  'component',
  'version',
  'env',
  'dist',
  'packages',
  'sourceDateEpoch',
  'output',
  'work',
  'state',
  'cache',
  'buildSeconds',
] as const;
const documentOf = <const From extends object>(from: From) =>
  ({
    type: 'object',
    additionalProperties: false,
    required: [...required, ...(Object.keys(from) as (keyof From)[])],
    properties: { ...common, ...from },
  }) as const;

export const checkEngineJob: Check<EngineJob | EngineTemplateJob> = checkWith({
  oneOf: [documentOf(ofTag), documentOf(ofTemplate)],
});
