// SPDX-License-Identifier: GPL-2.0-or-later
// Issues that commits close: found in their messages, and told when a package is uploaded.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { issuesOf, readCommits } from '../../agents/build-vm/source/closing-commits.js';
import type { ClosingCommit } from '../../agents/shared/formats/notification.js';
import { account, bodies, notification, place } from './notifying.js';

const closes = (...issues: string[]): ClosingCommit[] => [
  { commit: 'd'.repeat(40), subject: 'Mend it', issues },
];

for (const [message, issues] of [
  ['Mend it\n\nFixes QubesOS/qubes-issues#1234', ['QubesOS/qubes-issues#1234']],
  ['fixes: #1, #2 and owner/name#3', ['#1', '#2', 'owner/name#3']],
  ['Closes https://github.com/owner/name/issues/7.', ['https://github.com/owner/name/issues/7']],
  ['Resolved https://github.com/owner/name/pull/7#issuecomment-99', ['https://github.com/owner/name/pull/7']],
  ['Fixed #1\nCloses #1', ['#1']],
  ['prefixes #1', []],
  ['See #1, related to owner/name#2', []],
  ['Fixes the bug of #1', []],
  ['Fixes owner/..#1', []],
  ['Fixes #0', []],
  ['Fixes #99999999999', []],
  ['Fixes https://github.com/../../issues/1', []],
  [
    `Fixes ${Array.from({ length: 50 }, (_, n) => `#${n + 1}`).join(', ')}`,
    Array.from({ length: 20 }, (_, n) => `#${n + 1}`),
  ],
] as [string, string[]][]) {
  t.test(`a message says what it closes: ${message.slice(0, 50).replaceAll('\n', ' ')}`, (t) => {
    t.strictSame(issuesOf(message), issues);
    t.end();
  });
}

void t.test('what git writes of commits is read', (t) => {
  const id = 'a'.repeat(40);
  const raw = `${id}\ntree ${'b'.repeat(40)}\nauthor A <a@example.org> 1 +0000\ncommitter A <a@example.org> 1 +0000\n\n    Mend\u001b[31m it\n    \n    Fixes #3\n\0`;
  t.strictSame(readCommits(raw), [{ commit: id, subject: 'Mend.[31m it', issues: ['#3'] }]);
  t.end();
});

void t.test('an upload tells the issues that its commits close, with the labels, each once', async (t) => {
  const { tell, github, onlyIssue } = await place(t);
  const issues = github.repository('example/issues');
  const issue = github.store.addIssue(issues, { title: 'It is broken', author: 'reporter' });
  const testing = notification({
    event: 'uploaded',
    commits: closes('#1', 'example/issues#1', 'https://github.example/example/issues/issues/1'),
  });
  await tell(testing);
  t.strictSame(issue.labels, ['r4.3-vm-bookworm-cur-test']);
  t.equal(issue.comments.length, 1);
  t.match(
    issue.comments[0]?.body,
    /The component `hello` \(package `hello-1\.2-3`\) was uploaded to the `current-testing` repository of vm bookworm, Qubes OS r4\.3\.[^]*enable its `current-testing` suite there/,
  );
  t.match(onlyIssue().body, 'Referenced issues: example/issues#1');
  await tell(notification({ event: 'uploaded', repository: 'current', commits: closes('#1') }), testing);
  t.strictSame(issue.labels, ['r4.3-vm-bookworm-stable', 'r4.3-stable']);
  t.equal(issue.comments.length, 2);
  t.match(issue.comments[1]?.body, ', stable');
});

void t.test(
  'an upload that closes hundreds of issues tells fifty of them, those of its newest commits',
  async (t) => {
    const { tell, github, aside, lines, onlyIssue } = await place(t);
    const issues = github.repository('example/issues');
    for (let n = 1; n <= 300; n++)
      github.store.addIssue(issues, { title: `It is broken ${n}`, author: 'reporter' });
    const commits = Array.from({ length: 15 }, (_, of): ClosingCommit => ({
      commit: 'd'.repeat(40),
      subject: 'Mend it',
      issues: Array.from({ length: 20 }, (_none, n) => `#${of * 20 + n + 1}`),
    }));
    await tell(notification({ event: 'uploaded', commits }));
    t.strictSame(
      issues.issues.filter(({ comments }) => comments.length > 0).map(({ number }) => number),
      Array.from({ length: 50 }, (_, n) => n + 1),
    );
    t.match(
      onlyIssue().body,
      /Referenced issues: example\/issues#1, [^\n]*example\/issues#50, and 250 more\n/,
    );
    t.match(lines.join('\n'), 'its commits close 300 issues, 50 of them were told');
    t.strictSame(aside(), []);
  },
);

for (const [dist, repository] of [
  ['bookworm', 'current-testing'],
  ['bookworm', 'security-testing'],
  ['fc41', 'current-testing'],
  ['fc41', 'security-testing'],
  ['fc37', 'current-testing'],
] as const) {
  t.test(
    `who reads of ${dist} in ${repository} is told of that repository, and of no file or repository that this farm does not make`,
    async (t) => {
      const { tell, github, config } = await place(t);
      config.distributions['fc37'] = { packageSet: 'vm', family: 'fedora' };
      const issue = github.store.addIssue(github.repository('example/issues'), {
        title: 'It is broken',
        author: 'reporter',
      });
      await tell(notification({ event: 'uploaded', dist, dists: [dist], repository, commits: closes('#1') }));
      t.match(
        issue.comments[0]?.body,
        new RegExp(`To test it in [^\\n]*enable its \`${repository}\` (?:suite|repository) there`),
      );
      t.notMatch(issue.comments[0]?.body, /qubes-r4|sources\.list|enablerepo|bookworm-testing/);
    },
  );
}

for (const repository of [
  'testing',
  'securitytesting',
  'trixie-testing',
  'fc41',
  'trixie',
  'unstable',
  'stable',
]) {
  t.test(`whatever is called ${repository} is not announced as stable`, async (t) => {
    const { tell, github, status } = await place(t);
    const issue = github.store.addIssue(github.repository('example/issues'), {
      title: 'It is broken',
      author: 'reporter',
    });
    await tell(
      notification({ event: 'uploaded', repository, commits: closes('#1') }),
      notification({
        event: 'uploaded',
        kind: 'template',
        component: 'fedora-41',
        version: '4.3.0-202611220500',
        repository,
      }),
    );
    t.notMatch(issue.comments.map(({ body }) => body).join(), 'stable');
    t.strictSame(
      [issue, ...status.issues].flatMap(({ labels }) => labels).filter((label) => label.endsWith('stable')),
      [],
    );
  });
}

void t.test('a build that is not uploaded tells them nothing', async (t) => {
  const { tell, github } = await place(t);
  const issue = github.store.addIssue(github.repository('example/issues'), {
    title: 'It is broken',
    author: 'reporter',
  });
  await tell(
    notification({ event: 'building', commits: closes('#1') }),
    notification({ event: 'built', commits: closes('#1') }),
    notification({ event: 'failed', commits: closes('#1') }),
  );
  t.equal(issue.comments.length, 0);
});

void t.test('repositories that are not in the configuration are left alone', async (t) => {
  const { tell, github } = await place(t);
  const other = github.store.addIssue(github.repository('stranger/name'), {
    title: 'Not ours',
    author: 'reporter',
  });
  await tell(
    notification({
      event: 'uploaded',
      commits: closes(
        'stranger/name#1',
        'https://github.example/stranger/name/issues/1',
        'https://elsewhere.example/example/issues/issues/1',
      ),
    }),
  );
  t.equal(other.comments.length, 0);
  t.notOk(github.requests.some((request) => request.path.includes('stranger')));
});

void t.test('an issue that is gone, locked or not ours to label does not hold up the rest', async (t) => {
  const { tell, github, aside, lines } = await place(t);
  const issues = github.repository('example/issues');
  github.store.addIssue(issues, { title: 'locked', author: 'reporter' }).locked = true;
  const good = github.store.addIssue(issues, { title: 'good', author: 'reporter' });
  const foreign = github.store.addIssue(github.store.add('example/foreign', 'comment'), {
    title: 'no labels for us',
    author: 'reporter',
  });
  await tell(
    notification({
      event: 'uploaded',
      commits: closes('#1', 'example/absent#1', '#99', 'example/foreign#1', '#2'),
    }),
  );
  t.equal(good.comments.length, 1);
  t.strictSame(good.labels, ['r4.3-vm-bookworm-cur-test']);
  t.equal(foreign.comments.length, 1);
  t.strictSame(foreign.labels, []);
  t.strictSame(aside(), []);
  t.match(
    lines.join('\n'),
    /nothing said on example\/issues#1: GITHUB_REFUSED: GitHub answered 403: Unable to create comment because issue is locked/,
  );
});

void t.test("a lost answer does not make a second comment on somebody else's issue", async (t) => {
  const { tell, github } = await place(t);
  const issue = github.store.addIssue(github.repository('example/issues'), {
    title: 'It is broken',
    author: 'reporter',
  });
  for (let n = 0; n < 250; n++)
    github.store.addComment(issue, {
      author: 'somebody',
      body: `me too ${n}`,
      at: '2026-11-22T04:00:00.000Z',
    });
  github.plan({
    method: 'POST',
    path: /\/repos\/example\/issues\/issues\/1\/comments$/,
    how: { kind: 'drop', after: true },
  });
  await tell(notification({ event: 'uploaded', commits: closes('#1') }));
  t.equal(issue.comments.filter((comment) => comment.author === account).length, 1);
});

void t.test('a comment of somebody else that holds our marker stands for nothing', async (t) => {
  const { tell, github } = await place(t);
  const issue = github.store.addIssue(github.repository('example/issues'), {
    title: 'It is broken',
    author: 'reporter',
  });
  const document = notification({ event: 'uploaded', commits: closes('#1') });
  github.store.addComment(issue, {
    author: 'mallory',
    body: `<!-- build-infra ${document.key} -->`,
    at: '2026-11-22T05:00:00.000Z',
  });
  github.plan({
    method: 'POST',
    path: /\/repos\/example\/issues\/issues\/1\/comments$/,
    how: { kind: 'drop' },
  });
  await tell(document);
  t.equal(issue.comments.filter((comment) => comment.author === account).length, 1);
});

/** Template files in a folder, and what an upload for a distribution then says. */
const lookups: [string, string, Record<string, string>, string | RegExp | undefined][] = [
  [
    "the distribution's",
    'bookworm',
    {
      'message-current-testing-vm-bookworm': 'dist',
      'message-current-testing-vm-debian': 'family',
      'message-current-testing-vm': 'set',
    },
    /^dist\n/,
  ],
  [
    "the family's, where the distribution has none",
    'bookworm',
    { 'message-current-testing-vm-debian': 'family', 'message-current-testing-vm': 'set' },
    /^family\n/,
  ],
  [
    'the unsuffixed one, where both have none',
    'fc41',
    { 'message-current-testing-host': 'set of @PACKAGE_SET@' },
    /^set of host\n/,
  ],
  [
    'the shipped one, where the folder has none',
    'fc41',
    { 'message-stable-host': 'other' },
    /was uploaded to the `current-testing` repository of host fc41/,
  ],
  ["nothing, where the folder's is empty", 'fc41', { 'message-current-testing-host': '\n' }, undefined],
];
for (const [name, dist, files, expected] of lookups) {
  t.test(`a comment is made from ${name}`, async (t) => {
    const { tell, folder, config, github } = await place(t);
    config.templates = join(folder, 'templates');
    mkdirSync(config.templates);
    for (const [file, text] of Object.entries(files)) writeFileSync(join(config.templates, file), text);
    const issue = github.store.addIssue(github.repository('example/issues'), {
      title: 'It is broken',
      author: 'reporter',
    });
    await tell(notification({ event: 'uploaded', dist, dists: [dist], commits: closes('#1') }));
    if (expected === undefined) t.strictSame(bodies(issue), []);
    else t.match(bodies(issue)[0], expected);
    t.equal(issue.labels.length, 1, 'labels in any case');
  });
}

void t.test('every placeholder of upstream is filled in', async (t) => {
  const { tell, folder, config, onlyIssue } = await place(t);
  config.templates = join(folder, 'templates');
  mkdirSync(config.templates);
  const words = [
    'COMPONENT',
    'PACKAGE_NAME',
    'PACKAGE_SET',
    'DIST',
    'REPOSITORY',
    'RELEASE_NAME',
    'GIT_LOG',
    'GIT_LOG_URL',
    'VERSION',
    'MIN_AGE_DAYS',
    'COMMIT_SHA',
    'GIT_URL',
    'ISSUES',
    'TEMPLATE_NAME',
    'ISO_VERSION',
  ];
  writeFileSync(
    join(config.templates, 'message-build-uploaded'),
    words.map((word) => `${word}=@${word}@`).join('\n'),
  );
  await tell(notification({ event: 'uploaded', commits: closes('#1') }));
  const sha = onlyIssue().body.match(/c0ffee0+/)?.[0] ?? '';
  t.equal(
    bodies(onlyIssue())[0]?.split('\n\n')[0],
    [
      'COMPONENT=hello',
      'PACKAGE_NAME=hello-1.2-3',
      'PACKAGE_SET=vm',
      'DIST=bookworm',
      'REPOSITORY=current-testing',
      'RELEASE_NAME=r4.3',
      `GIT_LOG=- [\`dddddddd\`](https://github.example/example/hello/commit/${'d'.repeat(40)}) \`Mend it\``,
      `GIT_LOG_URL=https://github.example/example/hello/commits/${sha}`,
      'VERSION=1.2-3',
      'MIN_AGE_DAYS=5',
      `COMMIT_SHA=${sha}`,
      'GIT_URL=https://github.example/example/hello',
      'ISSUES=example/issues#1',
      'TEMPLATE_NAME=',
      'ISO_VERSION=',
    ].join('\n'),
  );
});

for (const [name, text] of [
  ['an unknown placeholder', 'to @EVERYBODY@'],
  ['bytes that are not UTF-8', Buffer.from([0xff, 0xfe])],
] as [string, string | Buffer][]) {
  t.test(`a template with ${name} keeps the notifier from starting`, async (t) => {
    const { folder, config, open } = await place(t);
    config.templates = join(folder, 'templates');
    mkdirSync(config.templates);
    writeFileSync(join(config.templates, 'message-build-built'), text);
    await t.rejects(open(), { code: 'BAD_TEMPLATE' });
  });
}
