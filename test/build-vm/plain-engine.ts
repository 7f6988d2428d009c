// SPDX-License-Identifier: GPL-2.0-or-later
// An engine that builds a Debian package right where it is, without any chroot: for tests of what is around
// engines, in a second.

/** @param before lines of sh; they see $dist, and $work, which is the engine's own */
export function plainEngine(before = ''): string {
  return `#!/bin/sh
set -eu
field() { sed -n "s/^ \\"$1\\": \\"*\\([^\\",]*\\)\\"*,*\\$/\\1/p" "$doc"; }
doc=$1 out=$(field output) work=$(field work) dist=$(field dist)
export SOURCE_DATE_EPOCH=$(field sourceDateEpoch) HOME=$work
${before}
cp -r "$(field sourceTree)" "$work/tree"
cd "$work/tree"
version=$(field version)
upstream=$(dpkg-parsechangelog -S Source)_\${version%-*}.orig.tar.xz
tar --sort=name --mtime=@$SOURCE_DATE_EPOCH --owner=0 --group=0 --exclude=./debian -cJf "../$upstream" .
dpkg-buildpackage -us -uc -F -sa -d
cd ..
changes=$(ls *.changes)
for name in $changes $(sed -n '/^Files:/,/^[^ F]/s/^ [0-9a-f]\\{32\\} .* //p' $changes); do
  cp "$name" "$out"
  printf '%s{"name":"%s","size":%s,"sha256":"%s"}' "\${comma-}" "$name" "$(stat -c %s "$name")" "$(sha256sum "$name" | cut -c -64)" >> list
  comma=,
done
printf '{"format":"build-infra/artifacts@1","artifacts":[%s]}' "$(cat list)" > "$out/artifacts.json"
`;
}
