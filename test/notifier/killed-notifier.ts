// SPDX-License-Identifier: GPL-2.0-or-later
// A notifier as a process that a test can kill: at the n-th file that it makes durable, before or after, or from outside. Its clock goes by itself.
//   killed-notifier.js <folder> <config JSON> <start ISO> [before|after N]
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';

const [folder, config, start, when, count] = process.argv.slice(2) as [string, string, string, string | undefined, string | undefined];
let left = when === undefined ? Infinity : Number(count);
const dies = <T extends unknown[], R>(step: (...args: T) => R) => (...args: T): R => {
  left -= 1;
  if (left === 0 && when === 'before') process.kill(process.pid, 'SIGKILL');
  const result = step(...args);
  if (left === 0) process.kill(process.pid, 'SIGKILL');
  return result;
};
// Every durable file is renamed into its place, every line of a ledger synced.
fs.renameSync = dies(fs.renameSync);
fs.fdatasyncSync = dies(fs.fdatasyncSync);
syncBuiltinESMExports();

const { Notifier } = await import('../../agents/notifier/notifier.js');
const { proxyOf } = await import('../../agents/notifier/github/exchange.js');
let time = Date.parse(start);
const clock = { now: () => new Date(time), sleep: async (ms: number) => void (time += ms) };
const notifier = await Notifier.open({
  config: JSON.parse(config) as never, outbox: join(folder, 'outbox'), state: join(folder, 'state'), clock, token: () => process.env['TEST_TOKEN'] ?? '', report: (line) => process.stdout.write(`${line}\n`),
  limits: { timeoutMs: Number(process.env['TEST_TIMEOUT'] ?? 5000), answerBytes: 1024 * 1024, proxy: proxyOf(process.env) },
});
process.stdout.write('open\n');
for (let pause = await notifier.deliveries.work(); pause !== undefined; pause = await notifier.deliveries.work()) time += pause;
process.stdout.write('all said\n');
notifier.close();
