// SPDX-License-Identifier: GPL-2.0-or-later
// Signatures made through the gate, each with its notation, before the programs of this machine that will
// meet them: gpgv, sqv, git, apt, rpm, dnf. (debsign, dpkg-buildpackage and reprepro make some in
// gpg-client.test.ts; apt and dnf of other suites install what the whole farm signs in attacks/.)
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { originNotation } from '../../agents/shared/formats/signature-origin.js';
import { openGate } from './gate.js';

const { machine, gpg, work, run: runIn } = await openGate(t);
const [armored, binary] = [`${work}/key.asc`, `${work}/key.gpg`];
writeFileSync(armored, machine.keysHome.exported(machine.signingKey));
writeFileSync(binary, machine.keysHome.gpg(['--export', machine.signingKey]));

interface Run {
  ok: boolean;
  said: string;
}

async function run(
  program: string,
  args: readonly string[],
  environment: Record<string, string> = {},
): Promise<Run> {
  const { status, stdout, stderr } = await runIn(program, args, { env: { HOME: work, ...environment } });
  return { ok: status === 0, said: stdout + stderr };
}
async function must(program: string, ...args: string[]): Promise<string> {
  const { ok, said } = await run(program, args);
  if (!ok) throw new Error(`${program} ${args.join(' ')}: ${said}`);
  return said;
}
/** How many notations of ours gpg finds in the hashed part. */
async function notations(file: string): Promise<number> {
  const text = readFileSync(file, 'latin1');
  writeFileSync(
    `${work}/looked-at`,
    text.slice(Math.max(text.indexOf('-----BEGIN PGP SIGNATURE-----'), 0)),
    'latin1',
  );
  return (
    (await must('/usr/bin/gpg', '--list-packets', `${work}/looked-at`)).match(
      new RegExp(`\\thashed subpkt 20 .*notation: ${originNotation}=`, 'g'),
    )?.length ?? 0
  );
}
const sha256 = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex');

await t.test('gpgv and sqv find a detached signature good, and bad over other bytes', async (t) => {
  writeFileSync(`${work}/data`, 'some bytes');
  writeFileSync(`${work}/other`, 'some bites');
  await must(gpg, '--armor', '-b', '-o', 'data.sig', 'data');
  t.equal(await notations(`${work}/data.sig`), 1);
  t.ok((await run('gpgv', ['--keyring', binary, 'data.sig', 'data'])).ok);
  t.ok((await run('sqv', ['--keyring', armored, 'data.sig', 'data'])).ok);
  t.notOk((await run('gpgv', ['--keyring', binary, 'data.sig', 'other'])).ok);
  t.notOk((await run('sqv', ['--keyring', armored, 'data.sig', 'other'])).ok);
});

await t.test('git finds a commit and a tag good', async (t) => {
  const git = (...args: string[]): Promise<Run> =>
    run('git', [
      '-C',
      `${work}/git`,
      '-c',
      `gpg.program=${gpg}`,
      '-c',
      `user.signingkey=${machine.signingKey}`,
      '-c',
      'user.name=x',
      '-c',
      'user.email=x@y',
      ...args,
    ]);
  mkdirSync(`${work}/git`);
  await git('init', '-q');
  t.ok((await git('commit', '-q', '--allow-empty', '-S', '-m', 'signed')).ok);
  t.ok((await git('tag', '-s', '-m', 'tagged', 'v1')).ok);
  t.match(await git('verify-commit', '--raw', 'HEAD'), { ok: true, said: `NOTATION_NAME ${originNotation}` });
  t.match(await git('verify-tag', '--raw', 'v1'), { ok: true, said: `NOTATION_NAME ${originNotation}` });
  t.equal((await git('log', '-1', '--format=%G?')).said, 'U\n', 'good, by a key of unknown trust');
});

await t.test(
  'apt takes a package from InRelease, and from Release with Release.gpg, and not from a changed one',
  async (t) => {
    const apt = `${work}/apt`;
    const dist = `${apt}/dists/x`;
    for (const folder of [`${apt}/pool`, `${dist}/main/binary-all`, `${work}/deb/DEBIAN`])
      mkdirSync(folder, { recursive: true });
    writeFileSync(
      `${work}/deb/DEBIAN/control`,
      'Package: tiny\nVersion: 1\nArchitecture: all\nMaintainer: X <x@y>\nDescription: tiny\n',
    );
    await must('dpkg-deb', '--root-owner-group', '-b', `${work}/deb`, `${apt}/pool/tiny_1_all.deb`);
    const packages = `${dist}/main/binary-all/Packages`;
    const listed = (path: string): string => `${sha256(path)} ${readFileSync(path).length}`;
    writeFileSync(
      packages,
      `Package: tiny\nVersion: 1\nArchitecture: all\nMaintainer: X <x@y>\nDescription: tiny\nFilename: pool/tiny_1_all.deb\nSize: ${readFileSync(`${apt}/pool/tiny_1_all.deb`).length}\nSHA256: ${sha256(`${apt}/pool/tiny_1_all.deb`)}\n\n`,
    );
    writeFileSync(
      `${dist}/Release`,
      `Codename: x\nSuite: x\nDate: ${new Date().toUTCString().replace('GMT', 'UTC')}\nArchitectures: all\nComponents: main\nSHA256:\n ${listed(packages)} main/binary-all/Packages\n`,
    );
    await must(gpg, '--clearsign', '-o', `${dist}/InRelease`, `${dist}/Release`);
    await must(gpg, '--armor', '-b', '-o', `${dist}/Release.gpg`, `${dist}/Release`);
    for (const name of ['InRelease', 'Release.gpg']) t.equal(await notations(`${dist}/${name}`), 1, name);

    /** apt of its own, with the key alone. */
    const visit = async (): Promise<Run> => {
      const root = `${work}/visit`;
      rmSync(root, { recursive: true, force: true });
      for (const folder of ['etc', 'state/lists/partial', 'cache/archives/partial', 'log'])
        mkdirSync(`${root}/${folder}`, { recursive: true });
      writeFileSync(`${root}/state/status`, '');
      writeFileSync(`${root}/etc/sources.list`, `deb [signed-by=${armored} arch=all] file:${apt} x main\n`);
      const options = [
        `Dir=${root}/`,
        'Dir::Etc=etc/',
        'Dir::Etc::SourceList=sources.list',
        'Dir::Etc::SourceParts=-',
        'Dir::Etc::Main=none',
        'Dir::Etc::Parts=-',
        'Dir::State=state/',
        'Dir::State::status=status',
        'Dir::Cache=cache/',
        'Dir::Log=log/',
        'APT::Sandbox::User=root',
        'Acquire::Languages=none',
        'APT::Update::Error-Mode=any',
      ].flatMap((option) => ['-o', option]);
      const updated = await run('apt-get', [...options, 'update']);
      return updated.ok ? await run('apt-get', [...options, '--print-uris', 'download', 'tiny']) : updated;
    };
    t.match(await visit(), { ok: true, said: 'tiny_1_all.deb' });
    const changed = readFileSync(`${dist}/InRelease`, 'utf8').replace('Suite: x', 'Suite: y');
    renameSync(`${dist}/InRelease`, `${work}/InRelease`);
    t.match(await visit(), { ok: true, said: 'tiny_1_all.deb' });
    rmSync(`${dist}/Release.gpg`);
    writeFileSync(`${dist}/InRelease`, changed);
    t.match(await visit(), { ok: false, said: /BADSIG|signature/ });
  },
);

await t.test('rpm and dnf take a package and metadata, and dnf no changed ones', async (t) => {
  const repository = `${work}/dnf`;
  mkdirSync(repository);
  writeFileSync(
    `${work}/tiny.spec`,
    'Name: tiny\nVersion: 1\nRelease: 1\nSummary: x\nLicense: GPL-2.0-or-later\nBuildArch: noarch\n%description\nx\n%install\nmkdir -p %{buildroot}/usr/share\necho x > %{buildroot}/usr/share/tiny\n%files\n/usr/share/tiny\n',
  );
  await must(
    'rpmbuild',
    '--quiet',
    '-bb',
    '--define',
    `_topdir ${work}/rpm`,
    '--define',
    `_rpmdir ${repository}`,
    '--define',
    '_build_name_fmt %%{NAME}.rpm',
    'tiny.spec',
  );
  await must(
    'rpmsign',
    '--addsign',
    '--define',
    `__gpg ${gpg}`,
    '--define',
    `_gpg_name ${machine.signingKey}`,
    `${repository}/tiny.rpm`,
  );
  await must('rpmkeys', '--dbpath', `${work}/db`, '--import', armored);
  t.match(
    await run('rpmkeys', [
      '--dbpath',
      `${work}/db`,
      '--define',
      '_pkgverify_level all',
      '--checksig',
      `${repository}/tiny.rpm`,
    ]),
    { ok: true, said: /digests signatures OK/ },
  );
  await must('createrepo_c', '--quiet', '--no-database', repository);
  await must(gpg, '--batch', '--yes', '--detach-sign', '--armor', `${repository}/repodata/repomd.xml`);
  t.equal(await notations(`${repository}/repodata/repomd.xml.asc`), 1);
  writeFileSync(
    `${work}/dnf.conf`,
    `[main]\nreposdir=/nowhere\nvarsdir=/nowhere\npluginpath=/nowhere\ncachedir=${work}/cache\npersistdir=${work}/persist\nlogdir=${work}/log\n[x]\nname=x\nbaseurl=file://${repository}\ngpgcheck=1\nrepo_gpgcheck=1\ngpgkey=file://${armored}\n`,
  );
  const dnf = (root: string): Promise<Run> =>
    run('dnf', [
      '-y',
      '--config',
      `${work}/dnf.conf`,
      '--installroot',
      `${work}/${root}`,
      '--releasever=0',
      '--disableplugin=*',
      'install',
      'tiny',
    ]);
  const installed = await dnf('root');
  t.ok(installed.ok && existsSync(`${work}/root/usr/share/tiny`), installed.said);
  const repomd = `${repository}/repodata/repomd.xml`;
  writeFileSync(repomd, readFileSync(repomd, 'utf8').replace(/<revision>\d/, '<revision>9'));
  rmSync(`${work}/cache`, { recursive: true, force: true });
  t.match(await dnf('second'), { ok: false, said: /repomd\.xml/ });
});
