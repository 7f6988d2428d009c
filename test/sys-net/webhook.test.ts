// SPDX-License-Identifier: GPL-2.0-or-later
// The receiver behind the real nginx with the configuration that we ship. Each bad request is good but for
// one thing.
import { randomUUID } from 'node:crypto';
import tap from 'tap';
import { until } from '../support/until.js';
import { baseConfig, makeTree } from './agent.js';
import { githubHeaders, pushPayload, secret, sign, type PushOptions } from './push-payload.js';
import { startNginx } from './nginx.js';
import { post } from './post.js';

function body(options: PushOptions = {}): Buffer {
  return Buffer.from(JSON.stringify(pushPayload({ pushedAt: Math.floor(Math.random() * 1e9), ...options })));
}

void tap.test('a webhook through nginx', async (t) => {
  const tree = makeTree(t);
  tree.answer('queued hello-2.10-3-0123456789ab\n');
  const agent = await tree.start();
  const nginx = await startNginx(tree.root);
  t.teardown(() => nginx.child.kill('SIGTERM'));
  const to = { port: nginx.port };
  const refuses = async (
    name: string,
    status: number,
    code: string,
    bytes: Buffer,
    changes: Record<string, string | undefined> = {},
    path?: string,
    method?: string,
  ): Promise<void> => {
    await t.test(name, async (t) => {
      const calls = tree.calls().length;
      const reply = await post(to, bytes, githubHeaders(bytes, changes), path, method);
      t.equal(reply.status, status);
      t.match(reply.body, new RegExp(`^(refused|ignored) ${code} [ -~]+\\n$`));
      t.equal(tree.calls().length, calls, 'no build VM hears of it');
    });
  };

  await t.test(
    'a push of a version tag is accepted and triggers the component in the build VM',
    async (t) => {
      const bytes = body();
      const delivery = randomUUID();
      const reply = await post(to, bytes, githubHeaders(bytes, { 'X-GitHub-Delivery': delivery }));
      t.same(reply, { status: 202, body: `accepted ${delivery}\n` });
      await until('the call', () => tree.calls().length === 1 && tree.waiting() === 0);
      t.same(tree.calls(), ['build-debian qubesbuilder.TriggerBuild+hello']);
      await until('the line in the log', () =>
        agent.said().includes(`127.0.0.1 POST /github push ${delivery}: 202`),
      );

      const again = await post(to, bytes, githubHeaders(bytes, { 'X-GitHub-Delivery': delivery }));
      t.same(again, { status: 200, body: `known ${delivery}\n` }, 'a redelivery is known');
      const other = randomUUID();
      const replayed = await post(to, bytes, githubHeaders(bytes, { 'X-GitHub-Delivery': other }));
      t.same(
        replayed,
        { status: 200, body: `known ${other}\n` },
        'a replay of body and signature under a new delivery id is known',
      );
      const changed = body();
      const reused = await post(to, changed, githubHeaders(changed, { 'X-GitHub-Delivery': delivery }));
      t.equal(reused.body, `known ${delivery}\n`, 'a new body under a used delivery id is not handled');
      t.equal(tree.calls().length, 1);
    },
  );

  await t.test('a ping is answered', async (t) => {
    const bytes = Buffer.from(
      JSON.stringify({
        zen: 'Design for failure.',
        hook_id: 1,
        hook: { type: 'Repository', events: ['push'] },
      }),
    );
    t.same(await post(to, bytes, githubHeaders(bytes, { 'X-GitHub-Event': 'ping' })), {
      status: 200,
      body: 'pong\n',
    });
  });

  const good = body();
  await refuses('a webhook without a signature', 401, 'NOT_SIGNED', good, {
    'X-Hub-Signature-256': undefined,
  });
  await refuses('a webhook with the old SHA-1 signature only', 401, 'NOT_SIGNED', good, {
    'X-Hub-Signature-256': 'sha1=7d38cdd689735b008b3c702edd92eea23791c5f6',
  });
  await refuses('a webhook signed with another secret', 403, 'BAD_SIGNATURE', good, {
    'X-Hub-Signature-256': sign(good, `${secret}x`),
  });
  await refuses('the signature of another body', 403, 'BAD_SIGNATURE', good, {
    'X-Hub-Signature-256': sign(body()),
  });
  await refuses(
    'one byte changed after signing',
    403,
    'BAD_SIGNATURE',
    Buffer.concat([good, Buffer.from(' ')]),
    { 'X-Hub-Signature-256': sign(good) },
  );
  await refuses('another path', 404, 'UNKNOWN_PATH', good, {}, '/gitlab');
  await refuses('a query behind the path', 404, 'UNKNOWN_PATH', good, {}, '/github?x=1');
  await refuses('another method', 405, 'BAD_METHOD', good, {}, '/github', 'PUT');
  await refuses('a form instead of JSON', 415, 'BAD_CONTENT_TYPE', good, {
    'Content-Type': 'application/x-www-form-urlencoded',
  });
  await refuses('no delivery id', 400, 'BAD_DELIVERY', good, { 'X-GitHub-Delivery': undefined });
  await refuses('a delivery id that is a path', 400, 'BAD_DELIVERY', good, {
    'X-GitHub-Delivery': '../../../etc/passwd',
  });
  await refuses('no event', 400, 'BAD_EVENT', good, { 'X-GitHub-Event': undefined });
  await refuses('another event', 202, 'OTHER_EVENT', good, { 'X-GitHub-Event': 'issue_comment' });
  await refuses('a body that is not JSON', 400, 'NOT_JSON', Buffer.from('{"ref":'));
  await refuses('a body that is not UTF-8', 400, 'NOT_UTF8', Buffer.from([0x22, 0xff, 0x22]));
  await refuses(
    'a payload without a repository',
    400,
    'BAD_DOCUMENT',
    Buffer.from(JSON.stringify({ ...pushPayload(), repository: undefined })),
  );
  await refuses(
    'a ref that is not a string',
    400,
    'BAD_DOCUMENT',
    Buffer.from(JSON.stringify({ ...pushPayload(), ref: ['refs/tags/v1'] })),
  );
  await refuses(
    'a repository that is not configured',
    202,
    'UNKNOWN_REPOSITORY',
    body({ fullName: 'stranger/hello' }),
  );
  await refuses('a push of a branch', 202, 'NOT_A_TAG', body({ ref: 'refs/heads/main' }));
  await refuses('a branch named like a version', 202, 'NOT_A_TAG', body({ ref: 'refs/heads/v2.10' }));
  await refuses('a tag that is no version', 202, 'NOT_A_VERSION', body({ ref: 'refs/tags/vnext' }));
  await refuses('a tag without the prefix', 202, 'NOT_A_VERSION', body({ ref: 'refs/tags/2.10' }));
  await refuses('a deleted tag', 202, 'DELETED', body({ deleted: true }));

  await t.test('a payload of exactly the limit is taken', async (t) => {
    const payload = body();
    const bytes = Buffer.concat([payload, Buffer.alloc(baseConfig.webhook.bodyBytes - payload.length, 0x20)]);
    t.equal((await post(to, bytes, githubHeaders(bytes))).status, 202);
  });
  await t.test('a payload of one byte more is refused', async (t) => {
    const bytes = Buffer.alloc(baseConfig.webhook.bodyBytes + 1, 0x20);
    t.match(await post(to, bytes, githubHeaders(bytes)), { status: 413, body: /^refused TOO_LARGE / });
  });
  await t.test('a webhook of 30 MB is refused', async (t) => {
    const bytes = Buffer.alloc(30_000_000, 0x20);
    t.match(await post(to, bytes, githubHeaders(bytes)), { status: 413, body: /^refused TOO_LARGE / });
  });
  await t.test('a webhook of 30 MB that reaches the agent itself is refused there too', async (t) => {
    const bytes = Buffer.alloc(30_000_000, 0x20);
    t.match(await post({ socketPath: tree.socketPath }, bytes, githubHeaders(bytes)), {
      status: 413,
      body: /^refused TOO_LARGE /,
    });
  });
  await t.test(
    'two megabytes of a stranger are read and refused, and nginx does not call it a broken agent',
    async (t) => {
      const bytes = Buffer.alloc(2_000_000, 0x20);
      t.match(await post(to, bytes, githubHeaders(bytes, { 'X-Hub-Signature-256': undefined })), {
        status: 401,
        body: /^refused NOT_SIGNED /,
      });
    },
  );
  await t.test('neither the secret nor a signature is in any log', async (t) => {
    t.notMatch(agent.said() + nginx.log(), /It-is-a-Secret|sha256=[0-9a-f]/);
  });
  await t.test('with the agent gone nginx says so', async (t) => {
    await agent.kill();
    t.match(await post(to, good, githubHeaders(good)), { status: 503, body: /^refused AGENT_DOWN / });
  });
});
