// SPDX-License-Identifier: GPL-2.0-or-later
// The command build-infra: finds the subcommand and hands it the rest of the command line.
import { isMainThread } from 'node:worker_threads';
import { explain, explainUsage } from './policy/explain.js';

interface Command {
  words: readonly string[];
  usage: string;
  run: (args: readonly string[]) => Promise<number>;
}

const commands: readonly Command[] = [
  {
    words: ['policy', 'explain'],
    usage: explainUsage,
    run: async (args) => explain(args, (text) => process.stdout.write(text), (text) => process.stderr.write(text)),
  },
  {
    words: ['provision'],
    usage: 'build-infra provision --pillar FILE --vm NAME --root DIR',
    run: async (args) => (await import('./provision/main.js')).provisionMain(args),
  },
  {
    words: ['upgrade-pillar'],
    usage: 'build-infra upgrade-pillar FILE...',
    run: async (args) => (await import('./upgrade/main.js')).upgradeMain(args),
  },
  {
    words: ['audit'],
    usage: 'build-infra audit --help',
    run: async (args) => (await import('../audit/main.js')).auditMain(args),
  },
  {
    words: ['command'],
    usage: 'build-infra command --help',
    run: async (args) => (await import('../command/main.js')).commandMain(args),
  },
];

async function run(given: readonly string[]): Promise<number> {
  const command = commands.find(({ words }) => words.every((word, index) => given[index] === word));
  if (command !== undefined) return command.run(given.slice(command.words.length));
  const help = given[0] === '--help' || given[0] === '-h';
  (help ? process.stdout : process.stderr).write(`usage:\n${commands.map(({ usage }) => `  ${usage}\n`).join('')}`);
  return help ? 0 : 2;
}

// The audit's thread loads this file too, which is all that there is of it (agents/audit/reading/thread.ts).
if (isMainThread) process.exitCode = await run(process.argv.slice(2));
