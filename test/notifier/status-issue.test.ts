// SPDX-License-Identifier: GPL-2.0-or-later
// One issue for a component's version, its comments, labels and commands.
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { SubjectStates } from '../../agents/notifier/subject-state.js';
import { account, bodies, commitId, notification, place } from './notifying.js';

void t.test('a build from beginning to stable has one issue, with the labels of each moment', async (t) => {
  const { tell, onlyIssue } = await place(t);
  const moments: [Parameters<typeof notification>[0], string[]][] = [
    [{ event: 'building' }, ['r4.3-vm-bookworm-building']],
    [{ event: 'failed' }, ['r4.3-vm-bookworm-failed']],
    [{ event: 'building', job: 'hello-1.2-3-2' }, ['r4.3-vm-bookworm-building']],
    [{ event: 'built' }, []],
    [{ event: 'uploaded', repository: 'current-testing' }, ['r4.3-vm-bookworm-cur-test']],
    [{ event: 'building', dist: 'trixie' }, ['r4.3-vm-bookworm-cur-test', 'r4.3-vm-trixie-building']],
    [
      { event: 'uploaded', dist: 'trixie', repository: 'security-testing' },
      ['r4.3-vm-bookworm-cur-test', 'r4.3-vm-trixie-sec-test'],
    ],
    [
      { event: 'uploaded', repository: 'current' },
      ['r4.3-stable', 'r4.3-vm-bookworm-stable', 'r4.3-vm-trixie-sec-test'],
    ],
  ];
  for (const [event, labels] of moments) {
    await tell(notification(event));
    t.strictSame(onlyIssue().labels.toSorted(), labels, JSON.stringify(event));
  }
  t.equal(onlyIssue().title, 'hello 1.2-3 (r4.3)');
  t.equal(onlyIssue().comments.length, 5, 'building has no comment, all else has one');
  t.match(
    bodies(onlyIssue())[0],
    /`hello-1.2-3` for vm bookworm failed to build \(\[build log\]\(https:\/\/github\.example\/example\/build-logs\/blob\/b{40}\/build-debian\/2026-11-22\/log_2026-11-22_05-00-00\)\)/,
  );
});

void t.test('the body has the lines to sign, with the commit that was built', async (t) => {
  const { tell, onlyIssue } = await place(t);
  await tell(notification());
  const { body } = onlyIssue();
  t.match(body, `\`Upload-component r4.3 hello ${commitId} current vm-bookworm,vm-trixie\``);
  t.match(body, `\`Upload-component r4.3 hello ${commitId} security-testing vm-bookworm,vm-trixie\``);
  t.match(body, `[\`${commitId}\`](https://github.example/example/hello/commit/${commitId})`);
});

void t.test('the lines to sign follow the commit, and what people wrote around them stays', async (t) => {
  const { tell, onlyIssue } = await place(t);
  await tell(notification());
  onlyIssue().body = `Look here first.\r\n\r\n${onlyIssue().body}`;
  const other = 'd'.repeat(40);
  await tell(notification({ event: 'built', commit: other }));
  const { body } = onlyIssue();
  t.match(body, /^Look here first\./);
  t.match(body, `Upload-component r4.3 hello ${other} current`);
  t.notMatch(body, `Upload-component r4.3 hello ${commitId}`);
});

void t.test('two environments keep their commands side by side in one issue', async (t) => {
  const { tellAs, tell, onlyIssue } = await place(t);
  await tell(notification());
  await tellAs('another-vm', notification({ env: 'fedora', dist: 'fc41', dists: ['fc41'] }));
  t.match(onlyIssue().body, 'current vm-bookworm,vm-trixie');
  t.match(onlyIssue().body, 'current host-fc41');
});

void t.test('what is written into the body while the notifier comments and labels stays', async (t) => {
  const meanwhile: (() => void)[] = [];
  const { tell, onlyIssue } = await place(
    t,
    {},
    {
      onWorked: (method, path) =>
        void (method === 'POST' && path.endsWith('/comments') && meanwhile.shift()?.()),
    },
  );
  await tell(notification());
  meanwhile.push(() => (onlyIssue().body += '\n\nWait for #7.'));
  const other = 'd'.repeat(40);
  await tell(notification({ event: 'built', commit: other }));
  t.strictSame(meanwhile, []);
  t.match(onlyIssue().body, 'Wait for #7.');
  t.match(onlyIssue().body, `Upload-component r4.3 hello ${other} current`);
});

void t.test(
  'commands that another notifier takes away in the same moment come back, and its own stay',
  async (t) => {
    const meanwhile: (() => void)[] = [];
    const { tell, onlyIssue } = await place(
      t,
      {},
      { onWorked: (method) => void (method === 'PATCH' && meanwhile.shift()?.()) },
    );
    await tell(notification());
    const before = onlyIssue().body;
    meanwhile.push(() => (onlyIssue().body = `${before}\n\nOf another environment.`));
    const other = 'd'.repeat(40);
    await tell(notification({ event: 'built', commit: other }));
    t.strictSame(meanwhile, []);
    t.match(onlyIssue().body, 'Of another environment.');
    t.match(onlyIssue().body, `Upload-component r4.3 hello ${other} current`);
  },
);

for (const [damage, content] of [
  ['nothing of it', () => ''],
  ['half of it', (text: string) => text.slice(0, text.length / 2)],
  [
    'more marks than anybody notes',
    (text: string) =>
      JSON.stringify({
        ...(JSON.parse(text) as object),
        said: Array.from({ length: 5001 }, (_, n) => `mark ${n}`),
      }),
  ],
] as const) {
  t.test(`a state of which a damaged disk left ${damage} begins anew, and says nothing twice`, async (t) => {
    const { tell, onlyIssue, state, aside, lines } = await place(t);
    await tell(notification({ event: 'built' }));
    const [name] = readdirSync(join(state, 'subjects'));
    const file = join(state, 'subjects', name ?? '');
    writeFileSync(file, content(readFileSync(file, 'utf8')));
    // What was said is not in the ledger either, as after a kill in the middle of it.
    rmSync(join(state, 'ledger'));
    await tell(notification({ event: 'uploaded' }));
    t.strictSame(aside(), []);
    t.strictSame(
      bodies(onlyIssue()).map((body) => /was (built|uploaded)/.exec(body)?.[1]),
      ['built', 'uploaded'],
    );
    t.strictSame(onlyIssue().labels, ['r4.3-vm-bookworm-cur-test']);
    t.equal(lines.filter((line) => line.includes('it begins anew')).length, 1);
  });
}

void t.test('more marks than can be read again are never written', async (t) => {
  const { folder } = await place(t);
  const states = new SubjectStates(join(folder, 'subjects'));
  const before = states.read('one', 'One');
  states.write('one', { ...before, said: ['issue', ...Array.from({ length: 6000 }, (_, n) => `mark ${n}`)] });
  const { said, anew } = states.read('one', 'One');
  t.strictSame(
    [anew, said.length, said[0], said[1], said.at(-1)],
    [undefined, 5000, 'issue', 'mark 1001', 'mark 5999'],
  );
});

void t.test('a closed issue is found', async (t) => {
  const { tellAs, tell, onlyIssue } = await place(t);
  await tell(notification());
  onlyIssue().state = 'closed';
  await tellAs('lost-its-state', notification({ event: 'built' }));
  t.equal(onlyIssue().comments.length, 1);
});

void t.test('an issue behind the newest thousand is found', async (t) => {
  const { tellAs, tell, status, github } = await place(t);
  await tell(notification());
  for (let n = 0; n < 1100; n++) github.store.addIssue(status, { title: `other ${n}`, author: account });
  await tellAs('lost-its-state', notification({ event: 'built' }));
  t.equal(status.issues.length, 1101);
  t.equal(status.issues[0]?.comments.length, 1);
});

void t.test('an issue that somebody else opened with our marker and title is not ours', async (t) => {
  const { tellAs, tell, status, github } = await place(t);
  await tell(notification());
  const [ours] = status.issues;
  status.issues.length = 0;
  github.store.addIssue(status, { title: ours?.title ?? '', body: ours?.body ?? '', author: 'mallory' });
  await tellAs('lost-its-state', notification({ event: 'built' }));
  t.equal(status.issues.length, 2);
  t.equal(status.issues[0]?.comments.length, 0);
  t.equal(status.issues[1]?.author, account);
});

void t.test('a deleted issue is made again', async (t) => {
  const { tell, status } = await place(t);
  await tell(notification());
  status.issues.length = 0;
  status.gone.add(1);
  await tell(notification({ event: 'built' }));
  t.equal(status.issues.length, 1);
  t.equal(status.issues[0]?.number, 2);
  t.equal(status.issues[0]?.comments.length, 1);
});

void t.test(
  'an issue that was transferred to another repository is made again, and nothing waits',
  async (t) => {
    const { tell, put, drain, status, aside, github } = await place(t);
    await tell(notification());
    status.issues.length = 0;
    status.moved.add(1);
    put(notification({ event: 'built' }));
    t.ok((await drain()) < 60_000);
    t.strictSame(aside(), []);
    t.strictSame(
      status.issues.map(({ number, comments }) => [number, comments.length]),
      [[2, 1]],
    );
    t.ok(
      github.requests.every(({ path }) => !path.startsWith('/repositories/')),
      'and no redirect is followed',
    );
  },
);

void t.test(
  'a status repository with another name now is heard of, and no issue is made elsewhere',
  async (t) => {
    const { tell, github, aside } = await place(t);
    await tell(notification());
    github.plan({ times: 1000, how: { kind: 'status', status: 301, message: 'Moved Permanently' } });
    await tell(notification({ event: 'built' }));
    t.match(
      aside().map(({ reason }) => reason),
      [/^MOVED: GitHub answered 301: the repository has another name now/],
    );
  },
);

void t.test('two notifiers that made an issue at the same moment keep the older one', async (t) => {
  const { tellAs, put, drain, status, github } = await place(t);
  put(notification());
  github.lag = 3;
  await drain();
  // The other one looked before ours showed up.
  await tellAs('another-vm');
  github.lag = 0;
  await tellAs('another-vm', notification({ event: 'built' }));
  t.strictSame(
    status.issues.map((issue) => issue.state),
    ['open', 'closed'],
  );
  t.equal(status.issues[0]?.comments.length, 1);
  t.equal(status.issues[1]?.stateReason, 'not_planned');
});

void t.test('labels that somebody took away come back, labels of others stay', async (t) => {
  const { tell, onlyIssue } = await place(t);
  await tell(notification({ event: 'uploaded' }));
  onlyIssue().labels = ['buggy', 'r4.3-vm-bookworm-building'];
  await tell(notification({ event: 'built', dist: 'trixie' }));
  t.strictSame(onlyIssue().labels.toSorted(), ['buggy', 'r4.3-vm-bookworm-cur-test']);
});

void t.test('a failure before any distribution marks all of them', async (t) => {
  const { tell, onlyIssue } = await place(t);
  await tell(
    notification({
      event: 'failed',
      dist: null,
      commit: null,
      reason: { code: 'BAD_SIGNATURE', detail: 'the tag is not signed' },
    }),
  );
  t.strictSame(onlyIssue().labels, ['r4.3-vm-bookworm-failed', 'r4.3-vm-trixie-failed']);
  t.match(bodies(onlyIssue())[0], 'for vm bookworm, trixie failed to build');
  t.match(bodies(onlyIssue())[0], 'Reason: `BAD_SIGNATURE` `the tag is not signed`');
});

void t.test(
  'a template lies where no distribution of the notifier is, and is followed from its build on',
  async (t) => {
    const { tell, status } = await place(t);
    const of = {
      kind: 'template' as const,
      component: 'debian-13',
      version: '4.3.0-202611221200',
      release: 'r4.3',
      dist: 'templates-r4.3',
      dists: ['templates-r4.3'],
      tag: null,
      commit: null,
      sourceUrl: null,
    };
    const labels = async (change: Parameters<typeof notification>[0]): Promise<unknown> => {
      await tell(notification({ ...of, ...change }));
      return status.issues.map((issue) => [issue.title, [...issue.labels].sort()]);
    };
    const title = 'qubes-template-debian-13 4.3.0-202611221200 (r4.3)';
    t.strictSame(await labels({ event: 'building' }), [[title, ['r4.3-building']]]);
    t.match(status.issues[0]?.body, '`Upload-template r4.3 debian-13 4.3.0-202611221200 templates-itl`');
    t.strictSame(await labels({ event: 'failed', reason: { code: 'BUILD_FAILED', detail: 'no' } }), [
      [title, ['r4.3-failed']],
    ]);
    t.strictSame(await labels({ event: 'built' }), [[title, []]]);
    t.strictSame(await labels({ event: 'uploaded', repository: 'templates-itl-testing' }), [
      [title, ['r4.3-testing']],
    ]);
    t.strictSame(
      await labels({ event: 'upload-failed', reason: { code: 'TOO_YOUNG', detail: 'no' } }),
      [[title, ['r4.3-testing']]],
      'a promotion that was refused is none',
    );
    t.strictSame(await labels({ event: 'uploaded', repository: 'templates-itl' }), [
      [title, ['r4.3-stable']],
    ]);
  },
);

void t.test("templates and images have upstream's titles and labels", async (t) => {
  const { tell, put, status } = await place(t);
  put(
    notification({
      kind: 'template',
      component: 'fedora-41',
      version: '4.3.0-202611220500',
      event: 'uploaded',
      repository: 'templates-itl-testing',
    }),
  );
  put(
    notification({
      kind: 'template',
      component: 'fedora-41',
      version: '4.3.0-202611220500',
      event: 'uploaded',
      repository: 'templates-itl',
    }),
  );
  await tell(
    notification({
      kind: 'iso',
      component: 'iso',
      version: '4.3.0-rc1',
      event: 'uploaded',
      repository: 'iso-testing',
      dists: [],
      dist: null,
    }),
  );
  t.strictSame(
    status.issues.map((issue) => [issue.title, issue.labels]),
    [
      ['qubes-template-fedora-41 4.3.0-202611220500 (r4.3)', ['r4.3-stable']],
      ['iso 4.3.0-rc1 (r4.3)', ['r4.3-testing']],
    ],
  );
  t.match(status.issues[0]?.body, '`Upload-template r4.3 fedora-41 4.3.0-202611220500 templates-itl`');
});
