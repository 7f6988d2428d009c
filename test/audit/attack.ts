// SPDX-License-Identifier: GPL-2.0-or-later
// One thing wrong, all else as it should be: exactly that must be found, with its evidence.
import tap from 'tap';
import { Farm, Keys, removedAfter } from './farm.js';
import { verdict } from './run-audit.js';

export const keys = new Keys();
/** A good farm; each case works on a copy. */
export const good = new Farm(keys);
good.build();
tap.teardown(() => {
  good.remove();
  keys.remove();
});

/** @param expected "check CODE" of everything that must be found, and nothing else */
export function attack(
  name: string,
  expected: string[],
  change: (farm: Farm) => void,
  evidence: { commit?: 'head'; path?: string } = {},
  extra: (farm: Farm) => readonly string[] = () => [],
): void {
  void tap.test(name, async (t) => {
    const farm = removedAfter(t, new Farm(keys, good));
    change(farm);
    const result = await verdict(farm, extra(farm));
    t.equal(result.ok, false);
    t.same(result.codes, [...expected].sort());
    const findings = result.checks.find((row) => row.name === expected[0]?.split(' ')[0])?.findings ?? [];
    const [finding] = findings;
    if (evidence.commit === 'head') t.equal(finding?.commit, farm.logs.head);
    if (evidence.path !== undefined)
      t.ok(
        findings.some(
          ({ path }) => path?.replace(`${farm.dnf}/`, '').replace(`${farm.apt}/`, '') === evidence.path,
        ),
        `names ${evidence.path}`,
      );
    t.ok(finding?.expected && finding.found, 'says what was expected and what was found');
  });
}
