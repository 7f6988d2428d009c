// SPDX-License-Identifier: GPL-2.0-or-later
// Runs the linter and every test (or those whose path holds one of the arguments), says in the last lines how many passed and failed, and
// exits 0 only if none failed and none was left out. An ordinary user's tests run as root of a user namespace, as the local farm does.
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { saltMissing } from './salt/install.mjs';

const top = dirname(dirname(fileURLToPath(import.meta.url)));
const wanted = process.argv.slice(2);

function testsBelow(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return testsBelow(path);
    return entry.name.endsWith('.test.js') ? [path] : [];
  });
}

const counts = { pass: 0, fail: 0, skip: 0, todo: 0 };
if (wanted.length === 0) {
  const lint = spawnSync(process.execPath, [join(top, 'node_modules/eslint/bin/eslint.js'), 'agents', 'test'], { cwd: top, stdio: 'inherit' });
  process.stdout.write(lint.status === 0 ? 'ok      the linter found nothing\n' : 'FAILED  the linter found something\n');
  if (lint.status !== 0) counts.fail++;
}

// The longest files first, so that the last one does not run alone for minutes.
const long = ['attacks/whole-farm', 'qubesbuilder-bad-days', 'fuzz/repositories', 'audit/attacks-git', 'audit/mutated-histories', 'build-vm/suite-bad-days', 'main-job-by-salt', 'attacks/release-team', 'attacks/second-environment',
  'package/by-salt', 'build-vm/promotion', 'build-vm/templates', 'build-vm/two-chains', 'keys/gpg-client', 'package/rpm', 'build-logs/kill', 'audit/attacks', 'build-vm/renewals', 'build-logs/remotes', 'salt/transport', 'notifier/killed', 'build-vm/pipeline',
  'build-vm/resume', 'notifier/bad-days', 'notifier/tls', 'build-logs/log-stream', 'salt/apply', 'salt/pillar', 'package/render'];
const weight = (path) => long.findIndex((name) => path.includes(name)) + 1 || 100;
const all = testsBelow(join(top, 'out/test')).filter((path) => wanted.length === 0 || wanted.some((word) => path.includes(word))).sort((a, b) => weight(a) - weight(b) || (a < b ? -1 : 1));
if (all.length === 0) {
  process.stderr.write(`no test has ${wanted.join(' or ')} in its path\n`);
  process.exit(1);
}

const tap = [process.execPath, join(top, 'node_modules/tap/dist/esm/run.mjs'), '--reporter=tap', '-j3', ...all];
const [program, ...args] = process.getuid() === 0 ? tap : ['unshare', '--user', '--map-root-user', '--map-auto', '--mount', '--', ...tap];
mkdirSync(join(top, '.local'), { recursive: true });
// Booting systemd over a tree needs the machine's own root.
const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin`, BUILD_INFRA_TEST_UID: String(process.getuid()), ...(process.getuid() === 0 && process.env.BUILD_INFRA_BOOT === undefined ? { BUILD_INFRA_BOOT: '1' } : {}) };
const run = spawn(program, args, { cwd: top, env, stdio: ['ignore', 'pipe', 'inherit'] });
let detail = 0;
for await (const line of createInterface({ input: run.stdout })) {
  const file = /^(not )?ok \d+ - out\/test\/(\S+)\.js(?: # time=(.*))?$/.exec(line);
  if (file !== null) process.stdout.write(`${file[1] === undefined ? 'ok     ' : 'FAILED '} ${file[2]} ${file[3] ?? ''}\n`);
  // What failed, not the tests around it (they have a time), and the lines that say how.
  const failed = /^\s+not ok /.test(line) && !/ # time=/.test(line);
  if (failed) detail = 30;
  if (failed || (detail > 0 && /^\s/.test(line) && !/^\s+(ok|#) /.test(line))) process.stdout.write(`        ${line.trimStart().slice(0, 300)}\n`);
  if (/^\s+(\.\.\.|source: .*|stack: .*)$/.test(line)) detail = 0;
  else if (detail > 0) detail--;
  const summary = /^# \{ total: \d+,(.*)\}$/.exec(line)?.[1];
  for (const name of Object.keys(counts)) counts[name] += Number(new RegExp(` ${name}: (\\d+)`).exec(summary ?? '')?.[1] ?? 0);
}
const status = await new Promise((resolve) => {
  if (run.exitCode !== null) resolve(run.exitCode);
  else run.once('close', resolve);
});
if (status !== 0 && counts.fail === 0) counts.fail++;
const skipped = counts.skip + counts.todo;
const noRecord = skipped > 0 ? spawnSync('strace', ['-D', '-f', '--seccomp-bpf', '-o', '/dev/null', '--', 'true'], { encoding: 'utf8' }) : undefined;
if (noRecord !== undefined && noRecord.status !== 0) process.stdout.write(`No process may be traced here, the tests of what is on disk first were skipped: ${noRecord.error?.message ?? noRecord.stderr.trim()}\n`);
const noSalt = skipped > 0 ? saltMissing() : undefined;
if (noSalt !== undefined) process.stdout.write(`Salt is not here, the tests with it were skipped: ${noSalt}\n`);
process.stdout.write(`${all.length} test files\n${counts.pass} passed, ${counts.fail} failed${skipped > 0 ? `, ${skipped} skipped` : ''}\n`);
process.exit(counts.fail === 0 && counts.pass > 0 && (skipped === 0 || process.env.CI !== 'true') ? 0 : 1);
