// SPDX-License-Identifier: GPL-2.0-or-later
// Writing loose objects: what git reads back, also of a file that is written slower than it is read.
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'tap';
import { LooseObjects } from '../../agents/build-logs/git-objects.js';
import { folderOf } from '../support/folders.js';

test('a large file becomes the object that git makes of it, and leaves nothing behind in this process', async (t) => {
  const folder = folderOf(t);
  execFileSync('git', ['init', '--quiet', '--bare', '--template=', join(folder, 'repository')]);
  const objects = new LooseObjects(join(folder, 'repository'));
  const warnings: string[] = [];
  const warned = (warning: Error): void => void warnings.push(warning.message);
  process.on('warning', warned);
  t.teardown(() => process.off('warning', warned));
  const file = join(folder, 'log');
  // Bytes that do not shrink: zlib is behind with every chunk.
  const body = randomBytes(8 * 1024 * 1024);
  writeFileSync(file, body);
  for (const size of [1024 * 1024, 1024 * 1024 + 1, body.length - 1]) {
    const written = await objects.writeFile(file, size);
    await objects.sync();
    const part = body.subarray(0, size);
    t.equal(written.sha256, createHash('sha256').update(part).digest('hex'));
    t.ok(execFileSync('git', ['--git-dir', join(folder, 'repository'), 'cat-file', 'blob', written.id], { maxBuffer: 16 * 1024 * 1024 }).equals(part), `${size} bytes: git reads them back`);
  }
  await t.rejects(objects.writeFile(file, body.length + 1), /shorter/);
  t.same(readdirSync(join(folder, 'repository', 'objects')).filter((name) => name.startsWith('tmp_obj_')), [], 'what failed is removed');
  await sleep(20);
  t.same(warnings, [], 'no listener stays where one waited for the next chunk');
});
