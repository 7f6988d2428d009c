// SPDX-License-Identifier: GPL-2.0-or-later
// Which command lines the gate understands, and which it refuses: the callers of reference section 5, and every way around them.
import t from 'tap';
import { readGpgRequest } from '../../agents/keys/gpg-request.js';

const K = 'AB'.repeat(20);
const signing = (mode: string, armor: boolean, digest = 'SHA512', user: string | undefined = K): object => ({ kind: 'sign', mode, armor, digest, user });

const understood: [string, string[], object][] = [
  ['git commit -S', ['--status-fd=2', '-bsau', K], signing('detach', true)],
  ['debsign', ['--local-user', K, '--clearsign', '--list-options', 'no-show-policy-urls', '--armor', '--textmode', '--output', '-', '-'], signing('clearsign', true)],
  ['dpkg-buildpackage', ['--weak-digest', 'SHA1', '--weak-digest', 'RIPEMD160', '--utf8-strings', '--textmode', '--armor', '--openpgp', '--personal-digest-preferences', 'SHA512 SHA384 SHA256 SHA224', '--local-user', K, '--output', '-', '--clearsign', '-'], signing('clearsign', true)],
  ['rpmsign', ['--no-verbose', '--no-armor', '--no-secmem-warning', '--digest-algo=sha256', '-u', K, '-sbo', '-', '--', '-'], signing('detach', false, 'SHA256')],
  ['rpmsign of the wrapper', ['-o-', '--no-verbose', '--no-armor', '-u', K, '-sb', '--', '-'], signing('detach', false)],
  ['the builder\'s rpm macro', ['--batch', '--no-verbose', '--digest-algo', 'SHA512', '-u', K, '-sb', '-'], signing('detach', false)],
  ['gpgme detached', ['--batch', '--no-sk-comments', '--status-fd', '8', '--charset', 'utf8', '--enable-progress-filter', '--exit-on-status-write-error', '--logger-fd', '13', '--sign', '--detach', '--armor', '-u', K, '--', '-'], signing('detach', true)],
  ['gpgme clear', ['--batch', '--status-fd', '8', '--logger-fd', '13', '--clearsign', '-u', K, '--', '-'], signing('clearsign', false)],
  ['apt publishing', ['--default-key', K, '-abs', '-o', '-', '-'], signing('detach', true)],
  ['no key named', ['--detach-sign'], { kind: 'sign', mode: 'detach', armor: false, digest: 'SHA512', user: undefined }],
  ['version', ['--version'], { kind: 'version' }],
  ['gpgme looking for a key', ['--batch', '--no-sk-comments', '--status-fd', '8', '--charset', 'utf8', '--with-colons', '--list-secret-keys', '--', K], { kind: 'list', secret: true, users: [K] }],
  ['listing', ['--with-colons', '-k'], { kind: 'list', secret: false, users: [] }],
  ['export', ['--armor', '--export', K], { kind: 'export', armor: true, users: [K] }],
];
for (const [who, args, request] of understood) {
  await t.test(`understood: ${who}`, async (t) => t.same(readGpgRequest(args), request));
}

const refused: [string, string[]][] = [
  ['FORBIDDEN_DECRYPT', ['-d']], ['FORBIDDEN_DECRYPT', ['--decrypt', '-']], ['FORBIDDEN_DECRYPT', ['-b', '-u', K, '-d']], ['FORBIDDEN_DECRYPT', ['-b', '--try-secret-key', K]],
  ['FORBIDDEN_ENCRYPT', ['-sea', '-r', K]], ['FORBIDDEN_ENCRYPT', ['-b', '--encrypt-to', K]], ['FORBIDDEN_ENCRYPT', ['-b', '-R', K]], ['FORBIDDEN_SYMMETRIC', ['-c']], ['FORBIDDEN_SYMMETRIC', ['-bc']],
  ['FORBIDDEN_OWNERTRUST', ['--export-ownertrust']], ['FORBIDDEN_SESSION_KEY', ['--show-session-key', '-b']], ['FORBIDDEN_SECRET_KEY', ['--export-secret-keys', K]], ['FORBIDDEN_SECRET_KEY', ['--export-secret-subkeys']],
  ['FORBIDDEN_NOTATION', ['-b', '-N', 'a@b=c']], ['FORBIDDEN_NOTATION', ['-b', '--set-notation', 'a@b=c']], ['FORBIDDEN_NOTATION', ['-b', '--sig-notation', 'a@b=c']], ['FORBIDDEN_COMMENT', ['-b', '--comment', 'x']],
  ['FORBIDDEN_SENDER', ['-b', '--sender', 'x']], ['FORBIDDEN_VERIFY_LOCALLY', ['--verify', '/dev/fd/3', '-']], ['FORBIDDEN_STORE', ['--store']],
  ['INLINE_SIGN', ['-s', '-u', K]], ['INLINE_SIGN', ['--sign', '--armor']], ['TWO_COMMANDS', ['-b', '--clearsign']], ['TWO_COMMANDS', ['-b', '--version']], ['TWO_COMMANDS', ['-b', '--export', K]],
  ['WEAK_DIGEST', ['-b', '--digest-algo', 'SHA1']], ['WEAK_DIGEST', ['-b', '--digest-algo=2']], ['WEAK_DIGEST', ['-b', '--digest-algo', 'SHA256', '--digest-algo', 'MD5']], ['WEAK_DIGEST', ['-b', '--digest-algo', '']],
  ['TWO_KEYS', ['-b', '-u', K, '-u', 'other']], ['FILE_NAME', ['-b', '/etc/passwd']], ['FILE_NAME', ['-b', '-', '-']], ['FILE_NAME', ['-b', '-o', '/tmp/x']], ['FILE_NAME', ['-b', '-o/tmp/x']],
  ['FORBIDDEN_OPTION', ['-b', '--homedir', '/tmp']], ['FORBIDDEN_OPTION', ['-b', '--options', '/tmp/x']], ['FORBIDDEN_OPTION', ['-b', '--keyring', 'x']], ['FORBIDDEN_OPTION', ['-b', '--command-fd', '0']], ['FORBIDDEN_OPTION', ['-b', '--passphrase-fd', '0']],
  ['FORBIDDEN_OPTION', ['-b', '--log-file', 'x']], ['FORBIDDEN_OPTION', ['-b', '--photo-viewer', 'sh']], ['FORBIDDEN_OPTION', ['-b', '--set-filename', 'x']], ['FORBIDDEN_OPTION', ['--list-config']], ['FORBIDDEN_OPTION', ['--import']], ['FORBIDDEN_OPTION', ['--edit-key', K]],
  ['FORBIDDEN_OPTION', ['--delete-secret-keys', K]], ['FORBIDDEN_OPTION', ['--gen-key']], ['FORBIDDEN_OPTION', ['--export-ssh-key', K]], ['FORBIDDEN_OPTION', ['-b', '--cert-digest-algo', 'SHA1']],
  ['UNKNOWN_OPTION', ['--detac', '-u', K]], ['UNKNOWN_OPTION', ['-b', '--faked-system-time', '1']], ['UNKNOWN_OPTION', ['-b', '--exec-path', '/tmp']], ['UNKNOWN_OPTION', ['-bz']], ['UNKNOWN_OPTION', ['--sign-key', K]], ['UNKNOWN_OPTION', ['--__proto__']], ['UNKNOWN_OPTION', ['-é']],
  ['BAD_OPTION', ['-b', '-u']], ['BAD_OPTION', ['-b', '--armor=yes']], ['BAD_OPTION', ['-b', '--status-fd', '0']], ['BAD_OPTION', ['-b', '--status-fd', '03']], ['BAD_OPTION', ['-b', '--status-fd', '1024']], ['BAD_OPTION', ['-b', '--status-fd=2', '--status-fd=3']],
  ['NO_COMMAND', []], ['NO_COMMAND', ['-']], ['NO_COMMAND', ['--fingerprint']], ['NEEDS_COLONS', ['-K']], ['NEEDS_KEY', ['--export']],
];
for (const [code, args] of refused) {
  await t.test(`refused as ${code}: ${args.join(' ').replace(K, 'KEY')}`, async (t) => t.throws(() => readGpgRequest(args), { code }));
}
