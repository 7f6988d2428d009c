// SPDX-License-Identifier: GPL-2.0-or-later
// GitHub says "slow down" in many ways. Each is waited out as long as it asks, nothing is set aside, and no request leaves before. What only
// looks like one is not waited for.
import t from 'tap';
import { silenceOf } from '../../agents/shared/formats/wanted-silence.js';
import type { Misbehaviour } from '../../agents/local/outside/github-server/server.js';
import { notification, place, token, type Place } from './notifying.js';

const later = (here: Place, seconds: number): Date => new Date(here.clock.time + seconds * 1000);
/** 'Sunday, 06-Nov-94 08:49:37 GMT' and 'Sun Nov  6 08:49:37 1994', of the instant that toUTCString spells the third way. */
function olderSpellings(at: Date): [string, string] {
  const [, day = '', date = '', month = '', year = '', time = ''] =
    /^(\w+), (\d+) (\w+) (\d+) ([\d:]+) GMT$/.exec(at.toUTCString()) ?? [];
  const long = new Map([
    ['Mon', 'Monday'],
    ['Tue', 'Tuesday'],
    ['Wed', 'Wednesday'],
    ['Thu', 'Thursday'],
    ['Fri', 'Friday'],
    ['Sat', 'Saturday'],
    ['Sun', 'Sunday'],
  ]).get(day);
  return [
    `${long}, ${date}-${month}-${year.slice(2)} ${time} GMT`,
    `${day} ${month} ${date.replace(/^0/, ' ')} ${time} ${year}`,
  ];
}

type Says = Extract<Misbehaviour, { kind: 'says' }>;
type Answer = Omit<Says, 'kind'> | ((here: Place) => Omit<Says, 'kind'>);
const secondary = {
  message: 'You have exceeded a secondary rate limit. Please wait a few minutes before you try again.',
  documentation_url: 'https://docs.github.com/rest/overview/rate-limits-for-the-rest-api',
};
const tooQuickly = {
  message: 'Validation Failed',
  errors: [{ resource: 'IssueComment', code: 'custom', field: 'body', message: 'was submitted too quickly' }],
  status: '422',
};
const reset =
  (seconds: number) =>
  (here: Place): Record<string, string> => ({
    'x-ratelimit-remaining': '0',
    'x-ratelimit-reset': String(Math.ceil(later(here, seconds).getTime() / 1000)),
  });

const table: [what: string, answer: Answer, seconds: number][] = [
  ['429, seconds', { status: 429, headers: { 'retry-after': '700' } }, 700],
  ['429, seconds with blanks', { status: 429, headers: { 'retry-after': ' 700 ' } }, 700],
  ['429, a part of a second', { status: 429, headers: { 'retry-after': '699.5' } }, 700],
  [
    '429, an HTTP date',
    (here) => ({ status: 429, headers: { 'retry-after': later(here, 700).toUTCString() } }),
    700,
  ],
  [
    '429, an HTTP date of the second spelling',
    (here) => ({ status: 429, headers: { 'retry-after': olderSpellings(later(here, 700))[0] } }),
    700,
  ],
  [
    '429, an HTTP date of the third spelling',
    (here) => ({ status: 429, headers: { 'retry-after': olderSpellings(later(here, 700))[1] } }),
    700,
  ],
  [
    '429, a date that is over',
    (here) => ({ status: 429, headers: { 'retry-after': later(here, -700).toUTCString() } }),
    1,
  ],
  ['429, zero', { status: 429, headers: { 'retry-after': '0' } }, 1],
  ['429, a time that is none', { status: 429, headers: { 'retry-after': 'soon' } }, 60],
  ['429, a negative time', { status: 429, headers: { 'retry-after': '-5' } }, 60],
  ['429, 32 years', { status: 429, headers: { 'retry-after': '999999999999' } }, 3660],
  [
    '429, a date in the year 9999',
    { status: 429, headers: { 'retry-after': 'Fri, 31 Dec 9999 23:59:59 GMT' } },
    3660,
  ],
  ['429 without anything', { status: 429 }, 60],
  ['429 with a page', { status: 429, body: '<html>Whoa there!</html>' }, 60],
  [
    '429, the primary limit',
    (here) => ({ status: 429, headers: reset(900)(here), body: { message: 'API rate limit exceeded' } }),
    900,
  ],
  [
    '403, the primary limit',
    (here) => ({
      status: 403,
      headers: reset(900)(here),
      body: { message: 'API rate limit exceeded for user ID 1.' },
    }),
    900,
  ],
  ['403, the primary limit without body', (here) => ({ status: 403, headers: reset(900)(here) }), 900],
  ['403, the secondary limit', { status: 403, body: secondary }, 60],
  [
    '403, the secondary limit with seconds',
    { status: 403, body: secondary, headers: { 'retry-after': '90' } },
    90,
  ],
  ['403, seconds without body', { status: 403, headers: { 'retry-after': '90' } }, 90],
  [
    '403, an HTTP date without body',
    (here) => ({ status: 403, headers: { 'retry-after': later(here, 90).toUTCString() } }),
    90,
  ],
  [
    '403 as it was years ago',
    {
      status: 403,
      body: {
        message: 'You have triggered an abuse detection mechanism. Please retry your request again later.',
      },
    },
    60,
  ],
  [
    '403 of which only the page says it',
    {
      status: 403,
      body: {
        message: 'Forbidden',
        documentation_url:
          'https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits',
      },
    },
    60,
  ],
  [
    '403, blocked for a while',
    {
      status: 403,
      body: { message: 'You have been temporarily blocked from content creation. Please try again later.' },
    },
    60,
  ],
  [
    '403, too many logins',
    { status: 403, body: { message: 'Maximum number of login attempts exceeded. Please try again later.' } },
    60,
  ],
  [
    '403, a page of HTML',
    { status: 403, body: '<html><p>You have triggered an abuse detection mechanism.</p></html>' },
    60,
  ],
  ['422, submitted too quickly', { status: 422, body: tooQuickly }, 60],
  [
    '422, the same as plain words',
    { status: 422, body: { message: 'Validation Failed', errors: ['was submitted too quickly'] } },
    60,
  ],
  [
    '422, the same as one string',
    { status: 422, body: { message: 'Validation Failed', errors: 'was submitted too quickly' } },
    60,
  ],
  ['422, the same with seconds', { status: 422, body: tooQuickly, headers: { 'retry-after': '75' } }, 75],
  ['503 with seconds', { status: 503, headers: { 'retry-after': '120' } }, 120],
  [
    '503 with an HTTP date',
    (here) => ({ status: 503, headers: { 'retry-after': later(here, 120).toUTCString() } }),
    120,
  ],
  ['502 with the words', { status: 502, body: secondary }, 60],
  ['500 without anything', { status: 500 }, 2],
  [
    '503 that only asks to come back',
    { status: 503, body: { message: 'Service unavailable, please try again later.' } },
    2,
  ],
  ['200 with the words', { status: 200, body: secondary }, 60],
  [
    '200 with the words and seconds',
    {
      status: 200,
      body: { message: 'x', errors: [{ type: 'RATE_LIMITED', message: 'API rate limit exceeded' }] },
      headers: { 'retry-after': '90' },
    },
    90,
  ],
  ['200 with another error', { status: 200, body: { message: 'Something went wrong' } }, 2],
];
for (const call of [/\/issues$/, /\/comments$/, /\/labels$/]) {
  for (const [what, answer, seconds] of table) {
    void t.test(`${what}, at ${call.source}`, async (t) => {
      const here = await place(t);
      await here.tell(
        notification({ event: 'building', component: call.source.endsWith('issues$') ? 'other' : 'hello' }),
      );
      here.put(notification({ event: 'uploaded' }));
      const says = typeof answer === 'function' ? answer(here) : answer;
      here.github.plan({ method: 'POST', path: call, how: { kind: 'says', ...says } });
      const notifier = await here.open();
      t.teardown(() => notifier.close());
      const pauseOf = async (): Promise<number | undefined> => {
        // Times are told from the moment at which the answer came.
        const before = here.github.requests.length;
        const pause = await notifier.deliveries.work();
        const told = here.github.requests.slice(before).at(-1);
        return pause === undefined || told === undefined
          ? pause
          : (here.clock.time - told.at.getTime() + pause) / 1000;
      };
      const pause = await pauseOf();
      // A date was made some seconds before the request.
      t.ok(
        pause !== undefined && pause >= (seconds > 60 ? seconds - 3 : seconds) && pause <= seconds + 2,
        `${String(pause)} s`,
      );
      here.clock.time += (pause ?? 0) * 1000;
      for (
        let again = await notifier.deliveries.work();
        again !== undefined;
        again = await notifier.deliveries.work()
      )
        here.clock.time += again;
      t.strictSame(here.aside(), []);
      const issue = here.status.issues.find(({ title }) => title.startsWith('hello'));
      t.equal(issue?.comments.length, 1);
      t.strictSame(issue?.labels, ['r4.3-vm-bookworm-cur-test']);
      t.equal(here.github.stillPlanned, 0);
    });
  }
}

void t.test("the time of a date is counted by GitHub's clock, however wrong ours is", async (t) => {
  const ours = new Date('2026-11-22T05:00:00Z');
  const wait = (date: string, after: string): number | undefined =>
    silenceOf(
      new Map([
        ['date', date],
        ['retry-after', after],
      ]),
      ours,
    );
  t.equal(wait('Sun, 22 Nov 2026 03:00:00 GMT', 'Sun, 22 Nov 2026 03:01:30 GMT'), 90_000);
  t.equal(wait('Mon, 23 Nov 2026 03:00:00 GMT', 'Mon, 23 Nov 2026 03:01:30 GMT'), 90_000);
  t.equal(wait('', 'Sun, 22 Nov 2026 05:01:30 GMT'), 90_000);
});

void t.test('a 403 that says nothing at all is asked again for two hours', async (t) => {
  const here = await place(t);
  here.github.plan({ method: 'POST', path: /\/issues$/, times: 1000, how: { kind: 'says', status: 403 } });
  here.put(notification());
  t.ok((await here.drain()) >= 2 * 3600_000);
});

void t.test(
  'a refusal for good that sounds like a limit is believed after some hours, and the others are said in between',
  async (t) => {
    const here = await place(t);
    await here.tell(notification());
    here.github.plan({
      method: 'POST',
      path: /\/issues$/,
      times: 1000,
      how: { kind: 'says', status: 422, body: tooQuickly },
    });
    here.put(notification({ component: 'poison' }), notification({ event: 'built' }));
    const began = here.clock.time;
    t.ok((await here.drain()) < 9 * 3600_000);
    t.match(
      here.aside()[0]?.reason,
      /^RATE_LIMITED: GitHub answered 422: Validation Failed: IssueComment\.body was submitted too quickly$/,
    );
    t.ok(Date.parse(here.onlyIssue().comments[0]?.at ?? '') < began + 120_000);
  },
);

const shown: [what: string, body: unknown, words: RegExp][] = [
  [
    'a field',
    { message: 'Validation Failed', errors: [{ resource: 'Issue', field: 'title', code: 'missing_field' }] },
    /: Validation Failed: Issue\.title missing_field$/,
  ],
  [
    'words of its own',
    {
      message: 'Validation Failed',
      errors: [
        {
          resource: 'Label',
          field: 'name',
          code: 'custom',
          message: 'is too long (maximum is 50 characters)',
        },
      ],
    },
    /: Validation Failed: Label\.name is too long \(maximum is 50 characters\)$/,
  ],
  [
    'several',
    { message: 'Validation Failed', errors: [{ resource: 'A', code: 'invalid' }, 'plain words'] },
    /: Validation Failed: A invalid; plain words$/,
  ],
  [
    'one string',
    { message: 'Validation Failed', errors: 'plain words' },
    /: Validation Failed: plain words$/,
  ],
  ['no message', { errors: [{ field: 'body', code: 'invalid' }] }, /: no message: body invalid$/],
  [
    'many',
    {
      message: 'Validation Failed',
      errors: Array.from({ length: 1000 }, (_, n) => ({ field: `f${n}`, code: 'invalid' })),
    },
    /: f0 invalid; f1 invalid; f2 invalid; f3 invalid; f4 invalid; and 995 more$/,
  ],
  [
    'very long',
    {
      message: 'm'.repeat(10_000),
      errors: [{ message: 'e'.repeat(10_000) }, { message: 'f'.repeat(10_000) }],
    },
    /^.{300,460}$/,
  ],
  ['none of the kind', { message: 7, errors: [null, 1, [], { field: {}, code: 3 }] }, /422: no message$/],
  [
    'control bytes',
    { message: 'a\u001b[31mb', errors: [{ message: 'c\nset aside\u202e' }] },
    /: a\.\[31mb: c\.set aside\.$/,
  ],
  [
    'the value, which is ours',
    {
      message: 'Validation Failed',
      errors: [{ field: 'body', code: 'invalid', value: 'SECRET rate limit' }],
    },
    /: body invalid$/,
  ],
  [
    'the token',
    { message: 'Validation Failed', errors: [{ field: token, code: 'invalid' }] },
    /422 and repeats the token$/,
  ],
];
for (const [what, body, words] of shown) {
  void t.test(`what is wrong is shown: ${what}`, async (t) => {
    const here = await place(t);
    here.github.plan({ method: 'POST', path: /\/issues$/, how: { kind: 'says', status: 422, body } });
    await here.tell(notification({ component: 'poison', event: 'uploaded' }));
    const [aside] = here.aside();
    t.match(aside?.reason, words);
    t.ok(
      here.lines.some(
        (line) =>
          line ===
          `uploaded poison 1.2-3 bookworm current-testing: set aside, ${aside?.reason ?? ''} (${aside?.name ?? ''})`,
      ),
      here.lines.join('\n'),
    );
  });
}
