// SPDX-License-Identifier: GPL-2.0-or-later
// The same command as a file of its own, for a machine that has nothing else of build-infra.
import { runProgram } from '../shared/command-line/run-program.js';
import { makeCommandRow } from './make.js';

const commands = [makeCommandRow];
const given = process.argv.slice(2);
const table = { name: 'build-infra', does: 'writes and signs the commands of a release team', commands };
process.exitCode = await runProgram(table, given[0] === 'make' ? ['command', ...given] : given);
