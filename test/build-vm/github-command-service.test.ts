// SPDX-License-Identifier: GPL-2.0-or-later
// qubesbuilder.ProcessGithubCommand of the real agent, over its socket: what is answered, what survives a
// kill.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { until } from '../support/until.js';
import { BuildVm, endOutside, makeOutside } from './build-vm.js';
import { tinyPackage } from './forge.js';

const outside = await makeOutside();
t.teardown(() => endOutside(outside));
const everything = {
  verbs: ['Upload-component', 'Build-component', 'Retry'],
  components: 'all',
  distributions: 'all',
  repositories: ['current'],
};
const commands = {
  releases: ['r4.3'],
  windowSeconds: 3600,
  distributionWords: [],
  people: [{ name: 'alice', fingerprint: outside.alice.fingerprint, ...everything }],
};
const clearsign = (line: string): string =>
  outside.keys.gpg(['--clearsign', '--local-user', outside.alice.fingerprint], `${line}\n`).toString();
const build = 'Build-component r4.3 hello-tiny';

interface Record {
  line: string;
  state: string;
  job: string | null;
  signer: { name: string; fingerprint: string };
}
function records(vm: BuildVm): Record[] {
  const folder = join(vm.root, '/var/lib/build-infra/commands');
  return readdirSync(folder)
    .filter((name) => /^[0-9a-f]{64}\.json$/.test(name))
    .map((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')) as Record);
}

void t.test('a signed command becomes a job, once', async (t) => {
  const repository = outside.forge.create('commanded');
  repository.release(outside.keys, [outside.alice], 'v1.0-1', tinyPackage('1.0-1'));
  const vm = new BuildVm(outside, 'commanded', { commands });
  t.teardown(() => vm.end());
  await vm.start();
  const comment = clearsign(build);
  const answer = await vm.command(comment);
  t.match(answer, /^accepted hello-tiny-1\.0-1-[0-9a-f]{12}$/);
  const id = answer.slice('accepted '.length);
  await until('the job', () => vm.job(id));
  t.match(records(vm), [
    {
      line: build,
      state: 'accepted',
      job: id,
      signer: { name: 'alice', fingerprint: outside.alice.fingerprint },
    },
  ]);
  t.equal(await vm.command(comment.replaceAll('\n', '\r\n')), 'refused COMMAND_USED');
  await vm.kill();
  await vm.start();
  t.equal(await vm.command(comment), 'refused COMMAND_USED', 'after a restart');
  t.equal(
    await vm.command(clearsign(`Upload-component r4.3 hello-tiny ${'0'.repeat(40)} current all`)),
    'refused UNKNOWN_COMMIT',
  );
  t.equal(await vm.command(clearsign('Retry hello-tiny-1-000000000000')), 'refused UNKNOWN_JOB');
  t.equal(
    await vm.command(clearsign('Upload-template r4.3 debian-13 4.3.0-202611221200 templates-itl')),
    'refused NOT_ALLOWED',
  );
  const outbox = join(vm.root, '/var/lib/build-infra/outbox');
  const answers = readdirSync(outbox)
    .map(
      (name) =>
        JSON.parse(readFileSync(join(outbox, name), 'utf8')) as {
          format: string;
          code: string;
          line: string;
        },
    )
    .filter(({ format }) => format === 'build-infra/refused-command@1');
  t.match(
    answers,
    [{ line: /^Upload-component/, code: 'UNKNOWN_COMMIT' }],
    'for the notifier: of what is meant for this environment',
  );
  t.equal(answers.length, 1);
});

void t.test('a stranger hears one answer to everything, and nothing of why', async (t) => {
  outside.forge.create('strange');
  const vm = new BuildVm(outside, 'strange', { commands });
  t.teardown(() => vm.end());
  await vm.start();
  const stranger = outside.keys.make('stranger');
  const good = clearsign(build);
  const inputs: (string | Buffer)[] = [
    '',
    'Build-component r4.3 hello-tiny\n',
    good.replace('hello', 'other'),
    outside.keys.gpg(['--clearsign', '--local-user', stranger.fingerprint], `${build}\n`).toString(),
    `${good}x`,
    clearsign('rm -rf /'),
    Buffer.alloc(8192, 0x2d),
    Buffer.alloc(8193, 0x2d),
    Buffer.alloc(1_000_000, 0x2d),
    Buffer.from([0, 255, 254]),
    '$(id)\n',
  ];
  for (const input of inputs) t.equal(await vm.command(input), 'refused BAD_COMMAND');
  t.same(records(vm), []);
  t.same(readdirSync(join(vm.root, '/var/lib/build-infra/outbox')), [], 'the notifier has nothing to say');
  t.match(vm.output, /refused UNKNOWN_SIGNER/, "this VM's own log says more");
});

void t.test(
  'killed while it asks the forge, the agent carries the command out after its start',
  async (t) => {
    const repository = outside.forge.create('broken');
    repository.release(outside.keys, [outside.alice], 'v2.0-1', tinyPackage('2.0-1'));
    const vm = new BuildVm(outside, 'broken', { commands });
    t.teardown(() => vm.end());
    await vm.start();
    const comment = clearsign(build);
    outside.forge.pause();
    try {
      void vm.command(comment).catch(() => undefined);
      await until('the record', () => records(vm).length === 1);
      t.match(records(vm), [{ state: 'taken', job: null }]);
      await vm.kill();
    } finally {
      outside.forge.resume();
    }
    await vm.start();
    const record = await until('the command to be carried out', () =>
      records(vm).find(({ state }) => state === 'accepted'),
    );
    t.match(record.job, /^hello-tiny-2\.0-1-/);
    t.equal(vm.job(record.job as string)?.tag, 'v2.0-1');
    t.equal(await vm.command(comment), 'refused COMMAND_USED');
  },
);

void t.test('without configured people nobody commands anything', async (t) => {
  outside.forge.create('silent');
  const vm = new BuildVm(outside, 'silent');
  t.teardown(() => vm.end());
  await vm.start();
  t.equal(await vm.command(clearsign(build)), 'refused BAD_COMMAND');
});
