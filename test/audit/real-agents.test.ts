// SPDX-License-Identifier: GPL-2.0-or-later
// What the real agents publish is what the audit accepts: the build-logs agent, the keys agent and the gpg client, called by real
// debsign and reprepro; then one signature made behind their backs.
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import tap from 'tap';
import { writeDirectClient } from '../support/direct-client.js';
import { runAudit } from './run-audit.js';

const agents = join(dirname(fileURLToPath(import.meta.url)), '../../agents');
const top = mkdtempSync(join(tmpdir(), 'ra-'));
const at = (vm: string, ...path: string[]): string => join(top, vm, ...path);
const settings = 'rw/config/build-infra';
const running: ChildProcess[] = [];

function gpg(vm: string, ...args: string[]): string {
  return execFileSync('gpg', ['--homedir', at(vm, 'home/user/.gnupg'), '--batch', '--quiet', '--passphrase', '', ...args], { stdio: ['ignore', 'pipe', 'ignore'] }).toString();
}

function makeVm(vm: string, routes: Record<string, string>): void {
  for (const folder of [`${settings}/public-keys`, 'run/build-infra', 'var/lib/build-infra', 'usr/bin']) mkdirSync(at(vm, folder), { recursive: true });
  mkdirSync(at(vm, 'home/user/.gnupg'), { recursive: true, mode: 0o700 });
  writeDirectClient(at(vm, 'usr/bin/qrexec-client-vm'), vm, routes);
}

function makeKey(vm: string): string {
  gpg(vm, '--quick-generate-key', `${vm} <${vm}@farm.example>`, 'ed25519', 'sign', 'never');
  const fingerprint = /^fpr:+([0-9A-F]{40}):/m.exec(gpg(vm, '--with-colons', '--list-keys'))?.[1] as string;
  for (const other of ['logs', 'keys', 'b']) writeFileSync(at(other, settings, 'public-keys', `${fingerprint}.asc`), gpg(vm, '--armor', '--export', fingerprint));
  return fingerprint;
}

function startAgent(vm: string, entry: string): Promise<void> {
  const child = spawn(process.execPath, [join(agents, entry)], { env: { PATH: process.env['PATH'], HOME: at(vm, 'home/user'), BUILD_INFRA_ROOT: at(vm) }, stdio: ['ignore', 'ignore', 'pipe'] });
  running.push(child);
  let said = '';
  return new Promise((resolve, reject) => {
    child.stderr.on('data', (chunk: Buffer) => {
      said += chunk.toString();
      if (said.includes('ready')) resolve();
    });
    child.on('exit', () => reject(new Error(said)));
  });
}

/** A log of our own sender that stays open until `end`; resolves to its path. */
function openLog(): Promise<{ path: string; end(): Promise<string> }> {
  const socket = connect({ path: at('logs', 'run/build-infra/qubesbuilder.BuildLog.sock'), allowHalfOpen: true });
  let answer = '';
  socket.write('qubesbuilder.BuildLog+ build-debian\0> build-infra log@1 {"job":"tiny-1.0-0123456789ab","component":"tiny","stage":"build"}\nfirst line\n');
  return new Promise((resolve, reject) => {
    socket.on('error', reject);
    socket.on('data', (chunk: Buffer) => {
      answer += chunk.toString();
      const path = /^opened (\S+) /m.exec(answer)?.[1];
      if (path === undefined) return;
      resolve({
        path,
        end: () => new Promise((ended) => {
          socket.on('end', () => ended(answer));
          socket.end('last line\n> end status=0\n');
        }),
      });
    });
  });
}

/** Not spawnSync: nothing here runs while one of those blocks, and the agents' output must be read. */
function run(program: string, args: string[], cwd: string, job: string): Promise<void> {
  const child = spawn(program, args, { cwd, detached: true, stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: at('b'), BUILD_INFRA_ROOT: at('b'), BUILD_INFRA_JOB: job, LANG: 'C.UTF-8', DEBEMAIL: 'x@farm.example' } });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (said += chunk.toString()));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status) => (status === 0 ? resolve() : reject(new Error(`${program} ended with ${status}: ${said}`))));
  });
}

void tap.test('what the real agents publish passes the audit, and a signature behind their backs does not', async (t) => {
  t.teardown(() => {
    for (const child of running) child.kill('SIGKILL');
    for (const vm of ['logs', 'keys', 'b']) execFileSync('gpgconf', ['--homedir', at(vm, 'home/user/.gnupg'), '--kill', 'all'], { stdio: 'ignore' });
    rmSync(top, { recursive: true, force: true });
  });
  const socket = (vm: string, service: string): string => at(vm, 'run/build-infra', `${service}.sock`);
  makeVm('b', {});
  makeVm('keys', {});
  makeVm('logs', {});
  writeDirectClient(at('logs', 'usr/bin/qrexec-client-vm'), 'build-logs', { 'qubesbuilder.LogReceived': socket('keys', 'qubesbuilder.LogReceived') });
  writeDirectClient(at('b', 'usr/bin/qrexec-client-vm'), 'build-debian', { 'qubesbuilder.BuildLog': socket('logs', 'qubesbuilder.BuildLog'), 'qubes.Gpg': socket('keys', 'qubes.Gpg') });
  const logsKey = makeKey('logs');
  const signingKey = makeKey('keys');
  const remotes = ['mirror', 'origin'].map((name) => ({ name, url: join(top, `${name}.git`), required: true }));
  for (const { url } of remotes) execFileSync('git', ['init', '-q', '--bare', '--initial-branch=main', url]);
  const journalKey = /^journal-key (.*)$/m.exec(execFileSync(process.execPath, [join(agents, 'keys/main.js'), '--journal-key'], { encoding: 'utf8', env: { PATH: '/usr/bin:/bin', BUILD_INFRA_ROOT: at('keys') } }))?.[1] as string;
  writeFileSync(at('logs', settings, 'build-logs.json'), JSON.stringify({
    format: 'build-infra/build-logs-config@1', vm: 'build-logs', logsKey, remotes, sources: [{ vm: 'build-debian', keysVm: 'keys-debian', keys: [signingKey], journalKey, payloadBytes: 268435456 }],
    publishSeconds: 1, intentSeconds: 120, reopenSeconds: 60, logBytes: 268435456, openLogs: 64, intentsPerDay: 20_000, intentBytesPerDay: 536_870_912,
  }));
  writeFileSync(at('keys', settings, 'keys.json'), JSON.stringify({
    format: 'build-infra/keys-config@1', vm: 'keys-debian', source: 'build-debian', logsVm: 'build-logs', logsKey, requiredRemotes: ['mirror', 'origin'],
    signingKeys: [signingKey], anchor: null, journalKey, grantSeconds: 900, payloadBytes: 268435456,
  }));
  writeFileSync(at('b', settings, 'build.json'), JSON.stringify({ format: 'build-infra/build-config@1', vm: 'build-debian', env: 'debian', signingKey, publication: null }));
  await startAgent('keys', 'keys/main.js');
  await startAgent('logs', 'build-logs/main.js');

  const source = at('b', 'w/tiny');
  mkdirSync(join(source, 'debian/source'), { recursive: true });
  writeFileSync(join(source, 'debian/source/format'), '3.0 (native)\n');
  writeFileSync(join(source, 'debian/control'), 'Source: tiny\nSection: misc\nPriority: optional\nMaintainer: X <x@farm.example>\nStandards-Version: 4.6.2\nRules-Requires-Root: no\n\nPackage: tiny\nArchitecture: any\nDescription: tiny\n tiny\n');
  writeFileSync(join(source, 'debian/changelog'), 'tiny (1.0) bookworm; urgency=low\n\n  * One.\n\n -- X <x@farm.example>  Sat, 21 Nov 2026 20:00:00 +0000\n');
  writeFileSync(join(source, 'debian/rules'), '#!/usr/bin/make -f\nclean build build-arch build-indep binary-indep:\n\ttrue\nbinary-arch:\n\tmkdir -p debian/tiny/DEBIAN\n\tdpkg-gencontrol -ptiny -Pdebian/tiny\n\tdpkg-deb --root-owner-group --build debian/tiny ..\nbinary: binary-arch\n', { mode: 0o755 });
  const client = at('b', 'usr/bin/gpg-client');
  writeFileSync(client, `#!/bin/sh\nexec ${process.execPath} ${agents}/build-vm/gpg-client/main.js "$@"\n`, { mode: 0o755 });
  const log = await openLog();
  const job = at('b', 'job.json');
  const logged = (name: string, path: string): void => writeFileSync(job, JSON.stringify({ job: name, component: 'tiny', version: '1.0', dist: 'bookworm', logs: [path], artifacts: [] }));
  logged('tiny-1.0-0123456789ab', log.path);
  const changesOf = (version: string): string => readdirSync(at('b', 'w')).find((name) => name.startsWith(`tiny_${version}_`) && name.endsWith('.changes')) as string;
  const include = async (version: string): Promise<void> => {
    await run('debsign', ['--no-conf', `-p${client}`, `-k${signingKey}`, changesOf(version)], at('b', 'w'), job);
    await run('reprepro', ['--basedir', at('b', 'apt'), '--gnupghome', at('b', 'home/user/.gnupg'), '--ignore=wrongdistribution', 'include', 'bookworm', join(at('b', 'w'), changesOf(version))], at('b'), job);
  };

  await run('dpkg-buildpackage', ['-F', '-d', '-us', '-uc'], source, job);
  const apt = at('b', 'apt');
  mkdirSync(join(apt, 'conf'), { recursive: true });
  writeFileSync(join(apt, 'conf/sign-hook'), `#!/bin/sh\nexec '${client}' --reprepro-sign "$@"\n`, { mode: 0o755 });
  writeFileSync(join(apt, 'conf/distributions'), 'Codename: bookworm\nArchitectures: amd64 source\nComponents: main\nTracking: minimal includechanges includebuildinfos\nSignWith: !sign-hook\n');
  await include('1.0');
  writeFileSync(join(apt, 'key.asc'), readFileSync(at('b', settings, 'public-keys', `${signingKey}.asc`)));
  t.match(await log.end(), /^published /m);

  const args = ['--logs', ...remotes.map(({ url }) => url), '--logs-key', logsKey, '--apt', apt, '--signing-key', signingKey, '--journal-key', `keys-debian=${journalKey}`];
  let ran = await runAudit(args);
  // The journal's last entries are published shortly after the log's end.
  for (let i = 0; ran.status !== 0 && i < 20; i++) ran = await runAudit(args);
  t.equal(ran.status, 0, ran.out + ran.err);
  t.match(ran.out, /ok +every use of a key follows a published intent +5 signatures/);
  t.match(ran.out, /ok +every signature in the APT repository is in a journal +5 signatures/);
  t.comment(ran.out);

  // Rebuilt without a new source, as the Debian engine does it: packages of a version of their own beside the source that they are of.
  const changelog = join(source, 'debian/changelog');
  writeFileSync(changelog, `tiny (1.0+b1) bookworm; urgency=medium, binary-only=yes\n\n  * Rebuild.\n\n -- X <x@farm.example>  Sat, 21 Nov 2026 20:00:00 +0000\n\n${readFileSync(changelog, 'latin1')}`);
  await run('dpkg-buildpackage', ['-B', '-d', '-us', '-uc'], source, job);
  const second = await openLog();
  logged('tiny-1.0+b1-0123456789ab', second.path);
  await include('1.0+b1');
  t.match(await second.end(), /^published /m);
  t.match(readdirSync(join(apt, 'pool/main/t/tiny')).filter((name) => /\.(?:deb|dsc)$/.test(name)).sort(), [/^tiny_1\.0\+b1_[a-z0-9]+\.deb$/, /^tiny_1\.0\.dsc$/]);
  ran = await runAudit(args);
  for (let i = 0; ran.status !== 0 && i < 20; i++) ran = await runAudit(args);
  t.equal(ran.status, 0, ran.out + ran.err);
  t.match(ran.out, /ok +every use of a key follows a published intent +9 signatures/);
  t.match(ran.out, /^Good/m, 'the audit reads a rebuilt package');

  const release = join(apt, 'dists/bookworm/Release');
  writeFileSync(release, `${readFileSync(release).toString()}Label: x\n`);
  for (const [name, mode] of [['InRelease', '--clearsign'], ['Release.gpg', '--detach-sign']] as const) {
    gpg('keys', '--yes', '--pinentry-mode', 'loopback', '--armor', mode, '--output', join(apt, 'dists/bookworm', name), release);
  }
  const secret = await runAudit(args);
  t.equal(secret.status, 1);
  t.equal(secret.out.match(/SIGNATURE_NOT_IN_JOURNAL/g)?.length, 2);
});
