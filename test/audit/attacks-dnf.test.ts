// SPDX-License-Identifier: GPL-2.0-or-later
// Attacks on the DNF repository.
import { execFileSync } from 'node:child_process';
import { copyFileSync, cpSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import tap from 'tap';
import { readOptions } from '../../agents/audit/options.js';
import { filesOf, serveWeb } from '../support/web-server.js';
import { attack as attackFarm, good, keys } from './attack.js';
import { Farm, journalKey, removedAfter, sha256 } from './farm.js';
import { suitesOf } from '../../agents/shared/formats/suites.js';
import {
  buildDnf,
  buildPackage,
  makeMetadata,
  rpmsign,
  signMetadata,
  signPackage,
  testing,
} from './rpm-farm.js';
import { runAudit, verdict } from './run-audit.js';

// Real rpmbuild and createrepo_c for each case.
await buildDnf(good);
/** Made once: what an attacker has lying ready. */
const spare = new Farm(keys);
const secret = buildPackage('secret', spare.dnf);
rpmsign(spare, secret);
const unsigned = buildPackage('unsigned', spare.dnf);
const misnamed = buildPackage('misnamed', spare.dnf);
tap.teardown(() => spare.remove());

const withDnf = (farm: Farm): string[] => ['--dnf', farm.dnf];
const repomd = (farm: Farm): string => join(farm.dnf, testing, 'repodata/repomd.xml');
const moon = 'current-testing/packages/moon-1-1.noarch.rpm';

function attack(name: string, expected: string[], change: (farm: Farm) => void, path?: string): void {
  attackFarm(name, expected, change, path === undefined ? {} : { path }, withDnf);
}

function change(path: string, edit: (text: string) => string): void {
  const [before, after] = [readFileSync(path, 'latin1'), edit(readFileSync(path, 'latin1'))];
  if (before === after) throw new Error(`${path} did not change`);
  writeFileSync(path, after, 'latin1');
}

/**
 * The packages' index rewritten, and everything above it signed and announced: what a compromised build VM
 * can do in public.
 */
function changePrimary(farm: Farm, edit: (text: string) => string): void {
  const name = readdirSync(join(farm.dnf, testing, 'repodata')).find((one) =>
    one.endsWith('-primary.xml.gz'),
  ) as string;
  const before = gunzipSync(readFileSync(join(farm.dnf, testing, 'repodata', name)));
  const text = Buffer.from(edit(before.toString()));
  if (text.equals(before)) throw new Error('the index did not change');
  rmSync(join(farm.dnf, testing, 'repodata', name));
  const packed = gzipSync(text);
  const renamed = `${sha256(packed)}-primary.xml.gz`;
  writeFileSync(join(farm.dnf, testing, 'repodata', renamed), packed);
  change(repomd(farm), (all) =>
    all.replace(
      /<data type="primary">[\s\S]*?<\/data>/,
      `<data type="primary"><checksum type="sha256">${sha256(packed)}</checksum><open-checksum type="sha256">${sha256(text)}</open-checksum><location href="repodata/${renamed}"/><timestamp>1</timestamp><size>${packed.length}</size><open-size>${text.length}</open-size></data>`,
    ),
  );
  signMetadata(farm);
}

/** One byte of the payload, the file's last but ten. */
function changePayload(path: string): void {
  const bytes = readFileSync(path);
  bytes[bytes.length - 10] = (bytes[bytes.length - 10] as number) ^ 1;
  writeFileSync(path, bytes);
}

void tap.test(
  'a good DNF repository passes beside an APT repository, and from a web server with two fingerprints',
  async (t) => {
    const both = await verdict(good, withDnf(good));
    t.same(both.codes, []);
    t.match(
      both.checks.filter((row) => row.name.startsWith('dnf-')).map(({ name, count }) => `${name} ${count}`),
      ['dnf-signatures 5', 'dnf-files 11'],
    );
    execFileSync('git', ['--git-dir', good.logs.path, 'update-server-info']);
    const url = await serveWeb(t, filesOf(good.top));
    const { status, out, err } = await runAudit([
      '--logs',
      good.logs.path,
      '--logs-key',
      join(good.top, 'logs.asc'),
      '--journal-key',
      `keys-debian=${journalKey.public}`,
      '--dnf',
      `${url}/fc41`,
      '--signing-key',
      keys.fingerprint.signing,
    ]);
    t.equal(status, 0, out + err);
    t.match(out, /skipped +every signature in the APT/);
    t.match(out, /ok +every signature in the DNF repository is in a journal +5 signatures/);
  },
);

void tap.test('each of two keys belongs to the repositories before it', async (t) => {
  const common = [
    '--logs',
    good.logs.path,
    '--logs-key',
    join(good.top, 'logs.asc'),
    '--journal-key',
    `keys-debian=${journalKey.public}`,
  ];
  const signing = join(good.top, 'signing.asc');
  const stranger = join(good.top, 'stranger.asc');
  writeFileSync(stranger, keys.export('stranger'));
  t.equal(
    (
      await runAudit([
        ...common,
        '--apt',
        good.apt,
        '--signing-key',
        signing,
        '--dnf',
        good.dnf,
        '--signing-key',
        signing,
      ])
    ).status,
    0,
  );
  const swapped = await runAudit([
    ...common,
    '--apt',
    good.apt,
    '--signing-key',
    signing,
    '--dnf',
    good.dnf,
    '--signing-key',
    stranger,
  ]);
  t.equal(swapped.status, 1);
  t.match(swapped.out, /ok +every signature in the APT/);
  t.match(swapped.out, /FAILED +every signature in the DNF[\s\S]*WRONG_KEY/);
  for (const wrong of [
    [
      '--apt',
      good.apt,
      '--signing-key',
      signing,
      '--dnf',
      good.dnf,
      '--signing-key',
      signing,
      '--dnf',
      good.dnf,
    ],
    ['--signing-key', signing, '--dnf', good.dnf, '--signing-key', signing],
    ['--dnf', good.dnf],
    ['--signing-key', signing],
  ]) {
    t.throws(() => readOptions([...common, ...wrong]), { name: 'Misuse', message: /--signing-key/ });
  }
});

void tap.test(
  'the metadata of one distribution served as those of another, and one suite alone',
  async (t) => {
    const farm = removedAfter(t, new Farm(keys, good));
    t.same((await verdict(farm, ['--dnf', join(farm.dnf, testing)])).codes, []);
    renameSync(farm.dnf, join(farm.top, 'fc42'));
    t.same((await verdict(farm, ['--dnf', join(farm.top, 'fc42')])).codes, [
      'dnf-signatures RELEASE_DIFFERS',
      'dnf-signatures WRONG_NAME',
    ]);
  },
);

void tap.test('suites of a release line are looked at once signed metadata names them', async (t) => {
  const farm = removedAfter(t, new Farm(keys, good));
  cpSync(join(farm.dnf, 'current-testing'), join(farm.dnf, 'lts-current-testing'), { recursive: true });
  t.same(
    (await verdict(farm, ['--dnf', farm.dnf])).codes,
    ['dnf-files UNLISTED_FILE'],
    'nothing that was signed names it',
  );
  const suites = suitesOf('fc41', ['lts']).slice(3);
  for (const suite of suites) {
    cpSync(
      join(farm.dnf, suite === 'lts-current-testing' ? 'current-testing' : 'current'),
      join(farm.dnf, suite),
      { recursive: true },
    );
    makeMetadata(farm, suite);
    signMetadata(farm, suite);
  }
  t.same((await verdict(farm, ['--dnf', farm.dnf])).codes, []);
  t.same((await verdict(farm, ['--dnf', join(farm.dnf, 'lts-current')])).codes, [], 'one of them alone');
  rmSync(join(farm.dnf, 'lts-current'), { recursive: true });
  t.same(
    (await verdict(farm, ['--dnf', farm.dnf])).codes,
    ['dnf-signatures FILE_MISSING'],
    'they come together',
  );
  cpSync(join(farm.dnf, 'current'), join(farm.dnf, 'lts-current'), { recursive: true });
  t.same(
    (await verdict(farm, ['--dnf', farm.dnf])).codes,
    ['dnf-signatures RELEASE_DIFFERS'],
    "another suite's under its name",
  );
  for (const suite of suites) rmSync(join(farm.dnf, suite), { recursive: true });
  t.same(
    (await verdict(farm, ['--dnf', farm.dnf])).codes,
    [],
    'they may be still to come, and are listed as unseen',
  );
});

void tap.test(
  'templates of a release lie in four repositories, and none of them may stand for another',
  async (t) => {
    const farm = removedAfter(t, new Farm(keys, good));
    const folder = join(farm.top, 'templates-r4.3');
    await buildDnf(farm, ['qubes-template-debian-13'], { folder, dist: 'templates-r4.3' });
    t.same((await verdict(farm, ['--dnf', folder])).codes, []);
    t.same((await verdict(farm, ['--dnf', join(folder, 'templates-itl-testing')])).codes, []);
    renameSync(join(folder, 'templates-itl-testing'), join(folder, 'x'));
    t.same((await verdict(farm, ['--dnf', folder])).codes, [
      'dnf-files UNLISTED_FILE',
      'dnf-signatures FILE_MISSING',
    ]);
    rmSync(join(folder, 'templates-itl'), { recursive: true });
    renameSync(join(folder, 'x'), join(folder, 'templates-itl'));
    t.same(
      (await verdict(farm, ['--dnf', join(folder, 'templates-itl')])).codes,
      ['dnf-signatures RELEASE_DIFFERS'],
      'testing is not stable',
    );
  },
);

void tap.test(
  'a repository before its first package is no finding, and one that lost its metadata is',
  async (t) => {
    const empty = removedAfter(t, new Farm(keys));
    empty.build();
    t.same((await verdict(empty, ['--dnf', empty.top])).codes, []);
  },
);

attack(
  'metadata that are signed by the right key in secret',
  ['dnf-signatures NO_ORIGIN', 'dnf-signatures SIGNATURE_NOT_IN_JOURNAL'],
  (farm) => {
    writeFileSync(
      `${repomd(farm)}.asc`,
      keys.sign('signing', 'detach', readFileSync(repomd(farm)), ['--digest-algo', 'SHA384']),
    );
  },
  'current-testing/repodata/repomd.xml.asc',
);
attack(
  'metadata signed by a stranger',
  ['dnf-signatures SIGNATURE_NOT_IN_JOURNAL', 'dnf-signatures WRONG_KEY'],
  (farm) => {
    writeFileSync(`${repomd(farm)}.asc`, keys.sign('stranger', 'detach', readFileSync(repomd(farm))));
  },
  'current-testing/repodata/repomd.xml.asc',
);
attack(
  'a repomd.xml that is not what was signed',
  ['dnf-signatures BAD_SIGNATURE', 'dnf-signatures WRONG_PAYLOAD'],
  (farm) => change(repomd(farm), (text) => text.replace(/<revision>\d+/, '<revision>1')),
  'current-testing/repodata/repomd.xml.asc',
);
attack(
  'a repomd.xml without its signature',
  ['dnf-signatures NOT_SIGNED'],
  (farm) => rmSync(`${repomd(farm)}.asc`),
  'current-testing/repodata/repomd.xml.asc',
);
attack(
  'metadata that were announced and are gone',
  ['dnf-signatures FILE_MISSING'],
  (farm) => rmSync(join(farm.dnf, testing, 'repodata'), { recursive: true }),
  'current-testing/repodata/repomd.xml',
);
attack(
  'a signature without what it signs',
  ['dnf-signatures FILE_MISSING'],
  (farm) => rmSync(repomd(farm)),
  'current-testing/repodata/repomd.xml',
);
attack(
  'a package that was signed in secret and that no index lists',
  ['dnf-signatures NO_ORIGIN', 'dnf-signatures SIGNATURE_NOT_IN_JOURNAL'],
  (farm) => copyFileSync(secret, join(farm.dnf, testing, 'packages/secret-1-1.noarch.rpm')),
  'current-testing/packages/secret-1-1.noarch.rpm',
);
attack(
  'a package that was signed in secret, in announced metadata',
  ['dnf-signatures NO_ORIGIN', 'dnf-signatures SIGNATURE_NOT_IN_JOURNAL'],
  (farm) => {
    copyFileSync(secret, join(farm.dnf, testing, 'packages/secret-1-1.noarch.rpm'));
    makeMetadata(farm);
    signMetadata(farm);
  },
  'current-testing/packages/secret-1-1.noarch.rpm',
);
attack(
  'a package without a signature, in announced metadata',
  ['dnf-signatures NOT_SIGNED'],
  (farm) => {
    copyFileSync(unsigned, join(farm.dnf, testing, 'packages/unsigned-1-1.noarch.rpm'));
    makeMetadata(farm);
    signMetadata(farm);
  },
  'current-testing/packages/unsigned-1-1.noarch.rpm',
);
attack(
  'a changed payload',
  ['dnf-files WRONG_SHA256', 'dnf-signatures WRONG_PAYLOAD'],
  (farm) => changePayload(join(farm.dnf, moon)),
  moon,
);
attack(
  'a changed payload, and announced metadata that fit',
  ['dnf-signatures WRONG_PAYLOAD'],
  (farm) => {
    changePayload(join(farm.dnf, moon));
    makeMetadata(farm);
    signMetadata(farm);
  },
  moon,
);
attack('a package that is gone', ['dnf-files FILE_MISSING'], (farm) => rmSync(join(farm.dnf, moon)), moon);
attack(
  'a package that is none',
  ['dnf-files WRONG_SIZE', 'dnf-signatures NOT_SIGNED'],
  (farm) => writeFileSync(join(farm.dnf, moon), 'no package'),
  moon,
);
attack('a changed index', ['dnf-files WRONG_SHA256'], (farm) => {
  const name = readdirSync(join(farm.dnf, testing, 'repodata')).find((one) =>
    one.endsWith('-filelists.xml.gz'),
  ) as string;
  changePayload(join(farm.dnf, testing, 'repodata', name));
});
attack('an index that sends its readers elsewhere', ['dnf-files BAD_INDEX'], (farm) =>
  changePrimary(farm, (text) =>
    text.replace(
      '<location href="packages/moon',
      '<location xml:base="http://elsewhere.example/" href="packages/moon',
    ),
  ),
);
attack('an index in which a package has two places', ['dnf-files BAD_INDEX'], (farm) =>
  changePrimary(farm, (text) =>
    text.replace(
      '<location href="packages/moon',
      '<location href="packages/sun-1-1.noarch.rpm"/><location href="packages/moon',
    ),
  ),
);
attack('an index with a comment in it', ['dnf-files BAD_INDEX'], (farm) =>
  changePrimary(farm, (text) => text.replace('<package ', '<!-- --><package ')),
);
attack('an index with a document type', ['dnf-files BAD_INDEX'], (farm) =>
  changePrimary(farm, (text) => text.replace('<metadata', '<!DOCTYPE metadata [<!ENTITY x "y">]><metadata')),
);
attack(
  'an index that calls a package by another name',
  ['dnf-files BAD_INDEX'],
  (farm) => changePrimary(farm, (text) => text.replace('<name>moon</name>', '<name>glibc</name>')),
  moon,
);
attack('an index that calls a package newer than it is', ['dnf-files BAD_INDEX'], (farm) =>
  changePrimary(farm, (text) => text.replace('epoch="0" ver="1"', 'epoch="7" ver="1"')),
);
attack(
  'two lists of packages',
  ['dnf-files BAD_INDEX'],
  (farm) => {
    change(repomd(farm), (text) => text.replace(/<data type="filelists">/, '<data type="primary">'));
    signMetadata(farm);
  },
  'current-testing/repodata/repomd.xml',
);
attack(
  'metadata on another server',
  ['dnf-files BAD_INDEX'],
  (farm) => {
    change(repomd(farm), (text) =>
      text.replace('<location href=', '<location xml:base="http://elsewhere.example/" href='),
    );
    signMetadata(farm);
  },
  'current-testing/repodata/repomd.xml',
);
/**
 * After a repomd.xml that cannot be read nothing names the files beside it whose names are no hashes; those
 * here are.
 */
const unread = ['dnf-files BAD_INDEX'];
for (const [what, edit] of Object.entries<(text: string) => string>({
  'another list of packages, for zchunk': (text) =>
    text.replace(
      /<data type="filelists">[\s\S]*?<\/data>/,
      (all) => `${all}${all.replace('filelists', 'primary_zck')}`,
    ),
  'a list of updates': (text) =>
    text.replace(
      /<data type="filelists">[\s\S]*?<\/data>/,
      (all) => `${all}${all.replace('filelists', 'updateinfo')}`,
    ),
  'a weak hash': (text) => text.replace('checksum type="sha256"', 'checksum type="sha"'),
  'a second place': (text) => text.replace(/<location [^>]*>/, (all) => `${all}${all}`),
  'a place that climbs': (text) => text.replace('href="repodata/', 'href="repodata/../repodata/'),
  'a place at an address': (text) =>
    text.replace('href="repodata/', 'href="http://elsewhere.example/repodata/'),
  'a header of zchunk': (text) => text.replace('<timestamp>', '<header-size>1</header-size><timestamp>'),
  'a tag for distributions': (text) => text.replace('</content>', '</content><distro>x</distro>'),
  'an attribute': (text) => text.replace('<data type', '<data x="y" type'),
  'an element under another namespace': (text) =>
    text.replace('xmlns="http://linux.duke.edu/metadata/repo"', 'xmlns="http://elsewhere.example/"'),
})) {
  attack(
    `a repomd.xml with ${what}`,
    unread,
    (farm) => {
      change(repomd(farm), edit);
      signMetadata(farm);
    },
    'current-testing/repodata/repomd.xml',
  );
}
for (const [what, edit] of Object.entries<(text: string) => string>({
  'a package twice': (text) =>
    text
      .replace('packages="2"', 'packages="3"')
      .replace(/<package [\s\S]*?<\/package>/, (all) => `${all}${all}`),
  'more packages than it says': (text) => text.replace('packages="2"', 'packages="1"'),
  'a place that climbs': (text) => text.replace('href="packages/moon', 'href="packages/../packages/moon'),
  'a name twice': (text) => text.replace('<name>moon</name>', '<name>glibc</name><name>moon</name>'),
  'a hash of another kind': (text) => text.replace('checksum type="sha256"', 'checksum type="sha512"'),
  'an unknown element': (text) => text.replace('<name>moon', '<mirror>x</mirror><name>moon'),
  'text between its elements': (text) => text.replace('<name>moon', 'x<name>moon'),
}))
  attack(`an index with ${what}`, ['dnf-files BAD_INDEX'], (farm) => changePrimary(farm, edit));

/** One of the other two lists anew, with everything above it signed and announced. */
function changeList(farm: Farm, type: 'filelists' | 'other', edit: (text: string) => string): void {
  const folder = join(farm.dnf, testing, 'repodata');
  const name = readdirSync(folder).find((one) => one.endsWith(`-${type}.xml.gz`)) as string;
  const before = gunzipSync(readFileSync(join(folder, name))).toString();
  if (edit(before) === before) throw new Error('the list did not change');
  const text = Buffer.from(edit(before));
  const packed = gzipSync(text);
  rmSync(join(folder, name));
  writeFileSync(join(folder, `${sha256(packed)}-${type}.xml.gz`), packed);
  change(repomd(farm), (all) =>
    all.replace(
      new RegExp(`<data type="${type}">[\\s\\S]*?</data>`),
      `<data type="${type}"><checksum type="sha256">${sha256(packed)}</checksum><open-checksum type="sha256">${sha256(text)}</open-checksum><location href="repodata/${sha256(packed)}-${type}.xml.gz"/><timestamp>1</timestamp><size>${packed.length}</size><open-size>${text.length}</open-size></data>`,
    ),
  );
  signMetadata(farm);
}
attack('a list of files about another package', ['dnf-files BAD_INDEX'], (farm) =>
  changeList(farm, 'filelists', (text) => text.replace(/pkgid="[0-9a-f]{64}"/, `pkgid="${'0'.repeat(64)}"`)),
);
attack('changes of a package by another name', ['dnf-files BAD_INDEX'], (farm) =>
  changeList(farm, 'other', (text) => text.replace('name="moon"', 'name="glibc"')),
);
for (const path of ['repodata/repomd.xml.zck', 'mirrorlist', 'repodata/primary.sqlite.bz2', 'x.repo'])
  attack(
    `a file that nothing names: ${path}`,
    ['dnf-files UNLISTED_FILE'],
    (farm) => writeFileSync(join(farm.dnf, testing, path), 'x'),
    `current-testing/${path}`,
  );
attack('metadata of before under a hash that they do not have', ['dnf-files WRONG_SHA256'], (farm) =>
  writeFileSync(join(farm.dnf, testing, 'repodata', `${'0'.repeat(64)}-primary.xml.gz`), 'x'),
);
attack(
  'the metadata of one suite served as those of another',
  ['dnf-signatures RELEASE_DIFFERS'],
  (farm) => {
    for (const folder of ['packages', 'repodata']) {
      rmSync(join(farm.dnf, 'current', folder), { recursive: true, force: true });
      cpSync(join(farm.dnf, testing, folder), join(farm.dnf, 'current', folder), { recursive: true });
    }
  },
  'current/repodata/repomd.xml',
);
attack(
  'a suite that is gone',
  ['dnf-signatures FILE_MISSING'],
  (farm) => rmSync(join(farm.dnf, 'current'), { recursive: true }),
  'current/repodata/repomd.xml',
);
attack(
  'a package under another file name',
  ['dnf-files BAD_INDEX'],
  (farm) => {
    renameSync(join(farm.dnf, moon), join(farm.dnf, testing, 'packages/bash-5-1.noarch.rpm'));
    makeMetadata(farm);
    signMetadata(farm);
  },
  'current-testing/packages/bash-5-1.noarch.rpm',
);

void tap.test('a package that was announced as something else', async (t) => {
  const farm = removedAfter(t, new Farm(keys, good));
  const path = join(farm.dnf, testing, 'packages/misnamed-1-1.noarch.rpm');
  copyFileSync(misnamed, path);
  await signPackage(farm, path, 'other');
  makeMetadata(farm);
  signMetadata(farm);
  const result = await verdict(farm, withDnf(farm));
  t.same(result.codes, ['dnf-signatures WRONG_PURPOSE']);
  t.equal(
    result.checks
      .find((row) => row.name === 'dnf-signatures')
      ?.findings[0]?.path?.endsWith('current-testing/packages/misnamed-1-1.noarch.rpm'),
    true,
  );
});

void tap.test('what comes out of a packed index counts against the budget', async (t) => {
  const farm = removedAfter(t, new Farm(keys, good));
  changePrimary(farm, (text) => `${text}${'\n'.repeat(100 * 1024 * 1024)}`);
  await t.rejects(verdict(farm, [...withDnf(farm), '--max-read', '50']), {
    name: 'Unreadable',
    message: /--max-read of 50 MiB is met: .*\/fc41 was not checked to its end/,
  });
});
