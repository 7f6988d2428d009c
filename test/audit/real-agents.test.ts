// SPDX-License-Identifier: GPL-2.0-or-later
// What the real agents publish is what the audit accepts: the build-logs agent, the keys agent and the gpg
// client, called by real debsign and reprepro; then one signature made behind their backs.
import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import tap from 'tap';
import { realKeysVm } from '../build-logs/real-keys-vm.js';
import { Rig } from '../build-logs/rig.js';
import { writeDirectClient } from '../support/direct-client.js';
import { folderOf } from '../support/folders.js';
import { runAudit } from './run-audit.js';

const agents = join(dirname(fileURLToPath(import.meta.url)), '../../agents');
const rig = await Rig.make({ publishSeconds: 1 });
tap.teardown(() => rig.stop());
const { machine, journalKey } = await realKeysVm(tap, rig);
const { signingKey } = machine;
/** The build VM, which has no key. */
const build = folderOf(tap);
const at = (...path: string[]): string => join(build, ...path);

/** A log of our own sender that stays open until `end`; resolves to its path. */
async function openLog(): Promise<{ path: string; end: () => Promise<string> }> {
  const call = rig
    .call()
    .send(`${rig.header({ job: 'tiny-1.0-0123456789ab', component: 'tiny' })}first line\n`);
  const opened = await call.line(/^opened /);
  return {
    path: opened.split(' ')[1] as string,
    end: async () => (await call.end('last line\n> end status=0\n')).join('\n'),
  };
}

/** Not spawnSync: nothing here runs while one of those blocks, and the agents' output must be read. */
function run(program: string, args: string[], cwd: string, job: string): Promise<void> {
  const child = spawn(program, args, {
    cwd,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
      HOME: build,
      BUILD_INFRA_ROOT: build,
      BUILD_INFRA_JOB: job,
      LANG: 'C.UTF-8',
      DEBEMAIL: 'x@farm.example',
    },
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => (said += chunk.toString()));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status) =>
      status === 0 ? resolve() : reject(new Error(`${program} ended with ${status}: ${said}`)),
    );
  });
}

void tap.test(
  'what the real agents publish passes the audit, and a signature behind their backs does not',
  async (t) => {
    const settings = at('rw/config/build-infra');
    for (const folder of [join(settings, 'public-keys'), at('usr/bin')])
      mkdirSync(folder, { recursive: true });
    mkdirSync(at('home/user/.gnupg'), { recursive: true, mode: 0o700 });
    writeFileSync(join(settings, 'public-keys', `${rig.logsKey}.asc`), rig.publicLogsKey);
    writeFileSync(join(settings, 'public-keys', `${signingKey}.asc`), machine.keysHome.exported(signingKey));
    writeFileSync(
      join(settings, 'build.json'),
      JSON.stringify({
        format: 'build-infra/build-config@1',
        vm: 'build-debian',
        env: 'debian',
        signingKey,
        publication: null,
      }),
    );
    writeDirectClient(at('usr/bin/qrexec-client-vm'), 'build-debian', {
      'qubesbuilder.BuildLog': rig.socket,
      'qubes.Gpg': join(machine.root, 'run/build-infra/qubes.Gpg.sock'),
    });
    await rig.start();

    const source = at('w/tiny');
    mkdirSync(join(source, 'debian/source'), { recursive: true });
    writeFileSync(join(source, 'debian/source/format'), '3.0 (native)\n');
    writeFileSync(
      join(source, 'debian/control'),
      'Source: tiny\nSection: misc\nPriority: optional\nMaintainer: X <x@farm.example>\nStandards-Version: 4.6.2\nRules-Requires-Root: no\n\nPackage: tiny\nArchitecture: any\nDescription: tiny\n tiny\n',
    );
    writeFileSync(
      join(source, 'debian/changelog'),
      'tiny (1.0) bookworm; urgency=low\n\n  * One.\n\n -- X <x@farm.example>  Sat, 21 Nov 2026 20:00:00 +0000\n',
    );
    writeFileSync(
      join(source, 'debian/rules'),
      '#!/usr/bin/make -f\nclean build build-arch build-indep binary-indep:\n\ttrue\nbinary-arch:\n\tmkdir -p debian/tiny/DEBIAN\n\tdpkg-gencontrol -ptiny -Pdebian/tiny\n\tdpkg-deb --root-owner-group --build debian/tiny ..\nbinary: binary-arch\n',
      { mode: 0o755 },
    );
    const client = at('usr/bin/gpg-client');
    writeFileSync(
      client,
      `#!/bin/sh\nexec ${process.execPath} ${agents}/build-vm/gpg-client/main.js "$@"\n`,
      { mode: 0o755 },
    );
    const log = await openLog();
    const job = at('job.json');
    const logged = (name: string, path: string): void =>
      writeFileSync(
        job,
        JSON.stringify({
          job: name,
          component: 'tiny',
          version: '1.0',
          dist: 'bookworm',
          logs: [path],
          artifacts: [],
        }),
      );
    logged('tiny-1.0-0123456789ab', log.path);
    const changesOf = (version: string): string =>
      readdirSync(at('w')).find(
        (name) => name.startsWith(`tiny_${version}_`) && name.endsWith('.changes'),
      ) as string;
    const include = async (version: string): Promise<void> => {
      await run('debsign', ['--no-conf', `-p${client}`, `-k${signingKey}`, changesOf(version)], at('w'), job);
      await run(
        'reprepro',
        [
          '--basedir',
          at('apt'),
          '--gnupghome',
          at('home/user/.gnupg'),
          '--ignore=wrongdistribution',
          'include',
          'bookworm',
          join(at('w'), changesOf(version)),
        ],
        build,
        job,
      );
    };

    await run('dpkg-buildpackage', ['-F', '-d', '-us', '-uc'], source, job);
    const apt = at('apt');
    mkdirSync(join(apt, 'conf'), { recursive: true });
    writeFileSync(join(apt, 'conf/sign-hook'), `#!/bin/sh\nexec '${client}' --reprepro-sign "$@"\n`, {
      mode: 0o755,
    });
    writeFileSync(
      join(apt, 'conf/distributions'),
      'Codename: bookworm\nArchitectures: amd64 source\nComponents: main\nTracking: minimal includechanges includebuildinfos\nSignWith: !sign-hook\n',
    );
    await include('1.0');
    writeFileSync(join(apt, 'key.asc'), readFileSync(join(settings, 'public-keys', `${signingKey}.asc`)));
    t.match(await log.end(), /^published /m);

    const args = [
      '--logs',
      rig.remote('mirror'),
      rig.remote('origin'),
      '--logs-key',
      rig.logsKey,
      '--apt',
      apt,
      '--signing-key',
      signingKey,
      '--journal-key',
      `keys-debian=${journalKey}`,
    ];
    let ran = await runAudit(args);
    // The journal's last entries are published shortly after the log's end.
    for (let i = 0; ran.status !== 0 && i < 20; i++) ran = await runAudit(args);
    t.equal(ran.status, 0, ran.out + ran.err);
    t.match(ran.out, /ok +every use of a key follows a published intent +5 signatures/);
    t.match(ran.out, /ok +every signature in the APT repository is in a journal +5 signatures/);
    t.comment(ran.out);

    // Rebuilt without a new source, as the Debian engine does it: packages of a version of their own beside
    // the source that they are of.
    const changelog = join(source, 'debian/changelog');
    writeFileSync(
      changelog,
      `tiny (1.0+b1) bookworm; urgency=medium, binary-only=yes\n\n  * Rebuild.\n\n -- X <x@farm.example>  Sat, 21 Nov 2026 20:00:00 +0000\n\n${readFileSync(changelog, 'latin1')}`,
    );
    await run('dpkg-buildpackage', ['-B', '-d', '-us', '-uc'], source, job);
    const second = await openLog();
    logged('tiny-1.0+b1-0123456789ab', second.path);
    await include('1.0+b1');
    t.match(await second.end(), /^published /m);
    t.match(
      readdirSync(join(apt, 'pool/main/t/tiny'))
        .filter((name) => /\.(?:deb|dsc)$/.test(name))
        .sort(),
      [/^tiny_1\.0\+b1_[a-z0-9]+\.deb$/, /^tiny_1\.0\.dsc$/],
    );
    ran = await runAudit(args);
    for (let i = 0; ran.status !== 0 && i < 20; i++) ran = await runAudit(args);
    t.equal(ran.status, 0, ran.out + ran.err);
    t.match(ran.out, /ok +every use of a key follows a published intent +9 signatures/);
    t.match(ran.out, /^Good/m, 'the audit reads a rebuilt package');

    const release = join(apt, 'dists/bookworm/Release');
    writeFileSync(release, `${readFileSync(release).toString()}Label: x\n`);
    for (const [name, mode] of [
      ['InRelease', '--clearsign'],
      ['Release.gpg', '--detach-sign'],
    ] as const) {
      machine.keysHome.gpg([
        '--yes',
        '--armor',
        mode,
        '--output',
        join(apt, 'dists/bookworm', name),
        release,
      ]);
    }
    const secret = await runAudit(args);
    t.equal(secret.status, 1);
    t.equal(secret.out.match(/SIGNATURE_NOT_IN_JOURNAL/g)?.length, 2);
  },
);
