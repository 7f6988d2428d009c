// SPDX-License-Identifier: GPL-2.0-or-later
import { execFileSync } from 'node:child_process';
import t from 'tap';
import { gitObjectId, readGitCommit } from '../../agents/shared/formats/git-commit.js';
import {
  intentPath,
  payloadPath,
  readPublicationMessage,
  writePublicationMessage,
} from '../../agents/shared/formats/publication.js';
import { folderOf } from '../support/folders.js';

const folder = folderOf(t);
const env = {
  ...process.env,
  GNUPGHOME: folder,
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_AUTHOR_NAME: 'a',
  GIT_AUTHOR_EMAIL: 'a@x',
  GIT_COMMITTER_NAME: 'a',
  GIT_COMMITTER_EMAIL: 'a@x',
};
const run = (program: string, ...args: string[]): Buffer =>
  execFileSync(program, args, { cwd: folder, env, stdio: ['ignore', 'pipe', 'ignore'] });

t.test('a commit that git signed is taken apart and its signature covers the signed bytes', (t) => {
  t.teardown(() => run('gpgconf', '--kill', 'all'));
  run('gpg', '--batch', '--passphrase', '', '--quick-generate-key', 'logs@test', 'ed25519', 'sign', 'never');
  run('git', 'init', '-q', '.');
  const message = writePublicationMessage({
    subject: 'Publish',
    files: [{ path: 'vm/log_1', size: 3, sha256: 'a'.repeat(64) }],
    seq: 1,
  });
  run('git', '-c', 'user.signingKey=logs@test', 'commit', '-q', '-S', '--allow-empty', '-m', message);
  const raw = run('git', 'cat-file', 'commit', 'HEAD');
  const commit = readGitCommit(raw);
  t.equal(commit.id, run('git', 'rev-parse', 'HEAD').toString().trim());
  t.strictSame(commit.parents, []);
  t.match(commit.signature, /^-----BEGIN PGP SIGNATURE-----/);
  t.equal(gitObjectId('commit', raw), commit.id);
  t.notOk(commit.signedBytes.includes('gpgsig'));
  t.strictSame(readPublicationMessage(commit.message).files, [
    { path: 'vm/log_1', size: 3, sha256: 'a'.repeat(64) },
  ]);
  t.throws(() => readGitCommit(commit.signedBytes), { code: 'NOT_SIGNED' });
  const text = raw.toString();
  t.throws(
    () => readGitCommit(Buffer.from(text.replace('gpgsig ', 'encoding x\ngpgsig '))),
    { code: 'NOT_SIGNED' },
    'a header before the signature',
  );
  t.throws(
    () => readGitCommit(Buffer.from(text.replace('\n\n', '\nmergetag x\n\n'))),
    { code: 'BAD_COMMIT' },
    'a header after the signature',
  );
  t.throws(
    () => readGitCommit(Buffer.concat([raw, Buffer.from([0xff])])),
    { code: 'BAD_COMMIT' },
    'not UTF-8',
  );
  t.end();
});

t.test('a publication message has exactly one spelling', (t) => {
  const file = (path: string): string => `file ${path} 1 sha256:${'b'.repeat(64)}`;
  const good = ['Publish', '', file('a/b'), file('a/c'), 'seq: 7', ''].join('\n');
  t.equal(writePublicationMessage(readPublicationMessage(good)), good);
  const bad: [string, string][] = [
    ['lines out of order', ['Publish', '', file('a/c'), file('a/b'), 'seq: 7', ''].join('\n')],
    ['a path twice', ['Publish', '', file('a/b'), file('a/b'), 'seq: 7', ''].join('\n')],
    ['a path that climbs', ['Publish', '', file('a/../b'), 'seq: 7', ''].join('\n')],
    ['no newline at the end', good.slice(0, -1)],
    ['a sequence number with a zero in front', good.replace('seq: 7', 'seq: 07')],
    ['a line of another kind', good.replace('seq: 7', 'note: x\nseq: 7')],
    ['no empty line after the subject', good.replace('\n\n', '\n')],
    ['a hash in capitals', good.replace(/b{64}/, 'B'.repeat(64))],
  ];
  for (const [name, text] of bad)
    t.throws(() => readPublicationMessage(text), { code: 'BAD_PUBLICATION' }, name);
  t.end();
});

const id = (digit: string): string => digit.repeat(40);
const raw = (...lines: string[]): Buffer => Buffer.from(lines.join('\n'));
const codeOf = (work: () => unknown): string => {
  try {
    work();
    return 'read';
  } catch (error) {
    return (error as { code: string }).code;
  }
};

t.test('a commit is its headers in their order and nothing else', (t) => {
  const head = [
    `tree ${id('a')}`,
    `parent ${id('b')}`,
    `parent ${'c'.repeat(64)}`,
    'author A <a@x> 1 +0000',
    'committer C <c@x> 2 +0000',
  ];
  const body = raw(...head, 'gpgsig one', ' two', ' ', ' three', '', 'subject', '', 'more\n\nend');
  t.same(readGitCommit(body), {
    id: gitObjectId('commit', body),
    tree: id('a'),
    parents: [id('b'), 'c'.repeat(64)],
    signature: 'one\ntwo\n\nthree\n',
    signedBytes: raw(...head, '', 'subject', '', 'more\n\nend'),
    message: 'subject\n\nmore\n\nend',
  });
  t.equal(gitObjectId('blob', Buffer.from('hello\n')), 'ce013625030ba8dba906f756967f9e9ca394464a');
  const [tree, parent, , author, committer] = head as [string, string, string, string, string];
  const end = ['gpgsig s', '', 'm'];
  const cases: [string, Buffer][] = [
    ['read', raw(tree, author, committer, ...end)],
    ['read', raw(tree, author, committer, 'gpgsig s', '', '')],
    ['BAD_COMMIT', raw(tree, author, committer, 'gpgsig s', 'm')],
    ['BAD_COMMIT', raw(tree, author, committer, 'gpgsig s', '', 'a\0b')],
    ['BAD_COMMIT', raw(parent, author, committer, ...end)],
    ['BAD_COMMIT', raw(tree.slice(0, -1), author, committer, ...end)],
    ['BAD_COMMIT', raw(tree.toUpperCase(), author, committer, ...end)],
    ['BAD_COMMIT', raw(tree, `${parent}0`, author, committer, ...end)],
    ['BAD_COMMIT', raw(tree, author, parent, committer, ...end)],
    ['BAD_COMMIT', raw(tree, committer, ...end)],
    ['BAD_COMMIT', raw(tree, author, ...end)],
    ['BAD_COMMIT', raw(tree, committer, author, ...end)],
    ['BAD_COMMIT', raw(`xtree ${id('a')}`, author, committer, ...end)],
    ['BAD_COMMIT', raw(tree, author, committer, 'gpgsig s', 'gpgsig t', '', 'm')],
    ['BAD_COMMIT', raw(tree, author, committer, 'gpgsig s', 'encoding latin1', '', 'm')],
    ['NOT_SIGNED', raw(tree, author, committer, '', 'm')],
    ['NOT_SIGNED', raw(tree, author, committer, 'gpgsig', '', 'm')],
    ['BAD_COMMIT', Buffer.concat([raw(tree, author, committer, ...end), Buffer.from([0x80])])],
  ];
  for (const [code, bytes] of cases)
    t.equal(
      codeOf(() => readGitCommit(bytes)),
      code,
      JSON.stringify(bytes.toString('latin1')),
    );
  t.end();
});

t.test('the message of a publication has bounds', (t) => {
  const hash = 'a'.repeat(64);
  t.equal(intentPath('v', '2026-11-21', hash), `intents/v/2026-11-21/${hash}.json`);
  t.equal(payloadPath('v', '2026-11-21', hash, id('b')), `payloads/v/2026-11-21/${hash}/${id('b')}`);
  const files = [
    { path: 'b/c', size: 0, sha256: hash },
    { path: 'a/b', size: 12, sha256: hash },
  ];
  const text = writePublicationMessage({ subject: 'x', files, seq: 1 });
  t.equal(text, `x\n\nfile a/b 12 sha256:${hash}\nfile b/c 0 sha256:${hash}\nseq: 1\n`);
  t.same(
    files.map(({ path }) => path),
    ['b/c', 'a/b'],
    'the list that was given stays as it was',
  );
  t.same(readPublicationMessage(text), { subject: 'x', files: [...files].reverse(), seq: 1 });
  t.same(readPublicationMessage('x\n\nseq: 999999999999999\n'), {
    subject: 'x',
    files: [],
    seq: 999_999_999_999_999,
  });
  t.equal(
    codeOf(() => readPublicationMessage(`${'x'.repeat(200)}\n\nseq: 1\n`)),
    'read',
  );
  const bad = [
    '',
    'x',
    'x\n',
    'x\n\n',
    'x\n\nseq: 1',
    'x\nseq: 1\n',
    '\n\nseq: 1\n',
    `${'x'.repeat(201)}\n\nseq: 1\n`,
    'é\n\nseq: 1\n',
    '\x1bx\n\nseq: 1\n',
    'x\n\nseq: 0\n',
    'x\n\nseq: 1234567890123456\n',
    'x\n\nseq: 1x\n',
    'x\n\nxseq: 1\n',
    'x\n\nseq: 1\n\n',
    'x\n\nseq: 1\nmore',
    'x\ny\n\nseq: 1\n',
    'seq: 1\n',
    text.replace('12', '012'),
    text.replace('12', '-1'),
    text.replace('12', '1234567890123456'),
    text.replace('sha256:', 'sha1:'),
    text.replace(hash, id('a')),
    text.replace('file a', 'xfile a'),
    text.replace(' 12', '  12'),
    text.replace('a/b', 'a'),
    text.replace('a/b', 'c/b'),
    text.replace('a/b', 'b/c'),
    text.replace(`${hash}\n`, `${hash} \n`),
    text.replace('file', 'File'),
  ];
  for (const one of bad)
    t.equal(
      codeOf(() => readPublicationMessage(one)),
      'BAD_PUBLICATION',
      JSON.stringify(one),
    );
  t.end();
});
