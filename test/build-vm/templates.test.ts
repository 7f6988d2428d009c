// SPDX-License-Identifier: GPL-2.0-or-later
// Templates, by signed commands alone: the real agent, rpmbuild, rpmsign, createrepo_c, sshd, rsync and dnf,
// and a public record over git.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { templateOf, type Job } from '../../agents/build-vm/jobs/job-document.js';
import { until } from '../support/until.js';
import { endOutside, makeOutside } from './build-vm.js';
import { writeKeys, type TestKey } from './forge.js';
import { publishRecord } from './logs-record.js';
import { minute, TemplateVm, tinyTemplate } from './template-engine.js';

const needsRoot =
  process.getuid?.() === 0
    ? {}
    : { skip: 'an engine gets a process space of its own, which needs root here' };
const outside = await makeOutside();
t.teardown(() => endOutside(outside));
const logsKey = outside.keys.make('logs');
const bob = outside.keys.make('bob');
const publish = publishRecord(outside.keys);
const verbs = ['Build-template', 'Upload-template', 'Build-component', 'Retry'];
const people = [
  {
    name: 'alice',
    fingerprint: outside.alice.fingerprint,
    verbs,
    templates: 'all',
    repositories: ['templates-itl', 'templates-community'],
  },
  {
    name: 'bob',
    fingerprint: bob.fingerprint,
    verbs,
    components: 'all',
    templates: ['fedora-42'],
    repositories: ['templates-community'],
  },
];
const commands = { releases: ['r4.3', 'r4.2'], windowSeconds: 86_400, distributionWords: [], people };
let signedBefore = 0;
/** Each a second later than the last: the same words signed in the same second are the same command. */
async function clearsign(line: string, by: TestKey = outside.alice): Promise<string> {
  await until('the next second', () => Math.floor(Date.now() / 1000) > signedBefore);
  signedBefore = Math.floor(Date.now() / 1000);
  return outside.keys.gpg(['--clearsign', '--local-user', by.fingerprint], `${line}\n`).toString();
}

async function startVm(name: string, change: Record<string, unknown> = {}): Promise<TemplateVm> {
  const vm = new TemplateVm(outside, name, { commands, ...change });
  writeKeys(join(vm.root, '/rw/config/build-infra/public-keys'), [logsKey, bob]);
  await vm.start();
  return vm;
}

/** The job that was made, over; or the refusal. */
async function ask(vm: TemplateVm, line: string, by?: TestKey): Promise<Job | string> {
  const answer = await vm.command(await clearsign(line, by));
  return answer.startsWith('accepted ') ? await vm.over(answer.slice('accepted '.length)) : answer;
}

/** Packages that a repository of templates has, as the world sees it. */
function offered(name: string, repository: string): string[] {
  const folder = join(outside.apt.folder, name, 'templates-r4.3', repository, 'packages');
  return existsSync(folder) ? readdirSync(folder).sort() : [];
}

void t.test(
  'a template is built by a signed command, waits in testing, and goes on by another',
  needsRoot,
  async (t) => {
    const record = outside.forge.create('record');
    record.git(['symbolic-ref', 'HEAD', 'refs/heads/main']);
    let clock = 1_790_000_000;
    let head: string | undefined;
    const tell = (log: string): string => (head = publish(record, clock++, log, logsKey, head));
    const vm = await startVm('itl', {
      publication: { url: outside.forge.url('record'), logsKey: logsKey.fingerprint },
      promotion: { minAgeDays: 5 },
    });
    t.teardown(() => vm.end());
    vm.receiver.publish = (log) => tell(log.path);

    const at = minute();
    const comment = await clearsign(`Build-template r4.3 debian-13 ${at}`);
    const answer = await vm.command(comment);
    t.match(answer, new RegExp(`^accepted qubes-template-debian-13-4\\.3\\.0-${at}-[0-9a-f]{12}$`));
    const built = await vm.over(answer.slice('accepted '.length));
    const rpm = `qubes-template-debian-13-4.3.0-${at}.noarch.rpm`;
    t.equal(built.state, 'done', `${vm.output}\n${vm.receiver.text().slice(-6000)}`);
    t.match(built, {
      kind: 'template',
      component: 'qubes-template-debian-13',
      version: `4.3.0-${at}`,
      dists: ['templates-r4.3'],
      evidence: null,
      template: {
        name: 'debian-13',
        release: 'r4.3',
        timestamp: at,
        command: { signer: { name: 'alice', fingerprint: outside.alice.fingerprint } },
      },
    });
    t.match(built.uploaded, [
      { dist: 'templates-r4.3', suite: 'templates-r4.3-templates-itl-testing', files: [{ name: rpm }] },
    ]);
    t.same([offered('itl', 'templates-itl-testing'), offered('itl', 'templates-itl')], [[rpm], []]);

    await t.test('its log says who commanded it, and every intent names that line', async (t) => {
      const lines = vm.receiver.ofStage('build')[0]?.lines ?? [];
      t.match(
        lines.join('\n'),
        /command [0-9a-f]{64} of alice [0-9A-F]{40}, signed .*: Build-template r4\.3 debian-13/,
      );
      t.match(lines.join('\n'), /template debian-13 with vm-trixie for r4\.3, at most 120 s/);
      const said = lines
        .map((line) => /> evidence (\{.*\})$/.exec(line)?.[1])
        .find((line) => line !== undefined);
      t.same(JSON.parse(said as string), templateOf(built)?.command);
      const named = JSON.parse(
        readFileSync(
          join(vm.root, '/var/lib/build-infra/jobs', built.job, 'gpg-job-templates-r4.3.json'),
          'utf8',
        ),
      ) as { artifacts: { name: string; sha256: string }[] };
      t.equal(
        named.artifacts.find(({ name }) => name === 'signed-command.json')?.sha256,
        execFileSync('sha256sum', { input: said }).toString().slice(0, 64),
      );
      await until(
        'gigabytes not to be kept twice',
        () => !existsSync(join(vm.root, '/var/lib/build-infra/jobs', built.job, 'signed')),
      );
    });

    await t.test('the same command again, and the same or an earlier minute, build nothing', async (t) => {
      t.equal(await vm.command(comment), 'refused COMMAND_USED');
      t.equal(await ask(vm, `Build-template r4.3 debian-13 ${at}`), 'refused ALREADY_BUILT');
      t.equal(await ask(vm, `Build-template r4.3 debian-13 ${minute(-30)}`), 'refused ALREADY_BUILT');
      t.match(vm.output, /ALREADY_BUILT debian-13 of r4\.3 was commanded for [0-9]{12} already/);
    });

    const upload = (version = '4.3.0', timestamp = at, repository = 'templates-itl'): string =>
      `Upload-template r4.3 debian-13 ${version}-${timestamp} ${repository}`;
    await t.test('too young is a refusal, and nothing is called uploaded', async (t) => {
      t.match(await ask(vm, upload()), {
        kind: 'promotion',
        state: 'refused',
        reason: { code: 'TOO_YOUNG' },
        uploaded: [],
      });
      t.same(offered('itl', 'templates-itl'), []);
    });

    clock += 5 * 86_400;
    tell('build-debian/log_of_others');
    await t.test(
      'only what was built here goes on: no other version, minute, repository, template or release',
      async (t) => {
        t.equal(await ask(vm, upload('4.2.0')), 'refused UNKNOWN_VERSION');
        t.equal(await ask(vm, upload('4.3.0', minute(-30))), 'refused UNKNOWN_VERSION');
        t.equal(await ask(vm, upload('4.3.0', at, 'templates-community')), 'refused OTHER_REPOSITORY');
        t.equal(await ask(vm, upload().replace('debian-13', 'fedora-42')), 'refused UNKNOWN_VERSION');
        t.equal(await ask(vm, upload().replace('debian-13', 'arch')), 'refused UNKNOWN_TEMPLATE');
        t.equal(await ask(vm, upload().replace('r4.3', 'r4.2')), 'refused UNKNOWN_TEMPLATE');
        t.equal(await ask(vm, upload().replace('r4.3', 'r4.1')), 'refused OTHER_RELEASE');
        t.equal(await ask(vm, upload(), bob), 'refused NOT_ALLOWED');
        // What lies in a repository under the right name counts for nothing.
        const forged = join(
          outside.apt.folder,
          'itl/templates-r4.3/templates-itl-testing/packages',
          `qubes-template-debian-13-4.3.0-${minute(-30)}.noarch.rpm`,
        );
        writeFileSync(forged, 'x');
        t.equal(await ask(vm, upload('4.3.0', minute(-30))), 'refused UNKNOWN_VERSION');
        execFileSync('rm', [forged]);
      },
    );

    await t.test('old enough by the public record, it is uploaded, once', async (t) => {
      const order = await clearsign(upload());
      const job = await vm.over((await vm.command(order)).slice('accepted '.length));
      t.match(
        job,
        {
          kind: 'promotion',
          state: 'done',
          change: { of: built.job, suite: 'templates-itl' },
          uploaded: [{ suite: 'templates-r4.3-templates-itl' }],
        },
        vm.receiver.text().slice(-3000),
      );
      t.same(job.uploaded[0]?.files, built.uploaded[0]?.files, 'the same bytes came back');
      t.same([offered('itl', 'templates-itl-testing'), offered('itl', 'templates-itl')], [[rpm], [rpm]]);
      const log = vm.receiver.ofStage('promote').at(-1)?.lines.join('\n') ?? '';
      for (const said of [
        /from templates-itl-testing to templates-itl, built by .*, command [0-9a-f]{64}/,
        /in templates-itl-testing since .*: 5\.\d\d days/,
        /read back 1 packages/,
      ])
        t.match(log, said);
      t.equal(await vm.command(order), 'refused COMMAND_USED');
    });

    await t.test('a person takes it back, and no command brings it again', async (t) => {
      const spool = join(vm.root, '/var/lib/build-infra/spool');
      writeFileSync(join(spool, 'a.tmp'), `withdraw qubes-template-debian-13 4.3.0-${at}\n`);
      execFileSync('mv', [join(spool, 'a.tmp'), join(spool, 'a.cmd')]);
      const said = await until('the answer', () =>
        existsSync(join(spool, 'answers/a.answer'))
          ? readFileSync(join(spool, 'answers/a.answer'), 'utf8').trim()
          : undefined,
      );
      t.match(
        await vm.over(said.slice('queued '.length)),
        { kind: 'withdrawal', state: 'done' },
        vm.receiver.text().slice(-3000),
      );
      t.same([offered('itl', 'templates-itl-testing'), offered('itl', 'templates-itl')], [[], []]);
      t.equal(await ask(vm, upload()), 'refused WITHDRAWN');
    });
  },
);

void t.test('who may not, for what is not there, or not now: nothing is built', needsRoot, async (t) => {
  const vm = await startVm('refused');
  t.teardown(() => vm.end());
  const order = (template = 'debian-13', at = minute(), release = 'r4.3'): string =>
    `Build-template ${release} ${template} ${at}`;
  t.equal(await ask(vm, order(), bob), 'refused NOT_ALLOWED', 'all components are no template');
  t.equal(await ask(vm, order('arch')), 'refused UNKNOWN_TEMPLATE');
  t.equal(await ask(vm, order('debian-13', minute(), 'r4.2')), 'refused UNKNOWN_TEMPLATE');
  t.equal(await ask(vm, order('debian-13', minute(), 'r4.1')), 'refused OTHER_RELEASE');
  t.equal(await ask(vm, order('debian-13', minute(-62))), 'refused BAD_TIMESTAMP', 'more than an hour old');
  t.equal(
    await ask(vm, order('debian-13', minute(7))),
    'refused BAD_TIMESTAMP',
    'more than five minutes ahead',
  );
  for (const [what, line] of [
    ['a path', order('../../etc')],
    ['a shell', order('a;reboot')],
    ['an option', order('-x')],
    ['upper case', order('Debian')],
    ['a slash', order('a/b')],
    ['no minute of the calendar', order('debian-13', '202602301200')],
    ['thirteen digits', order('debian-13', `${minute()}0`)],
    ['a word too many', `${order()} now`],
  ] as const)
    t.equal(await ask(vm, line), 'refused BAD_COMMAND', what);
  t.same(readdirSync(join(vm.root, '/var/lib/build-infra/jobs')), []);
});

void t.test(
  'two commands at once: two templates are both built, one minute of one template once',
  needsRoot,
  async (t) => {
    const vm = await startVm('two');
    t.teardown(() => vm.end());
    const at = minute();
    const comments = [
      await clearsign(`Build-template r4.3 debian-13 ${at}`),
      await clearsign(`Build-template r4.3 fedora-42 ${at}`, bob),
      await clearsign(`Build-template r4.3 debian-13 ${at}`),
    ];
    const answers = await Promise.all(comments.map((comment) => vm.command(comment)));
    t.equal(answers.filter((answer) => answer === 'refused ALREADY_BUILT').length, 1);
    const jobs = await Promise.all(
      answers
        .filter((answer) => answer.startsWith('accepted '))
        .map((answer) => vm.over(answer.slice('accepted '.length))),
    );
    t.same(
      jobs.map((job) => job.state),
      ['done', 'done'],
      vm.receiver.text().slice(-3000),
    );
    t.same(offered('two', 'templates-itl-testing'), [
      `qubes-template-debian-13-4.3.0-${at}.noarch.rpm`,
      `qubes-template-fedora-42-4.3.0-${at}.noarch.rpm`,
    ]);
  },
);

void t.test('what the engine makes must be that template and nothing else', needsRoot, async (t) => {
  const vm = await startVm('bad');
  t.teardown(() => vm.end());
  let ahead = -50;
  for (const [what, change] of [
    ['another template', 'name=qubes-template-other'],
    ['another version', 'version=4.2.0'],
    ['another minute', 'release=202601010000'],
    ['an architecture', 'arch=$(uname -m)'],
    [
      'a name that its header does not say',
      'name=qubes-template-other; trap \'cd "$out"; mv *.rpm "$(field "{component}")-$(field "{version}").noarch.rpm"; sed -i "s/qubes-template-other-/$(field "{component}")-/" artifacts.json\' EXIT',
    ],
    ['one more package', 'cp() { command cp "$@"; command cp "$1" "$2/extra-1-1.noarch.rpm"; }'],
  ] as const) {
    vm.engine(change);
    t.match(
      await ask(vm, `Build-template r4.3 debian-13 ${minute(ahead++)}`),
      { state: 'failed', reason: { code: 'BAD_ARTIFACT' }, uploaded: [] },
      what,
    );
  }
  t.same(vm.gpgCalls(), [], 'nothing was signed');
});

void t.test(
  'a build that failed is tried again by whoever may command the template, and by nobody else',
  needsRoot,
  async (t) => {
    const vm = await startVm('again');
    t.teardown(() => vm.end());
    vm.engine(
      'printf \'{"format":"build-infra/engine-failure@1","code":"BUILD_FAILED","detail":"no room on the moon"}\' > "$out/failure.json"; exit 1',
    );
    const failed = (await ask(vm, `Build-template r4.3 debian-13 ${minute()}`)) as Job;
    t.match(failed, { state: 'failed', reason: { code: 'BUILD_FAILED' } });
    vm.engine('');
    t.equal(
      await ask(vm, `Retry ${failed.job}`, bob),
      'refused NOT_ALLOWED',
      'he may command all components',
    );
    t.equal(await vm.command(await clearsign(`Retry ${failed.job}`)), `accepted ${failed.job}`);
    t.match(
      await until('it to be done', () => {
        const job = vm.job(failed.job);
        return job?.state === 'done' && job;
      }),
      { uploaded: [{ dist: 'templates-r4.3' }] },
    );
  },
);

void t.test(
  'killed while it is built and while it is signed, it goes on and the minute is built once',
  needsRoot,
  async (t) => {
    const vm = await startVm('killed');
    t.teardown(() => vm.end());
    vm.engine(`[ -e '${vm.root}/once' ] || { touch '${vm.root}/once'; sleep 77.9; }`);
    vm.beforeSigning(`[ -e '${vm.root}/twice' ] || { touch '${vm.root}/twice'; sleep 77.9; }\n`);
    const answer = await vm.command(await clearsign(`Build-template r4.3 debian-13 ${minute()}`));
    for (const mark of ['once', 'twice']) {
      await until(mark, () => existsSync(join(vm.root, mark)));
      await vm.kill();
      await vm.start();
    }
    t.match(
      await vm.over(answer.slice('accepted '.length)),
      { state: 'done' },
      vm.receiver.text().slice(-3000),
    );
    t.equal(readdirSync(join(vm.root, '/var/lib/build-infra/jobs')).length, 1);
  },
);

void t.test('a template that is configured otherwise by now is not built', needsRoot, async (t) => {
  const vm = await startVm('changed');
  t.teardown(() => vm.end());
  vm.receiver.refuse = 'refused NO_ROOM';
  const answer = await vm.command(await clearsign(`Build-template r4.3 debian-13 ${minute()}`));
  await vm.kill();
  vm.reconfigure({ templates: [{ ...tinyTemplate, distribution: 'vm-sid' }] });
  vm.receiver.refuse = undefined;
  await vm.start();
  t.match(await vm.over(answer.slice('accepted '.length)), {
    state: 'refused',
    reason: { code: 'CONFIG_CHANGED' },
  });
});
