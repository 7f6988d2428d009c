// SPDX-License-Identifier: GPL-2.0-or-later
import { spawnSync } from 'node:child_process';
import t from 'tap';
import {
  compareVersions,
  versionOfTag,
  versionToTag,
} from '../../agents/build-vm/configuration/version-tag.js';

void t.test('versions are ordered as dpkg orders them', async (t) => {
  const versions = [
    '0',
    '1',
    '1.0',
    '1.0-1',
    '1.0-1+b1',
    '1.0~rc1-1',
    '1.0~~',
    '1.0~',
    '1.0-0',
    '1:0.1',
    '2:0',
    '1.0a',
    '1.0+',
    '1.0.',
    '1.00',
    '1.10',
    '1.9',
    '1.0-1~deb12u1',
    '9999999999999999999999',
    '1-1-1',
    '1.0-a',
    '1.0-A',
    '1.0.1',
  ];
  for (const a of versions) {
    for (const b of versions) {
      const relation = compareVersions(a, b) < 0 ? 'lt' : compareVersions(a, b) > 0 ? 'gt' : 'eq';
      t.equal(spawnSync('dpkg', ['--compare-versions', a, relation, b]).status, 0, `${a} ${relation} ${b}`);
    }
  }
});

void t.test('a version and its tag name go over into each other, and only so', async (t) => {
  for (const [version, tag] of [
    ['1.0-1', 'v1.0-1'],
    ['1:2.0~rc1-1', 'v1%2.0_rc1-1'],
    ['1..2', 'v1.#.2'],
    ['1.', 'v1.#'],
    ['1.lock', 'v1.#lock'],
  ] as const) {
    t.equal(versionToTag('v{version}', version), tag);
    t.equal(versionOfTag('v{version}', tag), version);
    t.equal(spawnSync('git', ['check-ref-format', `refs/tags/${tag}`]).status, 0);
  }
  for (const tag of [
    '1.0',
    'v',
    'vx',
    'v1:0',
    'v1~0',
    'v1.#0',
    'V1.0',
    'v1.0\n',
    'v1/0',
    'v1..2',
    'upstream/1.0',
  ])
    t.equal(versionOfTag('v{version}', tag), undefined, tag);
  t.equal(versionOfTag('debian/{version}', 'debian/1.0-1'), '1.0-1');
  t.equal(versionOfTag('v{version}-rel', 'v1.0-rel'), '1.0');
  t.equal(versionOfTag('ab{version}b', 'ab'), undefined);
});

void t.test("tags of Qubes' shapes go the way their packages go, for dpkg and for rpm", async (t) => {
  // In this order; a package's version is made by the rule of decision 158.
  const tags = [
    'v4.2.0-rc1',
    'v4.2.0-rc3',
    'v4.2.0-rc10',
    'v4.2.0',
    'v4.2.1',
    'v4.3.0-1',
    'v4.3.0-2',
    'v4.3.0-10',
    'v4.10.0-rc1-2',
    'v4.10.0-rc2-1',
    'v4.10.0',
    'v6.6.54-1',
    'v2026.1',
  ];
  const versions = tags.map((tag) => versionOfTag('v{version}', tag) as string);
  const packaged = versions.map((version) => (version.includes('-') ? version : `${version}-1`));
  for (const [index, newer] of versions.entries()) {
    for (const [before, older] of versions.slice(0, index).entries()) {
      t.ok(compareVersions(newer, older) > 0, `${newer} after ${older}`);
      t.equal(
        spawnSync('dpkg', ['--compare-versions', packaged[index] as string, 'gt', packaged[before] as string])
          .status,
        0,
        `dpkg: ${newer} after ${older}`,
      );
    }
  }
  const parts = packaged.map((one) => one.split('-') as [string, string]);
  const pairs = parts
    .slice(1)
    .map(([version, release], index) => [version, parts[index]?.[0], release, parts[index]?.[1]]);
  const compared = pairs
    .map(
      ([a, b, c, d]) =>
        `print(rpm.vercmp("${a}","${b}") ~= 0 and rpm.vercmp("${a}","${b}") or rpm.vercmp("${c}","${d}"))`,
    )
    .join(' ');
  t.equal(
    spawnSync('rpm', ['--eval', `%{lua: ${compared}}`])
      .stdout.toString()
      .trim()
      .split('\n')
      .join(''),
    '1'.repeat(pairs.length),
    'rpm',
  );
  t.equal(versionOfTag('v{version}', 'v1.0-rc'), '1.0-rc', 'no number, no candidate');
  t.equal(versionOfTag('v{version}', 'v1.0-rcs1'), '1.0-rcs1');
});
