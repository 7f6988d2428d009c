// SPDX-License-Identifier: GPL-2.0-or-later
// Every id of the largest and the smallest farms of the matrix, rendered and linted once more: this time from
// the unpacked RPM. That its tree is the one of `make install`, which the tests of Salt render all farms
// from, is seen in rpm.test.ts byte by byte.
import { join } from 'node:path';
import t from 'tap';
import { manyEnvironments, oneEnvironment, special } from '../salt/farms.js';
import { renderCases } from '../salt/render-cases.js';
import { installedTree, salted } from '../salt/rig.js';
import { folderOf } from '../support/folders.js';
import { copySources, makePackages, unpack } from './package-tree.js';

const work = folderOf(t);

if (salted.skip === false) {
  const { rpm } = makePackages(copySources(join(work, 'sources')), join(work, 'packages'));
  process.env['BUILD_INFRA_INSTALLED_TREE'] = unpack(rpm, join(work, 'unpacked'));
  t.equal(installedTree(), join(work, 'unpacked'), 'the rig takes the tree that it is given');
}
await renderCases([...oneEnvironment.slice(-1), ...manyEnvironments.slice(-1), ...special.slice(3)]);
