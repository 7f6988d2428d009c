// SPDX-License-Identifier: GPL-2.0-or-later
// BuildLog from qrexec-client-vm to synced file, against `ts '%F %.T'` on the same log in the same run.
import { spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeDirectClient } from '../support/direct-client.js';
import { Rig } from './rig.js';

const megabyte = 1_000_000;

/** A build's log: lines of about 80 characters, one in fifty with colours, tabs or broken bytes. @returns lines in it */
export function writeBuildLog(path: string, bytes: number, dirty = false): number {
  const pieces: string[] = [];
  for (let i = 0; i < 2000; i++) {
    if (dirty) pieces.push(`\t\x1b[${i % 8}mé\x01\x02\x03\x1b[0m\xff\xfe\t`.repeat(4));
    else if (i % 50 === 7) pieces.push(`\x1b[01;35mwarning:\x1b[0m\tunused variable \u2018x${i}\u2019 in function main [-Wunused]`);
    else if (i % 9 === 0) pieces.push(`libtool: link: gcc -g -O2 -o hello${i} src/hello.o`);
    else pieces.push(`gcc -DHAVE_CONFIG_H -I. -I./lib -g -O2 -fstack-protector-strong -c -o lib/file${i}.o lib/file${i}.c`);
  }
  const block = Buffer.from(`${pieces.join('\n')}\n`);
  const fd = openSync(path, 'w');
  let lines = 0;
  for (let done = 0; done < bytes; done += block.length, lines += pieces.length) writeSync(fd, block);
  closeSync(fd);
  return lines;
}

function seconds(command: string, argv: string[], input: string, output: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const started = performance.now();
    const child = spawn(command, argv, { stdio: [openSync(input, 'r'), openSync(output, 'w'), 'inherit'] });
    child.on('error', reject).on('close', () => resolve((performance.now() - started) / 1000));
  });
}

async function throughBuildLog(rig: Rig, client: string, log: string, header: string, lines: number): Promise<{ seconds: number; memory: number }> {
  const child = spawn('sh', ['-c', 'cat "$0" "$1" - | "$2" @default qubesbuilder.BuildLog', header, log, client], { stdio: ['pipe', 'pipe', 'inherit'] });
  let answer = '';
  const started = performance.now();
  await new Promise<void>((resolve, reject) => {
    child.stdout.on('data', (chunk: Buffer) => {
      answer = (answer + chunk.toString()).slice(-400);
      if (answer.includes(`synced ${lines}\n`)) resolve();
      if (answer.includes('refused')) reject(new Error(answer));
    });
    child.on('close', () => reject(new Error(`the call ended: ${answer}`)));
  });
  const took = (performance.now() - started) / 1000;
  const memory = Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${rig.agent?.pid}/status`, 'utf8'))?.[1]) / 1000;
  child.removeAllListeners('close').stdin.end();
  await rig.kill();
  return { seconds: took, memory };
}

/** Prints the figures; @returns times `ts`, and MB of memory */
export async function benchBytePath(bytes = 500 * megabyte): Promise<{ ratio: number; memory: number }> {
  const folder = mkdtempSync(join(tmpdir(), 'bl-bench-'));
  const rig = await Rig.make({ logBytes: 4 * 1024 ** 3, publishSeconds: 3600 });
  try {
    const log = join(folder, 'log');
    const lines = writeBuildLog(log, bytes);
    const size = statSync(log).size;
    const header = join(folder, 'header');
    closeSync(openSync(header, 'w'));
    const fd = openSync(header, 'w');
    writeSync(fd, rig.header());
    closeSync(fd);
    const client = writeDirectClient(join(folder, 'qrexec-client-vm'), 'build-debian', { 'qubesbuilder.BuildLog': rig.socket });
    const ts = await seconds('ts', ['%F %.T'], log, join(folder, 'ts.out'));
    rmSync(join(folder, 'ts.out'));
    console.log(`ts '%F %.T'             ${(size / megabyte / ts).toFixed(1)} MB/s`);
    let best = { seconds: Infinity, memory: 0 };
    for (let run = 0; run < 3; run++) {
      await rig.start();
      const figure = await throughBuildLog(rig, client, log, header, lines);
      if (figure.seconds < best.seconds) best = figure;
      rmSync(join(rig.state, 'logs'), { recursive: true, force: true });
    }
    const ratio = ts / best.seconds;
    console.log(`BuildLog, synced        ${(size / megabyte / best.seconds).toFixed(1)} MB/s   ${ratio.toFixed(1)} times ts (at least 6, goal 10)   ${best.memory.toFixed(0)} MB of memory (limit 150)`);
    const worstLines = writeBuildLog(log, bytes / 5, true);
    await rig.start();
    const worst = await throughBuildLog(rig, client, log, header, worstLines);
    console.log(`BuildLog, all dirty     ${(statSync(log).size / megabyte / worst.seconds).toFixed(1)} MB/s   ${worst.memory.toFixed(0)} MB of memory`);
    return { ratio, memory: best.memory };
  } finally {
    await rig.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await benchBytePath(Number(process.argv[2] ?? 500) * megabyte);
