// SPDX-License-Identifier: GPL-2.0-or-later
// The maintainer of an RPM component of our own: the small C program beside this file, with its spec, as a
// signed tag. Each time it is asked for, the release in the spec goes up, because a version is built once.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { developerEnvironment, pushTag, tagOf, type ImportedSource } from './developer.js';
import { gitFolder, type ForgePorts } from './forge.js';
import { must, type Machine } from './machine.js';
import { runProgram } from '../../shared/programs/program.js';

export const rpmComponent = 'moonphase';

/** The source in the checkout that this code came from. */
function sourceFolder(): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    const candidate = join(folder, 'agents/local/outside', rpmComponent);
    if (existsSync(candidate)) return candidate;
    if (folder === dirname(folder))
      throw new Error(`agents/local/outside/${rpmComponent} was not found above this program`);
  }
}

const commitTree = `set -eu
package=$1 version=$2 release=$3 remote=$4
repo=$HOME/src/$package
if ! test -d "$repo/.git"; then
  mkdir -p "$repo"; git init -q --initial-branch=main "$repo"
  git -C "$repo" config user.name 'Alice Maintainer'; git -C "$repo" config user.email alice@developer.example
  git -C "$repo" remote add origin "$remote"
fi
cd "$repo"
find . -mindepth 1 -maxdepth 1 ! -name .git -exec rm -rf {} +
tar -xf -
entry="* $(LC_ALL=C date -u '+%a %b %d %Y') Alice Maintainer <alice@developer.example> - $version-$release"
sed -i "s/^\\(Release: *\\)1%/\\1$release%/" $package.spec
if test "$release" != 1; then sed -i "s/^%changelog$/%changelog\\n$entry\\n- Built once more.\\n/" $package.spec; fi
git add -f -A .
git -c commit.gpgsign=false commit -q --allow-empty -m "$package $version-$release"
`;

/**
 * @param onLine what git says. @returns with `version` as the tag says it: version-release, without the
 * distribution's suffix
 */
export async function pushSpecComponent(
  developer: Machine,
  key: string,
  ports: ForgePorts,
  onLine: (line: string) => void,
): Promise<ImportedSource> {
  const folder = sourceFolder();
  const version = /^Version: *(\S+)$/m.exec(
    readFileSync(join(folder, `${rpmComponent}.spec`), 'utf8'),
  )?.[1] as string;
  const remote = `ssh://user@127.0.0.1${gitFolder}/${rpmComponent}.git`;
  const tags = (
    await developer.run(['git', 'ls-remote', '--tags', remote], { env: developerEnvironment(ports) })
  ).stdout;
  let release = 1;
  while (tags.includes(`refs/tags/${tagOf(`${version}-${release}`)}\n`)) release++;
  const tree = await runProgram(
    ['tar', '--create', '--file=-', '--owner=0', '--group=0', '--directory', folder, '.'],
    { timeoutMs: 60_000 },
  );
  await must(developer, ['sh', '-c', commitTree, 'commit', rpmComponent, version, String(release), remote], {
    input: tree,
    onLine,
  });
  return await pushTag(developer, rpmComponent, `${version}-${release}`, key, ports, onLine);
}
