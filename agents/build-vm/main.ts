// SPDX-License-Identifier: GPL-2.0-or-later
// The build VM's agent. `build-agent` serves; `build-agent engine debian|rpm|qubesbuilderv2 <job document>`
// is an engine (docs/engines.md); `read-back` is for the gpg client (publication/read-back-command.ts).
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { Misuse, type ProgramTable } from '../shared/command-line/program.js';
import { runProgram } from '../shared/command-line/run-program.js';
import { startOrSay } from '../shared/calls/agent-start.js';
import { makeFolder } from '../shared/durable-files.js';
import { plainNamePattern } from '../shared/formats/names.js';
import { printable } from '../shared/refusal.js';
import { Refusal } from './refusals.js';
import { reportToStderr, serveSockets, type Service } from '../shared/calls/socket-service.js';
import { startRenewals } from './repositories/apt/renewals.js';
import { watchCommands } from './jobs/command-spool.js';
import { readConfig } from './configuration/config.js';
import { runEngine as runDebianEngine } from '../engines/debian/engine.js';
import { listRemoteTags } from './source/git.js';
import { commandService } from './github-command/service.js';
import { openGpgDoor } from './gpg-door/door.js';
import { isAboutPackages } from './jobs/job-document.js';
import { JobQueue } from './jobs/job-queue.js';
import { LogSender } from './logs/log-sender.js';
import { LogTails } from './logs/log-tails.js';
import { NewestTags } from './triggers/newest-tags.js';
import { pruneOldJobs } from './jobs/old-jobs.js';
import { Outbox } from './outbox/outbox.js';
import { pathsUnder } from './configuration/paths.js';
import { runReadBack } from './publication/read-back-command.js';
import { runEngine as runBuilderEngine } from '../engines/qubesbuilder/engine.js';
import { runEngine as runRpmEngine } from '../engines/rpm/engine.js';
import { SuiteJobs } from './promotion/suite-jobs.js';
import { WithdrawnVersions } from './promotion/withdrawn-versions.js';
import { startPoller } from './triggers/poller.js';
import { runRebuild } from './stages/rebuild.js';
import { cleanUpJob, runStage } from './stages/stage-runner.js';
import { uploadPage } from './status-page/page-upload.js';
import { neededKeys } from './status-page/needed-keys.js';
import { StatusPage } from './status-page/status-page.js';
import { statusOf, writeStatus } from './jobs/status-file.js';
import { Trigger, triggerLine } from './triggers/trigger.js';
import { Worker } from './jobs/worker.js';
import { rootPrefix } from '../shared/root-prefix.js';

const listTimeoutMs = 60_000;
const outboxAgainMs = 300_000;

/** A second agent on the same state would do each job twice. */
function refuseSecondAgent(lock: string): void {
  const other = existsSync(lock) ? Number(readFileSync(lock, 'utf8')) : 0;
  if (other <= 0 || other === process.pid) return;
  try {
    if (readFileSync(`/proc/${other}/cmdline`, 'latin1') !== readFileSync('/proc/self/cmdline', 'latin1'))
      return;
  } catch {
    return;
  }
  throw new Refusal('ALREADY_RUNNING', `process ${other} is this VM's agent`);
}

async function serve(): Promise<void> {
  const report = reportToStderr;
  const paths = pathsUnder(rootPrefix);
  const config = readConfig(paths.config);
  for (const folder of [paths.state, paths.work, paths.cache, paths.apt, paths.dnf]) makeFolder(folder);
  refuseSecondAgent(`${paths.state}/agent.pid`);
  writeStatus(`${paths.state}/agent.pid`, process.pid);
  // Left by a kill; nothing here is needed again.
  rmSync(paths.work, { recursive: true, force: true });
  makeFolder(paths.work);

  const started = new Date();
  const queue = new JobQueue(paths.jobs, paths.highest);
  pruneOldJobs(queue);
  const told = () => queue.all().filter(isAboutPackages);
  const newestTags = new NewestTags({ folder: paths.newestTags, report });
  const keys = await neededKeys(config, paths.publicKeys, started);
  const page = new StatusPage({
    folder: paths.statusPage,
    report,
    state: () => ({
      config,
      keys,
      jobs: told(),
      renewals: queue.all().filter(({ kind }) => kind === 'renewal'),
      listing: (component) => newestTags.get(component),
      highest: (component) => queue.highest(component),
    }),
    upload:
      config.statusPage &&
      ((generation) =>
        uploadPage(generation, config.statusPage as NonNullable<typeof config.statusPage>, paths.sshConfig)),
  });
  const trigger = new Trigger({
    config,
    queue,
    newestTags,
    listTags: (url) => listRemoteTags(url, { sshConfig: paths.sshConfig, timeoutMs: listTimeoutMs }),
  });
  const withdrawn = new WithdrawnVersions(paths.withdrawn);
  const suiteJobs = new SuiteJobs({ config, queue, withdrawn });
  const tails = new LogTails();
  const outbox = new Outbox({
    outbox: paths.outbox,
    told: paths.told,
    report,
    excerptOf: (job, stage, dist) => tails.of(job, stage, dist),
  });
  const worker = new Worker({
    queue,
    report,
    openLog: async (job, step) => {
      const log = await LogSender.open({
        client: paths.qrexecClient,
        header: { job: job.job, component: job.component, stage: step.stage },
        report,
      });
      return tails.remember(log, job.job, step.stage, step.dist);
    },
    runStep: (job, step, log) => runStage(job, step, log, { config, paths, queue, withdrawn }),
    cleanUp: (job) => cleanUpJob(job, queue),
  });
  const tellStatus = (): void => {
    try {
      writeStatus(paths.status, statusOf(queue.all(), started, new Date()));
    } catch (error) {
      // A full disk must not keep a job from being done.
      report(`status.json could not be written: ${printable(String(error))}`);
    }
  };
  queue.onChange(() => {
    tellStatus();
    outbox.consider(told());
    worker.wake();
    page.changed();
  });
  newestTags.onChange(() => page.changed());
  tellStatus();
  outbox.prune();
  outbox.consider(told());
  // What could not be written is made good also when no job changes.
  setInterval(() => {
    outbox.prune();
    outbox.consider(told());
  }, outboxAgainMs).unref();

  const triggerBuild: Service = {
    name: 'qubesbuilder.TriggerBuild',
    argument: plainNamePattern,
    handle: async ({ argument, source, stream }) => {
      stream.resume();
      const answer = await trigger.trigger(argument);
      report(`qubesbuilder.TriggerBuild+${argument} from ${source}: ${answer.kind} ${answer.job}`);
      stream.end(triggerLine(answer));
    },
  };
  const githubCommand = commandService({
    config,
    paths,
    queue,
    report,
    promotions: suiteJobs,
    answer: (record) => outbox.refuse(config.env, record),
    build: async (component) => (await trigger.trigger(component)).job,
    retry: (job) => void worker.retry(job),
  });
  makeFolder(paths.sockets);
  await serveSockets([triggerBuild, githubCommand], { folder: paths.sockets, report, callers: 1 });
  await openGpgDoor(rootPrefix, report);
  const commands = watchCommands(
    paths.spool,
    paths.answers,
    {
      trigger: async (component) => triggerLine(await trigger.trigger(component)),
      retry: async (job) => `${worker.retry(job)}\n`,
      cancel: async (job) => `${worker.cancel(job)}\n`,
      withdraw: async (component, version) => `queued ${suiteJobs.withdraw(component, version)}\n`,
    },
    report,
  );
  await commands.ready;
  startPoller({
    components: config.components.map((component) => component.name),
    trigger,
    pollSeconds: config.pollSeconds,
    report,
  });
  startRenewals({ config, queue, repositories: `${paths.apt}/${config.env}`, report });
  worker.start();
  page.changed();
  report(`build-infra agent of ${config.vm}: ready`);
}

const engines = new Map([
  ['debian', runDebianEngine],
  ['rpm', runRpmEngine],
  ['qubesbuilderv2', runBuilderEngine],
]);

async function runEngine(name: string, document: string): Promise<number> {
  const engine = engines.get(name);
  if (engine === undefined)
    throw new Misuse(`there is no engine "${name}": ${[...engines.keys()].join(', ')}`);
  return await engine(document);
}

async function rebuild(job: string, dists: readonly string[]): Promise<number> {
  const paths = pathsUnder(rootPrefix);
  return await runRebuild(job, {
    config: readConfig(paths.config),
    paths,
    ...(dists.length === 0 ? {} : { dists }),
  });
}

const program: ProgramTable = {
  name: 'build-agent',
  does: 'the agent of a build VM; systemd starts it, without arguments',
  commands: [
    {
      words: 'engine',
      takes: 'ENGINE JOB-DOCUMENT',
      does: 'runs one step of an engine (docs/engines.md)',
      run: ({ words: [name = '', document = ''] }) => runEngine(name, document),
    },
    {
      words: 'rebuild',
      takes: 'JOB [DIST]...',
      does: 'builds a finished job once more, from its tag, and compares every byte',
      run: ({ words: [job = '', ...dists] }) => rebuild(job, dists),
    },
    {
      words: 'read-back',
      takes: 'URL LOGS-KEY VM COMMIT SIZE SHA256',
      does: 'reads the public record at its URL',
      hidden: true,
      run: ({ words }) => runReadBack(words, rootPrefix),
    },
  ],
};

if (process.argv.length === 2) startOrSay('build agent', serve);
else process.exitCode = await runProgram(program, process.argv.slice(2));
