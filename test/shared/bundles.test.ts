// SPDX-License-Identifier: GPL-2.0-or-later
// What each program is made of, and that it starts alone in an empty folder. The lists are the promise: a
// change of them is a decision.
import { execFile } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { folderOf } from '../support/folders.js';

const top = join(dirname(fileURLToPath(import.meta.url)), '../../..');
const folder = folderOf(t);

interface Made {
  modules: string[];
  builtins: string[];
}
const madeOf = (name: string): Made =>
  JSON.parse(readFileSync(join(top, 'dist', `${name}.modules.json`), 'utf8')) as Made;

/** Program → folders of ours it may hold, packages that it may bring (with what they need), builtins. */
const ajv = ['ajv', 'fast-deep-equal', 'fast-uri', 'json-schema-traverse'];
const expected: Record<string, { folders: string[]; packages: string[]; builtins: string[] }> = {
  'keys-agent': {
    folders: ['keys', 'shared'],
    packages: [],
    builtins: ['child_process', 'crypto', 'fs', 'net', 'os', 'path'],
  },
  'gpg-client': {
    folders: ['build-vm', 'shared'],
    packages: [],
    builtins: ['child_process', 'crypto', 'fs', 'os', 'path', 'tty'],
  },
  'build-infra-vm': {
    folders: ['doctor', 'shared', 'vm-commands'],
    packages: [],
    builtins: ['child_process', 'crypto', 'fs', 'os', 'path', 'timers/promises', 'util'],
  },
  'sys-net-agent': {
    folders: ['shared', 'sys-net'],
    packages: ajv,
    builtins: ['child_process', 'crypto', 'fs', 'http', 'net', 'path'],
  },
  'build-infra-notifier': {
    folders: ['notifier', 'shared'],
    packages: [...ajv, '@octokit/endpoint', 'universal-user-agent'],
    builtins: ['crypto', 'fs', 'http', 'https', 'net', 'path', 'tls', 'util'],
  },
  'build-logs-agent': {
    folders: ['build-logs', 'shared'],
    packages: ajv,
    builtins: [
      'async_hooks',
      'child_process',
      'crypto',
      'fs',
      'fs/promises',
      'net',
      'os',
      'path',
      'stream',
      'stream/promises',
      'util',
      'zlib',
    ],
  },
  'build-agent': {
    folders: ['build-vm', 'engines', 'published', 'shared'],
    packages: [...ajv, 'chokidar', 'openpgp', 'readdirp', 'yaml'],
    builtins: [
      'async_hooks',
      'buffer',
      'child_process',
      'crypto',
      'events',
      'fs',
      'fs/promises',
      'module',
      'net',
      'os',
      'path',
      'process',
      'stream',
      'stream/promises',
      'string_decoder',
      'timers/promises',
      'tty',
      'url',
      'util',
      'v8',
      'zlib',
    ],
  },
  'build-infra-command': {
    folders: ['command', 'shared'],
    packages: [],
    builtins: ['child_process', 'util'],
  },
  'build-infra': {
    folders: ['audit', 'command', 'local', 'published', 'shared'],
    packages: [...ajv, 'openpgp', 'yaml'],
    builtins: [
      'async_hooks',
      'buffer',
      'child_process',
      'crypto',
      'events',
      'fs',
      'fs/promises',
      'module',
      'os',
      'path',
      'process',
      'stream',
      'timers/promises',
      'url',
      'util',
      'worker_threads',
      'zlib',
    ],
  },
};

for (const [name, { folders, packages, builtins }] of Object.entries(expected)) {
  t.test(`${name} is made of what it may be made of`, (t) => {
    const made = madeOf(name);
    const ours = new Set(made.modules.flatMap((id) => /^out\/agents\/([^/]+)\//.exec(id)?.[1] ?? []));
    const theirs = new Set(
      made.modules.flatMap((id) => /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(id)?.[1] ?? []),
    );
    t.strictSame([...ours].sort(), folders);
    t.strictSame([...theirs].sort(), [...packages].sort());
    t.strictSame(
      made.builtins.filter((builtin) => !builtins.includes(builtin)),
      [],
      'no builtin beyond the list',
    );
    t.strictSame(
      made.modules.filter((id) => !/^(out\/agents|node_modules)\//.test(id)),
      [],
      'nothing from elsewhere',
    );
    t.end();
  });
}

/** How each program, alone and without configuration, says that it cannot work: it was loaded whole. */
const complaints: Record<string, RegExp> = {
  'keys-agent': /not started: .*keys\.json/,
  'sys-net-agent': /not started: .*sys-net\.json/,
  'build-logs-agent': /not started: .*build-logs\.json/,
  'build-infra-notifier': /not started: .*notify\.json/,
  'build-agent': /not started: .*build\.json/,
  'gpg-client': /gpg \(GnuPG\)/,
  'build-infra-vm': /usage: build-infra COMMAND/,
  'build-infra-command': /usage: build-infra command make VERB/,
  'build-infra': /usage:/,
  local: /usage: npm run local -- COMMAND/,
};
for (const [name, complaint] of Object.entries(complaints)) {
  t.test(`${name} starts alone in an empty folder`, async (t) => {
    const alone = join(folder, name);
    mkdirSync(join(alone, 'root'), { recursive: true });
    copyFileSync(join(top, 'dist', `${name}.mjs`), join(alone, `${name}.mjs`));
    const args =
      name === 'gpg-client'
        ? ['--version']
        : ['build-infra-vm', 'build-infra-command', 'build-infra', 'local'].includes(name)
          ? ['--help']
          : [];
    const said = await new Promise<string>((resolve) => {
      execFile(
        process.execPath,
        [join(alone, `${name}.mjs`), ...args],
        {
          cwd: alone,
          env: { PATH: '/usr/bin:/bin', HOME: alone, BUILD_INFRA_ROOT: join(alone, 'root') },
          timeout: 120_000,
        },
        (_error, stdout, stderr) => resolve(stdout + stderr),
      );
    });
    t.match(said, complaint);
    t.notMatch(said, /ERR_MODULE_NOT_FOUND|Cannot find module|at ModuleJob|node:internal/);
  });
}

t.test("no agent can be compiled against another VM's folder", (t) => {
  const references = (agent: string): string[] =>
    (
      JSON.parse(readFileSync(join(top, 'agents', agent, 'tsconfig.json'), 'utf8')) as {
        references?: { path: string }[];
      }
    ).references?.map(({ path }) => path) ?? [];
  t.strictSame(references('build-vm'), ['../shared', '../published', '../engines']);
  t.strictSame(references('audit'), ['../shared', '../published']);
  t.strictSame(references('vm-commands'), ['../shared', '../doctor']);
  for (const agent of [
    'published',
    'engines',
    'keys',
    'build-logs',
    'sys-net',
    'notifier',
    'command',
    'doctor',
  ])
    t.strictSame(references(agent), ['../shared'], agent);
  t.strictSame(references('shared'), []);
  t.end();
});
