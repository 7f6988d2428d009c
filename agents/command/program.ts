// SPDX-License-Identifier: GPL-2.0-or-later
// The same command as a file of its own, for a machine that has nothing else of build-infra.
import { commandMain } from './main.js';

process.exitCode = await commandMain(process.argv[2] === 'command' ? process.argv.slice(3) : process.argv.slice(2));
