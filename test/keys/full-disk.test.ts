// SPDX-License-Identifier: GPL-2.0-or-later
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { folderOf } from '../support/folders.js';

const mayMount = spawnSync('unshare', ['-rm', 'mount', '-t', 'tmpfs', 'none', '/mnt']).status === 0;

await t.test(
  'on a full disk nothing is claimed or believed, nothing is lost, and it goes on when there is room',
  { skip: mayMount ? false : 'user namespaces are not allowed here' },
  async (t) => {
    const folder = folderOf(t);
    const program = join(fileURLToPath(new URL('.', import.meta.url)), 'full-disk.js');
    const run = spawnSync(
      'unshare',
      [
        '-rm',
        'sh',
        '-c',
        'mount -t tmpfs -o size=256k none "$1" && exec "$2" "$3" "$1"',
        'sh',
        folder,
        process.execPath,
        program,
      ],
      { encoding: 'utf8' },
    );
    t.equal(run.stderr, '');
    t.equal(
      run.stdout,
      'done JOURNAL_FULL DISK_FULL done done done GRANT_USED JOURNAL_FULL Error: the journal could not be written earlier c GRANT_USED',
    );
  },
);
