// SPDX-License-Identifier: GPL-2.0-or-later
// Which tag is fetched at all: each is bad in one way and good in all others; the forge is a real one.
import { createHash } from 'node:crypto';
import { existsSync, lstatSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { versionOfTag } from '../../agents/build-vm/configuration/version-tag.js';
import { listRemoteTags } from '../../agents/build-vm/source/git.js';
import { writeIntent } from '../../agents/build-vm/gpg-client/intent-call.js';
import { readJobContext } from '../../agents/build-vm/gpg-client/settings.js';
import type { Job } from '../../agents/build-vm/jobs/job-document.js';
import { JobQueue } from '../../agents/build-vm/jobs/job-queue.js';
import { writeGpgJob } from '../../agents/build-vm/gate/signed-files.js';
import type { AnyRefusal } from '../../agents/shared/refusal.js';
import { fetchTarget, type FetchTarget } from '../../agents/build-vm/stages/fetch-stage.js';
import { alice, endForge, forge, keys, situation } from './fetching.js';
import { tinyPackage } from './forge.js';

t.teardown(endForge);

void t.test('a good tag is fetched, and the evidence says who signed what', async (t) => {
  const s = situation(t);
  const { commit, object } = s.repository.release(keys, [alice], 'v1.0-1', tinyPackage('1.0-1'));
  const { evidence, folder, lines } = await s.fetch();
  t.match(evidence, {
    tagObject: object,
    commit,
    signers: [{ name: 'alice', fingerprint: alice.fingerprint }],
    manifest: { files: 5 },
  });
  t.equal(readFileSync(join(folder, 'source/hello-tiny.sh'), 'utf8'), '#!/bin/sh\necho hello tiny\n');
  t.equal(lstatSync(join(folder, 'source/hello-tiny.sh')).mode & 0o777, 0o755);
  t.match(lines.join('\n'), new RegExp(`signed by alice ${alice.fingerprint}`));
  t.notOk(existsSync(join(folder, 'repository.git')));
});

void t.test('intents name the line of the log that says who signed which tag, commit and tree', async (t) => {
  const s = situation(t);
  const { commit, object } = s.repository.release(keys, [alice], 'v1.0-1', tinyPackage('1.0-1'));
  const { evidence, folder, lines } = await s.fetch();
  const line = lines.find((one) => one.startsWith('evidence '))?.slice('evidence '.length) as string;
  t.match(JSON.parse(line), {
    tag: 'v1.0-1',
    tagObject: object,
    commit,
    tree: /^[0-9a-f]{40}$/,
    signers: [{ name: 'alice', fingerprint: alice.fingerprint }],
    manifest: { sha256: /^[0-9a-f]{64}$/ },
  });
  t.match(line, /^[\x20-\x7e]+$/, 'the receiver of logs changes nothing of it');
  const built = { name: 'a.deb', size: 1, sha256: 'a'.repeat(64) };
  const job = {
    job: 'hello-tiny-1.0-1-aaaaaaaaaaaa',
    component: 'hello-tiny',
    version: '1.0-1',
    logs: [],
    evidence,
    artifacts: [{ dist: 'bookworm', files: [built] }],
  } as unknown as Job;
  const told = join(folder, 'gpg-job.json');
  writeGpgJob(told, job, 'bookworm');
  const context = readJobContext(readFileSync(told, 'utf8'), new Date());
  const intent = JSON.parse(
    writeIntent(context, [{ purpose: 'other', key: 'F'.repeat(40), mode: 'detach', payload: built }]),
  ) as { artifacts: object[] };
  t.strictSame(intent.artifacts, [
    built,
    {
      name: 'source-evidence.json',
      size: line.length,
      sha256: createHash('sha256').update(line).digest('hex'),
    },
  ]);
});

void t.test("a tagger's name is whole in the evidence, whose line is ASCII all the same", async (t) => {
  const s = situation(t);
  const commit = s.repository.commit(s.repository.tree(tinyPackage('1.0-1')));
  const text = s.repository.tagText('v1.0-1', commit).replace('Alice', 'Alicja G\u00f3recka \u{1f98a}\u202e');
  s.repository.ref('v1.0-1', s.repository.tagObject(text + keys.sign([alice], text)));
  const { evidence, lines } = await s.fetch();
  t.match(evidence.tagger, /^Alicja G\u00f3recka \ud83e\udd8a\. <alice@example\.org>/);
  const line = lines.find((one) => one.startsWith('evidence '))?.slice('evidence '.length) as string;
  t.match(line, /^[\x20-\x7e]+$/);
  t.strictSame(JSON.parse(line), JSON.parse(JSON.stringify(evidence)));
});

void t.test('a lightweight tag is refused', async (t) => {
  const s = situation(t);
  s.repository.ref('v1.0-1', s.repository.commit(s.repository.tree(tinyPackage('1.0-1'))));
  t.equal(await s.code(), 'NOT_ANNOTATED');
});

void t.test('a signed tag object under another ref name is refused', async (t) => {
  const s = situation(t);
  const { object } = s.repository.release(keys, [alice], 'v1.0-1', tinyPackage('1.0-1'));
  s.repository.ref('v2.0-1', object);
  t.equal(await s.code('v2.0-1'), 'TAG_NAME_MISMATCH');
});

void t.test('a lower version than one that was verified is refused', async (t) => {
  const s = situation(t);
  s.repository.release(keys, [alice], 'v1.0-1', tinyPackage('1.0-1'));
  t.equal(
    await s.code('v1.0-1', {
      highest: { version: '1.0-1+deb1', tagObject: 'f'.repeat(40), job: 'x', tag: '', sources: {} },
    }),
    'ROLLBACK',
  );
});

void t.test('the same version from another tag object is refused', async (t) => {
  const s = situation(t);
  s.repository.release(keys, [alice], 'v1.0-1', tinyPackage('1.0-1'));
  t.equal(
    await s.code('v1.0-1', {
      highest: { version: '1.0-1', tagObject: 'f'.repeat(40), job: 'x', tag: '', sources: {} },
    }),
    'ROLLBACK',
  );
});

void t.test('a tag whose version is not the one in debian/changelog is refused', async (t) => {
  const s = situation(t);
  s.repository.release(keys, [alice], 'v1.0-1', tinyPackage('1.0-2'));
  t.equal(await s.code(), 'VERSION_MISMATCH');
});

void t.test(
  "a tag of Qubes' shape stands for the changelog that version and rel make, and for no other",
  async (t) => {
    const files = (version: string, rel?: string): { path: string; content: string }[] => [
      { path: '.qubesbuilder', content: '' },
      { path: 'version', content: `${version}\n` },
      ...(rel === undefined ? [] : [{ path: 'rel', content: `${rel}\n` }]),
    ];
    for (const [what, tag, changelog, extra, code] of [
      ['no rel', 'v4.4.2', '4.4.2-1', files('4.4.2'), 'none'],
      ['the revision in the tag', 'v4.4.2-1', '4.4.2-1', files('4.4.2'), 'none'],
      ['a native package', 'v4.3.19', '4.3.19', files('4.3.19'), 'none'],
      ['rel', 'v6.6.54-2', '6.6.54-2', files('6.6.54', '2'), 'none'],
      ['a candidate', 'v4.2.0-rc3', '4.2.0~rc3-1', files('4.2.0-rc3'), 'none'],
      ["a candidate in dpkg's words", 'v4.2.0_rc3', '4.2.0~rc3-1', files('4.2.0~rc3'), 'none'],
      ['a candidate with rel', 'v6.7-rc1-2', '6.7~rc1-2', files('6.7-rc1', '2'), 'none'],
      ['no such files', 'v4.4.2', '4.4.2-1', [], 'none'],
      ['an epoch in the tag', 'v1%4.4.2', '1:4.4.2-1', files('4.4.2'), 'none'],
      ['an epoch that the tag does not say', 'v4.4.2', '1:4.4.2-1', files('4.4.2'), 'VERSION_MISMATCH'],
      ['rel that the tag does not say', 'v6.6.54', '6.6.54-2', files('6.6.54', '2'), 'VERSION_MISMATCH'],
      ['another revision than rel', 'v4.4.2', '4.4.2-1', files('4.4.2', '2'), 'VERSION_MISMATCH'],
      ['another version file', 'v4.4.2', '4.4.2-1', files('4.4.1'), 'VERSION_MISMATCH'],
      ["a release under a candidate's tag", 'v4.2.0-rc3', '4.2.0-1', files('4.2.0'), 'VERSION_MISMATCH'],
      ['an upstream version that goes on', 'v4.4.2', '4.4.2+git1-1', [], 'VERSION_MISMATCH'],
      ['a version file without a version', 'v4.4.2', '4.4.2-1', files(''), 'VERSION_MISMATCH'],
      [
        "a file called version in a tree that is not Qubes'",
        'v4.4.2',
        '4.4.2-1',
        files('9').slice(1),
        'none',
      ],
    ] as const) {
      const s = situation(t);
      s.repository.release(keys, [alice], tag, tinyPackage(changelog, [...extra]));
      t.equal(await s.code(tag, { version: versionOfTag('v{version}', tag) as string }), code, what);
    }
  },
);

void t.test(
  'a signed tag of one component is refused under another one, whose versions it would continue',
  async (t) => {
    const s = situation(t);
    const { object } = s.repository.release(keys, [alice], 'v1.0-1', tinyPackage('1.0-1'));
    const older = { version: '0.9-1', tagObject: 'f'.repeat(40), job: 'x', tag: 'v0.9-1', sources: {} };
    t.equal(
      await s.code('v1.0-1', { highest: { ...older, sources: { deb: 'hello-large' } } }),
      'OTHER_SOURCE_PACKAGE',
    );
    t.equal(await s.code('v1.0-1', { componentsOf: ['hello-other'] }), 'OTHER_SOURCE_PACKAGE');
    t.equal(
      await s.code('v1.0-1', {
        highest: { ...older, sources: { deb: 'hello-tiny' } },
        componentsOf: ['hello-tiny'],
      }),
      'none',
    );
    t.equal(await s.code('v1.0-1', { highest: older }), 'none');

    const folder = mkdtempSync(join(tmpdir(), 'bi-queue-'));
    t.teardown(() => rmSync(folder, { recursive: true }));
    const queue = new JobQueue(join(folder, 'jobs'), join(folder, 'highest'));
    queue.rememberHighest('hello-tiny', {
      version: '1.0-1',
      tagObject: object,
      job: 'x',
      tag: '',
      sources: { deb: 'hello-tiny' },
    });
    queue.rememberHighest('hello.json', {
      version: '1.0-1',
      tagObject: object,
      job: 'x',
      tag: '',
      sources: {},
    });
    t.same(queue.componentsOf('deb', 'hello-tiny'), ['hello-tiny']);
    t.same(queue.componentsOf('deb', 'hello'), []);
    queue.rememberHighest('hello-both', {
      version: '1.0-1',
      tagObject: object,
      job: 'x',
      tag: '',
      sources: { deb: 'hello-both', rpm: 'python-hello' },
    });
    t.same(
      [
        queue.componentsOf('deb', 'hello-both'),
        queue.componentsOf('rpm', 'python-hello'),
        queue.componentsOf('rpm', 'hello-both'),
      ],
      [['hello-both'], ['hello-both'], []],
    );
    queue.rememberHighest('hello-both', {
      version: '1.0-2',
      tagObject: object,
      job: 'y',
      tag: '',
      sources: { deb: 'hello-both' },
    });
    t.same(
      queue.highest('hello-both')?.sources,
      { deb: 'hello-both', rpm: 'python-hello' },
      'what is known of a kind stays known',
    );
  },
);

void t.test('a component stays itself when the farm builds of it for other kinds of packages', async (t) => {
  const s = situation(t);
  const spec = {
    path: 'python-hello.spec',
    content: 'Name: python-hello\nVersion: 1.0\nRelease: 1\nSummary: x\nLicense: x\n%description\nx\n',
  };
  s.repository.release(keys, [alice], 'v1.0-1', [...tinyPackage('1.0-1'), spec]);
  const older = { version: '0.9-1', tagObject: 'f'.repeat(40), job: 'x', tag: 'v0.9-1', sources: {} };
  const kinds = (...packages: ('deb' | 'rpm')[]): { packages: Set<'deb' | 'rpm'> } => ({
    packages: new Set(packages),
  });
  for (const [what, sources, packages] of [
    ['RPMs came', { deb: 'hello-tiny' }, kinds('deb', 'rpm')],
    ['RPMs went', { deb: 'hello-tiny', rpm: 'python-hello' }, kinds('deb')],
    ['RPMs in the place of deb', { deb: 'hello-tiny' }, kinds('rpm')],
    ['published by the agent, no longer by the engine', {}, kinds('deb')],
    ['by the engine, no longer by the agent', { deb: 'hello-tiny' }, kinds()],
  ] as const)
    t.equal(await s.code('v1.0-1', { highest: { ...older, sources }, ...packages }), 'none', what);
  for (const [what, sources, packages] of [
    ['another name of one kind of two', { deb: 'hello-tiny', rpm: 'hello' }, kinds('deb', 'rpm')],
    ['another name of a kind that is not built any more', { deb: 'hello-large' }, kinds('rpm')],
  ] as const)
    t.equal(
      await s.code('v1.0-1', { highest: { ...older, sources }, ...packages }),
      'OTHER_SOURCE_PACKAGE',
      what,
    );
});

const spec = (name: string): { path: string; content: string } => ({
  path: `rpm_spec/${name}.spec.in`,
  content: `Name: ${name}\nVersion: @VERSION@\nRelease: 1%{?dist}\n`,
});
const listed = (content: string): { path: string; content: string } => ({ path: '.qubesbuilder', content });
const targets = (
  ...all: [name: string, packages: 'deb' | 'rpm', change?: object][]
): { targets: FetchTarget[] } => ({
  targets: all.map(([name, packages, change]) => fetchTarget({ name, packages, engine: 'x', ...change })),
});

void t.test(
  'a tree that builds nothing for a distribution says so, and is fetched for the others',
  async (t) => {
    const s = situation(t);
    s.repository.release(keys, [alice], 'v1.0', [
      listed('host:\n  rpm:\n    build: [rpm_spec/one.spec]\nvm-fc41:\n  rpm:\n    build: []\n'),
      spec('one'),
      { path: 'version', content: '1.0\n' },
    ]);
    const host = { options: { distribution: 'host-fc42' } };
    const { nothing, lines } = await s.fetch(
      'v1.0',
      targets(['bookworm', 'deb'], ['fc41', 'rpm'], ['fc42', 'rpm', host]),
    );
    t.same(nothing, ['bookworm', 'fc41']);
    t.match(lines.join('\n'), /nothing is built for bookworm: the tree's \.qubesbuilder says so/);
    t.same(
      (
        await s.fetch(
          'v1.0',
          targets(['bookworm', 'deb', { publisher: 'engine', options: { distribution: 'vm-bookworm' } }]),
        )
      ).nothing,
      ['bookworm'],
      'an engine that publishes itself is not asked either',
    );
  },
);

void t.test(
  'what is asked for and not done here is refused before anything is built, unless the engine is one that may do it',
  async (t) => {
    const s = situation(t);
    s.repository.release(
      keys,
      [alice],
      'v1.0',
      tinyPackage('1.0-1', [
        listed(
          'vm:\n  deb:\n    build: [debian]\n    source:\n      commands: [sed -i s/a/b/ debian/control]\n',
        ),
      ]),
    );
    t.equal(await s.code('v1.0'), 'NOT_DONE_HERE');
    t.equal(await s.code('v1.0', targets(['bookworm', 'deb', { publisher: 'engine' }])), 'none');
    t.equal(
      await s.code('v1.0', targets(['bookworm', 'deb', { publisher: 'engine' }], ['trixie', 'deb'])),
      'NOT_DONE_HERE',
      'one beside it is not',
    );
    const formula = situation(t);
    formula.repository.release(
      keys,
      [alice],
      'v1.0',
      tinyPackage('1.0-1', [{ path: 'FORMULA', content: '- no table\n' }]),
    );
    t.equal(await formula.code('v1.0'), 'BAD_FORMULA');
    const missing = situation(t);
    missing.repository.release(
      keys,
      [alice],
      'v1.0',
      tinyPackage('1.0-1', [listed('vm:\n  deb:\n    build: [debian-pkg/debian]\n')]),
    );
    t.equal(await missing.code('v1.0'), 'NOT_A_PACKAGE', 'packaging that is listed and not there');
  },
);

void t.test('a component with several specs is known by each of their names', async (t) => {
  const s = situation(t);
  s.repository.release(keys, [alice], 'v1.0', [
    listed('vm:\n  rpm:\n    build: [rpm_spec/one.spec, rpm_spec/two.spec]\n'),
    spec('one'),
    spec('two'),
    { path: 'version', content: '1.0\n' },
  ]);
  const rpm = targets(['fc41', 'rpm']);
  const older = { version: '0.9', tagObject: 'f'.repeat(40), job: 'x' };
  for (const [what, change, code] of [
    ['new', {}, 'none'],
    ['its first name', { highest: { ...older, sources: { rpm: 'one' } } }, 'none'],
    ['its second', { highest: { ...older, sources: { rpm: 'two' } } }, 'none'],
    ['another name', { highest: { ...older, sources: { rpm: 'three' } } }, 'OTHER_SOURCE_PACKAGE'],
    ['a name of a neighbour', { componentsOf: ['neighbour'] }, 'OTHER_SOURCE_PACKAGE'],
  ] as [string, NonNullable<Parameters<typeof s.fetch>[1]>, string][])
    t.equal(await s.code('v1.0', { ...rpm, ...change }), code, what);
});

void t.test('a tree without debian/changelog is refused', async (t) => {
  const s = situation(t);
  s.repository.release(keys, [alice], 'v1.0-1', [{ path: 'README', content: 'x' }]);
  t.equal(await s.code(), 'NOT_A_PACKAGE');
});

void t.test('a tag that was moved since the trigger is refused', async (t) => {
  const s = situation(t);
  const { object } = s.repository.release(keys, [alice], 'v1.0-1', tinyPackage('1.0-1'));
  s.repository.release(keys, [alice], 'v1.0-1', tinyPackage('1.0-1', [{ path: 'more', content: 'x' }]));
  t.equal(await s.code('v1.0-1', { object }), 'TAG_MOVED');
});

void t.test('a tag that is gone since the trigger is refused', async (t) => {
  const s = situation(t);
  s.repository.release(keys, [alice], 'v1.0-1', tinyPackage('1.0-1'));
  t.equal(await s.code('v1.0-2'), 'TAG_MOVED');
});

void t.test('a signed tag of a tree or of another tag is refused', async (t) => {
  const s = situation(t);
  const tree = s.repository.tree(tinyPackage('1.0-1'));
  const text = s.repository.tagText('v1.0-1', tree).replace('type commit', 'type tree');
  s.repository.ref('v1.0-1', s.repository.tagObject(text + keys.sign([alice], text)));
  t.equal(await s.code(), 'BAD_TAG');
});

void t.test('reports a forge that cannot be reached', async (t) => {
  const s = situation(t);
  s.component.url = 'git://127.0.0.1:1/nothing.git';
  t.equal(
    await listRemoteTags(s.component.url, { sshConfig: '/dev/null', timeoutMs: 60_000 }).then(
      () => 'none',
      (error: AnyRefusal) => error.code,
    ),
    'FORGE_UNREACHABLE',
  );
});

void t.test('a forge by a protocol that is not allowed is not asked', async (t) => {
  t.equal(
    await listRemoteTags(`file://${forge.folder}/hello0.git`, {
      sshConfig: '/dev/null',
      timeoutMs: 60_000,
    }).then(
      () => 'none',
      (error: AnyRefusal) => error.code,
    ),
    'FORGE_UNREACHABLE',
  );
});
