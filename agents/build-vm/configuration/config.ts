// SPDX-License-Identifier: GPL-2.0-or-later
// build.json (docs/formats.md, "Configuration"). It is made from the pillar; an unknown field stops the
// agent.
import { packageKinds, type PackageKind } from '../../engines/contract.js';
import { readIfThere } from '../../shared/durable-files.js';
import { readDocument, type Check } from '../../shared/json-document.js';
import { checkWith } from '../../shared/json-schema.js';
import { Refusal } from '../refusals.js';
import { logsUrlPattern } from '../../shared/formats/log-link.js';
import {
  distWordPattern,
  templateRepositories,
  type TemplateRepository,
} from '../../shared/formats/command.js';
import { fingerprintPattern, plainNamePattern, vmNamePattern } from '../../shared/formats/names.js';
import { isTemplatesDist } from '../../shared/formats/suites.js';
import {
  checkCommandsConfig,
  commandsSchema,
  personNamePattern,
  type CommandsConfig,
} from './commands-config.js';
import { checkLines, linesSchema, type ReleaseLine } from './release-lines.js';
import { splitTagPattern, tagPattern } from './version-tag.js';

/** Where the published logs are read, and whose signature counts there. */
export interface Publication {
  /** of a required remote */
  url: string;
  /** fingerprint; its public half is in public-keys */
  logsKey: string;
}

export interface Maintainer {
  /** the person: two keys of one name count as one person */
  name: string;
  fingerprint: string;
}

export interface Component {
  name: string;
  url: string;
  /** tag name with `{version}` in it once */
  tag: string;
  maintainers: Maintainer[];
  requiredSignatures: number;
  /** absent: all versions are one line */
  lines?: ReleaseLine[];
}

export interface Distribution {
  name: string;
  /** a program in one of the engine folders (engine-programs.ts) */
  engine: string;
  /** what is built, and so which kind of repository it goes to */
  packages: PackageKind;
  /**
   * who signs and publishes: this agent, or the engine itself where it brings a whole tool chain
   * (docs/engines.md)
   */
  publisher?: 'agent' | 'engine';
  /** handed to the engine, which checks it */
  options?: Record<string, unknown>;
}

/** Built by a signed command alone: no tag is behind it. Decision 103 */
export interface Template {
  /** its package is qubes-template-<name> */
  name: string;
  /** rX.Y: its version is X.Y.0 and the minute of the command */
  releases: string[];
  engine: string;
  /** what is in it, in words of signed commands: vm-trixie. The engine is told */
  distribution: string;
  /** where it goes from its `-testing` */
  repository: TemplateRepository;
  /** `buildSeconds` of all unless told */
  buildSeconds?: number;
  /** handed to the engine, which checks it */
  options?: Record<string, unknown>;
}

export interface AptRepository {
  /** where the repository's symlink lies, reached by ssh */
  upload: string;
  /** where the world reads it */
  url: string;
  origin: string;
  label: string;
  /** so long a Release is valid, and made anew before; absent: for ever */
  validDays?: number;
}

export interface DnfRepository {
  /** each distribution's symlink lies in this folder, reached by ssh */
  upload: string;
  /** where the world reads that folder */
  url: string;
}

/** What was in testing long enough, by the published logs. */
export interface PromotionConfig {
  /** before something goes from current-testing to current */
  minAgeDays: number;
}

export interface StatusPage {
  /** where its symlink lies, reached by ssh */
  upload: string;
  /** where the world reads it */
  url: string;
}

export interface Config {
  vm: string;
  env: string;
  signingKey: string;
  components: Component[];
  distributions: Distribution[];
  templates?: Template[];
  /** there if a distribution has packages of that kind */
  apt?: AptRepository;
  dnf?: DnfRepository;
  /** where the published logs are read: before each signature, and for promotions; null: nowhere */
  publication: Publication | null;
  promotion?: PromotionConfig;
  pollSeconds: number;
  buildSeconds: number;
  /** absent: nobody commands anything */
  commands?: CommandsConfig;
  /** where a person reads a log: `{path}` once, `{commit}` at most once (log-link.ts) */
  logsUrl?: string;
  /** where the status page is put; it is always made on this VM's disk */
  statusPage?: StatusPage;
}

/**
 * What the part of the configuration is called, and the folder, that repositories of a kind of packages have.
 */
export const repositoryNames = { deb: 'apt', rpm: 'dnf' } as const satisfies Record<
  PackageKind,
  keyof Config
>;

// No character that a shell or ssh on the far side could read as anything but itself.
export const uploadPattern =
  '^ssh://(?:[a-z_][a-z0-9_-]*@)?[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]{1,5})?(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)+$';
// ssh and https, and git for a forge whose integrity rests on the signed tags alone.
export const repositoryUrlPattern = '^(?:ssh|https|git)://[A-Za-z0-9@][A-Za-z0-9@:._~/+%-]*$';
const httpUrlPattern = '^https?://[A-Za-z0-9][A-Za-z0-9:._~/+%-]*$';
/** It is a file name, so it holds no slash and is not hidden. */
const engineNamePattern = '^[a-z0-9][a-z0-9-]{0,63}$';

/** With `qubes-template-` before it, it is the name of a package and of what a job is of. */
export const templateNamePattern = '^[a-z0-9][a-z0-9.+-]{0,47}$';
/** A template's version is made of it. */
export const templateReleasePattern = '^r[0-9]{1,2}\\.[0-9]{1,2}$';

const schema = {
  type: 'object',
  additionalProperties: false,
  required: [
    'format',
    'vm',
    'env',
    'signingKey',
    'publication',
    'components',
    'distributions',
    'pollSeconds',
    'buildSeconds',
  ],
  properties: {
    format: { const: 'build-infra/build-config@1' },
    vm: { type: 'string', pattern: vmNamePattern },
    env: { type: 'string', pattern: plainNamePattern },
    signingKey: { type: 'string', pattern: fingerprintPattern },
    components: {
      type: 'array',
      maxItems: 10_000,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['name', 'url', 'tag', 'maintainers', 'requiredSignatures'],
        properties: {
          name: { type: 'string', pattern: plainNamePattern },
          url: { type: 'string', pattern: repositoryUrlPattern },
          tag: { type: 'string', pattern: tagPattern },
          maintainers: {
            type: 'array',
            minItems: 1,
            maxItems: 100,
            items: {
              type: 'object',
              additionalProperties: false,
              required: ['name', 'fingerprint'],
              properties: {
                name: { type: 'string', pattern: personNamePattern },
                fingerprint: { type: 'string', pattern: fingerprintPattern },
              },
            },
          },
          requiredSignatures: { type: 'integer', minimum: 1, maximum: 20 },
          lines: linesSchema,
        },
      },
    },
    distributions: {
      type: 'array',
      minItems: 1,
      maxItems: 20,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['name', 'engine', 'packages'],
        properties: {
          name: { type: 'string', pattern: plainNamePattern },
          engine: { type: 'string', pattern: engineNamePattern },
          packages: { enum: packageKinds },
          publisher: { enum: ['agent', 'engine'] },
          options: { type: 'object' },
        },
      },
    },
    templates: {
      type: 'array',
      maxItems: 200,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['name', 'releases', 'engine', 'distribution', 'repository'],
        properties: {
          name: { type: 'string', pattern: templateNamePattern },
          releases: {
            type: 'array',
            minItems: 1,
            maxItems: 20,
            uniqueItems: true,
            items: { type: 'string', pattern: templateReleasePattern },
          },
          engine: { type: 'string', pattern: engineNamePattern },
          distribution: { type: 'string', pattern: distWordPattern },
          repository: { enum: templateRepositories },
          buildSeconds: { type: 'integer', minimum: 1, maximum: 604_800 },
          options: { type: 'object' },
        },
      },
    },
    apt: {
      type: 'object',
      additionalProperties: false,
      required: ['upload', 'url', 'origin', 'label'],
      properties: {
        upload: { type: 'string', pattern: uploadPattern },
        url: { type: 'string', pattern: httpUrlPattern },
        origin: { type: 'string', pattern: '^[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}$' },
        label: { type: 'string', pattern: '^[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}$' },
        validDays: { type: 'integer', minimum: 1, maximum: 365 },
      },
    },
    dnf: {
      type: 'object',
      additionalProperties: false,
      required: ['upload', 'url'],
      properties: {
        upload: { type: 'string', pattern: uploadPattern },
        url: { type: 'string', pattern: httpUrlPattern },
      },
    },
    publication: {
      anyOf: [
        { type: 'null' },
        {
          type: 'object',
          additionalProperties: false,
          required: ['url', 'logsKey'],
          properties: {
            url: { type: 'string', pattern: repositoryUrlPattern },
            logsKey: { type: 'string', pattern: fingerprintPattern },
          },
        },
      ],
    },
    promotion: {
      type: 'object',
      additionalProperties: false,
      required: ['minAgeDays'],
      properties: { minAgeDays: { type: 'integer', minimum: 0, maximum: 365 } },
    },
    pollSeconds: { type: 'integer', minimum: 1, maximum: 604_800 },
    buildSeconds: { type: 'integer', minimum: 1, maximum: 604_800 },
    commands: commandsSchema,
    logsUrl: { type: 'string', pattern: logsUrlPattern },
    statusPage: {
      type: 'object',
      additionalProperties: false,
      required: ['upload', 'url'],
      properties: {
        upload: { type: 'string', pattern: uploadPattern },
        url: { type: 'string', pattern: httpUrlPattern },
      },
    },
  },
} as const;

/** What a template's package is called, and what jobs say in place of a component. */
const templatePrefix = 'qubes-template-';
export const templatePackage = (name: string): string => `${templatePrefix}${name}`;
/** No component is called so. */
export const isTemplatePackage = (name: string): boolean => name.startsWith(templatePrefix);

const check: Check<Config> = checkWith(schema);

/** @throws Refusal NO_CONFIG, BAD_DOCUMENT, BAD_CONFIG: the agent does not start. */
export function readConfig(path: string): Config {
  const bytes = readIfThere(path);
  if (bytes === undefined) throw new Refusal('NO_CONFIG', `${path} is not there`);
  const config = readDocument(bytes, 4 * 1024 * 1024, check);
  const names = config.components.map((component) => component.name);
  if (new Set(names).size !== names.length)
    throw new Refusal('BAD_CONFIG', 'two components have one name', 'components');
  for (const component of config.components) {
    splitTagPattern(component.tag);
    const people = new Set(component.maintainers.map((maintainer) => maintainer.name));
    if (people.size < component.requiredSignatures) {
      throw new Refusal(
        'BAD_CONFIG',
        `${component.name} requires more signatures than it has maintainers`,
        'components',
      );
    }
  }
  const dists = config.distributions.map((distribution) => distribution.name);
  if (new Set(dists).size !== dists.length)
    throw new Refusal('BAD_CONFIG', 'two distributions have one name', 'distributions');
  for (const { name, packages } of config.distributions) {
    const repository = repositoryNames[packages];
    if (config[repository] === undefined)
      throw new Refusal(
        'BAD_CONFIG',
        `${name} has ${packages} packages, and there is no ${repository} repository`,
        repository,
      );
  }
  for (const component of config.components) checkLines(component, config.distributions);
  const reserved = dists.find(isTemplatesDist) ?? names.find(isTemplatePackage);
  if (reserved !== undefined)
    throw new Refusal('BAD_CONFIG', `${reserved} is a name that templates have`, 'templates');
  const templates = (config.templates ?? []).map((template) => template.name);
  if (new Set(templates).size !== templates.length)
    throw new Refusal('BAD_CONFIG', 'two templates have one name', 'templates');
  if (templates.length > 0 && config.dnf === undefined)
    throw new Refusal(
      'BAD_CONFIG',
      'there are templates, which are rpm packages, and there is no dnf repository',
      'dnf',
    );
  if (config.promotion !== undefined && config.publication === null)
    throw new Refusal(
      'BAD_CONFIG',
      'promotion goes by the published logs, and there is no publication',
      'promotion',
    );
  if (config.commands !== undefined) checkCommandsConfig(config.commands, dists);
  return config;
}
