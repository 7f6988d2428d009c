// SPDX-License-Identifier: GPL-2.0-or-later
// Real Salt in a virtual environment of the checkout, .venv-salt/, with pinned hashes; made again only when
// the pins or the Python change. Where it cannot be had, the reason is kept beside it: the tests of Salt are
// skipped then, loudly, and with CI=true that is a failure. Plain JavaScript with Node's builtins, because
// nothing is installed yet when the set-up calls it.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
export const saltEnvironment = join(dirname(dirname(here)), '.venv-salt');
const stamp = join(saltEnvironment, 'build-infra-pins');
const reasonFile = join(saltEnvironment, 'build-infra-missing');
const pins = ['requirements.txt', 'requirements-salt.txt'].map((name) => join(here, name));
/** Debian's own interpreter, whatever else is first in PATH; a test names another. */
const machinePython = process.env.BUILD_INFRA_SALT_PYTHON ?? '/usr/bin/python3';
/** For these the pins hold wheels. */
const pythons = { from: [3, 10], to: [3, 13] };

class Missing extends Error {}

/** Why there is no Salt to test with, or undefined where there is. */
export function saltMissing() {
  if (existsSync(stamp)) return undefined;
  return existsSync(reasonFile) ? readFileSync(reasonFile, 'utf8').trim() : 'npm test installs it';
}

function run(program, args, limitSeconds) {
  const done = spawnSync(program, args, {
    encoding: 'utf8',
    timeout: limitSeconds * 1000,
    killSignal: 'SIGKILL',
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 2 ** 24,
  });
  if (done.status === 0) return done.stdout;
  const said = `${done.stdout ?? ''}${done.stderr ?? ''}`.trim().split('\n').slice(-12);
  process.stderr.write(said.map((line) => `        ${line.slice(0, 300)}\n`).join(''));
  const error = said.filter((line) => /^(ERROR|error)|Error:/.test(line)).pop() ?? '';
  const end =
    done.error?.code === 'ETIMEDOUT'
      ? `did not end within ${limitSeconds} s`
      : `ended with ${done.status ?? done.signal ?? done.error?.code}`;
  throw new Missing(
    `${[program, ...args.slice(0, 3)].join(' ')} ${end}${error === '' ? '' : `: ${error.slice(0, 200)}`}`,
  );
}

function pythonVersion() {
  const found = spawnSync(
    machinePython,
    ['-Ic', 'import sys; print(*sys.version_info[:3], sys.implementation.cache_tag)'],
    { encoding: 'utf8', timeout: 20_000 },
  );
  if (found.status !== 0) throw new Missing(`${machinePython} does not run`);
  const version = found.stdout.trim();
  const [major, minor] = version.split(' ').map(Number);
  const number = major * 1000 + minor;
  const within =
    number >= pythons.from[0] * 1000 + pythons.from[1] && number <= pythons.to[0] * 1000 + pythons.to[1];
  if (!within)
    throw new Missing(
      `${machinePython} is Python ${major}.${minor}; Salt 3007 is pinned for ${pythons.from.join('.')} to ${pythons.to.join('.')}`,
    );
  return version;
}

function install() {
  rmSync(saltEnvironment, { recursive: true, force: true });
  run(machinePython, ['-m', 'venv', saltEnvironment], 120);
  const pip = (...args) =>
    run(
      join(saltEnvironment, 'bin/python'),
      [
        '-m',
        'pip',
        'install',
        '--quiet',
        '--disable-pip-version-check',
        '--no-input',
        '--retries',
        '2',
        '--timeout',
        '20',
        '--require-hashes',
        '--no-deps',
        ...args,
      ],
      600,
    );
  pip('--only-binary', ':all:', '-r', pins[0]);
  pip('--no-build-isolation', '-r', pins[1]);
  probe();
}

/**
 * Whether Salt finds a state file. It installs with Python 3.13 and then finds none: that Python joins a URL
 * of salt:// in another way.
 */
function findsStates(python, folder) {
  const said = spawnSync(
    python,
    [
      join(saltEnvironment, 'bin/salt-call'),
      '--config-dir',
      folder,
      '--local',
      '--out=json',
      '-l',
      'error',
      'state.show_sls',
      'probe',
    ],
    { encoding: 'utf8', timeout: 120_000, killSignal: 'SIGKILL' },
  );
  return said.status === 0 && /"name": "probe"/.test(said.stdout);
}

/**
 * Loads what the tests use, and has one state file found; with the one line changed that newer Pythons need,
 * as the packages of Salt for them have it.
 */
function probe() {
  const python = join(saltEnvironment, 'bin/python');
  run(python, ['-W', 'ignore', '-c', 'import salt.client.ssh, salt.states.file, salt.modules.file'], 60);
  const folder = join(saltEnvironment, 'probe');
  mkdirSync(folder);
  writeFileSync(join(folder, 'probe.sls'), "probe:\n  test.nop:\n    - name: {{ grains['id'] }}\n");
  writeFileSync(
    join(folder, 'minion'),
    JSON.stringify({
      id: 'probe',
      file_client: 'local',
      root_dir: folder,
      file_roots: { base: [folder] },
      enable_fqdns_grains: false,
      log_level_logfile: 'quiet',
    }),
  );
  if (!findsStates(python, folder)) {
    const url = run(
      python,
      ['-W', 'ignore', '-c', 'import salt.utils.url; print(salt.utils.url.__file__)'],
      60,
    ).trim();
    writeFileSync(
      url,
      readFileSync(url, 'utf8').replace(
        'urlunparse(("file", "", path, ',
        'urlunparse(("file", "", "/" + path, ',
      ),
    );
    if (!findsStates(python, folder))
      throw new Missing(
        `Salt 3007 does not run on Python ${pythonVersion().split(' ').slice(0, 3).join('.')}: it finds no state file`,
      );
  }
  rmSync(folder, { recursive: true });
}

/**
 * Installs Salt if its pins or the Python changed, or if it was not to be had the last time. `say` is called
 * with one line before anything slow. Returns why Salt is missing, undefined if it is there.
 */
export function installSalt(say) {
  let wanted;
  try {
    wanted = createHash('sha256')
      .update(pythonVersion())
      .update(readFileSync(pins[0]))
      .update(readFileSync(pins[1]))
      .digest('hex');
    if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return undefined;
    say('installing Salt into .venv-salt');
    install();
    writeFileSync(stamp, wanted);
    return undefined;
  } catch (error) {
    if (!(error instanceof Missing)) throw error;
    rmSync(saltEnvironment, { recursive: true, force: true });
    mkdirSync(saltEnvironment);
    writeFileSync(reasonFile, `${error.message}\n`);
    return error.message;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  installSalt((line) => process.stdout.write(`set-up: ${line}\n`));
