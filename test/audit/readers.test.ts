// SPDX-License-Identifier: GPL-2.0-or-later
// The audit's small readers, each alone: what they take, and that they take nothing that another reader could
// take for something else.
import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import t from 'tap';
import { readClearSigned, readStanzas } from '../../agents/shared/formats/deb822.js';
import { Budget, defaultLimits, type Limits } from '../../agents/published/budget.js';
import { checkNames, Findings } from '../../agents/audit/findings.js';
import { Unreadable } from '../../agents/published/unreadable.js';
import { indexText } from '../../agents/published/packages/index-text.js';
import { detached, OneText } from '../../agents/published/one-text.js';
import { readOptions, type AuditOptions } from '../../agents/audit/options.js';
import { hashUpTo } from '../../agents/published/logs/prefix-hash.js';
import { oneChild, readXml, type Element } from '../../agents/published/packages/strict-xml.js';

const key = 'ab'.repeat(32);
const budget = (changes: Partial<Limits> = {}): Budget => new Budget({ ...defaultLimits, ...changes });

await t.test('XML is elements, attributes and text, in one spelling', (t) => {
  const shape = ({ name, attributes, children, text }: Element): unknown => [
    name,
    Object.fromEntries(attributes),
    text,
    ...children.map(shape),
  ];
  const cases: [string, unknown][] = [
    ['<a/>', ['a', {}, '']],
    ['<a></a>', ['a', {}, '']],
    ['<a ></a>', ['a', {}, '']],
    ['<?xml version="1.0" encoding="UTF-8"?>\n<a/>', ['a', {}, '']],
    ['\n <a/>\n', ['a', {}, '']],
    ['<a b="c" d="e"/>', ['a', { b: 'c', d: 'e' }, '']],
    ['<a\n b=""/>', ['a', { b: '' }, '']],
    ['<a>x<b/>y</a>', ['a', {}, 'xy', ['b', {}, '']]],
    ['<r:a_-.1><b>1</b><b>2</b></r:a_-.1>', ['r:a_-.1', {}, '', ['b', {}, '1'], ['b', {}, '2']]],
    ['<a>&amp;&lt;&gt;&quot;&apos;&#65;&#x41;&#x10ffff;&#32;</a>', ['a', {}, '&<>"\'AA\u{10ffff} ']],
    ['<a b="&amp;&#9786;"/>', ['a', { b: '&\u263a' }, '']],
    ['<a>\t\n\r \ud7ff\ue000\ufffd\u{10000}</a>', ['a', {}, '\t\n\r \ud7ff\ue000\ufffd\u{10000}']],
    ['<a b="c>d"/>', ['a', { b: 'c>d' }, '']],
  ];
  for (const [text, wanted] of cases) t.same(shape(readXml(text) as Element), wanted, text);
  const bad = [
    '',
    ' ',
    'x',
    '<a>',
    '</a>',
    '<a></b>',
    '<a/><b/>',
    '<a/>x',
    'x<a/>',
    '<a></a></a>',
    '<a b="1" b="2"/>',
    '<a b=c/>',
    "<a b='c'/>",
    '<a b="<"/>',
    '<a b/>',
    '<1a/>',
    '< a/>',
    '<a></a >x',
    '</a/>',
    '<a></a b="c">',
    '<a></a/>',
    '<!-- x --><a/>',
    '<a><![CDATA[x]]></a>',
    '<!DOCTYPE a><a/>',
    '<a><?x?></a>',
    '<?xml version="1.1" encoding="UTF-8"?><a/>',
    '<?xml version="1.0"?><a/>',
    ' <?xml version="1.0" encoding="UTF-8"?><a/>',
    '<a>&x;</a>',
    '<a>&amp</a>',
    '<a>&</a>',
    '<a>&#;</a>',
    '<a>&#31;</a>',
    '<a>&#x1f;</a>',
    '<a>&#x110000;</a>',
    '<a>&#xg;</a>',
    '<a>&#x1234567;</a>',
    '<a>&#12345678;</a>',
    '<a b="&x;"/>',
    '<a>\0</a>',
    '<a>\x1f</a>',
    '<a>\ufffe</a>',
    '<a',
    '<a>x',
    '<a><b></a></b>',
    '<a>x</a><',
    '<a b="c"d="e"/>',
    '<é/>',
    `${'<a>'.repeat(16)}${'</a>'.repeat(16)}`,
  ];
  for (const text of bad) t.equal(readXml(text), undefined, JSON.stringify(text.slice(0, 60)));
  t.ok(readXml(`${'<a>'.repeat(15)}${'</a>'.repeat(15)}`));
  const element = readXml('<a><b>1</b><c>2</c><c/></a>') as Element;
  t.same(
    [oneChild(element, 'b')?.text, oneChild(element, 'c'), oneChild(element, 'd')],
    ['1', undefined, undefined],
  );
  t.end();
});

await t.test('deb822 is fields and stanzas, in one spelling', (t) => {
  const read = (text: string): unknown => readStanzas(text)?.map((stanza) => Object.fromEntries(stanza));
  const cases: [string, unknown][] = [
    ['', []],
    ['A: b\n', [{ A: 'b' }]],
    ['A: b', [{ A: 'b' }]],
    ['A:\nB: c d\n', [{ A: '', B: 'c d' }]],
    ['A: \n', [{ A: '' }]],
    ['A: b\n\nA: c\n', [{ A: 'b' }, { A: 'c' }]],
    ['A: b\n\n', [{ A: 'b' }]],
    ['A: b\n c\n\td\n', [{ A: 'b\nc\nd' }]],
    ['A:\n  b\n', [{ A: '\n b' }]],
    ['A: b:c\n', [{ A: 'b:c' }]],
    [`${'A'.repeat(101)}: b\n`, [{ ['A'.repeat(101)]: 'b' }]],
    ['A1-b: é\n', [{ 'A1-b': 'é' }]],
  ];
  for (const [text, wanted] of cases) t.same(read(text), wanted, JSON.stringify(text));
  for (const text of [
    '\n',
    '\nA: b\n',
    'A: b\n\n\n',
    'A: b\n\n\nB: c\n',
    ' A: b\n',
    'A : b\n',
    'A:b\n',
    'A:  b\n',
    'A: b \n',
    'A: b\t\n',
    'A\n',
    '#x\n',
    'A: b\n#x\n',
    '1A: b\n',
    'A_b: c\n',
    ': b\n',
    'A: b\nA: c\n',
    'A: b\na: c\n',
    'A: b\n \n',
    'A: b\n\t\n',
    'A: b\n\n c\n',
    'A: b\0\n',
    'A: b\r\n',
    'A: \x1f\n',
    'A: \x7f\n',
    'A: \ufffd\n',
    `${'A'.repeat(102)}: b\n`,
  ])
    t.equal(read(text), undefined, JSON.stringify(text));
  t.end();
});

await t.test('a clear-signed message is the one that gpg writes, with nothing around it', (t) => {
  const armor = `-----BEGIN PGP SIGNATURE-----\n\n${'A'.repeat(64)}\nAAAA\n=AAAA\n-----END PGP SIGNATURE-----\n`;
  const message = (text: string, hash = 'SHA512'): string =>
    `-----BEGIN PGP SIGNED MESSAGE-----\nHash: ${hash}\n\n${text}\n${armor}`;
  const cases: [string, string][] = [
    [message('A: b'), 'A: b'],
    [message('A: b\n'), 'A: b\n'],
    [message(''), ''],
    [message('a', 'SHA256'), 'a'],
    [message('a', 'SHA384'), 'a'],
    [message('- -x\n- - y\nz'), '-x\n- y\nz'],
    [message('a').replace('=AAAA\n', ''), 'a'],
    [message('a').replace('\nAAAA\n', '\nAA==\n'), 'a'],
  ];
  for (const [whole, text] of cases)
    t.equal(readClearSigned(whole)?.text, text, JSON.stringify(whole.slice(34, 80)));
  const good = message('a');
  const bad = [
    '',
    'a',
    good.slice(1),
    ` ${good}`,
    `x\n${good}`,
    `${good}x`,
    `${good}\n`,
    good.slice(0, -1),
    message('a', 'SHA1'),
    message('a', 'SHA224'),
    good.replace('SHA512\n', 'SHA512\nHash: SHA1\n'),
    good.replace('Hash: SHA512\n', ''),
    good.replace('\n\na', '\na'),
    message('-x'),
    message('a\n-'),
    message('a\r'),
    message('a\n-----BEGIN PGP SIGNATURE-----'),
    good.replace('SIGNATURE-----\n\n', 'SIGNATURE-----\nComment: x\n\n'),
    good.replace('SIGNATURE-----\n\n', 'SIGNATURE-----\n'),
    good.replace('END PGP', 'END'),
    good.replace('=AAAA', '=AAA'),
    good.replace('AAAA\n=', 'AA*A\n='),
    good.replace(`${'A'.repeat(64)}\n`, `${'A'.repeat(77)}\n`),
    good.replace(`${'A'.repeat(64)}\n`, `${'A'.repeat(64)}\n`.repeat(200)),
    good.replace(`${'A'.repeat(64)}\nAAAA\n`, ''),
  ];
  for (const whole of bad) t.equal(readClearSigned(whole), undefined, JSON.stringify(whole.slice(0, 90)));
  t.equal(readClearSigned(good.replace(`${'A'.repeat(64)}\n`, `${'A'.repeat(64)}\n`.repeat(199)))?.text, 'a');
  t.end();
});

await t.test('an index is its bytes, or one gzip member and nothing else', (t) => {
  const text = Buffer.from('Package: hello\n'.repeat(100));
  const packed = gzipSync(text);
  const named = Buffer.concat([
    packed.subarray(0, 3),
    Buffer.from([8]),
    packed.subarray(4, 10),
    Buffer.from('Packages\0'),
    packed.subarray(10),
  ]);
  const unpacked = (bytes: Buffer, limits: Partial<Limits> = {}): string | undefined =>
    indexText('x/Packages.gz', bytes, budget(limits))?.toString();
  t.same(
    [
      indexText('x/Packages', text, budget())?.equals(text),
      unpacked(packed),
      unpacked(named),
      unpacked(gzipSync('')),
    ],
    [true, text.toString(), text.toString(), ''],
  );
  const at = (index: number, value: number): Buffer =>
    Buffer.from(packed.map((byte, i) => (i === index ? value : byte)));
  const size = (value: number): Buffer => {
    const changed = Buffer.from(packed);
    changed.writeUInt32LE(value, packed.length - 4);
    return changed;
  };
  for (const bad of [
    Buffer.alloc(0),
    packed.subarray(0, 17),
    text,
    at(0, 0x1e),
    at(1, 0x8a),
    at(2, 7),
    at(3, 1),
    at(3, 4),
    at(3, 16),
    Buffer.concat([packed, packed]),
    Buffer.concat([packed, Buffer.alloc(1)]),
    packed.subarray(0, -1),
    size(text.length - 1),
    size(text.length + 1),
    size(0),
    size(512 * 1024 * 1024 + 1),
    Buffer.concat([packed.subarray(0, 3), Buffer.from([8]), packed.subarray(4, 10), Buffer.alloc(20, 1)]),
  ])
    t.equal(unpacked(bad), undefined);
  t.throws(() => unpacked(gzipSync(Buffer.alloc(2 * 1024 * 1024)), { readMiB: 1 }), /--max-read of 1 MiB/);
  t.end();
});

await t.test('the hash of what stood there before is told on the way', (t) => {
  const sha = (text: string): string => createHash('sha256').update(text).digest('hex');
  for (const [end, there] of [
    [-1, undefined],
    [0, undefined],
    [1, sha('xa')],
    [3, sha('xabc')],
    [4, undefined],
  ] as const) {
    const hash = createHash('sha256').update('x');
    t.equal(hashUpTo(hash, Buffer.from('abc'), end), there);
    t.equal(hash.digest('hex'), sha('xabc'));
  }
  const one = new OneText();
  t.same([one.of('a'), one.of('a'), one.of('b'), detached('é')], ['a', 'a', 'b', 'é']);
  t.end();
});

await t.test('the budget is one for all, and says which limit was met', async (t) => {
  const small = budget({ objects: 3, readMiB: 1 });
  small.doing = 'commits were read';
  small.spend('objects', 3);
  small.spend('bytes', 1024 * 1024);
  t.throws(() => small.spend('objects', 1), {
    name: 'Unreadable',
    message: 'the limit --max-objects of 3 git objects is met: commits were read',
  });
  t.throws(() => small.spend('bytes', 1), {
    message: 'the limit --max-read of 1 MiB is met: commits were read',
  });
  t.throws(() => budget({ memoryMiB: 1 }).look(), /--max-memory of 1 MiB is met: nothing was checked/);
  t.doesNotThrow(() => budget().look());
  t.throws(() => budget({ seconds: 0 }).look(), /--max-seconds of 0 s/);
  const tight = budget({ memoryMiB: 1 });
  for (let i = 0; i < 1023; i++) tight.spend('objects', 1);
  t.throws(() => tight.spend('objects', 1), /--max-memory/, 'looked at now and then');
  const left = budget({ seconds: 10 });
  t.ok(left.leftMs > 5000 && left.leftMs <= 10_000);
  t.equal(budget({ seconds: 0 }).leftMs, 1);
  const whole = budget();
  t.equal(await whole.within(async () => 'done'), 'done');
  t.ok(whole.signal.aborted);
  const late = budget({ seconds: 0 });
  await t.rejects(
    late.within(() => new Promise(() => undefined)),
    { name: 'Unreadable' },
  );
  t.ok(late.signal.aborted);
});

await t.test('findings are counted whole and kept in part', (t) => {
  const findings = new Findings();
  t.ok(findings.ok);
  t.same(
    findings.rows.map(({ name, ok, count, wrong, findings: kept }) => [name, ok, count, wrong, kept]),
    checkNames.map((name) => [name, true, 0, 0, []]),
  );
  t.same(
    findings.rows.map(({ unit }) => unit),
    [
      'remotes',
      'commits',
      'commits',
      'files',
      'versions',
      'intents',
      'payloads',
      'entries',
      'heads',
      'signatures',
      'signatures',
      'files',
      'signatures',
      'files',
    ],
  );
  findings.looked('intents');
  findings.looked('intents', 4);
  t.ok(findings.ok);
  for (let i = 0; i < 201; i++)
    findings.wrong('intents', { code: 'BAD_INTENT', expected: 'x', found: String(i) });
  const row = findings.rows.find(({ name }) => name === 'intents');
  t.same(
    [findings.ok, row?.ok, row?.count, row?.wrong, row?.findings.length, row?.findings.at(-1)?.found],
    [false, false, 5, 201, 200, '199'],
  );
  t.ok(findings.rows.every(({ name, ok }) => ok === (name !== 'intents')));
  t.equal(new Unreadable('x').name, 'Unreadable');
  t.end();
});

await t.test('a command line says what is audited with which keys, or what is wrong with it', (t) => {
  const base = ['--logs', 'l', '--logs-key', 'k'];
  const read = (...args: string[]): AuditOptions => readOptions(args);
  t.same(read(...base), {
    limits: defaultLimits,
    logs: ['l'],
    logsKey: 'k',
    repositories: [],
    suites: [],
    journalKeys: new Map(),
    contains: [],
    json: false,
  });
  t.same(read('--logs', 'a', 'b', '--logs', 'c', '--logs-key', 'k').logs, ['a', 'b', 'c']);
  t.same(read(...base, '--apt', 'a', '--signing-key', 's', '--dnf', 'd').repositories, [
    { kind: 'apt', source: 'a', signingKey: 's' },
    { kind: 'dnf', source: 'd', signingKey: 's' },
  ]);
  t.same(
    read(...base, '--apt', 'a', '--signing-key', 's', '--dnf', 'd', '--apt', 'e', '--signing-key', 't')
      .repositories,
    [
      { kind: 'apt', source: 'a', signingKey: 's' },
      { kind: 'dnf', source: 'd', signingKey: 't' },
      { kind: 'apt', source: 'e', signingKey: 't' },
    ],
  );
  t.same(
    [
      ...read(
        ...base,
        '--journal-key',
        `keys-a=${key}`,
        '--journal-key',
        `keys-b=${key}`,
        '--journal-key',
        `keys-a=${'cd'.repeat(32)}`,
      ).journalKeys,
    ],
    [
      ['keys-a', [key, 'cd'.repeat(32)]],
      ['keys-b', [key]],
    ],
  );
  t.match(read(...base, '--suite', 'current', '--suite', 'a/b_-.c', '--contains', 'a'.repeat(40), '--json'), {
    suites: ['current', 'a/b_-.c'],
    contains: ['a'.repeat(40)],
    json: true,
  });
  t.same(
    read(
      ...base,
      '--max-seconds',
      '1',
      '--max-memory',
      '2',
      '--max-download',
      '3',
      '--max-read',
      '4',
      '--max-objects',
      '999999999999',
    ).limits,
    { seconds: 1, memoryMiB: 2, downloadMiB: 3, readMiB: 4, objects: 999_999_999_999 },
  );
  const bad: [string[], RegExp][] = [
    [[], /--logs is missing/],
    [['--logs-key', 'k'], /--logs is missing/],
    [['--logs', 'l'], /--logs-key is missing/],
    [['x', ...base], /unexpected argument x/],
    [[...base, 'x'], /unexpected argument x/],
    [[...base, '--other'], /other/],
    [[...base, '--json=x'], /json/],
    [[...base, '--apt', 'a'], /belong together/],
    [[...base, '--signing-key', 's'], /belong together/],
    [[...base, '--signing-key', 's', '--apt', 'a', '--signing-key', 't'], /stands after/],
    [[...base, '--apt', 'a', '--signing-key', 's', '--signing-key', 't'], /stands after/],
    [
      [...base, '--apt', 'a', '--signing-key', 's', '--apt', 'b', '--signing-key', 't', '--apt', 'c'],
      /belong together/,
    ],
    ...['x', `=${key}`, `k=${key.toUpperCase()}`, `k=${key}0`, `1=${key}`, key].map(
      (pin): [string[], RegExp] => [[...base, '--journal-key', pin], /needs VM=HEX/],
    ),
    [[...base, '--contains', 'main'], /full commit id/],
    [[...base, '--contains', 'a'.repeat(39)], /full commit id/],
    ...['', '/x', '.x', 'a b', 'x'.repeat(102)].map((suite): [string[], RegExp] => [
      [...base, '--suite', suite],
      /not the name of a suite|--suite needs a value/,
    ]),
    ...['seconds', 'memory', 'download', 'read', 'objects'].flatMap((name) =>
      ['0', '-1', '01', 'x', '1x', '1234567890123', ''].map((value): [string[], RegExp] => [
        [...base, `--max-${name}=${value}`],
        new RegExp(`--max-${name} (is not a number|needs a value)`),
      ]),
    ),
  ];
  for (const [args, message] of bad)
    t.throws(() => readOptions(args), { name: 'Misuse', message }, args.join(' '));
  t.end();
});
