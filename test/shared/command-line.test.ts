// SPDX-License-Identifier: GPL-2.0-or-later
// The tables of our programs, and what a person meets who types something: help, version, errors, man page,
// completion, a pipe that ends.
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { bashCompletion } from '../../agents/shared/command-line/completion.js';
import { manPage } from '../../agents/shared/command-line/man-page.js';
import { nearest } from '../../agents/shared/command-line/nearest.js';
import type { ProgramTable } from '../../agents/shared/command-line/program.js';
import { runProgram, wordCounts } from '../../agents/shared/command-line/run-program.js';
import { Refusal } from '../../agents/shared/refusals.js';

const top = join(dirname(fileURLToPath(import.meta.url)), '../../..');
const { version } = JSON.parse(readFileSync(join(top, 'package.json'), 'utf8')) as { version: string };

interface Ran {
  status: number;
  out: string;
  complaint: string;
}

/** What a program made for this test answers. Its commands print what they understood. */
async function answer(...argv: string[]): Promise<Ran> {
  const ran = { status: -1, out: '', complaint: '' };
  const out = (text: string): void => void (ran.out += text);
  const program: ProgramTable = {
    name: 'farm',
    does: 'tests a table',
    options: [{ name: 'state', value: 'DIR', does: 'where' }],
    commands: [
      {
        words: 'jobs',
        does: 'lists jobs',
        where: 'in a VM',
        options: [
          { name: 'component', value: 'NAME', does: 'only these' },
          { name: 'json', short: 'j', does: 'as JSON' },
        ],
        run: (call) => {
          out(
            JSON.stringify([
              call.has('json'),
              call.values('component'),
              call.value('state') ?? null,
              call.words,
            ]),
          );
          return 0;
        },
      },
      {
        words: 'jobs show',
        takes: 'JOB [DIST]...',
        does: 'shows one',
        run: ({ words }) => (out(words.join('|')), 3),
      },
      {
        words: 'exec',
        takes: 'VM -- COMMAND...',
        does: 'runs',
        run: ({ words, after }) => (out([...words, ...after].join('|')), 0),
      },
      {
        words: 'refuse',
        does: 'says no',
        run: () => Promise.reject(new Refusal('TIMED_OUT', 'there is nothing')),
      },
      { words: 'break', does: 'fails', run: () => Promise.reject(new Error('a \u001b[31mfault')) },
      { words: 'secret', does: 'is not for people', hidden: true, run: () => 0 },
    ],
    elsewhere: { audit: 'run it elsewhere' },
  };
  const status = await runProgram(program, argv, { out, complain: (text) => void (ran.complaint += text) });
  return { ...ran, status };
}

await t.test('a line that is understood reaches its command, whatever the order', async (t) => {
  t.strictSame(await answer('jobs', '--component', 'a', '--json', '--component=b'), {
    status: 0,
    complaint: '',
    out: '[true,["a","b"],null,[]]',
  });
  t.strictSame((await answer('--state', 'there', '-j', 'jobs')).out, '[true,[],"there",[]]');
  t.match(await answer('jobs', 'show', 'x'), { status: 3, out: 'x' });
  t.match(await answer('jobs', 'show', 'x', 'y', 'z'), { status: 3, out: 'x|y|z' });
  t.match(await answer('exec', 'vm', '--', 'ls', '--json', '-x'), { status: 0, out: 'vm|ls|--json|-x' });
  t.strictSame(
    [
      wordCounts(),
      wordCounts('A B'),
      wordCounts('A [B]'),
      wordCounts('[A]...'),
      wordCounts('A...'),
      wordCounts('A -- B...'),
    ],
    [
      { least: 0, most: 0 },
      { least: 2, most: 2 },
      { least: 1, most: 2 },
      { least: 0, most: Infinity },
      { least: 1, most: Infinity },
      { least: 1, most: 1 },
    ],
  );
});

const misuses: [string[], string][] = [
  [[], 'farm: a command is missing: one of jobs, exec, refuse, break'],
  [['jbos'], 'farm: there is no command "jbos"; the nearest is "jobs"'],
  [['job'], 'farm: there is no command "job"; the nearest is "jobs"'],
  [['frobnicate'], 'farm: there is no command "frobnicate"'],
  [['secrte'], 'farm: there is no command "secrte"'],
  [['\u001b[2J'], 'farm: there is no command ".[2J"'],
  [['jobs', 'shwo', 'x'], 'farm: "jobs" has no command "shwo"; the nearest is "show"'],
  [['jobs', 'show'], 'farm jobs show: JOB [DIST]... is missing'],
  [['jobs', '--cmponent', 'x'], 'farm: there is no option --cmponent; the nearest is --component'],
  [['jobs', '-x'], 'farm: there is no option -x'],
  [['jobs', 'show', 'x', '--json'], 'farm jobs show: there is no option --json'],
  [['jobs', '--component'], 'farm jobs: --component needs a value: NAME'],
  [['jobs', '--component='], 'farm jobs: --component needs a value: NAME'],
  [['jobs', '--component', '--json'], 'farm jobs: --component needs a value: NAME'],
  [['jobs', '--json=yes'], 'farm jobs: --json takes no value'],
  [['exec', 'vm'], 'farm exec: VM -- COMMAND... is needed'],
  [['exec', 'vm', 'ls', '--', 'x'], 'farm exec: it takes VM -- COMMAND..., and "ls" is one too many'],
  [['refuse', 'me'], 'farm refuse: it takes no further words, and "me" is one too many'],
  [['refuse', '--', 'x'], 'farm refuse: nothing may follow "--"'],
  [['audit', '--json'], 'farm: "audit" is no command here: run it elsewhere'],
  [['jobs', '--__proto__', 'x'], 'farm: there is no option --__proto__'],
];
for (const [argv, line] of misuses) {
  await t.test(`"farm ${argv.join(' ')}" is answered with one line that says why`, async (t) => {
    const { status, out, complaint } = await answer(...argv);
    t.strictSame([status, out, complaint.split('\n')[0]], [2, '', line]);
    t.match(complaint.split('\n')[1], / --help tells more\)$/);
  });
}

await t.test('a refusal ends with 1, a fault with 2, each in one line that nothing draws with', async (t) => {
  t.strictSame(await answer('refuse'), {
    status: 1,
    out: '',
    complaint: 'farm refuse: refused TIMED_OUT there is nothing\n',
  });
  t.strictSame(await answer('break'), { status: 2, out: '', complaint: 'farm break: fault: a .[31mfault\n' });
});

await t.test('help names every command but the hidden ones, on stdout, with 0', async (t) => {
  for (const argv of [['--help'], ['-h'], ['help']]) {
    const { status, out, complaint } = await answer(...argv);
    t.strictSame([status, complaint], [0, '']);
    for (const shown of [
      'usage: farm COMMAND',
      'farm jobs show JOB [DIST]...',
      'lists jobs (in a VM)',
      '--state DIR',
      '--version',
    ])
      t.ok(out.includes(shown), shown);
    t.notMatch(out, 'secret');
  }
  for (const argv of [
    ['jobs', '--help'],
    ['help', 'jobs'],
    ['--help', 'jobs', 'show'],
  ])
    t.match((await answer(...argv)).out, 'usage: farm jobs');
  t.notMatch((await answer('jobs', 'show', '--help')).out, '--component', 'of this command alone');
});

await t.test('the nearest word is one that could have been meant', (t) => {
  const known = ['status', 'jobs', 'trigger', 'retry', 'withdraw'];
  for (const [typed, meant] of [
    ['stat', 'status'],
    ['statsu', 'status'],
    ['rtery', 'retry'],
    ['withdrawn', 'withdraw'],
    ['xyz', undefined],
    ['', undefined],
    ['x'.repeat(5000), undefined],
  ] as const)
    t.equal(nearest(typed, known), meant, typed.slice(0, 20));
  t.end();
});

const folder = mkdtempSync(join(tmpdir(), 'command-line-'));
t.teardown(() => rmSync(folder, { recursive: true }));

await t.test('the man page is one that groff takes without a warning', (t) => {
  const hostile: ProgramTable = {
    name: 'farm',
    does: 'has a \\ and a -dash',
    commands: [{ words: 'x', does: "begins\n'with a quote\n.and a dot", run: () => 0 }],
  };
  for (const page of [
    readFileSync(join(top, 'dist/build-infra.8'), 'utf8'),
    readFileSync(join(top, 'dist/build-infra-vm.8'), 'utf8'),
    manPage(hostile),
  ]) {
    const made = spawnSync('groff', ['-man', '-Tascii', '-ww', '-P-cbou'], { input: page, encoding: 'utf8' });
    t.strictSame([made.status, made.stderr], [0, '']);
    t.match(made.stdout, /NAME/);
  }
  const text = spawnSync('groff', ['-man', '-Tascii', '-P-cbou'], {
    input: manPage(hostile),
    encoding: 'utf8',
  }).stdout;
  for (const kept of ['has a \\ and a -dash', "'with a quote .and a dot"]) t.ok(text.includes(kept), kept);
  t.end();
});

await t.test('bash completes commands and options', (t) => {
  const complete = (program: string, name: string, ...words: string[]): string[] => {
    writeFileSync(
      join(folder, 'one'),
      execFileSync(process.execPath, [join(top, 'dist', `${program}.mjs`), 'completion', 'bash']),
    );
    const script = `set -u; source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _build_infra; printf '%s\\n' "\${COMPREPLY[@]}"`;
    return execFileSync('bash', ['-c', script, 'bash', join(folder, 'one'), name, ...words], {
      encoding: 'utf8',
      cwd: join(folder),
    })
      .trim()
      .split('\n');
  };
  t.strictSame(complete('build-infra-vm', 'build-infra', 'tr'), ['trigger']);
  t.strictSame(complete('build-infra-vm', 'build-infra', 'jobs', 'ca'), ['cancel']);
  t.strictSame(complete('build-infra-vm', 'build-infra', 'jobs', '--st'), ['--state']);
  t.strictSame(complete('build-infra-vm', 'build-infra', 'jobs', 'show', '--'), [
    '--json',
    '--help',
    '--version',
  ]);
  t.strictSame(complete('build-infra', 'build-infra', 'audit', '--max-s'), ['--max-seconds']);
  t.match(bashCompletion({ name: 'a-b c', does: '', commands: [] }), /^_a_b_c\(\) \{$/m);
  t.end();
});

const programs = [
  'keys-agent',
  'sys-net-agent',
  'build-logs-agent',
  'build-infra-notifier',
  'build-agent',
  'build-infra-vm',
  'build-infra-command',
  'build-infra',
  'local',
];
for (const program of programs) {
  await t.test(
    `${program} answers --version and --help on stdout, and complains of a word that it does not know`,
    async (t) => {
      const run = (...args: string[]): Promise<{ status: unknown; stdout: string; stderr: string }> =>
        new Promise((resolve) => {
          execFile(
            process.execPath,
            [join(top, 'dist', `${program}.mjs`), ...args],
            { env: { PATH: '/usr/bin:/bin', BUILD_INFRA_ROOT: folder } },
            (error, stdout, stderr) => resolve({ status: error === null ? 0 : error.code, stdout, stderr }),
          );
        });
      const [ofVersion, help, unknown] = await Promise.all([
        run('--version'),
        run('--help'),
        run('frobnicate'),
      ]);
      t.match(ofVersion, { status: 0, stderr: '' });
      t.ok(ofVersion.stdout.endsWith(` ${version}\n`), ofVersion.stdout);
      t.match(help, { status: 0, stdout: /./, stderr: '' });
      t.match(unknown, { status: /^[12]$/, stdout: '', stderr: /./ });
      t.not(unknown.status, 0);
    },
  );
}

await t.test('a reader that went away ends the program quietly', (t) => {
  const piped = `for n in 1 2 3 4 5 6 7 8; do ${process.execPath} ${join(top, 'dist/build-infra.mjs')} audit --help || echo "status $?" >&2; done | head -c 10`;
  const ran = spawnSync('bash', ['-o', 'pipefail', '-c', piped], { encoding: 'utf8' });
  t.strictSame([ran.stderr, ran.stdout.length], ['', 10]);
  t.end();
});
