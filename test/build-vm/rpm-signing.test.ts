// SPDX-License-Identifier: GPL-2.0-or-later
// From built packages to signed ones: real rpmsign and rpmkeys, and packages that are not what they say.
import {
  copyFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { readRpmFile } from '../../agents/build-vm/repositories/dnf/rpm-file.js';
import { readJobPackages, signPackagesFor } from '../../agents/build-vm/repositories/dnf/sign-packages.js';
import { hashFile } from '../../agents/shared/files/frozen-files.js';
import { readCommand } from '../../agents/build-vm/gpg-client/command-line.js';
import { describePayload } from '../../agents/build-vm/gpg-client/purpose.js';
import type { RebuildOrder } from '../../agents/build-vm/jobs/job-document.js';
import { buildHere, codeOf, rpmJob, tinySpec } from './rpm-packages.js';
import { built, endRpmVms, keys, other, setUp, signer } from './rpm-vm.js';

t.teardown(endRpmVms);

void t.test('packages are signed by the configured key, and only their signature differs', async (t) => {
  const vm = setUp(t);
  t.equal(await codeOf(vm.sign), 'none', vm.log.text());
  t.same(readdirSync(vm.signed).sort(), ['demo-rpm-1.2-1.noarch.rpm', 'demo-rpm-1.2-1.src.rpm']);
  for (const name of readdirSync(vm.signed)) {
    const [before, after] = [readRpmFile(vm.frozen, name), readRpmFile(vm.signed, name)];
    t.same([before.signatures.length, after.signatures.length], [0, 1]);
    t.equal(before.unsigned, after.unsigned);
    t.not(hashFile(vm.frozen, name).sha256, hashFile(vm.signed, name).sha256);
  }
  const [call = ''] = vm.gpgCalls();
  t.match(call, `${vm.folder}/gpg-job-fc41.json `);
  t.equal(vm.gpgCalls().length, 2, 'one signature for each package');
  t.match(JSON.parse(readFileSync(join(vm.folder, 'gpg-job-fc41.json'), 'utf8')), {
    job: vm.job.job,
    dist: 'fc41',
    artifacts: vm.job.artifacts[0]?.files,
  });

  await t.test(
    'the words of rpmsign are understood by the gpg client, and the intent says what they are for',
    async (t) => {
      const command = readCommand(call.split(' ').slice(1));
      t.match(command, {
        kind: 'sign',
        mode: 'detach',
        armor: false,
        user: signer.fingerprint,
        input: 0,
        digest: 'sha256',
      });
      const file = readFileSync(join(vm.frozen, 'demo-rpm-1.2-1.noarch.rpm'));
      const header = file.subarray(file.indexOf(Buffer.from('8eade801', 'hex'), 200));
      t.same(describePayload(0, header), { name: 'rpm-header', purpose: 'rpm-header' });
    },
  );

  await t.test('a second run keeps what is signed', async (t) => {
    t.equal(await codeOf(vm.sign), 'none');
    t.equal(vm.gpgCalls().length, 2);
  });

  await t.test('a signed package whose payload was changed is noticed, and signed anew', async (t) => {
    const path = join(vm.signed, 'demo-rpm-1.2-1.noarch.rpm');
    const good = readFileSync(path);
    const bad = Buffer.from(good);
    bad[bad.length - 20] = (bad[bad.length - 20] as number) ^ 1;
    writeFileSync(path, bad);
    const calls = vm.gpgCalls().length;
    t.equal(await codeOf(vm.sign), 'none', vm.log.text());
    t.match(vm.log.text(), /are not what was signed \(BAD_ARTIFACT/);
    t.equal(vm.gpgCalls().length, calls + 2);
    t.equal(
      readRpmFile(vm.signed, 'demo-rpm-1.2-1.noarch.rpm').unsigned,
      readRpmFile(vm.frozen, 'demo-rpm-1.2-1.noarch.rpm').unsigned,
    );
  });

  await t.test(
    'a signed package in place of which another good one lies is noticed, and signed anew',
    async (t) => {
      const again = setUp(t, 'one-otherwise');
      await again.sign();
      copyFileSync(
        join(again.signed, 'demo-rpm-1.2-1.noarch.rpm'),
        join(vm.signed, 'demo-rpm-1.2-1.noarch.rpm'),
      );
      t.equal(await codeOf(vm.sign), 'none', vm.log.text());
      t.equal(
        readRpmFile(vm.signed, 'demo-rpm-1.2-1.noarch.rpm').unsigned,
        readRpmFile(vm.frozen, 'demo-rpm-1.2-1.noarch.rpm').unsigned,
      );
    },
  );
});

void t.test('a kill in the middle of signing costs no second signature', async (t) => {
  const vm = setUp(t, 'one', '[ "$(wc -l < "$0-calls")" != 2 ] || exit 2');
  t.equal(await codeOf(vm.sign), 'SIGN_FAILED');
  writeFileSync(`${vm.signed}.part/demo-rpm-1.2-1.src.rpm.AbCdEf`, 'left by a kill');
  t.equal(await codeOf(vm.sign), 'none', vm.log.text());
  t.equal(vm.gpgCalls().length, 3);
  t.equal(readdirSync(vm.signed).length, 2);
});

void t.test('reports why a signature was refused', async (t) => {
  const vm = setUp(t, 'one', 'echo "build-infra: refused NOT_PUBLISHED no remote has it" >&2; exit 2');
  t.equal(await codeOf(vm.sign), 'GATE_UNREACHABLE');
  await t.rejects(vm.sign(), { message: /refused NOT_PUBLISHED no remote has it$/ });
});

void t.test('a signature by another key is noticed', async (t) => {
  const vm = setUp(
    t,
    'one',
    'set -- $(echo "$@" | sed s/[0-9A-F]\\\\{40\\\\}/$OTHER/g)'.replace('$OTHER', other.fingerprint),
    other,
  );
  t.equal(await codeOf(vm.sign), 'BAD_SIGNATURE', vm.log.text());
  t.notOk(existsSync(vm.signed));
});

void t.test('a public key file with a second key in it is not believed', async (t) => {
  const vm = setUp(t);
  vm.options.publicKey = keys.gpg(['--armor', '--export', signer.fingerprint, other.fingerprint]).toString();
  t.equal(await codeOf(vm.sign), 'BAD_SIGNATURE');
});

for (const [what, change, code] of [
  [
    "a package whose name is another than its header's",
    (frozen: string) =>
      renameSync(join(frozen, 'demo-rpm-1.2-1.noarch.rpm'), join(frozen, 'demo-rpm-1.2-9.noarch.rpm')),
    'BAD_ARTIFACT',
  ],
  [
    'a package of another source',
    (frozen: string) =>
      copyFileSync(
        join(built.folder, 'second/second-1.2-1.noarch.rpm'),
        join(frozen, 'second-1.2-1.noarch.rpm'),
      ),
    'BAD_ARTIFACT',
  ],
  [
    'two source packages',
    (frozen: string) =>
      copyFileSync(join(built.folder, 'second/second-1.2-1.src.rpm'), join(frozen, 'second-1.2-1.src.rpm')),
    'BAD_ARTIFACT',
  ],
  [
    'no source package',
    (frozen: string) => unlinkSync(join(frozen, 'demo-rpm-1.2-1.src.rpm')),
    'BAD_ARTIFACT',
  ],
  [
    'something that is no package',
    (frozen: string) => writeFileSync(join(frozen, 'demo-rpm-1.2-1.noarch.rpm'), 'x'.repeat(5000)),
    'BAD_ARTIFACT',
  ],
  [
    'a package that is cut in its header',
    (frozen: string) =>
      writeFileSync(
        join(frozen, 'demo-rpm-1.2-1.noarch.rpm'),
        readFileSync(join(built.folder, 'one/demo-rpm-1.2-1.noarch.rpm')).subarray(0, 2000),
      ),
    'BAD_ARTIFACT',
  ],
] as [string, (frozen: string) => void, string][]) {
  void t.test(`an engine that announces ${what} is refused before anything is signed`, async (t) => {
    const vm = setUp(t);
    change(vm.frozen);
    const job = rpmJob(vm.folder);
    t.equal(await codeOf(() => signPackagesFor(job, 'fc41', vm.options, vm.log)), code);
    t.same(vm.gpgCalls(), []);
  });
}

void t.test(
  'several source packages are signed where the tree lists their specs, and no other one beside them',
  async (t) => {
    const vm = setUp(t);
    for (const name of ['second-1.2-1.src.rpm', 'second-1.2-1.noarch.rpm'])
      copyFileSync(join(built.folder, 'second', name), join(vm.frozen, name));
    for (const [specs, code] of [
      [['demo-rpm', 'second'], 'none'],
      [['demo-rpm'], 'BAD_ARTIFACT'],
      [['demo-rpm', 'third'], 'BAD_ARTIFACT'],
    ] as const)
      t.equal(
        await codeOf(() => readJobPackages(rpmJob(vm.folder, { specs: [...specs] }), 'fc41', vm.frozen)),
        code,
        specs.join(),
      );
  },
);

void t.test('a raised release is signed where it was commanded, as it was commanded', async (t) => {
  const raised = built.make('raised');
  buildHere(tinySpec({ release: '1.fc41.2' }), raised);
  const vm = setUp(t, 'raised');
  const rebuild = (number: number, version: string): RebuildOrder => ({
    of: 'x',
    number,
    sources: { fc41: { source: 'demo-rpm', version, packages: '' } },
    command: { sha256: '', line: '', signer: { name: '', fingerprint: '' }, signed: '' },
  });
  for (const [number, version] of [
    [1, '1.2-1.fc41'],
    [2, '1.2-1.fc40'],
    [2, '1.2-2.fc41'],
  ] as const) {
    vm.job.rebuild = rebuild(number, version);
    t.equal(await codeOf(vm.sign), 'VERSION_MISMATCH', `${version} ${number}`);
  }
  t.same(vm.gpgCalls(), []);
  vm.job.rebuild = rebuild(2, '1.2-1.fc41');
  t.equal(await codeOf(vm.sign), 'none', vm.log.text());
  const plain = setUp(t);
  plain.job.rebuild = rebuild(2, '1.2-1');
  t.equal(await codeOf(plain.sign), 'VERSION_MISMATCH', 'what an engine makes that overlooks it');
});

void t.test("packages are of the job's version", async (t) => {
  const vm = setUp(t);
  for (const version of ['1.2-1', '1.2'])
    t.equal(await codeOf(() => readJobPackages({ ...vm.job, version }, 'fc41', vm.frozen)), 'none');
  for (const version of ['1.2-2', '1.3', '1:1.2-1', '1.2-', '1'])
    t.equal(
      await codeOf(() => readJobPackages({ ...vm.job, version }, 'fc41', vm.frozen)),
      'VERSION_MISMATCH',
      version,
    );
});
