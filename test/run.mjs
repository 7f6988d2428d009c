// SPDX-License-Identifier: GPL-2.0-or-later
// Runs the linter and every test (or those whose path holds one of the arguments), says in the last lines how many passed and failed, and
// exits 0 only if none failed and none was left out.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const top = dirname(dirname(fileURLToPath(import.meta.url)));
const wanted = process.argv.slice(2);

function testsBelow(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return testsBelow(path);
    return entry.name.endsWith('.test.js') ? [path] : [];
  });
}

let failed = 0;
if (wanted.length === 0) {
  const lint = spawnSync(process.execPath, [join(top, 'node_modules/eslint/bin/eslint.js'), 'agents', 'test'], { cwd: top, stdio: 'inherit' });
  if (lint.status !== 0) {
    process.stdout.write('the linter found something\n');
    failed++;
  }
}

const all = testsBelow(join(top, 'out/test')).filter((path) => wanted.length === 0 || wanted.some((word) => path.includes(word))).sort();
if (all.length === 0) {
  process.stderr.write(`no test has ${wanted.join(' or ')} in its path\n`);
  process.exit(1);
}
const report = join(top, '.local', 'test-report.tap');
mkdirSync(dirname(report), { recursive: true });
rmSync(report, { force: true });
const tap = spawnSync(process.execPath, [join(top, 'node_modules/tap/dist/esm/run.mjs'), '--reporter=base', `--output-file=${report}`, '-j2', ...all], { cwd: top, stdio: 'inherit' });

const counts = /^# \{ total: \d+,(.*)\}$/m.exec(readFileSync(report, 'utf8'))?.[1] ?? '';
const count = (name) => Number(new RegExp(` ${name}: (\\d+)`).exec(counts)?.[1] ?? 0);
failed += count('fail');
if (tap.status !== 0 && failed === 0) failed++;
const [passed, skipped] = [count('pass'), count('skip') + count('todo')];
process.stdout.write(`${all.length} test files\n${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}\n`);
process.exit(failed === 0 && tap.status === 0 ? 0 : 1);
