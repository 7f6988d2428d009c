// SPDX-License-Identifier: GPL-2.0-or-later
// docs/deploy.md against the real data: its tables of VMs, calls, fields and codes, its paths, and the lines
// it shows.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { parse } from 'yaml';
import type { Pillar } from '../../agents/local/provision/pillar.js';
import { planFarm, planFarms } from '../../agents/local/provision/planned-farm.js';
import { AnyRefusal } from '../../agents/shared/refusal.js';
import { codesOf, refusalCodes } from '../support/refusal-codes.js';
import { linesWithoutKeys } from './unmade-keys.js';
import { examplePillar, folder, manifests, top } from './vm-tree.js';

const page = readFileSync(join(top, 'docs/deploy.md'), 'utf8');
/** The rows of the table whose first line begins so, cell by cell. */
function table(heading: string): string[][] {
  const lines = page.slice(page.indexOf(`\n${heading}`) + 1).split('\n');
  if (lines[0]?.startsWith(heading) !== true) throw new Error(`no table ${heading}`);
  const rows = lines.slice(
    2,
    lines.findIndex((line) => !line.startsWith('|')),
  );
  return rows.map((row) =>
    row
      .slice(1, -1)
      .split('|')
      .map((cell) => cell.trim()),
  );
}
const words = (cell: string): string[] => [...cell.matchAll(/`([^`]+)`/g)].map((found) => found[1] as string);
const filesBelow = (path: string): string[] =>
  readdirSync(join(top, path), { recursive: true, encoding: 'utf8' }).map((name) => join(path, name));
const sources = (path: string, ending: string): string =>
  filesBelow(path)
    .filter((name) => name.endsWith(ending))
    .map((name) => readFileSync(join(top, name), 'utf8'))
    .join('\n');

await t.test('the VMs are those of the example', async (t) => {
  const vms = planFarm({ pillar: examplePillar() }).vms.map((vm) => [
    `\`${vm.name}\``,
    vm.role,
    `\`${vm.template}\``,
    ...(vm.managed
      ? [
          vm.label,
          vm.netvm === null ? 'none' : `\`${vm.netvm}\``,
          `${vm.privateSize / 1024 ** 3} GiB`,
          vm.autostart ? 'yes' : 'no',
        ]
      : ['–', '–', '–', '–']),
    vm.agentUser,
    vm.services.map((service) => `\`${service}\``).join(' '),
  ]);
  t.strictSame(table('| VM | role |'), vms);
});

await t.test('the calls are what the policy allows, no more and no less', (t) => {
  const allowed = readFileSync(join(top, 'policies/30-build-infra.policy'), 'utf8')
    .split('\n')
    .flatMap((line) => {
      const [service, argument, source, , action, target] = line.split(/\s+/);
      if (line.startsWith('#') || action !== 'allow') return [];
      const said = argument === '*' ? 'any' : argument === '+' ? 'none' : `\`${argument?.slice(1)}\``;
      return [[`\`${service}\``, said, `\`${source}\``, `\`${target?.replace('target=', '')}\``].join(' ')];
    });
  t.strictSame(
    table('| service | argument | from | to |')
      .map((row) => row.join(' '))
      .sort(),
    [...new Set(allowed)].sort(),
  );
  t.end();
});

interface Shape {
  $ref?: string;
  $defs?: Record<string, Shape>;
  properties?: Record<string, Shape>;
  additionalProperties?: Shape | false;
  required?: string[];
}
const nameOf: Record<string, string> = {
  templates: 'NAME',
  'ssh-hosts': 'HOST',
  'public-keys': 'FPR',
  components: 'NAME',
  'logs-vms': 'VM',
  remotes: 'NAME',
  'build-envs': 'ENV',
  distributions: 'NAME',
  options: 'OPTION',
  maintainers: 'PERSON',
  people: 'PERSON',
  'distribution-words': 'WORD',
  lines: 'LINE',
};
const schema = JSON.parse(readFileSync(join(top, 'salt/pillar/build-infra/schema.json'), 'utf8')) as Shape;
/** Every field that holds a value, as the page spells it; with whether it must be there. */
function fields(shape: Shape, path: string[] = [], needed = true): Map<string, boolean> {
  if (shape.$ref !== undefined)
    return fields(schema.$defs?.[shape.$ref.slice('#/$defs/'.length)] as Shape, path, needed);
  if (shape.properties !== undefined) {
    const found = Object.entries(shape.properties).map(([name, inner]) =>
      fields(inner, [...path, name], needed && (shape.required ?? []).includes(name)),
    );
    return new Map(found.flatMap((inner) => [...inner]));
  }
  if (typeof shape.additionalProperties === 'object')
    return fields(shape.additionalProperties, [...path, nameOf[path.at(-1) as string] as string], needed);
  return new Map([[path.join('.'), needed]]);
}

await t.test('every field of farm.yaml is described, and no other', (t) => {
  const real = fields(schema);
  const rows = table('| field | what you write |').map(([field, , otherwise]) => ({
    names: words(field as string),
    otherwise,
  }));
  const covers = (name: string, field: string): boolean =>
    name.endsWith('.*') ? field.startsWith(name.slice(0, -1)) : name === field;
  for (const [field, needed] of real) {
    const row = rows.filter(({ names }) => names.some((name) => covers(name, field)));
    t.equal(row.length, 1, field);
    t.equal(row[0]?.otherwise === 'needed', needed, `${field} is needed or not`);
  }
  for (const name of rows.flatMap(({ names }) => names))
    t.ok(
      [...real.keys()].some((field) => covers(name, field)),
      name,
    );
  t.end();
});

await t.test('what a field is when it is left out is what the templates say', (t) => {
  const templates = sources('salt/build-infra/templates', '.jinja');
  for (const [field, , otherwise] of table('| field | what you write |')) {
    const name = words(field as string)[0]
      ?.split('.')
      .at(-1) as string;
    if (!/^[a-z-]+$/.test(name)) continue;
    const number = new RegExp(`['.]${name}(?:'\\])?\\|default\\(([0-9]+)\\)`).exec(templates)?.[1];
    if (number !== undefined) t.equal(otherwise, number, name);
  }
  t.end();
});

await t.test(
  'the farm of the first day is one, the smallest, and makes the VMs that its table says',
  async (t) => {
    const shown = /<!-- farm: minimal -->\n\n```yaml\n([^]*?)```/.exec(page)?.[1] as string;
    const whole = examplePillar();
    const person = (whole['build-envs']['debian'] as Pillar['build-envs'][string]).maintainers[
      'alice'
    ] as string;
    const armored = (whole['public-keys'][person] as string).trimEnd().replaceAll('\n', '\n      ');
    const filled = shown
      .replaceAll('FINGERPRINT', person)
      .replace('ARMORED-PUBLIC-KEY', armored)
      .replace('HOST-KEY', whole['ssh-hosts']['forge.example']?.['host-keys'][0] as string);
    const farm = (text: string): Pillar => (parse(text) as { 'build-infra': Pillar })['build-infra'];
    const names = planFarm({ pillar: farm(filled), enabled: [] }).vms.map(({ name }) => name);
    t.strictSame(names, ['build-logs', 'keys-debian', 'build-debian']);
    for (const name of names)
      t.ok(
        table('| step | where | what you then see |').some(([, , sees]) =>
          words(sees as string).includes(name),
        ),
        name,
      );
    const lacking = (value: object, path: string[] = []): string[][] =>
      Object.entries(value).flatMap(([name, inner]) => [
        [...path, name],
        ...(inner !== null && typeof inner === 'object' && !Array.isArray(inner)
          ? lacking(inner as object, [...path, name])
          : []),
      ]);
    const paths = lacking(farm(filled));
    const answers = planFarms(
      paths.map((path) => {
        const less = farm(filled);
        const holder = path
          .slice(0, -1)
          .reduce<Record<string, unknown>>(
            (at, name) => at[name] as Record<string, unknown>,
            less as unknown as Record<string, unknown>,
          );
        Reflect.deleteProperty(holder, path.at(-1) as string);
        return { pillar: less };
      }),
    );
    for (const [index, path] of paths.entries())
      t.ok(answers[index] instanceof AnyRefusal, `nothing can be left out: ${path.join('.')}`);
  },
);

await t.test('every code of the doctor has its row, and no row has another', (t) => {
  t.strictSame(
    table('| code | what to do, beyond')
      .flatMap(([codes]) => words(codes as string))
      .sort(),
    [...codesOf('doctor/finding.ts', 'FindingCode')].sort(),
  );
  t.end();
});

await t.test('every refusal of an agent and of the pillar has its row, and no row has another', (t) => {
  const rows = table('| | code | what to do |').map(([where, codes]) => ({
    where: where as string,
    codes: words(codes as string),
  }));
  const listed = (...where: string[]): Set<string> =>
    new Set(rows.filter((row) => where.includes(row.where)).flatMap(({ codes }) => codes));
  const pillar = new Set(
    [...sources('salt/pillar', '.py').matchAll(/(?:Refusal|reject)\(\s*'([A-Z_0-9]+)'/g)].map(
      (found) => found[1] as string,
    ),
  );
  for (const [, code] of readFileSync(join(top, 'salt/build-infra/refused.sls'), 'utf8').matchAll(
    /'([A-Z]+_PILLAR)\b/g,
  ))
    pillar.add(code as string);
  t.strictSame([...listed('A')].sort(), [...pillar].sort(), 'the pillar');
  const refused = (...agents: string[]): Set<string> =>
    new Set(agents.flatMap((agent) => [...refusalCodes(agent)]));
  const everywhere = listed('B', 'C', 'D', 'E');
  t.strictSame(
    [
      ...refused(
        'build-vm',
        'engines',
        'build-logs',
        'keys',
        'sys-net',
        'notifier',
        'vm-commands',
        'command',
        'shared',
      ),
    ].filter((code) => !everywhere.has(code)),
    [],
    'none is left out',
  );
  for (const [where, own, also] of [
    ['B', [], ['build-vm', 'engines', 'vm-commands', 'command']],
    ['C', ['keys', 'build-logs'], ['build-vm']],
    ['D', ['sys-net'], []],
    ['E', ['notifier'], []],
  ] as const) {
    t.strictSame(
      [...refused(...own)].filter((code) => !listed(where).has(code)),
      [],
      `${where}: none is left out`,
    );
    t.strictSame(
      [...listed(where)].filter((code) => !refused(...own, ...also, 'shared').has(code)),
      [],
      `${where}: none is invented`,
    );
  }
  t.end();
});

await t.test('the lines of a doctor without keys are those that it says', async (t) => {
  const shown = /<!-- output: no-keys -->\n\n((?: {4}.*\n)+)/
    .exec(page)?.[1]
    ?.trimEnd()
    .split('\n')
    .map((line) => line.slice(4));
  t.strictSame(shown, await linesWithoutKeys(folder(t)));
});

await t.test('paths, programs, tops and tests that it names exist', (t) => {
  const laid = new Set(
    manifests.flatMap(({ template, vm }) =>
      [...template.files, ...vm.files, ...(vm.folders ?? [])].map(({ path }) => path),
    ),
  );
  for (const [path] of page.matchAll(/\/usr\/lib\/build-infra\/[a-z.-]+/g)) t.ok(laid.has(path), `${path}`);
  for (const [, name] of page.matchAll(/top\.enable build-infra\.?([a-z-]*)/g)) {
    t.ok(existsSync(join(top, 'salt/build-infra', name === '' ? 'init.top' : `${name}.top`)), `top ${name}`);
  }
  for (const [, name] of page.matchAll(/`test\/([a-z/-]+)`/g))
    t.ok(existsSync(join(top, 'test', `${name}.test.ts`)), `test ${name}`);
  for (const [, name] of page.matchAll(/\]\(#([a-z0-9-]+)\)/g)) {
    const anchors = [...page.matchAll(/^##+ (.*)$/gm)].map((found) =>
      (found[1] as string)
        .toLowerCase()
        .replace(/[^a-z0-9 -]/g, '')
        .replaceAll(' ', '-'),
    );
    t.ok(anchors.includes(name as string), `#${name}`);
  }
  for (const [, name] of page.matchAll(/`(agents\/[a-z/.-]+|docs\/[a-z/.-]+|salt\/[a-z/.-]+)`/g))
    t.ok(existsSync(join(top, name as string)), `${name}`);
  for (const [, state] of page.matchAll(/state\.apply (build-infra\.[a-z]+)/g))
    t.ok(existsSync(join(top, 'salt', `${(state as string).replace('.', '/')}.sls`)), `${state}`);
  t.notMatch(page, /@@|TODO|FIXME/);
  t.end();
});

await t.test('what it says is laid in dom0 is what the Makefile and the spec lay', (t) => {
  const made = `${readFileSync(join(top, 'Makefile'), 'utf8')}${readFileSync(join(top, 'packaging/build-infra-dom0.spec.in'), 'utf8')}`;
  const paths = table('| path in dom0 | what |')
    .flatMap(([cell]) => words(cell as string))
    .filter((path) => !path.startsWith('/usr/share/'));
  t.strictSame(
    paths.map((path) => path.replace(/\/$/, '')),
    [
      '/srv/formulas/base/build-infra/build-infra',
      '/srv/pillar/base/build-infra',
      '/etc/salt/minion.d/qubes-build-infra.conf',
    ],
  );
  for (const path of paths) t.ok(made.includes(path.replace(/\/$/, '').replace(/\/build-infra$/, '')), path);
  t.match(made, /%doc docs\/deploy\.md/);
  t.match(made, /%license LICENSE/);
  t.end();
});

await t.test('each command of the doctor that it shows is one', (t) => {
  const verbs = new Set([
    'doctor',
    'status',
    'jobs',
    'trigger',
    'retry',
    'withdraw',
    'audit',
    'provision',
    'policy',
  ]);
  for (const [, verb] of page.matchAll(/(?:^|[^.\w/-])build-infra ([a-z]+)/gm)) {
    if (!['command', 'inside', 'in', 'is', 'pillar'].includes(verb as string))
      t.ok(verbs.has(verb as string), `${verb}`);
  }
  t.end();
});
