// SPDX-License-Identifier: GPL-2.0-or-later
// Every trick on clear-signed messages that we know of: each message here is good but for one thing. A
// stranger hears one and the same answer to all of them, and nothing is done; the code is what this VM's own
// log says.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { readClearsigned } from '../../agents/build-vm/github-command/clearsigned.js';
import { readGpgvStatus, signerOf } from '../../agents/build-vm/github-command/opinions.js';
import { readPeopleKeys, type PersonKey } from '../../agents/build-vm/github-command/people-keys.js';
import { readSignaturePacket } from '../../agents/build-vm/github-command/signature-packet.js';
import {
  alice,
  bob,
  clearsign,
  desk,
  everything,
  gpgTime,
  keys,
  makeKey,
  secondsAgo,
  stranger,
  type Desk,
} from './commands.js';
import { writeKeys } from './forge.js';
import {
  armoredKey,
  keyBytes,
  packetsOf,
  putTogether,
  readSignature,
  subpacket,
  takeApart,
  withPacket,
  withSignature,
  writePacket,
  writeSignature,
  type Packet,
} from './packets.js';

t.teardown(() => keys.end());
const line = 'Build-component r4.3 hello';
const evil = 'Build-component r4.3 other';
const good = clearsign(line, alice, { more: ['--digest-algo', 'SHA512'] });
const bytes = (...values: number[]): Buffer => Buffer.from(values);
const replaced = (from: string | RegExp, to: string): string => {
  const made = good.replace(from, to);
  if (made === good) throw new Error(`nothing to replace: ${String(from)}`);
  return made;
};

async function refuses(
  what: string,
  code: string,
  message: string | Buffer,
  arrange?: (d: Desk) => void,
): Promise<void> {
  await t.test(what, async (t) => {
    const d = await desk(t);
    arrange?.(d);
    t.equal(await d.code(message), code);
    t.equal(await d.ask(message), 'refused BAD_COMMAND');
    t.same(d.done, []);
  });
}

// -- around the message
await refuses('a command above the message', 'NOT_ONE_MESSAGE', `${evil}\n${good}`);
await refuses('a command below the message', 'NOT_ONE_MESSAGE', `${good}${evil}\n`);
await refuses('an empty line above the message', 'NOT_ONE_MESSAGE', `\n${good}`);
await refuses('an empty line below the message', 'NOT_ONE_MESSAGE', `${good}\n`);
await refuses('two messages', 'NOT_ONE_MESSAGE', good + good);
await refuses(
  'a message of a stranger before the good one',
  'NOT_ONE_MESSAGE',
  clearsign(evil, stranger) + good,
);
await refuses('a message within a message', 'NOT_ONE_MESSAGE', clearsign(good.trimEnd(), stranger));
await refuses('a beginning without end', 'NOT_ONE_MESSAGE', replaced('-----END PGP SIGNATURE-----\n', ''));
await refuses(
  'two signatures under one text',
  'NOT_ONE_MESSAGE',
  good + good.slice(good.indexOf('-----BEGIN PGP SIGNATURE')),
);
await refuses(
  'a second beginning inside the headers',
  'NOT_ONE_MESSAGE',
  replaced('Hash:', '-----BEGIN PGP SIGNED MESSAGE-----\nHash:'),
);
await refuses(
  'a public key in the message',
  'NOT_ONE_MESSAGE',
  replaced(`${line}\n`, `${line}\n-----BEGIN PGP PUBLIC KEY BLOCK-----\n`),
);
await refuses(
  'a message quoted in a reply',
  'NOT_ONE_MESSAGE',
  good
    .trimEnd()
    .split('\n')
    .map((one) => `> ${one}`)
    .join('\n'),
);
await refuses('an indented message', 'NOT_ONE_MESSAGE', good.replace(/^/gm, '    '));
await refuses('a message in a fence', 'NOT_ONE_MESSAGE', `\`\`\`\n${good}\`\`\`\n`);
await refuses(
  'a beginning with more dashes',
  'NOT_ONE_MESSAGE',
  replaced('-----BEGIN PGP SIGNED MESSAGE-----', '------BEGIN PGP SIGNED MESSAGE------'),
);
await refuses('a beginning in lower case', 'NOT_ONE_MESSAGE', replaced('SIGNED MESSAGE', 'signed message'));
await refuses(
  'a signed message of the other kind',
  'NOT_ONE_MESSAGE',
  keys.gpg(['--armor', '--sign', '--local-user', alice.fingerprint], `${line}\n`).toString(),
);
await refuses(
  'a detached signature',
  'NOT_ONE_MESSAGE',
  keys.gpg(['--armor', '--detach-sign', '--local-user', alice.fingerprint], `${line}\n`).toString(),
);
await refuses('nothing', 'NOT_ONE_MESSAGE', '');
await refuses('more than 8 KiB', 'TOO_LARGE', good + ' '.repeat(8193 - good.length));

// -- the Hash header
await refuses('no Hash header', 'BAD_HASH_HEADER', replaced('Hash: SHA512\n', ''));
await refuses(
  'two Hash headers',
  'BAD_HASH_HEADER',
  replaced('Hash: SHA512\n', 'Hash: SHA512\nHash: SHA512\n'),
);
await refuses('two hashes in one header', 'BAD_HASH_HEADER', replaced('SHA512', 'SHA512,SHA256'));
await refuses('SHA1 announced', 'BAD_HASH_HEADER', replaced('SHA512', 'SHA1'));
await refuses('MD5 announced', 'BAD_HASH_HEADER', replaced('SHA512', 'MD5'));
await refuses('another hash announced than used', 'HASH_MISMATCH', replaced('SHA512', 'SHA256'));
await refuses('a header in another case', 'BAD_HASH_HEADER', replaced('Hash:', 'hash:'));
await refuses('a header without a blank', 'BAD_HASH_HEADER', replaced('Hash: ', 'Hash:'));
await refuses('a blank before the header', 'BAD_HASH_HEADER', replaced('Hash:', ' Hash:'));
await refuses(
  'NotDashEscaped',
  'BAD_HASH_HEADER',
  replaced('Hash: SHA512\n', 'Hash: SHA512\nNotDashEscaped: You need GnuPG to verify this message\n'),
);
await refuses(
  'NotDashEscaped as gpg itself writes it',
  'BAD_HASH_HEADER',
  clearsign(line, alice, { more: ['--not-dash-escaped'] }),
);
await refuses(
  'a comment in the headers',
  'BAD_HASH_HEADER',
  replaced('Hash: SHA512\n', `Hash: SHA512\nComment: ${evil}\n`),
);
await refuses(
  'a character set in the headers',
  'BAD_HASH_HEADER',
  replaced('Hash: SHA512\n', 'Hash: SHA512\nCharset: utf-7\n'),
);
await refuses(
  'a command in the headers',
  'BAD_HASH_HEADER',
  replaced('Hash: SHA512\n', `Hash: SHA512\n${evil}\n`),
);
await refuses(
  'no empty line after the headers',
  'BAD_HASH_HEADER',
  replaced('Hash: SHA512\n\n', 'Hash: SHA512\n'),
);
await refuses(
  'a header folded with a carriage return',
  'BAD_LINE_ENDS',
  replaced('Hash: SHA512\n', `Hash: SHA512\rComment: ${evil}\n`),
);
await refuses(
  'a line that is empty to some and not to others',
  'NOT_ASCII',
  replaced('Hash: SHA512\n\n', `Hash: SHA512\n\t\n${evil}\n\n`),
);

// -- the text
await refuses('two signed lines', 'NOT_ONE_LINE', clearsign(`${line}\n${evil}`));
await refuses('an empty signed line before the command', 'NOT_ONE_LINE', clearsign(`\n${line}`));
await refuses('an empty signed line after the command', 'NOT_ONE_LINE', clearsign(`${line}\n`));
await refuses('an unsigned line before the command', 'NOT_ONE_LINE', replaced(line, `${evil}\n${line}`));
await refuses('an unsigned empty line before the command', 'NOT_ONE_LINE', replaced(line, `\n${line}`));
await refuses('no text', 'NOT_ONE_LINE', clearsign(''));
await refuses('a command behind a dash escape', 'NOT_ONE_LINE', replaced(line, `- ${line}`));
await refuses('a signed line that begins with a dash', 'NOT_ONE_LINE', clearsign(`-${line}`));
await refuses('another command under the signature', 'BAD_SIGNATURE', replaced(line, evil));
await refuses('a signed line that is no command', 'BAD_COMMAND', clearsign('Please build hello'));
await refuses('a signed command with two spaces', 'BAD_COMMAND', clearsign(line.replace(' ', '  ')));
await refuses('a signed command with a blank before it', 'BAD_COMMAND', clearsign(` ${line}`));
await refuses('a letter that only looks right', 'NOT_ASCII', clearsign(line.replace('o', '\u043e')));
await refuses(
  'a letter that only looks right, unsigned',
  'NOT_ASCII',
  replaced(line, line.replace('e', '\u0435')),
);
await refuses('a letter of no width', 'NOT_ASCII', replaced(line, line.replace('-', '-\u200b')));
await refuses('text that runs from right to left', 'NOT_ASCII', replaced(line, `\u202e${line}`));
await refuses('a byte order mark', 'NOT_ASCII', `\ufeff${good}`);
await refuses('a no-break space', 'NOT_ASCII', replaced(line, line.replace(' ', '\u00a0')));
await refuses('a NUL', 'NOT_ASCII', replaced(line, `${line}\0${evil}`));
await refuses('bytes that are no UTF-8', 'NOT_ASCII', Buffer.from(replaced(line, `${line}\u00ff`), 'latin1'));
for (const [name, end] of Object.entries({
  'a vertical tab': '\v',
  'a form feed': '\f',
  'a next line': '\u0085',
  'a line separator': '\u2028',
  'a tab': '\t',
  'a delete': '\x7f',
  'an escape': '\x1b[2K',
})) {
  await refuses(`${name} in the command`, 'NOT_ASCII', replaced(line, `${evil}${end}${line}`));
}
await refuses(
  'a carriage return in the command, which hides what stands before it',
  'BAD_LINE_ENDS',
  replaced(line, `${evil}\r${line}`),
);
await refuses(
  'a carriage return at the end of one line only',
  'BAD_LINE_ENDS',
  replaced(`${line}\n`, `${line}\r\n`),
);
await refuses(
  'a bare line feed among CRLF',
  'BAD_LINE_ENDS',
  good.replaceAll('\n', '\r\n').replace(`${line}\r\n`, `${line}\n`),
);
await refuses('two carriage returns at each line', 'BAD_LINE_ENDS', good.replaceAll('\n', '\r\r\n'));
await refuses('carriage returns alone', 'BAD_LINE_ENDS', good.replaceAll('\n', '\r'));

// -- the armor
await refuses(
  'a version in the armor',
  'ARMOR_HEADER',
  replaced('SIGNATURE-----\n\n', 'SIGNATURE-----\nVersion: GnuPG v2\n\n'),
);
await refuses(
  'a comment in the armor',
  'ARMOR_HEADER',
  replaced('SIGNATURE-----\n\n', `SIGNATURE-----\nComment: ${evil}\n\n`),
);
await refuses(
  'a comment in the armor as gpg itself writes it',
  'ARMOR_HEADER',
  clearsign(line, alice, { more: ['--comment', evil] }),
);
await refuses(
  'a hash in the armor',
  'ARMOR_HEADER',
  replaced('SIGNATURE-----\n\n', 'SIGNATURE-----\nHash: SHA512\n\n'),
);
await refuses(
  'no empty line in the armor',
  'ARMOR_HEADER',
  replaced('SIGNATURE-----\n\n', 'SIGNATURE-----\n'),
);
await refuses('an empty line in the base64', 'BAD_ARMOR', replaced(/\n=/, '\n\n='));
await refuses(
  'two empty lines before the base64',
  'BAD_ARMOR',
  replaced('SIGNATURE-----\n\n', 'SIGNATURE-----\n\n\n'),
);
await refuses('a wrong checksum', 'BAD_CRC', replaced(/^=.*$/m, '=AAAA'));
await refuses('two checksums', 'BAD_ARMOR', replaced(/^(=.*)$/m, '$1\n$1'));
await refuses('text between checksum and end', 'BAD_ARMOR', replaced(/^(=.*)$/m, `$1\n${evil}`));
await refuses('a command in the base64', 'BAD_ARMOR', replaced(/\n=/, `\n${evil}\n=`));
await refuses('blanks in the base64', 'BAD_ARMOR', replaced(/^(\w{10})(\w)/m, '$1 $2'));
await refuses(
  'padding in the middle',
  'BAD_ARMOR',
  withPacket(good, (packet) => packet).replace(
    /\n\n(\S{64})/,
    (_all, first: string) => `\n\n${first.slice(0, 62)}==`,
  ),
);
await refuses('lines of different lengths', 'BAD_ARMOR', replaced(/\n\n(\S{30})/, '\n\n$1\n'));
await refuses(
  'base64 of another alphabet',
  'BAD_ARMOR',
  good.replace(/(?<=SIGNATURE-----\n\n)[^=]+/, (text) => text.replace(/[A-Z]/, '_')),
);
await refuses(
  'an empty signature',
  'BAD_ARMOR',
  putTogether({ ...takeApart(good), packet: Buffer.alloc(0) }).replace(/\n=.*\n/, '\n'),
);
await t.test(
  'the same bytes in another base64 are refused, for the use is known by what was signed',
  async (t) => {
    const { packet } = takeApart(good);
    const odd =
      packet.length % 3 === 0
        ? undefined
        : packet.toString('base64').replace(/([A-Za-z0-9+/])(=+)$/, (_all, last: string, pad: string) => {
            const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
            return `${alphabet[alphabet.indexOf(last) + 1] as string}${pad}`;
          });
    if (odd === undefined) return t.pass('this signature has no padding');
    t.equal(
      await (
        await desk(t)
      ).code(
        good.replace(
          /(?<=SIGNATURE-----\n\n)[\s\S]*?(?=\n=....\n)/,
          (odd.match(/.{1,64}/g) ?? []).join('\n'),
        ),
      ),
      'BAD_ARMOR',
    );
  },
);

// -- the packet
const only = (packet: Buffer): Packet => packetsOf(packet)[0] as Packet;
const reframed = (header: (length: number) => Buffer): string =>
  withPacket(good, (packet) => {
    const { body } = only(packet);
    return Buffer.concat([header(body.length), body]);
  });
await t.test('another frame of the same packet is the same use', async (t) => {
  const d = await desk(t);
  t.match(await d.ask(reframed((length) => bytes(0xc2, length))), /^accepted /, 'new format');
  t.equal(await d.ask(reframed((length) => bytes(0x88, length))), 'refused COMMAND_USED', 'old format');
});
await refuses(
  'a partial length',
  'BAD_SIGNATURE_PACKET',
  withPacket(good, (packet) => {
    const { body } = only(packet);
    return Buffer.concat([
      bytes(0xc2, 0xe0 | 5),
      body.subarray(0, 32),
      bytes(body.length - 32),
      body.subarray(32),
    ]);
  }),
);
await refuses(
  'an indeterminate length',
  'BAD_SIGNATURE_PACKET',
  reframed(() => bytes(0x8b)),
);
await refuses(
  'a length in five octets',
  'BAD_SIGNATURE_PACKET',
  reframed((length) => bytes(0xc2, 255, 0, 0, 0, length)),
);
await refuses(
  'a length in four octets',
  'BAD_SIGNATURE_PACKET',
  reframed((length) => bytes(0x8a, 0, 0, 0, length)),
);
await refuses(
  'a length in one octet more than it needs',
  'BAD_SIGNATURE_PACKET',
  reframed((length) => bytes(0x89, 0, length)),
);
await refuses(
  'a packet that is shorter than its length',
  'BAD_SIGNATURE_PACKET',
  withPacket(good, (packet) => packet.subarray(0, -1)),
);
for (const [name, tag] of Object.entries({
  'a second signature': 2,
  'a marker': 10,
  padding: 21,
  'a literal text': 11,
  'a user id': 13,
  'a private packet': 60,
})) {
  await refuses(
    `${name} behind the signature`,
    'BAD_SIGNATURE_PACKET',
    withPacket(good, (packet) =>
      Buffer.concat([packet, writePacket({ tag, body: tag === 2 ? only(packet).body : Buffer.from('PGP') })]),
    ),
  );
  if (tag !== 2)
    await refuses(
      `${name} before the signature`,
      'BAD_SIGNATURE_PACKET',
      withPacket(good, (packet) => Buffer.concat([writePacket({ tag, body: Buffer.from('PGP') }), packet])),
    );
}
const head = (at: number, value: number): string =>
  withSignature(good, ({ head }) => ({
    head: Buffer.from(head.map((byte, i) => (i === at ? value : byte))),
  }));
for (const version of [2, 3, 5, 6])
  await refuses(`a signature of version ${version}`, 'BAD_SIGNATURE_PACKET', head(0, version));
for (const type of [0x00, 0x02, 0x10, 0x13, 0x18, 0x20, 0x40, 0x50])
  await refuses(`a signature of type 0x${type.toString(16)}`, 'BAD_SIGNATURE_PACKET', head(1, type));
for (const algorithm of [0, 2, 3, 16, 17, 20, 27, 28, 100])
  await refuses(`a signature by algorithm ${algorithm}`, 'BAD_SIGNATURE_PACKET', head(2, algorithm));
await refuses('a signature with SHA1 that the header calls SHA512', 'HASH_MISMATCH', head(3, 2));
await refuses(
  'a good binary signature of a file that holds just the command',
  'BAD_SIGNATURE_PACKET',
  (() => {
    const file = keys.gpg(
      ['--detach-sign', '--digest-algo', 'SHA512', '--local-user', alice.fingerprint],
      line,
    );
    return withPacket(good, () => file);
  })(),
);
await refuses(
  'something behind the numbers',
  'BAD_SIGNATURE_PACKET',
  withSignature(good, ({ rest }) => ({ rest: Buffer.concat([rest, bytes(0)]) })),
);
await refuses(
  'a number in more bits than it needs',
  'BAD_SIGNATURE_PACKET',
  withSignature(good, ({ rest }) => ({
    rest: Buffer.concat([rest.subarray(0, 2), bytes(1, 8, 0), rest.subarray(5)]),
  })),
);

// -- subpackets: the unhashed ones are whoever carries the message's
const keyId = (fingerprint: string): Buffer => Buffer.from(fingerprint.slice(-16), 'hex');
const fingerprintOf = (fingerprint: string): Buffer =>
  Buffer.concat([bytes(4), Buffer.from(fingerprint, 'hex')]);
const unhashed = (make: (was: Buffer) => Buffer): string =>
  withSignature(good, (signature) => ({ unhashed: make(signature.unhashed) }));
await refuses(
  'the issuer of another key, unhashed',
  'BAD_SIGNATURE_PACKET',
  unhashed(() => subpacket(16, keyId(bob.fingerprint))),
);
await refuses(
  'a second issuer, unhashed',
  'BAD_SIGNATURE_PACKET',
  unhashed((was) => Buffer.concat([was, subpacket(16, keyId(bob.fingerprint))])),
);
await refuses(
  'the fingerprint of another key, unhashed',
  'BAD_SIGNATURE_PACKET',
  unhashed((was) => Buffer.concat([was, subpacket(33, fingerprintOf(bob.fingerprint))])),
);
await refuses(
  'another fingerprint with the same id, unhashed',
  'BAD_SIGNATURE_PACKET',
  unhashed((was) =>
    Buffer.concat([was, subpacket(33, fingerprintOf('0'.repeat(24) + alice.fingerprint.slice(24)))]),
  ),
);
await refuses(
  'another time, unhashed',
  'BAD_SIGNATURE_PACKET',
  unhashed((was) => Buffer.concat([was, subpacket(2, bytes(0x6b, 0, 0, 0))])),
);
await refuses(
  'a notation, unhashed',
  'BAD_SIGNATURE_PACKET',
  unhashed((was) => Buffer.concat([was, subpacket(20, Buffer.from(evil))])),
);
await refuses(
  'an embedded signature, unhashed',
  'BAD_SIGNATURE_PACKET',
  unhashed((was) => Buffer.concat([was, subpacket(32, Buffer.from(evil))])),
);
await refuses(
  'an empty subpacket, unhashed',
  'BAD_SIGNATURE_PACKET',
  unhashed((was) => Buffer.concat([was, bytes(0)])),
);
await refuses(
  'an unhashed area that is longer than the packet',
  'BAD_SIGNATURE_PACKET',
  withPacket(good, (packet) => {
    const body = Buffer.from(only(packet).body);
    body.writeUInt16BE(0xfff0, 6 + readSignature(body).hashed.length);
    return writePacket({ tag: 2, body });
  }),
);
await t.test(
  'without its unhashed hint, or with it twice in two spellings, it is the same use',
  async (t) => {
    const d = await desk(t);
    t.match(await d.ask(unhashed(() => Buffer.alloc(0))), /^accepted /);
    t.equal(
      await d.ask(unhashed((was) => Buffer.concat([was, subpacket(33, fingerprintOf(alice.fingerprint))]))),
      'refused COMMAND_USED',
    );
    t.equal(await d.ask(good), 'refused COMMAND_USED');
  },
);
await refuses(
  'another time under the signature',
  'BAD_SIGNATURE',
  withSignature(good, ({ hashed }) => {
    const changed = Buffer.from(hashed);
    const at = changed.indexOf(Buffer.from([5, 2]));
    changed[at + 5] = (changed[at + 5] as number) ^ 1;
    return { hashed: changed };
  }),
);
await refuses(
  'no time at all',
  'BAD_SIGNATURE_PACKET',
  withSignature(good, ({ hashed }) => {
    const at = hashed.indexOf(Buffer.from([5, 2]));
    return { hashed: Buffer.concat([hashed.subarray(0, at), hashed.subarray(at + 6)]) };
  }),
);
await refuses(
  'two times',
  'BAD_SIGNATURE_PACKET',
  withSignature(good, ({ hashed }) => ({
    hashed: Buffer.concat([hashed, subpacket(2, bytes(0x6b, 0, 0, 0))]),
  })),
);
await refuses(
  'a critical subpacket that nobody knows',
  'BAD_SIGNATURE_PACKET',
  withSignature(good, ({ hashed }) => ({ hashed: Buffer.concat([hashed, subpacket(0x80 | 99, bytes(1))]) })),
);
await refuses(
  'a critical notation that gpg wrote',
  'BAD_SIGNATURE_PACKET',
  clearsign(line, alice, { more: ['--sig-notation', '!must@example.org=understand'] }),
);
await t.test("a notation and a policy that gpg's settings add change nothing", async (t) => {
  t.match(
    await (
      await desk(t)
    ).ask(
      clearsign(line, 'alice@example.org', {
        more: ['--sig-notation', 'a@example.org=b', '--sig-policy-url', 'https://example.org/'],
      }),
    ),
    /^accepted /,
  );
});
await refuses(
  'a signature that expired',
  'BAD_SIGNATURE',
  clearsign(line, alice, { at: gpgTime(secondsAgo(2 * 86_400)), more: ['--default-sig-expire', '1d'] }),
);

// -- numbers that verify and are others
await t.test(
  'an ECDSA signature whose second number was turned round verifies, and is the same use',
  async (t) => {
    const n = BigInt('0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551');
    const ecdsa = makeKey('ecdsa', 'nistp256');
    const d = await desk(t, {
      keys: [ecdsa],
      people: [{ name: 'ecdsa', fingerprint: ecdsa.fingerprint, ...everything }],
    });
    const signed = clearsign(line, ecdsa);
    const turned = withSignature(signed, ({ rest }) => {
      const rBytes = 2 + ((rest.readUInt16BE(2) + 7) >> 3);
      const s = n - BigInt(`0x${rest.subarray(2 + rBytes + 2).toString('hex')}`);
      const hex = s.toString(16).padStart(s.toString(16).length + (s.toString(16).length % 2), '0');
      const bits = s.toString(2).length;
      return {
        rest: Buffer.concat([
          rest.subarray(0, 2 + rBytes),
          bytes(bits >> 8, bits & 0xff),
          Buffer.from(hex, 'hex'),
        ]),
      };
    });
    t.match(await d.ask(turned), /^accepted /);
    t.equal(await d.ask(signed), 'refused COMMAND_USED');
    t.equal(d.done.length, 1);
  },
);

// -- keys
await refuses("a stranger's signature", 'UNKNOWN_SIGNER', clearsign(line, stranger));
await refuses(
  "a stranger's signature that claims to be alice's",
  'BAD_SIGNATURE_PACKET',
  withSignature(clearsign(line, stranger), () => ({ unhashed: subpacket(16, keyId(alice.fingerprint)) })),
);
await refuses(
  "a stranger's numbers under alice's name",
  'BAD_SIGNATURE',
  withSignature(good, () => ({
    rest: readSignature(only(takeApart(clearsign(line, stranger)).packet).body).rest,
  })),
);
const personFile = (d: Desk, fingerprint: string): string => join(d.folder, 'keys', `${fingerprint}.asc`);
await refuses('a person whose key file holds another key', 'UNKNOWN_SIGNER', clearsign(line, stranger), (d) =>
  writeFileSync(personFile(d, alice.fingerprint), stranger.armored),
);
await refuses(
  "a key file with a stranger's key behind the person's",
  'UNKNOWN_SIGNER',
  clearsign(line, stranger),
  (d) =>
    writeFileSync(
      personFile(d, alice.fingerprint),
      armoredKey(Buffer.concat([keyBytes(alice.armored), keyBytes(stranger.armored)])),
    ),
);
await t.test("a person's key file may be binary", async (t) => {
  const d = await desk(t);
  writeFileSync(personFile(d, alice.fingerprint), keyBytes(alice.armored));
  t.match(await d.ask(good), /^accepted /);
});
await refuses(
  "a binary key file with a stranger's key behind the person's",
  'UNKNOWN_SIGNER',
  clearsign(line, stranger),
  (d) =>
    writeFileSync(
      personFile(d, alice.fingerprint),
      Buffer.concat([keyBytes(alice.armored), keyBytes(stranger.armored)]),
    ),
);
await t.test("one person's bad key file takes nobody else's right away", async (t) => {
  const d = await desk(t);
  writeFileSync(personFile(d, bob.fingerprint), 'no key');
  t.match(await d.ask(good), /^accepted /);
  t.match(d.log.join('\n'), /refused BAD_PERSON_KEY .*bob/);
});

async function keyTest(
  what: string,
  key: { name: string; fingerprint: string; armored: string },
  code: string,
  message: () => string,
): Promise<void> {
  await t.test(what, async (t) => {
    const d = await desk(t, {
      keys: [key],
      people: [{ name: key.name, fingerprint: key.fingerprint, ...everything }],
    });
    t.equal(await d.code(message()), code);
    t.same(d.done, []);
  });
}
const expired = makeKey('expired', 'ed25519', '20260601T000000', '20260101T000000');
await keyTest('a key that is expired, though not when it signed', expired, 'KEY_EXPIRED', () =>
  clearsign(line, expired, { at: '20260501T000000' }),
);
const revoked = makeKey('revoked');
const bySoonRevoked = clearsign(line, revoked);
keys.gpg(
  ['--import'],
  readFileSync(join(keys.home, 'openpgp-revocs.d', `${revoked.fingerprint}.rev`), 'utf8').replace(
    ':-----BEGIN',
    '-----BEGIN',
  ),
);
await keyTest(
  'a key that was revoked after it signed',
  keys.exported('revoked'),
  'KEY_REVOKED',
  () => bySoonRevoked,
);
const small = makeKey('small', 'rsa1024');
await keyTest('a key that is too small, which gpgv does not mind', small, 'OPINIONS_DIFFER', () =>
  clearsign(line, small),
);
const dsa = makeKey('dsa', 'dsa2048');
await keyTest('a DSA key', dsa, 'BAD_SIGNATURE_PACKET', () => clearsign(line, dsa));

makeKey('withsub');
const subkeyOf = (name: string, expire = 'never'): string => {
  keys.gpg([
    '--faked-system-time',
    '20260102T000000',
    '--quick-add-key',
    keys.exported(name).fingerprint,
    'ed25519',
    'sign',
    expire,
  ]);
  return [
    ...keys
      .gpg(['--with-colons', '--list-keys', keys.exported(name).fingerprint])
      .toString()
      .matchAll(/^fpr:::::::::([0-9A-F]+):/gm),
  ].at(-1)?.[1] as string;
};
const subkey = subkeyOf('withsub');
const withsub = keys.exported('withsub');
await t.test("a signing subkey is its primary key's person", async (t) => {
  const d = await desk(t, {
    keys: [withsub],
    people: [{ name: 'withsub', fingerprint: withsub.fingerprint, ...everything }],
  });
  t.match(await d.ask(clearsign(line, `${subkey}!`)), /^accepted /);
});
await t.test('a person is configured by the primary key and not by a subkey', async (t) => {
  const d = await desk(t, {
    keys: [{ ...withsub, fingerprint: subkey }],
    people: [{ name: 'withsub', fingerprint: subkey, ...everything }],
  });
  t.equal(await d.code(clearsign(line, `${subkey}!`)), 'UNKNOWN_SIGNER');
});
/** The key's packets with each signature of type 0x18 as `change` makes it. */
const withBindings = (armored: string, change: (body: Buffer) => Buffer): string =>
  armoredKey(
    Buffer.concat(
      packetsOf(keyBytes(armored)).map((packet) =>
        writePacket(
          packet.tag === 2 && packet.body[1] === 0x18 ? { tag: 2, body: change(packet.body) } : packet,
        ),
      ),
    ),
  );
const withoutBackSignature = withBindings(withsub.armored, (body) =>
  writeSignature({ ...readSignature(body), unhashed: Buffer.alloc(0) }),
);
t.not(withoutBackSignature, armoredKey(keyBytes(withsub.armored)));
await keyTest(
  'a subkey that did not sign its binding',
  { ...withsub, armored: withoutBackSignature },
  'KEY_NOT_USABLE',
  () => clearsign(line, `${subkey}!`),
);
const shortSub = subkeyOf('withsub', '20260601T000000');
await keyTest('a subkey that is expired', keys.exported('withsub'), 'KEY_EXPIRED', () =>
  clearsign(line, `${shortSub}!`, { at: '20260501T000000' }),
);
await t.test(
  "a key that takes in another person's subkey gains nothing, and its owner is told",
  async (t) => {
    const own = packetsOf(keyBytes(bob.armored));
    const theirs = packetsOf(keyBytes(withsub.armored)).slice(-2);
    const thief = { ...bob, armored: armoredKey(Buffer.concat([...own, ...theirs].map(writePacket))) };
    const d = await desk(t, {
      keys: [thief, withsub],
      people: [
        { name: 'bob', fingerprint: bob.fingerprint, ...everything },
        { name: 'withsub', fingerprint: withsub.fingerprint },
      ],
    });
    t.equal(await d.code(clearsign(line, `${subkey}!`)), 'AMBIGUOUS_KEY');
  },
);

await t.test('a signature that openpgp finds good and gpgv does not is refused', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'bi-op-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  writeKeys(folder, [alice, bob]);
  const message = readClearsigned(Buffer.from(good));
  const facts = readSignaturePacket(message.untrustedPacket, message.hash);
  const [a, b] = (await readPeopleKeys(
    folder,
    [alice, bob].map(({ name, fingerprint }) => ({ name, fingerprint })),
    () => undefined,
  )) as [PersonKey, PersonKey];
  const options = { work: join(folder, 'work'), now: new Date() };
  t.equal((await signerOf(message, facts, { ...options, keys: [a, b] })).rights.name, 'alice');
  await t.rejects(signerOf(message, facts, { ...options, keys: [{ ...a, binary: b.binary }] }), {
    code: 'OPINIONS_DIFFER',
    message: /gpgv does not/,
  });
  await t.rejects(
    signerOf(message, facts, {
      ...options,
      keys: [{ ...a, rights: { ...a.rights, fingerprint: b.rights.fingerprint } }],
    }),
    { code: 'OPINIONS_DIFFER' },
    "a key under another person's name",
  );
  t.same(readdirSync(join(folder, 'work')), [], 'nothing is left behind');
});

await t.test(
  'three hundred random damages of a good message are refused, or are the same command still',
  async (t) => {
    const d = await desk(t);
    let state = 7;
    const below = (limit: number): number =>
      (state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0) % limit;
    let accepted = 0;
    for (let i = 0; i < 300; i++) {
      const damaged = Buffer.from(good);
      const lines = good.split('\n');
      const [at, other] = [below(damaged.length), below(damaged.length)];
      damaged[at] = (damaged[at] as number) ^ (1 << below(7));
      const made = [
        damaged,
        Buffer.concat([damaged.subarray(0, at), Buffer.from(good).subarray(other)]),
        Buffer.from(
          lines.toSpliced(below(lines.length), below(2), lines[below(lines.length)] as string).join('\n'),
        ),
      ][below(3)] as Buffer;
      const answer = await d.ask(made);
      if (answer.startsWith('accepted')) accepted++;
      else t.match(answer, /^refused (BAD_COMMAND|COMMAND_USED)$/, made.toString('latin1'));
    }
    t.ok(accepted <= 1);
    t.ok(d.done.every((what) => what === 'build hello'));
  },
);

await t.test("gpgv's word counts only whole: every other status is a no", (t) => {
  const facts = { created: 1795291200, issuerKeyId: alice.fingerprint.slice(-16) };
  const valid = `[GNUPG:] VALIDSIG ${alice.fingerprint} 2026-11-21 1795291200 0 4 0 22 10 01 ${alice.fingerprint}`;
  const status = (...lines: string[]): string => `${lines.join('\n')}\n`;
  const yes = ['[GNUPG:] NEWSIG', `[GNUPG:] GOODSIG ${facts.issuerKeyId} alice`, valid];
  t.same(readGpgvStatus(status(...yes), facts), { good: alice.fingerprint });
  for (const word of [
    'BADSIG',
    'ERRSIG',
    'EXPSIG',
    'EXPKEYSIG',
    'REVKEYSIG',
    'NODATA',
    'UNEXPECTED',
    'FAILURE',
    'NO_PUBKEY',
    'KEYREVOKED',
    'SOMETHING_NEW',
  ]) {
    t.match(readGpgvStatus(status(...yes, `[GNUPG:] ${word} x`), facts), { bad: word });
  }
  t.match(readGpgvStatus(status(...yes, ...yes), facts), { bad: /not one/ }, 'two signatures');
  t.match(
    readGpgvStatus(status(yes[0] as string, yes[1] as string), facts),
    { bad: /not one/ },
    'no VALIDSIG',
  );
  t.match(readGpgvStatus(status(valid), facts), { bad: /not one/ }, 'no GOODSIG');
  t.match(readGpgvStatus('', facts), { bad: /not one/ });
  t.match(readGpgvStatus(status(...yes).replace(' 01 ', ' 00 '), facts), { bad: /another/ }, 'another type');
  t.match(readGpgvStatus(status(...yes), { ...facts, created: 1 }), { bad: /another/ }, 'another time');
  t.end();
});
