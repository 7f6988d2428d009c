// SPDX-License-Identifier: GPL-2.0-or-later
// From policy folders to one list of rules. One mistake anywhere denies every call: there is no half policy.
import { existsSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { checkService, PolicyError, readRule, words, type Rule, type RulePlace } from './rule.js';

/** First listed wins where a base name is in both. */
export const policyFolders: readonly string[] = ['/run/qubes/policy.d', '/etc/qubes/policy.d'];

export interface LoadOptions {
  /** what `!compat-4.0` reads */
  compatFolder?: string;
  /** told of every file and folder that was read, so that a watcher knows what to watch */
  onRead?: (path: string) => void;
}

interface Reading {
  rules: Rule[];
  /** what relative paths are relative to: the folder the top file came from, also inside included files */
  base: string;
  /** files being read now, outermost first: an inclusion of one of them would never end */
  open: string[];
  options: LoadOptions;
}

/** Every rule of the folders in the order in which they are tried. @throws PolicyError */
export function loadPolicy(folders: readonly string[], options: LoadOptions = {}): Rule[] {
  const files = new Map<string, { path: string; folder: string }>();
  for (const folder of folders) {
    for (const path of countedFiles(folder, undefined, options)) {
      const name = basename(path);
      if (!files.has(name)) files.set(name, { path, folder });
    }
  }
  const rules: Rule[] = [];
  for (const [, { path, folder }] of [...files].sort(([a], [b]) => (a < b ? -1 : 1))) {
    readPolicyFile(path, undefined, { rules, base: folder, open: [], options });
  }
  return rules;
}

/**
 * Regular files (links followed) `*.policy` not starting with a dot, sorted bytewise. @throws PolicyError for
 * a counted file with a bad name
 */
function countedFiles(folder: string, from: RulePlace | undefined, options: LoadOptions): string[] {
  const fail = (file: string, detail: string): never => {
    throw new PolicyError(from?.file ?? file, from?.line, from === undefined ? detail : `${file}: ${detail}`);
  };
  let names: string[];
  try {
    options.onRead?.(folder);
    names = readdirSync(folder, 'latin1');
  } catch (error) {
    return fail(folder, `cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
  const counted = names.filter(
    (name) =>
      name.endsWith('.policy') &&
      !name.startsWith('.') &&
      isRegularFile(join(folder, Buffer.from(name, 'latin1').toString())),
  );
  for (const name of counted) {
    if (!/^[0-9a-z_.-]+$/.test(name)) fail(join(folder, name), 'a policy file name has 0-9 a-z _ . - only');
  }
  return counted.sort().map((name) => join(folder, name));
}

function isRegularFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}

/** Reads one file line by line. LF, CRLF and lone CR end a line; nothing else does. */
function forEachLine(
  path: string,
  from: RulePlace | undefined,
  reading: Reading,
  take: (fields: string[], text: string, at: RulePlace) => void,
): void {
  const fail = (detail: string): never => {
    throw new PolicyError(from?.file ?? path, from?.line, from === undefined ? detail : `${path}: ${detail}`);
  };
  // Of a pipe the end might never come.
  if (existsSync(path) && !isRegularFile(path)) fail('is not a plain file');
  let real: string;
  let bytes: Buffer;
  try {
    reading.options.onRead?.(path);
    real = realpathSync(path);
    bytes = readFileSync(real);
  } catch (error) {
    return fail(`cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
  if (reading.open.includes(real)) fail('includes itself');
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new PolicyError(path, undefined, 'is not UTF-8');
  }
  reading.open.push(real);
  text.split(/\r\n|\r|\n/).forEach((line, index) => {
    const fields = words(line);
    if (fields.length > 0 && !fields[0]?.startsWith('#'))
      take(fields, fields.join(' '), { file: path, line: index + 1 });
  });
  reading.open.pop();
}

function readPolicyFile(path: string, from: RulePlace | undefined, reading: Reading): void {
  forEachLine(path, from, reading, (fields, text, at) => {
    if (fields[0]?.startsWith('!')) directive(fields, at, reading);
    else reading.rules.push(readRule(fields, text, at));
  });
}

function directive(fields: readonly string[], at: RulePlace, reading: Reading): void {
  const [name, ...rest] = fields as [string, ...string[]];
  const need = (count: number): void => {
    if (rest.length !== count) throw new PolicyError(at.file, at.line, `${name} takes ${count} words`);
  };
  switch (name) {
    case '!include':
      need(1);
      return readPolicyFile(withinBase(rest[0] as string, reading), at, reading);
    case '!include-dir':
      need(1);
      for (const path of countedFiles(withinBase(rest[0] as string, reading), at, reading.options))
        readPolicyFile(path, at, reading);
      return;
    case '!include-service':
      need(3);
      checkService(rest[0] as string, rest[1] as string, (detail) => {
        throw new PolicyError(at.file, at.line, detail);
      });
      return readOldFile(
        withinBase(rest[2] as string, reading),
        rest[0] as string,
        rest[1] as string,
        at,
        reading,
      );
    case '!compat-4.0':
      need(0);
      return readCompatFolder(at, reading);
    default:
      throw new PolicyError(at.file, at.line, `unknown directive ${name}`);
  }
}

function withinBase(path: string, reading: Reading): string {
  return resolve(reading.base, path);
}

/**
 * The old format: SOURCE TARGET ACTION[,param=value...], with `$` for `@`, and `$include:` for `!include `,
 * wherever they stand.
 */
function readOldFile(
  path: string,
  service: string,
  argument: string,
  from: RulePlace,
  reading: Reading,
): void {
  forEachLine(path, from, reading, (_, text, at) => {
    const fields = words(text.replaceAll('$include:', '!include ').replaceAll('$', '@').replaceAll(',', ' '));
    const [first, ...rest] = fields;
    if (first === '!include') {
      if (rest.length !== 1) throw new PolicyError(at.file, at.line, '!include takes one path');
      return readOldFile(withinBase(rest[0] as string, reading), service, argument, at, reading);
    }
    if (first?.startsWith('!')) throw new PolicyError(at.file, at.line, `no ${first} in the old format`);
    if (fields.length < 3)
      throw new PolicyError(at.file, at.line, 'a rule in the old format has SOURCE TARGET ACTION');
    reading.rules.push(readRule([service, argument, ...fields], text, at));
  });
}

function readCompatFolder(at: RulePlace, reading: Reading): void {
  const folder = reading.options.compatFolder ?? '/etc/qubes-rpc/policy';
  let names: string[];
  try {
    reading.options.onRead?.(folder);
    names = readdirSync(folder);
  } catch (error) {
    throw new PolicyError(
      at.file,
      at.line,
      `${folder}: cannot be read (${(error as NodeJS.ErrnoException).code})`,
    );
  }
  const usable = names
    .filter(
      (name) =>
        /^[A-Za-z0-9+._-]+$/.test(name) &&
        !/^\.|\.(?:rpmsave|rpmnew|swp)$/.test(name) &&
        isRegularFile(join(folder, name)),
    )
    .sort();
  for (const name of [
    ...usable.filter((one) => one.includes('+')),
    ...usable.filter((one) => !one.includes('+')),
  ]) {
    const plus = name.indexOf('+');
    const service = plus < 0 ? name : name.slice(0, plus);
    const argument = plus < 0 ? '*' : name.slice(plus);
    readOldFile(join(folder, name), service, argument, at, reading);
    if (plus < 0) continue;
    for (const target of ['@anyvm', '@adminvm']) {
      const fields = [service, argument, '@anyvm', target, 'deny'];
      reading.rules.push(
        readRule(fields, `${fields.join(' ')} (added by !compat-4.0)`, { file: join(folder, name), line: 0 }),
      );
    }
  }
}
