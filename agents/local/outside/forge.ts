// SPDX-License-Identifier: GPL-2.0-or-later
// The small forge of the local stand-in: what a code-hosting site is to the real farm. Bare repositories over
// ssh (push, fetch) and git:// (read), the APT repository over HTTP. It is outside the farm: nothing in it is
// trusted by any VM.
import { chmodSync, chownSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readIfThere } from '../../shared/durable-files.js';
import { descriptionFile } from './github-server/description.js';
import type { GitHubServing } from './github-server/serve.js';
import { must, type Machine } from './machine.js';

export interface ForgePorts {
  ssh: number;
  git: number;
  http: number;
}

/** The host name that the farm knows it by; ssh reaches it through local.ConnectSSH. */
export const forgeHost = 'forge.example';
export const gitFolder = '/home/user/git';
export const webFolder = '/home/user/www';

export const sshUrl = (repository: string): string => `ssh://user@${forgeHost}${gitFolder}/${repository}.git`;
export const gitUrl = (repository: string, ports: ForgePorts): string =>
  `git://127.0.0.1:${ports.git}/${repository}.git`;

const unit = (description: string, command: string): string => `[Unit]
Description=${description}

[Service]
ExecStart=/rw/config/forge/serve ${command}
User=user
Restart=always
RestartSec=1

[Install]
WantedBy=multi-user.target
`;

const sshdConfig = (port: number): string => `ListenAddress 127.0.0.1
Port ${port}
HostKey /rw/config/forge/ssh_host_ed25519_key
AuthorizedKeysFile /home/user/.ssh/authorized_keys
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PidFile none
MaxStartups 200
MaxSessions 200
`;

const nginxConfig = (port: number): string => `daemon off;
worker_processes 1;
pid /tmp/forge-nginx.pid;
error_log stderr warn;
events { worker_connections 256; }
http {
  access_log off;
  default_type application/octet-stream;
  client_body_temp_path /tmp/forge-body; proxy_temp_path /tmp/forge-proxy; fastcgi_temp_path /tmp/forge-fastcgi;
  uwsgi_temp_path /tmp/forge-uwsgi; scgi_temp_path /tmp/forge-scgi;
  server { listen 127.0.0.1:${port}; root ${webFolder}; autoindex on; }
}
`;

/** A key that may only move git objects: no shell, no forwarding. */
const gitOnly = `#!/bin/sh
case "$SSH_ORIGINAL_COMMAND" in
  git-upload-pack\\ *|git-receive-pack\\ *) exec git-shell -c "$SSH_ORIGINAL_COMMAND" ;;
esac
echo 'this key may only fetch and push' >&2
exit 1
`;

/** What a fresh forge needs before any of its programs starts. */
const serve = `#!/bin/sh
set -eu
mkdir -p ${gitFolder} ${webFolder} /home/user/.ssh
exec 9>/tmp/serve.lock; flock 9
test -f /rw/config/forge/ssh_host_ed25519_key || ssh-keygen -q -t ed25519 -N '' -C forge -f /rw/config/forge/ssh_host_ed25519_key
exec 9>&-
exec "$@"
`;

/**
 * Lays the forge's tree into `root`; its sandbox is started afterwards, again where something is other than
 * it was.
 * @param github a GitHub beside it, and the program that serves one
 * @returns whether something is
 */
export function layForge(
  root: string,
  ports: ForgePorts,
  github?: GitHubServing & { program: string },
): boolean {
  let changed = false;
  const put = (path: string, content: string | Buffer, mode = 0o644): void => {
    const bytes = Buffer.from(content);
    if (readIfThere(join(root, path))?.equals(bytes) !== true) {
      changed = true;
      mkdirSync(join(root, path, '..'), { recursive: true });
      writeFileSync(join(root, path), bytes);
    }
    chmodSync(join(root, path), mode);
  };
  if (github !== undefined) {
    put('rw/config/forge/description.json', readFileSync(descriptionFile()));
    put('rw/config/forge/local.mjs', readFileSync(github.program));
    put(
      'usr/lib/systemd/system/build-infra-forge-github.service',
      unit(
        'the GitHub of the local farm',
        `/usr/bin/node /rw/config/forge/local.mjs github-server ${github.port} ${github.shownPort} ${github.token} ${github.account} ${github.repositories.join(' ')}`,
      ),
    );
  }
  put(
    'usr/lib/systemd/system/build-infra-forge-sshd.service',
    unit('ssh of the local forge', '/usr/sbin/sshd -D -e -f /rw/config/forge/sshd_config'),
  );
  put(
    'usr/lib/systemd/system/build-infra-forge-git.service',
    unit(
      'git:// of the local forge',
      `/usr/lib/git-core/git-daemon --listen=127.0.0.1 --port=${ports.git} --base-path=${gitFolder} --export-all --reuseaddr --informative-errors ${gitFolder}`,
    ),
  );
  put(
    'usr/lib/systemd/system/build-infra-forge-nginx.service',
    unit('HTTP of the local forge', '/usr/sbin/nginx -c /rw/config/forge/nginx.conf -e stderr'),
  );
  put('rw/config/forge/sshd_config', sshdConfig(ports.ssh));
  put('rw/config/forge/nginx.conf', nginxConfig(ports.http));
  put('rw/config/forge/git-only', gitOnly, 0o755);
  put('rw/config/forge/serve', serve, 0o755);
  for (const folder of ['home', 'home/user', 'rw/config/forge']) {
    mkdirSync(join(root, folder), { recursive: true });
    chownSync(join(root, folder), 1000, 1000);
  }
  return changed;
}

/** Host key, accounts and empty repositories. Idempotent. */
export async function furnishForge(
  forge: Machine,
  keys: {
    readonly gitOnly: readonly string[];
    readonly upload: readonly string[];
    readonly developer: readonly string[];
  },
): Promise<void> {
  const lines = [
    ...keys.gitOnly.map((key) => `restrict,command="/rw/config/forge/git-only" ${key}`),
    ...keys.upload.map((key) => `restrict ${key}`),
    ...keys.developer.map((key) => `restrict,command="/rw/config/forge/git-only" ${key}`),
  ];
  await must(
    forge,
    [
      'sh',
      '-c',
      'cat > /home/user/.ssh/authorized_keys && chmod 700 /home/user/.ssh && chmod 600 /home/user/.ssh/authorized_keys',
    ],
    { input: `${lines.join('\n')}\n` },
  );
}

/** The forge's ssh host key, made at its first start; the public line. */
export async function forgeHostKey(forge: Machine): Promise<string> {
  await must(forge, [
    'sh',
    '-c',
    'for n in $(seq 1 100); do test -s /rw/config/forge/ssh_host_ed25519_key.pub && exit 0; sleep 0.1; done; exit 1',
  ]);
  const [type, key] = (await must(forge, ['cat', '/rw/config/forge/ssh_host_ed25519_key.pub']))
    .trim()
    .split(' ');
  return `${type} ${key}`;
}

/** Lays the newest state of a repository where a browser finds it, at every push from now on. */
export async function showRepository(forge: Machine, name: string, folder: string): Promise<void> {
  const path = `${gitFolder}/${name}.git`;
  const shown = `${webFolder}/${folder}`;
  // git's own variables of the push would send it elsewhere.
  const hook = `#!/bin/sh\nunset GIT_QUARANTINE_PATH\nexec 9>'${path}/shown.lock'; flock 9\nGIT_DIR='${path}' GIT_WORK_TREE='${shown}' exec git checkout --quiet --force main -- .\n`;
  await must(
    forge,
    [
      'sh',
      '-ec',
      `mkdir -p '${shown}'; cat > '${path}/hooks/post-receive'; chmod 755 '${path}/hooks/post-receive'; if git -C '${path}' rev-parse --quiet --verify main >&2; then '${path}/hooks/post-receive'; fi`,
    ],
    { input: hook },
  );
}

/**
 * A repository for logs refuses what would rewrite history; one for sources takes what its maintainers push.
 */
export async function makeRepository(forge: Machine, name: string, kind: 'logs' | 'source'): Promise<void> {
  const path = `${gitFolder}/${name}.git`;
  await must(forge, ['git', 'init', '-q', '--bare', '--initial-branch=main', path]);
  if (kind === 'logs') {
    await must(forge, ['git', '-C', path, 'config', 'receive.denyNonFastForwards', 'true']);
    await must(forge, ['git', '-C', path, 'config', 'receive.denyDeletes', 'true']);
  }
}
