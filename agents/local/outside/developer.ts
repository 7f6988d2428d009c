// SPDX-License-Identifier: GPL-2.0-or-later
// The maintainer's own machine: takes a real source package from the Debian archive, imports it into git,
// tags a version with the maintainer's key and pushes. The key is made here and never leaves.
import { must, type Machine } from './machine.js';
import { gitFolder, type ForgePorts } from './forge.js';

export interface ImportedSource {
  package: string;
  /** as the tag says */
  version: string;
  /** as in debian/changelog, where that is another one */
  debianVersion?: string;
  tag: string;
  /** the tag object's id */
  tagObject: string;
  commit: string;
}

export interface Maintainer {
  fingerprint: string;
  /** armored public key */
  publicKey: string;
  sshKey: string;
}

const name = 'Alice Maintainer';
const email = 'alice@developer.example';

/** Somebody's key on the developer's machine, made once. @returns fingerprint and armored public key */
export async function makePersonsKey(
  developer: Machine,
  name: string,
  email: string,
): Promise<Pick<Maintainer, 'fingerprint' | 'publicKey'>> {
  const list = async (): Promise<string | undefined> => {
    const result = await developer.run(['gpg', '--batch', '--with-colons', '--list-secret-keys', email]);
    return /^fpr:::::::::([0-9A-F]{40}):/m.exec(result.stdout)?.[1];
  };
  await must(developer, ['sh', '-c', 'mkdir -p -m 700 ~/.gnupg']);
  if ((await list()) === undefined) {
    await must(developer, [
      'gpg',
      '--batch',
      '--pinentry-mode',
      'loopback',
      '--passphrase',
      '',
      '--quick-generate-key',
      `${name} <${email}>`,
      'ed25519',
      'sign',
      'never',
    ]);
  }
  const fingerprint = await list();
  if (fingerprint === undefined) throw new Error(`${name} has no key`);
  return {
    fingerprint,
    publicKey: await must(developer, ['gpg', '--batch', '--armor', '--export', fingerprint]),
  };
}

export async function makeMaintainer(developer: Machine): Promise<Maintainer> {
  await must(developer, [
    'sh',
    '-c',
    'mkdir -p -m 700 ~/.ssh && { test -f ~/.ssh/id_ed25519 || ssh-keygen -q -t ed25519 -N "" -C alice -f ~/.ssh/id_ed25519; }',
  ]);
  return {
    ...(await makePersonsKey(developer, name, email)),
    sshKey: (await must(developer, ['cat', '/home/user/.ssh/id_ed25519.pub'])).trim(),
  };
}

/** ssh as the developer does it: straight to the forge. */
export function developerEnvironment(ports: ForgePorts): Record<string, string> {
  return {
    GIT_SSH_COMMAND: `ssh -p ${ports.ssh} -o StrictHostKeyChecking=accept-new -o BatchMode=yes`,
    GIT_CONFIG_NOSYSTEM: '1',
  };
}

/**
 * apt-get source from the mirrors that this machine's apt configuration names, with deb-src in place of deb,
 * which the configuration may lack, and with lists of its own.
 */
const fetchSource = `set -eu
package=$1
work=$HOME/archive; rm -rf $work/sources.d; mkdir -p $work/lists/partial $work/cache/archives/partial $work/sources.d; cd $work
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
  case $file in
    *.list) test -f $file && sed -n 's/^[[:space:]]*deb[[:space:]]/deb-src /p' $file > sources.d/$(basename $file) ;;
    *.sources) sed 's/^Types:.*/Types: deb-src/' $file > sources.d/$(basename $file) ;;
  esac
done
grep -q deb-src -r sources.d || { echo 'the apt configuration of this machine names no mirror' >&2; exit 1; }
own="-q -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts=$work/sources.d -o Dir::State::Lists=$work/lists -o Dir::Cache=$work/cache -o APT::Sandbox::User= -o Acquire::Languages=none"
test -n "$(find lists -name '*Sources*' -mmin -720 | head -n 1)" || apt-get $own update >&2
rm -rf unpack; mkdir unpack; cd unpack
apt-get $own --download-only --only-source source "$package" >&2
set -- *.dsc
test -f "$1" || { echo "no source package called $package" >&2; exit 1; }
dpkg-source --skip-patches --no-check -x "$1" ../tree.new >&2
cd ..; rm -rf tree; mv tree.new tree
dpkg-parsechangelog -l tree/debian/changelog -S Source
dpkg-parsechangelog -l tree/debian/changelog -S Version
`;

/** The tree as a commit, with a new changelog entry where the archive's version has been built before. */
const importSource = `set -eu
package=$1 version=$2 old=$3 remote=$4
repo=$HOME/src/$package
if ! test -d "$repo/.git"; then
  mkdir -p "$repo"; git init -q --initial-branch=main "$repo"
  git -C "$repo" config user.name '${name}'; git -C "$repo" config user.email '${email}'
  git -C "$repo" remote add origin "$remote"
fi
cd "$repo"
find . -mindepth 1 -maxdepth 1 ! -name .git -exec rm -rf {} +
cp -a "$HOME/archive/tree/." .
if test "$version" != "$old"; then
  { printf '%s (%s) unstable; urgency=medium\\n\\n  * Built once more.\\n\\n -- ${name} <${email}>  %s\\n\\n' "$package" "$version" "$(date -R)"; cat debian/changelog; } > .changelog.new
  mv .changelog.new debian/changelog
fi
git add -f -A .
git -c commit.gpgsign=false commit -q --allow-empty -m "$package $version"
`;

/**
 * Imports `package` and pushes a signed annotated tag `v<version>` (mangled as in DEP-14), higher than every
 * tag that is there.
 * @param onLine what apt-get and git say
 */
export async function importPackage(
  developer: Machine,
  packageName: string,
  key: string,
  ports: ForgePorts,
  onLine: (line: string) => void,
): Promise<ImportedSource> {
  const env = developerEnvironment(ports);
  const lines = (
    await must(developer, ['sh', '-c', fetchSource, 'fetch', packageName], { onLine, timeoutMs: 300_000 })
  )
    .trim()
    .split('\n');
  const [source, archiveVersion] = lines.slice(-2);
  if (source === undefined || archiveVersion === undefined)
    throw new Error(`apt-get source ${packageName} gave no version`);
  const remote = `ssh://user@127.0.0.1${gitFolder}/${source}.git`;
  const tags = (await developer.run(['git', 'ls-remote', '--tags', remote], { env })).stdout;
  const taken = (version: string): boolean =>
    tags.includes(`refs/tags/${tagOf(version)}\n`) || tags.includes(`refs/tags/${tagOf(version)}^{}`);
  let version = archiveVersion;
  for (let n = 1; taken(version); n++) version = `${archiveVersion}+local${n}`;
  await must(developer, ['sh', '-c', importSource, 'import', source, version, archiveVersion, remote], {
    onLine,
  });
  return await pushTag(developer, source, version, key, ports, onLine);
}

/** Signs a tag on what is committed in the developer's repository of `source`, and pushes both. */
export async function pushTag(
  developer: Machine,
  source: string,
  version: string,
  key: string,
  ports: ForgePorts,
  onLine: (line: string) => void,
): Promise<ImportedSource> {
  const env = developerEnvironment(ports);
  const repository = `/home/user/src/${source}`;
  const tag = tagOf(version);
  await must(developer, [
    'git',
    '-C',
    repository,
    '-c',
    `user.signingKey=${key}`,
    'tag',
    '-s',
    '-m',
    `${source} ${version}`,
    tag,
  ]);
  await must(developer, ['git', '-C', repository, 'push', '-q', 'origin', '+main', `refs/tags/${tag}`], {
    env,
    onLine,
  });
  const id = async (name: string): Promise<string> =>
    (await must(developer, ['git', '-C', repository, 'rev-parse', name])).trim();
  return {
    package: source,
    version,
    tag,
    tagObject: await id(`refs/tags/${tag}`),
    commit: await id(`${tag}^{commit}`),
  };
}

/** DEP-14: a tag name cannot hold ":" or "~". */
export function tagOf(version: string): string {
  return `v${version.replace(/:/g, '%').replace(/~/g, '_')}`;
}
