// SPDX-License-Identifier: GPL-2.0-or-later
// The keys that a VM has and the one place that uses them, without the gate in front: by which words a key is
// meant, what gpg is told, and what is taken for the signature that was ordered.
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { checkMadeSignature } from '../../agents/keys/made-signature.js';
import type { SigningOrder } from '../../agents/keys/made-signature.js';
import { sign, type Signature } from '../../agents/keys/signer.js';
import { SigningKeys, type Gpg } from '../../agents/keys/signing-keys.js';
import { GpgHome } from '../support/gpg-home.js';
import { sha256 } from './keys-machine.js';

const home = GpgHome.of(t);
const gpg: Gpg = { program: '/usr/bin/gpg', home: home.folder };
const first = home.makeKey('First: of two <First@build.example>');
const second = home.makeKey('plain@build.example');
const stranger = home.makeKey('stranger <first@build.example.org>');
home.gpg(['--passphrase', '', '--quick-add-key', first, 'ed25519', 'sign', 'never']);
const listed = (...args: string[]): string =>
  home
    .gpg(['--no-options', '--no-auto-check-trustdb', '--trust-model', 'always', '--with-colons', ...args])
    .toString();
const subkey = /^fpr:+([0-9A-F]+):$/m.exec(
  listed('--list-keys', first).split('\nsub:')[1] as string,
)?.[1] as string;

await t.test(
  'a key is meant by its fingerprint, key id, whole user id or mail address, and by nothing else',
  async (t) => {
    const keys = await SigningKeys.load(gpg, [first, second]);
    const meant = (word: string | undefined): string => {
      try {
        return keys.resolve(word);
      } catch (error) {
        return (error as { code: string }).code;
      }
    };
    const forms = (hex: string): string[] => [
      hex,
      hex.toLowerCase(),
      `0x${hex}`,
      `${hex}!`,
      `0x${hex.toLowerCase()}!`,
    ];
    for (const hex of [first, subkey, first.slice(-16), subkey.slice(-16)])
      for (const word of forms(hex)) t.equal(meant(word), first, word);
    for (const word of [
      'First: of two <First@build.example>',
      'First@build.example',
      '<First@build.example>',
      'first@BUILD.example',
    ])
      t.equal(meant(word), first, word);
    for (const word of [
      ...forms(second),
      'plain@build.example',
      '<plain@build.example>',
      'PLAIN@build.example',
    ])
      t.equal(meant(word), second, word);
    const nobody = [
      ...forms(stranger),
      stranger.slice(-16),
      first.slice(-8),
      first.slice(0, 16),
      first.slice(0, -1),
      `${first}0`,
      `${first}!!`,
      `x${first}`,
      `00${first}`,
      `${first} `,
      '0'.repeat(24) + first,
      '',
      'First',
      'First: of two',
      'irst@build.example',
      'First@build.example.org',
      'build.example',
      '@build.example',
      'First@build.example first@build.example',
      'of two <First@build.example>',
      'First: of two <first@build.example>',
      '<<First@build.example>',
      '<First@build.example>>',
      'x First@build.example',
      'First@build.example x',
      'Irst@build.example',
      '<',
      'plain@build.example>x',
    ];
    for (const word of nobody) t.equal(meant(word), 'NO_SUCH_KEY', word);
    t.equal(meant(undefined), 'NO_SUCH_KEY', 'which of two');
    t.equal((await SigningKeys.load(gpg, [second])).resolve(undefined), second, 'the only one');
  },
);

await t.test('what is listed and exported is as gpg has it, of the configured keys alone', async (t) => {
  const keys = await SigningKeys.load(gpg, [first, second]);
  t.equal(keys.list(false, [first]).toString(), listed('--list-keys', first));
  t.equal(keys.list(true, [second]).toString(), listed('--list-secret-keys', second));
  t.equal(keys.list(false, []).toString(), listed('--list-keys', first) + listed('--list-keys', second));
  t.equal(
    keys.list(true, [first, second, 'First@build.example']).toString(),
    listed('--list-secret-keys', first) + listed('--list-secret-keys', second),
    'each once',
  );
  t.ok(keys.export(false, [first]).equals(home.gpg(['--export', first])));
  t.equal(keys.export(true, [second]).toString(), home.exported(second).toString());
  t.throws(() => keys.export(true, [first, stranger]), { code: 'NO_SUCH_KEY' });
  t.match(keys.version.toString(), /^gpg \(GnuPG\) /);
});

await t.test('a VM without the key, or with its public half alone, does not start', async (t) => {
  const other = new GpgHome(`${home.folder}/o`);
  t.teardown(() => other.close());
  await t.rejects(
    SigningKeys.load({ ...gpg, home: other.folder }, [first]),
    /gpg .*--list-(?:secret-)?keys.* ended with 2: /,
  );
  other.gpg(['--import'], home.exported(first));
  await t.rejects(
    SigningKeys.load({ ...gpg, home: other.folder }, [first]),
    /gpg .*--list-secret-keys.* ended with 2: /,
  );
  await t.rejects(
    SigningKeys.load(gpg, [first, subkey.slice(-16)]),
    /does not have the key/,
    'a word that gpg takes for a key, and that is no fingerprint',
  );
});

const payload = 'one\n- two\n\nthree\n';
writeFileSync(`${home.folder}/payload`, payload);
const origin = { commit: 'ab'.repeat(20), seq: 7, claim: 'cd'.repeat(32) };
async function make(
  changes: Partial<SigningOrder> = {},
  program = gpg.program,
): Promise<{ order: SigningOrder; made: Awaited<ReturnType<typeof sign>> }> {
  const fd = openSync(`${home.folder}/payload`, 'r');
  try {
    const order: SigningOrder = {
      key: first,
      mode: 'detach',
      armor: false,
      digest: 'SHA512',
      payload: { fd, size: payload.length, sha256: sha256(payload) },
      origin,
      ...changes,
    };
    return { order, made: await sign({ ...gpg, program }, order) };
  } finally {
    closeSync(fd);
  }
}
const signatureOf = (made: Awaited<ReturnType<typeof sign>>): Signature => {
  if ('failed' in made) throw new Error(made.why);
  return made;
};
const ordered = (['detach', 'clearsign'] as const).flatMap((mode) =>
  [true, false].flatMap((armor) =>
    (['SHA256', 'SHA512'] as const).map((digest) => ({ mode, armor, digest })),
  ),
);
const name = ({ mode, armor, digest }: Partial<SigningOrder>): string =>
  `${mode} ${armor === true ? 'armored' : 'binary'} ${digest}`;

for (const order of ordered)
  await t.test(`what is ordered is made: ${name(order)}`, async (t) => {
    const { bytes, statusText } = signatureOf((await make(order)).made);
    writeFileSync(`${home.folder}/made`, bytes);
    const said = home
      .gpg([
        '--status-fd',
        '1',
        '--verify',
        `${home.folder}/made`,
        ...(order.mode === 'detach' ? [`${home.folder}/payload`] : []),
      ])
      .toString();
    t.match(
      said,
      new RegExp(
        `VALIDSIG ${first} .* ${order.digest === 'SHA256' ? 8 : 10} ${order.mode === 'detach' ? '00' : '01'} `,
      ),
    );
    t.match(said.replaceAll('\n[GNUPG:] NOTATION_DATA ', ''), `${origin.commit}:7:${origin.claim}\n`);
    t.match(statusText, /^\[GNUPG:\] SIG_CREATED /m);
    t.equal(bytes.toString('latin1').startsWith('-----BEGIN PGP'), order.armor || order.mode === 'clearsign');
  });

await t.test('it is made by the primary key, also where a subkey could sign', async (t) =>
  t.equal('failed' in (await make()).made, false),
);

await t.test(
  'a clear text that gpg makes much longer, and lines that begin with a dash, are no fault',
  async (t) => {
    const lines = '-\n'.repeat(50_000);
    writeFileSync(`${home.folder}/payload`, lines);
    const fd = openSync(`${home.folder}/payload`, 'r');
    const { made } = await make({
      mode: 'clearsign',
      payload: { fd, size: lines.length, sha256: sha256(lines) },
    });
    closeSync(fd);
    writeFileSync(`${home.folder}/payload`, payload);
    t.equal(signatureOf(made).bytes.toString().match(/^- -$/gm)?.length, 50_000);
  },
);

await t.test(
  'nothing is handed out where gpg does not say that it made exactly what was ordered',
  async (t) => {
    const good = `[GNUPG:] SIG_CREATED D 22 10 00 1700000000 ${first}`;
    const clear = `[GNUPG:] SIG_CREATED C 22 10 01 1700000000 ${first}`;
    signatureOf((await make()).made);
    writeFileSync(`${home.folder}/sig`, signatureOf((await make()).made).bytes);
    writeFileSync(`${home.folder}/clear`, signatureOf((await make({ mode: 'clearsign' })).made).bytes);
    const program = `${home.folder}/said`;
    const saying = async (
      mode: SigningOrder['mode'],
      status: string,
      end = '0',
      output = mode === 'detach' ? 'sig' : 'clear',
    ): Promise<string> => {
      writeFileSync(
        program,
        `#!/bin/sh\ncat '${home.folder}/${output}'\nprintf '%s\\n' '${status}' >&3\necho ' spoken ' >&2\nexit ${end}\n`,
        { mode: 0o755 },
      );
      const { made } = await make({ mode }, program);
      return 'failed' in made ? `${made.failed.code} ${made.why}` : made.statusText;
    };
    t.equal(
      await saying('detach', `[GNUPG:] KEY_CONSIDERED x\n${good}`),
      `[GNUPG:] KEY_CONSIDERED x\n${good}\n`,
    );
    t.equal(await saying('clearsign', clear), `${clear}\n`);
    t.equal(await saying('detach', good, '1'), 'SIGNING_FAILED gpg ended with 1: spoken');
    const wrong: [SigningOrder['mode'], string][] = [
      ['detach', ''],
      ['detach', `x${good}`],
      ['detach', `${good}\n${good}`],
      ['detach', good.replace(first, second)],
      ['detach', good.replace(' 10 ', ' 8 ')],
      ['detach', good.replace(' D ', ' C ')],
      ['detach', good.replace(' 00 ', ' 01 ')],
      ['detach', clear],
      ['clearsign', good],
      ['clearsign', clear.replace(' C ', ' D ')],
      ['clearsign', clear.replace(' 01 ', ' 00 ')],
      ['detach', good.replace('SIG_CREATED', 'SIG_CREATED_')],
    ];
    for (const [mode, status] of wrong)
      t.match(await saying(mode, status), /^SIGNING_FAILED /, `${mode}: ${status}`);
    writeFileSync(`${home.folder}/nothing`, '');
    t.match(await saying('detach', good, '0', 'nothing'), /^SIGNING_FAILED /);
    writeFileSync(`${home.folder}/much`, Buffer.alloc(70_000));
    t.match(await saying('detach', good, '0', 'much'), 'SIGNING_FAILED gpg ended with -1: ');
    writeFileSync(`${home.folder}/bad`, 'no signature');
    t.match(await saying('detach', good, '0', 'bad'), /^WRONG_SIGNATURE gpg's signature is refused: /);
  },
);

await t.test('a signature that differs in one byte of what was ordered is not the one', async (t) => {
  const detached = await make();
  const { bytes } = signatureOf(detached.made);
  const { order } = detached;
  t.doesNotThrow(() => checkMadeSignature(bytes, order));
  const changed = (at: number, value: number): Buffer =>
    Buffer.from(bytes.map((byte, index) => (index === at ? value : byte)));
  const body = 3;
  t.equal(bytes[0], 0x89, 'two bytes of length');
  const cases: [string, Buffer, RegExp][] = [
    ['the header', changed(0, 0x8a), /not one signature packet/],
    ['a shorter header', changed(0, 0x88), /not one signature packet/],
    ['the length', changed(2, (bytes[2] as number) - 1), /not one signature packet/],
    ['a byte more', Buffer.concat([bytes, Buffer.from([0])]), /not one signature packet/],
    ['a byte less', bytes.subarray(0, -1), /not one signature packet/],
    ['the version', changed(body, 5), /are 5 0 10, not 4 0 10/],
    ['the class', changed(body + 1, 1), /are 4 1 10/],
    ['the digest', changed(body + 3, 8), /are 4 0 8/],
    ['the length of what is hashed', changed(body + 5, (bytes[body + 5] as number) + 1), /something else/],
  ];
  for (const [what, output, message] of cases)
    t.throws(() => checkMadeSignature(output, order), { message }, what);
  const issuer = bytes.indexOf(Buffer.from(first, 'hex'));
  for (const at of [issuer - 3, issuer - 2, issuer - 1, issuer, issuer + 19])
    t.throws(
      () => checkMadeSignature(changed(at, (bytes[at] as number) ^ 1), order),
      /something else/,
      `byte ${at}`,
    );
  const notation = bytes.indexOf('origin@');
  for (let at = notation - 10; at < notation; at++)
    t.throws(
      () => checkMadeSignature(changed(at, (bytes[at] as number) ^ 1), order),
      /something else/,
      `byte ${at}`,
    );
  for (const other of [{ key: second }, { origin: { ...origin, seq: 8 } }])
    t.throws(() => checkMadeSignature(bytes, { ...order, ...other }), /something else/);
  // A packet of less than 256 bytes has the shorter header.
  const short = Buffer.concat([Buffer.from([0x88, 200]), bytes.subarray(body, body + 200)]);
  t.doesNotThrow(() => checkMadeSignature(short, order));
  for (const [at, value] of [
    [0, 0x89],
    [0, 0x8a],
    [1, 199],
    [1, 201],
  ] as const)
    t.throws(
      () => checkMadeSignature(Buffer.from(short.map((byte, index) => (index === at ? value : byte))), order),
      /not one signature packet/,
    );
  const armored = await make({ armor: true });
  t.doesNotThrow(() => checkMadeSignature(signatureOf(armored.made).bytes, armored.order));
  t.throws(() => checkMadeSignature(bytes, armored.order), /not one armored signature/);
  t.throws(() => checkMadeSignature(signatureOf(armored.made).bytes, order), /not one signature packet/);
});

await t.test('a clear text is the announced one, framed as one message and nothing around it', async (t) => {
  const { order, made } = await make({ mode: 'clearsign' });
  const text = readFileSync(`${home.folder}/payload`, 'latin1');
  const whole = signatureOf(made).bytes.toString('latin1');
  t.doesNotThrow(() => checkMadeSignature(Buffer.from(whole, 'latin1'), order));
  t.ok(whole.includes('\n- - two\n\nthree\n'));
  const cases: [string, string, RegExp][] = [
    ['nothing', '', /not one clear-signed message/],
    ['the text alone', text, /not one clear-signed message/],
    ['something before', `x${whole}`, /not one clear-signed message/],
    ['a line before', `\n${whole}`, /not one clear-signed message/],
    ['another digest', whole.replace('SHA512', 'SHA256'), /not one clear-signed message/],
    ['a second header', whole.replace('SHA512\n', 'SHA512\nCharset: x\n'), /not one clear-signed message/],
    [
      'no signature',
      whole.slice(0, whole.indexOf('-----BEGIN PGP SIGNATURE')),
      /not one clear-signed message/,
    ],
    ['another text', whole.replace('three', 'four'), /not the announced one/],
    ['a line more', whole.replace('three\n', 'three\nfour\n'), /not the announced one/],
    ['a line before the first', whole.replace('\n\none', '\n\n\none'), /not the announced one/],
    ['an escape less', whole.replace('- - two', '- two'), /not the announced one/],
    ['something behind', `${whole}x`, /not one armored signature/],
    [
      'two signatures',
      whole + whole.slice(whole.indexOf('-----BEGIN PGP SIGNATURE')),
      /not one armored signature/,
    ],
  ];
  for (const [what, output, message] of cases)
    t.throws(() => checkMadeSignature(Buffer.from(output, 'latin1'), order), { message }, what);
  t.throws(
    () => checkMadeSignature(Buffer.from(whole, 'latin1'), { ...order, digest: 'SHA256' }),
    /not one clear-signed message/,
  );
  const empty = { ...order, payload: { ...order.payload, size: 0, sha256: sha256('') } };
  t.throws(
    () =>
      checkMadeSignature(
        Buffer.from(`-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n-----BEGIN PGP SIGNATURE-----\n`),
        empty,
      ),
    /not one armored signature/,
    'a text without a line is looked for where it ends',
  );
});
