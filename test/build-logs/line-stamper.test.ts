// SPDX-License-Identifier: GPL-2.0-or-later
import t from 'tap';
import { LineStamper, lineLimitBytes, stamp, stampLength } from '../../agents/build-logs/line-stamper.js';

const now = Date.UTC(2026, 10, 21, 21, 37, 52) * 1000 + 123456;

/** Stamps the pieces one after the other, into outputs of `room` bytes. */
function stamped(pieces: (string | Buffer)[], room = 300): { text: string; lines: number } {
  const stamper = new LineStamper('build-debian', () => now);
  let text = '';
  for (const piece of pieces) {
    const input = typeof piece === 'string' ? Buffer.from(piece) : piece;
    for (let from = 0; from < input.length; from += stamper.used) {
      const output = Buffer.alloc(room);
      text += output.toString('latin1', 0, stamper.stamp(input, from, output, 0));
    }
  }
  return { text, lines: stamper.lines };
}
const prefix = '2026-11-21 21:37:52.123456 +0000 build-debian: ';
const only = (...pieces: (string | Buffer)[]): string =>
  stamped(pieces)
    .text.split('\n')
    .map((line) => line.slice(prefix.length))
    .join('\n');

void t.test('a line gets the time in microseconds and the name of its VM', async (t) => {
  t.equal(stamped(['one\ntwo\n']).text, `${prefix}one\n${prefix}two\n`);
  t.equal(stamp(now).length, stampLength);
});
void t.test('a line that comes in pieces is one line', async (t) =>
  t.equal(stamped(['o', 'n', 'e', '\n']).text, `${prefix}one\n`),
);
void t.test('colours and other escape sequences are removed, also when they come in pieces', async (t) => {
  t.equal(only('\x1b[01;31mred\x1b[0m \x1b]0;title\x07x\x1b(By\x1b]8;;http://a\x1b\\z\n'), 'red xyz\n');
  t.equal(only('a\x1b', '[3', '1', 'mb\n'), 'ab\n');
});
void t.test('an escape sequence that never ends swallows no further line', async (t) =>
  t.equal(only('a\x1b]0;never\nb\n'), 'a\nb\n'),
);
void t.test('a broken escape sequence leaves the text after it', async (t) =>
  t.equal(only('\x1b[3\x01x\n'), '.x\n'),
);
void t.test('a tab becomes a space, every other byte a dot', async (t) => {
  t.equal(only(Buffer.from([9, 0, 1, 7, 8, 13, 0x7f, 0x80, 0x9b, 0xff, 0x41, 10])), ' .........A\n');
});
void t.test('text cannot look like a line of the receiver', async (t) =>
  t.equal(stamped(['> closing log\n']).text, `${prefix}> closing log\n`),
);
void t.test('a line beyond 64 KiB is split with a mark and still counts as one', async (t) => {
  const { text, lines } = stamped([`${'x'.repeat(lineLimitBytes)}yy\nnext\n`], 5000);
  const found = text.split('\n');
  t.equal(lines, 2);
  t.equal(found[0]?.length, prefix.length + lineLimitBytes);
  t.equal(found[1], '2026-11-21 21:37:52.123456 +0000 > line split');
  t.equal(found[2], `${prefix}yy`);
  t.equal(found[3], `${prefix}next`);
});
void t.test('a line of exactly 64 KiB is not split', async (t) =>
  t.notMatch(stamped([`${'x'.repeat(lineLimitBytes)}\n`], 5000).text, /split/),
);
void t.test('the result does not depend on how the bytes are cut', async (t) => {
  const source = Buffer.from(
    Array.from({ length: 5000 }, (_, i) => ((i * 7919) % 251 === 0 ? 10 : (i * 31) % 256)),
  );
  const whole = stamped([source], 65536).text;
  for (const size of [1, 2, 3, 7, 100]) {
    const pieces: Buffer[] = [];
    for (let at = 0; at < source.length; at += size) pieces.push(source.subarray(at, at + size));
    t.equal(stamped(pieces).text, whole, `pieces of ${size}`);
  }
});
