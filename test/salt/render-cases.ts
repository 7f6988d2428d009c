// SPDX-License-Identifier: GPL-2.0-or-later
// What must be true of every id of every farm.
import { test } from 'tap';
import { idsOf, type Case } from './farms.js';
import { makeRig, salted, type Rendered } from './rig.js';

export async function renderCases(cases: Case[]): Promise<void> {
  await test('every id renders, to states that the linter has nothing to say about', salted, async (t) => {
    const rig = makeRig(t, { farm: null });
    const answers = await rig.renderFarms(
      cases.map((one) => ({
        farm: one.farm,
        enable: one.enable,
        ids: idsOf(one).all,
        want: ['top', 'highstate', 'lowstate', 'lint'],
      })),
    );
    for (const [index, one] of cases.entries()) {
      const answer = answers[index] as Map<string, Rendered>;
      const ids = idsOf(one);
      await t.test(one.what, async (u) => {
        for (const id of ids.all) {
          u.strictSame(answer.get(id)?.errors, [], `${id} renders`);
          u.strictSame(answer.get(id)?.lint, [], `${id} has no slip`);
        }
        const has = (id: string, sls: string): void => {
          const found = answer.get(id) as Rendered;
          u.strictSame(found.top, { base: [sls] }, `${id} gets ${sls}`);
          u.equal(
            found.sameTopInVm,
            id === 'dom0' ? undefined : true,
            `${id} has the same top in dom0 and in its own run`,
          );
          u.ok(found.lowstate.length > 0, `${id} has states`);
        };
        has('dom0', 'build-infra.dom0');
        for (const { name } of ids.vms) has(name, 'build-infra.vm');
        for (const name of ids.templates) has(name, 'build-infra.template');
        for (const id of ids.unrelated) {
          const found = answer.get(id) as Rendered;
          u.strictSame([found.top, found.pillar, found.lowstate], [{}, {}, []], `${id} gets nothing at all`);
        }
        const made = (answer.get('dom0') as Rendered).lowstate
          .filter(
            ({ state, fun, __id__: id }) =>
              state === 'qvm' && fun === 'vm' && id.startsWith('build-infra vm '),
          )
          .map(({ name }) => name);
        u.strictSame(
          made.sort(),
          ids.vms.map(({ name }) => name).sort(),
          'dom0 sets every VM of the farm, and no other',
        );
        const cloned = (answer.get('dom0') as Rendered).lowstate
          .filter(({ state, fun }) => state === 'qvm' && fun === 'clone')
          .map(({ name }) => name);
        u.strictSame(cloned.sort(), ids.templates, 'dom0 clones every template of the farm');
      });
    }
  });
}
