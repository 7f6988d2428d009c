// SPDX-License-Identifier: GPL-2.0-or-later
import { isMainThread } from 'node:worker_threads';
import { runProgram } from '../shared/command-line/run-program.js';
import { adminProgram } from './admin-program.js';

// The audit's thread loads this file too, which is all that there is of it (agents/audit/reading/thread.ts).
if (isMainThread) process.exitCode = await runProgram(adminProgram, process.argv.slice(2));
