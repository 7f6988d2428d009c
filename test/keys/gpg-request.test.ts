// SPDX-License-Identifier: GPL-2.0-or-later
// Which command lines the gate understands, and which it refuses: the callers of reference section 5, and every way around them.
import t from 'tap';
import { readAnswerStreams, readGpgRequest } from '../../agents/keys/gpg-request.js';

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
  ['export of bytes', ['--export', K], { kind: 'export', armor: false, users: [K] }],
  ['export, the last word counts', ['--no-armor', '--armor', '--armor', '--no-armor', '--export', K], { kind: 'export', armor: false, users: [K] }],
  ['armor, the last word counts', ['--armor', '--no-armor', '-b', '-u', K], signing('detach', false)],
  ...['--detach-sign', '--detach', '--detach-sig'].map((word): [string, string[], object] => [word, [word, '-u', K], signing('detach', false)]),
  ...['--clearsign', '--clear-sign'].map((word): [string, string[], object] => [word, [word, '-u', K], signing('clearsign', false)]),
  ...['--list-keys', '--list-key', '--list-public-keys'].map((word): [string, string[], object] => [word, [word, '--with-colons'], { kind: 'list', secret: false, users: [] }]),
  ...['SHA256', 'sha256', '8', 'H8', 'h8'].map((word): [string, string[], object] => [`digest ${word}`, ['-b', '-u', K, '--digest-algo', word], signing('detach', false, 'SHA256')]),
  ...['SHA512', 'sha512', '10', 'H10'].map((word): [string, string[], object] => [`digest ${word}`, ['-b', '-u', K, '--digest-algo', word], signing('detach', false)]),
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
  ['FORBIDDEN_DECRYPT', ['-b', '--try-all-secrets']], ['FORBIDDEN_ENCRYPT', ['--encrypt']], ['FORBIDDEN_ENCRYPT', ['-b', '--recipient', K]], ['FORBIDDEN_ENCRYPT', ['-b', '--hidden-recipient', K]], ['FORBIDDEN_ENCRYPT', ['-b', '--hidden-encrypt-to', K]],
  ['FORBIDDEN_SYMMETRIC', ['--symmetric']], ['FORBIDDEN_NOTATION', ['-b', '--cert-notation', 'a@b=c']], ['WEAK_DIGEST', ['-b', '--digest-algo', 'H2']], ['WEAK_DIGEST', ['-b', '--digest-algo', 'SHA224']],
  ...['--detach-sign', '--detach', '--detach-sig', '--clearsign', '--clear-sign', '--sign'].map((word): [string, string[]] => ['TWO_COMMANDS', [word, '--with-colons', '--list-keys']]),
  ...['--list-keys', '--list-key', '--list-public-keys', '--list-secret-keys'].map((word): [string, string[]] => ['TWO_COMMANDS', [word, '--with-colons', '--version']]),
  ['NO_COMMAND', []], ['NO_COMMAND', ['-']], ['NO_COMMAND', ['--fingerprint']], ['NEEDS_COLONS', ['-K']], ['NEEDS_KEY', ['--export']],
];
for (const [code, args] of refused) {
  await t.test(`refused as ${code}: ${args.join(' ').replace(K, 'KEY')}`, async (t) => t.throws(() => readGpgRequest(args), { code }));
}

const streams: [string, string[], object][] = [
  ['stdout and stderr', ['-b'], { count: 2, status: undefined }],
  ['a status on stderr', ['-b', '--status-fd', '2'], { count: 2, status: 1 }],
  ['a status and a logger of their own', ['-b', '--status-fd', '8', '--logger-fd', '13'], { count: 4, status: 2 }],
  ['a logger alone', ['-b', '--logger-fd', '13'], { count: 3, status: undefined }],
  ['a command line that is none', ['--status-fd'], { count: 2, status: undefined }],
];
for (const [what, args, wanted] of streams) {
  await t.test(`the answer's streams: ${what}`, async (t) => t.same(readAnswerStreams(args), wanted));
}
