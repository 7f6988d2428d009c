// SPDX-License-Identifier: GPL-2.0-or-later
// P5: webhooks start nothing by themselves: a build needs a signed version tag. The attacker is the hosting
// site, or whoever reaches nginx.
import { randomUUID } from 'node:crypto';
import t from 'tap';
import { giveCommand, readBuildStatus } from '../../agents/local/job/build-watch.js';
import { githubCommentPayload, githubPushPayload, sendWebhook } from '../../agents/local/job/webhook.js';
import { fullNameOf, statusRepository } from '../../agents/local/farm/local-pillar.js';
import { gitFolder } from '../../agents/local/outside/forge.js';
import { must } from '../../agents/local/outside/machine.js';
import { until } from '../support/until.js';
import { standFarm } from './standing-farm.js';

await t.test('what a hostile hosting site can make the farm do', async (t) => {
  const { farm, build, net } = await standFarm(t);
  const secret = (await must(net, ['cat', '/rw/config/build-infra/webhook-secret'])).trim();
  const payload = (tag: string): object =>
    githubPushPayload({
      fullName: fullNameOf('hello'),
      tag,
      tagObject: 'a'.repeat(40),
      commit: 'b'.repeat(40),
      pusher: { name: 'mallory', email: 'm@x.example' },
    });
  const post = (
    body: object,
    key = secret,
    delivery: string = randomUUID(),
  ): ReturnType<typeof sendWebhook> => sendWebhook(farm.settings.ports.webhook, key, body, delivery);
  const repository = `${gitFolder}/hello.git`;
  const allTold =
    'cd /var/lib/build-infra/webhooks; test "$(grep -o \'"outcome":null\' deliveries | wc -l)" = "$(grep -c \'^{"told"\' deliveries)" && echo yes || true';
  /** Every build VM has answered everything that was accepted. */
  const delivered = (): Promise<true> =>
    until('all to be delivered', async () => (await must(net, ['sh', '-c', allTold])).trim() === 'yes');
  const onForge = (script: string): Promise<string> =>
    must(farm.machine('forge'), ['sh', '-c', `set -eu; cd ${repository}; ${script}`]);
  const jobs = (): string[] => {
    const status = readBuildStatus(build);
    return [...(status?.queue ?? []), ...(status?.recent ?? []), ...(status?.running ?? [])].map(
      ({ job }) => job,
    );
  };

  await t.test('a webhook with a wrong secret is refused through nginx', async (t) => {
    t.match(await post(payload('v1.0'), 'x'.repeat(64)), { status: 403, body: /refused BAD_SIGNATURE/ });
  });

  await t.test('a true webhook for a tag that does not exist makes no job', async (t) => {
    t.match(await post(payload('v1.0')), { status: 202, body: /accepted/ });
    await delivered();
    t.strictSame(jobs(), []);
  });

  await t.test('the same delivery a second time is not handled again', async (t) => {
    const delivery = randomUUID();
    t.match(await post(payload('v1.1'), secret, delivery), { status: 202 });
    t.match(await post(payload('v1.1'), secret, delivery), { status: 200, body: /known/ });
  });

  await t.test('a lightweight tag is refused', async (t) => {
    await onForge(
      'tree=$(git hash-object -t tree -w /dev/null); commit=$(git -c user.name=m -c user.email=m@x commit-tree -m x $tree); git update-ref refs/tags/v2.0 $commit',
    );
    t.match(await giveCommand(build, 'trigger hello'), /refused NOT_ANNOTATED/);
    t.strictSame(jobs(), []);
  });

  await t.test(
    'an annotated tag that nobody signed ends as a refused job, and nothing is built',
    async (t) => {
      await onForge(
        'git update-ref -d refs/tags/v2.0; git -c user.name=m -c user.email=m@x tag -a -m x v3.0 $(git -c user.name=m -c user.email=m@x commit-tree -m x $(git hash-object -t tree -w /dev/null))',
      );
      t.match(await giveCommand(build, 'trigger hello'), /^queued hello-3\.0-/);
      await until('its end', () => readBuildStatus(build)?.recent.length === 1);
      t.match(readBuildStatus(build)?.recent[0], {
        state: 'refused',
        reason: { code: 'NOT_SIGNED' },
        uploaded: [],
      });
    },
  );

  const sign = async (line: string, home = '/home/user/.gnupg'): Promise<string> =>
    must(farm.machine('developer'), [
      'sh',
      '-c',
      'printf "%s\\n" "$1" | gpg --homedir "$2" --batch --clearsign',
      'sh',
      line,
      home,
    ]);
  const comment = (body: string, fullName = statusRepository, key = secret): ReturnType<typeof sendWebhook> =>
    sendWebhook(
      farm.settings.ports.webhook,
      key,
      githubCommentPayload({ fullName, body, author: 'mallory' }),
      randomUUID(),
      'issue_comment',
    );
  const commands = async (): Promise<
    { line: string; state: string; job: string | null; code: string | null }[]
  > => {
    const text = await must(
      build,
      [
        'sh',
        '-c',
        'cd /var/lib/build-infra/commands && for file in [0-9a-f]*[0-9a-f].json; do test ! -e "$file" || { tr -d "\\n" < "$file"; echo; }; done',
      ],
      { user: 'root' },
    );
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map(
        (line) =>
          JSON.parse(line) as { line: string; state: string; job: string | null; code: string | null },
      );
  };
  const known = async (count: number): Promise<Awaited<ReturnType<typeof commands>>> => {
    await until(
      `${count} commands`,
      async () => (await commands()).filter(({ state }) => state !== 'taken').length >= count,
    );
    return commands();
  };

  await t.test('comments of strangers, forged, edited or elsewhere, command nothing', async (t) => {
    const good = await sign('Build-component r4.3 hello');
    await must(farm.machine('developer'), [
      'sh',
      '-c',
      'mkdir -p -m 700 /tmp/mallory && gpg --homedir /tmp/mallory --batch --pinentry-mode loopback --passphrase "" --quick-generate-key "Mallory <m@x.example>" ed25519 sign never',
    ]);
    t.match(await comment(good, statusRepository, 'x'.repeat(64)), { status: 403 }, 'not by the forge');
    t.match(await comment(good, fullNameOf('hello')), { status: 202, body: /ignored UNKNOWN_REPOSITORY/ });
    t.match(await comment(`${good}\n${good}`), { status: 202, body: /ignored NOT_ONE_BLOCK/ });
    t.match(
      await comment(good.replace('Build-component', 'Upload-component')),
      { status: 202, body: /accepted/ },
      'only a hint',
    );
    t.match(
      await comment(await sign('Build-component r4.3 hello', '/tmp/mallory')),
      { status: 202, body: /accepted/ },
      'only a hint',
    );
    await delivered();
    t.strictSame(await commands(), []);
    t.equal(jobs().length, 1);
  });

  await t.test('a signed command works once, whoever brings it how often', async (t) => {
    const good = await sign('Build-component r4.3 hello');
    t.match(await comment(good.replaceAll('\n', '\r\n')), { status: 202, body: /accepted/ });
    t.match(await known(1), [{ line: 'Build-component r4.3 hello', state: 'accepted', job: /^hello-3\.0-/ }]);
    const job = jobs()[0] as string;
    const retry = await sign(`Retry ${job}`);
    t.match(await comment(retry), { status: 202, body: /accepted/ });
    t.match(
      (await known(2)).find(({ line }) => line.startsWith('Retry')),
      { state: 'accepted', job },
    );
    await until('its end', () => readBuildStatus(build)?.recent.length === 1);
    const logs = readBuildStatus(build)?.recent[0]?.logs.length;
    for (const again of [retry, good, `Once more:\n\n${retry}`])
      t.match(await comment(again), { status: 202, body: /accepted/ });
    await delivered();
    t.equal((await commands()).length, 2);
    t.equal(readBuildStatus(build)?.recent[0]?.logs.length, logs, 'it was not tried again');
    t.match(await comment(await sign(`Upload-component r4.3 hello ${'0'.repeat(40)} current all`)), {
      status: 202,
      body: /accepted/,
    });
    t.match(
      (await known(3)).find(({ line }) => line.startsWith('Upload')),
      { state: 'refused', code: 'UNKNOWN_COMMIT' },
    );
  });
});
