// SPDX-License-Identifier: GPL-2.0-or-later
// The build VM's gpg client, called by the real tools, against the real keys agent: once done by the build
// agent, once where none runs.
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { openGate, type Run } from './gate.js';
import { GpgDoor } from './gpg-program.js';
import { sha256 } from './keys-machine.js';
import type { Intent } from '../../agents/shared/formats/intent.js';

const { machine, publisher, gpg, run: runIn } = await openGate(t);

const lastIntent = (): Intent => JSON.parse(publisher.documents.at(-1) as string) as Intent;

for (const way of ['by the agent', 'where no agent runs'] as const)
  await t.test(way, async (t) => {
    const work = `${machine.root}/w${way.length}`;
    mkdirSync(work);
    const run: typeof runIn = (program, args, options = {}) =>
      runIn(program, args, { cwd: work, ...options });
    const verify = (...files: string[]): Promise<Run> =>
      run('/usr/bin/gpg', ['--batch', '--status-fd', '1', '--verify', ...files]);
    const door = way === 'by the agent' ? await GpgDoor.open(machine.root) : undefined;
    t.teardown(() => door?.end());

    await t.test(
      'git commit -S and git tag -s are signed through the gate and verified locally',
      async (t) => {
        const git = (...args: string[]): Promise<Run> =>
          run(
            'git',
            [
              '-c',
              'init.defaultBranch=main',
              '-c',
              `gpg.program=${gpg}`,
              '-c',
              `user.signingkey=${machine.signingKey}`,
              '-c',
              'user.name=x',
              '-c',
              'user.email=x@y',
              ...args,
            ],
            { cwd: `${work}/git` },
          );
        mkdirSync(`${work}/git`);
        await git('init', '-q');
        t.match(await git('commit', '-q', '--allow-empty', '-S', '-m', 'signed'), { status: 0, stderr: '' });
        t.match(lastIntent(), {
          purpose: 'other',
          payload: { name: 'git-commit' },
          mode: 'detach',
          key: machine.signingKey,
          dist: 'none',
        });
        t.match(await git('tag', '-s', '-m', 'tagged', 'v1'), { status: 0 });
        t.match(await git('verify-commit', 'HEAD'), { status: 0, stderr: /Good signature/ });
        t.match(await git('verify-tag', 'v1'), { status: 0, stderr: /Good signature/ });
      },
    );

    await t.test(
      'a refused git signature says why on stderr, where git lets it through, and no commit is made',
      async (t) => {
        publisher.refuseWith = 'REMOTE_DOWN';
        const refused = await run(gpg, ['--status-fd=2', '-bsau', machine.signingKey], { input: 'tree x\n' });
        publisher.refuseWith = undefined;
        t.match(refused, {
          status: 2,
          stdout: '',
          stderr: '[GNUPG:] FAILURE sign 1\nbuild-infra: refused REMOTE_DOWN for a test\n',
        });
      },
    );

    await t.test('where git hides it, a person at a terminal reads why', async (t) => {
      publisher.refuseWith = 'REMOTE_DOWN';
      const shown = await run(
        'script',
        [
          '-qec',
          `git -c gpg.program=${gpg} -c user.signingkey=${machine.signingKey} -c user.name=x -c user.email=x@y commit -q --allow-empty -S -m refused`,
          '/dev/null',
        ],
        { cwd: `${work}/git`, env: { SHELL: '/bin/sh' } },
      );
      publisher.refuseWith = undefined;
      t.match(shown.stdout, /build-infra: refused REMOTE_DOWN for a test\r\n[^]*gpg failed to sign the data/);
      t.not(shown.status, 0);
    });

    await t.test('debsign signs .dsc, .buildinfo and .changes', async (t) => {
      const made = await makePackage('debsign', ['-us', '-uc']);
      t.equal(made.status, 0, made.stderr);
      const before = publisher.documents.length;
      const signed = await run(
        'debsign',
        ['--no-conf', `-p${gpg}`, `-k${machine.signingKey}`, 'tiny_1.0_source.changes'],
        { cwd: `${work}/debsign` },
      );
      t.equal(signed.status, 0, signed.stderr + signed.stdout);
      t.same(
        publisher.documents.slice(before).map((text) => (JSON.parse(text) as Intent).purpose),
        ['deb-dsc', 'deb-buildinfo', 'deb-changes'],
      );
      for (const file of ['tiny_1.0.dsc', 'tiny_1.0_source.buildinfo', 'tiny_1.0_source.changes'])
        t.match((await verify(`${work}/debsign/${file}`)).stdout, `VALIDSIG ${machine.signingKey}`);
    });

    await t.test('dpkg-buildpackage -p signs with its own command line', async (t) => {
      const made = await makePackage('buildpackage', [`-p${gpg}`, `-k${machine.signingKey}`]);
      t.equal(made.status, 0, made.stderr + made.stdout);
      t.match((await verify(`${work}/buildpackage/tiny_1.0.dsc`)).stdout, `VALIDSIG ${machine.signingKey}`);
      t.match(
        (await verify(`${work}/buildpackage/tiny_1.0_source.changes`)).stdout,
        `VALIDSIG ${machine.signingKey}`,
      );
    });

    async function makePackage(folder: string, args: string[]): Promise<Run> {
      const source = `${work}/${folder}/tiny`;
      mkdirSync(`${source}/debian/source`, { recursive: true });
      writeFileSync(`${source}/debian/source/format`, '3.0 (native)\n');
      writeFileSync(
        `${source}/debian/control`,
        'Source: tiny\nSection: misc\nPriority: optional\nMaintainer: X <sign@build.example>\nStandards-Version: 4.6.2\n\nPackage: tiny\nArchitecture: all\nDescription: tiny\n tiny\n',
      );
      writeFileSync(
        `${source}/debian/changelog`,
        'tiny (1.0) unstable; urgency=low\n\n  * One.\n\n -- X <sign@build.example>  Sat, 21 Nov 2026 20:00:00 +0000\n',
      );
      writeFileSync(
        `${source}/debian/rules`,
        '#!/usr/bin/make -f\nclean build binary binary-arch binary-indep:\n\ttrue\n',
        { mode: 0o755 },
      );
      return run('dpkg-buildpackage', ['-S', '-d', ...args], { cwd: source });
    }

    async function reprepro(
      name: string,
      signWith: string,
      environment: Record<string, string> = {},
    ): Promise<Run> {
      const folder = `${work}/${name}`;
      mkdirSync(`${folder}/conf`, { recursive: true });
      writeFileSync(
        `${folder}/conf/distributions`,
        `Codename: bookworm\nArchitectures: source amd64\nComponents: main\nSignWith: ${signWith}\n`,
      );
      const done = await run(
        'reprepro',
        ['-b', folder, 'includedsc', 'bookworm', `${work}/debsign/tiny_1.0.dsc`],
        { env: environment },
      );
      t.match((await verify(`${folder}/dists/bookworm/InRelease`)).stdout, `VALIDSIG ${machine.signingKey}`);
      t.match(
        (await verify(`${folder}/dists/bookworm/Release.gpg`, `${folder}/dists/bookworm/Release`)).stdout,
        `VALIDSIG ${machine.signingKey}`,
      );
      return done;
    }

    await t.test('reprepro with a script signs InRelease and Release.gpg by one intent', async (t) => {
      const script = `${work}/sign-script`;
      writeFileSync(script, `#!/bin/sh\nexec ${gpg} --reprepro-sign "$@"\n`, { mode: 0o755 });
      const before = publisher.documents.length;
      const done = await reprepro('script', `!${script}`);
      t.equal(done.status, 0, done.stderr);
      t.equal(publisher.documents.length, before + 1);
      t.match(JSON.parse(publisher.documents.at(-1) as string), {
        intents: [
          { purpose: 'apt-release', mode: 'clearsign' },
          { purpose: 'apt-release', mode: 'detach' },
        ],
      });
    });

    await t.test('reprepro through gpgme signs too', async (t) => {
      const bin = `${work}/fake`;
      mkdirSync(bin);
      writeFileSync(
        `${bin}/gpgconf`,
        `#!/bin/sh\n/usr/bin/gpgconf "$@" | sed 's|^gpg:\\(.*\\):/usr/bin/gpg$|gpg:\\1:${gpg}|'\n`,
        { mode: 0o755 },
      );
      const done = await reprepro('gpgme', machine.signingKey, { PATH: `${bin}:/usr/bin:/bin` });
      t.equal(done.status, 0, done.stderr);
    });

    await t.test('reprepro with a link named reprepro-sign signs too', async (t) => {
      const link = `${work}/reprepro-sign`;
      writeFileSync(`${work}/Release.new`, 'Origin: x\n');
      symlinkSync(gpg, link);
      t.match(await run(link, ['Release.new', 'InRelease.new', '']), { status: 0, stdout: '', stderr: '' });
      t.match((await verify(`${work}/InRelease.new`)).stdout, /VALIDSIG/);
    });

    await t.test(
      'what rpmsign sends is answered with one binary signature in the file it names',
      async (t) => {
        const header = Buffer.concat([Buffer.from('8eade801', 'hex'), Buffer.alloc(9000, 0xee)]);
        const done = await run(
          gpg,
          [
            '--no-verbose',
            '--no-armor',
            '--no-secmem-warning',
            '--digest-algo=sha256',
            '-u',
            'sign@build.example',
            '-sbo',
            `${work}/P.rpm.sig`,
            '--',
            '-',
          ],
          { input: header },
        );
        t.match(done, { status: 0, stdout: '', stderr: '' });
        t.match(lastIntent(), {
          purpose: 'rpm-header',
          payload: { name: 'rpm-header', size: 9004, sha256: sha256(header) },
        });
        writeFileSync(`${work}/P`, header);
        t.match((await verify(`${work}/P.rpm.sig`, `${work}/P`)).stdout, /VALIDSIG .* 22 8 00 /);
      },
    );

    await t.test('a file without -o is signed beside it, as gpg does', async (t) => {
      writeFileSync(`${work}/repomd.xml`, '<?xml version="1.0"?><repomd/>\n');
      t.match(
        await run(gpg, [
          '--batch',
          '--no-tty',
          '--yes',
          '--detach-sign',
          '--armor',
          '-u',
          machine.signingKey.slice(-16),
          'repomd.xml',
        ]),
        { status: 0, stdout: '' },
      );
      t.equal(lastIntent().purpose, 'rpm-repomd');
      t.match((await verify(`${work}/repomd.xml.asc`, `${work}/repomd.xml`)).stdout, /VALIDSIG/);
    });

    await t.test('the job file gives the intent its reason', async (t) => {
      const job = {
        job: 'hello-2.10-0123456789ab',
        component: 'hello',
        version: '2.10',
        dist: 'bookworm',
        logs: ['build-debian/2026-11-21/log_2026-11-21_20-00-00'],
        artifacts: [{ name: 'hello.deb', size: 1, sha256: sha256('x') }],
      };
      writeFileSync(`${work}/job.json`, JSON.stringify(job));
      t.match(
        await run(gpg, ['-b', '-o', '-', '-'], {
          input: 'with a job',
          env: { BUILD_INFRA_JOB: `${work}/job.json` },
        }),
        { status: 0 },
      );
      t.match(lastIntent(), job);
    });

    await t.test('the same bytes again are a new intent, and get a new signature', async (t) => {
      for (let i = 0; i < 2; i++)
        t.match(
          await run(gpg, ['-b', '-o', '-', '-'], {
            input: 'with a job',
            env: { BUILD_INFRA_JOB: `${work}/job.json` },
          }),
          { status: 0 },
        );
    });

    await t.test('a large payload passes both ways', async (t) => {
      const text = `${'x'.repeat(99)}\n`.repeat(10_000);
      const done = await run(gpg, ['--clearsign', '-'], { input: text });
      t.equal(done.status, 0);
      t.equal(done.stdout.split('\n-----BEGIN PGP SIGNATURE')[0]?.split('\n\n')[1], text.slice(0, -1));
    });

    await t.test('refusals of the keys VM reach the person, with status 2 and no file', async (t) => {
      const done = await run(gpg, ['--digest-algo', 'SHA1', '-b', '-o', `${work}/none.sig`, '-'], {
        input: 'weak',
      });
      t.match(done, { status: 2, stdout: '', stderr: /^build-infra: refused WEAK_DIGEST / });
      t.notOk(existsSync(`${work}/none.sig`));
      t.match(await run(gpg, ['-b', '-'], { input: Buffer.alloc(1024 * 1024 + 1) }), {
        status: 2,
        stderr: /^build-infra: refused TOO_LARGE /,
      });
    });

    await t.test('what the gate would not sign is refused before anything is published', async (t) => {
      const before = publisher.documents.length;
      t.match(await run(gpg, ['-s', '-'], { input: 'x' }), { status: 2, stderr: /refused INLINE_SIGN / });
      t.match(await run(gpg, ['-b', '-u', machine.otherKey, '-'], { input: 'x' }), {
        status: 2,
        stderr: /refused OTHER_KEY /,
      });
      t.match(await run(gpg, ['-sea', '-r', 'x', '-'], { input: 'x' }), {
        status: 2,
        stderr: /refused NOT_DONE_HERE /,
      });
      t.match(await run(gpg, ['-b', 'no-such-file']), { status: 2, stderr: /refused NO_SUCH_FILE / });
      t.equal(publisher.documents.length, before);
    });

    await t.test(
      'a file that a clear signature would change is refused before anything is published, with its name and line',
      async (t) => {
        const before = publisher.documents.length;
        writeFileSync(`${work}/bad.dsc`, 'Format: 3.0\nSource: bad \n');
        t.match(await run(gpg, ['--clearsign', '-o', `${work}/bad.asc`, 'bad.dsc']), {
          status: 2,
          stderr:
            'build-infra: refused NOT_CANONICAL bad.dsc: line 2 ends in a blank: a clear signature would not be over these bytes\n',
        });
        t.notOk(existsSync(`${work}/bad.asc`));
        t.match(await run(gpg, ['--clearsign', '-'], { input: 'Origin: x\r\n' }), {
          status: 2,
          stderr: /^build-infra: refused NOT_CANONICAL stdin: line 1 holds a carriage return: /,
        });
        t.match(await run(gpg, ['--clearsign', '-'], { input: 'no newline' }), {
          status: 2,
          stderr: /refused NOT_CANONICAL /,
        });
        writeFileSync(`${work}/Release.bad`, 'Origin: x\nLabel: y\t\n');
        t.match(await run(gpg, ['--reprepro-sign', 'Release.bad', 'InRelease.bad', 'Release.bad.gpg']), {
          status: 2,
          stderr: /^build-infra: refused NOT_CANONICAL Release: line 2 ends in a tab: /,
        });
        t.notOk(existsSync(`${work}/Release.bad.gpg`));
        t.equal(publisher.documents.length, before);
        t.match(
          await run(gpg, ['-b', '-o', '-', 'bad.dsc']),
          { status: 0 },
          'a detached signature is over any bytes',
        );
      },
    );

    await t.test('debsign of an upload with such a file says which one, and where', async (t) => {
      const made = await makePackage('uneven', ['-us', '-uc']);
      t.equal(made.status, 0, made.stderr);
      const changes = `${work}/uneven/tiny_1.0_source.changes`;
      writeFileSync(changes, readFileSync(changes, 'utf8').replace(' * One.', ' * One. '));
      const line =
        readFileSync(changes, 'utf8')
          .split('\n')
          .findIndex((one) => one.endsWith('One. ')) + 1;
      const signed = await run(
        'debsign',
        ['--no-conf', `-p${gpg}`, `-k${machine.signingKey}`, 'tiny_1.0_source.changes'],
        { cwd: `${work}/uneven` },
      );
      t.not(signed.status, 0);
      t.match(
        signed.stdout + signed.stderr,
        new RegExp(`refused NOT_CANONICAL tiny_1\\.0_source\\.changes: line ${line} ends in a blank`),
      );
    });

    await t.test('a denied call is one readable line', async (t) => {
      const client = `${machine.root}/usr/bin/qrexec-client-vm`;
      const good = readFileSync(client);
      writeFileSync(client, '#!/bin/sh\necho "Request refused" >&2\nexit 126\n');
      const denied = await run(gpg, ['-b', '-'], { input: 'x' });
      writeFileSync(client, good);
      t.match(denied, {
        status: 2,
        stderr: 'build-infra: refused CALL_REFUSED qubesbuilder.BuildLog+intent: Request refused\n',
      });
    });

    await t.test('version, listing and verifying need no intent', async (t) => {
      const before = publisher.documents.length;
      t.match(await run(gpg, ['--version']), { status: 0, stdout: /^gpg \(GnuPG\) 2\.2\.40\n/ });
      t.match(await run(gpg, ['--with-colons', '--list-secret-keys', '--', machine.signingKey]), {
        status: 0,
        stdout: /^sec:/,
      });
      t.match(await run(gpg, ['--with-colons', '--list-keys']), {
        status: 0,
        stdout: new RegExp(machine.signingKey),
      });
      t.match(
        await run(gpg, ['--status-fd=1', '--keyid-format=long', '--verify', `${work}/P.rpm.sig`, '-'], {
          input: readFileSync(`${work}/P`),
        }),
        { status: 0, stdout: /GOODSIG/ },
      );
      t.match(
        await run('sh', ['-c', `${gpg} --status-fd 7 --verify ${work}/P.rpm.sig ${work}/P 7>${work}/status`]),
        { status: 0 },
      );
      t.match(readFileSync(`${work}/status`, 'utf8'), /GOODSIG/);
      t.equal(publisher.documents.length, before);
    });

    await t.test('fifty at once are all signed', async (t) => {
      const runs = await Promise.all(
        Array.from({ length: 50 }, (_, index) =>
          run(gpg, ['-ab', '-'], { input: `many ${index}`, env: { BUILD_INFRA_TIMING: '1' } }),
        ),
      );
      t.ok(
        runs.every(
          ({ status, stderr }) =>
            status === 0 &&
            /^build-infra: timing start=[0-9.]+ intent=[0-9.]+ signature=[0-9.]+ total=[0-9.]+\n$/.test(
              stderr,
            ),
        ),
      );
    });

    await t.test('the agent has nothing to complain of', async (t) => t.equal(door?.said ?? '', ''));
  });
