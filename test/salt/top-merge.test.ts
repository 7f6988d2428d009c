// SPDX-License-Identifier: GPL-2.0-or-later
// In the management disposable another program than dom0's topd merges the tops: Qubes' top.jinja, in the
// order in which a folder lists them. Its rules, in our words: mappings by their keys, lists one after the
// other, all else as the first says it; and each time the result is printed as YAML and read again, so that a
// mapping or a list without entries becomes null, and null the word "None".
import { test } from 'tap';
import { idsOf, noKeys, ownWebhookVm, twoFamilies, type Case } from './farms.js';
import { allOptions } from '../../agents/local/provision/vms.js';
import { makeRig, salted, type Rendered } from './rig.js';

const isMapping = (value: unknown): value is Record<string, unknown> =>
  value !== null && typeof value === 'object' && !Array.isArray(value);

function readBack(first: unknown, second: unknown): unknown {
  if (isMapping(first)) {
    if (!isMapping(second)) throw new Error('top.jinja looks for keys in what is no mapping');
    const merged: [string, unknown][] = Object.entries(first).map(([key, value]) => [
      key,
      key in second ? readBack(value, second[key]) : value,
    ]);
    merged.push(...Object.entries(second).filter(([key]) => !(key in first)));
    return merged.length === 0 ? null : Object.fromEntries(merged);
  }
  // For Jinja text is a sequence too: of its letters.
  if (Array.isArray(first) || typeof first === 'string') {
    const merged = [
      ...first,
      ...(isMapping(second) ? Object.keys(second) : (second as unknown[])).filter(
        (item) => ![...first].includes(item),
      ),
    ];
    return merged.length === 0 ? null : merged;
  }
  return first === null ? 'None' : first;
}
const mergeTops = (tops: readonly unknown[]): unknown => tops.reduce(readBack, {});

function* orders<T>(items: readonly T[]): Generator<T[]> {
  if (items.length < 2) yield [...items];
  else
    for (const [at, one] of items.entries())
      for (const rest of orders(items.filter((_, place) => place !== at))) yield [one, ...rest];
}

const foreign = [
  { base: { '*': ['foreign.all'] } },
  { base: { dom0: ['foreign.dom0'], personal: ['foreign.personal'] }, user: { 'build-debian': ['mine'] } },
];
const kept = [['foreign.all'], ['foreign.personal'], true, { 'build-debian': ['mine'] }];
const cases: Case[] = [
  { what: 'both options', farm: twoFamilies(), enable: [...allOptions] },
  { what: 'webhooks in a VM of their own', farm: ownWebhookVm(), enable: ['webhooks'] },
  { what: 'no option, no key', farm: noKeys(), enable: [] },
];

const jobs = [
  ...cases.map((one) => ({ ...one, ids: idsOf(one).all })),
  {
    what: 'a refused farm',
    farm: 'build-infra: {}\n',
    enable: allOptions,
    ids: ['dom0', 'build-debian', 'personal'],
  },
];

await test('the rules lose everybody where two tops are empty', async (t) => {
  t.strictSame(mergeTops([{ base: {} }, { base: {} }]), { base: null });
  t.strictSame(mergeTops([{ base: {} }, { base: {} }, { base: { a: ['b'] } }]), { base: 'None' });
  t.strictSame([mergeTops([{}]), mergeTops([{}, {}])], [null, 'None']);
  t.strictSame(mergeTops([{ base: { '*': ['a'] } }, { base: { '*': ['b', 'a'], c: ['d'] } }]), {
    base: { '*': ['a', 'b'], c: ['d'] },
  });
});

await test(
  'merged as in the management disposable, in every order and with other tops beside, everybody has the states that dom0 gives',
  salted,
  async (t) => {
    const rig = makeRig(t, { farm: null });
    const answers = await rig.renderFarms(
      jobs.map(({ farm, enable, ids }) => ({ farm, enable: [...enable], ids, want: ['top', 'tops'] })),
    );
    let tried = 0;
    for (const [index, { what, enable }] of jobs.entries()) {
      for (const [id, found] of answers[index] as Map<string, Rendered>) {
        t.strictSame([found.errors, Object.keys(found.tops).length], [[], 1 + enable.length]);
        const wrong: string[] = [];
        for (const order of orders([...Object.values(found.tops), ...foreign])) {
          tried++;
          const merged = mergeTops(order);
          const base = isMapping(merged) && isMapping(merged['base']) ? merged['base'] : {};
          const of = (target: string): unknown[] => [base[target] ?? []].flat();
          const ours = of(id).filter((sls) => String(sls).startsWith('build-infra.'));
          const theirs = [
            base['*'],
            base['personal'],
            of('dom0').includes('foreign.dom0'),
            (merged as Record<string, unknown>)['user'],
          ];
          if (JSON.stringify([ours, theirs]) !== JSON.stringify([found.top['base'] ?? [], kept]))
            wrong.push(JSON.stringify(merged));
        }
        t.strictSame([...new Set(wrong)], [], `${what}: ${id}`);
      }
    }
    t.ok(tried > 1000, `${tried} orders tried`);
  },
);
