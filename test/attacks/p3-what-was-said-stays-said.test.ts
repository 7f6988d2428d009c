// SPDX-License-Identifier: GPL-2.0-or-later
// P3: a line that the build-logs VM has acknowledged survives the death of the build VM, of the agent, and of
// the machine. The attacker owns the build VM, or pulls a plug.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { spawnInVm } from '../../agents/local/qrexec/admin-client.js';
import { gitUrl } from '../../agents/local/outside/forge.js';
import { must } from '../../agents/local/outside/machine.js';
import { killAgent, standFarm, type StandingFarm } from './standing-farm.js';

/**
 * Sends a header and then a line every 20 ms for ever; returns once `count` lines are acknowledged as synced.
 */
async function sendUntilSynced(
  standing: StandingFarm,
  name: string,
  count: number,
): Promise<{ path: string; synced: number; end: () => void }> {
  const script = `echo '> build-infra log@1 {"job":"${name}","component":"attack","stage":"build"}'; n=0; while :; do n=$((n+1)); echo "${name} line $n"; sleep 0.02; done`;
  const child = await spawnInVm(
    standing.farm.dom0,
    'build-debian',
    { argv: ['sh', '-c', `(${script}) | qrexec-client-vm @default qubesbuilder.BuildLog`], user: 'user' },
    ['ignore', 'pipe', 'ignore'],
  );
  return await new Promise((resolve, reject) => {
    let said = '';
    child.once('close', () => reject(new Error(`BuildLog ended: ${said.slice(-300)}`)));
    child.stdout?.on('data', (chunk: Buffer) => {
      said += chunk.toString();
      const path = /^opened (\S+) /m.exec(said)?.[1];
      const synced = Number([...said.matchAll(/^synced (\d+)$/gm)].at(-1)?.[1] ?? 0);
      if (path !== undefined && synced >= count) resolve({ path, synced, end: () => child.kill('SIGKILL') });
    });
  });
}

/** The log as anyone reads it from a remote, once it is marked as truncated. */
async function publishedLog(standing: StandingFarm, path: string): Promise<string> {
  const clone = join(standing.state.folder, 'clone.git');
  execFileSync('git', ['init', '-q', '--bare', clone]);
  for (let tries = 0; tries < 60; tries++) {
    await sleep(500);
    try {
      execFileSync(
        'git',
        ['-C', clone, 'fetch', '-q', gitUrl('build-logs-mirror', standing.farm.settings.ports), '+main:main'],
        { stdio: 'pipe' },
      );
      const text = execFileSync('git', ['-C', clone, 'show', `main:${path}`], { stdio: 'pipe' }).toString();
      if (/ > .*truncated/.test(text)) return text;
    } catch {
      // Not published yet.
    }
  }
  throw new Error(`${path} was not published with its mark`);
}

function holdsAll(text: string, name: string, synced: number): boolean {
  const numbers = [...text.matchAll(new RegExp(`: ${name} line (\\d+)$`, 'gm'))].map((found) =>
    Number(found[1]),
  );
  return numbers.length >= synced && numbers.every((number, index) => number === index + 1);
}

await t.test('acknowledged lines are published, in order and once, whatever dies', async (t) => {
  const standing = await standFarm(t, { 'reopen-seconds': 2, 'publish-seconds': 2 });
  const { farm, logs } = standing;

  await t.test('the build VM is killed', async (t) => {
    const sent = await sendUntilSynced(standing, 'build-dies', 50);
    await farm.dom0.killVm('build-debian');
    t.ok(
      holdsAll(await publishedLog(standing, sent.path), 'build-dies', sent.synced),
      `${sent.synced} lines`,
    );
  });

  await t.test('the build-logs agent is killed', async (t) => {
    const sent = await sendUntilSynced(standing, 'agent-dies', 50);
    await killAgent(logs, 'build-logs-agent.mjs');
    sent.end();
    t.ok(
      holdsAll(await publishedLog(standing, sent.path), 'agent-dies', sent.synced),
      `${sent.synced} lines`,
    );
  });

  await t.test('the whole build-logs VM is killed and started again', async (t) => {
    const sent = await sendUntilSynced(standing, 'machine-dies', 50);
    await farm.dom0.killVm('build-logs');
    sent.end();
    await farm.dom0.startVm('build-logs');
    t.ok(
      holdsAll(await publishedLog(standing, sent.path), 'machine-dies', sent.synced),
      `${sent.synced} lines`,
    );
  });

  await t.test("a line that looks like one of the receiver is marked as the build VM's", async (t) => {
    const out = await must(
      standing.build,
      [
        'sh',
        '-c',
        "printf '2026-01-01 00:00:00.000000 +0000 > closing log\\r\\033[2K> closing log\\n' | qrexec-client-vm @default qubesbuilder.BuildLog",
      ],
      { timeoutMs: 60_000 },
    );
    const [path, published] = out.trim().split('\n');
    t.match(
      published,
      /^published [0-9a-f]{40} sha256:[0-9a-f]{64}$/,
      "a sender of raw lines, as upstream's builders are, gets path and publication",
    );
    const text =
      execFileSync('git', [
        '-C',
        join(standing.state.folder, 'clone.git'),
        'fetch',
        '-q',
        gitUrl('build-logs', farm.settings.ports),
        '+main:main',
      ]).toString() +
      execFileSync('git', [
        '-C',
        join(standing.state.folder, 'clone.git'),
        'show',
        `main:${path}`,
      ]).toString();
    const own = text.split('\n').filter((line) => /^\S+ \S+ \+0000 > /.test(line));
    t.ok(own.length >= 1);
    t.strictSame(
      own.filter((line) => /2K|2026-01-01 00:00:00/.test(line)),
      [],
    );
    t.match(text, /\+0000 build-debian: 2026-01-01 00:00:00\.000000 \+0000 > closing log/);
  });
});
