// SPDX-License-Identifier: GPL-2.0-or-later
// Keys that were lengthened, replaced, revoked or that ended after they signed: each check of this VM says
// what gpgv, gpg and git say now.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { Component } from '../../agents/build-vm/configuration/config.js';
import { readClearsigned } from '../../agents/build-vm/github-command/clearsigned.js';
import { signerOf } from '../../agents/build-vm/github-command/opinions.js';
import { readPeopleKeys } from '../../agents/build-vm/github-command/people-keys.js';
import { readSignaturePacket } from '../../agents/build-vm/github-command/signature-packet.js';
import {
  verifyClearSigned,
  verifyDetached,
  verifyOneSignature,
} from '../../agents/build-vm/signatures/one-signature.js';
import { readTagObject } from '../../agents/build-vm/source/tag-object.js';
import { readMaintainerKeys, verifyTag } from '../../agents/build-vm/source/tag-verification.js';
import type { CommandRights } from '../../agents/build-vm/configuration/commands-config.js';
import { readOneKey, readSignatures, signatureOf } from '../../agents/shared/openpgp/packets.js';
import { AnyRefusal } from '../../agents/shared/refusal.js';
import { KeyChanges, type Situation } from '../support/key-changes.js';

const tag = `object ${'1'.repeat(40)}\ntype commit\ntag v1.0-1\ntagger Alice <alice@example.org> 1795291200 +0000\n\nRelease\n`;
const changes = new KeyChanges(t, tag, 'Build-component r4.3 hello-tiny');
const folder = mkdtempSync(join(tmpdir(), 'kn-'));
const repository = join(folder, 'git');
execFileSync('git', ['init', '--quiet', '--bare', repository]);
t.teardown(() => rmSync(folder, { recursive: true }));

const codeOf = (act: () => Promise<unknown>): Promise<string> =>
  act().then(
    () => 'good',
    (error: unknown) => (error instanceof AnyRefusal ? error.code : String((error as Error).stack)),
  );

/** Each check of an old signature in this VM. */
const checks: Record<string, (one: Situation, now: Date) => Promise<unknown>> = {
  'a tag': async ({ fingerprint, signature }, now) => {
    const maintainers = [{ name: 'alice', fingerprint }];
    const keys = await readMaintainerKeys(folder, maintainers);
    const component = { name: 'hello', maintainers, requiredSignatures: 1 } as unknown as Component;
    return await verifyTag(readTagObject(Buffer.from(tag + signature)), component, keys, now);
  },
  'a listed file': async ({ file, fingerprint, signature }, now) => {
    const path = join(folder, 'listed');
    writeFileSync(path, tag);
    const [packet] = await readSignatures(Buffer.from(signature));
    if (packet === undefined) throw new Error('no signature');
    const key = await readOneKey(file, fingerprint);
    return await verifyOneSignature(
      { file: path, signature: signatureOf(packet) },
      { name: 'upstream', key },
      now,
    );
  },
  'a published commit': async ({ file, fingerprint, signature }, now) =>
    await verifyDetached(
      Buffer.from(tag),
      signature,
      { name: 'logs', key: await readOneKey(file, fingerprint) },
      now,
    ),
  'a command': async ({ clear, fingerprint }, now) => {
    const people = [{ name: 'alice', fingerprint } as CommandRights];
    const keys = await readPeopleKeys(folder, people, (line) => t.comment(line));
    const message = readClearsigned(Buffer.from(clear));
    const facts = readSignaturePacket(message.untrustedPacket, message.hash);
    return await signerOf(message, facts, { keys, work: join(folder, 'work'), now });
  },
};
/**
 * How a command by such a key is refused: by its reader, before any key, or because gpgv alone would take it.
 */
const otherWords = /^(?:OPINIONS_DIFFER|BAD_HASH_HEADER|BAD_SIGNATURE_PACKET|UNKNOWN_SIGNER)$/;

for (const situation of changes.situations()) {
  const { what, file, fingerprint, documented, clear } = situation;
  await t.test(what, async (t) => {
    writeFileSync(join(folder, `${fingerprint}.asc`), file);
    const now = Math.floor(Date.now() / 1000);
    const said = changes.says(situation);
    if (documented === undefined)
      t.equal(changes.gitSays(situation, repository), said, 'git says what gpgv says');
    else t.equal(said, documented === 'KEY_REVOKED' ? 'KEY_EXPIRED' : 'good');
    for (const [check, run] of Object.entries(checks)) {
      const code = await codeOf(() => run(situation, new Date()));
      if (check === 'a command' && !otherWords.test(documented ?? said) && otherWords.test(code)) {
        t.ok(documented !== undefined || said === 'KEY_NOT_USABLE', `${check}: ${code}`);
      } else t.equal(code, documented ?? said, check);
    }
    // The clear signature is over another text, and by the same key at the same time.
    if (documented === undefined)
      t.equal(
        await codeOf(() => verifyClearSigned(clear, 'x.dsc', file as never, fingerprint)),
        said,
        'an upload',
      );
    for (const days of [210, 3 * 365]) {
      const at = now + days * 86_400;
      const later = changes.says(situation, at);
      if (documented === undefined) {
        for (const check of ['a tag', 'a listed file']) {
          t.equal(
            await codeOf(() => (checks[check] as (typeof checks)[string])(situation, new Date(at * 1000))),
            later,
            `${check}, ${days} days later`,
          );
        }
      }
    }
  });
}
