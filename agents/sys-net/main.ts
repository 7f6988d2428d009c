// SPDX-License-Identifier: GPL-2.0-or-later
// The agent of sys-net: wires configuration, spool, receiver, worker and services. It decides nothing.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { startOrSay } from '../shared/calls/agent-start.js';
import { callService, qrexecClient } from '../shared/calls/qrexec-call.js';
import {
  reportToStderr,
  serveSockets,
  socketsFromSystemd,
  type Reporter,
} from '../shared/calls/socket-service.js';
import { connectsSsh, readConfig, readSecret, receivesWebhooks, type WebhookConfig } from './config.js';
import { connectSsh } from './connect-ssh.js';
import { DeliverySpool } from './delivery-spool.js';
import { DeliveryWorker } from './delivery-worker.js';
import { MissedComments } from './missed-comments.js';
import { createReceivers, listenForNginx, moreSockets } from './webhook-receiver.js';
import { rootPrefix as root } from '../shared/root-prefix.js';

const at = (path: string): string => (root === '' ? path : join(root, path));

async function receiveWebhooks(
  config: WebhookConfig,
  handedOver: Map<string, number>,
  report: Reporter,
): Promise<void> {
  const secret = readSecret(at('/rw/config/build-infra/webhook-secret'));
  const webhooksFolder = at('/var/lib/build-infra/webhooks');
  const spool = new DeliverySpool(webhooksFolder);
  const limits = { limitBytes: 4096, timeoutMs: 180_000, client: at(qrexecClient) };
  const worker = new DeliveryWorker(
    spool,
    {
      trigger: (vm, component) =>
        callService({ target: vm, service: `qubesbuilder.TriggerBuild+${component}`, ...limits }),
      command: (vm, block) =>
        callService({ target: vm, service: 'qubesbuilder.ProcessGithubCommand', input: block, ...limits }),
    },
    { report },
  );
  const webhook = handedOver.get('webhook');
  const sockets = [
    webhook === undefined ? { path: at(config.webhook.socket) } : { fd: webhook },
    ...moreSockets.map((path) => ({ path: at(path) })),
  ];
  const receivers = createReceivers(
    { config, secret, spool, report, onAccepted: () => worker.wake() },
    sockets.length,
  );
  for (const [n, receiver] of receivers.entries())
    await listenForNginx(receiver, sockets[n] as { path: string });
  report(`webhooks: ${spool.pending} deliveries wait`);
  worker.wake();
  const { commands } = config;
  if (commands?.api === undefined || commands.buildVms.length === 0) return;
  new MissedComments({
    commands,
    api: commands.api,
    folder: webhooksFolder,
    spool,
    report,
    onAccepted: () => worker.wake(),
  }).start();
}

async function main(): Promise<void> {
  const report = reportToStderr;
  const config = readConfig(readFileSync(at('/rw/config/build-infra/sys-net.json')));
  const handedOver = socketsFromSystemd();
  if (connectsSsh(config))
    await serveSockets([connectSsh(config, { report })], {
      report,
      sockets: handedOver,
      folder: at('/run/build-infra'),
    });
  if (receivesWebhooks(config)) await receiveWebhooks(config, handedOver, report);
  report('sys-net: ready');
}

startOrSay('sys-net agent', main);
