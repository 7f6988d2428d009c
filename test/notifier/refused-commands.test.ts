// SPDX-License-Identifier: GPL-2.0-or-later
// Where the answer to a refused command goes: where GitHub shows the signed text, and nowhere else.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { refusedCommandFormat, type RefusedCommand } from '../../agents/shared/formats/refused-command.js';
import type { StoredIssue } from '../../agents/local/outside/github-server/store.js';
import { account, bodies, keyOf, notification, place, type Place } from './notifying.js';

const minute = 60_000;
const line = 'Upload-component r4.3 hello 0123456789abcdef0123456789abcdef01234567 current all';
const signature = 'iHUEARYKAB0WIQ'.padEnd(160, 'x');
const armored = (packet: string, words = line): string =>
  [
    '-----BEGIN PGP SIGNED MESSAGE-----',
    'Hash: SHA512',
    '',
    words,
    '-----BEGIN PGP SIGNATURE-----',
    '',
    ...(packet.match(/.{1,64}/g) ?? []),
    '=abcd',
    '-----END PGP SIGNATURE-----',
    '',
  ].join('\n');
const text = armored(signature);

const at = (here: Place, ms = 0): string => new Date(here.clock.time + ms).toISOString();
function refuse(here: Place, change: Partial<RefusedCommand> = {}): RefusedCommand {
  const made = {
    format: refusedCommandFormat,
    key: keyOf(JSON.stringify(change)),
    time: at(here),
    env: 'debian',
    line,
    signed: at(here, -minute),
    signature,
    code: 'NOT_ALLOWED',
    ...change,
  } as const;
  writeFileSync(join(here.outbox, `000000000001-${made.key}.json`), JSON.stringify(made));
  return made;
}
function issueIn(here: Place, repository = 'example/updates-status'): StoredIssue {
  return here.github.store.addIssue(here.github.repository(repository), { title: 'x', author: 'somebody' });
}
const comment = (here: Place, issue: StoredIssue, body: string, author = 'alice', ms = 0): unknown =>
  here.github.store.addComment(issue, { author, body, at: at(here, ms) });

const forms: [string, (text: string) => string][] = [
  ['as gpg wrote it', (one) => one],
  ['from a browser, with CRLF', (one) => one.replaceAll('\n', '\r\n')],
  ['with blanks at the ends of lines', (one) => one.replaceAll('\n', '  \n')],
  ['in a fence and with words around it', (one) => `hello\n\`\`\`\n${one}\n\`\`\`\nthanks`],
  ['among hundreds of others', (one) => one],
];
for (const [form, shape] of forms) {
  void t.test(`the comment is found ${form}, and answered there`, async (t) => {
    const here = await place(t);
    const [other, issue] = [issueIn(here), issueIn(here)];
    if (form.startsWith('among')) for (let n = 0; n < 250; n++) comment(here, other, `words ${n}`);
    else comment(here, other, line);
    comment(here, issue, shape(text));
    refuse(here);
    await here.drain();
    t.equal(bodies(issue).length, 2);
    t.match(
      bodies(issue)[1],
      /^The environment `debian` refused this command:\n\n```text\nUpload-component r4\.3 hello [0-9a-f]{40} current all\n```\n\n`NOT_ALLOWED`, this key may not ask for that\.\n/,
    );
    t.notOk(bodies(other).some((body) => body.includes('refused')));
    t.strictSame(here.lines, [`refused "${line}": said`]);
  });
}

void t.test('a code without words of ours is said by its name', async (t) => {
  const here = await place(t);
  const issue = issueIn(here);
  comment(here, issue, text);
  refuse(here, { code: 'SOMETHING_NEW' });
  await here.drain();
  t.match(bodies(issue)[1], /\n`SOMETHING_NEW`\n/);
});

void t.test('where a stranger copied the text into other issues, the first one is answered', async (t) => {
  const here = await place(t);
  const [copy, issue, another] = [
    issueIn(here),
    issueIn(here, 'example/issues'),
    issueIn(here, 'example/issues'),
  ];
  comment(here, issue, text, 'alice', -minute);
  comment(here, copy, text, 'mallory');
  comment(here, another, text, 'mallory');
  refuse(here);
  await here.drain();
  t.strictSame(
    [copy, issue, another].map((one) => one.comments.length),
    [1, 2, 1],
  );
});

const nowhere: [what: string, post: (here: Place) => unknown][] = [
  ['nobody posted it', () => undefined],
  ['only its line stands there', (here) => comment(here, issueIn(here), line)],
  [
    'a stranger posted the line with a signature of his own',
    (here) => comment(here, issueIn(here), armored('iHUEARYKAB0WIQ'.padEnd(160, 'y')), 'mallory'),
  ],
  [
    'a stranger posted the signature under another line',
    (here) => comment(here, issueIn(here), armored(signature, 'Build-component r4.3 hello'), 'mallory'),
  ],
  ['a mail quotes it', (here) => comment(here, issueIn(here), text.replace(/^/gm, '> '))],
  ['we ourselves wrote it', (here) => comment(here, issueIn(here), text, account)],
  [
    'it stands in a repository that is not ours',
    (here) => comment(here, issueIn(here, 'elsewhere/other'), text),
  ],
  [
    'it was posted before it was signed',
    (here) => comment(here, issueIn(here), text, 'alice', -3 * 3600_000),
  ],
];
for (const [what, post] of nowhere) {
  void t.test(`where ${what}, nobody is answered, and others do not wait for it`, async (t) => {
    const here = await place(t);
    post(here);
    refuse(here);
    here.put(notification({ event: 'built' }));
    const took = await here.drain();
    t.ok(took >= 15 * minute && took < 30 * minute, 'lists of GitHub may lag');
    const said = [...here.github.store.repositories.values()]
      .flatMap(({ issues }) => issues)
      .flatMap((issue) => issue.comments.filter(({ author }) => author === account));
    t.strictSame(
      said.filter(({ body }) => body.includes('refused')),
      [],
    );
    t.match(
      here.lines.join('\n'),
      /NOT_ALLOWED: no comment in our repositories has this command, so nobody is answered/,
    );
    t.strictSame(here.aside(), []);
  });
}

void t.test('a comment that GitHub shows a little later is found', async (t) => {
  const here = await place(t);
  const issue = issueIn(here);
  here.github.store.addComment(issue, { author: 'alice', body: text, at: at(here), visibleFrom: 5 });
  refuse(here);
  await here.drain();
  t.equal(issue.comments.length, 2);
});

void t.test(
  'it is said once: after a lost answer, the same document again, and by another notifier',
  async (t) => {
    const here = await place(t);
    const issue = issueIn(here);
    comment(here, issue, text);
    refuse(here);
    here.github.plan({ method: 'POST', path: /\/comments$/, how: { kind: 'drop', after: true } });
    await here.drain();
    await here.drain();
    t.equal(issue.comments.length, 2);
  },
);

void t.test('a repository that is closed to us is passed over', async (t) => {
  const here = await place(t, { issuesRepository: 'example/private' });
  const issue = issueIn(here);
  comment(here, issue, text);
  refuse(here);
  await here.drain();
  t.equal(issue.comments.length, 2);
});

void t.test("an answer that GitHub refuses for good is set aside under the command's name", async (t) => {
  const here = await place(t);
  const issue = issueIn(here);
  comment(here, issue, text);
  const { key } = refuse(here);
  here.github.plan({
    method: 'POST',
    path: /\/comments$/,
    how: { kind: 'status', status: 422, message: 'Validation Failed' },
  });
  await here.drain();
  t.strictSame(here.lines, [
    `refused "${line}": set aside, GITHUB_REFUSED: GitHub answered 422: Validation Failed (000000000001-${key}.json)`,
  ]);
});

void t.test('a template that is empty says nothing, and asks nothing', async (t) => {
  const here = await place(t);
  const templates = here.folder;
  writeFileSync(join(templates, 'message-command-refused'), '');
  here.config.templates = templates;
  refuse(here);
  await here.drain();
  t.equal(here.github.requests.length, 0);
});

for (const [what, change] of Object.entries({
  'a second line': { line: 'a\nb' },
  'a code that is none': { code: 'no `x`' },
  'a signature that is none': { signature: '<!-- -->' },
  'a field more': { repository: 'victim/repository' },
})) {
  void t.test(`a document with ${what} is set aside and said nowhere`, async (t) => {
    const here = await place(t);
    refuse(here, change);
    await here.drain();
    t.match(here.aside()[0]?.reason, /^BAD_DOCUMENT/);
    t.equal(here.github.requests.length, 0);
  });
}
