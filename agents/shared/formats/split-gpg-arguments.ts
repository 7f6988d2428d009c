// SPDX-License-Identifier: GPL-2.0-or-later
// gpg's command line, taken apart the same way by both ends: which words are options, which are their values,
// and which streams the answer has. What an option *means* and whether it is allowed is decided elsewhere, in
// each VM by itself.
import { Refusal } from '../refusals.js';

export interface GpgOption {
  /** the long name; short letters are given their long name, so each option has one spelling from here on */
  name: string;
  value: string | undefined;
}

export interface GpgArguments {
  /** in command-line order */
  options: GpgOption[];
  positionals: string[];
}

const words = (text: string): string[] => text.trim().split(/\s+/);

/**
 * Options without a value that callers of a gpg are known to use, or that must be recognised to be refused by
 * name.
 */
const flags = new Set(
  words(`
  always-trust armor batch clear-sign clearsign dearmor decrypt default-recipient-self delete-keys delete-secret-keys detach detach-sig detach-sign
  disable-dirmngr disable-mdc dry-run edit-key emit-version enable-progress-filter enable-special-filenames enarmor encrypt
  exit-on-status-write-error expert export export-ownertrust export-secret-keys export-secret-subkeys export-ssh-key fingerprint
  fixed-list-mode force-mdc force-v3-sigs force-v4-certs gen-key generate-key gnupg help import import-ownertrust list-config list-key list-keys list-only list-packets
  list-public-keys list-secret-keys list-sig list-sigs no-armor no-auto-check-trustdb no-comments no-default-keyring no-default-recipient
  no-emit-version no-encrypt-to no-force-v3-sigs no-force-v4-certs no-greeting no-options no-permission-warning no-secmem-warning no-sk-comments
  no-skip-hidden-recipients no-throw-keyids no-tty no-use-agent no-verbose openpgp pgp6 pgp7 pgp8 quiet recv-keys refresh-keys rfc2440 rfc4880 search-keys
  show-keys show-session-key sign skip-hidden-recipients store symmetric textmode throw-keyids try-all-secrets unwrap use-agent utf8-strings verbose
  verify version with-colons with-fingerprint with-keygrip with-secret yes`),
);

/** Options with a value. */
const valued = new Set(
  words(`
  attribute-fd auto-key-locate cert-digest-algo cert-notation charset cipher-algo command-fd comment compress-algo compress-level default-key default-recipient
  digest-algo display display-charset encrypt-to export-options hidden-encrypt-to hidden-recipient homedir import-options keyid-format keyring keyserver keyserver-options
  lc-ctype lc-messages list-options local-user log-file logger-fd max-output options output passphrase passphrase-fd passphrase-file
  personal-cipher-preferences personal-compress-preferences personal-digest-preferences photo-viewer pinentry-mode primary-keyring
  recipient s2k-cipher-algo s2k-count s2k-digest-algo s2k-mode secret-keyring sender set-filename set-notation sig-notation status-fd status-file trust-model
  trusted-key try-secret-key ttyname ttytype verify-options weak-digest xauthority`),
);

const letters: Record<string, string> = {
  a: 'armor',
  b: 'detach-sign',
  c: 'symmetric',
  d: 'decrypt',
  e: 'encrypt',
  k: 'list-keys',
  K: 'list-secret-keys',
  n: 'dry-run',
  q: 'quiet',
  s: 'sign',
  t: 'textmode',
  v: 'verbose',
  h: 'help',
  N: 'set-notation',
  o: 'output',
  r: 'recipient',
  R: 'hidden-recipient',
  u: 'local-user',
};

/**
 * Options end at `--`, at the first other word, or at `-`. `--name=value` and `--name value`; clusters of
 * letters (`-bsau KEY`).
 * @throws Refusal UNKNOWN_OPTION, BAD_OPTION: no abbreviation is guessed, a value is neither lost nor
 * invented.
 */
export function readGpgArguments(untrustedArgs: readonly string[]): GpgArguments {
  const options: GpgOption[] = [];
  const rest = [...untrustedArgs];
  const valueOf = (name: string): string => {
    const value = rest.shift();
    if (value === undefined) throw new Refusal('BAD_OPTION', `--${name} needs a value`);
    return value;
  };
  for (;;) {
    const word = rest[0];
    if (word === undefined || word === '-' || !word.startsWith('-')) break;
    rest.shift();
    if (word === '--') break;
    if (word.startsWith('--')) {
      const equals = word.indexOf('=');
      const name = equals < 0 ? word.slice(2) : word.slice(2, equals);
      if (valued.has(name))
        options.push({ name, value: equals < 0 ? valueOf(name) : word.slice(equals + 1) });
      else if (!flags.has(name))
        throw new Refusal('UNKNOWN_OPTION', `--${name} is not an option that is known here`);
      else if (equals >= 0) throw new Refusal('BAD_OPTION', `--${name} takes no value`);
      else options.push({ name, value: undefined });
      continue;
    }
    for (let at = 1; at < word.length; at++) {
      const name = Object.hasOwn(letters, word[at] as string)
        ? (letters[word[at] as string] as string)
        : undefined;
      if (name === undefined)
        throw new Refusal('UNKNOWN_OPTION', `-${word[at]} is not an option that is known here`);
      if (!valued.has(name)) {
        options.push({ name, value: undefined });
        continue;
      }
      options.push({ name, value: at + 1 < word.length ? word.slice(at + 1) : valueOf(name) });
      break;
    }
  }
  return { options, positionals: rest };
}

/** 0 to 1023, one spelling. @throws Refusal BAD_OPTION */
export function readFdNumber(untrusted: string | undefined, name: string): number {
  if (untrusted === undefined || !/^(0|[1-9][0-9]{0,3})$/.test(untrusted) || Number(untrusted) > 1023)
    throw new Refusal('BAD_OPTION', `--${name} is not a descriptor`);
  return Number(untrusted);
}

const fdOptions = ['status-fd', 'logger-fd', 'attribute-fd'];

/**
 * The descriptors whose text comes back, by index: 1 and 2, then each new number in command-line order.
 * Both ends compute it for themselves from the same words.
 * @throws Refusal BAD_OPTION: 0 (that is the input), or one option twice
 */
export function outputDescriptors(options: readonly GpgOption[]): number[] {
  const descriptors = [1, 2];
  const seen = new Set<string>();
  for (const { name, value } of options) {
    if (!fdOptions.includes(name)) continue;
    if (seen.has(name)) throw new Refusal('BAD_OPTION', `--${name} is given twice`);
    seen.add(name);
    const fd = readFdNumber(value, name);
    if (fd === 0) throw new Refusal('BAD_OPTION', `--${name} cannot be the input`);
    if (!descriptors.includes(fd)) descriptors.push(fd);
  }
  return descriptors;
}
