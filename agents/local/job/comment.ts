// SPDX-License-Identifier: GPL-2.0-or-later
// A comment on its whole way: the webhook as GitHub sends it, nginx, HMAC, sys-net, policy, the build VM; and
// what that VM says of it.
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { readIfThere } from '../../shared/durable-files.js';
import type { Farm } from '../farm/farm.js';
import { statusRepository } from '../farm/local-pillar.js';
import type { LocalState } from '../farm/local-state.js';
import { must } from '../outside/machine.js';
import { githubCommentPayload, sendWebhook } from './webhook.js';

export interface CommentAnswer {
  /** `accepted <job>` or `refused <CODE>`, as sys-net was answered */
  answer: string;
  /** the build VM's own lines about it, which the outside does not hear */
  journal: string[];
}

const answered = /^qubesbuilder\.ProcessGithubCommand from sys-net: (accepted \S+|refused [A-Z_]+)$/;

/** @throws Error when sys-net takes it for no command, or the build VM does not answer within `timeoutMs` */
export async function comment(
  state: LocalState,
  farm: Farm,
  buildVm: string,
  author: string,
  body: string,
  issue: number,
  timeoutMs = 300_000,
): Promise<CommentAnswer> {
  const journal = (): string[] =>
    (readIfThere(join(state.folder, 'logs', `${buildVm}.log`))?.toString('utf8') ?? '').split('\n');
  const before = journal().length - 1;
  const secret = (
    await must(farm.machine('sys-net'), ['cat', '/rw/config/build-infra/webhook-secret'])
  ).trim();
  const { status, body: said } = await sendWebhook(
    farm.settings.ports.webhook,
    secret,
    githubCommentPayload({ fullName: statusRepository, body, author, issue }),
    randomUUID(),
    'issue_comment',
  );
  if (status !== 202 || !said.startsWith('accepted '))
    throw new Error(`sys-net answered ${status}: ${said.trim()}`);
  for (const until = Date.now() + timeoutMs; Date.now() < until; await sleep(100)) {
    const lines = journal().slice(before);
    const answer = lines.map((line) => answered.exec(line)?.[1]).find((found) => found !== undefined);
    if (answer !== undefined) return { answer, journal: lines.filter((line) => line.startsWith('command')) };
  }
  throw new Error(`${buildVm} did not answer within ${timeoutMs / 1000} s`);
}

export function commentResult({ answer, journal }: CommentAnswer): string {
  return [
    ...journal.map((line) => `build-debian's journal: ${line}`),
    `answer to sys-net:      ${answer}`,
  ].join('\n');
}
