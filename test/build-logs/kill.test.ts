// SPDX-License-Identifier: GPL-2.0-or-later
import { chmodSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { until } from '../support/until.js';
import { Rig, textOf, type Caller } from './rig.js';

// Agents are started dozens of times here: on a busy machine a matter of minutes, where tap alone would wait
// half of one.

const isThere = (rig: Rig, remote: string): boolean => rig.git(rig.remote(remote), 'for-each-ref') !== '';

/**
 * What our own sender does: sends lines, remembers what is synced, reopens after a break and goes on from
 * there.
 */
class Resumer {
  readonly rig: Rig;
  readonly lines: string[];
  readonly header: object;
  path = '';
  synced = 0;
  final = '';
  constructor(rig: Rig, stage: string, count: number) {
    this.rig = rig;
    this.header = { stage };
    this.lines = Array.from({ length: count }, (_, i) => `${stage} line ${i}`);
    this.lines.push('> end status=0');
  }

  async run(): Promise<void> {
    while (this.final === '') {
      const call = this.rig
        .call()
        .send(
          this.rig.header({
            ...this.header,
            ...(this.path === '' ? {} : { continues: { path: this.path, lines: this.synced } }),
          }),
        );
      await this.#feed(call).catch(() => undefined);
      this.#listen(call);
      call.socket.destroy();
      if (this.final === '') await sleep(50);
    }
  }

  #listen(call: Caller): void {
    for (const line of call.lines) {
      const synced = /^synced ([0-9]+)$/.exec(line);
      if (synced !== null) this.synced = Math.max(this.synced, Number(synced[1]));
      if (line.startsWith('published ')) this.final = line;
    }
  }

  async #feed(call: Caller): Promise<void> {
    await until('it is opened', () => call.ended || call.lines.some((line) => line.startsWith('opened ')));
    const opened = call.lines.find((line) => line.startsWith('opened '))?.split(' ');
    if (opened === undefined) return;
    this.path = opened[1] as string;
    for (let next = Number(opened[2]); next < this.lines.length && !call.ended; next += 50) {
      call.send(
        this.lines
          .slice(next, next + 50)
          .map((line) => `${line}\n`)
          .join(''),
      );
      this.#listen(call);
      await sleep(15);
    }
    if (!call.ended) call.socket.end();
    await until('the end', () => call.ended);
  }
}

void t.test(
  'killed again and again while logs stream and intents come: no acknowledged line is lost, none is doubled, the history is whole',
  async (t) => {
    const rig = await Rig.started(t, { publishSeconds: 1 });
    const senders = Array.from({ length: 4 }, (_, i) => new Resumer(rig, `s${i}`, 12_000));
    let asking = true;
    const asker = (async () => {
      while (asking) {
        await rig.ask(rig.intent(), 'build-debian', 5000).catch(() => undefined);
        await sleep(20);
      }
    })();
    const running = Promise.all(senders.map((sender) => sender.run()));
    const commits = (): number => Number(rig.git(rig.remote('mirror'), 'rev-list', '--count', '--all'));
    for (let round = 0; round < 5; round++) {
      const before = commits();
      await until('there is one more commit', () => commits() > before);
      await sleep(250 + round * 90);
      await rig.kill();
      await rig.start();
    }
    await running;
    asking = false;
    await asker;
    for (const sender of senders) {
      const log = rig.file(sender.path);
      // What was cut off by the kill in mid-line was sent again, whole.
      const lines = textOf(log);
      t.same(lines, sender.lines);
      t.notMatch(log.toString(), /truncated/);
    }
    await rig.allPushed();
    t.ok(rig.checkHistory('mirror') >= 5, 'a commit before each kill');
    t.match(await rig.ask(rig.intent()), { result: 'published' });
  },
);

void t.test(
  'killed between the commit and its push: the commit is pushed after the restart, and history does not fork',
  async (t) => {
    const rig = await Rig.started(t, { intentSeconds: 5 });
    t.match(await rig.ask(rig.intent()), { result: 'published' });
    const gate = join(rig.folder, 'gate');
    for (const remote of ['origin', 'mirror']) {
      const hook = join(rig.remote(remote), 'hooks/pre-receive');
      writeFileSync(
        hook,
        `#!/bin/sh\nfor i in $(seq 100); do [ -e '${gate}' ] && exit 0; sleep 0.1; done\nexit 1\n`,
      );
      chmodSync(hook, 0o755);
    }
    const call = rig.call('intent').send(JSON.stringify(rig.intent()));
    call.socket.end();
    const repository = join(rig.state, 'repository.git');
    await until('it is committed', () => rig.git(repository, 'rev-list', '--count', 'main').trim() === '2');
    await rig.kill();
    writeFileSync(gate, '');
    await rig.start();
    await until(
      'it is pushed',
      () => rig.git(rig.remote('mirror'), 'rev-list', '--count', 'main').trim() === '2',
    );
    t.equal(rig.keys.get('build-debian')?.journal.length, 1, 'nobody waits for a grant any more');
    t.match(await rig.ask(rig.intent()), { result: 'published' });
    t.equal(rig.checkHistory('mirror'), 3);
  },
);

void t.test(
  'killed while git moves the branch: if that comes true only after the restart, the next publication follows on it',
  async (t) => {
    const rig = await Rig.started(t, { intentSeconds: 2 });
    const repository = join(rig.state, 'repository.git');
    const branch = (where: string): string => rig.git(where, 'rev-parse', 'main').trim();
    const move = (where: string, to: string): string => rig.git(where, 'update-ref', 'refs/heads/main', to);
    t.match(await rig.ask(rig.intent()), { result: 'published' });
    const first = branch(repository);
    // A commit that no remote has confirmed.
    renameSync(rig.remote('mirror'), `${rig.remote('mirror')}.away`);
    t.match(await rig.ask(rig.intent()), { result: 'refused', code: 'NOT_PUBLISHED' });
    await rig.kill();
    renameSync(`${rig.remote('mirror')}.away`, rig.remote('mirror'));
    const second = branch(repository);
    for (const where of [repository, rig.remote('origin')]) move(where, first);
    rig.writeConfig({ intentSeconds: 120 });
    await rig.start();
    move(repository, second);
    t.match(await rig.ask(rig.intent()), { result: 'published' });
    t.equal(rig.checkHistory('mirror'), 3);
  },
);

void t.test(
  'killed after a log ended and before it was published: it is published once, and its sender gets the answer',
  async (t) => {
    const rig = await Rig.started(t, { intentSeconds: 2 });
    renameSync(rig.remote('mirror'), `${rig.remote('mirror')}.away`);
    const call = rig.call().send(`${rig.header()}one\n`);
    const path = (await call.line(/^opened/)).split(' ')[1] as string;
    const raw = rig.call().send('raw\n');
    raw.socket.end();
    t.match((await call.end('> end status=0\n')).at(-1), /^refused NOT_PUBLISHED .*mirror/);
    await rig.kill();
    await rig.start();
    renameSync(`${rig.remote('mirror')}.away`, rig.remote('mirror'));
    await until('it is published', () => isThere(rig, 'mirror'));
    const answer = await rig
      .call()
      .send(rig.header({ continues: { path, lines: 2 } }))
      .line(/^published|^refused/);
    t.match(answer, /^published/);
    t.strictSame(textOf(rig.file(path, 'mirror')), ['one', '> end status=0']);
    rig.checkHistory('mirror');
  },
);

void t.test(
  'killed, or broken off, between the end line and the end of the stream: the log has ended well, and its sender hears so',
  async (t) => {
    const rig = await Rig.started(t);
    for (const how of ['killed', 'broken off']) {
      const call = rig.call().send(`${rig.header({ stage: how.replace(' ', '') })}one\n> end status=0\n`);
      const path = (await call.line(/^opened/)).split(' ')[1] as string;
      await call.line(/^synced 2$/);
      if (how === 'killed') {
        await rig.kill();
        await rig.start();
      } else {
        call.socket.destroy();
      }
      const lines = await rig
        .call()
        .end(rig.header({ stage: how.replace(' ', ''), continues: { path, lines: 2 } }));
      t.equal(lines[0], `opened ${path} 2`, how);
      t.match(lines.at(-1), /^published/);
      t.notMatch(rig.file(path).toString(), /truncated/);
    }
  },
);

void t.test('the log of a raw sender that was open at the kill is closed as truncated', async (t) => {
  const rig = await Rig.started(t, { publishSeconds: 1 });
  rig.call().send('one\ntwo\n');
  await until('it is published', () => isThere(rig, 'origin'));
  await rig.kill();
  await rig.start();
  const path = rig
    .git(rig.remote('origin'), 'ls-tree', '-r', '--name-only', 'main')
    .split('\n')
    .find((name) => name.startsWith('build-debian/')) as string;
  await until('it is closed', () =>
    /> truncated: the receiver was restarted\n$/.test(rig.file(path).toString()),
  );
  await rig.allPushed();
  rig.checkHistory();
});

void t.test('killed with a large log open: its packed form goes on growing', async (t) => {
  const rig = await Rig.started(t);
  const block = Array.from({ length: 60_000 }, (_, i) => `line ${i} of a long build with some text\n`).join(
    '',
  );
  const call = rig.call().send(rig.header());
  const path = (await call.line(/^opened/)).split(' ')[1] as string;
  for (let i = 0; i < 3; i++) call.send(block);
  await call.line(/^synced 180000$/);
  t.match(await rig.ask(rig.intent()), { result: 'published' });
  await rig.kill();
  await rig.start();
  const again = rig.call().send(rig.header({ continues: { path, lines: 180_000 } }));
  t.equal(await again.line(/^opened/), `opened ${path} 180000`);
  again.send(block);
  await again.line(/^synced 240000$/);
  t.match(await rig.ask(rig.intent()), { result: 'published' });
  t.match((await again.end('> end status=0\n')).at(-1), /^published/);
  rig.checkHistory();
});
