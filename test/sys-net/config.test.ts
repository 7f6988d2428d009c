// SPDX-License-Identifier: GPL-2.0-or-later
import { chmodSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import tap from 'tap';
import { readConfig, readSecret } from '../../agents/sys-net/config.js';
import { isVersionTag } from '../../agents/sys-net/push-event.js';
import { folderOf } from '../support/folders.js';
import { baseConfig, makeTree } from './agent.js';

const read = (config: object): unknown => readConfig(Buffer.from(JSON.stringify(config)));

void tap.test('the configuration of docs/formats.md is taken, and each field is checked', async (t) => {
  t.ok(read(baseConfig));
  const [repository] = baseConfig.repositories;
  const [host] = baseConfig.sshHosts;
  t.throws(() => read({ ...baseConfig, token: 'x' }), { code: 'BAD_DOCUMENT', field: '/token' });
  t.throws(() => read({ ...baseConfig, buildVms: [] }), { code: 'BAD_DOCUMENT' });
  t.throws(() => read({ ...baseConfig, buildVms: ['@anyvm'] }), { code: 'BAD_DOCUMENT' });
  t.throws(() => read({ ...baseConfig, repositories: [{ ...repository, tag: 'v' }] }), {
    code: 'BAD_DOCUMENT',
  });
  t.throws(() => read({ ...baseConfig, repositories: [{ ...repository, component: '../x' }] }), {
    code: 'BAD_DOCUMENT',
  });
  t.throws(
    () => read({ ...baseConfig, repositories: [repository, { ...repository, fullName: 'Example/Hello' }] }),
    { code: 'BAD_DOCUMENT', field: '/repositories' },
  );
  t.throws(() => read({ ...baseConfig, sshHosts: [host, host] }), {
    code: 'BAD_DOCUMENT',
    field: '/sshHosts',
  });
  t.throws(() => read({ ...baseConfig, sshHosts: [{ ...host, host: '-oProxyCommand=x' }] }), {
    code: 'BAD_DOCUMENT',
  });
  const { webhook, repositories, buildVms, ...sshOnly } = baseConfig;
  const { sshHosts, ...webhookOnly } = baseConfig;
  t.ok(read(sshOnly), 'a VM may connect ssh only');
  t.ok(read(webhookOnly), 'or receive webhooks only');
  t.throws(
    () => read({ ...sshOnly, webhook }),
    { code: 'BAD_DOCUMENT' },
    'but not listen for pushes without knowing of what',
  );
  t.throws(() => read({ ...sshOnly, repositories, buildVms }), { code: 'BAD_DOCUMENT' });
  t.throws(
    () => read({ format: baseConfig.format, vm: baseConfig.vm }),
    { code: 'BAD_DOCUMENT' },
    'or do nothing',
  );
  t.ok(sshHosts);
});

void tap.test(
  'the secret: one newline at its end does not belong to it, anything doubtful is refused without showing it',
  async (t) => {
    const folder = folderOf(t);
    const path = join(folder, 'webhook-secret');
    const written = (text: string, mode = 0o600): Buffer => {
      writeFileSync(path, text);
      chmodSync(path, mode);
      return readSecret(path);
    };
    const good = 'x'.repeat(32);
    t.equal(written(good).toString(), good);
    t.equal(written(`${good}\n`).toString(), good);
    for (const bad of [
      `${good}\n\n`,
      `${good}\r\n`,
      `${good} `,
      `\n${good}`,
      'x'.repeat(31),
      '',
      '\n',
      'x'.repeat(257),
      `${good}\u00e4`,
    ]) {
      t.throws(() => written(bad), { code: 'BAD_SECRET' }, JSON.stringify(bad));
    }
    t.throws(() => written(good, 0o644), { code: 'SECRET_EXPOSED' });
    t.throws(() => readSecret(join(folder, 'missing')), { code: 'NO_SECRET' });
  },
);

void tap.test('without a secret the agent does not start', async (t) => {
  const tree = makeTree(t);
  rmSync(join(tree.root, 'rw/config/build-infra/webhook-secret'));
  await t.rejects(tree.start(), /NO_SECRET/);
});

void tap.test('which tags are version tags', async (t) => {
  for (const good of ['v2.10', 'v2.10-3', 'v4.2.1-rc1', 'v1%2.10-3', 'v1.0_rc1', 'v1+dfsg-1'])
    t.ok(isVersionTag('v{version}', good), good);
  for (const bad of [
    'v',
    '2.10',
    'vv2',
    'V2',
    'v2/3',
    'v2..3',
    'v 2',
    'v2\n',
    'v2^{}',
    `v${'1'.repeat(101)}`,
    'v2~1',
    'v2:1',
  ])
    t.notOk(isVersionTag('v{version}', bad), bad);
  t.ok(isVersionTag('debian/{version}', 'debian/1-1'));
  t.ok(isVersionTag('r{version}-final', 'r1-final'));
  t.notOk(isVersionTag('r{version}-final', 'r-final'));
});
