// SPDX-License-Identifier: GPL-2.0-or-later
// Attacks on the APT repository: what is signed in secret or missing, and forms, spellings, lists, copies and
// places that clients read in another way.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { sha256, type Farm, type Keys } from './farm.js';
import type { Attack } from './unwritten-farm.js';

const indexPath = 'main/binary-amd64/Packages';
const indexOf = (farm: Farm): Buffer => readFileSync(join(farm.apt, 'dists/bookworm', indexPath));

/**
 * Packages.gz alone, of this text, in a signed and announced upload. @param told what its end says of its
 * size
 */
export function packed(farm: Farm, text: Buffer, told = text.length): void {
  const bytes = gzipSync(text);
  bytes.writeUInt32LE(told, bytes.length - 4);
  rmSync(join(farm.apt, `dists/bookworm/${indexPath}`));
  farm.put(`dists/bookworm/${indexPath}.gz`, bytes);
  farm.publishRelease('bookworm', { [`${indexPath}.gz`]: bytes });
}
export const bomb = (bytes: number): Buffer =>
  Buffer.concat([Buffer.from('Package: x\n'), Buffer.alloc(bytes)]);

export function aptAttacks(attack: Attack, keys: Keys): void {
  const dsc = 'pool/main/h/hello/hello_2.10-3.dsc';
  const deb = 'pool/main/h/hello/hello_2.10-3_amd64.deb';

  attack(
    'an InRelease that is signed by the right key in secret',
    ['apt-signatures NO_ORIGIN', 'apt-signatures SIGNATURE_NOT_IN_JOURNAL'],
    (farm) => {
      farm.put(
        'dists/bookworm/InRelease',
        keys.sign('signing', 'clearsign', readFileSync(join(farm.apt, 'dists/bookworm/Release')), [
          '--digest-algo',
          'SHA384',
        ]),
      );
    },
    { path: 'dists/bookworm/InRelease' },
  );
  attack(
    'a suite that nobody announced',
    ['apt-signatures NO_ORIGIN', 'apt-signatures SIGNATURE_NOT_IN_JOURNAL'],
    (farm) => {
      farm.put(
        'dists/backdoor/InRelease',
        keys.sign(
          'signing',
          'clearsign',
          readFileSync(join(farm.apt, 'dists/bookworm/Release'))
            .toString()
            .replace('Suite: bookworm', 'Suite: backdoor'),
        ),
      );
      cpSync(join(farm.apt, 'dists/bookworm/main'), join(farm.apt, 'dists/backdoor/main'), {
        recursive: true,
      });
    },
    { path: 'dists/backdoor/InRelease' },
  );
  attack(
    'an announced Release served as another suite',
    ['apt-signatures RELEASE_DIFFERS', 'apt-signatures WRONG_NAME'],
    (farm) => {
      cpSync(join(farm.apt, 'dists/bookworm'), join(farm.apt, 'dists/stable'), { recursive: true });
    },
    { path: 'dists/stable/InRelease' },
  );
  attack(
    'an InRelease signed by a stranger',
    ['apt-signatures SIGNATURE_NOT_IN_JOURNAL', 'apt-signatures WRONG_KEY'],
    (farm) => {
      farm.put(
        'dists/bookworm/InRelease',
        keys.sign('stranger', 'clearsign', readFileSync(join(farm.apt, 'dists/bookworm/Release'))),
      );
    },
    { path: 'dists/bookworm/InRelease' },
  );
  attack(
    'a line before the signed text of InRelease',
    ['apt-signatures NOT_SIGNED'],
    (farm) => {
      farm.put(
        'dists/bookworm/InRelease',
        `Suite: x\n${readFileSync(join(farm.apt, 'dists/bookworm/InRelease')).toString()}`,
      );
    },
    { path: 'dists/bookworm/InRelease' },
  );
  attack(
    'a Release that is not what was signed',
    ['apt-signatures BAD_SIGNATURE', 'apt-signatures RELEASE_DIFFERS', 'apt-signatures WRONG_PAYLOAD'],
    (farm) => {
      farm.put(
        'dists/bookworm/Release',
        `${readFileSync(join(farm.apt, 'dists/bookworm/Release')).toString()}Label: x\n`,
      );
    },
  );
  attack(
    'a Release without Release.gpg',
    ['apt-signatures NOT_SIGNED'],
    (farm) => rmSync(join(farm.apt, 'dists/bookworm/Release.gpg')),
    { path: 'dists/bookworm/Release.gpg' },
  );
  attack(
    'a suite that was announced and is gone',
    ['apt-signatures FILE_MISSING'],
    (farm) => rmSync(join(farm.apt, 'dists/bookworm'), { recursive: true }),
    { path: 'dists/bookworm/InRelease' },
  );
  attack(
    'a .changes in the pool that was signed in secret',
    ['apt-signatures NO_ORIGIN', 'apt-signatures SIGNATURE_NOT_IN_JOURNAL'],
    (farm) => {
      farm.put(
        'pool/main/h/hello/hello_2.10-3_amd64.changes',
        keys.sign(
          'signing',
          'clearsign',
          `Format: 1.8\nChecksums-Sha256:\n ${sha256('the package')} 11 hello_2.10-3_amd64.deb\n`,
        ),
      );
    },
  );
  attack(
    'a .dsc without its signature',
    ['apt-files WRONG_SIZE', 'apt-signatures NOT_SIGNED'],
    (farm) => farm.put(dsc, 'Format: 3.0 (native)\nSource: hello\n'),
    { path: dsc },
  );
  attack(
    'a package changed in the pool',
    ['apt-files WRONG_SHA256'],
    (farm) => farm.put(deb, 'the pAckage'),
    { path: deb },
  );
  attack(
    'a package that is gone from the pool',
    ['apt-files FILE_MISSING'],
    (farm) => rmSync(join(farm.apt, deb)),
    { path: deb },
  );
  attack(
    'a changed index',
    ['apt-files WRONG_SHA256'],
    (farm) => {
      const path = join(farm.apt, 'dists/bookworm/main/binary-amd64/Packages');
      writeFileSync(path, readFileSync(path).toString().replace('2.10-3', '2.10-4'));
    },
    { path: 'dists/bookworm/main/binary-amd64/Packages' },
  );
  // Of a signed and announced upload: nobody signs this by mistake, but the one who announced it may want two
  // readers to see two things.
  attack(
    'an index in which a package has two file names',
    ['apt-files BAD_INDEX', 'apt-files UNLISTED_FILE'],
    (farm) => {
      const index = Buffer.from(
        indexOf(farm)
          .toString()
          .replace('Filename:', 'Filename: pool/main/h/hello/other_1_amd64.deb\nfilename:'),
      );
      farm.put(`dists/bookworm/${indexPath}`, index);
      farm.publishRelease('bookworm', { [indexPath]: index });
    },
    { path: `dists/bookworm/${indexPath}` },
  );
  attack(
    'a Release with two lists of hashes',
    ['apt-files BAD_INDEX', 'apt-files UNLISTED_FILE'],
    (farm) =>
      farm.publishRelease(
        'bookworm',
        { [indexPath]: Buffer.from('Package: other\n') },
        `SHA256:\n ${sha256(indexOf(farm))} ${indexOf(farm).length} ${indexPath}\n`,
      ),
    { path: 'dists/bookworm/Release' },
  );
  attack(
    'a Release of two paragraphs',
    ['apt-files BAD_INDEX', 'apt-files UNLISTED_FILE'],
    (farm) => farm.publishRelease('bookworm', { [indexPath]: indexOf(farm) }, '\nSuite: bookworm\nSHA256:\n'),
    { path: 'dists/bookworm/Release' },
  );

  attack(
    'an index of 100 MiB that says it is small',
    ['apt-files BAD_INDEX', 'apt-files UNLISTED_FILE'],
    (farm) => packed(farm, bomb(100 * 1024 * 1024), 100),
    { path: `dists/bookworm/${indexPath}.gz` },
    () => ['--max-read', '50'],
  );
}

export function formAttacks(attack: Attack, keys: Keys): void {
  const index = 'main/binary-amd64/Packages';
  const at = (path: string): string => `dists/bookworm/${path}`;
  const indexOf = (farm: Farm): Buffer => readFileSync(join(farm.apt, at(index)));
  const other = Buffer.from('Package: other\n');
  const release = at('Release');

  /** A Release whose text is all of the attacker's, signed and announced. */
  function announce(farm: Farm, text: string): void {
    const [inRelease, detached] = farm.signAll(
      (['clearsign', 'detach'] as const).map((mode) => ({
        purpose: 'apt-release' as const,
        name: 'Release',
        mode,
        payload: Buffer.from(text),
      })),
    ) as [Buffer, Buffer];
    farm.put(release, text);
    farm.put(at('InRelease'), inRelease);
    farm.put(at('Release.gpg'), detached);
  }
  const releaseOf = (farm: Farm): string => readFileSync(join(farm.apt, release)).toString();

  /**
   * The packages' index and its forms anew, announced; the sources are left out, with what only they name.
   */
  function publishForms(farm: Farm, forms: Record<string, Buffer>, more = ''): void {
    for (const path of ['main/source/Sources.gz', `${index}.gz`]) rmSync(join(farm.apt, at(path)));
    for (const name of ['hello_2.10-3.tar.xz', 'hello_2.10-3.dsc'])
      rmSync(join(farm.apt, 'pool/main/h/hello', name));
    for (const [path, data] of Object.entries(forms)) farm.put(at(path), data);
    farm.publishRelease('bookworm', forms, more);
  }

  attack(
    'a packed form with another text',
    ['apt-files INDEX_FORMS_DIFFER'],
    (farm) =>
      publishForms(farm, {
        [index]: indexOf(farm),
        [`${index}.gz`]: gzipSync(
          Buffer.concat([indexOf(farm), indexOf(farm)])
            .toString()
            .replace('2.10-3', '2.10-4'),
        ),
      }),
    { path: at(`${index}.gz`) },
  );
  for (const [form, pack] of Object.entries({
    xz: ['xz', '-c'],
    bz2: ['bzip2', '-c'],
    lzma: ['xz', '-c', '--format=lzma'],
  })) {
    attack(
      `a form that this farm does not write: .${form}`,
      ['apt-files BAD_INDEX', 'apt-files UNLISTED_FILE'],
      (farm) => {
        publishForms(farm, {
          [index]: indexOf(farm),
          [`${index}.${form}`]: execFileSync(pack[0] as string, pack.slice(1), { input: other }),
        });
      },
    );
  }
  attack(
    'two gzip members in one file',
    ['apt-files BAD_INDEX'],
    (farm) =>
      publishForms(farm, {
        [index]: indexOf(farm),
        [`${index}.gz`]: Buffer.concat([gzipSync(indexOf(farm)), gzipSync(other)]),
      }),
    { path: at(`${index}.gz`) },
  );
  attack(
    'bytes behind a gzip member',
    ['apt-files BAD_INDEX'],
    (farm) =>
      publishForms(farm, {
        [index]: indexOf(farm),
        [`${index}.gz`]: Buffer.concat([gzipSync(indexOf(farm)), other]),
      }),
    { path: at(`${index}.gz`) },
  );

  /** After a Release that cannot be read nothing names the rest: each file of it is told of too. */
  const unread = ['apt-files BAD_INDEX', 'apt-files UNLISTED_FILE'];
  for (const [what, edit] of Object.entries<(text: string) => string>({
    'SHA256 with a blank before the colon': (text) => text.replace('SHA256:', 'SHA256 :'),
    'SHA256 twice in two spellings': (text) => `${text}Sha256:\n ${sha256(other)} ${other.length} ${index}\n`,
    'a line of blanks that cuts a list short': (text) =>
      text.replace(/\n ([0-9a-f]{64} \d+ main\/source)/, '\n \n $1'),
    'a comment in a list': (text) => text.replace(/\n ([0-9a-f]{64} \d+ main\/source)/, '\n# x\n $1'),
    'a path twice in a list': (text) => `${text} ${sha256(other)} ${other.length} ${index}\n`,
    'a SHA512 list about other bytes': (text) =>
      `${text}SHA512:\n ${createHash('sha512').update(other).digest('hex')} ${other.length} ${index}\n`,
    'an MD5Sum list of other files': (text) =>
      text.replace(
        'SHA256:',
        `MD5Sum:\n ${createHash('md5').update(other).digest('hex')} ${other.length} ${index}\nSHA256:`,
      ),
    'a list of translations': (text) => `${text} ${sha256(other)} ${other.length} main/i18n/Translation-en\n`,
    'a list of differences': (text) =>
      `${text} ${sha256(other)} ${other.length} main/binary-amd64/Packages.diff/Index\n`,
    'a path that climbs': (text) => `${text} ${sha256(other)} ${other.length} main/../../x/Packages\n`,
    'another component than it says': (text) => `Components: universe\n${text}`,
    'another architecture than it says': (text) => `Architectures: i386\n${text}`,
    'Acquire-By-Hash: force': (text) => `Acquire-By-Hash: force\n${text}`,
    'No-Support-for-Architecture-all': (text) => `No-Support-for-Architecture-all: Packages\n${text}`,
    Snapshots: (text) => `Snapshots: https://elsewhere.example/@SNAPSHOTID@/\n${text}`,
    'Signed-By': (text) => `Signed-By: ${keys.fingerprint.stranger}\n${text}`,
    NotAutomatic: (text) => `NotAutomatic: yes\n${text}`,
    'a date that is none': (text) => `Date: tomorrow\n${text}`,
    'CRs at the ends of lines': (text) => text.replace('Origin: build-infra', 'Origin: build-infra\r'),
  }))
    attack(
      `a Release with ${what}`,
      what.startsWith('CRs') ? [...unread, 'apt-signatures NOT_SIGNED'] : unread,
      (farm) => announce(farm, edit(releaseOf(farm))),
    );
  attack('MD5Sum of other bytes than SHA256', ['apt-files WRONG_SHA256'], (farm) => {
    const lines = [...releaseOf(farm).matchAll(/^ [0-9a-f]{64} (\d+ \S+)$/gm)].map(
      (found) => ` ${'0'.repeat(32)} ${found[1]}\n`,
    );
    announce(farm, releaseOf(farm).replace('SHA256:', `MD5Sum:\n${lines.join('')}SHA256:`));
    // Without their indices' hashes the pool's files are named by the signed .dsc alone.
    for (const name of ['hello_2.10-3_amd64.deb']) rmSync(join(farm.apt, 'pool/main/h/hello', name));
  });

  for (const [what, edit] of Object.entries<(text: string) => string>({
    'Filename twice in two spellings': (text) => text.replace('Filename:', 'FileName: pool/x.deb\nFilename:'),
    'a blank before a colon': (text) => text.replace('Filename:', 'Filename: pool/x.deb\nFilename :'),
    'a stronger hash': (text) => text.replace('SHA256:', `SHA512: ${'0'.repeat(128)}\nSHA256:`),
    'a package twice': (text) => `${text}${text.replace('hello_2.10-3_amd64', 'other')}`,
    'a file name that climbs': (text) => text.replace('pool/main/h', 'pool/main/x/../h'),
    'a file name from the root': (text) => text.replace('pool/main/h', '/pool/main/h'),
    'a file elsewhere': (text) => text.replace('pool/main/h', 'dists/main/h'),
    'a line of blanks': (text) => text.replace('Filename:', ' \nFilename:'),
    'no hash': (text) => text.replace(/SHA256.*\n/, ''),
  })) {
    attack(
      `an index with ${what}`,
      ['apt-files BAD_INDEX', 'apt-files UNLISTED_FILE'],
      (farm) => {
        const text = Buffer.from(edit(indexOf(farm).toString()));
        publishForms(farm, { [index]: text });
      },
      { path: at(index) },
    );
  }

  const byHash = (farm: Farm): string => at(`main/binary-amd64/by-hash/SHA256/${sha256(indexOf(farm))}`);
  attack('a copy under its hash with other bytes', ['apt-files WRONG_SHA256'], (farm) =>
    farm.put(byHash(farm), Buffer.alloc(indexOf(farm).length)),
  );
  attack('copies under another kind of hash', ['apt-files UNLISTED_FILE'], (farm) =>
    farm.put(byHash(farm).replace('SHA256', 'SHA512'), indexOf(farm)),
  );
  for (const path of [
    'Packages',
    'dists/bookworm/main/i18n/Translation-en',
    'dists/bookworm/main/binary-amd64/Packages.bz2',
    'pool/main/h/hello/evil_1_all.deb',
    'flat/InRelease',
    'dists/x/binary-y/InRelease',
  ]) {
    attack(
      `a file that nothing names: ${path}`,
      ['apt-files UNLISTED_FILE'],
      (farm) => farm.put(path, other),
      { path },
    );
  }

  /** A signed and announced .changes beside the rest of the upload. */
  function putChanges(farm: Farm, listed: string): void {
    const [changes] = farm.signAll([
      {
        purpose: 'deb-changes',
        name: 'hello_2.10-3_amd64.changes',
        mode: 'clearsign',
        payload: Buffer.from(`Format: 1.8\nSource: hello\nChecksums-Sha256:\n${listed}`),
      },
    ]) as [Buffer];
    farm.put('pool/main/h/hello/hello_2.10-3_amd64.changes', changes);
  }
  attack(
    'a .changes that names a file that is not there',
    ['apt-files FILE_MISSING'],
    (farm) => putChanges(farm, ` ${sha256(other)} ${other.length} gone_1_all.deb\n`),
    { path: 'pool/main/h/hello/gone_1_all.deb' },
  );
  for (const [what, name] of [
    ['of another version', 'hello_2.10-2_amd64.deb'],
    ['rebuilt later than the one that is indexed', 'hello_2.10-3+b1_amd64.deb'],
    ['for another architecture', 'hello_2.10-3_i386.deb'],
    ['of another name', 'hell_2.10-3_amd64.deb'],
  ]) {
    attack(
      `a .changes that names a package that is not there, ${what}`,
      ['apt-files FILE_MISSING'],
      (farm) => putChanges(farm, ` ${sha256(other)} ${other.length} ${name}\n`),
      { path: `pool/main/h/hello/${name}` },
    );
  }
  attack(
    'a .changes that names other bytes',
    ['apt-files WRONG_SHA256'],
    (farm) => putChanges(farm, ` ${sha256(other)} 11 hello_2.10-3_amd64.deb\n`),
    { path: 'pool/main/h/hello/hello_2.10-3_amd64.deb' },
  );
  attack('a .changes that names a file elsewhere', ['apt-files BAD_INDEX'], (farm) =>
    putChanges(farm, ` ${sha256(other)} 11 ../hello_2.10-3_amd64.deb\n`),
  );
}
