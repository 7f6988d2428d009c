// SPDX-License-Identifier: GPL-2.0-or-later
// What the tests of Salt render from the tree of `make install`, they render once more from the unpacked RPM.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import t, { test } from 'tap';
import { salted } from '../salt/rig.js';
import { copySources, makePackages, run, top, unpack } from './package-tree.js';

const work = mkdtempSync(join(tmpdir(), 'bi-render-'));
t.teardown(() => {
  rmSync(work, { recursive: true, force: true });
});

await test('every id of the matrix renders from the unpacked package as from the tree of make install', salted, async (t) => {
  const { rpm } = makePackages(copySources(join(work, 'sources')), join(work, 'packages'));
  const tree = unpack(rpm, join(work, 'unpacked'));
  const folder = join(top, 'out/test/salt');
  const tests = readdirSync(folder).filter((name) => /^(render|pillar)-.*\.test\.js$/.test(name)).sort();
  t.ok(tests.length > 1);
  for (const name of tests) {
    const done = run(process.execPath, [join(folder, name)], { cwd: top, env: { ...process.env, BUILD_INFRA_INSTALLED_TREE: tree, TAP: '1' } });
    const failed = done.stdout.split('\n').filter((line) => /^\s*not ok /.test(line));
    t.equal(done.status, 0, `${basename(name)} ${done.stderr.slice(-2000)}`);
    t.strictSame(failed, []);
    t.match(done.stdout, /^ok 1 /m, 'it tested something');
    t.notMatch(done.stdout, /# SKIP/);
  }
});
