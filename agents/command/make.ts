// SPDX-License-Identifier: GPL-2.0-or-later
// build-infra command make: on a maintainer's machine, writes the text that the build VMs obey once it is
// signed. Exit 0: made. 1: gpg did not sign. 2: it is no command.
import { spawn } from 'node:child_process';
import { Misuse, type CommandCall, type CommandRow } from '../shared/command-line/program.js';
import {
  commandUsage,
  makeCommand,
  makeOlderCommand,
  parseCommand,
  timestampSeconds,
} from '../shared/formats/command.js';
import { Refusal } from './refusals.js';

/** YYYYmmddHHMM, in UTC. */
export function minuteOf(now: Date): string {
  return now.toISOString().replace(/[-T:]/g, '').slice(0, 12);
}

/** The line for these words. @throws Refusal BAD_COMMAND */
export function lineOf(words: readonly string[], older: boolean, now: Date): string {
  const [verb = '', ...rest] = words;
  const dists = verb === 'Upload-component' || verb === 'Rebuild-component' ? rest.splice(4) : [];
  const timed = rest.map((word, i) =>
    verb === 'Build-template' && i === 2 && word === 'now' ? minuteOf(now) : word,
  );
  const { command } = parseCommand(
    [verb, ...timed, ...(dists.length > 0 ? [dists.join(',')] : [])].join(' '),
  );
  if (!older) return makeCommand(command);
  if (command.verb !== 'Upload-component')
    throw new Refusal('BAD_COMMAND', 'the older grammar has uploads of components only');
  return makeOlderCommand(command);
}

/** Something a build VM would refuse later than it could be told now. */
function warningOf(line: string, now: Date): string | undefined {
  const { command } = parseCommand(line);
  if (command.verb !== 'Build-template') return undefined;
  const ahead = (timestampSeconds(command.timestamp) as number) - now.getTime() / 1000;
  return ahead < -3600 || ahead > 300
    ? 'the timestamp is not of about now: the build VM will refuse it'
    : undefined;
}

/**
 * Exit status of gpg, whose prompts go to the terminal. A hash that every version may use; no header beyond
 * it.
 */
function sign(line: string, gpg: string, key: string): Promise<number> {
  const args = [
    '--digest-algo',
    'SHA512',
    '--no-emit-version',
    '--no-comments',
    '--local-user',
    key,
    '--clearsign',
  ];
  return new Promise((resolve, reject) => {
    const child = spawn(gpg, args, { stdio: ['pipe', 'inherit', 'inherit'] });
    child.on('error', (error) => reject(new Misuse(`${gpg} cannot be started: ${error.message}`)));
    child.on('close', (status) => resolve(status ?? 1));
    child.stdin.on('error', () => undefined);
    child.stdin.end(`${line}\n`);
  });
}

async function make({ words, has, value }: CommandCall, now = new Date()): Promise<number> {
  const line = lineOf(words, has('older'), now);
  const warning = warningOf(line, now);
  if (warning !== undefined) process.stderr.write(`build-infra command: ${warning}\n`);
  const key = value('sign');
  if (key !== undefined) return (await sign(line, value('gpg') ?? 'gpg', key)) === 0 ? 0 : 1;
  process.stdout.write(`${line}\n`);
  return 0;
}

/** A line that is no command was not understood, like any other word. */
async function understood(call: CommandCall): Promise<number> {
  try {
    return await make(call);
  } catch (error) {
    throw error instanceof Refusal ? new Misuse(error.line()) : error;
  }
}

export const makeCommandRow: CommandRow = {
  words: 'command make',
  takes: 'VERB WORD...',
  does: 'prints the line that the build VMs obey once it is signed and put into a comment',
  options: [
    {
      name: 'sign',
      value: 'KEY',
      does: 'has gpg clear-sign the line with that key: what it prints goes whole into a comment',
    },
    { name: 'gpg', value: 'PROGRAM', does: 'in place of gpg, as qubes-gpg-client-wrapper' },
    {
      name: 'older',
      does: 'spells an upload as Upload <component> <commit> <release> <repository> [<dist> ...] repo',
    },
  ],
  more: `The commands:
${commandUsage.map((line) => `  ${line}\n`).join('')}
Distributions may stand with commas or with blanks between them. "now" in place of a timestamp is this minute.
Exit status: 0 made, 1 gpg did not sign, 2 it is no command.`,
  run: understood,
};
