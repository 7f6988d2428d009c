// SPDX-License-Identifier: GPL-2.0-or-later
// The order in which the build agent's bundle writes, syncs, answers and acts, as the kernel saw it: a power
// cut at any moment takes back nothing that a caller was told, and no step goes on from what it could still
// take back.
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import {
  cannotRecord,
  inOrder,
  notOnDisk,
  onlyThen,
  recorded,
  recordingTo,
  renaming,
  starting,
  syncing,
  writing,
  type Step,
  type SystemCall,
} from '../support/system-calls.js';
import { BuildVm, endOutside, makeOutside } from './build-vm.js';
import { tinyPackage } from './forge.js';
import { plainEngine } from './plain-engine.js';

const bundle = fileURLToPath(new URL('../../../dist/build-agent.mjs', import.meta.url));
const skip = process.getuid?.() === 0 ? cannotRecord() : 'wants root';
const outside = await makeOutside();
const repository = outside.forge.create('recorded');
repository.release(outside.keys, [outside.alice], 'v1.0-1', tinyPackage('1.0-1'));
const vm = new BuildVm(outside, 'recorded', {
  distributions: [{ name: 'bookworm', engine: 'plain', packages: 'deb' }],
});
t.teardown(async () => {
  await vm.end();
  await endOutside(outside);
});
const engine = join(vm.root, '/usr/lib/build-infra/engines/plain');
writeFileSync(engine, plainEngine());
chmodSync(engine, 0o755);

const state = join(vm.root, 'var/lib/build-infra');
const jobs = `${state}/jobs`;
const record = join(vm.root, 'record');
let id = '';
let calls: readonly SystemCall[] = [];
/**
 * debsign's Perl renames these by their names in the folder where it works; what they become is looked at.
 */
const perlsOwn = /\.part\/XX\w{6}$/;
/** A document that is whole on disk under its name. */
const kept = (folder: string, name: string, text: RegExp): Step[] => {
  const temporary = new RegExp(`^${folder}/\\.${name}\\.\\d+\\.tmp$`);
  return [
    writing(temporary, text),
    syncing(temporary),
    renaming(temporary, `${folder}/${name}`),
    syncing(folder),
  ];
};
const jobKept = (text: RegExp): Step[] => kept(`${jobs}/${id}`, 'job.json', text);
const told = (event: string): Step => writing(new RegExp(`^${state}/told/`), new RegExp(`"${event} `));
const finished = (stage: string): RegExp => new RegExp(`"finished": \\[[^\\]]*"stage": "${stage}"`);

if (skip === false) {
  await vm.start({ under: recordingTo(record), program: bundle });
  id = (await vm.trigger()).replace(/^queued /, '');
  const job = await vm.over(id);
  if (job.state !== 'done') throw new Error(`${job.state}: ${vm.output}`);
  // The last word of this job.
  calls = await recorded(record, told('uploaded'));
}

await t.test('a job is on disk, and its folder, before its caller hears of it', { skip }, async (t) => {
  const queued = onlyThen(writing(/qubesbuilder\.TriggerBuild\.sock/, new RegExp(`queued ${id}`)));
  const [, ...rest] = inOrder(calls, [syncing(jobs), ...jobKept(/"state": "queued"/), queued]);
  t.strictSame(notOnDisk(calls, jobs, rest.at(-1) as SystemCall, /\/source/), []);
});

await t.test(
  'the version that none may go below, and what was found, are on disk before anything of it is built',
  { skip },
  async () => {
    inOrder(calls, [
      ...kept(`${state}/highest`, 'hello-tiny.json', /"version":"1\.0-1"/),
      ...jobKept(finished('fetch')),
      onlyThen(starting(/engines\/plain /)),
    ]);
  },
);

for (const [stage, folder] of [
  ['build', 'artifacts'],
  ['sign', 'signed'],
] as const) {
  await t.test(
    `what was made is on disk before the job says that the stage ${stage} is over`,
    { skip },
    async (t) => {
      const made = `${jobs}/${id}/${folder}`;
      const [said] = inOrder(calls, jobKept(finished(stage)));
      t.ok(
        calls.some(
          (one) => one.begin < (said as SystemCall).begin && renaming(/^/, `${made}/bookworm`).is(one),
        ),
        'it has its name',
      );
      t.strictSame(notOnDisk(calls, made, said as SystemCall, perlsOwn), []);
    },
  );
}

await t.test('the job says what may be public before the server is told to show it', { skip }, async () => {
  inOrder(calls, [...jobKept(/"switched": \[\s*\{/), onlyThen(starting(/ssh .*ln -sfn/))]);
});

await t.test('what the notifier is to say is on disk before it is noted as told', { skip }, async () => {
  for (const event of ['building', 'built', 'uploaded']) {
    const left = new RegExp(`^${state}/outbox/\\.[^/]*\\.tmp$`);
    inOrder(calls, [
      writing(left, new RegExp(`"event": "${event}"`)),
      syncing(left),
      renaming(left, new RegExp(`^${state}/outbox/`)),
      syncing(`${state}/outbox`),
      onlyThen(told(event)),
    ]);
  }
});
