// SPDX-License-Identifier: GPL-2.0-or-later
import { fileURLToPath } from 'node:url';

const compiled = (path: string): string => fileURLToPath(new URL(`../../agents/${path}`, import.meta.url));

/** A program of the audit alone. @param from where its words begin in `process.argv` */
export const auditScript = (
  from: number,
): string => `import { runProgram } from ${JSON.stringify(compiled('shared/command-line/run-program.js'))};
import { auditCommand } from ${JSON.stringify(compiled('audit/main.js'))};
const table = { name: 'build-infra', does: '', commands: [auditCommand] };
process.exitCode = await runProgram(table, ['audit', ...process.argv.slice(${from})]);
`;
