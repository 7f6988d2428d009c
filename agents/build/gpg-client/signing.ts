// SPDX-License-Identifier: GPL-2.0-or-later
// From bytes to signature: intent, publication, grant, gate.
import { writeFileSync } from 'node:fs';
import { Refusal } from '../../shared/refusal.js';
import { complain, isOpenForCaller, readInput, writeTo } from './caller-streams.js';
import type { SigningCommand } from './command-line.js';
import { callGate, type GateAnswer } from './gate-call.js';
import { hashedPayload, publishIntent, writeIntent, type Wish } from './intent-call.js';
import { resolveKey } from './key-names.js';
import { describePayload } from './purpose.js';
import { readJobContext, type Settings } from './settings.js';

function job(): ReturnType<typeof readJobContext> {
  return readJobContext(process.env['BUILD_INFRA_JOB'], new Date());
}

/** Milliseconds since the process started, for `npm run bench`. */
function sayTimes(published: number, asked: number): void {
  const now = performance.now();
  if (process.env['BUILD_INFRA_TIMING'] === undefined) return;
  const ms = (value: number): string => value.toFixed(1);
  writeTo(2, Buffer.from(`build-infra: timing start=${ms(asked)} intent=${ms(published - asked)} signature=${ms(now - published)} total=${ms(now)}\n`));
}

/** Our own words, whatever the caller's were; 3 is the number of the status stream on this call. */
function gateArguments(key: string, mode: SigningCommand['mode'], armor: boolean, digest: string | undefined): string[] {
  return ['--status-fd=3', ...(digest === undefined ? [] : [`--digest-algo=${digest}`]), ...(armor ? ['--armor'] : []), '--local-user', key, mode === 'detach' ? '--detach-sign' : '--clearsign', '--', '-'];
}

/** @throws Refusal: the keys VM's own line where there is one */
function checked(answer: GateAnswer): GateAnswer {
  if (answer.status === 0 && answer.stdout.length > 0) return answer;
  const refused = /^build-infra: refused ([A-Z][A-Z0-9_]{0,63})(?: (.*))?$/m.exec(answer.stderr);
  if (refused !== null) throw new Refusal(refused[1] as string, refused[2] ?? '');
  throw new Refusal('NO_SIGNATURE', answer.stderr.trim() || `the keys VM answered with status ${answer.status} and no signature`);
}

/** A signing call of any tool. @returns the exit status; @throws Refusal */
export async function signForCaller(command: SigningCommand, settings: Settings): Promise<number> {
  const { statusFd } = command;
  if (statusFd !== undefined && !isOpenForCaller(statusFd)) throw new Refusal('BAD_OPTION', `descriptor ${statusFd} of --status-fd is not open`);
  try {
    const bytes = readInput(command.input);
    const key = resolveKey(command.user, settings);
    const { name, purpose } = describePayload(command.input, bytes);
    const wish: Wish = { purpose, key, mode: command.mode, payload: hashedPayload(name, bytes) };
    const asked = performance.now();
    await publishIntent(settings.qrexecClient, writeIntent(job(), [wish]));
    const published = performance.now();
    const answer = checked(await callGate(settings.qrexecClient, gateArguments(key, command.mode, command.armor, command.digest), bytes));
    sayTimes(published, asked);
    // gpg writes the signature, then its status: a caller that reads SIG_CREATED finds the file there.
    if (command.output === undefined) writeTo(1, answer.stdout);
    else writeFileSync(command.output, answer.stdout);
    if (statusFd !== undefined) writeTo(statusFd, Buffer.from(answer.statusText));
    return 0;
  } catch (error) {
    if (statusFd !== undefined) writeTo(statusFd, Buffer.from('[GNUPG:] FAILURE sign 1\n'));
    throw error;
  }
}

/**
 * reprepro's `SignWith: !script` contract: Release.new to be signed, then where InRelease and Release.gpg go, either possibly empty.
 * Both signatures are over the same bytes and are asked for in one intent.
 */
export async function signForReprepro([release, inRelease = '', releaseGpg = '']: readonly string[], settings: Settings): Promise<number> {
  if (release === undefined || release === '') throw new Refusal('NO_SUCH_FILE', 'reprepro named no file to sign');
  const bytes = readInput(release);
  const key = settings.signingKey;
  const payload = hashedPayload('Release', bytes);
  const wanted = [{ mode: 'clearsign' as const, file: inRelease }, { mode: 'detach' as const, file: releaseGpg }].filter(({ file }) => file !== '');
  if (wanted.length === 0) throw new Refusal('NO_SUCH_FILE', 'reprepro asked for no signature');
  const asked = performance.now();
  await publishIntent(settings.qrexecClient, writeIntent(job(), wanted.map(({ mode }): Wish => ({ purpose: 'apt-release', key, mode, payload }))));
  const published = performance.now();
  const answers = await Promise.all(wanted.map(({ mode }) => callGate(settings.qrexecClient, gateArguments(key, mode, true, undefined), bytes).then(checked)));
  answers.forEach((answer, index) => writeFileSync((wanted[index] as { file: string }).file, answer.stdout));
  sayTimes(published, asked);
  return 0;
}

/** gpgme looks for the secret key before it signs. */
export async function listSecretKeys(users: readonly string[], settings: Settings): Promise<number> {
  const answer = await callGate(settings.qrexecClient, ['--with-colons', '--list-secret-keys', '--', ...users], new Uint8Array());
  writeTo(1, answer.stdout);
  if (answer.stderr !== '') complain(answer.stderr.trimEnd());
  return answer.status;
}
