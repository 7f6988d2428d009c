// SPDX-License-Identifier: GPL-2.0-or-later
// qubesbuilder.BuildLog+intent: "I want these bytes signed". Checked, published, shown to the keys VM,
// answered: in this order.
import { createHash } from 'node:crypto';
import { readPublicDocument, type Check } from '../shared/json-document.js';
import { checkWith } from '../shared/json-schema.js';
import { AnyRefusal, printable } from '../shared/refusal.js';
import { Refusal } from './refusals.js';
import type { Call, Reporter } from '../shared/calls/socket-service.js';
import {
  clearsignLimitBytes,
  intentLimitBytes,
  intentReplyFormat,
  intentSchema,
  intentsOf,
  publicCommitsLimitBytes,
  publishedDocumentLimitBytes,
  type Intent,
  type IntentDocument,
  type IntentIsPublic,
  type IntentReply,
} from '../shared/formats/intent.js';
import type { SourceConfig } from './config.js';
import { IntentInput, payloadsToPublish, sumOf } from './intent-input.js';
import { Room } from '../shared/room.js';
import type { Publisher } from './publisher.js';
import type { Receipts } from './receipts.js';

const checkIntent: Check<IntentDocument> = checkWith(intentSchema);
const readTimeoutMs = 30_000;

export interface IntentOptions {
  sources: ReadonlyMap<string, SourceConfig>;
  receipts: ReadonlyMap<string, Receipts>;
  publisher: Publisher;
  /** whether BuildLog has, or the repository holds, a log of that path */
  logExists: (path: string) => Promise<boolean>;
  report: Reporter;
}

/**
 * What the keys VM would refuse once everybody has read it, is refused before. @throws Refusal
 * KEY_NOT_ALLOWED, TOO_LARGE, LOG_UNKNOWN
 */
async function checkIntents(
  intents: readonly Intent[],
  source: SourceConfig,
  logExists: IntentOptions['logExists'],
): Promise<void> {
  const logs = new Set<string>();
  for (const intent of intents) {
    if (!source.keys.includes(intent.key))
      throw new Refusal('KEY_NOT_ALLOWED', `${source.vm} may not ask for key ${intent.key}`, '/key');
    const limit =
      intent.mode === 'clearsign' ? Math.min(clearsignLimitBytes, source.payloadBytes) : source.payloadBytes;
    if (intent.payload.size > limit)
      throw new Refusal(
        'TOO_LARGE',
        `${intent.payload.name}: ${source.keysVm} signs at most ${limit} bytes in mode ${intent.mode}`,
        '/payload',
      );
    for (const path of intent.logs) logs.add(path);
  }
  for (const path of logs) {
    // Whose log it is stands at its beginning; that the file exists alone would let one VM point at another's
    // log.
    if (!path.startsWith(`${source.vm}/`) || !(await logExists(path)))
      throw new Refusal('LOG_UNKNOWN', `${path} is no log of ${source.vm}`, '/logs');
  }
}

const say = ({ stream }: Call, reply: IntentReply | IntentIsPublic): void => {
  if (stream.writable) stream.write(`${JSON.stringify(reply)}\n`);
};

/** Payloads are in memory from their arrival to their publication: so many bytes of one build VM at once. */
const roomBytes = 2 * publishedDocumentLimitBytes;

export function intentHandler(options: IntentOptions): (call: Call) => Promise<void> {
  const asked = new Set<string>();
  const rooms = new Map<string, Room>();
  const roomOf = (vm: string): Room => {
    const room = rooms.get(vm) ?? new Room(roomBytes);
    rooms.set(vm, room);
    return room;
  };

  async function publish(call: Call, source: SourceConfig, receipts: Receipts): Promise<IntentReply> {
    receipts.demandTrust();
    // Before anything is read: who has used up its share costs nothing more.
    options.publisher.demandShare(source.vm, 0);
    const input = new IntentInput(call.stream, readTimeoutMs);
    const bytes = await input.document();
    const intents = intentsOf(readPublicDocument(bytes, intentLimitBytes, checkIntent));
    const wanted = payloadsToPublish(intents);
    await checkIntents(intents, source, options.logExists);
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    // A second grant of the same document would make the keys VM refuse the whole receipt.
    if (asked.has(sha256) || (await options.publisher.isKnownIntent(source.vm, sha256)))
      throw new Refusal(
        'INTENT_KNOWN',
        'this very document was published already; ask again with another nonce',
      );
    const grants = intents.map((intent) => ({
      sha256: intent.payload.sha256,
      size: intent.payload.size,
      key: intent.key,
      mode: intent.mode,
      intent: sha256,
    }));
    asked.add(sha256);
    const publishedBytes = bytes.length + sumOf(wanted);
    options.publisher.demandShare(source.vm, publishedBytes);
    const confirmed = (commit: string): void =>
      say(call, {
        format: intentReplyFormat,
        result: 'public',
        intent: sha256,
        commit,
        commits: options.publisher
          .newestCommits(commit, publicCommitsLimitBytes)
          .map((body) => body.toString('base64')),
      });
    const { commit, grantedUntil } = await roomOf(source.vm)
      .pass(
        async () =>
          options.publisher.publish({
            source: source.vm,
            sha256,
            bytes,
            publishedBytes,
            grants,
            confirmed,
            payloads: await input.payloads(wanted),
          }),
        sumOf(wanted),
      )
      .finally(() => asked.delete(sha256));
    return { format: intentReplyFormat, result: 'published', intent: sha256, commit, grantedUntil };
  }

  return async (call) => {
    const answer = (reply: IntentReply): void => {
      say(call, reply);
      call.stream.end();
    };
    try {
      const source = options.sources.get(call.source);
      const receipts = options.receipts.get(call.source);
      if (source === undefined || receipts === undefined)
        throw new Refusal('UNKNOWN_SOURCE', 'this VM signs nothing here');
      answer(await publish(call, source, receipts));
    } catch (error) {
      const refusal =
        error instanceof AnyRefusal
          ? error
          : new Refusal('FAULT', 'the build-logs VM failed; its own log says why');
      options.report(
        `intent from ${call.source}: ${error instanceof AnyRefusal ? refusal.line() : printable(String((error as Error).stack ?? error))}`,
      );
      answer({
        format: intentReplyFormat,
        result: 'refused',
        code: refusal.code,
        detail: `${refusal.field === undefined ? '' : `${refusal.field}: `}${refusal.detail}`,
      });
    }
  };
}
