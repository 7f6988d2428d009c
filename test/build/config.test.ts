// SPDX-License-Identifier: GPL-2.0-or-later
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { readConfig } from '../../agents/build/config.js';
import { readDestination } from '../../agents/build/apt-upload.js';

const folder = mkdtempSync(join(tmpdir(), 'bi-config-'));
t.teardown(() => rmSync(folder, { recursive: true }));
const key = 'A'.repeat(40);
const component = { name: 'hello', url: 'ssh://git@forge.example/hello.git', tag: 'v{version}', maintainers: [{ name: 'alice', fingerprint: key }], requiredSignatures: 1 };
const good = {
  format: 'build-infra/build-config@1', vm: 'build-debian', env: 'debian', signingKey: key, components: [component], distributions: [{ name: 'bookworm', engine: 'debian' }],
  apt: { upload: 'ssh://git@forge.example/srv/apt/debian', url: 'http://forge.example/apt/debian', origin: 'build-infra', label: 'debian' }, pollSeconds: 600, buildSeconds: 3600,
};
const read = (config: unknown): unknown => {
  writeFileSync(join(folder, 'build.json'), JSON.stringify(config));
  return readConfig(join(folder, 'build.json'));
};

void t.test('the example of docs/formats.md is read', async (t) => {
  t.match(read(good), { vm: 'build-debian' });
  t.same(readDestination(good.apt.upload), { login: 'git@forge.example', port: '', path: '/srv/apt/debian' });
});

const bad: [string, unknown, string][] = [
  ['an unknown field', { ...good, extra: 1 }, 'BAD_DOCUMENT'],
  ['an unknown field inside', { ...good, components: [{ ...component, branch: 'main' }] }, 'BAD_DOCUMENT'],
  ['a local repository', { ...good, components: [{ ...component, url: 'file:///srv/hello.git' }] }, 'BAD_DOCUMENT'],
  ['a repository that runs a program', { ...good, components: [{ ...component, url: 'ext::sh -c id' }] }, 'BAD_DOCUMENT'],
  ['a repository that is an option', { ...good, components: [{ ...component, url: '--upload-pack=id' }] }, 'BAD_DOCUMENT'],
  ['an ssh option for a host', { ...good, components: [{ ...component, url: 'ssh://-oProxyCommand=id/x' }] }, 'BAD_DOCUMENT'],
  ['a tag pattern without a version', { ...good, components: [{ ...component, tag: 'v' }] }, 'BAD_DOCUMENT'],
  ['more signatures than people', { ...good, components: [{ ...component, requiredSignatures: 2 }] }, 'BAD_CONFIG'],
  ['two components of one name', { ...good, components: [component, component] }, 'BAD_CONFIG'],
  ['an upload path for a shell', { ...good, apt: { ...good.apt, upload: 'ssh://git@forge.example/srv/$(id)' } }, 'BAD_DOCUMENT'],
  ['an upload path that climbs', { ...good, apt: { ...good.apt, upload: 'ssh://git@forge.example/srv/../etc' } }, 'BAD_DOCUMENT'],
];
for (const [name, config, code] of bad) {
  void t.test(`${name} stops the agent`, async (t) => {
    t.throws(() => read(config), { code });
  });
}

void t.test('no configuration stops the agent', async (t) => {
  t.throws(() => readConfig(join(folder, 'none.json')), { code: 'NO_CONFIG' });
});
