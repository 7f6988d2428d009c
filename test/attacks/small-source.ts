// SPDX-License-Identifier: GPL-2.0-or-later
// Small native Debian packages, tagged and pushed by the developer; `tiny` builds in seconds without
// debhelper and says what it is told to say.
import { developerEnvironment, type Maintainer } from '../../agents/local/outside/developer.js';
import { gitFolder, type ForgePorts } from '../../agents/local/outside/forge.js';
import { must, type Machine } from '../../agents/local/outside/machine.js';

const script = `set -eu
name=$1 version=$2 key=$3 remote=$4; shift 4
repo=$HOME/src/$name
if ! test -d $repo/.git; then
  mkdir -p $repo; git init -q --initial-branch=main $repo
  git -C $repo config user.name Alice; git -C $repo config user.email alice@developer.example; git -C $repo remote add origin $remote
fi
cd $repo; mkdir -p debian/source
echo '3.0 (native)' > debian/source/format
printf '%s (%s) unstable; urgency=low\\n\\n  * Another one.\\n\\n -- Alice <alice@developer.example>  %s\\n' $name $version "$(date -R)" > debian/changelog
while test $# -gt 0; do printf '%s' "$2" > "$1"; shift 2; done
chmod 755 debian/rules
git add -A; git commit -q -m "$name $version"
git -c user.signingKey=$key tag -s -m "$name $version" v$version
git push -q origin +main refs/tags/v$version
`;

/**
 * A native source package, committed, tagged and pushed by the developer. @param files debian/control and
 * debian/rules at least; content by path
 */
export async function pushSource(
  developer: Machine,
  maintainer: Maintainer,
  ports: ForgePorts,
  name: string,
  version: string,
  files: Record<string, string>,
): Promise<void> {
  const words = [
    name,
    version,
    maintainer.fingerprint,
    `ssh://user@127.0.0.1${gitFolder}/${name}.git`,
    ...Object.entries(files).flat(),
  ];
  await must(developer, ['sh', '-c', script, 'push', ...words], { env: developerEnvironment(ports) });
}

/** debian/control of a package of that name. */
export function control(name: string, architecture: string, source = '', binary = ''): string {
  return `Source: ${name}\nSection: misc\nPriority: optional\nMaintainer: Alice <alice@developer.example>\nStandards-Version: 4.6.2\nRules-Requires-Root: no\n${source}
Package: ${name}\nArchitecture: ${architecture}\n${binary}Description: small\n A small package.\n`;
}

/**
 * The part of debian/rules that makes the package; `build` is what the build step does first (make recipe
 * lines).
 */
function rules(build: string): string {
  return `#!/usr/bin/make -f
clean build-arch binary-arch:
build build-indep:
${build
  .split('\n')
  .map((line) => `\t${line}`)
  .join('\n')}
binary binary-indep: build-indep
\tmkdir -p debian/tiny/DEBIAN debian/tiny/usr/share/tiny
\tcp debian/changelog debian/tiny/usr/share/tiny/
\tdpkg-gencontrol -ptiny -Pdebian/tiny
\tdpkg-deb --root-owner-group --build debian/tiny ..
.PHONY: clean build build-arch build-indep binary binary-arch binary-indep
`;
}

export async function pushTiny(
  developer: Machine,
  maintainer: Maintainer,
  ports: ForgePorts,
  version: string,
  build: string,
): Promise<void> {
  await pushSource(developer, maintainer, ports, 'tiny', version, {
    'debian/control': control('tiny', 'all'),
    'debian/rules': rules(build),
  });
}
