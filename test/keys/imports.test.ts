// SPDX-License-Identifier: GPL-2.0-or-later
// What the keys agent is made of: its own files, wire formats, and Node's builtins. Followed over the
// compiled imports.
import { readFileSync } from 'node:fs';
import { dirname, relative, resolve } from 'node:path';
import t from 'tap';
import { agents } from './keys-machine.js';

function modules(entry: string): { files: string[]; builtins: string[]; others: string[] } {
  const files = new Set<string>();
  const imported = new Set<string>();
  const visit = (path: string): void => {
    if (files.has(path)) return;
    files.add(path);
    const code = readFileSync(path, 'utf8');
    t.notMatch(
      code,
      /\brequire\(|\beval\(|new Function|\bimport\(/,
      `${relative(agents, path)} loads nothing at run time`,
    );
    for (const [, name] of code.matchAll(/^(?:import|export)\s(?:[^'"]*?from\s+)?['"]([^'"]+)['"]/gm)) {
      if (name?.startsWith('.')) visit(resolve(dirname(path), name));
      else imported.add(name as string);
    }
  };
  visit(`${agents}/${entry}`);
  return {
    files: [...files].map((path) => relative(agents, path)).sort(),
    builtins: [...imported].filter((name) => name.startsWith('node:')).sort(),
    others: [...imported].filter((name) => !name.startsWith('node:')),
  };
}

await t.test("the keys agent imports these builtins, no package, and no other VM's folder", async (t) => {
  const { files, builtins, others } = modules('keys/main.js');
  t.same(others, []);
  t.same(builtins, ['node:child_process', 'node:crypto', 'node:fs', 'node:net', 'node:os', 'node:path']);
  t.same(
    files.filter((file) => !file.startsWith('keys/')),
    [
      'shared/calls/agent-start.js',
      'shared/calls/socket-service.js',
      'shared/clock.js',
      'shared/command-line/version.js',
      'shared/durable-files.js',
      'shared/formats/cleartext.js',
      'shared/formats/git-commit.js',
      'shared/formats/intent.js',
      'shared/formats/journal-head.js',
      'shared/formats/journal.js',
      'shared/formats/names.js',
      'shared/formats/publication.js',
      'shared/formats/receipt.js',
      'shared/formats/signature-origin.js',
      'shared/formats/split-gpg-arguments.js',
      'shared/formats/split-gpg.js',
      'shared/formats/strict-reader.js',
      'shared/json-document.js',
      'shared/programs/bounded-process.js',
      'shared/refusal.js',
      'shared/refusals.js',
      'shared/room.js',
      'shared/root-prefix.js',
    ],
  );
});

await t.test('the gpg client imports no package', async (t) => {
  const { files, others } = modules('build-vm/gpg-client/main.js');
  t.same(others, []);
  t.same(
    files.filter((file) => !/^(?:build-vm\/(?:gpg-client\/|refusals\.js)|shared\/)/.test(file)),
    [],
  );
});

await t.test(
  "build-infra of a VM, which runs in the keys VM too, imports no package and no other VM's folder",
  async (t) => {
    const { files, builtins, others } = modules('vm-commands/main.js');
    t.same(others, []);
    t.same(builtins, [
      'node:child_process',
      'node:crypto',
      'node:fs',
      'node:os',
      'node:path',
      'node:timers/promises',
      'node:util',
    ]);
    t.same(
      files.filter((file) => !file.startsWith('doctor/') && !file.startsWith('vm-commands/')),
      [
        'shared/command-line/completion.js',
        'shared/command-line/help.js',
        'shared/command-line/man-page.js',
        'shared/command-line/nearest.js',
        'shared/command-line/program.js',
        'shared/command-line/run-program.js',
        'shared/command-line/version.js',
        'shared/durable-files.js',
        'shared/formats/apt-release.js',
        'shared/formats/job.js',
        'shared/formats/log-link.js',
        'shared/formats/names.js',
        'shared/formats/strict-reader.js',
        'shared/formats/suites.js',
        'shared/json-document.js',
        'shared/programs/bounded-process.js',
        'shared/refusal.js',
        'shared/refusals.js',
        'shared/root-prefix.js',
        'shared/visible-text.js',
      ],
    );
  },
);
