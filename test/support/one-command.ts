// SPDX-License-Identifier: GPL-2.0-or-later
import { fileURLToPath } from 'node:url';

const compiled = (path: string): string =>
  JSON.stringify(fileURLToPath(new URL(`../../agents/${path}`, import.meta.url)));

/**
 * A program of one command of `build-infra`, which starts faster than the whole.
 * @param from where its words begin in `process.argv`
 */
export const oneCommand = (
  module: string,
  row: string,
  from: number,
): string => `import { runProgram } from ${compiled('shared/command-line/run-program.js')};
import { ${row} } from ${compiled(module)};
const table = { name: 'build-infra', does: '', commands: [${row}] };
process.exitCode = await runProgram(table, [...${row}.words.split(' '), ...process.argv.slice(${from})]);
`;
