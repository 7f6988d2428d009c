// SPDX-License-Identifier: GPL-2.0-or-later
// A notifier as a process that a test can kill: after the n-th file that it makes durable, before the n-th
// kind of file that it makes durable for the first time, or from outside. Its clock goes by itself.
//   killed-notifier.js <folder> <config JSON> <start ISO> [before|after N]
import fs, { readlinkSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { TestClock } from '../support/test-clock.js';

const [folder, config, start, when, count] = process.argv.slice(2) as [
  string,
  string,
  string,
  string | undefined,
  string | undefined,
];
let left = when === undefined ? Infinity : Number(count);
const kinds = new Set<string>();
/** @param pathOf the file that becomes durable by this */
const dies =
  <T extends unknown[], R>(step: (...args: T) => R, pathOf: (...args: T) => string) =>
  (...args: T): R => {
    // A kill before a file differs from one after what was done last by an unfinished file that lies there:
    // the same for each file of a folder.
    const path = pathOf(...args);
    const kind = basename(dirname(path)) === 'state' ? basename(path) : basename(dirname(path));
    if (when !== 'before' || !kinds.has(kind)) left -= 1;
    kinds.add(kind);
    if (left === 0 && when === 'before') process.kill(process.pid, 'SIGKILL');
    const result = step(...args);
    if (left === 0) process.kill(process.pid, 'SIGKILL');
    return result;
  };
// Every durable file is renamed into its place, every line of a ledger synced.
fs.renameSync = dies(fs.renameSync, (_from, to) => String(to));
fs.fdatasyncSync = dies(fs.fdatasyncSync, (fd) => `${readlinkSync(`/proc/self/fd/${fd}`)} synced`);
syncBuiltinESMExports();

const { Notifier } = await import('../../agents/notifier/notifier.js');
const { proxyOf } = await import('../../agents/notifier/github/exchange.js');
const clock = new TestClock(Date.parse(start));
const notifier = await Notifier.open({
  config: JSON.parse(config) as never,
  outbox: join(folder, 'outbox'),
  state: join(folder, 'state'),
  clock,
  token: () => process.env['TEST_TOKEN'] ?? '',
  report: (line) => process.stdout.write(`${line}\n`),
  limits: {
    timeoutMs: Number(process.env['TEST_TIMEOUT'] ?? 300_000),
    answerBytes: 1024 * 1024,
    proxy: proxyOf(process.env),
  },
});
process.stdout.write('open\n');
for (
  let pause = await notifier.deliveries.work();
  pause !== undefined;
  pause = await notifier.deliveries.work()
)
  clock.time += pause;
process.stdout.write('all said\n');
notifier.close();
