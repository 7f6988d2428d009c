// SPDX-License-Identifier: GPL-2.0-or-later
// The split-gpg wire and the clear text byte by byte. Independent peers and real gpg are asked in
// test/keys/split-gpg and cleartext.
import t from 'tap';
import { CleartextCheck } from '../../agents/shared/formats/cleartext.js';
import {
  dataFrames,
  endFrame,
  exitFrame,
  FrameReader,
  preambleBytes,
  readPreamble,
  writePreamble,
  type Frame,
} from '../../agents/shared/formats/split-gpg.js';
import {
  outputDescriptors,
  readFdNumber,
  readGpgArguments,
  type GpgArguments,
} from '../../agents/shared/formats/split-gpg-arguments.js';

const header = (index: number, length: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeInt32LE(index, 0);
  bytes.writeUInt32LE(length, 4);
  return bytes;
};

await t.test(
  'a preamble is 1028 bytes: where the command line ends, and it, with a NUL before each word',
  async (t) => {
    const bytes = writePreamble(['-b', 'é']);
    t.equal(bytes.length, preambleBytes);
    t.same(bytes.subarray(0, 12), Buffer.from('\x06\0\0\0\0-b\0\xc3\xa9\0\0', 'latin1'));
    t.notOk(bytes.subarray(11).some((byte) => byte !== 0));
    for (const args of [[], [''], ['', ''], ['a'], ['a b', '~', 'é'], ['x'.repeat(1022)]])
      t.same(readPreamble(writePreamble(args)), args);
    t.throws(() => writePreamble(['x'.repeat(1023)]), { code: 'COMMAND_TOO_LONG' });
    const named = Buffer.alloc(1028);
    named.writeUInt32LE(9);
    named.write('gpg\0-b\0-\0', 4);
    named[13] = 0;
    t.same(readPreamble(named), ['-b', '-', '']);
    const wrong = (change: (bytes: Buffer) => void): Buffer => {
      const made = writePreamble(['-b', 'ab']);
      change(made);
      return made;
    };
    for (const bad of [
      Buffer.alloc(1027),
      Buffer.alloc(1029),
      wrong((made) => made.writeUInt32LE(1024)),
      wrong((made) => made.writeUInt32LE(0xffffffff)),
      wrong((made) => made.writeUInt32LE(5)),
    ])
      t.throws(() => readPreamble(bad), { code: 'BAD_PREAMBLE' });
    t.same(readPreamble(wrong((made) => made.writeUInt32LE(1023))).slice(0, 3), ['-b', 'ab', '']);
    for (const byte of [0x01, 0x0a, 0x1b, 0x1f, 0x7f, 0xc0, 0xff])
      t.throws(
        () => readPreamble(wrong((made) => (made[9] = byte))),
        { code: 'BAD_CHARACTER' },
        `byte ${byte}`,
      );
    for (const bad of ['a\nb', '\x7f', '\x1f'])
      t.throws(() => writePreamble([bad]), { code: 'BAD_CHARACTER' });
    t.same(
      readPreamble(wrong((made) => made.fill('\xef\xbb\xbf', 8, 11, 'latin1').writeUInt32LE(7)))[1],
      '\ufeff',
      'nothing is taken off a word',
    );
  },
);

await t.test('frames hold at most 4096 bytes, none is empty by accident, and an exit ends all', async (t) => {
  t.same(dataFrames(2, Buffer.alloc(0)), Buffer.alloc(0));
  t.same(dataFrames(2, Buffer.from('ab')), Buffer.concat([header(2, 2), Buffer.from('ab')]));
  t.same(dataFrames(0, Buffer.alloc(4096, 1)), Buffer.concat([header(0, 4096), Buffer.alloc(4096, 1)]));
  t.same(
    dataFrames(0, Buffer.alloc(4097, 1)),
    Buffer.concat([header(0, 4096), Buffer.alloc(4096, 1), header(0, 1), Buffer.from([1])]),
  );
  t.same(endFrame(3), header(3, 0));
  t.same(
    [exitFrame(0), exitFrame(2), exitFrame(255), exitFrame(256)],
    [header(-1, 0), header(-3, 0), header(-256, 0), header(-1, 0)],
  );
  const read = (bytes: Buffer, streams = 2): Frame[] => new FrameReader(streams).push(bytes);
  t.same(
    read(
      Buffer.concat([
        dataFrames(1, Buffer.from('ab')),
        endFrame(1),
        endFrame(0),
        exitFrame(7),
        Buffer.alloc(9, 0xff),
      ]),
    ),
    [
      { kind: 'data', index: 1, data: Buffer.from('ab') },
      { kind: 'end', index: 1 },
      { kind: 'end', index: 0 },
      { kind: 'exit', status: 7 },
    ],
  );
  t.same(
    [read(exitFrame(0)), read(exitFrame(255))],
    [[{ kind: 'exit', status: 0 }], [{ kind: 'exit', status: 255 }]],
  );
  t.equal(read(dataFrames(0, Buffer.alloc(4096))).length, 1);
  for (const bad of [header(0, 4097), header(2, 1), header(2, 0), header(5, 0), header(-1, 4097)])
    t.throws(() => read(bad), { code: 'BAD_FRAME' });
  const reader = new FrameReader(1);
  t.ok(reader.complete);
  t.same(reader.push(header(0, 3).subarray(0, 5)), []);
  t.notOk(reader.complete);
  t.same(reader.push(Buffer.concat([header(0, 3).subarray(5), Buffer.from('ab')])), []);
  t.notOk(reader.complete);
  t.same(reader.push(Buffer.from('c')), [{ kind: 'data', index: 0, data: Buffer.from('abc') }]);
  t.ok(reader.complete);
  t.same(reader.push(Buffer.concat([exitFrame(1), Buffer.from('more')])), [{ kind: 'exit', status: 1 }]);
  t.ok(reader.complete);
  t.same(reader.push(dataFrames(0, Buffer.from('x'))), [], 'after the exit nothing is read');
  t.ok(reader.complete);
  const chunk = Buffer.concat([dataFrames(0, Buffer.from('x')), Buffer.from([1, 2])]);
  const copied = new FrameReader(1);
  copied.push(chunk);
  chunk.fill(0);
  t.throws(
    () => copied.push(Buffer.from([0, 0, 0, 0, 0, 0])),
    { code: 'BAD_FRAME' },
    'what is kept of a chunk is a copy of it',
  );
});

await t.test('a command line is taken apart in one way', async (t) => {
  const read = (...args: string[]): [string[], string[]] => {
    const { options, positionals }: GpgArguments = readGpgArguments(args);
    return [options.map(({ name, value }) => (value === undefined ? name : `${name}=${value}`)), positionals];
  };
  const cases: [string[], string[], string[]][] = [
    [[], [], []],
    [['-'], [], ['-']],
    [['x', '-b'], [], ['x', '-b']],
    [['--'], [], []],
    [['-b', '--', '-a', '--x'], ['detach-sign'], ['-a', '--x']],
    [['-b', '-', '-a'], ['detach-sign'], ['-', '-a']],
    [['-b', '', '-a'], ['detach-sign'], ['', '-a']],
    [['--output', '-'], ['output=-'], []],
    [['--output=-'], ['output=-'], []],
    [['--output='], ['output='], []],
    [['--output', ''], ['output='], []],
    [['--output=a=b'], ['output=a=b'], []],
    [['--output', '--armor'], ['output=--armor'], []],
    [['-o', 'x', '-u', 'y'], ['output=x', 'local-user=y'], []],
    [['-ox', '-uy'], ['output=x', 'local-user=y'], []],
    [['-bsau', 'K', 'f'], ['detach-sign', 'sign', 'armor', 'local-user=K'], ['f']],
    [['-bsauK'], ['detach-sign', 'sign', 'armor', 'local-user=K'], []],
    [['-auo'], ['armor', 'local-user=o'], []],
    [
      ['-abcdeskKnqtvh'],
      [
        'armor',
        'detach-sign',
        'symmetric',
        'decrypt',
        'encrypt',
        'sign',
        'list-keys',
        'list-secret-keys',
        'dry-run',
        'quiet',
        'textmode',
        'verbose',
        'help',
      ],
      [],
    ],
    [['-N', 'n', '-r', 'r', '-R', 'R'], ['set-notation=n', 'recipient=r', 'hidden-recipient=R'], []],
  ];
  for (const [args, options, positionals] of cases)
    t.same(read(...args), [options, positionals], args.join(' '));
  for (const args of [
    ['--x'],
    ['--'.padEnd(3, '=')],
    ['-z'],
    ['-bz'],
    ['-é'],
    ['--arm'],
    ['--armor '],
    ['--Armor'],
    ['--constructor'],
    ['---armor'],
  ])
    t.throws(() => read(...args), { code: 'UNKNOWN_OPTION' }, args.join(' '));
  for (const args of [['--output'], ['-o'], ['-bo'], ['--armor='], ['--armor=yes'], ['-b', '-u']])
    t.throws(() => read(...args), { code: 'BAD_OPTION' }, args.join(' '));
  t.same([readFdNumber('0', 'x'), readFdNumber('7', 'x'), readFdNumber('1023', 'x')], [0, 7, 1023]);
  for (const bad of [undefined, '', '-1', '01', '1024', '12345', '1x', 'x1', ' 1', '1 '])
    t.throws(() => readFdNumber(bad, 'x'), { code: 'BAD_OPTION' }, bad ?? 'none');
  const streams = (...args: string[]): number[] => outputDescriptors(readGpgArguments(args).options);
  t.same(
    [
      streams('-b'),
      streams('--status-fd=2'),
      streams('--status-fd=1', '--logger-fd=9'),
      streams('--attribute-fd=4', '--status-fd=9', '--logger-fd=4'),
    ],
    [
      [1, 2],
      [1, 2],
      [1, 2, 9],
      [1, 2, 4, 9],
    ],
  );
  t.same(
    streams('--passphrase-fd=5', '--command-fd=6'),
    [1, 2],
    'what is read from is no stream of the answer',
  );
  for (const name of ['status-fd', 'logger-fd', 'attribute-fd']) {
    t.throws(() => streams(`--${name}=0`), { code: 'BAD_OPTION' });
    t.throws(() => streams(`--${name}=3`, `--${name}=4`), { code: 'BAD_OPTION' });
    t.throws(() => streams(`--${name}=3`, `--${name}=3`), { code: 'BAD_OPTION' });
    t.same(streams(`--${name}=3`), [1, 2, 3]);
  }
});

await t.test('which texts a clear signature carries, and what is wrong first', async (t) => {
  const x = (length: number): string => 'x'.repeat(length);
  const long = 'is longer than 19990 bytes';
  const cases: [string, [number, string] | undefined][] = [
    ['\n', undefined],
    ['a\n', undefined],
    [' a\n\tb\n\n', undefined],
    [`${x(19_990)}\n`, undefined],
    [`a\n${x(19_990)}\n${x(19_990)}\nb\n`, undefined],
    ['', [1, 'is missing: there is no text']],
    ['a', [1, 'has no newline at its end']],
    ['a\nb', [2, 'has no newline at its end']],
    ['a\0\n', [1, 'holds a NUL']],
    ['a\n\0b\n', [2, 'holds a NUL']],
    ['a\r\n', [1, 'holds a carriage return']],
    ['a\n\rb\n', [2, 'holds a carriage return']],
    ['a \n', [1, 'ends in a blank']],
    ['a\n \n', [2, 'ends in a blank']],
    ['a\t\n', [1, 'ends in a tab']],
    ['\n\n\t\n', [3, 'ends in a tab']],
    ['a\t\nb \n', [1, 'ends in a tab']],
    ['a \nb\t\n', [1, 'ends in a blank']],
    ['a\nb\0\nc \n', [2, 'holds a NUL']],
    ['a\nb\rc \n', [2, 'holds a carriage return']],
    [`${x(19_991)}\n`, [1, long]],
    [x(19_991), [1, long]],
    [`a\n${x(19_991)}`, [2, long]],
    [`a\n${x(50_000)}\nb\n`, [2, long]],
    [`\n${x(19_991)}\n`, [2, long]],
    [`${x(19_990)}\n${x(19_991)}\n`, [2, long]],
    [`a \n${x(50_000)}\n`, [1, 'ends in a blank']],
    [`a\n${x(19_989)}\n${x(19_991)}\nb \n`, [3, long]],
    [`${x(30_000)}\nb `, [1, long]],
    [`${x(19_990)} \n`, [1, long]],
    [`${x(9_000)}\n${x(12_000)}\n${x(9_000)}\n`, undefined],
    ['a \nb', [1, 'ends in a blank']],
    ['a ', [1, 'has no newline at its end']],
  ];
  for (const [text, fault] of cases)
    for (const size of [1, 3, 4096, 100_000]) {
      const check = new CleartextCheck();
      if (size < 4096 && text.length > 1000) continue;
      for (let at = 0; at < text.length; at += size)
        check.add(Buffer.from(text.slice(at, at + size), 'latin1'));
      t.same(
        check.end(),
        fault === undefined ? undefined : { line: fault[0], why: fault[1] },
        `${JSON.stringify(text.replace(/x{50,}/g, (xs) => `<${xs.length}>`))} in pieces of ${size}`,
      );
    }
  const check = new CleartextCheck();
  check.add(Buffer.from('a \n'));
  check.add(Buffer.from('\0\n'));
  t.same(check.end(), { line: 1, why: 'ends in a blank' }, 'the first fault is kept');
});
