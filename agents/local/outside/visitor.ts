// SPDX-License-Identifier: GPL-2.0-or-later
// Somebody who uses the published repository: a throw-away root with the published key, real apt-get over
// HTTP. Runs as root in a sandbox of its own; the base root is cached, every visit starts from a fresh copy.
import type { Suite } from '../../shared/formats/suites.js';
import { must, type Machine } from './machine.js';

export interface Visit {
  /** name=version of what was installed */
  installed: string[];
  /** where apt-get took it from */
  urls: string[];
}

/** The distribution's own packages come from the mirror that this machine's apt configuration names. */
const makeBase = `set -eu
suite=$1
base=/var/lib/build-infra/base-$suite.tar
if test -f $base && test -n "$(find $base -mtime -7)"; then exit 0; fi
apt-get -q -o APT::Sandbox::User=root update >&2
apt-get indextargets --format '$(REPO_URI)|$(RELEASE)|$(COMPONENT)' 'Created-By: Packages' > /var/lib/build-infra/mirrors
sort -u /var/lib/build-infra/mirrors | while IFS='|' read -r uri release component; do
  case $release in $suite|$suite-updates|$suite-security|$suite/updates) ;; *) continue ;; esac
  echo "deb $uri $release $component"
done > /var/lib/build-infra/base.list
# Another distribution than this machine's: the same mirror has it, or mmdebstrap says that it has not.
test -s /var/lib/build-infra/base.list || sed -n "s/^\\([^|]*\\)|[a-z]*|main$/deb \\1 $suite main/p" /var/lib/build-infra/mirrors | head -n 1 > /var/lib/build-infra/base.list
test -s /var/lib/build-infra/base.list || { echo "the apt configuration of this machine names no mirror of $suite" >&2; exit 1; }
rm -rf $base $base.part
mmdebstrap --quiet --format=tar --variant=apt $suite $base.part /var/lib/build-infra/base.list
mv $base.part $base
`;

const visit = `set -eu
suite=$1 url=$2 wanted=$3 version=$4 codename=$1-$5
root=/var/lib/build-infra/root
rm -rf $root; mkdir -p $root; tar -C $root --exclude=./dev/* -xf /var/lib/build-infra/base-$suite.tar
mkdir -p $root/etc/apt/keyrings; cat > $root/etc/apt/keyrings/farm.asc
host=\${url#*://}; host=\${host%%/*}; host=\${host%%:*}
echo "deb [signed-by=/etc/apt/keyrings/farm.asc] $url $codename main" > $root/etc/apt/sources.list.new
# First of all sources: a package that was built to the same version as the distribution's may count as the same one for apt.
cat $root/etc/apt/sources.list >> $root/etc/apt/sources.list.new 2>/dev/null || true
mv $root/etc/apt/sources.list.new $root/etc/apt/sources.list
printf 'Package: *\\nPin: origin "%s"\\nPin-Priority: 1001\\n' "$host" > $root/etc/apt/preferences.d/farm
cp -L /etc/resolv.conf $root/etc/resolv.conf
in_root() { bwrap --bind $root / --dev /dev --proc /proc --tmpfs /tmp --unshare-pid --die-with-parent --cap-add ALL --clearenv --setenv PATH /usr/sbin:/usr/bin:/sbin:/bin --setenv DEBIAN_FRONTEND noninteractive --setenv LANG C.UTF-8 -- "$@"; }
in_root apt-get -o APT::Sandbox::User=root -q -o APT::Update::Error-Mode=any update >&2
index=$(find $root/var/lib/apt/lists -name "$host*_dists_\${codename}_main_binary-*_Packages" | head -n 1)
test -n "$index" || { echo 'the repository has no package index' >&2; exit 1; }
names=$(awk -v v="$version" '/^Package: /{p=$2} /^Version: /{if ($2==v && p !~ /-dbgsym$/) print p}' $index)
test -n "$names" || { echo "the repository holds nothing of version $version" >&2; exit 1; }
name=$(echo "$names" | grep -Fx "$wanted" || echo "$names" | head -n 1)
in_root apt-get -q --print-uris --reinstall install -y $name=$version | sed -n "s/^'\\(.*\\)' \${name}_.*/url \\1/p"
in_root apt-get -o APT::Sandbox::User=root -q -y install $name=$version >&2
in_root dpkg-query -W -f 'installed \${binary:Package}=\${Version} \${db:Status-Status}\\n' $name
if in_root test -x /usr/bin/$name; then in_root /usr/bin/$name --version 2>&1 </dev/null | head -n 1 | sed 's/^/says /' || true; fi
`;

/**
 * Installs one binary package of `version` (the one named like the source, else the first) and checks that it
 * came from `url`.
 * @param repository.key armored public key as published; `suite` is current-testing unless told
 */
export async function installAsVisitor(
  visitor: Machine,
  repository: { dist: string; url: string; key: string; suite?: Suite },
  source: string,
  version: string,
  onLine: (line: string) => void,
): Promise<Visit & { says: string }> {
  await must(visitor, ['sh', '-c', makeBase, 'base', repository.dist], {
    user: 'root',
    onLine,
    timeoutMs: 600_000,
  });
  const out = await must(
    visitor,
    [
      'sh',
      '-c',
      visit,
      'visit',
      repository.dist,
      repository.url,
      source,
      version,
      repository.suite ?? 'current-testing',
    ],
    { user: 'root', input: repository.key, onLine, timeoutMs: 600_000 },
  );
  const lines = out.trim().split('\n');
  const urls = lines
    .filter((line) => line.startsWith('url '))
    .map((line) => decodeURIComponent(line.slice(4)));
  const installed = lines
    .filter((line) => /^installed \S+ installed$/.test(line))
    .map((line) => line.split(' ')[1] as string);
  if (installed.length === 0) throw new Error(`apt-get did not install ${source} ${version}:\n${out}`);
  if (urls.length === 0 || urls.some((url) => !url.startsWith(`${repository.url}/`)))
    throw new Error(`apt-get took it from elsewhere: ${urls.join(' ')}`);
  return { installed, urls, says: lines.find((line) => line.startsWith('says '))?.slice(5) ?? '' };
}
