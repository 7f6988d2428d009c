// SPDX-License-Identifier: GPL-2.0-or-later
// A webhook that is answered 202 is on disk, and known as a replay, before GitHub hears of it: it will not
// send it again.
import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import {
  cannotRecord,
  inOrder,
  notOnDisk,
  onlyThen,
  recorded,
  recordingTo,
  starting,
  syncing,
  writing,
  type SystemCall,
} from '../support/system-calls.js';
import { makeTree } from './agent.js';
import { post } from './post.js';
import { githubHeaders, pushPayload } from './push-payload.js';

const bundle = fileURLToPath(new URL('../../../dist/sys-net-agent.mjs', import.meta.url));

void t.test(
  'a delivery is spooled and remembered before it is answered, and before the build VM is told',
  { skip: cannotRecord() },
  async (t) => {
    const tree = makeTree(t);
    const record = `${tree.root}/record`;
    tree.answer('queued hello-2.10-3-0123456789ab\n');
    await tree.start({ under: recordingTo(record), program: bundle });
    const spool = `${tree.root}/var/lib/build-infra/webhooks`;
    const body = Buffer.from(JSON.stringify(pushPayload()));
    const delivery = randomUUID();
    t.equal(
      (
        await post(
          { socketPath: tree.socketPath },
          body,
          githubHeaders(body, { 'X-GitHub-Delivery': delivery }),
        )
      ).status,
      202,
    );
    const answered = onlyThen(writing(tree.socketPath, /^HTTP\/1\.1 202 /));
    const calls = await recorded(record, answered);
    const spooled = [writing(`${spool}/deliveries`, new RegExp(delivery)), syncing(`${spool}/deliveries`)];
    inOrder(calls, [...spooled, answered]);
    const answer = calls.find(answered.is) as SystemCall;
    t.strictSame(notOnDisk(calls, spool, answer), []);
    inOrder(await recorded(record, starting(/TriggerBuild/)), [
      ...spooled,
      onlyThen(starting(/TriggerBuild/)),
    ]);
  },
);
