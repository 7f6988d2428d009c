// SPDX-License-Identifier: GPL-2.0-or-later
// Whether a receipt proves what it claims. The build-logs VM holds the logs key and is not believed beyond
// that: it can withhold, but it cannot make this VM sign bytes that are not named in a published, signed
// history that only ever grew. The checks, in this order; the first that fails refuses the whole receipt:
//
//  1. remotes    every remote that the configuration requires is said to have confirmed the publication.
//  2. commits    each is a commit object that we can read to its last byte; its id is computed here; each has
//     its predecessor
//                as its only parent, and its `seq:` is one more.
//  3. position   the first one's parent is the commit that this VM remembers. On the first receipt: the first
//     one is the root
//                (seq 1, no parent), or the configured anchor or its child. Anything else is a fork, a gap,
//                or old.
//  4. signatures gpgv finds on each commit exactly one good signature, by the pinned logs key (logs-key.ts).
//  5. journal    what a commit publishes as this VM's journal is, byte for byte, a beginning of it: whoever
//     carries the journal
//                cannot leave out or rewrite an entry and then get another signature. The receipt holds at
//                least as many entries as
//                were ever published to this VM's knowledge. A VM without memory whose journal is published
//                has lost its state.
//  6. end        the last commit is the one that the receipt names.
//  7. intents    the SHA-256 and size of each intent document stand in a line `file
//     intents/<source>/<day>/<sha256>.json` of one of
//                THESE commits, and the document is one that we can read to its last field.
//     payloads   each payload that has to be public (`isPublishedPayload`) stands, with its size, in a line
//                `file payloads/<source>/<day>/<intent>/<sha256>` of the very commit of its intent.
//  8. grants     each has the sha256, size, key and mode of an intent in the document it names; its key is
//     one of ours.
//  9. once       no entry of an intent document is granted more often than it stands in it, counted over all
//     time (ledger.ts).
import { createHash } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { readPublicDocument } from '../shared/json-document.js';
import { Refusal } from './refusals.js';
import { readGitCommit, type GitCommit } from '../shared/formats/git-commit.js';
import { intentLimitBytes, intentsOf, isPublishedPayload, type Intent } from '../shared/formats/intent.js';
import { payloadPath, readPublicationMessage, type PublishedFile } from '../shared/formats/publication.js';
import type { GrantRequest, Receipt } from '../shared/formats/receipt.js';
import { Room } from '../shared/room.js';
import { readIntent, type KeysConfig } from './documents.js';
import type { Head } from './ledger.js';
import type { VerifyCommit } from './logs-key.js';

interface Publication {
  commit: GitCommit;
  seq: number;
  files: PublishedFile[];
}

export interface ProvenReceipt {
  head: Head;
  grants: GrantRequest[];
  /** how often a grant's entry stands in its intent document: at least once for each of `grants` */
  timesAsked: (grant: GrantRequest) => number;
}

function fromBase64(untrusted: string): Buffer {
  const bytes = Buffer.from(untrusted, 'base64');
  if (bytes.toString('base64') !== untrusted)
    throw new Refusal('BAD_DOCUMENT', 'a part of the proof is not base64', '/proof');
  return bytes;
}

function readChain(untrustedCommits: readonly string[]): Publication[] {
  const chain = untrustedCommits.map((encoded): Publication => {
    const commit = readGitCommit(fromBase64(encoded));
    const { seq, files } = readPublicationMessage(commit.message);
    return { commit, seq, files };
  });
  chain.forEach(({ commit, seq }, index) => {
    if (commit.parents.length > 1)
      throw new Refusal('NOT_ONE_PARENT', `commit ${commit.id} has ${commit.parents.length} parents`);
    const before = chain[index - 1];
    if (before === undefined) return;
    if (commit.parents[0] !== before.commit.id)
      throw new Refusal('NOT_A_CHAIN', `commit ${commit.id} does not follow on ${before.commit.id}`);
    if (seq !== before.seq + 1)
      throw new Refusal('BAD_SEQ', `commit ${commit.id} has seq ${seq} after ${before.seq}`);
  });
  return chain;
}

function checkStart(chain: readonly Publication[], anchor: string | null): void {
  const first = chain[0] as Publication;
  const isRoot = first.commit.parents.length === 0 && first.seq === 1;
  if (anchor === null) {
    if (!isRoot) throw new Refusal('NOT_FROM_ROOT', 'the first receipt must begin with the root commit');
  } else if (
    first.commit.id !== anchor &&
    first.commit.parents[0] !== anchor &&
    !(isRoot && chain.some(({ commit }) => commit.id === anchor))
  ) {
    throw new Refusal(
      'NOT_FROM_ANCHOR',
      `the first receipt must begin at commit ${anchor}, or after it, or hold it`,
    );
  }
}

/** A commit with the number of the one we remember but another id is a second history, whoever made it. */
function checkContinues(chain: readonly Publication[], head: Head): void {
  const first = chain[0] as Publication;
  const last = chain.at(-1) as Publication;
  if (first.commit.parents[0] === head.commit) {
    if (first.seq !== head.seq + 1)
      throw new Refusal('BAD_SEQ', `commit ${first.commit.id} has seq ${first.seq} after ${head.seq}`);
    return;
  }
  const sameSeq = chain.find(({ seq }) => seq === head.seq);
  if (sameSeq !== undefined && sameSeq.commit.id !== head.commit)
    throw new Refusal('FORK', `commit ${sameSeq.commit.id} stands where ${head.commit} was published`);
  if (first.seq === head.seq + 1)
    throw new Refusal('FORK', `commit ${first.commit.id} does not follow on ${head.commit}`);
  if (last.commit.id === head.commit)
    throw new Refusal('ALREADY_RECEIVED', `commit ${head.commit} was received before`);
  if (sameSeq !== undefined) throw new Refusal('STARTS_EARLY', `the proof must begin after ${head.commit}`);
  if (first.seq > head.seq)
    throw new Refusal('GAP', `the commits from seq ${head.seq + 1} to ${first.seq - 1} are missing`);
  throw new Refusal('OLD_RECEIPT', `seq ${head.seq} was received before`);
}

async function checkSignatures(chain: readonly Publication[], verify: VerifyCommit): Promise<void> {
  const room = new Room(availableParallelism());
  let refusal: Error | undefined;
  await Promise.all(
    chain.map(({ commit }) =>
      room.pass(async () => {
        // A wrong one ends the work on the others.
        if (refusal === undefined)
          await verify(commit).catch((error: unknown) => (refusal ??= error as Error));
      }),
    ),
  );
  if (refusal !== undefined) throw refusal;
}

function demandPosition(receipt: Receipt, published: number): void {
  const held = receipt.journal?.seq ?? 0;
  if (held < published)
    throw new Refusal(
      'JOURNAL_BEHIND',
      `${published} entries of this VM's journal are published, and the receipt holds ${held}`,
    );
}

function readIntents(receipt: Receipt, chain: readonly Publication[]): Map<string, Intent[]> {
  const folder = `intents/${receipt.source}/`;
  const named = new Map<string, { size: number; day: string; files: PublishedFile[] }>();
  for (const { files } of chain) {
    for (const file of files) {
      const parts = file.path.startsWith(folder)
        ? /^([0-9]{4}-[0-9]{2}-[0-9]{2})\/([0-9a-f]{64})\.json$/.exec(file.path.slice(folder.length))
        : null;
      if (parts !== null && parts[2] === file.sha256)
        named.set(file.sha256, { size: file.size, day: parts[1] as string, files });
    }
  }
  const intents = new Map<string, Intent[]>();
  for (const encoded of receipt.proof.intents) {
    const bytes = fromBase64(encoded);
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    const place = named.get(sha256);
    if (place?.size !== bytes.length)
      throw new Refusal('INTENT_NOT_PUBLISHED', `intent ${sha256} is not named by these commits`);
    const wanted = intentsOf(readPublicDocument(bytes, intentLimitBytes, readIntent));
    const payloads = new Map(place.files.map((file) => [file.path, file]));
    const hidden = wanted.find((intent) => {
      const file = payloads.get(payloadPath(receipt.source, place.day, sha256, intent.payload.sha256));
      return (
        isPublishedPayload(intent) &&
        (file?.size !== intent.payload.size || file.sha256 !== intent.payload.sha256)
      );
    });
    if (hidden !== undefined)
      throw new Refusal(
        'PAYLOAD_NOT_PUBLISHED',
        `payload ${hidden.payload.sha256} is not named by the commit of intent ${sha256}`,
      );
    intents.set(sha256, wanted);
  }
  return intents;
}

/**
 * Checks 1 to 8 of the list above; nothing is written.
 * @param receipt already read by the strict reader
 * @param head what this VM remembers, or null before its first receipt
 * @param ownEntries how many entries of this VM's journal a file under `journal/<this VM>/` publishes;
 * undefined where it holds anything else
 * @throws Refusal with the codes above, and BAD_DOCUMENT, BAD_COMMIT, NOT_SIGNED, BAD_PUBLICATION,
 * BAD_SIGNATURE
 */
export async function checkReceipt(
  receipt: Receipt,
  config: KeysConfig,
  head: Head | null,
  verify: VerifyCommit,
  ownEntries: (file: PublishedFile) => number | undefined,
): Promise<ProvenReceipt> {
  const missing = config.requiredRemotes.filter((remote) => !receipt.remotes.includes(remote));
  if (missing.length > 0) throw new Refusal('REMOTE_MISSING', `not confirmed on ${missing.join(', ')}`);

  const chain = readChain(receipt.proof.commits);
  if (chain.length === 0) {
    // No news: how the build-logs VM asks for journal entries alone.
    if (
      head === null ||
      receipt.commit !== head.commit ||
      receipt.grants.length > 0 ||
      receipt.proof.intents.length > 0
    )
      throw new Refusal('EMPTY_PROOF', 'the proof holds no commits');
    demandPosition(receipt, head.published ?? 0);
    return { head, grants: [], timesAsked: () => 0 };
  }
  if (head === null) checkStart(chain, config.anchor);
  else checkContinues(chain, head);
  await checkSignatures(chain, verify);
  let published = head?.published ?? 0;
  for (const { commit, files } of chain) {
    for (const file of files.filter(({ path }) => path.startsWith(`journal/${config.vm}/`))) {
      const entries = ownEntries(file);
      if (entries === undefined) {
        const why = `commit ${commit.id} publishes ${file.path}, which is not what this VM wrote`;
        if (head === null) throw new Refusal('STATE_LOST', why);
        throw new Refusal('JOURNAL_ALTERED', why);
      }
      published = Math.max(published, entries);
    }
  }
  demandPosition(receipt, published);
  const last = chain.at(-1) as Publication;
  if (last.commit.id !== receipt.commit)
    throw new Refusal('WRONG_COMMIT', `the proof ends at ${last.commit.id}`);

  const intents = readIntents(receipt, chain);
  const timesAsked = (grant: GrantRequest): number =>
    (intents.get(grant.intent) ?? []).filter(
      (intent) =>
        intent.payload.sha256 === grant.sha256 &&
        intent.payload.size === grant.size &&
        intent.key === grant.key &&
        intent.mode === grant.mode,
    ).length;
  for (const grant of receipt.grants) {
    if (timesAsked(grant) === 0)
      throw new Refusal(
        'NOT_IN_INTENT',
        `intent ${grant.intent} does not ask for ${grant.sha256} with this size, key and mode`,
      );
    if (!config.signingKeys.includes(grant.key))
      throw new Refusal('FOREIGN_KEY', `${grant.key} is not a key of this VM`);
  }
  return { head: { commit: last.commit.id, seq: last.seq, published }, grants: receipt.grants, timesAsked };
}
