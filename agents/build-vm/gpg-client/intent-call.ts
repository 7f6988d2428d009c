// SPDX-License-Identifier: GPL-2.0-or-later
// Saying in public what shall be signed, before it is asked for.
import { createHash, randomBytes } from 'node:crypto';
import { matches, objectIdPattern } from '../../shared/formats/names.js';
import { callService } from '../../shared/calls/qrexec-call.js';
import { RelayedRefusal } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import {
  intentFormat,
  intentReplyFormat,
  isPublishedPayload,
  publishedPayloadLimitBytes,
  type HashedFile,
  type Intent,
  type IntentDocument,
  type Purpose,
  type SigningMode,
} from '../../shared/formats/intent.js';
import type { Announced } from '../publication/read-back.js';
import type { JobContext } from './settings.js';

export interface Wish {
  purpose: Purpose;
  key: string;
  mode: SigningMode;
  payload: HashedFile;
}

/** What the logs VM says about a document of ours. */
export type Told = Omit<Announced, 'source'>;

export function hashedPayload(name: string, bytes: Uint8Array): HashedFile {
  return { name, size: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
}

/** One document for all wishes: they are published, and granted, together. */
export function writeIntent(job: JobContext, wishes: readonly Wish[]): string {
  const nonce = randomBytes(16).toString('hex');
  const intents = wishes.map(({ purpose, key, mode, payload }): Intent => ({
    job: job.job,
    component: job.component,
    version: job.version,
    dist: job.dist,
    purpose,
    key,
    mode,
    payload,
    logs: job.logs,
    artifacts: job.artifacts,
    nonce,
  }));
  const document: IntentDocument =
    intents.length === 1
      ? { format: intentFormat, ...(intents[0] as Intent) }
      : { format: intentFormat, intents };
  return `${JSON.stringify(document)}\n`;
}

/**
 * @returns undefined where this line of the answer does not say that the intent is public, though not granted
 * yet
 */
function readIsPublic(untrustedLine: string): Pick<Announced, 'commit' | 'commits'> | undefined {
  try {
    const { format, result, commit, commits } = JSON.parse(untrustedLine) as Record<string, unknown>;
    if (
      format !== intentReplyFormat ||
      result !== 'public' ||
      !matches(objectIdPattern, commit) ||
      !Array.isArray(commits)
    )
      return undefined;
    return { commit, commits: commits.map((body) => Buffer.from(String(body), 'base64')) };
  } catch {
    return undefined;
  }
}

/**
 * @returns the commit that published it @throws Refusal with the code of the answer, or NO_ANSWER for
 * whatever is not an explicit yes
 */
export function readIntentReply(untrustedAnswer: Buffer): string {
  const whole = untrustedAnswer.toString('utf8').trim();
  const first = whole.indexOf('\n');
  const toldBefore = first < 0 ? undefined : readIsPublic(whole.slice(0, first))?.commit;
  const line = toldBefore === undefined ? whole : whole.slice(first + 1);
  const refused = /^refused ([A-Z][A-Z0-9_]{0,63})(?: (.*))?$/.exec(line);
  if (refused !== null) throw new RelayedRefusal(refused[1] as string, refused[2] ?? '');
  let reply: Record<string, unknown>;
  try {
    reply = JSON.parse(line) as Record<string, unknown>;
  } catch {
    throw new Refusal('NO_ANSWER', `build-logs gave no answer that says yes: ${line}`);
  }
  const commit = reply?.['commit'];
  if (
    reply?.['format'] === intentReplyFormat &&
    reply['result'] === 'published' &&
    matches(objectIdPattern, commit) &&
    (toldBefore ?? commit) === commit
  )
    return commit;
  const { code, detail } = reply ?? {};
  if (typeof code === 'string' && /^[A-Z][A-Z0-9_]{0,63}$/.test(code))
    throw new RelayedRefusal(code, typeof detail === 'string' ? detail : '');
  throw new Refusal('NO_ANSWER', 'build-logs gave no answer that says yes');
}

/**
 * Returns once the logs VM says that the intent is published on every required remote, and the keys VM has
 * it.
 * @param wishes all for one payload, whose bytes these are: they are published too where that is demanded
 * @param isPublic told once it is on every required remote, if the logs VM says so before the keys VM has it
 * @throws Refusal
 */
export async function publishIntent(
  client: string,
  job: JobContext,
  wishes: readonly Wish[],
  payload: Uint8Array,
  isPublic: (told: Told) => void,
): Promise<Told> {
  const document = Buffer.from(writeIntent(job, wishes));
  const published = wishes.find(isPublishedPayload);
  if (published !== undefined && payload.length > publishedPayloadLimitBytes)
    throw new Refusal(
      'TOO_LARGE',
      `${published.payload.name}: what is signed as ${published.purpose} is published, so it has at most ${publishedPayloadLimitBytes} bytes`,
    );
  const input = published === undefined ? document : Buffer.concat([document, payload]);
  const { size, sha256 } = hashedPayload('intent', document);
  const onFirstLine = (line: string): void => {
    const told = readIsPublic(line);
    if (told !== undefined) isPublic({ ...told, size, sha256 });
  };
  const commit = readIntentReply(
    await callService({
      client,
      service: 'qubesbuilder.BuildLog+intent',
      input,
      limitBytes: 64 * 1024,
      timeoutMs: 180_000,
      onFirstLine,
    }),
  );
  return { commit, commits: [], size, sha256 };
}
