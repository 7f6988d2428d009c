// SPDX-License-Identifier: GPL-2.0-or-later
// From suite to suite by signed commands, and out of all of them: the real agent, reprepro, apt-get, and a
// public record over git.
import { execFile, execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gunzipSync } from 'node:zlib';
import t from 'tap';
import type { Job } from '../../agents/build-vm/jobs/job-document.js';
import { until } from '../support/until.js';
import { BuildVm, endOutside, makeOutside } from './build-vm.js';
import { tinyPackage, tinyRules, writeKeys, type TreeFile } from './forge.js';
import { publishRecord } from './logs-record.js';

const needsRoot = process.getuid?.() === 0 ? {} : { skip: 'makes chroots, which needs root here' };
const outside = await makeOutside();
t.teardown(() => endOutside(outside));
const logsKey = outside.keys.make('logs');
const publish = publishRecord(outside.keys);
const people = [
  {
    name: 'alice',
    fingerprint: outside.alice.fingerprint,
    verbs: ['Upload-component', 'Build-component', 'Retry', 'Build-template', 'Rebuild-component'],
    components: 'all',
    distributions: 'all',
    repositories: ['current', 'security-testing'],
    templates: 'all',
  },
];
let signedBefore = 0;
/** Each a second later than the last: the same words signed in the same second are the same command. */
async function clearsign(line: string): Promise<string> {
  await until('the next second', () => Math.floor(Date.now() / 1000) > signedBefore);
  signedBefore = Math.floor(Date.now() / 1000);
  return outside.keys.gpg(['--clearsign', '--local-user', outside.alice.fingerprint], `${line}\n`).toString();
}

/** Versions of the package that a suite of the public repository offers. */
function offered(name: string, suite: string): string[] {
  const folder = join(outside.apt.folder, name, 'bookworm/dists', `bookworm-${suite}`, 'main/binary-amd64');
  const text = existsSync(join(folder, 'Packages'))
    ? readFileSync(join(folder, 'Packages'), 'utf8')
    : gunzipSync(readFileSync(join(folder, 'Packages.gz'))).toString();
  return [...text.matchAll(/^Package: hello-tiny\n(?:.+\n)*?Version: (.*)$/gm)].map(
    (line) => line[1] as string,
  );
}

/** One package of an architecture, and one for all of them. */
function twoPackages(version: string): TreeFile[] {
  const rules = tinyRules.replace(
    'binary-arch:\nbinary-indep: build',
    `binary-indep:
\tmkdir -p debian/hello-tiny-doc/DEBIAN
\tdpkg-gencontrol -phello-tiny-doc -Pdebian/hello-tiny-doc
\tdpkg-deb --root-owner-group --build debian/hello-tiny-doc ..
binary-arch: build`,
  );
  return tinyPackage(version, [], rules).map((file) =>
    file.path === 'debian/control'
      ? {
          ...file,
          content: `${file.content?.replace('Architecture: all', 'Architecture: any\nDepends: hello-tiny-doc (= ${source:Version})') ?? ''}\nPackage: hello-tiny-doc\nArchitecture: all\nDescription: its words\n Many.\n`,
        }
      : file,
  );
}

void t.test(
  'a version waits in testing, goes on by a signed command, once, and never comes back when it was withdrawn',
  needsRoot,
  async (t) => {
    const source = outside.forge.create('promoted');
    const record = outside.forge.create('record');
    record.git(['symbolic-ref', 'HEAD', 'refs/heads/main']);
    const start = 1_790_000_000;
    let clock = start;
    let head: string | undefined;
    const tell = (log: string): string => (head = publish(record, clock++, log, logsKey, head));
    const commands = { releases: ['r4.3'], windowSeconds: 86_400, distributionWords: [], people };
    const component = {
      name: 'hello-tiny',
      url: outside.forge.url('promoted'),
      tag: 'v{version}',
      maintainers: [{ name: 'alice', fingerprint: outside.alice.fingerprint }],
      requiredSignatures: 1,
    };
    const vm = new BuildVm(outside, 'promoted', {
      components: [
        {
          ...component,
          lines: [
            { name: 'main', distributions: ['bookworm'] },
            { name: '0.9', versions: '0.9', distributions: ['bookworm'], suites: 'maint' },
          ],
        },
      ],
      // A package's version is not its tag's.
      distributions: [
        { name: 'bookworm', engine: 'debian', packages: 'deb', options: { suffix: '+deb12u1' } },
      ],
      commands,
      publication: { url: outside.forge.url('record'), logsKey: logsKey.fingerprint },
      promotion: { minAgeDays: 5 },
    });
    writeKeys(join(vm.root, '/rw/config/build-infra/public-keys'), [logsKey]);
    t.teardown(() => vm.end());
    await vm.start();
    vm.receiver.publish = (log) => tell(log.path);

    const build = async (
      version: string,
    ): Promise<{ job: Job; commit: string; upload: (suite: string) => string }> => {
      const { commit } = source.release(outside.keys, [outside.alice], `v${version}`, twoPackages(version));
      const job = await vm.over((await vm.trigger()).split(' ')[1] as string);
      t.equal(job.state, 'done', vm.receiver.text().slice(-3000));
      return { job, commit, upload: (suite) => `Upload-component r4.3 hello-tiny ${commit} ${suite} all` };
    };
    const ask = async (line: string): Promise<Job | string> => {
      const answer = await vm.command(await clearsign(line));
      return answer.startsWith('accepted ') ? await vm.over(answer.slice('accepted '.length)) : answer;
    };

    const first = await build('1.0-1');
    t.same([offered('promoted', 'current-testing'), offered('promoted', 'current')], [['1.0-1+deb12u1'], []]);
    const tooEarly = await ask(first.upload('current'));
    t.match(tooEarly, { kind: 'promotion', state: 'refused', reason: { code: 'TOO_YOUNG' } });
    const from = /5 are needed, which is from (\d{4}-\d{2}-\d{2}T\d{2}:\d{2}Z) on$/.exec(
      (tooEarly as Job).reason?.detail ?? '',
    )?.[1];
    const early = Date.parse(from ?? '') / 1000 - (clock + 5 * 86_400);
    t.ok(early >= 0 && early <= 60, `allowed from ${from}, ${early} s after it was published five days ago`);
    t.same(offered('promoted', 'current'), []);

    await t.test('five days later by the public record, and the local clock has no say', async (t) => {
      clock += 5 * 86_400;
      tell('build-debian/log_of_others');
      const comment = await clearsign(first.upload('current'));
      const answer = await vm.command(comment);
      const job = await vm.over(answer.slice('accepted '.length));
      t.match(
        job,
        {
          kind: 'promotion',
          state: 'done',
          dists: ['bookworm'],
          uploaded: [{ suite: 'bookworm-current' }],
          change: { of: first.job.job, suite: 'current', command: { signer: { name: 'alice' } } },
        },
        vm.receiver.text().slice(-3000),
      );
      t.same(
        [
          offered('promoted', 'current-testing'),
          offered('promoted', 'current'),
          offered('promoted', 'security-testing'),
        ],
        [['1.0-1+deb12u1'], ['1.0-1+deb12u1'], []],
      );
      t.same(job.uploaded[0]?.files, first.job.uploaded[0]?.files, 'the same bytes came back');
      const log = vm.receiver.ofStage('promote').at(-1)?.lines.join('\n') ?? '';
      for (const said of [
        /command [0-9a-f]{64} of alice [0-9A-F]{40}, signed .*Upload-component/,
        /in current-testing since 2026-.*: 5\.\d\d days/,
        /read back \d files/,
      ])
        t.match(log, said);
      t.equal(await vm.command(comment), 'refused COMMAND_USED');
    });

    const second = await build('1.0-2');
    await t.test('a security fix does not wait', async (t) => {
      t.match(await ask(second.upload('security-testing')), {
        state: 'done',
        priority: 10,
        uploaded: [{ suite: 'bookworm-security-testing' }],
      });
      t.same(
        [offered('promoted', 'current'), offered('promoted', 'security-testing')],
        [['1.0-1+deb12u1'], ['1.0-2+deb12u1']],
      );
    });

    await t.test('killed while it signs, it goes on', async (t) => {
      clock += 5 * 86_400;
      tell('build-debian/log_of_others2');
      vm.beforeSigning(
        `case "$*" in *--reprepro-sign*) if ! [ -e '${vm.root}/once' ]; then touch '${vm.root}/once'; exec sleep 77.8; fi ;; esac\n`,
      );
      const answer = await vm.command(await clearsign(second.upload('current')));
      await until('reprepro to sign', () => existsSync(join(vm.root, 'once')), 60);
      await vm.kill();
      t.same(offered('promoted', 'current'), ['1.0-1+deb12u1']);
      await vm.start();
      vm.receiver.publish = (log) => tell(log.path);
      t.match(await vm.over(answer.slice('accepted '.length)), { state: 'done' });
      t.same(offered('promoted', 'current'), ['1.0-2+deb12u1']);
    });

    await t.test('an older version does not come back over a newer one', async (t) => {
      t.equal(await ask(first.upload('current')), 'refused NEWER_IN_SUITE');
      t.equal(await ask(first.upload('security-testing')), 'refused NEWER_IN_SUITE');
    });

    await t.test(
      'rebuilt by command: higher than the source, which is not published again, and it goes the same way',
      async (t) => {
        const rebuild = (number: number): string =>
          `Rebuild-component r4.3 hello-tiny ${second.commit} ${number} bookworm`;
        const rebuilt = (await ask(rebuild(2))) as Job;
        t.match(
          rebuilt,
          { state: 'done', version: '1.0-2', rebuild: { of: second.job.job, number: 2 } },
          vm.receiver.text().slice(-3000),
        );
        t.match(
          rebuilt.uploaded[0]?.files.map(({ name }) => name),
          [/^hello-tiny_1\.0-2\+deb12u1\+b2_amd64\.deb$/],
          'neither source nor the package for all architectures',
        );
        t.equal(rebuilt.uploaded[0]?.files.length, 1);
        t.same(
          [offered('promoted', 'current-testing'), offered('promoted', 'current')],
          [['1.0-2+deb12u1+b2'], ['1.0-2+deb12u1']],
        );
        const log = vm.receiver.ofStage('build').at(-1)?.lines.join('\n');
        for (const said of [
          /rebuilt from the source of hello-tiny-1\.0-2-/,
          /command [0-9a-f]{64} of alice .*: Rebuild-component/,
          /evidence \{"sha256"/,
          /dpkg-buildpackage -us -uc -B/,
        ])
          t.match(log, said);
        const intent = JSON.parse(
          readFileSync(
            join(vm.root, '/var/lib/build-infra/jobs', rebuilt.job, 'gpg-job-bookworm.json'),
            'utf8',
          ),
        ) as { artifacts: { name: string }[] };
        t.same(
          intent.artifacts.filter(({ name }) => name.endsWith('.json')).map(({ name }) => name),
          ['source-evidence.json', 'signed-command.json'],
          'each intent names who commanded it',
        );
        t.equal(await ask(rebuild(2)), 'refused ALREADY_BUILT');
        t.equal(await ask(rebuild(3).replace(second.commit, first.commit)), 'refused ROLLBACK');

        // apt itself: what it would upgrade to, and that its dependency is there.
        const root = mkdtempSync(join(tmpdir(), 'bi-apt-'));
        t.teardown(() => rmSync(root, { recursive: true, force: true }));
        for (const folder of ['lists/partial', 'cache/archives/partial', 'log'])
          mkdirSync(join(root, folder), { recursive: true });
        const old = readdirSync(join(outside.apt.folder, 'promoted/bookworm/pool'), {
          recursive: true,
          encoding: 'utf8',
        }).find((name) => name.endsWith('hello-tiny_1.0-2+deb12u1_amd64.deb')) as string;
        const paragraphs = ['hello-tiny', 'hello-tiny-doc'].map(
          (name) =>
            `Package: ${name}\nStatus: install ok installed\nPriority: optional\nSection: misc\nMaintainer: A <a@example.org>\nArchitecture: ${name === 'hello-tiny' ? 'amd64' : 'all'}\nVersion: 1.0-2+deb12u1\nDescription: x\n`,
        );
        t.ok(old, 'what it replaces is in the pool as long as a suite has it');
        writeFileSync(join(root, 'status'), paragraphs.join('\n'));
        const key = join(root, 'key.asc');
        writeFileSync(key, outside.signer.armored);
        writeFileSync(
          join(root, 'sources.list'),
          `deb [signed-by=${key}] http://127.0.0.1:${outside.apt.httpPort}/promoted/bookworm bookworm-current-testing main\n`,
        );
        const apt = async (...words: string[]): Promise<string> =>
          (
            await promisify(execFile)('apt-get', [
              '-o',
              `Dir=${root}`,
              '-o',
              `Dir::State=${root}`,
              '-o',
              `Dir::State::status=${root}/status`,
              '-o',
              `Dir::Etc::SourceList=${root}/sources.list`,
              '-o',
              'Dir::Etc::SourceParts=-',
              '-o',
              `Dir::Cache=${root}/cache`,
              '-o',
              `Dir::Log=${root}/log`,
              '-o',
              'APT::Architecture=amd64',
              '-o',
              'APT::Sandbox::User=root',
              ...words,
            ])
          ).stdout;
        await apt('update');
        t.match(
          await apt('--simulate', 'upgrade'),
          /^Inst hello-tiny \[1\.0-2\+deb12u1\] \(1\.0-2\+deb12u1\+b2 /m,
        );

        clock += 5 * 86_400;
        tell('build-debian/log_of_others3');
        t.match(await ask(second.upload('current')), { state: 'done', change: { of: rebuilt.job } });
        t.same(offered('promoted', 'current'), ['1.0-2+deb12u1+b2']);
      },
    );

    await t.test('a maintained line goes on beside it, in suites of its own', async (t) => {
      const there = existsSync(join(outside.apt.folder, 'promoted/bookworm/dists/bookworm-maint-current'));
      const before = [offered('promoted', 'current-testing'), offered('promoted', 'current')];
      const old = await build('0.9-1');
      t.match(old.job, {
        line: '0.9',
        suites: 'maint',
        uploaded: [{ suite: 'bookworm-maint-current-testing' }],
      });
      t.notOk(there, 'its suites come with its first package');
      t.match(await ask(old.upload('current')), {
        state: 'refused',
        reason: { code: 'TOO_YOUNG', detail: /^in maint-current-testing/ },
      });
      clock += 5 * 86_400;
      tell('build-debian/log_of_others4');
      t.match(
        await ask(old.upload('current')),
        {
          state: 'done',
          change: { suite: 'maint-current' },
          uploaded: [{ suite: 'bookworm-maint-current' }],
        },
        vm.receiver.text().slice(-3000),
      );
      t.same(
        [
          'maint-current-testing',
          'maint-current',
          'maint-security-testing',
          'current-testing',
          'current',
        ].map((suite) => offered('promoted', suite)),
        [['0.9-1+deb12u1'], ['0.9-1+deb12u1'], [], ...before],
        'the higher line is as it was',
      );
      // Whatever the command says, a line's packages stay among its suites; and nothing older comes back to
      // it.
      const newer = await build('0.9-2');
      t.match(await ask(newer.upload('security-testing')), {
        state: 'done',
        uploaded: [{ suite: 'bookworm-maint-security-testing' }],
      });
      t.equal(await ask(old.upload('security-testing')), 'refused NEWER_IN_SUITE');
      t.match(await ask(`Rebuild-component r4.3 hello-tiny ${newer.commit} 1 bookworm`), {
        state: 'done',
        suites: 'maint',
        uploaded: [{ suite: 'bookworm-maint-current-testing' }],
      });
      t.same(offered('promoted', 'maint-current-testing'), ['0.9-2+deb12u1+b1']);
    });

    await t.test('what was withdrawn is gone from every suite and no command brings it back', async (t) => {
      const spool = join(vm.root, '/var/lib/build-infra/spool');
      const kept = await clearsign(second.upload('current'));
      const order = async (name: string, line: string): Promise<string> => {
        writeFileSync(join(spool, `.${name}`), `${line}\n`);
        renameSync(join(spool, `.${name}`), join(spool, `${name}.cmd`));
        return await until('the answer', () =>
          existsSync(join(spool, 'answers', `${name}.answer`))
            ? readFileSync(join(spool, 'answers', `${name}.answer`), 'utf8').trim()
            : undefined,
        );
      };
      t.match(await order('a', 'withdraw hello-tiny 9.9-9'), /UNKNOWN_VERSION/);
      const answer = await order('b', 'withdraw hello-tiny 1.0-2');
      t.match(answer, /^queued withdrawal-hello-tiny-1\.0-2-[0-9a-f]{12}$/);
      t.match(
        await vm.over(answer.slice('queued '.length)),
        { kind: 'withdrawal', state: 'done' },
        vm.receiver.text().slice(-3000),
      );
      t.same(
        [
          offered('promoted', 'current-testing'),
          offered('promoted', 'current'),
          offered('promoted', 'security-testing'),
        ],
        [[], [], []],
      );
      t.equal(await vm.command(kept), 'refused WITHDRAWN');
      t.equal(await ask(second.upload('security-testing')), 'refused WITHDRAWN');
      t.match(vm.receiver.ofStage('withdraw').at(-1)?.lines.join('\n'), /is offered by no suite/);
      t.match(
        await ask(first.upload('current')),
        { state: 'refused', reason: { code: 'NOT_IN_SUITE' } },
        'the one before gave its place in testing to the withdrawn one',
      );
    });

    await t.test('a record that was rewritten, or lies elsewhere, promotes nothing', async (t) => {
      const third = await build('1.0-3');
      clock += 6 * 86_400;
      const good = head;
      tell('build-debian/log_x');
      record.git([
        'update-ref',
        'refs/heads/main',
        publish(record, clock + 100, 'build-debian/log_y', logsKey),
      ]);
      t.match(await ask(third.upload('current')), { state: 'refused', reason: { code: 'RECORD_REWRITTEN' } });
      t.not(good, undefined);
    });
    t.equal(
      execFileSync('find', [join(vm.root, '/var/lib/build-infra/apt'), '-name', 'lockfile'], {
        encoding: 'utf8',
      }),
      '',
      'no lock is left',
    );
  },
);
