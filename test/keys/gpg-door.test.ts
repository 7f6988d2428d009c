// SPDX-License-Identifier: GPL-2.0-or-later
// Bad days between the gpg client and the build agent that does its work, and callers' words and descriptors
// of every shape, against the real keys agent.
import { execFileSync, type ChildProcess } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { connect, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { until } from '../support/until.js';
import { openGate } from './gate.js';
import { GpgDoor } from './gpg-program.js';
import type { Intent } from '../../agents/shared/formats/intent.js';

const {
  machine,
  publisher,
  gpg,
  work,
  start: startIn,
} = await openGate(t, { payloadBytes: 64 * 1024 * 1024 });
const doorPath = `${machine.root}/run/build-infra-gpg/door.sock`;
const client = `${machine.root}/usr/bin/qrexec-client-vm`;
// A call that a test holds says that it came, and waits.
renameSync(client, `${client}.real`);
writeFileSync(
  client,
  `#!/bin/sh\n: >'${work}/came-'"$2"\nwhile [ -e '${work}/hold-'"$2" ]; do sleep 0.02; done\nexec '${client}.real' "$@"\n`,
  { mode: 0o755 },
);
let door = await GpgDoor.open(machine.root);
t.teardown(() => door.end());

interface Run {
  status: number;
  stdout: Buffer;
  stderr: string;
}

/** @param script of sh, in which $gpg is the client */
function start(script: string, args: readonly string[] = []): { child: ChildProcess; over: Promise<Run> } {
  const { child, over } = startIn('/bin/sh', ['-c', script, 'sh', ...args], { env: { gpg } });
  return { child, over: over.then((run) => ({ ...run, stdout: Buffer.from(run.stdout, 'latin1') })) };
}

function run(script: string, input: string | Uint8Array = '', args: readonly string[] = []): Promise<Run> {
  const { child, over } = start(script, args);
  child.stdin?.end(input);
  return over;
}

const lastIntent = (): Intent => JSON.parse(publisher.documents.at(-1) as string) as Intent;
const signed = (): number => machine.events().filter((event) => event === 'signed').length;

/** Starts a call of the client, runs `meanwhile` while its call of this service waits, and lets it go on. */
async function whileHeld(service: string, begin: () => void, meanwhile: () => Promise<void>): Promise<void> {
  rmSync(`${work}/came-${service}`, { force: true });
  writeFileSync(`${work}/hold-${service}`, '');
  try {
    begin();
    await until(`a call of ${service}`, () => existsSync(`${work}/came-${service}`));
    await meanwhile();
  } finally {
    rmSync(`${work}/hold-${service}`);
  }
}

async function verifies(t: Test, signature: Buffer | string, payload: string | Uint8Array): Promise<void> {
  writeFileSync(`${work}/of.sig`, signature);
  const checked = await run('gpg --batch --status-fd 1 --verify of.sig -', payload);
  t.match(checked.stdout.toString(), `VALIDSIG ${machine.signingKey}`);
}

await t.test('the door is for root of this VM alone', async (t) =>
  t.equal(statSync(`${machine.root}/run/build-infra-gpg`).mode & 0o777, 0o700),
);

for (const service of ['qubesbuilder.BuildLog+intent', 'qubes.Gpg']) {
  await t.test(
    `the agent is killed while the client waits for ${service}: one line, status 2, no file, and the next call is done by an agent again`,
    async (t) => {
      let call: Promise<Run> | undefined;
      await whileHeld(
        service,
        () => {
          call = run('exec $gpg -b -o lost.sig -u "$1" -', 'lost', [machine.signingKey]);
        },
        async () => {
          await door.end('SIGKILL');
          const { status, stdout, stderr } = (await call) as Run;
          t.same(
            { status, stdout: stdout.toString(), stderr },
            {
              status: 2,
              stdout: '',
              stderr:
                'build-infra: refused AGENT_ENDED the build agent ended in the middle of this call, or does not answer\n',
            },
          );
        },
      );
      t.same(
        readdirSync(work).filter((name) => name.startsWith('lost')),
        [],
      );
      // A killed agent leaves its socket: nobody answers there.
      const alone = await run('exec $gpg -b -o - -', 'alone');
      t.equal(alone.status, 0, alone.stderr);
      await verifies(t, alone.stdout, 'alone');
      door = await GpgDoor.open(machine.root);
      await verifies(t, (await run('exec $gpg -b -o - -', 'again')).stdout, 'again');
    },
  );
}

await t.test(
  'an agent that accepts and never says a word is not waited for for ever: nothing was taken from the caller yet',
  async (t) => {
    writeFileSync(
      `${work}/impatient`,
      readFileSync(gpg, 'utf8').replace('$first_answer_seconds = 30', '$first_answer_seconds = 1'),
      { mode: 0o755 },
    );
    await door.end('SIGSTOP');
    const { status, stdout, stderr } = await run('exec ./impatient -b -o - -', 'silent');
    await door.end('SIGCONT');
    t.equal(status, 0, stderr);
    await verifies(t, stdout, 'silent');
  },
);

await t.test(
  'a caller that is killed between intent and signature gets none, and none is made',
  async (t) => {
    const before = signed();
    let call: ReturnType<typeof start> | undefined;
    const intents = publisher.documents.length;
    await whileHeld(
      'qubesbuilder.BuildLog+intent',
      () => {
        call = start('exec $gpg -b -o killed.sig -');
        call.child.stdin?.end('killed');
      },
      async () => {
        call?.child.kill('SIGKILL');
        await call?.over;
      },
    );
    await until('the intent', () => publisher.documents.length > intents);
    // A later call is signed while the killed one's would long have been.
    t.equal((await run('exec $gpg -b -o - -', 'after it')).status, 0);
    t.equal(signed(), before + 1);
    t.notOk(existsSync(`${work}/killed.sig`));
  },
);

const names = [
  'with space',
  'new\nline',
  `quo'te"s \`$x\` \\n`,
  '-leading',
  '--output',
  'grüße-日本',
  'tab\there',
  '*',
  ' ',
  'a|',
  '>b',
];
for (const name of names) {
  await t.test(`a file is signed whatever its name: ${JSON.stringify(name)}`, async (t) => {
    writeFileSync(`${work}/${name}`, `in ${name}`);
    const done = await run('exec $gpg -a -b -u "$1" -- "$2"', '', [machine.signingKey, name]);
    t.match(done, { status: 0, stderr: '' });
    await verifies(t, readFileSync(`${work}/${name}.asc`), `in ${name}`);
    const out = await run('exec $gpg -a -b --output "$1 out" -', 'x', [`./${name}`]);
    t.match(out, { status: 0, stderr: '' });
    await verifies(t, readFileSync(`${work}/./${name} out`), 'x');
  });
}

await t.test('a name that is no UTF-8 ends as it does without an agent', async (t) => {
  const byAgent = await run(`exec $gpg -b -o - "$(printf 'no\\377')"`);
  await door.end();
  const alone = await run(`exec $gpg -b -o - "$(printf 'no\\377')"`);
  door = await GpgDoor.open(machine.root);
  t.same(byAgent, alone);
  t.match(alone, { status: 2, stderr: /refused NO_SUCH_FILE/ });
});

await t.test('nothing at all is signed as the empty text', async (t) => {
  for (const script of ['exec $gpg -b -o - -', 'exec $gpg -b -o - - </dev/null', 'exec $gpg -b -o - - <&-'])
    await verifies(t, (await run(script)).stdout, '');
});

await t.test("input is taken from where the caller's descriptor stands", async (t) => {
  writeFileSync(`${work}/lines`, 'first\nsecond\nthird\n');
  await verifies(
    t,
    (await run('exec <lines; read line; exec $gpg -b -o - -')).stdout,
    readFileSync(`${work}/lines`, 'utf8').replace(/^first\n/, ''),
  );
  await verifies(
    t,
    (await run('exec 7<lines; exec $gpg --enable-special-filenames -b -o - -- "-&7"')).stdout,
    'first\nsecond\nthird\n',
  );
  await verifies(t, (await run('{ echo one; sleep 0.2; echo two; } | $gpg -b -o - -')).stdout, 'one\ntwo\n');
});

await t.test('32 MiB pass, detached and in clear', async (t) => {
  const text = `${'x'.repeat(63)}\n`.repeat((32 * 1024 * 1024) / 64);
  await verifies(t, (await run('exec $gpg -b -o - -', text)).stdout, text);
  t.equal(lastIntent().payload.size, text.length);
  t.match(await run('exec $gpg --clearsign -o big.asc -', text), { status: 0, stderr: '' });
  t.ok(statSync(`${work}/big.asc`).size > text.length);
});

await t.test('more than is held in memory is refused, and nothing is published', async (t) => {
  const before = publisher.documents.length;
  t.match(await run('head -c 268435457 /dev/zero | $gpg -b -o - -'), {
    status: 2,
    stderr: 'build-infra: refused TOO_LARGE more than 268435456 bytes to sign\n',
  });
  t.equal(publisher.documents.length, before);
});

await t.test('an output that is no plain file stays what it is; a plain one is replaced whole', async (t) => {
  execFileSync('mkfifo', [`${work}/fifo`]);
  symlinkSync('target', `${work}/link`);
  writeFileSync(`${work}/target`, 'longer than any signature '.repeat(100));
  writeFileSync(`${work}/old`, 'longer than any signature '.repeat(100));
  await verifies(t, (await run('cat fifo & $gpg -b -o fifo - && wait', 'f')).stdout, 'f');
  t.ok(lstatSync(`${work}/fifo`).isFIFO());
  t.match(await run('exec $gpg -b -o link -', 'l'), { status: 0, stderr: '' });
  t.ok(lstatSync(`${work}/link`).isSymbolicLink());
  await verifies(t, readFileSync(`${work}/target`), 'l');
  t.match(await run('exec $gpg -b -o old -', 'o'), { status: 0, stderr: '' });
  await verifies(t, readFileSync(`${work}/old`), 'o');
  t.same(
    readdirSync(work).filter((name) => name.endsWith('.part')),
    [],
  );
});

await t.test('reports what cannot be written, with status 2', async (t) => {
  t.match(await run('exec $gpg -b -o - - >/dev/full', 'x'), {
    status: 2,
    stderr: /^build-infra: fault: .*No space left/,
  });
  t.match(await run('exec $gpg -b -o none/x.sig -', 'x'), {
    status: 2,
    stderr: /^build-infra: fault: .*No such file/,
  });
  t.match(await run('exec $gpg --status-fd 9 -b -o - -', 'x'), {
    status: 2,
    stderr: /^build-infra: refused BAD_OPTION descriptor 9 /,
  });
  t.match(await run('exec 2>&-; exec $gpg -b -o none/x.sig -', 'x'), { status: 2, stderr: '' });
  t.match(await run('$gpg --version | true; echo over'), { stderr: '' });
});

await t.test('everything else is the real gpg, with its own words, descriptors and status', async (t) => {
  for (const args of [
    '--no-such-option',
    '--list-keys nobody',
    '--decrypt /dev/null',
    '--print-md sha256 lines',
    '',
  ]) {
    const [ours, theirs] = await Promise.all([
      run(`exec $gpg ${args} </dev/null`),
      run(`exec gpg ${args} </dev/null`),
    ]);
    t.same(ours, theirs, args);
  }
  const piped = await run(
    'yes | { $gpg --print-md sha256 lines; trap - PIPE; }; exec 5>status; exec $gpg --status-fd 5 --verify of.sig lines',
  );
  t.not(piped.status, 0);
  t.match(readFileSync(`${work}/status`, 'utf8'), /BADSIG|ERRSIG/);
});

await t.test('where the agent has its hands full, a call is done without it', async (t) => {
  const idle: Socket[] = await Promise.all(
    Array.from(
      { length: 128 },
      () =>
        new Promise<Socket>((resolve) => {
          const socket = connect(doorPath, () => resolve(socket));
          socket.on('error', () => undefined);
        }),
    ),
  );
  const done = await run('exec $gpg -b -o - -', 'crowded');
  for (const socket of idle) socket.destroy();
  t.equal(done.status, 0, done.stderr);
  await verifies(t, done.stdout, 'crowded');
});

await t.test('what is no question is let go, and the agent goes on', async (t) => {
  for (const bytes of [
    Buffer.alloc(16, 0xff),
    Buffer.from('ask     \0\0\0\0\0\0\0\x05'),
    Buffer.from('yes     \0\0\0\0\0\0\0\0'),
    Buffer.from('ask     \0\0\0\0\0\0\0\0'),
  ]) {
    await new Promise((resolve) => {
      const socket = connect(doorPath, () => socket.end(bytes));
      socket
        .on('error', () => undefined)
        .on('close', resolve)
        .resume();
    });
  }
  await verifies(t, (await run('exec $gpg -b -o - -', 'still')).stdout, 'still');
});

await t.test('the agent has nothing to complain of', async (t) => t.equal(door.said, ''));
