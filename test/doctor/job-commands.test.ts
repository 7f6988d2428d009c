// SPDX-License-Identifier: GPL-2.0-or-later
// `build-infra jobs` and `jobs show JOB`, by the program as people start it.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import t from 'tap';
import { folder, top } from './vm-tree.js';

const root = folder(t);
const program = join(top, 'out/agents/vm-commands/main.js');
const run = (...args: string[]): { status: number | null; stdout: string; stderr: string } => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...args], {
    encoding: 'utf8',
    env: { PATH: '/usr/bin:/bin', BUILD_INFRA_ROOT: root },
  });
  return { status, stdout, stderr };
};
const hex = (digit: string, length: number): string => digit.repeat(length);
const file = { name: 'hello_1.0-1_all.deb', size: 1234, sha256: hex('9', 64) };
const common = {
  component: 'hello',
  url: 'https://forge.example/hello.git',
  env: 'debian',
  dists: ['bookworm', 'trixie'],
  created: '2026-11-20T10:00:00.000Z',
  logs: [],
  artifacts: [],
  uploaded: [],
  evidence: null,
  sourceDateEpoch: null,
  reason: null,
  ended: null,
  finished: [],
  tagObject: hex('1', 40),
};
const second = {
  format: 'build-infra/job@2',
  kind: 'build',
  change: null,
  priority: 0,
  configuration: { common: hex('0', 64), dists: {} },
  running: [],
  waiting: [],
  reasons: [],
};
const log = 'build-debian/2026-11-20/log_2026-11-20_10-00-00';
const jobs: Record<string, object> = {
  'hello-1.0-1-aaaaaaaaaaaa': {
    ...common,
    ...second,
    number: 2,
    version: '1.0-1',
    tag: 'v1.0-1',
    state: 'failed',
    ended: '2026-11-20T11:00:00.000Z',
    priority: 7,
    configuration: { common: hex('2', 64), dists: { trixie: hex('3', 64) } },
    reason: { code: 'BUILD_FAILED', detail: 'hostile \u001b[2J\nline \u202e' },
    reasons: [
      { stage: 'build', dist: 'trixie', code: 'BUILD_FAILED', detail: 'hostile \u001b[2J\nline \u202e' },
    ],
    finished: [
      {
        stage: 'fetch',
        dist: null,
        started: '2026-11-20T10:00:00.000Z',
        ended: '2026-11-20T10:00:12.500Z',
        commandSeconds: 10,
      },
    ],
    logs: [
      { stage: 'fetch', dist: null, path: log, commit: hex('4', 40) },
      { stage: 'build', dist: 'trixie', path: `${log}.1`, commit: null },
    ],
    evidence: {
      url: '',
      tag: '',
      tagObject: '',
      commit: hex('5', 40),
      tree: hex('6', 40),
      tagger: 'Alice <alice@example.org>',
      signers: [{ name: 'alice', fingerprint: hex('A', 40), signed: '2026-11-19T00:00:00.000Z' }],
      manifest: { files: 3, bytes: 4, sha256: hex('7', 64) },
    },
    artifacts: [{ dist: 'bookworm', files: [file] }],
    uploaded: [
      {
        dist: 'bookworm',
        url: 'https://packages.example/bookworm',
        suite: 'bookworm-current-testing',
        release: `000001-${hex('8', 12)}`,
        files: [file],
      },
    ],
    switched: ['bookworm', 'trixie'].map((dist) => ({
      dist,
      url: `https://packages.example/${dist}`,
      suite: `${dist}-current-testing`,
      release: `000001-${hex('8', 12)}`,
      files: [file],
    })),
  },
  'hello-0.9-1-bbbbbbbbbbbb': {
    ...common,
    ...second,
    number: 1,
    version: '0.9-1',
    tag: 'v0.9-1',
    state: 'queued',
    waiting: [
      { dist: null, code: 'NO_LOG_SINK', detail: 'build-logs is away', since: '2026-11-20T10:30:00.000Z' },
    ],
  },
  'other-3-1-cccccccccccc': {
    ...common,
    ...second,
    number: 10,
    component: 'other',
    version: '3-1',
    tag: 'v3-1',
    state: 'running',
    running: [{ stage: 'build', dist: 'trixie', started: '2026-11-20T10:01:00.000Z' }],
    waiting: [
      {
        dist: 'bookworm',
        code: 'NO_CHROOT',
        detail: 'the mirror is away',
        since: '2026-11-20T10:02:00.000Z',
      },
    ],
  },
};
const order = {
  sha256: hex('b', 64),
  line: 'Build-template r4.3 debian-13 202611201000',
  signer: { name: 'alice', fingerprint: hex('A', 40) },
  signed: '2026-11-20T10:00:00.000Z',
};
const ofTemplate = {
  ...common,
  ...second,
  component: 'qubes-template-debian-13',
  version: '4.3.0-202611201000',
  tag: '',
  tagObject: '',
  url: '',
  dists: ['templates-r4.3'],
  state: 'done',
  ended: '2026-11-20T12:00:00.000Z',
  template: { name: 'debian-13', release: 'r4.3', timestamp: '202611201000', command: order },
};
const templateJobs: Record<string, object> = {
  'qubes-template-debian-13-4.3.0-202611201000-dddddddddddd': {
    ...ofTemplate,
    number: 11,
    kind: 'template',
    change: null,
  },
  'promotion-qubes-template-debian-13-4.3.0-202611201000-eeeeeeeeeeee': {
    ...ofTemplate,
    number: 12,
    kind: 'promotion',
    configuration: null,
    change: {
      of: 'qubes-template-debian-13-4.3.0-202611201000-dddddddddddd',
      suite: 'templates-itl',
      command: {
        ...order,
        line: 'Upload-template r4.3 debian-13 4.3.0-202611201000 templates-itl',
        signer: { name: 'bob', fingerprint: hex('B', 40) },
      },
    },
  },
};

t.match(
  run('jobs'),
  { status: 1, stderr: /refused NO_STATUS no build agent has run here/ },
  'before the agent ran',
);
mkdirSync(join(root, 'var/lib/build-infra/jobs'), { recursive: true });
t.match(run('jobs'), { status: 0, stdout: 'no job yet\n' }, 'an empty farm');
for (const [id, job] of Object.entries(jobs)) {
  mkdirSync(join(root, 'var/lib/build-infra/jobs', id));
  writeFileSync(
    join(root, 'var/lib/build-infra/jobs', id, 'job.json'),
    `${JSON.stringify({ job: id, ...job }, null, 1)}\n`,
  );
}
mkdirSync(join(root, 'var/lib/build-infra/jobs/left-over'));

await t.test('all jobs are listed, newest first, one line each', async (t) => {
  const { status, stdout } = run('jobs');
  t.equal(status, 0);
  t.match(
    stdout,
    /^running  build      other-3-1-c{12}  since 2026-11-20T10:00:00\.000Z\nfailed   build      hello-1\.0-1-a{12}  2026-11-20T11:00:00\.000Z  BUILD_FAILED hostile \.\[2J\.line \.\nqueued   build      hello-0\.9-1-b{12}  since [^\n]*\n$/,
  );
});

await t.test('jobs are chosen by component and by state', async (t) => {
  const listed = (...args: string[]): string[] =>
    (JSON.parse(run('jobs', ...args, '--json').stdout) as { jobs: { job: string }[] }).jobs.map(({ job }) =>
      job.slice(0, -13),
    );
  t.same(listed(), ['other-3-1', 'hello-1.0-1', 'hello-0.9-1']);
  t.same(listed('--component', 'hello'), ['hello-1.0-1', 'hello-0.9-1']);
  t.same(listed('--state', 'failed'), ['hello-1.0-1']);
  t.same(listed('--component', 'other', '--state', 'failed'), []);
  t.match(run('jobs', '--component', 'nothing').stdout, /^none of 3 jobs is so\n$/);
  t.same(listed('--kind', 'build', '--limit', '2'), ['other-3-1', 'hello-1.0-1']);
  t.same(listed('--kind', 'promotion'), []);
  t.same(listed('--component', 'hello', '--limit', '1'), ['hello-1.0-1']);
  t.same(listed('--since', '2026-11-20'), ['other-3-1', 'hello-1.0-1', 'hello-0.9-1']);
  t.same(listed('--since', '2026-11-20T10:00:00Z', '--limit', '9'), [
    'other-3-1',
    'hello-1.0-1',
    'hello-0.9-1',
  ]);
  t.same(listed('--since', '2026-11-20T10:00:01Z'), []);
  for (const [option, value, says] of [
    ['--kind', 'builds', /a kind is one of build template promotion withdrawal renewal/],
    ['--since', 'yesterday', /a time is a day/],
    ['--since', '2026-13-01', /a time is a day/],
    ['--limit', '0', /a limit is a number/],
    ['--limit', '-1', /a limit is a number/],
    ['--limit', '1e3', /a limit is a number/],
  ] as const)
    t.match(run('jobs', option, value), { status: 1, stdout: '', stderr: says }, `${option} ${value}`);
  t.match(run('jobs', '--state', 'broken'), {
    status: 1,
    stdout: '',
    stderr: /refused BAD_COMMAND a state is one of queued running done failed refused/,
  });
});

await t.test('one job is shown with everything that is known', async (t) => {
  const { status, stdout } = run('jobs', 'show', 'hello-1.0-1-aaaaaaaaaaaa');
  t.equal(status, 0);
  for (const line of [
    /^state +failed: BUILD_FAILED hostile \.\[2J\.line \.$/m,
    /^component +hello 1\.0-1, of https:/m,
    /^for +debian: bookworm trixie$/m,
    /^made +2026-11-20T10:00:00\.000Z, priority 7$/m,
    /^tag +v1\.0-1$/m,
    /^tag object +1{40}$/m,
    /^commit +5{40}$/m,
    /^tree +6{40}$/m,
    /^tag signed by +alice A{40}, 2026-11-19/m,
    /^source +3 files, 4 bytes, manifest sha256:7{64}$/m,
    /^configuration +sha256:2{64}$/m,
    /^ +trixie sha256:3{64}$/m,
    /^ {2}build trixie: BUILD_FAILED/m,
    /^ {2}fetch: .*, 12\.5 s \(overhead 2\.5 s\)$/m,
    new RegExp(`^  fetch: ${log}  commit 4{40}$`, 'm'),
    new RegExp(`^  build trixie: ${log}\\.1  not published whole$`, 'm'),
    /^built for bookworm\n {2}9{64} {2}1234 {2}hello_1\.0-1_all\.deb$/m,
    /^read back from https:\/\/packages\.example\/bookworm bookworm-current-testing, release 000001-8{12}\n {2}9{64}/m,
  ])
    t.match(stdout, line);
  t.match(
    stdout,
    /^perhaps public, not read back from https:\/\/packages\.example\/trixie trixie-current-testing, release 000001-8{12}\n {2}9{64}/m,
    'what nobody read back may be public',
  );
  t.notMatch(stdout, /perhaps public.*bookworm/);
  t.notMatch(stdout, /[^\n\x20-\x7e]/, 'nothing can draw on the terminal');
});

await t.test('what runs and what waits is shown', async (t) => {
  t.match(
    run('jobs', 'show', 'other-3-1-cccccccccccc').stdout,
    /\nrunning\n {2}build trixie since .*\nwaiting\n {2}bookworm: NO_CHROOT the mirror is away, since /,
  );
  t.match(
    run('jobs', 'show', 'hello-0.9-1-bbbbbbbbbbbb').stdout,
    /\nnot verified yet\n(?:.*\n)*waiting\n {2}NO_LOG_SINK build-logs is away, since /,
  );
});

await t.test('logs are shown by their address where it is configured', async (t) => {
  mkdirSync(join(root, 'rw/config/build-infra'), { recursive: true });
  writeFileSync(
    join(root, 'rw/config/build-infra/build.json'),
    JSON.stringify({ logsUrl: 'https://forge.example/logs/{commit}/{path}' }),
  );
  const { stdout } = run('jobs', 'show', 'hello-1.0-1-aaaaaaaaaaaa');
  t.match(stdout, `  fetch: https://forge.example/logs/${hex('4', 40)}/${log}  commit`);
  t.match(
    stdout,
    `  build trixie: ${log}.1  not published whole`,
    'an address that needs a commit has none yet',
  );
});

await t.test('programs get the document as it stands on disk', async (t) => {
  t.equal(
    run('jobs', 'show', 'hello-1.0-1-aaaaaaaaaaaa', '--json').stdout,
    readFileSync(join(root, 'var/lib/build-infra/jobs/hello-1.0-1-aaaaaaaaaaaa/job.json'), 'utf8'),
  );
});

for (const [name, id, says] of [
  [
    'an unknown job',
    'hello-9-9-dddddddddddd',
    /refused UNKNOWN_JOB there is no such job: build-infra jobs lists them/,
  ],
  [
    'the beginning of one',
    'hello-1.0',
    /refused UNKNOWN_JOB there is no such job; there is hello-1\.0-1-a{12}/,
  ],
  ['a path', '../../../etc', /refused UNKNOWN_JOB/],
  ['a folder that is no job', 'left-over', /refused UNKNOWN_JOB/],
] as const)
  await t.test(`${name} is answered clearly`, async (t) =>
    t.match(run('jobs', 'show', id), { status: 1, stdout: '', stderr: says }),
  );

for (const args of [
  ['jobs', 'show'],
  ['jobs', 'list'],
  ['jobs', 'show', 'a', 'b'],
  ['status', '--state', 'done'],
  ['jobs', '--online'],
]) {
  await t.test(`"${args.join(' ')}" is not understood, and the answer says what to read`, async (t) =>
    t.match(run(...args), {
      status: 2,
      stdout: '',
      stderr: /^build-infra[ a-z]*: .+\n\(build-infra[ a-z]* --help tells more\)\n$/,
    }),
  );
}

await t.test(
  'a template is shown with the command that it was built by, and its promotion with both',
  async (t) => {
    for (const [id, job] of Object.entries(templateJobs)) {
      mkdirSync(join(root, 'var/lib/build-infra/jobs', id));
      writeFileSync(
        join(root, 'var/lib/build-infra/jobs', id, 'job.json'),
        `${JSON.stringify({ job: id, ...job }, null, 1)}\n`,
      );
    }
    const [build, promotion] = Object.keys(templateJobs).map((id) => run('jobs', 'show', id).stdout) as [
      string,
      string,
    ];
    for (const line of [
      /^kind +template$/m,
      /^component +qubes-template-debian-13 4\.3\.0-202611201000$/m,
      /^for +debian: templates-r4\.3$/m,
      /^template +debian-13 of r4\.3, 202611201000$/m,
      /^built by +Build-template r4\.3 debian-13 202611201000\ncommanded by +alice A{40}, 2026-11-20T10:00:00\.000Z\n +command sha256:b{64}$/m,
    ])
      t.match(build, line);
    t.notMatch(build, /^tag|not verified yet|undefined|null/m);
    t.match(
      promotion,
      /^moves +qubes-template-debian-13-.*-d{12}, from templates-itl-testing to templates-itl\npromoted by +Upload-template r4\.3 debian-13 4\.3\.0-202611201000 templates-itl\ncommanded by +bob B{40}/m,
    );
    t.match(promotion, /^built by +Build-template/m);
  },
);

await t.test('the list says of each job its kind, what moved, and whose command that was', async (t) => {
  const { jobs: listed } = JSON.parse(run('jobs', '--json').stdout) as { jobs: { kind: string }[] };
  t.match(listed.slice(0, 3), [
    {
      kind: 'promotion',
      move: {
        of: 'qubes-template-debian-13-4.3.0-202611201000-dddddddddddd',
        from: 'templates-itl-testing',
        to: 'templates-itl',
      },
      command: {
        line: 'Upload-template r4.3 debian-13 4.3.0-202611201000 templates-itl',
        signer: { name: 'bob' },
        signed: order.signed,
      },
    },
    { kind: 'template', move: null, command: { line: order.line, signer: { name: 'alice' } } },
    { kind: 'build', move: null, command: null, dists: ['bookworm', 'trixie'] },
  ]);
  t.match(
    run('jobs').stdout,
    /^done     promotion  promotion-qubes-.*  2026-11-20T12:00:00\.000Z  from templates-itl-testing to templates-itl  commanded by bob 2026-11-20T10:00:00\.000Z: Upload-template .*\ndone     template   qubes-template-.*  commanded by alice .*: Build-template/,
  );
});

await t.test('names of any language are whole, and nothing in them draws or turns text around', async (t) => {
  const id = 'hello-1.1-1-ffffffffffff';
  const detail = (words: string): object => ({ code: 'BAD_SIGNATURE', detail: words });
  for (const [name, shown] of [
    ['Górecki', 'Górecki'],
    ['Ж 李 ع 🦊', 'Ж 李 ع 🦊'],
    ['e\u0301', 'e\u0301'],
    ['a\u001b[2Jb\nc\td\u0007\u009b', 'a.[2Jb.c.d..'],
    ['\u202egnp.exe\u2066\u2069\u200f', '.gnp.exe...'],
    ['\u2028\u2029\u200b\ufeff\u00ad\u{e0041}\ud800', '.......'],
  ] as const) {
    mkdirSync(join(root, 'var/lib/build-infra/jobs', id), { recursive: true });
    writeFileSync(
      join(root, 'var/lib/build-infra/jobs', id, 'job.json'),
      JSON.stringify({
        ...{ job: id, ...common, ...second, number: 20, version: '1.1-1', tag: `v${name}`, state: 'refused' },
        ...{ ended: '2026-11-21T00:00:00.000Z', reason: detail(name) },
      }),
    );
    t.match(run('jobs').stdout, `Z  BAD_SIGNATURE ${shown}\n`, shown);
    const { stdout } = run('jobs', 'show', id);
    t.match(stdout, `: BAD_SIGNATURE ${shown}\n`, shown);
    t.match(stdout, `\ntag            v${shown}\n`, shown);
  }
});

await t.test('a damaged document hides no other job, and is named', async (t) => {
  const id = 'hello-7-1-ffffffffffff';
  const path = join(root, 'var/lib/build-infra/jobs', id, 'job.json');
  const before = (JSON.parse(run('jobs', '--json').stdout) as { jobs: unknown[] }).jobs;
  for (const [what, lay] of [
    ['cut', () => writeFileSync(path, '{"format": "build-infra/job@2", ')],
    ['empty', () => writeFileSync(path, '')],
    ['zeroed', () => writeFileSync(path, Buffer.alloc(4096))],
    ['no UTF-8', () => writeFileSync(path, Buffer.from([0x22, 0xff, 0x22]))],
    ['of another release', () => writeFileSync(path, '{"format": "build-infra/job@9"}')],
    ['a list', () => writeFileSync(path, '[]')],
    [
      'of another job',
      () =>
        writeFileSync(
          path,
          JSON.stringify({ job: 'other-3-1-cccccccccccc', ...jobs['other-3-1-cccccccccccc'] }),
        ),
    ],
    ['a folder', () => mkdirSync(path)],
    ['a loop of links', () => symlinkSync('job.json', path)],
  ] as const) {
    rmSync(dirname(path), { recursive: true, force: true });
    mkdirSync(dirname(path));
    lay();
    t.match(
      run('jobs', '--component', 'hello'),
      { status: 0, stdout: /^damaged  hello-7-1-f{12}\/job\.json: .+\n(?:.+\n)*.*hello-1\.0-1-a{12}/ },
      what,
    );
    t.match(
      JSON.parse(run('jobs', '--json').stdout),
      { jobs: before, damaged: [{ job: id, fault: /./ }] },
      what,
    );
    t.match(run('jobs', 'show', id), { status: 1, stderr: /refused BAD_DOCUMENT hello-7-1-/ }, what);
  }
});
