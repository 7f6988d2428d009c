// SPDX-License-Identifier: GPL-2.0-or-later
// Commands of people in this VM: a file `<name>.cmd`, renamed into the spool folder, with one line, answered
// in `answers/<name>.answer`. Who may write there is root of this VM: the file system is the permission.
import { existsSync, lstatSync, readdirSync, readFileSync, statSync, unlinkSync } from 'node:fs';
import { basename, join } from 'node:path';
import { watch } from 'chokidar';
import { makeFolder, removeDurably, writeDurably } from '../../shared/durable-files.js';
import { jobIdPattern, matches, plainNamePattern, versionPattern } from '../../shared/formats/names.js';
import { AnyRefusal, printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import type { Reporter } from '../../shared/calls/socket-service.js';

const commandNamePattern = '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}\\.cmd$';
const commandLimitBytes = 1024;
const sweepMs = 1000;
const answerKeptMs = 24 * 3600_000;

export interface Commands {
  trigger: (component: string) => Promise<string>;
  retry: (job: string) => Promise<string>;
  cancel: (job: string) => Promise<string>;
  withdraw: (component: string, version: string) => Promise<string>;
}

export type Command =
  | { verb: 'trigger'; component: string }
  | { verb: 'retry' | 'cancel'; job: string }
  | { verb: 'withdraw'; component: string; version: string };

/** @throws Refusal BAD_COMMAND */
export function readCommand(untrustedText: string): Command {
  const words = untrustedText.replace(/\n$/, '').split(' ');
  if (words.length === 2 && words[0] === 'trigger' && matches(plainNamePattern, words[1]))
    return { verb: 'trigger', component: words[1] };
  if (
    words.length === 2 &&
    (words[0] === 'retry' || words[0] === 'cancel') &&
    matches(jobIdPattern, words[1])
  )
    return { verb: words[0], job: words[1] };
  if (
    words.length === 3 &&
    words[0] === 'withdraw' &&
    matches(plainNamePattern, words[1]) &&
    matches(versionPattern, words[2])
  )
    return { verb: 'withdraw', component: words[1], version: words[2] };
  throw new Refusal(
    'BAD_COMMAND',
    'a command is "trigger <component>", "retry <job>", "cancel <job>" or "withdraw <component> <version>"',
  );
}

async function answerTo(path: string, commands: Commands): Promise<string> {
  try {
    const about = lstatSync(path);
    if (!about.isFile() || about.size > commandLimitBytes)
      throw new Refusal('BAD_COMMAND', 'not a small plain file');
    const command = readCommand(readFileSync(path, 'utf8'));
    switch (command.verb) {
      case 'trigger':
        return await commands.trigger(command.component);
      case 'retry':
        return await commands.retry(command.job);
      case 'cancel':
        return await commands.cancel(command.job);
      case 'withdraw':
        return await commands.withdraw(command.component, command.version);
    }
  } catch (error) {
    if (error instanceof AnyRefusal) return `${error.line()}\n`;
    throw error;
  }
}

function pruneAnswers(folder: string): void {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (Date.now() - statSync(path).mtimeMs > answerKeptMs) unlinkSync(path);
  }
}

/**
 * Watches until close(); files that are there already count. A file is removed once its answer is on disk.
 */
export function watchCommands(
  spool: string,
  answers: string,
  commands: Commands,
  report: Reporter,
): { close: () => Promise<void>; ready: Promise<void> } {
  makeFolder(spool);
  makeFolder(answers);
  const handling = new Set<string>();
  const handle = async (path: string): Promise<void> => {
    const name = basename(path);
    if (!matches(commandNamePattern, name) || handling.has(name) || !existsSync(path)) return;
    handling.add(name);
    try {
      const answer = await answerTo(path, commands);
      pruneAnswers(answers);
      writeDurably(join(answers, name.replace(/\.cmd$/, '.answer')), answer);
      removeDurably(path);
      report(`command ${printable(name)}: ${printable(answer.trim())}`);
    } catch (error) {
      report(`command ${printable(name)}: fault: ${printable(String(error))}`);
    } finally {
      handling.delete(name);
    }
  };
  // Closed while it still looks around for the first time, a watcher may keep a watch: that must not keep the
  // process.
  const watcher = watch(spool, { depth: 0, ignoreInitial: false, persistent: false });
  watcher.on('add', (path) => void handle(path));
  // A file that came while the watch was being set up raises no event.
  const sweep = setInterval(() => {
    for (const name of readdirSync(spool)) void handle(join(spool, name));
  }, sweepMs);
  watcher.on('error', (error) => report(`spool: ${printable(String(error))}`));
  return {
    close: () => (clearInterval(sweep), watcher.close()),
    ready: new Promise((resolve) => watcher.once('ready', () => resolve())),
  };
}
