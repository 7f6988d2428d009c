// SPDX-License-Identifier: GPL-2.0-or-later
// A forge for tests: real bare repositories behind git's own daemon, real gpg keys, and objects made by hand
// where git would not make them.
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createConnection, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const gitEnv = {
  PATH: process.env['PATH'] ?? '/usr/bin:/bin',
  HOME: '/nonexistent',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_AUTHOR_NAME: 'Alice',
  GIT_AUTHOR_EMAIL: 'alice@example.org',
  GIT_AUTHOR_DATE: '1795291200 +0000',
  GIT_COMMITTER_NAME: 'Alice',
  GIT_COMMITTER_EMAIL: 'alice@example.org',
  GIT_COMMITTER_DATE: '1795291200 +0000',
};

export interface TestKey {
  name: string;
  fingerprint: string;
  armored: string;
}

export class Keys {
  readonly home = mkdtempSync(join(tmpdir(), 'bi-gpg-'));

  gpg(args: string[], input: string | Buffer = ''): Buffer {
    return execFileSync(
      'gpg',
      [
        '--homedir',
        this.home,
        '--batch',
        '--quiet',
        '--pinentry-mode',
        'loopback',
        '--passphrase',
        '',
        ...args,
      ],
      { input, stdio: ['pipe', 'pipe', 'pipe'] },
    );
  }

  make(name: string, expire = 'never'): TestKey {
    this.gpg(['--quick-gen-key', `${name} <${name}@example.org>`, 'ed25519', 'sign', expire]);
    return this.exported(name);
  }

  exported(name: string): TestKey {
    const listing = this.gpg(['--with-colons', '--list-keys', `<${name}@example.org>`]).toString();
    const fingerprint = /^fpr:::::::::([0-9A-F]+):/m.exec(listing)?.[1] as string;
    return { name, fingerprint, armored: this.gpg(['--armor', '--export', fingerprint]).toString() };
  }

  sign(by: readonly TestKey[], data: string): string {
    return this.gpg(
      ['--armor', '--detach-sign', ...by.flatMap((key) => ['--local-user', key.fingerprint])],
      data,
    ).toString();
  }

  end(): void {
    execFileSync('gpgconf', ['--homedir', this.home, '--kill', 'all']);
    rmSync(this.home, { recursive: true, force: true });
  }
}

export interface TreeFile {
  path: string;
  content?: string;
  mode?: string;
  /** an object's id in place of content */
  id?: string;
}

export function tinyPackage(version: string, extra: TreeFile[] = [], rules = tinyRules): TreeFile[] {
  return [
    {
      path: 'debian/changelog',
      content: `hello-tiny (${version}) unstable; urgency=medium\n\n  * First.\n\n -- Alice <alice@example.org>  Sat, 21 Nov 2026 20:00:00 +0000\n`,
    },
    {
      path: 'debian/control',
      content:
        'Source: hello-tiny\nSection: misc\nPriority: optional\nMaintainer: Alice <alice@example.org>\nStandards-Version: 4.6.2\nRules-Requires-Root: no\n\nPackage: hello-tiny\nArchitecture: all\nDescription: tiny greeting\n It greets.\n',
    },
    { path: 'debian/rules', content: rules, mode: '100755' },
    { path: 'debian/source/format', content: '3.0 (quilt)\n' },
    { path: 'hello-tiny.sh', content: '#!/bin/sh\necho hello tiny\n', mode: '100755' },
    ...extra,
  ];
}

export const tinyRules = `#!/usr/bin/make -f
clean:
build build-arch build-indep:
	@echo building as $$(id -u)
binary: binary-indep binary-arch
binary-arch:
binary-indep: build
	mkdir -p debian/hello-tiny/DEBIAN debian/hello-tiny/usr/bin
	cp hello-tiny.sh debian/hello-tiny/usr/bin/hello-tiny
	dpkg-gencontrol -phello-tiny -Pdebian/hello-tiny
	dpkg-deb --root-owner-group --build debian/hello-tiny ..
.PHONY: clean build build-arch build-indep binary binary-arch binary-indep
`;

export class Forge {
  readonly folder = mkdtempSync(join(tmpdir(), 'bi-forge-'));
  #daemon: ChildProcess | undefined;
  port = 0;

  async start(): Promise<void> {
    this.port = await new Promise((resolve) => {
      const probe = createServer().listen(0, '127.0.0.1', () => {
        const { port } = probe.address() as AddressInfo;
        probe.close(() => resolve(port));
      });
    });
    this.#daemon = spawn(
      'git',
      [
        'daemon',
        '--listen=127.0.0.1',
        `--port=${this.port}`,
        '--reuseaddr',
        '--export-all',
        `--base-path=${this.folder}`,
        this.folder,
      ],
      { stdio: 'ignore', detached: true, env: gitEnv },
    );
    for (let i = 0; i < 2400; i++) {
      const up = await new Promise<boolean>((resolve) => {
        const socket = createConnection(this.port, '127.0.0.1', () =>
          resolve(socket.destroy() !== undefined),
        ).on('error', () => resolve(false));
      });
      if (up) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error('git daemon does not start');
  }

  /** Calls are taken and not answered until resume(). */
  pause(): void {
    if (this.#daemon?.pid !== undefined) process.kill(-this.#daemon.pid, 'SIGSTOP');
  }

  resume(): void {
    if (this.#daemon?.pid !== undefined) process.kill(-this.#daemon.pid, 'SIGCONT');
  }

  end(): void {
    if (this.#daemon?.pid !== undefined) process.kill(-this.#daemon.pid, 'SIGKILL');
    rmSync(this.folder, { recursive: true, force: true });
  }

  url(name: string): string {
    return `git://127.0.0.1:${this.port}/${name}.git`;
  }

  remove(name: string): void {
    rmSync(join(this.folder, `${name}.git`), { recursive: true, force: true });
  }

  create(name: string): TestRepository {
    const folder = join(this.folder, `${name}.git`);
    mkdirSync(folder);
    return new TestRepository(folder);
  }
}

export class TestRepository {
  folder: string;

  constructor(folder: string) {
    this.folder = folder;
    this.git(['init', '--quiet', '--bare', folder]);
  }

  /** Away from its address, or back. */
  moveTo(folder: string): void {
    renameSync(this.folder, folder);
    this.folder = folder;
  }

  git(args: string[], input: string | Buffer = ''): string {
    return execFileSync('git', args.includes('init') ? args : ['--git-dir', this.folder, ...args], {
      input,
      env: gitEnv,
      stdio: ['pipe', 'pipe', 'pipe'],
    })
      .toString()
      .trim();
  }

  blob(content: string): string {
    return this.git(['hash-object', '-w', '--stdin'], content);
  }

  /** A tree object from raw entries: git's own tools would refuse the bad ones. */
  rawTree(entries: { mode: string; name: string; id: string }[]): string {
    const body = Buffer.concat(
      entries.map(({ mode, name, id }) =>
        Buffer.concat([Buffer.from(`${mode.replace(/^0/, '')} ${name}\0`, 'latin1'), Buffer.from(id, 'hex')]),
      ),
    );
    return this.git(['hash-object', '-w', '--stdin', '-t', 'tree', '--literally'], body);
  }

  tree(files: readonly TreeFile[]): string {
    const here = new Map<string, { mode: string; id: string }>();
    const below = new Map<string, TreeFile[]>();
    for (const file of files) {
      const slash = file.path.indexOf('/');
      if (slash < 0)
        here.set(file.path, { mode: file.mode ?? '100644', id: file.id ?? this.blob(file.content ?? '') });
      else
        below.set(file.path.slice(0, slash), [
          ...(below.get(file.path.slice(0, slash)) ?? []),
          { ...file, path: file.path.slice(slash + 1) },
        ]);
    }
    for (const [name, inside] of below) here.set(name, { mode: '40000', id: this.tree(inside) });
    const key = (name: string): string => (here.get(name)?.mode === '40000' ? `${name}/` : name);
    return this.rawTree(
      [...here.keys()]
        .sort((a, b) => (key(a) < key(b) ? -1 : 1))
        .map((name) => ({ name, ...(here.get(name) as { mode: string; id: string }) })),
    );
  }

  commit(tree: string): string {
    return this.git(['commit-tree', tree, '-m', 'A commit']);
  }

  tagText(name: string, commit: string, headers = ''): string {
    return `object ${commit}\ntype commit\ntag ${name}\ntagger Alice <alice@example.org> 1795291200 +0000\n${headers}\nRelease ${name}\n`;
  }

  tagObject(body: string): string {
    return this.git(['hash-object', '-w', '--stdin', '-t', 'tag', '--literally'], body);
  }

  ref(tag: string, object: string): void {
    this.git(['update-ref', `refs/tags/${tag}`, object]);
  }

  /** A commit of these files under a signed annotated tag. */
  release(
    keys: Keys,
    by: readonly TestKey[],
    tag: string,
    files: readonly TreeFile[],
  ): { commit: string; object: string } {
    const commit = this.commit(this.tree(files));
    const text = this.tagText(tag, commit);
    const object = this.tagObject(text + keys.sign(by, text));
    this.ref(tag, object);
    return { commit, object };
  }
}

export function writeKeys(folder: string, keys: readonly TestKey[]): void {
  mkdirSync(folder, { recursive: true });
  for (const key of keys) writeFileSync(join(folder, `${key.fingerprint}.asc`), key.armored);
}
