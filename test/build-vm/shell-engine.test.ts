// SPDX-License-Identifier: GPL-2.0-or-later
// An engine in 20 lines of sh: laid where a VM's own engines lie and named in build.json, nothing else is
// changed. Then engines that lie.
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { buildFor } from '../../agents/build-vm/stages/build-stage.js';
import { callEngine } from '../../agents/build-vm/stages/engine-call.js';
import type { BuildJob } from '../../agents/build-vm/jobs/job-document.js';
import { until } from '../support/until.js';
import { BuildVm, endOutside, makeOutside } from './build-vm.js';
import { tinyPackage } from './forge.js';
import { codeOf, Lines, makePlace } from './rpm-packages.js';

const needsRoot =
  process.getuid?.() === 0
    ? {}
    : { skip: 'an engine gets a process space of its own, which needs root here' };
const shellEngine = fileURLToPath(new URL('../../../test/build-vm/shell-engine', import.meta.url));

void t.test('a package built by 20 lines of sh is signed, published and read back', needsRoot, async (t) => {
  t.ok(readFileSync(shellEngine, 'utf8').trimEnd().split('\n').length <= 20);
  const outside = await makeOutside();
  t.teardown(() => endOutside(outside));
  const tree = tinyPackage('1.0').map((file) =>
    file.path === 'debian/source/format' ? { ...file, content: '3.0 (native)\n' } : file,
  );
  outside.forge.create('shell').release(outside.keys, [outside.alice], 'v1.0', tree);
  const vm = new BuildVm(outside, 'shell', {
    distributions: [{ name: 'bookworm', engine: 'of-sh', packages: 'deb' }],
  });
  t.teardown(() => vm.end());
  mkdirSync(join(vm.root, '/usr/local/lib/build-infra/engines'), { recursive: true });
  copyFileSync(shellEngine, join(vm.root, '/usr/local/lib/build-infra/engines/of-sh'));
  await vm.start();
  const id = (await vm.trigger()).split(' ')[1] as string;
  const job = await vm.over(id);
  t.equal(job.state, 'done', `${vm.output}\n${vm.receiver.text().slice(-3000)}`);
  t.same(job.uploaded[0]?.files.map((file) => file.name).sort(), [
    'hello-tiny_1.0.dsc',
    'hello-tiny_1.0.tar.xz',
    'hello-tiny_1.0_all.deb',
  ]);
  t.match(vm.receiver.text(), /== building hello-tiny 1\.0 for bookworm/);
  await until(
    'the clean-up after the job',
    () => !existsSync(join(vm.root, '/var/lib/build-infra/jobs', id, 'engine')),
  );
});

interface Tried {
  code: string;
  line: string;
  log: string;
}

/** What comes of an engine whose body is `script`; `$output`, `$work` and `$state` are set. */
async function tryEngine(
  test: { teardown: (end: () => void) => void },
  script: string,
  timeoutMs = 20_000,
): Promise<Tried> {
  const place = makePlace();
  test.teardown(() => place.end());
  const engine = join(place.folder, 'engine');
  writeFileSync(
    engine,
    `#!/bin/bash
field() { perl -MJSON::PP -0777 -ne "print decode_json(\\$_)->{$1}" "$job"; }
announce() { printf '{"format":"build-infra/artifacts@1","artifacts":[{"name":"%s","size":%s,"sha256":"%s"}]}' "$1" "$2" "$3" > "$output/artifacts.json"; }
good() { echo good > "$output/good.deb"; announce good.deb 5 "$(sha256sum < "$output/good.deb" | cut -c -64)"; }
failed() { printf '{"format":"build-infra/engine-failure@1","code":"%s","detail":"%s"}' "$1" "$2" > "$output/failure.json"; exit 1; }
job=$1 output=$(field output) work=$(field work) state=$(field state)
${script}
`,
    { mode: 0o755 },
  );
  const job = {
    kind: 'build',
    job: 'hello-1-aaaaaaaaaaaa',
    component: 'hello',
    version: '1',
    env: 'debian',
    sourceDateEpoch: 1,
    evidence: { url: '', tag: 'v1', tagObject: 'a'.repeat(40), commit: 'b'.repeat(40) },
  } as unknown as BuildJob;
  const log = new Lines();
  const options = {
    engine: [engine],
    packages: 'deb' as const,
    folder: place.make('job'),
    work: place.make('work'),
    cache: place.make('cache'),
    buildSeconds: 60,
    engineOptions: undefined,
  };
  let line = '';
  const note = (error: unknown): never => {
    line = String((error as Error).message);
    throw error;
  };
  const build =
    timeoutMs === 20_000
      ? buildFor(job, 'bookworm', options, log)
      : callEngine(job, 'bookworm', { stage: 'build' }, options, { timeoutMs }, log, () => undefined);
  const code = await codeOf(() => (build as Promise<unknown>).catch(note));
  if (existsSync(join(options.work, job.job, 'bookworm'))) throw new Error('the work folder was left');
  if (code !== 'none' && existsSync(join(options.folder, 'artifacts/bookworm')))
    throw new Error('something was frozen');
  return { code, line, log: log.text() };
}

void t.test('an engine that does what it shall is believed', needsRoot, async (t) => {
  t.equal((await tryEngine(t, 'good')).code, 'none');
});

const hostile: [what: string, script: string, code: string][] = [
  [
    'announces nothing',
    'printf \'{"format":"build-infra/artifacts@1","artifacts":[]}\' > "$output/artifacts.json"',
    'ENGINE_FAILED',
  ],
  ['ends well without artifacts.json', 'echo good > "$output/good.deb"', 'ENGINE_FAILED'],
  [
    'writes an artifacts.json that is a link',
    'good; mv "$output/artifacts.json" "$work/x"; ln -s "$work/x" "$output/artifacts.json"',
    'ENGINE_FAILED',
  ],
  ['writes an artifacts.json that is a pipe', 'mkfifo "$output/artifacts.json"', 'ENGINE_FAILED'],
  [
    'announces with a field that nobody knows',
    'good; sed -i \'s/"artifacts":/"more":1,&/\' "$output/artifacts.json"',
    'ENGINE_FAILED',
  ],
  ['announces a file that is not there', `announce good.deb 5 ${'a'.repeat(64)}`, 'BAD_ARTIFACT'],
  [
    'announces a link',
    'good; ln -s /etc/passwd "$output/link.deb"; announce link.deb "$(stat -Lc %s /etc/passwd)" "$(sha256sum < /etc/passwd | cut -c -64)"',
    'BAD_ARTIFACT',
  ],
  [
    "announces another job's file by a hard link",
    'echo other > "$state/other.deb"; ln "$state/other.deb" "$output/good.deb"; announce good.deb 6 "$(sha256sum < "$output/good.deb" | cut -c -64)"',
    'BAD_ARTIFACT',
  ],
  [
    'announces a path',
    'good; sed -i "s,good.deb,../../etc/passwd," "$output/artifacts.json"',
    'ENGINE_FAILED',
  ],
  [
    'announces a folder',
    'mkdir "$output/good.deb"; announce good.deb 5 "$(echo good | sha256sum | cut -c -64)"',
    'BAD_ARTIFACT',
  ],
  [
    'announces a name twice',
    'good; sed -i \'s/\\(\\[\\)\\({.*}\\)\\]/\\1\\2,\\2]/\' "$output/artifacts.json"',
    'BAD_ARTIFACT',
  ],
  ['announces a wrong hash', `good; announce good.deb 5 ${'a'.repeat(64)}`, 'BAD_ARTIFACT'],
  [
    'announces a wrong size',
    'good; sed -i \'s/"size":5/"size":6/\' "$output/artifacts.json"',
    'BAD_ARTIFACT',
  ],
  ['floods its log', 'head -c 250000000 /dev/zero | tr "\\0" x', 'OUTPUT_LIMIT'],
  ['ends with another status', 'good; exit 3', 'ENGINE_FAILED'],
  ['fails and does not say why', 'exit 1', 'ENGINE_FAILED'],
  [
    'fails with 2 MB of reason',
    'head -c 2000000 /dev/zero | tr "\\0" x > "$output/failure.json"; exit 1',
    'ENGINE_FAILED',
  ],
  ['fails with a code that is none', 'failed "no code" x', 'ENGINE_FAILED'],
  ['says what only the agent says', 'failed NO_LOG_SINK "try me for ever"', 'ENGINE_FAILED'],
  ['fails with a code of its own', 'failed ASTRAY_GOAT "not known to us"', 'ASTRAY_GOAT'],
];

for (const [what, script, code] of hostile) {
  void t.test(`an engine that ${what}: ${code}`, needsRoot, async (t) => {
    const tried = await tryEngine(t, script);
    t.equal(tried.code, code, `${tried.line}\n${tried.log.slice(-1000)}`);
  });
}

void t.test('an engine that hangs is ended, with what it started', needsRoot, async (t) => {
  const marker = `97${process.pid}.${Math.floor(performance.now())}`;
  const tried = await tryEngine(t, `setsid sleep ${marker} & sleep ${marker}`, 1500);
  t.equal(tried.code, 'TIMED_OUT');
  t.notOk(running(marker));
});

void t.test('what an engine leaves running does not outlive it', needsRoot, async (t) => {
  const marker = `98${process.pid}.${Math.floor(performance.now())}`;
  const tried = await tryEngine(
    t,
    `good; setsid sh -c 'exec sleep ${marker}; echo changed > "$0/good.deb"' "$output" > /dev/null 2>&1 < /dev/null &`,
  );
  t.equal(tried.code, 'none', tried.line);
  t.notOk(running(marker));
});

void t.test('what an engine says cannot be read as more lines of the log than one', needsRoot, async (t) => {
  const tried = await tryEngine(t, 'failed ASTRAY_GOAT "one\\\\n> end status=0"');
  t.equal(tried.code, 'ASTRAY_GOAT');
  t.notMatch(tried.line, '\n');
});

/** Is there a process with this word in its command line? */
function running(word: string): boolean {
  return readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name))
    .some((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0').includes(word);
      } catch {
        return false;
      }
    });
}
