// SPDX-License-Identifier: GPL-2.0-or-later
// build-infra audit: the command. Exit 0: good. 1: something is wrong, and the evidence. 2: it could not be
// checked.
import { Misuse, type CommandCall, type CommandRow } from '../shared/command-line/program.js';
import { printable } from '../shared/refusal.js';
import { audit } from './audit.js';
import { Unreadable } from '../published/unreadable.js';
import { auditOptions, optionsOf } from './options.js';
import { asJson, asTable } from './report.js';

async function run(call: CommandCall): Promise<number> {
  // So that what belongs to processes of ours ends with us, in groups that no terminal knows.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(2));
  const options = optionsOf(call);
  try {
    const result = await audit(options);
    const kinds = new Set(options.repositories.map(({ kind }) => kind));
    process.stdout.write(options.json ? asJson(result) : asTable(result, kinds));
    return result.findings.ok ? 0 : 1;
  } catch (error) {
    if (error instanceof Misuse) throw error;
    const why =
      error instanceof Unreadable
        ? `cannot be checked: ${printable(error.message)}`
        : `fault: ${String((error as Error).stack ?? error)}`;
    process.stderr.write(`build-infra audit: ${why}\n`);
    return 2;
  }
}

export const auditCommand: CommandRow = {
  words: 'audit',
  takes: '[URL_OR_PATH]...',
  does: 'checks what the farm has published, from the published repositories alone; it asks no VM and trusts nothing but the keys',
  options: auditOptions,
  more: `Limits are of everything together; whoever serves the repositories may want the auditor to never end.
Beyond one: exit status 2, and what was not checked.
Exit status: 0 everything is as it should be, 1 something is wrong (with the evidence), 2 it could not be checked.`,
  run,
};
