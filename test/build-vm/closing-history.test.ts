// SPDX-License-Identifier: GPL-2.0-or-later
// The commits between two versions, from a real forge; and that a build never waits or fails for them.
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { closingCommits, commitBefore } from '../../agents/build-vm/source/closing-history.js';
import type { BuildJob } from '../../agents/build-vm/jobs/job-document.js';
import { Forge } from './forge.js';

const forge = new Forge();
await forge.start();
const folder = mkdtempSync(join(tmpdir(), 'bi-history-'));
t.teardown(() => {
  forge.end();
  rmSync(folder, { recursive: true, force: true });
});
const repository = forge.create('hello');
const tree = repository.tree([{ path: 'a', content: 'a' }]);
const commit = (message: string, parent?: string): string =>
  repository.git(['commit-tree', tree, ...(parent === undefined ? [] : ['-p', parent]), '-F', '-'], message);
const first = commit('Begin');
const second = commit('Mend it\n\nFixes example/issues#1 and #2', first);
const third = commit('Merge\n\nCloses https://github.example/example/issues/issues/3\n', second);
repository.ref('v1.1', repository.tagObject(repository.tagText('v1.1', third)));

const lines: string[] = [];
const log = { say: (text: string): void => void lines.push(text) };
const ask = (since: string | null, tag = 'v1.1'): ReturnType<typeof closingCommits> =>
  closingCommits(
    forge.url('hello'),
    tag,
    third,
    since,
    folder,
    { sshConfig: '/dev/null', timeoutMs: 30_000 },
    log,
  );

void t.test('the commits since the version before, newest first, with what they close', async (t) => {
  t.strictSame(await ask(first), [
    { commit: third, subject: 'Merge', issues: ['https://github.example/example/issues/issues/3'] },
    { commit: second, subject: 'Mend it', issues: ['example/issues#1', '#2'] },
  ]);
  t.match(lines.join('\n'), `commit ${second} closes example/issues#1, #2`);
  t.notOk(existsSync(join(folder, 'history.git')), 'and nothing is left');
});

void t.test('the first version that is built announces nothing', async (t) => {
  t.strictSame(await ask(null), []);
});

void t.test(
  'a version before that is not in this history, or a forge that is away, fails nothing',
  async (t) => {
    t.strictSame(await ask('e'.repeat(40)), []);
    t.strictSame(await ask(first, 'v9'), []);
    t.match(lines.join('\n'), /the commits since e{40} are not known/);
  },
);

void t.test(
  'the version before is the highest lower one that was verified, whatever was built since',
  (t) => {
    const job = (version: string, id: string | null, component = 'hello'): BuildJob =>
      ({ kind: 'build', component, version, evidence: id === null ? null : { commit: id } }) as BuildJob;
    const jobs = [
      job('1.0-1', 'a'),
      job('1.2-1', 'b'),
      job('1.10-1', 'c'),
      job('1.9-1', null),
      job('1.5-1', 'd', 'other'),
      job('2.0-1', 'e'),
    ];
    t.equal(commitBefore(job('1.10-1', null), jobs), 'b');
    t.equal(commitBefore(job('1.0-1', null), jobs), null);
    const ofLine = (version: string, id: string | null, line: string): BuildJob => ({
      ...job(version, id),
      line,
    });
    t.equal(
      commitBefore(ofLine('1.10-1', null, 'low'), [
        ofLine('1.1-1', 'f', 'low'),
        ofLine('1.9-1', 'g', 'high'),
        ...jobs,
      ]),
      'f',
      'of another line it is none',
    );
    t.end();
  },
);
