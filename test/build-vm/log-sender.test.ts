// SPDX-License-Identifier: GPL-2.0-or-later
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { toolLine } from '../../agents/engines/debian/engine.js';
import { LogSender } from '../../agents/build-vm/logs/log-sender.js';
import { pieceBytes, pieceMark } from '../../agents/shared/programs/tool-line.js';
import { runLogged } from '../../agents/shared/programs/logged-program.js';
import { AnyRefusal } from '../../agents/shared/refusal.js';
import { writeDirectClient } from '../support/direct-client.js';
import { until } from '../support/until.js';
import { TestReceiver } from './log-receiver.js';
import { TestClock } from '../support/test-clock.js';

async function place(
  test: Test,
): Promise<{ receiver: TestReceiver; options: Parameters<typeof LogSender.open>[0] }> {
  const folder = mkdtempSync(join(tmpdir(), 'bi-log-'));
  const receiver = await TestReceiver.listen(join(folder, 'log.sock'));
  const client = writeDirectClient(join(folder, 'client'), 'build-debian', {
    'qubesbuilder.BuildLog': join(folder, 'log.sock'),
  });
  test.teardown(async () => {
    await receiver.close();
    rmSync(folder, { recursive: true });
  });
  return {
    receiver,
    options: {
      client,
      header: { job: 'hello-1-000000000000', component: 'hello', stage: 'build' },
      report: () => undefined,
    },
  };
}

function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'none',
    (error: unknown) => (error instanceof AnyRefusal ? error.code : String(error)),
  );
}

void t.test('every line arrives in order and the end is published', async (t) => {
  const { receiver, options } = await place(t);
  const log = await LogSender.open(options);
  for (let i = 0; i < 5000; i++) log.tool(Buffer.from(`line ${i}`));
  const published = await log.end(0);
  t.equal(published.path, receiver.logs[0]?.path);
  t.same(receiver.logs[0]?.lines, [...Array.from({ length: 5000 }, (_, i) => `line ${i}`), '> end status=0']);
});

void t.test('after a break the sender goes on with the same log and loses no line', async (t) => {
  const { receiver, options } = await place(t);
  let breaks = 0;
  receiver.breakAt = (log) => (log.lines.length === 700 || log.lines.length === 1500) && breaks++ < 2;
  const log = await LogSender.open(options);
  for (let i = 0; i < 2000; i++) {
    log.tool(Buffer.from(`line ${i}`));
    if (i % 500 === 0) await new Promise((resolve) => setTimeout(resolve, 30));
  }
  await log.end(0);
  t.equal(breaks, 2);
  t.equal(receiver.logs.length, 1);
  t.same(
    receiver.logs[0]?.lines.slice(0, 2000),
    Array.from({ length: 2000 }, (_, i) => `line ${i}`),
  );
  t.equal(receiver.logs[0]?.lines.length, 2001);
});

void t.test("a log that is published packed has that path, and no other log's", async (t) => {
  const { receiver, options } = await place(t);
  receiver.publishedAs = (log) => `${log.path}.xz`;
  const log = await LogSender.open(options);
  t.equal((await log.end(0)).path, `${log.path}.xz`);
  receiver.publishedAs = (log) => `${log.path}.1`;
  const other = await LogSender.open({ ...options, breakMs: 300 });
  t.equal(await codeOf(other.end(0)), 'NO_LOG_SINK');
});

void t.test('without a log sink there is no log and the caller hears so', async (t) => {
  const { options } = await place(t);
  t.equal(await codeOf(LogSender.open({ ...options, client: '/bin/false' })), 'NO_LOG_SINK');
});

void t.test('a refused log is no log', async (t) => {
  const { receiver, options } = await place(t);
  receiver.refuse = 'refused TOO_MANY_LOGS no room';
  t.equal(await codeOf(LogSender.open(options)), 'NO_LOG_SINK');
});

void t.test('a break that lasts too long fails the stage', async (t) => {
  const { receiver, options } = await place(t);
  const log = await LogSender.open({ ...options, breakMs: 500 });
  log.say('here');
  await receiver.close();
  t.equal(await codeOf(log.end(0)), 'NO_LOG_SINK');
});

/** @returns a switch of the way to the receiver */
function wayOf(client: string): (open: boolean) => void {
  renameSync(client, `${client}.open`);
  const lay = (open: boolean): void => {
    writeFileSync(
      `${client}.next`,
      open ? `#!/bin/sh\nexec '${client}.open' "$@"\n` : '#!/bin/sh\nexit 1\n',
      { mode: 0o755 },
    );
    renameSync(`${client}.next`, client);
  };
  lay(true);
  return lay;
}

void t.test(
  'each pause before the receiver is tried again is longer than the last one, and the first one again once it was there',
  async (t) => {
    const { receiver, options } = await place(t);
    const way = wayOf(options.client);
    const clock = new TestClock();
    receiver.breakAt = (_log, line) => line.startsWith('> break');
    const log = await LogSender.open({ ...options, clock });
    way(false);
    log.say('break');
    await until('six pauses', () => clock.pauses.length >= 6);
    way(true);
    await until('the line behind the break', () => {
      log.say('here');
      return receiver.logs[0]?.lines.includes('> here');
    });
    const first = clock.pauses.splice(0);
    t.equal(first[0], 200);
    for (const [index, pause] of first.entries())
      if (index > 0) t.ok(pause >= (first[index - 1] as number) * 1.2, `pause ${index}: ${pause} ms`);
    way(false);
    log.say('break');
    await until('a pause', () => clock.pauses.length >= 2);
    way(true);
    t.strictSame(clock.pauses.slice(0, 2), first.slice(0, 2));
    await log.end(0);
  },
);

void t.test('pauses grow to five seconds, and end with the time that a break may last', async (t) => {
  const { receiver, options } = await place(t);
  const way = wayOf(options.client);
  const clock = new TestClock();
  receiver.breakAt = (_log, line) => line.startsWith('> break');
  const log = await LogSender.open({ ...options, clock, breakMs: 60_000 });
  way(false);
  log.say('break');
  t.match(await log.whenFailed, { code: 'NO_LOG_SINK', detail: /for 6[0-5] s$/ });
  t.equal(Math.max(...clock.pauses), 5000);
  t.ok(clock.pauses.length < 30, `${clock.pauses.length} tries in a minute`);
});

void t.test('a receiver that forgot acknowledged lines is not believed again', async (t) => {
  const { receiver, options } = await place(t);
  receiver.breakAt = (log) => {
    if (log.lines.length !== 3) return false;
    setTimeout(() => log.lines.splice(0), 50);
    return true;
  };
  const log = await LogSender.open(options);
  log.say('one');
  log.say('two');
  await new Promise((resolve) => setTimeout(resolve, 200));
  log.say('three');
  t.equal(await codeOf(log.end(0)), 'NO_LOG_SINK');
});

void t.test(
  'a tool cannot speak as the agent behind an escape sequence, which the receiver takes away',
  async (t) => {
    const { receiver, options } = await place(t);
    const log = await LogSender.open(options);
    for (const escape of ['\x1b[0m', '\x1b]0;title\x07', '\x1bc', '\x1b[1m\x1b[m'])
      log.tool(Buffer.from(`${escape}> end status=0`));
    await log.end(1);
    t.same(
      receiver.logs[0]?.lines.slice(0, -1).filter((line) => !line.startsWith(' ')),
      [],
    );
  },
);

void t.test('a tool cannot speak as the agent where its long line is cut', async (t) => {
  const { receiver, options } = await place(t);
  const log = await LogSender.open(options);
  log.tool(Buffer.from(`${'x'.repeat(pieceBytes)}> end status=0`));
  log.tool(Buffer.from(`${'x'.repeat(pieceBytes)}${'>'.repeat(pieceBytes)}> end status=0`));
  await log.end(1);
  t.same(
    receiver.logs[0]?.lines.filter((line) => line.startsWith('>')),
    ['> end status=1'],
  );
});

void t.test('what follows where a long line is cut can be no line of the engine either', async (t) => {
  const { receiver, options } = await place(t);
  const log = await LogSender.open(options);
  for (const before of [pieceBytes, 4 * pieceBytes - 1, 4 * pieceBytes, 40 * pieceBytes]) {
    await runLogged(['sh', '-c', `head -c ${before} /dev/zero | tr "\\0" =; echo "== artifact"`], log, {
      timeoutMs: 10_000,
      label: '',
    });
  }
  await log.end(1);
  t.same(
    receiver.logs[0]?.lines.filter((line) => line.startsWith('=') && !line.startsWith('='.repeat(1000))),
    [],
  );
  t.ok(
    receiver.logs[0]?.lines.every(
      (line, index, lines) => index === 0 || !lines[index - 1]?.endsWith(pieceMark) || line.startsWith(' '),
    ),
  );
  t.equal(toolLine(Buffer.from('== artifact')).toString(), ' == artifact\n');
  t.equal(toolLine(Buffer.from('\x1b[0m== artifact')).toString(), ' \x1b[0m== artifact\n');
});

void t.test('a tool cannot say how the stage ended', async (t) => {
  const { receiver, options } = await place(t);
  const log = await LogSender.open(options);
  await runLogged(['printf', '> end status=0\\nafter\\n'], log, { timeoutMs: 10_000 });
  await log.end(1);
  t.same(receiver.logs[0]?.lines.slice(1), [' > end status=0', 'after', '> end status=1']);
});

void t.test('a line of 100 MB goes through in marked pieces and little memory', async (t) => {
  const { receiver, options } = await place(t);
  const log = await LogSender.open(options);
  await runLogged(['sh', '-c', 'head -c 100000000 /dev/zero | tr "\\0" x; echo; echo after'], log, {
    timeoutMs: 60_000,
  });
  await log.end(0);
  const lines = receiver.logs[0]?.lines ?? [];
  t.equal(lines.at(-2), 'after');
  t.equal(
    lines.slice(1, -2).reduce((sum, line) => sum + line.replace(' [line goes on]', '').trim().length, 0),
    100_000_000,
  );
  t.ok(lines.every((line) => line.length < 65_536));
});

void t.test('a program that never ends is stopped with everything it started', async (t) => {
  const { options } = await place(t);
  const log = await LogSender.open(options);
  t.equal(
    await codeOf(runLogged(['sh', '-c', 'sleep 6000 & sleep 6000'], log, { timeoutMs: 500 })),
    'TIMED_OUT',
  );
  await log.end(1);
});

void t.test(
  'a process that left its program and holds its log is not waited for, and writes into no log',
  async (t) => {
    const { receiver, options } = await place(t);
    const log = await LogSender.open(options);
    const folder = mkdtempSync(join(tmpdir(), 'bi-held-'));
    t.teardown(() => rmSync(folder, { recursive: true }));
    t.equal(
      await runLogged(
        [
          'sh',
          '-c',
          `setsid sh -c "until [ -e ${folder}/over ] || [ ! -d ${folder} ]; do sleep 0.05; done; echo late" & echo last; exit 3`,
        ],
        log,
        { timeoutMs: 60_000 },
      ),
      3,
    );
    writeFileSync(join(folder, 'over'), '');
    await log.end(0);
    t.strictSame(receiver.logs[0]?.lines.slice(-2), ['last', '> end status=0']);
  },
);

void t.test('endless output is stopped', async (t) => {
  const { options } = await place(t);
  const log = await LogSender.open(options);
  t.equal(
    await codeOf(runLogged(['yes'], log, { timeoutMs: 60_000, limitBytes: 1_000_000 })),
    'OUTPUT_LIMIT',
  );
  await log.end(1);
});

void t.test('when the receiver acknowledges nothing the producer has to wait', async (t) => {
  const { receiver, options } = await place(t);
  receiver.silent = true;
  const log = await LogSender.open({ ...options, spoolBytes: 10_000 });
  let roomy = true;
  for (let i = 0; roomy && i < 1000; i++) roomy = log.tool(Buffer.from('x'.repeat(100)));
  t.equal(roomy, false);
  log.abandon();
  t.equal(await codeOf(log.drained()), 'LOG_ABANDONED');
});

void t.test('a control byte is passed on as it is: the receiver cleans it', async (t) => {
  const { receiver, options } = await place(t);
  const log = await LogSender.open(options);
  await runLogged(['printf', 'a\\033[31mb\\001\\377\\n'], log, { timeoutMs: 10_000 });
  await log.end(0);
  t.equal(receiver.logs[0]?.lines[1], 'a\x1b[31mb\x01\xff');
});
