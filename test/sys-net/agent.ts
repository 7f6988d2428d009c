// SPDX-License-Identifier: GPL-2.0-or-later
// The whole agent as a process in a tree of its own, with a build VM that is a script, for tests that kill
// it.
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startAgent, type AgentProcess, type HowStarted } from '../support/agent-process.js';
import { folderOf } from '../support/folders.js';
import { secret } from './push-payload.js';

const entry = join(dirname(fileURLToPath(import.meta.url)), '../../agents/sys-net/main.js');

export const baseConfig = {
  format: 'build-infra/sys-net-config@1',
  vm: 'sys-net',
  webhook: { socket: '/run/build-infra/webhook.http.sock', bodyBytes: 2097152 },
  repositories: [{ fullName: 'example/hello', component: 'hello', tag: 'v{version}' }],
  buildVms: ['build-debian'],
  sshHosts: [{ host: 'forge.example', address: '127.0.0.1', port: 2222 }],
};

export interface Tree {
  root: string;
  socketPath: string;
  /** what the build VM answers from now on; `status` other than 0 is qrexec's own refusal */
  answer: (text: string, status?: number, vm?: string) => void;
  /** the calls so far, "TARGET SERVICE" each */
  calls: () => string[];
  /** what a build VM read last, of a command */
  heard: (vm: string) => string;
  /** calls that the spool still owes to build VMs */
  waiting: () => number;
  /** Starts the agent, which ends with the test. */
  start: (how?: HowStarted) => Promise<AgentProcess>;
}

/** Gone when the test is over. */
export function makeTree(t: { teardown: (act: () => unknown) => void }, config: object = baseConfig): Tree {
  const root = folderOf(t);
  for (const folder of ['rw/config/build-infra', 'var/lib/build-infra', 'run/build-infra', 'usr/bin'])
    mkdirSync(join(root, folder), { recursive: true });
  writeFileSync(join(root, 'rw/config/build-infra/sys-net.json'), JSON.stringify(config));
  writeFileSync(join(root, 'rw/config/build-infra/webhook-secret'), `${secret}\n`, { mode: 0o600 });
  const client = join(root, 'usr/bin/qrexec-client-vm');
  writeFileSync(
    client,
    `#!/bin/sh
echo "$1 $2" >> ${root}/calls
test "$2" != qubesbuilder.ProcessGithubCommand || cat > ${root}/heard.$1
file=${root}/answer; test -f ${root}/answer.$1 && file=${root}/answer.$1
cat $file
exit $(cat $file.status)
`,
  );
  chmodSync(client, 0o755);
  return {
    root,
    socketPath: join(root, 'run/build-infra/webhook.http.sock'),
    answer(text, status = 0, vm) {
      const file = join(root, vm === undefined ? 'answer' : `answer.${vm}`);
      writeFileSync(`${file}.status`, `${status}\n`);
      writeFileSync(file, text);
    },
    calls: () =>
      existsSync(join(root, 'calls')) ? readFileSync(join(root, 'calls'), 'utf8').trim().split('\n') : [],
    heard: (vm) => readFileSync(join(root, `heard.${vm}`), 'latin1'),
    waiting: () => {
      const spooled = readFileSync(join(root, 'var/lib/build-infra/webhooks/deliveries'), 'utf8');
      return spooled.split('"outcome":null').length - spooled.split('{"told":').length;
    },
    start: async (how = {}) => {
      const agent = await startAgent([...(how.under ?? []), process.execPath, how.program ?? entry], {
        PATH: process.env['PATH'],
        BUILD_INFRA_ROOT: root,
      });
      t.teardown(() => agent.kill());
      return agent;
    },
  };
}
