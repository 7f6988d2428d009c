// SPDX-License-Identifier: GPL-2.0-or-later
// How git is started here: by simple-git for what takes its time, with an environment in which nothing but the repository's own
// configuration counts.
import { simpleGit, type SimpleGit } from 'simple-git';
import { cleanEnvironment } from '../shared/calls/qrexec-call.js';

export const branch = 'refs/heads/main';
/** The same commit for people: the links in the notices of upstream's builders lead there. Nothing is decided by it. */
export const linkedBranch = 'refs/heads/master';

/** No configuration but the repository's own, which this agent wrote. */
export const gitEnvironment: NodeJS.ProcessEnv = { ...cleanEnvironment, GIT_CONFIG_NOSYSTEM: '1', GIT_CONFIG_GLOBAL: '/dev/null', GIT_TERMINAL_PROMPT: '0' };

/**
 * simple-git on a repository. What it holds back by default is permitted as far as the values are ours: no variable, option or URL
 * here comes from another VM.
 */
export function gitIn(baseDir: string, more: { abort?: AbortSignal; sshCommand?: string } = {}): SimpleGit {
  return simpleGit({
    baseDir,
    ...(more.abort === undefined ? {} : { abort: more.abort }),
    unsafe: { allowUnsafeTemplateDir: true, allowUnsafeConfigPaths: true, allowUnsafeSshCommand: true },
    allowEnvironment: ['GIT_CONFIG_GLOBAL', 'GIT_CONFIG_NOSYSTEM', 'GIT_TERMINAL_PROMPT', 'GIT_SSH_COMMAND'],
  }).env({ ...gitEnvironment, ...(more.sshCommand === undefined ? {} : { GIT_SSH_COMMAND: more.sshCommand }) } as Record<string, string>);
}
