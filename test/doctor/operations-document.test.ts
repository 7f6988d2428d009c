// SPDX-License-Identifier: GPL-2.0-or-later
// docs/operations.md against the programs: its verbs and options, its fields, codes, commands to sign, units,
// paths and links.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { jobStates } from '../../agents/shared/formats/job.js';
import { adminProgram } from '../../agents/local/admin-program.js';
import type { ProgramTable } from '../../agents/shared/command-line/program.js';
import { readLine } from '../../agents/shared/command-line/run-program.js';
import { vmProgram } from '../../agents/vm-commands/program.js';
import { commandVerbs, parseCommand } from '../../agents/shared/formats/command.js';
import { jobIdPattern, matches } from '../../agents/shared/formats/names.js';
import { manifests, top } from './vm-tree.js';

const page = readFileSync(join(top, 'docs/operations.md'), 'utf8');
const deploy = readFileSync(join(top, 'docs/deploy.md'), 'utf8');
const words = [...page.matchAll(/`([^`\n]+)`/g)].map((found) => found[1] as string);
const lines = page
  .split('\n')
  .filter((line) => /^ {4,}\S/.test(line))
  .map((line) => line.trim());
const anchorsOf = (text: string): string[] =>
  [...text.matchAll(/^##+ (.*)$/gm)].map((found) =>
    (found[1] as string)
      .toLowerCase()
      .replace(/[^a-z0-9 -]/g, '')
      .replaceAll(' ', '-'),
  );

function isUnderstood(program: ProgramTable, line: readonly string[]): boolean {
  try {
    return readLine(program, line).command.hidden !== true;
  } catch {
    return false;
  }
}

await t.test('each command of build-infra that it shows is one, with options that it has', (t) => {
  const shown = [...words, ...lines].filter((one) => one.startsWith('build-infra '));
  t.ok(shown.length > 12);
  for (const one of shown) {
    const [, ...given] = one.split(' ');
    const [verb, ...rest] = given;
    // A command that is only named has no words yet.
    const named = [vmProgram, adminProgram].some(({ commands }) =>
      commands.some((command) => command.words === given.join(' ')),
    );
    t.ok(named || [vmProgram, adminProgram].some((program) => isUnderstood(program, given)), one);
    if (rest.includes('--state'))
      t.ok((jobStates as readonly string[]).includes(rest[rest.indexOf('--state') + 1] as string), one);
    const job = verb === 'retry' ? rest[0] : rest[0] === 'show' ? rest[1] : undefined;
    if (job !== undefined) t.ok(matches(jobIdPattern, job), `${one}: a job`);
  }
  t.end();
});

await t.test('each line to sign is a command as the build VM reads it', (t) => {
  const made = lines.flatMap((line) => /command\.mjs make (.*) --sign/.exec(line)?.[1] ?? []);
  t.equal(made.length, 5);
  for (const one of made) t.equal(parseCommand(one).grammar, 'current', one);
  for (const [, verb] of page.matchAll(/`((?:Upload|Build|Rebuild)-[a-z]+|Retry)`/g))
    t.ok((commandVerbs as readonly string[]).includes(verb as string), verb as string);
  t.end();
});

await t.test(
  'each code that it explains is one that section 15 lists, and each field one of farm.yaml',
  (t) => {
    const listed = new Set(
      [...deploy.slice(deploy.indexOf('## 15. Refusals')).matchAll(/`([A-Z][A-Z_0-9]+)`/g)].map(
        (found) => found[1],
      ),
    );
    for (const code of words
      .flatMap((word) => word.split(' '))
      .filter((word) => /^[A-Z]+_[A-Z_]+$/.test(word)))
      t.ok(listed.has(code), code);
    const schema = readFileSync(join(top, 'salt/pillar/build-infra/schema.json'), 'utf8');
    const fields = words.filter(
      (word) =>
        /^(?:commands|webhook|promotion)\.[a-z-]+(?:\.[a-z-]+)?$/.test(word) ||
        ['public-keys', 'maintainers', 'required-signatures', 'poll-seconds', 'build-seconds'].includes(word),
    );
    t.ok(fields.length > 8);
    for (const field of fields.flatMap((word) => word.split('.')))
      t.ok(schema.includes(`"${field}":`), field);
    t.end();
  },
);

await t.test('units, programs, states, pages and sections that it names are there', (t) => {
  const laid = new Set(manifests.flatMap(({ template }) => template.files.map(({ path }) => path)));
  for (const [, unit] of page.matchAll(/-u (build-infra-[a-z-]+)/g))
    t.ok(laid.has(`/usr/lib/systemd/system/${unit}.service`), `${unit}`);
  for (const [path] of page.matchAll(/\/usr\/lib\/build-infra\/[a-z.-]+/g)) t.ok(laid.has(path), path);
  for (const [, state] of page.matchAll(/state\.apply (build-infra\.[a-z]+)/g))
    t.ok(existsSync(join(top, 'salt', `${(state as string).replace('.', '/')}.sls`)), state as string);
  for (const [, file, anchor] of page.matchAll(/\]\(([a-z-]+\.md)?(?:#([a-z0-9-]+))?\)/g)) {
    const text = file === undefined ? page : readFileSync(join(top, 'docs', file), 'utf8');
    if (anchor !== undefined) t.ok(anchorsOf(text).includes(anchor), `${file ?? ''}#${anchor}`);
  }
  for (const [, file, anchor] of deploy.matchAll(/\]\((operations\.md)(?:#([a-z0-9-]+))\)/g))
    t.ok(anchorsOf(page).includes(anchor as string), `${file} ${anchor}`);
  t.ok(readdirSync(join(top, 'docs')).includes('upstream.md'));
  t.notMatch(page, /@@|TODO|FIXME/);
  t.end();
});
