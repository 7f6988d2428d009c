// SPDX-License-Identifier: GPL-2.0-or-later
// Who may command what: `commands` of build.json (docs/formats.md). What is not written there is not allowed.
import {
  commandVerbs,
  distWordPattern,
  releasePattern,
  componentRepositories,
  templateRepositories,
  type CommandVerb,
} from '../../shared/formats/command.js';
import { fingerprintPattern, plainNamePattern } from '../../shared/formats/names.js';
import { Refusal } from '../refusals.js';

/**
 * As people are named in evidence, logs and answers: ASCII on one line, so that what was published is what
 * was hashed.
 */
export const personNamePattern = '^[ -~]{1,100}$';

type Names = 'all' | string[];

/** One key of a person. What is absent allows nothing. */
export interface CommandRights {
  /** the person: two keys of one name are one person */
  name: string;
  /** of the primary key */
  fingerprint: string;
  verbs?: CommandVerb[];
  components?: Names;
  /** our names of distributions, of uploads */
  distributions?: Names;
  /** of uploads */
  repositories?: string[];
  templates?: Names;
}

export interface CommandsConfig {
  /** what this environment builds for: commands for another release are another environment's */
  releases: string[];
  /** so many seconds after it was signed a command is too old */
  windowSeconds: number;
  /** further words for our distributions, as vm-bookworm; a distribution's own name always means itself */
  distributionWords: { word: string; dist: string }[];
  people: CommandRights[];
}

const names = {
  anyOf: [
    { const: 'all' },
    {
      type: 'array',
      maxItems: 1000,
      uniqueItems: true,
      items: { type: 'string', pattern: plainNamePattern },
    },
  ],
} as const;
const oneOf = <const T extends string>(known: readonly T[]) =>
  ({ type: 'array', uniqueItems: true, items: { enum: known } }) as const;

export const commandsSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['releases', 'windowSeconds', 'distributionWords', 'people'],
  properties: {
    releases: {
      type: 'array',
      maxItems: 20,
      uniqueItems: true,
      items: { type: 'string', pattern: releasePattern },
    },
    windowSeconds: { type: 'integer', minimum: 60, maximum: 2_592_000 },
    distributionWords: {
      type: 'array',
      maxItems: 100,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['word', 'dist'],
        properties: {
          word: { type: 'string', pattern: distWordPattern },
          dist: { type: 'string', pattern: plainNamePattern },
        },
      },
    },
    people: {
      type: 'array',
      maxItems: 200,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['name', 'fingerprint'],
        properties: {
          name: { type: 'string', pattern: personNamePattern },
          fingerprint: { type: 'string', pattern: fingerprintPattern },
          verbs: oneOf(commandVerbs),
          components: names,
          distributions: names,
          repositories: oneOf([...componentRepositories, ...templateRepositories]),
          templates: names,
        },
      },
    },
  },
} as const;

/** What the schema cannot say. @throws Refusal BAD_CONFIG */
export function checkCommandsConfig(commands: CommandsConfig, dists: readonly string[]): void {
  const reject = (why: string): never => {
    throw new Refusal('BAD_CONFIG', why, 'commands');
  };
  const fingerprints = commands.people.map((person) => person.fingerprint);
  if (new Set(fingerprints).size !== fingerprints.length) reject('one key stands for two people');
  const words = commands.distributionWords.map(({ word }) => word);
  if (new Set(words).size !== words.length) reject('one word means two distributions');
  for (const { word, dist } of commands.distributionWords) {
    if (!dists.includes(dist)) reject(`${word} means ${dist}, which is not built here`);
    if (dists.includes(word) && word !== dist) reject(`${word} is a distribution itself`);
  }
}
