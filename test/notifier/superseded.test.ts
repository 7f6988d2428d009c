// SPDX-License-Identifier: GPL-2.0-or-later
// The status issue of a version goes when a newer one is wherever it was, and never before.
import t from 'tap';
import { distributionsMarker, placesOf, supersedes } from '../../agents/notifier/places.js';
import type { Notification } from '../../agents/shared/formats/notification.js';
import type { StoredIssue } from '../../agents/local/outside/github-server/store.js';
import { account, bodies, notification, place, type Place } from './notifying.js';

const uploaded = (
  version: string,
  dist: string,
  repository = 'current-testing',
  more: Partial<Notification> = {},
): Notification => notification({ event: 'uploaded', version, dist, repository, ...more });
const one = { dists: ['bookworm'] };
const issueOf = ({ status }: Place, version: string): StoredIssue =>
  status.issues.find((issue) => issue.title === `hello ${version} (r4.3)`) as StoredIssue;
const comments = (issue: StoredIssue): string[] =>
  bodies(issue).filter((body) => body.startsWith('Superseded'));

void t.test(
  'a newer version in every distribution of an older one closes its issue, which names the newer one',
  async (t) => {
    const here = await place(t);
    await here.tell(
      uploaded('1.2-3', 'bookworm'),
      uploaded('1.2-3', 'trixie'),
      uploaded('1.10-1', 'bookworm'),
      uploaded('1.10-1', 'trixie'),
    );
    const [older, newer] = [issueOf(here, '1.2-3'), issueOf(here, '1.10-1')];
    t.strictSame([older.state, older.stateReason, newer.state], ['closed', 'not_planned', 'open']);
    t.match(comments(older), [
      `Superseded by \`1.10-1\` (#${newer.number}), which is now in every distribution`,
    ]);
    t.equal(comments(older).length, 1);
  },
);

void t.test('a release line with suites of its own goes its own way', async (t) => {
  const here = await place(t);
  const line = { suites: 'maint', dists: ['bookworm'] };
  await here.tell(
    uploaded('1.2-3', 'bookworm', 'maint-current', line),
    uploaded('1.10-1', 'bookworm', 'current', { dists: ['bookworm'] }),
  );
  const old = issueOf(here, '1.2-3');
  t.strictSame(
    [old.state, [...old.labels].sort()],
    ['open', ['r4.3-stable', 'r4.3-vm-bookworm-maint-stable']],
    'a higher version of another line is no reason',
  );
  t.match(
    old.body,
    /Upload-component r4\.3 hello [0-9a-f]+ current vm-bookworm/,
    'commands are of the distribution',
  );
  await here.tell(uploaded('1.2-4', 'bookworm', 'maint-current', line));
  t.strictSame([old.state, issueOf(here, '1.10-1').state], ['closed', 'open'], 'one of its own is');
});

void t.test('a distribution in which the newer version is missing keeps the issue open', async (t) => {
  const here = await place(t);
  await here.tell(uploaded('1.2-3', 'bookworm'), uploaded('1.2-3', 'trixie'), uploaded('1.10-1', 'bookworm'));
  t.strictSame([issueOf(here, '1.2-3').state, comments(issueOf(here, '1.2-3'))], ['open', []]);
});

void t.test(
  'a distribution for which only the older job was made keeps it, whatever its labels say',
  async (t) => {
    const here = await place(t);
    await here.tell(
      uploaded('1.2-3', 'bookworm'),
      uploaded('1.10-1', 'bookworm', 'current-testing', { dists: ['bookworm'] }),
    );
    t.equal(issueOf(here, '1.2-3').state, 'open', 'trixie was built and is not uploaded: no label says so');
  },
);

for (const [older, newer, closed] of [
  ['current-testing', 'current', true],
  ['current', 'current', true],
  ['current', 'current-testing', false],
  ['security-testing', 'current-testing', false],
  ['security-testing', 'security-testing', true],
  ['security-testing', 'current', true],
  ['current-testing', 'security-testing', false],
] as const) {
  t.test(`an older one in ${older} and a newer one in ${newer}: ${closed ? 'closed' : 'open'}`, async (t) => {
    const here = await place(t);
    await here.tell(uploaded('1.2-3', 'bookworm', older, one), uploaded('1.10-1', 'bookworm', newer, one));
    t.equal(issueOf(here, '1.2-3').state, closed ? 'closed' : 'open');
  });
}

void t.test("distributions of other environments count, by the issue's body and labels", async (t) => {
  for (const how of ['body', 'labels'] as const) {
    const here = await place(t);
    await here.tell(uploaded('1.2-3', 'bookworm', 'current-testing', one));
    if (how === 'body') issueOf(here, '1.2-3').body += `\n${distributionsMarker(['host-fc41'])}`;
    else issueOf(here, '1.2-3').labels.push('r4.3-host-fc41-cur-test');
    await here.tell(uploaded('1.10-1', 'bookworm', 'current-testing', one));
    t.equal(issueOf(here, '1.2-3').state, 'open', how);
    // The other environment comes last, and closes it.
    await here.tellAs(
      'another-vm',
      uploaded('1.10-1', 'fc41', 'current-testing', { dists: ['fc41'], env: 'fedora' }),
    );
    t.equal(issueOf(here, '1.2-3').state, 'closed', how);
  }
});

void t.test('two environments that both see it say it once', async (t) => {
  const here = await place(t);
  await here.tell(
    uploaded('1.2-3', 'bookworm', 'current-testing', one),
    uploaded('1.10-1', 'bookworm', 'current-testing', one),
  );
  await here.tellAs('another-vm');
  t.equal(comments(issueOf(here, '1.2-3')).length, 1);
});

void t.test('an issue that a person opened again stays open', async (t) => {
  const here = await place(t);
  await here.tell(
    uploaded('1.2-3', 'bookworm', 'current-testing', one),
    uploaded('1.10-1', 'bookworm', 'current-testing', one),
  );
  issueOf(here, '1.2-3').state = 'open';
  await here.tell(uploaded('1.10-1', 'bookworm', 'current', one));
  await here.tellAs('lost-its-state');
  t.strictSame([issueOf(here, '1.2-3').state, comments(issueOf(here, '1.2-3')).length], ['open', 1]);
});

void t.test(
  'a version that failed, or was withdrawn, goes when a newer one is out; one that is being built stays',
  async (t) => {
    for (const [event, state] of [
      ['failed', 'closed'],
      ['withdrawn', 'closed'],
      ['building', 'open'],
    ] as const) {
      const here = await place(t);
      await here.tell(
        notification({
          event,
          ...one,
          ...(event === 'withdrawn' ? { repositories: ['current-testing'] } : {}),
        }),
        uploaded('1.10-1', 'bookworm', 'current-testing', one),
      );
      t.equal(issueOf(here, '1.2-3').state, state, event);
    }
  },
);

void t.test('an older version that fails after the newer one was uploaded is closed too', async (t) => {
  const here = await place(t);
  await here.tell(
    notification({ event: 'building', ...one }),
    uploaded('1.10-1', 'bookworm', 'current-testing', one),
    notification({ event: 'failed', ...one }),
  );
  t.equal(issueOf(here, '1.2-3').state, 'closed');
});

void t.test('a newer version that was withdrawn closes nothing', async (t) => {
  const here = await place(t);
  here.put(uploaded('1.2-3', 'bookworm', 'current', one), uploaded('1.10-1', 'bookworm', 'current', one));
  await here.tell(
    notification({ event: 'withdrawn', version: '1.11-1', repositories: [], ...one }),
    uploaded('1.12-1', 'bookworm', 'current-testing', one),
  );
  t.strictSame(
    ['1.2-3', '1.10-1', '1.12-1'].map((version) => issueOf(here, version).state),
    ['closed', 'open', 'open'],
  );
});

void t.test('other components, other releases and issues of others are left alone', async (t) => {
  const here = await place(t);
  await here.tell(
    uploaded('1.2-3', 'bookworm', 'current-testing', { ...one, component: 'hello-world' }),
    uploaded('1.2-3', 'bookworm', 'current-testing', { ...one, release: 'r4.2' }),
    uploaded('1.2-3', 'bookworm', 'current-testing', one),
  );
  const ours = issueOf(here, '1.2-3');
  const theirs = here.github.store.addIssue(here.status, {
    title: 'hello 1.1-1 (r4.3)',
    body: ours.body,
    author: 'mallory',
    labels: ['r4.3-vm-bookworm-cur-test'],
  });
  const forged = here.github.store.addIssue(here.status, {
    title: 'hello 1.0-1 (r4.3)',
    body: ours.body,
    author: account,
    labels: ['r4.3-vm-bookworm-cur-test'],
  });
  await here.tell(uploaded('1.10-1', 'bookworm', 'current-testing', one));
  t.equal(ours.state, 'closed');
  t.strictSame(
    here.status.issues.filter((issue) => issue.state === 'closed').map((issue) => issue.title),
    ['hello 1.2-3 (r4.3)'],
  );
  t.strictSame(
    [theirs.comments.length, forged.comments.length],
    [0, 0],
    'a marker of another version is none',
  );
});

void t.test('a notifier that lost its memory still finds what is superseded', async (t) => {
  const here = await place(t);
  await here.tell(uploaded('1.2-3', 'bookworm', 'current-testing', one));
  await here.tellAs('lost-its-state', uploaded('1.10-1', 'bookworm', 'current-testing', one));
  t.equal(issueOf(here, '1.2-3').state, 'closed');
});

void t.test('where closing is not allowed the journal says so, and the rest continues', async (t) => {
  const here = await place(t);
  await here.tell(uploaded('1.2-3', 'bookworm', 'current-testing', one));
  here.github.plan({ method: 'PATCH', how: { kind: 'status', status: 403 } });
  await here.tell(uploaded('1.10-1', 'bookworm', 'current-testing', one));
  t.strictSame([issueOf(here, '1.2-3').state, here.aside()], ['open', []]);
  t.match(here.lines.join('\n'), /hello 1\.2-3 \(r4\.3\): #1 stays open: GITHUB_REFUSED/);
  await here.tell(uploaded('1.10-1', 'bookworm', 'current', one));
  t.strictSame(
    [issueOf(here, '1.2-3').state, comments(issueOf(here, '1.2-3')).length],
    ['closed', 1],
    'the next upload closes it, and says nothing twice',
  );
});

void t.test('a lost answer to the comment or to the closing changes nothing in the end', async (t) => {
  for (const method of ['POST', 'PATCH'] as const) {
    for (const after of [false, true]) {
      const here = await place(t);
      await here.tell(uploaded('1.2-3', 'bookworm', 'current-testing', one));
      here.github.plan({
        method,
        path: method === 'POST' ? /\/issues\/1\/comments$/ : /\/issues\/1$/,
        how: { kind: 'bad-gateway', after },
      });
      await here.tell(uploaded('1.10-1', 'bookworm', 'current-testing', one));
      t.equal(here.github.stillPlanned, 0);
      t.strictSame(
        [issueOf(here, '1.2-3').state, comments(issueOf(here, '1.2-3')).length],
        ['closed', 1],
        `${method} ${after ? 'after' : 'before'}`,
      );
    }
  }
});

void t.test("a newer template closes the older one's issue", async (t) => {
  const { tell, status } = await place(t);
  const template = { kind: 'template', component: 'fedora-41', event: 'uploaded' } as const;
  await tell(
    notification({ ...template, version: '4.3.0-202611220500', repository: 'templates-itl-testing' }),
    notification({ ...template, version: '4.3.0-202611230500', repository: 'templates-itl-testing' }),
  );
  t.strictSame(
    status.issues.map((issue) => issue.state),
    ['closed', 'open'],
  );
});

void t.test('labels of people say nothing, and an issue that speaks of nothing is not superseded', (t) => {
  t.equal(
    placesOf('component', 'r4.3', [
      'buggy',
      'r4.3-stable',
      'r4.2-vm-bookworm-stable',
      'r4.3-vm-bookworm',
      'r4.3-building',
      'r4x3-vm-bookworm-stable',
    ]).size,
    0,
  );
  const newer = placesOf('component', 'r4.3', ['r4.3-vm-bookworm-stable']);
  t.notOk(supersedes('component', newer, new Map()));
  t.ok(
    supersedes('component', newer, placesOf('component', 'r4.3', [], distributionsMarker(['vm-bookworm']))),
  );
  t.notOk(
    supersedes(
      'component',
      newer,
      placesOf('component', 'r4.3', [], distributionsMarker(['vm-bookworm', 'vm-trixie'])),
    ),
  );
  t.end();
});
