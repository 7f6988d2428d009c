// SPDX-License-Identifier: GPL-2.0-or-later
// qubes.Gpg against promise P2: no signature in secret, once per intent.
import { writeFileSync } from 'node:fs';
import * as openpgp from 'openpgp';
import t from 'tap';
import { journalLine, type JournalEntry } from '../../agents/shared/formats/journal.js';
import { originNotation } from '../../agents/shared/formats/signature-origin.js';
import { callGpg, callGpgRaw, frame, input, preamble, refusalCode } from './gpg-caller.js';
import { KeysMachine, sha256 } from './keys-machine.js';

const machine = new KeysMachine();
t.before(() => machine.start());
t.teardown(() => machine.close());

const sign = (payload: string | Uint8Array, extra: string[] = []): Promise<string> =>
  callGpg(machine, [...extra, '-u', machine.signingKey, '-b', '--', '-'], payload).then(refusalCode);

/** What gpg says of a detached signature. */
function verified(signature: Uint8Array, payload: string | Uint8Array): boolean {
  writeFileSync(`${machine.root}/sig`, signature);
  return machine.keysHome
    .gpg(['--status-fd', '1', '--verify', `${machine.root}/sig`, '-'], payload)
    .includes(`VALIDSIG ${machine.signingKey}`);
}

await t.test(
  'bytes of a published intent are signed, and the journal says so before and after',
  async (t) => {
    await machine.grant('one\n');
    const answer = await callGpg(machine, ['--status-fd=2', '-bsau', machine.signingKey], 'one\n');
    t.equal(answer.status, 0);
    t.match(answer.streams[1]?.toString(), /^\[GNUPG:\] SIG_CREATED D 22 10 00 /m);
    t.ok(verified(answer.streams[0] as Buffer, 'one\n'));
    const last = machine.journal().slice(-3);
    t.same(
      last.map(({ event }) => event),
      ['granted', 'claimed', 'signed'],
    );
    t.same(
      last.map((entry) => entry.sha256),
      [sha256('one\n'), sha256('one\n'), sha256('one\n')],
    );
    t.equal(last[2]?.result, `sha256:${sha256(answer.streams[0] as Buffer)}`);
  },
);

await t.test('a clear signature is made of an intent for one', async (t) => {
  const text = 'Origin: x\n- dashes\n';
  await machine.grant(text, { mode: 'clearsign' });
  const answer = await callGpg(
    machine,
    [
      '--local-user',
      machine.signingKey,
      '--clearsign',
      '--list-options',
      'no-show-policy-urls',
      '--armor',
      '--textmode',
      '-',
    ],
    text,
  );
  t.equal(answer.status, 0);
  t.match(machine.keysHome.gpg(['--verify', '--status-fd', '1'], answer.streams[0]).toString(), /VALIDSIG/);
  t.match(
    answer.streams[0]?.toString(),
    /^-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nOrigin: x\n- - dashes\n/,
  );
});

await t.test(
  'a signature names in its hashed part the publication and the claim that it comes from',
  async (t) => {
    for (const mode of ['detach', 'clearsign'] as const) {
      const text = `origin of ${mode}\n`;
      await machine.grant(text, { mode });
      const answer = await callGpg(
        machine,
        ['-u', machine.signingKey, mode === 'detach' ? '-b' : '--clearsign', '--armor'],
        text,
      );
      t.equal(answer.status, 0);
      const made = answer.streams[0]?.toString() as string;
      const { packets } =
        mode === 'detach'
          ? await openpgp.readSignature({ armoredSignature: made })
          : (
              (await openpgp.readCleartextMessage({ cleartextMessage: made })) as unknown as {
                signature: openpgp.Signature;
              }
            ).signature;
      const [claimed, signed] = machine.journal().slice(-2) as [JournalEntry, JournalEntry];
      t.equal(claimed.event, 'claimed');
      t.same(packets.length, 1);
      // openpgp tells of the hashed ones only.
      t.same(
        packets[0]?.rawNotations.map(({ name, critical, value }) => [
          name,
          critical,
          Buffer.from(value).toString(),
        ]),
        [
          [
            originNotation,
            false,
            `${machine.history.at(-1)?.commit}:${claimed.seq}:${sha256(journalLine(claimed))}`,
          ],
        ],
      );
      t.equal(signed.result, `sha256:${sha256(made)}`);
    }
  },
);

await t.test(
  'a clear signature over bytes that OpenPGP would change is refused with the line, and uses nothing up',
  async (t) => {
    const bad: [string, string][] = [
      ['Package: evil \t\nHash: x   \n', 'line 1 ends in a tab'],
      ['a\nb', 'line 2 has no newline at its end'],
      ['a\r\nb\r\n', 'line 1 holds a carriage return'],
      [`a\n\n${'x'.repeat(30_000)}\n`, 'line 3 is longer than 19990 bytes'],
      ['a\0\n', 'line 1 holds a NUL'],
      ['', 'line 1 is missing'],
      [`${'a line\n'.repeat(5000)}b \n`, 'line 5001 ends in a blank'],
    ];
    for (const [text, why] of bad) {
      await machine.grant(text, { mode: 'clearsign' });
      const answer = await callGpg(machine, ['-u', machine.signingKey, '--clearsign'], text);
      t.equal(refusalCode(answer), 'NOT_CANONICAL');
      t.match(answer.streams[1]?.toString(), why);
      t.match(machine.journal().slice(-2), [
        { event: 'granted' },
        { event: 'refused', result: 'NOT_CANONICAL', sha256: sha256(text) },
      ]);
      await machine.grant(text);
      t.equal(await sign(text), 'not a refusal: 0 ', 'a detached signature is over any bytes');
    }
  },
);

await t.test('what follows the end of the payload is refused, and uses nothing up', async (t) => {
  await machine.grant('end\n');
  const good = Buffer.concat([preamble(['-b', '-u', machine.signingKey]), input('end\n')]);
  for (const more of [frame(0, 'x'), frame(0, ''), Buffer.from([0]), Buffer.alloc(7)]) {
    t.equal(refusalCode(await callGpgRaw(machine, Buffer.concat([good, more]))), 'BAD_FRAME');
    t.equal(refusalCode(await callGpgRaw(machine, Buffer.concat([good, more]), { chunk: 1 })), 'BAD_FRAME');
  }
  t.equal(await sign('end\n'), 'not a refusal: 0 ');
});

await t.test('without an intent nothing is signed', async (t) => {
  t.equal(await sign('nobody said this\n'), 'NO_GRANT');
  t.equal(machine.events().at(-1), 'refused NO_GRANT');
});

await t.test('one changed byte is not signed, and the grant stays for the right bytes', async (t) => {
  await machine.grant('exact\n');
  t.equal(await sign('exacT\n'), 'NO_GRANT');
  t.equal(await sign('exact\n'), 'not a refusal: 0 ');
});

await t.test('the same bytes are signed once', async (t) => {
  await machine.grant('twice\n');
  t.equal(await sign('twice\n'), 'not a refusal: 0 ');
  t.equal(await sign('twice\n'), 'GRANT_USED');
});

await t.test('a grant for a detached signature gives no clear one', async (t) => {
  await machine.grant('mode\n');
  t.equal(
    refusalCode(await callGpg(machine, ['-u', machine.signingKey, '--clearsign'], 'mode\n')),
    'OTHER_KEY_OR_MODE',
  );
});

await t.test('a key that is not ours signs nothing', async (t) => {
  await machine.grant('key\n');
  t.equal(refusalCode(await callGpg(machine, ['-b', '-u', machine.otherKey], 'key\n')), 'NO_SUCH_KEY');
  t.equal(
    refusalCode(await callGpg(machine, ['-b', '-u', machine.signingKey, '-u', machine.otherKey], 'key\n')),
    'TWO_KEYS',
  );
});

await t.test('another VM is refused although a grant is there', async (t) => {
  await machine.grant('source\n');
  t.equal(
    refusalCode(
      await callGpg(machine, ['-b', '-u', machine.signingKey], 'source\n', { source: 'build-fedora' }),
    ),
    'WRONG_SOURCE',
  );
  t.equal(machine.events().at(-1), 'refused WRONG_SOURCE');
  t.equal(await sign('source\n'), 'not a refusal: 0 ');
});

await t.test('fifty calls for one grant give one signature', async (t) => {
  await machine.grant('race\n');
  const codes = await Promise.all(Array.from({ length: 50 }, () => sign('race\n')));
  t.equal(codes.filter((code) => code === 'not a refusal: 0 ').length, 1);
  t.equal(codes.filter((code) => code === 'GRANT_USED').length, 49);
  t.equal(
    machine.journal().filter((entry) => entry.event === 'claimed' && entry.sha256 === sha256('race\n'))
      .length,
    1,
  );
});

await t.test('fifty different payloads at once are all signed', async (t) => {
  const payloads = Array.from({ length: 50 }, (_, index) => `payload ${index}\n`);
  const document = machine.document(payloads.map((payload) => machine.intent(payload)));
  machine.publish([machine.file(document)]);
  t.match((await machine.send(machine.receipt([document]))).reply, { result: 'accepted', granted: 50 });
  const answers = await Promise.all(
    payloads.map((payload) => callGpg(machine, ['-b', '-u', machine.signingKey], payload)),
  );
  t.ok(answers.every(({ status }) => status === 0));
  t.ok(verified(answers[49]?.streams[0] as Buffer, 'payload 49\n'));
});

await t.test('a payload cut into single bytes arrives whole', async (t) => {
  await machine.grant('chunks\n');
  const answer = await callGpg(machine, ['-b', '-u', machine.signingKey], 'chunks\n', { chunk: 1 });
  t.equal(answer.status, 0);
  t.ok(verified(answer.streams[0] as Buffer, 'chunks\n'));
});

await t.test('an old caller that sends its own name first is understood', async (t) => {
  const old = preamble([]);
  const command = Buffer.from('qubes-gpg-client\0--version\0');
  old.writeUInt32LE(command.length - 1);
  command.copy(old, 4);
  const answer = await callGpgRaw(machine, Buffer.concat([old, input('')]));
  t.equal(answer.status, 0);
  t.match(answer.streams[0]?.toString(), /^gpg \(GnuPG\) /);
});

await t.test(
  'a caller that closes its input before the end gets no signature and uses up nothing',
  async (t) => {
    await machine.grant('cut\n');
    const answer = await callGpgRaw(
      machine,
      Buffer.concat([preamble(['-b', '-u', machine.signingKey]), frame(0, 'cut\n')]),
      { halfClose: true },
    );
    t.equal(answer.status, undefined);
    t.equal(answer.raw.length, 0);
    t.equal(await sign('cut\n'), 'not a refusal: 0 ');
  },
);

await t.test('a caller that ends the call itself gets no signature and uses up nothing', async (t) => {
  await machine.grant('exit\n');
  const exit = Buffer.from('ffffffff00000000', 'hex');
  const answer = await callGpgRaw(
    machine,
    Buffer.concat([preamble(['-b', '-u', machine.signingKey]), frame(0, 'exit\n'), exit, frame(0, '')]),
  );
  t.equal(answer.raw.length, 0);
  t.equal(await sign('exit\n'), 'not a refusal: 0 ');
});

await t.test('more bytes than the configuration allows are refused while they come', async (t) => {
  t.equal(await sign(Buffer.alloc(1024 * 1024 + 1)), 'TOO_LARGE');
});

await t.test('a frame or preamble that breaks the rules is refused in frames', async (t) => {
  const good = preamble(['-b', '-u', machine.signingKey]);
  t.equal(refusalCode(await callGpgRaw(machine, Buffer.concat([good, frame(1, 'x')]))), 'BAD_FRAME');
  t.equal(
    refusalCode(await callGpgRaw(machine, Buffer.concat([good, frame(0, Buffer.alloc(4097))]))),
    'BAD_FRAME',
  );
  const long = preamble(['-b']);
  long.writeUInt32LE(1024);
  t.equal(refusalCode(await callGpgRaw(machine, long)), 'BAD_PREAMBLE');
  t.equal(refusalCode(await callGpg(machine, ['-b', '-u', 'a\x1b[2J'])), 'BAD_CHARACTER');
});

await t.test('a caller that reads a status stream is told of the failure there too', async (t) => {
  const answer = await callGpg(machine, ['--status-fd=9', '-b', '-u', machine.signingKey], 'no status\n');
  t.equal(answer.streams[2]?.toString(), '[GNUPG:] FAILURE sign 1\n');
  t.equal(answer.raw.subarray(-8).toString('hex'), 'fdffffff00000000');
});

await t.test('an attempt at something else than signing is refused, and is in the journal', async (t) => {
  t.equal(refusalCode(await callGpg(machine, ['--decrypt', '-'], 'x')), 'FORBIDDEN_DECRYPT');
  t.match(machine.journal().at(-1), {
    event: 'refused',
    source: 'build-debian',
    sha256: null,
    result: 'FORBIDDEN_DECRYPT',
  });
  t.equal(refusalCode(await callGpg(machine, ['-b', '--digest-algo', 'SHA1'], 'x')), 'WEAK_DIGEST');
  t.equal(machine.events().at(-1), 'refused WEAK_DIGEST');
});

await t.test('listing and exporting give the configured key only', async (t) => {
  const list = await callGpg(machine, [
    '--batch',
    '--status-fd',
    '8',
    '--with-colons',
    '--list-secret-keys',
    '--',
    machine.signingKey,
  ]);
  t.match(list.streams[0]?.toString(), new RegExp(`^sec:[^]*fpr:::::::::${machine.signingKey}:`));
  t.equal(
    refusalCode(await callGpg(machine, ['--with-colons', '--list-keys', machine.otherKey])),
    'NO_SUCH_KEY',
  );
  t.equal(refusalCode(await callGpg(machine, ['--list-keys'])), 'NEEDS_COLONS');
  const exported = await callGpg(machine, ['--armor', '--export', 'sign@build.example']);
  t.equal(exported.streams[0]?.toString(), machine.keysHome.exported(machine.signingKey).toString());
  t.equal(refusalCode(await callGpg(machine, ['--export'])), 'NEEDS_KEY');
});
