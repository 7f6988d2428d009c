// SPDX-License-Identifier: GPL-2.0-or-later
// qubes.Gpg, the gate. A signature leaves this VM only on this path, in this order:
//
//  1. the caller is the configured build VM;
//  2. its command line asks for a detached or clear signature and for nothing else (gpg-request.ts);
//  3. the bytes are hashed while they are put aside (spool.ts);
//  4. a clear signature would carry them unchanged (cleartext.ts), and nothing follows them;
//  5. there is a live grant for that SHA-256, key and mode, from a published intent;
//  6. the claim is in the journal, on disk: from here on the grant is used up, even if the power fails;
//  7. gpg signs the bytes that were put aside, by a command line of ours that names the claim (signer.ts),
//     and what it made is what was ordered
//     (made-signature.ts);
//  8. the hash of the signature is in the journal, on disk;
//  9. the signature is sent.
import { createHash } from 'node:crypto';
import { availableParallelism } from 'node:os';
import type { Call, Reporter, Service } from '../shared/calls/socket-service.js';
import { printable } from '../shared/refusal.js';
import { Refusal } from './refusals.js';
import { CleartextCheck } from '../shared/formats/cleartext.js';
import { clearsignLimitBytes } from '../shared/formats/intent.js';
import { Room } from '../shared/room.js';
import type { KeysConfig } from './documents.js';
import { CallerGone, GpgCall, type CallLimits } from './gpg-call.js';
import { readGpgRequest, type GpgRequest } from './gpg-request.js';
import type { JournalNote } from './journal.js';
import type { Ledger } from './ledger.js';
import { sign } from './signer.js';
import type { Gpg, SigningKeys } from './signing-keys.js';
import type { Spool, SpooledPayload } from './spool.js';

export interface GpgServiceOptions {
  config: KeysConfig;
  ledger: Ledger;
  keys: SigningKeys;
  gpg: Gpg;
  spool: Spool;
  report: Reporter;
  limits?: CallLimits;
}

/** What a refusal's journal entry says, as far as the call got. */
type About = Pick<JournalNote, 'source' | 'sha256' | 'key' | 'mode'>;
type SignRequest = Extract<GpgRequest, { kind: 'sign' }>;

export function gpgService(options: GpgServiceOptions): Service {
  const { config, ledger, keys, gpg, spool, report } = options;
  const limits = options.limits ?? { preambleMs: 10_000, payloadMs: 300_000 };
  const room = new Room(availableParallelism() + 1);

  async function signPayload(
    call: GpgCall,
    request: SignRequest,
    key: string,
    payload: SpooledPayload,
    about: About,
  ): Promise<void> {
    const text = request.mode === 'clearsign' ? new CleartextCheck() : undefined;
    await call.readPayload((bytes) => {
      payload.add(bytes);
      text?.add(bytes);
    }, limits.payloadMs);
    const sha256 = (about.sha256 = payload.sha256());
    if (request.mode === 'clearsign' && payload.size > clearsignLimitBytes)
      throw new Refusal('TOO_LARGE', `more than ${clearsignLimitBytes} bytes for a clear signature`);
    const fault = text?.end();
    if (fault !== undefined)
      throw new Refusal(
        'NOT_CANONICAL',
        `line ${fault.line} ${fault.why}: a clear signature would not be over these bytes`,
      );
    await room.pass(async () => {
      if (!call.callerIsThere) throw new CallerGone('the caller went away');
      call.refuseMore();
      const { grant, claim } = ledger.claim(config.source, sha256, key, request.mode);
      const origin = { commit: grant.commit, seq: claim.seq, claim: claim.sha256 };
      const made = await sign(gpg, {
        key,
        mode: request.mode,
        armor: request.armor,
        digest: request.digest,
        payload: { fd: payload.fd, size: payload.size, sha256 },
        origin,
      });
      if ('failed' in made) {
        report(`qubes.Gpg: ${printable(made.why)}`);
        ledger.failed(grant, made.failed.code);
        return call.deny(made.failed.line());
      }
      ledger.signed(grant, createHash('sha256').update(made.bytes).digest('hex'));
      call.answer(made.bytes, made.statusText);
    });
  }

  async function serve(call: GpgCall, about: About): Promise<void> {
    const request = readGpgRequest(await call.readArguments(limits.preambleMs));
    if (request.kind === 'version') return call.answer(keys.version);
    if (request.kind === 'list') return call.answer(keys.list(request.secret, request.users));
    if (request.kind === 'export') return call.answer(keys.export(request.armor, request.users));
    const key = (about.key = keys.resolve(request.user));
    about.mode = request.mode;
    const payload = spool.take();
    try {
      await signPayload(call, request, key, payload, about);
    } finally {
      payload.close();
    }
  }

  /** Every "no" to the build VM is for the journal, with what was known of the request. */
  async function serveJournaled(call: GpgCall): Promise<void> {
    const about: About = { source: config.source };
    try {
      await serve(call, about);
    } catch (error) {
      if (error instanceof Refusal) ledger.refused({ ...about, result: error.code });
      throw error;
    }
  }

  async function handle({ source, stream }: Call): Promise<void> {
    const call = new GpgCall(stream);
    try {
      if (source !== config.source) {
        ledger.refused({ source, result: 'WRONG_SOURCE' });
        throw new Refusal('WRONG_SOURCE', `this VM signs for ${config.source} only`);
      }
      await serveJournaled(call);
    } catch (error) {
      if (error instanceof CallerGone) {
        stream.destroy();
      } else if (error instanceof Refusal) {
        report(`qubes.Gpg from ${source}: ${error.line()}`);
        call.deny(error.line());
      } else {
        report(`qubes.Gpg from ${source}: fault: ${printable(String((error as Error).stack ?? error))}`);
        call.deny('fault');
      }
    }
  }

  return {
    name: 'qubes.Gpg',
    argument: '^$',
    handle,
    deny: (stream, line) => new GpgCall(stream).deny(line),
  };
}
