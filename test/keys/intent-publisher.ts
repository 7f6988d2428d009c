// SPDX-License-Identifier: GPL-2.0-or-later
// BuildLog+intent for tests: publishes what waits in one real signed commit, sends the receipt to the real keys agent, answers.
import { readAll, serveSockets } from '../../agents/shared/socket-service.js';
import { intentReplyFormat } from '../../agents/shared/formats/intent.js';
import { writeDirectClient } from '../support/direct-client.js';
import { sha256, type KeysMachine } from './keys-machine.js';

export interface IntentPublisher {
  /** every document that came, as text */
  documents: string[];
  /** answer all further intents with this refusal instead */
  refuseWith: string | undefined;
  close(): Promise<void>;
}

export async function publishIntents(machine: KeysMachine): Promise<IntentPublisher> {
  const folder = `${machine.root}/run/build-infra`;
  let waiting: { document: string; answer: (line: string) => void }[] = [];
  let working = false;
  const work = async (): Promise<void> => {
    if (working) return;
    working = true;
    while (waiting.length > 0) {
      const batch = waiting.sort((a, b) => (sha256(a.document) < sha256(b.document) ? -1 : 1));
      waiting = [];
      const { commit } = machine.publish(batch.map(({ document }) => machine.file(document)));
      const { reply } = await machine.send(machine.receipt(batch.map(({ document }) => document)));
      for (const { document, answer } of batch) {
        answer(JSON.stringify(reply.result === 'accepted'
          ? { format: intentReplyFormat, result: 'published', intent: sha256(document), commit, grantedUntil: reply.until }
          : { format: intentReplyFormat, result: 'refused', code: reply.code, detail: reply.detail }));
      }
    }
    working = false;
  };
  const publisher: IntentPublisher = { documents: [], refuseWith: undefined, close: async () => undefined };
  const server = await serveSockets([{
    name: 'qubesbuilder.BuildLog',
    argument: '^intent$',
    handle: async ({ stream }) => {
      const document = (await readAll(stream, 256 * 1024)).toString('utf8');
      // Whoever called was killed before it had said anything.
      if (document === '') {
        stream.end();
        return;
      }
      publisher.documents.push(document);
      if (publisher.refuseWith !== undefined) {
        stream.end(`${JSON.stringify({ format: intentReplyFormat, result: 'refused', code: publisher.refuseWith, detail: 'for a test' })}\n`);
        return;
      }
      waiting.push({ document, answer: (line) => stream.end(`${line}\n`) });
      // One turn later: what came at the same time is published together.
      setTimeout(() => void work(), 5);
    },
  }], { folder });
  writeDirectClient(`${machine.root}/usr/bin/qrexec-client-vm`, 'build-debian', {
    'qubesbuilder.BuildLog': `${folder}/qubesbuilder.BuildLog.sock`,
    'qubes.Gpg': `${folder}/qubes.Gpg.sock`,
  });
  publisher.close = () => server.close();
  return publisher;
}
