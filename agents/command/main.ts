// SPDX-License-Identifier: GPL-2.0-or-later
// build-infra command make: on a maintainer's machine, writes the text that the build VMs obey once it is signed. Exit 0: made. 1: gpg did not
// sign. 2: it is no command.
import { spawn } from 'node:child_process';
import { commandUsage, makeCommand, makeOlderCommand, parseCommand, timestampSeconds } from '../shared/formats/command.js';
import { printable } from '../shared/refusal.js';
import { Refusal } from './refusals.js';

const usage = `usage: build-infra command make VERB WORD... [--sign KEY [--gpg PROGRAM]] [--older]

${commandUsage.map((line) => `  ${line}\n`).join('')}
Distributions may stand with commas or with blanks between them. "now" in place of a timestamp is this minute.
--sign KEY   has gpg clear-sign the line with that key: what it prints goes whole into a comment
--gpg PROGRAM  in place of gpg, as qubes-gpg-client-wrapper
--older      spells an upload as Upload <component> <commit> <release> <repository> [<dist> ...] repo
`;

class Misuse extends Error {}

interface Wanted {
  words: string[];
  sign: string | undefined;
  gpg: string;
  older: boolean;
}

function readOptions(args: readonly string[]): Wanted {
  const wanted: Wanted = { words: [], sign: undefined, gpg: 'gpg', older: false };
  const rest = [...args];
  const value = (option: string): string => {
    const found = rest.shift();
    if (found === undefined || found === '') throw new Misuse(`${option} needs a value`);
    return found;
  };
  for (let arg = rest.shift(); arg !== undefined; arg = rest.shift()) {
    if (arg === '--sign') wanted.sign = value(arg);
    else if (arg === '--gpg') wanted.gpg = value(arg);
    else if (arg === '--older') wanted.older = true;
    else if (arg.startsWith('-')) throw new Misuse(`no option ${printable(arg)}`);
    else wanted.words.push(arg);
  }
  return wanted;
}

/** YYYYmmddHHMM, in UTC. */
export function minuteOf(now: Date): string {
  return now.toISOString().replace(/[-T:]/g, '').slice(0, 12);
}

/** The line for these words. @throws Refusal BAD_COMMAND */
export function lineOf(words: readonly string[], older: boolean, now: Date): string {
  const [verb = '', ...rest] = words;
  const dists = verb === 'Upload-component' || verb === 'Rebuild-component' ? rest.splice(4) : [];
  const timed = rest.map((word, i) => (verb === 'Build-template' && i === 2 && word === 'now' ? minuteOf(now) : word));
  const { command } = parseCommand([verb, ...timed, ...(dists.length > 0 ? [dists.join(',')] : [])].join(' '));
  if (!older) return makeCommand(command);
  if (command.verb !== 'Upload-component') throw new Refusal('BAD_COMMAND', 'the older grammar has uploads of components only');
  return makeOlderCommand(command);
}

/** Something a build VM would refuse later than it could be told now. */
function warningOf(line: string, now: Date): string | undefined {
  const { command } = parseCommand(line);
  if (command.verb !== 'Build-template') return undefined;
  const ahead = (timestampSeconds(command.timestamp) as number) - now.getTime() / 1000;
  return ahead < -3600 || ahead > 300 ? 'the timestamp is not of about now: the build VM will refuse it' : undefined;
}

/** Exit status of gpg, whose prompts go to the terminal. A hash that every version may use; no header beyond it. */
function sign(line: string, { gpg, sign: key }: Wanted): Promise<number> {
  const args = ['--digest-algo', 'SHA512', '--no-emit-version', '--no-comments', '--local-user', key as string, '--clearsign'];
  return new Promise((resolve, reject) => {
    const child = spawn(gpg, args, { stdio: ['pipe', 'inherit', 'inherit'] });
    child.on('error', (error) => reject(new Misuse(`${gpg} cannot be started: ${error.message}`)));
    child.on('close', (status) => resolve(status ?? 1));
    child.stdin.on('error', () => undefined);
    child.stdin.end(`${line}\n`);
  });
}

/** @param args what follows `build-infra command` */
export async function commandMain(args: readonly string[], now = new Date()): Promise<number> {
  try {
    if (args[0] === '--help' || args[0] === '-h') {
      process.stdout.write(usage);
      return 0;
    }
    if (args[0] !== 'make' || args.length < 2) throw new Misuse('what is to be made?');
    const wanted = readOptions(args.slice(1));
    const line = lineOf(wanted.words, wanted.older, now);
    const warning = warningOf(line, now);
    if (warning !== undefined) process.stderr.write(`build-infra command: ${warning}\n`);
    if (wanted.sign !== undefined) return (await sign(line, wanted)) === 0 ? 0 : 1;
    process.stdout.write(`${line}\n`);
    return 0;
  } catch (error) {
    if (!(error instanceof Refusal) && !(error instanceof Misuse)) throw error;
    process.stderr.write(`build-infra command: ${error instanceof Refusal ? error.line() : printable(error.message)}\n\n${usage}`);
    return 2;
  }
}
