// SPDX-License-Identifier: GPL-2.0-or-later
// A native Debian package that builds in seconds without debhelper, says what it is told to say, and is tagged and pushed by the developer.
import { developerEnvironment, type Maintainer } from '../../agents/local/outside/developer.js';
import { gitFolder, type ForgePorts } from '../../agents/local/outside/forge.js';
import { must, type Machine } from '../../agents/local/outside/machine.js';

const script = `set -eu
version=$1 key=$2 remote=$3
repo=$HOME/src/tiny
if ! test -d $repo/.git; then
  mkdir -p $repo; git init -q --initial-branch=main $repo
  git -C $repo config user.name Alice; git -C $repo config user.email alice@developer.example; git -C $repo remote add origin $remote
fi
cd $repo; mkdir -p debian/source
echo '3.0 (native)' > debian/source/format
printf 'tiny (%s) unstable; urgency=low\\n\\n  * Another one.\\n\\n -- Alice <alice@developer.example>  %s\\n' $version "$(date -R)" > debian/changelog
printf 'Source: tiny\\nSection: misc\\nPriority: optional\\nMaintainer: Alice <alice@developer.example>\\nStandards-Version: 4.6.2\\nRules-Requires-Root: no\\n\\nPackage: tiny\\nArchitecture: all\\nDescription: small\\n A small package.\\n' > debian/control
cat > debian/rules
chmod 755 debian/rules
git add -A; git commit -q -m "tiny $version"
git -c user.signingKey=$key tag -s -m "tiny $version" v$version
git push -q origin +main refs/tags/v$version
`;

/** The part of debian/rules that makes the package; `build` is what the build step does first (make recipe lines). */
export function rules(build: string): string {
  return `#!/usr/bin/make -f
clean build-arch binary-arch:
build build-indep:
${build.split('\n').map((line) => `\t${line}`).join('\n')}
binary binary-indep: build-indep
\tmkdir -p debian/tiny/DEBIAN debian/tiny/usr/share/tiny
\tcp debian/changelog debian/tiny/usr/share/tiny/
\tdpkg-gencontrol -ptiny -Pdebian/tiny
\tdpkg-deb --root-owner-group --build debian/tiny ..
.PHONY: clean build build-arch build-indep binary binary-arch binary-indep
`;
}

export async function pushTiny(developer: Machine, maintainer: Maintainer, ports: ForgePorts, version: string, build: string): Promise<void> {
  await must(developer, ['sh', '-c', script, 'push', version, maintainer.fingerprint, `ssh://user@127.0.0.1${gitFolder}/tiny.git`], { input: rules(build), env: developerEnvironment(ports) });
}
