// SPDX-License-Identifier: GPL-2.0-or-later
// BuildLog+intent for tests: publishes what waits in one real signed commit, sends the receipt to the real
// keys agent, answers.
import { readAll, serveSockets } from '../../agents/shared/calls/socket-service.js';
import {
  intentReplyFormat,
  intentsOf,
  publishedPayloads,
  type IntentDocument,
} from '../../agents/shared/formats/intent.js';
import { writeDirectClient } from '../support/direct-client.js';
import { sha256, type KeysMachine } from './keys-machine.js';

export interface IntentPublisher {
  /** every document that came, as text */
  documents: string[];
  /** answer all further intents with this refusal instead */
  refuseWith: string | undefined;
  /** what is answered for the commit that was made, and what else is done with it */
  answers: (commit: string) => string;
  /** whether the keys VM is asked before anything is said, as one would that says nothing early */
  silent: boolean;
  close: () => Promise<void>;
}

export async function publishIntents(machine: KeysMachine): Promise<IntentPublisher> {
  const folder = `${machine.root}/run/build-infra`;
  let waiting: { document: string; say: (line: string) => void; end: () => void }[] = [];
  let working = false;
  const work = async (): Promise<void> => {
    if (working) return;
    working = true;
    while (waiting.length > 0) {
      const batch = waiting.sort((a, b) => (sha256(a.document) < sha256(b.document) ? -1 : 1));
      waiting = [];
      const made = machine.publish(batch.map(({ document }) => machine.file(document)));
      const commit = publisher.answers(made.commit);
      const commits = machine.history
        .filter((one) => one.commit === commit || one === made)
        .map(({ raw }) => raw.toString('base64'))
        .reverse();
      if (!publisher.silent)
        for (const { document, say } of batch)
          say(
            JSON.stringify({
              format: intentReplyFormat,
              result: 'public',
              intent: sha256(document),
              commit,
              commits,
            }),
          );
      const { reply } = await machine.send(machine.receipt(batch.map(({ document }) => document)));
      for (const { document, say, end } of batch) {
        say(
          JSON.stringify(
            reply.result === 'accepted'
              ? {
                  format: intentReplyFormat,
                  result: 'published',
                  intent: sha256(document),
                  commit,
                  grantedUntil: reply.until,
                }
              : { format: intentReplyFormat, result: 'refused', code: reply.code, detail: reply.detail },
          ),
        );
        end();
      }
    }
    working = false;
  };
  const publisher: IntentPublisher = {
    documents: [],
    refuseWith: undefined,
    answers: (commit) => commit,
    silent: false,
    close: async () => undefined,
  };
  const server = await serveSockets(
    [
      {
        name: 'qubesbuilder.BuildLog',
        argument: '^intent$',
        handle: async ({ stream }) => {
          const all = await readAll(stream, 17 * 1024 * 1024);
          const end = all.indexOf(10) + 1 || all.length;
          const document = all.toString('utf8', 0, end);
          // Whoever called was killed before it had said anything.
          if (document === '') {
            stream.end();
            return;
          }
          publisher.documents.push(document);
          // As the build-logs VM, which publishes them.
          let at = end;
          const wrong =
            publishedPayloads(intentsOf(JSON.parse(document) as IntentDocument)).some(
              ({ size, sha256: hash }) => sha256(all.subarray(at, (at += size))) !== hash,
            ) || at !== all.length;
          const code = wrong ? 'PAYLOAD_DIFFERS' : publisher.refuseWith;
          if (code !== undefined) {
            stream.end(
              `${JSON.stringify({ format: intentReplyFormat, result: 'refused', code, detail: 'for a test' })}\n`,
            );
            return;
          }
          waiting.push({ document, say: (line) => stream.write(`${line}\n`), end: () => stream.end() });
          // One turn later: what came at the same time is published together.
          setTimeout(() => void work(), 5);
        },
      },
    ],
    { folder, callers: 1 },
  );
  writeDirectClient(`${machine.root}/usr/bin/qrexec-client-vm`, 'build-debian', {
    'qubesbuilder.BuildLog': `${folder}/qubesbuilder.BuildLog.sock`,
    'qubes.Gpg': `${folder}/qubes.Gpg.sock`,
  });
  publisher.close = () => server.close();
  return publisher;
}
