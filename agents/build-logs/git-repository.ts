// SPDX-License-Identifier: GPL-2.0-or-later
// The logs repository: bare, one branch, no index and no work tree, so that a publication costs what it
// touches. Git's own long-running plumbing reads objects and moves the ref; only this agent writes here.
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { writeDurably } from '../shared/durable-files.js';
import { GitObjects } from '../shared/programs/git-objects.js';
import { ProgramFailed } from '../shared/programs/program.js';
import { BranchMover } from './branch-mover.js';
import { LooseObjects, readTree, writeTree, type TreeEntry } from './git-objects.js';
import { branch, gitEnvironment, runGit } from './git-program.js';

/**
 * The repository's whole configuration, written at every start: nothing that was added to it by hand or
 * accident stays.
 */
const configuration = `[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = true
\tlogAllRefUpdates = false
\tfsync = all
\tbigFileThreshold = 256m
[gc]
\tauto = 0
[push]
\tdefault = nothing
`;

export class GitRepository {
  readonly path: string;
  readonly objects: LooseObjects;
  readonly #reader: GitObjects;
  readonly #mover: BranchMover;
  readonly #trees = new Map<string, TreeEntry[]>();

  private constructor(path: string) {
    this.path = path;
    this.objects = new LooseObjects(path);
    this.#reader = new GitObjects(['git', '--git-dir', path], { env: gitEnvironment });
    this.#mover = new BranchMover(path);
  }

  static async open(path: string): Promise<GitRepository> {
    if (!existsSync(join(path, 'HEAD'))) {
      await runGit(['init', '--quiet', '--bare', '--template=', '--initial-branch=main', path]);
    }
    writeDurably(join(path, 'config'), configuration);
    // Git does not sync it when it makes a repository, and knows none without it.
    writeDurably(join(path, 'HEAD'), `ref: ${branch}\n`);
    // Left by a power cut. A git that outlived a killed agent has seen the end of its input and is gone by
    // then.
    const lock = join(path, `${branch}.lock`);
    if (existsSync(lock)) await new Promise((resolve) => setTimeout(resolve, 1000));
    rmSync(lock, { force: true });
    for (const name of readdirSync(join(path, 'objects')))
      if (name.startsWith('tmp_obj_')) rmSync(join(path, 'objects', name));
    const repository = new GitRepository(path);
    return repository;
  }

  /** A git command that is not on the way of a publication. */
  async git(...argv: string[]): Promise<string> {
    return runGit(['--git-dir', this.path, ...argv]);
  }

  /** null in a repository without a commit */
  async head(): Promise<string | null> {
    const found = (await this.git('for-each-ref', '--format=%(objectname)', branch)).trim();
    return found === '' ? null : found;
  }

  /**
   * Whether `older` is `newer` or comes before it; false where either is not here. @throws where git fails:
   * that is no answer
   */
  async isAncestor(older: string, newer: string): Promise<boolean> {
    for (const commit of [older, newer])
      if ((await this.object(commit, 'commit')) === undefined) return false;
    return await this.git('merge-base', '--is-ancestor', older, newer).then(
      () => true,
      (error: unknown) => {
        if (error instanceof ProgramFailed && error.exitCode === 1) return false;
        throw error;
      },
    );
  }

  async object(id: string, type: 'commit' | 'tree' | 'blob'): Promise<Buffer | undefined> {
    const found = await this.#reader.read(id);
    if (found !== undefined && found.type !== type)
      throw new Error(`${id} is a ${found.type}, not a ${type}`);
    return found?.body;
  }

  async tree(id: string): Promise<TreeEntry[]> {
    const known = this.#trees.get(id);
    if (known !== undefined) return known;
    const body = await this.object(id, 'tree');
    if (body === undefined) throw new Error(`tree ${id} is missing`);
    const entries = readTree(body);
    this.#remember(id, entries);
    return entries;
  }

  #remember(id: string, entries: TreeEntry[]): void {
    if (this.#trees.size > 200) this.#trees.delete(this.#trees.keys().next().value as string);
    this.#trees.set(id, entries);
  }

  /** The entry at `path` under the tree `root`, or undefined. */
  async find(root: string | null, path: string): Promise<TreeEntry | undefined> {
    let entry: TreeEntry | undefined = root === null ? undefined : { mode: '40000', name: '', id: root };
    for (const name of path.split('/')) {
      if (entry === undefined || entry.mode !== '40000') return undefined;
      entry = (await this.tree(entry.id)).find((candidate) => candidate.name === name);
    }
    return entry;
  }

  /** Every file below these folders of a commit, with its size in bytes. */
  async filesBelow(commit: string, folders: readonly string[]): Promise<{ path: string; size: number }[]> {
    const listing = await this.git(
      'ls-tree',
      '-r',
      '-l',
      '--full-tree',
      commit,
      '--',
      ...folders.map((folder) => `${folder}/`),
    );
    return [...listing.matchAll(/^\d+ blob [0-9a-f]+ +(\d+)\t(.*)$/gm)].map(([, size, path]) => ({
      path: path as string,
      size: Number(size),
    }));
  }

  /**
   * Writes `root` with blobs put (or, for null, taken away) at paths; touches only their folders. @returns
   * the new root
   */
  async withFiles(root: string | null, files: ReadonlyMap<string, string | null>): Promise<string> {
    const here = new Map<string, string | null>();
    const below = new Map<string, Map<string, string | null>>();
    for (const [path, id] of files) {
      const slash = path.indexOf('/');
      if (slash < 0) here.set(path, id);
      else {
        const name = path.slice(0, slash);
        const rest = below.get(name) ?? new Map<string, string | null>();
        below.set(name, rest.set(path.slice(slash + 1), id));
      }
    }
    const before = root === null ? [] : await this.tree(root);
    const entries = new Map(before.map((entry) => [entry.name, entry]));
    for (const [name, id] of here) {
      if (id === null) entries.delete(name);
      else entries.set(name, { mode: '100644', name, id });
    }
    await Promise.all(
      [...below].map(async ([name, rest]) => {
        const folder = entries.get(name);
        if (folder !== undefined && folder.mode !== '40000')
          throw new Error(`${name} is a file in the repository, not a folder`);
        entries.set(name, { mode: '40000', name, id: await this.withFiles(folder?.id ?? null, rest) });
      }),
    );
    const after = [...entries.values()];
    const { id } = this.objects.write('tree', writeTree(after));
    this.#remember(id, after);
    return id;
  }

  /**
   * Moves the branch; a crash leaves it at the one or the other, both complete, and a power cut after it
   * cannot set it back. @throws if it is not at `from`
   */
  async moveBranch(from: string | null, to: string): Promise<void> {
    await this.objects.sync();
    await this.#mover.move(from, to);
    // Git syncs the new ref, but not the folder in which it gives it its name: a power cut after the push
    // would leave the branch behind its remotes.
    const folder = await open(dirname(join(this.path, branch)), 'r');
    await folder.sync().finally(() => folder.close());
  }

  /** Packs what has piled up; the work is in proportion to what is new. */
  async pack(): Promise<void> {
    await this.git('repack', '-d', '-q', '--geometric=2');
  }

  stop(): void {
    this.#reader.stop();
    this.#mover.stop();
  }
}
