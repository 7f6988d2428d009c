// SPDX-License-Identifier: GPL-2.0-or-later
// docs/decisions against its index and whoever names a decision: each is there once, and every link in a page
// leads to something.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import t from 'tap';
import { top } from './vm-tree.js';

const folder = join(top, 'docs/decisions');
const read = (name: string): string => readFileSync(join(folder, name), 'utf8');
const pages = readdirSync(folder).filter((name) => name !== 'README.md');
/** As GitHub makes them of a heading. */
const anchorOf = (heading: string): string =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}_ -]/gu, '')
    .replaceAll(' ', '-');
const headings = (text: string): string[] =>
  [...text.replace(/^```[^]*?^```$/gm, '').matchAll(/^#+ (.*)$/gm)].map((found) => found[1] as string);
interface Decision {
  number: string;
  page: string;
  heading: string;
  title: string;
}
const decisions = pages.flatMap((page): Decision[] =>
  headings(read(page)).flatMap((heading) => {
    const [, number, title] = /^([0-9]{3}):? (.+)$/.exec(heading) ?? [];
    return number === undefined || title === undefined ? [] : [{ number, page, heading, title }];
  }),
);
const numbers = new Set(decisions.map(({ number }) => number));

await t.test('the index has one row for each decision, with its title, its place and its status', (t) => {
  const rows = read('README.md')
    .split('\n')
    .filter((line) => /^\| [0-9]/.test(line))
    .map((line) => line.slice(2, -2).split(' | '));
  t.equal(numbers.size, decisions.length, 'no number is given twice');
  t.strictSame(
    rows.map(([number, link]) => `${number} ${link}`).sort(),
    decisions
      .map(({ number, title, page, heading }) => `${number} [${title}](${page}#${anchorOf(heading)})`)
      .sort(),
  );
  for (const [number, , , status] of rows) {
    const found = /^(?:in force|(?:changed|partly replaced|replaced) by (.+))$/.exec(status ?? '');
    t.ok(found, `${number}: status ${status}`);
    for (const one of found?.[1]?.split(' and ') ?? []) t.ok(numbers.has(one), `${number}: ${status}`);
  }
  t.end();
});

await t.test('every page holds decisions', (t) => {
  for (const page of pages)
    t.ok(
      decisions.some((decision) => decision.page === page),
      page,
    );
  t.end();
});

// What git knows, or would take: a page that was just written is looked at too.
const files = execFileSync(
  'git',
  ['-C', top, 'ls-files', '-z', '--cached', '--others', '--exclude-standard'],
  { encoding: 'utf8' },
)
  .split('\0')
  .filter(
    (name) => /\.(?:md|ts|mjs|js|py|jinja|sls|yaml|policy|in)$/.test(name) && existsSync(join(top, name)),
  );

await t.test('every decision that code or a document names is one', (t) => {
  let named = 0;
  const byNumberAlone: string[] = [];
  for (const name of files) {
    const text = readFileSync(join(top, name), 'utf8');
    for (const [words] of text.matchAll(
      /\b[Dd]ecisions?[ /]\(?\[?[0-9]{3}\b(?:(?:,| and| to) [0-9]{3}\b)*/g,
    )) {
      for (const [number] of words.matchAll(/[0-9]{3}/g)) {
        t.ok(numbers.has(number), `${name}: ${words}`);
        named++;
      }
    }
    if (/docs\/decisions\/[0-9]{3}\b(?!-)/.test(text)) byNumberAlone.push(name);
  }
  t.strictSame(byNumberAlone, [], 'no path ends in a number: a page is called otherwise');
  t.ok(named > 20);
  t.end();
});

await t.test(
  'every link of a document leads to a file and a heading, and one that is called by a number to that decision',
  (t) => {
    for (const name of files.filter((one) => one.endsWith('.md'))) {
      const text = readFileSync(join(top, name), 'utf8')
        .replace(/^```[^]*?^```$/gm, '')
        .replace(/`[^`\n]*`/g, (code) => code.replaceAll('](', '] ('));
      for (const [, words, path, anchor] of text.matchAll(
        /\[([^\]\n]*)\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)/g,
      )) {
        const target = path === '' ? join(top, name) : join(top, dirname(name), path as string);
        if (!t.ok(existsSync(target), `${name}: ${path}`)) continue;
        if (anchor !== undefined)
          t.ok(
            headings(readFileSync(target, 'utf8')).map(anchorOf).includes(anchor),
            `${name}: ${path}#${anchor}`,
          );
        const number = /^(?:decision )?([0-9]{3})$/.exec(words as string)?.[1];
        if (number !== undefined)
          t.ok(
            decisions.some(
              (one) =>
                one.number === number &&
                one.page === relative(folder, target) &&
                anchorOf(one.heading) === anchor,
            ),
            `${name}: [${words}] leads to ${path}#${anchor}`,
          );
      }
    }
    t.end();
  },
);
