// SPDX-License-Identifier: GPL-2.0-or-later
// BuildLog through the whole farm: from qrexec-client-vm in the build VM, through policy and sandboxes, until
// the last line is synced. Its peer is ts '%F %.T' of moreutils on the same file in the same run, without any
// of that.
import { execFileSync } from 'node:child_process';
import { closeSync, openSync, rmSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { must } from '../../agents/local/outside/machine.js';
import type { StandingFarm } from '../attacks/standing-farm.js';

/**
 * A build's log: lines of about 80 characters, one in fifty with colours, tabs or broken bytes. @returns
 * lines in it
 */
function writeBuildLog(path: string, bytes: number): number {
  const pieces: string[] = [];
  for (let i = 0; i < 2000; i++) {
    if (i % 50 === 7)
      pieces.push(
        `\x1b[01;35mwarning:\x1b[0m\tunused variable \u2018x${i}\u2019 in function main [-Wunused]`,
      );
    else if (i % 9 === 0) pieces.push(`libtool: link: gcc -g -O2 -o hello${i} src/hello.o`);
    else
      pieces.push(
        `gcc -DHAVE_CONFIG_H -I. -I./lib -g -O2 -fstack-protector-strong -c -o lib/file${i}.o lib/file${i}.c`,
      );
  }
  const block = Buffer.from(`${pieces.join('\n')}\n`);
  const fd = openSync(path, 'w');
  let lines = 0;
  for (let done = 0; done < bytes; done += block.length, lines += pieces.length) writeSync(fd, block);
  closeSync(fd);
  return lines;
}

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
  execFileSync('ts', ['%F %.T'], {
    stdio: [openSync(file, 'r'), openSync(join(state.folder, 'ts.out'), 'w'), 'inherit'],
  });
  const ts = (performance.now() - started) / 1000;
  rmSync(join(state.folder, 'ts.out'));
  const seconds = Number(
    await must(build, ['python3', '-c', sender, '/var/lib/build-infra/bench.log', String(lines)], {
      user: 'root',
      timeoutMs: 300_000,
    }),
  );
  const used = Number(await must(logs, ['sh', '-c', memory], { user: 'root' }));
  process.stdout.write(`ts '%F %.T'                     ${(size / ts).toFixed(1)} MB/s\n`);
  process.stdout.write(
    `BuildLog through the farm       ${(size / seconds).toFixed(1)} MB/s: ${(ts / seconds).toFixed(1)} times ts (at least 6, goal 10); ${used.toFixed(0)} MB of memory at most (limit 150)\n`,
  );
}
