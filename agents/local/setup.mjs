// SPDX-License-Identifier: GPL-2.0-or-later
// What "npm run local", "npm test", "npm run bench", "npm run mutate", "npm run qb" and "npm run package" do
// first: Debian packages, npm packages, Salt, bundles; each only where something is missing or older than its
// sources. Plain JavaScript with Node's builtins, because nothing is installed yet when it runs.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { saltMissing } from '../../test/salt/install.mjs';

const top = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/** Debian package → a file that shows it is there, or what looks for it. */
const packages = {
  common: {
    bubblewrap: '/usr/bin/bwrap',
    uidmap: '/usr/bin/newuidmap',
    git: '/usr/bin/git',
    curl: '/usr/bin/curl',
    gnupg: '/usr/bin/gpg',
    gpgv: '/usr/bin/gpgv',
    'openssh-client': '/usr/bin/ssh',
    'openssh-server': '/usr/sbin/sshd',
    'nginx-light': '/usr/sbin/nginx',
    python3: '/usr/bin/python3',
    'python3-yaml': '/usr/lib/python3/dist-packages/yaml/__init__.py',
    'python3-jinja2': '/usr/lib/python3/dist-packages/jinja2/__init__.py',
    mmdebstrap: '/usr/bin/mmdebstrap',
    reprepro: '/usr/bin/reprepro',
    devscripts: '/usr/bin/debsign',
    'dpkg-dev': '/usr/bin/dpkg-source',
    rsync: '/usr/bin/rsync',
    'xz-utils': '/usr/bin/xz',
    'ca-certificates': '/usr/sbin/update-ca-certificates',
  },
  test: {
    gnupg2: '/usr/bin/gpg2',
    sqv: '/usr/bin/sqv',
    systemd: '/usr/bin/systemd-analyze',
    procps: '/usr/bin/pgrep',
    'groff-base': '/usr/bin/groff',
    openssl: '/usr/bin/openssl',
    chromium: '/usr/bin/chromium',
    'fonts-dejavu-core': '/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf',
    tidy: '/usr/bin/tidy',
    strace: '/usr/bin/strace',
  },
  // The second environment of the local farm, and its tests.
  rpm: {
    rpm: '/usr/bin/rpmbuild',
    'createrepo-c': '/usr/bin/createrepo_c',
    dnf: '/usr/bin/dnf',
    'dnf-plugins-core': '/usr/lib/python3/dist-packages/dnf-plugins/download.py',
  },
  salt: {
    'python3-venv': () =>
      spawnSync('/usr/bin/python3', ['-Ic', 'import ensurepip, venv'], { stdio: 'ignore' }).status === 0,
  },
  bench: { moreutils: '/usr/bin/ts' },
  fuzz: {},
  qb: {
    gnupg2: '/usr/bin/gpg2',
    pbuilder: '/usr/sbin/pbuilder',
    gawk: '/usr/bin/gawk',
    sudo: '/usr/bin/sudo',
  },
  package: { rpm: '/usr/bin/rpmbuild', make: '/usr/bin/make' },
};

function fail(line) {
  process.stderr.write(`${line}\n`);
  process.exit(1);
}

function say(line) {
  process.stdout.write(`set-up: ${line}\n`);
}

function run(program, args, options = {}) {
  const done = spawnSync(program, args, { cwd: top, stdio: 'inherit', ...options });
  if (done.status !== 0)
    fail(`set-up failed: ${program} ${args.join(' ')} ended with ${done.status ?? done.signal}`);
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19))
    fail(`Node ${process.versions.node} is too old: 20.19 or later is needed`);
}

/**
 * nginx and sshd are wanted as programs, not as services of this machine: policy-rc.d keeps them from being
 * started (invoke-rc.d, Debian policy 9.3.3), and on a machine with systemd they are disabled again.
 */
function installQuietly(missing, sudo) {
  const policy = '/usr/sbin/policy-rc.d';
  const ours = sudo.length === 0 && !existsSync(policy);
  if (ours) {
    writeFileSync(policy, '#!/bin/sh\nexit 101\n');
    chmodSync(policy, 0o755);
  }
  try {
    const apt = (...args) =>
      run(sudo[0] ?? 'apt-get', [...sudo.slice(1), ...(sudo.length > 0 ? ['apt-get'] : []), '-q', ...args], {
        env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
        stdio: ['ignore', 'ignore', 'inherit'],
      });
    apt('update');
    apt('install', '-y', '--no-install-recommends', ...missing);
  } finally {
    if (ours) rmSync(policy);
  }
  if (existsSync('/run/systemd/system')) {
    const services = [
      ['nginx-light', 'nginx'],
      ['openssh-server', 'ssh'],
    ]
      .filter(([name]) => missing.includes(name))
      .map(([, unit]) => unit);
    if (services.length > 0)
      spawnSync(sudo[0] ?? 'systemctl', [
        ...sudo.slice(1),
        ...(sudo.length > 0 ? ['systemctl'] : []),
        'disable',
        '--now',
        '--quiet',
        ...services,
      ]);
  }
}

function debianPackages(kinds) {
  const wanted = Object.assign({}, ...kinds.map((kind) => packages[kind]));
  const missing = Object.keys(wanted).filter((name) =>
    typeof wanted[name] === 'function' ? !wanted[name]() : !existsSync(wanted[name]),
  );
  if (missing.length === 0) return;
  if (!existsSync('/usr/bin/apt-get'))
    fail(`these programs are missing, and there is no apt-get to install them: ${missing.join(' ')}`);
  const root = process.getuid() === 0;
  const sudo =
    !root && spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore' }).status === 0 ? ['sudo', '-n'] : [];
  if (!root && sudo.length === 0)
    fail(
      `Debian packages are missing. Run this, then the same command again:\n  sudo apt-get install -y --no-install-recommends ${missing.join(' ')}`,
    );
  say(`installing Debian packages: ${missing.join(' ')}`);
  installQuietly(missing, sudo);
}

function npmPackages() {
  const stamp = join(top, 'node_modules', '.build-infra-lock');
  const wanted = createHash('sha256')
    .update(readFileSync(join(top, 'package-lock.json')))
    .digest('hex');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  say('installing npm packages from the lockfile');
  run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  writeFileSync(stamp, wanted);
}

/**
 * tap is made anew without the plugins that package.json leaves out: each of our test files would load
 * TypeScript's loader for nothing.
 */
function testRunner() {
  const stamp = join(top, 'node_modules', '.build-infra-tap');
  const wanted = JSON.stringify(JSON.parse(readFileSync(join(top, 'package.json'), 'utf8')).tap.plugin);
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  run(process.execPath, [join(top, 'node_modules/tap/dist/esm/run.mjs'), 'build'], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  writeFileSync(stamp, wanted);
}

function filesBelow(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? filesBelow(path) : [path];
  });
}

function bundles() {
  const hash = createHash('sha256');
  // The manifests are put into the doctor's bundle.
  const sources = ['agents', 'test', 'salt/build-infra/manifests']
    .flatMap((folder) => filesBelow(join(top, folder)))
    .filter((path) => /\.(ts|mjs|json|py|yaml)$/.test(path));
  for (const path of [...sources.sort(), join(top, 'tsconfig.json'), join(top, 'package-lock.json')])
    hash.update(path.slice(top.length)).update('\0').update(readFileSync(path));
  const wanted = hash.digest('hex');
  const stamp = join(top, 'dist', '.sources');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  say('compiling and bundling');
  run(process.execPath, [join(top, 'agents/bundle.mjs')]);
  writeFileSync(stamp, wanted);
}

function start(program, args) {
  const done = spawnSync(process.execPath, [join(top, program), ...args], { cwd: top, stdio: 'inherit' });
  process.exit(done.status ?? 1);
}

const [command, ...args] = process.argv.slice(2);
checkNode();
if (!['local', 'test', 'bench', 'fuzz', 'package', 'mutate', 'qb'].includes(command))
  fail('usage: node agents/local/setup.mjs local|test|bench|fuzz|package|mutate|qb [arguments]');
const withRpm =
  command === 'test' ||
  command === 'qb' ||
  command === 'fuzz' ||
  (command === 'local' && args.includes('demo-rpm'));
const withSalt =
  command === 'test' || (command === 'local' && /--provisioner[ =]salt\b/.test(args.join(' ')));
debianPackages([
  ...(command === 'package' ? [] : ['common']),
  ...(command === 'local' ? [] : [command === 'mutate' ? 'test' : command]),
  ...(withRpm ? ['rpm'] : []),
  ...(withSalt ? ['salt', 'package'] : []),
]);
// pip waits for the network and for one processor: that is beside npm and the compiler.
const salt = withSalt
  ? spawn(process.execPath, [join(top, 'test/salt/install.mjs')], { stdio: 'inherit' })
  : undefined;
const saltDone = salt && new Promise((resolve) => salt.once('close', resolve));
process.once('exit', () => salt?.kill());
npmPackages();
if (command === 'test' || command === 'mutate') testRunner();
bundles();
if (withSalt && (await saltDone) !== 0) fail('set-up failed: the installation of Salt did not end well');
// The tests go on and count what they skip (test/run.mjs); a farm that Salt should set up does not start.
if (withSalt && command === 'local' && saltMissing() !== undefined)
  fail(`set-up failed: Salt is not here: ${saltMissing()}`);
mkdirSync(join(top, '.local'), { recursive: true });
if (command === 'local') start('dist/local.mjs', args);
if (command === 'test') start('test/run.mjs', args);
if (command === 'bench') start('out/test/bench/main.js', args);
if (command === 'fuzz') start('out/test/fuzz/main.js', args);
if (command === 'qb') start('out/test/build-vm/real-builder.js', args);
if (command === 'mutate') start('test/mutation/mutate.mjs', args);
if (command === 'package') start('packaging/make-rpm.mjs', args);
