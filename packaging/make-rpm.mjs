// SPDX-License-Identifier: GPL-2.0-or-later
// Makes the RPM of dom0 and its source RPM. The same sources and the same SOURCE_DATE_EPOCH give the same
// bytes, wherever they lie. Plain JavaScript with Node's builtins: it is called by the set-up, and by the
// tests on copies of the checkout.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const usage = `usage: npm run package [-- --out DIR]     packages/ unless told otherwise
`;
const topLevel = [
  '.qubesbuilder',
  'FORMULA',
  'LICENSE',
  'Makefile',
  'agents',
  'docs',
  'eslint.config.js',
  'package-lock.json',
  'package.json',
  'packaging',
  'policies',
  'qrexec-services',
  'rel',
  'salt',
  'tsconfig.json',
  'version',
];

class Failure extends Error {}

function run(program, args, options = {}) {
  const done = spawnSync(program, args, { encoding: 'utf8', maxBuffer: 1 << 26, ...options });
  if (done.error?.code === 'ENOENT') throw new Failure(`${program} is missing`);
  if (done.status !== 0) {
    const last = `${done.stderr}\n${done.stdout}`
      .trim()
      .split('\n')
      .filter((line) => line !== '')
      .slice(0, 15)
      .join('\n');
    throw new Failure(`${program} ended with ${done.status ?? done.signal}:\n${last}`);
  }
  return done.stdout;
}

/** Seconds since 1970: the caller's SOURCE_DATE_EPOCH, or the time of the last commit. */
function epochOf(tree) {
  const given = process.env.SOURCE_DATE_EPOCH;
  if (given !== undefined) {
    if (!/^[1-9][0-9]{0,11}$/.test(given)) throw new Failure(`SOURCE_DATE_EPOCH is no time: ${given}`);
    return Number(given);
  }
  const commit = spawnSync('git', ['-C', tree, 'log', '-1', '--format=%ct'], { encoding: 'utf8' });
  if (commit.status !== 0)
    throw new Failure('this is no git checkout: name the time of the sources in SOURCE_DATE_EPOCH');
  return Number(commit.stdout.trim());
}

function filesBelow(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return filesBelow(path);
    return entry.isFile() ? [path] : [];
  });
}

/**
 * What the source RPM holds: the sources that are in git (or will be), and the bundles made of them, because
 * no npm runs where an RPM is rebuilt.
 */
function sourcesOf(tree) {
  const listed = spawnSync(
    'git',
    ['-C', tree, 'ls-files', '-z', '--cached', '--others', '--exclude-standard', '--', ...topLevel],
    { encoding: 'utf8' },
  );
  const sources =
    listed.status === 0
      ? listed.stdout.split('\0').filter((name) => name !== '' && existsSync(join(tree, name)))
      : topLevel.flatMap((name) => {
          const path = join(tree, name);
          if (!existsSync(path)) return [];
          return statSync(path).isDirectory() ? filesBelow(path).map((file) => relative(tree, file)) : [name];
        });
  const bundles = readdirSync(join(tree, 'dist'))
    .filter((name) => /\.(mjs|8|bash)$|^NOTICES\.txt$/.test(name))
    .map((name) => `dist/${name}`);
  return [...new Set([...sources, ...bundles])].sort();
}

/** A copy with one time, modes that do not depend on the umask, and no names of ours. */
function copySources(tree, target, epoch) {
  for (const name of sourcesOf(tree)) {
    const to = join(target, name);
    mkdirSync(dirname(to), { recursive: true });
    copyFileSync(join(tree, name), to);
    chmodSync(to, 0o644);
    utimesSync(to, epoch, epoch);
  }
}

function makePackages(tree, out, work) {
  if (!existsSync(join(tree, 'dist/NOTICES.txt')))
    throw new Failure('dist/ is missing: run "npm run bundle" first');
  const { version } = JSON.parse(readFileSync(join(tree, 'package.json'), 'utf8'));
  const release = readFileSync(join(tree, 'rel'), 'utf8').trim();
  const epoch = epochOf(tree);
  const name = `build-infra-dom0-${version}`;
  const sources = join(work, 'SOURCES');
  mkdirSync(sources);
  copySources(tree, join(work, name), epoch);
  const tar = join(sources, `${name}.tar`);
  run('tar', [
    '--create',
    '--file',
    tar,
    '--directory',
    work,
    '--format=ustar',
    '--sort=name',
    `--mtime=@${epoch}`,
    '--owner=root:0',
    '--group=root:0',
    '--mode=u=rwX,go=rX',
    name,
  ]);
  run('gzip', ['-9', '--no-name', tar]);
  const spec = join(work, 'build-infra-dom0.spec');
  writeFileSync(
    spec,
    readFileSync(join(tree, 'packaging/build-infra-dom0.spec.in'), 'utf8')
      .replaceAll('@VERSION@', version)
      .replaceAll('@REL@', release)
      .replace('@CHANGELOG@\n', ''),
  );
  for (const path of [spec, `${tar}.gz`]) {
    chmodSync(path, 0o644);
    utimesSync(path, epoch, epoch);
  }
  const home = join(work, 'home');
  mkdirSync(home);
  const settings = {
    _tmppath: join(work, 'tmp'),
    _buildhost: 'build-infra',
    dist: '%{nil}',
    vendor: '%{nil}',
    packager: '%{nil}',
    optflags: '%{nil}',
    _host_vendor: 'build-infra',
    _target_platform: 'noarch-linux',
  };
  // A clean environment: no ~/.rpmmacros, no language of the caller's.
  const env = {
    PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
    HOME: home,
    LC_ALL: 'C.UTF-8',
    SOURCE_DATE_EPOCH: String(epoch),
  };
  // What is required to build is there, or its call fails; rpm's own list knows nothing on a machine without
  // rpm packages.
  const rpmbuild = (stage, folder) =>
    run(
      'rpmbuild',
      [
        stage,
        '--nodeps',
        '--target',
        'noarch-linux',
        ...Object.entries({ ...settings, _topdir: folder }).flatMap(([key, value]) => [
          '--define',
          `${key} ${value}`,
        ]),
        spec,
      ],
      { env, cwd: work },
    );
  // Apart, and the source RPM with relative paths: it holds the spec as it was expanded, and an RPM made with
  // it would hold its checksum.
  rpmbuild('-bs', '.');
  rpmbuild('-bb', work);
  mkdirSync(out, { recursive: true });
  const made = ['RPMS', 'SRPMS']
    .flatMap((folder) => filesBelow(join(work, folder)))
    .map((path) => {
      const to = join(out, path.slice(path.lastIndexOf('/') + 1));
      copyFileSync(path, to);
      return to;
    });
  return `build-infra ${version}-${release}\n${made.map(report).join('')}`;
}

function report(path) {
  const bytes = readFileSync(path);
  return `${path}\n  ${bytes.length} bytes, sha256 ${createHash('sha256').update(bytes).digest('hex')}\n`;
}

const whatNext = `
In dom0, after "rpm --install" of the first one (docs/deploy.md says how it gets there, and what farm.yaml must hold):
  qubesctl top.enable build-infra
  qubesctl top.enable build-infra pillar=True
  qubesctl --all state.highstate
`;

/** @returns the exit status: 0 made, 1 could not, 2 for a wrong command line */
function main() {
  let values;
  try {
    ({ values } = parseArgs({
      options: { out: { type: 'string' }, tree: { type: 'string' }, help: { type: 'boolean', short: 'h' } },
    }));
  } catch (error) {
    process.stderr.write(`build-infra: ${error.message}\n${usage}`);
    return 2;
  }
  if (values.help === true) {
    process.stdout.write(usage);
    return 0;
  }
  const tree = resolve(values.tree ?? dirname(dirname(fileURLToPath(import.meta.url))));
  // rpmbuild cannot work in a path with a space.
  const work = mkdtempSync(join(/^[\w/.+-]+$/.test(tmpdir()) ? tmpdir() : '/tmp', 'bi-rpm-'));
  try {
    process.stdout.write(makePackages(tree, resolve(values.out ?? join(tree, 'packages')), work) + whatNext);
    return 0;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    process.stderr.write(`build-infra: ${error.message}\n`);
    return 1;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

process.exitCode = main();
