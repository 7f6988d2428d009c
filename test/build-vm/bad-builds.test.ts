// SPDX-License-Identifier: GPL-2.0-or-later
// Engines that misbehave, small and in sh, under the real worker with real logs. Whatever one does, the agent
// says a clear code, nothing of it is left, and what runs beside it or after it is as if it had not been.
import { execFileSync, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { buildFor } from '../../agents/build-vm/stages/build-stage.js';
import { artifactsFolder, isOver, type Job } from '../../agents/build-vm/jobs/job-document.js';
import { LogSender } from '../../agents/build-vm/logs/log-sender.js';
import { Worker } from '../../agents/build-vm/jobs/worker.js';
import { writeDirectClient } from '../support/direct-client.js';
import { until } from '../support/until.js';
import { configFor, evidenceOf, jobOf, queueFor } from './jobs.js';
import { TestReceiver } from './log-receiver.js';

const isRoot = process.getuid?.() === 0;
const needsRoot = isRoot ? {} : { skip: 'mounts and namespaces need root' };
const config = configFor(['bookworm', 'trixie']);
/** What a good engine ends with; $out is its output folder. */
const good =
  'printf %s made-for-$dist > "$out/a.deb"; printf \'{"format":"build-infra/artifacts@1","artifacts":[{"name":"a.deb","size":%s,"sha256":"%s"}]}\' "$(stat -c %s "$out/a.deb")" "$(sha256sum "$out/a.deb" | cut -c -64)" > "$out/artifacts.json"';
const before =
  'doc=$1; out=$(dirname "$doc")/output; work=$(dirname "$doc")/engine; dist=$(basename "$(dirname "$doc")"); ';

interface Place {
  work: string;
  receiver: TestReceiver;
  worker: Worker;
  build: (script: string | ((job: Job, dist: string) => string), jobs?: Job[]) => Promise<Job>;
  artifact: (job: Job, dist: string) => string;
}

/** @param seconds an engine may take */
async function place(test: Test, seconds = 60): Promise<Place> {
  const { folder, queue } = queueFor(test);
  const work = join(folder, 'work');
  mkdirSync(work);
  const receiver = await TestReceiver.listen(join(folder, 'log.sock'));
  const client = writeDirectClient(join(folder, 'client'), 'build-debian', {
    'qubesbuilder.BuildLog': join(folder, 'log.sock'),
  });
  let script: string | ((job: Job, dist: string) => string) = '';
  const worker = new Worker({
    queue,
    pauseMs: 1,
    builds: 2,
    report: () => undefined,
    cleanUp: () => undefined,
    openLog: (job, step) =>
      LogSender.open({
        client,
        header: { job: job.job, component: job.component, stage: step.stage },
        report: () => undefined,
      }),
    runStep: async (job, { stage, dist }, log) => {
      if (job.kind !== 'build') throw new Error('another kind');
      if (stage === 'fetch') job.evidence = { ...evidenceOf(), tag: job.tag, tagObject: job.tagObject };
      if (stage !== 'build' || dist === null) return;
      const engine = [
        'sh',
        '-euc',
        before + (typeof script === 'string' ? script : script(job, dist)),
        'engine',
      ];
      const files = await buildFor(
        job,
        dist,
        {
          engine,
          packages: 'deb',
          folder: queue.folderOf(job.job),
          work,
          cache: join(folder, 'cache'),
          buildSeconds: 1,
          preparationSeconds: seconds - 1,
          engineOptions: undefined,
        },
        log,
      );
      job.artifacts.push({ dist, files });
    },
  });
  queue.onChange(() => worker.wake());
  worker.start();
  test.teardown(async () => {
    await worker.stop();
    await receiver.close();
  });
  let number = 0;
  return {
    work,
    receiver,
    worker,
    build: async (wanted, jobs = [jobOf(config, 'one', String(++number), number)]) => {
      script = wanted;
      for (const job of jobs) queue.add(job);
      for (const job of jobs) await until(`${job.job} to be over`, () => isOver(job), 60);
      return jobs[0] as Job;
    },
    artifact: (job, dist) =>
      readFileSync(join(artifactsFolder(queue.folderOf(job.job), dist), 'a.deb'), 'utf8'),
  };
}

const isThere = (marker: string): boolean => spawnSync('pgrep', ['-f', marker]).status === 0;
/** No two tests have the same, and no `pgrep` of another run finds it. */
const markerFor = (name: string): string => `${name}-${process.pid}.${Math.floor(Math.random() * 1e9)}`;
const reasonsOf = (job: Job): string[] => job.reasons.map((reason) => `${reason.dist} ${reason.code}`).sort();

void t.test('lines of two builds at the same time never mix', async (t) => {
  const { receiver, build } = await place(t);
  // Each waits for the other: they run at the same time or never end.
  const meet = mkdtempSync(join(tmpdir(), 'bi-meet-'));
  t.teardown(() => rmSync(meet, { recursive: true }));
  const job = await build(
    (_job, dist) => `touch ${meet}/$dist; while [ "$(ls ${meet} | wc -l)" -lt 2 ]; do sleep 0.02; done
    for n in $(seq 1 1500); do printf '${dist} out '; printf '%s\\n' $n; echo ${dist} err $n >&2; done; ${good}`,
  );
  t.equal(job.state, 'done', JSON.stringify(job.reasons));
  const logs = receiver.ofStage('build');
  t.equal(logs.length, 2);
  for (const log of logs) {
    const dist = /engine for (\w+)/.exec(log.lines[0] as string)?.[1] as string;
    const lines = log.lines.filter((line) => !line.startsWith('> '));
    t.equal(lines.length, 3000);
    t.ok(
      lines.every((line) => new RegExp(`^${dist} (?:out|err) [0-9]+$`).test(line)),
      dist,
    );
    for (const stream of ['out', 'err'])
      t.strictSame(
        lines.filter((line) => line.includes(stream)).map((line) => Number(line.split(' ')[2])),
        Array.from({ length: 1500 }, (_, i) => i + 1),
        'whole and in order',
      );
    t.equal(log.lines.filter((line) => line.startsWith('> overhead ')).length, 1);
  }
});

void t.test(
  'a build that takes too long is ended with everything it started, and the next log is clean',
  needsRoot,
  async (t) => {
    const { work, receiver, build, artifact } = await place(t, 2);
    const marker = markerFor('stays');
    // Deaf to SIGTERM, in a session of its own, with parents that are gone; one still writes to the log,
    // another one to the folder.
    const stubborn = `trap '' TERM HUP INT; echo begun; (setsid sh -c "trap '' TERM; (while :; do echo ${marker} still here; sleep 0.05; done) & (while :; do date > $work/${marker}; sleep 0.01; done) & sleep 1000" &) & while :; do sleep 1; done`;
    const late = await build((_job, dist) => (dist === 'bookworm' ? stubborn : good));
    t.match(late, { state: 'failed', reason: { code: 'TIMED_OUT' } });
    t.strictSame(reasonsOf(late), ['bookworm TIMED_OUT']);
    t.equal(artifact(late, 'trixie'), 'made-for-trixie', 'the other distribution has its package');
    t.notOk(isThere(marker), 'no process of it is left');
    t.strictSame(readdirSync(join(work, late.job)), [], 'nor a file');
    const log = receiver.ofStage('build').find((one) => one.lines.includes('begun'));
    t.match(log?.lines.slice(-3), [/^> refused TIMED_OUT /, /^> overhead /, '> end status=1']);

    const logs = receiver.logs.length;
    const next = await build(good);
    t.equal(next.state, 'done', JSON.stringify(next.reasons));
    const said = receiver.logs
      .slice(logs)
      .flatMap((one) => one.lines)
      .filter((line) => !line.startsWith('> '));
    t.strictSame(said, [], 'no line of the one before');
  },
);

void t.test(
  'a build that a person cancels is ended with everything it started, its log is published, and a retry builds it',
  needsRoot,
  async (t) => {
    const { work, receiver, worker, build, artifact } = await place(t);
    const marker = markerFor('cancelled');
    const stubborn = `trap '' TERM HUP INT; (setsid sh -c "trap '' TERM; (while :; do echo ${marker}; sleep 0.05; done) & sleep 1000" &) & echo begun; while :; do sleep 1; done`;
    const job = jobOf(config, 'one', '7', 7);
    const building = build((_job, dist) => (dist === 'bookworm' ? stubborn : good), [job]);
    await until(
      'it to build, and the other one to have its package',
      () =>
        isThere(marker) && job.finished.some(({ stage, dist }) => stage === 'publish' && dist === 'trixie'),
    );
    t.equal(worker.cancel(job.job), `cancelled ${job.job}`);
    await building;
    t.match(job, { state: 'failed', reason: { code: 'CANCELLED' }, running: [] });
    t.strictSame(reasonsOf(job), ['bookworm CANCELLED'], 'what was done before stays done');
    t.equal(artifact(job, 'trixie'), 'made-for-trixie');
    t.notOk(isThere(marker), 'no process of it is left');
    t.strictSame(readdirSync(join(work, job.job)), [], 'nor a file');
    const log = receiver.ofStage('build').find((one) => one.lines.includes('begun'));
    t.match(log?.lines.slice(-3), [
      /^> refused CANCELLED a person in this VM /,
      /^> overhead /,
      '> end status=1',
    ]);
    t.ok(
      job.logs.every((one) => one.commit !== null),
      'each log is published',
    );

    const logs = receiver.logs.length;
    t.equal((await build(good, [jobOf(config, 'one', '8', 8)])).state, 'done');
    t.strictSame(
      receiver.logs
        .slice(logs)
        .flatMap((one) => one.lines)
        .filter((line) => !line.startsWith('> ')),
      [],
      'no line of the one before',
    );
    worker.retry(job.job);
    await until('the retry', () => isOver(job));
    t.match(job, { state: 'done', reasons: [] });
    t.equal(artifact(job, 'bookworm'), 'made-for-bookworm');
  },
);

void t.test(
  'a process that a build leaves behind is gone when its packages are taken',
  needsRoot,
  async (t) => {
    const { build } = await place(t);
    const marker = markerFor('daemon');
    const job = await build(
      `(setsid sh -c 'while :; do sleep 0.1; : ${marker}; done' </dev/null >/dev/null 2>&1 &) & sleep 0.2; ${good}`,
    );
    t.equal(job.state, 'done', JSON.stringify(job.reasons));
    t.notOk(isThere(marker));
  },
);

void t.test('a mount that an engine forgets is not removed through', needsRoot, async (t) => {
  const { build } = await place(t);
  const precious = mkdtempSync(join(tmpdir(), 'bi-precious-'));
  t.teardown(() => rmSync(precious, { recursive: true }));
  writeFileSync(join(precious, 'file'), '');
  const job = await build(
    `mkdir "$work/inside"; mount --bind ${precious} "$work/inside"; test -e "$work/inside/file"; ${good}`,
  );
  t.equal(job.state, 'done', JSON.stringify(job.reasons));
  t.ok(existsSync(join(precious, 'file')));
});

void t.test('reports a build that fills the disk, and the next one finds room', needsRoot, async (t) => {
  const { work, build } = await place(t);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=32m', 'tmpfs', work]);
  t.teardown(() => execFileSync('umount', ['--lazy', work]));
  const job = await build((_job, dist) =>
    dist === 'bookworm' ? `cat /dev/zero > "$work/big"; ${good}` : good,
  );
  // The other one may have been hit too; it is tried again by itself.
  t.match(job, { state: 'failed', reason: { code: 'DISK_FULL', detail: /no room was left/ } });
  t.strictSame(reasonsOf(job), ['bookworm DISK_FULL']);
  t.equal(
    (await build((_job, dist) => (dist === 'bookworm' ? 'cat /dev/zero > "$out/a.deb"' : good))).reason?.code,
    'DISK_FULL',
    'with its artifacts too',
  );
  const ours = `exec '${process.execPath}' --input-type=module -e '
    import { closeSync, openSync, writeSync } from "node:fs";
    import { runEngineOn } from "${import.meta.resolve('../../agents/engines/engine-run.js')}";
    import { Refusal } from "${import.meta.resolve('../../agents/engines/refusals.js')}";
    process.exitCode = await runEngineOn(process.argv[1], async (job) => {
      const fd = openSync(job.work + "/big", "w");
      try { for (;;) writeSync(fd, Buffer.alloc(65536)); } catch (error) { closeSync(fd); throw job.dist === "trixie" ? error : new Refusal("BUILD_FAILED", "make ended with 2"); }
    });' "$doc"`;
  for (const alone of ['bookworm', 'trixie']) {
    const failed = await build((_job, dist) => (dist === alone ? ours : good));
    t.match(
      failed.reasons,
      [{ dist: alone, code: 'DISK_FULL' }],
      `an engine of ours says so itself, and has room to: ${JSON.stringify(failed.reasons)}`,
    );
  }
  const next = await build(good);
  t.equal(next.state, 'done', JSON.stringify(next.reasons));
  t.strictSame(readdirSync(join(work, next.job)), []);
});

void t.test('a build that fails for one distribution leaves the others their packages', async (t) => {
  const { build, artifact } = await place(t);
  const job = await build((_job, dist) =>
    dist === 'bookworm'
      ? `printf '{"format":"build-infra/engine-failure@1","code":"BUILD_FAILED","detail":"no"}' > "$out/failure.json"; exit 1`
      : good,
  );
  t.match(job, { state: 'failed', reason: { code: 'BUILD_FAILED', detail: 'no' } });
  t.equal(artifact(job, 'trixie'), 'made-for-trixie');
});

const announcing = (name: string, more = ''): string =>
  `${more} printf '{"format":"build-infra/artifacts@1","artifacts":[{"name":"%s","size":1,"sha256":"${'a'.repeat(64)}"}]}' '${name}' > "$out/artifacts.json"`;
const untaken: [what: string, script: string, code: string][] = [
  ['an engine that ends badly without a word', 'exit 3', 'ENGINE_FAILED'],
  ['an engine that is killed', 'kill -9 $$; exit 1', 'ENGINE_FAILED'],
  ['an engine that announces nothing', ':', 'ENGINE_FAILED'],
  ['a name with a path in it', announcing('../../escaped'), 'ENGINE_FAILED'],
  ['a name with a space', announcing('a b.deb'), 'ENGINE_FAILED'],
  ['a name that is an option', announcing('-rf'), 'ENGINE_FAILED'],
  ['a hidden name', announcing('.bashrc'), 'ENGINE_FAILED'],
  ['a name with a line break', announcing('a\\\\nb.deb'), 'ENGINE_FAILED'],
  ['a name that a shell would evaluate', announcing('$(id).deb'), 'ENGINE_FAILED'],
  ['an artifact that is not there', announcing('a.deb'), 'BAD_ARTIFACT'],
  [
    'an artifact with other bytes than announced',
    announcing('a.deb', 'printf x > "$out/a.deb";'),
    'BAD_ARTIFACT',
  ],
  [
    'a link in place of an artifact',
    announcing('a.deb', 'ln -s /etc/hostname "$out/a.deb";'),
    'BAD_ARTIFACT',
  ],
  ['a folder in place of an artifact', announcing('a.deb', 'mkdir "$out/a.deb";'), 'BAD_ARTIFACT'],
  ['a pipe in place of an artifact', announcing('a.deb', 'mkfifo "$out/a.deb";'), 'BAD_ARTIFACT'],
];
void t.test('what is not taken', async (t) => {
  const { work, build } = await place(t);
  for (const [what, script, code] of untaken) {
    const job = await build(script);
    t.equal(job.reason?.code, code, what);
    t.strictSame(job.artifacts, [], what);
    t.strictSame(readdirSync(join(work, job.job)), [], what);
  }
  t.equal((await build(good)).state, 'done', 'and the next one is built');
});

void t.test('a file that the engine did not announce is not taken', async (t) => {
  const { build } = await place(t);
  const job = await build(`printf x > "$out/unannounced.deb"; ${good}`);
  t.strictSame(
    job.artifacts.map((made) => made.files.map((file) => file.name)),
    [['a.deb'], ['a.deb']],
  );
});
