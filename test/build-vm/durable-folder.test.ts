// SPDX-License-Identifier: GPL-2.0-or-later
// What a folder holds is on disk before it has its name: as the kernel sees it, where this machine lets us
// look.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { tmpdir } from 'node:os';
import t from 'tap';
import { becomeDurably } from '../../agents/shared/files/durable-folder.js';
import { runProgram } from '../../agents/shared/programs/program.js';

const folder = mkdtempSync(join(tmpdir(), 'bi-durable-'));
t.teardown(() => rmSync(folder, { recursive: true }));

function makePart(name: string): string {
  const part = join(folder, name);
  mkdirSync(join(part, 'pool/a b'), { recursive: true });
  for (const file of ['made-by.json', 'pool/a b/x.deb', 'pool/-n']) writeFileSync(join(part, file), file);
  return part;
}

void t.test('every file and folder in it is written out before the name is there', async (t) => {
  const part = makePart('part');
  const to = join(folder, 'whole');
  const synced: string[] = [];
  await becomeDurably(part, to, async (argv, options) => {
    t.notOk(existsSync(to), 'not yet');
    // The same call, with a program in the place of `sync` that says what it is given.
    const said = await runProgram(
      argv.map((word) => (word === 'sync' ? 'printf' : word === '--' ? '%s\\n' : word)),
      options,
    );
    synced.push(...said.toString().trim().split('\n'));
    return await runProgram(argv, options);
  });
  t.strictSame(
    synced.sort(),
    ['', '/made-by.json', '/pool', '/pool/-n', '/pool/a b', '/pool/a b/x.deb'].map((name) => part + name),
  );
  t.equal(readFileSync(join(to, 'made-by.json'), 'utf8'), 'made-by.json');
  t.notOk(existsSync(part));
});

void t.test('what cannot be written out does not get the name', async (t) => {
  const part = makePart('other');
  await t.rejects(
    becomeDurably(part, join(folder, 'never'), (_argv, options) => runProgram(['false'], options)),
  );
  t.notOk(existsSync(join(folder, 'never')));
  t.ok(existsSync(part));
});

void t.test('folders that become a generation, a build or a signed upload all go this way', (t) => {
  const agents = new URL('../../../agents/build-vm/', import.meta.url);
  const renaming = execFileSync('grep', ['-rlE', 'renameDurably|renameSync', '--include=*.ts', '.'], {
    cwd: agents,
    encoding: 'utf8',
  })
    .trim()
    .split('\n')
    .sort();
  t.strictSame(
    renaming.filter(
      (path) =>
        path.startsWith('./apt-') || path.startsWith('./dnf-') || path === './engines/engine-stages.ts',
    ),
    [],
  );
  t.end();
});
