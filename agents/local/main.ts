// SPDX-License-Identifier: GPL-2.0-or-later
// `npm run local`: the farm on one machine. Exit 0 only if every post-condition was checked; 1 where
// something failed, 2 for a wrong command line.
import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  Misuse,
  type CommandCall,
  type CommandRow,
  type OptionRow,
  type ProgramTable,
} from '../shared/command-line/program.js';
import { runProgram } from '../shared/command-line/run-program.js';
import { connectDom0, raiseFarm } from './farm/farm.js';
import { envOf, envsOf, LocalState } from './farm/local-state.js';
import { SandboxedMachine } from './farm/sandboxed-machine.js';
import { giveCommand, readBuildStatus, withDist } from './job/build-watch.js';
import { Display } from './job/display.js';
import { LogTail } from './job/log-tail.js';
import { runDemoPromotion } from './job/demo-promotion.js';
import { runDemoRpm } from './job/demo-rpm.js';
import { auditArguments, publishedEnvs, runMainJob, type MainJobOptions } from './job/main-job.js';
import { rebuild, rebuiltLine } from './job/rebuild.js';
import type { ForeignSource } from './outside/foreign-source.js';
import { serveGitHub } from './outside/github-server/serve.js';
import { planFarm } from './provision/planned-farm.js';
import { buildVmOf } from './provision/vms.js';
import { bySalt } from './provision-by-salt/farm-provisioner.js';
import { spawnInVm, type AdminClient } from './qrexec/admin-client.js';
import { Dom0 } from './qrexec/dom0.js';
import { ensureRootNamespace } from './vm/root-namespace.js';

const dist = dirname(fileURLToPath(import.meta.url));

async function withDom0<T>(state: LocalState, work: (dom0: AdminClient) => Promise<T>): Promise<T> {
  const dom0 = await connectDom0(state).catch(() => {
    throw new Error('the farm is not running: npm run local -- up');
  });
  try {
    return await work(dom0);
  } finally {
    dom0.close();
  }
}

/** The process that is dom0: it holds the VMs and ends with `down`. */
async function beDom0(state: LocalState): Promise<number> {
  const dom0 = await Dom0.start({ stateFolder: state.folder, policyFolders: [state.policyFolder] });
  await new Promise<void>((end) => {
    dom0.once('shutdown', end);
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, end);
  });
  await dom0.close();
  return 0;
}

async function down(state: LocalState, purge: boolean): Promise<number> {
  const dom0 = await connectDom0(state).catch(() => undefined);
  await dom0?.shutdown();
  process.stdout.write(dom0 === undefined ? 'the farm was not running\n' : 'every VM is stopped\n');
  if (purge) {
    rmSync(state.folder, { recursive: true, force: true });
    process.stdout.write(`removed ${state.folder}\n`);
  }
  return 0;
}

async function status(state: LocalState, dom0: AdminClient, json: boolean): Promise<number> {
  const vms = await dom0.list();
  const builds = envsOf(await state.settings()).map(
    (env) => new SandboxedMachine(dom0, buildVmOf(env), state.rootOf(buildVmOf(env))),
  );
  if (json) {
    const shown = vms.map(({ name, state: is, netvm }) => ({ name, state: is, netvm }));
    const jobs = Object.fromEntries(builds.map((build) => [build.name, readBuildStatus(build) ?? null]));
    process.stdout.write(`${JSON.stringify({ format: 'build-infra/local-status@1', vms: shown, jobs })}\n`);
    return 0;
  }
  process.stdout.write('VM            state     network\n');
  for (const vm of vms)
    process.stdout.write(`${vm.name.padEnd(13)} ${vm.state.padEnd(9)} ${vm.netvm ?? 'none'}\n`);
  process.stdout.write('\njobs\n');
  for (const build of builds) jobsOf(build);
  return 0;
}

function jobsOf(build: SandboxedMachine): void {
  const jobs = readBuildStatus(build);
  for (const step of jobs?.running ?? [])
    process.stdout.write(`  running  ${step.job}  ${withDist(step.stage, step.dist)}\n`);
  for (const job of jobs?.queue ?? [])
    process.stdout.write(
      `  queued   ${job.job}${job.waiting.map((chain) => ` (${withDist('waits', chain.dist)}: ${chain.code} ${chain.detail})`).join('')}\n`,
    );
  for (const job of (jobs?.recent ?? []).slice(0, 10))
    process.stdout.write(
      `  ${job.state.padEnd(8)} ${job.job}${job.reason === null ? '' : `  ${job.reason.code} ${job.reason.detail}`}\n`,
    );
  if (jobs === undefined || jobs.running.length + jobs.queue.length + jobs.recent.length === 0)
    process.stdout.write(`  none in ${build.name}\n`);
}

/** The build VM that a word of a person is for: by the component, or by the job that begins with its name. */
async function buildVmFor(
  state: LocalState,
  dom0: AdminClient,
  word: string,
  isJob: boolean,
): Promise<SandboxedMachine> {
  const settings = await state.settings();
  const component = isJob
    ? (settings.rpmComponents?.find((name) => word.startsWith(`${name}-`)) ?? word)
    : word;
  const name = buildVmOf(envOf(settings, component));
  return new SandboxedMachine(dom0, name, state.rootOf(name));
}

async function rebuildJob(
  state: LocalState,
  dom0: AdminClient,
  job: string,
  dists: readonly string[],
): Promise<number> {
  const done = await rebuild(await buildVmFor(state, dom0, job, true), job, dists, (line) =>
    process.stdout.write(`${line}\n`),
  );
  process.stdout.write(`\n${rebuiltLine(done)}\n`);
  return 0;
}

async function exec(dom0: AdminClient, vm: string, command: string[], root: boolean): Promise<number> {
  const child = await spawnInVm(dom0, vm, {
    argv: command,
    user: root ? 'root' : 'user',
    tty: process.stdin.isTTY && process.stdout.isTTY,
    env: { TERM: process.env['TERM'] ?? 'dumb' },
  });
  return await new Promise((end) => child.once('close', (code) => end(code ?? 255)));
}

/**
 * The newest published logs, whole, and then with -f every line as it is received. A published log is no file
 * of the logs VM any more.
 */
async function logs(state: LocalState, dom0: AdminClient, follow: boolean): Promise<number> {
  const newest = `cd /var/lib/build-infra/repository.git; for path in $(git ls-tree -r --name-only main | grep '/log_' | sort -t / -k 3 | tail -n 4); do
  echo "==> $path"; case $path in *.xz) git show "main:$path" | xz -dc ;; *) git show "main:$path" ;; esac; done`;
  const shown = await new SandboxedMachine(dom0, 'build-logs', state.rootOf('build-logs')).run([
    'sh',
    '-c',
    newest,
  ]);
  process.stdout.write(shown.stdout);
  const tail = new LogTail(state.rootOf('build-logs'));
  let last = '';
  tail.follow((path, line) => {
    if (path !== last) process.stdout.write(`==> ${path}\n`);
    last = path;
    process.stdout.write(`${line}\n`);
  }, true);
  if (follow) await new Promise<void>((end) => process.once('SIGINT', end));
  else await new Promise((end) => setTimeout(end, 400));
  tail.stop();
  return 0;
}

async function audit(state: LocalState, json: boolean): Promise<number> {
  const settings = await state.settings();
  const args = auditArguments(
    { settings, pillar: planFarm({ file: state.pillarFile }).pillar },
    publishedEnvs(state, settings),
  );
  const child = spawn(
    process.execPath,
    [join(dist, 'build-infra.mjs'), 'audit', ...args, ...(json ? ['--json'] : [])],
    { stdio: 'inherit' },
  );
  return await new Promise((end) => child.once('close', (code) => end(code ?? 2)));
}

function foreignSource({ value, values }: CommandCall): { source?: ForeignSource } {
  const [repository, tag, keyFiles] = [value('source'), value('tag'), [...values('key')]];
  if (repository === undefined && tag === undefined && keyFiles.length === 0) return {};
  if (repository === undefined || tag === undefined || keyFiles.length === 0) {
    throw new Misuse('--source, --tag and --key go together');
  }
  return { source: { repository, tag, keyFiles } };
}

function provisionerOf({ value }: CommandCall): typeof bySalt | undefined {
  const named = value('provisioner') ?? 'manifests';
  if (!['salt', 'manifests'].includes(named))
    throw new Misuse(`--provisioner is salt or manifests, not ${named}`);
  return named === 'salt' ? bySalt : undefined;
}

async function up(state: LocalState, call: CommandCall): Promise<number> {
  const provisioner = provisionerOf(call);
  const display = new Display();
  await display.step('The farm: VMs, keys made inside them, policy', async () => {
    const entry = join(dist, 'local.mjs');
    const farm = await raiseFarm(state, entry, (vm, what) => display.now(vm, what), {}, provisioner);
    farm.dom0.close();
    return { value: undefined, result: `running: ${farm.vms.map((vm) => vm.name).join(' ')}` };
  });
  return 0;
}

async function trigger(state: LocalState, dom0: AdminClient, component: string): Promise<number> {
  const answer = await giveCommand(await buildVmFor(state, dom0, component, false), `trigger ${component}`);
  process.stdout.write(`${answer}\n`);
  return /^(queued|known) /.test(answer) ? 0 : 1;
}

/** A command that needs the running farm. */
const running =
  (work: (state: LocalState, dom0: AdminClient, call: CommandCall) => Promise<number>) =>
  async (state: LocalState, call: CommandCall): Promise<number> =>
    await withDom0(state, (dom0) => work(state, dom0, call));

async function demo(
  run: (options: Omit<MainJobOptions, 'package'>) => Promise<void>,
  state: LocalState,
  call: CommandCall,
): Promise<number> {
  await run({ state, dist, display: new Display(), provisioner: provisionerOf(call) });
  return 0;
}

const provisioner: OptionRow = {
  name: 'provisioner',
  value: 'salt|manifests',
  does: 'salt lays the files of the VMs by the Salt formula, from the unpacked RPM; manifests (the default) by "build-infra provision"',
};
const json: OptionRow = { name: 'json', does: 'prints one JSON document' };

/** A row whose work needs to know where the farm lives. */
const row = ({
  work,
  ...about
}: Omit<CommandRow, 'run'> & {
  work: (state: LocalState, call: CommandCall) => Promise<number>;
}): CommandRow => ({
  ...about,
  run: async (call) => {
    await ensureRootNamespace();
    try {
      return await work(new LocalState(resolve(call.value('state') ?? join(dirname(dist), '.local'))), call);
    } catch (error) {
      if (error instanceof Misuse) throw error;
      process.stderr.write(`build-infra: ${(error as Error).message}\n`);
      return 1;
    }
  },
});

const mainJob = row({
  words: '',
  does: 'does the main job: from a signed tag to an installed, audited package',
  options: [
    { name: 'package', value: 'NAME', does: 'another Debian source package than hello' },
    { name: 'source', value: 'REPOSITORY', does: "a component of somebody's own git repository" },
    { name: 'tag', value: 'TAG', does: 'its tag, which its maintainers signed' },
    { name: 'key', value: 'FILE', does: 'their public keys; repeat' },
    provisioner,
  ],
  work: async (state, call) => {
    const package_ = call.value('package') ?? 'hello';
    await runMainJob({
      state,
      package: package_,
      ...foreignSource(call),
      dist,
      display: new Display(),
      provisioner: provisionerOf(call),
    });
    return 0;
  },
});

export const localProgram: ProgramTable = {
  name: 'npm run local --',
  does: 'the farm on one machine',
  options: [
    { name: 'state', value: 'DIR', does: 'where the farm lives (by default .local in the checkout)' },
  ],
  exit: '0 everything was done and checked, 1 something failed, 2 not understood',
  commands: [
    mainJob,
    row({
      words: 'demo-rpm',
      does: 'adds a second environment beside the first: an RPM component, from a signed tag to dnf',
      options: [provisioner],
      work: (state, call) => demo(runDemoRpm, state, call),
    }),
    row({
      words: 'demo-promotion',
      does: "shows a release team's day: from testing to current by a signed comment, a status page, issues, and what is refused",
      options: [provisioner],
      work: (state, call) => demo(runDemoPromotion, state, call),
    }),
    row({
      words: 'rebuild',
      takes: 'JOB [DIST]...',
      does: 'builds a finished job once more, from its tag, and compares every byte',
      work: running((state, dom0, { words: [job = '', ...dists] }) => rebuildJob(state, dom0, job, dists)),
    }),
    row({ words: 'up', does: 'starts the VMs and makes what is missing', options: [provisioner], work: up }),
    row({
      words: 'down',
      does: 'stops the VMs',
      options: [{ name: 'purge', does: 'also removes all that they hold' }],
      work: (state, { has }) => down(state, has('purge')),
    }),
    row({
      words: 'status',
      does: 'tells the VMs, the jobs and the last results',
      options: [json],
      work: running((state, dom0, { has }) => status(state, dom0, has('json'))),
    }),
    row({
      words: 'exec',
      takes: 'VM -- COMMAND...',
      does: 'runs a command in a VM, as user',
      options: [{ name: 'root', does: 'as root' }],
      work: running((_state, dom0, { words: [vm = ''], after, has }) =>
        exec(dom0, vm, [...after], has('root')),
      ),
    }),
    row({
      words: 'trigger',
      takes: 'COMPONENT',
      does: 'builds the newest signed tag, as a webhook or the poller would',
      work: running((state, dom0, { words: [component = ''] }) => trigger(state, dom0, component)),
    }),
    row({
      words: 'logs',
      does: 'prints the newest logs',
      options: [{ name: 'follow', short: 'f', does: 'every line as it is received' }],
      work: running((state, dom0, { has }) => logs(state, dom0, has('follow'))),
    }),
    row({
      words: 'audit',
      does: 'checks the published repositories',
      options: [json],
      work: (state, { has }) => audit(state, has('json')),
    }),
    row({ words: 'dom0', does: 'is dom0, until "down"', hidden: true, work: beDom0 }),
    {
      words: 'github-server',
      takes: 'PORT SHOWN-PORT TOKEN ACCOUNT REPOSITORY...',
      does: "serves GitHub's API to a notifier",
      hidden: true,
      run: async ({ words }) => {
        const [port, shownPort, token, account, ...repositories] = words as [
          string,
          string,
          string,
          string,
          ...string[],
        ];
        await serveGitHub({ port: Number(port), shownPort: Number(shownPort), token, account, repositories });
        return 0;
      },
    },
  ],
  elsewhere: Object.fromEntries(
    ['doctor', 'jobs', 'retry', 'withdraw'].map((word) => [
      word,
      `it is a command of a VM: npm run local -- exec --root build-debian -- build-infra ${word}`,
    ]),
  ),
};

process.exitCode = await runProgram(localProgram, process.argv.slice(2));
