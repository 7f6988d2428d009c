// SPDX-License-Identifier: GPL-2.0-or-later
// Every place this agent touches in its VM (docs/formats.md, "Paths inside a VM"). Tests and the local
// stand-in prefix them with BUILD_INFRA_ROOT.
import { join } from 'node:path';
import { rootPrefix } from '../../shared/root-prefix.js';

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
  /** the published logs' commits, fetched; may be removed at any time */
  record: string;
  withdrawn: string;
  /** a folder for each engine that publishes itself */
  enginesOwn: string;
  /** where engines are looked for, the template's before the VM's own */
  engines: string[];
  status: string;
  highest: string;
  /** commands that were used */
  commands: string;
  /** where the notifier finds what to say */
  outbox: string;
  /** what was put there, by job */
  told: string;
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
    record: join(state, 'record.git'),
    withdrawn: join(state, 'withdrawn'),
    enginesOwn: join(state, 'engines'),
    engines: [join(root, '/usr/lib/build-infra/engines'), join(root, '/usr/local/lib/build-infra/engines')],
    status: join(state, 'status.json'),
    highest: join(state, 'highest'),
    commands: join(state, 'commands'),
    outbox: join(state, 'outbox'),
    told: join(state, 'told'),
    newestTags: join(state, 'newest-tags'),
    statusPage: join(state, 'status-page'),
  };
}

/** For our own gpg client, which finds its files as this agent does. */
export const rootEnvironment: Record<string, string> =
  rootPrefix === '' ? {} : { BUILD_INFRA_ROOT: rootPrefix };
