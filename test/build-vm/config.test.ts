// SPDX-License-Identifier: GPL-2.0-or-later
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { readConfig } from '../../agents/build-vm/configuration/config.js';
import { engineProgram } from '../../agents/build-vm/stages/engine-programs.js';
import { readDestination } from '../../agents/shared/formats/upload-url.js';

const folder = mkdtempSync(join(tmpdir(), 'bi-config-'));
t.teardown(() => rmSync(folder, { recursive: true }));
const key = 'A'.repeat(40);
const component = {
  name: 'hello',
  url: 'ssh://git@forge.example/hello.git',
  tag: 'v{version}',
  maintainers: [{ name: 'alice', fingerprint: key }],
  requiredSignatures: 1,
};
const good = {
  format: 'build-infra/build-config@1',
  vm: 'build-debian',
  env: 'debian',
  signingKey: key,
  publication: null,
  components: [component],
  distributions: [{ name: 'bookworm', engine: 'debian', packages: 'deb' }],
  apt: {
    upload: 'ssh://git@forge.example/srv/apt/debian',
    url: 'http://forge.example/apt/debian',
    origin: 'build-infra',
    label: 'debian',
  },
  pollSeconds: 600,
  buildSeconds: 3600,
};
const person = {
  name: 'alice',
  fingerprint: key,
  verbs: ['Retry'],
  components: 'all',
  distributions: ['bookworm'],
  repositories: ['current'],
  templates: [],
};
const commands = {
  releases: ['r4.3'],
  windowSeconds: 259_200,
  distributionWords: [{ word: 'vm-bookworm', dist: 'bookworm' }],
  people: [person],
};
const commanded = (change: object): unknown => ({ ...good, commands: { ...commands, ...change } });
const read = (config: unknown): unknown => {
  writeFileSync(join(folder, 'build.json'), JSON.stringify(config));
  return readConfig(join(folder, 'build.json'));
};

void t.test('the example of docs/formats.md is read', async (t) => {
  t.match(read(good), { vm: 'build-debian' });
  t.match(read(commanded({})), { commands });
  t.match(read(commanded({ people: [{ name: 'alice', fingerprint: key }] })), {
    commands: { people: [{ name: 'alice' }] },
  });
  t.same(readDestination(good.apt.upload), { login: 'git@forge.example', port: '', path: '/srv/apt/debian' });
});

void t.test('a Release may have an end, in whole days of a year at most', async (t) => {
  t.match(read({ ...good, apt: { ...good.apt, validDays: 30 } }), { apt: { validDays: 30 } });
  for (const validDays of [0, 366, 1.5, '7', null])
    t.throws(
      () => read({ ...good, apt: { ...good.apt, validDays } }),
      { code: 'BAD_DOCUMENT' },
      String(validDays),
    );
});

void t.test('a status page and the address of logs may be there', async (t) => {
  t.match(
    read({
      ...good,
      logsUrl: 'https://forge.example/example/build-logs/blob/{commit}/{path}?plain=1',
      statusPage: { upload: 'ssh://web@www.example/srv/www/status', url: 'https://www.example/status' },
    }),
    { statusPage: { url: 'https://www.example/status' } },
  );
});

const template = {
  name: 'debian-13',
  releases: ['r4.3'],
  engine: 'qubesbuilderv2',
  distribution: 'vm-trixie',
  repository: 'templates-itl',
};
const dnf = { upload: 'ssh://git@forge.example/srv/rpm', url: 'http://forge.example/rpm' };
const templates = (...list: unknown[]): unknown => ({ ...good, dnf, templates: list });

void t.test('templates may be there', async (t) => {
  t.match(
    read(
      templates(
        { ...template, buildSeconds: 21_600, options: { builder: '/home/user/qubes-builderv2' } },
        { ...template, name: 'fedora-42' },
      ),
    ),
    { templates: [{ name: 'debian-13' }, { name: 'fedora-42' }] },
  );
});

const bad: [string, unknown, string][] = [
  ['a template and no repository for its package', { ...good, templates: [template] }, 'BAD_CONFIG'],
  ['two templates of one name', templates(template, template), 'BAD_CONFIG'],
  ['a template whose name is a path', templates({ ...template, name: '../x' }), 'BAD_DOCUMENT'],
  [
    'a template for a repository of components',
    templates({ ...template, repository: 'current' }),
    'BAD_DOCUMENT',
  ],
  ['a template that its engine is to sign', templates({ ...template, publisher: 'engine' }), 'BAD_DOCUMENT'],
  [
    'a template of a release that makes no version',
    templates({ ...template, releases: ['rdevel'] }),
    'BAD_DOCUMENT',
  ],
  [
    'a distribution that is called as templates are',
    { ...good, distributions: [{ name: 'templates-r4.3', engine: 'debian', packages: 'deb' }] },
    'BAD_CONFIG',
  ],
  [
    'a component that is called as a template',
    { ...good, components: [{ ...component, name: 'qubes-template-x' }] },
    'BAD_CONFIG',
  ],
  [
    'a status page for a shell',
    { ...good, statusPage: { upload: 'ssh://www.example/srv/;id', url: 'https://www.example/status' } },
    'BAD_DOCUMENT',
  ],
  [
    'a status page without an address',
    { ...good, statusPage: { upload: 'ssh://www.example/srv' } },
    'BAD_DOCUMENT',
  ],
  [
    'an address of logs that is a script',
    { ...good, logsUrl: 'javascript:alert(1)//{path}' },
    'BAD_DOCUMENT',
  ],
  [
    'an address of logs that breaks out of a link',
    { ...good, logsUrl: 'https://forge.example/"><script>{path}' },
    'BAD_DOCUMENT',
  ],
  ['an address of logs without a path', { ...good, logsUrl: 'https://forge.example/logs/' }, 'BAD_DOCUMENT'],
  ['an unknown field', { ...good, extra: 1 }, 'BAD_DOCUMENT'],
  ['an unknown field inside', { ...good, components: [{ ...component, branch: 'main' }] }, 'BAD_DOCUMENT'],
  [
    'a local repository',
    { ...good, components: [{ ...component, url: 'file:///srv/hello.git' }] },
    'BAD_DOCUMENT',
  ],
  [
    'a repository that runs a program',
    { ...good, components: [{ ...component, url: 'ext::sh -c id' }] },
    'BAD_DOCUMENT',
  ],
  [
    'a repository that is an option',
    { ...good, components: [{ ...component, url: '--upload-pack=id' }] },
    'BAD_DOCUMENT',
  ],
  [
    'an ssh option for a host',
    { ...good, components: [{ ...component, url: 'ssh://-oProxyCommand=id/x' }] },
    'BAD_DOCUMENT',
  ],
  ['a tag pattern without a version', { ...good, components: [{ ...component, tag: 'v' }] }, 'BAD_DOCUMENT'],
  [
    'more signatures than people',
    { ...good, components: [{ ...component, requiredSignatures: 2 }] },
    'BAD_CONFIG',
  ],
  [
    'a maintainer whose name is not ASCII: the evidence of a source is one line of ASCII',
    { ...good, components: [{ ...component, maintainers: [{ name: 'Zo\u00eb', fingerprint: key }] }] },
    'BAD_DOCUMENT',
  ],
  [
    'a maintainer with a line end in the name',
    { ...good, components: [{ ...component, maintainers: [{ name: 'alice\n', fingerprint: key }] }] },
    'BAD_DOCUMENT',
  ],
  [
    'a person who commands whose name is not ASCII',
    commanded({ people: [{ ...person, name: 'Zo\u00eb' }] }),
    'BAD_DOCUMENT',
  ],
  ['two components of one name', { ...good, components: [component, component] }, 'BAD_CONFIG'],
  [
    'an upload path for a shell',
    { ...good, apt: { ...good.apt, upload: 'ssh://git@forge.example/srv/$(id)' } },
    'BAD_DOCUMENT',
  ],
  [
    'an upload path that climbs',
    { ...good, apt: { ...good.apt, upload: 'ssh://git@forge.example/srv/../etc' } },
    'BAD_DOCUMENT',
  ],
  [
    'packages without a repository',
    { ...good, distributions: [{ name: 'fc41', engine: 'rpm', packages: 'rpm' }] },
    'BAD_CONFIG',
  ],
  [
    'packages of no kind',
    { ...good, distributions: [{ name: 'bookworm', engine: 'debian' }] },
    'BAD_DOCUMENT',
  ],
  [
    'an engine that is a path',
    { ...good, distributions: [{ name: 'bookworm', engine: '../../bin/sh', packages: 'deb' }] },
    'BAD_DOCUMENT',
  ],
  [
    'an engine that is hidden',
    { ...good, distributions: [{ name: 'bookworm', engine: '.sh', packages: 'deb' }] },
    'BAD_DOCUMENT',
  ],
  ['one key for two people', commanded({ people: [person, { ...person, name: 'bob' }] }), 'BAD_CONFIG'],
  [
    'one word for two distributions',
    commanded({ distributionWords: [...commands.distributionWords, ...commands.distributionWords] }),
    'BAD_CONFIG',
  ],
  [
    'a word for a distribution that is not built',
    commanded({ distributionWords: [{ word: 'vm-sid', dist: 'sid' }] }),
    'BAD_CONFIG',
  ],
  [
    'a right to everything that is spelled otherwise',
    commanded({ people: [{ ...person, components: ['*'] }] }),
    'BAD_DOCUMENT',
  ],
  [
    'a verb that nobody knows',
    commanded({ people: [{ ...person, verbs: ['Delete-component'] }] }),
    'BAD_DOCUMENT',
  ],
  ['a right that nobody knows', commanded({ people: [{ ...person, iso: true }] }), 'BAD_DOCUMENT'],
  ['a command without end of its window', commanded({ windowSeconds: 1e9 }), 'BAD_DOCUMENT'],
  [
    'a short fingerprint',
    commanded({ people: [{ ...person, fingerprint: 'A'.repeat(16) }] }),
    'BAD_DOCUMENT',
  ],
];
for (const [name, config, code] of bad) {
  void t.test(`${name} stops the agent`, async (t) => {
    t.throws(() => read(config), { code });
  });
}

void t.test('no configuration stops the agent', async (t) => {
  t.throws(() => readConfig(join(folder, 'none.json')), { code: 'NO_CONFIG' });
});

void t.test("an engine is a program of the agent's account that nobody else may write", async (t) => {
  const [template, own] = ['template', 'own'].map((name) => join(folder, name)) as [string, string];
  for (const place of [template, own]) mkdirSync(place);
  const put = (place: string, name: string, mode: number): void => {
    writeFileSync(join(place, name), '#!/bin/sh\n');
    chmodSync(join(place, name), mode);
  };
  put(template, 'debian', 0o755);
  put(own, 'debian', 0o755);
  put(own, 'mine', 0o755);
  put(own, 'open', 0o757);
  put(own, 'shared', 0o775);
  put(own, 'text', 0o644);
  put(own, 'other', 0o755);
  if (process.getuid?.() === 0) chownSync(join(own, 'other'), 1, 1);
  else rmSync(join(own, 'other'));
  mkdirSync(join(own, 'folder'));
  const find = (name: string): string => engineProgram([template, own], name);
  t.equal(find('debian'), join(template, 'debian'), 'the template comes first');
  t.equal(find('mine'), join(own, 'mine'));
  for (const name of ['open', 'shared', 'text', 'other', 'folder', 'none'])
    t.throws(() => find(name), { code: 'NO_ENGINE' }, name);
});
