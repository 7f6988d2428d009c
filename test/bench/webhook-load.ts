// SPDX-License-Identifier: GPL-2.0-or-later
// Sends webhooks, one connection for each, so many of them at once: in a thread of its own, so that nobody
// who is measured waits for whoever reads its log.
import { connect } from 'node:net';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

export interface Driven {
  /** by the first line's status; 0 where no answer came */
  answers: Map<number, number>;
  seconds: number;
  /** the time under which 99 of 100 were answered, in ms */
  p99: number;
}

interface Load {
  port: number;
  requests: string[];
  atOnce: number;
}

function one(port: number, text: string): Promise<number> {
  return new Promise((resolve) => {
    let heard = '';
    const socket = connect(port, '127.0.0.1', () => socket.write(text));
    socket.on('data', (chunk: Buffer) => (heard += chunk.toString('latin1')));
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(Number(/^HTTP\/1\.1 ([0-9]{3}) /.exec(heard)?.[1] ?? 0)));
  });
}

async function run({ port, requests, atOnce }: Load): Promise<Driven> {
  const answers = new Map<number, number>();
  const times: number[] = [];
  let next = 0;
  const began = performance.now();
  const lane = async (): Promise<void> => {
    for (let text = requests[next++]; text !== undefined; text = requests[next++]) {
      const started = performance.now();
      const status = await one(port, text);
      times.push(performance.now() - started);
      answers.set(status, (answers.get(status) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  times.sort((a, b) => a - b);
  return {
    answers,
    seconds: (performance.now() - began) / 1000,
    p99: times[Math.floor(times.length * 0.99)] ?? 0,
  };
}

export function drive(load: Load): Promise<Driven> {
  return new Promise((resolve, reject) => {
    new Worker(fileURLToPath(import.meta.url), { workerData: load })
      .once('message', resolve)
      .once('error', reject);
  });
}

if (!isMainThread && parentPort !== null) parentPort.postMessage(await run(workerData as Load));
