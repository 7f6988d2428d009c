// SPDX-License-Identifier: GPL-2.0-or-later
// Somebody who uses the published DNF repository: real dnf over HTTP into an empty installroot, with the
// published key and nothing else of this machine's configuration. gpgcheck and repo_gpgcheck are on; the same
// visit is made to mirrors that changed one byte.
import { must, type Machine } from './machine.js';

export interface RpmRepository {
  /** of one suite: with repodata/ below it */
  url: string;
  /** armored public key as published */
  key: string;
}

export interface RpmVisit {
  /** name-version-release.arch of what was installed */
  installed: string[];
  /** stdout of the installed program */
  says: string;
}

/** The key comes on stdin. $4: whether the metadata's own signature is asked for. */
const visit = `set -eu
url=$1 package=$2 version=$3 repo_gpgcheck=$4
top=/var/lib/build-infra/dnf; root=$top/root
rm -rf $top; mkdir -p $root/etc/plugins $top/home; cat > $top/key.asc
cat > $top/dnf.conf <<END
[main]
gpgcheck=1
repo_gpgcheck=$repo_gpgcheck
localpkg_gpgcheck=1
reposdir=/nonexistent
varsdir=/nonexistent
pluginconfpath=$root/etc/plugins
cachedir=/cache
persistdir=/persist
logdir=/log
install_weak_deps=0
module_platform_id=platform:none
retries=1
[farm]
name=farm
baseurl=$url
gpgkey=file://$top/key.asc
enabled=1
END
# Debian's rpm has its database below HOME.
export HOME=$top/home TMPDIR=$top
dnf() { command dnf --assumeyes --config $top/dnf.conf --installroot $root --releasever=0 --disableplugin='*' --color=never "$@"; }
dnf install "$package-$version" >&2
rpm --root $root --query --all --queryformat 'installed %{name}-%{version}-%{release}.%{arch} %{rsaheader:pgpsig} %{dsaheader:pgpsig}\\n' | grep -v gpg-pubkey
shift 4
# Nothing but what was installed is in that root: no shell, no library.
bwrap --ro-bind $root / --unshare-all --die-with-parent --clearenv -- "$@" | sed 's/^/says /'
`;

/**
 * Installs `<name>-<version>` and runs `argv` inside the installroot.
 * @param version of the package: version, or version-release
 * @throws Error with dnf's last lines
 */
export async function installRpmAsVisitor(
  visitor: Machine,
  repository: RpmRepository,
  name: string,
  version: string,
  argv: readonly string[],
  onLine: (line: string) => void,
): Promise<RpmVisit> {
  const out = await must(visitor, ['sh', '-c', visit, 'visit', repository.url, name, version, '1', ...argv], {
    user: 'root',
    input: repository.key,
    onLine,
    timeoutMs: 300_000,
  });
  const lines = out.trim().split('\n');
  const installed = lines
    .filter((line) => line.startsWith('installed '))
    .map((line) => line.split(' ')[1] as string);
  if (!installed.some((one) => one.startsWith(`${name}-${version}`)))
    throw new Error(`dnf did not install ${name} ${version}:\n${out}`);
  const unsigned = lines.filter(
    (line) => line.startsWith('installed ') && !/ Key ID [0-9a-f]{16}/.test(line),
  );
  if (unsigned.length > 0) throw new Error(`dnf installed what is not signed: ${unsigned.join(' ')}`);
  return {
    installed,
    says: lines
      .filter((line) => line.startsWith('says '))
      .map((line) => line.slice(5))
      .join('\n'),
  };
}

/**
 * The same from a mirror that lies. @param metadataSignature whether this visitor looks at the signature of
 * repomd.xml @returns dnf's own words @throws Error where dnf takes it
 */
export async function refusedByDnf(
  visitor: Machine,
  repository: RpmRepository,
  name: string,
  version: string,
  metadataSignature: boolean,
  onLine: (line: string) => void,
): Promise<string> {
  const result = await visitor.run(
    [
      'sh',
      '-c',
      visit,
      'visit',
      repository.url,
      name,
      version,
      metadataSignature ? '1' : '0',
      '/usr/bin/true',
    ],
    { user: 'root', input: repository.key, onLine, timeoutMs: 300_000 },
  );
  const words = result.stderr
    .trim()
    .split('\n')
    .filter((line) =>
      /^(?:Error|Problem|The downloaded packages|Package .* is|GPG|.*(?:repomd|checksum|[Ss]ignature|MD5|Digest))/.test(
        line,
      ),
    )
    .slice(0, 2)
    .join(' | ');
  if (result.status === 0 || /^installed /m.test(result.stdout))
    throw new Error(`dnf installed from ${repository.url}, which lies`);
  if (words === '')
    throw new Error(
      `dnf failed at ${repository.url}, and not because of what lies there:\n${result.stderr.slice(-1000)}`,
    );
  return words;
}
