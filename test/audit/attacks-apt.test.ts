// SPDX-License-Identifier: GPL-2.0-or-later
// Attacks on the APT repository.
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import tap from 'tap';
import { attack, good, keys } from './attack.js';
import { Farm, sha256 } from './farm.js';
import { verdict } from './run-audit.js';

const dsc = 'pool/main/h/hello/hello_2.10-3.dsc';
const deb = 'pool/main/h/hello/hello_2.10-3_amd64.deb';

attack('an InRelease that is signed by the right key in secret', ['apt-signatures NO_ORIGIN', 'apt-signatures SIGNATURE_NOT_IN_JOURNAL'], (farm) => {
  farm.put('dists/bookworm/InRelease', keys.sign('signing', 'clearsign', readFileSync(join(farm.apt, 'dists/bookworm/Release')), ['--digest-algo', 'SHA384']));
}, { path: 'dists/bookworm/InRelease' });
attack('a suite that nobody announced', ['apt-signatures NO_ORIGIN', 'apt-signatures SIGNATURE_NOT_IN_JOURNAL'], (farm) => {
  farm.put('dists/backdoor/InRelease', keys.sign('signing', 'clearsign', readFileSync(join(farm.apt, 'dists/bookworm/Release')).toString().replace('Suite: bookworm', 'Suite: backdoor')));
  cpSync(join(farm.apt, 'dists/bookworm/main'), join(farm.apt, 'dists/backdoor/main'), { recursive: true });
}, { path: 'dists/backdoor/InRelease' });
attack('an announced Release served as another suite', ['apt-signatures RELEASE_DIFFERS', 'apt-signatures WRONG_NAME'], (farm) => {
  cpSync(join(farm.apt, 'dists/bookworm'), join(farm.apt, 'dists/stable'), { recursive: true });
}, { path: 'dists/stable/InRelease' });
attack('an InRelease signed by a stranger', ['apt-signatures SIGNATURE_NOT_IN_JOURNAL', 'apt-signatures WRONG_KEY'], (farm) => {
  farm.put('dists/bookworm/InRelease', keys.sign('stranger', 'clearsign', readFileSync(join(farm.apt, 'dists/bookworm/Release'))));
}, { path: 'dists/bookworm/InRelease' });
attack('a line before the signed text of InRelease', ['apt-signatures NOT_SIGNED'], (farm) => {
  farm.put('dists/bookworm/InRelease', `Suite: x\n${readFileSync(join(farm.apt, 'dists/bookworm/InRelease')).toString()}`);
}, { path: 'dists/bookworm/InRelease' });
attack('a Release that is not what was signed', ['apt-signatures BAD_SIGNATURE', 'apt-signatures RELEASE_DIFFERS', 'apt-signatures WRONG_PAYLOAD'], (farm) => {
  farm.put('dists/bookworm/Release', `${readFileSync(join(farm.apt, 'dists/bookworm/Release')).toString()}Label: x\n`);
});
attack('a Release without Release.gpg', ['apt-signatures NOT_SIGNED'], (farm) => rmSync(join(farm.apt, 'dists/bookworm/Release.gpg')), { path: 'dists/bookworm/Release.gpg' });
attack('a suite that was announced and is gone', ['apt-signatures FILE_MISSING'], (farm) => rmSync(join(farm.apt, 'dists/bookworm'), { recursive: true }), { path: 'dists/bookworm/InRelease' });
attack('a .changes in the pool that was signed in secret', ['apt-signatures NO_ORIGIN', 'apt-signatures SIGNATURE_NOT_IN_JOURNAL'], (farm) => {
  farm.put('pool/main/h/hello/hello_2.10-3_amd64.changes', keys.sign('signing', 'clearsign', `Format: 1.8\nChecksums-Sha256:\n ${sha256('the package')} 11 hello_2.10-3_amd64.deb\n`));
});
attack('a .dsc without its signature', ['apt-files WRONG_SIZE', 'apt-signatures NOT_SIGNED'], (farm) => farm.put(dsc, 'Format: 3.0 (native)\nSource: hello\n'), { path: dsc });
attack('a package changed in the pool', ['apt-files WRONG_SHA256'], (farm) => farm.put(deb, 'the pAckage'), { path: deb });
attack('a package that is gone from the pool', ['apt-files FILE_MISSING'], (farm) => rmSync(join(farm.apt, deb)), { path: deb });
attack('a changed index', ['apt-files WRONG_SHA256'], (farm) => {
  const path = join(farm.apt, 'dists/bookworm/main/binary-amd64/Packages');
  writeFileSync(path, readFileSync(path).toString().replace('2.10-3', '2.10-4'));
}, { path: 'dists/bookworm/main/binary-amd64/Packages' });
/** Of a signed and announced upload: nobody signs this by mistake, but the one who announced it may want two readers to see two things. */
const indexPath = 'main/binary-amd64/Packages';
const indexOf = (farm: Farm): Buffer => readFileSync(join(farm.apt, 'dists/bookworm', indexPath));
attack('an index in which a package has two file names', ['apt-files BAD_INDEX', 'apt-files UNLISTED_FILE'], (farm) => {
  const index = Buffer.from(indexOf(farm).toString().replace('Filename:', 'Filename: pool/main/h/hello/other_1_amd64.deb\nfilename:'));
  farm.put(`dists/bookworm/${indexPath}`, index);
  farm.publishRelease('bookworm', { [indexPath]: index });
}, { path: `dists/bookworm/${indexPath}` });
attack('a Release with two lists of hashes', ['apt-files BAD_INDEX', 'apt-files UNLISTED_FILE'], (farm) => farm.publishRelease('bookworm', { [indexPath]: Buffer.from('Package: other\n') }, `SHA256:\n ${sha256(indexOf(farm))} ${indexOf(farm).length} ${indexPath}\n`), { path: 'dists/bookworm/Release' });
attack('a Release of two paragraphs', ['apt-files BAD_INDEX', 'apt-files UNLISTED_FILE'], (farm) => farm.publishRelease('bookworm', { [indexPath]: indexOf(farm) }, '\nSuite: bookworm\nSHA256:\n'), { path: 'dists/bookworm/Release' });

/** Packages.gz alone, of this text, in a signed and announced upload. @param told what its end says of its size */
function packed(farm: Farm, text: Buffer, told = text.length): void {
  const bytes = gzipSync(text);
  bytes.writeUInt32LE(told, bytes.length - 4);
  rmSync(join(farm.apt, `dists/bookworm/${indexPath}`));
  farm.put(`dists/bookworm/${indexPath}.gz`, bytes);
  farm.publishRelease('bookworm', { [`${indexPath}.gz`]: bytes });
}
const bomb = Buffer.concat([Buffer.from('Package: x\n'), Buffer.alloc(100 * 1024 * 1024)]);
attack('an index of 100 MiB that says it is small', ['apt-files BAD_INDEX', 'apt-files UNLISTED_FILE'], (farm) => packed(farm, bomb, 100), { path: `dists/bookworm/${indexPath}.gz` }, () => ['--max-read', '50']);
void tap.test('what comes out of a packed index counts against the budget', async (t) => {
  const farm = new Farm(keys, good);
  t.teardown(() => farm.remove());
  packed(farm, bomb);
  await t.rejects(verdict(farm, ['--max-read', '50']), { name: 'Unreadable', message: /--max-read of 50 MiB is met: .*\/apt was not checked to its end/ });
});
