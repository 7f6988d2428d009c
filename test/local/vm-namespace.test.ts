// SPDX-License-Identifier: GPL-2.0-or-later
// Where sandboxes are not allowed, one clear line says so; where an ordinary user may make them, the program
// starts again as root of a namespace.
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { runFolderFor } from '../../agents/local/vm/host-folders.js';
import { folderOf } from '../support/folders.js';

const namespaceModule = join(import.meta.dirname, '../../agents/local/vm/root-namespace.js');
const script = `import { ensureRootNamespace } from ${JSON.stringify(namespaceModule)}; await ensureRootNamespace(); console.log(process.geteuid(), process.argv.slice(2).join()); process.exitCode = 7;`;

test('a machine that does not allow sandboxes', async (t) => {
  const folder = folderOf(t);
  const program = join(folder, 'program.mjs');
  writeFileSync(program, script);
  const run = (path: string): ReturnType<typeof spawnSync> => {
    const environment: NodeJS.ProcessEnv = { ...process.env, PATH: path };
    delete environment['BUILD_INFRA_NAMESPACE'];
    return spawnSync(process.execPath, [program, 'a', 'b'], { env: environment, encoding: 'utf8' });
  };
  t.match(
    run('/usr/sbin:/usr/bin:/sbin:/bin'),
    { status: 7, stdout: '0 a,b\n', stderr: '' },
    'it is root afterwards, with its command line and its exit status',
  );
  writeFileSync(
    join(folder, 'unshare'),
    '#!/bin/sh\necho "unshare: unshare failed: Operation not permitted" >&2\necho more >&2\nexit 1\n',
    { mode: 0o755 },
  );
  const { status, stdout, stderr } = run(`${folder}:/usr/bin:/bin`);
  t.equal(status, 1);
  t.equal(stdout, '');
  t.match(stderr, /^[^\n]*not[^\n]*Operation not permitted[^\n]*\n$/, 'one line');
});

test('the run folder is short, and the same for the same state folder', async (t) => {
  t.ok(runFolderFor('/some/where').length <= 30);
  t.equal(runFolderFor('/some/where'), runFolderFor('/some/../some/where/'));
  t.not(runFolderFor('/some/where'), runFolderFor('/some/where/else'));
});
