// SPDX-License-Identifier: GPL-2.0-or-later
// Callers that are slow, many, or never end, against the service itself with short limits; and a
// configuration that is wrong.
import { writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import t from 'tap';
import { dataFrames } from '../../agents/shared/formats/split-gpg.js';
import { callsPerSource, serveSockets } from '../../agents/shared/calls/socket-service.js';
import { readKeysConfig } from '../../agents/keys/documents.js';
import { gpgService } from '../../agents/keys/gpg-service.js';
import { Ledger } from '../../agents/keys/ledger.js';
import { SigningKeys } from '../../agents/keys/signing-keys.js';
import { Spool } from '../../agents/keys/spool.js';
import { callGpg, frame, preamble, readAnswer, refusalCode, type GpgAnswer } from './gpg-caller.js';
import { callSocket, KeysMachine, sha256 } from './keys-machine.js';

const machine = new KeysMachine();
const config = readKeysConfig(machine.config);
const gpg = { program: '/usr/bin/gpg', home: machine.keysHome.folder };
const ledger = Ledger.open({
  stateFolder: machine.root,
  bootId: 'boot',
  grantSeconds: 900,
  clock: { wall: () => Date.now(), steady: () => performance.now() },
});
const spool = new Spool(`${machine.root}/s`, { each: 100_000, total: 150_000 });
const keys = await SigningKeys.load(gpg, config.signingKeys);
const server = await serveSockets(
  [
    gpgService({
      config,
      ledger,
      keys,
      gpg,
      spool,
      report: () => undefined,
      limits: { preambleMs: 1500, payloadMs: 1500 },
    }),
  ],
  { report: () => undefined, folder: `${machine.root}/run/build-infra` },
);
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
  return {
    socket,
    answer: new Promise((resolve) =>
      socket.on('end', () => {
        resolve(readAnswer(Buffer.concat(chunks)));
        socket.destroy();
      }),
    ),
  };
}

await t.test('a caller that sends no command line, or no end of its data, is refused in time', async (t) => {
  t.equal(refusalCode(await hang(preamble(['-b']).subarray(0, 1027)).answer), 'TOO_SLOW');
  t.equal(refusalCode(await hang(Buffer.concat([preamble(['-b']), frame(0, 'x')])).answer), 'TOO_SLOW');
});

await t.test('a call with an argument is refused: nothing of it is meant for anybody', async (t) => {
  t.equal(
    refusalCode(
      readAnswer(
        await callSocket(
          `${machine.root}/run/build-infra/qubes.Gpg.sock`,
          'qubes.Gpg+x build-debian',
          Buffer.concat([preamble(['-b']), frame(0, 'x'), frame(0, '')]),
        ),
      ),
    ),
    'BAD_ARGUMENT',
  );
});

await t.test('what waits to be signed is bounded over all callers, and freed when they go', async (t) => {
  const part = (count: number): Buffer =>
    Buffer.concat(Array.from({ length: count }, () => frame(0, Buffer.alloc(4000))));
  const first = hang(Buffer.concat([preamble(['-b']), part(24)]));
  await new Promise((resolve) => setTimeout(resolve, 100));
  t.equal(refusalCode(await hang(Buffer.concat([preamble(['-b']), part(20)])).answer), 'SPOOL_FULL');
  first.socket.destroy();
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.equal(refusalCode(await callGpg(machine, ['-b'], Buffer.alloc(90_000))), 'NO_GRANT');
});

await t.test(
  'silent callers do not keep an honest one from its answer; one more than a VM may have is told so in the words of the wire',
  async (t) => {
    const limit = callsPerSource(5);
    const silent = Array.from({ length: limit - 1 }, () => hang(Buffer.alloc(0)));
    t.equal(refusalCode(await callGpg(machine, ['-b'], 'x')), 'NO_GRANT');
    t.ok(
      (await Promise.all(silent.map(({ answer }) => answer))).every(
        (answer) => refusalCode(answer) === 'TOO_SLOW',
      ),
    );
    for (const { socket } of silent) socket.destroy();
    await new Promise((resolve) => setTimeout(resolve, 100));
    const many = Array.from({ length: limit + 20 }, () => hang(Buffer.alloc(0)));
    const codes = (await Promise.all(many.map(({ answer }) => answer))).map(refusalCode);
    t.equal(codes.filter((code) => code === 'TOO_MANY_CALLS').length, 20);
    t.equal(codes.filter((code) => code === 'TOO_SLOW').length, limit);
  },
);

await t.test('gpg that cannot sign uses the grant up, says so, and the journal shows it', async (t) => {
  const broken = gpgService({
    config,
    ledger,
    keys,
    gpg: { program: '/bin/false', home: gpg.home },
    spool,
    report: () => undefined,
  });
  const folder = `${machine.root}/run`;
  const other = await serveSockets([broken], { folder, report: () => undefined });
  t.teardown(() => other.close());
  const hash = sha256('x');
  ledger.accept(
    { commit: 'a'.repeat(40), seq: 1 },
    config.source,
    [{ sha256: hash, size: 1, key: machine.signingKey, mode: 'detach', intent: 'a'.repeat(64) }],
    () => 1,
  );
  const answer = readAnswer(
    await callSocket(
      `${folder}/qubes.Gpg.sock`,
      'qubes.Gpg+ build-debian',
      Buffer.concat([preamble(['-b']), frame(0, 'x'), frame(0, '')]),
    ),
  );
  t.equal(refusalCode(answer), 'SIGNING_FAILED');
  t.equal(refusalCode(await callGpg(machine, ['-b'], 'x')), 'GRANT_USED');
});

await t.test('a clear signature is over at most 32 MiB, whatever the configuration allows', async (t) => {
  const limit = 32 * 1024 * 1024;
  const folder = `${machine.root}/run`;
  const large = new Spool(`${machine.root}/large`, { each: limit + 1, total: 2 * limit });
  const other = await serveSockets(
    [gpgService({ config, ledger, keys, gpg, spool: large, report: () => undefined })],
    { folder, report: () => undefined },
  );
  t.teardown(() => other.close());
  const asked = async (mode: string, size: number): Promise<string> =>
    refusalCode(
      readAnswer(
        await callSocket(
          `${folder}/qubes.Gpg.sock`,
          'qubes.Gpg+ build-debian',
          Buffer.concat([preamble([mode]), dataFrames(0, Buffer.alloc(size, '\n')), frame(0, '')]),
        ),
      ),
    );
  t.same(
    [await asked('--clearsign', limit), await asked('--clearsign', limit + 1), await asked('-b', limit + 1)],
    ['NO_GRANT', 'TOO_LARGE', 'NO_GRANT'],
  );
});

await t.test(
  'a fault of the keys VM ends in no, says nothing of itself to the caller, and is no refusal in the journal',
  async (t) => {
    const folder = `${machine.root}/run`;
    const [refused, noted]: [unknown[], string[]] = [[], []];
    const broken = {
      claim: () => {
        throw new Error('the disk\nis gone');
      },
      refused: (note: unknown) => refused.push(note),
    } as unknown as Ledger;
    const other = await serveSockets(
      [gpgService({ config, ledger: broken, keys, gpg, spool, report: (line) => noted.push(line) })],
      { folder, report: (line) => noted.push(line) },
    );
    t.teardown(() => other.close());
    const answer = readAnswer(
      await callSocket(
        `${folder}/qubes.Gpg.sock`,
        'qubes.Gpg+ build-debian',
        Buffer.concat([preamble(['-b']), frame(0, 'x'), frame(0, '')]),
      ),
    );
    t.equal(answer.status, 2);
    t.equal(answer.streams[1]?.toString(), 'build-infra: fault\n');
    t.same([refused, noted.length], [[], 1]);
    t.match(noted, [/^qubes\.Gpg from build-debian: fault: Error: the disk\.is gone/]);
  },
);

/** What gpg might do instead of what it was told: a shell program around the real one. */
const otherwise: [string, 'detach' | 'clearsign', string][] = [
  ['drops a byte of the text', 'clearsign', '/usr/bin/gpg "$@" | sed "s/^two$/tw/"'],
  ['adds a line to the text', 'clearsign', '/usr/bin/gpg "$@" | sed "s/^two$/two\\nthree/"'],
  ['says something before the message', 'clearsign', 'echo hello; /usr/bin/gpg "$@"'],
  ['says something after it', 'clearsign', '/usr/bin/gpg "$@"; echo hello'],
  [
    'signs as text and says that it did not',
    'detach',
    '/usr/bin/gpg --textmode "$@" 3>MADE; sed "s/ 01 / 00 /" MADE >&3',
  ],
  [
    'signs with another digest',
    'detach',
    '/usr/bin/gpg "$@" 3>/dev/null >/dev/null; echo "[GNUPG:] SIG_CREATED D 22 10 00 1 KEY" >&3; exec 4<&0; printf "one\\ntwo\\n" | /usr/bin/gpg --no-options --batch --status-fd 5 5>/dev/null -b --digest-algo SHA384 -u KEY',
  ],
  [
    'names no origin',
    'detach',
    'i=0; for a; do shift; case "$a" in --sig-notation) skip=1;; *) if [ "$skip" = 1 ]; then skip=; else set -- "$@" "$a"; fi;; esac; done; exec /usr/bin/gpg "$@"',
  ],
  [
    'names another origin',
    'detach',
    'for a; do shift; case "$a" in origin@*) a="origin@build-infra.invalid=other";; esac; set -- "$@" "$a"; done; exec /usr/bin/gpg "$@"',
  ],
  ['names two origins', 'detach', 'exec /usr/bin/gpg --sig-notation origin@build-infra.invalid=other "$@"'],
  [
    'names a critical one',
    'detach',
    'for a; do shift; case "$a" in origin@*) a="!$a";; esac; set -- "$@" "$a"; done; exec /usr/bin/gpg "$@"',
  ],
  [
    'says something else in the name of the key',
    'detach',
    'exec /usr/bin/gpg --sig-policy-url http://x "$@"',
  ],
  ['signs twice', 'detach', '/usr/bin/gpg "$@" > MADE; cat MADE MADE'],
  ['is cut short', 'detach', '/usr/bin/gpg "$@" | head -c 50'],
  ['makes an empty packet', 'detach', '/usr/bin/gpg "$@" > /dev/null; printf "\\210\\000"'],
];
for (const [how, mode, body] of otherwise)
  await t.test(`a gpg that ${how} hands nothing out, and the journal shows it`, async (t) => {
    const payload = 'one\ntwo\n';
    const program = `${machine.root}/other-gpg`;
    writeFileSync(
      program,
      `#!/bin/sh\n${body.replaceAll('KEY', machine.signingKey).replaceAll('MADE', `${machine.root}/made`)}\n`,
      { mode: 0o755 },
    );
    const noted: string[] = [];
    const folder = `${machine.root}/run`;
    const other = await serveSockets(
      [
        gpgService({
          config,
          ledger,
          keys,
          gpg: { program, home: gpg.home },
          spool,
          report: (line) => noted.push(line),
        }),
      ],
      { folder, report: () => undefined },
    );
    const hash = sha256(payload);
    ledger.accept(
      { commit: 'a'.repeat(40), seq: 1 },
      config.source,
      [{ sha256: hash, size: payload.length, key: machine.signingKey, mode, intent: sha256(how) }],
      () => 1,
    );
    const answer = readAnswer(
      await callSocket(
        `${folder}/qubes.Gpg.sock`,
        'qubes.Gpg+ build-debian',
        Buffer.concat([
          preamble([mode === 'detach' ? '-b' : '--clearsign']),
          frame(0, payload),
          frame(0, ''),
        ]),
      ),
    );
    await other.close();
    t.equal(refusalCode(answer), 'WRONG_SIGNATURE', noted.join('\n'));
    t.match(
      ledger
        .linesAfter(null, 10_000)
        .slice(-2)
        .map((line) => JSON.parse(line) as object),
      [
        { event: 'claimed', sha256: hash },
        { event: 'refused', result: 'WRONG_SIGNATURE', sha256: hash, intent: sha256(how) },
      ],
    );
  });

await t.test(
  'a configuration with an unknown field, or a key that is not there, stops the agent with one line',
  async (t) => {
    const other = new KeysMachine({ extra: true });
    t.teardown(() => other.close());
    await t.rejects(other.start(), {
      message: /^the agent ended: keys agent: not started: BAD_DOCUMENT: \/extra: is not a known field\n$/,
    });
    other.config = { ...other.config };
    delete other.config['extra'];
    other.configure({ signingKeys: ['AB'.repeat(20)] });
    await t.rejects(other.start(), {
      message: /^the agent ended: keys agent: not started: .* ended with 2: .*\n$/,
    });
  },
);
