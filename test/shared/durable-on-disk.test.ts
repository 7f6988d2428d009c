// SPDX-License-Identifier: GPL-2.0-or-later
// Durable, as the kernel sees it: written, synced, named, and the name synced too, for each of the functions
// that promise it.
import { spawnSync } from 'node:child_process';
import { mkdirSync, realpathSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { folderOf } from '../support/folders.js';
import {
  cannotRecord,
  inOrder,
  notOnDisk,
  recorded,
  recordingTo,
  renaming,
  syncing,
  writing,
  type SystemCall,
} from '../support/system-calls.js';

const skip = cannotRecord();
const module = (name: string): string => new URL(`../../agents/shared/${name}.js`, import.meta.url).href;
const folder = realpathSync(folderOf(t));
let runs = 0;

/**
 * The calls of a program that does `work` with all that durable-files has, and says so on its own standard
 * output.
 */
async function callsOf(work: string): Promise<{ calls: SystemCall[]; end: SystemCall }> {
  const record = `${folder}/record.${runs++}`;
  const script = `const { makeFolder, removeDurably, renameDurably, syncFolder, writeDurably } = await import('${module('durable-files')}'); const { AppendOnlyLines } = await import('${module('append-only-lines')}'); ${work}; process.stdout.write('all done');`;
  const [program, ...args] = [...recordingTo(record), process.execPath, '--input-type=module', '-e', script];
  const ended = spawnSync(program, args, { encoding: 'utf8', env: { ...process.env } });
  if (ended.stdout !== 'all done') throw new Error(ended.stderr);
  const said = writing(/^/, /^all done$/);
  const calls = await recorded(record, said);
  return { calls, end: calls.find(said.is) as SystemCall };
}

t.test('a file that is replaced: its bytes, then its name, then the folder', { skip }, async (t) => {
  for (const content of ["'whole'", "Buffer.from('whole')"]) {
    const { calls, end } = await callsOf(`writeDurably('${folder}/one', ${content})`);
    const temporary = /\/\.one\.\d+\.tmp$/;
    inOrder(calls, [
      writing(temporary, /^whole$/),
      syncing(temporary),
      renaming(temporary, `${folder}/one`),
      syncing(folder),
    ]);
    t.strictSame(notOnDisk(calls, folder, end), []);
  }
});

t.test(
  'a line that is appended: to a new file with its name, to an old one, and after one that was cut short',
  { skip },
  async (t) => {
    const path = `${folder}/lines`;
    const { calls, end } = await callsOf(`AppendOnlyLines.open('${path}').file.append(['first'])`);
    inOrder(calls, [renaming(/\.tmp$/, path), syncing(folder), writing(path, /^first\n$/), syncing(path)]);
    t.strictSame(notOnDisk(calls, folder, end), []);
    const more = await callsOf(
      `const { file } = AppendOnlyLines.open('${path}'); file.append(['second']); file.append(['third'])`,
    );
    inOrder(more.calls, [
      writing(path, /^second\n$/),
      syncing(path),
      writing(path, /^third\n$/),
      syncing(path),
    ]);
    t.notOk(more.calls.some(renaming(/^/, path).is), 'a file that is whole is not written again');
    writeFileSync(path, 'first\nhal');
    const cut = await callsOf(`AppendOnlyLines.open('${path}')`);
    inOrder(cut.calls, [
      { what: 'cut', is: (one) => one.name === 'ftruncate' && one.of === path && one.result === 0 },
      syncing(path),
    ]);
    t.strictSame(notOnDisk(cut.calls, folder, cut.end), []);
  },
);

t.test(
  'a folder that is made: each one above it that was missing, and none that was there',
  { skip },
  async (t) => {
    const { calls } = await callsOf(`makeFolder('${folder}/new/newer/newest')`);
    inOrder(calls, [syncing(`${folder}/new/newer`), syncing(`${folder}/new`), syncing(folder)]);
    const again = await callsOf(`makeFolder('${folder}/new/newer/newest')`);
    t.notOk(again.calls.some((one) => one.name === 'fsync' && String(one.of).startsWith(folder)));
  },
);

t.test('a name that is given or taken away: both folders', { skip }, async () => {
  mkdirSync(`${folder}/from`);
  mkdirSync(`${folder}/to`);
  writeFileSync(`${folder}/from/a`, '');
  const moved = await callsOf(`renameDurably('${folder}/from/a', '${folder}/to/b')`);
  inOrder(moved.calls, [
    renaming(`${folder}/from/a`, `${folder}/to/b`),
    syncing(`${folder}/to`),
    syncing(`${folder}/from`),
  ]);
  const removed = await callsOf(`removeDurably('${folder}/to/b')`);
  inOrder(removed.calls, [
    { what: 'unlink', is: (one) => one.name === 'unlink' && one.of === `${folder}/to/b` && one.result === 0 },
    syncing(`${folder}/to`),
  ]);
});
