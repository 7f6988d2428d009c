// SPDX-License-Identifier: GPL-2.0-or-later
// From a built upload to a signed one: real debsign, and what kills and power cuts leave behind. A gpg that
// signs without asking anyone stands in for the gate.
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { signUploadFor } from '../../agents/build-vm/repositories/apt/sign-upload.js';
import type { Job } from '../../agents/build-vm/jobs/job-document.js';
import { withRebuild } from '../../agents/engines/debian/source-package.js';
import { isBuiltOfTag, rebuiltVersion } from '../../agents/engines/source-tree/package-version.js';
import { Keys, tinyPackage, tinyRules } from './forge.js';
import { codeOf, epoch, Lines, makePlace, rpmJob, writeTree } from './rpm-packages.js';

const keys = new Keys();
const signer = keys.make('signer');
const built = makePlace();
t.teardown(() => {
  keys.end();
  built.end();
});
const tree = writeTree(
  built.make('tree'),
  Object.fromEntries(tinyPackage('1.2-1').map((file) => [file.path, file.content ?? ''])),
);
chmodSync(join(tree, 'debian/rules'), 0o755);
execFileSync('tar', [
  '--create',
  '--gzip',
  '--file',
  join(built.folder, 'hello-tiny_1.2.orig.tar.gz'),
  '--exclude=debian',
  '--directory',
  tree,
  '.',
]);
execFileSync('dpkg-buildpackage', ['-us', '-uc', '-F', '-d'], {
  cwd: tree,
  stdio: 'ignore',
  env: { ...process.env, SOURCE_DATE_EPOCH: String(epoch) },
});
rmSync(tree, { recursive: true });

// Packages alone, of a source that is published: what the engine's own entry of the changelog makes of it.
const rebuilt = makePlace();
t.teardown(() => rebuilt.end());
{
  const control = (content: string): string =>
    content.replace('Architecture: all', 'Architecture: any') +
    '\nPackage: hello-tiny-doc\nArchitecture: all\nDescription: its words\n Many.\n';
  const again = writeTree(
    rebuilt.make('tree'),
    Object.fromEntries(
      tinyPackage(
        '1.2-1',
        [],
        tinyRules.replace('binary-arch:\nbinary-indep: build', 'binary-indep:\nbinary-arch: build'),
      ).map(({ path, content = '' }) => [
        path,
        path === 'debian/control'
          ? control(content)
          : path === 'debian/changelog'
            ? withRebuild(content, 'hello-tiny', '1.2-1+b2', 'bookworm')
            : content,
      ]),
    ),
  );
  chmodSync(join(again, 'debian/rules'), 0o755);
  execFileSync('dpkg-buildpackage', ['-us', '-uc', '-B', '-d'], {
    cwd: again,
    stdio: 'ignore',
    env: { ...process.env, SOURCE_DATE_EPOCH: String(epoch) },
  });
  rmSync(again, { recursive: true });
}

interface Vm {
  sign: () => Promise<unknown>;
  signed: string;
  part: string;
  frozen: string;
  calls: () => number;
  log: Lines;
}

/** @param before what a shell does before each signature */
function setUp(test: Test, before = ':', made = built, rebuild?: { number: number; of: string }): Vm {
  const place = makePlace();
  test.teardown(() => place.end());
  const frozen = join(place.folder, 'artifacts/bookworm');
  mkdirSync(join(frozen, '..'), { recursive: true });
  cpSync(made.folder, frozen, { recursive: true });
  const gpg = join(place.folder, 'gpg');
  writeFileSync(
    gpg,
    `#!/bin/sh\necho "$*" >> '${place.folder}/calls'\n${before}\nexec gpg --homedir '${keys.home}' --batch --yes --pinentry-mode loopback --passphrase '' "$@"\n`,
    { mode: 0o755 },
  );
  const job = {
    ...rpmJob(place.folder, {}, 'bookworm'),
    version: '1.2-1',
    ...(rebuild === undefined
      ? {}
      : {
          rebuild: {
            of: '',
            number: rebuild.number,
            command: { sha256: '', line: '', signer: { name: '', fingerprint: '' }, signed: '' },
            sources: { bookworm: { source: 'hello-tiny', version: rebuild.of, packages: '' } },
          },
        }),
  } as Job;
  const log = new Lines();
  return {
    sign: () =>
      signUploadFor(
        job,
        'bookworm',
        { folder: place.folder, gpg, signingKey: signer.fingerprint, publicKey: signer.armored },
        log,
      ),
    log,
    frozen,
    signed: join(place.folder, 'signed/bookworm'),
    part: join(place.folder, 'signed/bookworm.part'),
    calls: () =>
      existsSync(join(place.folder, 'calls'))
        ? readFileSync(join(place.folder, 'calls'), 'utf8')
            .trim()
            .split('\n')
            .filter((line) => line.includes('sign')).length
        : 0,
  };
}

void t.test('a kill while files were copied costs nothing: what is no copy is copied again', async (t) => {
  for (const ending of ['.deb', '.tar.xz', '.orig.tar.gz', '.dsc', '.changes', '.buildinfo']) {
    const vm = setUp(t);
    const name = readdirSync(vm.frozen).find((one) => one.endsWith(ending)) ?? '';
    if (name === '') continue;
    mkdirSync(vm.part, { recursive: true });
    writeFileSync(join(vm.part, name), readFileSync(join(vm.frozen, name)).subarray(0, 20));
    t.equal(await codeOf(vm.sign), 'none', `${ending}\n${vm.log.text()}`);
  }
});

void t.test(
  'what was signed before a kill is not signed again, and what was left half is made anew',
  async (t) => {
    const vm = setUp(t, '[ "$(grep -c sign "${0%/*}/calls")" != 2 ] || exit 2');
    t.equal(await codeOf(vm.sign), 'SIGN_FAILED');
    const dsc = readdirSync(vm.part).find((name) => name.endsWith('.dsc')) as string;
    const first = readFileSync(join(vm.part, dsc), 'utf8');
    t.match(first, /BEGIN PGP SIGNATURE/);
    t.equal(await codeOf(vm.sign), 'none', vm.log.text());
    t.equal(readFileSync(join(vm.signed, dsc), 'utf8'), first);
    t.equal(vm.calls(), 4, 'three texts, and one that failed');
  },
);

void t.test('a signed text that a power cut left empty or cut is signed anew', async (t) => {
  for (const cut of [0, 200]) {
    const vm = setUp(t, '[ "$(grep -c sign "${0%/*}/calls")" != 2 ] || exit 2');
    t.equal(await codeOf(vm.sign), 'SIGN_FAILED');
    const dsc = readdirSync(vm.part).find((name) => name.endsWith('.dsc')) as string;
    writeFileSync(join(vm.part, dsc), readFileSync(join(vm.part, dsc)).subarray(0, cut));
    t.equal(await codeOf(vm.sign), 'none', vm.log.text());
  }
});

void t.test('signed files that a power cut damaged are made anew, and nobody has to retry', async (t) => {
  for (const ending of ['.deb', '.dsc', '.changes']) {
    const vm = setUp(t);
    t.equal(await codeOf(vm.sign), 'none', vm.log.text());
    const path = join(vm.signed, readdirSync(vm.signed).find((one) => one.endsWith(ending)) as string);
    writeFileSync(path, '');
    t.equal(await codeOf(vm.sign), 'none', `${ending}\n${vm.log.text()}`);
    t.match(vm.log.text(), /are not what was signed .*: they are signed anew/);
    t.ok(readFileSync(path).length > 0);
  }
});

void t.test(
  "a rebuild's version is taken where it was commanded, over the source that is published, and nowhere else",
  async (t) => {
    t.strictSame(
      readdirSync(rebuilt.folder)
        .filter((name) => /\.(?:deb|dsc|changes|tar\..*)$/.test(name))
        .map((name) => name.replace(/_[a-z0-9]+\.(deb|changes)$/, '_ARCH.$1'))
        .sort(),
      ['hello-tiny_1.2-1+b2_ARCH.changes', 'hello-tiny_1.2-1+b2_ARCH.deb'],
      'no source, and no package for every architecture',
    );
    const codeFor = (made: typeof built, rebuild?: { number: number; of: string }): Promise<string> =>
      codeOf(setUp(t, ':', made, rebuild).sign);
    t.equal(await codeFor(rebuilt, { number: 2, of: '1.2-1' }), 'none');
    t.equal(await codeFor(rebuilt), 'VERSION_MISMATCH', 'nobody commanded it');
    for (const order of [
      { number: 1, of: '1.2-1' },
      { number: 2, of: '1.2-1+deb12u1' },
      { number: 22, of: '1.2-1' },
    ])
      t.equal(await codeFor(rebuilt, order), 'VERSION_MISMATCH', JSON.stringify(order));
    t.equal(
      await codeFor(built, { number: 2, of: '1.2-1' }),
      'VERSION_MISMATCH',
      'the source itself is not published again',
    );
    for (const [said, fits] of [
      ['1.2-1+b2', false],
      ['1.2-1+deb12u1+b2', false],
      ['1.2-1+b2.1', true],
      ['1.2-1+deb12u1', true],
    ] as const)
      t.equal(isBuiltOfTag(said, '1.2-1'), fits, said);
  },
);

void t.test('dpkg has a rebuild after its source and earlier rebuilds, and before the next version', (t) => {
  const rising = (versions: readonly string[]): void => {
    for (const [index, version] of versions.entries())
      if (index > 0)
        t.doesNotThrow(
          () => execFileSync('dpkg', ['--compare-versions', versions[index - 1] as string, 'lt', version]),
          `${versions[index - 1]} < ${version}`,
        );
  };
  for (const of of ['1.2-1', '1.2-1+deb12u1', '1.2', '2:1.2~rc1-1', '1.2-1.1'])
    rising([of, rebuiltVersion(of, 1), rebuiltVersion(of, 2), rebuiltVersion(of, 10), `${of}.1`]);
  rising([rebuiltVersion('1.2-1', 9), '1.2-1+deb12u1', '1.2-1+deb12u1+b1', '1.2-1+deb13u1', '1.2-2']);
  rising([rebuiltVersion('1.2', 9), '1.2.1', '1.3']);
  t.end();
});
