// SPDX-License-Identifier: GPL-2.0-or-later
// The builder's artifacts-dir: what it wrote there is read as from a stranger. docs/engines.md has the files
// and keys.
import { copyFileSync, existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseDocument } from 'yaml';
import type { HashedFile } from '../../shared/formats/intent.js';
import { fileNamePattern, matches } from '../../shared/formats/names.js';
import { printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import { hashFile, readPlainFile } from '../../shared/files/frozen-files.js';
import type { BuilderOptions } from './options.js';

const yamlLimitBytes = 1024 * 1024;
const filesLimit = 1000;

type Fields = Record<string, unknown>;

/**
 * A plain map; tags, errors, keys that stand twice and more than a few aliases are refused. @throws Refusal
 * BAD_METADATA
 */
export function readYaml(folder: string, name: string): Fields {
  try {
    const document = parseDocument(readPlainFile(folder, name, yamlLimitBytes).toString('utf8'), {
      version: '1.2',
      schema: 'core',
      uniqueKeys: true,
      strict: true,
    });
    const [bad] = [...document.errors, ...document.warnings];
    if (bad !== undefined) throw new Error(bad.message);
    const value: unknown = document.toJS({ maxAliasCount: 16 });
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error('not a map');
    return value as Fields;
  } catch (error) {
    throw new Refusal(
      'BAD_METADATA',
      `${name}: ${printable((error as Error).message.split('\n')[0] as string).slice(0, 200)}`,
    );
  }
}

function textOf(fields: Fields, key: string, name: string): string {
  const value = fields[key];
  if (typeof value !== 'string') throw new Refusal('BAD_METADATA', `${name}: ${key} is not a text`);
  return value;
}

/**
 * Names with a slash, a leading dot or anything else that a file name of a package has not are none. @throws
 * Refusal BAD_METADATA
 */
function fileNames(fields: Fields, keys: readonly string[], name: string): string[] {
  return keys.flatMap((key) => {
    const value = fields[key];
    if (value === undefined || value === null) return [];
    const untrustedNames: unknown[] = Array.isArray(value) ? value : [value];
    return untrustedNames.map((one) => {
      if (!matches(fileNamePattern, one))
        throw new Refusal(
          'BAD_METADATA',
          `${name}: ${key} has ${printable(JSON.stringify(one)).slice(0, 100)}, which is no file name`,
        );
      return one;
    });
  });
}

/** The builder's packages have hard links to other folders of it: the copy has none. */
export function takeInto(
  output: string,
  names: readonly string[],
  placeOf: (name: string) => string,
): HashedFile[] {
  return names.map((name) => {
    const folder = placeOf(name);
    // Of this name, and of nothing else: a link would lead elsewhere.
    hashFile(folder, name);
    copyFileSync(join(folder, name), join(output, name));
    return hashFile(output, name);
  });
}

export class ArtifactsDir {
  readonly folder: string;
  readonly #options: BuilderOptions;

  constructor(folder: string, options: BuilderOptions) {
    this.folder = folder;
    this.#options = options;
  }

  get sources(): string {
    return join(this.folder, 'sources', this.#options.component);
  }

  /**
   * VER-REL of the component: there is one, for the folder was empty before this job. @throws Refusal
   * BAD_METADATA
   */
  versionRelease(): string {
    const component = join(this.folder, 'components', this.#options.component);
    const [found, ...more] = existsSync(component) ? readdirSync(component) : [];
    if (found === undefined || more.length > 0)
      throw new Refusal(
        'BAD_METADATA',
        `the builder left ${more.length + (found === undefined ? 0 : 1)} versions of ${this.#options.component}`,
      );
    return found;
  }

  stage(stage: string): string {
    return join(
      this.folder,
      'components',
      this.#options.component,
      this.versionRelease(),
      this.#options.distribution,
      stage,
    );
  }

  /** @returns the commit that was fetched. @throws Refusal BAD_METADATA */
  fetchedCommit(): string {
    const folder = join(
      this.folder,
      'components',
      this.#options.component,
      this.versionRelease(),
      'nodist/fetch',
    );
    return textOf(readYaml(folder, 'source.fetch.yml'), 'git-commit-hash', 'source.fetch.yml');
  }

  /** Each `*.<stage>.yml`. @throws Refusal BAD_METADATA */
  metadata(stage: string): Fields[] {
    const folder = this.stage(stage);
    const ending = `.${stage}.yml`;
    return (existsSync(folder) ? readdirSync(folder) : [])
      .filter((name) => name.endsWith(ending))
      .sort()
      .map((name) => readYaml(folder, name));
  }

  /** Where built packages lie, and are signed in place. */
  get packages(): 'rpm' | 'deb' {
    return /^(?:fc|centos|el)[0-9-]/.test(this.#options.distName) ? 'rpm' : 'deb';
  }

  /** The folder of what is built: of an rpm's source package this is a second name. */
  get built(): string {
    return this.packages === 'rpm' ? join(this.stage('build'), 'rpm') : this.stage('build');
  }

  /**
   * Where the builder signs a file in place, and publishes it from: a source package where it was prepared.
   */
  placeOf(name: string): string {
    return name.endsWith('.src.rpm') ? this.stage('prep') : this.built;
  }

  /**
   * The files that `*.build.yml` name. `files` itself is no list of what is there: it has packages that were
   * only predicted, and lacks the upstream tarball. @throws Refusal NOT_BUILT, BAD_METADATA
   */
  builtFiles(): string[] {
    const keys =
      this.packages === 'rpm'
        ? ['srpm', 'rpms', 'buildinfo']
        : ['dsc', 'orig', 'debian', 'packages', 'changes', 'buildinfo'];
    const names = this.metadata('build').flatMap((fields) => fileNames(fields, keys, '*.build.yml'));
    const known = [...new Set(names)];
    if (known.length === 0)
      throw new Refusal(
        'NOT_BUILT',
        'the builder ended well and left no packages: its log says what it skipped',
      );
    if (known.length !== names.length || known.length > filesLimit)
      throw new Refusal('BAD_METADATA', 'the *.build.yml name a file twice, or too many');
    return known;
  }

  /** The repositories that the builder says it published to. @throws Refusal BAD_METADATA */
  publishedTo(): string[] {
    return this.metadata('publish').flatMap((fields) => {
      const list = fields['repository-publish'];
      if (!Array.isArray(list)) return [];
      return list.map((one: unknown) =>
        textOf(typeof one === 'object' && one !== null ? (one as Fields) : {}, 'name', '*.publish.yml'),
      );
    });
  }
}
