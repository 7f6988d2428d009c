// SPDX-License-Identifier: GPL-2.0-or-later
import { runProgram } from '../shared/command-line/run-program.js';
import { vmProgram } from './program.js';

process.exitCode = await runProgram(vmProgram, process.argv.slice(2));
