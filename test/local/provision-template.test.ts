// SPDX-License-Identifier: GPL-2.0-or-later
// A slip in a template is a fault, and nothing is laid. That good ones give the bytes that Salt gives, real
// Salt says: test/salt/apply-vm, test/package/by-salt.
import { cpSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { planFarm } from '../../agents/local/provision/planned-farm.js';
import { example, top, workshop } from './provision-farm.js';

await test('a template prints text and whole numbers, and only what reaches its VM', async (t) => {
  const { folder } = workshop(t);
  cpSync(join(top, 'salt'), join(folder, 'salt'), { recursive: true });
  symlinkSync(join(top, 'agents'), join(folder, 'agents'));
  const render = (template: string): unknown => {
    writeFileSync(join(folder, 'salt/build-infra/templates/keys.json.jinja'), template);
    return planFarm({ pillar: example() }, folder).machines['keys-debian']?.entries.find(({ path }) =>
      path.endsWith('/keys.json'),
    )?.content;
  };
  t.equal(
    render(
      '{ "a": "{{ vm }}", "b": {{ gone|default(7) }}, "c": {{ infra["logs-vms"]["build-logs"].remotes|list|tojson }} }\n',
    ),
    '{ "a": "keys-debian", "b": 7, "c": ["mirror", "origin"] }\n',
  );
  for (const [template, words] of [
    ['{ "a": {{ vm == "keys-debian" }} }', /a bool is printed/],
    ['{ "a": {{ none }} }', /a NoneType is printed/],
    ['{ "a": {{ enabled }} }', /a list is printed/],
    ['{ "a": {{ 1 / 2 }} }', /a float is printed/],
    ['{ "a": "{{ gone }}" }', /'gone' is undefined/],
    ['{ "a": "{{ infra["net-vm"] }}" }', /no attribute 'net-vm'/],
    ['{ "a": "{{ vm }} }', /Unterminated string/],
    ['{% if vm %}', /endif/],
    ['{% frob %}', /frob/],
  ] as const)
    t.throws(() => render(template), { name: 'Error', message: words }, template);
});
