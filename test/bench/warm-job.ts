// SPDX-License-Identifier: GPL-2.0-or-later
// A job of one small package (a C program, debhelper) on a warm cache, for every distribution of the farm:
// from the trigger to what apt-get read back, and of that the farm's own part for each step. Its peer is the
// engine alone on the same source, for the same distributions side by side.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { giveCommand, untilBuilt, withDist, type StepSeconds } from '../../agents/local/job/build-watch.js';
import { gitUrl, makeRepository } from '../../agents/local/outside/forge.js';
import { must } from '../../agents/local/outside/machine.js';
import { control, pushSource } from '../attacks/small-source.js';
import type { StandingFarm } from '../attacks/standing-farm.js';

export const warmComponent = 'small';
const rounds = 3;
const limitSeconds = 25;

const files = (version: string): Record<string, string> => ({
  'debian/control': control(
    warmComponent,
    'any',
    'Build-Depends: debhelper-compat (= 13)\n',
    'Depends: ${shlibs:Depends}, ${misc:Depends}\n',
  ),
  'debian/rules': '#!/usr/bin/make -f\n%:\n\tdh $@\n',
  'small.c': `#include <stdio.h>\nint main(void) { return puts("small ${version}") < 0; }\n`,
  Makefile: 'all: small\nclean:\n\trm -f small\ninstall: all\n\tinstall -D small $(DESTDIR)/usr/bin/small\n',
});

/** The engine as the agent runs it, for each distribution in a folder of its own; seconds of all together. */
const alone = `set -eu
version=$1 url=$2; shift 2
cd $(mktemp -d /var/lib/build-infra/bench.XXXXXX)
git clone -q --depth 1 --branch v$version "$url" source 2>/dev/null; rm -rf source/.git
for dist; do
  mkdir -p $dist/output $dist/engine $dist/state
  printf '{"format":"build-infra/engine-job@1","job":"small-%s-000000000000","component":"small","version":"%s","env":"debian","dist":"%s","stage":"build","packages":"deb","source":{"url":"%s","tag":"v%s","tagObject":"%s","commit":"%s"},"sourceTree":"%s","sourceDateEpoch":1795291200,"output":"%s","work":"%s","state":"%s","cache":"/var/lib/build-infra/cache","buildSeconds":3600}' \
    $version $version $dist "$url" $version $(printf %040d 0) $(printf %040d 0) $PWD/source $PWD/$dist/output $PWD/$dist/engine $PWD/$dist/state > $dist/job.json
done
start=$(date +%s%N)
for dist; do /usr/lib/build-infra/engines/debian $PWD/$dist/job.json > $dist/log 2>&1 & done
wait
end=$(date +%s%N)
for dist; do test -s $dist/output/artifacts.json || { tail -n 20 $dist/log >&2; exit 1; }; done
rm -rf $PWD
echo $(( (end - start) / 1000000 ))`;

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;

interface Round {
  seconds: number;
  steps: StepSeconds[];
}

export async function benchWarmJob({ farm, build, state }: StandingFarm): Promise<void> {
  const { settings, maintainer } = farm;
  await makeRepository(farm.machine('forge'), warmComponent, 'source');
  const job = async (version: string): Promise<Round> => {
    await pushSource(
      farm.machine('developer'),
      maintainer,
      settings.ports,
      warmComponent,
      version,
      files(version),
    );
    const started = Date.now();
    const answer = await giveCommand(build, `trigger ${warmComponent}`);
    if (!answer.startsWith('queued ')) throw new Error(answer);
    const done = await untilBuilt(build, warmComponent, version, () => undefined);
    const { ended } = JSON.parse(
      readFileSync(
        join(state.rootOf('build-debian'), 'var/lib/build-infra/jobs', done.job, 'job.json'),
        'utf8',
      ),
    ) as { ended: string };
    return { seconds: (Date.parse(ended) - started) / 1000, steps: done.seconds };
  };
  // Makes the chroots and fills the cache.
  await job('1.0');
  const measured: Round[] = [];
  for (let round = 1; round <= rounds; round++) measured.push(await job(`1.${round}`));
  const peers: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const text = await must(
      build,
      ['sh', '-c', alone, 'alone', `1.${rounds}`, gitUrl(warmComponent, settings.ports), ...settings.dists],
      { user: 'root', timeoutMs: 600_000 },
    );
    peers.push(Number(text.trim()) / 1000);
  }
  const seconds = median(measured.map((round) => round.seconds));
  const peer = median(peers);
  process.stdout.write(
    `warm job, ${settings.dists.join(' and ').padEnd(22)} ${seconds.toFixed(1)} s median, trigger to read back (at most ${limitSeconds}); the engine alone ${peer.toFixed(1)} s: ${(seconds / peer).toFixed(2)} times that\n`,
  );
  const { steps } = measured.find((round) => round.seconds === seconds) as Round;
  for (const step of steps) {
    const own = step.seconds - (step.commands ?? 0);
    process.stdout.write(
      `  ${withDist(step.stage, step.dist).padEnd(29)} ${step.seconds.toFixed(2)} s, overhead ${own.toFixed(2)} s: ${(own / 0.6).toFixed(1)} % of a minute (at most 10)\n`,
    );
  }
}
