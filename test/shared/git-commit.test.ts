// SPDX-License-Identifier: GPL-2.0-or-later
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { gitObjectId, readGitCommit } from '../../agents/shared/formats/git-commit.js';
import { readPublicationMessage, writePublicationMessage } from '../../agents/shared/formats/publication.js';

const folder = mkdtempSync(join(tmpdir(), 'commit-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const env = { ...process.env, GNUPGHOME: folder, GIT_CONFIG_GLOBAL: '/dev/null', GIT_AUTHOR_NAME: 'a', GIT_AUTHOR_EMAIL: 'a@x', GIT_COMMITTER_NAME: 'a', GIT_COMMITTER_EMAIL: 'a@x' };
const run = (program: string, ...args: string[]): Buffer => execFileSync(program, args, { cwd: folder, env, stdio: ['ignore', 'pipe', 'ignore'] });

t.test('a commit that git signed is taken apart and its signature covers the signed bytes', (t) => {
  t.teardown(() => run('gpgconf', '--kill', 'all'));
  run('gpg', '--batch', '--passphrase', '', '--quick-generate-key', 'logs@test', 'ed25519', 'sign', 'never');
  run('git', 'init', '-q', '.');
  const message = writePublicationMessage({ subject: 'Publish', files: [{ path: 'vm/log_1', size: 3, sha256: 'a'.repeat(64) }], seq: 1 });
  run('git', '-c', 'user.signingKey=logs@test', 'commit', '-q', '-S', '--allow-empty', '-m', message);
  const raw = run('git', 'cat-file', 'commit', 'HEAD');
  const commit = readGitCommit(raw);
  t.equal(commit.id, run('git', 'rev-parse', 'HEAD').toString().trim());
  t.strictSame(commit.parents, []);
  t.match(commit.signature, /^-----BEGIN PGP SIGNATURE-----/);
  t.equal(gitObjectId('commit', raw), commit.id);
  t.notOk(commit.signedBytes.includes('gpgsig'));
  t.strictSame(readPublicationMessage(commit.message).files, [{ path: 'vm/log_1', size: 3, sha256: 'a'.repeat(64) }]);
  t.throws(() => readGitCommit(commit.signedBytes), { code: 'NOT_SIGNED' });
  const text = raw.toString();
  t.throws(() => readGitCommit(Buffer.from(text.replace('gpgsig ', 'encoding x\ngpgsig '))), { code: 'NOT_SIGNED' }, 'a header before the signature');
  t.throws(() => readGitCommit(Buffer.from(text.replace('\n\n', '\nmergetag x\n\n'))), { code: 'BAD_COMMIT' }, 'a header after the signature');
  t.throws(() => readGitCommit(Buffer.concat([raw, Buffer.from([0xff])])), { code: 'BAD_COMMIT' }, 'not UTF-8');
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
  for (const [name, text] of bad) t.throws(() => readPublicationMessage(text), { code: 'BAD_PUBLICATION' }, name);
  t.end();
});
