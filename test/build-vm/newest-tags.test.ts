// SPDX-License-Identifier: GPL-2.0-or-later
// What is remembered of the forges' listings, by the trigger that webhook, poller and hand share.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { RemoteTag } from '../../agents/build-vm/source/git.js';
import { NewestTags } from '../../agents/build-vm/triggers/newest-tags.js';
import { pollOnce } from '../../agents/build-vm/triggers/poller.js';
import { Trigger } from '../../agents/build-vm/triggers/trigger.js';
import { Refusal } from '../../agents/build-vm/refusals.js';
import { configFor, queueFor } from './jobs.js';

const tag = (name: string, digit: string, annotated = true): RemoteTag => ({
  name,
  object: digit.repeat(40),
  annotated,
});

interface Rig {
  tags: NewestTags;
  folder: string;
  changes: () => number;
  reports: string[];
  at: (second: number) => void;
  poll: (answer: RemoteTag[] | Error) => Promise<void>;
  again: () => NewestTags;
}

function rig(test: Test): Rig {
  const { folder: place, queue } = queueFor(test);
  const folder = join(place, 'newest-tags');
  const reports: string[] = [];
  let now = 0;
  let changes = 0;
  const again = (): NewestTags =>
    new NewestTags({ folder, report: (line) => reports.push(line), now: () => new Date(now) });
  const tags = again();
  tags.onChange(() => changes++);
  const config = configFor(['trixie']);
  let answer: RemoteTag[] | Error = [];
  const trigger = new Trigger({
    config,
    queue,
    newestTags: tags,
    listTags: async () => (answer instanceof Error ? Promise.reject(answer) : answer),
  });
  return {
    tags,
    folder,
    reports,
    again,
    changes: () => changes,
    at: (second) => void (now = second * 1000),
    poll: async (listing) => {
      answer = listing;
      await pollOnce({ components: ['one'], trigger, pollSeconds: 1, report: () => undefined });
    },
  };
}
const newest = (tags: NewestTags): unknown => {
  const found = tags.get('one')?.newest;
  return found && [found.tag, found.tagObject[0], found.annotated, found.firstSeen.slice(17, 19)];
};

void t.test(
  'the newest version tag is remembered with the time it was seen first, over a restart',
  async (t) => {
    const { tags, at, poll, again, changes } = rig(t);
    at(1);
    await poll([tag('v1.9', '1'), tag('v1.10', '2'), tag('nightly', '3')]);
    t.same(newest(tags), ['v1.10', '2', true, '01']);
    at(2);
    await poll([tag('v1.10', '2')]);
    t.same(newest(tags), ['v1.10', '2', true, '01']);
    t.equal(changes(), 1, 'the same listing again is no change');
    t.same(newest(again()), ['v1.10', '2', true, '01']);
    at(3);
    await poll([tag('v1.10', '4')]);
    t.same(newest(tags), ['v1.10', '4', true, '03'], 'a tag that was moved is a new one');
    at(4);
    await poll([tag('v1.10', '4'), tag('v2', '5', false)]);
    t.same(newest(tags), ['v2', '5', false, '04'], 'also one that will not be built');
    await poll([]);
    t.equal(newest(tags), null);
  },
);

void t.test(
  'a forge that cannot be reached is remembered with the time since when, and forgotten when it answers',
  async (t) => {
    const { tags, at, poll, changes } = rig(t);
    at(1);
    await poll([tag('v1', '1')]);
    at(2);
    await poll(new Refusal('FORGE_UNREACHABLE', 'port 40001: no route to host'));
    at(3);
    await poll(new Refusal('FORGE_UNREACHABLE', 'port 40002: no route to host'));
    t.match(tags.get('one'), {
      newest: { tag: 'v1' },
      failed: { code: 'FORGE_UNREACHABLE', since: '1970-01-01T00:00:02.000Z' },
    });
    t.equal(changes(), 2);
    at(4);
    await poll(new Error('boom'));
    t.match(tags.get('one')?.failed, { code: 'FAULT', since: '1970-01-01T00:00:02.000Z' });
    await poll([tag('v1', '1')]);
    t.match(tags.get('one'), { newest: { tag: 'v1', firstSeen: '1970-01-01T00:00:01.000Z' }, failed: null });
  },
);

void t.test('reports what cannot be written down, and builds the tag all the same', async (t) => {
  const { tags, poll, folder, reports } = rig(t);
  rmSync(folder, { recursive: true });
  writeFileSync(folder, '');
  await poll([tag('v1', '1')]);
  t.match(newest(tags), ['v1']);
  t.match(reports, [/^the newest tag of one could not be written down: Error: ENOTDIR/]);
});

void t.test('files of other names are left alone', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'bi-tags-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  for (const name of ['..json', '.one.json.77.tmp', 'README', '%2e.json'])
    writeFileSync(join(folder, name), 'not JSON');
  const tags = new NewestTags({ folder, report: () => undefined });
  tags.listed('one', undefined);
  t.equal(JSON.parse(readFileSync(join(folder, 'one.json'), 'utf8')).format, 'build-infra/newest-tag@1');
  t.equal(readdirSync(folder).length, 5);
});
