// SPDX-License-Identifier: GPL-2.0-or-later
// The one line that a person signs, and how it is spelled: one grammar for who writes it (agents/command) and
// who obeys it (agents/build-vm). One spelling per command: makeCommand(parseCommand(line)) is the line
// again, or the line is no command. docs/formats.md, "Signed commands".
import { Refusal } from '../refusals.js';
import { jobIdPattern, matches, objectIdPattern, plainNamePattern } from './names.js';

export const commandVerbs = [
  'Upload-component',
  'Upload-template',
  'Build-template',
  'Build-component',
  'Rebuild-component',
  'Retry',
] as const;
export type CommandVerb = (typeof commandVerbs)[number];

export const componentRepositories = ['current', 'security-testing'] as const;
export type ComponentRepository = (typeof componentRepositories)[number];
export const templateRepositories = ['templates-itl', 'templates-community'] as const;
export type TemplateRepository = (typeof templateRepositories)[number];

/**
 * Words as they were signed: which distribution of an environment a word means, the environment's
 * configuration says.
 */
export type DistWords = 'all' | readonly string[];

export interface UploadComponent {
  verb: 'Upload-component';
  release: string;
  component: string;
  commit: string;
  repository: ComponentRepository;
  dists: DistWords;
}
export interface UploadTemplate {
  verb: 'Upload-template';
  release: string;
  template: string;
  version: string;
  timestamp: string;
  repository: TemplateRepository;
}
export interface BuildTemplate {
  verb: 'Build-template';
  release: string;
  template: string;
  timestamp: string;
}
export interface BuildComponent {
  verb: 'Build-component';
  release: string;
  component: string;
}
/** Anew from the same source, as Debian's binNMU: `number` is that of `+b1`. */
export interface RebuildComponent {
  verb: 'Rebuild-component';
  release: string;
  component: string;
  commit: string;
  number: number;
  dists: DistWords;
}
export interface RetryJob {
  verb: 'Retry';
  job: string;
}
export type Command =
  UploadComponent | UploadTemplate | BuildTemplate | BuildComponent | RebuildComponent | RetryJob;

export const commandLimitBytes = 255;
const distsLimit = 20;

/** A release as people name it: r4.3, rdevel. */
export const releasePattern = '^(?=.{1,31}$)[a-z0-9]+(?:[.-][a-z0-9]+)*$';
/** A distribution word: trixie, vm-trixie, host-fc41. `all` is not one. */
export const distWordPattern = '^(?!all$)[a-z0-9][a-z0-9.+-]{0,63}$';
const templateVersionPattern = '^[0-9]{1,4}(?:\\.[0-9]{1,4}){0,3}$';
/**
 * What the older grammar calls a distribution: with this prefix it cannot be taken for a repository or for
 * the closing word `repo`.
 */
const olderDistPattern = '^(?:dom0|host|vm)-[a-z0-9][a-z0-9.+-]{0,59}$';

const usage: Record<CommandVerb, string> = {
  'Upload-component': '<release> <component> <commit> current|security-testing all|<dist>[,<dist>...]',
  'Upload-template': '<release> <template> <version>-<YYYYmmddHHMM> templates-itl|templates-community',
  'Build-template': '<release> <template> <YYYYmmddHHMM>',
  'Build-component': '<release> <component>',
  'Rebuild-component': '<release> <component> <commit> <number> all|<dist>[,<dist>...]',
  Retry: '<job>',
};

/** One line for each verb, for people. */
export const commandUsage = commandVerbs.map((verb) => `${verb} ${usage[verb]}`);

function no(what: string): never {
  throw new Refusal('BAD_COMMAND', what);
}

function word(pattern: string, untrusted: string | undefined, what: string): string {
  return matches(pattern, untrusted) ? untrusted : no(`${what} is not spelled as it must be`);
}

function oneOf<T extends string>(known: readonly T[], untrusted: string | undefined, what: string): T {
  return known.find((one) => one === untrusted) ?? no(`${what} is not one of ${known.join(', ')}`);
}

/** Seconds since 1970 of YYYYmmddHHMM in UTC, or undefined where the calendar has no such minute. */
export function timestampSeconds(untrusted: string): number | undefined {
  const parts = /^([0-9]{4})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})$/.exec(untrusted);
  if (parts === null) return undefined;
  const iso = `${parts[1]}-${parts[2]}-${parts[3]}T${parts[4]}:${parts[5]}:00.000Z`;
  const time = new Date(iso);
  return Number.isNaN(time.getTime()) || time.toISOString() !== iso ? undefined : time.getTime() / 1000;
}

function timestamp(untrusted: string | undefined): string {
  return untrusted !== undefined && timestampSeconds(untrusted) !== undefined
    ? untrusted
    : no('the timestamp is no minute of the calendar, YYYYmmddHHMM');
}

function distWords(untrusted: readonly string[], pattern: string): string[] {
  if (untrusted.length > distsLimit) no(`more than ${distsLimit} distributions`);
  const words = untrusted.map((one) => word(pattern, one, 'a distribution'));
  return new Set(words).size === words.length ? words : no('a distribution is named twice');
}

function templateBuild(untrusted: string | undefined): { version: string; timestamp: string } {
  const dash = untrusted?.indexOf('-') ?? -1;
  if (untrusted === undefined || dash < 0) no('a template is named <version>-<timestamp>');
  return {
    version: word(templateVersionPattern, untrusted.slice(0, dash), 'the version'),
    timestamp: timestamp(untrusted.slice(dash + 1)),
  };
}

const release = (untrusted: string | undefined): string => word(releasePattern, untrusted, 'the release');
const component = (untrusted: string | undefined): string =>
  word(plainNamePattern, untrusted, 'the component');
const template = (untrusted: string | undefined): string => word(plainNamePattern, untrusted, 'the template');
const commit = (untrusted: string | undefined): string => word(objectIdPattern, untrusted, 'the commit');

const listed = (untrusted: string): DistWords =>
  untrusted === 'all' ? 'all' : distWords(untrusted.split(','), distWordPattern);

const wordCounts: Record<CommandVerb, number> = {
  'Upload-component': 6,
  'Upload-template': 5,
  'Build-template': 4,
  'Build-component': 3,
  'Rebuild-component': 6,
  Retry: 2,
};

function parseWords(untrusted: readonly string[]): Command {
  const verb = oneOf(commandVerbs, untrusted[0], 'the verb');
  if (untrusted.length !== wordCounts[verb]) no(`it is ${verb} ${usage[verb]}`);
  const [, first, second, third, fourth, fifth = ''] = untrusted;
  switch (verb) {
    case 'Upload-component':
      return {
        verb,
        release: release(first),
        component: component(second),
        commit: commit(third),
        repository: oneOf(componentRepositories, fourth, 'the repository'),
        dists: listed(fifth),
      };
    case 'Upload-template':
      return {
        verb,
        release: release(first),
        template: template(second),
        ...templateBuild(third),
        repository: oneOf(templateRepositories, fourth, 'the repository'),
      };
    case 'Build-template':
      return { verb, release: release(first), template: template(second), timestamp: timestamp(third) };
    case 'Build-component':
      return { verb, release: release(first), component: component(second) };
    case 'Rebuild-component':
      return {
        verb,
        release: release(first),
        component: component(second),
        commit: commit(third),
        number: Number(word('^[1-9][0-9]{0,2}$', fourth, 'the number')),
        dists: listed(fifth),
      };
    case 'Retry':
      return { verb, job: word(jobIdPattern, first, 'the job') };
  }
}

/**
 * Upstream's first grammar: `Upload <component> <commit> <release> <repository> [<dist> ...] repo`; no
 * distribution means all of them.
 */
function parseOlder(untrusted: readonly string[]): UploadComponent {
  if (untrusted.length < 6 || untrusted.at(-1) !== 'repo')
    no('it is Upload <component> <commit> <release> <repository> [<dist> ...] repo');
  const dists = distWords(untrusted.slice(5, -1), olderDistPattern);
  return {
    verb: 'Upload-component',
    component: component(untrusted[1]),
    commit: commit(untrusted[2]),
    release: release(untrusted[3]),
    repository: oneOf(componentRepositories, untrusted[4], 'the repository'),
    dists: dists.length === 0 ? 'all' : dists,
  };
}

/**
 * @param untrustedLine without its newline
 * @throws Refusal BAD_COMMAND
 */
export function parseCommand(untrustedLine: string): { command: Command; grammar: 'current' | 'older' } {
  if (untrustedLine.length > commandLimitBytes) no(`longer than ${commandLimitBytes} bytes`);
  if (!/^[A-Za-z0-9+,._~-]+(?: [A-Za-z0-9+,._~-]+)*$/.test(untrustedLine) || untrustedLine.endsWith('\n'))
    no('not words of plain characters with one space between them');
  const words = untrustedLine.split(' ');
  return words[0] === 'Upload'
    ? { command: parseOlder(words), grammar: 'older' }
    : { command: parseWords(words), grammar: 'current' };
}

const distList = (dists: DistWords): readonly string[] =>
  dists === 'all' ? ['all'] : dists.map((dist) => word(distWordPattern, dist, 'a distribution'));

function spelled(command: Command): string[] {
  switch (command.verb) {
    case 'Upload-component':
      return [
        command.release,
        command.component,
        command.commit,
        command.repository,
        distList(command.dists).join(','),
      ];
    case 'Upload-template':
      return [
        command.release,
        command.template,
        `${command.version}-${command.timestamp}`,
        command.repository,
      ];
    case 'Build-template':
      return [command.release, command.template, command.timestamp];
    case 'Build-component':
      return [command.release, command.component];
    case 'Rebuild-component':
      return [
        command.release,
        command.component,
        command.commit,
        String(command.number),
        distList(command.dists).join(','),
      ];
    case 'Retry':
      return [command.job];
  }
}

/**
 * The line of a command, which parseCommand reads as that command. @throws Refusal BAD_COMMAND where it would
 * not
 */
export function makeCommand(command: Command): string {
  const line = [command.verb, ...spelled(command)].join(' ');
  const read = parseCommand(line).command;
  return JSON.stringify(spelled(read)) === JSON.stringify(spelled(command)) && read.verb === command.verb
    ? line
    : no('the command cannot be spelled');
}

/** The same in upstream's first grammar. @throws Refusal BAD_COMMAND where that has no words for it */
export function makeOlderCommand(command: UploadComponent): string {
  const line = [
    'Upload',
    command.component,
    command.commit,
    command.release,
    command.repository,
    ...(command.dists === 'all' ? [] : command.dists),
    'repo',
  ].join(' ');
  const read = parseCommand(line).command;
  return JSON.stringify(spelled(read)) === JSON.stringify(spelled(command))
    ? line
    : no('the command cannot be spelled');
}
