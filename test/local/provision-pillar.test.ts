// SPDX-License-Identifier: GPL-2.0-or-later
// One thing wrong, all else valid: one code, one field, one line that a person can act on.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'tap';
import {
  commandVerbs,
  componentRepositories,
  distWordPattern,
  releasePattern,
  templateRepositories,
} from '../../agents/shared/formats/command.js';
import { payloadLimitBytes } from '../../agents/shared/formats/intent.js';
import { journalKeyPattern } from '../../agents/shared/formats/journal-head.js';
import { logsUrlPattern } from '../../agents/shared/formats/log-link.js';
import type { Option } from '../../agents/shared/formats/manifest.js';
import {
  fingerprintPattern,
  objectIdPattern,
  plainNamePattern,
  vmNamePattern,
} from '../../agents/shared/formats/names.js';
import { packageSets, repositoryNamePattern } from '../../agents/shared/formats/notification.js';
import { lineWordPattern } from '../../agents/shared/formats/suites.js';
import { AnyRefusal } from '../../agents/shared/refusal.js';
import type { BuildEnv, Pillar } from '../../agents/local/provision/pillar.js';
import { planFarm, planFarms } from '../../agents/local/provision/planned-farm.js';
import { alice, badPillars, debian, logs } from './bad-pillars.js';
import {
  example,
  examplePath,
  exampleText,
  python,
  threeEnvironments,
  top,
  workshop,
} from './provision-farm.js';

const pillarFolder = join(top, 'salt/pillar/build-infra');
const vmsOf = (pillar: Pillar, enabled?: Option[]): ReturnType<typeof planFarm>['vms'] =>
  planFarm({ pillar, ...(enabled && { enabled }) }).vms;

await test('the example is accepted when it has keys of somebody, and so is one of three environments', async (t) => {
  t.strictSame(planFarm({ pillar: example() }).pillar, example());
  t.strictSame(planFarm({ pillar: threeEnvironments() }).pillar, threeEnvironments());
});

await test('the example as it is shipped is refused, and with any one of its keys', async (t) => {
  t.throws(() => planFarm({ file: examplePath }), { code: 'EXAMPLE_KEY', field: 'logs-vms.build-logs.key' });
  const keys = [...new Set(readFileSync(examplePath, 'utf8').match(/\b(?:[0-9A-F]{40}|[0-9a-f]{64})\b/g))];
  t.equal(keys.length, 5);
  const answers = planFarms(
    keys.map((key) => {
      const pillar = example();
      Object.assign(
        debian(pillar),
        key.length === 64 ? { 'journal-key': key } : { maintainers: { alice: key } },
      );
      return { pillar };
    }),
  );
  for (const [index, key] of keys.entries())
    t.match(answers[index], {
      code: 'EXAMPLE_KEY',
      field: key.length === 64 ? 'build-envs.debian.journal-key' : 'build-envs.debian.maintainers.alice',
    });
});

await test('a farm whose VMs have not made their keys is accepted', async (t) => {
  const pillar = example();
  Object.assign(debian(pillar), { key: null, 'journal-key': null });
  logs(pillar).key = null;
  t.ok(planFarm({ pillar }));
});

await test('what a keys VM knows of its beginning is the journal key, an anchor, or that it does not sign yet', async (t) => {
  const begins: Partial<BuildEnv>[] = [
    { anchor: 'ab'.repeat(20), 'journal-key': null },
    { anchor: null, 'journal-key': 'cd'.repeat(32) },
    { anchor: 'ab'.repeat(20), 'journal-key': 'cd'.repeat(32) },
    { key: null, anchor: null, 'journal-key': null },
    { key: null, 'journal-key': 'cd'.repeat(32) },
  ];
  const answers = planFarms(
    begins.map((settings) => {
      const pillar = example();
      Object.assign(debian(pillar), settings);
      return { pillar };
    }),
  );
  for (const [index, settings] of begins.entries())
    t.notOk(answers[index] instanceof AnyRefusal, JSON.stringify(settings));
});

await test('refused is, with its code, its field and what to do', async (t) => {
  const answers = planFarms(
    badPillars.map(([, spoil]) => {
      const pillar = example();
      spoil(pillar);
      return { pillar };
    }),
  );
  for (const [index, [what, , code, field, words]] of badPillars.entries()) {
    const refusal = answers[index];
    if (!(refusal instanceof AnyRefusal)) {
      t.fail(`${what} was accepted`);
      continue;
    }
    t.equal(refusal.code, code, `${what}: ${refusal.message}`);
    t.ok(
      refusal.field === field || (field === 'public-keys' && refusal.field?.startsWith('public-keys.')),
      `${what}: ${refusal.field}`,
    );
    t.match(refusal.line(), words, what);
    t.notMatch(refusal.line(), /\n/, what);
  }
});

await test('refused: a secret key where a public one belongs', async (t) => {
  const home = mkdtempSync(join(tmpdir(), 'bi-'));
  chmodSync(home, 0o700);
  t.teardown(() => {
    execFileSync('gpgconf', ['--homedir', home, '--kill', 'all']);
    rmSync(home, { recursive: true, force: true });
  });
  const gpg = (...args: string[]): string =>
    execFileSync(
      'gpg',
      ['--homedir', home, '--batch', '--quiet', '--pinentry-mode', 'loopback', '--passphrase', '', ...args],
      { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
    );
  gpg('--quick-generate-key', 'x', 'ed25519', 'sign', 'never');
  const pillar = example();
  pillar['public-keys'][alice(pillar)] = gpg('--armor', '--export-secret-keys');
  t.throws(() => planFarm({ pillar }), { code: 'BAD_VALUE' });
  pillar['public-keys'][alice(pillar)] = (pillar['public-keys'][alice(pillar)] as string).replace(
    /PRIVATE/g,
    'PUBLIC',
  );
  t.throws(
    () => planFarm({ pillar }),
    { name: 'Refusal', code: /^(?:SECRET_IN_PILLAR|BAD_PUBLIC_KEY)$/ },
    'nor under a false heading',
  );
});

await test('refused: the RSA host key that github.com withdrew', async (t) => {
  // Its public half is in every client's history; here only its digest is known, so the digest of a stand-in
  // is added.
  const pillar = example();
  const key = pillar['ssh-hosts']['forge.example']?.['host-keys'][0] as string;
  const digest = createHash('sha256')
    .update(Buffer.from(key.split(' ')[1] as string, 'base64'))
    .digest('base64')
    .replace(/=+$/, '');
  const program = `
import json, sys
sys.path.insert(0, ${JSON.stringify(pillarFolder)})
import farm_meaning, farm_slices
farm_meaning.WITHDRAWN_HOST_KEYS.add(${JSON.stringify(digest)})
try: farm_slices.check_farm(json.load(sys.stdin), ${JSON.stringify(join(pillarFolder, 'schema.json'))})
except farm_slices.Refusal as refusal: print(refusal.line())`;
  t.match(
    execFileSync(python, ['-B', '-c', program], { input: JSON.stringify(pillar), encoding: 'utf8' }),
    /^WITHDRAWN_HOST_KEY ssh-hosts\.forge\.example\.host-keys: /,
  );
});

await test('a pillar file is one YAML document with the one top key', async (t) => {
  const { folder } = workshop(t);
  const text = exampleText;
  const files: [content: string, code: string | undefined, words?: RegExp][] = [
    [text, undefined],
    [`${text}\nother: 1\n`, 'BAD_VALUE', /one top key/],
    [text.replace('build-infra:\n', 'build-infra:\n  net-vm: other\n'), 'NOT_YAML', /twice/],
    [`${text}---\nsecond: 1\n`, 'NOT_YAML'],
    ['build-infra: [unfinished\n', 'NOT_YAML'],
    ['', 'BAD_VALUE'],
  ];
  const answers = planFarms(
    files.map(([content], index) => {
      const file = join(folder, `${index}.yaml`);
      writeFileSync(file, content);
      return { file };
    }),
  );
  for (const [index, [content, code, words = /./]] of files.entries()) {
    if (code === undefined) t.notOk(answers[index] instanceof AnyRefusal);
    else t.match(answers[index], { code, detail: words }, content.slice(-40));
  }
});

await test('what farm.yaml may hold is what the agents take', async (t) => {
  const schema = JSON.parse(readFileSync(join(pillarFolder, 'schema.json'), 'utf8')) as { $defs: unknown };
  const at = (path: string): unknown =>
    path.split('/').reduce<unknown>((inner, name) => (inner as Record<string, unknown>)[name], schema.$defs);
  for (const [path, known] of [
    ['vm-name/pattern', vmNamePattern],
    ['plain-name/pattern', plainNamePattern],
    ['fingerprint/pattern', fingerprintPattern],
    ['release/pattern', releasePattern],
    ['notified-repository/pattern', repositoryNamePattern],
    ['built-template/properties/distribution/pattern', distWordPattern],
    ['built-template/properties/repository/enum', templateRepositories],
    ['built-component/properties/lines/additionalProperties/properties/suites/pattern', lineWordPattern],
    ['notify/properties/distributions/additionalProperties/properties/set/enum', packageSets],
    ['commands/properties/distribution-words/propertyNames/pattern', distWordPattern],
    ['commands/properties/people/additionalProperties/properties/verbs/items/enum', commandVerbs],
    [
      'commands/properties/people/additionalProperties/properties/repositories/items/enum',
      [...componentRepositories, ...templateRepositories],
    ],
    ['build-env/properties/anchor/anyOf/0/pattern', objectIdPattern],
    ['build-env/properties/journal-key/anyOf/0/pattern', journalKeyPattern],
    ['build-env/properties/logs-url/pattern', logsUrlPattern],
    ['build-env/properties/payload-bytes/maximum', payloadLimitBytes],
  ] as const)
    t.strictSame(at(path), known, path);
});

await test('every VM follows from the pillar, and only keys VMs have no network', async (t) => {
  const vms = vmsOf(threeEnvironments());
  t.strictSame(
    vms.map(({ name }) => name),
    [
      'sys-net',
      'build-logs',
      'zz-logs',
      'keys-debian',
      'keys-fedora',
      'keys-ubuntu',
      'build-debian',
      'build-fedora',
      'build-ubuntu',
    ],
  );
  for (const vm of vms) {
    t.equal(vm.network, vm.role !== 'keys', vm.name);
    t.equal(vm.netvm === null, ['keys', 'sys-net'].includes(vm.role), vm.name);
    t.strictSame(vm.features, [
      `service.build-infra-${vm.role}`,
      ...(vm.role === 'sys-net' ? ['service.build-infra-ssh-proxy', 'service.build-infra-webhooks'] : []),
    ]);
    t.equal(vm.managed, vm.name !== 'sys-net', 'the net VM is there already');
  }
});

await test('options and a VM of its own for webhooks decide which VMs there are, and what they serve', async (t) => {
  const brief = (pillar: Pillar, options: Option[]): string[] =>
    vmsOf(pillar, options)
      .filter(({ role }) => role !== 'keys')
      .map(({ name, enabled, netvm }) => `${name} ${netvm ?? '-'} ${enabled.join('+')}`.trimEnd());
  const pillar = example();
  t.strictSame(brief(pillar, ['ssh-proxy', 'webhooks']), [
    'sys-net - ssh-proxy+webhooks',
    'build-logs sys-firewall ssh-proxy',
    'build-debian sys-whonix ssh-proxy',
  ]);
  t.strictSame(brief(pillar, ['webhooks']), [
    'sys-net - webhooks',
    'build-logs sys-firewall',
    'build-debian sys-whonix',
  ]);
  t.strictSame(brief(pillar, []), ['build-logs sys-firewall', 'build-debian sys-whonix']);
  pillar.webhook.vm = 'sys-webhooks';
  t.strictSame(brief(pillar, ['ssh-proxy', 'webhooks']), [
    'sys-net - ssh-proxy',
    'sys-webhooks sys-net webhooks',
    'build-logs sys-firewall ssh-proxy',
    'build-debian sys-whonix ssh-proxy',
  ]);
  t.strictSame(brief(pillar, ['webhooks']), [
    'sys-webhooks sys-net webhooks',
    'build-logs sys-firewall',
    'build-debian sys-whonix',
  ]);
  pillar['ssh-proxy-vm'] = 'sys-ssh';
  t.strictSame(
    brief(pillar, ['ssh-proxy', 'webhooks']),
    [
      'sys-ssh sys-net ssh-proxy',
      'sys-webhooks sys-net webhooks',
      'build-logs sys-firewall ssh-proxy',
      'build-debian sys-whonix ssh-proxy',
    ],
    'the net VM stays as it is',
  );
});

await test('a farm without environment has no VM', async (t) => {
  const pillar = example();
  Object.assign(pillar, {
    'build-envs': {},
    'logs-vms': {},
    components: {},
    'ssh-hosts': {},
    'public-keys': {},
  });
  t.strictSame(vmsOf(pillar), []);
  pillar.webhook.vm = 'sys-webhooks';
  t.strictSame(vmsOf(pillar), []);
});

await test('a VM may have a template and sizes of its own', async (t) => {
  const pillar = example();
  pillar.templates['fedora-43-build-infra'] = { source: 'fedora-43-minimal', family: 'RedHat' };
  debian(pillar).build = {
    template: 'fedora-43-build-infra',
    'private-gib': 7,
    memory: 400,
    maxmem: 800,
    vcpus: 3,
  };
  const build = vmsOf(pillar).find(({ role }) => role === 'build');
  t.match(build, {
    template: 'fedora-43-build-infra',
    family: 'RedHat',
    privateSize: 7 * 1024 ** 3,
    memory: 400,
    maxmem: 800,
    vcpus: 3,
  });
});
