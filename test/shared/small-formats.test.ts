// SPDX-License-Identifier: GPL-2.0-or-later
// Spellings that several VMs share: what is written is read as itself, and nothing else is read.
import { createHash, generateKeyPairSync } from 'node:crypto';
import t from 'tap';
import { validityOf } from '../../agents/shared/formats/apt-release.js';
import {
  journalFileEntries,
  journalLine,
  journalLineHash,
  journalPath,
  noEntry,
  type JournalEntry,
} from '../../agents/shared/formats/journal.js';
import {
  journalHeadFormat,
  journalHeadLine,
  journalHeadPath,
  journalHeadText,
  journalKeyPattern,
  signJournalHead,
  verifiesJournalHead,
} from '../../agents/shared/formats/journal-head.js';
import { logLink, logsUrlPattern } from '../../agents/shared/formats/log-link.js';
import {
  logEndLine,
  logEndPattern,
  logHeaderPrefix,
  readLogAnswer,
  writeLogAnswer,
  type LogAnswer,
} from '../../agents/shared/formats/log-stream.js';
import * as names from '../../agents/shared/formats/names.js';
import { readSignatureOrigin, writeSignatureOrigin } from '../../agents/shared/formats/signature-origin.js';
import {
  codenameOf,
  isTemplatesDist,
  partsOf,
  repositoryOf,
  suiteOf,
  suites,
  suitesOf,
  wordsIn,
  templatesDist,
  templateSuites,
} from '../../agents/shared/formats/suites.js';
import { compareVersions } from '../../agents/shared/formats/version-order.js';

const hash = 'ab'.repeat(32);
const id = 'ab'.repeat(20);
const log = 'v/2026-11-21/log_2026-11-21_20-00-00.1.xz';

await t.test('names have one spelling, with an end that is the end', async (t) => {
  const cases: [keyof typeof names & `${string}Pattern`, string[], string[]][] = [
    [
      'vmNamePattern',
      ['a', 'A', 'build-debian', `a${'b'.repeat(30)}`, 'a_.-1'],
      ['', '1', '-a', `a${'b'.repeat(31)}`, 'a b', 'é'],
    ],
    [
      'plainNamePattern',
      ['a', '0', 'gtk+2.0', 'a'.repeat(64)],
      ['', 'A', '-a', '.a', 'a_', 'a'.repeat(65), 'a/b'],
    ],
    ['jobIdPattern', ['a', 'A-1.0~rc1+2_3', 'a'.repeat(200)], ['', '.a', 'a/b', 'a'.repeat(201), 'a:b']],
    [
      'fingerprintPattern',
      ['AB'.repeat(20), 'AB'.repeat(32)],
      ['AB'.repeat(19), 'AB'.repeat(21), 'AB'.repeat(33), id, `x${'AB'.repeat(20)}`],
    ],
    ['sha256Pattern', [hash], [id, `${hash}a`, hash.toUpperCase(), `x${hash}`]],
    ['objectIdPattern', [id, hash], [`${id}a`, id.toUpperCase(), hash.slice(1), `x${id}`]],
    ['subdirectoryPattern', ['a', '2026-11-21', 'a'.repeat(64)], ['', '.a', 'a/b', 'a'.repeat(65)]],
    [
      'versionPattern',
      ['1', '1:2.0~rc1-1+b1', `1${'a'.repeat(99)}`],
      ['', 'a', '-1', `1${'a'.repeat(100)}`, '1/2', '1_2'],
    ],
    [
      'fileNamePattern',
      ['a', '_a', 'a_1.0-1.dsc', 'a'.repeat(200)],
      ['', '.a', '-a', 'a/b', 'a'.repeat(201)],
    ],
    [
      'logPathPattern',
      [
        log,
        'v/log_2026-11-21_20-00-00',
        'v/x/log_2026-11-21_20-00-00.123456',
        'v/log_2026-11-21_20-00-00.xz',
      ],
      [
        'log_2026-11-21_20-00-00',
        'v/x/y/log_2026-11-21_20-00-00',
        'v/log_2026-11-21_20-00',
        'v/log_2026-11-21_20-00-00.1234567',
        'v/log_2026-11-21_20-00-00.gz',
        'v/.x/log_2026-11-21_20-00-00',
        '1/log_2026-11-21_20-00-00',
        `x/${log}`,
      ],
    ],
    [
      'publishedPathPattern',
      ['a/b', 'a/b/c/d/e', 'A/b._+~-'],
      ['a', 'a/b/c/d/e/f', '/a', 'a//b', 'a/.b', '../a', 'a/b/'],
    ],
  ];
  for (const [name, good, bad] of cases) {
    for (const one of good) t.ok(names.matches(names[name], one), `${name}: ${one}`);
    for (const one of [...bad, ...good.map((word) => `${word}\n`), ...good.map((word) => `\n${word}`)])
      t.notOk(names.matches(names[name], one), `${name}: ${JSON.stringify(one)}`);
  }
  for (const other of [null, undefined, 1, ['a'], { toString: () => 'a' }])
    t.notOk(names.matches(names.plainNamePattern, other));
});

await t.test('the times of a Release', async (t) => {
  t.same(
    validityOf(
      'Origin: x\nDate: Sat, 21 Nov 2026 20:00:00 UTC\nValid-Until: Sun, 22 Nov 2026 20:00:00 UTC\n',
    ),
    { date: Date.UTC(2026, 10, 21, 20), validUntil: Date.UTC(2026, 10, 22, 20) },
  );
  t.same(validityOf('Date: Sat, 21 Nov 2026 20:00:00 UTC'), {
    date: Date.UTC(2026, 10, 21, 20),
    validUntil: undefined,
  });
  for (const release of [
    '',
    'Valid-Until: Sun, 22 Nov 2026 20:00:00 UTC\n',
    'Date: yesterday\n',
    'Date: Sat, 21 Nov 2026 20:00:00 UTC\nValid-Until: never\n',
    'X-Date: Sat, 21 Nov 2026 20:00:00 UTC\n',
    'Date:\n',
    ' Date: Sat, 21 Nov 2026 20:00:00 UTC\n',
  ])
    t.throws(() => validityOf(release), /does not say of when/, release);
});

await t.test('the address of a log', async (t) => {
  const url = 'https://forge.example/o/logs/blob/{commit}/{path}?plain=1';
  for (const good of [url, 'http://h:8080/{path}', 'https://h/x/{path}#L1'])
    t.ok(names.matches(logsUrlPattern, good), good);
  for (const bad of [
    'https://h/x',
    'ftp://h/{path}',
    'https://h/{path}/{path}',
    'https://h/{commit}/{commit}/{path}',
    'https://-h/{path}',
    `x${url}`,
    'https://h/{path} ',
    'https://h/{other}/{path}',
  ])
    t.notOk(names.matches(logsUrlPattern, bad), bad);
  t.equal(logLink(url, log, id), `https://forge.example/o/logs/blob/${id}/${log}?plain=1`);
  t.equal(logLink('https://h/{path}', log, null), `https://h/${log}`);
  t.equal(logLink('https://h/{path}', log, 'whatever'), `https://h/${log}`);
  for (const commit of [null, 'main', `${id}\n`]) t.equal(logLink(url, log, commit), undefined);
  for (const path of ['', 'v/x', `${log}\n`]) t.equal(logLink('https://h/{path}', path, id), undefined);
});

await t.test('the origin of a signature', async (t) => {
  for (const commit of [id, hash])
    for (const seq of [1, 999_999_999_999_999])
      t.same(readSignatureOrigin(writeSignatureOrigin({ commit, seq, claim: hash })), {
        commit,
        seq,
        claim: hash,
      });
  const good = `${id}:7:${hash}`;
  t.same(readSignatureOrigin(good), { commit: id, seq: 7, claim: hash });
  for (const bad of [
    '',
    `${good}\n`,
    `\n${good}`,
    `x${good}`,
    `${good}x`,
    good.toUpperCase(),
    good.replace(':7:', ':0:'),
    good.replace(':7:', ':07:'),
    good.replace(':7:', ':1234567890123456:'),
    good.replace(':7:', '::'),
    good.replace(id, id.slice(1)),
    good.replace(hash, id),
  ])
    t.equal(readSignatureOrigin(bad), undefined, JSON.stringify(bad));
});

await t.test('what BuildLog answers', async (t) => {
  const answers: [LogAnswer, string][] = [
    [{ kind: 'opened', path: log, lines: 0 }, `opened ${log} 0\n`],
    [{ kind: 'opened', path: log, lines: 12 }, `opened ${log} 12\n`],
    [{ kind: 'synced', lines: 7 }, 'synced 7\n'],
    [{ kind: 'path', path: log }, `${log}\n`],
    [{ kind: 'published', commit: id, sha256: hash }, `published ${id} sha256:${hash}\n`],
    [{ kind: 'published', commit: hash, sha256: hash }, `published ${hash} sha256:${hash}\n`],
    [{ kind: 'refused', code: 'NOT_TODAY', detail: 'a b' }, 'refused NOT_TODAY a b\n'],
  ];
  for (const [answer, line] of answers) {
    t.equal(writeLogAnswer(answer), line);
    t.same(readLogAnswer(line.slice(0, -1)), answer);
  }
  t.same(readLogAnswer('refused FAULT'), { kind: 'refused', code: 'FAULT', detail: '' });
  const none = [
    '',
    'opened',
    `opened ${log}`,
    `opened ${log} 1 2`,
    'opened x 1',
    `opened ${log} x`,
    `opened ${log} 01`,
    `opened ${log} -1`,
    'synced',
    'synced x',
    'synced 01',
    'synced 1 2',
    'synced 1234567890123456',
    'synced 1x',
    'synced x1',
    `${log} x`,
    'x',
    ` ${log}`,
    `published ${id}`,
    `published ${id} ${hash}`,
    `published x sha256:${hash}`,
    `published ${id} sha256:${id}`,
    `published ${id} sha256:${hash}x`,
    `x published ${id} sha256:${hash}`,
    'refused',
    'refused x',
    'refused 1X',
    `refused ${'X'.repeat(65)}`,
    'xrefused FAULT',
    'refused FAULTx',
    'other 1',
    `other ${log} 1`,
  ];
  for (const line of none) t.equal(readLogAnswer(line), undefined, JSON.stringify(line));
  t.equal(logHeaderPrefix, '> build-infra log@1 ');
  t.equal(logEndPattern.exec(logEndLine(137))?.[1], '137');
  t.equal(logEndLine(0), '> end status=0');
  for (const line of [
    '> end status=',
    '> end status=1234',
    '> end status=0 ',
    'x> end status=0',
    '> end status=x',
  ])
    t.notOk(logEndPattern.test(line), line);
});

await t.test('which suite an upload lies in', async (t) => {
  t.same(suitesOf('bookworm'), suites);
  t.same(
    [suites, templateSuites],
    [
      ['current-testing', 'current', 'security-testing'],
      ['templates-itl-testing', 'templates-itl', 'templates-community-testing', 'templates-community'],
    ],
  );
  t.same(suitesOf(templatesDist('r4.3')), templateSuites);
  t.same(
    [
      templatesDist('r4.3'),
      isTemplatesDist('templates-r4.3'),
      isTemplatesDist('bookworm'),
      isTemplatesDist('x-templates-'),
    ],
    ['templates-r4.3', true, false, false],
  );
  t.equal(codenameOf('bookworm', 'current'), 'bookworm-current');
  const cases: [string, string, string | undefined, string][] = [
    ['bookworm', 'current', undefined, 'current'],
    ['bookworm', 'bookworm-current-testing', undefined, 'current-testing'],
    ['bookworm', 'security-testing', undefined, 'security-testing'],
    ['bookworm', 'bookworm-testing', undefined, 'current-testing'],
    ['bookworm', 'bookworm-securitytesting', undefined, 'security-testing'],
    ['bookworm', 'bookworm-unstable', undefined, 'unstable'],
    ['bookworm', 'bookworm-other', undefined, 'bookworm-other'],
    ['bookworm', 'testing', undefined, 'testing'],
    ['bookworm', 'trixie-current', undefined, 'trixie-current'],
    ['bookworm', 'bookworm.testing', undefined, 'bookworm.testing'],
    ['bookworm', 'whatever', 'current', 'current'],
    ['bookworm', 'current', 'mine', 'mine'],
    ['templates-r4.3', 'templates-itl', undefined, 'templates-itl'],
    ['templates-r4.3', 'current', undefined, 'current'],
    ['bookworm', 'bookworm-maint-current', undefined, 'maint-current'],
    ['bookworm', 'bookworm-maint-current-testing', undefined, 'maint-current-testing'],
    ['bookworm', 'maint-current', undefined, 'maint-current'],
    ['bookworm', 'bookworm-a-b-current', undefined, 'bookworm-a-b-current'],
    ['trixie', 'bookworm-current', undefined, 'bookworm-current'],
    ['templates-r4.3', 'templates-r4.3-templates-itl-testing', undefined, 'templates-itl-testing'],
    ['templates-r4.3', 'templates-r4.3-current', undefined, 'templates-r4.3-current'],
  ];
  for (const [dist, suite, repository, ours] of cases)
    t.equal(
      repositoryOf({ dist, suite, ...(repository === undefined ? {} : { repository }) }),
      ours,
      `${suite} of ${dist}`,
    );
});

await t.test('the suites of a release line', async (t) => {
  t.same(suitesOf('bookworm', ['lts', 'maint']).slice(3), [
    'lts-current-testing',
    'lts-current',
    'lts-security-testing',
    'maint-current-testing',
    'maint-current',
    'maint-security-testing',
  ]);
  t.same(suitesOf(templatesDist('r4.3'), ['lts']), templateSuites, 'templates have no lines');
  t.same([suiteOf(undefined, 'current'), suiteOf('lts', 'current')], ['current', 'lts-current']);
  for (const [suite, word, own] of [
    ['current', undefined, 'current'],
    ['current-testing', undefined, 'current-testing'],
    ['lts-current-testing', 'lts', 'current-testing'],
    ['lts-current', 'lts', 'current'],
    ['security-current', 'security', 'current'],
  ] as const)
    t.same(partsOf(suite), { word, suite: own }, suite);
  for (const none of [
    '',
    'lts',
    'lts-',
    '-current',
    'a-b-current',
    'Lts-current',
    '6-current',
    'lts-currents',
    'lts-testing',
    'templates-itl',
    `${'a'.repeat(17)}-current`,
  ])
    t.equal(partsOf(none), undefined, none);
  t.same(wordsIn(['maint-current', 'current', 'lts-current', 'maint-security-testing', 'pool', 'key.asc']), [
    'lts',
    'maint',
  ]);
});

await t.test('versions in the order that dpkg has them', async (t) => {
  // dpkg's own order; test/build-vm/version-tag.test.ts asks dpkg itself.
  const order = [
    ['0', '00'],
    ['1~~'],
    ['1~'],
    ['1~1'],
    ['1~a'],
    ['1-~'],
    ['1', '1-0'],
    ['1-1~x'],
    ['1-1'],
    ['1-1a'],
    ['1A'],
    ['1a~'],
    ['1a'],
    ['1a1'],
    ['1a+'],
    ['1b'],
    ['1z'],
    ['1+'],
    ['1-1-1'],
    ['1-1-2'],
    ['1.0~rc1-1'],
    ['1.', '1.0', '1.00'],
    ['1.0-1~deb12u1'],
    ['1.0-1'],
    ['1.0-1+b1'],
    ['1.0-A'],
    ['1.0-a'],
    ['1.0a'],
    ['1.0.1'],
    ['1.9'],
    ['1.10'],
    ['99999999999999999999999'],
    ['1:0', '01:0'],
    ['1:0-1'],
    ['2:0'],
    ['10:0'],
  ];
  order.forEach((as, i) =>
    order.forEach((bs, j) => {
      for (const a of as)
        for (const b of bs)
          if (Math.sign(compareVersions(a, b)) !== Math.sign(i - j))
            t.fail(`${a} and ${b}: ${compareVersions(a, b)}`);
    }),
  );
  t.equal(compareVersions('x:1', '1'), 0, 'an epoch that is no number is none');
  t.equal(compareVersions('1x:1', '0:1'), 0);
});

const entry: JournalEntry = {
  format: 'build-infra/journal-entry@1',
  seq: 2,
  prev: hash,
  time: '2026-11-21T21:37:52.123Z',
  event: 'claimed',
  source: 'b',
  sha256: hash,
  key: 'AB'.repeat(20),
  mode: 'detach',
  commit: id,
  intent: hash,
  result: '',
};

await t.test(
  'an entry of the journal is one line, with its fields in order, in a file of at most 256',
  async (t) => {
    const line = `{"format":"build-infra/journal-entry@1","seq":2,"prev":"${hash}","time":"2026-11-21T21:37:52.123Z","event":"claimed","source":"b","sha256":"${hash}","key":"${'AB'.repeat(20)}","mode":"detach","commit":"${id}","intent":"${hash}","result":""}`;
    t.equal(
      journalLine(
        Object.fromEntries([...Object.entries(entry), ['extra', 1]].reverse()) as unknown as JournalEntry,
      ),
      line,
    );
    t.equal(journalLineHash(line), createHash('sha256').update(line).digest('hex'));
    t.equal(noEntry, '0'.repeat(64));
    t.same(
      [1, 256, 257, 25_600_000_001].map((seq) => journalPath('k', seq)),
      [
        'journal/k/00000000.jsonl',
        'journal/k/00000000.jsonl',
        'journal/k/00000001.jsonl',
        'journal/k/100000000.jsonl',
      ],
    );
    t.same(journalFileEntries('k', 'journal/k/00000001.jsonl'), { first: 257, end: 513 });
    t.same(journalFileEntries('k', 'journal/k/100000000.jsonl'), {
      first: 25_600_000_001,
      end: 25_600_000_257,
    });
    for (const path of [
      'journal/k/0000001.jsonl',
      'journal/k/000000001.jsonl',
      'journal/other/00000001.jsonl',
      'journal/k/00000001.json',
      'journal/k/00000001.jsonl2',
      'journal/k/x00000001.jsonl',
      'journal/k/heads-00000001.jsonl',
      'x/journal/k/00000001.jsonl',
      'journal/k/1234567890123.jsonl',
      '',
    ])
      t.equal(journalFileEntries('k', path), undefined, path);
  },
);

await t.test('the head of a journal is signed over its fields, and only with the pinned key', async (t) => {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const hex = Buffer.from(publicKey.export({ format: 'jwk' }).x as string, 'base64url').toString('hex');
  t.ok(names.matches(journalKeyPattern, hex));
  for (const bad of [hex.toUpperCase().replace(/^[0-9]/, 'A'), hex.slice(1), `${hex}a`, `x${hex}`])
    t.notOk(names.matches(journalKeyPattern, bad));
  const unsigned = {
    format: journalHeadFormat,
    keysVm: 'k',
    seq: 3,
    entry: hash,
    commit: id,
    boot: 'b',
    time: '2026-11-21T21:37:52.123Z',
  } as const;
  t.equal(
    journalHeadText(
      Object.fromEntries([...Object.entries(unsigned), ['extra', 1]].reverse()) as unknown as typeof unsigned,
    ),
    `{"format":"build-infra/journal-head@1","keysVm":"k","seq":3,"entry":"${hash}","commit":"${id}","boot":"b","time":"2026-11-21T21:37:52.123Z"}`,
  );
  const head = signJournalHead(unsigned, privateKey);
  t.match(head, unsigned);
  t.ok(verifiesJournalHead(head, hex));
  t.equal(
    journalHeadLine(Object.fromEntries(Object.entries(head).reverse()) as unknown as typeof head),
    `${journalHeadText(unsigned).slice(0, -1)},"signature":"${head.signature}"}`,
  );
  for (const change of [
    { keysVm: 'x' },
    { seq: 4 },
    { entry: 'cd'.repeat(32) },
    { commit: null },
    { boot: 'x' },
    { time: '2026-11-21T21:37:52.124Z' },
    { signature: head.signature.replace(/^./, (first) => (first === 'A' ? 'B' : 'A')) },
    { signature: `${head.signature} ` },
    { signature: `${head.signature}AAAA` },
  ])
    t.notOk(verifiesJournalHead({ ...head, ...change }, hex), JSON.stringify(change));
  const other = generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' }).x as string;
  t.notOk(verifiesJournalHead(head, Buffer.from(other, 'base64url').toString('hex')));
  t.same(
    [1, 256, 257].map((seq) => journalHeadPath('k', seq)),
    ['journal/k/heads-00000000.jsonl', 'journal/k/heads-00000000.jsonl', 'journal/k/heads-00000001.jsonl'],
  );
});
