// SPDX-License-Identifier: GPL-2.0-or-later
// One thing wrong, all else valid: one code, one field, one line that a person can act on.
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'tap';
import type { Option } from '../../agents/shared/formats/manifest.js';
import { AnyRefusal } from '../../agents/shared/refusal.js';
import type { BuildEnv, Pillar } from '../../agents/local/provision/pillar.js';
import { checkPillar, readPillar } from '../../agents/local/provision/pillar-reader.js';
import { pillarSchema } from '../../agents/local/provision/pillar-schema.js';
import { vmsOf } from '../../agents/local/provision/vms.js';
import { alice, badPillars, debian, logs } from './bad-pillars.js';
import { exampleKeys } from '../../agents/local/provision/pillar-values.js';
import { example, examplePath, exampleText, threeEnvironments, top, workshop } from './provision-farm.js';

await test('the example is accepted when it has keys of somebody, and so is one of three environments', async (t) => {
  await t.resolves(checkPillar(example()));
  await t.resolves(checkPillar(threeEnvironments()));
});

await test('the example as it is shipped is refused, and with any one of its keys', async (t) => {
  const shipped = readFileSync(examplePath, 'utf8');
  await t.rejects(readPillar(examplePath), { code: 'EXAMPLE_KEY', field: 'logs-vms.build-logs.key' });
  const keys = [...new Set(shipped.match(/\b(?:[0-9A-F]{40}|[0-9a-f]{64})\b/g))];
  t.strictSame(keys.sort(), [...exampleKeys].sort(), 'these are its keys');
  for (const key of keys) {
    const pillar = example();
    Object.assign(debian(pillar), key.length === 64 ? { 'journal-key': key } : { maintainers: { alice: key } });
    await t.rejects(checkPillar(pillar), { code: 'EXAMPLE_KEY', field: key.length === 64 ? 'build-envs.debian.journal-key' : 'build-envs.debian.maintainers.alice' });
  }
});

await test('a farm whose VMs have not made their keys is accepted', async (t) => {
  const pillar = example();
  Object.assign(debian(pillar), { key: null, 'journal-key': null });
  logs(pillar).key = null;
  await t.resolves(checkPillar(pillar));
});

await test('what a keys VM knows of its beginning is the journal key, an anchor, or that it does not sign yet', async (t) => {
  const begins: Partial<BuildEnv>[] = [{ anchor: 'ab'.repeat(20), 'journal-key': null }, { anchor: null, 'journal-key': 'cd'.repeat(32) }, { anchor: 'ab'.repeat(20), 'journal-key': 'cd'.repeat(32) }, { key: null, anchor: null, 'journal-key': null }, { key: null, 'journal-key': 'cd'.repeat(32) }];
  for (const settings of begins) {
    const pillar = example();
    Object.assign(debian(pillar), settings);
    await t.resolves(checkPillar(pillar), JSON.stringify(settings));
  }
});

for (const [what, spoil, code, field, words] of badPillars) {
  await test(`refused: ${what}`, async (t) => {
    const pillar = example();
    spoil(pillar);
    try {
      await checkPillar(pillar);
      t.fail('it was accepted');
    } catch (error) {
      if (!(error instanceof AnyRefusal)) throw error;
      t.equal(error.code, code, error.message);
      t.ok(error.field === field || (field === 'public-keys' && error.field?.startsWith('public-keys.')), `${error.field}`);
      t.match(error.line(), words);
      t.notMatch(error.line(), /\n/);
    }
  });
}

await test('refused: a secret key where a public one belongs', async (t) => {
  const home = mkdtempSync(join(tmpdir(), 'bi-'));
  chmodSync(home, 0o700);
  t.teardown(() => {
    execFileSync('gpgconf', ['--homedir', home, '--kill', 'all']);
    rmSync(home, { recursive: true, force: true });
  });
  const gpg = (...args: string[]): string => execFileSync('gpg', ['--homedir', home, '--batch', '--quiet', '--pinentry-mode', 'loopback', '--passphrase', '', ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  gpg('--quick-generate-key', 'x', 'ed25519', 'sign', 'never');
  const pillar = example();
  pillar['public-keys'][alice(pillar)] = gpg('--armor', '--export-secret-keys');
  await t.rejects(checkPillar(pillar), { code: 'BAD_VALUE' });
  pillar['public-keys'][alice(pillar)] = (pillar['public-keys'][alice(pillar)] as string).replace(/PRIVATE/g, 'PUBLIC');
  await t.rejects(checkPillar(pillar), { name: 'Refusal', code: /^(?:SECRET_IN_PILLAR|BAD_PUBLIC_KEY)$/ }, 'nor under a false heading');
});

await test('refused: the RSA host key that github.com withdrew', async (t) => {
  // Its public half is in every client's history; here only its digest is known, so a stand-in is made to have that digest.
  const { withdrawnHostKeys } = await import('../../agents/local/provision/pillar-meaning.js');
  const pillar = example();
  const { createHash } = await import('node:crypto');
  const key = pillar['ssh-hosts']['forge.example']?.['host-keys'][0] as string;
  const digest = createHash('sha256').update(Buffer.from(key.split(' ')[1] as string, 'base64')).digest('base64').replace(/=+$/, '');
  withdrawnHostKeys.add(digest);
  t.teardown(() => withdrawnHostKeys.delete(digest));
  await t.rejects(checkPillar(pillar), { code: 'WITHDRAWN_HOST_KEY', field: 'ssh-hosts.forge.example.host-keys' });
});

await test('a pillar file is one YAML document with the one top key', async (t) => {
  const { folder } = workshop(t);
  const path = join(folder, 'pillar.yaml');
  const text = exampleText;
  const reads = (content: string): Promise<Pillar> => {
    writeFileSync(path, content);
    return readPillar(path);
  };
  await t.resolves(reads(text));
  await t.rejects(reads(`${text}\nother: 1\n`), { code: 'BAD_VALUE', message: /one top key/ });
  await t.rejects(reads(text.replace('build-infra:\n', 'build-infra:\n  net-vm: other\n')), { code: 'NOT_YAML' }, 'a key that stands twice');
  await t.rejects(reads(`${text}---\nsecond: 1\n`), { code: 'NOT_YAML' });
  await t.rejects(reads('build-infra: [unfinished\n'), { code: 'NOT_YAML' });
  await t.rejects(reads(''), { code: 'BAD_VALUE' });
});

await test('every VM follows from the pillar, and only keys VMs have no network', async (t) => {
  const vms = vmsOf(await checkPillar(threeEnvironments()));
  t.strictSame(vms.map(({ name }) => name), [
    'sys-net', 'build-logs', 'zz-logs', 'keys-debian', 'keys-fedora', 'keys-ubuntu', 'build-debian', 'build-fedora', 'build-ubuntu',
  ]);
  for (const vm of vms) {
    t.equal(vm.network, vm.role !== 'keys', vm.name);
    t.equal(vm.netvm === null, ['keys', 'sys-net'].includes(vm.role), vm.name);
    t.strictSame(vm.features, [`service.build-infra-${vm.role}`, ...(vm.role === 'sys-net' ? ['service.build-infra-ssh-proxy', 'service.build-infra-webhooks'] : [])]);
    t.equal(vm.managed, vm.name !== 'sys-net', 'the net VM is there already');
  }
});

await test('options and a VM of its own for webhooks decide which VMs there are, and what they serve', async (t) => {
  const brief = (pillar: Pillar, options: Option[]): string[] => vmsOf(pillar, options).filter(({ role }) => role !== 'keys').map(({ name, enabled, netvm }) => `${name} ${netvm ?? '-'} ${enabled.join('+')}`.trimEnd());
  const pillar = example();
  t.strictSame(brief(pillar, ['ssh-proxy', 'webhooks']), ['sys-net - ssh-proxy+webhooks', 'build-logs sys-firewall ssh-proxy', 'build-debian sys-whonix ssh-proxy']);
  t.strictSame(brief(pillar, ['webhooks']), ['sys-net - webhooks', 'build-logs sys-firewall', 'build-debian sys-whonix']);
  t.strictSame(brief(pillar, []), ['build-logs sys-firewall', 'build-debian sys-whonix']);
  pillar.webhook.vm = 'sys-webhooks';
  t.strictSame(brief(await checkPillar(pillar), ['ssh-proxy', 'webhooks']), ['sys-net - ssh-proxy', 'sys-webhooks sys-net webhooks', 'build-logs sys-firewall ssh-proxy', 'build-debian sys-whonix ssh-proxy']);
  t.strictSame(brief(pillar, ['webhooks']), ['sys-webhooks sys-net webhooks', 'build-logs sys-firewall', 'build-debian sys-whonix']);
  pillar['ssh-proxy-vm'] = 'sys-ssh';
  t.strictSame(brief(await checkPillar(pillar), ['ssh-proxy', 'webhooks']), ['sys-ssh sys-net ssh-proxy', 'sys-webhooks sys-net webhooks', 'build-logs sys-firewall ssh-proxy', 'build-debian sys-whonix ssh-proxy'], 'the net VM stays as it is');
});

await test('a farm without environment has no VM', async (t) => {
  const pillar = example();
  Object.assign(pillar, { 'build-envs': {}, 'logs-vms': {}, components: {}, 'ssh-hosts': {}, 'public-keys': {} });
  t.strictSame(vmsOf(await checkPillar(pillar)), []);
  pillar.webhook.vm = 'sys-webhooks';
  t.strictSame(vmsOf(await checkPillar(pillar)), []);
});

await test('a VM may have a template and sizes of its own', async (t) => {
  const pillar = example();
  pillar.templates['fedora-43-build-infra'] = { source: 'fedora-43-minimal', family: 'RedHat' };
  debian(pillar).build = { template: 'fedora-43-build-infra', 'private-gib': 7, memory: 400, maxmem: 800, vcpus: 3 };
  const build = vmsOf(await checkPillar(pillar)).find(({ role }) => role === 'build');
  t.match(build, { template: 'fedora-43-build-infra', family: 'RedHat', privateSize: 7 * 1024 ** 3, memory: 400, maxmem: 800, vcpus: 3 });
});

await test('the schema that Salt checks farm.yaml with is this one', async (t) => {
  const path = join(top, 'salt/pillar/build-infra/schema.json');
  if (process.env['UPDATE_GOLDEN'] !== undefined) writeFileSync(path, `${JSON.stringify(pillarSchema, null, 1)}\n`);
  t.strictSame(JSON.parse(readFileSync(path, 'utf8')), pillarSchema);
});
