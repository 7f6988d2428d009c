// SPDX-License-Identifier: GPL-2.0-or-later
// Two signing domains side by side, as `npm run local -- demo-rpm` raises them: what it does, and that
// neither can use the other's key.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { raiseFarm } from '../../agents/local/farm/farm.js';
import { spawnInVm } from '../../agents/local/qrexec/admin-client.js';
import type { Dom0Event } from '../../agents/local/qrexec/events.js';
import { LocalState } from '../../agents/local/farm/local-state.js';
import { publishIntent } from '../../agents/local/job/gate.js';
import { giveChroots, shareChroots } from '../support/clean-chroots.js';
import { localCommand } from '../support/local-command.js';
import { until } from '../support/until.js';
import { dist } from './standing-farm.js';

const { folder, local } = localCommand(t, 'two-');
const state = new LocalState(folder);
giveChroots(state);

interface KeysFile {
  signing: Record<string, { fingerprint: string }>;
  uploads?: unknown;
}

await t.test(
  'a state folder of an earlier version, with one environment and its key alone, comes up as it was',
  async (t) => {
    t.equal((await local('up')).status, 0);
    const path = join(folder, 'keys.json');
    const keys = JSON.parse(readFileSync(path, 'utf8')) as KeysFile;
    const made = keys.signing['debian'];
    delete keys.uploads;
    writeFileSync(path, JSON.stringify({ ...keys, signing: made }));
    const { status, out } = await local('up');
    t.equal(status, 0, out);
    t.notMatch(out, /build-rpm/, 'and the second pair is not there before it is needed');
    const now = JSON.parse(readFileSync(path, 'utf8')) as KeysFile;
    t.equal(now.signing['debian']?.fingerprint, made?.fingerprint);
  },
);

await t.test(
  'demo-rpm ends with a program that real dnf installed, a rebuild with the same bytes, and a good audit',
  async (t) => {
    const { status, out } = await local('demo-rpm');
    if (status !== 0) t.comment(out.slice(-5000));
    t.equal(status, 0);
    t.match(out, /installed .*moonphase-1\.0-1\.\S+\.(?:x86_64|aarch64)/);
    t.match(out, /it says: 2026-08-12 .* new moon/);
    t.match(out, /one byte of repomd\.xml: .*signature/i);
    t.match(out, /one byte of a package: .*checksum/i);
    t.match(out, /one byte changed: +build-infra: refused NO_GRANT/);
    t.match(
      out,
      /the same bytes: moonphase-1\.0-1\.\S+\.src\.rpm moonphase-1\.0-1\.\S+ moonphase-names-1\.0-1\.\S+\.noarch\.rpm/,
    );
    t.match(out, /ok +every signature in the DNF repository is in a journal +6 signatures/);
    t.match(out, /was built, signed, published, installed with dnf, rebuilt and audited/);
    shareChroots(state);
  },
);

await t.test('the audit fails when a package is changed where it is published', async (t) => {
  const published = execFileSync('sh', [
    '-c',
    `find ${folder}/vms/forge/home/user/www/rpm/ -path '*current-testing*' -name 'moonphase-1*.rpm' | head -n 1`,
  ])
    .toString()
    .trim();
  const before = readFileSync(published);
  const changed = Buffer.from(before);
  changed[changed.length - 20] = (changed[changed.length - 20] as number) ^ 1;
  writeFileSync(published, changed);
  const bad = await local('audit');
  t.equal(bad.status, 1);
  t.match(bad.out, /WRONG_PAYLOAD|WRONG_SHA256/);
  writeFileSync(published, before);
  t.equal((await local('audit')).status, 0);
});

await t.test('neither environment can use the key of the other', async (t) => {
  const farm = await raiseFarm(state, join(dist, 'local.mjs'), () => undefined, {}, undefined, [
    'debian',
    'rpm',
  ]);
  t.teardown(() => farm.dom0.close());
  const keyOf = (env: string): string => farm.pillar['build-envs'][env]?.key as string;
  for (const [mine, other] of [
    ['debian', 'rpm'],
    ['rpm', 'debian'],
  ] as const) {
    const build = farm.machine(`build-${mine}`);
    const reply = await publishIntent(
      build,
      keyOf(other),
      Buffer.from(`${mine} ${new Date().toISOString()}`),
      'x',
    );
    t.match(reply, { result: 'refused' }, `${build.name} cannot announce what keys-${other} is to sign`);
    const direct = await build.run(['/usr/bin/qrexec-client-vm', `keys-${other}`, 'qubes.Gpg'], {
      input: '',
    });
    t.not(direct.status, 0, `${build.name} cannot call keys-${other}`);
    t.equal(direct.stdout, '');
  }
});

/**
 * In a build VM, as a compromised one: opens `count` calls of what `calls` says in turn, and never ends one.
 */
const hold = `
import json, subprocess, sys
spec = json.loads(sys.argv[1])
held = []
for n in range(spec['count']):
    service, said = spec['calls'][n % len(spec['calls'])]
    p = subprocess.Popen(['/usr/bin/qrexec-client-vm', '@default', service], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        p.stdin.write(said.encode()); p.stdin.flush()
    except BrokenPipeError:
        pass  # Refused already.
    held.append(p)
sys.stdin.read()
`;

await t.test(
  'one build VM that opens all the calls it can leaves room for the other, at build-logs and at sys-net',
  async (t) => {
    const farm = await raiseFarm(state, join(dist, 'local.mjs'), () => undefined, {}, undefined, [
      'debian',
      'rpm',
    ]);
    t.teardown(() => farm.dom0.close());
    const [attacker, honest] = [farm.machine('build-rpm'), farm.machine('build-debian')];
    const key = farm.pillar['build-envs']['debian']?.key as string;
    // The worst case: both on one side of whom they call, where places are common.
    for (const { name } of [attacker, honest]) {
      await farm.dom0.stopVm(name);
      await farm.dom0.startVm(name);
    }
    const domids = new Map((await farm.dom0.list()).map(({ name, domid }) => [name, domid]));
    for (const called of ['build-logs', 'sys-net'])
      t.ok(
        [attacker, honest].every(({ name }) => (domids.get(name) as number) > (domids.get(called) as number)),
        `both are above ${called}`,
      );
    const refusals = (): number =>
      events.filter(
        (event) => event.event === 'call' && event.verdict === 'deny' && /no place left/.test(event.reason),
      ).length;
    const events: Dom0Event[] = [];
    await farm.dom0.onEvent((event) => events.push(event));
    const header = '> build-infra log@1 {"job":"hold-1-000000000000","component":"hold","stage":"build"}\n';
    const log = 'qubesbuilder.BuildLog';
    for (const [what, count, calls] of [
      [
        'open logs and silent calls',
        140,
        [
          [log, header],
          [log, ''],
        ],
      ],
      ['140 intents that never come', 140, [[`${log}+intent`, '']]],
      [
        'intents that begin, and logs in folders',
        140,
        [
          [`${log}+intent`, '{'],
          [`${log}+x`, 'a line\n'],
        ],
      ],
      ['connections on which nothing is said', 140, [['local.ConnectSSH+forge.example', '']]],
      ['connections to the forge', 140, [['local.ConnectSSH+forge.example', 'SSH-2.0-x\r\n']]],
    ] as const) {
      const begun = events.length;
      const held = await spawnInVm(
        farm.dom0,
        attacker.name,
        { argv: ['/usr/bin/python3', '-c', hold, JSON.stringify({ count, calls })] },
        ['pipe', 'ignore', 'ignore'],
      );
      await until(
        `${count} calls were made`,
        () =>
          events.slice(begun).filter((event) => event.event === 'call' && event.source === attacker.name)
            .length >= count,
      );
      const line = await honest.run(['/usr/bin/qrexec-client-vm', '@default', log], {
        input: `beside ${what}\n`,
      });
      t.match(line, { status: 0, stdout: /^published /m }, `${what}: the other VM's log is published`);
      t.match(
        await publishIntent(honest, key, Buffer.from(`${what} ${new Date().toISOString()}`), 'x'),
        { result: 'published' },
        `${what}: and its intent`,
      );
      const ended = new Promise((resolve) => held.once('close', resolve));
      held.kill('SIGKILL');
      await ended;
    }
    t.comment(`${refusals()} calls found no place`);
  },
);

await t.test('status and rebuild find the job in the VM that built it', async (t) => {
  const { out } = await local('status');
  const job = /done +(moonphase-1\.0-1-[0-9a-f]{12})/.exec(out)?.[1];
  t.ok(job, out);
  t.match(await local('trigger', 'moonphase'), { status: 0, out: /^known moonphase-/ });
  t.match(await local('rebuild', 'moonphase-9-1-aaaaaaaaaaaa'), { status: 1, out: /NO_SUCH_JOB/ });
});
