// SPDX-License-Identifier: GPL-2.0-or-later
// The parts of the audit that judge a history's files, intents and journals, without git and gpg around them:
// the attacks of the tests beside this one, and what they keep of a good history.
import tap from 'tap';
import { AnnouncedNames } from '../../agents/audit/announced-names.js';
import { GrowingFiles } from '../../agents/audit/growing-file.js';
import type { AnnouncedIntent } from '../../agents/audit/announced-names.js';
import type { Signature } from '../../agents/audit/journal.js';
import { LogLines, stampTime } from '../../agents/published/logs/log-lines.js';
import { isRealDay, pathKind } from '../../agents/published/history/path-kind.js';
import { publishedPayloadLimitBytes } from '../../agents/shared/formats/intent.js';
import { contentAttacks, line, lineAttacks, other, xz } from './content-attacks.js';
import { log, sha256, type Farm, type Wanted } from './farm.js';
import { headAttacks } from './head-attacks.js';
import { journalAttacks } from './journal-attacks.js';
import { payloadAttacks } from './payload-attacks.js';
import { attack, judge, laterCommit, unwrittenFarm, type UnwrittenLogs } from './unwritten-farm.js';

const keys = unwrittenFarm().keys;
const one: Wanted = { purpose: 'other', name: 'notes', mode: 'detach', payload: Buffer.from('sign me') };
const start = { [log]: line(), 'build-debian/log_2026-11-21_20-00-00': line() };

void tap.test(
  'of a good history each thing is counted once, and what is asked for later is kept',
  async (t) => {
    const farm = unwrittenFarm();
    farm.build();
    for (const streamed of [false, true]) {
      const { codes, rows, intents, journals, heads, payloads, content } = await judge(
        farm,
        undefined,
        streamed,
      );
      t.same(codes, []);
      t.same(Object.fromEntries(rows.map(({ name, count }) => [name, count])), {
        mirrors: 0,
        'one-line': 0,
        'commits-signed': 0,
        'file-lines': 15,
        'files-grow': 15,
        intents: 2,
        payloads: 3,
        'journal-chain': 13,
        'journal-heads': 9,
        'journal-grants': 4,
        'apt-signatures': 0,
        'apt-files': 0,
        'dnf-signatures': 0,
        'dnf-files': 0,
      });
      t.equal(journals.signatures.size, 4);
      const [hash, dsc] = [...journals.signatures][0] as [string, Signature];
      t.match(dsc, {
        keysVm: 'keys-debian',
        entry: {
          seq: 6,
          mode: 'clearsign',
          key: keys.fingerprint.signing,
          commit: farm.logs.commits[2]?.commit.id,
          time: '2026-11-21T21:00:06.000Z',
        },
        claims: [{ seq: 4, commit: farm.logs.commits[2]?.commit.id, signature: undefined }],
      });
      t.match(hash, /^[0-9a-f]{64}$/);
      t.equal(dsc.claims.length, 1);
      t.same(
        intents
          .announced(dsc.entry.intent)
          .map(({ purpose, dist, mode, payload }) => [purpose, dist, mode, payload.name]),
        [
          ['deb-dsc', 'bookworm', 'clearsign', 'hello_2.10-3.dsc'],
          ['deb-buildinfo', 'bookworm', 'clearsign', 'hello_2.10-3_amd64.buildinfo'],
        ],
      );
      t.equal(intents.announced(dsc.entry.intent)[0]?.payload.sha256, dsc.entry.sha256);
      t.match(intents.published(dsc.entry.intent, 'build-debian'), { first: 2, newest: 2 });
      t.equal(intents.published(dsc.entry.intent, 'build-fedora'), undefined);
      t.same(
        [
          intents.announced('x'),
          intents.published('x', 'build-debian'),
          intents.text('x'),
          intents.text(dsc.entry.intent),
        ],
        [[], undefined, 'x', dsc.entry.intent],
      );
      t.ok(
        [...journals.signatures.values()].every(({ entry: { commit }, claims }) =>
          claims.every((claim) => claim.commit === commit),
        ),
      );
      t.match(heads.summary(), [{ keysVm: 'keys-debian', entries: 13, head: { seq: 13 } }]);
      t.equal(heads.timeOf('keys-debian'), Date.parse('2026-11-21T21:00:13.000Z'));
      t.equal(heads.timeOf('keys-fedora'), 0);
      t.same(
        [...payloads.known.values()].filter((known) => known !== undefined).map(({ metadata }) => metadata),
        [{ kind: 'apt', names: ['bookworm'] }],
      );
      t.ok(content.hasLog(log));
      t.notOk(content.hasLog(`${log}0`));
      t.match(content.files.get(log), {
        size: (farm.logs.content.get(log) as Buffer).length,
        sha256: sha256(farm.logs.content.get(log) as Buffer),
        packed: undefined,
        log: { lastStamp: '2026-11-21 21:00:00.000000 +0000 ' },
      });
    }
  },
);

void tap.test('of a file that grows only what is new is hashed, if it begins with what is known', (t) => {
  const files = new GrowingFiles();
  const grow = (text: string, before?: string, path = 'a'): string | undefined =>
    files.grow(path, Buffer.from(text), before === undefined ? undefined : sha256(before));
  t.equal(grow('ab'), sha256('ab'));
  t.equal(grow('abc', 'ab'), sha256('abc'));
  t.equal(grow('abc', 'abc'), sha256('abc'));
  t.equal(grow('abcdefghijklmnopqrstuvwxyz', 'abc'), sha256('abcdefghijklmnopqrstuvwxyz'));
  t.equal(
    grow('abcdefghijklmnopqrstuvwxyz0', 'abcdefghijklmnopqrstuvwxyz'),
    sha256('abcdefghijklmnopqrstuvwxyz0'),
  );
  t.equal(grow('abcdefghijklmnopqrstuvwxy', 'abcdefghijklmnopqrstuvwxyz0'), undefined, 'shorter');
  t.equal(
    grow('abcdefghijklmnopqrstuvwxyz01', 'abcdefghijklmnopqrstuvwxyz0'),
    undefined,
    'forgotten after it was another',
  );
  t.equal(grow('xy'), sha256('xy'));
  t.equal(grow('Xyz', 'xy'), undefined, 'rewritten');
  t.equal(grow('1', undefined, 'b'), sha256('1'));
  t.equal(grow('12', '2', 'b'), undefined, 'another version is known than the one before');
  for (let i = 0; i < 33; i++) grow('1', undefined, `c${i}`);
  t.equal(grow('12', '1', 'c0'), undefined, 'the one that grew least lately is forgotten');
  t.equal(grow('12', '1', 'c1'), sha256('12'));
  t.equal(grow('12', '1', 'c32'), sha256('12'));
  t.end();
});

void tap.test('a stamp is a time that there is, and a line says whose it is', (t) => {
  t.equal(stampTime('2026-11-21 21:00:05.123456 +0000 '), Date.parse('2026-11-21T21:00:05.123Z'));
  for (const bad of [
    '2026-02-30 21:00:05.123456 +0000 ',
    '2026-11-21 24:00:00.000000 +0000 ',
    '2026-11-21 21:00:60.000000 +0000 ',
    '2026-11-21 21:00:05.123456 +0100 ',
    '2026-11-21 21:00:05.123456 +0000',
    '2026-11-21T21:00:05.123456 +0000 ',
    'x2026-11-21 21:00:05.123456 +0000 ',
    '',
  ])
    t.ok(Number.isNaN(stampTime(bad)), bad);
  const read = (
    text: string,
    notAfter = Date.parse('2026-11-21T21:00:05.000Z'),
    from?: string,
  ): unknown[] => {
    const lines = new LogLines(
      'build-debian',
      notAfter,
      from === undefined ? undefined : { lastStamp: from },
    );
    for (let at = 0; at < text.length; at += 7) lines.add(Buffer.from(text.slice(at, at + 7)));
    const end = lines.end().lastStamp;
    return [lines.bad?.expected.slice(0, 12), lines.bad?.found, end];
  };
  const stamp = '2026-11-21 21:00:05.000000 +0000 ';
  t.same(read(''), [undefined, undefined, '']);
  t.same(read('', undefined, stamp), [undefined, undefined, stamp]);
  t.same(read(line() + line()), [undefined, undefined, stamp]);
  t.same(read(line('', undefined, '> ')), [undefined, undefined, stamp]);
  t.same(read(line(), Date.parse('2026-11-21T21:00:04.999Z')), ['no line of a', line().trimEnd(), '']);
  t.same(read(line('x', '2026-11-21 21:00:04.000000'), undefined, stamp), [
    'a line not b',
    line('x', '2026-11-21 21:00:04.000000').trimEnd(),
    stamp,
  ]);
  t.same(
    read(line() + line('clock set back from 2026-11-21 21:00:05.000000 +0000', '2026-11-21 21:00:01.000000')),
    [
      'a line not b',
      line('clock set back from 2026-11-21 21:00:05.000000 +0000', '2026-11-21 21:00:01.000000')
        .trimEnd()
        .slice(0, 120),
      stamp,
    ],
    'only the receiver may say so',
  );
  t.same(read(`${line()}x\n${line('second')}`), ['a stamp, and', 'x', stamp], 'the first bad line is told');
  t.same(read(`${line()}\n`)[1], 'a blank line');
  t.same(read(`${line()}rest`), ['complete lin', 'rest', stamp]);
  t.match(read('x'.repeat(140_000))[0], 'a line of at', 'before it ends');
  t.equal(read(line('x'.repeat(64 * 1024)))[0], undefined);
  t.equal(read(line('x'.repeat(64 * 1024 + 1)))[0], 'at most 64 K');
  t.equal(read(line(' ~'))[0], undefined);
  for (const bad of ['\x1f', '\x7f']) t.equal(read(line(bad))[0], 'at most 64 K');
  t.end();
});

void tap.test('a path says what a file is', (t) => {
  const hash = sha256('x');
  const kinds: [string, ReturnType<typeof pathKind>][] = [
    [log, 'log'],
    [`${log}.xz`, 'log'],
    ['build-debian/log_2026-11-21_21-00-00', 'log'],
    ['build-debian/hello/log_2026-11-21_23-59-59', 'log'],
    [`intents/build-debian/2026-11-21/${hash}.json`, 'intent'],
    [`payloads/build-debian/2026-11-21/${hash}/${hash}`, 'payload'],
    ['journal/keys-debian/00000000.jsonl', 'journal'],
    ['journal/keys-debian/000000000256.jsonl', 'journal'],
    ['journal/keys-debian/heads-00000000.jsonl', 'journal-heads'],
    [`keys/${'A'.repeat(40)}.asc`, 'key'],
    ...[
      'build-debian/hello/log_2026-11-21_24-00-00',
      'build-debian/hello/log_2026-11-21_21-60-00',
      'build-debian/hello/log_2026-11-21_21-00-60',
      'build-debian/hello/log_2026-11-31_21-00-00',
      `intents/build-debian/2026-11-31/${hash}.json`,
      `intents/build-debian/2026-11-21/${hash}`,
      `intents/build-debian/2026-11-21/x${hash}.json`,
      `intents/build-debian/2026-11-21/${hash}.jsonx`,
      `intents/build-debian/2026-11-21/${hash}.json/x`,
      `intents/1/2026-11-21/${hash}.json`,
      `payloads/build-debian/2026-11-31/${hash}/${hash}`,
      `payloads/1/2026-11-21/${hash}/${hash}`,
      `payloads/build-debian/2026-11-21/${hash}`,
      `payloads/build-debian/2026-11-21/${hash}/${hash}/x`,
      `payloads/build-debian/2026-11-21/${hash}x/${hash}`,
      `payloads/build-debian/2026-11-21/${hash}/x${hash}`,
      `payload/build-debian/2026-11-21/${hash}/${hash}`,
      'journal/keys-debian/0000000.jsonl',
      'journal/keys-debian/0000000000000.jsonl',
      'journal/keys-debian/x00000000.jsonl',
      'journal/keys-debian/00000000.jsonlx',
      'journal/1/00000000.jsonl',
      'journal/1/heads-00000000.jsonl',
      'journal/keys-debian/heads-0000000.jsonl',
      'journal/keys-debian/heads-00000000.jsonlx',
      'journal/keys-debian/xheads-00000000.jsonl',
      'journal/keys-debian/00000000.jsonl/x',
      'journal/keys-debian/heads-00000000.jsonl/x',
      'journals/keys-debian/00000000.jsonl',
      'journals/keys-debian/heads-00000000.jsonl',
      `keys/${'A'.repeat(40)}`,
      `keys/${'A'.repeat(40)}.asc/x`,
      `keys/${'A'.repeat(39)}.asc`,
      `key/${'A'.repeat(40)}.asc`,
      `keys/${'A'.repeat(36)}.asc`,
      '../x',
      '',
      'x',
    ].map((path): [string, undefined] => [path, undefined]),
  ];
  for (const [path, kind] of kinds) t.equal(pathKind(path), kind, path);
  for (const [day, is] of [
    ['2026-11-21', true],
    ['2026-11-21', true],
    ['2024-02-29', true],
    ['2026-02-29', false],
    ['2026-11-21x', false],
    ['x2026-11-21', false],
    ['', false],
    ['2026-11-2', false],
  ] as const)
    t.equal(isRealDay(day), is, day);
  t.end();
});

void tap.test('what was announced is found by key and purpose, and beside a .dsc once', (t) => {
  const names = new AnnouncedNames();
  const announced = (
    purpose: AnnouncedIntent['purpose'],
    dist: string,
    name: string,
    key = 'A',
  ): AnnouncedIntent => ({
    key,
    purpose,
    dist,
    mode: 'clearsign',
    payload: { name, size: 1, sha256: sha256(name) },
  });
  names.add([
    announced('apt-release', 'bookworm', 'Release'),
    announced('apt-release', 'none', 'Release'),
    announced('deb-changes', 'bookworm', 'a_1_amd64.changes'),
    announced('deb-buildinfo', 'trixie', 'a_1_amd64.buildinfo'),
    announced('deb-dsc', 'bookworm', 'a_1.dsc'),
    announced('deb-changes', 'bookworm', 'b_1_amd64.changes'),
  ]);
  names.add([announced('apt-release', 'trixie', 'Release', 'B')]);
  t.same(
    [
      names.has('A', 'deb-buildinfo', 'trixie'),
      names.has('A', 'deb-buildinfo', 'bookworm'),
      names.has('A', 'apt-release', 'trixie'),
      names.has('B', 'apt-release', 'trixie'),
      names.has('B', 'deb-dsc', 'trixie'),
    ],
    [true, false, false, true, false],
  );
  t.same(
    [...names.suites('A')],
    ['bookworm', 'bookworm-current-testing', 'bookworm-current', 'bookworm-security-testing'],
    'none is what a person says who signs by hand',
  );
  t.same([...names.suites('C')], []);
  const besides = names.lists('A');
  t.same(besides.besides('pool/main/a/a/a_1.dsc'), [
    'pool/main/a/a/a_1_amd64.changes',
    'pool/main/a/a/a_1_amd64.buildinfo',
  ]);
  t.same(besides.besides('pool/main/a/a/a_2.dsc'), [], 'asked for already');
  t.same(
    besides.besides('pool/main/b/a_2.dsc'),
    ['pool/main/b/a_1_amd64.changes', 'pool/main/b/a_1_amd64.buildinfo'],
    'in another folder',
  );
  t.same(besides.besides('b_1.dsc'), ['b_1_amd64.changes']);
  t.same(besides.besides('pool/c_1.dsc'), []);
  t.same(names.lists('B').besides('pool/main/a/a/a_1.dsc'), []);
  t.end();
});

journalAttacks(attack, keys);
headAttacks(attack, laterCommit);
payloadAttacks(attack);
contentAttacks(attack);
// The lines of a packed log go the same way as those of a plain one: one of them is enough here.
lineAttacks((name, ...more) => {
  if (!name.startsWith('a packed log with a line ') || name.endsWith(' without a stamp'))
    attack(name, ...more);
}, keys);

attack(
  'a path that is none of ours keeps its place in the order of a file that came with it',
  ['file-lines BAD_PATH', 'file-lines CHANGE_WITHOUT_LINE', 'file-lines EMPTY_FILE'],
  ({ logs }) => {
    logs.commit({ put: { README: 'x', [`keys/${'A'.repeat(40)}.asc`]: '' }, lines: ([, ...rest]) => rest });
  },
  { path: 'README' },
);
attack(
  'a line that tells of what stands there, with another hash or size',
  ['file-lines LINE_WITHOUT_CHANGE'],
  ({ logs }) => {
    const there = logs.content.get(log) as Buffer;
    logs.commit({ put: {}, lines: () => [{ path: log, size: there.length, sha256: sha256('x') }] });
  },
  { path: log },
);
attack('the same, of its size', ['file-lines LINE_WITHOUT_CHANGE'], ({ logs }) => {
  const there = logs.content.get(log) as Buffer;
  logs.commit({ put: {}, lines: () => [{ path: log, size: there.length + 1, sha256: sha256(there) }] });
});
attack('a head that remembers the commit of its own publication', ['journal-heads HEAD_COMMIT'], (farm) => {
  const { logs } = farm;
  const next = laterCommit(farm);
  const [entries] = Object.entries(logs.journal(['refused', 'NO_GRANT'])) as [[string, string]];
  logs.takeBackHead();
  logs.commit({ put: Object.fromEntries([entries, ...Object.entries(logs.journalHead({ commit: next }))]) });
  // Nobody can know the id of what is still to be made; whoever could would have the head before its commit.
  ((logs as UnwrittenLogs).commits.at(-1) as UnwrittenLogs['commits'][number]).commit.id = next;
});
attack(
  'an .xz taken away',
  ['files-grow FILE_REMOVED'],
  ({ logs }) => {
    logs.commit({ remove: [log], put: { [`${log}.xz`]: xz(logs.content.get(log) as Buffer) } });
    logs.commit({ remove: [`${log}.xz`], put: {} });
  },
  { path: `${log}.xz`, commit: 'head' },
);
attack('an intent taken away', ['files-grow FILE_REMOVED'], ({ logs }) =>
  logs.commit({
    remove: [[...logs.content.keys()].find((path) => path.startsWith('intents/')) as string],
    put: {},
  }),
);
attack(
  'a plain log taken away long after it was packed',
  ['files-grow FILE_REMOVED', 'files-grow LOG_TWICE'],
  ({ logs }) => {
    logs.commit({ put: { [`${log}.xz`]: xz(logs.content.get(log) as Buffer) } });
    logs.commit({ remove: [log], put: {} });
  },
);
attack(
  'a plain log that began again, taken away as its .xz grows',
  ['files-grow FILE_REMOVED', 'files-grow LOG_TWICE'],
  ({ logs }) => {
    const packed = xz(logs.content.get(log) as Buffer);
    logs.commit({ remove: [log], put: { [`${log}.xz`]: packed } });
    logs.commit({ put: { [log]: line() } });
    logs.commit({ remove: [log], put: { [`${log}.xz`]: Buffer.concat([packed, xz(line())]) } });
  },
);
attack(
  'what is no log, as if it were packed',
  ['file-lines BAD_PATH', 'files-grow FILE_REMOVED'],
  ({ logs }) => {
    const path = [...logs.content.keys()].find((one) => one.startsWith('intents/')) as string;
    logs.commit({ remove: [path], put: { [`${path}.xz`]: xz(logs.content.get(path) as Buffer) } });
  },
);
attack(
  'an .xz as if it were packed once more',
  ['file-lines BAD_PATH', 'files-grow FILE_REMOVED'],
  ({ logs }) => {
    const packed = xz(logs.content.get(log) as Buffer);
    logs.commit({ remove: [log], put: { [`${log}.xz`]: packed } });
    logs.commit({ remove: [`${log}.xz`], put: { [`${log}.xz.xz`]: xz(packed) } });
  },
);
attack(
  'an .xz of another log that goes in its place',
  ['files-grow FILE_REMOVED'],
  ({ logs }) => logs.commit({ remove: [log], put: { [`${other}.xz`]: xz(line()) } }),
  { path: log },
);
attack(
  'an .xz packed anew with less in it',
  ['files-grow FILE_REWRITTEN'],
  ({ logs }) => {
    logs.commit({ put: { [`${other}.xz`]: xz(line() + line()) } });
    logs.commit({ put: { [`${other}.xz`]: xz(line()) } });
  },
  { path: `${other}.xz` },
);
attack(
  'an .xz packed anew whose first form was none',
  ['files-grow BAD_XZ', 'files-grow FILE_REWRITTEN'],
  ({ logs }) => {
    logs.commit({ put: { [`${other}.xz`]: 'none' } });
    logs.commit({ put: { [`${other}.xz`]: xz(line()) } });
  },
);
attack('a line that goes back in what was packed anew', ['files-grow BAD_LINE'], ({ logs }) => {
  logs.commit({ put: { [`${other}.xz`]: xz(line()) } });
  logs.commit({ put: { [`${other}.xz`]: xz(line() + line('x', '2026-11-21 21:00:04.000000')) } });
});
attack('a line that goes back behind what was packed', ['files-grow BAD_LINE'], ({ logs }) =>
  logs.commit({
    remove: [log],
    put: {
      [`${log}.xz`]: Buffer.concat([
        xz(logs.content.get(log) as Buffer),
        xz(line('x', '2026-11-21 20:00:00.000000')),
      ]),
    },
  }),
);
attack(
  'a line of two hours after its commit',
  ['files-grow BAD_LINE'],
  ({ logs }) =>
    void logs.commit({ put: { [other]: line() }, time: Date.parse('2026-11-21T19:00:00.000Z') / 1000 }),
  { path: other },
);
attack(
  'an intent that has grown',
  ['intents BAD_INTENT'],
  (farm) => {
    const { path, put, document } = farm.intent([one]);
    farm.logs.commit({ put });
    farm.logs.commit({ put: { [path]: `${document} ` } });
  },
  { commit: 'head' },
);
attack('an intent that names a log of another VM', ['intents LOG_NOT_PUBLISHED'], (farm) => {
  farm.logs.commit({
    put: { 'build-fedora/hello/log_2026-11-21_21-00-00': line('x', undefined, 'build-fedora: ') },
  });
  farm.logs.commit({ put: farm.intent([one], { logs: ['build-fedora/hello/log_2026-11-21_21-00-00'] }).put });
});
attack(
  'a journal file that ends within a line',
  ['journal-chain BAD_ENTRY', 'journal-heads BAD_HEAD'],
  ({ logs }) => {
    const files = logs.journal(['refused', 'NO_GRANT']);
    logs.commit({ put: Object.fromEntries(Object.entries(files).map(([path, text]) => [path, `${text}x`])) });
  },
);
attack('an entry in another spelling', ['journal-chain BAD_ENTRY'], ({ logs }) => {
  const files = logs.journal(['refused', 'NO_GRANT']);
  const bad = (text: string): string =>
    text.replace(/"event":"refused"(?!.*"event":"refused")/s, '"event": "refused"');
  // The head is for the line as it stands.
  const [path, text] = Object.entries(files)[0] as [string, string];
  logs.takeBackHead();
  const spoiled = bad(text);
  logs.commit({
    put: {
      [path]: spoiled,
      ...logs.journalHead({ entry: sha256(spoiled.trimEnd().split('\n').at(-1) as string) }),
    },
  });
});
attack(
  'an entry in another file than its own',
  ['journal-chain JOURNAL_PLACE'],
  ({ logs }) => {
    const files = logs.journal(['refused', 'NO_GRANT']);
    const [path, text] = Object.entries(files)[0] as [string, string];
    const last = `${text.trimEnd().split('\n').at(-1) as string}\n`;
    logs.commit({
      put: { ...files, [path]: text.slice(0, -last.length), 'journal/keys-debian/00000256.jsonl': last },
    });
  },
  { path: 'journal/keys-debian/00000256.jsonl' },
);
attack(
  'a use that does not name what it uses',
  ['journal-grants BAD_ENTRY'],
  ({ logs }) =>
    void logs.commit({
      put: logs.journal(
        ['granted', logs.until],
        ['signed', `sha256:${sha256('x')}`, { source: 'build-debian' }],
      ),
    }),
);
attack('a signature whose hash is none, and a grant without an end', ['journal-grants BAD_ENTRY'], (farm) => {
  const use = farm.announce(one);
  farm.logs.commit({
    put: farm.logs.journal(
      ['granted', farm.logs.until, use],
      ['claimed', '', use],
      ['signed', 'SHA256:x', use],
    ),
  });
});
attack('an end of a grant that is no time', ['journal-grants BAD_ENTRY'], (farm) => {
  const use = farm.announce(one);
  farm.logs.commit({ put: farm.logs.journal(['granted', 'later', use]) });
});
attack('an end of a grant that nobody had', ['journal-grants NO_GRANT'], (farm) => {
  const use = farm.announce(one);
  farm.logs.commit({
    put: farm.logs.journal(['granted', farm.logs.until, use], ['expired', '', use], ['expired', '', use]),
  });
});
attack('a claim of a grant that has ended', ['journal-grants SIGNED_TWICE'], (farm) => {
  const use = farm.announce(one);
  farm.logs.commit({
    put: farm.logs.journal(['granted', farm.logs.until, use], ['expired', '', use], ['claimed', '', use]),
  });
});

/** What is as it has to be, though it looks odd. */
const fine: [string, (farm: Farm) => void][] = [
  [
    'a log becomes its .xz, and that grows and is packed anew',
    ({ logs }) => {
      const plain = logs.content.get(log) as Buffer;
      logs.commit({ remove: [log], put: { [`${log}.xz`]: xz(plain) } });
      logs.commit({ put: { [`${log}.xz`]: Buffer.concat([xz(plain), xz(line())]) } });
      logs.commit({ put: { [`${log}.xz`]: xz(Buffer.concat([plain, Buffer.from(line() + line())])) } });
      logs.commit({ put: (({ put }) => put)(unwrittenFarm().intent([one], { logs: [log] })) });
    },
  ],
  [
    'an empty log, and one that grows from it',
    ({ logs }) => {
      logs.commit({ put: { [other]: '' } });
      logs.commit({ put: { [other]: line() } });
    },
  ],
  [
    'a line of a message repeats what stands there',
    ({ logs }) =>
      void logs.commit({
        put: {},
        lines: () => [
          {
            path: log,
            size: (logs.content.get(log) as Buffer).length,
            sha256: sha256(logs.content.get(log) as Buffer),
          },
        ],
      }),
  ],
  [
    'the receiver says that its clock was set back',
    ({ logs }) =>
      void logs.commit({
        put: {
          [other]:
            line() +
            line('clock set back from 2026-11-21 21:00:05.000000 +0000', '2026-11-21 20:00:01.000000', '> ') +
            line('x', '2026-11-21 20:00:01.000000'),
        },
      }),
  ],
  [
    'two grants for two alike in one intent, used the one after the other',
    (farm) => {
      const intent = farm.intent([one, one]);
      const use = farm.use(one, intent.sha256, farm.logs.commit({ put: intent.put }));
      farm.logs.commit({
        put: farm.logs.journal(
          ['granted', farm.logs.until, use],
          ['granted', farm.logs.until, use],
          ['claimed', '', use],
          ['claimed', '', use],
          ['signed', `sha256:${sha256('1')}`, use],
          ['signed', `sha256:${sha256('2')}`, use],
        ),
      });
    },
  ],
  [
    'a grant that ends unused, and one claimed at its last moment',
    (farm) => {
      const intent = farm.intent([one, one]);
      const use = farm.use(one, intent.sha256, farm.logs.commit({ put: intent.put }));
      farm.logs.commit({
        put: farm.logs.journal(
          ['granted', farm.logs.until, use],
          ['expired', '', use],
          ['granted', new Date(Date.parse(farm.logs.lastTime) + 4000).toISOString(), use],
          ['claimed', '', use],
        ),
      });
    },
  ],
  [
    'a clock set back by a minute, and by a day with a restart',
    ({ logs }) => {
      const from = Date.parse(logs.lastTime);
      logs.setClock(from - 61_000);
      logs.commit({ put: logs.journal(['refused', 'NO_GRANT']) });
      logs.setClock(from - 86_400_000);
      logs.commit({ put: logs.journal(['start', 'another boot']) });
    },
  ],
  [
    'an intent published again by the same VM, with its payload',
    (farm) => {
      const { put, path, document } = farm.intent([one]);
      farm.logs.commit({ put });
      farm.logs.commit({
        put: {
          [path.replace('11-21', '11-22')]: document,
          ...Object.fromEntries(
            Object.entries(put)
              .filter(([name]) => name !== path)
              .map(([name, data]) => [name.replace('11-21', '11-22'), data]),
          ),
        },
      });
    },
  ],
];
for (const [name, change] of fine) {
  void tap.test(`no finding: ${name}`, async (t) => {
    const farm = unwrittenFarm();
    farm.build();
    change(farm);
    for (const streamed of [false, true]) t.same((await judge(farm, undefined, streamed)).codes, []);
  });
}

void tap.test('of a payload that is too large nobody keeps what it says', async (t) => {
  for (const [more, known] of [
    [0, 1],
    [publishedPayloadLimitBytes, 0],
  ] as const) {
    const farm = unwrittenFarm();
    farm.logs.commit({
      put: {
        ...start,
        ...farm.intent([
          { ...one, payload: Buffer.concat([Buffer.from('Suite: x\nSHA256:\n'), Buffer.alloc(more, '#')]) },
        ]).put,
      },
    });
    t.equal((await judge(farm)).payloads.known.size, known);
  }
});

void tap.test('a clock set back by more than a minute is one finding', async (t) => {
  for (const [back, codes] of [
    [60_000, []],
    [60_001, ['journal-chain JOURNAL_TIME']],
  ] as const) {
    const farm = unwrittenFarm();
    farm.logs.commit({ put: { ...start, ...farm.logs.journal(['start', 'boot']) } });
    farm.logs.setClock(Date.parse(farm.logs.lastTime) - 1000 - back);
    farm.logs.commit({ put: farm.logs.journal(['refused', 'NO_GRANT']) });
    t.same((await judge(farm)).codes, codes, String(back));
  }
});
