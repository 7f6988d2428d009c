// SPDX-License-Identifier: GPL-2.0-or-later
// A logs VM that was taken over answers "published" and lies, and the keys VM believes it (it gets true
// receipts over a history of its own): the build VM's gpg calls qubes.Gpg only for what it saw in public
// itself. Against the real keys agent, once by the build agent and once where none runs.
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createConnection, createServer, type AddressInfo } from 'node:net';
import t from 'tap';
import { openGate } from './gate.js';
import { GpgDoor } from './gpg-program.js';

const { machine, publisher, gpg, run } = await openGate(t);
const settings = `${machine.root}/rw/config/build-infra/build.json`;
const client = `${machine.root}/usr/bin/qrexec-client-vm`;
const calls = `${machine.root}/calls`;
const remotes = `${machine.root}/remotes`;
let daemon: ChildProcess;
let port = 0;

const git = (folder: string, ...argv: string[]): string =>
  execFileSync('git', ['--git-dir', folder, ...argv], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  }).trim();
const configure = (change: object): void =>
  writeFileSync(
    settings,
    JSON.stringify({
      format: 'build-infra/build-config@1',
      vm: 'build-debian',
      env: 'debian',
      signingKey: machine.signingKey,
      ...change,
    }),
  );
const publication = (): object => ({ url: `git://127.0.0.1:${port}/public.git`, logsKey: machine.logsKey });

/** Puts the logs VM's own history onto a remote, as an honest one does. */
function push(remote: string, commit: string): void {
  git(
    `${machine.root}/g`,
    'push',
    '--quiet',
    '--force',
    `${remotes}/${remote}.git`,
    `${commit}:refs/heads/main`,
  );
}

t.before(async () => {
  mkdirSync(remotes);
  for (const name of ['public', 'elsewhere'])
    execFileSync('git', ['init', '--quiet', '--bare', '--initial-branch=main', `${remotes}/${name}.git`]);
  port = await new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port: free } = probe.address() as AddressInfo;
      probe.close(() => resolve(free));
    });
  });
  daemon = spawn(
    'git',
    [
      'daemon',
      '--listen=127.0.0.1',
      `--port=${port}`,
      '--reuseaddr',
      '--export-all',
      `--base-path=${remotes}`,
      remotes,
    ],
    { stdio: 'ignore', detached: true },
  );
  for (let up = false; !up;)
    up = await new Promise((resolve) =>
      createConnection(port, '127.0.0.1', () => resolve(true)).on('error', () =>
        setTimeout(() => resolve(false), 50),
      ),
    );
  renameSync(client, `${client}.real`);
  writeFileSync(client, `#!/bin/sh\necho "$2" >>'${calls}'\nexec '${client}.real' "$@"\n`, { mode: 0o755 });
});
t.teardown(() => {
  if (daemon.pid !== undefined) process.kill(-daemon.pid, 'SIGKILL');
});

async function sign(payload: string): Promise<{ status: number; stderr: string; calls: string[] }> {
  rmSync(calls, { force: true });
  const { status, stderr } = await run(gpg, ['-b', '-o', '-', '-'], { cwd: machine.root, input: payload });
  return { status, stderr, calls: existsSync(calls) ? readFileSync(calls, 'utf8').trim().split('\n') : [] };
}

const bothCalls = ['qubesbuilder.BuildLog+intent', 'qubes.Gpg'];

const ways = ['by the agent', 'where no agent runs', 'by the agent, told nothing early'] as const;
for (const way of ways)
  await t.test(way, async (t) => {
    publisher.silent = way.endsWith('told nothing early');
    const door = way.startsWith('by the agent') ? await GpgDoor.open(machine.root) : undefined;
    t.teardown(() => door?.end());
    const honest = (commit: string): string => {
      push('public', commit);
      return commit;
    };
    const refused = async (
      what: string,
      answers: (commit: string) => string,
      words: RegExp,
    ): Promise<void> => {
      await t.test(`refused: ${what}`, async (t) => {
        configure({ publication: publication() });
        publisher.answers = answers;
        const claims = machine.events().filter((event) => event === 'claimed').length;
        const { status, stderr, calls: made } = await sign(`${way} ${what}`);
        t.equal(status, 2);
        t.match(stderr, words);
        t.equal(stderr.trim().split('\n').length, 1, 'one line');
        t.strictSame(made, ['qubesbuilder.BuildLog+intent'], 'no call of qubes.Gpg');
        t.equal(
          machine.events().filter((event) => event === 'claimed').length,
          claims,
          'and the key was not used',
        );
        // What it hid comes to light with the next publication.
        publisher.answers = honest;
        t.strictSame((await sign(`${way} after ${what}`)).calls, bothCalls);
      });
    };

    await t.test('what is in public is signed', async (t) => {
      configure({ publication: publication() });
      publisher.answers = honest;
      const { status, stderr, calls: made } = await sign(`${way} honest`);
      t.equal(status, 0, stderr);
      t.strictSame(made, bothCalls);
    });
    await refused(
      'published nowhere',
      (commit) => commit,
      /^build-infra: refused PUBLICATION_NOT_SEEN .*does not show commit [0-9a-f]{40}.*nothing is signed/,
    );
    await refused(
      'published on a remote that the build VM does not ask',
      (commit) => (push('elsewhere', commit), commit),
      /^build-infra: refused PUBLICATION_NOT_SEEN .*does not show commit/,
    );
    await refused(
      'a commit that is public and publishes another document',
      () => (machine.history[0] as { commit: string }).commit,
      /^build-infra: refused PUBLICATION_NOT_SEEN .*does not publish this intent/,
    );
    await refused(
      'a public commit on top that the logs key did not sign',
      () => {
        const file = machine.file(publisher.documents.at(-1) as string);
        const { commit } = machine.makeCommit([file], { signWith: machine.otherKey });
        push('public', commit);
        return commit;
      },
      /^build-infra: refused BAD_RECORD /,
    );
    await t.test('refused: a remote that does not answer', async (t) => {
      configure({ publication: { ...publication(), url: `git://127.0.0.1:${port}/none.git` } });
      publisher.answers = honest;
      const { status, stderr, calls: made } = await sign(`${way} away`);
      t.equal(status, 2);
      t.match(stderr, /^build-infra: refused PUBLICATION_NOT_SEEN .*cannot be read/);
      t.strictSame(made, ['qubesbuilder.BuildLog+intent']);
    });
    await t.test('refused: a configuration that does not say it', async (t) => {
      configure({});
      const { status, stderr, calls: made } = await sign(`${way} unsaid`);
      t.equal(status, 2);
      t.match(stderr, /^build-infra: refused NO_CONFIGURATION .*\(publication\)/);
      t.strictSame(made, []);
    });
    await t.test('null: the logs VM is believed', async (t) => {
      configure({ publication: null });
      publisher.answers = (commit) => commit;
      t.strictSame((await sign(`${way} believed`)).calls, bothCalls);
    });
  });
