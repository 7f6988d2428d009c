// SPDX-License-Identifier: GPL-2.0-or-later
// What a well signed tree may hold, and what it may not do to this VM.
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { alice, endForge, keys, situation } from './fetching.js';
import { tinyPackage, type TestRepository } from './forge.js';

t.teardown(endForge);

const trees: [
  name: string,
  files: (repository: TestRepository) => Parameters<TestRepository['tree']>[0],
  code: RegExp,
][] = [
  ['a path out of the tree', () => [{ path: '../escaped', content: 'x' }], /^(?:UNSAFE_PATH|BAD_OBJECT)$/],
  [
    'a .git folder with configuration',
    () => [{ path: '.git/config', content: '[core]\n\tfsmonitor = touch /tmp/owned\n' }],
    /^(?:UNSAFE_PATH|BAD_OBJECT)$/,
  ],
  ['a .GIT folder', () => [{ path: 'deep/.GIT/config', content: 'x' }], /^(?:UNSAFE_PATH|BAD_OBJECT)$/],
  ['an absolute link', () => [{ path: 'link', content: '/etc/passwd', mode: '120000' }], /^UNSAFE_SYMLINK$/],
  [
    'a link that climbs out',
    () => [{ path: 'a/link', content: '../../x', mode: '120000' }],
    /^UNSAFE_SYMLINK$/,
  ],
  [
    'a link that climbs after a name',
    () => [{ path: 'a/link', content: 'b/../../..', mode: '120000' }],
    /^UNSAFE_SYMLINK$/,
  ],
  [
    'a submodule and no .gitmodules',
    () => [{ path: 'sub', mode: '160000', id: '1'.repeat(40) }],
    /^SUBMODULE$/,
  ],
  ['a name with a newline', () => [{ path: 'a\nb', content: 'x' }], /^UNSAFE_PATH$/],
];
for (const [name, files, code] of trees) {
  void t.test(`a tree with ${name} is refused, and nothing lies outside`, async (t) => {
    const s = situation(t);
    s.repository.release(keys, [alice], 'v1.0-1', tinyPackage('1.0-1', [...files(s.repository)]));
    t.match(await s.code(), code);
    t.notOk(existsSync(join(tmpdir(), 'escaped')));
  });
}

void t.test('a link and a file below it cannot write through the link', async (t) => {
  const s = situation(t);
  const outside = mkdtempSync(join(tmpdir(), 'bi-outside-'));
  t.teardown(() => rmSync(outside, { recursive: true }));
  const inner = s.repository.tree([{ path: 'planted', content: 'x' }]);
  const blob = s.repository.blob('hello-dir');
  const base = s.repository
    .git(['ls-tree', s.repository.tree(tinyPackage('1.0-1'))])
    .split('\n')
    .map((line) => {
      const [mode, , rest] = line.split(' ') as [string, string, string];
      const [id, entry] = rest.split('\t') as [string, string];
      return { mode, id, name: entry };
    });
  const tree = s.repository.rawTree([
    ...base,
    { mode: '120000', name: 'x', id: blob },
    { mode: '40000', name: 'x', id: inner },
  ]);
  const text = s.repository.tagText('v1.0-1', s.repository.commit(tree));
  s.repository.ref('v1.0-1', s.repository.tagObject(text + keys.sign([alice], text)));
  t.not(await s.code(), 'none');
  t.same(readdirSync(outside), []);
});

void t.test('attributes, filters and hooks of the repository and of the tree run nothing', async (t) => {
  const s = situation(t);
  const marker = join(mkdtempSync(join(tmpdir(), 'bi-marker-')), 'owned');
  t.teardown(() => rmSync(join(marker, '..'), { recursive: true }));
  const home = mkdtempSync(join(tmpdir(), 'bi-home-'));
  t.teardown(() => rmSync(home, { recursive: true }));
  writeFileSync(
    join(home, '.gitconfig'),
    `[filter "evil"]\n\tsmudge = touch ${marker}\n\tprocess = touch ${marker}\n[core]\n\tfsmonitor = touch ${marker}\n\thooksPath = ${home}/hooks\n[gpg]\n\tprogram = touch ${marker}\n`,
  );
  mkdirSync(join(home, 'hooks'));
  for (const hook of ['post-checkout', 'reference-transaction', 'post-merge', 'pre-auto-gc'])
    writeFileSync(join(home, 'hooks', hook), `#!/bin/sh\ntouch ${marker}\n`, { mode: 0o755 });
  const before = process.env['HOME'];
  process.env['HOME'] = home;
  t.teardown(() => {
    process.env['HOME'] = before;
  });
  s.repository.release(
    keys,
    [alice],
    'v1.0-1',
    tinyPackage('1.0-1', [
      {
        path: '.gitattributes',
        content:
          '* filter=evil ident export-subst eol=crlf working-tree-encoding=UTF-16\nhidden export-ignore\n',
      },
      { path: 'hidden', content: '$Id$ $Format:%H$\n' },
      { path: '.gitmodules', content: '[submodule "x"]\n\tpath = x\n\turl = https://example.org/x\n' },
      { path: 'hooks/post-checkout', content: `#!/bin/sh\ntouch ${marker}\n`, mode: '100755' },
    ]),
  );
  const { folder } = await s.fetch();
  t.notOk(existsSync(marker));
  t.equal(
    readFileSync(join(folder, 'source/hidden'), 'utf8'),
    '$Id$ $Format:%H$\n',
    'bytes are as committed',
  );
});

void t.test('links inside the tree are kept', async (t) => {
  const s = situation(t);
  s.repository.release(
    keys,
    [alice],
    'v1.0-1',
    tinyPackage('1.0-1', [{ path: 'a/link', content: '../hello-tiny.sh', mode: '120000' }]),
  );
  const { folder } = await s.fetch();
  t.equal(readFileSync(join(folder, 'source/a/link'), 'utf8'), '#!/bin/sh\necho hello tiny\n');
});
