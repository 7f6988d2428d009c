// SPDX-License-Identifier: GPL-2.0-or-later
// Answers a command that was refused, once, where its signer asked: in the issue in which GitHub shows the signed text. Whoever carried the
// command to the build VM has no word in that: the repositories are those of notify.json, and a text that stands in none of them is not answered.
import type { RefusedCommand } from '../shared/formats/refused-command.js';
import type { Reporter } from '../shared/calls/socket-service.js';
import type { NotifyConfig } from './config.js';
import type { PlacedComment } from './github/answers.js';
import type { GitHub } from './github/client.js';
import { GitHubTrouble } from './github/trouble.js';
import { codeSpan, fenced } from './markdown.js';
import { OwnComments } from './own-comments.js';
import { refusalWords } from './refusal-words.js';
import { sameAccount } from './status-issue.js';
import { subjectId } from './subject.js';
import type { SubjectStates } from './subject-state.js';
import { fill, noValues, type Templates } from './templates.js';
import type { Reference } from './texts.js';

export interface RefusedCommandOptions {
  github: GitHub;
  config: NotifyConfig;
  templates: Templates;
  states: SubjectStates;
  now: () => Date;
  report: Reporter;
}

/** 100 comments a page, from the signature on: a command comes minutes after it was signed. */
const pagesLimit = 10;
/** So far a signer's clock may be ahead of GitHub's. */
const aheadMs = 3600_000;
/** GitHub's lists lag. What is in none of them after this is gone, or was never there. */
const lookForMs = 15 * 60_000;
const askAgainMs = 30_000;

/** Where issues are that people write about packages in. */
function repositoriesOf({ repository, issuesRepository, commentIn }: NotifyConfig): string[] {
  const named = [
    repository,
    ...(issuesRepository === null ? [] : [issuesRepository]),
    ...commentIn.filter((one) => !one.endsWith('/*')),
  ];
  return named.filter((one, index) => named.findIndex((other) => sameAccount(one, other)) === index);
}

function holds(comment: PlacedComment, { line, signature }: RefusedCommand, config: NotifyConfig): boolean {
  // Line ends and blanks at the ends of lines are not signed, and forms and programs change them.
  const text = comment.body.replace(/\s/g, '');
  const parts = ['-----BEGINPGPSIGNEDMESSAGE-----', line.replace(/\s/g, ''), signature];
  return !sameAccount(comment.author, config.account) && parts.every((part) => text.includes(part));
}

/** The first comment that has it: anybody may copy a text that stands in public. @throws GitHubTrouble */
async function askedIn(
  refused: RefusedCommand,
  { github, config }: RefusedCommandOptions,
): Promise<Reference | undefined> {
  const since = new Date(Date.parse(refused.signed) - aheadMs);
  const found: { at: string; place: Reference }[] = [];
  for (const repository of repositoriesOf(config)) {
    for (let page = 1; page <= pagesLimit; page++) {
      const { found: listed, more } = await github.commentsSince(repository, since, page);
      const first = listed.find((comment) => holds(comment, refused, config));
      if (first !== undefined) found.push({ at: first.at, place: { repository, number: first.issue } });
      if (first !== undefined || !more) break;
    }
  }
  return found.sort((a, b) => (a.at < b.at ? -1 : 1))[0]?.place;
}

/** @throws GitHubTrouble */
export async function answerRefused(refused: RefusedCommand, options: RefusedCommandOptions): Promise<void> {
  const { github, config, templates, states, now, report } = options;
  const template = templates.find(['message-command-refused']);
  if (template === undefined) return;
  const text = fill(template, {
    ...noValues,
    COMMANDS: fenced(refused.line, 300),
    REASON: refusalWords(refused.code),
    ENVIRONMENT: codeSpan(refused.env),
  });
  if (config.dryRun)
    return report(`dry run: would answer "${refused.line}" where it was asked: ${refused.code}`);
  const title = `command ${refused.key}`;
  const id = subjectId(config.repository, title);
  const state = states.read(id, title);
  const place = await askedIn(refused, options);
  if (place === undefined) {
    if (now().getTime() - Date.parse(refused.time) < lookForMs)
      throw new GitHubTrouble('later', 'UNSETTLED', 'no comment has the command yet', 0, askAgainMs);
    return report(
      `"${refused.line}", ${refused.code}: no comment in our repositories has this command, so nobody is answered`,
    );
  }
  const comments = new OwnComments({ github, config, state, now, save: () => states.write(id, state) });
  await comments.say(`${refused.key} refused`, refused.key, place, text);
}
