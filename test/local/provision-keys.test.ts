// SPDX-License-Identifier: GPL-2.0-or-later
// make-keys: secrets come to be inside the VM that uses them, once.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type Test } from 'tap';
import { planFarm } from '../../agents/local/provision/planned-farm.js';
import { example, top } from './provision-farm.js';

const program = join(top, 'salt/build-infra/files/make-keys');

function vm(t: Test): {
  root: string;
  home: string;
  folder: string;
  env: NodeJS.ProcessEnv;
  run: (...args: string[]) => { status: number | null; stdout: string; stderr: string };
} {
  const root = mkdtempSync(join(tmpdir(), 'bi-'));
  const home = join(root, 'home/user');
  const folder = join(root, 'rw/config/build-infra');
  mkdirSync(home, { recursive: true });
  mkdirSync(folder, { recursive: true });
  chmodSync(root, 0o700);
  mkdirSync(join(root, 'usr/lib/build-infra'), { recursive: true });
  symlinkSync(join(top, 'dist/keys-agent.mjs'), join(root, 'usr/lib/build-infra/keys-agent.mjs'));
  // Not $HOME/.gnupg: gpg takes that for the default home, and all default homes of one account share one
  // agent where there is a /run/user.
  const env = { PATH: '/usr/bin:/bin', HOME: root, GNUPGHOME: join(home, '.gnupg'), BUILD_INFRA_ROOT: root };
  t.teardown(() => {
    if (existsSync(join(home, '.gnupg')))
      execFileSync('gpgconf', ['--homedir', join(home, '.gnupg'), '--kill', 'all']);
    rmSync(root, { recursive: true, force: true });
  });
  return {
    root,
    home,
    folder,
    env,
    run: (...args) => spawnSync('sh', [program, ...args], { encoding: 'utf8', env, timeout: 60_000 }),
  };
}

const modeOf = (path: string): number => lstatSync(path).mode & 0o7777;

await test('a keys VM makes one signing key, and says the same the second time', async (t) => {
  const { home, run } = vm(t);
  const first = run('keys');
  t.match(first, { status: 0, stdout: /^signing-key [0-9A-F]{40}\njournal-key [0-9a-f]{64}\n$/ });
  t.equal(run('keys').stdout, first.stdout);
  t.equal(modeOf(join(home, '.gnupg')), 0o700);
});

await test('a key that gpg cannot list for the moment is not replaced by another', async (t) => {
  const { home, env, run } = vm(t);
  const first = run('keys');
  const conf = join(home, '.gnupg/gpg.conf');
  spawnSync('gpgconf', ['--kill', 'all'], { env });
  writeFileSync(conf, 'agent-program /bin/false\n');
  Object.assign(env, { GPG_TRIES: '2' });
  t.match(run('keys'), {
    status: 1,
    stdout: '',
    stderr: /make-keys: gpg cannot list the secret keys: .*agent/,
  });
  rmSync(conf);
  delete env['GPG_TRIES'];
  t.match(run('keys'), { status: 0, stdout: first.stdout, stderr: '' });
});

await test('of several secret keys none is overlooked while gpg lists some only', async (t) => {
  const { root, env, run } = vm(t);
  run('keys');
  spawnSync(
    'gpg',
    ['--batch', '--quiet', '--passphrase', '', '--quick-generate-key', 'another', 'ed25519', 'sign', 'never'],
    { env },
  );
  // As with an agent that is late: the first lists end before the second key, with exit status 0.
  const programs = join(root, 'programs');
  mkdirSync(programs);
  const real = spawnSync('which', ['gpg'], { encoding: 'utf8' }).stdout.trim();
  writeFileSync(
    join(programs, 'gpg'),
    `#!/bin/sh
case "$*" in *--list-secret-keys*) echo x >>${root}/asked; [ "$(wc -l <${root}/asked)" -gt "$LATE" ] || { ${real} "$@" | awk -F: '$1 == "sec" && seen++ { exit } { print }'; exit 0; } ;; esac
exec ${real} "$@"
`,
    { mode: 0o755 },
  );
  Object.assign(env, { PATH: `${programs}:${env['PATH'] ?? ''}`, LATE: '2' });
  t.match(run('keys'), { status: 1, stdout: '', stderr: /more than one secret key/ });
  Object.assign(env, { LATE: '100', GPG_TRIES: '2' });
  t.match(run('keys'), {
    status: 1,
    stdout: '',
    stderr: /make-keys: gpg cannot list the secret keys: the public key [0-9A-F]{40} is here/,
  });
});

await test('a public key whose secret half gpg does not list is not joined by another key', async (t) => {
  const { home, env, run } = vm(t);
  const first = run('keys');
  spawnSync('gpgconf', ['--kill', 'all'], { env });
  const secrets = join(home, '.gnupg/private-keys-v1.d');
  renameSync(secrets, `${secrets}.away`);
  Object.assign(env, { GPG_TRIES: '2' });
  t.match(run('keys'), {
    status: 1,
    stdout: '',
    stderr: /make-keys: gpg cannot list the secret keys: the public key [0-9A-F]{40} is here/,
  });
  rmSync(secrets, { recursive: true, force: true });
  renameSync(`${secrets}.away`, secrets);
  delete env['GPG_TRIES'];
  t.match(run('keys'), { status: 0, stdout: first.stdout, stderr: '' });
});

await test('what export prints goes into the pillar as it is', async (t) => {
  const { run } = vm(t);
  const fingerprint = run('keys').stdout.split(/\s/)[1] as string;
  const { stdout: armored } = run('keys', 'export');
  const pillar = example();
  pillar['public-keys'][fingerprint] = armored;
  (pillar['build-envs']['debian'] as { key: string }).key = fingerprint;
  t.ok(planFarm({ pillar }));
});

await test('a logs VM makes a logs key and an ssh key that no other account can read', async (t) => {
  const { folder, run } = vm(t);
  const done = run('build-logs');
  t.match(done, {
    status: 0,
    stdout: /^logs-key [0-9A-F]{40}\nssh-key ssh-ed25519 [A-Za-z0-9+/=]+ build-infra@[A-Za-z0-9_.-]+\n$/,
  });
  t.equal(run('build-logs').stdout, done.stdout);
  t.equal(modeOf(join(folder, 'ssh_key')), 0o600);
  t.strictSame(readdirSync(folder).sort(), ['.make-keys.lock', 'ssh_key']);
});

await test('a build VM makes an ssh key and no OpenPGP key', async (t) => {
  const { home, run } = vm(t);
  t.match(run('build'), { status: 0, stdout: /^ssh-key ssh-ed25519 [^\n]+\n$/ });
  t.notOk(existsSync(join(home, '.gnupg')));
  t.match(run('build', 'export'), { status: 1, stdout: '' });
});

await test('sys-net makes a webhook secret of 32 random bytes and does not print it', async (t) => {
  const { folder, run } = vm(t);
  const done = run('sys-net');
  t.match(done, { status: 0, stdout: /^webhook-secret .*\/webhook-secret\n$/ });
  const secret = readFileSync(join(folder, 'webhook-secret'), 'utf8');
  t.match(secret, /^[0-9a-f]{64}$/);
  t.notMatch(done.stdout + done.stderr, secret);
  t.equal(modeOf(join(folder, 'webhook-secret')), 0o600);
  run('sys-net');
  t.equal(readFileSync(join(folder, 'webhook-secret'), 'utf8'), secret, 'the second run keeps it');
});

await test('five at once make one key', async (t) => {
  const { env, run } = vm(t);
  const lines = await Promise.all(
    Array.from(
      { length: 5 },
      () =>
        new Promise<string>((resolve) => {
          const child = spawn('sh', [program, 'keys'], { env, stdio: ['ignore', 'pipe', 'ignore'] });
          let text = '';
          child.stdout.on('data', (chunk: Buffer) => {
            text += chunk.toString();
          });
          child.on('close', () => resolve(text));
        }),
    ),
  );
  t.equal(new Set(lines).size, 1, lines.join(''));
  t.match(run('keys').stdout, lines[0]);
});

await test('two secret keys in one home are refused: nobody could say which one signs', async (t) => {
  const { home, run } = vm(t);
  run('keys');
  execFileSync(
    'gpg',
    [
      '--homedir',
      join(home, '.gnupg'),
      '--batch',
      '--quiet',
      '--passphrase',
      '',
      '--quick-generate-key',
      'second',
      'ed25519',
      'sign',
      'never',
    ],
    { stdio: 'ignore' },
  );
  t.match(run('keys'), { status: 1, stdout: '', stderr: /more than one secret key/ });
});

await test('asked for an RSA key it makes one', async (t) => {
  const { home, env, run } = vm(t);
  const done = spawnSync('sh', [program, 'keys'], {
    encoding: 'utf8',
    env: { ...env, ALGORITHM: 'rsa4096' },
    timeout: 100_000,
  });
  t.match(done, { status: 0, stdout: /^signing-key [0-9A-F]{40}\njournal-key [0-9a-f]{64}\n$/ });
  t.equal(run('keys').stdout, done.stdout);
  t.match(
    execFileSync(
      'gpg',
      ['--homedir', join(home, '.gnupg'), '--batch', '--with-colons', '--list-secret-keys'],
      { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
    ),
    /^sec:u:4096:1:/m,
  );
});

await test('an unknown role, action or algorithm makes nothing', async (t) => {
  const { root, folder, env, run } = vm(t);
  for (const args of [[], ['dom0'], ['keys', 'delete']]) t.match(run(...args), { status: 1, stdout: '' });
  t.match(spawnSync('sh', [program, 'keys'], { encoding: 'utf8', env: { ...env, ALGORITHM: 'dsa' } }), {
    status: 1,
  });
  t.match(run('keys', 'export'), { status: 1, stdout: '', stderr: /no key yet/ });
  t.strictSame(readdirSync(folder), []);
  t.ok(existsSync(root));
});
