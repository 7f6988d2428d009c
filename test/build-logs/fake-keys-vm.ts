// SPDX-License-Identifier: GPL-2.0-or-later
// Keeps the protocol of LogReceived as a keys VM does (chain of commits, intents named in them, a
// hash-chained journal), without keys.
import { createHash, generateKeyPairSync } from 'node:crypto';
import { rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { readGitCommit } from '../../agents/shared/formats/git-commit.js';
import {
  journalFormat,
  journalLine,
  journalLineHash,
  noEntry,
  type JournalEntry,
} from '../../agents/shared/formats/journal.js';
import {
  journalHeadFormat,
  signJournalHead,
  type JournalHead,
} from '../../agents/shared/formats/journal-head.js';
import { readPublicationMessage } from '../../agents/shared/formats/publication.js';
import { receiptReplyFormat, type Receipt, type ReceiptResult } from '../../agents/shared/formats/receipt.js';

export class FakeKeysVm {
  readonly source: string;
  readonly path: string;
  head: string | null = null;
  seq = 0;
  readonly journal: string[] = [];
  readonly receipts: Receipt[] = [];
  readonly #key = generateKeyPairSync('ed25519');
  /** as it is pinned */
  readonly journalKey = Buffer.from(
    this.#key.publicKey.export({ format: 'jwk' }).x as string,
    'base64url',
  ).toString('hex');
  /** of the entries that one answer brings */
  entriesAtOnce = 1000;
  /** changes the answer's lines, or says nothing at all when it returns undefined */
  answering: (lines: string[]) => string[] | undefined = (lines) => lines;
  /** what else it must wait for before it answers */
  before: () => Promise<void> = () => Promise.resolve();
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  constructor(source: string, path: string) {
    this.source = source;
    this.path = path;
    this.#server = createServer({ allowHalfOpen: true }, (stream) => {
      const chunks: Buffer[] = [];
      this.#sockets.add(stream);
      stream.on('close', () => this.#sockets.delete(stream));
      stream.on('error', () => undefined);
      stream.on('data', (chunk) => chunks.push(chunk));
      stream.on(
        'end',
        () =>
          void this.before().then(() => {
            const all = Buffer.concat(chunks);
            // The agent was killed in the middle of its receipt.
            if (all.at(-1) !== 0x7d) return stream.end();
            const answer = this.answering(
              this.take(JSON.parse(all.subarray(all.indexOf(0) + 1).toString()) as Receipt),
            );
            stream.end(answer === undefined ? '' : answer.map((line) => `${line}\n`).join(''));
          }),
      );
    });
  }

  listen(): Promise<void> {
    return new Promise((resolve) => this.#server.listen(this.path, resolve));
  }

  /** Also where a caller said nothing to its end: half-open calls would hold the server for ever. */
  close(): Promise<void> {
    for (const stream of this.#sockets) stream.destroy();
    return new Promise((resolve) =>
      this.#server.close(() => {
        rmSync(this.path, { force: true });
        resolve();
      }),
    );
  }

  enter(event: JournalEntry['event'], about: Partial<JournalEntry> = {}): void {
    const last = this.journal.at(-1);
    this.journal.push(
      journalLine({
        format: journalFormat,
        seq: this.journal.length + 1,
        prev: last === undefined ? noEntry : journalLineHash(last),
        time: new Date().toISOString(),
        event,
        source: this.source,
        sha256: null,
        key: null,
        mode: null,
        commit: null,
        intent: null,
        result: '',
        ...about,
      }),
    );
  }

  /** @returns the answer's lines */
  take(receipt: Receipt): string[] {
    this.receipts.push(receipt);
    const known = receipt.journal?.seq ?? 0;
    const result = this.#judge(receipt);
    if (this.journal.length === 0)
      this.enter('start', { source: null, result: 'b0075a1d-0000-4000-8000-000000000000' });
    return [
      JSON.stringify({ ...result, journalHead: this.journalHead() }),
      ...this.journal.slice(known, known + this.entriesAtOnce),
    ];
  }

  /** For the same end as in another's answer, signed by this one's key. */
  headLike(lines: readonly string[]): JournalHead {
    const { journalHead } = JSON.parse(lines[0] as string) as { journalHead: JournalHead };
    return signJournalHead(journalHead, this.#key.privateKey);
  }

  journalHead(seq = this.journal.length): JournalHead {
    const entry = journalLineHash(this.journal[seq - 1] as string);
    return signJournalHead(
      {
        format: journalHeadFormat,
        keysVm: `keys-${this.source.replace(/^build-/, '')}`,
        seq,
        entry,
        commit: this.head,
        boot: 'b0075a1d-0000-4000-8000-000000000000',
        time: new Date().toISOString(),
      },
      this.#key.privateKey,
    );
  }

  #judge(receipt: Receipt): ReceiptResult {
    const refuse = (code: string): ReceiptResult => ({
      format: receiptReplyFormat,
      result: 'refused',
      head: this.head,
      code,
      detail: code,
    });
    const until = new Date(Date.now() + 900_000).toISOString();
    const commits = receipt.proof.commits.map((encoded) => readGitCommit(Buffer.from(encoded, 'base64')));
    if (commits.length === 0) {
      return receipt.commit === this.head && receipt.grants.length === 0
        ? { format: receiptReplyFormat, result: 'accepted', head: receipt.commit, granted: 0, until }
        : refuse('EMPTY_PROOF');
    }
    let head = this.head;
    let seq = this.seq;
    for (const commit of commits) {
      if ((commit.parents[0] ?? null) !== head) return refuse('GAP');
      if (readPublicationMessage(commit.message).seq !== ++seq) return refuse('BAD_SEQ');
      head = commit.id;
    }
    if (head !== receipt.commit) return refuse('WRONG_COMMIT');
    const named = new Set(
      commits
        .flatMap((commit) => readPublicationMessage(commit.message).files)
        .filter((file) => file.path.startsWith(`intents/${this.source}/`))
        .map((file) => file.sha256),
    );
    for (const encoded of receipt.proof.intents) {
      if (!named.has(createHash('sha256').update(Buffer.from(encoded, 'base64')).digest('hex')))
        return refuse('INTENT_NOT_PUBLISHED');
    }
    this.head = head;
    this.seq = seq;
    for (const grant of receipt.grants)
      this.enter('granted', {
        sha256: grant.sha256,
        key: grant.key,
        mode: grant.mode,
        commit: head,
        intent: grant.intent,
        result: until,
      });
    return { format: receiptReplyFormat, result: 'accepted', head, granted: receipt.grants.length, until };
  }
}
