// SPDX-License-Identifier: GPL-2.0-or-later
// What one broken thing cannot show: VMs on their way to their keys, options, certificates, systemd's
// answers, accounts that may not look.
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { examine } from '../../agents/doctor/doctor.js';
import type { Role } from '../../agents/shared/formats/manifest.js';
import { NotAllowed, type Machine } from '../../agents/doctor/machine.js';
import { fingerprintOf } from '../../agents/doctor/openpgp-key.js';
import { fileOfPackage, notLookedAt } from '../../agents/doctor/programs.js';
import { copyOf, examplePillar, folder, healthyVm, machineOf, manifests, top, write } from './vm-tree.js';

const work = folder(t);
const settings = 'rw/config/build-infra';
const findings = async (
  root: string,
  role: Role,
  told: Partial<Machine> = {},
): Promise<{ codes: string[]; notes: string[]; lines: string[]; remarks: string[] }> => {
  const { report } = await examine(machineOf(root, role, told), manifests, false);
  const of = (level: string): string[] =>
    report.findings.filter((one) => one.level === level).map(({ code }) => code);
  return { codes: of('missing'), notes: of('note'), lines: report.lines(), remarks: report.remarks };
};

await t.test('a keys VM on its way to its key: each step says the next one', async (t) => {
  const healthy = await healthyVm(folder(t), 'keys');
  const root = copyOf(healthy, work);
  const home = join(root, 'home/user/.gnupg');
  rmSync(join(root, settings, 'keys.json'));
  rmSync(home, { recursive: true });
  mkdirSync(home, { mode: 0o700 });
  chownSync(home, 1000, 1000);
  const asc = join(root, settings, 'public-keys');
  execFileSync('sh', ['-c', 'rm "$1"/*.asc', 'sh', asc]);
  const nothing = await findings(root, 'keys');
  t.strictSame(nothing.codes, ['NO_SIGNING_KEY', 'WAITS_FOR_KEY']);
  t.match(nothing.lines, [
    /as user here: \/usr\/lib\/build-infra\/make-keys keys/,
    /logs-vms: key \(made in the logs VM/,
  ]);
  execFileSync('sh', ['-c', 'cp "$1"/*.asc "$2"', 'sh', join(healthy.root, settings, 'public-keys'), asc]);
  t.strictSame((await findings(root, 'keys')).codes, ['NO_SIGNING_KEY'], 'the logs key is known');
  execFileSync('cp', ['-a', `${join(healthy.root, 'home/user/.gnupg')}/.`, home]);
  t.strictSame((await findings(root, 'keys')).codes, ['SIGNING_KEY_NOT_CONFIGURED']);
});

for (const role of ['build', 'keys', 'build-logs'] as const) {
  await t.test(`a key that ends is told of in ${role} two months before`, async (t) => {
    const { root } = await healthyVm(folder(t), role);
    const file = join(root, settings, `${role}.json`);
    const config = JSON.parse(readFileSync(file, 'utf8')) as Record<string, string> & {
      signingKeys: string[];
      publication: { logsKey: string };
      commands: { people: { name: string; fingerprint: string }[] };
      components: { maintainers: { name: string; fingerprint: string }[] }[];
    };
    const home = folder(t);
    const gpg = (...args: string[]): string =>
      execFileSync(
        'gpg',
        [
          '--homedir',
          role === 'build' ? home : join(root, 'home/user/.gnupg'),
          '--batch',
          '--quiet',
          '--pinentry-mode',
          'loopback',
          '--passphrase',
          '',
          ...args,
        ],
        { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
      );
    const days = 24 * 3600_000;
    const made = Date.parse('2026-10-01T00:00:00Z');
    const key = (name: string): string => {
      gpg('--faked-system-time', `${made / 1000}!`, '--quick-gen-key', name, 'ed25519', 'sign', '200d');
      const fingerprint = /^fpr:+([0-9A-F]{40}):/m.exec(
        gpg('--with-colons', '--list-keys', name),
      )?.[1] as string;
      write(
        root,
        `/${settings}/public-keys/${fingerprint}.asc`,
        gpg('--armor', '--export', fingerprint),
        role === 'build' ? 'root' : 'user',
      );
      return fingerprint;
    };
    const at = (count: number): Partial<Machine> => ({ now: () => new Date(made + count * days) });
    const rows: [string, () => void][] =
      role === 'build'
        ? [
            [
              'a maintainer',
              () =>
                void ((config.components[0] as (typeof config.components)[0]).maintainers = [
                  { name: 'alice', fingerprint: key('alice') },
                ]),
            ],
            [
              'who commands',
              () => void (config.commands = { people: [{ name: 'bob', fingerprint: key('bob') }] }),
            ],
            ['the logs VM', () => void (config.publication.logsKey = key('logs'))],
            ['the keys VM', () => void (config['signingKey'] = key('signing'))],
          ]
        : [
            [
              'its own key',
              () =>
                void (role === 'keys'
                  ? (config.signingKeys = [key('own')])
                  : (config['logsKey'] = key('own'))),
            ],
          ];
    for (const [index, [whose, change]] of rows.entries()) {
      change();
      writeFileSync(file, JSON.stringify(config));
      if (role !== 'build') execFileSync('chown', ['-R', '1000:1000', join(root, 'home/user/.gnupg')]);
      const look = async (count: number): Promise<[string[], string[]]> => {
        const { codes, notes } = await findings(root, role, at(count));
        return [
          codes.filter((code) => code.startsWith('KEY_')),
          notes.filter((code) => code.startsWith('KEY_')),
        ];
      };
      const count = index + 1 + (role === 'build-logs' ? index + 1 : 0);
      t.strictSame(await look(139), [[], []], `${whose}: more than two months`);
      t.strictSame(await look(141), [[], Array(count).fill('KEY_ENDS')], `${whose}: less than two months`);
      t.strictSame(await look(201), [Array(count).fill('KEY_EXPIRED'), []], `${whose}: after its end`);
    }
    execFileSync('gpgconf', [
      '--homedir',
      role === 'build' ? home : join(root, 'home/user/.gnupg'),
      '--kill',
      'all',
    ]);
  });
}

await t.test(
  'a gate that stopped and was granted from again since is no finding; one that stopped after a grant is',
  async (t) => {
    const { root } = await healthyVm(folder(t), 'keys');
    const journal = (...events: [string, string][]): void =>
      write(
        root,
        '/var/lib/build-infra/journal.jsonl',
        events
          .map(
            ([event, result], index) =>
              `{"format":"build-infra/journal-entry@1","seq":${index + 1},"time":"2026-11-21T00:00:00.000Z","event":"${event}","commit":null,"result":"${result}"}\n`,
          )
          .join(''),
        'user',
        0o600,
      );
    journal(['refused', 'FORK'], ['granted', '2026-11-21T00:15:00.000Z'], ['refused', 'NO_GRANT']);
    t.strictSame((await findings(root, 'keys')).lines, []);
    journal(['granted', '2026-11-21T00:15:00.000Z'], ['refused', 'JOURNAL_ALTERED'], ['refused', 'NO_GRANT']);
    t.strictSame((await findings(root, 'keys')).codes, ['GATE_STOPPED']);
  },
);

await t.test(
  'a new VM whose highstate did not come through says what is missing, and still how to go on',
  async (t) => {
    const root = folder(t);
    write(root, '/run/qubes-service/build-infra-build', '');
    const { codes } = await findings(root, 'build');
    for (const code of [
      'NO_PACKAGE',
      'NO_FILE',
      'NO_FOLDER',
      'NO_LINK',
      'NO_PRIVATE_VOLUME',
      'WAITS_FOR_KEY',
      'NO_SSH_KEY',
    ])
      t.ok(codes.includes(code), code);
  },
);

await t.test('a VM outside of the farm is told that, and exits as missing', async (t) => {
  const { codes, lines } = await findings(folder(t), 'build', { name: 'personal' });
  t.strictSame(codes, ['NO_ROLE']);
  t.match(lines, [/if it is a VM of the farm, in dom0: sudo qubesctl state\.highstate/]);
});

for (const on of [['ssh-proxy'], ['webhooks']] as const) {
  await t.test(`with ${on[0]} alone the net VM is complete`, async (t) => {
    const { root } = await healthyVm(folder(t), 'sys-net', () => undefined, on);
    rmSync(
      join(
        root,
        'run/qubes-service',
        on[0] === 'webhooks' ? 'build-infra-ssh-proxy' : 'build-infra-webhooks',
      ),
    );
    if (on[0] === 'ssh-proxy') rmSync(join(root, settings, 'webhook-secret'));
    t.strictSame((await findings(root, 'sys-net')).lines, []);
    write(root, `/run/qubes-service/build-infra-${on[0] === 'webhooks' ? 'ssh-proxy' : 'webhooks'}`, '');
    t.ok((await findings(root, 'sys-net')).codes.includes('OPTION_HALF_ON'));
  });
}

for (const role of ['build', 'build-logs'] as const) {
  await t.test(
    `without the ssh proxy a ${role} VM is complete, and still needs each host's key`,
    async (t) => {
      const { root } = await healthyVm(folder(t), role, () => undefined, []);
      t.strictSame((await findings(root, role)).lines, []);
      write(root, `/${settings}/ssh_known_hosts`, '');
      t.strictSame((await findings(root, role)).codes, ['NO_HOST_KEY']);
    },
  );
}

await t.test('a certificate: there, closed, of its key, and valid', async (t) => {
  const place = folder(t);
  const { root } = await healthyVm(place, 'sys-net', (pillar) => {
    pillar.webhook = { ...pillar.webhook, tls: true };
  });
  t.strictSame((await findings(root, 'sys-net')).codes, ['NO_CERTIFICATE', 'NO_CERTIFICATE_KEY']);
  const make = (name: string): void => {
    execFileSync(
      'openssl',
      [
        'req',
        '-x509',
        '-newkey',
        'ed25519',
        '-nodes',
        '-subj',
        '/CN=hooks.example',
        '-days',
        '90',
        '-keyout',
        join(place, `${name}.key`),
        '-out',
        join(place, `${name}.pem`),
      ],
      { stdio: 'ignore' },
    );
  };
  make('one');
  make('two');
  const tls = join(root, settings, 'tls');
  const lay = (chain: string, key: string): void => {
    mkdirSync(tls, { recursive: true });
    execFileSync('cp', [join(place, `${chain}.pem`), join(tls, 'fullchain.pem')]);
    execFileSync('cp', [join(place, `${key}.key`), join(tls, 'key.pem')]);
    execFileSync('chown', ['-R', '1000:1000', tls]);
    chmodSync(join(tls, 'key.pem'), 0o600);
  };
  const now = Date.now();
  const day = 24 * 3600_000;
  const at = (days: number): Partial<Machine> => ({ now: () => new Date(now + days * day) });
  lay('one', 'one');
  t.strictSame((await findings(root, 'sys-net', at(0))).lines, []);
  t.match(await findings(root, 'sys-net', at(85)), { codes: [], notes: ['CERTIFICATE_ENDS'] });
  t.strictSame((await findings(root, 'sys-net', at(91))).codes, ['CERTIFICATE_EXPIRED']);
  chmodSync(join(tls, 'key.pem'), 0o644);
  t.strictSame((await findings(root, 'sys-net', at(0))).codes, ['OPEN_CERTIFICATE_KEY']);
  lay('one', 'two');
  t.strictSame((await findings(root, 'sys-net', at(0))).codes, ['OTHER_CERTIFICATE_KEY']);
  writeFileSync(join(tls, 'fullchain.pem'), 'nonsense');
  t.strictSame((await findings(root, 'sys-net', at(0))).codes, ['BAD_CERTIFICATE']);
});

await t.test('where systemd is the first process it is asked, and its answer told', async (t) => {
  const { root } = await healthyVm(folder(t), 'keys');
  write(root, '/proc/1/comm', 'systemd\n');
  const answer = (service: string, status = 0): Partial<Machine> => ({
    run: (argv, options) => {
      if (argv[0] !== 'systemctl')
        return argv[0] === 'sudo'
          ? Promise.resolve({ status: 0, stdout: '', stderr: '' })
          : machineOf(root, 'keys').run(argv, options);
      const units = argv.slice(argv.indexOf('--') + 1);
      return Promise.resolve({
        status,
        stderr: 'Failed to connect to bus',
        stdout: units
          .map(
            (name) =>
              `Id=${name}\nLoadState=loaded\nActiveState=${name.endsWith('.service') ? service : 'active'}\nSubState=x\nResult=exit-code\nNRestarts=7\n`,
          )
          .join('\n'),
      });
    },
  });
  write(root, '/usr/bin/sudo', '', 'root', 0o755);
  const good = await findings(root, 'keys', answer('active'));
  t.strictSame([good.codes, good.notes, good.remarks], [[], ['PASSWORDLESS_ROOT'], []], 'a note is no fault');
  const bad = await findings(root, 'keys', answer('failed'));
  t.strictSame(bad.codes, ['UNIT_NOT_ACTIVE']);
  t.match(
    bad.lines[0],
    /build-infra-keys\.service is failed \(x, exit-code, started again 7 times\); journalctl -b -u build-infra-keys\.service/,
  );
  t.strictSame((await findings(root, 'keys', answer('active', 1))).codes, ['SYSTEMD_SILENT']);
});

await t.test('what this account may not see is said, and not taken for missing', async (t) => {
  for (const role of ['build-logs', 'keys'] as const) {
    const { root } = await healthyVm(folder(t), role);
    const { codes, lines } = await findings(root, role, {
      uid: 1001,
      run: (argv) => Promise.reject(new NotAllowed(argv[0] as string)),
    });
    t.ok(codes.length > 0 && codes.every((code) => code === 'NOT_LOOKED_AT'), lines.join('\n'));
    t.equal(
      lines.some((line) => line.includes('qrexec-client-vm')),
      role === 'keys',
      'a way out',
    );
  }
});

await t.test(
  "fingerprints are those that the pillar's example was made with; whatever is no public key has none",
  (t) => {
    for (const [fingerprint, armored] of Object.entries(examplePillar()['public-keys'])) {
      t.equal(fingerprintOf(Buffer.from(armored)), fingerprint);
      t.equal(fingerprintOf(Buffer.from(armored.replace('PUBLIC', 'PRIVATE'))), undefined);
      t.equal(fingerprintOf(Buffer.from(armored.split('\n').slice(1).join('\n'))), undefined);
    }
    for (const text of [
      '',
      'x',
      '-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n\n-----END PGP PUBLIC KEY BLOCK-----\n',
      '-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nwsA=\n-----END PGP PUBLIC KEY BLOCK-----\n',
      '-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDM=\n-----END PGP PUBLIC KEY BLOCK-----\n',
    ])
      t.equal(fingerprintOf(Buffer.from(text)), undefined, JSON.stringify(text));
    t.end();
  },
);

await t.test('RSA keys have theirs too, as gpg says', (t) => {
  const home = folder(t);
  chmodSync(home, 0o700);
  const gpg = (...args: string[]): string =>
    execFileSync('gpg', ['--homedir', home, '--batch', '--quiet', ...args], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
  t.teardown(() => execFileSync('gpgconf', ['--homedir', home, '--kill', 'all']));
  gpg('--passphrase', '', '--quick-generate-key', 'one', 'rsa2048', 'sign', 'never');
  const fingerprint = /^fpr:+([0-9A-F]{40}):/m.exec(gpg('--with-colons', '--list-keys'))?.[1];
  t.equal(fingerprintOf(Buffer.from(gpg('--armor', '--export'))), fingerprint);
  t.equal(
    fingerprintOf(execFileSync('gpg', ['--homedir', home, '--batch', '--export'])),
    fingerprint,
    'not armored',
  );
  t.end();
});

await t.test('every package of every manifest is looked for, or said not to be', (t) => {
  for (const { role, template } of manifests) {
    for (const [family, names] of Object.entries(template.packages)) {
      for (const name of names)
        t.ok(fileOfPackage[name] !== undefined || notLookedAt.has(name), `${role} ${family} ${name}`);
    }
  }
  t.end();
});

await t.test('the bundle holds the manifests as they are now', (t) => {
  const bundle = execFileSync('cat', [join(top, 'dist/build-infra-vm.mjs')], { encoding: 'utf8' });
  t.ok(
    bundle.includes(JSON.stringify(manifests, null, 1)),
    'run "npm run bundle" after a change of a manifest',
  );
  t.end();
});

/** The program as it is started in a VM, on a tree. */
const started = (argv: string[], root: string): { status: number | null; stdout: string; stderr: string } => {
  const { status, stdout, stderr } = spawnSync(argv[0] as string, argv.slice(1), {
    encoding: 'utf8',
    env: { PATH: '/usr/bin:/bin', BUILD_INFRA_ROOT: root },
  });
  return { status, stdout, stderr };
};
const bundle = [process.execPath, join(top, 'dist/build-infra-vm.mjs')];

await t.test(
  "0 is for nothing missing, 1 for something, 2 for a fault of the doctor's own and for a wrong command line",
  (t) => {
    const root = folder(t);
    t.match(started([...bundle, 'doctor'], root), { status: 1, stdout: /^NO_ROLE [^\n]*\n$/, stderr: '' });
    t.match(started([...bundle, 'doctor', '--json'], root), {
      status: 1,
      stdout: /^\{"format":"build-infra\/doctor@1",[^\n]*"ok":false[^\n]*\}\n$/,
    });
    symlinkSync('loop', join(root, 'loop'));
    symlinkSync('loop', join(root, 'run'));
    t.match(started([...bundle, 'doctor'], root), {
      status: 2,
      stdout: '',
      stderr: /^build-infra doctor: fault: ELOOP[^\n]*\n$/,
    });
    for (const wrong of [
      [],
      ['doctor', 'x'],
      ['doctor', '--what'],
      ['status', '--online'],
      ['trigger'],
      ['trigger', 'a', 'b'],
      ['trigger', 'a', '--json'],
    ])
      t.match(started([...bundle, ...wrong], root), { status: 2, stdout: '' }, wrong.join(' '));
    t.match(started([...bundle, 'status'], folder(t)), {
      status: 1,
      stderr: /^build-infra [a-z ]+: refused NO_STATUS /,
    });
    t.end();
  },
);

await t.test('where Node is missing, /usr/bin/build-infra says so itself', (t) => {
  const place = folder(t);
  const script = readFileSync(join(top, 'salt/build-infra/files/build-infra'), 'utf8').replaceAll(
    '/usr/bin/node',
    '/nonexistent/node',
  );
  write(place, '/build-infra', script, 'root', 0o755);
  t.match(started([join(place, 'build-infra'), 'doctor'], place), {
    status: 1,
    stdout: /^NO_PACKAGE \/nonexistent\/node is missing: .*in dom0: /,
  });
  t.end();
});
