// SPDX-License-Identifier: GPL-2.0-or-later
// A build VM that builds templates with an engine of sh: a small package made by the real rpmbuild, named as
// templates are.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BuildVm, type Outside } from './build-vm.js';

/**
 * @param change lines of sh that may set $name, $version, $release, $arch, or do something else; they see
 * $doc and $work
 */
export function templateEngine(change = ''): string {
  return `#!/bin/sh
set -eu
doc=$1
field() { perl -MJSON::PP -0777 -ne "print decode_json(\\$_)->$1" "$doc"; }
out=$(field '{output}') work=$(field '{work}') name=$(field '{component}') release=$(field '{template}{timestamp}') arch=noarch
version=$(field '{template}{release}' | cut -c 2-).0
[ "$version-$release" = "$(field '{version}')" ]
echo "== template $(field '{template}{name}') with $(field '{template}{distribution}') for $(field '{template}{release}'), at most $(field '{buildSeconds}') s, $(field '{sourceDateEpoch}')"
${change}
cat > "$work/x.spec" <<SPEC
Name: $name
Version: $version
Release: $release
Summary: A template
License: GPL-2.0-or-later
BuildArch: $arch
%description
A template.
%install
mkdir -p %{buildroot}/var/lib/qubes/vm-templates
echo "$release \${content-}" > %{buildroot}/var/lib/qubes/vm-templates/root.img.part.00
%files
/var/lib/qubes/vm-templates
SPEC
HOME=$work rpmbuild --quiet -bb --define "_topdir $work" --define '_buildhost build' "$work/x.spec"
cp "$work"/RPMS/*/*.rpm "$out"
cd "$out"
for file in *.rpm; do
  printf '{"name":"%s","size":%s,"sha256":"%s"}\\n' "$file" "$(stat -c %s "$file")" "$(sha256sum < "$file" | cut -c -64)"
done | paste -s -d , | sed 's/.*/{"format":"build-infra\\/artifacts@1","artifacts":[&]}/' > artifacts.json
`;
}

export const tinyTemplate = {
  name: 'debian-13',
  releases: ['r4.3'],
  engine: 'tiny-template',
  distribution: 'vm-trixie',
  repository: 'templates-itl',
  buildSeconds: 120,
};

export class TemplateVm extends BuildVm {
  constructor(outside: Outside, repository: string, change: Record<string, unknown> = {}) {
    const dnf = {
      upload: `ssh://127.0.0.1:${outside.apt.sshPort}${outside.apt.folder}/${repository}`,
      url: `http://127.0.0.1:${outside.apt.httpPort}/${repository}`,
    };
    super(outside, repository, {
      dnf,
      templates: [tinyTemplate, { ...tinyTemplate, name: 'fedora-42', distribution: 'vm-fc42' }],
      ...change,
    });
    this.engine('');
  }

  /** What the engine does otherwise from now on. */
  engine(change: string): void {
    writeFileSync(join(this.root, '/usr/lib/build-infra/engines/tiny-template'), templateEngine(change), {
      mode: 0o755,
    });
  }
}

/** YYYYmmddHHMM of so many minutes from now. */
export function minute(ahead = 0): string {
  return new Date(Date.now() + ahead * 60_000).toISOString().replace(/[-T:]/g, '').slice(0, 12);
}
