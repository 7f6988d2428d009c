// SPDX-License-Identifier: GPL-2.0-or-later
// docs/upstream.md against the tests it names: each file and each title is there, and no row is left out.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { top } from './vm-tree.js';

const page = readFileSync(join(top, 'docs/upstream.md'), 'utf8');
const rows = page
  .split('\n')
  .filter((line) => /^\| [QFB][0-9]+ \|/.test(line))
  .map((line) =>
    line
      .slice(1, -1)
      .split(' | ')
      .map((cell) => cell.trim()),
  );
const known = new Map<string, string>();

function sourceOf(file: string): string {
  const path = join(top, 'test', `${file}.test.ts`);
  const text = known.get(file) ?? (existsSync(path) ? readFileSync(path, 'utf8') : '');
  known.set(file, text);
  return text;
}

await t.test('every question, fault and better way has its row', (t) => {
  const expected = [
    ['Q', 12],
    ['F', 34],
    ['B', 42],
  ].flatMap(([letter, count]) =>
    Array.from({ length: count as number }, (_, index) => `${letter}${index + 1}`),
  );
  t.strictSame(
    rows.map(([id]) => id),
    expected,
  );
  t.end();
});

await t.test('every test that it names is there, under that title', (t) => {
  for (const [id, , here, tests] of rows) {
    const named = [...(tests ?? '').matchAll(/`([a-z0-9/-]+): ([^`]+)`/g)];
    if (named.length === 0) t.match(`${tests} ${here}`, /^none not here/i, `${id} says why it has no test`);
    for (const [, file, title] of named) {
      const spelled = (title as string).replaceAll("'", "\\'");
      t.ok(
        [`'${spelled}'`, `"${title as string}"`, `\`${title as string}\``].some((literal) =>
          sourceOf(file as string).includes(literal),
        ),
        `${id}: ${file as string}: ${title as string}`,
      );
    }
  }
  t.end();
});

await t.test('it names no test file that is not there, itself included', (t) => {
  for (const [, file] of page.matchAll(
    /`((?:attacks|audit|build|build-logs|command|doctor|keys|local|notifier|package|salt|shared|sys-net)\/[a-z0-9-]+)`/g,
  ))
    t.ok(sourceOf(file as string) !== '', `${file}`);
  t.end();
});
