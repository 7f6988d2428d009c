// SPDX-License-Identifier: GPL-2.0-or-later
// git, with no configuration but ours. What the forge sends are objects in a bare repository that we made: no
// checkout, no hooks, no attributes, no submodules, and no configuration of theirs can be read.
import { existsSync, rmSync } from 'node:fs';
import { makeFolder } from '../../shared/durable-files.js';
import { gitObjectId } from '../../shared/formats/git-commit.js';
import { matches, objectIdPattern } from '../../shared/formats/names.js';
import { printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import { environmentWith, ProgramFailed, runProgram } from '../../shared/programs/program.js';

export interface Forge {
  /** ssh configuration through local.ConnectSSH */
  sshConfig: string;
  timeoutMs: number;
}

export interface RemoteTag {
  name: string;
  /** the tag object, or for a lightweight tag the commit itself */
  object: string;
  annotated: boolean;
}

const fetchLimitBytes = 8 * 1024 ** 3;
/** Before the argv of a fetch: no file that it writes grows beyond this. */
export const limitedFetch = ['prlimit', `--fsize=${fetchLimitBytes}`, '--'];
const listingLimitBytes = 32 * 1024 * 1024;

const settings = [
  'core.hooksPath=/dev/null',
  'core.fsmonitor=false',
  'core.askPass=',
  'credential.helper=',
  'transfer.fsckObjects=true',
  'fetch.fsckObjects=true',
  'protocol.version=2',
  'gc.auto=0',
  'maintenance.auto=false',
  'submodule.recurse=false',
  'fetch.recurseSubmodules=false',
  'http.followRedirects=false',
].flatMap((setting) => ['-c', setting]);

export function gitEnvironment(forge?: Forge): Record<string, string> {
  return {
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_ATTR_NOSYSTEM: '1',
    GIT_TERMINAL_PROMPT: '0',
    GIT_NO_REPLACE_OBJECTS: '1',
    GIT_NO_LAZY_FETCH: '1',
    GIT_PROTOCOL_FROM_USER: '0',
    GIT_ALLOW_PROTOCOL: forge === undefined ? 'none' : 'ssh:https:git',
    HOME: '/nonexistent',
    ...(forge === undefined
      ? {}
      : { GIT_SSH_COMMAND: `ssh -F ${forge.sshConfig} -o BatchMode=yes`, GIT_SSH_VARIANT: 'ssh' }),
  };
}

function reachable(error: unknown): never {
  if (error instanceof Refusal && error.code === 'TIMED_OUT')
    throw new Refusal('FORGE_UNREACHABLE', 'the forge did not answer in time');
  if (error instanceof ProgramFailed && /couldn't find remote ref/.test(error.complaint))
    throw new Refusal('TAG_MOVED', 'the forge has no such tag any more');
  if (
    error instanceof ProgramFailed &&
    /fsck error|error in (?:tree|tag|commit|blob) |index-pack failed/.test(error.complaint)
  )
    throw new Refusal('BAD_OBJECT', error.complaint);
  if (error instanceof ProgramFailed) throw new Refusal('FORGE_UNREACHABLE', error.complaint);
  throw error;
}

/**
 * The tags that a forge shows now: a hint, nothing more.
 * @throws Refusal FORGE_UNREACHABLE, OUTPUT_LIMIT
 */
export async function listRemoteTags(url: string, forge: Forge): Promise<RemoteTag[]> {
  const untrustedListing = await runProgram(['git', ...settings, 'ls-remote', '--tags', '--', url], {
    env: gitEnvironment(forge),
    timeoutMs: forge.timeoutMs,
    limitBytes: listingLimitBytes,
  }).catch(reachable);
  const tags = new Map<string, RemoteTag>();
  for (const line of untrustedListing.toString('utf8').split('\n')) {
    const parts = /^([0-9a-f]{40}|[0-9a-f]{64})\trefs\/tags\/(\S+?)(\^\{\})?$/.exec(line);
    if (parts === null) continue;
    const [, object, name, peeled] = parts as unknown as [string, string, string, string | undefined];
    const known = tags.get(name);
    if (peeled === undefined) tags.set(name, { name, object, annotated: known?.annotated ?? false });
    else if (known !== undefined) known.annotated = true;
  }
  return [...tags.values()];
}

/**
 * The commit that a remote's branch is at, by its own word; undefined where there is no such branch. @throws
 * ProgramFailed, Refusal TIMED_OUT, OUTPUT_LIMIT
 */
export async function remoteHead(url: string, branch: string, forge: Forge): Promise<string | undefined> {
  const untrustedListing = await runProgram(['git', ...settings, 'ls-remote', '--quiet', '--', url, branch], {
    env: gitEnvironment(forge),
    timeoutMs: forge.timeoutMs,
    limitBytes: listingLimitBytes,
  });
  const id = untrustedListing
    .toString('latin1')
    .split('\n')
    .find((line) => line.endsWith(`\t${branch}`))
    ?.split('\t')[0];
  return matches(objectIdPattern, id) ? id : undefined;
}

export interface Repository {
  folder: string;
}

export function gitIn(repository: Repository, ...argv: string[]): string[] {
  return ['git', ...settings, `--git-dir=${repository.folder}`, ...argv];
}

/** A bare repository with nothing of this machine's in it; the folder is there. */
export async function initRepository(folder: string): Promise<void> {
  await runProgram(['git', ...settings, 'init', '--quiet', '--bare', '--template=', folder], {
    env: gitEnvironment(),
    timeoutMs: 30_000,
  });
}

/**
 * Fetches one tag and its commit's tree, without history, into a new bare repository.
 * @returns the repository and the object that the ref names
 * @throws Refusal FORGE_UNREACHABLE, TAG_MOVED (it is gone), BAD_OBJECT (git's own check of what came)
 */
export async function fetchTag(
  folder: string,
  url: string,
  tag: string,
  forge: Forge,
): Promise<{ repository: Repository; object: string }> {
  if (existsSync(folder)) rmSync(folder, { recursive: true });
  makeFolder(folder, 0o700);
  const repository = { folder };
  await initRepository(folder);
  const refspec = `+refs/tags/${tag}:refs/build-infra/tag`;
  await runProgram(
    [
      ...limitedFetch,
      ...gitIn(
        repository,
        'fetch',
        '--quiet',
        '--no-tags',
        '--depth=1',
        '--no-write-fetch-head',
        '--no-recurse-submodules',
        '--no-auto-maintenance',
        '--',
        url,
        refspec,
      ),
    ],
    { env: gitEnvironment(forge), isTool: true, timeoutMs: forge.timeoutMs },
  ).catch(reachable);
  const object = (
    await runProgram(gitIn(repository, 'rev-parse', '--verify', 'refs/build-infra/tag'), {
      env: gitEnvironment(),
      timeoutMs: 30_000,
    })
  )
    .toString('utf8')
    .trim();
  if (!matches(objectIdPattern, object)) throw new Error('git names no object id');
  return { repository, object };
}

/**
 * One commit of another repository and its tree, into a new bare repository: nothing but the commit's id,
 * which is under a signature, says which.
 * @throws Refusal FORGE_UNREACHABLE, BAD_OBJECT, SUBMODULE (the forge has no such commit, or gives none by
 * its id)
 */
export async function fetchCommit(
  folder: string,
  url: string,
  commit: string,
  forge: Forge,
): Promise<Repository> {
  if (existsSync(folder)) rmSync(folder, { recursive: true });
  makeFolder(folder, 0o700);
  const repository = { folder };
  await initRepository(folder);
  await runProgram(
    [
      ...limitedFetch,
      ...gitIn(
        repository,
        'fetch',
        '--quiet',
        '--no-tags',
        '--depth=1',
        '--no-write-fetch-head',
        '--no-recurse-submodules',
        '--no-auto-maintenance',
        '--',
        url,
        `+${commit}:refs/build-infra/commit`,
      ),
    ],
    { env: gitEnvironment(forge), isTool: true, timeoutMs: forge.timeoutMs },
  ).catch((error: unknown) => {
    if (
      error instanceof ProgramFailed &&
      /not our ref|unadvertised object|couldn't find remote ref/.test(error.complaint)
    )
      throw new Refusal('SUBMODULE', `${url} gives no commit ${commit}: ${error.complaint}`);
    return reachable(error);
  });
  const came = (
    await runProgram(gitIn(repository, 'rev-parse', '--verify', 'refs/build-infra/commit'), {
      env: gitEnvironment(),
      timeoutMs: 30_000,
    })
  )
    .toString('utf8')
    .trim();
  if (came !== commit)
    throw new Refusal('BAD_OBJECT', `${url} gave ${printable(came)} for the commit ${commit}`);
  return repository;
}

/**
 * What a `.gitmodules` says, as git itself reads it: `name\nvalue\0` of each setting. Nothing is included and
 * nothing is done. @throws ProgramFailed where it is none
 */
export async function readGitmodules(repository: Repository, blob: string): Promise<string> {
  return (
    await runProgram(gitIn(repository, 'config', `--blob=${blob}`, '--no-includes', '--list', '-z'), {
      env: gitEnvironment(),
      timeoutMs: 30_000,
      limitBytes: 1024 * 1024,
    })
  ).toString('utf8');
}

/**
 * So many commits up to a tag, without their trees where the forge can leave these out. @throws as fetchTag
 */
export async function fetchHistory(
  folder: string,
  url: string,
  tag: string,
  commits: number,
  forge: Forge,
): Promise<Repository> {
  const repository = { folder };
  await runProgram(['git', ...settings, 'init', '--quiet', '--bare', '--template=', folder], {
    env: gitEnvironment(),
    timeoutMs: 30_000,
  });
  await runProgram(
    [
      ...limitedFetch,
      ...gitIn(
        repository,
        'fetch',
        '--quiet',
        '--no-tags',
        `--depth=${commits}`,
        '--filter=tree:0',
        '--no-write-fetch-head',
        '--no-recurse-submodules',
        '--no-auto-maintenance',
        '--',
        url,
        `+refs/tags/${tag}:refs/build-infra/tag`,
      ),
    ],
    { env: gitEnvironment(forge), timeoutMs: forge.timeoutMs },
  ).catch(reachable);
  return repository;
}

/**
 * Commits that are in one's history and not in the other's, as `git rev-list --header` writes them. @throws
 * ProgramFailed where one of them is not there
 */
export async function logOfRange(
  repository: Repository,
  commit: string,
  since: string,
  limit: number,
): Promise<string> {
  const untrusted = await runProgram(
    gitIn(repository, 'rev-list', '--header', `--max-count=${limit}`, commit, `^${since}`, '--'),
    { env: gitEnvironment(), timeoutMs: 60_000, limitBytes: 32 * 1024 * 1024 },
  );
  return untrusted.toString('utf8');
}

export async function objectType(repository: Repository, id: string): Promise<string> {
  return (
    await runProgram(gitIn(repository, 'cat-file', '-t', id), { env: gitEnvironment(), timeoutMs: 30_000 })
  )
    .toString('utf8')
    .trim();
}

/** An object's bytes, checked against its id. @throws Refusal BAD_OBJECT */
export async function readObject(
  repository: Repository,
  type: 'tag' | 'commit',
  id: string,
  limitBytes: number,
): Promise<Buffer> {
  const body = await runProgram(gitIn(repository, 'cat-file', type, id), {
    env: gitEnvironment(),
    timeoutMs: 30_000,
    limitBytes,
  });
  if (id.length === 40 && gitObjectId(type, body) !== id)
    throw new Refusal('BAD_OBJECT', `the ${type} ${printable(id)} is not what its id says`);
  return body;
}

/**
 * The tree of a commit; its other headers do not matter, since the tag's signature covers the commit's id.
 * @throws Refusal BAD_OBJECT
 */
export async function treeOfCommit(repository: Repository, commit: string): Promise<string> {
  const tree = /^tree ([0-9a-f]{40}|[0-9a-f]{64})\n/.exec(
    (await readObject(repository, 'commit', commit, 1024 * 1024)).toString('latin1'),
  )?.[1];
  if (tree === undefined) throw new Refusal('BAD_OBJECT', 'the commit names no tree');
  return tree;
}

/** For programs that stream: the argv and environment of a git that can reach nothing. */
export function offlineGit(
  repository: Repository,
  ...argv: string[]
): { argv: string[]; env: Record<string, string> } {
  return { argv: gitIn(repository, ...argv), env: environmentWith(gitEnvironment()) };
}
