// SPDX-License-Identifier: GPL-2.0-or-later
// Comments on issues, through the real nginx: what is one signed message goes to every build VM as it came,
// everything else nowhere.
import { randomUUID } from 'node:crypto';
import tap from 'tap';
import { signedBlock } from '../../agents/sys-net/comment-event.js';
import { until } from '../support/until.js';
import { baseConfig, makeTree } from './agent.js';
import { startNginx } from './nginx.js';
import { post } from './post.js';
import { block, comment } from './comment-payload.js';
import { githubHeaders, pushPayload, sign } from './push-payload.js';

const config = {
  ...baseConfig,
  buildVms: ['build-debian', 'build-fedora', 'build-deaf'],
  commands: { repositories: ['example/updates-status'], buildVms: ['build-debian', 'build-fedora'] },
};

void tap.test('a comment through nginx', async (t) => {
  const tree = makeTree(t, config);
  tree.answer('refused BAD_COMMAND\n');
  const agent = await tree.start();
  const nginx = await startNginx(tree.root);
  t.teardown(() => nginx.child.kill('SIGTERM'));
  const send = (
    bytes: Buffer,
    changes: Record<string, string | undefined> = {},
  ): Promise<{ status: number; body: string }> =>
    post(
      { port: nginx.port },
      bytes,
      githubHeaders(bytes, { 'X-GitHub-Event': 'issue_comment', ...changes }),
    );
  const ignores = async (
    name: string,
    status: number,
    code: string,
    bytes: Buffer,
    changes: Record<string, string | undefined> = {},
  ): Promise<void> => {
    await t.test(name, async (t) => {
      const calls = tree.calls().length;
      const reply = await send(bytes, changes);
      t.equal(reply.status, status);
      t.match(reply.body, new RegExp(`^(refused|ignored) ${code} [ -~]+\\n$`));
      t.equal(tree.calls().length, calls, 'no build VM hears of it');
    });
  };

  await t.test('a signed message is accepted, and each build VM gets it', async (t) => {
    tree.answer('accepted hello-2.10-3-0123456789ab\n', 0, 'build-debian');
    const bytes = comment(block);
    const delivery = randomUUID();
    t.same(await send(bytes, { 'X-GitHub-Delivery': delivery }), {
      status: 202,
      body: `accepted ${delivery}\n`,
    });
    await until('the calls', () => tree.calls().length === 2 && tree.waiting() === 0);
    t.same(tree.calls().sort(), [
      'build-debian qubesbuilder.ProcessGithubCommand',
      'build-fedora qubesbuilder.ProcessGithubCommand',
    ]);
    t.equal(tree.heard('build-debian'), block);
    t.equal(tree.heard('build-fedora'), block);
    await until(
      'the lines in the log',
      () =>
        /comment in example\/updates-status to build-debian: accepted hello/.test(agent.said()) &&
        /to build-fedora: refused BAD_COMMAND/.test(agent.said()),
    );
    t.match(
      await send(bytes),
      { status: 200, body: /^known / },
      'the same comment under another delivery id is known',
    );
    t.equal(tree.calls().length, 2);
  });
  const handsOn = async (name: string, body: string, expected: string): Promise<void> => {
    await t.test(name, async (t) => {
      const calls = tree.calls().length;
      t.equal((await send(comment(body))).status, 202);
      await until('the calls', () => tree.calls().length === calls + 2 && tree.waiting() === 0);
      t.equal(tree.heard('build-fedora'), expected);
    });
  };
  const crlf = block.replaceAll('\n', '\r\n');
  await handsOn("a browser's line ends go on as they are", crlf, crlf);
  await handsOn('text around the message stays behind', `Please:\n\n${block}\n\nThank you \u{1f600}`, block);
  await handsOn('a fence of Markdown stays behind', `\`\`\`\r\n${crlf}\r\n\`\`\`\r\n`, crlf);
  await handsOn('blanks behind the last line stay behind', `${block}  \n`, block);

  await ignores('an edited comment', 202, 'NOT_CREATED', comment(block, { action: 'edited' }));
  await ignores('a deleted comment', 202, 'NOT_CREATED', comment(block, { action: 'deleted' }));
  await ignores(
    'a comment somewhere else',
    202,
    'UNKNOWN_REPOSITORY',
    comment(block, { fullName: 'stranger/updates-status' }),
  );
  await ignores(
    "a comment in a component's repository",
    202,
    'UNKNOWN_REPOSITORY',
    comment(block, { fullName: 'example/hello' }),
  );
  await ignores('a comment without a signed message', 202, 'NO_COMMAND', comment('Nice work!'));
  await ignores('an empty comment', 202, 'NO_COMMAND', comment(''));
  await ignores('two signed messages', 202, 'NOT_ONE_BLOCK', comment(`${block}\n${block}`));
  await ignores(
    'a signed message and another one quoted',
    202,
    'NOT_ONE_BLOCK',
    comment(`${block.replace(/^/gm, '> ')}\n\n${block}`),
  );
  await ignores('a quoted signed message', 202, 'NOT_ONE_BLOCK', comment(block.replace(/^/gm, '> ')));
  await ignores('a signed message without end', 202, 'NOT_ONE_BLOCK', comment(block.slice(0, -10)));
  await ignores(
    'an end before the beginning',
    202,
    'NOT_ONE_BLOCK',
    comment(`-----END PGP SIGNATURE-----\n${block.slice(0, -27)}`),
  );
  await ignores(
    'a signed message of more than 8 KiB',
    202,
    'BLOCK_TOO_LARGE',
    comment(block.replace('Build', `${'x'.repeat(8192)}Build`)),
  );
  await ignores(
    'a signed message with a letter that only looks right',
    202,
    'NOT_ASCII',
    comment(block.replace('hello', 'hell\u043e')),
  );
  await ignores('a signed message with a tab', 202, 'NOT_ASCII', comment(block.replace(' hello', '\thello')));
  await ignores('a comment that is not signed by GitHub', 401, 'NOT_SIGNED', comment(block), {
    'X-Hub-Signature-256': undefined,
  });
  await ignores('a comment that somebody else signed', 403, 'BAD_SIGNATURE', comment(block), {
    'X-Hub-Signature-256': sign(comment(block), 'another secret'),
  });
  await ignores(
    'a payload without a comment',
    400,
    'BAD_DOCUMENT',
    Buffer.from(JSON.stringify(pushPayload())),
  );
  await ignores('a comment without a body', 400, 'BAD_DOCUMENT', comment(null));
  await ignores(
    'a push that calls itself a comment',
    400,
    'BAD_DOCUMENT',
    Buffer.from(JSON.stringify(pushPayload({ fullName: 'example/updates-status' }))),
  );
  await ignores("a review's comment", 202, 'OTHER_EVENT', comment(block), {
    'X-GitHub-Event': 'pull_request_review_comment',
  });
});

void tap.test('without configured repositories no comment is read', async (t) => {
  const tree = makeTree(t);
  await tree.start();
  const bytes = comment(block);
  t.match(
    await post(
      { socketPath: tree.socketPath },
      bytes,
      githubHeaders(bytes, { 'X-GitHub-Event': 'issue_comment' }),
    ),
    { status: 202, body: /^ignored OTHER_EVENT / },
  );
});

void tap.test(
  'killed after 202 and before a build VM answered, the command is brought after the restart',
  async (t) => {
    const tree = makeTree(t, { ...config, commands: { ...config.commands, buildVms: ['build-debian'] } });
    tree.answer('Request refused\n', 126);
    const first = await tree.start();
    const bytes = comment(block);
    t.equal(
      (
        await post(
          { socketPath: tree.socketPath },
          bytes,
          githubHeaders(bytes, { 'X-GitHub-Event': 'issue_comment' }),
        )
      ).status,
      202,
    );
    await until('the refused call', () => tree.calls().length === 1);
    await first.kill();
    tree.answer('later FORGE_UNREACHABLE\n');
    const second = await tree.start();
    await until('an answer that is none', () =>
      second.said().includes('will try again: no answer of a build VM: later FORGE_UNREACHABLE'),
    );
    tree.answer('accepted hello-2.10-3-0123456789ab\n');
    await until('the delivery', () => tree.waiting() === 0);
    t.equal(tree.heard('build-debian'), block);
  },
);

void tap.test('the block that is handed on ends where it ends, at the limit too', (t) => {
  const padded = (size: number): string => block.replace('Build', `${'x'.repeat(size - block.length)}Build`);
  t.match(signedBlock(padded(8192)), { block: padded(8192) });
  t.match(signedBlock(padded(8193)), { code: 'BLOCK_TOO_LARGE' });
  t.match(signedBlock(block.toLowerCase()), { code: 'NO_COMMAND' });
  t.match(signedBlock(`${block}\n-----begin pgp signed message-----`), { code: 'NOT_ONE_BLOCK' });
  t.end();
});
