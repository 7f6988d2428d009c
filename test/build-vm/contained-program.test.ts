// SPDX-License-Identifier: GPL-2.0-or-later
// An engine's gpg homes lie deep in a job's folder. Whether gpg can put its sockets elsewhere hangs on
// /run/user/0, which a service of root has not, and which some programs make behind one's back: so here once
// without it, once with it, in a /run of this test's own.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'tap';
import { contained } from '../../agents/build-vm/stages/contained-program.js';
import { engineState } from '../../agents/build-vm/stages/engine-call.js';
import { withCancellation } from '../../agents/shared/programs/cancellation.js';

const module = fileURLToPath(new URL('../../agents/build-vm/stages/contained-program.js', import.meta.url));
const isRoot =
  process.getuid?.() === 0 &&
  spawnSync('unshare', ['--mount', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt']).status === 0;

test(
  "a program in an engine's place has gpg homes as deep as the builder makes them",
  { skip: isRoot ? false : 'needs root, and to mount' },
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'deep-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    const maker = join(folder, 'h');
    mkdirSync(maker, { mode: 0o700 });
    execFileSync(
      'gpg',
      [
        '--homedir',
        maker,
        '--batch',
        '--quiet',
        '--passphrase',
        '',
        '--quick-generate-key',
        'engine <engine@example.invalid>',
        'ed25519',
        'sign',
        'never',
      ],
      { stdio: 'ignore' },
    );
    const key = join(folder, 'key');
    writeFileSync(
      key,
      execFileSync('gpg', ['--homedir', maker, '--batch', '--export'], {
        stdio: ['ignore', 'pipe', 'ignore'],
      }),
    );
    execFileSync('gpgconf', ['--homedir', maker, '--kill', 'all']);
    // The paths that a real job has (paths.ts, engine-call.ts), the builder's own keyring below its
    // artifacts.
    const job = engineState('/var/lib/build-infra/jobs/app-linux-split-gpg-2.0.85-0123456789ab', 'trixie');
    const homes = [
      join(job, 'home/.gnupg'),
      join(job, 'artifacts/components/app-linux-split-gpg/2.0.85-1/vm-trixie/sign/keyring'),
      `${job}/${'x'.repeat(200)}/y`,
    ];
    const program = join(folder, 'import.mjs');
    writeFileSync(
      program,
      `import { contained } from ${JSON.stringify(module)};
import { spawnSync } from 'node:child_process';
const [program, ...args] = (await contained(['gpg', ...process.argv.slice(2)]));
const { status, stderr } = spawnSync(program, args, { encoding: 'utf8' });
process.stderr.write(stderr);
process.exitCode = status ?? 255;
`,
    );
    const plain = join(folder, 'plain.mjs');
    writeFileSync(
      plain,
      `import { spawnSync } from 'node:child_process';
process.exitCode = spawnSync('gpg', process.argv.slice(2)).status ?? 255;
`,
    );
    const importTo = (
      home: string,
      run: string,
      script: string,
    ): { status: number | null; stderr: string } => {
      const at = join(folder, `r${Math.random()}`.slice(0, 8), home);
      mkdirSync(at, { recursive: true, mode: 0o700 });
      const { status, stderr } = spawnSync(
        'unshare',
        [
          '--mount',
          'sh',
          '-c',
          `mount -t tmpfs tmpfs /run && ${run} && exec "$@"`,
          'sh',
          process.execPath,
          script,
          '--homedir',
          at,
          '--batch',
          '--import',
          '--',
          key,
        ],
        { encoding: 'utf8' },
      );
      return { status, stderr };
    };
    for (const home of homes) {
      t.ok(
        join(home, 'S.gpg-agent').length > 80,
        `${join(home, 'S.gpg-agent').length} bytes, and what this test's folder adds`,
      );
      for (const run of ['true', 'mkdir -p -m 700 /run/user/0']) {
        const { status, stderr } = importTo(home, run, program);
        t.equal(status, 0, `${home.length} bytes, in a /run after ${run}`);
        if (status !== 0) t.comment(stderr);
      }
    }
    // What the place is for: else this test would say nothing.
    t.equal(
      importTo(homes[1] as string, 'true', plain).status,
      2,
      'without a place of its own gpg fails on that path',
    );
  },
);

test(
  "a job that is cancelled while an engine's place is looked for leaves the next engine in one",
  { skip: isRoot ? false : 'needs root, and to mount' },
  async (t) => {
    const cut = new AbortController();
    const place = withCancellation(cut.signal, () => contained(['true']));
    cut.abort();
    t.match(await place, ['unshare']);
    t.match(await contained(['true']), ['unshare']);
  },
);
