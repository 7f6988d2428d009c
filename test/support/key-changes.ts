// SPDX-License-Identifier: GPL-2.0-or-later
// Keys as real gpg makes and changes them after they signed, and what gpgv says today of what they signed: a
// table for every check of ours.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GpgHome } from './gpg-home.js';

const day = 86_400;
const now = Math.floor(Date.now() / 1000);
/** Seconds since 1970: keys are made then, and sign `signedAt`. */
export const madeAt = now - 400 * day;
export const signedAt = madeAt + 30 * day;

export interface Situation {
  what: string;
  fingerprint: string;
  /** as exported after the change, without armor */
  file: Buffer;
  /** armored, over the bytes */
  signature: string;
  /** `line` as a clear-signed message */
  clear: string;
  /** what a sentence in docs/formats.md has us say in place of gpgv's word */
  documented: string | undefined;
}

interface Row {
  what: string;
  algorithm?: string;
  /** of the primary key, and of the subkey where there is one */
  expire?: string;
  subkey?: string;
  /** what is done after the signature @param at options for a time, days after the key was made */
  change?: (key: Changed, at: (days: number) => string[]) => void;
  sign?: string[];
  exported?: string[];
  documented?: string;
}

interface Changed {
  fingerprint: string;
  subkey: string;
  gpg: (args: readonly string[], input?: string) => Buffer;
  revoke: () => void;
}

const userId = (name: string): string => `${name} <${name}@example.org>`;
const edit = (key: Changed, at: string[], ...lines: string[]): void =>
  void key.gpg(
    [...at, '--no-tty', '--command-fd', '0', '--edit-key', key.fingerprint],
    `${lines.join('\n')}\nsave\n`,
  );
const lengthen = (key: Changed, at: string[], expire: string, ...subkeys: string[]): void =>
  void key.gpg([...at, '--quick-set-expire', key.fingerprint, expire, ...subkeys]);
const newUser = (key: Changed, at: (days: number) => string[]): void => {
  key.gpg([...at(60), '--quick-add-uid', key.fingerprint, userId('new')]);
  key.gpg([...at(61), '--quick-set-primary-uid', key.fingerprint, userId('new')]);
};

const rows: Row[] = [
  { what: 'a key without end' },
  { what: 'a key that ended', expire: '300d' },
  { what: 'a key that will end', expire: '600d' },
  {
    what: 'a key that was lengthened in time',
    expire: '300d',
    change: (key, at) => lengthen(key, at(200), '3y'),
  },
  {
    what: 'a key that was lengthened after its end',
    expire: '300d',
    change: (key, at) => lengthen(key, at(390), '3y'),
  },
  {
    what: 'a key that was lengthened twice',
    expire: '90d',
    change: (key, at) => [80, 200].forEach((days) => lengthen(key, at(days), '1y')),
  },
  {
    what: 'a key that was lengthened and ended all the same',
    expire: '90d',
    change: (key, at) => lengthen(key, at(80), '60d'),
  },
  { what: 'a key that was shortened', change: (key, at) => lengthen(key, at(60), '30d') },
  {
    what: 'a key that was lengthened without end',
    expire: '90d',
    change: (key, at) => lengthen(key, at(80), '0'),
  },
  { what: 'a key that got another user ID', change: (key, at) => newUser(key, at) },
  {
    what: 'a key whose user ID was replaced',
    change: (key, at) => {
      newUser(key, at);
      key.gpg([...at(62), '--quick-revoke-uid', key.fingerprint, userId('old')]);
    },
  },
  {
    what: 'a key whose user ID was replaced, and left out',
    expire: '300d',
    change: (key, at) => {
      newUser(key, at);
      lengthen(key, at(62), '3y');
    },
    exported: ['--export-filter', 'keep-uid=uid =~ new'],
  },
  { what: 'a key that was revoked', change: (key) => key.revoke() },
  {
    what: 'a key that ended and was revoked',
    expire: '300d',
    change: (key) => key.revoke(),
    documented: 'KEY_REVOKED',
  },
  { what: 'a key without user ID', exported: ['--export-filter', 'keep-uid=uid =~ nobody'] },
  {
    what: 'a key exported without older signatures',
    expire: '300d',
    change: (key, at) => lengthen(key, at(200), '3y'),
    exported: ['--export-options', 'export-minimal'],
  },
  { what: 'a subkey', subkey: 'never' },
  { what: 'a subkey that ended', subkey: '300d' },
  {
    what: 'a subkey that was lengthened in time',
    subkey: '300d',
    change: (key, at) => lengthen(key, at(200), '3y', key.subkey),
  },
  {
    what: 'a subkey that was lengthened after its end',
    subkey: '300d',
    change: (key, at) => lengthen(key, at(390), '3y', key.subkey),
  },
  { what: 'a subkey whose primary key ended', expire: '300d', subkey: 'never' },
  {
    what: 'a subkey whose primary key was lengthened',
    expire: '300d',
    subkey: 'never',
    change: (key, at) => lengthen(key, at(310), '3y'),
  },
  { what: 'a subkey whose primary key was revoked', subkey: 'never', change: (key) => key.revoke() },
  {
    what: 'a subkey that was revoked',
    subkey: 'never',
    change: (key, at) => edit(key, at(60), 'key 1', 'revkey', 'y', '0', '', 'y'),
  },
  {
    what: 'a subkey that was replaced',
    subkey: 'never',
    change: (key, at) => edit(key, at(60), 'key 1', 'revkey', 'y', '2', '', 'y'),
  },
  {
    what: 'a subkey whose user ID was replaced',
    subkey: 'never',
    change: (key, at) => newUser(key, at),
    exported: ['--export-filter', 'keep-uid=uid =~ new'],
  },
  { what: 'a signature that ended', sign: ['--default-sig-expire', '10d'] },
  {
    what: 'a key of NIST P-256',
    algorithm: 'nistp256',
    expire: '300d',
    change: (key, at) => lengthen(key, at(200), '3y'),
  },
  { what: 'a key of brainpool', algorithm: 'brainpoolP256r1', documented: 'KEY_NOT_USABLE' },
  { what: 'a key of RSA with 2048 bits', algorithm: 'rsa2048' },
  { what: 'a key of RSA with 1024 bits', algorithm: 'rsa1024', documented: 'KEY_NOT_USABLE' },
  { what: 'a key of DSA', algorithm: 'dsa2048', documented: 'KEY_NOT_USABLE' },
  { what: 'a key of secp256k1', algorithm: 'secp256k1', documented: 'KEY_NOT_USABLE' },
  {
    what: 'a signature with SHA-1',
    algorithm: 'rsa2048',
    sign: ['--digest-algo', 'SHA1'],
    documented: 'BAD_SIGNATURE',
  },
];

/** In the words of ours, what gpgv's status lines say (doc/DETAILS of GnuPG). */
export function wordOf(status: string): string {
  const has = (word: string): boolean =>
    status.includes(`[GNUPG:] ${word} `) || status.includes(`[GNUPG:] ${word}\n`);
  if (has('KEYREVOKED') || has('REVKEYSIG')) return 'KEY_REVOKED';
  if (has('EXPKEYSIG')) return 'KEY_EXPIRED';
  if (has('GOODSIG') && has('VALIDSIG')) return 'good';
  return has('EXPSIG') || has('BADSIG') ? 'BAD_SIGNATURE' : 'KEY_NOT_USABLE';
}

export class KeyChanges {
  readonly home: GpgHome;
  readonly data: string;
  readonly line: string;

  /** @param data that is signed beside it @param line that is clear-signed */
  constructor(t: Parameters<typeof GpgHome.of>[0], data: string, line: string) {
    this.home = GpgHome.of(t);
    this.data = data;
    this.line = line;
  }

  run(args: readonly string[], input: string | Buffer = ''): Buffer {
    return this.home.gpg(['--pinentry-mode', 'loopback', '--passphrase', '', ...args], input);
  }

  #fingerprints(): string[] {
    const listing = this.run(['--with-colons', '--list-keys', userId('old')]).toString();
    return [...listing.matchAll(/^fpr:::::::::([0-9A-F]+):/gm)].map((found) => found[1] as string);
  }

  /**
   * gpgv, with a keyring that is the file; gpg, which can be told another time, where there is one. @param at
   * seconds since 1970
   */
  says({ file, signature }: Pick<Situation, 'file' | 'signature'>, at?: number): string {
    const [keyring, signed, detached] = ['ring.pgp', 'data', 'data.asc'].map((name) =>
      join(this.home.folder, name),
    ) as [string, string, string];
    writeFileSync(keyring, file);
    writeFileSync(signed, this.data);
    writeFileSync(detached, signature);
    const argv = ['--homedir', this.home.folder, '--keyring', keyring, '--status-fd', '1'];
    const later = [
      '--no-default-keyring',
      '--trust-model',
      'always',
      '--faked-system-time',
      `${at}!`,
      '--verify',
    ];
    const [program, more] = at === undefined ? ['gpgv', []] : ['gpg', later];
    return wordOf(spawnSync(program, [...argv, ...more, detached, signed], { encoding: 'latin1' }).stdout);
  }

  /** What git says of the bytes with their signature, as a tag. @param repository a bare one */
  gitSays({ file, signature }: Situation, repository: string): string {
    const home = mkdtempSync(join(tmpdir(), 'kg-'));
    try {
      // A key without user ID is none to gpg.
      spawnSync('gpg', ['--homedir', home, '--batch', '--quiet', '--no-autostart', '--import'], {
        input: file,
      });
      const git = ['--git-dir', repository];
      const tag = execFileSync('git', [...git, 'hash-object', '-w', '-t', 'tag', '--stdin'], {
        input: `${this.data}${signature}`,
        encoding: 'utf8',
      });
      const env = { PATH: process.env['PATH'], GNUPGHOME: home, GIT_CONFIG_NOSYSTEM: '1', HOME: home };
      return wordOf(
        spawnSync('git', [...git, 'verify-tag', '--raw', tag.trim()], { encoding: 'latin1', env }).stderr,
      );
    } finally {
      rmSync(home, { recursive: true });
    }
  }

  /** One key after the other, each gone from the ring before the next comes: all have one name. */
  *situations(): Generator<Situation> {
    const at = (days: number): string[] => ['--faked-system-time', `${madeAt + days * day}!`];
    for (const {
      what,
      algorithm = 'ed25519',
      expire = 'never',
      subkey,
      change,
      sign = [],
      exported = [],
      documented,
    } of rows) {
      this.run([...at(0), '--quick-gen-key', userId('old'), algorithm, 'cert,sign', expire]);
      const [fingerprint = ''] = this.#fingerprints();
      if (subkey !== undefined)
        this.run([...at(0), '--quick-add-key', fingerprint, algorithm, 'sign', subkey]);
      const sub = this.#fingerprints()[1] ?? '';
      const by = [
        ...at(30),
        ...sign,
        '--local-user',
        sub === '' ? `${fingerprint}!` : `${sub}!`,
        '--output',
        '-',
      ];
      const signature = this.run([...by, '--armor', '--detach-sign'], this.data).toString();
      const clear = this.run([...by, '--clearsign'], `${this.line}\n`).toString();
      const revocation = join(this.home.folder, 'openpgp-revocs.d', `${fingerprint}.rev`);
      change?.(
        {
          fingerprint,
          subkey: sub,
          gpg: (args, input) => this.run(args, input),
          revoke: () =>
            void this.run(
              ['--import'],
              readFileSync(revocation, 'utf8').replace(':-----BEGIN', '-----BEGIN'),
            ),
        },
        at,
      );
      const file = this.run([...exported, '--export', fingerprint]);
      this.run(['--yes', '--delete-secret-and-public-key', fingerprint]);
      yield { what, fingerprint, file, signature, clear, documented };
    }
  }
}
