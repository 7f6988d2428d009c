// SPDX-License-Identifier: GPL-2.0-or-later
// From an intent to a signature, as the tool that calls gpg in the build VM of a whole farm waits for it:
// from the start of /usr/lib/build-infra/gpg to its end, by the shell's clock; in between policy, publication
// on two remotes over ssh, receipt, grant, gpg. Its peer is a bare gpg in the keys VM with the same key.
import { must } from '../../agents/local/outside/machine.js';
import type { StandingFarm } from '../attacks/standing-farm.js';

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;

/** One signature after another; microseconds each. */
const oneByOne = `for n in $(seq 1 $1); do start=$(date +%s%N); echo "one $n $start" | /usr/lib/build-infra/gpg -b -u $2 >/tmp/signature; end=$(date +%s%N); test -s /tmp/signature || echo failed; echo $(( (end - start) / 1000 )); done`;

/** All at once; ms from the first start to the last end, by the shell's clock. */
const atOnce = `start=$(date +%s%N); for n in $(seq 1 $1); do (echo "many $n $start" | /usr/lib/build-infra/gpg -b -u $2 >/tmp/signature.$n 2>/dev/null || echo failed) & done; wait; end=$(date +%s%N)
for n in $(seq 1 $1); do test -s /tmp/signature.$n || echo failed; done; echo $(( (end - start) / 1000000 ))`;

const bare = `for n in $(seq 1 $1); do start=$(date +%s%N); echo "bare $n" | gpg --batch -q -b -u $2 >/dev/null; echo $(( ($(date +%s%N) - start) / 1000 )); done`;

/** What any Node program costs before its first line, as the client would cost if it were one. */
const bareNode = `for n in $(seq 1 $1); do start=$(date +%s%N); /usr/bin/node -e 0; echo $(( ($(date +%s%N) - start) / 1000 )); done`;

/** Whether the gpg client looks for its publication; it reads that with each call. */
const setReadBack = (on: boolean): string =>
  `cd /rw/config/build-infra; test -e build.json.on || cp build.json build.json.on; node -e 'const fs = require("fs"); const c = JSON.parse(fs.readFileSync("build.json.on", "utf8")); if (${String(!on)}) c.publication = null; fs.writeFileSync("build.json", JSON.stringify(c))'`;

export async function benchSignatures(standing: StandingFarm): Promise<void> {
  const { build, keys, signingKey } = standing;
  // The tools that sign in a build VM are the agent's, which is root.
  const numbers = async (machine: typeof build, script: string, count: number): Promise<number[]> => {
    const lines = (
      await must(machine, ['sh', '-c', script, 'bench', String(count), signingKey], {
        timeoutMs: 300_000,
        user: machine === build ? 'root' : 'user',
      })
    )
      .trim()
      .split('\n');
    if (lines.includes('failed')) throw new Error('a signature failed');
    return lines.map(Number);
  };
  const readBack = async (on: boolean): Promise<void> =>
    void (await must(build, ['sh', '-c', setReadBack(on)], { user: 'root' }));
  const ones: Record<'true' | 'false', number[]> = { true: [], false: [] };
  const rounds: Record<'true' | 'false', number[]> = { true: [], false: [] };
  await numbers(build, oneByOne, 3);
  // One after the other, so that both see the same machine.
  for (let round = 0; round < 3; round++) {
    for (const on of [true, false]) {
      await readBack(on);
      ones[`${on}`].push(...(await numbers(build, oneByOne, 11)).map((us) => us / 1000));
      rounds[`${on}`].push((await numbers(build, atOnce, 50))[0] as number);
    }
  }
  await readBack(true);
  const one = median(ones.true);
  const unread = median(ones.false);
  const gpg = median((await numbers(keys, bare, 21)).map((us) => us / 1000));
  const node = median((await numbers(build, bareNode, 21)).map((us) => us / 1000));
  const each = median(rounds.true) / 50;
  const eachUnread = median(rounds.false) / 50;
  process.stdout.write(
    `intent to signature, one        ${one.toFixed(0)} ms median, from the start of the client to its end (at most 350); a bare gpg ${gpg.toFixed(0)} ms: ${(one / gpg).toFixed(1)} times that, ${(one - gpg).toFixed(0)} ms on top\n`,
  );
  process.stdout.write(
    `intent to signature, 50 at once ${each.toFixed(1)} ms each, from the first start to the last end (at most 60); the running build agent does the work; a bare start of Node is ${node.toFixed(0)} ms here\n`,
  );
  process.stdout.write(
    `without reading it back         one ${unread.toFixed(0)} ms, 50 at once ${eachUnread.toFixed(1)} ms each: reading back costs ${(one / unread).toFixed(2)} and ${(each / eachUnread).toFixed(2)} times that\n`,
  );
}
