// SPDX-License-Identifier: GPL-2.0-or-later
// A farm.yaml with one thing wrong: the code, the field and the one line about it, in dom0 alone. No VM gets
// anything, and dom0's highstate is one failing state, so that qubesctl ends before it touches a VM.
import { readFileSync } from 'node:fs';
import { test } from 'tap';
import { badPillars } from '../local/bad-pillars.js';
import { example, examplePath, exampleText } from '../local/provision-farm.js';
import { makeRig, salted, type Rendered } from './rig.js';

const others = ['build-debian', 'keys-debian', 'build-logs', 'sys-net', 'debian-13-build-infra', 'personal'];
const refusalOf = (found: Rendered | undefined): unknown => found?.pillar['build-infra'];

/** One for each code; test/local/provision-pillar tries the whole list. */
const ofEachCode = badPillars.filter(
  ([, , code], index) => badPillars.findIndex((one) => one[2] === code) === index,
);

await test('dom0 gets the code, the field and the words, and nothing goes to a VM', salted, async (t) => {
  const rig = makeRig(t, { farm: null, enable: ['ssh-proxy', 'webhooks'] });
  const answers = await rig.renderFarms(
    ofEachCode.map(([, spoil], index) => {
      const farm = example();
      spoil(farm);
      return { farm, ids: ['dom0', others[index % others.length] as string], want: [] };
    }),
  );
  for (const [index, [what, , code, field, words]] of ofEachCode.entries()) {
    const found = refusalOf(answers[index]?.get('dom0')) as { refused?: string };
    t.strictSame(Object.keys(found), ['refused'], `${what}: dom0 gets the refusal alone`);
    const line = found.refused ?? '';
    t.match(
      line,
      new RegExp(`^${code} ${field.replace(/[.*+]/g, '\\$&')}${field === 'public-keys' ? '[.:]' : ':'}`),
      `${what}: ${line}`,
    );
    t.match(line, words, what);
    t.notMatch(line, /\n/, what);
    const other = others[index % others.length] as string;
    t.strictSame(answers[index]?.get(other)?.pillar, {}, `${what}: ${other} gets nothing`);
    t.strictSame([answers[index]?.get('dom0')?.errors, answers[index]?.get(other)?.errors], [[], []], what);
  }
});

const text = exampleText;
const files: [what: string, farm: string | null, line: RegExp][] = [
  ['no farm.yaml', null, /^NO_PILLAR .*farm\.yaml/],
  [
    'the example as it is shipped',
    readFileSync(examplePath, 'utf8'),
    /^EXAMPLE_KEY logs-vms\.build-logs\.key: /,
  ],
  ['an empty farm.yaml', '', /^BAD_VALUE /],
  ['a farm.yaml that is no YAML', 'build-infra: [unfinished\n', /^NOT_YAML /],
  [
    'a key that stands twice',
    text.replace('build-infra:\n', 'build-infra:\n  net-vm: other\n'),
    /^NOT_YAML /,
  ],
  ['two documents', `${text}---\nsecond: 1\n`, /^NOT_YAML /],
  ['a second top key', `${text}\nother: 1\n`, /^BAD_VALUE .*one top key/],
  ['an alias that multiplies', `a: &a [x, x]\nb: [*a, *a]\n${text}`, /^(?:BAD_VALUE|NOT_YAML) /],
  ['Jinja in it', text.replace('net-vm: sys-net', 'net-vm: {{ grains.id }}'), /^(?:BAD_VALUE|NOT_YAML) /],
  [
    'bytes that are no UTF-8',
    text.replace('example/hello', 'ex\uFFFDmple/hello'),
    /^(?:BAD_VALUE|NOT_YAML) /,
  ],
];

await test('a farm.yaml that cannot be read as one description gives one line too', salted, async (t) => {
  const rig = makeRig(t, { farm: null });
  const answers = await rig.renderFarms(
    files.map(([, farm]) => ({ farm, ids: ['dom0', 'keys-debian'], want: [] })),
  );
  for (const [index, [what, , words]] of files.entries()) {
    const found = refusalOf(answers[index]?.get('dom0')) as { refused?: string };
    t.strictSame(Object.keys(found ?? {}), ['refused'], what);
    t.match(found.refused, words, what);
    t.notMatch(found.refused, /\n/, what);
    t.strictSame(answers[index]?.get('keys-debian')?.pillar, {}, `${what}: keys-debian gets nothing`);
  }
});

await test(
  'on a refused farm dom0 has one failing state with that line, and no other id has a top',
  salted,
  async (t) => {
    const farm = example();
    farm['net-vm'] = 'sys net';
    const rig = makeRig(t, { farm, enable: ['ssh-proxy', 'webhooks'] });
    const found = await rig.render(['dom0', ...others]);
    const line = (refusalOf(found.get('dom0')) as { refused: string }).refused;
    t.match(line, /^BAD_VALUE net-vm: /);
    t.match(found.get('dom0')?.lowstate, [{ state: 'test', fun: 'fail_without_changes', comment: line }]);
    t.equal(found.get('dom0')?.lowstate.length, 1);
    for (const id of others)
      t.strictSame(
        [found.get(id)?.pillar, found.get(id)?.top, found.get(id)?.lowstate, found.get(id)?.errors],
        [{}, {}, [], []],
        `${id} gets nothing`,
      );

    // For real, now that it is known that this one state touches nothing.
    const applied = await rig.apply('dom0', { inside: (argv) => argv });
    t.not(applied.status, 0, 'qubesctl ends here');
    t.strictSame(
      Object.values(applied.states).map(({ result, comment, changes }) => ({ result, comment, changes })),
      [{ result: false, comment: line, changes: {} }],
    );
  },
);

await test(
  'another pillar that sets build-infra: is refused by whom it reaches, and merged by nobody',
  salted,
  async (t) => {
    const ids = ['dom0', 'build-debian', 'debian-13-build-infra', 'personal'];
    const mixed: [what: string, text: string, reaches: string[]][] = [
      ["the old formula's", 'build-infra: {build-envs: {fedora1: {logs: logs}}}', ids.slice(0, -1)],
      ['a role', 'build-infra: {this: {role: other}}', ids.slice(0, -1)],
      ['nothing of ours', 'other: {build-infra: {}}', []],
    ];
    const rig = makeRig(t, { farm: example(), enable: ['ssh-proxy', 'webhooks'] });
    for (const [what, text, reaches] of mixed) {
      rig.setForeignPillar(text);
      for (const [id, found] of await rig.render(ids, { want: ['lowstate'] })) {
        if (reaches.includes(id))
          t.match(
            [found.lowstate.length, found.lowstate[0]],
            [
              1,
              {
                state: 'test',
                fun: 'fail_without_changes',
                comment: /^OTHER_PILLAR .*top\.enabled pillar=True/,
              },
            ],
            `${what}: ${id}`,
          );
        else
          t.notMatch(
            found.lowstate,
            [{ fun: 'fail_without_changes', comment: /OTHER_PILLAR/ }],
            `${what}: ${id}`,
          );
        if (id !== 'personal')
          t.ok(found.lowstate.length > (reaches.includes(id) ? 0 : 1), `${what}: ${id} has states`);
      }
    }
  },
);

await test('without the pillar top dom0 says what to run, and no other id has a top', salted, async (t) => {
  const rig = makeRig(t, {
    farm: example(),
    enable: ['ssh-proxy', 'webhooks'],
    config: { pillar_roots: { base: [] } },
  });
  const found = await rig.render(['dom0', ...others]);
  t.match(found.get('dom0')?.lowstate, [
    {
      state: 'test',
      fun: 'fail_without_changes',
      comment: /^NO_PILLAR: .*top\.enable build-infra pillar=True/,
    },
  ]);
  t.equal(found.get('dom0')?.lowstate.length, 1);
  for (const id of others)
    t.strictSame([found.get(id)?.top, found.get(id)?.errors], [{}, []], `${id} gets nothing`);
});
