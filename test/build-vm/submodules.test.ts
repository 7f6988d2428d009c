// SPDX-License-Identifier: GPL-2.0-or-later
// Submodules from a real forge: what the tag's signature reaches, and what a signed tree must not make of it.
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { roomOfTrees } from '../../agents/build-vm/source/source-tree.js';
import { exportSubmodules, resolveUrl, submoduleUrls } from '../../agents/build-vm/source/submodules.js';
import { AnyRefusal } from '../../agents/shared/refusal.js';
import { alice, endForge, forge, keys, situation, type Situation } from './fetching.js';
import { tinyPackage, type TestRepository, type TreeFile } from './forge.js';

t.teardown(endForge);

let count = 0;
function library(files: TreeFile[] = [{ path: 'lib/code.c', content: 'int x;\n' }]): {
  url: string;
  name: string;
  commit: string;
  repository: TestRepository;
} {
  const name = `library${count++}`;
  const repository = forge.create(name);
  const commit = repository.commit(repository.tree(files));
  repository.git(['update-ref', 'refs/heads/main', commit]);
  return { url: forge.url(name), name, commit, repository };
}
const section = (path: string, url: string, more = ''): string =>
  `[submodule "${path}"]\n\tpath = ${path}\n\turl = ${url}\n${more}`;
const gitlink = (path: string, commit: string): TreeFile => ({ path, mode: '160000', id: commit });
const modules = (...sections: string[]): TreeFile => ({ path: '.gitmodules', content: sections.join('') });
function released(t: Parameters<typeof situation>[0], extra: TreeFile[]): Situation {
  const s = situation(t);
  s.repository.release(keys, [alice], 'v1.0-1', tinyPackage('1.0-1', extra));
  return s;
}
const codeOf = (work: () => unknown): string => {
  try {
    work();
    return 'none';
  } catch (error) {
    return error instanceof AnyRefusal ? error.code : String(error);
  }
};

void t.test(
  'a submodule is fetched by its commit, and its files are in the tree and the manifest',
  async (t) => {
    const { url, commit, repository } = library([
      { path: 'lib/code.c', content: 'int x;\n' },
      { path: 'tool', content: '#!/bin/sh\n', mode: '100755' },
      { path: 'link', content: 'lib/code.c', mode: '120000' },
    ]);
    // The branch went on: the commit is no longer its head.
    const later = repository.git([
      'commit-tree',
      repository.tree([{ path: 'lib/code.c', content: 'int y;\n' }]),
      '-p',
      commit,
      '-m',
      'later',
    ]);
    repository.git(['update-ref', 'refs/heads/main', later]);
    const s = released(t, [modules(section('third/library', url)), gitlink('third/library', commit)]);
    const { folder, lines, evidence } = await s.fetch();
    t.equal(readFileSync(join(folder, 'source/third/library/lib/code.c'), 'utf8'), 'int x;\n');
    t.equal(lstatSync(join(folder, 'source/third/library/tool')).mode & 0o777, 0o755);
    const times = ['source', 'source/third', 'source/third/library', 'source/hello-tiny.sh'].map(
      (path) => lstatSync(join(folder, path)).mtimeMs,
    );
    t.strictSame(new Set(times).size, 1, 'nothing looks newer than anything else');
    t.match(
      lines.find((line) => line.startsWith('submodule ')),
      new RegExp(`^submodule third/library: commit ${commit} of ${url}, 3 files`),
    );
    t.strictSame(
      lines.filter((line) => /^[0-9a-f]{64} /.test(line)).map((line) => line.slice(72)),
      [
        '.gitmodules',
        'debian/changelog',
        'debian/control',
        'debian/rules',
        'debian/source/format',
        'hello-tiny.sh',
        'third/library/lib/code.c',
        'third/library/link',
        'third/library/tool',
      ],
    );
    t.equal(evidence.manifest.files, 9);
    t.notOk(existsSync(join(folder, 'submodules')));
  },
);

const spec: TreeFile = {
  path: 'hello-tiny.spec.in',
  content: 'Name: hello-tiny\nVersion: 1.0\nRelease: 1%{?dist}\nSource1: @one@\n',
};
const buildFile = (listed: string, kind = 'rpm: build: [hello-tiny.spec]'): TreeFile => ({
  path: '.qubesbuilder',
  content: `vm:\n  ${kind.replace(': ', ':\n    ')}\nsource:\n  modules: ${listed}\n`,
});
const rpm = new Set(['rpm'] as const);

void t.test('modules that a tree lists are its submodules, with the commits that it pins', async (t) => {
  const [one, two] = [library(), library()];
  const all = [
    spec,
    modules(section('one', one.url), section('sub/two', two.url)),
    gitlink('one', one.commit),
    gitlink('sub/two', two.commit),
  ];
  t.strictSame((await released(t, [...all, buildFile('[one]')]).fetch('v1.0-1', { packages: rpm })).modules, {
    one: one.commit,
  });
  t.strictSame((await released(t, [...all, buildFile('[]')]).fetch('v1.0-1', { packages: rpm })).modules, {});
  for (const [what, listed, code] of [
    ['none of the tree', '[three]', 'BAD_SOURCE_FILES'],
    ['a folder that is no submodule', '[debian]', 'BAD_SOURCE_FILES'],
    ['a submodule below', '[sub/two]', 'BAD_SOURCE_FILES'],
    ['the name of one below', '[two]', 'BAD_SOURCE_FILES'],
    ['one twice', '[one, one]', 'BAD_SOURCE_FILES'],
    ['the parent', '[..]', 'BAD_SOURCE_FILES'],
    ['no list', 'one', 'BAD_SOURCE_FILES'],
    ['a table', '[{one: two}]', 'BAD_SOURCE_FILES'],
  ] as const)
    t.equal(await released(t, [...all, buildFile(listed)]).code('v1.0-1', { packages: rpm }), code, what);
  t.equal(
    await released(t, [...all, buildFile('[one]', 'deb: build: [debian]')]).code('v1.0-1'),
    'NOT_DONE_HERE',
    'Debian packaging knows none',
  );
  t.equal(
    await released(t, [spec, { path: 'one/x', content: 'x' }, buildFile('[one]')]).code('v1.0-1', {
      packages: rpm,
    }),
    'BAD_SOURCE_FILES',
    'a tree without submodules pins nothing',
  );
});

void t.test("an address beside the component's own is one there", async (t) => {
  const { name, commit } = library();
  const { folder } = await released(t, [
    modules(section('sub', `../${name}.git`)),
    gitlink('sub', commit),
  ]).fetch();
  t.ok(existsSync(join(folder, 'source/sub/lib/code.c')));
});

void t.test('submodules of submodules are fetched three deep, and no deeper', async (t) => {
  let { url, commit } = library();
  for (let depth = 1; depth <= 4; depth++) {
    const s = released(t, [modules(section('sub', url)), gitlink('sub', commit)]);
    t.equal(await s.code(), depth <= 3 ? 'none' : 'SUBMODULE', `${depth} deep`);
    if (depth <= 3)
      t.ok(existsSync(join(s.folder, 'source', ...Array<string>(depth).fill('sub'), 'lib/code.c')));
    ({ url, commit } = library([modules(section('sub', url)), gitlink('sub', commit)]));
  }
});

for (const [what, files, code] of [
  ['has no .gitmodules', () => [gitlink('sub', library().commit)], /^SUBMODULE$/],
  [
    'is not in .gitmodules',
    () => [modules(section('other', library().url)), gitlink('sub', library().commit)],
    /^SUBMODULE$/,
  ],
  [
    'is in .gitmodules twice',
    () => [
      modules(section('sub', library().url), section('sub', library().url).replace('"sub"', '"again"')),
      gitlink('sub', library().commit),
    ],
    /^SUBMODULE$/,
  ],
  [
    'has a .gitmodules that is no configuration',
    () => [modules('[submodule\n'), gitlink('sub', library().commit)],
    /^(?:SUBMODULE|BAD_OBJECT)$/,
  ],
  [
    'has a .gitmodules that is a link',
    () => [
      { path: '.gitmodules', mode: '120000', content: 'hello-tiny.sh' },
      gitlink('sub', library().commit),
    ],
    /^(?:SUBMODULE|BAD_OBJECT)$/,
  ],
  [
    'wants a program to be run',
    () => [
      modules(section('sub', library().url, '\tupdate = !touch /tmp/owned\n')),
      gitlink('sub', library().commit),
    ],
    /^(?:SUBMODULE|BAD_OBJECT)$/,
  ],
  [
    'lies at a file address',
    () => [modules(section('sub', `file://${forge.folder}/library0.git`)), gitlink('sub', library().commit)],
    /^SUBMODULE$/,
  ],
  [
    'lies at a path',
    () => [modules(section('sub', `${forge.folder}/library0.git`)), gitlink('sub', library().commit)],
    /^SUBMODULE$/,
  ],
  [
    'lies at an address that is a program',
    () => [modules(section('sub', 'ext::sh -c touch% /tmp/owned')), gitlink('sub', library().commit)],
    /^SUBMODULE$/,
  ],
  [
    'lies at an address that is an option',
    () => [modules(section('sub', '--upload-pack=touch /tmp/owned')), gitlink('sub', library().commit)],
    /^(?:SUBMODULE|BAD_OBJECT)$/,
  ],
  [
    'lies above its host',
    () => [modules(section('sub', '../../../../x.git')), gitlink('sub', library().commit)],
    /^(?:SUBMODULE|BAD_OBJECT)$/,
  ],
  [
    'has a commit that its forge does not have',
    () => [modules(section('sub', library().url)), gitlink('sub', 'a'.repeat(40))],
    /^SUBMODULE$/,
  ],
  [
    'has the id of a tree',
    () => {
      const one = library();
      return [
        modules(section('sub', one.url)),
        gitlink('sub', one.repository.git(['rev-parse', `${one.commit}^{tree}`])),
      ];
    },
    /^(?:BAD_OBJECT|SUBMODULE)$/,
  ],
  [
    'has the id of a tag of a commit',
    () => {
      const one = library();
      const tag = one.repository.tagObject(one.repository.tagText('v1', one.commit));
      one.repository.ref('v1', tag);
      return [modules(section('sub', one.url)), gitlink('sub', tag)];
    },
    /^(?:BAD_OBJECT|SUBMODULE)$/,
  ],
  [
    'lies at a path out of the tree',
    () => [modules(section('../sub', library().url)), gitlink('../sub', library().commit)],
    /^(?:UNSAFE_PATH|BAD_OBJECT)$/,
  ],
  [
    'lies in .git',
    () => [modules(section('.git/sub', library().url)), gitlink('.git/sub', library().commit)],
    /^(?:UNSAFE_PATH|BAD_OBJECT)$/,
  ],
  [
    'holds a link out of it',
    () => {
      const one = library([{ path: 'link', mode: '120000', content: '../hello-tiny.sh' }]);
      return [modules(section('sub', one.url)), gitlink('sub', one.commit)];
    },
    /^UNSAFE_SYMLINK$/,
  ],
  [
    'holds a .git folder',
    () => {
      const one = library([{ path: '.git/config', content: 'x' }]);
      return [modules(section('sub', one.url)), gitlink('sub', one.commit)];
    },
    /^(?:UNSAFE_PATH|BAD_OBJECT)$/,
  ],
  [
    'is at a forge that is away',
    () => [modules(section('sub', 'git://127.0.0.1:1/x.git')), gitlink('sub', library().commit)],
    /^FORGE_UNREACHABLE$/,
  ],
] as [string, () => TreeFile[], RegExp][]) {
  void t.test(`a submodule that ${what} is refused`, async (t) => {
    const s = released(t, files());
    t.match(await s.code(), code);
    t.notOk(existsSync('/tmp/owned'));
    t.notOk(existsSync(join(s.folder, 'submodules')));
  });
}

void t.test('a submodule in the place of a file, of a link or below one is refused', async (t) => {
  const { url, commit } = library();
  for (const [mode, path] of [
    ['100644', 'x'],
    ['120000', 'x'],
    ['120000', 'x/sub'],
  ] as const) {
    const s = situation(t);
    const inner =
      path === 'x'
        ? { mode: '160000', id: commit }
        : { mode: '40000', id: s.repository.rawTree([{ mode: '160000', name: 'sub', id: commit }]) };
    const base = s.repository
      .git(['ls-tree', s.repository.tree(tinyPackage('1.0-1', [modules(section(path, url))]))])
      .split('\n')
      .map((line) => {
        const [its, , rest] = line.split(' ') as [string, string, string];
        const [id, name] = rest.split('\t') as [string, string];
        return { mode: its, id, name };
      });
    const tree = s.repository.rawTree([
      ...base,
      { mode, name: 'x', id: s.repository.blob('hello-dir') },
      { ...inner, name: 'x' },
    ]);
    const text = s.repository.tagText('v1.0-1', s.repository.commit(tree));
    s.repository.ref('v1.0-1', s.repository.tagObject(text + keys.sign([alice], text)));
    t.match(await s.code(), /^(?:SUBMODULE|BAD_OBJECT)$/);
    t.notOk(existsSync(join(s.folder, 'source/hello-dir')));
  }
});

void t.test(
  'a submodule is not written over a file, over a folder or through a link, whatever git let pass',
  async (t) => {
    const { url, commit, repository } = library();
    for (const path of ['file', 'folder', 'link', 'link/sub', 'file/sub']) {
      const folder = mkdtempSync(join(tmpdir(), 'bi-sub-'));
      t.teardown(() => rmSync(folder, { recursive: true }));
      for (const made of ['tree/folder', 'outside']) mkdirSync(join(folder, made), { recursive: true });
      writeFileSync(join(folder, 'tree/file'), 'mine');
      symlinkSync('../outside', join(folder, 'tree/link'));
      const content = section(path, url);
      const exported = {
        files: 1,
        bytes: 0,
        sha256: '',
        lines: [],
        entries: [
          {
            mode: '100644' as const,
            blob: repository.blob(content),
            size: content.length,
            path: '.gitmodules',
          },
        ],
        gitlinks: [{ path, commit }],
      };
      const options = {
        tree: join(folder, 'tree'),
        work: join(folder, 'work'),
        time: 1,
        room: roomOfTrees(),
        forge: { sshConfig: '/dev/null', timeoutMs: 30_000 },
      };
      t.equal(
        await exportSubmodules({ folder: repository.folder }, exported, url, options, {
          say: () => undefined,
        }).then(
          () => 'none',
          (error: unknown) => (error instanceof AnyRefusal ? error.code : String(error)),
        ),
        'SUBMODULE',
        path,
      );
      t.strictSame(
        [readdirSync(join(folder, 'outside')), readFileSync(join(folder, 'tree/file'), 'utf8')],
        [[], 'mine'],
      );
    }
  },
);

void t.test('submodules share one limit with the tree', async (t) => {
  const { url, commit, repository } = library();
  const folder = mkdtempSync(join(tmpdir(), 'bi-sub-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const content = section('sub', url);
  const exported = {
    files: 1,
    bytes: 0,
    sha256: '',
    lines: [],
    entries: [
      { mode: '100644' as const, blob: repository.blob(content), size: content.length, path: '.gitmodules' },
    ],
    gitlinks: [{ path: 'sub', commit }],
  };
  for (const [room, code] of [
    [{ files: 0, bytes: 1000 }, 'TOO_LARGE'],
    [{ files: 10, bytes: 6 }, 'TOO_LARGE'],
    [{ files: 1, bytes: 7 }, 'none'],
  ] as const) {
    mkdirSync(join(folder, 'tree'));
    const options = {
      tree: join(folder, 'tree'),
      work: join(folder, 'work'),
      time: 1,
      room: { ...room },
      forge: { sshConfig: '/dev/null', timeoutMs: 30_000 },
    };
    t.equal(
      await exportSubmodules({ folder: repository.folder }, exported, url, options, {
        say: () => undefined,
      }).then(
        () => 'none',
        (error: unknown) => (error instanceof AnyRefusal ? error.code : String(error)),
      ),
      code,
    );
    rmSync(join(folder, 'tree'), { recursive: true });
  }
});

void t.test('the address of a submodule is one that a component may have', (t) => {
  for (const [base, url, is] of [
    ['https://forge.example/group/hello.git', '../library.git', 'https://forge.example/group/library.git'],
    ['https://forge.example/group/hello.git', './library', 'https://forge.example/group/hello.git/library'],
    [
      'ssh://git@forge.example:22/group/hello.git',
      '../../other/library',
      'ssh://git@forge.example:22/other/library',
    ],
    ['https://forge.example/hello', 'https://other.example/x', 'https://other.example/x'],
  ] as const)
    t.equal(resolveUrl(base, url), is);
  for (const url of [
    'file:///x',
    'ext::sh',
    '-x',
    '--upload-pack=x',
    '/x',
    'x',
    'http://forge.example/x',
    'https://user:secret@forge.example/x',
    'https://forge.example/a/../b',
    'git@forge.example:x',
    'https://-x/y',
    '../../../x',
    '',
    'https://forge.example/a b',
    'HTTPS://forge.example/x',
  ]) {
    t.equal(
      codeOf(() => resolveUrl('https://forge.example/group/hello', url)),
      'SUBMODULE',
      url,
    );
  }
  t.end();
});

void t.test('what .gitmodules says is read in one way alone', (t) => {
  const links = [{ path: 'sub', commit: 'a'.repeat(40) }];
  const settings = (...lines: string[]): string => lines.map((line) => `${line}\0`).join('');
  const path = 'submodule.x.y.path\nsub';
  const url = 'submodule.x.y.url\nhttps://forge.example/x';
  const of = (...lines: string[]): string =>
    codeOf(() => submoduleUrls(settings(...lines), links, 'https://forge.example/group/hello'));
  t.strictSame(
    submoduleUrls(
      settings('core.editor\ntouch /tmp/owned', path, url, 'submodule.x.y.update\nnone'),
      links,
      'https://forge.example/hello',
    ),
    new Map([['sub', 'https://forge.example/x']]),
  );
  t.equal(of(path, url, 'submodule.x.y.update\n!touch /tmp/owned'), 'SUBMODULE');
  t.equal(of(path, url, 'submodule.x.y.url\nhttps://forge.example/y'), 'SUBMODULE');
  t.equal(of(path), 'SUBMODULE');
  t.equal(of(url), 'SUBMODULE');
  t.equal(of(path, 'submodule.x.y.url'), 'SUBMODULE');
  t.equal(of(path, url, 'submodule.z.path\nsub', 'submodule.z.url\nhttps://forge.example/z'), 'SUBMODULE');
  t.end();
});

void t.test("what a kill left of submodules is in nobody's way", async (t) => {
  const { url, commit } = library();
  const s = released(t, [modules(section('sub', url)), gitlink('sub', commit)]);
  t.equal(await s.code(), 'none');
  const before = readdirSync(join(s.folder, 'source/sub'));
  mkdirSync(join(s.folder, 'submodules/1.git/objects'), { recursive: true });
  t.equal(await s.code(), 'none');
  t.strictSame(readdirSync(join(s.folder, 'source/sub')), before);
});
