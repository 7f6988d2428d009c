// SPDX-License-Identifier: GPL-2.0-or-later
// A build VM's job with built packages in it. A gpg that signs without asking anyone stands in for the gate,
// which has tests of its own.
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { signPackagesFor } from '../../agents/build-vm/repositories/dnf/sign-packages.js';
import type { BuildJob } from '../../agents/build-vm/jobs/job-document.js';
import type { SignOptions } from '../../agents/build-vm/gate/signed-files.js';
import { Keys } from './forge.js';
import { buildHere, Lines, makePlace, rpmJob, tinySpec } from './rpm-packages.js';

export const keys = new Keys();
export const signer = keys.make('signer');
export const other = keys.make('other');
export const built = makePlace();
buildHere(tinySpec(), built.make('one'));
buildHere(tinySpec({ release: '2' }), built.make('two'));
buildHere(tinySpec(), built.make('one-otherwise'), { greeting: 'other bytes\n' });
buildHere(tinySpec({ name: 'second' }), built.make('second'));
/** To be called once, by the test file. */
export function endRpmVms(): void {
  keys.end();
  built.end();
}

export interface Vm {
  folder: string;
  job: BuildJob;
  log: Lines;
  options: SignOptions;
  publicKey: string;
  gpgCalls: () => string[];
  sign: () => Promise<unknown>;
  frozen: string;
  signed: string;
}

/**
 * A job's folder whose frozen packages are those of `from`. @param before what a shell does before each
 * signature
 */
export function setUp(test: Test, from = 'one', before = ':', key = signer): Vm {
  const place = makePlace();
  test.teardown(() => place.end());
  const frozen = join(place.folder, 'artifacts/fc41');
  mkdirSync(join(frozen, '..'), { recursive: true });
  cpSync(join(built.folder, from), frozen, { recursive: true });
  writeFileSync(
    join(place.folder, 'gpg'),
    `#!/bin/sh\necho "$BUILD_INFRA_JOB $*" >> '${place.folder}/gpg-calls'\n${before}\nexec gpg --homedir '${keys.home}' --batch --yes --pinentry-mode loopback --passphrase '' --local-user ${key.fingerprint} "$@"\n`,
    { mode: 0o755 },
  );
  writeFileSync(join(place.folder, 'key.asc'), signer.armored);
  const job = rpmJob(
    place.folder,
    from === 'two' ? { version: '1.2-2', job: 'demo-rpm-1.2-2-bbbbbbbbbbbb' } : {},
  );
  const options: SignOptions = {
    folder: place.folder,
    gpg: join(place.folder, 'gpg'),
    signingKey: signer.fingerprint,
    publicKey: signer.armored,
  };
  const log = new Lines();
  return {
    folder: place.folder,
    job,
    log,
    options,
    frozen,
    signed: join(place.folder, 'signed/fc41'),
    publicKey: join(place.folder, 'key.asc'),
    gpgCalls: () =>
      existsSync(join(place.folder, 'gpg-calls'))
        ? readFileSync(join(place.folder, 'gpg-calls'), 'utf8').trim().split('\n')
        : [],
    sign: () => signPackagesFor(job, 'fc41', options, log),
  };
}
