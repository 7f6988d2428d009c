// SPDX-License-Identifier: GPL-2.0-or-later
// BuildLog through the whole farm: from qrexec-client-vm in the build VM, through policy and sandboxes, until the last line is synced. Its peer
// is ts '%F %.T' of moreutils on the same file in the same run, without any of that.
import { execFileSync } from 'node:child_process';
import { openSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { must } from '../../agents/local/outside/machine.js';
import type { StandingFarm } from '../attacks/standing-farm.js';
import { writeBuildLog } from '../build-logs/bench-byte-path.js';

/** Sends a file with a header, reads `synced`, prints the seconds until all lines are on disk. */
const sender = `import subprocess, sys, threading, time, shutil
path, lines = sys.argv[1], int(sys.argv[2])
call = subprocess.Popen(['/usr/bin/qrexec-client-vm', '@default', 'qubesbuilder.BuildLog'], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
call.stdin.write(b'> build-infra log@1 {"job":"bench-1","component":"bench","stage":"build"}\\n'); call.stdin.flush()
assert call.stdout.readline().startswith(b'opened ')
start = time.monotonic()
def send():
    with open(path, 'rb') as log: shutil.copyfileobj(log, call.stdin, 1 << 20)
    call.stdin.flush()
threading.Thread(target=send, daemon=True).start()
while True:
    words = call.stdout.readline().split()
    if not words or words[0] != b'synced': sys.exit('answered ' + repr(words))
    if int(words[1]) >= lines: break
print(time.monotonic() - start)
call.kill()
`;

/** Highest resident memory of the build-logs agent, in MB: VmHWM, proc(5). */
const memory = `awk '/VmHWM/ {print $2 / 1000}' /proc/$(pgrep -f build-logs-agent.mjs | head -n 1)/status`;

export async function benchLogStream(standing: StandingFarm, bytes = 500_000_000): Promise<void> {
  const { build, logs, state } = standing;
  const file = join(state.rootOf('build-debian'), 'var/lib/build-infra/bench.log');
  const lines = writeBuildLog(file, bytes);
  const size = statSync(file).size / 1e6;
  const started = performance.now();
  execFileSync('ts', ['%F %.T'], { stdio: [openSync(file, 'r'), openSync(join(state.folder, 'ts.out'), 'w'), 'inherit'] });
  const ts = (performance.now() - started) / 1000;
  rmSync(join(state.folder, 'ts.out'));
  const seconds = Number(await must(build, ['python3', '-c', sender, '/var/lib/build-infra/bench.log', String(lines)], { user: 'root', timeoutMs: 300_000 }));
  const used = Number(await must(logs, ['sh', '-c', memory], { user: 'root' }));
  process.stdout.write(`ts '%F %.T'                     ${(size / ts).toFixed(1)} MB/s\n`);
  process.stdout.write(`BuildLog through the farm       ${(size / seconds).toFixed(1)} MB/s: ${(ts / seconds).toFixed(1)} times ts (at least 6, goal 10); ${used.toFixed(0)} MB of memory at most (limit 150)\n`);
}
