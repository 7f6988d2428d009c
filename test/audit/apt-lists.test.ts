// SPDX-License-Identifier: GPL-2.0-or-later
// What Release, the indices, .dsc and .changes may say about files, in the one spelling that this farm
// writes.
import tap from 'tap';
import { filesBeside, filesOfIndex, readRelease } from '../../agents/published/packages/apt-lists.js';

const [md5, sha1, sha256, other] = ['d'.repeat(32), 'e'.repeat(40), 'f'.repeat(64), '0'.repeat(64)];
const index = 'main/binary-amd64/Packages';
const release = `Origin: x\nSuite: bookworm\nCodename: bookworm\nDate: Sun, 22 Nov 2026 00:00:00 UTC\nArchitectures: amd64 i386\nComponents: main contrib\nMD5Sum:\n ${md5} 3 ${index}\nSHA1:\n ${sha1} 3 ${index}\nSHA256:\n ${sha256} 3 ${index}\n`;

void tap.test('a Release', (t) => {
  t.same(readRelease(release)?.files, [{ path: index, size: 3, hashes: { md5, sha1, sha256 } }]);
  t.equal(readRelease(release)?.about.get('Suite'), 'bookworm');
  const fine: [string, string][] = [
    ['Origin: x\n', ''],
    ['Date: Sun, 22 Nov 2026 00:00:00 UTC\n', 'Date: Sun, 2 Nov 2026 00:00:00 +0000\n'],
    [
      'Origin: x\n',
      'Valid-Until: Sun, 22 Nov 2026 00:00:00 UTC\nLabel: x\nVersion: 1\nDescription: x\nAcquire-By-Hash: yes\n',
    ],
    ['Architectures: amd64 i386\n', ''],
    ['Components: main contrib\n', ''],
    [`MD5Sum:\n ${md5} 3 ${index}\n`, ''],
    [` 3 ${index}\nSHA1:\n ${sha1} 3 ${index}`, ` 3 ${index}`],
    [`SHA1:\n ${sha1} 3 ${index}\n`, ''],
  ];
  for (const [from, to] of fine) t.ok(readRelease(release.replace(from, to)), to || `without ${from}`);
  for (const path of [
    'main/binary-i386/Packages.gz',
    'main/binary-amd64/Release',
    'main/source/Sources',
    'main/source/Sources.gz',
    'main/source/Release',
    'contrib/binary-amd64/Packages',
  ])
    t.equal(readRelease(release.replaceAll(index, path))?.files[0]?.path, path);
  for (const path of [
    'main/binary-arm64/Packages',
    'universe/binary-amd64/Packages',
    'main/binary-amd64/Packages.xz',
    'main/binary-amd64/Packages.gz.gz',
    'xmain/../binary-amd64/Packages',
    'main/source/Packages',
    'main/binary-amd64/Sources',
    'main/i18n/Translation-en',
    '1/binary-amd64/Packages',
    'Main/binary-amd64/Packages',
    'main/binary-AMD64/Packages',
    '/main/binary-amd64/Packages',
    'main/binary-amd64/Packages/x',
    'main/binary-/Packages',
    'x/main/source/Sources',
  ])
    t.equal(readRelease(release.replaceAll(index, path)), undefined, path);
  const lines = (text: string): string => release.replace(`SHA256:\n ${sha256} 3 ${index}\n`, text);
  const bad: string[] = [
    '',
    'Suite: x\nSHA256:\n',
    `${release}\n${release}`,
    release.replace('Origin', 'Other'),
    release.replace('Date: Sun', 'Date: sun'),
    release.replace('UTC', 'CET'),
    release.replace('UTC', 'UTC x'),
    release.replace('Date: ', 'Date: x '),
    release.replace('Origin: x', 'Valid-Until: never'),
    release.replace('Origin: x', 'Acquire-By-Hash: no'),
    release.replace('Origin: x', 'SHA512: x'),
    lines(''),
    lines('SHA256:\n'),
    lines(`SHA256: x\n ${sha256} 3 ${index}\n`),
    lines(`SHA256:\n ${sha256} 4 ${index}\n`),
    lines(`SHA256:\n ${sha256} 3 main/source/Sources\n`),
    lines(`SHA256:\n ${sha256} 3 ${index}\n ${sha256} 3 main/source/Sources\n`),
    lines(`SHA256:\n ${sha256} 3 ${index}\n ${other} 3 ${index}\n`),
    lines(`SHA256:\n ${sha256.slice(1)} 3 ${index}\n`),
    lines(`SHA256:\n ${sha256}0 3 ${index}\n`),
    lines(`SHA256:\n ${sha256.toUpperCase()} 3 ${index}\n`),
    lines(`SHA256:\n ${sha256} 03 ${index}\n`),
    lines(`SHA256:\n ${sha256} -3 ${index}\n`),
    lines(`SHA256:\n ${sha256} 3x ${index}\n`),
    lines(`SHA256:\n ${sha256}  3 ${index}\n`),
    lines(`SHA256:\n ${sha256} 3 x ${index}\n`),
    lines(`SHA256:\n ${sha256} ${index}\n`),
    lines(`SHA256:\n ${sha256} 1234567890123456 ${index}\n`),
    lines(`SHA256:\n ${sha256} 3 .${index}\n`),
    release.replace(md5, sha1),
    release.replace(sha1, md5),
  ];
  for (const text of bad) t.equal(readRelease(text), undefined, text.slice(-200));
  for (const only of ['MD5Sum', 'SHA1'])
    t.equal(
      readRelease(`Suite: x\n${only}:\n ${only === 'SHA1' ? sha1 : md5} 3 ${index}\n`),
      undefined,
      `${only} alone`,
    );
  t.same(readRelease(release.replaceAll(` 3 ${index}`, ` 0 ${index}`))?.files[0]?.size, 0);
  t.end();
});

const binary = `Package: hello\nVersion: 1\nArchitecture: amd64\nFilename: pool/main/h/hello/hello_1_amd64.deb\nSize: 11\nSHA256: ${sha256}\nSHA1: ${sha1}\nMD5sum: ${md5}\n`;
const source = `Package: hello\nVersion: 1\nDirectory: pool/main/h/hello\nFiles:\n ${md5} 3 hello_1.dsc\nChecksums-Sha256:\n ${sha256} 3 hello_1.dsc\n`;

void tap.test('the indices', (t) => {
  t.same(filesOfIndex('Packages', binary), [
    { path: 'pool/main/h/hello/hello_1_amd64.deb', size: 11, hashes: { sha256, sha1, md5 } },
  ]);
  t.same(filesOfIndex('Packages', binary.replace(/SHA1.*\nMD5sum.*\n/, '')), [
    { path: 'pool/main/h/hello/hello_1_amd64.deb', size: 11, hashes: { sha256 } },
  ]);
  t.same(filesOfIndex('Packages', ''), []);
  t.equal(filesOfIndex('Packages', `${binary}\n${binary.replace('Version: 1', 'Version: 2')}`)?.length, 2);
  t.equal(
    filesOfIndex('Packages', `${binary}\n${binary.replace('Architecture: amd64', 'Architecture: i386')}`)
      ?.length,
    2,
  );
  t.same(filesOfIndex('Sources', source), [
    { path: 'pool/main/h/hello/hello_1.dsc', size: 3, hashes: { md5, sha256 } },
  ]);
  const bad: ['Packages' | 'Sources', string][] = [
    ['Packages', `${binary}\n${binary}`],
    ['Packages', `${binary}x\n`],
    ['Packages', binary.replace('Package:', 'Name:')],
    ['Packages', binary.replace('Version: 1\n', '')],
    ['Packages', binary.replace('Filename', 'filename')],
    ['Packages', binary.replace('pool/', 'dists/')],
    ['Packages', binary.replace('pool/', '/pool/')],
    ['Packages', binary.replace('pool/main', 'pool/../main')],
    ['Packages', binary.replace('pool/main', 'pool//main')],
    ['Packages', binary.replace(/Filename.*\n/, '')],
    ['Packages', binary.replace(/Size.*\n/, '')],
    ['Packages', binary.replace(/SHA256.*\n/, '')],
    ['Packages', binary.replace(sha256, sha1)],
    ['Packages', binary.replace(sha1, md5)],
    ['Packages', binary.replace(md5, sha1)],
    ['Packages', binary.replace('Size: 11', 'Size: 011')],
    ['Packages', `${binary}SHA512: x\n`],
    ['Packages', `${binary}MD5Sum: x\n`],
    ['Packages', `${binary}Directory: x\n`],
    ['Packages', `${binary}Msdos-Filename: x\n`],
    ['Sources', `${source}\n${source.replace('Version: 1', 'Version: 1\nArchitecture: all')}`],
    ['Sources', source.replace(/Directory.*\n/, '')],
    ['Sources', source.replace('pool/', 'dists/')],
    ['Sources', source.replace('pool/main', 'pool/./main')],
    ['Sources', source.replaceAll('hello_1.dsc', 'x/hello_1.dsc')],
    ['Sources', source.replace(/Checksums[^]*$/, '')],
    ['Sources', `${source}Checksums-Sha512:\n x\n`],
    ['Sources', 'Package: hello\nVersion: 1\nDirectory: pool/x\nChecksums-Sha256:\n'],
    ['Sources', source.replace(`${md5} 3`, `${md5} 4`)],
    ['Sources', binary],
  ];
  for (const [kind, text] of bad) t.equal(filesOfIndex(kind, text), undefined, text);
  t.end();
});

void tap.test('what stands beside a .dsc and a .changes', (t) => {
  const dsc = `Format: 3.0\nSource: hello\nFiles:\n ${md5} 3 a.tar.xz\nChecksums-Sha1:\n ${sha1} 3 a.tar.xz\nChecksums-Sha256:\n ${sha256} 3 a.tar.xz\n`;
  t.same(filesBeside('dsc', dsc), [{ path: 'a.tar.xz', size: 3, hashes: { md5, sha1, sha256 } }]);
  const changes = dsc.replace(`${md5} 3 a.tar.xz`, `${md5} 3 devel optional a.tar.xz`);
  t.same(filesBeside('changes', changes), filesBeside('dsc', dsc));
  for (const [kind, text] of [
    ['changes', dsc],
    ['dsc', changes],
    ['dsc', `${dsc}\n${dsc}`],
    ['dsc', ''],
    ['dsc', dsc.replaceAll('a.tar', '../a.tar')],
    ['dsc', dsc.replaceAll('a.tar', 'x/a.tar')],
    ['dsc', `${dsc}Checksums-Sha512:\n x 3 a.tar.xz\n`],
    ['dsc', dsc.replace(/Checksums-Sha256[^]*$/, '')],
    ['dsc', `x\n${dsc}`],
  ] as const)
    t.equal(filesBeside(kind, text), undefined, text);
  t.end();
});
