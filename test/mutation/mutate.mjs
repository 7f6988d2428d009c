// SPDX-License-Identifier: GPL-2.0-or-later
// `npm run mutate [--sample N] [FOLDER | FOLDER/FILE]...`: changes one thing at a time in the compiled files
// of agents/ and sees which change no test notices; with --sample one in N of these changes. Prints a score
// for each file and every change that was not seen; docs/mutations.md says why those that are left are left.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { groups } from './groups.mjs';

const top = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const {
  values: { sample },
  positionals,
} = parseArgs({ allowPositionals: true, options: { sample: { type: 'string', default: '1' } } });
if (!/^[1-9][0-9]{0,3}$/.test(sample))
  throw new Error('--sample is a number: one change in so many is tried');
const wanted = positionals.map((word) => word.replace(/^agents\//, '').replace(/\.[tj]s$/, ''));
const place = join(top, '.local/mutations');
const isWanted = (folder, file) =>
  wanted.length === 0 || wanted.includes(folder) || wanted.includes(`${folder}/${file}`);
// What is imported is seen file by file, so that one run does for a folder; each run begins with a copy of
// the repository.
const chosen = [];
for (const group of groups) {
  const files = group.files.filter((file) => isWanted(group.folder, file));
  const run = chosen.find(
    ({ folder, analysis }) =>
      folder === group.folder && analysis === 'perTest' && group.analysis === 'perTest',
  );
  if (files.length > 0 && run === undefined) chosen.push({ ...group, files });
  else if (files.length > 0)
    Object.assign(run, {
      files: [...run.files, ...files],
      tests: [...new Set([...run.tests, ...group.tests])],
    });
}
if (chosen.length === 0) {
  process.stderr.write(
    `there are tests for mutants of ${[...new Set(groups.map(({ folder }) => folder))].join(', ')}; none for ${wanted.join(' ')}\n`,
  );
  process.exit(1);
}

function run({ folder, files, tests, analysis }) {
  const report = join(place, `${folder}-${files[0].replaceAll('/', '-')}.json`);
  rmSync(report, { force: true });
  const config = {
    buildCommand: 'node test/mutation/lighten.mjs',
    mutate: files.map((file) => `out/agents/${folder}/${file}.js`),
    testRunner: analysis === 'off' ? 'tap-started' : 'tap',
    tap: {
      testFiles: tests.map((test) => `out/test/${test}.test.js`),
      forceBail: true,
      nodeArgs: ['-r', '{{hookFile}}', '{{testFile}}'],
    },
    plugins: [
      '@stryker-mutator/tap-runner',
      join(top, 'test/mutation/messages.mjs'),
      join(top, 'test/mutation/sample.mjs'),
      join(top, 'test/mutation/started.mjs'),
    ],
    ignorers: ['messages', 'sample'],
    coverageAnalysis: analysis,
    concurrency: 2,
    // A busy machine is no reason to call a mutant killed.
    timeoutMS: 120_000,
    timeoutFactor: 5,
    dryRunTimeoutMinutes: 20,
    disableTypeChecks: false,
    allowConsoleColors: false,
    reporters: ['json', 'progress-append-only'],
    jsonReporter: { fileName: report },
    tempDirName: '.local/mutations/sandbox',
    ignorePatterns: ['.git', '.local', '.tap', '.venv-salt', 'docs', 'packages', 'dist'],
  };
  mkdirSync(place, { recursive: true });
  const path = report.replace(/json$/, 'config.json');
  writeFileSync(path, JSON.stringify(config));
  spawnSync(process.execPath, [join(top, 'node_modules/@stryker-mutator/core/bin/stryker.js'), 'run', path], {
    cwd: top,
    stdio: ['ignore', 2, 'inherit'],
    env: { ...process.env, MUTATE_SAMPLE: sample, PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
  });
  if (!existsSync(report))
    throw new Error(
      `Stryker made no report for ${folder}/${files.join(', ')}: see what it says with  npx stryker run ${path}`,
    );
  return JSON.parse(readFileSync(report, 'utf8')).files;
}

const noticed = new Set(['Killed', 'Timeout']);
const unseen = new Set(['Survived', 'NoCoverage']);
const totals = new Map();
for (const group of chosen) {
  for (const [path, { source, mutants }] of Object.entries(run(group))) {
    const count = (statuses) => mutants.filter(({ status }) => statuses.has(status)).length;
    const [killed, missed, late] = [count(noticed), count(unseen), count(new Set(['Timeout']))];
    const total = totals.get(group.folder) ?? { killed: 0, all: 0 };
    totals.set(group.folder, { killed: total.killed + killed, all: total.all + killed + missed });
    process.stdout.write(
      `${path.replace(/^out\//, '').replace(/\.js$/, '')}: ${((100 * killed) / Math.max(1, killed + missed)).toFixed(1)} %, ${killed} of ${killed + missed}${late > 0 ? ` (${late} by timeout)` : ''}\n`,
    );
    const lines = source.split('\n');
    for (const { status, location, mutatorName, replacement } of mutants.filter((mutant) =>
      unseen.has(mutant.status),
    )) {
      process.stdout.write(
        `  ${location.start.line}: ${status === 'NoCoverage' ? 'not run, ' : ''}${mutatorName}: ${lines[location.start.line - 1].trim().slice(0, 140)}  →  ${(replacement ?? '').replace(/\s+/g, ' ').slice(0, 100)}\n`,
      );
    }
  }
}
for (const [folder, { killed, all }] of totals)
  process.stdout.write(
    `agents/${folder}: ${((100 * killed) / Math.max(1, all)).toFixed(1)} % of ${all}, as far as measured here${sample === '1' ? '' : `, one change in ${sample}`}\n`,
  );
