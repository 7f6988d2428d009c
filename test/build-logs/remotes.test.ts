// SPDX-License-Identifier: GPL-2.0-or-later
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Alarms } from '../../agents/build-logs/alarms.js';
import { GitRepository } from '../../agents/build-logs/git-repository.js';
import { findHistory } from '../../agents/build-logs/history.js';
import { Remote } from '../../agents/build-logs/remote.js';
import { gpgSigner } from '../../agents/build-logs/signer.js';
import { until } from '../support/until.js';
import { makeRepository } from './many-logs.js';
import { Rig, textOf } from './rig.js';

/** The remote takes no push until the file `gate` is there; a push waits for it, then goes through. */
function hangs(rig: Rig, remote: string): string {
  const gate = join(rig.folder, `${remote}.gate`);
  const hook = join(rig.remote(remote), 'hooks/pre-receive');
  writeFileSync(
    hook,
    `#!/bin/sh\nfor i in $(seq 300); do [ -e '${gate}' ] && exit 0; [ -e '${rig.remote(remote)}' ] || exit 1; sleep 0.1; done\nexit 1\n`,
  );
  chmodSync(hook, 0o755);
  return gate;
}

function count(rig: Rig, remote: string): number {
  return Number(rig.git(rig.remote(remote), 'rev-list', '--count', '--all').trim());
}

void t.test(
  'an intent whose push fails on one required remote is refused, named, not granted, and published later',
  async (t) => {
    const rig = await Rig.started(t, { intentSeconds: 2 });
    t.equal((await rig.ask(rig.intent())).result, 'published');
    const away = `${rig.remote('mirror')}.away`;
    renameSync(rig.remote('mirror'), away);
    const before = rig.keys.get('build-debian')?.receipts.length;
    const reply = await rig.ask(rig.intent());
    t.match(reply, { result: 'refused', code: 'NOT_PUBLISHED', detail: /mirror/ });
    t.equal(rig.keys.get('build-debian')?.receipts.length, before, 'no receipt left');
    t.equal(count(rig, 'origin'), 2);
    renameSync(away, rig.remote('mirror'));
    await until('it is published', () => count(rig, 'mirror') === 2);
    t.equal((await rig.ask(rig.intent())).result, 'published');
    t.equal(rig.checkHistory('mirror'), 3);
    t.equal(
      rig.keys.get('build-debian')?.receipts.flatMap((receipt) => receipt.grants).length,
      2,
      'the intent that was refused never got a grant',
    );
  },
);

void t.test(
  'a required remote that hangs refuses the intent in time, and others are served when it is back',
  async (t) => {
    const rig = await Rig.started(t, { intentSeconds: 2 });
    const gate = hangs(rig, 'mirror');
    const begun = Date.now();
    t.match(await rig.ask(rig.intent()), { result: 'refused', code: 'NOT_PUBLISHED', detail: /mirror/ });
    t.ok(Date.now() - begun < 4000);
    t.equal(count(rig, 'origin'), 1, 'the other remote has it already');
    t.match((await rig.call().end('raw\n'))[0], /^refused NOT_PUBLISHED/);
    writeFileSync(gate, '');
    await until('the mirror catches up', () => count(rig, 'mirror') >= 2);
    t.equal((await rig.ask(rig.intent())).result, 'published');
    rig.checkHistory('mirror');
  },
);

/** Git's real receive-pack says ok to every push, and then the ref is what it was before. */
function dropsRefs(rig: Rig, remote: string): void {
  const hook = join(rig.remote(remote), 'hooks/post-receive');
  writeFileSync(
    hook,
    `#!/bin/sh\nwhile read old new ref; do case $old in *[!0]*) git update-ref "$ref" "$old";; *) git update-ref -d "$ref";; esac; done\necho taken >> '${rig.folder}/taken'\n`,
  );
  chmodSync(hook, 0o755);
}

void t.test(
  'a required remote that answers ok to every push and drops the ref confirms nothing, from the first publication or later',
  async (t) => {
    for (const before of [0, 1]) {
      const rig = await Rig.started(t, { intentSeconds: 3 });
      for (let i = 0; i < before; i++) t.equal((await rig.ask(rig.intent())).result, 'published');
      dropsRefs(rig, 'mirror');
      const grants = (): number =>
        rig.keys.get('build-debian')?.receipts.flatMap((receipt) => receipt.grants).length ?? -1;
      const granted = grants();
      t.match(await rig.ask(rig.intent()), { result: 'refused', code: 'NOT_PUBLISHED', detail: /mirror/ });
      await until('its receive-pack took the push', () => existsSync(join(rig.folder, 'taken')));
      t.match(
        (await rig.call().end('raw\n')).at(-1),
        /^refused NOT_PUBLISHED/,
        'nor is a log called published',
      );
      t.equal(grants(), granted, 'no grant was asked for');
      t.match(rig.report, /remote mirror: took the push but shows/);
      rmSync(join(rig.remote('mirror'), 'hooks/post-receive'));
      await until('it is published', () => count(rig, 'mirror') > before);
      t.equal((await rig.ask(rig.intent())).result, 'published', 'an honest remote is believed again');
      rig.checkHistory('mirror');
    }
  },
);

void t.test(
  'a remote that fails is asked again after pauses that grow, and after the first one again once it has worked',
  async (t) => {
    const rig = await Rig.started(t, {
      remotes: [
        { name: 'origin', required: true },
        { name: 'away', required: false },
      ],
    });
    const away = `${rig.remote('away')}.away`;
    const pauses = (): number[] =>
      [...rig.report.matchAll(/remote away: .*; again in ([0-9.]+) s$/gm)].map(([, seconds]) =>
        Number(seconds),
      );
    renameSync(rig.remote('away'), away);
    const begun = Date.now();
    t.equal((await rig.ask(rig.intent())).result, 'published');
    await until('four failures', () => pauses().length >= 4);
    t.ok(Date.now() - begun >= 3500, 'the pauses were made');
    t.strictSame(pauses().slice(0, 4), [0.5, 1, 2, 4]);
    renameSync(away, rig.remote('away'));
    await until('it is published there', () => rig.report.includes('remote away: published again'));
    renameSync(rig.remote('away'), away);
    const failed = pauses().length;
    t.equal((await rig.ask(rig.intent())).result, 'published');
    await until('another failure', () => pauses().length > failed);
    t.equal(pauses()[failed], 0.5);
  },
);

void t.test('a remote that is not required may hang or fail without holding anybody up', async (t) => {
  const rig = await Rig.started(t, {
    remotes: [
      { name: 'origin', required: true },
      { name: 'slow', required: false },
      { name: 'gone', required: false },
    ],
  });
  hangs(rig, 'slow');
  rmSync(rig.remote('gone'), { recursive: true });
  const begun = Date.now();
  for (let i = 0; i < 3; i++) t.equal((await rig.ask(rig.intent())).result, 'published');
  t.ok(Date.now() - begun < 5000);
  t.strictSame(rig.keys.get('build-debian')?.receipts.at(-1)?.remotes, ['origin']);
});

/**
 * A commit on the remote's own head that this agent never made; by the logs key, by nobody, or by nobody on
 * top of ours.
 */
function putHead(rig: Rig, remote: string, by: 'the logs key' | 'nobody' | 'nobody, on top'): string {
  const folder = rig.remote(remote);
  const tree = rig.git(folder, 'rev-parse', 'main^{tree}').trim();
  const argv = [
    '--git-dir',
    folder,
    '-c',
    'user.name=x',
    '-c',
    'user.email=x@example.invalid',
    '-c',
    `user.signingkey=${rig.logsKey}`,
    'commit-tree',
    '-m',
    'other',
  ];
  if (by === 'the logs key') argv.push('-S');
  if (by === 'nobody, on top') argv.push('-p', 'main');
  const other = execFileSync('git', [...argv, tree], {
    encoding: 'utf8',
    env: { ...process.env, GNUPGHOME: rig.gnupg },
  }).trim();
  rig.git(folder, 'update-ref', 'refs/heads/main', other);
  return other;
}

const alarmsOf = (rig: Rig): { remote: string; what: string }[] =>
  existsSync(join(rig.state, 'alarms.jsonl'))
    ? rig
        .readState('alarms.jsonl')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as { remote: string; what: string })
    : [];

/** The receiver's own words in its published alarms. */
function publishedAlarms(rig: Rig, remote = 'origin'): string[] {
  return rig
    .git(rig.remote(remote), 'ls-tree', '-r', '--name-only', 'main', 'build-logs/alarms/')
    .trim()
    .split('\n')
    .filter((path) => path !== '')
    .flatMap((path) => rig.file(path, remote).toString().split('\n'))
    .filter((line) => line.includes('ALARM'))
    .map((line) => line.slice(33));
}

void t.test(
  'a required remote that holds another history by the logs key is an alarm: nothing is granted, nothing is forced',
  async (t) => {
    const rig = await Rig.started(t, { intentSeconds: 5 });
    t.equal((await rig.ask(rig.intent())).result, 'published');
    const mirror = rig.remote('mirror');
    const other = putHead(rig, 'mirror', 'the logs key');
    const grants = rig.keys.get('build-debian')?.journal.length;
    t.match(await rig.ask(rig.intent()), { result: 'refused', code: 'HISTORY_DIVERGED', detail: /mirror/ });
    t.match(await rig.ask(rig.intent()), { result: 'refused', code: 'HISTORY_DIVERGED' });
    t.match(rig.report, /ALARM remote mirror: holds commit [0-9a-f]{40}, which the logs key signed/);
    t.match(alarmsOf(rig), [{ remote: 'mirror', what: `holds commit ${other}, which the logs key signed` }]);
    t.equal(rig.git(mirror, 'rev-parse', 'main').trim(), other, 'it was not overwritten');
    t.equal(rig.keys.get('build-debian')?.journal.length, grants);
    await until('everybody can read of it where that remote is not', () =>
      publishedAlarms(rig).some((line) => line.includes(other)),
    );
  },
);

for (const by of ['nobody', 'nobody, on top'] as const)
  void t.test(
    `a required remote with a head by ${by} is a broken remote: named, nothing granted through it, no second history, and right again by itself`,
    async (t) => {
      const rig = await Rig.started(t, { intentSeconds: 2 });
      t.equal((await rig.ask(rig.intent())).result, 'published');
      const ours = rig.git(rig.remote('mirror'), 'rev-parse', 'main').trim();
      const other = putHead(rig, 'mirror', by);
      const grants = rig.keys.get('build-debian')?.journal.length;
      t.match(await rig.ask(rig.intent()), {
        result: 'refused',
        code: 'NOT_PUBLISHED',
        detail: new RegExp(`mirror \\(holds commit ${other}, which the logs key did not sign`),
      });
      t.equal(rig.keys.get('build-debian')?.journal.length, grants);
      t.match(rig.report, /ALARM remote mirror: holds commit [0-9a-f]{40}, which the logs key did not sign/);
      t.notMatch(rig.report, /second history/);
      t.equal(rig.git(rig.remote('mirror'), 'rev-parse', 'main').trim(), other, 'it was not overwritten');
      rig.git(rig.remote('mirror'), 'update-ref', 'refs/heads/main', ours);
      await until('it is published', () => count(rig, 'mirror') >= 3, 60);
      // Two seconds may be short on a busy machine: that is another refusal, and no state that stays.
      await until(
        'intents are published again',
        async () => (await rig.ask(rig.intent())).result === 'published',
        60,
      );
    },
  );

for (const by of ['the logs key', 'nobody'] as const)
  void t.test(
    `a remote that is not required and shows a commit by ${by} is an alarm and keeps nobody waiting, also after a restart`,
    async (t) => {
      const rig = await Rig.started(t, {
        remotes: [
          { name: 'origin', required: true },
          { name: 'extra', required: false },
        ],
        intentSeconds: 10,
      });
      t.equal((await rig.ask(rig.intent())).result, 'published');
      await rig.allPushed();
      putHead(rig, 'extra', by);
      t.equal((await rig.ask(rig.intent())).result, 'published');
      await until('the alarm', () => alarmsOf(rig).some(({ remote }) => remote === 'extra'));
      t.match(
        rig.report,
        new RegExp(
          `ALARM remote extra: holds commit [0-9a-f]{40}, which the logs key ${by === 'nobody' ? 'did not sign' : 'signed'}`,
        ),
      );
      const begun = Date.now();
      for (let i = 0; i < 3; i++) t.equal((await rig.ask(rig.intent())).result, 'published');
      t.ok(Date.now() - begun < 5000);
      await rig.kill('SIGTERM');
      await rig.start();
      t.equal((await rig.ask(rig.intent())).result, 'published');
    },
  );

for (const to of ['an older commit', 'nothing'] as const)
  for (const restarted of [false, true])
    void t.test(
      `a required remote that was set back to ${to}${restarted ? ', while the agent was away,' : ''} is pushed to again, and that is said aloud`,
      async (t) => {
        const rig = await Rig.started(t);
        t.equal((await rig.ask(rig.intent())).result, 'published');
        const old = rig.git(rig.remote('mirror'), 'rev-parse', 'main').trim();
        t.equal((await rig.ask(rig.intent())).result, 'published');
        const held = rig.git(rig.remote('mirror'), 'rev-parse', 'main').trim();
        t.strictSame(alarmsOf(rig), [], 'none before');
        if (restarted) await rig.kill('SIGTERM');
        rig.git(
          rig.remote('mirror'),
          'update-ref',
          ...(to === 'nothing' ? ['-d', 'refs/heads/main'] : ['refs/heads/main', old]),
        );
        if (restarted) await rig.start();
        t.equal((await rig.ask(rig.intent())).result, 'published', 'nobody is kept waiting');
        t.match(alarmsOf(rig), [
          {
            remote: 'mirror',
            what: `was set back: it held ${held} and showed ${to === 'nothing' ? 'nothing' : old}`,
          },
        ]);
        t.match(rig.report, /ALARM remote mirror: was set back/);
        await until('everybody can read of it', () =>
          publishedAlarms(rig, 'mirror').some((line) =>
            line.startsWith(`> ALARM remote mirror: was set back: it held ${held}`),
          ),
        );
        rig.checkHistory('mirror');
      },
    );

void t.test(
  'a required remote that was set back is said aloud also where somebody keeps a push from ending well',
  async (t) => {
    const rig = await Rig.started(t);
    for (let i = 0; i < 2; i++) t.equal((await rig.ask(rig.intent())).result, 'published');
    const held = rig.git(rig.remote('mirror'), 'rev-parse', 'main').trim();
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
        'main^{tree}',
      )
      .trim();
    rig.git(rig.remote('mirror'), 'update-ref', 'refs/heads/master', theirs);
    rig.git(rig.remote('mirror'), 'update-ref', 'refs/heads/main', `${held}^`);
    t.equal((await rig.ask(rig.intent())).result, 'published');
    t.match(alarmsOf(rig), [{ remote: 'mirror', what: `was set back: it held ${held}` }]);
  },
);

void t.test(
  'a restored VM takes over the history of its remotes instead of beginning a second one',
  async (t) => {
    const rig = await Rig.started(t);
    const path = (await rig.call().end('before\n'))[0] as string;
    t.equal((await rig.ask(rig.intent())).result, 'published');
    await rig.kill('SIGTERM');
    rmSync(rig.state, { recursive: true });
    await rig.start();
    t.equal((await rig.ask(rig.intent({ logs: [path] }))).result, 'published', 'and knows the logs in it');
    t.equal(rig.checkHistory(), 3);
    t.match(rig.report, /took over the history of remote origin/);
  },
);

void t.test(
  'a history that was just taken over is ours: an intent that comes before the first push is not refused as if there were two',
  async (t) => {
    const rig = await Rig.started(t);
    t.equal((await rig.ask(rig.intent())).result, 'published');
    await rig.kill('SIGTERM');
    const repository = await GitRepository.open(join(rig.folder, 'restored.git'));
    t.teardown(() => repository.stop());
    const signer = gpgSigner(rig.gnupg, rig.logsKey);
    const reported: string[] = [];
    const report = (line: string): void => void reported.push(line);
    const alarms = new Alarms({
      file: join(rig.folder, 'alarms.jsonl'),
      report,
      publish: () => Promise.resolve(),
    });
    const remotes = rig.remotes.map(
      ({ name, required }) =>
        new Remote(
          { name, required, url: rig.remote(name) },
          {
            repository,
            signer,
            alarms,
            report,
            memory: join(rig.folder, `${name}.held`),
            timeoutMs: 20_000,
            sshCommand: 'ssh',
            changed: () => undefined,
          },
        ),
    );
    t.equal(
      await findHistory(repository, remotes, signer, report),
      rig.git(rig.remote('origin'), 'rev-parse', 'main').trim(),
    );
    t.strictSame(
      remotes.map((remote) => remote.diverged),
      [false, false],
      reported.join('\n'),
    );
  },
);

void t.test('a history that another key signed is not taken over', async (t) => {
  const stranger = await Rig.make();
  const rig = await Rig.make({ intentSeconds: 2 });
  t.teardown(() => Promise.all([rig.stop(), stranger.stop()]));
  await makeRepository(rig.remote('mirror'), 3, 'build-debian', gpgSigner(stranger.gnupg, stranger.logsKey));
  await rig.start();
  t.match(await rig.ask(rig.intent()), { result: 'refused', code: 'NOT_PUBLISHED' });
  t.match(rig.report, /ALARM cannot publish: FOREIGN_HISTORY/);
  t.equal(count(rig, 'origin'), 0);
});

void t.test(
  'without an answer of its remotes a new VM takes logs and waits with the first commit',
  async (t) => {
    const rig = await Rig.make({ intentSeconds: 2 });
    t.teardown(() => rig.stop());
    renameSync(rig.remote('mirror'), `${rig.remote('mirror')}.away`);
    await rig.start();
    const call = rig.call().send(`${rig.header()}one\n`);
    await call.line(/^synced 1$/);
    t.match(await rig.ask(rig.intent()), { result: 'refused', code: 'NOT_PUBLISHED' });
    t.equal(count(rig, 'origin'), 0);
    renameSync(`${rig.remote('mirror')}.away`, rig.remote('mirror'));
    const lines = await call.end('> end status=0\n');
    // The answer may have been "not in time"; the log is published all the same.
    const path = (lines.find((line) => line.startsWith('opened')) as string).split(' ')[1] as string;
    await until(
      'it is published',
      async () =>
        existsSync(rig.remote('mirror')) &&
        count(rig, 'mirror') > 0 &&
        textOf(rig.file(path, 'mirror')).includes('one'),
    );
    await rig.allPushed();
    rig.checkHistory();
  },
);
