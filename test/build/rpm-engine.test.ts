// SPDX-License-Identifier: GPL-2.0-or-later
// The RPM engine with a real clean chroot and a real rpmbuild: the same bytes twice, and nothing that the spec did not announce.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { EngineJob } from '../../agents/build/engine-contract.js';
import { hashFile } from '../../agents/build/frozen-files.js';
import { buildRpm } from '../../agents/build/rpm-engine/engine.js';
import { chrootCache } from './build-vm.js';
import { codeOf, engineJob, Lines, makePlace, tinySpec, tinyTree, writeTree, type Files } from './rpm-packages.js';

t.setTimeout(900_000);
const needsRoot = { timeout: 600_000, ...(process.getuid?.() === 0 ? {} : { skip: 'makes chroots, which needs root here' }) };
mkdirSync(chrootCache, { recursive: true });

function setUp(test: Test, files: Files, change: Partial<EngineJob> = {}): { job: EngineJob; log: Lines; build: () => Promise<unknown> } {
  const place = makePlace();
  test.teardown(() => place.end());
  const job = engineJob(place, writeTree(place.make('source'), files), { cache: chrootCache, ...change });
  const log = new Lines();
  return { job, log, build: () => buildRpm(job, log) };
}

void t.test('a tree becomes source and binary package, and a rebuild the same bytes', needsRoot, async (t) => {
  const made = [];
  for (const again of [false, true]) {
    const { job, log, build } = setUp(t, tinyTree(), again ? { buildSeconds: 121 } : {});
    const code = await codeOf(build);
    t.equal(code, 'none', log.text().slice(-3000));
    t.match(log.text(), /^building as 1234$/m);
    made.push(readdirSync(job.output).sort().map((name) => hashFile(job.output, name)));
    // Another time of day, and another time of the files.
    await new Promise((resolve) => setTimeout(resolve, 1100));
  }
  t.same(made[0]?.map((file) => file.name), ['demo-rpm-1.2-1.noarch.rpm', 'demo-rpm-1.2-1.src.rpm']);
  t.same(made[0], made[1]);
});
