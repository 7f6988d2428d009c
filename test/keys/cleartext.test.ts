// SPDX-License-Identifier: GPL-2.0-or-later
// What a clear signature carries unchanged: real gpg signs some hundred generated texts, and is asked by
// three ways what it signed.
import { execFile, execFileSync } from 'node:child_process';
import { createHash, createPublicKey, verify } from 'node:crypto';
import { join } from 'node:path';
import * as openpgp from 'openpgp';
import t from 'tap';
import {
  CleartextCheck,
  cleartextLineLimitBytes,
  type CleartextFault,
} from '../../agents/shared/formats/cleartext.js';
import { GpgHome } from '../support/gpg-home.js';

const home = GpgHome.of(t);
const key = home.makeKey('clear <c@x>');
const keyring = join(home.folder, 'ring.gpg');
home.gpg(['--output', keyring, '--export', key]);
const { publicParams } = (await openpgp.readKey({ binaryKey: home.gpg(['--export', key]) }))
  .keyPacket as unknown as { publicParams: { Q: Uint8Array } };
const publicKey = createPublicKey({
  key: { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(publicParams.Q.subarray(1)).toString('base64url') },
  format: 'jwk',
});

const run = (program: string, args: string[], input: Buffer): Promise<Buffer> =>
  new Promise((resolve) => {
    const child = execFile(
      program,
      args,
      { encoding: 'buffer', maxBuffer: 1 << 26, env: { PATH: '/usr/bin:/bin', GNUPGHOME: home.folder } },
      (_error, stdout) => resolve(stdout),
    );
    child.stdin?.on('error', () => undefined).end(input);
  });

function cleartextFault(text: Buffer): CleartextFault | undefined {
  const check = new CleartextCheck();
  check.add(text);
  return check.end();
}

/**
 * The bytes that RFC 9580, section 7.1, has for a text whose lines are exactly these: CRLF between them, and
 * no last newline.
 */
const canonical = (text: Buffer): Buffer =>
  Buffer.from(text.toString('latin1').replace(/\n$/, '').replaceAll('\n', '\r\n'), 'latin1');

/** Whether the packet's signature is over exactly this text. */
function isOver(packet: Buffer, text: Buffer): boolean {
  const body = packet.subarray(packet[0] === 0x88 ? 2 : 3);
  const hashed = 6 + body.readUInt16BE(4);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(hashed);
  const digest = createHash('sha512')
    .update(canonical(text))
    .update(body.subarray(0, hashed))
    .update(Buffer.from([4, 255]))
    .update(length)
    .digest();
  const numbers: Buffer[] = [];
  for (let at = hashed + 2 + body.readUInt16BE(hashed) + 2; at < body.length;) {
    const bytes = (body.readUInt16BE(at) + 7) >> 3;
    numbers.push(Buffer.concat([Buffer.alloc(32 - bytes), body.subarray(at + 2, at + 2 + bytes)]));
    at += 2 + bytes;
  }
  return verify(null, digest, publicKey, Buffer.concat(numbers));
}

/**
 * Whether gpg signs these bytes: what it writes out, what gpgv takes from that, and what the signature is
 * over are all the same.
 */
async function gpgKeeps(text: Buffer): Promise<boolean> {
  const message = await run(
    '/usr/bin/gpg',
    [
      '--batch',
      '--no-tty',
      '--quiet',
      '--local-user',
      key,
      '--clearsign',
      '--digest-algo',
      'SHA512',
      '--output',
      '-',
      '--',
      '-',
    ],
    text,
  );
  const plain = message.toString('latin1');
  const [, escaped, armored] =
    /^-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n([^]*?\n)?-----BEGIN PGP SIGNATURE-----\n\n([^]*?)\n=/.exec(
      plain,
    ) ?? [];
  const written = (escaped ?? '')
    .split('\n')
    .map((line) => (line.startsWith('- ') ? line.slice(2) : line))
    .join('\n');
  const read = await run('/usr/bin/gpgv', ['--keyring', keyring, '--output', '-', '--', '-'], message);
  return (
    Buffer.from(written, 'latin1').equals(text) &&
    read.equals(text) &&
    isOver(Buffer.from(armored ?? '', 'base64'), text)
  );
}

/** Numbers from a seed: the same texts in each run. */
let seed = 20261130;
const dice = (below: number): number => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return Math.floor((seed / 2 ** 32) * below);
};
const of = (words: readonly string[]): string => words[dice(words.length)] as string;

const plain = [
  '',
  'a',
  'Package: hello',
  ' hello - x',
  ' .',
  '-',
  '--',
  '- x',
  '- - x',
  '-----BEGIN PGP SIGNATURE-----',
  '-----BEGIN PGP SIGNED MESSAGE-----',
  '=abcd',
  'From here',
  'Hash: SHA256',
  'from',
  '\x1a',
  '\x07\x08',
  '\x7f',
  '\x85',
  '\xff\xfe',
  '\xc2\xa0',
  'x\xe2\x80\xa8',
  'x\v',
  'x\f',
  '\f',
  '\v \vx',
];
const odd = [
  'x ',
  'x\t',
  ' ',
  '\t',
  'x \t',
  'x\r',
  '\r',
  'x\ry',
  '\rx',
  'x\0',
  '\0',
  'x\0y',
  '- ',
  '-\t',
  'From ',
  'x \0',
  'x\r ',
];
const long = (): string => of(['', '-', 'From ', ' ', '\xff']).padEnd(19_985 + dice(14), 'x');

function text(): Buffer {
  const lines = Array.from({ length: 1 + dice(6) }, () => of(plain));
  const place = dice(lines.length);
  const kind = dice(8);
  if (kind < 3) lines[place] = of(odd);
  if (kind === 3 || kind === 7) lines[place] = long();
  return Buffer.from(
    lines.join('\n') +
      (kind === 4 ? of(['', '', '\r\n', ' \n', '\0\n', '\n \n']) : of(['\n', '\n', '\n\n', '\n\n\n'])),
    'latin1',
  );
}

const texts = [Buffer.alloc(0), Buffer.from('\n'), ...Array.from({ length: 400 }, text)];

await t.test('exactly what gpg keeps is accepted, of some hundred generated texts', async (t) => {
  let accepted = 0;
  const judge = async (one: Buffer): Promise<void> => {
    const fault = cleartextFault(one);
    const kept = await gpgKeeps(one);
    const shown = JSON.stringify(one.toString('latin1').replace(/x{100,}/g, (xs) => `<${xs.length}>`));
    if (fault === undefined) {
      accepted++;
      if (!kept) t.fail(`accepted, and gpg changes it: ${shown}`);
      return;
    }
    // The few that gpg keeps and other readers may not.
    const doubtful =
      /[\r\0]/.test(one.toString('latin1')) ||
      one
        .toString('latin1')
        .split('\n')
        .some((line) => line.length > cleartextLineLimitBytes && line.length < 19_994);
    if (kept && !doubtful) t.fail(`refused, and gpg keeps it: ${shown}: ${JSON.stringify(fault)}`);
  };
  const waiting = [...texts];
  await Promise.all(
    Array.from({ length: 4 }, async () => {
      for (let one = waiting.pop(); one !== undefined; one = waiting.pop()) await judge(one);
    }),
  );
  t.ok(accepted > 100 && accepted < texts.length - 100, `${accepted} of ${texts.length} accepted`);
});

await t.test('a fault is found in the same line, however the text is cut', async (t) => {
  for (const one of texts) {
    const whole = cleartextFault(one);
    for (const size of [1, 2, 3, 7, 4096]) {
      const check = new CleartextCheck();
      for (let at = 0; at < one.length; at += size) check.add(one.subarray(at, at + size));
      if (JSON.stringify(check.end()) !== JSON.stringify(whole))
        t.fail(
          `pieces of ${size} of ${JSON.stringify(one.toString('latin1').slice(0, 200))}: ${JSON.stringify(check.end())}, not ${JSON.stringify(whole)}`,
        );
    }
  }
  t.same(cleartextFault(Buffer.from('a\nb \nc\n')), { line: 2, why: 'ends in a blank' });
  t.same(cleartextFault(Buffer.from('a\n\nc\t')), { line: 3, why: 'has no newline at its end' });
  t.same(cleartextFault(Buffer.from(`a\n${'x'.repeat(19_991)}\n`)), {
    line: 2,
    why: 'is longer than 19990 bytes',
  });
});

await t.test('32 MiB of the worst kinds are read in little time, also where nothing is compiled', (t) => {
  const program = `
    import { CleartextCheck } from ${JSON.stringify(new URL('../../agents/shared/formats/cleartext.js', import.meta.url).pathname)};
    for (const line of ['\\n', '-\\n', 'x'.repeat(19989) + '\\n', 'a line of text\\n']) {
      const piece = Buffer.from(line.repeat(Math.ceil(4096 / line.length))).subarray(0, 4096);
      const check = new CleartextCheck();
      const start = performance.now();
      for (let i = 0; i < 8192; i++) check.add(piece);
      console.log(Math.round(performance.now() - start));
    }`;
  const took = execFileSync(process.execPath, [
    '--jitless',
    '--no-expose-wasm',
    '--input-type=module',
    '-e',
    program,
  ])
    .toString()
    .trim()
    .split('\n')
    .map(Number);
  t.equal(took.length, 4);
  t.ok(
    took.every((ms) => ms < 5000),
    `${took.join(', ')} ms`,
  );
  t.comment(`${took.join(', ')} ms`);
  t.end();
});
