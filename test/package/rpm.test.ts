// SPDX-License-Identifier: GPL-2.0-or-later
// The RPM of dom0: the same bytes wherever it is made, the tree of make install, and what rpm does with it
// over its life.
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import t, { test } from 'tap';
import { folderOf } from '../support/folders.js';
import {
  copySources,
  dropIn,
  epoch,
  filesBelow,
  formula,
  listing,
  makePackages,
  must,
  pillar,
  run,
  states,
  top,
  unpack,
} from './package-tree.js';

const work = folderOf(t);
const tree = copySources(join(work, 'one'));
const made = makePackages(tree, join(work, 'packages'));
const query = (...args: string[]): string[] =>
  must('rpm', ['-qp', '--nosignature', ...args, made.rpm])
    .split('\n')
    .filter((line) => line !== '');

await test('two builds in two folders, by two users of other habits, give the same bytes', async (t) => {
  const other = copySources(join(work, 'quite/another/and/deeper/folder'));
  for (const name of filesBelow(other)) utimesSync(join(other, name), 1_600_000_000, 1_600_000_000);
  mkdirSync(join(work, 'home'));
  writeFileSync(
    join(work, 'home/.rpmmacros'),
    '%packager somebody\n%_binary_payload w1.gzdio\n%_buildhost elsewhere\n',
  );
  mkdirSync(join(work, 'temporary files'));
  const again = makePackages(
    other,
    join(work, 'packages again'),
    {
      HOME: join(work, 'home'),
      TZ: 'Asia/Tokyo',
      LANG: 'tr_TR.UTF-8',
      LC_ALL: 'tr_TR.UTF-8',
      HOSTNAME: 'elsewhere',
      USER: 'somebody',
      RPM_BUILD_NCPUS: '7',
      TMPDIR: join(work, 'temporary files'),
      // In there its own files seem to be of another account.
    },
    ['unshare', '--user', '--map-user=1000', '--map-group=1000', '--'],
  );
  for (const kind of ['rpm', 'source'] as const) {
    t.equal(basename(again[kind]), basename(made[kind]));
    t.ok(readFileSync(again[kind]).equals(readFileSync(made[kind])), kind);
  }
});

await test('the sources and their time make other bytes', async (t) => {
  const later = makePackages(tree, join(work, 'later'), { SOURCE_DATE_EPOCH: String(Number(epoch) + 1) });
  t.notOk(readFileSync(later.rpm).equals(readFileSync(made.rpm)));
});

await test('it says of which version the package is, where, its size and checksum, and what to run', async (t) => {
  const release = readFileSync(join(top, 'rel'), 'utf8').trim();
  t.equal(
    made.said.split('\n')[0],
    `build-infra ${readFileSync(join(top, 'version'), 'utf8').trim()}-${release}`,
  );
  const size = readFileSync(made.rpm).length;
  t.match(made.said, `${made.rpm}\n  ${size} bytes, sha256 ${must('sha256sum', [made.rpm]).slice(0, 64)}\n`);
  t.match(
    made.said,
    /\n {2}qubesctl top\.enable build-infra\n {2}qubesctl top\.enable build-infra pillar=True\n {2}qubesctl --all state\.highstate\n$/,
  );
});

await test('the package is for every machine, needs Salt of dom0 and goes not beside the formula of the same name', async (t) => {
  t.strictSame(query('--qf', '%{name} %{version} %{arch} %{license} %{buildhost} %{buildtime}'), [
    `build-infra-dom0 ${readFileSync(join(top, 'version'), 'utf8').trim()} noarch GPL-2.0-or-later build-infra ${epoch}`,
  ]);
  t.strictSame(
    query('--requires')
      .filter((name) => !/^rpmlib\(|^\/bin\/sh$/.test(name))
      .sort(),
    ['qubes-mgmt-salt', 'qubes-mgmt-salt-dom0'],
  );
  t.strictSame(query('--conflicts'), ['qubes-mgmt-salt-dom0-qubes-infrastructure']);
  t.strictSame(query('--configfiles'), [dropIn]);
});

await test("every file is root's; folders of ours are closed to others, and nothing is executable", async (t) => {
  for (const line of query(
    '--qf',
    '[%{filemodes:perms} %{fileusername} %{filegroupname} %{filemtimes} %{filenames}\n]',
  )) {
    const [mode, user, group, time, name] = line.split(' ') as [string, string, string, string, string];
    t.equal(`${user} ${group}`, 'root root', name);
    t.equal(time, epoch, name);
    const ours = name.startsWith(formula) || name.startsWith(pillar);
    t.equal(mode, mode.startsWith('d') ? (ours ? 'drwxr-x---' : 'drwxr-xr-x') : '-rw-r--r--', name);
  }
});

await test('the unpacked package is the tree of make install, the licence, and the page that says how to go on', async (t) => {
  const unpacked = unpack(made.rpm, join(work, 'unpacked'));
  must('make', ['install', `DESTDIR=${join(work, 'installed')}`], { cwd: tree });
  const shared = (line: string): boolean => !line.includes(' /usr');
  // Whose folders these are is for other packages to say; they are not in this one.
  const foreign = (line: string): boolean =>
    /^folder 0755 \/(etc|srv)(\/(salt|formulas|pillar)(\/(minion\.d|base))?)?$/.test(line);
  t.strictSame(
    listing(unpacked)
      .filter(shared)
      .filter((line) => !foreign(line)),
    listing(join(work, 'installed')).filter((line) => !foreign(line)),
  );
  t.strictSame(
    query('-l').filter((name) => name.startsWith('/usr')),
    [
      '/usr/share/doc/build-infra-dom0',
      '/usr/share/doc/build-infra-dom0/deploy.md',
      '/usr/share/licenses/build-infra-dom0',
      '/usr/share/licenses/build-infra-dom0/LICENSE',
    ],
  );
  t.strictSame(
    query('-l').filter((name) => !/^\/(usr|srv)\//.test(name)),
    [dropIn],
    'no folder of another package',
  );
});

await test('nothing of the development tree and no secret is in the package', async (t) => {
  const unpacked = unpack(made.rpm, join(work, 'looked into'));
  const files = filesBelow(unpacked);
  t.strictSame(
    files.filter((name) =>
      /node_modules|\.ts$|\.map$|(^|\/)tests?\/|\.test\.|modules\.json$|\.pyc$|(^|\/)\.|farm\.yaml$/.test(
        name,
      ),
    ),
    [],
  );
  for (const name of files)
    t.notMatch(
      readFileSync(join(unpacked, name), 'latin1'),
      /^-----BEGIN (PGP|OPENSSH|RSA|EC)? ?PRIVATE KEY/m,
      name,
    );
});

await test('the source package holds all that is needed to make the same package again', async (t) => {
  const folder = unpack(made.source, join(work, 'source'));
  const archive = readdirSync(folder).find((name) => name.endsWith('.tar.gz')) as string;
  must('tar', ['-xzf', join(folder, archive), '-C', folder]);
  const again = makePackages(join(folder, archive.replace(/\.tar\.gz$/, '')), join(work, 'from source'));
  t.ok(readFileSync(again.rpm).equals(readFileSync(made.rpm)));
});

await test('an upgrade renews code, keeps farm.yaml and an edited drop-in, and removal keeps farm.yaml', async (t) => {
  const newer = copySources(join(work, 'newer'));
  for (const name of ['version', 'package.json', 'FORMULA'])
    writeFileSync(join(newer, name), readFileSync(join(newer, name), 'utf8').replace(/\b0\.1\.0\b/, '0.1.1'));
  writeFileSync(join(newer, 'salt/pillar/build-infra/init.sls'), '#!py\n# newer\n');
  rmSync(join(newer, 'salt/build-infra/files/post-install.sh'));
  writeFileSync(join(newer, 'packaging/minion.conf'), '# newer\n');
  const upgrade = makePackages(newer, join(work, 'upgrade'));

  const root = folderOf(t);
  const rpm = (...args: string[]): string =>
    must('rpm', ['--root', root, '--nosignature', '--nodeps', '--noscripts', ...args]);
  rpm('--install', made.rpm);
  t.strictSame(rpm('--verify', 'build-infra-dom0').trim(), '');
  writeFileSync(join(root, pillar, 'farm.yaml'), 'mine');
  writeFileSync(join(root, dropIn), '# mine\n');
  rpm('--upgrade', upgrade.rpm);
  t.equal(readFileSync(join(root, pillar, 'init.sls'), 'utf8'), '#!py\n# newer\n');
  t.notOk(existsSync(join(root, states, 'files/post-install.sh')));
  t.equal(readFileSync(join(root, pillar, 'farm.yaml'), 'utf8'), 'mine');
  t.equal(readFileSync(join(root, dropIn), 'utf8'), '# mine\n');
  t.equal(readFileSync(`${join(root, dropIn)}.rpmnew`, 'utf8'), '# newer\n');
  rpm('--erase', 'build-infra-dom0');
  t.notOk(existsSync(join(root, formula)));
  t.strictSame(readdirSync(join(root, pillar)), ['farm.yaml']);
});

await test('removal takes away the tops that would lead nowhere, and no other; an upgrade none', async (t) => {
  const root = folderOf(t);
  const script = query('--qf', '%{postun}').join('\n').replaceAll('/srv/', `${root}/srv/`);
  const tops = ['/srv/salt/_tops/base', '/srv/pillar/_tops/base'].map((name) => join(root, name));
  for (const folder of tops) mkdirSync(folder, { recursive: true });
  const [states, pillars] = tops as [string, string];
  symlinkSync('/nowhere/init.top', join(states, 'build-infra.top'));
  symlinkSync('/nowhere/webhooks.top', join(states, 'build-infra.webhooks.top'));
  symlinkSync('/nowhere/other.top', join(states, 'other.top'));
  symlinkSync('/etc/passwd', join(states, 'build-infra.somebody-elses.top'));
  symlinkSync('/nowhere/init.top', join(pillars, 'build-infra.top'));
  t.equal(run('sh', ['-c', script, 'sh', '1']).status, 0);
  t.equal(readdirSync(states).length, 4);
  t.equal(run('sh', ['-c', script, 'sh', '0']).status, 0);
  t.strictSame(readdirSync(states).sort(), ['build-infra.somebody-elses.top', 'other.top']);
  t.strictSame(readdirSync(pillars), []);
  for (const name of ['prein', 'postin', 'preun', 'pretrans', 'posttrans'])
    t.strictSame(query('--qf', `%{${name}}`), ['(none)'], name);
});

await test('without bundles, or without a time, there is one line and no package', async (t) => {
  const bare = copySources(join(work, 'bare'));
  const out = join(work, 'nothing');
  const attempt = (env: NodeJS.ProcessEnv): string => {
    const done = run(process.execPath, [join(bare, 'packaging/make-rpm.mjs'), '--out', out], {
      env: { PATH: process.env['PATH'], ...env },
    });
    t.equal(done.status, 1);
    t.equal(done.stdout, '');
    return done.stderr;
  };
  t.match(
    attempt({}),
    /^build-infra: this is no git checkout: name the time of the sources in SOURCE_DATE_EPOCH\n$/,
  );
  t.match(
    attempt({ SOURCE_DATE_EPOCH: 'yesterday' }),
    /^build-infra: SOURCE_DATE_EPOCH is no time: yesterday\n$/,
  );
  rmSync(join(bare, 'dist'), { recursive: true });
  t.match(
    attempt({ SOURCE_DATE_EPOCH: epoch }),
    /^build-infra: dist\/ is missing: run "npm run bundle" first\n$/,
  );
  t.notOk(existsSync(out));
  t.equal(run(process.execPath, [join(top, 'packaging/make-rpm.mjs'), '--colour']).status, 2);
});
