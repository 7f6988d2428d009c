// SPDX-License-Identifier: GPL-2.0-or-later
// The audit of a long history: commits a second against `git log --format=%G?` on the same repository in the
// same run, which has one gpg look at each signature and reads no file, and the most memory that the audit
// took. AUDIT_COMMITS says how long the history is.
import { execFileSync, spawn } from 'node:child_process';
import {
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
import { makeHistory } from '../audit/long-history.js';

/** Of these, `git log` looks at the newest: as long for each, and minutes for more. */
const loggedCommits = 500;

/**
 * Runs the audit; MiB of memory at its peak, by the kernel's count, seconds of all, and until it had fetched
 */
function audited(
  args: readonly string[],
  folder: string,
): Promise<{ mib: number; seconds: number; fetched: number }> {
  const started = performance.now();
  const seconds = (): number => (performance.now() - started) / 1000;
  const scratch = mkdtempSync(join(folder, 'scratch-'));
  const child = spawn(process.execPath, [...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, TMPDIR: scratch },
  });
  let said = '';
  let kib = 0;
  let fetched: number | undefined;
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const timer = setInterval(() => {
    try {
      kib = Number(
        /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1] ?? kib,
      );
    } catch {
      // It has just ended.
    }
    // git writes it when all is there.
    if (
      fetched === undefined &&
      readdirSync(scratch).some((one) => existsSync(join(scratch, one, 'logs.git/refs/audit/0')))
    )
      fetched = seconds();
  }, 20);
  return new Promise((resolve, reject) =>
    child.on('close', (status) => {
      clearInterval(timer);
      if (status === 0 && fetched !== undefined) resolve({ mib: kib / 1024, seconds: seconds(), fetched });
      else reject(new Error(`the audit ended with ${status}: ${said.slice(-2000)}`));
    }),
  );
}

export async function benchAudit(dist: string): Promise<void> {
  const count = Number(process.env['AUDIT_COMMITS'] ?? 20_000);
  const folder = mkdtempSync(join(tmpdir(), 'ba-'));
  const home = join(folder, 'gnupg');
  try {
    const { repository, publicKey, journalKey } = await makeHistory(folder, count);
    const key = join(folder, 'key.asc');
    writeFileSync(key, publicKey);
    mkdirSync(home, { mode: 0o700 });
    execFileSync('gpg', ['--homedir', home, '--batch', '--quiet', '--import', key], { stdio: 'ignore' });
    const logged = Math.min(loggedCommits, count);
    const started = performance.now();
    const states = execFileSync(
      'git',
      ['--git-dir', repository, 'log', '--format=%G?', '-n', String(logged), 'main'],
      { env: { PATH: process.env['PATH'], GNUPGHOME: home, HOME: folder } },
    ).toString();
    const rate = logged / ((performance.now() - started) / 1000);
    if (!/^(?:[GU]\n)+$/.test(states))
      throw new Error(`git log does not find these commits good: ${states.slice(0, 20)}`);
    const { mib, seconds, fetched } = await audited(
      [
        join(dist, 'build-infra.mjs'),
        'audit',
        '--logs',
        repository,
        '--logs-key',
        key,
        '--journal-key',
        journalKey,
      ],
      folder,
    );
    const read = count / (seconds - fetched);
    process.stdout.write(
      `audit, ${count} publications    ${read.toFixed(0)} commits/s once they are fetched: ${(read / rate).toFixed(1)} times git log --format=%G? with ${rate.toFixed(0)}/s (at least 10); ${(count / seconds / rate).toFixed(1)} times with the fetch of ${fetched.toFixed(0)} s; at most ${mib.toFixed(0)} MiB (at most 500 for 100,000)\n`,
    );
  } finally {
    execFileSync('gpgconf', ['--homedir', home, '--kill', 'all'], { stdio: 'ignore' });
    rmSync(folder, { recursive: true, force: true });
  }
}
