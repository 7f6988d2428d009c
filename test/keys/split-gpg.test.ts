// SPDX-License-Identifier: GPL-2.0-or-later
// The split-gpg v1 wire: recorded bytes, random cuts, and an independent peer at each end.
import { execFile, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { promisify } from 'node:util';
import t from 'tap';
import {
  dataFrames,
  endFrame,
  exitFrame,
  FrameReader,
  readPreamble,
  writePreamble,
  type Frame,
} from '../../agents/shared/formats/split-gpg.js';
import { outputDescriptors, readGpgArguments } from '../../agents/shared/formats/split-gpg-arguments.js';
import { agents, KeysMachine, sha256 } from './keys-machine.js';
import { publishIntents } from './intent-publisher.js';

await t.test('the recorded call of the C client is what we write and read', async (t) => {
  const recorded = Buffer.alloc(1028);
  Buffer.from('1d000000002d2d7374617475732d66643d33002d627500656440742e6c6f63616c00', 'hex').copy(recorded);
  const args = ['--status-fd=3', '-bu', 'ed@t.local'];
  t.same(writePreamble(args), recorded);
  t.same(readPreamble(recorded), args);
  t.same(
    Buffer.concat([dataFrames(0, Buffer.from('hi\n')), endFrame(0)]).toString('hex'),
    '000000000300000068690a0000000000000000',
  );
  t.same(readGpgArguments(args), {
    options: [
      { name: 'status-fd', value: '3' },
      { name: 'detach-sign', value: undefined },
      { name: 'local-user', value: 'ed@t.local' },
    ],
    positionals: [],
  });
  t.same(exitFrame(0).toString('hex'), 'ffffffff00000000');
  t.same(exitFrame(2).toString('hex'), 'fdffffff00000000');
});

await t.test('the recorded preambles with few arguments are read', async (t) => {
  const listing = Buffer.alloc(1028);
  Buffer.from('13000000002d2d6c6973742d6b657973006e6f7375636800', 'hex').copy(listing);
  t.same(readPreamble(listing), ['--list-keys', 'nosuch']);
  t.same(readPreamble(Buffer.alloc(1028)), []);
  t.same(readPreamble(writePreamble(['', 'a', ''])), ['', 'a', '']);
  t.same(readPreamble(writePreamble(Array.from({ length: 1023 }, () => ''))).length, 1023);
  t.throws(() => writePreamble(['x'.repeat(1023)]), { code: 'COMMAND_TOO_LONG' });
  t.same(readPreamble(writePreamble(['x'.repeat(1022)])), ['x'.repeat(1022)]);
  t.throws(() => readPreamble(Buffer.alloc(1027)), { code: 'BAD_PREAMBLE' });
  const unterminated = Buffer.alloc(1028, 0x61);
  unterminated.writeUInt32LE(5);
  t.throws(() => readPreamble(unterminated), { code: 'BAD_PREAMBLE' });
  for (const bad of ['a\nb', 'a\tb', '\x7f', '\x1b[2J'])
    t.throws(() => writePreamble([bad]), { code: 'BAD_CHARACTER' });
  const overlong = writePreamble(['ab']);
  overlong[5] = 0xc0;
  t.throws(() => readPreamble(overlong), { code: 'BAD_CHARACTER' });
});

await t.test("the answer's streams are numbered as the C peers number them", async (t) => {
  const streams = (...args: string[]): number[] => outputDescriptors(readGpgArguments(args).options);
  t.same(streams('--attribute-fd=4', '--status-fd=9', '--logger-fd=1'), [1, 2, 4, 9]);
  t.same(streams('--logger-fd=4', '--status-fd=4'), [1, 2, 4]);
  t.same(streams('--status-fd=2'), [1, 2]);
  for (const bad of ['0', '-1', '03', '0x3', '1024', '3 '])
    t.throws(() => streams(`--status-fd=${bad}`), { code: 'BAD_OPTION' });
});

await t.test('frames are the same however their bytes are cut', async (t) => {
  let seed = 12345;
  const random = (below: number): number => (seed = (seed * 1103515245 + 12345) & 0x7fffffff) % below;
  const stdout = Buffer.from(Array.from({ length: 20_000 }, () => random(256)));
  const whole = Buffer.concat([
    dataFrames(2, Buffer.from('status')),
    dataFrames(0, stdout),
    endFrame(2),
    endFrame(0),
    exitFrame(138),
    Buffer.from('ignored'),
  ]);
  for (let round = 0; round < 200; round++) {
    const reader = new FrameReader(3);
    const frames: Frame[] = [];
    for (let at = 0; at < whole.length;) {
      const step = 1 + random(round < 20 ? 3 : 9000);
      frames.push(...reader.push(whole.subarray(at, at + step)));
      at += step;
    }
    const data = Buffer.concat(
      frames.flatMap((frame) => (frame.kind === 'data' && frame.index === 0 ? [frame.data] : [])),
    );
    if (!data.equals(stdout)) t.fail(`round ${round}`);
    t.same(
      frames.filter(({ kind }) => kind !== 'data'),
      [
        { kind: 'end', index: 2 },
        { kind: 'end', index: 0 },
        { kind: 'exit', status: 138 },
      ],
    );
  }
  t.throws(() => new FrameReader(2).push(dataFrames(2, Buffer.from('x'))), { code: 'BAD_FRAME' });
});

/**
 * Written from the reference and nothing else; takes gpg's arguments, then talks on the socket as the C
 * client does.
 */
const independentClient = `
import socket, struct, sys
path, payload, args = sys.argv[1], sys.argv[2].encode(), sys.argv[3:]
s = socket.socket(socket.AF_UNIX); s.connect(path); s.sendall(b'qubes.Gpg+ build-debian\\0')
command = b'\\0' + b''.join(a.encode() + b'\\0' for a in args)
s.sendall(struct.pack('<I', len(command) - 1) + command.ljust(1024, b'\\0'))
for i in range(0, len(payload), 4096):
    part = payload[i:i+4096]; s.sendall(struct.pack('<iI', 0, len(part)) + part)
s.sendall(struct.pack('<iI', 0, 0))
stream = s.makefile('rb'); out = {}; ends = []
while True:
    fd, size = struct.unpack('<iI', stream.read(8))
    if fd < 0: break
    assert size <= 4096
    if size == 0: ends.append(fd)
    else: out[fd] = out.get(fd, b'') + stream.read(size)
sys.stderr.write(repr((-(fd + 1), sorted(ends), out.get(1, b''), out.get(2, b''))))
sys.stdout.buffer.write(out.get(0, b''))
`;

/** A server as strict as the C one: one read for the preamble, EOF on its input means the caller has gone. */
const independentServer = `
import os, struct, subprocess, sys
if sys.argv[2] != 'qubes.Gpg':
    os.execv(sys.argv[0] + '.direct', [sys.argv[0] + '.direct'] + sys.argv[1:])
first = os.read(0, 1028)
if len(first) != 1028: sys.exit(1)
(last,) = struct.unpack('<I', first[:4]); command = first[4:]
assert command[last] == 0 and not any(command[last:]), 'zero filled'
args = command[:last].decode().split('\\0')[1:]
payload = b''; ended = False
def exactly(n):
    data = b''
    while len(data) < n:
        more = os.read(0, n - len(data))
        if not more: sys.exit(0)
        data += more
    return data
while not ended:
    fd, size = struct.unpack('<iI', exactly(8))
    assert fd == 0 and size <= 4096
    if size: payload += exactly(size)
    else: ended = True
import select
assert not select.select([0], [], [], 0.2)[0], 'the caller closed its end'
r, w = os.pipe()
p = subprocess.Popen(['/usr/bin/gpg', '--batch', '--status-fd', str(w)] + [a for a in args if not a.startswith('--status-fd')], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[w], env={'GNUPGHOME': 'KEYS_HOME'})
os.close(w); out, _ = p.communicate(payload); status = os.read(r, 65536)
for index, data in ((2, status), (0, out)):
    for i in range(0, len(data), 100): os.write(1, struct.pack('<iI', index, len(data[i:i+100]))); os.write(1, data[i:i+100])
for index in (2, 0, 1): os.write(1, struct.pack('<iI', index, 0))
os.write(1, struct.pack('<iI', -1, 0))
`;

await t.test('independent peers', async (t) => {
  const machine = new KeysMachine();
  const publisher = await publishIntents(machine);
  t.teardown(async () => {
    await publisher.close();
    await machine.close();
  });
  await machine.start();

  await t.test('a client written from the reference is served by our agent', async (t) => {
    await machine.grant('python\n');
    const ask = (): Promise<{ stdout: Buffer; stderr: Buffer }> =>
      promisify(execFile)(
        '/usr/bin/python3',
        [
          '-c',
          independentClient,
          `${machine.root}/run/build-infra/qubes.Gpg.sock`,
          'python\n',
          '--status-fd=3',
          '-bu',
          machine.signingKey,
        ],
        { encoding: 'buffer' },
      );
    const signed = await ask();
    t.match(signed.stderr.toString(), /^\(0, \[0, 1, 2\], b'', b'\[GNUPG:\] .*SIG_CREATED D 22 10 00/);
    t.equal(sha256(signed.stdout), machine.journal().at(-1)?.result.slice(7));
    t.match(
      (await ask()).stderr.toString(),
      /^\(2, \[0, 1, 2\], b'build-infra: refused GRANT_USED .*\\n', b'\[GNUPG:\] FAILURE sign 1\\n'\)$/,
    );
  });

  await t.test('our client is served by a server written from the reference', async (t) => {
    mkdirSync(`${machine.root}/w`);
    const client = `${machine.root}/usr/bin/qrexec-client-vm`;
    writeFileSync(`${client}.direct`, readFileSync(client), { mode: 0o755 });
    writeFileSync(
      client,
      `#!/usr/bin/python3 -ISE\n${independentServer.replace('KEYS_HOME', machine.keysHome.folder)}`,
    );
    const payload = Buffer.alloc(300_000, 'payload ');
    const child = spawn(
      process.execPath,
      [`${agents}/build-vm/gpg-client/main.js`, '--status-fd=2', '-bsau', machine.signingKey],
      { env: { PATH: '/usr/bin:/bin', BUILD_INFRA_ROOT: machine.root }, detached: true },
    );
    let signature = '';
    let status = '';
    child.stdout.on('data', (chunk: Buffer) => (signature += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (status += chunk.toString()));
    child.stdin.end(payload);
    t.equal(await new Promise((resolve) => child.on('close', resolve)), 0, status);
    t.match(status, /^\[GNUPG:\] SIG_CREATED D /m);
    writeFileSync(`${machine.root}/w/sig`, signature);
    t.match(
      machine.keysHome
        .gpg(['--status-fd', '1', '--verify', `${machine.root}/w/sig`, '-'], payload)
        .toString(),
      /VALIDSIG/,
    );
  });
});
