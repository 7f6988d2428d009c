// SPDX-License-Identifier: GPL-2.0-or-later
// The main job as `npm run local -- --provisioner salt` runs it: every VM, and dom0's policy, laid by real
// Salt from the unpacked RPM.
import t from 'tap';
import { LocalState } from '../../agents/local/farm/local-state.js';
import { giveChroots } from '../support/clean-chroots.js';
import { localCommand } from '../support/local-command.js';
import { salted } from '../salt/rig.js';

const { folder, local } = localCommand(t, 'by-salt-');
const machines = ['dom0', 'sys-net', 'build-logs', 'keys-debian', 'build-debian'];

await t.test('an unknown provisioner is a wrong command line', async (t) => {
  const { status, out } = await local('up', '--provisioner', 'puppet');
  t.equal(status, 2);
  t.match(out, /^npm run local -- up: --provisioner is salt or manifests, not puppet\n/);
});

await t.test('the main job ends well on a farm that Salt provisioned', salted, async (t) => {
  // Two distributions are whole-farm's: this one is about Salt.
  const state = new LocalState(folder);
  const settings = await state.settings();
  state.save({ ...settings, dists: settings.dists.slice(0, 1) });
  giveChroots(state);
  const { status, out } = await local('--provisioner', 'salt');
  if (status !== 0) t.comment(out.slice(-5000));
  t.equal(status, 0);
  for (const machine of machines)
    t.match(out, new RegExp(` ${machine} +provisioned by Salt: \\d+ changed$`, 'm'), machine);
  t.match(out, /installed hello=\d/);
  t.match(out, /one byte changed: +build-infra: refused NO_GRANT/);
  t.match(out, /was built, signed, published, installed and audited/);
});

await t.test('once more, Salt changes nothing, and the farm goes on', salted, async (t) => {
  const { status, out } = await local('up', '--provisioner', 'salt');
  t.equal(status, 0, out.slice(-2000));
  for (const machine of machines)
    t.match(out, new RegExp(` ${machine} +Salt changes nothing$`, 'm'), machine);
  t.notMatch(out, /provisioned by Salt/);
  t.equal((await local('audit')).status, 0);
});
