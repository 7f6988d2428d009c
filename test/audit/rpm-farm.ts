// SPDX-License-Identifier: GPL-2.0-or-later
// The DNF repositories of the small farm, one a suite: made by real rpmbuild, rpmsign and createrepo_c, each
// signature announced as docs/formats.md says.
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  createReadStream,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readPackage, type RpmPackage } from '../../agents/published/packages/rpm-package.js';
import type { Intent } from '../../agents/shared/formats/intent.js';
import { codenameOf, suitesOf, type AnySuite } from '../../agents/shared/formats/suites.js';
import { withOrigin, type Farm } from './farm.js';
import type { SignatureOrigin } from '../../agents/shared/formats/signature-origin.js';

/** A distribution's repositories, or those of a release's templates. */
export interface RpmPlace {
  folder: string;
  dist: string;
}
const ofFc41 = (farm: Farm): RpmPlace => ({ folder: farm.dnf, dist: 'fc41' });

/** A noarch package of a name, unsigned, as `<into>/<name>-1-1.noarch.rpm`. */
export function buildPackage(name: string, into: string): string {
  const top = mkdtempSync(join(tmpdir(), 'rf-'));
  const spec = `Name: ${name}\nVersion: 1\nRelease: 1\nSummary: x\nLicense: GPL-2.0-or-later\nBuildArch: noarch\n%description\nx\n%install\nmkdir -p %{buildroot}/usr/share\necho ${name} > %{buildroot}/usr/share/${name}\n%files\n/usr/share/${name}\n`;
  writeFileSync(join(top, 'x.spec'), spec);
  execFileSync('rpmbuild', ['--quiet', '-bb', '--define', `_topdir ${top}`, join(top, 'x.spec')], {
    stdio: 'pipe',
    env: { ...process.env, HOME: top },
  });
  mkdirSync(into, { recursive: true });
  const file = `${name}-1-1.noarch.rpm`;
  copyFileSync(join(top, 'RPMS/noarch', file), join(into, file));
  rmSync(top, { recursive: true });
  return join(into, file);
}

/** Signs in place, with the key of the farm's keys VM. */
export function rpmsign(farm: Farm, path: string, origin?: SignatureOrigin): void {
  const words =
    origin === undefined ? [] : ['--define', `_gpg_sign_cmd_extra_args ${withOrigin(origin).join(' ')}`];
  execFileSync(
    'rpmsign',
    [
      '--addsign',
      ...words,
      '--define',
      '__gpg /usr/bin/gpg',
      '--define',
      `_gpg_path ${farm.keys.home}`,
      '--define',
      `_gpg_name ${farm.keys.fingerprint.signing}`,
      path,
    ],
    { stdio: 'pipe', env: { ...process.env, HOME: farm.keys.home } },
  );
}

async function headOf(path: string): Promise<RpmPackage> {
  const { found } = await readPackage(createReadStream(path));
  if (found === undefined) throw new Error(`${path} is no package`);
  return found;
}

/** The whole way for a package, which is signed in place. */
export async function signPackage(
  farm: Farm,
  path: string,
  purpose: Intent['purpose'] = 'rpm-header',
  { dist } = ofFc41(farm),
  sign = (origin: SignatureOrigin): void => rpmsign(farm, path, origin),
): Promise<void> {
  const { header } = await headOf(path);
  const claimed = farm.claimAll([{ purpose, name: 'rpm-header', mode: 'detach', payload: header }], dist);
  sign(claimed.origins[0] as SignatureOrigin);
  farm.publishSigned(claimed, (await headOf(path)).signatures);
}

/** The suite with packages in it. */
export const testing = 'current-testing';

export function makeMetadata(farm: Farm, suite: AnySuite = testing, place = ofFc41(farm)): void {
  const folder = join(place.folder, suite);
  rmSync(join(folder, 'repodata'), { recursive: true, force: true });
  execFileSync(
    'createrepo_c',
    [
      '--quiet',
      '--checksum=sha256',
      '--no-database',
      '--general-compress-type=gz',
      '--content',
      codenameOf(place.dist, suite),
      folder,
    ],
    { stdio: 'pipe' },
  );
}

/** Signs repomd.xml as it stands, announced. */
export function signMetadata(farm: Farm, suite: AnySuite = testing, place = ofFc41(farm)): void {
  const repomd = join(place.folder, suite, 'repodata/repomd.xml');
  const [signature] = farm.signAll(
    [{ purpose: 'rpm-repomd', name: 'repomd.xml', mode: 'detach', payload: readFileSync(repomd) }],
    place.dist,
  );
  writeFileSync(`${repomd}.asc`, signature as Buffer);
}

/** Packages, signed, announced and published to one suite, the first; the others are empty. */
export async function buildDnf(farm: Farm, names = ['moon', 'sun'], place = ofFc41(farm)): Promise<void> {
  const suites = suitesOf(place.dist);
  for (const name of names) {
    const path = buildPackage(name, join(place.folder, suites[0] as string, 'packages'));
    await signPackage(farm, path, 'rpm-header', place);
  }
  for (const suite of suites) {
    mkdirSync(join(place.folder, suite), { recursive: true });
    makeMetadata(farm, suite, place);
    signMetadata(farm, suite, place);
  }
  writeFileSync(join(place.folder, 'key.asc'), farm.keys.export('signing'));
}
