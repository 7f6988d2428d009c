// SPDX-License-Identifier: GPL-2.0-or-later
// The packages that the manifest puts onto the template, seen by a file of each: the VM's package database
// may be another day's than its files.
import type { Report } from './finding.js';
import { look, type Machine } from './machine.js';
import { applyTemplate, type VmFacts } from './vm-facts.js';

/** Debian's and Fedora's names. A test holds that every package of every manifest is here. */
export const fileOfPackage: Record<string, string> = {
  nodejs: '/usr/bin/node',
  curl: '/usr/bin/curl',
  git: '/usr/bin/git',
  'git-core': '/usr/bin/git',
  'openssh-client': '/usr/bin/ssh',
  'openssh-clients': '/usr/bin/ssh',
  gnupg: '/usr/bin/gpg',
  gnupg2: '/usr/bin/gpg',
  gpgv: '/usr/bin/gpgv',
  'xz-utils': '/usr/bin/xz',
  xz: '/usr/bin/xz',
  devscripts: '/usr/bin/debsign',
  'devscripts-minimal': '/usr/bin/debsign',
  'dpkg-dev': '/usr/bin/dpkg-source',
  mmdebstrap: '/usr/bin/mmdebstrap',
  bubblewrap: '/usr/bin/bwrap',
  reprepro: '/usr/bin/reprepro',
  rsync: '/usr/bin/rsync',
  rpm: '/usr/bin/rpmsign',
  'rpm-build': '/usr/bin/rpmbuild',
  'rpm-sign': '/usr/bin/rpmsign',
  mock: '/usr/bin/mock',
  'createrepo-c': '/usr/bin/createrepo_c',
  createrepo_c: '/usr/bin/createrepo_c',
  dnf: '/usr/bin/dnf',
  perl: '/usr/bin/perl',
  'perl-interpreter': '/usr/bin/perl',
  'perl-base': '/usr/bin/perl',
  'nginx-light': '/usr/sbin/nginx',
  'nginx-core': '/usr/sbin/nginx',
  nginx: '/usr/sbin/nginx',
};
/** Files that the family names differently, or not at all. */
export const notLookedAt = new Set(['ca-certificates', 'dnf-plugins-core', 'qubes-core-agent-networking']);

const oldestNode = [20, 19] as const;

export function checkPrograms(machine: Machine, facts: VmFacts, report: Report): void {
  const [major, minor] = machine.nodeVersion.split('.').map(Number) as [number, number];
  report.check(
    major > oldestNode[0] || (major === oldestNode[0] && minor >= oldestNode[1]),
    'OLD_NODE',
    `Node ${machine.nodeVersion} is too old: ${oldestNode.join('.')} or later is needed`,
    'base the VM on a template of Debian 13 or Fedora 42 or later (farm.yaml: template)',
  );
  const family = look(machine, '/etc/debian_version') === undefined ? 'RedHat' : 'Debian';
  for (const name of facts.manifest.template.packages[family]) {
    const path = fileOfPackage[name];
    if (path !== undefined)
      report.check(
        look(machine, path) !== undefined,
        'NO_PACKAGE',
        `${path} is missing: the template lacks the package ${name}`,
        applyTemplate(machine),
      );
  }
}
