// SPDX-License-Identifier: GPL-2.0-or-later
// Who may do what, and whether this environment is meant. Pure. The person is known here; what a list does
// not say is not allowed.
import {
  parseCommand,
  type Command,
  type CommandVerb,
  type DistWords,
} from '../../shared/formats/command.js';
import { Refusal } from '../refusals.js';
import type { CommandRights, CommandsConfig } from '../configuration/commands-config.js';

function holds(allowed: 'all' | readonly string[] | undefined, wanted: string): boolean {
  return allowed === 'all' || (allowed !== undefined && allowed.includes(wanted));
}

function no(what: string): never {
  throw new Refusal('NOT_ALLOWED', what);
}

/**
 * All but the distributions, which are known only when the word is resolved.
 * @param job that is to be tried again, for Retry
 * @throws Refusal NOT_ALLOWED
 */
export function refuseWithoutRight(
  person: CommandRights,
  command: Command,
  job: { component: string; template?: { name: string } } | undefined,
): void {
  const verbs: readonly CommandVerb[] = person.verbs ?? [];
  if (!verbs.includes(command.verb)) no(`${person.name} may not say ${command.verb}`);
  const named =
    'component' in command ? command.component : job?.template === undefined ? job?.component : undefined;
  const template = 'template' in command ? command.template : job?.template?.name;
  if (named !== undefined && !holds(person.components, named)) no(`${person.name} may not command ${named}`);
  if (template !== undefined && !holds(person.templates, template))
    no(`${person.name} may not command the template ${template}`);
  if ('repository' in command && !holds(person.repositories, command.repository))
    no(`${person.name} may not upload to ${command.repository}`);
}

/**
 * Whether somebody may make what a command asked for, long after it: its signer once more, or whoever takes
 * it up again.
 * @param line as it was signed; undefined: nobody asked @param dists that it is still to be made for
 * @throws Refusal NOT_ALLOWED
 */
export function refuseAskedWithoutRight(
  person: CommandRights,
  line: string | undefined,
  dists: readonly string[],
): void {
  if (line === undefined) return;
  const { command } = parseCommand(line);
  refuseWithoutRight(person, command, undefined);
  if (command.verb === 'Upload-component' || command.verb === 'Rebuild-component')
    refuseDistsWithoutRight(person, dists);
}

/** Everything that the word `all` or each of the words means, or none of it. @throws Refusal NOT_ALLOWED */
export function refuseDistsWithoutRight(person: CommandRights, dists: readonly string[]): void {
  for (const dist of dists)
    if (!holds(person.distributions, dist)) no(`${person.name} may not upload to ${dist}`);
}

export interface Here {
  config: CommandsConfig;
  /** our distributions, in their order */
  dists: readonly string[];
  components: readonly string[];
  templates: readonly string[];
}

const distOf = (word: string, { config, dists }: Pick<Here, 'config' | 'dists'>): string | undefined =>
  dists.includes(word) ? word : config.distributionWords.find((one) => one.word === word)?.dist;

/**
 * Every environment hears every command: only those that are meant have an answer for its signer.
 * @param job that is to be tried again, for Retry
 */
export function isMeantHere(command: Command, here: Here, job: unknown): boolean {
  if (command.verb === 'Retry') return job !== undefined;
  if (!here.config.releases.includes(command.release)) return false;
  if ('template' in command) return here.templates.includes(command.template);
  if (!here.components.includes(command.component)) return false;
  return (
    !('dists' in command) ||
    command.dists === 'all' ||
    command.dists.some((word) => distOf(word, here) !== undefined)
  );
}

/** @throws Refusal OTHER_RELEASE: another environment's */
export function refuseOtherRelease(config: CommandsConfig, command: Command): void {
  if ('release' in command && !config.releases.includes(command.release))
    throw new Refusal('OTHER_RELEASE', `${command.release} is not built here`);
}

/**
 * The distributions of this environment that are meant. Every environment hears every command, so a word that
 * is unknown here is another's; with no word of ours the whole command is.
 * @param here our distributions, in their order
 * @param built those of them that the package was built for: `all` means these
 * @throws Refusal OTHER_DISTRIBUTION, DISTRIBUTION_TWICE, NOT_BUILT
 */
export function meantDists(
  words: DistWords,
  config: CommandsConfig,
  here: readonly string[],
  built: readonly string[],
): string[] {
  const ours = here.filter((dist) => built.includes(dist));
  if (words === 'all') return ours.length > 0 ? ours : notBuilt('any distribution of this environment');
  const meant = words.flatMap((word) => {
    const dist = distOf(word, { config, dists: here });
    return dist === undefined ? [] : [dist];
  });
  if (meant.length === 0) throw new Refusal('OTHER_DISTRIBUTION', 'none of the distributions is built here');
  if (new Set(meant).size !== meant.length)
    throw new Refusal('DISTRIBUTION_TWICE', 'two of the words mean one distribution');
  return meant.map((dist) => (ours.includes(dist) ? dist : notBuilt(dist)));
}

function notBuilt(what: string): never {
  throw new Refusal('NOT_BUILT', `it was not built for ${what}`);
}
