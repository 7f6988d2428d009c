// SPDX-License-Identifier: GPL-2.0-or-later
// Stamps follow a clock that is set and a suspend; within a log they go back only at a line that says so.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { followingTime } from '../../agents/build-logs/stamp-time.js';
import type { Log, Sender } from '../../agents/build-logs/log.js';
import { LogStore } from '../../agents/build-logs/log-store.js';
import { LineStamper, lineLimitBytes, stamp, timeOfLine } from '../../agents/build-logs/line-stamper.js';
import { clockSetBackMark } from '../../agents/shared/formats/log-stream.js';
import { folderOf } from '../support/folders.js';

const noon = Date.UTC(2026, 10, 21, 12);

void t.test('the clock', async (t) => {
  let wall = noon;
  let steady = 5000.25;
  const clock = followingTime({ wall: () => Math.floor(wall), steady: () => steady });
  const ahead = (ms: number): number => {
    wall += ms;
    steady += ms;
    return clock();
  };
  const first = clock();
  t.equal(ahead(0.5) - first, 500, 'has microseconds');
  for (let i = 0, before = clock(); i < 1000; i++) {
    const now = ahead(0.37);
    if (now < before) t.fail(`it went back by ${before - now} us`);
    before = now;
  }
  t.ok(Math.abs(clock() / 1000 - wall) < 20);
  wall += 3_600_000;
  t.ok(Math.abs(clock() / 1000 - wall) < 20, 'follows a clock that is set forward, as by a suspend');
  wall -= 7_200_000;
  t.ok(Math.abs(clock() / 1000 - wall) < 20, 'and one that is set back');
  steady += 500;
  wall += 500;
  t.ok(Math.abs(clock() / 1000 - wall) < 20);
});

void t.test('the real clock is that of this machine, and steady', async (t) => {
  const clock = followingTime();
  let before = clock();
  for (let i = 0; i < 200_000; i++) {
    const now = clock();
    if (now < before) t.fail(`it went back by ${before - now} us`);
    before = now;
  }
  t.ok(Math.abs(before / 1000 - Date.now()) < 25);
});

void t.test('the time of a line is what its stamp says', async (t) => {
  for (const time of [noon * 1000 + 123456, noon * 1000, 1])
    t.equal(timeOfLine(`${stamp(time)}build-debian: x`), time);
  t.equal(timeOfLine('text'), 0);
});

/** Every stamp is at least the one before, or its line says that the clock was set back from there. */
function stampsAreTrue(text: string): { setBack: number; wrong: string[] } {
  let last = 0;
  let setBack = 0;
  const wrong: string[] = [];
  for (const line of text.split('\n').slice(0, -1)) {
    const time = timeOfLine(line);
    if (line.slice(33).startsWith(`> ${clockSetBackMark}`)) {
      setBack++;
      if (line.slice(33) !== `> ${clockSetBackMark}${stamp(last).trimEnd()}` || time >= last)
        wrong.push(line);
    } else if (time < last) wrong.push(line);
    last = time;
  }
  return { setBack, wrong };
}

void t.test(
  "a sender's lines after the clock was set back come after a line that says so, wherever it was set",
  async (t) => {
    for (const room of [300, 700, 70_000])
      for (const at of [0, 1, 5, 6, 11]) {
        let now = noon * 1000;
        const stamper = new LineStamper('build-debian', () => now);
        let text = '';
        const source = Buffer.from(`one\ntwo\n${'x'.repeat(lineLimitBytes + 10)}\nlast\n`);
        const pieces = [source.subarray(0, at), source.subarray(at, at + 3), source.subarray(at + 3)];
        pieces.forEach((piece, index) => {
          now += index === 1 ? -5_000_000 : 1000;
          for (let from = 0; from < piece.length; from += stamper.used) {
            const output = Buffer.alloc(room);
            text += output.toString('latin1', 0, stamper.stamp(piece, from, output, 0));
          }
        });
        const { setBack, wrong } = stampsAreTrue(text);
        t.strictSame(wrong, [], `room ${room} at ${at}`);
        t.equal(setBack, at === 0 ? 0 : 1);
        t.equal(stamper.lines, 4);
      }
  },
);

const sender: Sender = { synced: () => undefined, room: () => undefined, stopped: () => undefined };

void t.test(
  'a log says it once, in the middle of a line too, after a restart too, and before it is published',
  async (t) => {
    const folder = folderOf(t);
    let now = noon * 1000;
    const store = (): LogStore =>
      new LogStore({
        folder: join(folder, 'logs'),
        clock: () => now++,
        report: () => undefined,
        limitBytes: 1 << 20,
        openLogs: 9,
        reopenMs: 60_000,
        changed: () => undefined,
        isPublished: async () => false,
      });
    const before = store();
    const log = await before.open('build-debian', '', { job: 'j', component: 'c', stage: 'build' });
    await log.attach(sender, 'starting log');
    log.push(sender, Buffer.from('whole\nbegun'));
    await log.flush();
    now -= 10_000_000;
    log.noteClock();
    log.noteClock();
    await log.flush();
    const text = (): string => readFileSync(log.file, 'latin1');
    t.match(
      text(),
      /begun\n.*> clock set back from 2026-11-21 12:00:00\.\d{6} \+0000\n.*> line split\n$/,
      'before anything else comes',
    );
    t.equal(log.readyBytes, text().length, 'all of it may be published');
    log.push(sender, Buffer.from(' and ended\n'));
    await log.flush();
    t.equal(log.lines, 2, 'the line that was begun counts once');
    t.match(text(), /build-debian: {2}and ended\n$/);
    await before.stop();

    now -= 10_000_000;
    const after = store();
    after.recover();
    const again = after.get(log.record.path) as Log;
    t.equal(again.lastStamp, timeOfLine(text().trimEnd().split('\n').at(-1) as string));
    again.noteClock();
    await again.flush();
    t.strictSame(stampsAreTrue(text()), { setBack: 2, wrong: [] });
    now -= 10_000_000;
    await again.attach(sender, 'the sender came back');
    again.push(sender, Buffer.from('> end status=0\n'));
    again.close(undefined);
    await again.settled();
    t.strictSame(stampsAreTrue(text()), { setBack: 3, wrong: [] });
    t.equal(again.record.lines, 3);
    await after.stop();
  },
);
