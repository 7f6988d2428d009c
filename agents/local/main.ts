// SPDX-License-Identifier: GPL-2.0-or-later
// `npm run local`: the farm on one machine. Exit 0 only if every post-condition was checked; 1 where something failed, 2 for a wrong command line.
import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { connectDom0, raiseFarm } from './farm/farm.js';
import { envOf, envsOf, LocalState } from './farm/local-state.js';
import { SandboxedMachine } from './farm/sandboxed-machine.js';
import { giveCommand, readBuildStatus, withDist } from './job/build-watch.js';
import { Display } from './job/display.js';
import { LogTail } from './job/log-tail.js';
import { runDemoPromotion } from './job/demo-promotion.js';
import { runDemoRpm } from './job/demo-rpm.js';
import { auditArguments, publishedEnvs, runMainJob } from './job/main-job.js';
import { rebuild, rebuiltLine } from './job/rebuild.js';
import type { ForeignSource } from './outside/foreign-source.js';
import { serveGitHub } from './outside/github-server/serve.js';
import { planFarm } from './provision/planned-farm.js';
import { buildVmOf } from './provision/vms.js';
import { bySalt } from './provision-by-salt/farm-provisioner.js';
import { spawnInVm, type AdminClient } from './qrexec/admin-client.js';
import { Dom0 } from './qrexec/dom0.js';
import { ensureRootNamespace } from './vm/root-namespace.js';

const usage = `usage: npm run local                      the main job: from a signed tag to an installed, audited package
       npm run local -- --package NAME       the same with another Debian source package
       npm run local -- --source REPOSITORY --tag TAG --key FILE...
                                             the same with a component of somebody's own git repository, by the tag that its maintainers signed
       npm run local -- demo-rpm             a second environment beside the first: an RPM component, from a signed tag to dnf
       npm run local -- demo-promotion       a release team's day: from testing to current by a signed comment, a status page, issues, and what is refused
       npm run local -- rebuild JOB [DIST]   build a finished job once more, from its tag, and compare every byte
       npm run local -- up                   start the VMs, make what is missing
       npm run local -- down [--purge]       stop them; --purge also removes all they hold
       npm run local -- status               VMs, jobs, last results
       npm run local -- exec VM -- CMD...    run a command in a VM, as user (--root: as root)
       npm run local -- trigger COMPONENT    build the newest signed tag, as a webhook or the poller would
       npm run local -- logs [-f]            the newest logs; -f: every line as it is received
       npm run local -- audit [--json]       check the published repositories
       npm run local -- --help

  --state DIR         where the farm lives (by default .local in the checkout)
  --provisioner salt  lay the VMs' files by the Salt formula, from the unpacked RPM, instead of "build-infra provision" (main job and up)
`;

const dist = dirname(fileURLToPath(import.meta.url));

class Usage extends Error {}

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

async function status(state: LocalState, dom0: AdminClient): Promise<number> {
  process.stdout.write('VM            state     network\n');
  for (const vm of await dom0.list()) process.stdout.write(`${vm.name.padEnd(13)} ${vm.state.padEnd(9)} ${vm.netvm ?? 'none'}\n`);
  process.stdout.write('\njobs\n');
  for (const env of envsOf(await state.settings())) jobsOf(new SandboxedMachine(dom0, buildVmOf(env), state.rootOf(buildVmOf(env))));
  return 0;
}

function jobsOf(build: SandboxedMachine): void {
  const jobs = readBuildStatus(build);
  for (const step of jobs?.running ?? []) process.stdout.write(`  running  ${step.job}  ${withDist(step.stage, step.dist)}\n`);
  for (const job of jobs?.queue ?? []) process.stdout.write(`  queued   ${job.job}${job.waiting.map((chain) => ` (${withDist('waits', chain.dist)}: ${chain.code} ${chain.detail})`).join('')}\n`);
  for (const job of (jobs?.recent ?? []).slice(0, 10)) process.stdout.write(`  ${job.state.padEnd(8)} ${job.job}${job.reason === null ? '' : `  ${job.reason.code} ${job.reason.detail}`}\n`);
  if (jobs === undefined || jobs.running.length + jobs.queue.length + jobs.recent.length === 0) process.stdout.write(`  none in ${build.name}\n`);
}

/** The build VM that a word of a person is for: by the component, or by the job that begins with its name. */
async function buildVmFor(state: LocalState, dom0: AdminClient, word: string, isJob: boolean): Promise<SandboxedMachine> {
  const settings = await state.settings();
  const component = isJob ? settings.rpmComponents?.find((name) => word.startsWith(`${name}-`)) ?? word : word;
  const name = buildVmOf(envOf(settings, component));
  return new SandboxedMachine(dom0, name, state.rootOf(name));
}

async function rebuildJob(state: LocalState, dom0: AdminClient, job: string, dists: readonly string[]): Promise<number> {
  const done = await rebuild(await buildVmFor(state, dom0, job, true), job, dists, (line) => process.stdout.write(`${line}\n`));
  process.stdout.write(`\n${rebuiltLine(done)}\n`);
  return 0;
}

async function exec(dom0: AdminClient, vm: string, command: string[], root: boolean): Promise<number> {
  const child = await spawnInVm(dom0, vm, { argv: command, user: root ? 'root' : 'user', tty: process.stdin.isTTY && process.stdout.isTTY, env: { TERM: process.env['TERM'] ?? 'dumb' } });
  return await new Promise((end) => child.once('close', (code) => end(code ?? 255)));
}

/** The newest published logs, whole, and then with -f every line as it is received. A published log is no file of the logs VM any more. */
async function logs(state: LocalState, dom0: AdminClient, follow: boolean): Promise<number> {
  const newest = `cd /var/lib/build-infra/repository.git; for path in $(git ls-tree -r --name-only main | grep '/log_' | sort -t / -k 3 | tail -n 4); do
  echo "==> $path"; case $path in *.xz) git show "main:$path" | xz -dc ;; *) git show "main:$path" ;; esac; done`;
  const shown = await new SandboxedMachine(dom0, 'build-logs', state.rootOf('build-logs')).run(['sh', '-c', newest]);
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
  const args = auditArguments({ settings, pillar: planFarm({ file: state.pillarFile }).pillar }, publishedEnvs(state, settings));
  const child = spawn(process.execPath, [join(dist, 'build-infra.mjs'), 'audit', ...args, ...(json ? ['--json'] : [])], { stdio: 'inherit' });
  return await new Promise((end) => child.once('close', (code) => end(code ?? 2)));
}

function foreignSource({ source: repository, tag, key: keyFiles }: { source?: string; tag?: string; key?: string[] }): { source?: ForeignSource } {
  if (repository === undefined && tag === undefined && keyFiles === undefined) return {};
  if (repository === undefined || tag === undefined || keyFiles === undefined) throw new Usage('--source, --tag and --key go together');
  return { source: { repository, tag, keyFiles } };
}

async function run(argv: string[]): Promise<number> {
  const separator = argv.indexOf('--');
  const command = separator < 0 ? [] : argv.slice(separator + 1);
  let parsed;
  try {
    parsed = parseArgs({
      args: separator < 0 ? argv : argv.slice(0, separator), strict: true, allowPositionals: true,
      options: {
        state: { type: 'string' }, package: { type: 'string', default: 'hello' }, source: { type: 'string' }, tag: { type: 'string' }, key: { type: 'string', multiple: true }, help: { type: 'boolean', short: 'h' }, follow: { type: 'boolean', short: 'f' },
        provisioner: { type: 'string' }, json: { type: 'boolean' }, purge: { type: 'boolean' }, root: { type: 'boolean' },
      },
    });
  } catch (error) {
    throw new Usage((error as Error).message);
  }
  const { values, positionals: [verb, ...words] } = parsed;
  if (values.help === true) {
    process.stdout.write(usage);
    return 0;
  }
  if (![undefined, 'salt', 'manifests'].includes(values.provisioner)) throw new Usage(`--provisioner is salt or manifests, not ${values.provisioner}`);
  const provisioner = values.provisioner === 'salt' ? bySalt : undefined;
  if (verb === 'github-server') {
    const [port, shownPort, token, account, ...repositories] = words as [string, string, string, string, ...string[]];
    await serveGitHub({ port: Number(port), shownPort: Number(shownPort), token, account, repositories });
    return 0;
  }
  await ensureRootNamespace();
  const state = new LocalState(resolve(values.state ?? join(dirname(dist), '.local')));
  const nothingMore = (): void => {
    if (words.length > 0) throw new Usage(`${verb ?? ''} takes no further words: ${words.join(' ')}`);
  };
  switch (verb) {
    case undefined:
      await runMainJob({ state, package: values.package, ...foreignSource(values), dist, display: new Display(), provisioner });
      return 0;
    case 'up': {
      nothingMore();
      const display = new Display();
      await display.step('The farm: VMs, keys made inside them, policy', async () => {
        const farm = await raiseFarm(state, join(dist, 'local.mjs'), (vm, what) => display.now(vm, what), {}, provisioner);
        farm.dom0.close();
        return { value: undefined, result: `running: ${farm.vms.map((vm) => vm.name).join(' ')}` };
      });
      return 0;
    }
    case 'down': nothingMore(); return await down(state, values.purge === true);
    case 'status': nothingMore(); return await withDom0(state, (dom0) => status(state, dom0));
    case 'exec': {
      const [vm, ...more] = [...words, ...command];
      if (vm === undefined || more.length === 0) throw new Usage('exec needs a VM and a command: exec VM -- CMD...');
      return await withDom0(state, (dom0) => exec(dom0, vm, more, values.root === true));
    }
    case 'trigger': {
      if (words[0] === undefined || words.length > 1) throw new Usage('trigger needs one component');
      const component = words[0];
      const answer = await withDom0(state, (dom0) => buildVmFor(state, dom0, component, false).then((build) => giveCommand(build, `trigger ${component}`)));
      process.stdout.write(`${answer}\n`);
      return /^(queued|known) /.test(answer) ? 0 : 1;
    }
    case 'demo-rpm':
      nothingMore();
      await runDemoRpm({ state, dist, display: new Display(), provisioner });
      return 0;
    case 'demo-promotion':
      nothingMore();
      await runDemoPromotion({ state, dist, display: new Display(), provisioner });
      return 0;
    case 'rebuild': {
      const [job, ...dists] = words;
      if (job === undefined) throw new Usage('rebuild needs a job');
      return await withDom0(state, (dom0) => rebuildJob(state, dom0, job, dists));
    }
    case 'logs': nothingMore(); return await withDom0(state, (dom0) => logs(state, dom0, values.follow === true));
    case 'audit': nothingMore(); return await audit(state, values.json === true);
    case 'dom0': return await beDom0(state);
    default: throw new Usage(`unknown command ${verb}`);
  }
}

try {
  process.exitCode = await run(process.argv.slice(2));
} catch (error) {
  const wrong = error instanceof Usage;
  process.stderr.write(`build-infra: ${(error as Error).message}\n${wrong ? usage : ''}`);
  process.exitCode = wrong ? 2 : 1;
}
