// SPDX-License-Identifier: GPL-2.0-or-later
// build-infra audit: the command line. Exit 0: good. 1: something is wrong, and the evidence. 2: it could not be checked.
import { printable } from '../shared/refusal.js';
import { audit } from './audit.js';
import { Unreadable } from '../published/unreadable.js';
import { Misuse, readOptions, usage } from './options.js';
import { asJson, asTable } from './report.js';

export async function auditMain(argv: readonly string[]): Promise<number> {
  // So that what belongs to processes of ours ends with us, in groups that no terminal knows.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(2));
  try {
    const options = readOptions(argv);
    if (options === 'help') {
      process.stdout.write(usage);
      return 0;
    }
    const result = await audit(options);
    process.stdout.write(options.json ? asJson(result) : asTable(result, new Set(options.repositories.map(({ kind }) => kind))));
    return result.findings.ok ? 0 : 1;
  } catch (error) {
    if (error instanceof Misuse) process.stderr.write(`build-infra audit: ${printable(error.message)}\n\n${usage}`);
    else if (error instanceof Unreadable) process.stderr.write(`build-infra audit: cannot be checked: ${printable(error.message)}\n`);
    else process.stderr.write(`build-infra audit: fault: ${String((error as Error).stack ?? error)}\n`);
    return 2;
  }
}
