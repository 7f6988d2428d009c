// SPDX-License-Identifier: GPL-2.0-or-later
// Message templates: which one says a thing, and filling it in. Values are filled in once: a value that looks
// like a placeholder stays text.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { readIfThere } from '../shared/durable-files.js';
import { Refusal } from './refusals.js';
import { shippedTemplates } from './shipped-templates.js';

export const placeholders = [
  'COMPONENT',
  'PACKAGE_NAME',
  'PACKAGE_SET',
  'DIST',
  'REPOSITORY',
  'RELEASE_NAME',
  'GIT_LOG',
  'GIT_LOG_URL',
  'VERSION',
  'MIN_AGE_DAYS',
  'COMMIT_SHA',
  'GIT_URL',
  'ISSUES',
  'TEMPLATE_NAME',
  'ISO_VERSION',
  // Ours: what has to be built of several facts to be whole, or is a stranger's.
  'SOURCE',
  'COMMANDS',
  'BUILD_LOG',
  'REASON',
  'EXCERPT',
  'REPOSITORIES',
  'NEWER',
  'ENVIRONMENT',
] as const;
export type Placeholder = (typeof placeholders)[number];
export type Values = Record<Placeholder, string>;

/** For a text about something that is no package. */
export const noValues = Object.fromEntries(placeholders.map((word) => [word, ''])) as Values;

const placeholderPattern = /@([A-Z][A-Z_]*[A-Z])@/g;
const templateLimitBytes = 32 * 1024;
const namePattern = /^message-[a-z0-9.+-]{1,100}$/;

export class Templates {
  readonly #own = new Map<string, string>();

  /**
   * @throws Refusal NO_TEMPLATES, BAD_TEMPLATE: the notifier does not start with a folder that says something
   * other than was meant
   */
  constructor(folder: string | null) {
    if (folder === null) return;
    let names: string[];
    try {
      names = readdirSync(folder);
    } catch {
      throw new Refusal('NO_TEMPLATES', `${folder} cannot be read`);
    }
    for (const name of names.filter((one) => namePattern.test(one))) {
      const bytes = readIfThere(join(folder, name));
      if (bytes === undefined || bytes.length > templateLimitBytes)
        throw new Refusal('BAD_TEMPLATE', `${name} is larger than ${templateLimitBytes} bytes`);
      const text = bytes.toString('utf8');
      if (!Buffer.from(text).equals(bytes)) throw new Refusal('BAD_TEMPLATE', `${name} is not UTF-8`);
      for (const [, word] of text.matchAll(placeholderPattern)) {
        if (!placeholders.includes(word as Placeholder))
          throw new Refusal(
            'BAD_TEMPLATE',
            `${name} has a placeholder @${word as string}@ that nothing is known of`,
          );
      }
      this.#own.set(name, text);
    }
  }

  /**
   * The first of these that exists, in the folder before the shipped ones; undefined where there is none, or
   * it is empty on purpose.
   */
  find(names: readonly string[]): string | undefined {
    for (const place of [this.#own, shippedTemplates]) {
      for (const name of names) {
        const text = place.get(name);
        if (text !== undefined) return text.trim() === '' ? undefined : text;
      }
    }
    return undefined;
  }
}

/**
 * For a comment on an issue that a commit closes: the distribution's, its family's, then the package set's.
 */
export function messageNames(
  announced: 'current-testing' | 'stable' | 'withdrawn',
  packageSet: string,
  dist: string,
  family: string,
): string[] {
  const plain = `message-${announced}-${packageSet}`;
  return [`${plain}-${dist}`, `${plain}-${family}`, plain, `message-${announced}`];
}

export function fill(template: string, values: Values): string {
  return template
    .replace(placeholderPattern, (whole, word: string) =>
      (placeholders as readonly string[]).includes(word) ? values[word as Placeholder] : whole,
    )
    .replace(/\n{3,}/g, '\n\n')
    .trim();
}
