// SPDX-License-Identifier: GPL-2.0-or-later
// The notifier's configuration and token, laid into the build VM's tree. To be dropped, but for the token, when the pillar has `notify`.
import { chmodSync, chownSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { readIfThere, writeDurably } from '../../shared/durable-files.js';
import { botAccount, fullNameOf, logsUrl, release, statusRepository } from './local-pillar.js';
import type { LocalSettings } from './local-state.js';

const user = 1000;

/** @param root of the build VM @returns whether something is other than it was: the VM is to be started again then */
export function layNotifyConfig(root: string, vm: string, settings: LocalSettings): boolean {
  const { releaseTeam, dists, components } = settings;
  if (releaseTeam === undefined) return false;
  const folder = join(root, 'rw/config/build-infra');
  mkdirSync(folder, { recursive: true });
  let changed = false;
  const put = (name: string, text: string, owner: number, mode: number): void => {
    const path = join(folder, name);
    if (readIfThere(path)?.toString('utf8') !== text) {
      changed = true;
      writeDurably(path, text);
    }
    chmodSync(path, mode);
    chownSync(path, owner, owner);
  };
  const web = `http://127.0.0.1:${releaseTeam.github.port}`;
  put('notify.json', `${JSON.stringify({
    format: 'build-infra/notify-config@1', vm, baseUrl: web, webUrl: web, account: botAccount, repository: statusRepository, issuesRepository: null, commentIn: [],
    logsUrl: logsUrl(settings), release, distributions: Object.fromEntries(dists.map((dist) => [dist, { packageSet: 'vm', family: 'debian' }])),
    componentUrls: Object.fromEntries(components.map((name) => [name, `${web}/${fullNameOf(name)}`])), minAgeDays: 5, templates: null, dryRun: false,
  }, null, 1)}\n`, 0, 0o644);
  put('notify-token', `${releaseTeam.github.token}\n`, user, 0o400);
  return changed;
}
