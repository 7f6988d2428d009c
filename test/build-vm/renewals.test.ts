// SPDX-License-Identifier: GPL-2.0-or-later
// Renewals by the real agent, reprepro, ssh and rsync, judged by real apt: what it takes, and what it refuses
// in its own words.
import { execFile, execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import {
  makeGeneration,
  type PublicationOptions,
} from '../../agents/build-vm/repositories/apt/apt-publication.js';
import type { Job } from '../../agents/build-vm/jobs/job-document.js';
import { Generations, type Generation } from '../../agents/build-vm/repositories/repository-generations.js';
import { uploadGeneration } from '../../agents/build-vm/repositories/upload-generation.js';
import { validityOf } from '../../agents/shared/formats/apt-release.js';
import { until } from '../support/until.js';
import { BuildVm, endOutside, makeOutside } from './build-vm.js';
import { Lines } from './rpm-packages.js';

const day = 86_400_000;
const suites = ['current-testing', 'current', 'security-testing'].map((suite) => `bookworm-${suite}`);
const outside = await makeOutside();
const place = mkdtempSync(join(tmpdir(), 'bi-renew-'));
t.teardown(async () => {
  await endOutside(outside);
  rmSync(place, { recursive: true, force: true });
});
const vms: BuildVm[] = [];
t.teardown(async () => {
  for (const vm of vms) await vm.end();
});
const log = new Lines();
const words = (time: number): string => new Date(time).toUTCString().replace('GMT', 'UTC');

/** As if it had been made then: its times are other ones, and it is signed once more. */
function shift(generation: Generation, date: number, validUntil: number | undefined, which = suites): void {
  for (const suite of which) {
    const at = (name: string): string => join(generation.folder, 'dists', suite, name);
    const text = readFileSync(at('Release'), 'utf8')
      .replace(/^Date: .*$/m, `Date: ${words(date)}`)
      .replace(/^Valid-Until: .*\n/m, validUntil === undefined ? '' : `Valid-Until: ${words(validUntil)}\n`);
    for (const name of ['Release', 'InRelease', 'Release.gpg']) rmSync(at(name));
    writeFileSync(at('Release'), text);
    const gpg = [
      '--homedir',
      outside.keys.home,
      '--batch',
      '--yes',
      '--pinentry-mode',
      'loopback',
      '--passphrase',
      '',
      '-u',
      outside.signer.fingerprint,
    ];
    execFileSync('gpg', [...gpg, '--clearsign', '-o', at('InRelease'), at('Release')], { stdio: 'ignore' });
    execFileSync('gpg', [...gpg, '-a', '-b', '-o', at('Release.gpg'), at('Release')], { stdio: 'ignore' });
  }
}

interface Farm {
  vm: BuildVm;
  url: string;
  generations: () => Generations;
  served: (suite?: string) => string;
}

/** A build VM that has published its suites, for so many days, so long ago. */
async function farm(
  name: string,
  validDays: number | undefined,
  agoMs: number,
  configured: number | null | undefined = validDays,
  which = suites,
): Promise<Farm> {
  const { apt: server } = outside;
  const upload = `ssh://127.0.0.1:${server.sshPort}${server.folder}/${name}`;
  const apt = (days: number | null | undefined): PublicationOptions['apt'] => ({
    upload,
    url: `http://127.0.0.1:${server.httpPort}/${name}`,
    origin: 'build-infra',
    label: 'debian',
    ...(days === undefined || days === null ? {} : { validDays: days }),
  });
  const vm = new BuildVm(outside, name, { apt: apt(configured) });
  vms.push(vm);
  const home = join(vm.root, '/var/lib/build-infra/apt/debian/bookworm');
  const publicKey = join(vm.root, '/rw/config/build-infra/public-keys', `${outside.signer.fingerprint}.asc`);
  const options: PublicationOptions = {
    folder: home,
    apt: apt(validDays),
    dist: 'bookworm',
    suite: 'current-testing',
    gpg: join(vm.root, '/usr/lib/build-infra/gpg'),
    publicKey,
  };
  const generation = await makeGeneration(
    { job: 'first' },
    { kind: 'remove', source: 'none', version: '1' },
    '',
    options,
    log,
  );
  if (agoMs > 0)
    shift(
      generation,
      Date.now() - agoMs,
      validDays === undefined ? undefined : Date.now() - agoMs + validDays * day,
      which,
    );
  const generations = (): Generations => new Generations(home);
  mkdirSync(join(server.folder, name), { recursive: true });
  await uploadGeneration(
    generation,
    { upload: `${upload}/bookworm`, sshConfig: join(vm.root, '/rw/config/build-infra/ssh_config') },
    log,
  );
  generations().switched(generation);
  return {
    vm,
    url: `${apt(1).url}/bookworm`,
    generations,
    served: (suite = suites[0] ?? '') =>
      readFileSync(join(server.folder, name, 'bookworm/dists', suite, 'InRelease'), 'utf8'),
  };
}

/** apt-get update of a machine of its own, that trusts this key. @returns its status and words */
function aptUpdate(
  url: string,
  keep = mkdtempSync(join(place, 'apt-')),
): Promise<{ status: number; words: string; folder: string }> {
  for (const sub of ['etc', 'state/lists/partial', 'cache/archives/partial'])
    mkdirSync(join(keep, sub), { recursive: true });
  for (const [name, text] of [
    ['status', ''],
    ['key.asc', outside.signer.armored],
    [
      'etc/sources.list',
      suites.map((suite) => `deb [signed-by=${keep}/key.asc] ${url} ${suite} main\n`).join(''),
    ],
  ] as const)
    writeFileSync(join(keep, name), text);
  const options = [
    `Dir=${keep}/`,
    'Dir::Etc=etc/',
    'Dir::Etc::SourceList=sources.list',
    'Dir::Etc::SourceParts=-',
    'Dir::Etc::Main=none',
    'Dir::Etc::Parts=-',
    'Dir::Etc::Trusted=none',
    'Dir::Etc::TrustedParts=-',
    'Dir::State=state/',
    `Dir::State::status=${keep}/status`,
    'Dir::Cache=cache/',
    'APT::Sandbox::User=root',
    'Acquire::Languages=none',
    'Acquire::Check-Valid-Until=true',
    'Acquire::Check-Date=true',
  ].flatMap((option) => ['-o', option]);
  // Not at once: the web server is in this process.
  return new Promise((resolve) =>
    execFile(
      'sh',
      ['-c', 'exec apt-get "$@" 2>&1', 'sh', ...options, 'update', '--error-on=any'],
      { env: { PATH: process.env['PATH'], LC_ALL: 'C' }, timeout: 60_000 },
      (error, stdout) => {
        resolve({ status: error === null ? 0 : Number(error.code ?? 255), words: stdout, folder: keep });
      },
    ),
  );
}

const renewalOf = (vm: BuildVm): Job | undefined => {
  const folder = join(vm.root, '/var/lib/build-infra/jobs');
  return existsSync(folder)
    ? readdirSync(folder)
        .sort()
        .filter((id) => id.startsWith('renewal-'))
        .map((id) => vm.job(id))
        .findLast((job) => job !== undefined)
    : undefined;
};
const renewed = (vm: BuildVm): Promise<Job> =>
  until(
    'a renewal that is over',
    () => {
      const job = renewalOf(vm);
      return job !== undefined && job.ended !== null ? job : undefined;
    },
    120,
  );
const indices = (release: string): string => /^SHA256:\n(?: .*\n)+/m.exec(release)?.[0] ?? '';

void t.test(
  'a Release that is due is renewed without a build, in every suite, with the same indices, and apt takes it',
  async (t) => {
    const { vm, url, served, generations } = await farm('due', 3, 2.5 * day);
    const old = suites.map(served);
    const before = await aptUpdate(url);
    t.equal(before.status, 0, before.words);
    await vm.start();
    t.match(
      await renewed(vm),
      { state: 'done', kind: 'renewal', dists: ['bookworm'], logs: [{ stage: 'renew' }] },
      vm.output,
    );
    t.equal(
      vm.gpgCalls().filter((line) => line.startsWith('--reprepro-sign')).length,
      suites.length * 2,
      'one for each suite, beside those that made it first',
    );
    suites.forEach((suite, i) => {
      const [then, now] = [validityOf(old[i] as string), validityOf(served(suite))];
      t.ok(now.date > then.date && now.date > Date.now() - 120_000, suite);
      t.equal((now.validUntil ?? 0) - now.date, 3 * day);
      t.equal(indices(served(suite)), indices(old[i] as string));
      t.ok(indices(served(suite)).length > 60);
    });
    const after = await aptUpdate(url, before.folder);
    t.equal(after.status, 0, after.words);
    t.equal(generations().published()?.release, generations().all().at(-1)?.release);
    const job = (renewalOf(vm) as Job).job;
    await vm.kill();
    await vm.start();
    await new Promise((resolve) => setTimeout(resolve, 1000));
    t.equal(renewalOf(vm)?.job, job, 'a restart renews nothing: the Release that is served is fresh');
  },
);

void t.test('one that nobody renewed is refused by apt, and taken again after its renewal', async (t) => {
  const { vm, url } = await farm('over', 3, 4 * day);
  const refused = await aptUpdate(url);
  t.not(refused.status, 0);
  t.match(
    refused.words,
    /Release file for .*bookworm-current-testing\/InRelease is expired \(invalid since /,
  );
  await vm.start();
  t.match(await renewed(vm), { state: 'done' }, vm.output);
  const taken = await aptUpdate(url, refused.folder);
  t.equal(taken.status, 0, taken.words);
});

void t.test("last week's Release, served again, is refused by apt", async (t) => {
  const { url, generations } = await farm('again', 3, 4 * day);
  const [old] = generations().all() as [Generation];
  const copy = join(place, 'old');
  cpSync(old.folder, copy, { recursive: true });
  shift(old, Date.now() - day, Date.now() + 2 * day);
  const server = join(outside.apt.folder, 'again/bookworm');
  for (const suite of suites)
    cpSync(join(old.folder, 'dists', suite), join(server, 'dists', suite), { recursive: true });
  const fresh = await aptUpdate(url);
  t.equal(fresh.status, 0, fresh.words);
  for (const suite of suites)
    cpSync(join(copy, 'dists', suite), join(server, 'dists', suite), { recursive: true });
  t.match(
    (await aptUpdate(url, fresh.folder)).words,
    /^E: Release file for .* is expired/m,
    'to a machine that saw the newer one',
  );
  t.match((await aptUpdate(url)).words, /^E: Release file for .* is expired/m, 'and to a new one');
});

void t.test('without the setting nothing has an end, and where it is taken away the end goes', async (t) => {
  const plain = await farm('plain', undefined, 400 * day);
  await plain.vm.start();
  const taken = await farm('taken', 30, 60_000, null);
  await taken.vm.start();
  t.match(await renewed(taken.vm), { state: 'done' }, taken.vm.output);
  for (const suite of suites) t.equal(validityOf(taken.served(suite)).validUntil, undefined, suite);
  t.equal(renewalOf(plain.vm), undefined);
  t.equal((await aptUpdate(plain.url)).status, 0);
});

void t.test('where the gate says no it is said, tried again, and done when the gate is back', async (t) => {
  const { vm, served } = await farm('gate', 3, 2.5 * day, 3, ['bookworm-current']);
  const old = served();
  vm.beforeSigning('echo "build-infra: refused NOT_PUBLISHED origin is away" >&2; exit 1\n');
  await vm.start();
  const waiting = await until(
    'a renewal that waits',
    () => {
      const { queue } = JSON.parse(
        readFileSync(join(vm.root, '/var/lib/build-infra/status.json'), 'utf8'),
      ) as { queue: { component: string; waiting: { code: string; dist: string }[] }[] };
      return queue.find(({ component, waiting: why }) => component === 'apt-repository' && why.length > 0)
        ?.waiting;
    },
    60,
  );
  t.match(waiting, [{ dist: 'bookworm', code: 'GATE_UNREACHABLE' }]);
  t.match(vm.output, /renewal-bookworm-.* renew bookworm: refused GATE_UNREACHABLE/);
  t.equal(served(), old, 'what is served stays');
  vm.beforeSigning(':\n');
  t.match(await renewed(vm), { state: 'done' }, vm.output);
  t.not(served(), old, 'one suite was due, and all are renewed: it is one upload');
});

void t.test('a kill while it is signed or uploaded costs nothing but time', async (t) => {
  const { vm, url, served } = await farm('killed', 3, 2.5 * day);
  const old = served();
  vm.beforeSigning('sleep 30\n');
  await vm.start();
  await until('the signing', () => (vm.gpgCalls().length > suites.length ? true : undefined), 60);
  await vm.kill();
  vm.beforeSigning(':\n');
  await vm.start();
  t.match(await renewed(vm), { state: 'done' }, vm.output);
  t.not(served(), old);
  t.equal((await aptUpdate(url)).status, 0);
});
