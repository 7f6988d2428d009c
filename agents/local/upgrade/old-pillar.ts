// SPDX-License-Identifier: GPL-2.0-or-later
// The pillar of the formula qubes-infrastructure, as `qubesctl --dom0-only --out=yaml pillar.items` prints it
// or as its files have it: what stands under build-infra, one file merged into the other. Every value is
// text: its `release: 4.10` is meant as it is written.
import { readFileSync } from 'node:fs';
import { parseDocument } from 'yaml';
import { Refusal } from '../refusals.js';

export type Text = string | Text[] | { [name: string]: Text };
export type Mapping = Record<string, Text>;

export const isMapping = (value: Text | undefined): value is Mapping =>
  typeof value === 'object' && !Array.isArray(value);
export const textOf = (value: Text | undefined): string | undefined =>
  typeof value === 'string' && value !== '' ? value : undefined;
export const mappingOf = (value: Text | undefined): Mapping => (isMapping(value) ? value : {});
/** Salt's way of writing a mapping as a list of mappings with one entry each. */
export const entriesOf = (value: Text | undefined): Mapping =>
  Array.isArray(value) ? (Object.assign({}, ...value.filter(isMapping)) as Mapping) : mappingOf(value);

function merged(first: Mapping, second: Mapping): Mapping {
  const found = { ...first };
  for (const [name, value] of Object.entries(second)) {
    const before = found[name];
    found[name] = isMapping(before) && isMapping(value) ? merged(before, value) : value;
  }
  return found;
}

/** @throws Refusal NOT_YAML, NO_PILLAR */
export function readOldPillar(paths: readonly string[]): Mapping {
  let found: Mapping = {};
  for (const path of paths) {
    const text = readFileSync(path, 'utf8');
    if (/\{[{%]/.test(text))
      throw new Refusal(
        'NOT_YAML',
        `${path} has Jinja in it: give what qubesctl makes of it (qubesctl --dom0-only --out=yaml pillar.items)`,
      );
    // Its own example has one key twice; the last one counts, as for Salt.
    const document = parseDocument(text, { schema: 'failsafe', uniqueKeys: false });
    if (document.errors[0] !== undefined)
      throw new Refusal('NOT_YAML', `${path}: ${document.errors[0].message.split('\n')[0]}`);
    const whole = mappingOf(document.toJS({ maxAliasCount: 100 }) as Text);
    found = merged(found, mappingOf(whole['build-infra'] ?? mappingOf(whole['local'])['build-infra']));
  }
  if (Object.keys(found).length === 0) throw new Refusal('NO_PILLAR', 'nothing stands under build-infra');
  return found;
}
