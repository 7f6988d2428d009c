// SPDX-License-Identifier: GPL-2.0-or-later
// A build, a commit or a log path wants to say something in our name.
import t from 'tap';
import { codeSpan, fenced, withoutControls } from '../../agents/notifier/markdown.js';
import { fill, type Values } from '../../agents/notifier/templates.js';
import { logLink } from '../../agents/shared/formats/log-link.js';
import { checkNotification } from '../../agents/shared/formats/notification.js';
import { bodies, notification, place } from './notifying.js';

const evil = [
  'before',
  '```',
  '@everyone [click](https://evil.example) #1 example/issues#2 GH-3',
  '````````',
  '~~~',
  '</details><img src=x onerror=alert(1)><!-- build-infra status 0 -->',
  '\u001b[31mred\u001b[0m \u001b]0;title\u0007 bell\u0007',
  '\u202ereversed\u202c \u200bhidden',
  'cr\rlf\r\nend',
  '\0nul',
].join('\n');

void t.test('the tail of a log stays in its fence, whatever stands in it', async (t) => {
  const { tell, onlyIssue } = await place(t);
  await tell(notification({ event: 'failed', excerpt: evil }));
  const body = bodies(onlyIssue())[0] ?? '';
  const inside = /\n(`{9,})text\n([^]*?)\n\1\n\n<\/details>/.exec(body);
  t.ok(inside !== null, 'a fence longer than any in the text, closed by itself');
  const text = inside?.[2] ?? '';
  t.notMatch(text, /@everyone|#1|#2|GH-3|https:|<\/details|<img|<!--/);
  t.notMatch(body, /[\x00-\x09\x0b-\x1f\x7f]|\u202e/);
  t.match(text, /^red {2}bell\.$/m);
  t.equal(body.split('<details>').length, 2);
  t.equal(body.match(/<!-- build-infra/g)?.length, 1, 'one marker: ours');
});

void t.test('the tail is bounded in lines and characters', (t) => {
  t.ok(fenced('x'.repeat(100_000), 3500).length < 3600);
  t.match(fenced(`${'a'.repeat(50)}\n${'b'.repeat(50)}`, 60), /^```text\nb+\n```$/);
  t.end();
});

void t.test('a commit subject is code, and links and mentions in it are none', async (t) => {
  const { tell, onlyIssue } = await place(t);
  await tell(
    notification({
      commits: [
        {
          commit: 'e'.repeat(40),
          subject: '`` [x](http://evil.example) @everyone <b> @GIT_URL@',
          issues: [],
        },
      ],
    }),
  );
  t.match(
    onlyIssue().body,
    /\) ``` `` \[x\]\(http\u200b:\/\/evil\.example\) @\u200beveryone <\u200bb> @\u200bGIT_URL@ ```\n/,
  );
});

void t.test("a reason's words are code", async (t) => {
  const { tell, onlyIssue } = await place(t);
  await tell(
    notification({ event: 'failed', reason: { code: 'BUILD_FAILED', detail: 'no `rule` for\n\n# @all' } }),
  );
  t.match(bodies(onlyIssue())[0], /Reason: `BUILD_FAILED` ``no `rule` for {2}# @\u200ball``/);
});

void t.test('values are filled in once', (t) => {
  t.equal(
    fill('@COMPONENT@ @DIST@', { COMPONENT: '@DIST@', DIST: '@COMPONENT@' } as Values),
    '@DIST@ @COMPONENT@',
  );
  t.equal(fill('@COMPONENT@', { COMPONENT: '$& $1 $`' } as Values), '$& $1 $`');
  t.end();
});

for (const field of ['component', 'version', 'dist', 'repository', 'job'] as const) {
  for (const bad of ['a](https://evil.example)', '@all', 'a b', '../x', 'a\nb', '<b>']) {
    t.test(`${field} cannot be ${JSON.stringify(bad)}`, (t) => {
      t.throws(() => checkNotification(notification({ [field]: bad })), { code: 'BAD_DOCUMENT' });
      t.end();
    });
  }
}

void t.test('a log path that is none has no link', (t) => {
  const url = 'https://github.example/o/r/blob/{commit}/{path}';
  const commit = 'a'.repeat(40);
  t.equal(
    logLink(url, 'build-debian/2026-11-22/log_2026-11-22_05-00-00.1.xz', commit),
    `https://github.example/o/r/blob/${commit}/build-debian/2026-11-22/log_2026-11-22_05-00-00.1.xz`,
  );
  t.equal(logLink(url, 'build-debian/2026-11-22/log_2026-11-22_05-00-00', null), undefined);
  for (const path of [
    'a/log_2026-11-22_05-00-00](https://evil.example)',
    'a/../log_2026-11-22_05-00-00',
    'a/log_2026-11-22_05-00-00\n',
    'a/b c/log_2026-11-22_05-00-00',
    '',
  ])
    t.equal(logLink(url, path, commit), undefined, path);
  t.end();
});

void t.test('nothing of a text escapes: each sign that Markdown or a terminal reads', (t) => {
  t.equal(withoutControls('\u001b[1;31mbold\u001b[0m\u001bM\u009b31m\u001b(B'), 'bold.31m');
  t.equal(codeSpan('`'), '`` ` ``');
  t.equal(codeSpan('   '), '');
  t.end();
});
