// SPDX-License-Identifier: GPL-2.0-or-later
// What a build left in its folder is hostile: only announced plain files with safe names are taken.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { readChangelog, readChanges, readFields } from '../../agents/shared/formats/control-file.js';
import { takeArtifacts, unmetIn } from '../../agents/engines/debian/package-build.js';
import { sourcesFor } from '../../agents/engines/chroot/apt-sources.js';
import { prepareSource, sourceNames, type SourceWishes } from '../../agents/engines/debian/source-package.js';
import { tinyPackage } from './forge.js';
import { codeOf, engineJob, Lines, makePlace, tinyTree, writeTree } from './rpm-packages.js';
import { checkLink, checkPath } from '../../agents/build-vm/source/source-tree.js';
import { AnyRefusal } from '../../agents/shared/refusal.js';

const line = (name: string, content = 'x'): string =>
  ` ${createHash('sha256').update(content).digest('hex')} ${content.length} ${name}`;

function place(
  test: Test,
  names: readonly string[],
  change: (folder: string) => void = () => undefined,
): { folder: string; output: string; take: () => string } {
  const folder = mkdtempSync(join(tmpdir(), 'bi-art-'));
  test.teardown(() => rmSync(folder, { recursive: true }));
  const build = join(folder, 'build');
  const output = join(folder, 'output');
  mkdirSync(build);
  mkdirSync(output);
  writeFileSync(
    join(build, 'x_1_amd64.changes'),
    `Source: xx\nVersion: 1\nChecksums-Sha256:\n${names.map((name) => line(name)).join('\n')}\n`,
  );
  for (const name of ['a_1_all.deb', 'secret']) writeFileSync(join(build, name), 'x');
  change(build);
  return {
    folder,
    output,
    take: () => {
      try {
        takeArtifacts(build, output, { source: 'xx', version: '1' });
        return 'taken';
      } catch (error) {
        return error instanceof AnyRefusal ? error.code : String(error);
      }
    },
  };
}

void t.test('what is announced is taken, read-only, and nothing else', async (t) => {
  const p = place(t, ['a_1_all.deb']);
  t.equal(p.take(), 'taken');
  t.same(readdirSync(p.output).sort(), ['a_1_all.deb', 'x_1_amd64.changes']);
  t.equal(statSync(join(p.output, 'a_1_all.deb')).mode & 0o777, 0o444);
});

for (const name of ['../secret', '/etc/passwd', '.hidden', '-rf', 'a b', 'a;b', 'artifacts.json']) {
  void t.test(`an artifact called ${name} is not taken`, async (t) => {
    const p = place(t, ['a_1_all.deb', name]);
    t.match(p.take(), /^BAD_(?:ARTIFACT|CONTROL_FILE)$/);
  });
}

void t.test('a link is not followed, soft or hard', async (t) => {
  t.equal(
    place(t, ['l.deb'], (build) => symlinkSync('/etc/hostname', join(build, 'l.deb'))).take(),
    'BAD_ARTIFACT',
  );
  t.equal(
    place(t, ['l.deb'], (build) => linkSync(join(build, 'secret'), join(build, 'l.deb'))).take(),
    'BAD_ARTIFACT',
  );
  t.equal(place(t, ['l.deb'], (build) => mkdirSync(join(build, 'l.deb'))).take(), 'BAD_ARTIFACT');
  t.equal(
    place(t, [], (build) => {
      rmSync(join(build, 'x_1_amd64.changes'));
      symlinkSync('/etc/hostname', join(build, 'x_1_amd64.changes'));
    }).take(),
    'BAD_ARTIFACT',
  );
});

void t.test('other bytes than announced are not taken', async (t) => {
  t.equal(
    place(t, ['a_1_all.deb'], (build) => writeFileSync(join(build, 'a_1_all.deb'), 'y')).take(),
    'BAD_ARTIFACT',
  );
});

void t.test('a changelog may speak of a .dsc', async (t) => {
  const p = place(t, ['a_1_all.deb'], (build) => {
    const changes = join(build, 'x_1_amd64.changes');
    writeFileSync(
      changes,
      readFileSync(changes, 'utf8').replace(
        'Checksums',
        'Changes:\n xx (1) unstable;\n  * Drop tests/old.dsc\nChecksums',
      ),
    );
  });
  t.equal(p.take(), 'taken');
});

const command = '$(touch${IFS}RAN).dsc';
const poisons: [where: string, changes: (good: string) => string][] = [
  [
    'in another list of checksums',
    (good) =>
      good.replace('Checksums-Sha256', `Checksums-Sha1:\n ${'0'.repeat(40)} 1 ${command}\nChecksums-Sha256`),
  ],
  ['in the list of files', (good) => `${good}Files:\n ${'0'.repeat(32)} 1 misc optional ${command}\n`],
  [
    'in a field after the lists',
    (good) => `${good}Files:\n ${'0'.repeat(32)} 1 misc optional a_1_all.deb\nX-More: x ${command}\n`,
  ],
  [
    'after an empty line',
    (good) => `${good}Files:\n ${'0'.repeat(32)} 1 misc optional a_1_all.deb\n\nX-More: x ${command}\n`,
  ],
];
for (const [where, poison] of poisons) {
  void t.test(`a name that debsign would have a shell evaluate is not taken: ${where}`, async (t) => {
    const p = place(t, ['a_1_all.deb'], (build) => {
      const changes = join(build, 'x_1_amd64.changes');
      const good = readFileSync(changes, 'utf8');
      writeFileSync(
        changes,
        poison(
          where.includes('checksums')
            ? good
            : good.replace(
                'Checksums-Sha256',
                `Checksums-Sha1:\n ${'0'.repeat(40)} 1 a_1_all.deb\nChecksums-Sha256`,
              ),
        ),
      );
      // So that the danger is real, and this test ends when it is not any more.
      spawnSync('debsign', ['--no-conf', '-kAAAA', '-p/bin/false', 'x_1_amd64.changes'], { cwd: build });
      t.ok(existsSync(join(build, 'RAN')), 'debsign runs it');
    });
    t.equal(p.take(), 'BAD_CONTROL_FILE');
  });
}

void t.test('another version than the job is not taken, nor two .changes', async (t) => {
  t.equal(
    place(t, [], (build) =>
      writeFileSync(
        join(build, 'x_1_amd64.changes'),
        `Source: xx\nVersion: 2\nChecksums-Sha256:\n${line('a_1_all.deb')}\n`,
      ),
    ).take(),
    'VERSION_MISMATCH',
  );
  t.equal(
    place(t, ['a_1_all.deb'], (build) => writeFileSync(join(build, 'y_1_amd64.changes'), '')).take(),
    'NO_CHANGES',
  );
});

void t.test('control files are read strictly', async (t) => {
  const code = (act: () => unknown): string => {
    try {
      act();
      return 'none';
    } catch (error) {
      return error instanceof AnyRefusal ? error.code : String(error);
    }
  };
  t.equal(
    code(() => readFields('A: 1\nA: 2\n')),
    'BAD_CONTROL_FILE',
  );
  t.equal(
    code(() => readFields('no field\n')),
    'BAD_CONTROL_FILE',
  );
  t.equal(
    code(() => readChanges('Source: xx\nVersion: 1\n')),
    'BAD_CONTROL_FILE',
  );
  const signed =
    '-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nA: 1\n-----BEGIN PGP SIGNATURE-----\n\nxxxx\n=xxxx\n-----END PGP SIGNATURE-----\n';
  t.same(readFields(signed).get('A'), '1');
  t.same(readFields(signed.replace('A: 1\n', 'A: 1\n\n')).get('A'), '1');
  for (const cut of [signed.slice(0, -20), signed.replace('SHA512\n\n', 'SHA512\n'), `${signed}A: 2\n`])
    t.equal(
      code(() => readFields(cut)),
      'BAD_CONTROL_FILE',
    );
  t.equal(
    code(() => readFields('A: 1\n\nB: 2\n')),
    'BAD_CONTROL_FILE',
  );
  const tree = mkdtempSync(join(tmpdir(), 'bi-tree-'));
  t.teardown(() => rmSync(tree, { recursive: true }));
  mkdirSync(join(tree, 'debian'));
  writeFileSync(
    join(tree, 'debian/changelog'),
    'hello (1:2.10-3) unstable; urgency=low\n\n  * x\n\n -- A <a@b>  Thu, 01 Jan 1970 00:01:00 +0000\n',
  );
  t.same(readChangelog(tree), { source: 'hello', version: '1:2.10-3', date: 60 });
});

void t.test('paths and links of a tree are judged one by one', async (t) => {
  for (const path of [
    '',
    '/a',
    'a//b',
    'a/',
    '.',
    '..',
    'a/../b',
    '.git',
    'a/.Git/b',
    '.git ',
    'git~1',
    'a\x01',
    'a\n',
    'x'.repeat(300),
  ])
    t.throws(() => checkPath(path), { code: 'UNSAFE_PATH' }, path);
  for (const path of ['a', 'a/b', '.gitignore', '.github/x', 'dev\\x2dsda', 'caf\xe9'])
    t.equal(checkPath(path), path);
  for (const target of ['/x', '../..', 'a/../../..', '../.git/config', '', 'a\n', '../../x', 'b/..'])
    t.throws(() => checkLink('dir/link', target), { code: 'UNSAFE_SYMLINK' }, target);
  for (const target of ['x', '../x', './x', 'sub/x', '../other/x'])
    t.equal(checkLink('dir/link', target), target);
});

void t.test('the mirror is the one of the VM, for its own suite and for another', async (t) => {
  const target = (uri: string, release: string, component = 'main'): string =>
    `Created-By: Packages\nRepo-URI: ${uri}\nRelease: ${release}\nComponent: ${component}\nOrigin: Debian`;
  const targets = [
    target('http://m/debian/', 'bookworm'),
    target('http://m/debian/', 'bookworm', 'contrib'),
    target('http://m/security/', 'bookworm-security'),
    target('http://other/', 'nodistro'),
  ].join('\n\n');
  t.same(
    sourcesFor('bookworm', targets).map(({ uri, suite, components }) => [uri, suite, components.join()]),
    [
      ['http://m/debian/', 'bookworm', 'main,contrib'],
      ['http://m/security/', 'bookworm-security', 'main'],
    ],
  );
  t.throws(() => sourcesFor('bookworm', ''), { code: 'NO_MIRROR' });
});

void t.test('what apt misses is read from its words', async (t) => {
  const said =
    ' builddeps:/build/x : Depends: libown-dev (>= 1.0) but it is not installable\n                     Depends: debhelper (>= 99) but 13.11.4 is to be installed\n                     Depends: libown-dev (>= 1.0) but it is not going to be installed\n                     Depends: a;b but it is not installable\n';
  t.same(unmetIn(said), ['libown-dev (>= 1.0)', 'debhelper (>= 99)']);
  t.same(unmetIn('E: Unable to correct problems, you have held broken packages.'), []);
});

void t.test('source names follow the format', async (t) => {
  t.match(sourceNames('hello', '1:2.10-3', '3.0 (quilt)'), {
    folder: 'hello-2.10',
    orig: 'hello_2.10.orig.tar.xz',
  });
  t.match(sourceNames('hello', '2.10', '3.0 (native)'), { folder: 'hello-2.10', orig: undefined });
  t.match(sourceNames('hello', '2.10-1', '1.0'), { orig: 'hello_2.10.orig.tar.gz' });
  t.throws(() => sourceNames('hello', '1', '3.0 (git)'), { code: 'UNKNOWN_SOURCE_FORMAT' });
});

const needsRoot = process.getuid?.() === 0 ? {} : { skip: 'gives files away, which needs root' };

void t.test(
  "a rebuild has an entry of its own above the tree's, over exactly the source that is published",
  needsRoot,
  async (t) => {
    const place = makePlace();
    t.teardown(() => place.end());
    const files = (architecture: string): Record<string, string> =>
      Object.fromEntries(
        tinyPackage('1:1.0-1').map(({ path, content = '' }) => [
          path,
          content.replace('Architecture: all', `Architecture: ${architecture}`),
        ]),
      );
    let count = 0;
    const changelogFor = async (architecture: string, wishes: Partial<SourceWishes>): Promise<string> => {
      const tree = writeTree(place.make(`tree${++count}`), files(architecture));
      const chroot = place.make(`chroot${count}`);
      const prepared = await prepareSource(
        tree,
        {
          tagVersion: '1:1.0',
          target: { dist: 'bookworm', packages: 'deb', word: 'vm-bookworm' },
          ...wishes,
        },
        chroot,
        new Lines(),
      );
      return `${prepared.version}\n${readFileSync(join(chroot, prepared.folder, 'debian/changelog'), 'utf8')}`;
    };
    const made = await changelogFor('any', {
      suffix: '+deb12u1',
      rebuild: { of: '1:1.0-1+deb12u1', number: 3 },
    });
    t.match(
      made,
      /^1:1\.0-1\+deb12u1\+b3\nhello-tiny \(1:1\.0-1\+deb12u1\+b3\) bookworm; urgency=medium, binary-only=yes\n/,
    );
    t.strictSame(
      [...made.matchAll(/^hello-tiny \((.*)\)/gm)].map((entry) => entry[1]),
      ['1:1.0-1+deb12u1+b3', '1:1.0-1+deb12u1', '1:1.0-1'],
      "dpkg takes the source's version from the entry below",
    );
    t.equal(new Set([...made.matchAll(/^ -- .*$/gm)].map(String)).size, 1, 'of one person and time');
    t.match(await changelogFor('linux-any', { rebuild: { of: '1:1.0-1', number: 1 } }), /^1:1\.0-1\+b1\n/);
    for (const [architecture, rebuild, code] of [
      ['any', { of: '1:1.0-1+deb12u1', number: 1 }, 'VERSION_MISMATCH'],
      ['any', { of: '1.0-1', number: 1 }, 'VERSION_MISMATCH'],
      ['all', { of: '1:1.0-1', number: 1 }, 'NOTHING_TO_BUILD'],
    ] as const)
      t.equal(
        await codeOf(() => changelogFor(architecture, { rebuild })),
        code,
        `${architecture} ${rebuild.of}`,
      );
    t.notMatch(await changelogFor('all', {}), /binary-only/);
  },
);

void t.test(
  'an engine that cannot build packages anew without a new source says so, and builds nothing',
  async (t) => {
    for (const name of ['qubesbuilder']) {
      const place = makePlace();
      t.teardown(() => place.end());
      const job = engineJob(place, writeTree(place.make('source'), tinyTree()), {
        rebuild: { of: '1.2-1', number: 1 },
      });
      writeFileSync(join(place.folder, 'job.json'), JSON.stringify(job));
      const engine = new URL(`../../agents/engines/${name}/engine.js`, import.meta.url).href;
      const run = spawnSync(
        process.execPath,
        [
          '--input-type=module',
          '--eval',
          `process.exitCode = await (await import('${engine}')).runEngine('${place.folder}/job.json');`,
        ],
        { encoding: 'utf8' },
      );
      t.equal(run.status, 1, run.stderr);
      t.match(
        JSON.parse(readFileSync(join(job.output, 'failure.json'), 'utf8')),
        { code: 'NO_REBUILD' },
        name,
      );
    }
  },
);
