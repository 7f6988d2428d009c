// SPDX-License-Identifier: GPL-2.0-or-later
// The agent of sys-net: wires configuration, spool, receiver, worker and services. It decides nothing.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { startOrSay } from '../shared/agent-start.js';
import { callService, qrexecClient } from '../shared/qrexec-call.js';
import { reportToStderr, serveSockets, socketsFromSystemd } from '../shared/socket-service.js';
import { readConfig, readSecret } from './config.js';
import { connectSsh } from './connect-ssh.js';
import { DeliverySpool } from './delivery-spool.js';
import { DeliveryWorker } from './delivery-worker.js';
import { createReceiver, listenForNginx } from './webhook-receiver.js';

async function main(): Promise<void> {
  const root = process.env['BUILD_INFRA_ROOT'] ?? '';
  const at = (path: string): string => (root === '' ? path : join(root, path));
  const report = reportToStderr;
  const config = readConfig(readFileSync(at('/rw/config/build-infra/sys-net.json')));
  const secret = readSecret(at('/rw/config/build-infra/webhook-secret'));
  const spool = new DeliverySpool(at('/var/lib/build-infra/webhooks'));
  const worker = new DeliveryWorker(
    spool,
    (vm, component) => callService({ target: vm, service: `qubesbuilder.TriggerBuild+${component}`, limitBytes: 4096, timeoutMs: 180_000, client: at(qrexecClient) }),
    { report },
  );
  const receiver = createReceiver({ config, secret, spool, report, onAccepted: () => worker.wake() });
  const handedOver = socketsFromSystemd();
  await serveSockets([connectSsh(config, { report })], { report, sockets: handedOver, folder: at('/run/build-infra') });
  const webhook = handedOver.get('webhook');
  await listenForNginx(receiver, webhook === undefined ? { path: at(config.webhook.socket) } : { fd: webhook });
  report(`sys-net: ready; ${spool.pending} deliveries wait`);
  worker.wake();
}

startOrSay('sys-net agent', main);
