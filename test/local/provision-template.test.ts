// SPDX-License-Identifier: GPL-2.0-or-later
// Every template of ours gives the same bytes in Debian's Jinja2, set up as Salt sets it up, and here.
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import type { Option } from '../../agents/shared/formats/manifest.js';
import { render, TemplateError, type Value } from '../../agents/local/provision/template.js';
import type { Pillar } from '../../agents/local/provision/pillar.js';
import { pillarFor } from '../../agents/local/provision/pillar-slice.js';
import { allOptions, vmsOf } from '../../agents/local/provision/vms.js';
import { example, python, threeEnvironments, top } from './provision-farm.js';

type Case = { template: string; values: { [name: string]: Value } };

/** All cases in one start of Python; null where Jinja raises an error. */
function jinja(cases: Case[]): (string | null)[] {
  const program = `
import json, sys
import jinja2
environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
def one(case):
    try: return environment.from_string(case['template']).render(**case['values'])
    except jinja2.TemplateError: return None
    except TypeError: return None
json.dump([one(case) for case in json.load(sys.stdin)], sys.stdout)`;
  const done = spawnSync(python, ['-c', program], { input: JSON.stringify(cases), encoding: 'utf8' });
  if (done.status !== 0) throw new Error(done.stderr);
  return JSON.parse(done.stdout) as (string | null)[];
}

function ourTemplates(): { name: string; text: string }[] {
  const folder = join(top, 'salt/build-infra/templates');
  return [...readdirSync(folder).map((name) => join(folder, name)), join(top, 'salt/build-infra/policy.jinja')].map((name) => ({ name, text: readFileSync(name, 'utf8') }));
}

/** The values that each VM's own templates are rendered with. */
function casesFor(pillar: Pillar, options: readonly Option[]): (Case & { name: string })[] {
  return ourTemplates().flatMap(({ name, text }) => vmsOf(pillar, options)
    .filter(({ role, enabled }) => !name.includes('.json.') || name.endsWith(`/${role}.json.jinja`) || (name.endsWith('/notify.json.jinja') && enabled.includes('notifier')))
    .map((vm) => {
      const dom0 = name.endsWith('policy.jinja');
      const infra = pillarFor(pillar, dom0 || !name.includes('.json.') ? undefined : vm);
      return { name: `${name} for ${vm.name}`, template: text, values: { infra, vm: vm.name, env: vm.env ?? '', enabled: [...(dom0 ? options : vm.enabled)] } };
    }));
}

/** Whatever a pillar holds is printed as it is, or both stop: also where one key is not made yet. */
const settle = (one: Case): string | null => {
  try {
    return render(one.template, one.values);
  } catch (error) {
    if (error instanceof TemplateError) return null;
    throw error;
  }
};

for (const [words, pillar, options] of [['the example', example(), allOptions], ['three environments', threeEnvironments(), allOptions], ['the example without options', example(), []]] as const) {
  await test(`our templates render as in Jinja2, with the pillar of ${words}`, async (t) => {
    const cases = casesFor(pillar, options);
    t.ok(cases.length >= 10);
    const expected = jinja(cases);
    for (const [index, one] of cases.entries()) {
      const both = [settle(one), expected[index] ?? null];
      if (one.name.includes('fedora') && both[0] === null) continue;
      t.type(both[0], 'string', one.name);
      t.equal(both[0], both[1], one.name);
    }
  });
}

await test('each construct of the subset means here what it means in Jinja2', async (t) => {
  const values = { list: ['a', 'b', 'c'], empty: [], map: { b: 2, a: 'one', 'x-y': { z: 'deep' } }, text: 'T', nothing: null, yes: true, no: false, n: 0 };
  const templates = [
    'plain } { text %} no'.replace('%}', '%'), 'ends with newline\n', 'ends with two\n\n', '{{ text }}\n', '{{text}}{{ map.a }}', "{{ map['x-y'].z }}", "{{ map['x-y']['z'] }}",
    '{# a comment #}x', ' {#- left -#} x', 'a \n {%- if yes %}\n b \n{% endif -%} \n c', '{% for x in list %}{{ x }}{% if not loop.last %},{% endif %}{% endfor %}',
    '{% for x in list if x != \'c\' %}{{ x }}{% if not loop.last %},{% endif %}{% endfor %}', '{% for x in empty %}{{ x }}{% endfor %}|',
    '{% for k, v in map|dictsort if k != \'x-y\' %}{{ k }}={{ v }}{% if loop.first %};{% endif %}{% endfor %}',
    '{% if nothing %}a{% elif empty %}b{% elif n %}c{% else %}d{% endif %}', '{% if yes and not no or nothing %}y{% else %}n{% endif %}', '{% if not yes and no %}y{% else %}n{% endif %}',
    "{{ map.none_such|default('d') }}", "{{ map.a|default('d') }}", '{{ gone|default(7) }}', '{{ gone|default(text) }}', '{% if gone is defined %}a{% else %}b{% endif %}',
    '{% if gone is not defined %}a{% else %}b{% endif %}', '{% if map.a is defined and map.a == \'one\' %}a{% endif %}', "{% if 'a' in list %}y{% endif %}{% if 'a' in map %}z{% endif %}",
    '{% for x in list %}{% for y in list %}{{ x }}{{ y }} {% endfor %}{% endfor %}', '{% for x in list %}{% set q = 1 %}{% endfor %}', "{{ map[text|default('a')]|default('none') }}",
    '{%- for x in list %}\n{{ x }}\n{%- endfor %}\nend\n', '${VAR} $host { "a": { "b": 1 }}', '{{ n }}{{ map.b }}', '{% if map %}full{% endif %}{% if text == \'T\' %}same{% endif %}',
    '{{ text|tojson }}{{ list|tojson }}{{ empty|tojson }}{{ yes|tojson }}{{ n|tojson }}',
  ];
  const expected = jinja(templates.map((template) => ({ template, values })));
  for (const [index, template] of templates.entries()) {
    const ours = settle({ template, values });
    if (template.includes('{% set')) t.equal(ours, null, 'what is outside the subset stops here');
    else t.equal(ours, expected[index] ?? null, template);
  }
});

await test('what the two could read differently is refused', async (t) => {
  const values: { [name: string]: Value } = { map: { items: 'x', A: 1, a: 2 }, yes: true, half: 1.5, nothing: null, list: ['a'], text: 'T', quote: '"', less: '<' };
  for (const template of [
    '{{ yes }}', '{{ half }}', '{{ nothing }}', '{{ list }}', '{{ map }}', '{{ gone }}', '{{ map.gone }}', '{{ map.gone.deeper }}', '{{ map.items }}', '{{ text.upper }}', '{{ text|upper }}',
    '{{ text ~ text }}', '{{ 1 + 1 }}', '{{ "double" }}', "{{ 'back\\\\slash' }}", '{% for k, v in map|dictsort %}{% endfor %}', '{% for x in map %}{% endfor %}', '{% for x in text %}{% endfor %}',
    '{% if gone %}{% endif %}', '{% if text in text %}{% endif %}', '{% if yes == 1 %}{% endif %}', '{% if yes %}', '{% endif %}', '{% for x in list %}', '{{ text', '{% include \'x\' %}', '{{ text }', 'a\r\n', '{% else %}',
    "{{ map['a' }}", '{{ loop.last }}', '{{ if }}', '{{ text text }}', '{{ map|tojson }}', '{{ half|tojson }}', '{{ nothing|tojson }}', '{{ quote|tojson }}', '{{ less|tojson }}', '{{ gone|tojson }}',
  ]) t.throws(() => render(template, values), TemplateError, template);
});

await test('an error names the line', async (t) => {
  t.throws(() => render('one\ntwo\n{{ gone }}\n', {}), { message: /^line 3: / });
  t.throws(() => render('one\n{% frob %}\n', {}), { message: /^line 2: / });
});
