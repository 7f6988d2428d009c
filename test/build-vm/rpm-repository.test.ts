// SPDX-License-Identifier: GPL-2.0-or-later
// From signed packages to a repository that dnf reads back: real createrepo_c, ssh, rsync and dnf.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  makeRpmGeneration,
  refusePublished,
  type DnfChange,
} from '../../agents/build-vm/repositories/dnf/dnf-publication.js';
import { dnfConfiguration, readBackPackages } from '../../agents/build-vm/repositories/dnf/dnf-read-back.js';
import { dnfSections } from '../../agents/engines/rpm/package-build.js';
import { dnfRepository, uploadedParts } from '../../agents/build-vm/repositories/dnf/dnf-repository.js';
import type { ChangeOptions } from '../../agents/build-vm/repositories/repository-change.js';
import { hashFile } from '../../agents/shared/files/frozen-files.js';
import { readCommand } from '../../agents/build-vm/gpg-client/command-line.js';
import type { Upload } from '../../agents/build-vm/jobs/job-document.js';
import { Generations, type Generation } from '../../agents/build-vm/repositories/repository-generations.js';
import { suites, type AnySuite } from '../../agents/shared/formats/suites.js';
import { AptServer } from './build-vm.js';
import { codeOf, epoch, makePlace, type Place } from './rpm-packages.js';
import { endRpmVms, keys, other, setUp, signer, type Vm } from './rpm-vm.js';

t.teardown(endRpmVms);

async function stand(test: Test): Promise<{ server: AptServer; state: Place }> {
  const server = new AptServer();
  await server.start();
  const state = makePlace();
  test.teardown(async () => {
    await server.end();
    state.end();
  });
  return { server, state };
}

async function publishing(
  test: Test,
  state: string,
  server: AptServer,
  from = 'one',
): Promise<{ vm: Vm; publish: () => Promise<Upload>; url: string }> {
  const vm = setUp(test, from);
  await vm.sign();
  writeFileSync(join(vm.folder, 'ssh_config'), server.sshConfig());
  const url = `http://127.0.0.1:${server.httpPort}/rpm`;
  const options = {
    config: {
      env: '',
      signingKey: signer.fingerprint,
      dnf: { upload: `ssh://127.0.0.1:${server.sshPort}${server.folder}/rpm`, url },
    },
    paths: {
      dnf: state,
      gpg: vm.options.gpg,
      work: join(vm.folder, 'work'),
      sshConfig: join(vm.folder, 'ssh_config'),
    },
    jobFolder: vm.folder,
    publicKey: vm.publicKey,
    noteSwitch: (upload: Upload) => void (vm.job.switched = [upload]),
  } as unknown as ChangeOptions;
  return {
    vm,
    url,
    publish: () => dnfRepository.publish(vm.job, 'fc41', 'current-testing', options, vm.log),
  };
}

/** As after an upload: what the next one is made from. */
function switched(folder: string, generation: Generation): Generation {
  new Generations(join(folder, 'fc41')).switched(generation);
  return generation;
}

void t.test('signed packages become a repository that dnf reads back and installs from', async (t) => {
  const { server, state } = await stand(t);
  const first = await publishing(t, state.folder, server);
  const uploaded = await first
    .publish()
    .catch((error: unknown) => t.fail(String(error), { log: first.vm.log.lines.slice(-40) }));
  if (typeof uploaded !== 'object') return;
  t.match(uploaded, {
    dist: 'fc41',
    url: `${first.url}/fc41/current-testing`,
    suite: 'fc41-current-testing',
    files: [{ name: 'demo-rpm-1.2-1.noarch.rpm' }, { name: 'demo-rpm-1.2-1.src.rpm' }],
  });
  const link = join(server.folder, 'rpm/fc41');
  const top = join(link, 'current-testing');
  t.match(readlinkSync(link), /^fc41\.releases\/000001-[0-9a-f]{12}$/);
  for (const name of [
    'packages',
    'repodata/repomd.xml',
    'repodata/repomd.xml.asc',
    '../key.asc',
    '../current/repodata/repomd.xml.asc',
    '../security-testing/repodata/repomd.xml.asc',
  ])
    t.ok(existsSync(join(top, name)), name);
  t.match(first.vm.gpgCalls().at(-1), /--detach-sign .*repomd\.xml$/);
  t.match(readCommand((first.vm.gpgCalls().at(-1) ?? '').split(' ').slice(1)), {
    kind: 'sign',
    mode: 'detach',
    armor: true,
    user: signer.fingerprint,
    input: /repomd\.xml$/,
    output: /repomd\.xml\.asc$/,
  });

  await t.test('dnf installs the package into an installroot, with the published key alone', async (t) => {
    const place = makePlace();
    t.teardown(() => place.end());
    const root = place.make('root');
    writeFileSync(
      join(place.folder, 'dnf.conf'),
      dnfConfiguration(root, uploaded.url, join(link, 'key.asc')),
    );
    // The web server is in this process: it must not wait.
    await promisify(execFile)('dnf', [
      '-y',
      '--config',
      join(place.folder, 'dnf.conf'),
      '--installroot',
      root,
      '--releasever=0',
      '--disableplugin=*',
      'install',
      'demo-rpm',
    ]);
    t.equal(readFileSync(join(root, 'usr/share/demo-rpm/greeting'), 'utf8'), 'hello from an rpm\n');
  });

  await t.test("mock's dnf takes build dependencies from it, with that key and no other one", async (t) => {
    const place = makePlace();
    t.teardown(() => place.end());
    const asked = async (key: string): Promise<string> => {
      const root = place.make('root2');
      const conf = join(place.folder, 'mock.conf');
      writeFileSync(
        conf,
        `[main]\nreposdir=/nonexistent\ncachedir=/cache-${readdirSync(place.folder).length}\nmodule_platform_id=platform:none\n\n${dnfSections([{ url: uploaded.url, key, preferred: true }], place.make('keys'), first.vm.log)}`,
      );
      const { stdout } = await promisify(execFile)('dnf', [
        '-y',
        '--config',
        conf,
        '--installroot',
        root,
        '--releasever=0',
        '--disableplugin=*',
        'repoquery',
        'demo-rpm',
      ]).catch((error: Error) => ({ stdout: `failed ${error.message}` }));
      rmSync(root, { recursive: true });
      return stdout;
    };
    t.match(await asked(join(link, 'key.asc')), /demo-rpm-0:1\.2-1\.noarch/);
    const foreign = join(place.folder, 'other.asc');
    writeFileSync(foreign, other.armored);
    t.match(await asked(foreign), /^failed [\s\S]*(?:GPG|signature|key)/i);
  });

  await t.test('the same job once more changes nothing', async (t) => {
    await first.publish();
    t.match(readlinkSync(link), /^fc41\.releases\/000001-/);
  });

  await t.test('the next release is added to it', async (t) => {
    const earlier = readdirSync(join(top, 'repodata')).filter((name) => name.endsWith('.gz'));
    const second = await publishing(t, state.folder, server, 'two');
    await second.publish();
    t.match(readlinkSync(link), /^fc41\.releases\/000002-/);
    t.same(readdirSync(join(top, 'packages')).sort(), [
      'demo-rpm-1.2-1.noarch.rpm',
      'demo-rpm-1.2-1.src.rpm',
      'demo-rpm-1.2-2.noarch.rpm',
      'demo-rpm-1.2-2.src.rpm',
    ]);
    for (const name of earlier)
      t.ok(
        existsSync(join(top, 'repodata', name)),
        'a client in the middle of the metadata before finds the rest of it',
      );
    t.equal(
      statSync(join(top, 'packages/demo-rpm-1.2-1.noarch.rpm')).ino,
      statSync(
        join(
          server.folder,
          'rpm/fc41.releases',
          readdirSync(join(server.folder, 'rpm/fc41.releases')).sort()[0] ?? '',
          'current-testing/packages/demo-rpm-1.2-1.noarch.rpm',
        ),
      ).ino,
    );

    await t.test(
      'the same name, version and release with other bytes is refused, and nothing is switched',
      async (t) => {
        const forged = await publishing(t, state.folder, server, 'one-otherwise');
        forged.vm.job.job = 'demo-rpm-1.2-1-cccccccccccc';
        t.equal(await codeOf(forged.publish), 'ALREADY_PUBLISHED');
        t.match(readlinkSync(link), /^fc41\.releases\/000002-/);
      },
    );

    await t.test('a mirror that serves the metadata of before is noticed', async (t) => {
      const releases = readdirSync(join(server.folder, 'rpm/fc41.releases'))
        .filter((name) => /^[0-9]/.test(name))
        .sort();
      const place = makePlace();
      t.teardown(() => place.end());
      const back = (): Promise<unknown> =>
        readBackPackages(
          second.vm.signed,
          second.vm.job.artifacts[0]?.files.map((file) => hashFile(second.vm.signed, file.name)) ?? [],
          {
            url: `${second.url}/fc41/current-testing`,
            publicKey: second.vm.publicKey,
            repomd: join(
              state.folder,
              'fc41/generations',
              releases[1] ?? '',
              'current-testing/repodata/repomd.xml',
            ),
            folder: join(place.folder, 'back'),
          },
          second.vm.log,
        );
      t.equal(await codeOf(back), 'none');
      unlinkSync(link);
      symlinkSync(`fc41.releases/${releases[0]}`, link);
      t.equal(await codeOf(back), 'READ_BACK_FAILED');
      t.equal(
        second.vm.log.lines.filter((line) => line.includes('read back: dnf')).at(-1),
        '== read back: dnf makecache',
        'noticed by the metadata itself',
      );
      unlinkSync(link);
      symlinkSync(`fc41.releases/${releases[1]}`, link);

      await t.test('a mirror with another package under the name is noticed', async (t) => {
        const path = join(top, 'packages/demo-rpm-1.2-2.noarch.rpm');
        const good = readFileSync(path);
        chmodSync(path, 0o644);
        writeFileSync(path, Buffer.concat([good, Buffer.from('x')]));
        t.equal(await codeOf(back), 'READ_BACK_FAILED');
        writeFileSync(path, good);
        t.equal(await codeOf(back), 'none');
      });
      await t.test('metadata signed by another key is noticed', async (t) => {
        const path = join(top, 'repodata/repomd.xml.asc');
        const good = readFileSync(path);
        writeFileSync(path, keys.sign([other], readFileSync(join(top, 'repodata/repomd.xml'), 'utf8')));
        t.equal(await codeOf(back), 'READ_BACK_FAILED');
        rmSync(path);
        t.equal(await codeOf(back), 'READ_BACK_FAILED', 'and metadata without a signature');
        writeFileSync(path, good);
        t.equal(await codeOf(back), 'none');
      });
    });
  });
});

void t.test(
  'an upload that is cut changes nothing for readers, and goes on without a second signature',
  async (t) => {
    const { server, state } = await stand(t);
    const { vm, publish } = await publishing(t, state.folder, server);
    // What ssh talks through: the connection of that number ends in its middle.
    const door = join(vm.folder, 'door.mjs');
    writeFileSync(
      door,
      `import { appendFileSync, readFileSync, mkdirSync } from 'node:fs';
import { connect } from 'node:net';
appendFileSync('${vm.folder}/connections', 'x');
const cut = readFileSync('${vm.folder}/connections').length === Number(readFileSync('${vm.folder}/cut', 'utf8'));
const far = connect(Number(process.argv[2]), '127.0.0.1');
process.stdin.pipe(far).pipe(process.stdout);
if (cut) setTimeout(() => process.exit(1), 50);
`,
    );
    writeFileSync(
      join(vm.folder, 'ssh_config'),
      `${server.sshConfig()}  ProxyCommand ${process.execPath} ${door} %p\n`,
    );
    // Making the folder, packages, metadata, the switch.
    for (const cut of [1, 2, 3, 4]) {
      writeFileSync(join(vm.folder, 'connections'), '');
      writeFileSync(join(vm.folder, 'cut'), String(cut));
      t.equal(await codeOf(publish), 'UPLOAD_FAILED', `connection ${cut}`);
      t.notOk(existsSync(join(server.folder, 'rpm/fc41')), 'no reader sees anything of it');
    }
    writeFileSync(join(vm.folder, 'cut'), '0');
    t.equal(await codeOf(publish), 'none', vm.log.text().slice(-3000));
    t.match(readlinkSync(join(server.folder, 'rpm/fc41')), /^fc41\.releases\/000001-/);
    t.equal(vm.gpgCalls().length, 5, 'two packages and the metadata of three suites, each once');
  },
);

void t.test(
  'metadata of the same packages is the same bytes, and its revision never goes back',
  async (t) => {
    const vm = setUp(t);
    await vm.sign();
    const files = readdirSync(vm.signed).map((name) => hashFile(vm.signed, name));
    const make = async (state: string, job: string, sourceDateEpoch: number): Promise<Generation> =>
      switched(
        join(vm.folder, state),
        await makeRpmGeneration(
          { job, dist: 'fc41', sourceDateEpoch },
          { kind: 'include', signed: vm.signed, files },
          join(vm.folder, 'gpg-job-fc41.json'),
          {
            folder: join(vm.folder, state),
            suite: 'current-testing',
            gpg: vm.options.gpg,
            signingKey: signer.fingerprint,
            publicKey: vm.publicKey,
          },
          vm.log,
        ),
      );
    const repomd = (generation: Generation): string =>
      readFileSync(join(generation.folder, 'current-testing/repodata/repomd.xml'), 'utf8');
    const [one, again] = [await make('a', 'x', epoch), await make('b', 'x', epoch)];
    t.equal(repomd(one), repomd(again));
    t.equal(one.release, again.release);
    t.match(repomd(one), `<revision>${epoch}</revision>`);
    t.match(repomd(await make('a', 'y', epoch - 1000)), `<revision>${epoch + 1}</revision>`);
  },
);

void t.test('what is published is compared by bytes', async (t) => {
  const vm = setUp(t);
  const generation = { release: '000001-aaaaaaaaaaaa', folder: vm.folder, publicKeyName: 'key.asc' };
  for (const suite of suites) mkdirSync(join(vm.folder, suite, 'packages'), { recursive: true });
  cpSync(vm.frozen, join(vm.folder, 'current/packages'), { recursive: true });
  const files = vm.job.artifacts[0]?.files ?? [];
  t.equal(await codeOf(() => refusePublished(generation, files, suites)), 'none');
  t.equal(await codeOf(() => refusePublished(undefined, files, suites)), 'none');
  t.equal(
    await codeOf(() =>
      refusePublished(
        generation,
        files.map((file) => ({ ...file, sha256: '0'.repeat(64) })),
        suites,
      ),
    ),
    'ALREADY_PUBLISHED',
  );
});

void t.test('metadata without a good signature is not published', async (t) => {
  const vm = setUp(t);
  await vm.sign();
  const files = readdirSync(vm.signed).map((name) => hashFile(vm.signed, name));
  const make = (script: string): Promise<string> => {
    writeFileSync(join(vm.folder, 'bad-gpg'), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    return codeOf(() =>
      makeRpmGeneration(
        { job: 'x', dist: 'fc41', sourceDateEpoch: epoch },
        { kind: 'include', signed: vm.signed, files },
        '',
        {
          folder: join(vm.folder, 'state'),
          suite: 'current-testing',
          gpg: join(vm.folder, 'bad-gpg'),
          signingKey: signer.fingerprint,
          publicKey: vm.publicKey,
        },
        vm.log,
      ),
    );
  };
  t.equal(await make('echo "build-infra: refused NO_GRANT none" >&2; exit 2'), 'PUBLISH_FAILED');
  t.equal(
    await make(
      `exec gpg --homedir '${keys.home}' --batch --yes --local-user ${other.fingerprint} $(echo "$@" | sed 's/--local-user [0-9A-F]*//')`,
    ),
    'BAD_SIGNATURE',
  );
  t.same(readdirSync(join(vm.folder, 'state/fc41/generations')), []);
});

void t.test('a version goes from suite to suite with the same bytes, and out again', async (t) => {
  const vm = setUp(t);
  await vm.sign();
  const files = readdirSync(vm.signed).map((name) => hashFile(vm.signed, name));
  const options = {
    folder: join(vm.folder, 'state'),
    gpg: vm.options.gpg,
    signingKey: signer.fingerprint,
    publicKey: vm.publicKey,
  };
  const make = async (job: string, suite: AnySuite, change: DnfChange): Promise<Generation> =>
    switched(
      options.folder,
      await makeRpmGeneration(
        { job, dist: 'fc41', sourceDateEpoch: epoch },
        change,
        join(vm.folder, 'gpg-job-fc41.json'),
        { ...options, suite },
        vm.log,
      ),
    );
  const inSuite = (generation: Generation, suite: AnySuite): string[] =>
    readdirSync(join(generation.folder, suite, 'packages')).sort();
  const repomd = (generation: Generation, suite: AnySuite): string =>
    readFileSync(join(generation.folder, suite, 'repodata/repomd.xml'), 'utf8');
  const names = files.map((file) => file.name).sort();
  const first = await make('a', 'current-testing', { kind: 'include', signed: vm.signed, files });
  t.same([inSuite(first, 'current-testing'), inSuite(first, 'current')], [names, []]);
  t.match(
    repomd(first, 'current'),
    /<content>fc41-current<\/content>/,
    'the signed metadata says whose it is',
  );
  const calls = vm.gpgCalls().length;
  const second = await make('b', 'current', { kind: 'copy', from: 'current-testing', files });
  t.equal(vm.gpgCalls().length, calls + 1, 'one signature, of the suite that changed');
  t.same([inSuite(second, 'current-testing'), inSuite(second, 'current')], [names, names]);
  t.equal(repomd(second, 'current-testing'), repomd(first, 'current-testing'));
  t.equal(
    await codeOf(() =>
      make('c', 'security-testing', {
        kind: 'copy',
        from: 'current',
        files: files.map((file) => ({ ...file, sha256: '0'.repeat(64) })),
      }),
    ),
    'NOT_IN_SUITE',
    'other bytes than those',
  );
  t.same(
    inSuite(
      await make('o', 'current', {
        kind: 'remove',
        files: files.map((file) => ({ ...file, sha256: '0'.repeat(64) })),
      }),
      'current',
    ),
    names,
    'what only bears the name is not taken out',
  );
  const lines = await make('l', 'lts-current-testing', { kind: 'copy', from: 'current', files });
  t.same(
    readdirSync(lines.folder).filter((name) => name.startsWith('lts-')),
    ['lts-current', 'lts-current-testing', 'lts-security-testing'],
    'a line brings all its suites with it',
  );
  t.match(repomd(lines, 'lts-current'), /<content>fc41-lts-current<\/content>/);
  const { packages, metadata } = uploadedParts(lines, 'fc41');
  t.match(
    [packages.length, metadata.length, packages.includes('lts-current/packages')],
    [6, 6, true],
    'and they are uploaded',
  );
  t.equal(
    await codeOf(() => make('m', 'lts-current', { kind: 'copy', from: 'lts-security-testing', files })),
    'NOT_IN_SUITE',
  );
  const third = await make('d', 'current', { kind: 'remove', files });
  t.same(
    inSuite(third, 'lts-current-testing'),
    [],
    "what is taken back goes from a line's suites too, and these stay",
  );
  t.same([inSuite(third, 'current-testing'), inSuite(third, 'current')], [[], []], 'out of every suite');
  t.equal(
    await codeOf(() => make('e', 'security-testing', { kind: 'copy', from: 'current', files })),
    'NOT_IN_SUITE',
  );
});

void t.test(
  'after the signing key changed, the next generation has every suite signed by the new one, and one of before is not gone on with',
  async (t) => {
    const vm = setUp(t);
    await vm.sign();
    const files = readdirSync(vm.signed).map((name) => hashFile(vm.signed, name));
    const newKey = join(vm.folder, 'other.asc');
    writeFileSync(newKey, other.armored);
    const state = join(vm.folder, 'state');
    const gpg = join(vm.folder, 'any-key');
    writeFileSync(
      gpg,
      `#!/bin/sh\nexec gpg --homedir '${keys.home}' --batch --yes --pinentry-mode loopback --passphrase '' "$@"\n`,
      { mode: 0o755 },
    );
    const make = (
      job: string,
      suite: AnySuite,
      change: DnfChange,
      signingKey: string,
      publicKey: string,
    ): Promise<Generation> =>
      makeRpmGeneration(
        { job, dist: 'fc41', sourceDateEpoch: epoch },
        change,
        join(vm.folder, 'gpg-job-fc41.json'),
        { folder: state, gpg, suite, signingKey, publicKey },
        vm.log,
      );
    const include: DnfChange = { kind: 'include', signed: vm.signed, files };
    const first = switched(
      state,
      await make('a', 'current-testing', include, signer.fingerprint, vm.publicKey),
    );
    const before = await make(
      'b',
      'current',
      { kind: 'copy', from: 'current-testing', files },
      signer.fingerprint,
      vm.publicKey,
    );
    const after = await make(
      'b',
      'current',
      { kind: 'copy', from: 'current-testing', files },
      other.fingerprint,
      newKey,
    );
    t.not(after.folder, before.folder);
    const signature = (generation: Generation, suite: AnySuite): string =>
      readFileSync(join(generation.folder, suite, 'repodata/repomd.xml.asc'), 'utf8');
    for (const suite of suites) t.not(signature(after, suite), signature(first, suite), suite);
    t.equal(readFileSync(join(after.folder, 'key.asc'), 'utf8'), other.armored);
  },
);
