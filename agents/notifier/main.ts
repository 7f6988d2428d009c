// SPDX-License-Identifier: GPL-2.0-or-later
// The notifier of a build VM: a process of its own, so that nothing that GitHub does or leaves undone can
// touch a build.
//   notifier                     serves
//   notifier again all|<name>    documents that were set aside are tried again
import { join } from 'node:path';
import type { ProgramTable } from '../shared/command-line/program.js';
import { runProgram } from '../shared/command-line/run-program.js';
import { startOrSay } from '../shared/calls/agent-start.js';
import { reportToStderr } from '../shared/calls/socket-service.js';
import { readConfig, readToken } from './config.js';
import { proxyOf } from './github/exchange.js';
import { defaultLimits, Notifier } from './notifier.js';
import { OutboxReader } from './outbox-reader.js';
import { rootPrefix as root } from '../shared/root-prefix.js';

const at = (path: string): string => (root === '' ? path : join(root, path));
const state = at('/var/lib/build-infra/notifier');

async function serve(): Promise<() => Promise<void>> {
  const config = readConfig(at('/rw/config/build-infra/notify.json'));
  const tokenPath = at('/rw/config/build-infra/notify-token');
  if (!config.dryRun) readToken(tokenPath);
  const notifier = await Notifier.open({
    config,
    outbox: at('/var/lib/build-infra/outbox'),
    state,
    token: () => readToken(tokenPath),
    report: reportToStderr,
    limits: { ...defaultLimits, proxy: proxyOf(process.env) },
  });
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => process.exit(0));
  reportToStderr(`notifier of ${config.vm}: ready${config.dryRun ? ' (dry run)' : ''}`);
  return () => notifier.run();
}

const program: ProgramTable = {
  name: 'build-infra-notifier',
  does: 'tells GitHub what a build VM did; systemd starts it, without arguments',
  commands: [
    {
      words: 'again',
      takes: 'all|NAME',
      does: 'tries documents that were set aside again',
      run: ({ words: [which = ''] }) => {
        const names = OutboxReader.wantAgain(state, which);
        process.stdout.write(
          names.length === 0 ? 'nothing was set aside\n' : names.map((name) => `again ${name}\n`).join(''),
        );
        return 0;
      },
    },
  ],
};

if (process.argv.length === 2) startOrSay('notifier', serve);
else process.exitCode = await runProgram(program, process.argv.slice(2));
