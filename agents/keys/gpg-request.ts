// SPDX-License-Identifier: GPL-2.0-or-later
// What a caller's gpg command line asks for, or why it is refused. Nothing of it but the choices below ever
// reaches our gpg: the command line that runs is built from scratch (signer.ts). An option is allowed,
// ignored because it has no effect on a signature over given bytes, or refused; there is no fourth way.
import { Refusal } from './refusals.js';
import type { SigningMode } from '../shared/formats/intent.js';
import {
  outputDescriptors,
  readGpgArguments,
  type GpgArguments,
  type GpgOption,
} from '../shared/formats/split-gpg-arguments.js';

export type Digest = 'SHA256' | 'SHA512';

export type GpgRequest =
  | { kind: 'sign'; mode: SigningMode; armor: boolean; digest: Digest; user: string | undefined }
  | { kind: 'version' }
  | { kind: 'list'; secret: boolean; users: string[] }
  | { kind: 'export'; armor: boolean; users: string[] };

/** How the answer's streams are numbered. */
export interface AnswerStreams {
  count: number;
  /** index of --status-fd, or undefined */
  status: number | undefined;
}

const words = (text: string): Set<string> => new Set(text.trim().split(/\s+/));

/** Read below: they choose what is done. */
const chosen =
  words(`sign detach-sign detach detach-sig clearsign clear-sign armor no-armor local-user default-key digest-algo output status-fd logger-fd attribute-fd
  version list-keys list-key list-public-keys list-secret-keys with-colons export`);

/** They change what gpg prints, asks or compresses, or repeat what our command line says anyway. */
const ignored =
  words(`batch no-tty quiet verbose no-verbose textmode openpgp rfc4880 gnupg yes utf8-strings charset display-charset no-secmem-warning no-greeting
  no-permission-warning no-auto-check-trustdb no-sk-comments no-comments no-emit-version emit-version enable-progress-filter enable-special-filenames
  exit-on-status-write-error fixed-list-mode with-fingerprint fingerprint with-keygrip with-secret keyid-format list-options verify-options trust-model always-trust
  weak-digest personal-digest-preferences personal-cipher-preferences personal-compress-preferences compress-algo compress-level disable-dirmngr
  use-agent no-use-agent no-force-v3-sigs no-force-v4-certs no-default-recipient no-encrypt-to pinentry-mode`);

/**
 * Refused with a word of their own, so that the person who called the tool understands. Every other option is
 * refused too.
 */
const refusedByName = new Map(
  Object.entries({
    decrypt: 'FORBIDDEN_DECRYPT',
    'try-secret-key': 'FORBIDDEN_DECRYPT',
    'try-all-secrets': 'FORBIDDEN_DECRYPT',
    'show-session-key': 'FORBIDDEN_SESSION_KEY',
    encrypt: 'FORBIDDEN_ENCRYPT',
    recipient: 'FORBIDDEN_ENCRYPT',
    'hidden-recipient': 'FORBIDDEN_ENCRYPT',
    'encrypt-to': 'FORBIDDEN_ENCRYPT',
    'hidden-encrypt-to': 'FORBIDDEN_ENCRYPT',
    symmetric: 'FORBIDDEN_SYMMETRIC',
    'export-ownertrust': 'FORBIDDEN_OWNERTRUST',
    'export-secret-keys': 'FORBIDDEN_SECRET_KEY',
    'export-secret-subkeys': 'FORBIDDEN_SECRET_KEY',
    'set-notation': 'FORBIDDEN_NOTATION',
    'sig-notation': 'FORBIDDEN_NOTATION',
    'cert-notation': 'FORBIDDEN_NOTATION',
    comment: 'FORBIDDEN_COMMENT',
    sender: 'FORBIDDEN_SENDER',
    verify: 'FORBIDDEN_VERIFY_LOCALLY',
    store: 'FORBIDDEN_STORE',
  } as const),
);

const strongDigests = new Map<string, Digest>([
  ['SHA256', 'SHA256'],
  ['8', 'SHA256'],
  ['H8', 'SHA256'],
  ['SHA512', 'SHA512'],
  ['10', 'SHA512'],
  ['H10', 'SHA512'],
]);

function only(options: readonly GpgOption[], names: string[]): GpgOption[] {
  return options.filter(({ name }) => names.includes(name));
}

/**
 * The answer's streams, or only stdout and stderr where the command line does not say clearly: even a refusal
 * needs somewhere to go.
 */
export function readAnswerStreams(untrustedArgs: readonly string[]): AnswerStreams {
  try {
    const { options } = readGpgArguments(untrustedArgs);
    const descriptors = outputDescriptors(options);
    const status = options.find(({ name }) => name === 'status-fd');
    return {
      count: descriptors.length,
      status: status === undefined ? undefined : descriptors.indexOf(Number(status.value)),
    };
  } catch (error) {
    if (error instanceof Refusal) return { count: 2, status: undefined };
    throw error;
  }
}

function readSigning({ options, positionals }: GpgArguments): GpgRequest {
  const detached = only(options, ['detach-sign', 'detach', 'detach-sig']).length > 0;
  const clear = only(options, ['clearsign', 'clear-sign']).length > 0;
  if (detached && clear) throw new Refusal('TWO_COMMANDS', 'a signature is detached or clear, not both');
  if (!detached && !clear)
    throw new Refusal('INLINE_SIGN', 'only detached and clear signatures are made here');
  if (positionals.length > 1 || (positionals.length === 1 && positionals[0] !== '-'))
    throw new Refusal('FILE_NAME', 'the data comes on the input, not by a file name');
  const users = [...new Set(only(options, ['local-user']).map(({ value }) => value as string))];
  const defaults = only(options, ['default-key']).map(({ value }) => value as string);
  if (users.length > 1) throw new Refusal('TWO_KEYS', 'one signature has one key');
  const armor = only(options, ['armor', 'no-armor']).at(-1)?.name === 'armor';
  const digests = only(options, ['digest-algo']).map(({ value }) =>
    strongDigests.get((value as string).toUpperCase()),
  );
  if (digests.includes(undefined)) throw new Refusal('WEAK_DIGEST', 'the digest is SHA256 or SHA512');
  return {
    kind: 'sign',
    mode: detached ? 'detach' : 'clearsign',
    armor,
    digest: digests.at(-1) ?? 'SHA512',
    user: users[0] ?? defaults.at(-1),
  };
}

/**
 * @throws Refusal FORBIDDEN_<WORD> or FORBIDDEN_OPTION for what is not done here, UNKNOWN_OPTION, BAD_OPTION,
 * NO_COMMAND,
 * TWO_COMMANDS, TWO_KEYS, INLINE_SIGN, WEAK_DIGEST, FILE_NAME, NEEDS_COLONS, NEEDS_KEY
 */
export function readGpgRequest(untrustedArgs: readonly string[]): GpgRequest {
  const request = readGpgArguments(untrustedArgs);
  outputDescriptors(request.options);
  for (const { name, value } of request.options) {
    const code = refusedByName.get(name);
    if (code !== undefined) throw new Refusal(code, `--${name} is not done here`);
    if (!chosen.has(name) && !ignored.has(name))
      throw new Refusal('FORBIDDEN_OPTION', `--${name} is not done here`);
    if (name === 'output' && value !== '-')
      throw new Refusal('FILE_NAME', 'the signature goes to the output, not to a file');
  }
  const has = (...names: string[]): boolean => only(request.options, names).length > 0;
  const signs = has('sign', 'detach-sign', 'detach', 'detach-sig', 'clearsign', 'clear-sign');
  const secret = has('list-secret-keys');
  const lists = has('list-keys', 'list-key', 'list-public-keys') || secret;
  const commands = [signs, lists, has('export'), has('version')].filter(Boolean).length;
  if (commands > 1) throw new Refusal('TWO_COMMANDS', 'one call does one thing');
  if (has('version')) return { kind: 'version' };
  if (signs) return readSigning(request);
  if (lists) {
    if (!has('with-colons')) throw new Refusal('NEEDS_COLONS', 'keys are listed --with-colons only');
    return { kind: 'list', secret, users: request.positionals };
  }
  if (has('export')) {
    if (request.positionals.length === 0) throw new Refusal('NEEDS_KEY', 'say which key to export');
    return {
      kind: 'export',
      armor: only(request.options, ['armor', 'no-armor']).at(-1)?.name === 'armor',
      users: request.positionals,
    };
  }
  throw new Refusal('NO_COMMAND', 'the command line asks for nothing that is done here');
}
