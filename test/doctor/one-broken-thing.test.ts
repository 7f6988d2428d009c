// SPDX-License-Identifier: GPL-2.0-or-later
// The doctor on trees of VMs: silent where nothing is missing, one line where one thing is, and it never
// changes anything.
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { examine } from '../../agents/doctor/doctor.js';
import type { Role } from '../../agents/shared/formats/manifest.js';
import { runProgram, type Machine } from '../../agents/doctor/machine.js';
import { copyOf, folder, healthyVm, machineOf, manifests, snapshot, write, type Healthy } from './vm-tree.js';

const roles: readonly Role[] = ['build', 'keys', 'build-logs', 'sys-net'];
const work = folder(t);
const healthy = new Map<Role, Healthy>();
for (const role of roles) healthy.set(role, await healthyVm(work, role));

interface Broken {
  role: Role;
  name: string;
  /** in the copy of a healthy tree */
  spoil?: (root: string) => void | Promise<void>;
  machine?: Partial<Machine>;
  code: string;
  says: RegExp;
}

const settings = '/rw/config/build-infra';
const remove =
  (path: string) =>
  (root: string): void =>
    rmSync(join(root, path), { recursive: true });
const edit =
  (path: string, from: string | RegExp, to: string) =>
  (root: string): void => {
    const before = readFileSync(join(root, path), 'utf8');
    const after = before.replace(from, to);
    if (after === before) throw new Error(`${path} does not hold ${String(from)}`);
    writeFileSync(join(root, path), after);
  };
const append =
  (path: string, line: string) =>
  (root: string): void =>
    writeFileSync(join(root, path), line, { flag: 'a' });
const both =
  (...steps: ((root: string) => void)[]) =>
  (root: string): void =>
    steps.forEach((step) => step(root));
const other = 'A'.repeat(40);
const key = (role: Role): string => healthy.get(role)?.fingerprint ?? '';
const entry = (
  seq: number,
  event: string,
  result: string,
  commit = 'null',
  time = '2026-11-21T00:00:00.000Z',
): string =>
  `{"format":"build-infra/journal-entry@1","seq":${seq},"prev":"${'0'.repeat(64)}","time":"${time}","event":"${event}","source":"build-debian","sha256":null,"key":null,"mode":null,"commit":${commit},"intent":null,"result":"${result}"}\n`;
const unpinned = edit(`${settings}/keys.json`, /"journalKey": "[0-9a-f]{64}"/, '"journalKey": null');
/** A program of ours that runs since 2001. */
const runningSince2001 =
  (program: string) =>
  (root: string): void => {
    write(root, '/proc/stat', 'btime 1000000000\n');
    write(root, '/proc/77/stat', `77 (node) S ${'0 '.repeat(18)}5 0\n`);
    write(root, '/proc/77/cmdline', `/usr/bin/node\0/usr/lib/build-infra/${program}\0`);
  };

/** The configuration and a public Release of these times. */
const ending = (date: string, until: string) =>
  both(
    edit(`${settings}/build.json`, /("apt": \{[^}]*?)\}/, '$1, "validDays": 9 }'),
    (root) =>
      write(
        root,
        '/var/lib/build-infra/apt/debian/bookworm/public.json',
        '{"switched":"000001-aaaaaaaaaaaa","switching":null}',
      ),
    (root) =>
      write(
        root,
        '/var/lib/build-infra/apt/debian/bookworm/generations/000001-aaaaaaaaaaaa/dists/bookworm-current/InRelease',
        `Codename: x\nDate: ${date}\nValid-Until: ${until}\nMD5Sum:\n`,
      ),
  );

const cases: Broken[] = [
  {
    role: 'keys',
    name: 'the feature is not on',
    spoil: remove('/run/qubes-service/build-infra-keys'),
    code: 'NO_ROLE',
    says: /in dom0: qvm-features keys-debian service\.build-infra-keys 1/,
  },
  {
    role: 'keys',
    name: 'custom-persist is on',
    spoil: (root) => write(root, '/run/qubes-service/custom-persist', ''),
    code: 'CUSTOM_PERSIST',
    says: /in dom0: qvm-features --unset keys-debian service\.custom-persist/,
  },
  {
    role: 'keys',
    name: 'Node is too old',
    machine: { nodeVersion: '18.20.4' },
    code: 'OLD_NODE',
    says: /18\.20\.4 .*20\.19/,
  },
  {
    role: 'keys',
    name: 'a program of a package is missing',
    spoil: remove('/usr/bin/gpgv'),
    code: 'NO_PACKAGE',
    says: /gpgv.*\$\(qvm-prefs keys-debian template\)/,
  },
  {
    role: 'keys',
    name: 'a file of the template is missing',
    spoil: remove('/usr/lib/build-infra/keys-agent.mjs'),
    code: 'NO_FILE',
    says: /keys-agent\.mjs is missing; in dom0: .*template/,
  },
  {
    role: 'keys',
    name: 'a file of the VM is missing',
    spoil: remove('/usr/local/etc/qubes/rpc-config/qubes.Gpg'),
    code: 'NO_FILE',
    says: /--targets=keys-debian/,
  },
  {
    role: 'keys',
    name: 'a folder is missing',
    spoil: remove('/rw/bind-dirs/var/lib/build-infra'),
    code: 'NO_FOLDER',
    says: /bind-dirs/,
  },
  {
    role: 'keys',
    name: 'a file is writable by all',
    spoil: (root) => chmodSync(join(root, settings, 'keys.json'), 0o666),
    code: 'WRONG_MODE',
    says: /keys\.json has mode 0666 instead of 0644/,
  },
  {
    role: 'keys',
    name: 'a file is of the group of user',
    spoil: (root) => chownSync(join(root, settings, 'keys.json'), 0, 1000),
    code: 'WRONG_OWNER',
    says: /root:user instead of root:root/,
  },
  {
    role: 'keys',
    name: 'a file belongs to user',
    spoil: (root) => chownSync(join(root, settings, 'keys.json'), 1000, 1000),
    code: 'WRONG_OWNER',
    says: /user:user instead of root:root/,
  },
  {
    role: 'keys',
    name: 'a service link became a program',
    spoil: both(remove('/usr/local/etc/qubes-rpc/qubes.Gpg'), (root) =>
      write(root, '/usr/local/etc/qubes-rpc/qubes.Gpg', '#!/bin/sh\n', 'root', 0o755),
    ),
    code: 'NOT_A_LINK',
    says: /qubes\.Gpg/,
  },
  {
    role: 'keys',
    name: 'a service link leads elsewhere',
    spoil: both(remove('/usr/local/etc/qubes-rpc/qubes.Gpg'), (root) =>
      symlinkSync('/tmp/x.sock', join(root, '/usr/local/etc/qubes-rpc/qubes.Gpg')),
    ),
    code: 'WRONG_LINK',
    says: /leads to \/tmp\/x\.sock/,
  },
  {
    role: 'keys',
    name: 'an argument of the service is taken by another program',
    spoil: (root) => write(root, '/etc/qubes-rpc/qubes.Gpg+x', '', 'root', 0o755),
    code: 'SERVICE_SHADOWED',
    says: /\/etc\/qubes-rpc\/qubes\.Gpg\+x/,
  },
  {
    role: 'keys',
    name: 'a service of /run stands before ours',
    spoil: (root) => write(root, '/run/qubes-rpc/qubes.Gpg', '', 'root', 0o755),
    code: 'SERVICE_SHADOWED',
    says: /\/run\/qubes-rpc\/qubes\.Gpg/,
  },
  {
    role: 'keys',
    name: 'options of /run stand before ours',
    spoil: (root) => write(root, '/run/qubes/rpc-config/qubesbuilder.LogReceived', ''),
    code: 'SERVICE_SHADOWED',
    says: /rpc-config\/qubesbuilder\.LogReceived/,
  },
  {
    role: 'keys',
    name: 'the agent is older than its configuration',
    spoil: runningSince2001('keys-agent.mjs'),
    code: 'OLD_CONFIGURATION',
    says: /the agent runs since 2001-09-09T01:46:40Z/,
  },
  {
    role: 'build',
    name: 'the notifier is older than its configuration',
    spoil: both(
      (root) => write(root, `${settings}/notify.json`, '{}'),
      runningSince2001('build-infra-notifier.mjs'),
    ),
    code: 'OLD_CONFIGURATION',
    says: /the notifier runs since 2001-09-09T01:46:40Z/,
  },
  {
    role: 'keys',
    name: 'the private volume is not mounted',
    spoil: edit('/proc/self/mountinfo', / \/ \/rw /, ' / /mnt '),
    code: 'NO_PRIVATE_VOLUME',
    says: /\/rw is not mounted/,
  },
  {
    role: 'keys',
    name: 'the state folder is not bound',
    spoil: edit('/proc/self/mountinfo', /31 22.*\n/, ''),
    code: 'STATE_NOT_KEPT',
    says: /\/var\/lib\/build-infra/,
  },
  {
    role: 'keys',
    name: 'the state folder is another disk',
    spoil: edit('/proc/self/mountinfo', '31 22 202:16', '31 22 202:32'),
    code: 'STATE_NOT_KEPT',
    says: /private volume/,
  },
  {
    role: 'keys',
    name: 'the signing key is lost',
    spoil: both(remove('/home/user/.gnupg'), (root) => {
      mkdirSync(join(root, '/home/user/.gnupg'), { mode: 0o700 });
      chownSync(join(root, '/home/user/.gnupg'), 1000, 1000);
    }),
    code: 'NO_SIGNING_KEY',
    says: /restore it from its backup/,
  },
  {
    role: 'keys',
    name: 'the key ring is lost and secret keys are there',
    spoil: (root) =>
      renameSync(join(root, '/home/user/.gnupg/pubring.kbx'), join(root, '/home/user/.gnupg/pubring.old')),
    code: 'KEY_RING_UNREADABLE',
    says: /no key ring/,
  },
  {
    role: 'keys',
    name: 'the configuration names another signing key',
    spoil: (root) => edit(`${settings}/keys.json`, key('keys'), other)(root),
    code: 'OTHER_SIGNING_KEY',
    says: /A{40}.*build-envs: debian: key/,
  },
  {
    role: 'keys',
    name: 'the key is made and not in the pillar',
    spoil: remove(`${settings}/keys.json`),
    code: 'SIGNING_KEY_NOT_CONFIGURED',
    says: /put it there \(build-envs: debian: key\)/,
  },
  {
    role: 'keys',
    name: 'the journal key is lost',
    spoil: remove('/var/lib/build-infra/journal-key.pem'),
    code: 'JOURNAL_KEY_LOST',
    says: /pins the journal key [0-9a-f]{64}, and this VM holds none; restore this VM's state/,
  },
  {
    role: 'keys',
    name: 'the journal key is another',
    spoil: (root) =>
      write(
        root,
        '/var/lib/build-infra/journal-key.pem',
        generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }) as string,
        'user',
        0o600,
      ),
    code: 'JOURNAL_KEY_LOST',
    says: /pins the journal key [0-9a-f]{64}, and this VM holds [0-9a-f]{64}/,
  },
  {
    role: 'keys',
    name: 'the journal key is made and pinned nowhere',
    spoil: unpinned,
    code: 'JOURNAL_KEY_NOT_PINNED',
    says: /journal key [0-9a-f]{64} is pinned nowhere; put it into farm\.yaml \(build-envs: debian: journal-key\)/,
  },
  {
    role: 'keys',
    name: 'the journal key is not made yet',
    spoil: both(unpinned, remove('/var/lib/build-infra/journal-key.pem')),
    code: 'NO_JOURNAL_KEY',
    says: /as user here: \/usr\/lib\/build-infra\/make-keys keys/,
  },
  {
    role: 'keys',
    name: 'the logs key is not made yet',
    spoil: both(remove(`${settings}/keys.json`), (root) =>
      execFileSync('sh', ['-c', 'rm "$1"/*.asc', 'sh', join(root, settings, 'public-keys')]),
    ),
    code: 'WAITS_FOR_KEY',
    says: /make-keys build-logs/,
  },
  {
    role: 'keys',
    name: 'a public key is missing',
    spoil: (root) => execFileSync('sh', ['-c', 'rm "$1"/*.asc', 'sh', join(root, settings, 'public-keys')]),
    code: 'NO_PUBLIC_KEY',
    says: /which the configuration names/,
  },
  {
    role: 'keys',
    name: 'a public key is another than its name says',
    spoil: (root) =>
      execFileSync('sh', [
        '-c',
        'for f in "$1"/*.asc; do cat "$2" >"$f"; done',
        'sh',
        join(root, settings, 'public-keys'),
        join(work, 'other.asc'),
      ]),
    code: 'WRONG_PUBLIC_KEY',
    says: new RegExp(key('keys')),
  },
  {
    role: 'keys',
    name: 'a public key is cut short',
    spoil: (root) =>
      execFileSync('sh', [
        '-c',
        'for f in "$1"/*.asc; do head -n 4 "$f" >"$f.n"; cat "$f.n" >"$f"; rm "$f.n"; done',
        'sh',
        join(root, settings, 'public-keys'),
      ]),
    code: 'WRONG_PUBLIC_KEY',
    says: /no readable public key/,
  },
  {
    role: 'keys',
    name: "the configuration is another VM's",
    spoil: edit(`${settings}/keys.json`, '"vm": "keys-debian"', '"vm": "keys-fedora"'),
    code: 'OTHER_CONFIGURATION',
    says: /keys-fedora/,
  },
  {
    role: 'build',
    name: 'the configuration is cut short',
    spoil: (root) => write(root, `${settings}/build.json`, '{ "format"'),
    code: 'BAD_CONFIGURATION',
    says: /build\.json is no JSON document/,
  },
  {
    role: 'build',
    name: 'the configuration is no document',
    spoil: (root) => write(root, `${settings}/build.json`, 'null'),
    code: 'BAD_CONFIGURATION',
    says: /build\.json is no JSON document/,
  },
  {
    role: 'keys',
    name: 'a socket is missing',
    spoil: remove('/run/build-infra/qubes.Gpg.sock'),
    code: 'NO_SOCKET',
    says: /qvm-shutdown --wait keys-debian/,
  },
  {
    role: 'keys',
    name: 'a socket is open to all',
    spoil: (root) => chmodSync(join(root, '/run/build-infra/qubes.Gpg.sock'), 0o666),
    code: 'WRONG_SOCKET',
    says: /0666/,
  },
  {
    role: 'keys',
    name: "a socket is user's",
    spoil: (root) => chownSync(join(root, '/run/build-infra/qubes.Gpg.sock'), 1000, 1000),
    code: 'WRONG_SOCKET',
    says: /1000:1000/,
  },
  {
    role: 'keys',
    name: 'nobody listens on a socket',
    spoil: edit('/proc/net/unix', /.*qubes\.Gpg\.sock\n/, ''),
    code: 'NOT_LISTENING',
    says: /qubes\.Gpg\.sock/,
  },
  {
    role: 'keys',
    name: 'a shell in a disposable is allowed',
    machine: {
      run: (argv, how) =>
        Promise.resolve(
          argv[0] === 'qrexec-client-vm' ? { status: 0, stdout: '', stderr: '' } : undefined,
        ).then((said) => said ?? runProgram(argv, how, process.geteuid?.() ?? 0)),
    },
    code: 'WAY_OUT',
    says: /shell in a disposable.*build-infra\.check/,
  },
  {
    role: 'keys',
    name: 'there is a network device',
    spoil: append('/proc/net/dev', '  eth0: 1 1\n'),
    code: 'NETWORK_DEVICE',
    says: /eth0.*qvm-prefs keys-debian netvm ''/,
  },
  {
    role: 'keys',
    name: 'there is a route',
    spoil: append('/proc/net/route', 'tun0\t00000000\t0\n'),
    code: 'NETWORK_ROUTE',
    says: /tun0/,
  },
  {
    role: 'keys',
    name: 'the disk is nearly full',
    machine: { space: () => ({ free: 1024 ** 2, size: 2 * 1024 ** 3 }) },
    code: 'LITTLE_SPACE',
    says: /1 MiB of 2048 MiB .*qvm-volume extend keys-debian:private/,
  },
  {
    role: 'keys',
    name: 'the clock is years off',
    machine: { now: () => new Date('1970-01-01T00:00:10Z') },
    code: 'WRONG_CLOCK',
    says: /1970/,
  },
  {
    role: 'keys',
    name: 'the clock is behind the journal',
    spoil: (root) =>
      write(
        root,
        '/var/lib/build-infra/journal.jsonl',
        entry(1, 'start', 'x', 'null', '2026-11-23T00:00:00.000Z'),
        'user',
        0o600,
      ),
    code: 'CLOCK_BEHIND_JOURNAL',
    says: /2026-11-23/,
  },
  {
    role: 'keys',
    name: 'the last receipt was a fork',
    spoil: (root) =>
      write(
        root,
        '/var/lib/build-infra/journal.jsonl',
        entry(1, 'granted', 'x') + entry(2, 'refused', 'FORK', `"${'c'.repeat(40)}"`),
        'user',
        0o600,
      ),
    code: 'GATE_STOPPED',
    says: /FORK at 2026-11-21T00:00:00\.000Z \(commit c{40}\).*docs\/deploy\.md/,
  },
  {
    role: 'build-logs',
    name: 'the logs key is lost',
    spoil: both(remove('/home/user/.gnupg'), (root) => {
      mkdirSync(join(root, '/home/user/.gnupg'), { mode: 0o700 });
      chownSync(join(root, '/home/user/.gnupg'), 1000, 1000);
    }),
    code: 'NO_LOGS_KEY',
    says: /restore it from its backup/,
  },
  {
    role: 'build-logs',
    name: 'the logs key is made and not in the pillar',
    spoil: remove(`${settings}/build-logs.json`),
    code: 'LOGS_KEY_NOT_CONFIGURED',
    says: /logs-vms: build-logs: key/,
  },
  {
    role: 'build-logs',
    name: 'something is published and no journal key is pinned',
    spoil: both(
      edit(`${settings}/build-logs.json`, /"journalKey": "[0-9a-f]{64}"/, '"journalKey": null'),
      (root) => write(root, '/var/lib/build-infra/repository.git/packed-refs', '', 'user'),
    ),
    code: 'JOURNAL_KEY_NOT_PINNED',
    says: /no journal key of keys-debian is pinned; in keys-debian as user: /,
  },
  {
    role: 'build-logs',
    name: 'something is published and a keys VM has not begun',
    spoil: (root) => write(root, '/var/lib/build-infra/repository.git/packed-refs', '', 'user'),
    code: 'BEGINS_LATE',
    says: /^note: .*keys-debian believes no publication yet.*build-envs: debian: anchor/,
  },
  {
    role: 'build-logs',
    name: 'something is published and a keys VM has believed none of it',
    spoil: both(
      (root) => write(root, '/var/lib/build-infra/repository.git/refs/heads/main', '', 'user'),
      (root) =>
        write(
          root,
          '/var/lib/build-infra/keys/keys-debian.json',
          '{"head":null,"owed":true,"alarm":null}',
          'user',
        ),
    ),
    code: 'BEGINS_LATE',
    says: /believes no publication yet/,
  },
  {
    role: 'build-logs',
    name: 'there is no ssh key',
    spoil: remove(`${settings}/ssh_key`),
    code: 'NO_SSH_KEY',
    says: /as user here: \/usr\/lib\/build-infra\/make-keys build-logs/,
  },
  {
    role: 'build-logs',
    name: 'the ssh key is open',
    spoil: (root) => chmodSync(join(root, settings, 'ssh_key'), 0o644),
    code: 'OPEN_SSH_KEY',
    says: /mode 0644/,
  },
  {
    role: 'build-logs',
    name: "the ssh key is root's",
    spoil: (root) => chownSync(join(root, settings, 'ssh_key'), 0, 0),
    code: 'OPEN_SSH_KEY',
    says: /belongs to root/,
  },
  {
    role: 'build-logs',
    name: 'the ssh key is none',
    spoil: (root) => write(root, `${settings}/ssh_key`, 'nonsense\n', 'user', 0o600),
    code: 'BAD_SSH_KEY',
    says: /no private key/,
  },
  {
    role: 'build-logs',
    name: 'a host has no known key',
    spoil: edit(`${settings}/ssh_known_hosts`, /^forge\.example .*\n/m, ''),
    code: 'NO_HOST_KEY',
    says: /forge\.example.*host-keys/,
  },
  {
    role: 'build-logs',
    name: 'ssh_config is damaged',
    spoil: append(`${settings}/ssh_config`, '  Frobnicate yes\n'),
    code: 'BAD_SSH_CONFIG',
    says: /does not understand/,
  },
  {
    role: 'build-logs',
    name: 'there is an alarm',
    spoil: (root) =>
      write(
        root,
        '/var/lib/build-infra/keys/keys-debian.json',
        '{"head":null,"owed":false,"alarm":"it remembers commit 0, which is not in our history"}',
        'user',
      ),
    code: 'KEYS_VM_ALARM',
    says: /keys-debian: it remembers commit 0.*When the gate stops/,
  },
  {
    role: 'build-logs',
    name: 'a remote was set back',
    spoil: (root) =>
      write(
        root,
        '/var/lib/build-infra/alarms.jsonl',
        '{"time":"2026-11-21T21:37:52.000Z","remote":"mirror","what":"was set back: it held 1 and showed 0"}\n',
        'user',
      ),
    code: 'REMOTE_ALARM',
    says: /remote mirror: was set back: it held 1 and showed 0 .*remove .*alarms\.jsonl/,
  },
  {
    role: 'build',
    name: 'the signing key is not made yet',
    spoil: remove(`${settings}/build.json`),
    code: 'WAITS_FOR_KEY',
    says: /build-envs: debian: key \(made in keys-debian/,
  },
  {
    role: 'build',
    name: "a maintainer's public key is missing",
    spoil: (root) =>
      unlinkSync(join(root, settings, 'public-keys/4EB33A111CD74D5673DBD2C4B1BC2F1EA81517C6.asc')),
    code: 'NO_PUBLIC_KEY',
    says: /4EB33A111CD74D5673DBD2C4B1BC2F1EA81517C6/,
  },
  {
    role: 'build',
    name: 'it reads no publication back',
    spoil: edit(`${settings}/build.json`, /"publication": \{[^}]*\}/, '"publication": null'),
    code: 'PUBLICATION_NOT_READ',
    says: /does not look itself.*build-envs: publication/,
  },
  {
    role: 'build',
    name: 'a Release is nearly over',
    spoil: both(ending('Sun, 15 Nov 2026 00:00:00 UTC', 'Tue, 24 Nov 2026 00:00:00 UTC'), (root) =>
      write(
        root,
        '/var/lib/build-infra/status.json',
        JSON.stringify({
          queue: [
            {
              component: 'apt-repository',
              waiting: [{ dist: 'bookworm', code: 'UPLOAD_FAILED', detail: 'no route' }],
            },
          ],
        }),
      ),
    ),
    code: 'RELEASE_NOT_RENEWED',
    says: /bookworm-current ends 2026-11-24T00:00:00\.000Z and is not renewed: its renewal says UPLOAD_FAILED no route; see build-infra status/,
  },
  {
    role: 'build',
    name: 'a Release is over and its renewals were given up',
    spoil: both(ending('Sun, 01 Nov 2026 00:00:00 UTC', 'Tue, 10 Nov 2026 00:00:00 UTC'), (root) =>
      write(
        root,
        '/var/lib/build-infra/status.json',
        JSON.stringify({
          recent: [
            {
              component: 'apt-repository',
              job: 'renewal-bookworm-x',
              reasons: [{ dist: 'bookworm', code: 'REPOSITORY_LOST', detail: 'gone' }],
            },
          ],
        }),
      ),
    ),
    code: 'RELEASE_NOT_RENEWED',
    says: /ends 2026-11-10T.*REPOSITORY_LOST gone/,
  },
  {
    role: 'build',
    name: "a job's document is damaged",
    spoil: (root) => write(root, '/var/lib/build-infra/jobs/x-1-1-0123456789ab/job.json', '{', 'root', 0o600),
    code: 'JOB_DAMAGED',
    says: /jobs\/x-1-1-0123456789ab\/job\.json cannot be read, and the build agent does not start: .*backup's file/,
  },
  {
    role: 'build',
    name: 'the notifier set something aside',
    spoil: both(
      (root) => write(root, '/var/lib/build-infra/notifier/aside/000000000007-x.json', '{}', 'user', 0o600),
      (root) =>
        write(
          root,
          '/var/lib/build-infra/notifier/aside/000000000007-x.json.reason',
          'GITHUB_REFUSED: GitHub answered 422: Validation Failed\n',
          'user',
          0o600,
        ),
    ),
    code: 'NOTIFIER_SET_ASIDE',
    says: /^note: .* set 1 document aside, the last of them 000000000007-x\.json: GITHUB_REFUSED: GitHub answered 422: Validation Failed; .*again all/,
  },
  {
    role: 'build',
    name: 'a secret key lies in the build VM',
    spoil: (root) => write(root, '/home/user/.gnupg/private-keys-v1.d/ABC.key', 'x', 'user', 0o600),
    code: 'KEY_IN_BUILD_VM',
    says: /a build could read/,
  },
  {
    role: 'build',
    name: 'there is no ssh key',
    spoil: remove(`${settings}/ssh_key`),
    code: 'NO_SSH_KEY',
    says: /as root here: .*right to upload/,
  },
  {
    role: 'sys-net',
    name: 'there is no webhook secret',
    spoil: remove(`${settings}/webhook-secret`),
    code: 'NO_WEBHOOK_SECRET',
    says: /as user here: .*make-keys sys-net/,
  },
  {
    role: 'sys-net',
    name: 'the webhook secret is open',
    spoil: (root) => chmodSync(join(root, settings, 'webhook-secret'), 0o640),
    code: 'OPEN_WEBHOOK_SECRET',
    says: /0640/,
  },
  {
    role: 'sys-net',
    name: 'the webhook secret is too short',
    spoil: (root) => write(root, `${settings}/webhook-secret`, 'short\n', 'user', 0o600),
    code: 'BAD_WEBHOOK_SECRET',
    says: /32 to 256/,
  },
  {
    role: 'sys-net',
    name: 'the configuration is missing',
    spoil: remove(`${settings}/sys-net.json`),
    code: 'NO_FILE',
    says: /sys-net\.json is missing/,
  },
];

const examineTree = async (
  root: string,
  role: Role,
  told: Partial<Machine> = {},
): Promise<{ codes: string[]; lines: string[] }> => {
  const { report } = await examine(machineOf(root, role, told), manifests, false);
  return { codes: report.findings.map(({ code }) => code), lines: report.lines() };
};

await t.test('nothing is said of a Release that is due and will be renewed', async (t) => {
  const root = copyOf(healthy.get('build') as Healthy, work);
  ending('Sun, 15 Nov 2026 18:00:00 UTC', 'Tue, 24 Nov 2026 18:00:00 UTC')(root);
  t.strictSame((await examineTree(root, 'build')).lines, []);
});

for (const role of roles) {
  await t.test(
    `nothing is said of a ${role} VM in which nothing is missing, and nothing in it changes`,
    async (t) => {
      const root = copyOf(healthy.get(role) as Healthy, work);
      const before = snapshot(root);
      t.strictSame((await examineTree(root, role)).lines, []);
      t.strictSame(snapshot(root), before);
    },
  );
}

/** What is the case in a farm that works, and looks like something that is said. */
const silent: { role: Role; name: string; spoil: (root: string) => void }[] = [
  {
    role: 'build-logs',
    name: 'something is published and the keys VM believes it',
    spoil: both(
      (root) => write(root, '/var/lib/build-infra/repository.git/refs/heads/main', '', 'user'),
      (root) =>
        write(
          root,
          '/var/lib/build-infra/keys/keys-debian.json',
          `{"head":"${'c'.repeat(40)}","owed":false,"alarm":null}`,
          'user',
        ),
    ),
  },
  {
    role: 'build-logs',
    name: 'no journal key is pinned and nothing is published',
    spoil: edit(`${settings}/build-logs.json`, /"journalKey": "[0-9a-f]{64}"/, '"journalKey": null'),
  },
  {
    role: 'build',
    name: 'publications are read back somewhere else',
    spoil: edit(
      `${settings}/build.json`,
      /("publication": \{\s*"url": )"[^"]*"/,
      '$1"https://elsewhere.example/logs.git"',
    ),
  },
];
for (const { role, name, spoil } of silent) {
  await t.test(`${role}: nothing is said where ${name}`, async (t) => {
    const root = copyOf(healthy.get(role) as Healthy, work);
    spoil(root);
    t.strictSame((await examineTree(root, role)).lines, []);
  });
}

writeFileSync(
  join(work, 'other.asc'),
  execFileSync(
    'gpg',
    [
      '--homedir',
      join(work, 'keys/home/user/.gnupg'),
      '--batch',
      '--no-autostart',
      '--no-permission-warning',
      '--armor',
      '--export',
    ],
    { stdio: ['ignore', 'pipe', 'ignore'] },
  ),
);

for (const { role, name, spoil, machine, code, says } of cases) {
  await t.test(`${role}: ${name}`, async (t) => {
    const root = copyOf(healthy.get(role) as Healthy, work);
    await spoil?.(root);
    const { codes, lines } = await examineTree(root, role, machine);
    t.strictSame(codes, [code], lines.join('\n'));
    t.match(lines[0], says);
    t.notMatch(lines.join('\n'), /undefined|\[object/);
  });
}
