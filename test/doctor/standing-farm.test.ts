// SPDX-License-Identifier: GPL-2.0-or-later
// `build-infra` as a person runs it inside the VMs of a whole farm: the real bundle, the real agents beside
// it, the keys made in their VMs.
import t from 'tap';
import type { SandboxedMachine } from '../../agents/local/farm/sandboxed-machine.js';
import { standFarm } from '../attacks/standing-farm.js';

const { build, keys, logs, net } = await standFarm(t);
const machines = { 'build-debian': build, 'keys-debian': keys, 'build-logs': logs, 'sys-net': net };

const command = async (
  machine: SandboxedMachine,
  args: string[],
  user: 'root' | 'user' = 'root',
): Promise<{ status: number; lines: string[] }> => {
  const { status, stdout, stderr } = await machine.run(['build-infra', ...args], { user });
  return { status, lines: `${stdout}${stderr}`.trimEnd().split('\n') };
};
const sh = async (machine: SandboxedMachine, script: string): Promise<void> => {
  const { status, stderr } = await machine.run(['sh', '-ec', script], { user: 'root' });
  if (status !== 0) throw new Error(`${script}: ${stderr}`);
};

for (const [name, machine] of Object.entries(machines)) {
  await t.test(`in ${name} nothing is missing: one line, exit 0`, async (t) => {
    const { status, lines } = await command(machine, ['doctor']);
    t.strictSame([status, lines.length], [0, 1], lines.join('\n'));
    t.match(
      lines[0],
      new RegExp(
        `^${name} \\([a-z-]+\\): nothing is missing, [1-9][0-9]+ checks; systemd is not the first process here: sockets were looked at instead of units$`,
      ),
    );
    const json = JSON.parse((await command(machine, ['doctor', '--json'])).lines.join('\n')) as {
      ok: boolean;
      findings: unknown[];
      vm: string;
    };
    t.match(json, { format: 'build-infra/doctor@1', vm: name, ok: true, findings: [] });
  });
}

await t.test('an ordinary user of the VM sees the same, or is told to be root', async (t) => {
  for (const machine of [keys, logs, net])
    t.match(
      await command(machine, ['doctor'], 'user'),
      { status: 0, lines: [/nothing is missing/] },
      machine.name,
    );
  const { status, lines } = await command(build, ['doctor'], 'user');
  t.equal(status, 1);
  for (const line of lines) t.match(line, /^NOT_LOOKED_AT .*run the doctor as root/);
});

await t.test("a look leaves the agents' files as they are", async (t) => {
  for (const machine of Object.values(machines)) {
    const list = async (): Promise<string> =>
      (
        await machine.run(
          [
            'sh',
            '-c',
            'find /home/user /rw/config /usr/local/etc -printf "%p %m %U %s %T@ %C@\\n" | sort; pgrep -c gpg-agent',
          ],
          { user: 'root' },
        )
      ).stdout;
    const before = await list();
    await command(machine, ['doctor']);
    t.equal(await list(), before, machine.name);
  }
});

const broken: [string, SandboxedMachine, string, string, RegExp][] = [
  [
    'a key ring that others may read',
    keys,
    'chmod 755 /home/user/.gnupg',
    'chmod 700 /home/user/.gnupg',
    /^WRONG_MODE \/home\/user\/\.gnupg has mode 0755 instead of 0700; in dom0: /,
  ],
  [
    'a socket that anybody may use',
    keys,
    'chmod 666 /run/build-infra/qubes.Gpg.sock',
    'chmod 660 /run/build-infra/qubes.Gpg.sock',
    /^WRONG_SOCKET .*qubes\.Gpg\.sock/,
  ],
  [
    'a socket that was removed',
    logs,
    'mv /run/build-infra/qubesbuilder.BuildLog.sock /run/x',
    'mv /run/x /run/build-infra/qubesbuilder.BuildLog.sock',
    /^NO_SOCKET .*BuildLog/,
  ],
  [
    'an ssh key that is gone',
    logs,
    'mv /rw/config/build-infra/ssh_key /rw/x',
    'mv /rw/x /rw/config/build-infra/ssh_key',
    /^NO_SSH_KEY .*make-keys build-logs/,
  ],
  [
    'a webhook secret that is gone',
    net,
    'mv /rw/config/build-infra/webhook-secret /rw/x',
    'mv /rw/x /rw/config/build-infra/webhook-secret',
    /^NO_WEBHOOK_SECRET /,
  ],
  [
    'a public key that is gone',
    build,
    'mkdir /rw/x; mv /rw/config/build-infra/public-keys/*.asc /rw/x',
    'mv /rw/x/* /rw/config/build-infra/public-keys; rmdir /rw/x',
    /^NO_PUBLIC_KEY /,
  ],
  [
    'a feature that is off',
    keys,
    'rm /run/qubes-service/build-infra-keys',
    'touch /run/qubes-service/build-infra-keys',
    /^NO_ROLE /,
  ],
];
for (const [name, machine, spoil, mend, says] of broken) {
  await t.test(`${machine.name}: ${name} is said, and again nothing once it is mended`, async (t) => {
    await sh(machine, spoil);
    const { status, lines } = await command(machine, ['doctor']);
    await sh(machine, mend);
    t.equal(status, 1);
    for (const line of lines) t.match(line, says);
    t.match(await command(machine, ['doctor']), { status: 0 });
  });
}

await t.test('an agent that runs with an older configuration is told from one that read it', async (t) => {
  await sh(logs, 'touch -d "+1 hour" /rw/config/build-infra/build-logs.json');
  t.match(await command(logs, ['doctor']), {
    status: 1,
    lines: [/^OLD_CONFIGURATION the agent runs since 20.*restart|qvm-shutdown/],
  });
  await sh(logs, 'touch -d "1 hour ago" /rw/config/build-infra/build-logs.json');
  t.match(await command(logs, ['doctor']), { status: 0 });
});

await t.test(
  "online: every remote and the upload are reached with this VM's key, or the line says which is not",
  async (t) => {
    for (const machine of [build, logs])
      t.match(
        await command(machine, ['doctor', '--online']),
        { status: 0, lines: [/nothing is missing/] },
        machine.name,
      );
    t.match(await command(keys, ['doctor', '--online']), { status: 0 }, 'a keys VM has nothing to reach');
    await sh(
      logs,
      'sed -i.kept s/build-logs-mirror.git/no-such.git/ /rw/config/build-infra/build-logs.json; mv /rw/config/build-infra/build-logs.json.kept /rw/x; touch -d "1 hour ago" /rw/config/build-infra/build-logs.json',
    );
    const { status, lines } = await command(logs, ['doctor', '--online']);
    await sh(logs, 'mv /rw/x /rw/config/build-infra/build-logs.json');
    t.equal(status, 1);
    t.match(lines, [/^UNREACHABLE remote mirror \(ssh:.*no-such\.git\): /]);
  },
);

await t.test('status, trigger and retry answer what the agent answers', async (t) => {
  t.match(await command(build, ['trigger', 'nonsense']), {
    status: 1,
    lines: [/^refused UNKNOWN_COMPONENT /],
  });
  t.match(await command(build, ['trigger', 'hello']), { status: 1, lines: [/^refused NO_VERSION_TAG /] });
  t.match(await command(build, ['retry', 'hello-1-000000000000']), {
    status: 1,
    lines: [/^refused UNKNOWN_JOB /],
  });
  t.match(await command(build, ['jobs', 'cancel', 'hello-1-000000000000']), {
    status: 1,
    lines: [/^refused UNKNOWN_JOB /],
  });
  t.match(await command(build, ['jobs', 'cancel', '../x']), {
    status: 1,
    lines: [/^build-infra [a-z ]+: refused BAD_COMMAND /],
  });
  t.match(await command(build, ['jobs', 'cancel']), { status: 2 });
  t.match(await command(build, ['withdraw', 'hello', '1.0-1']), {
    status: 1,
    lines: [/^refused UNKNOWN_VERSION /],
  });
  t.match(await command(build, ['withdraw', 'hello', '../x']), {
    status: 1,
    lines: [/^build-infra [a-z ]+: refused BAD_COMMAND /],
  });
  t.match(await command(build, ['trigger', 'a b']), {
    status: 1,
    lines: [/^build-infra [a-z ]+: refused BAD_COMMAND /],
  });
  t.match(await command(build, ['trigger', 'hello'], 'user'), {
    status: 1,
    lines: [/^build-infra [a-z ]+: refused NOT_ROOT /],
  });
  t.match(await command(keys, ['trigger', 'hello']), {
    status: 1,
    lines: [/^build-infra [a-z ]+: refused NOT_A_BUILD_VM /],
  });
  t.match(await command(build, ['status']), { status: 0, lines: ['no job yet'] });
  t.match(await command(build, ['frobnicate']), { status: 2 });
  t.match(await command(build, ['doctor', '--frob']), { status: 2 });
  t.match(await command(build, ['--help']), { status: 0, lines: [/^usage: build-infra COMMAND/] });
});
