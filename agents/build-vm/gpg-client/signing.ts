// SPDX-License-Identifier: GPL-2.0-or-later
// From bytes to signature: intent, publication, a look at it in public, grant, gate.
import { AnyRefusal, RelayedRefusal } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import { CleartextCheck } from '../../shared/formats/cleartext.js';
import type { SigningMode } from '../../shared/formats/intent.js';
import type { ReadBack } from '../publication/read-back.js';
import type { Caller } from './caller.js';
import type { SigningCommand } from './command-line.js';
import { callGate, type GateAnswer } from './gate-call.js';
import { hashedPayload, publishIntent, type Told, type Wish } from './intent-call.js';
import { resolveKey } from './key-names.js';
import { describePayload } from './purpose.js';
import { readJobContext, type JobContext, type Settings } from './settings.js';

async function jobOf(caller: Caller): Promise<JobContext> {
  const { jobFile } = caller;
  if (jobFile === undefined || jobFile === '') return readJobContext(undefined, new Date());
  let text: string;
  try {
    text = (await caller.read(jobFile)).toString('utf8');
  } catch (error) {
    if (error instanceof AnyRefusal) throw new Refusal('BAD_JOB_FILE', `${jobFile} cannot be read`);
    throw error;
  }
  return readJobContext(text, new Date());
}

/** One line on stderr for whoever asked for it: milliseconds since the caller started. */
async function sayTimes(
  caller: Caller,
  published: number | undefined,
  asked: number | undefined,
): Promise<void> {
  const now = caller.elapsedMs();
  if (now === undefined || published === undefined || asked === undefined) return;
  const ms = (value: number): string => value.toFixed(1);
  await caller.write(
    2,
    Buffer.from(
      `build-infra: timing start=${ms(asked)} intent=${ms(published - asked)} signature=${ms(now - published)} total=${ms(now)}\n`,
    ),
  );
}

/** Our own words, whatever the caller's were; 3 is the number of the status stream on this call. */
function gateArguments(
  key: string,
  mode: SigningCommand['mode'],
  armor: boolean,
  digest: string | undefined,
): string[] {
  return [
    '--status-fd=3',
    ...(digest === undefined ? [] : [`--digest-algo=${digest}`]),
    ...(armor ? ['--armor'] : []),
    '--local-user',
    key,
    mode === 'detach' ? '--detach-sign' : '--clearsign',
    '--',
    '-',
  ];
}

/**
 * The keys VM would refuse it too, when everybody has read the intent already. @throws Refusal NOT_CANONICAL
 */
function refuseUncarried(name: string, mode: SigningMode, bytes: Buffer): void {
  if (mode !== 'clearsign') return;
  const check = new CleartextCheck();
  check.add(bytes);
  const fault = check.end();
  if (fault !== undefined)
    throw new Refusal(
      'NOT_CANONICAL',
      `${name}: line ${fault.line} ${fault.why}: a clear signature would not be over these bytes`,
    );
}

/** @throws Refusal: the keys VM's own line where there is one */
function checked(answer: GateAnswer): GateAnswer {
  if (answer.status === 0 && answer.stdout.length > 0) return answer;
  const refused = /^build-infra: refused ([A-Z][A-Z0-9_]{0,63})(?: (.*))?$/m.exec(answer.stderr);
  if (refused !== null) throw new RelayedRefusal(refused[1] as string, refused[2] ?? '');
  throw new Refusal(
    'NO_SIGNATURE',
    answer.stderr.trim() || `the keys VM answered with status ${answer.status} and no signature`,
  );
}

/**
 * Publishes the intent, and looks for it where everybody else would: from when the logs VM says that it is
 * there, while the keys VM takes it. @throws Refusal
 */
async function announce(
  job: JobContext,
  wishes: readonly Wish[],
  payload: Uint8Array,
  { qrexecClient, vm, publication }: Settings,
  readBack: ReadBack,
): Promise<void> {
  let look: Promise<void> | undefined;
  const begin = async (told: Told): Promise<void> =>
    publication === null ? undefined : await readBack.demand(publication, { ...told, source: vm });
  const told = await publishIntent(qrexecClient, job, wishes, payload, (early) => {
    look = begin(early);
    // A refusal of the logs VM is said first.
    look.catch(() => undefined);
  });
  // It was for the same commit, or there is no answer.
  await (look ?? begin(told));
}

/** A signing call of any tool. @returns the exit status; @throws Refusal */
export async function signForCaller(
  command: SigningCommand,
  settings: Settings,
  caller: Caller,
  readBack: ReadBack,
): Promise<number> {
  const { statusFd } = command;
  if (statusFd !== undefined && !(await caller.isOpen(statusFd)))
    throw new Refusal('BAD_OPTION', `descriptor ${statusFd} of --status-fd is not open`);
  try {
    const bytes = await caller.read(command.input);
    const key = await resolveKey(command.user, settings);
    const { name, purpose } = describePayload(command.input, bytes);
    refuseUncarried(name, command.mode, bytes);
    const wish: Wish = { purpose, key, mode: command.mode, payload: hashedPayload(name, bytes) };
    const job = await jobOf(caller);
    const asked = caller.elapsedMs();
    await announce(job, [wish], bytes, settings, readBack);
    const published = caller.elapsedMs();
    await caller.stillThere();
    const answer = checked(
      await callGate(
        settings.qrexecClient,
        gateArguments(key, command.mode, command.armor, command.digest),
        bytes,
      ),
    );
    await sayTimes(caller, published, asked);
    // gpg writes the signature, then its status: a caller that reads SIG_CREATED finds the file there.
    if (command.output === undefined) await caller.write(1, answer.stdout);
    else await caller.writeFile(command.output, answer.stdout);
    if (statusFd !== undefined) await caller.write(statusFd, Buffer.from(answer.statusText));
    return 0;
  } catch (error) {
    if (statusFd !== undefined) await caller.write(statusFd, Buffer.from('[GNUPG:] FAILURE sign 1\n'));
    throw error;
  }
}

/**
 * reprepro's `SignWith: !script` contract: Release.new to be signed, then where InRelease and Release.gpg go,
 * either possibly empty. Both signatures are over the same bytes and are asked for in one intent.
 */
export async function signForReprepro(
  [release, inRelease = '', releaseGpg = '']: readonly string[],
  settings: Settings,
  caller: Caller,
  readBack: ReadBack,
): Promise<number> {
  if (release === undefined || release === '')
    throw new Refusal('NO_SUCH_FILE', 'reprepro named no file to sign');
  const bytes = await caller.read(release);
  const key = settings.signingKey;
  const payload = hashedPayload('Release', bytes);
  const wanted = [
    { mode: 'clearsign' as const, file: inRelease },
    { mode: 'detach' as const, file: releaseGpg },
  ].filter(({ file }) => file !== '');
  if (wanted.length === 0) throw new Refusal('NO_SUCH_FILE', 'reprepro asked for no signature');
  for (const { mode } of wanted) refuseUncarried(payload.name, mode, bytes);
  const job = await jobOf(caller);
  const asked = caller.elapsedMs();
  await announce(
    job,
    wanted.map(({ mode }): Wish => ({ purpose: 'apt-release', key, mode, payload })),
    bytes,
    settings,
    readBack,
  );
  const published = caller.elapsedMs();
  await caller.stillThere();
  const answers = await Promise.all(
    wanted.map(({ mode }) =>
      callGate(settings.qrexecClient, gateArguments(key, mode, true, undefined), bytes).then(checked),
    ),
  );
  for (const [index, { file }] of wanted.entries())
    await caller.writeFile(file, (answers[index] as GateAnswer).stdout);
  await sayTimes(caller, published, asked);
  return 0;
}

/** gpgme looks for the secret key before it signs. */
export async function listSecretKeys(
  users: readonly string[],
  settings: Settings,
  caller: Caller,
): Promise<number> {
  const answer = await callGate(
    settings.qrexecClient,
    ['--with-colons', '--list-secret-keys', '--', ...users],
    new Uint8Array(),
  );
  await caller.write(1, answer.stdout);
  if (answer.stderr !== '') await caller.complain(answer.stderr.trimEnd());
  return answer.status;
}
