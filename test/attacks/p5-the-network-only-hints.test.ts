// SPDX-License-Identifier: GPL-2.0-or-later
// P5: webhooks start nothing by themselves: a build needs a signed version tag. The attacker is the hosting site, or whoever reaches nginx.
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { giveCommand, readBuildStatus } from '../../agents/local/job/build-watch.js';
import { githubPushPayload, sendWebhook } from '../../agents/local/job/webhook.js';
import { fullNameOf } from '../../agents/local/farm/local-pillar.js';
import { gitFolder } from '../../agents/local/outside/forge.js';
import { must } from '../../agents/local/outside/machine.js';
import { standFarm } from './standing-farm.js';

await t.test('what a hostile hosting site can make the farm do', async (t) => {
  const { farm, build, net } = await standFarm(t);
  const secret = (await must(net, ['cat', '/rw/config/build-infra/webhook-secret'])).trim();
  const payload = (tag: string): object => githubPushPayload({ fullName: fullNameOf('hello'), tag, tagObject: 'a'.repeat(40), commit: 'b'.repeat(40), pusher: { name: 'mallory', email: 'm@x.example' } });
  const post = (body: object, key = secret, delivery: string = randomUUID()): ReturnType<typeof sendWebhook> => sendWebhook(farm.settings.ports.webhook, key, body, delivery);
  const repository = `${gitFolder}/hello.git`;
  const onForge = (script: string): Promise<string> => must(farm.machine('forge'), ['sh', '-c', `set -eu; cd ${repository}; ${script}`]);
  const jobs = (): string[] => {
    const status = readBuildStatus(build);
    return [...status?.queue ?? [], ...status?.recent ?? [], ...status?.running ?? []].map(({ job }) => job);
  };

  await t.test('a webhook with a wrong secret is refused through nginx', async (t) => {
    t.match(await post(payload('v1.0'), 'x'.repeat(64)), { status: 403, body: /refused BAD_SIGNATURE/ });
  });

  await t.test('a true webhook for a tag that does not exist makes no job', async (t) => {
    t.match(await post(payload('v1.0')), { status: 202, body: /accepted/ });
    await sleep(3000);
    t.strictSame(jobs(), []);
  });

  await t.test('the same delivery a second time is not handled again', async (t) => {
    const delivery = randomUUID();
    t.match(await post(payload('v1.1'), secret, delivery), { status: 202 });
    t.match(await post(payload('v1.1'), secret, delivery), { status: 200, body: /known/ });
  });

  await t.test('a lightweight tag is refused', async (t) => {
    await onForge("tree=$(git hash-object -t tree -w /dev/null); commit=$(git -c user.name=m -c user.email=m@x commit-tree -m x $tree); git update-ref refs/tags/v2.0 $commit");
    t.match(await giveCommand(build, 'trigger hello'), /refused NOT_ANNOTATED/);
    t.strictSame(jobs(), []);
  });

  await t.test('an annotated tag that nobody signed ends as a refused job, and nothing is built', async (t) => {
    await onForge('git update-ref -d refs/tags/v2.0; git -c user.name=m -c user.email=m@x tag -a -m x v3.0 $(git -c user.name=m -c user.email=m@x commit-tree -m x $(git hash-object -t tree -w /dev/null))');
    t.match(await giveCommand(build, 'trigger hello'), /^queued hello-3\.0-/);
    for (let tries = 0; tries < 200 && readBuildStatus(build)?.recent.length !== 1; tries++) await sleep(100);
    t.match(readBuildStatus(build)?.recent[0], { state: 'refused', reason: { code: 'NOT_SIGNED' }, uploaded: [] });
  });
});
