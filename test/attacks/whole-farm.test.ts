// SPDX-License-Identifier: GPL-2.0-or-later
// The main job as a newcomer runs it; then, on the same farm, a job in the middle of which every agent is
// killed once.
import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { addComponent, raiseFarm } from '../../agents/local/farm/farm.js';
import { LocalState } from '../../agents/local/farm/local-state.js';
import { giveCommand, readBuildStatus, untilBuilt } from '../../agents/local/job/build-watch.js';
import { auditArguments } from '../../agents/local/job/main-job.js';
import { gitUrl } from '../../agents/local/outside/forge.js';
import { Keys, TestRepository, tinyPackage } from '../build-vm/forge.js';
import { shareChroots } from '../support/clean-chroots.js';
import { localCommand } from '../support/local-command.js';
import { dist, killAgent } from './standing-farm.js';
import { pushTiny } from './small-source.js';

const { folder, local } = localCommand(t, 'whole-');

await t.test(
  'the main job ends with a package installed from the signed repository, audited, and a gate that holds',
  async (t) => {
    const { status, out } = await local();
    if (status !== 0) t.comment(out.slice(-5000));
    t.equal(status, 0);
    t.match(out, /installed hello=\d/);
    t.match(out, /one byte changed: +build-infra: refused NO_GRANT/);
    t.match(out, /was built, signed, published, installed and audited/);
    shareChroots(new LocalState(folder));
  },
);

await t.test('the audit passes, and fails when one byte of what was published is changed', async (t) => {
  t.equal((await local('audit')).status, 0);
  const tampered = join(folder, 'vms/forge/home/user/www/debian');
  const release = execFileSync('sh', ['-c', `find ${tampered}/ -name InRelease | head -n 1`])
    .toString()
    .trim();
  t.ok(release);
  execFileSync('sed', ['-i', 's/^Origin: /Origin: not /', release]);
  const bad = await local('audit');
  t.equal(bad.status, 1);
  t.match(bad.out, /InRelease/);
  execFileSync('sed', ['-i', 's/^Origin: not /Origin: /', release]);
  t.equal((await local('audit')).status, 0);
});

await t.test('the same tag is built once: a second trigger says so', async (t) => {
  const { status, out } = await local('trigger', 'hello');
  t.equal(status, 0);
  t.match(out, /^known hello-/);
});

await t.test('a rebuild of the tag gives the same bytes', async (t) => {
  const job = /done +(hello-\S+)/.exec((await local('status')).out)?.[1] as string;
  const [dist] = (await new LocalState(folder).settings()).dists as [string];
  const { status, out } = await local('rebuild', job, dist);
  if (status !== 0) t.comment(out.slice(-3000));
  t.equal(status, 0);
  t.match(out, /\nthe same bytes: .*hello_\S+\.deb/);
  t.match(out, /\nbut for the time of the build: hello_\S+\.buildinfo hello_\S+\.changes/);
});

await t.test('commands that cannot work say why, in one line', async (t) => {
  t.match(await local('trigger', 'nonsense'), { status: 1, out: /refused [A-Z_]+/ });
  t.match(await local('frobnicate'), {
    status: 2,
    out: /^npm run local: there is no command "frobnicate"\n\(npm run local -- --help tells more\)\n$/,
  });
  t.match(await local('exec', 'no-such-vm', '--', 'true'), { status: 1, out: /no such VM/ });
});

await t.test(
  "a component of somebody else's repository goes all the way too, by the tag that its maintainer signed",
  async (t) => {
    const keys = new Keys();
    const outside = join(folder, 'outside');
    const repository = join(outside, 'qubes-hello-tiny.git');
    mkdirSync(repository, { recursive: true });
    t.teardown(() => keys.end());
    const bob = keys.make('bob');
    const theirs = new TestRepository(repository);
    theirs.release(keys, [bob], 'v1.0', [
      ...tinyPackage('1.0-1').map((file) => ({
        ...file,
        path: file.path.replace(/^debian\//, 'debian-pkg/debian/'),
      })),
      { path: 'version', content: '1.0\n' },
      {
        path: '.qubesbuilder',
        content:
          'host:\n  rpm:\n    build: [rpm_spec/hello-tiny.spec]\nvm:\n  deb:\n    build: [debian-pkg/debian]\n',
      },
    ]);
    theirs.git([
      'update-ref',
      'refs/heads/main',
      theirs.release(keys, [bob], 'mm_12345678', [{ path: 'later', content: 'x' }]).commit,
    ]);
    writeFileSync(join(outside, 'bob.asc'), keys.gpg(['--export', bob.fingerprint]));
    const { status, out } = await local(
      '--source',
      repository,
      '--tag',
      'v1.0',
      '--key',
      join(outside, 'bob.asc'),
    );
    if (status !== 0) t.comment(out.slice(-5000));
    t.equal(status, 0);
    t.match(out, /installed hello-tiny=1\.0-1/);
    t.match(out, /hello-tiny 1\.0 was built, signed, published, installed and audited/);
    t.match(await local('--source', repository), { status: 2, out: /--source, --tag and --key go together/ });
    t.match(await local('--source', repository, '--tag', 'v9', '--key', join(outside, 'bob.asc')), {
      status: 1,
      out: /v9/,
    });
  },
);

await t.test(
  'every agent is killed once in the middle of a job: the job is done, no acknowledged line is lost, the audit passes',
  async (t) => {
    const state = new LocalState(folder);
    const settings = await state.settings();
    addComponent(state, settings, 'tiny');
    const farm = await raiseFarm(state, join(dist, 'local.mjs'), () => undefined);
    t.teardown(() => farm.dom0.close());
    const [build, logs, keys, net] = ['build-debian', 'build-logs', 'keys-debian', 'sys-net'].map((name) =>
      farm.machine(name),
    ) as [
      ReturnType<typeof farm.machine>,
      ReturnType<typeof farm.machine>,
      ReturnType<typeof farm.machine>,
      ReturnType<typeof farm.machine>,
    ];
    await pushTiny(
      farm.machine('developer'),
      farm.maintainer,
      settings.ports,
      '1.0',
      'for n in $$(seq 1 200); do echo tick $$n; sleep 0.05; done',
    );

    let keysKilled: Promise<void> | undefined;
    await farm.dom0.onEvent((event) => {
      if (event.event === 'call' && event.service.startsWith('qubes.Gpg'))
        keysKilled ??= sleep(20).then(() => killAgent(keys, 'keys-agent.mjs'));
    });
    t.match(await giveCommand(build, 'trigger tiny'), /^queued tiny-1.0-/);
    const inBuild = async (): Promise<void> => {
      for (let tries = 0; tries < 600; tries++) {
        if (readBuildStatus(build)?.running.some((step) => step.stage === 'build')) return;
        await sleep(100);
      }
      throw new Error('the build did not start');
    };
    const sees = async (text: string): Promise<void> => {
      for (let tries = 0; tries < 600; tries++) {
        if ((await logs.run(['grep', '-rqF', text, '/var/lib/build-infra/logs/build-debian'])).status === 0)
          return;
        await sleep(100);
      }
      throw new Error(`no log holds ${text}`);
    };
    await inBuild();
    await sees('tick 20');
    await killAgent(logs, 'build-logs-agent.mjs');
    await killAgent(net, 'sys-net-agent.mjs');
    await sees('tick 60');
    await killAgent(build, 'build-agent.mjs');
    const job = await untilBuilt(build, 'tiny', '1.0', () => undefined, 300_000);
    t.ok(keysKilled, 'the keys agent was killed while it was asked to sign');
    await keysKilled;

    const clone = join(folder, 'clone.git');
    execFileSync('git', ['clone', '-q', '--bare', gitUrl('build-logs', settings.ports), clone]);
    const show = (path: string): string =>
      execFileSync('git', ['-C', clone, 'show', `main:${path}`]).toString();
    const published = (): string[] => {
      execFileSync('git', ['-C', clone, 'fetch', '-q', 'origin', '+main:main']);
      return execFileSync('git', ['-C', clone, 'ls-tree', '-r', '--name-only', 'main', 'build-debian/'])
        .toString()
        .trim()
        .split('\n')
        .map(show);
    };
    const builds = job.logs.map(show).filter((text) => /tick 1\n/.test(text));
    t.ok(builds.length >= 1);
    const ticks = (text: string): number[] =>
      [...text.matchAll(/: tick (\d+)$/gm)].map((found) => Number(found[1]));
    const whole = ticks(builds.at(-1) as string);
    t.strictSame(
      whole,
      Array.from({ length: 200 }, (_, n) => n + 1),
      'the log of the build that counted has each line once, in order',
    );
    // Nobody goes on with the log of the killed build: after reopenSeconds it is closed.
    let broken: string[] = [];
    for (
      let tries = 0;
      tries < 100 && (broken.length === 0 || !broken.every((text) => / > .*truncated/.test(text)));
      tries++
    ) {
      await sleep(1000);
      broken = published().filter((text) => ticks(text).length > 0 && ticks(text).length < 200);
    }
    // Distributions are built side by side: each of them may have been at it.
    t.ok(
      broken.length >= 1 && broken.length <= settings.dists.length,
      'the logs of the killed builds are published too',
    );
    for (const text of broken) {
      t.ok(
        ticks(text).every((tick, index) => tick === index + 1),
        'without a gap over the kill of build-logs',
      );
      t.match(text, / > .*truncated/, 'and is marked as truncated');
    }
    t.ok(Math.max(...broken.map((text) => ticks(text).length)) >= 60);
    const audit = await new Promise<{ status: number; out: string }>((resolve) => {
      const child = execFile(
        process.execPath,
        [join(dist, 'build-infra.mjs'), 'audit', ...auditArguments(farm)],
        (_error, stdout, stderr) => resolve({ status: child.exitCode ?? 255, out: stdout + stderr }),
      );
    });
    t.equal(audit.status, 0, audit.status === 0 ? 'the audit passes' : audit.out);
  },
);
