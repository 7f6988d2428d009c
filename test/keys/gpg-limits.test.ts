// SPDX-License-Identifier: GPL-2.0-or-later
// Callers that are slow, many, or never end, against the service itself with short limits; and a configuration that is wrong.
import { connect, type Socket } from 'node:net';
import t from 'tap';
import { serveSockets } from '../../agents/shared/socket-service.js';
import { readKeysConfig } from '../../agents/keys/documents.js';
import { gpgService } from '../../agents/keys/gpg-service.js';
import { Ledger } from '../../agents/keys/ledger.js';
import { SigningKeys } from '../../agents/keys/signing-keys.js';
import { Spool } from '../../agents/keys/spool.js';
import { callGpg, frame, preamble, readAnswer, refusalCode, type GpgAnswer } from './gpg-caller.js';
import { KeysMachine } from './keys-machine.js';

const machine = new KeysMachine();
const config = readKeysConfig(machine.config);
const gpg = { program: '/usr/bin/gpg', home: machine.keysHome.folder };
const ledger = Ledger.open({ stateFolder: machine.root, bootId: 'boot', grantSeconds: 900, clock: { wall: () => Date.now(), monotonic: () => performance.now() } });
const spool = new Spool(`${machine.root}/s`, { each: 100_000, total: 150_000 });
const keys = await SigningKeys.load(gpg, config.signingKeys);
const server = await serveSockets([gpgService({ config, ledger, keys, gpg, spool, report: () => undefined, limits: { preambleMs: 1500, payloadMs: 1500 } })], { report: () => undefined, folder: `${machine.root}/run/build-infra` });
t.teardown(async () => {
  await server.close();
  await machine.close();
});

/** Sends and then waits, without ever ending. */
function hang(bytes: Uint8Array): { socket: Socket; answer: Promise<GpgAnswer> } {
  const socket = connect({ path: `${machine.root}/run/build-infra/qubes.Gpg.sock`, allowHalfOpen: true });
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  socket.on('error', () => undefined);
  socket.write('qubes.Gpg+ build-debian\0');
  socket.write(bytes);
  return { socket, answer: new Promise((resolve) => socket.on('end', () => {
    resolve(readAnswer(Buffer.concat(chunks)));
    socket.destroy();
  })) };
}

await t.test('a caller that sends no command line, or no end of its data, is refused in time', async (t) => {
  t.equal(refusalCode(await hang(preamble(['-b']).subarray(0, 1027)).answer), 'TOO_SLOW');
  t.equal(refusalCode(await hang(Buffer.concat([preamble(['-b']), frame(0, 'x')])).answer), 'TOO_SLOW');
});

await t.test('what waits to be signed is bounded over all callers, and freed when they go', async (t) => {
  const part = (count: number): Buffer => Buffer.concat(Array.from({ length: count }, () => frame(0, Buffer.alloc(4000))));
  const first = hang(Buffer.concat([preamble(['-b']), part(24)]));
  await new Promise((resolve) => setTimeout(resolve, 100));
  t.equal(refusalCode(await hang(Buffer.concat([preamble(['-b']), part(20)])).answer), 'SPOOL_FULL');
  first.socket.destroy();
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.equal(refusalCode(await callGpg(machine, ['-b'], Buffer.alloc(90_000))), 'NO_GRANT');
});

await t.test('two hundred silent callers do not keep an honest one from its answer, three hundred are too many', async (t) => {
  const silent = Array.from({ length: 200 }, () => hang(Buffer.alloc(0)));
  t.equal(refusalCode(await callGpg(machine, ['-b'], 'x')), 'NO_GRANT');
  t.ok((await Promise.all(silent.map(({ answer }) => answer))).every((answer) => refusalCode(answer) === 'TOO_SLOW'));
  const many = Array.from({ length: 300 }, () => hang(Buffer.alloc(0)));
  const codes = (await Promise.all(many.map(({ answer }) => answer))).map(refusalCode);
  t.same([...new Set(codes)].sort(), ['BUSY', 'TOO_SLOW']);
});

await t.test('gpg that cannot sign uses the grant up, says so, and the journal shows it', async (t) => {
  const sha256 = 'a'.repeat(64);
  const broken = gpgService({ config, ledger, keys, gpg: { program: '/bin/false', home: gpg.home }, spool, report: () => undefined });
  const folder = `${machine.root}/run`;
  const other = await serveSockets([broken], { folder, report: () => undefined });
  t.teardown(() => other.close());
  const { createHash } = await import('node:crypto');
  const hash = createHash('sha256').update('x').digest('hex');
  ledger.accept({ commit: 'a'.repeat(40), seq: 1 }, config.source, [{ sha256: hash, size: 1, key: machine.signingKey, mode: 'detach', intent: sha256 }], () => 1);
  const { callSocket } = await import('./keys-machine.js');
  const answer = readAnswer(await callSocket(`${folder}/qubes.Gpg.sock`, 'qubes.Gpg+ build-debian', Buffer.concat([preamble(['-b']), frame(0, 'x'), frame(0, '')])));
  t.equal(refusalCode(answer), 'SIGNING_FAILED');
  t.equal(refusalCode(await callGpg(machine, ['-b'], 'x')), 'GRANT_USED');
});

await t.test('a configuration with an unknown field, or a key that is not there, stops the agent with one line', async (t) => {
  const other = new KeysMachine({ extra: true });
  t.teardown(() => other.close());
  await t.rejects(other.start(), { message: /^the agent ended: keys agent: not started: BAD_DOCUMENT: \/extra: is not a known field\n$/ });
  other.config = { ...other.config };
  delete other.config['extra'];
  other.configure({ signingKeys: ['AB'.repeat(20)] });
  await t.rejects(other.start(), { message: /^the agent ended: keys agent: not started: .* ended with 2: .*\n$/ });
});
