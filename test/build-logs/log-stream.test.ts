// SPDX-License-Identifier: GPL-2.0-or-later
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { callsPerSource } from '../../agents/shared/calls/socket-service.js';
import { until } from '../support/until.js';
import { Rig, sha256, textOf } from './rig.js';

/** For all tests that need no other settings. */
const shared = await Rig.started(t);

const pathOf = (opened: string): string => opened.split(' ')[1] as string;

void t.test(
  'a raw sender, as upstream sends, gets its path and then the commit that publishes the log',
  async (t) => {
    const rig = shared;
    const lines = await rig.call().end('one\ntwo\nlast');
    t.equal(lines.length, 2);
    t.match(lines[0], /^build-debian\/\d{4}-\d\d-\d\d\/log_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d$/);
    const bytes = rig.file(lines[0] as string);
    t.equal(
      lines[1],
      `published ${rig.git(rig.remote('origin'), 'rev-parse', 'main').trim()} sha256:${sha256(bytes)}`,
    );
    t.strictSame(textOf(bytes), ['one', 'two', 'last']);
    t.match(bytes.toString(), /> starting log\n[^]*> closing log\n$/);
    t.notMatch(bytes.toString(), /truncated/);
    t.ok(rig.checkHistory('mirror') > 0);
    t.notOk(existsSync(join(rig.state, 'logs', lines[0] as string)), 'its bytes are in the repository only');
  },
);

void t.test('a log goes into the subdirectory that the sender names', async (t) => {
  const rig = shared;
  t.match((await rig.call('nightly').end('x\n'))[0], /^build-debian\/nightly\/log_/);
});

void t.test('a log that is empty is published too', async (t) => {
  const rig = shared;
  t.match((await rig.call().end())[1], /^published /);
});

void t.test('a subdirectory of another spelling is refused', async (t) => {
  const rig = shared;
  t.match((await rig.call('..').end('x\n'))[0], /^refused BAD_ARGUMENT/);
});

void t.test('a VM that is not configured is refused', async (t) => {
  const rig = shared;
  t.match((await rig.call('', 'build-other').end('x\n'))[0], /^refused UNKNOWN_SOURCE/);
});

void t.test('our own sender hears at once where its log is and which lines are on disk', async (t) => {
  const rig = shared;
  const call = rig.call().send(rig.header());
  const path = pathOf(await call.line(/^opened \S+ 0$/));
  const sent = Date.now();
  call.send('one\ntwo\nthr');
  await call.line(/^synced 2$/);
  t.ok(Date.now() - sent < 2000, `synced after ${Date.now() - sent} ms`);
  t.strictSame(textOf(readFileSync(join(rig.state, 'logs', path))).slice(0, 2), ['one', 'two']);
  const lines = await call.end('ee\n> end status=0\n');
  t.equal(lines.at(-2), path);
  t.match(lines.at(-1), /^published [0-9a-f]{40} sha256:[0-9a-f]{64}$/);
  t.ok(lines.includes('synced 4'));
  t.strictSame(textOf(rig.file(path)), ['one', 'two', 'three', '> end status=0']);
  t.notMatch(rig.file(path).toString(), /truncated/);
});

void t.test('a header that is not one is refused', async (t) => {
  const rig = shared;
  t.match(await rig.call().send('> build-infra log@1 {"job":"x"}\n').line(/./), /^refused BAD_HEADER/);
  t.match(
    await rig
      .call()
      .send(rig.header({ more: 1 }))
      .line(/./),
    /^refused BAD_HEADER/,
  );
});

void t.test(
  'after a break the sender goes on where the file stands, and no line is lost or doubled',
  async (t) => {
    const rig = shared;
    const first = rig.call().send(`${rig.header()}one\ntwo\npart of thr`);
    const path = pathOf(await first.line(/^opened/));
    await first.line(/^synced 2$/);
    first.socket.destroy();
    const second = rig.call().send(rig.header({ continues: { path, lines: 1 } }));
    t.equal(await second.line(/^opened/), `opened ${path} 2`);
    const lines = await second.end('three\n> end status=3\n');
    t.match(lines.at(-1), /^published/);
    const log = rig.file(path).toString();
    t.strictSame(
      textOf(log).filter((line) => !line.startsWith('part')),
      ['one', 'two', 'three', '> end status=3'],
    );
    t.match(log, /part of thr\n.* > line broken off\n.* > the sender came back, going on after its line 2\n/);
  },
);

void t.test('a sender that lost only its answer gets it when it comes back', async (t) => {
  const rig = shared;
  const first = rig.call().send(`${rig.header()}one\n> end status=0\n`);
  const path = pathOf(await first.line(/^opened/));
  const published = (await first.end()).at(-1);
  const again = await rig.call().end(rig.header({ continues: { path, lines: 2 } }));
  t.strictSame(again, [`opened ${path} 2`, path, published]);
});

void t.test('nobody goes on with the log of another VM or of another job', async (t) => {
  const rig = await Rig.started(t, { sources: ['build-debian', 'build-fedora'] });
  const first = rig.call().send(`${rig.header()}one\n`);
  const path = pathOf(await first.line(/^opened/));
  t.match(
    await rig
      .call('', 'build-fedora')
      .send(rig.header({ continues: { path, lines: 0 } }))
      .line(/./),
    /^refused LOG_UNKNOWN/,
  );
  t.match(
    await rig
      .call()
      .send(rig.header({ job: 'other-1', continues: { path, lines: 0 } }))
      .line(/./),
    /^refused LOG_UNKNOWN/,
  );
});

void t.test('a sender with an acknowledgement that the file does not bear out raises an alarm', async (t) => {
  const rig = shared;
  const first = rig.call().send(`${rig.header()}one\n`);
  const path = pathOf(await first.line(/^opened/));
  await first.line(/^synced 1$/);
  t.match(
    await rig
      .call()
      .send(rig.header({ continues: { path, lines: 5 } }))
      .line(/./),
    /^refused LINES_LOST/,
  );
  t.match(rig.report, /ALARM .*5 synced lines/);
});

void t.test('a log whose sender stays away is closed as truncated and published', async (t) => {
  const rig = await Rig.started(t, { reopenSeconds: 1 });
  const first = rig.call().send(`${rig.header()}one\ntw`);
  const path = pathOf(await first.line(/^opened/));
  await first.line(/^synced 1$/);
  first.socket.destroy();
  await until(
    'it is published',
    () =>
      rig.git(rig.remote('origin'), 'for-each-ref') !== '' &&
      /truncated: the sender went away/.test(rig.file(path).toString()),
  );
  t.match(
    await rig
      .call()
      .send(rig.header({ continues: { path, lines: 1 } }))
      .line(/^published/),
    /^published/,
  );
});

void t.test('a stream that ends without its end line is told so and may come back', async (t) => {
  const rig = shared;
  const lines = await rig.call().end(`${rig.header()}one\n`);
  t.match(lines.at(-1), /^refused NO_END/);
});

void t.test('an endless stream is cut with a mark and refused, and the log is published', async (t) => {
  const rig = await Rig.started(t, { logBytes: 200_000 });
  const call = rig.call().send(rig.header());
  const path = pathOf(await call.line(/^opened/));
  const block = 'all work and no play makes jack a dull boy\n'.repeat(1000);
  const feeding = setInterval(() => !call.socket.destroyed && call.send(block), 5);
  t.teardown(() => clearInterval(feeding));
  t.match(await call.line(/^refused/), /^refused LOG_TOO_LARGE/);
  await until('the door is closed', () => call.ended);
  clearInterval(feeding);
  await until('it is published', () => rig.git(rig.remote('origin'), 'for-each-ref') !== '');
  const log = rig.file(path).toString();
  t.match(log, /> log cut at 200000 bytes, the rest is refused\n.* > closing log\n$/);
  t.ok(log.length < 200_300);
});

void t.test('a line of 100 MB is split and kept, in little memory', async (t) => {
  const rig = await Rig.started(t, {});
  const call = rig.call();
  const block = Buffer.alloc(1_000_000, 'x');
  for (let i = 0; i < 100; i++)
    if (!call.socket.write(block)) await new Promise((resolve) => call.socket.once('drain', resolve));
  const lines = await call.end('\nlast\n');
  t.match(lines[0], /\.xz$/);
  const plain = execFileSync('xz', ['-dc'], { input: rig.file(lines[0] as string), maxBuffer: 1 << 30 });
  const text = textOf(plain);
  t.equal(text.pop(), 'last');
  t.equal(text.join('').length, 100_000_000);
  t.equal(plain.toString('latin1').split('> line split\n').length - 1, Math.ceil(100_000_000 / 65536) - 1);
  const memory = Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${rig.agent?.pid}/status`, 'utf8'))?.[1]);
  t.ok(memory < 150_000, `${memory} kB`);
});

void t.test('a log over 10 MiB is stored as .xz whose text only grows', async (t) => {
  const rig = await Rig.started(t, {});
  const call = rig.call().send(rig.header());
  const path = pathOf(await call.line(/^opened/));
  const block = Array.from({ length: 60_000 }, (_, i) => `line ${i} of a long build with some text\n`).join(
    '',
  );
  call.send('small\n');
  await call.line(/^synced 1$/);
  t.equal((await rig.ask(rig.intent({ logs: [path] }))).result, 'published');
  t.ok(rig.file(path).length > 0);
  for (let i = 0; i < 3; i++) call.send(block);
  await call.line(/^synced 180001$/);
  t.equal((await rig.ask(rig.intent({ logs: [path] }))).result, 'published');
  const middle = rig.file(`${path}.xz`);
  t.throws(() => rig.file(path), 'the plain form is gone');
  const lines = await call.end(`${block}> end status=0\n`);
  t.equal(lines.at(-2), `${path}.xz`);
  const whole = execFileSync('xz', ['-dc'], { input: rig.file(`${path}.xz`), maxBuffer: 1 << 30 });
  t.ok(
    whole
      .subarray(0, 1_000_000)
      .equals(execFileSync('xz', ['-dc'], { input: middle, maxBuffer: 1 << 30 }).subarray(0, 1_000_000)),
  );
  t.equal(textOf(whole).length, 240_002);
  rig.checkHistory();
});

void t.test(
  "the link that upstream's notices make of the first line of the answer leads to the log, and nothing hangs on it",
  async (t) => {
    const rig = await Rig.started(t, {
      remotes: [
        { name: 'origin', required: true },
        { name: 'mirror', required: true },
      ],
    });
    // Somebody else's branch of that name, in one remote.
    const theirs = rig
      .git(
        rig.remote('mirror'),
        '-c',
        'user.name=x',
        '-c',
        'user.email=x@example.invalid',
        'commit-tree',
        '-m',
        'theirs',
        rig.git(rig.remote('mirror'), 'hash-object', '-t', 'tree', '-w', '/dev/null').trim(),
      )
      .trim();
    rig.git(rig.remote('mirror'), 'update-ref', 'refs/heads/master', theirs);
    for (const text of ['a line\n', `${'x'.repeat(200)}\n`.repeat(60_000)]) {
      const [first, published] = await rig.call().end(text);
      t.match(first, /^[^\s]*[\w.-]+\/log_[\w.-]+$/, 'the line that they look for');
      const [, url] =
        /^https:\/\/forge\.example\/logs\/tree\/master\/(.*)$/.exec(
          `https://forge.example/logs/tree/master/${first}`,
        ) ?? [];
      t.equal(
        sha256(rig.file(url as string, 'origin', 'master')),
        /sha256:(\w+)/.exec(published as string)?.[1],
      );
      t.equal(
        sha256(rig.file(url as string, 'mirror', 'main')),
        /sha256:(\w+)/.exec(published as string)?.[1],
        'published in both, though one has another branch of that name',
      );
    }
    t.equal(rig.git(rig.remote('mirror'), 'rev-parse', 'master').trim(), theirs, 'which is left alone');
  },
);

void t.test('50 streams at once lose no line', async (t) => {
  const rig = shared;
  const streams = await Promise.all(
    Array.from({ length: 50 }, async (_, stream) => {
      const call = rig.call().send(rig.header({ stage: `s${stream}` }));
      for (let i = 0; i < 20; i++) {
        call.send(Array.from({ length: 100 }, (_, n) => `stream ${stream} line ${i * 100 + n}\n`).join(''));
        await sleep(1);
      }
      return { stream, lines: await call.end('> end status=0\n') };
    }),
  );
  for (const { stream, lines } of streams) {
    const expected = [
      ...Array.from({ length: 2000 }, (_, n) => `stream ${stream} line ${n}`),
      '> end status=0',
    ];
    t.match(lines.at(-1), /^published/, `stream ${stream}`);
    t.same(textOf(rig.file(lines.at(-2) as string)), expected, `stream ${stream}`);
  }
  t.equal(new Set(streams.map(({ lines }) => lines.at(-2))).size, 50);
});

void t.test(
  'a VM has only so many calls, of logs, of intents and of silence together, and another VM is not kept out by them',
  async (t) => {
    const sources = ['build-debian', 'build-fedora'];
    const rig = await Rig.started(t, { sources });
    const limit = callsPerSource(sources.length);
    // The three kinds with which one VM could take all 128 places: open logs, calls that say nothing, intents
    // that never come.
    const logs = Array.from({ length: 20 }, () => rig.call().send(rig.header()));
    const idle = Array.from({ length: limit - 22 }, (_, n) => rig.call(n % 2 === 0 ? '' : 'intent'));
    await Promise.all(logs.map((log) => log.line(/^opened/)));
    const begun = [rig.call('intent').send('{'), rig.call('intent').send('{')];
    for (const argument of ['', 'intent', 'some-folder'])
      t.match(
        await rig.call(argument).line(/./),
        /^refused TOO_MANY_CALLS/,
        `a log or an intent more: ${argument}`,
      );
    const other = rig.call('', 'build-fedora');
    t.match((await other.end('a line\n')).at(-1), /^published /, 'another VM sends its log');
    t.match(
      await rig.ask(rig.intent({ payload: rig.payload(Buffer.from('x')) }), 'build-fedora'),
      { result: 'published' },
      'and has its intent published',
    );
    for (const call of idle) t.match(await call.line(/./), /^refused TOO_SLOW/);
    await until('what says nothing makes room', async () =>
      (await rig.call().end('a line\n')).at(-1)?.startsWith('published '),
    );
    for (const call of [...logs, ...begun]) call.socket.destroy();
  },
);

void t.test('a VM has only so many open logs', async (t) => {
  const rig = await Rig.started(t, { openLogs: 2 });
  const calls = [rig.call().send('a\n'), rig.call().send('b\n')];
  await until(
    'both are open',
    () =>
      existsSync(join(rig.state, 'logs/build-debian')) &&
      readdirSync(join(rig.state, 'logs/build-debian'), { recursive: true }).filter((name) =>
        String(name).endsWith('.json'),
      ).length === 2,
  );
  t.match(await rig.call().send('c\n').line(/./), /^refused TOO_MANY_LOGS/);
  for (const call of calls) t.match((await call.end())[1], /^published/);
});

void t.test('an open log is published so long after its last new line, by itself', async (t) => {
  const rig = await Rig.started(t, { publishSeconds: 1 });
  const call = rig.call().send(`${rig.header()}one\n`);
  const path = pathOf(await call.line(/^opened/));
  await until(
    'it is published',
    () =>
      rig.git(rig.remote('mirror'), 'for-each-ref') !== '' &&
      textOf(rig.file(path, 'mirror')).includes('one'),
    60,
  );
  const before = rig.git(rig.remote('mirror'), 'rev-list', '--count', 'main').trim();
  await sleep(1500);
  t.equal(
    rig.git(rig.remote('mirror'), 'rev-list', '--count', 'main').trim(),
    before,
    'and not again without a new line',
  );
});

void t.test('the history that came of all this is signed, in line, and true', async (t) => {
  t.ok(shared.checkHistory() > 5);
});
