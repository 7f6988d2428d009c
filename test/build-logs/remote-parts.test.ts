// SPDX-License-Identifier: GPL-2.0-or-later
// A remote's lane on real repositories in a folder, without an agent: what is pushed and read back, whose an
// unknown head is, and where to go on at a start.
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { Alarms } from '../../agents/build-logs/alarms.js';
import { signerOfHead } from '../../agents/build-logs/foreign-head.js';
import type { GitRepository } from '../../agents/build-logs/git-repository.js';
import { findHistory } from '../../agents/build-logs/history.js';
import { Remote, type RemoteOptions } from '../../agents/build-logs/remote.js';
import type { AnyRefusal } from '../../agents/shared/refusal.js';
import { folderOf } from '../support/folders.js';
import { until } from '../support/until.js';
import { git, headOf, logsKey, repositoryIn, signerOf, strayCommit } from './git-pieces.js';

// What is put aside for a look at a head is to be gone afterwards.
const temporary = folderOf(t);
process.env['TMPDIR'] = temporary;

const stranger = signerOf('stranger');
interface Farm {
  folder: string;
  repository: GitRepository;
  reported: string[];
  alarms: string[];
  changes: number;
  /** a bare repository of that name */
  bare: (name: string) => string;
  remote: (name?: string, required?: boolean, options?: Partial<RemoteOptions> & { url?: string }) => Remote;
  /** commits of ours, each on the last one; the branch shows the last */
  commits: (count: number) => Promise<string[]>;
}
async function farm(t: Test, folder = folderOf(t)): Promise<Farm> {
  const repository = await repositoryIn(t, folder);
  const [reported, alarms]: [string[], string[]] = [[], []];
  const made: Farm = {
    folder,
    repository,
    reported,
    alarms,
    changes: 0,
    bare: (name) => {
      const path = join(folder, `${name}.git`);
      git(path, ['init', '--quiet', '--bare', '--template=', '--initial-branch=main', path]);
      mkdirSync(join(path, 'hooks'));
      return path;
    },
    remote: (name = 'origin', required = true, { url = join(folder, `${name}.git`), ...options } = {}) => {
      const remote = new Remote(
        { name, required, url },
        {
          repository,
          signer: logsKey,
          report: (line) => reported.push(line),
          memory: join(folder, `${name}.held`),
          timeoutMs: 30_000,
          sshCommand: 'ssh',
          firstRetryMs: 20,
          lastRetryMs: 60,
          changed: () => made.changes++,
          alarms: new Alarms({
            file: join(folder, `${name}.alarms`),
            report: (line) => alarms.push(line),
            publish: async () => undefined,
          }),
          ...options,
        },
      );
      t.teardown(() => remote.stop());
      return remote;
    },
    commits: async (count) => {
      const ids: string[] = [];
      for (let seq = 1; seq <= count; seq++)
        ids.push(await strayCommit(repository.path, { seq, parent: ids.at(-1) ?? '' }));
      await repository.moveBranch(null, ids.at(-1) as string);
      return ids;
    },
  };
  return made;
}
/** With a bare repository `origin`, and so many commits of ours. */
async function farmWith(
  t: Test,
  count: number,
): Promise<[farm: Farm, path: string, first: string, second: string, third: string]> {
  const made = await farm(t);
  return [made, made.bare('origin'), ...(await made.commits(count))] as [
    Farm,
    string,
    string,
    string,
    string,
  ];
}
const isHeld = (remote: Remote, seq: number): Promise<boolean> =>
  until(`${remote.name} holds ${seq}: ${remote.trouble}`, () => remote.confirmedSeq === seq && !remote.busy);
/** As a repository elsewhere: with these objects, its branch where it is said to be. */
function show(path: string, from: string, head: string): void {
  git(path, [
    'fetch',
    '--quiet',
    from,
    '+refs/build-infra/*:refs/build-infra/*',
    'refs/heads/*:refs/build-infra/heads/*',
  ]);
  git(path, ['update-ref', 'refs/heads/main', head]);
}
const hook = (path: string, name: string, body: string): void => {
  writeFileSync(join(path, 'hooks', name), `#!/bin/sh\n${body}\n`);
  chmodSync(join(path, 'hooks', name), 0o755);
};

await t.test(
  'a commit is on a remote once it is pushed and shown, on both branches, and what came meanwhile follows',
  async (t) => {
    const { remote: make, bare, commits, folder, reported, alarms, ...rest } = await farm(t);
    const path = bare('origin');
    const [one, two, three] = (await commits(3)) as [string, string, string];
    const remote = make();
    t.same(
      [
        remote.name,
        remote.required,
        remote.confirmedSeq,
        remote.busy,
        remote.diverged,
        remote.trouble,
        await remote.head(),
      ],
      ['origin', true, 0, false, false, '', null],
    );
    remote.aim({ commit: one, seq: 1 });
    t.ok(remote.busy);
    remote.aim({ commit: two, seq: 2 });
    await isHeld(remote, 2);
    t.same([headOf(path), headOf(path, 'master'), await remote.head()], [two, two, two]);
    hook(path, 'pre-receive', `echo pushed >> ${folder}/pushes`);
    remote.aim({ commit: two, seq: 2 });
    await sleep(50);
    t.notOk(existsSync(`${folder}/pushes`), 'what it holds is not pushed again');
    remote.aim({ commit: three, seq: 3 });
    await isHeld(remote, 3);
    t.equal(readFileSync(`${folder}/pushes`, 'utf8'), 'pushed\n');
    await until(
      'it is noted what it held last',
      () =>
        existsSync(`${folder}/origin.held`) && readFileSync(`${folder}/origin.held`, 'utf8') === `${three}\n`,
    );
    t.same([reported, alarms, rest.repository.path], [[], [], join(folder, 'ours.git')]);
    remote.stop();
    remote.aim({ commit: one, seq: 1 });
    await sleep(50);
    t.same([remote.busy, remote.confirmedSeq], [false, 3], 'nothing is pushed after a stop');
  },
);

await t.test('whoever is told of each change sees it, and a stop notes what was held', async (t) => {
  const one = await farm(t);
  one.bare('origin');
  const [first] = (await one.commits(1)) as [string];
  const seen: number[] = [];
  const remote = one.remote('origin', true, { changed: () => seen.push(remote.confirmedSeq) });
  remote.aim({ commit: first, seq: 1 });
  await isHeld(remote, 1);
  t.same(seen, [1]);
  remote.stop();
  t.equal(readFileSync(`${one.folder}/origin.held`, 'utf8'), `${first}\n`);
  const nowhere = one.remote('origin', true, { memory: `${one.folder}/none/held` });
  nowhere.aim({ commit: first, seq: 1 });
  await isHeld(nowhere, 1);
  nowhere.stop();
  t.match(one.reported.at(-1), /\/none\/held: .*ENOENT/, 'a memory that cannot be written stops nobody');
});

await t.test(
  'a remote that is away is tried again after pauses that grow up to a limit, and is named with what is wrong',
  async (t) => {
    const [one, path, first, second] = await farmWith(t, 2);
    renameSync(path, `${path}.away`);
    const remote = one.remote();
    await t.rejects(remote.head());
    await t.rejects(remote.fetch());
    remote.aim({ commit: first, seq: 1 });
    await until('four failures', () => one.reported.length >= 4);
    t.same(
      one.reported.slice(0, 4).map((line) => /^remote origin: .*; again in ([0-9.]+) s$/.exec(line)?.[1]),
      ['0.02', '0.04', '0.06', '0.06'],
    );
    t.match(remote.trouble, /\/ |fatal|does not/);
    t.notMatch(remote.trouble, /\n/);
    t.ok(one.changes >= 4);
    // A new target does not hurry it.
    const failures = one.reported.length;
    remote.aim({ commit: second, seq: 2 });
    t.equal(one.reported.length, failures);
    renameSync(`${path}.away`, path);
    await isHeld(remote, 2);
    t.equal(one.reported.at(-1), 'remote origin: published again');
    t.equal(remote.trouble, '');
    renameSync(path, `${path}.away`);
    const before = one.reported.length;
    const third = await strayCommit(one.repository.path, { seq: 3, parent: second });
    remote.aim({ commit: third, seq: 3 });
    await until('another failure', () => one.reported.length > before);
    t.match(one.reported[before], /again in 0\.02 s$/, 'the first pause again');
    remote.stop();
    const stopped = one.reported.length;
    await sleep(150);
    t.equal(one.reported.length, stopped, 'no attempt after a stop');
    const usual = one.remote('other', true, { firstRetryMs: undefined, lastRetryMs: undefined });
    usual.aim({ commit: first, seq: 1 });
    await until('a failure', () => usual.trouble !== '');
    t.match(one.reported.at(-1), /^remote other: .*again in 0\.5 s$/);
  },
);

await t.test('a remote that hangs has so much time, and holds nothing', async (t) => {
  const [one, path, first] = await farmWith(t, 1);
  hook(path, 'pre-receive', `while [ -e ${path} ]; do sleep 0.05; done`);
  const remote = one.remote('origin', true, { timeoutMs: 400 });
  const begun = Date.now();
  remote.aim({ commit: first, seq: 1 });
  await until('it is late', () => remote.trouble !== '');
  t.ok(Date.now() - begun >= 390);
  t.match(remote.trouble, /git took longer than 0\.4 s/);
  t.equal(remote.confirmedSeq, 0);
});

await t.test(
  'a remote that says yes to a push and shows something else holds nothing, nor does one that says no',
  async (t) => {
    const [one, path, first, second] = await farmWith(t, 2);
    hook(
      path,
      'post-receive',
      'while read old new ref; do case $old in *[!0]*) git update-ref "$ref" "$old";; *) git update-ref -d "$ref";; esac; done',
    );
    const again = one.remote();
    again.aim({ commit: first, seq: 1 });
    await until('it is found out', () => again.trouble !== '');
    t.match(again.trouble, 'took the push but shows nothing');
    rmSync(join(path, 'hooks/post-receive'));
    await isHeld(again, 1);
    t.same(one.alarms, [], 'what it never held was not set back');
    hook(path, 'pre-receive', 'echo not today >&2; exit 1');
    again.aim({ commit: second, seq: 2 });
    await until('it is refused', () => again.trouble !== '');
    t.match(again.trouble, /pre-receive hook declined|not today/);
    t.equal(again.confirmedSeq, 1);
  },
);

await t.test(
  "another history of the logs key is one, anybody else's head is a broken remote, and both are forced by nobody",
  async (t) => {
    for (const [by, required] of [
      [logsKey, true],
      [logsKey, false],
      [stranger, true],
      [null, true],
    ] as const) {
      const [one, path, first, second] = await farmWith(t, 2);
      const other = await strayCommit(path, { by, seq: 7 });
      git(path, ['update-ref', 'refs/heads/main', other]);
      const remote = one.remote('origin', required);
      remote.aim({ commit: first, seq: 1 });
      await until('it is looked at twice', () => one.reported.length >= 2);
      const ours = by === logsKey;
      const what = `holds commit ${other}, which the logs key ${ours ? `signed and which is not in our history: a second history${required ? '; nothing is granted' : ''}` : 'did not sign'}`;
      t.same([remote.diverged, remote.trouble, remote.confirmedSeq, headOf(path)], [ours, what, 0, other]);
      t.same(one.alarms, [`ALARM remote origin: ${what}`], 'said once');
      git(path, ['update-ref', '-d', 'refs/heads/main']);
      await isHeld(remote, 1);
      t.same([remote.diverged, remote.trouble], [false, '']);
      git(path, ['update-ref', 'refs/heads/main', other]);
      remote.aim({ commit: second, seq: 2 });
      await until('it is an alarm again', () => one.alarms.length === 2);
      t.equal(one.alarms[1], one.alarms[0], 'a new one, as it was right in between');
    }
  },
);

await t.test('a head that is shown and not handed out is neither, and is looked at again', async (t) => {
  const [one, path, first] = await farmWith(t, 1);
  const other = await strayCommit(path, { seq: 7 });
  git(path, ['update-ref', 'refs/heads/main', other]);
  // Stands for ssh: keeps the one who would look at a single commit away.
  const ssh = join(one.folder, 'ssh');
  writeFileSync(
    ssh,
    `#!/bin/sh\ntr '\\0' ' ' < /proc/$PPID/cmdline | grep -q depth=1 && [ ! -e ${one.folder}/open ] && exit 1\nfor last; do :; done\nexec sh -c "$last"\n`,
  );
  chmodSync(ssh, 0o755);
  const remote = one.remote('origin', true, { url: `ssh://x${path}`, sshCommand: ssh });
  remote.aim({ commit: first, seq: 1 });
  await until('it is looked at', () => remote.trouble !== '');
  t.equal(remote.trouble, `shows commit ${other}, which is not in our history, and does not hand it out`);
  t.same([remote.diverged, one.alarms], [false, []]);
  writeFileSync(join(one.folder, 'open'), '');
  await until('it is looked at again', () => remote.diverged);
  t.equal(one.alarms.length, 1);
});

await t.test('whose a head is', async (t) => {
  const path = (await farm(t)).bare('origin');
  const place = { url: path, signer: logsKey, sshCommand: 'ssh', timeoutMs: 30_000 };
  const ask = async (id: string, more: object = {}): Promise<string> => {
    git(path, ['update-ref', 'refs/heads/main', id]);
    return signerOfHead(id, { ...place, ...more });
  };
  const ours = await strayCommit(path);
  t.equal(await ask(ours), 'the logs key');
  t.equal(
    await ask(await strayCommit(path, { parent: ours, seq: 2 })),
    'the logs key',
    'without its parent here',
  );
  t.equal(await ask(ours, { signer: stranger }), 'somebody else');
  t.equal(await ask(await strayCommit(path, { by: stranger })), 'somebody else');
  t.equal(await ask(await strayCommit(path, { by: null })), 'somebody else');
  t.equal(await signerOfHead('a'.repeat(40), place), 'unknown');
  t.equal(await ask(ours, { url: `${path}.none` }), 'unknown');
  t.equal(
    await ask(ours, { signer: { ...logsKey, verifies: () => Promise.reject(new Error('no gpg')) } }),
    'unknown',
  );
  t.same(
    readdirSync(temporary).filter((name) => name.startsWith('bl-head-')),
    [],
    'nothing is left of it',
  );
});

await t.test(
  'a remote that lost what it held is pushed to again, and that is said; what it held is known after a restart too',
  async (t) => {
    for (const to of [
      'older',
      'nothing',
      'at a start',
      'at a start, with its memory in pieces',
      'elsewhere',
    ] as const) {
      const [one, path, first, second, third] = await farmWith(t, 3);
      let remote = one.remote();
      remote.aim({ commit: first, seq: 1 });
      await isHeld(remote, 1);
      remote.aim({ commit: second, seq: 2 });
      await isHeld(remote, 2);
      t.same(one.alarms, []);
      if (to.startsWith('at a start')) {
        remote.stop();
        if (to.endsWith('pieces')) writeFileSync(`${one.folder}/origin.held`, 'pieces\n');
        remote = one.remote();
      }
      const other = await strayCommit(path, { seq: 9, by: stranger });
      if (to === 'nothing') git(path, ['update-ref', '-d', 'refs/heads/main']);
      else git(path, ['update-ref', 'refs/heads/main', to === 'elsewhere' ? other : first]);
      remote.aim({ commit: third, seq: 3 });
      if (to === 'elsewhere') {
        await until('an alarm', () => one.alarms.length > 0);
        t.notMatch(one.alarms[0], 'set back', "another's head is no step back");
        continue;
      }
      await isHeld(remote, 3);
      t.same(
        one.alarms,
        to.endsWith('pieces')
          ? []
          : [
              `ALARM remote origin: was set back: it held ${second} and showed ${to === 'nothing' ? 'nothing' : first}; what is missing is pushed again`,
            ],
      );
      t.equal(headOf(path), third);
      const fourth = await strayCommit(one.repository.path, { seq: 4, parent: third });
      remote.aim({ commit: fourth, seq: 4 });
      await isHeld(remote, 4);
      t.equal(one.alarms.length, to.endsWith('pieces') ? 0 : 1, 'once');
    }
  },
);

const code = (work: Promise<unknown>): Promise<unknown> =>
  work.catch((error: unknown) => (error as AnyRefusal).code ?? 'an error');

await t.test('where nothing is, a history begins, and where something is, it is taken over', async (t) => {
  const one = await farm(t);
  const path = one.bare('origin');
  const remotes = [one.remote()];
  const found = (): Promise<unknown> =>
    code(findHistory(one.repository, remotes, logsKey, (line) => one.reported.push(line)));
  t.equal(await found(), null);
  const root = await strayCommit(path);
  const head = await strayCommit(path, { parent: root, seq: 2 });
  git(path, ['update-ref', 'refs/heads/main', head]);
  t.equal(await found(), head);
  t.same(
    [await one.repository.head(), one.reported],
    [head, [`took over the history of remote origin up to ${head}`]],
  );
  t.equal(await found(), head);
  const next = await strayCommit(path, { parent: head, seq: 3 });
  git(path, ['update-ref', 'refs/heads/main', next]);
  t.equal(await found(), next, 'one that is ahead is followed');
  git(path, ['update-ref', 'refs/heads/main', root]);
  t.equal(await found(), next, 'one that is behind is not');
  t.same([one.reported.length, one.alarms], [2, []]);
});

await t.test('a history of another key, or one that is no publication, is not taken over', async (t) => {
  for (const [required, subject, by] of [
    [true, 'x', stranger],
    [false, 'x', stranger],
    [true, 'é', logsKey],
    [false, 'é', logsKey],
  ] as const) {
    const one = await farm(t);
    const path = one.bare('origin');
    git(path, ['update-ref', 'refs/heads/main', await strayCommit(path, { by, subject })]);
    const found = await code(
      findHistory(one.repository, [one.remote('origin', required)], logsKey, (line) =>
        one.reported.push(line),
      ),
    );
    t.equal(
      found,
      required ? (by === stranger ? 'FOREIGN_HISTORY' : 'BAD_PUBLICATION') : null,
      `${required} ${subject}`,
    );
    t.equal(await one.repository.head(), null);
    if (!required) t.match(one.reported, [/^remote origin: cannot be asked: /]);
  }
});

await t.test(
  'a second history stops the start where it is on a required remote, and is an alarm',
  async (t) => {
    for (const [by, required] of [
      [logsKey, true],
      [logsKey, false],
      [stranger, true],
      [stranger, false],
    ] as const) {
      const one = await farm(t);
      const path = one.bare('origin');
      const head = (await one.commits(2))[1] as string;
      const other = await strayCommit(path, { by, seq: 5 });
      git(path, ['update-ref', 'refs/heads/main', other]);
      const found = await code(
        findHistory(one.repository, [one.remote('origin', required)], logsKey, (line) =>
          one.reported.push(line),
        ),
      );
      t.equal(found, by === logsKey && required ? 'HISTORY_DIVERGED' : head);
      t.same(
        one.alarms.map((line) => line.replace(/[0-9a-f]{40}/, 'C')),
        [
          `ALARM remote origin: holds commit C, which ${by === logsKey ? 'the logs key signed and which is not in our history: a second history' : 'is not in our history, signed by somebody else'}`,
        ],
      );
      t.equal(await one.repository.head(), head);
    }
  },
);

await t.test(
  'a required remote is asked before there is a history, is compared first, and is waited for by nobody later',
  async (t) => {
    const one = await farm(t);
    const [extra, origin] = [one.bare('extra'), one.bare('origin')];
    const found = (remotes: Remote[]): Promise<unknown> =>
      code(findHistory(one.repository, remotes, logsKey, (line) => one.reported.push(line)));
    t.equal(await found([one.remote('none')]), 'an error');
    t.equal(await found([one.remote('none', false)]), null);
    t.match(one.reported.splice(0), [/^remote none: cannot be asked: /]);
    const ours = await strayCommit(origin);
    git(origin, ['update-ref', 'refs/heads/main', ours]);
    git(extra, ['update-ref', 'refs/heads/main', await strayCommit(extra, { seq: 3 })]);
    t.equal(await found([one.remote('extra', false), one.remote()]), ours);
    t.match(one.alarms, [/^ALARM remote extra: .*a second history/]);
    t.match(one.reported.splice(0), [
      /^took over the history of remote origin/,
      /^remote extra: cannot be asked: HISTORY_DIVERGED/,
    ]);
    t.equal(
      await found([one.remote('none'), one.remote()]),
      ours,
      'a history that is here does not wait for one that is away',
    );
    t.match(one.reported, [/^remote none: cannot be asked: /]);
    const silent = Object.assign(one.remote('silent'), { head: () => new Promise(() => undefined) });
    const begun = Date.now();
    t.equal(await found([silent]), ours);
    t.ok(Date.now() - begun < 15_000);
    t.match(one.reported.at(-1), 'remote silent: cannot be asked: no answer yet');
    show(extra, one.repository.path, ours);
    t.equal(await found([one.remote('extra', false)]), ours);
  },
);
