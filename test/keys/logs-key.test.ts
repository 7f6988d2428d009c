// SPDX-License-Identifier: GPL-2.0-or-later
// One commit's signature, by the real gpgv. The key file holds a stranger's key too, as a careless admin would leave it: only the pinned one counts.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { dearmor, logsKeyVerifier } from '../../agents/keys/logs-key.js';
import { readGitCommit } from '../../agents/shared/formats/git-commit.js';
import { GpgHome } from './keys-machine.js';

const folder = mkdtempSync(join(tmpdir(), 'lk-'));
const home = new GpgHome(`${folder}/g`);
t.teardown(() => {
  home.close();
  rmSync(folder, { recursive: true });
});
const logsKey = home.makeKey('logs <logs@x>');
const stranger = home.makeKey('stranger <s@x>');
const unknown = home.makeKey('unknown <u@x>');
const verify = logsKeyVerifier({ fingerprint: logsKey, publicKeyFile: home.gpg(['--armor', '--export', logsKey, stranger]), stateFolder: folder });

const text = 'tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor a <a> 1 +0000\ncommitter a <a> 1 +0000\n\nsubject\n\nseq: 1\n';
function signedCommit(args: string[], body = text): Buffer {
  const signature = home.gpg(['--armor', ...args], text).toString().trimEnd().replaceAll('\n', '\n ');
  return Buffer.from(body.replace('\n\n', `\ngpgsig ${signature}\n \n\n`));
}

await t.test('a commit signed by the logs key is accepted', async () => verify(readGitCommit(signedCommit(['-b', '-u', logsKey]))));

const bad: [string, Buffer, RegExp][] = [
  ['by another key of the same file', signedCommit(['-b', '-u', stranger]), /another key/],
  ['by a key that is not in the file', signedCommit(['-b', '-u', unknown]), /gpgv does not accept it/],
  ['twice, by the logs key and another of the file', signedCommit(['-b', '-u', logsKey, '-u', stranger]), /exactly one/],
  ['twice, by the logs key and an unknown one', signedCommit(['-b', '-u', logsKey, '-u', unknown]), /gpgv does not accept it/],
  ['with SHA-1', signedCommit(['-b', '-u', logsKey, '--digest-algo', 'SHA1']), /too weak/],
  ['as text, whose line ends could be others', signedCommit(['-b', '-u', logsKey, '--textmode']), /not over a binary document/],
  ['over other bytes', signedCommit(['-b', '-u', logsKey], text.replace('seq: 1', 'seq: 2')), /gpgv does not accept it/],
  ['inline, with a text of its own', signedCommit(['-s', '-u', logsKey]), /gpgv does not accept it/],
  ['by a signature that has expired', signedCommit(['-b', '-u', logsKey, '--faked-system-time', '20200101T000000!', '--default-sig-expire', '1d', '--ignore-time-conflict', '--ignore-valid-from']), /gpgv does not accept it|exactly one/],
];
for (const [how, commit, message] of bad) {
  await t.test(`a commit is not accepted when it is signed ${how}`, async (t) => t.rejects(verify(readGitCommit(commit)), { code: 'BAD_SIGNATURE', message }));
}

await t.test('a file that is not one armored key block stops the start', async (t) => {
  t.throws(() => dearmor('hello'), /not one armored public key block/);
  t.throws(() => dearmor(`${home.exported(logsKey).toString()}${home.exported(stranger).toString()}`), /not one armored public key block/);
});
