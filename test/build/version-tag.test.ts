// SPDX-License-Identifier: GPL-2.0-or-later
import { spawnSync } from 'node:child_process';
import t from 'tap';
import { compareVersions, versionOfTag, versionToTag } from '../../agents/build/source/version-tag.js';

void t.test('versions are ordered as dpkg orders them', async (t) => {
  const versions = ['0', '1', '1.0', '1.0-1', '1.0-1+b1', '1.0~rc1-1', '1.0~~', '1.0~', '1.0-0', '1:0.1', '2:0', '1.0a', '1.0+', '1.0.', '1.00', '1.10', '1.9', '1.0-1~deb12u1', '9999999999999999999999', '1-1-1', '1.0-a', '1.0-A', '1.0.1'];
  for (const a of versions) {
    for (const b of versions) {
      const relation = compareVersions(a, b) < 0 ? 'lt' : compareVersions(a, b) > 0 ? 'gt' : 'eq';
      t.equal(spawnSync('dpkg', ['--compare-versions', a, relation, b]).status, 0, `${a} ${relation} ${b}`);
    }
  }
});

void t.test('a version and its tag name go over into each other, and only so', async (t) => {
  for (const [version, tag] of [['1.0-1', 'v1.0-1'], ['1:2.0~rc1-1', 'v1%2.0_rc1-1'], ['1..2', 'v1.#.2'], ['1.', 'v1.#'], ['1.lock', 'v1.#lock']] as const) {
    t.equal(versionToTag('v{version}', version), tag);
    t.equal(versionOfTag('v{version}', tag), version);
    t.equal(spawnSync('git', ['check-ref-format', `refs/tags/${tag}`]).status, 0);
  }
  for (const tag of ['1.0', 'v', 'vx', 'v1:0', 'v1~0', 'v1.#0', 'V1.0', 'v1.0\n', 'v1/0', 'v1..2', 'upstream/1.0']) t.equal(versionOfTag('v{version}', tag), undefined, tag);
  t.equal(versionOfTag('debian/{version}', 'debian/1.0-1'), '1.0-1');
  t.equal(versionOfTag('v{version}-rel', 'v1.0-rel'), '1.0');
  t.equal(versionOfTag('ab{version}b', 'ab'), undefined);
});
