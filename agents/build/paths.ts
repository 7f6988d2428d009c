// SPDX-License-Identifier: GPL-2.0-or-later
// Every place this agent touches in its VM (docs/formats.md, "Paths inside a VM"). Tests and the local stand-in prefix them with BUILD_INFRA_ROOT.
import { join } from 'node:path';

export interface Paths {
  config: string;
  publicKeys: string;
  sshConfig: string;
  qrexecClient: string;
  /** the drop-in gpg that asks for an intent first */
  gpg: string;
  sockets: string;
  state: string;
  jobs: string;
  work: string;
  cache: string;
  spool: string;
  answers: string;
  apt: string;
  dnf: string;
  /** where engines are looked for, the template's before the VM's own */
  engines: string[];
  status: string;
  highest: string;
  newestTags: string;
  statusPage: string;
}

/** @param root prefix for all absolute paths; '' on a real VM */
export function pathsUnder(root = ''): Paths {
  const state = join(root, '/var/lib/build-infra');
  return {
    config: join(root, '/rw/config/build-infra/build.json'),
    publicKeys: join(root, '/rw/config/build-infra/public-keys'),
    sshConfig: join(root, '/rw/config/build-infra/ssh_config'),
    qrexecClient: join(root, '/usr/bin/qrexec-client-vm'),
    gpg: join(root, '/usr/lib/build-infra/gpg'),
    sockets: join(root, '/run/build-infra'),
    state,
    jobs: join(state, 'jobs'),
    work: join(state, 'work'),
    cache: join(state, 'cache'),
    spool: join(state, 'spool'),
    answers: join(state, 'spool/answers'),
    apt: join(state, 'apt'),
    dnf: join(state, 'dnf'),
    engines: [join(root, '/usr/lib/build-infra/engines'), join(root, '/usr/local/lib/build-infra/engines')],
    status: join(state, 'status.json'),
    highest: join(state, 'highest'),
    newestTags: join(state, 'newest-tags'),
    statusPage: join(state, 'status-page'),
  };
}
