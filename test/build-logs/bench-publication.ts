// SPDX-License-Identifier: GPL-2.0-or-later
// What publication costs: from intent to published and granted with two local remotes, for one and for 50 at
// once; and the cost of a publication into a repository of 100,000 logs against one into an empty repository,
// in the same run, alternating.
import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gpgSigner } from '../../agents/build-logs/signer.js';
import { makeRepository } from './many-logs.js';
import { Rig } from './rig.js';

export const median = (values: number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;

async function ms(act: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await act();
  return performance.now() - begun;
}

async function publish(rig: Rig): Promise<void> {
  const reply = await rig.ask(rig.intent());
  if (reply.result !== 'published') throw new Error(JSON.stringify(reply));
}

/** Prints the figures; @returns how many times dearer a publication into the large repository is */
export async function benchPublication(
  logs = 100_000,
  rounds = 15,
): Promise<{ one: number; each: number; ratio: number }> {
  const small = await Rig.make({ publishSeconds: 3600 });
  const large = await Rig.make({ publishSeconds: 3600 });
  try {
    const repository = join(large.state, 'repository.git');
    mkdirSync(large.state, { recursive: true });
    await makeRepository(repository, logs, 'build-debian', gpgSigner(large.gnupg, large.logsKey));
    for (const { name } of large.remotes) {
      rmSync(large.remote(name), { recursive: true });
      cpSync(repository, large.remote(name), { recursive: true });
    }
    await small.start();
    await large.start();
    for (const rig of [small, large]) {
      await rig.call().end('a log\n');
      for (let i = 0; i < 3; i++) await publish(rig);
    }
    const figures = { small: [] as number[], large: [] as number[] };
    for (let round = 0; round < rounds; round++) {
      figures.small.push(await ms(() => publish(small)));
      figures.large.push(await ms(() => publish(large)));
    }
    const fifty: number[] = [];
    for (let round = 0; round < 3; round++)
      fifty.push(await ms(() => Promise.all(Array.from({ length: 50 }, () => publish(small)))));
    const one = median(figures.small);
    const ratio = median(figures.large) / one;
    console.log(
      `intent to grant, one           ${one.toFixed(0)} ms median (two local remotes; the signature comes on top)`,
    );
    console.log(`intent to grant, 50 at once    ${(median(fifty) / 50).toFixed(1)} ms each`);
    console.log(
      `publication into ${logs} logs  ${median(figures.large).toFixed(0)} ms, ${ratio.toFixed(2)} times one into an empty repository (at most 1.5)`,
    );
    return { one, each: median(fifty) / 50, ratio };
  } finally {
    await small.stop();
    await large.stop();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  await benchPublication(Number(process.argv[2] ?? 100_000));
