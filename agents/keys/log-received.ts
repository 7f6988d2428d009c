// SPDX-License-Identifier: GPL-2.0-or-later
// qubesbuilder.LogReceived: a receipt in, one line of reply and the journal entries that the build-logs VM
// does not have yet out.
import { readAll, type Call, type Reporter, type Service } from '../shared/calls/socket-service.js';
import { readDocument } from '../shared/json-document.js';
import { Refusal } from './refusals.js';
import { vmNamePattern } from '../shared/formats/names.js';
import {
  receiptLimitBytes,
  receiptReplyFormat,
  type Receipt,
  type ReceiptReply,
  type ReceiptResult,
} from '../shared/formats/receipt.js';
import { Room } from '../shared/room.js';
import { readReceipt, type KeysConfig } from './documents.js';
import type { Ledger } from './ledger.js';
import type { VerifyCommit } from './logs-key.js';
import { checkReceipt } from './receipt-check.js';

/** Under 700 bytes each; what is left over comes with the next reply. */
const repliedEntries = 1000;
const openReceipts = 8;

/**
 * A build-logs VM that was restarted, or that did not get our last answer, runs into these honestly: they are
 * not worth an entry.
 */
const outOfStep = new Set<Refusal['code']>([
  'ALREADY_RECEIVED',
  'OLD_RECEIPT',
  'STARTS_EARLY',
  'GAP',
  'EMPTY_PROOF',
  'NOT_FROM_ROOT',
  'NOT_FROM_ANCHOR',
]);

export interface LogReceivedOptions {
  config: KeysConfig;
  ledger: Ledger;
  verify: VerifyCommit;
  report: Reporter;
}

export function logReceived({ config, ledger, verify, report }: LogReceivedOptions): Service {
  // One at a time: the commit that is remembered cannot change between a receipt's check and its acceptance.
  const room = new Room(1);
  const places = new Room(openReceipts);

  async function take(receipt: Receipt): Promise<ReceiptResult> {
    const proven = await checkReceipt(receipt, config, ledger.head, verify, (file) =>
      ledger.entriesPublished(config.vm, file),
    );
    const until = ledger.accept(proven.head, receipt.source, proven.grants, proven.timesAsked);
    return {
      format: receiptReplyFormat,
      result: 'accepted',
      head: proven.head.commit,
      granted: proven.grants.length,
      until,
    };
  }

  function refuse(refusal: Refusal, receipt?: Receipt): ReceiptResult {
    report(`qubesbuilder.LogReceived: ${refusal.line()}`);
    // Two histories signed by one key are worth knowing by name.
    const commit =
      refusal.code === 'FORK' || refusal.code === 'JOURNAL_ALTERED' ? (receipt?.commit ?? null) : null;
    if (!outOfStep.has(refusal.code)) ledger.refused({ source: config.source, commit, result: refusal.code });
    return {
      format: receiptReplyFormat,
      result: 'refused',
      head: ledger.head?.commit ?? null,
      code: refusal.code,
      detail: refusal.message.slice(refusal.code.length + 2),
    };
  }

  /** The journal as it is on disk at this moment, with what the receipt itself brought into it. */
  function say(result: ReceiptResult): string {
    return JSON.stringify({ ...result, journalHead: ledger.journalHead(config.vm) } satisfies ReceiptReply);
  }

  async function answer(call: Call, untrustedBytes: Buffer): Promise<string[]> {
    let receipt: Receipt;
    let known: Receipt['journal'];
    try {
      receipt = readDocument(untrustedBytes, receiptLimitBytes, readReceipt);
      if (receipt.source !== config.source || call.argument !== config.source)
        throw new Refusal('WRONG_SOURCE', `this VM signs for ${config.source} only`);
      known = receipt.journal;
      ledger.linesAfter(known, 0);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return [say(refuse(error))];
    }
    const reply = await take(receipt).catch((error: unknown) => {
      if (error instanceof Refusal) return refuse(error, receipt);
      throw error;
    });
    return [say(reply), ...ledger.linesAfter(known, repliedEntries)];
  }

  return {
    name: 'qubesbuilder.LogReceived',
    argument: vmNamePattern,
    async handle(call) {
      if (call.source !== config.logsVm) {
        ledger.refused({ source: call.source, result: 'NOT_LOGS_VM' });
        throw new Refusal('NOT_LOGS_VM', 'receipts come from the build-logs VM only');
      }
      const leave = places.enterNow();
      if (leave === undefined) throw new Refusal('BUSY', 'too many receipts at once');
      try {
        const untrustedBytes = await readAll(call.stream, receiptLimitBytes);
        const lines = await room.pass(() => answer(call, untrustedBytes));
        call.stream.end(lines.map((line) => `${line}\n`).join(''));
      } finally {
        leave();
      }
    },
  };
}
