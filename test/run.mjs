// SPDX-License-Identifier: GPL-2.0-or-later
// Runs the linter and every test (or those whose path holds one of the arguments), says in the last lines
// which files took longest (with their processor time) and how many tests passed and failed, and exits 0 only
// if none failed and none was left out. An ordinary user's tests run as root of a user namespace, as the
// local farm does. Each file is a plain Node process that prints TAP: tap's own runner has hooks for
// coverage, which cost more than most files.
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { changesOf, childrenOf, lookAtMachine } from './machine-traces.mjs';
import { saltMissing } from './salt/install.mjs';

const top = dirname(dirname(fileURLToPath(import.meta.url)));
const wanted = process.argv.slice(2);

// Once more, below a process that adopts what the tests leave behind; an ordinary user as root of a user
// namespace.
if (process.env.BUILD_INFRA_REAPER === undefined) {
  const inside =
    process.getuid() === 0 ? [] : ['unshare', '--user', '--map-root-user', '--map-auto', '--mount', '--'];
  const argv = [
    ...inside,
    'python3',
    join(top, 'test/reaper.py'),
    process.execPath,
    fileURLToPath(import.meta.url),
    ...wanted,
  ];
  const env = {
    ...process.env,
    PATH: `${process.env.PATH}:/usr/sbin:/sbin`,
    BUILD_INFRA_REAPER: '1',
    BUILD_INFRA_TEST_UID: String(process.getuid()),
  };
  // Booting systemd over a tree needs the machine's own root.
  if (process.getuid() === 0) env.BUILD_INFRA_BOOT ??= '1';
  process.exit(spawnSync(argv[0], argv.slice(1), { cwd: top, env, stdio: 'inherit' }).status ?? 1);
}

function testsBelow(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return testsBelow(path);
    return entry.name.endsWith('.test.js') ? [path] : [];
  });
}

// The longest files first, so that the last one does not run alone for minutes.
const long = [
  'attacks/whole-farm',
  'qubesbuilder-bad-days',
  'fuzz/repositories',
  'audit/attacks-git',
  'audit/mutated-histories',
  'build-vm/suite-bad-days',
  'main-job-by-salt',
  'attacks/release-team',
  'attacks/second-environment',
  'package/by-salt',
  'build-vm/promotion',
  'build-vm/templates',
  'build-vm/two-chains',
  'keys/gpg-client',
  'package/rpm',
  'build-logs/kill',
  'audit/attacks',
  'build-vm/renewals',
  'build-logs/remotes',
  'salt/transport',
  'notifier/killed',
  'build-vm/pipeline',
  'build-vm/resume',
  'notifier/bad-days',
  'notifier/tls',
  'build-logs/log-stream',
  'salt/apply',
  'salt/pillar',
  'package/render',
];
const weight = (path) => long.findIndex((name) => path.includes(name)) + 1 || 100;
const all = testsBelow(join(top, 'out/test'))
  .filter((path) => wanted.length === 0 || wanted.some((word) => path.includes(word)))
  .sort((a, b) => weight(a) - weight(b) || (a < b ? -1 : 1));
if (all.length === 0) {
  process.stderr.write(`no test has ${wanted.join(' or ')} in its path\n`);
  process.exit(1);
}

/** Some wait more than they work, but a farm is a dozen processes. */
const atOnce = availableParallelism() + 2;
const limitSeconds = 1500;
const gib = 1024 ** 3;
// A farm's chroots are gigabytes, and a checkout below the temporary folder would be hidden.
const memory =
  Number(/^MemAvailable: +(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1] ?? 0) * 1024;
const inMemory = (name) =>
  memory < 4 * gib ||
  top.startsWith(join(tmpdir(), '/')) ||
  /^(?:attacks|package)\/|^doctor\/(?:restore|standing-farm)\./.test(name)
    ? 0
    : Math.floor(memory / 3);
mkdirSync(join(top, '.local'), { recursive: true });
const counts = { pass: 0, fail: 0, skip: 0, todo: 0 };
const times = [];
const before = wanted.length === 0 ? lookAtMachine() : undefined;

async function lint() {
  const run = spawn('npm', ['run', '--silent', 'lint'], { cwd: top, stdio: 'inherit' });
  const good = (await new Promise((resolve) => run.once('close', resolve))) === 0;
  process.stdout.write(good ? 'ok      the linter found nothing\n' : 'FAILED  the linter found something\n');
  if (!good) counts.fail++;
}

async function runFile(path) {
  const name = path.slice(top.length + 'out/test/'.length + 1, -'.js'.length);
  const started = Date.now();
  const run = spawn(
    'python3',
    [join(top, 'test/one-file.py'), String(inMemory(name)), process.execPath, path],
    {
      cwd: top,
      env: { ...process.env, TAP_TIMEOUT: String(limitSeconds) },
      stdio: ['ignore', 'pipe', 'inherit', 'pipe'],
    },
  );
  const told = text(run.stdio[3]);
  // tap itself ends a file that is late; not one that blocks its process.
  const timer = setTimeout(() => run.kill('SIGKILL'), (limitSeconds + 60) * 1000);
  const closed = new Promise((resolve) => run.once('close', (status, signal) => resolve(status ?? signal)));
  const details = [];
  let detail = 0;
  let summary;
  for await (const line of createInterface({ input: run.stdout })) {
    // What failed, not the tests around it (they have a time), and the lines that say how.
    const failed = /^\s*not ok /.test(line) && !/ # time=/.test(line);
    if (failed) detail = 30;
    if (failed || (detail > 0 && /^\s/.test(line) && !/^\s+(ok|#) /.test(line)))
      details.push(`        ${line.trimStart().slice(0, 300)}\n`);
    if (/^\s+(\.\.\.|source: .*|stack: .*)$/.test(line)) detail = 0;
    else if (detail > 0) detail--;
    summary = /^# \{ total: \d+(.*)\}$/.exec(line)?.[1] ?? summary;
    if (/^1\.\.0 # skip/i.test(line)) counts.skip++;
  }
  const status = await closed;
  clearTimeout(timer);
  const found = Object.fromEntries(
    Object.keys(counts).map((kind) => [
      kind,
      Number(new RegExp(` ${kind}: (\\d+)`).exec(summary ?? '')?.[1] ?? 0),
    ]),
  );
  if (summary === undefined || (status !== 0 && found.fail === 0)) {
    found.fail++;
    details.push(
      `        ended with ${status}${summary === undefined ? ', before it said what it found' : ''}\n`,
    );
  }
  // Nothing where it was killed.
  const { seconds: cpu = 0, mounts = [] } = JSON.parse((await told) || '{}');
  for (const mount of mounts) {
    found.fail++;
    details.push(`        left a mount behind: ${mount}\n`);
  }
  for (const kind of Object.keys(counts)) counts[kind] += found[kind];
  const seconds = (Date.now() - started) / 1000;
  times.push({ name, seconds, cpu });
  process.stdout.write(
    `${details.join('')}${found.fail === 0 ? 'ok     ' : 'FAILED '} ${name} ${seconds.toFixed(1)} s, ${cpu.toFixed(1)} s of processor\n`,
  );
}

const waiting = [...(wanted.length === 0 ? [lint] : []), ...all.map((path) => () => runFile(path))];
await Promise.all(
  Array.from({ length: atOnce }, async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) await next();
  }),
);

// What was told to end may take a moment; a gpg-agent looks once a minute whether its folder is still there.
let traces = childrenOf(process.ppid, process.pid);
for (let tries = 0; traces.length > 0 && tries < 180; tries++) {
  await sleep(500);
  traces = childrenOf(process.ppid, process.pid);
}
if (before !== undefined) traces.push(...changesOf(before, lookAtMachine()));
for (const line of traces) process.stdout.write(`FAILED  the tests left something behind: ${line}\n`);
counts.fail += traces.length;

const skipped = counts.skip + counts.todo;
const noRecord =
  skipped > 0
    ? spawnSync('strace', ['-D', '-f', '--seccomp-bpf', '-o', '/dev/null', '--', 'true'], {
        encoding: 'utf8',
      })
    : undefined;
if (noRecord !== undefined && noRecord.status !== 0)
  process.stdout.write(
    `No process may be traced here, the tests of what is on disk first were skipped: ${noRecord.error?.message ?? noRecord.stderr.trim()}\n`,
  );
const noSalt = skipped > 0 ? saltMissing() : undefined;
if (noSalt !== undefined)
  process.stdout.write(`Salt is not here, the tests with it were skipped: ${noSalt}\n`);
if (times.length > 1) {
  const rows = times
    .sort((a, b) => b.seconds - a.seconds)
    .slice(0, 10)
    .map(
      ({ name, seconds, cpu }) =>
        `${seconds.toFixed(1).padStart(8)} s, ${cpu.toFixed(1).padStart(6)} s of processor: ${name}\n`,
    );
  process.stdout.write(
    `The slowest files, of ${Math.round(times.reduce((sum, { cpu }) => sum + cpu, 0))} s of processor in all:\n${rows.join('')}`,
  );
}
process.stdout.write(
  `${all.length} test files\n${counts.pass} passed, ${counts.fail} failed${skipped > 0 ? `, ${skipped} skipped` : ''}\n`,
);
process.exit(counts.fail === 0 && counts.pass > 0 && (skipped === 0 || process.env.CI !== 'true') ? 0 : 1);
