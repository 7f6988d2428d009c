// SPDX-License-Identifier: GPL-2.0-or-later
// `npm run bench`: figures as ratios against a peer measured in the same run. Nothing here passes or fails.
// Words on the command line choose.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { addComponent, raiseFarm } from '../../agents/local/farm/farm.js';
import { LocalState } from '../../agents/local/farm/local-state.js';
import { dist, farmOf, type StandingFarm } from '../attacks/standing-farm.js';
import { benchPublication } from '../build-logs/bench-publication.js';
import { benchAudit } from './audit-history.js';
import { benchLogStream } from './log-stream.js';
import { benchSignatures } from './signatures.js';
import { benchWarmJob, warmComponent } from './warm-job.js';
import { benchWebhooks } from './webhooks.js';

async function withFarm(work: (farm: StandingFarm) => Promise<void>, component?: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'bench-'));
  const state = new LocalState(folder);
  const raise = (): ReturnType<typeof raiseFarm> =>
    raiseFarm(state, join(dist, 'local.mjs'), () => undefined, { 'log-bytes': 2 * 1024 ** 3 });
  let farm = await raise();
  if (component !== undefined && addComponent(state, farm.settings, component)) {
    farm.dom0.close();
    farm = await raise();
  }
  try {
    await work(farmOf(farm, state));
  } finally {
    await farm.dom0.shutdown();
    rmSync(folder, { recursive: true, force: true });
  }
}

function mainJob(): void {
  const folder = mkdtempSync(join(tmpdir(), 'bench-'));
  const seconds = (): number => {
    const started = performance.now();
    execFileSync(process.execPath, [join(dist, 'local.mjs'), '--state', folder], {
      stdio: ['ignore', 'ignore', 'inherit'],
      maxBuffer: 1 << 26,
    });
    return (performance.now() - started) / 1000;
  };
  try {
    const [first, second] = [seconds(), seconds()] as const;
    process.stdout.write(
      `main job                        first run ${first.toFixed(0)} s, second run ${second.toFixed(0)} s (at most 90): ${(second / first).toFixed(2)} times the first\n`,
    );
  } finally {
    execFileSync(process.execPath, [join(dist, 'local.mjs'), 'down', '--purge', '--state', folder], {
      stdio: 'ignore',
    });
  }
}

const benches: Record<string, () => Promise<void>> = {
  signatures: () => withFarm(benchSignatures),
  'log-stream': () => withFarm(benchLogStream),
  publication: async () => void (await benchPublication()),
  audit: () => benchAudit(dist),
  'main-job': async () => mainJob(),
  webhooks: () => benchWebhooks(),
  'warm-job': () => withFarm(benchWarmJob, warmComponent),
};
const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !(name in benches));
if (unknown.length > 0) {
  process.stderr.write(
    `no bench is called ${unknown.join(' ')}; there are ${Object.keys(benches).join(' ')}\n`,
  );
  process.exit(2);
}
for (const [name, bench] of Object.entries(benches))
  if (wanted.length === 0 || wanted.includes(name)) await bench();
