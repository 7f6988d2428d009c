// SPDX-License-Identifier: GPL-2.0-or-later
// Both ends of the receipt, and the audit after it, for real: what build-logs publishes convinces the keys agent and build-infra audit.
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { writeDirectClient } from '../support/direct-client.js';
import { until } from '../support/until.js';
import { Rig } from './rig.js';

const compiled = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

async function startKeysAgent(rig: Rig, root: string): Promise<{ key: string; journalKey: string; stop(): Promise<void> }> {
  const gnupg = join(root, 'home/user/.gnupg');
  mkdirSync(gnupg, { recursive: true, mode: 0o700 });
  const gpg = (...argv: string[]): string => execFileSync('gpg', ['--homedir', gnupg, '--batch', '--passphrase', '', ...argv], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  gpg('--quick-generate-key', 'keys-debian <keys@example.invalid>', 'ed25519', 'sign', 'never');
  const key = (/^fpr:+([0-9A-F]+):/m.exec(gpg('--with-colons', '--list-keys')) as RegExpExecArray)[1] as string;
  const settings = join(root, 'rw/config/build-infra');
  mkdirSync(join(settings, 'public-keys'), { recursive: true });
  mkdirSync(join(root, 'run/build-infra'), { recursive: true });
  writeFileSync(join(settings, 'public-keys', `${rig.logsKey}.asc`), execFileSync('gpg', ['--homedir', rig.gnupg, '--batch', '--armor', '--export', rig.logsKey]));
  writeFileSync(join(settings, 'keys.json'), JSON.stringify({
    format: 'build-infra/keys-config@1', vm: 'keys-debian', source: 'build-debian', logsVm: 'build-logs', logsKey: rig.logsKey,
    requiredRemotes: ['mirror', 'origin'], signingKeys: [key], anchor: null, journalKey: null, grantSeconds: 900, payloadBytes: 268435456,
  }));
  const agent = spawn(process.execPath, [join(compiled, 'agents/keys/main.js')], { env: { PATH: process.env['PATH'], HOME: root, BUILD_INFRA_ROOT: root }, stdio: ['ignore', 'inherit', 'pipe'] });
  let report = '';
  agent.stderr.on('data', (chunk: Buffer) => (report += chunk.toString()));
  await until('the keys agent is ready', () => {
    if (agent.exitCode !== null) throw new Error(report);
    return report.includes('ready');
  });
  return {
    key,
    journalKey: / journal key ([0-9a-f]{64})/.exec(report)?.[1] as string,
    stop: async () => {
      const gone = new Promise((resolve) => agent.once('exit', resolve));
      agent.kill('SIGTERM');
      await gone;
      execFileSync('gpgconf', ['--homedir', gnupg, '--kill', 'all'], { stdio: 'ignore' });
    },
  };
}

void t.test('the keys agent grants what build-logs publishes, and the audit finds nothing wrong', async (t) => {
  const rig = await Rig.make();
  const root = mkdtempSync(join(tmpdir(), 'bk-'));
  const keys = await startKeysAgent(rig, root);
  t.teardown(async () => {
    await keys.stop();
    await rig.stop();
    rmSync(root, { recursive: true, force: true });
  });
  writeDirectClient(join(rig.root, 'usr/bin/qrexec-client-vm.build-debian'), 'build-logs', { 'qubesbuilder.LogReceived': join(root, 'run/build-infra/qubesbuilder.LogReceived.sock') });
  rig.writeConfig({ sources: [{ vm: 'build-debian', keysVm: 'keys-debian', keys: [keys.key], journalKey: keys.journalKey, payloadBytes: 268435456 }] });
  await rig.start();

  await rig.call().end('a raw log before the first intent\n');
  const log = rig.call().send(`${rig.header()}hello\n`);
  const path = (await log.line(/^opened/)).split(' ')[1] as string;
  for (let i = 0; i < 3; i++) t.match(await rig.ask(rig.intent({ key: keys.key, logs: [path] })), { result: 'published', grantedUntil: /^\d{4}-/ });
  const replies = await Promise.all(Array.from({ length: 20 }, () => rig.ask(rig.intent({ key: keys.key, logs: [path] }))));
  t.ok(replies.every((reply) => reply.result === 'published'), JSON.stringify(replies[0]));
  const block = Array.from({ length: 60_000 }, (_, i) => `line ${i} of a long build with some text\n`).join('');
  for (let i = 0; i < 3; i++) log.send(block);
  await log.line(/^synced 180001$/);
  t.match(await rig.ask(rig.intent({ key: keys.key, logs: [path] })), { result: 'published' });
  await rig.kill();
  // What a full disk once left in the copy of the journal: a line glued to a torn one, and more behind it.
  const copy = join(rig.root, 'var/lib/build-infra/journal/keys-debian.jsonl');
  const lines = readFileSync(copy, 'utf8').split('\n');
  writeFileSync(copy, [...lines.slice(0, 4), `${(lines[4] as string).slice(0, 50)}${lines[5]}`, ...lines.slice(6)].join('\n'));
  await rig.start();
  t.match(await rig.ask(rig.intent({ key: keys.key })), { result: 'published' });
  t.strictSame(readFileSync(copy, 'utf8').split('\n').slice(0, lines.length - 1), lines.slice(0, -1), 'its copy is whole again');
  t.match(readFileSync(`${copy}.damaged`, 'utf8'), lines[5] as string);
  const end = await rig.call().send(rig.header({ continues: { path, lines: 180_001 } })).end('> end status=0\n');
  t.match(end.at(-1), /^published/);
  await until('the journal is published', () => {
    try {
      return rig.file('journal/keys-debian/00000000.jsonl').toString().split('"event":"granted"').length - 1 === 25;
    } catch {
      return false;
    }
  });
  await rig.allPushed();
  rig.checkHistory('mirror');

  const publicKey = join(rig.folder, 'logs.asc');
  writeFileSync(publicKey, execFileSync('gpg', ['--homedir', rig.gnupg, '--batch', '--armor', '--export', rig.logsKey]));
  const script = `import { auditMain } from ${JSON.stringify(join(compiled, 'agents/audit/main.js'))}; process.exitCode = await auditMain(process.argv.slice(1));`;
  const table = execFileSync(process.execPath, ['--input-type=module', '-e', script, '--', '--logs', rig.remote('origin'), '--logs', rig.remote('mirror'), '--logs-key', publicKey, '--journal-key', `keys-debian=${keys.journalKey}`], { encoding: 'utf8' });
  t.comment(table);
});
