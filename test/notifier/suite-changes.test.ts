// SPDX-License-Identifier: GPL-2.0-or-later
// What is said of promotions that were refused, and of versions that were taken back.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { ClosingCommit } from '../../agents/shared/formats/notification.js';
import { folderOf } from '../support/folders.js';
import { bodies, notification, place } from './notifying.js';

const refused = (code: string): ReturnType<typeof notification> =>
  notification({
    event: 'refused',
    repository: 'current',
    reason: { code, detail: 'by ssh://git@secret.example/record of /var/lib/x' },
    excerpt: 'a line of the log of secret.example',
  });
const commits: ClosingCommit[] = [{ commit: 'd'.repeat(40), subject: 'Mend it', issues: ['#1'] }];

for (const [code, words] of [
  ['TOO_YOUNG', 'it was not in testing for long enough yet'],
  ['NEWER_IN_SUITE', 'a newer version is there already'],
  ['WITHDRAWN', 'this version was withdrawn'],
  ['NOT_BUILT', 'it was not built for this distribution'],
] as const) {
  t.test(
    `a promotion that is refused with ${code} reads as refused, with its reason, and leaves the labels`,
    async (t) => {
      const { tell, onlyIssue } = await place(t);
      await tell(notification({ event: 'uploaded' }), refused(code));
      const body = bodies(onlyIssue())[1] ?? '';
      t.match(
        body,
        `Package \`hello-1.2-3\` for vm bookworm was refused for \`current\` and stays where it was ([build log](`,
      );
      t.match(body, `Reason: \`${code}\`, ${words}.`);
      t.notMatch(body, /fail|secret|var\/lib/);
      t.strictSame(onlyIssue().labels, ['r4.3-vm-bookworm-cur-test']);
    },
  );
}

void t.test("a template of one's own gets neither the detail nor the log of a refusal", async (t) => {
  const folder = folderOf(t);
  writeFileSync(join(folder, 'message-build-refused'), 'No. @REASON@ @EXCERPT@ @REPOSITORIES@');
  const { tell, onlyIssue } = await place(t, { templates: folder });
  await tell(refused('TOO_YOUNG'));
  t.match(bodies(onlyIssue())[0], /^No\. Reason: `TOO_YOUNG`, it was not in testing for long enough yet\./);
  t.notMatch(bodies(onlyIssue())[0], /secret/);
});

void t.test('a code that we have no words for stands alone', async (t) => {
  const { tell, onlyIssue } = await place(t);
  await tell(refused('SOMETHING_NEW'));
  t.match(bodies(onlyIssue())[0], /\n\nReason: `SOMETHING_NEW`\n\n<!--/);
});

void t.test('a withdrawal says what left which suite, and takes the labels of its suites', async (t) => {
  const { tell, onlyIssue } = await place(t);
  await tell(
    notification({ event: 'uploaded', repository: 'current' }),
    notification({ event: 'uploaded', dist: 'trixie' }),
  );
  t.strictSame(onlyIssue().labels.toSorted(), [
    'r4.3-stable',
    'r4.3-vm-bookworm-stable',
    'r4.3-vm-trixie-cur-test',
  ]);
  await tell(notification({ event: 'withdrawn', repositories: ['current-testing', 'current'] }));
  t.strictSame(onlyIssue().labels, ['r4.3-vm-trixie-cur-test'], 'the other distribution keeps its own');
  t.match(
    bodies(onlyIssue())[2],
    'Package `hello-1.2-3` for vm bookworm was withdrawn from `current-testing`, `current` ([build log](',
  );
});

void t.test(
  'after a withdrawal the release is stable as long as any distribution is, of another environment too',
  async (t) => {
    const { tell, onlyIssue } = await place(t);
    await tell(notification({ event: 'uploaded', repository: 'current' }));
    onlyIssue().labels.push('r4.3-host-fc41-stable');
    await tell(notification({ event: 'withdrawn', repositories: ['current'] }));
    t.strictSame(onlyIssue().labels.toSorted(), ['r4.3-host-fc41-stable', 'r4.3-stable']);
  },
);

void t.test('a withdrawal by a notifier that lost its memory takes the labels too', async (t) => {
  const { tellAs, tell, onlyIssue } = await place(t);
  await tell(notification({ event: 'uploaded', repository: 'current' }));
  await tellAs('lost-its-state', notification({ event: 'withdrawn', repositories: ['current'] }));
  t.strictSame(onlyIssue().labels, []);
});

void t.test('a withdrawal that failed takes no label', async (t) => {
  const { tell, onlyIssue } = await place(t);
  await tell(
    notification({ event: 'uploaded' }),
    notification({
      event: 'withdraw-failed',
      reason: { code: 'UPLOAD_FAILED', detail: 'no route' },
      excerpt: 'rsync: no route',
    }),
  );
  t.strictSame(onlyIssue().labels, ['r4.3-vm-bookworm-cur-test']);
  t.match(
    bodies(onlyIssue())[1],
    /could not be withdrawn: it is still where it was[^]*Reason: `UPLOAD_FAILED` `no route`[^]*rsync: no route/,
  );
});

void t.test('issues that its commits closed hear of a withdrawal and lose the labels', async (t) => {
  const { tell, github, onlyIssue } = await place(t);
  const issue = github.store.addIssue(github.repository('example/issues'), {
    title: 'It is broken',
    author: 'reporter',
    labels: ['bug'],
  });
  await tell(
    notification({ event: 'uploaded', repository: 'current', commits }),
    notification({ event: 'withdrawn', repositories: ['current-testing', 'current'], commits }),
  );
  t.strictSame(issue.labels, ['bug']);
  t.match(
    issue.comments[1]?.body,
    'The component `hello` (package `hello-1.2-3`) was withdrawn from `current-testing`, `current` of vm bookworm, Qubes OS r4.3.',
  );
  t.strictSame(onlyIssue().labels, []);
});

void t.test('what a higher version still brings is not taken back from issues', async (t) => {
  const { tell, github } = await place(t);
  const issue = github.store.addIssue(github.repository('example/issues'), {
    title: 'It is broken',
    author: 'reporter',
  });
  await tell(
    notification({ event: 'uploaded', commits }),
    notification({ event: 'uploaded', version: '1.10-1', commits: [] }),
    notification({ event: 'withdrawn', repositories: ['current-testing'], commits }),
  );
  t.strictSame([issue.labels, issue.comments.length], [['r4.3-vm-bookworm-cur-test'], 1]);
});

void t.test('a template that is withdrawn loses the labels of its release', async (t) => {
  const { tell, onlyIssue } = await place(t);
  const template = { kind: 'template', component: 'fedora-41', version: '4.3.0-202611220500' } as const;
  await tell(
    notification({ ...template, event: 'uploaded', repository: 'templates-itl' }),
    notification({ ...template, event: 'withdrawn', repositories: ['templates-itl'] }),
  );
  t.strictSame(onlyIssue().labels, []);
});
