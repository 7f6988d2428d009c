// SPDX-License-Identifier: GPL-2.0-or-later
// APT repositories that clients read in another way than the announced one: forms, spellings, lists, copies, places.
import { execFileSync } from 'node:child_process';
import { cpSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import tap from 'tap';
import { readClearSigned, readStanzas } from '../../agents/audit/apt-control.js';
import { createHash } from 'node:crypto';
import { good, keys } from './attack.js';
import { Farm, journalKey, sha256 } from './farm.js';
import { audit } from '../../agents/audit/audit.js';
import { readOptions } from '../../agents/audit/options.js';

interface Attack {
  name: string;
  expected: string[];
  change: (farm: Farm) => void;
  path: string | undefined;
}
const attacks: Attack[] = [];
function attack(name: string, expected: string[], change: (farm: Farm) => void, { path }: { path?: string } = {}): void {
  attacks.push({ name, expected, change, path });
}

const index = 'main/binary-amd64/Packages';
const at = (path: string): string => `dists/bookworm/${path}`;
const indexOf = (farm: Farm): Buffer => readFileSync(join(farm.apt, at(index)));
const other = Buffer.from('Package: other\n');
const release = at('Release');

/** A Release whose text is all of the attacker's, signed and announced. */
function announce(farm: Farm, text: string): void {
  const [inRelease, detached] = farm.signAll((['clearsign', 'detach'] as const).map((mode) => ({ purpose: 'apt-release' as const, name: 'Release', mode, payload: Buffer.from(text) }))) as [Buffer, Buffer];
  farm.put(release, text);
  farm.put(at('InRelease'), inRelease);
  farm.put(at('Release.gpg'), detached);
}
const releaseOf = (farm: Farm): string => readFileSync(join(farm.apt, release)).toString();

/** The packages' index and its forms anew, announced; the sources are left out, with what only they name. */
function publishForms(farm: Farm, forms: Record<string, Buffer>, more = ''): void {
  for (const path of ['main/source/Sources.gz', `${index}.gz`]) rmSync(join(farm.apt, at(path)));
  for (const name of ['hello_2.10-3.tar.xz', 'hello_2.10-3.dsc']) rmSync(join(farm.apt, 'pool/main/h/hello', name));
  for (const [path, data] of Object.entries(forms)) farm.put(at(path), data);
  farm.publishRelease('bookworm', forms, more);
}

attack('a packed form with another text', ['apt-files INDEX_FORMS_DIFFER'], (farm) => publishForms(farm, { [index]: indexOf(farm), [`${index}.gz`]: gzipSync(Buffer.concat([indexOf(farm), indexOf(farm)]).toString().replace('2.10-3', '2.10-4')) }), { path: at(`${index}.gz`) });
for (const [form, pack] of Object.entries({ xz: ['xz', '-c'], bz2: ['bzip2', '-c'], lzma: ['xz', '-c', '--format=lzma'] })) {
  attack(`a form that this farm does not write: .${form}`, ['apt-files BAD_INDEX', 'apt-files UNLISTED_FILE'], (farm) => {
    publishForms(farm, { [index]: indexOf(farm), [`${index}.${form}`]: execFileSync(pack[0] as string, pack.slice(1), { input: other }) });
  });
}
attack('two gzip members in one file', ['apt-files BAD_INDEX'], (farm) => publishForms(farm, { [index]: indexOf(farm), [`${index}.gz`]: Buffer.concat([gzipSync(indexOf(farm)), gzipSync(other)]) }), { path: at(`${index}.gz`) });
attack('bytes behind a gzip member', ['apt-files BAD_INDEX'], (farm) => publishForms(farm, { [index]: indexOf(farm), [`${index}.gz`]: Buffer.concat([gzipSync(indexOf(farm)), other]) }), { path: at(`${index}.gz`) });

/** After a Release that cannot be read nothing names the rest: each file of it is told of too. */
const unread = ['apt-files BAD_INDEX', 'apt-files UNLISTED_FILE'];
for (const [what, edit] of Object.entries<(text: string) => string>({
  'SHA256 with a blank before the colon': (text) => text.replace('SHA256:', 'SHA256 :'),
  'SHA256 twice in two spellings': (text) => `${text}Sha256:\n ${sha256(other)} ${other.length} ${index}\n`,
  'a line of blanks that cuts a list short': (text) => text.replace(/\n ([0-9a-f]{64} \d+ main\/source)/, '\n \n $1'),
  'a comment in a list': (text) => text.replace(/\n ([0-9a-f]{64} \d+ main\/source)/, '\n# x\n $1'),
  'a path twice in a list': (text) => `${text} ${sha256(other)} ${other.length} ${index}\n`,
  'a SHA512 list about other bytes': (text) => `${text}SHA512:\n ${createHash('sha512').update(other).digest('hex')} ${other.length} ${index}\n`,
  'an MD5Sum list of other files': (text) => text.replace('SHA256:', `MD5Sum:\n ${createHash('md5').update(other).digest('hex')} ${other.length} ${index}\nSHA256:`),
  'a list of translations': (text) => `${text} ${sha256(other)} ${other.length} main/i18n/Translation-en\n`,
  'a list of differences': (text) => `${text} ${sha256(other)} ${other.length} main/binary-amd64/Packages.diff/Index\n`,
  'a path that climbs': (text) => `${text} ${sha256(other)} ${other.length} main/../../x/Packages\n`,
  'another component than it says': (text) => `Components: universe\n${text}`,
  'another architecture than it says': (text) => `Architectures: i386\n${text}`,
  'Acquire-By-Hash: force': (text) => `Acquire-By-Hash: force\n${text}`,
  'No-Support-for-Architecture-all': (text) => `No-Support-for-Architecture-all: Packages\n${text}`,
  'Snapshots': (text) => `Snapshots: https://elsewhere.example/@SNAPSHOTID@/\n${text}`,
  'Signed-By': (text) => `Signed-By: ${keys.fingerprint.stranger}\n${text}`,
  'NotAutomatic': (text) => `NotAutomatic: yes\n${text}`,
  'a date that is none': (text) => `Date: tomorrow\n${text}`,
  'CRs at the ends of lines': (text) => text.replace('Origin: build-infra', 'Origin: build-infra\r'),
})) attack(`a Release with ${what}`, what.startsWith('CRs') ? [...unread, 'apt-signatures NOT_SIGNED'] : unread, (farm) => announce(farm, edit(releaseOf(farm))));
attack('MD5Sum of other bytes than SHA256', ['apt-files WRONG_SHA256'], (farm) => {
  const lines = [...releaseOf(farm).matchAll(/^ [0-9a-f]{64} (\d+ \S+)$/gm)].map((found) => ` ${'0'.repeat(32)} ${found[1]}\n`);
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
  attack(`an index with ${what}`, ['apt-files BAD_INDEX', 'apt-files UNLISTED_FILE'], (farm) => {
    const text = Buffer.from(edit(indexOf(farm).toString()));
    publishForms(farm, { [index]: text });
  }, { path: at(index) });
}

const byHash = (farm: Farm): string => at(`main/binary-amd64/by-hash/SHA256/${sha256(indexOf(farm))}`);
attack('a copy under its hash with other bytes', ['apt-files WRONG_SHA256'], (farm) => farm.put(byHash(farm), Buffer.alloc(indexOf(farm).length)));
attack('copies under another kind of hash', ['apt-files UNLISTED_FILE'], (farm) => farm.put(byHash(farm).replace('SHA256', 'SHA512'), indexOf(farm)));
for (const path of ['Packages', 'dists/bookworm/main/i18n/Translation-en', 'dists/bookworm/main/binary-amd64/Packages.bz2', 'pool/main/h/hello/evil_1_all.deb', 'flat/InRelease', 'dists/x/binary-y/InRelease']) {
  attack(`a file that nothing names: ${path}`, ['apt-files UNLISTED_FILE'], (farm) => farm.put(path, other), { path });
}

/** A signed and announced .changes beside the rest of the upload. */
function putChanges(farm: Farm, listed: string): void {
  const [changes] = farm.signAll([{ purpose: 'deb-changes', name: 'hello_2.10-3_amd64.changes', mode: 'clearsign', payload: Buffer.from(`Format: 1.8\nSource: hello\nChecksums-Sha256:\n${listed}`) }]) as [Buffer];
  farm.put('pool/main/h/hello/hello_2.10-3_amd64.changes', changes);
}
attack('a .changes that names a file that is not there', ['apt-files FILE_MISSING'], (farm) => putChanges(farm, ` ${sha256(other)} ${other.length} gone_1_all.deb\n`), { path: 'pool/main/h/hello/gone_1_all.deb' });
attack('a .changes that names other bytes', ['apt-files WRONG_SHA256'], (farm) => putChanges(farm, ` ${sha256(other)} 11 hello_2.10-3_amd64.deb\n`), { path: 'pool/main/h/hello/hello_2.10-3_amd64.deb' });
attack('a .changes that names a file elsewhere', ['apt-files BAD_INDEX'], (farm) => putChanges(farm, ` ${sha256(other)} 11 ../hello_2.10-3_amd64.deb\n`));

// An audit can look at many repositories at once, each with one thing wrong; so many keep their findings within what an audit keeps.
const atOnce = 10;
for (let from = 0; from < attacks.length; from += atOnce) {
  void tap.test(`attacks from the ${from + 1}th on`, { timeout: 300_000 }, async (t) => {
    const farm = new Farm(keys, good);
    t.teardown(() => farm.remove());
    const some = attacks.slice(from, from + atOnce).map((one, i) => {
      const apt = join(farm.top, `apt-${i}`);
      cpSync(farm.apt, apt, { recursive: true });
      // The same logs, a repository of its own.
      one.change(Object.create(farm, { apt: { value: apt } }) as Farm);
      return { ...one, apt };
    });
    const options = readOptions(['--logs', farm.logs.path, '--logs-key', join(farm.top, 'logs.asc'), ...[farm.apt, ...some.map(({ apt }) => apt)].flatMap((apt) => ['--apt', apt]), '--signing-key', join(farm.top, 'signing.asc'), '--journal-key', `keys-debian=${journalKey.public}`]);
    if (options === 'help') throw new Error('not a command line');
    const { findings } = await audit(options);
    // They share one history, in which the last one's Release is the newest of the suite: of all others it is told that they are old.
    const all = findings.rows.flatMap((row) => row.findings.map((finding) => ({ ...finding, what: `${row.name} ${finding.code}` }))).filter(({ code }) => code !== 'OLD_RELEASE');
    t.ok(findings.rows.every((row) => row.wrong === row.findings.length), 'all findings are kept');
    t.same(all.filter(({ path }) => path === undefined || path.startsWith(`${farm.apt}/`)), [], 'nothing is wrong with the good one and with the logs');
    for (const { name, expected, apt, path } of some) {
      const own = all.filter((finding) => finding.path?.startsWith(`${apt}/`) === true);
      t.same([...new Set(own.map(({ what }) => what))].sort(), [...expected].sort(), name);
      if (path !== undefined) t.ok(own.some((finding) => finding.path === `${apt}/${path}`), `${name}: names ${path}`);
    }
  });
}

void tap.test('a message with 130,000 headers is refused at once, and each shape that gpg does not write', (t) => {
  const body = 'Hash: SHA256\n\nOrigin: x\n';
  const tail = '-----BEGIN PGP SIGNATURE-----\n\niHUE\n=abcd\n-----END PGP SIGNATURE-----\n';
  const message = `-----BEGIN PGP SIGNED MESSAGE-----\n${body}${tail}`;
  t.same(readClearSigned(message), { text: 'Origin: x' });
  const started = process.cpuUsage();
  for (const many of [message.replace('SIGNATURE-----\n\n', `SIGNATURE-----\n${'Comment: x\n'.repeat(130_000)}\n`), message.replace('Origin: x\n', '-----BEGIN PGP SIGNATURE-----\n'.repeat(130_000)), message.replace('Hash: SHA256\n', 'Hash: SHA256\n'.repeat(130_000)), message.replace('iHUE\n', 'iHUE\n'.repeat(130_000))]) t.equal(readClearSigned(many), undefined);
  t.ok(process.cpuUsage(started).user < 1_000_000, 'in under a second of CPU');
  for (const odd of [` ${message}`, `${message}x`, `${message}${message}`, message.replace(/\n/g, '\r\n'), message.replace('Origin', '-Origin'), message.replace('SHA256', 'SHA1'), message.replace('SHA256', 'SHA256,SHA512'), message.replace('Hash: SHA256\n', ''), message.replace('Hash: SHA256\n', 'Hash: SHA256\nComment: x\n'), message.replace('=abcd', '=abcd\n=abcd')]) t.equal(readClearSigned(odd), undefined, JSON.stringify(odd));
  t.end();
});

void tap.test('stanzas have one spelling', (t) => {
  t.same(readStanzas('A: 1\nB:\n x\n  y\n\nA: 2\n')?.map((one) => [...one]), [[['A', '1'], ['B', '\nx\n y']], [['A', '2']]]);
  for (const odd of ['A : 1\n', 'A:1\n', ' A: 1\n', 'A: 1\na: 2\n', 'A: 1\n \n', 'A: 1\n\n\nB: 2\n', '\nA: 1\n', '# A\nA: 1\n', 'A: 1\r\n', 'A: 1\n\t\nB: 2\n', 'A: \u0000\n', 'A\n']) t.equal(readStanzas(odd), undefined, JSON.stringify(odd));
  t.end();
});
