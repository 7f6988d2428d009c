// SPDX-License-Identifier: GPL-2.0-or-later
// docs/deploy.md, "Backup and restore", done on a farm with the very commands of that page: what an old
// backup does, and how a lost volume of the keys VM or of the logs VM is made good, with an audit at the end.
import { execFile, execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { intentFormat } from '../../agents/shared/formats/intent.js';
import { askForSignature, publishIntent } from '../../agents/local/job/gate.js';
import { gitUrl } from '../../agents/local/outside/forge.js';
import type { SandboxedMachine } from '../../agents/local/farm/sandboxed-machine.js';
import { dist, standFarm, top } from '../attacks/standing-farm.js';

const { farm, state, build, keys, logs, signingKey } = await standFarm(t);
const logsKey = farm.pillar['logs-vms']['build-logs']?.key as string;
const page = readFileSync(join(top, 'docs/deploy.md'), 'utf8');

/** The commands of the page that stand below this mark. */
function script(name: string): string {
  const found = new RegExp(`<!-- script: ${name} -->\\n\\n((?:    .*\\n)+)`).exec(page)?.[1];
  if (found === undefined) throw new Error(`docs/deploy.md has no script ${name}`);
  return found.replace(/^ {4}/gm, '');
}

const stateOf = (machine: SandboxedMachine): string =>
  join(state.rootOf(machine.name), 'var/lib/build-infra');
const empty = (folder: string): void => {
  for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true });
};
const giveBack = (folder: string): void => {
  execFileSync('chown', ['-R', '1000:1000', folder]);
};
const doctor = async (machine: SandboxedMachine): Promise<string> => {
  const { stdout } = await machine.run(['build-infra', 'doctor'], { user: 'root' });
  return stdout.trim();
};
let counter = 0;
/** One signature through the gate; the code of the refusal, or '' where it was given. */
async function sign(): Promise<string> {
  const bytes = Buffer.from(`bytes ${++counter}\n`);
  const reply = await publishIntent(build, signingKey, bytes, `file-${counter}`);
  if (reply.result !== 'published') return reply.code;
  const answer = await askForSignature(farm.dom0, build.name, signingKey, bytes);
  return answer.status === 0 ? '' : answer.reason;
}
/**
 * Announces so many files that are never signed: the journal then fills more than one of its published files.
 */
async function announce(count: number): Promise<void> {
  const intents = Array.from({ length: count }, (_, index) => ({
    job: 'many',
    component: 'gate',
    version: '1',
    dist: 'none',
    purpose: 'other',
    key: signingKey,
    mode: 'detach',
    payload: {
      name: `many-${index}`,
      size: `${index}`.length,
      sha256: createHash('sha256').update(`${index}`).digest('hex'),
    },
    logs: [],
    artifacts: [],
  }));
  const { stdout } = await build.run(
    ['/usr/bin/qrexec-client-vm', '@default', 'qubesbuilder.BuildLog+intent'],
    {
      input: `${JSON.stringify({ format: intentFormat, intents })}\n${intents.map((_, index) => `${index}`).join('')}`,
    },
  );
  if (!stdout.includes('"result":"published"')) throw new Error(stdout);
}
const audit = (...more: string[]): Promise<{ status: number; out: string }> =>
  new Promise((resolve) => {
    const args = [
      'audit',
      '--logs',
      gitUrl('build-logs', farm.settings.ports),
      '--logs',
      gitUrl('build-logs-mirror', farm.settings.ports),
      '--logs-key',
      logsKey,
      '--journal-key',
      `${keys.name}=${farm.pillar['build-envs']['debian']?.['journal-key'] as string}`,
      ...more,
    ];
    const child = execFile(
      process.execPath,
      [join(dist, 'build-infra.mjs'), ...args],
      (_error, stdout, stderr) => resolve({ status: child.exitCode ?? 255, out: stdout + stderr }),
    );
  });

/**
 * What a person does who has looked: the logs VM's own note of the alarm, set by hand while its agent is
 * stopped.
 */
async function setAlarm(alarm: string | null): Promise<void> {
  const path = join(stateOf(logs), 'keys/keys-debian.json');
  await farm.dom0.stopVm(logs.name);
  writeFileSync(path, JSON.stringify({ ...(JSON.parse(readFileSync(path, 'utf8')) as object), alarm }));
  giveBack(stateOf(logs));
  await farm.dom0.startVm(logs.name);
}

const old = join(state.folder, 'old-keys');
await t.test('before: a signature, a backup, another signature', async (t) => {
  for (const count of [200, 100]) await announce(count);
  t.equal(await sign(), '');
  await farm.dom0.stopVm(keys.name);
  cpSync(stateOf(keys), old, { recursive: true, preserveTimestamps: true });
  await farm.dom0.startVm(keys.name);
  t.equal(await sign(), '');
  t.match(await doctor(keys), /nothing is missing/);
});

await t.test(
  'a keys VM from an old backup signs nothing, and the doctor says that the gate stopped',
  async (t) => {
    await farm.dom0.stopVm(keys.name);
    empty(stateOf(keys));
    cpSync(old, stateOf(keys), { recursive: true });
    giveBack(stateOf(keys));
    await farm.dom0.startVm(keys.name);
    t.equal(await sign(), 'KEYS_VM_ALARM');
    t.match(
      await doctor(logs),
      /^KEYS_VM_ALARM nothing is granted on keys-debian: it refused a receipt: JOURNAL_FORK/,
    );
    t.match(await doctor(keys), /^GATE_STOPPED the last receipts were refused: JOURNAL_FORK at /);
  },
);

await t.test(
  "with its journal key, the logs VM's copy of its journal, and the head that was acknowledged, it signs again",
  async (t) => {
    await farm.dom0.stopVm(keys.name);
    empty(stateOf(keys));
    cpSync(join(old, 'journal-key.pem'), join(stateOf(keys), 'journal-key.pem'));
    const made = await logs.run(['sh', '-ec', script('keys-head')], { user: 'user' });
    t.equal(made.status, 0, made.stderr);
    cpSync(join(stateOf(logs), 'journal/keys-debian.jsonl'), join(stateOf(keys), 'journal.jsonl'));
    writeFileSync(join(stateOf(keys), 'head.json'), (await logs.run(['cat', '/tmp/head.json'])).stdout);
    giveBack(stateOf(keys));
    await farm.dom0.startVm(keys.name);
    t.equal(await sign(), 'KEYS_VM_ALARM', 'until a person has cleared it');
    await setAlarm(null);
    t.equal(await sign(), '');
    t.match(await doctor(keys), /nothing is missing/);
    t.match(await doctor(logs), /nothing is missing/);
    const { status, out } = await audit();
    t.equal(status, 0, out);
  },
);

await t.test('a logs VM whose volume is lost goes on with the history of its remotes', async (t) => {
  const before = await audit();
  const head = /up to ([0-9a-f]{40})/.exec(before.out)?.[1] as string;
  await farm.dom0.stopVm(logs.name);
  empty(stateOf(logs));
  const work = join(state.folder, 'given-back');
  mkdirSync(work);
  const commands = script('logs-journal')
    .replace('/var/lib/build-infra', stateOf(logs))
    .replace('URL-OF-A-REMOTE', gitUrl('build-logs', farm.settings.ports))
    .replaceAll('/tmp/logs.git', join(work, 'logs.git'));
  execFileSync('sh', ['-ec', commands]);
  giveBack(stateOf(logs));
  await farm.dom0.startVm(logs.name);
  t.equal(await sign(), '');
  const { status, out } = await audit('--contains', head);
  t.equal(status, 0, out);
  for (const machine of [keys, logs]) t.match(await doctor(machine), /nothing is missing/);
});

await t.test('an alarm stops every grant until a person has cleared it', async (t) => {
  await setAlarm('it remembers commit 0, which is not in our history');
  t.equal(await sign(), 'KEYS_VM_ALARM');
  t.match(await doctor(logs), /^KEYS_VM_ALARM nothing is granted on keys-debian: it remembers commit 0/);
  await setAlarm(null);
  t.equal(await sign(), '');
  t.match(await doctor(logs), /nothing is missing/);
});

await t.test(
  'a remote with a second history by the logs key stops every grant, the doctor shows it online, and its owner mends it',
  async (t) => {
    const forge = farm.machine('forge');
    const mirror = (
      await forge.run(['sh', '-c', 'find / -name build-logs-mirror.git -maxdepth 5 2>/dev/null | head -n 1'])
    ).stdout.trim();
    const demand = ({
      status,
      stdout,
      stderr,
    }: {
      status: number | null;
      stdout: string;
      stderr: string;
    }): string => {
      if (status !== 0) throw new Error(stderr);
      return stdout.trim();
    };
    const ours = demand(await forge.run(['git', '-C', mirror, 'rev-parse', 'main']));
    // Whoever has the logs key makes it; here the logs VM does, and its agent knows nothing of it.
    const second = demand(
      await logs.run(
        [
          'sh',
          '-ec',
          `cd /tmp && rm -rf second && git clone --quiet --bare /var/lib/build-infra/repository.git second && cd second
    id=$(git -c user.name=x -c user.email=x@x -c user.signingkey=${logsKey} commit-tree -S -m 'not ours' -p ${ours} '${ours}^{tree}')
    git update-ref refs/heads/second "$id" && git bundle create --quiet - ^${ours} refs/heads/second | base64 -w0`,
        ],
        { user: 'user' },
      ),
    );
    const foreign = demand(
      await forge.run(
        [
          'sh',
          '-ec',
          `base64 -d > /tmp/second && git -C '${mirror}' fetch --quiet /tmp/second second && git -C '${mirror}' rev-parse FETCH_HEAD`,
        ],
        { input: second },
      ),
    );
    demand(await forge.run(['git', '-C', mirror, 'update-ref', 'refs/heads/main', foreign]));
    t.equal(await sign(), 'HISTORY_DIVERGED');
    const { stdout } = await logs.run(['build-infra', 'doctor', '--online'], { user: 'root' });
    t.match(stdout, new RegExp(`^REMOTE_FORKED remote mirror shows commit ${foreign}, `, 'm'));
    t.equal((await audit()).status, 1);
    demand(await forge.run(['git', '-C', mirror, 'update-ref', 'refs/heads/main', ours]));
    let answer = 'not asked';
    for (let tries = 0; tries < 40 && answer !== ''; tries++) {
      if (tries > 0) await sleep(2000);
      answer = await sign();
    }
    t.equal(answer, '');
    const after = await audit();
    t.equal(after.status, 0, after.out);
  },
);
