// SPDX-License-Identifier: GPL-2.0-or-later
// Loaded into each test file's process by tap (package.json). tap hands its loader on to every Node process
// below a test, for coverage that is not taken here: it doubles the time that an agent needs to start.
import processOnSpawn from 'process-on-spawn';

processOnSpawn.removeAllListeners();
delete process.env.NODE_OPTIONS;
