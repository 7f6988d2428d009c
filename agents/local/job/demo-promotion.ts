// SPDX-License-Identifier: GPL-2.0-or-later
// `npm run local -- demo-promotion`: the release team's day. A signed tag goes to current-testing, a signed
// comment through the webhook moves it to current; the status page and the issues of a GitHub that runs in
// the forge are shown before and after; then what is refused: the same command again, one by somebody who may
// not, and an old one kept back until the version was withdrawn. Every step ends with a post-condition that
// was checked.
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { codenameOf, type Suite } from '../../shared/formats/suites.js';
import { raiseFarm, type Farm } from '../farm/farm.js';
import {
  aptUrls,
  distWord,
  logsUrl,
  release,
  statusPageUrl,
  statusRepository,
} from '../farm/local-pillar.js';
import { freePorts, type LocalSettings } from '../farm/local-state.js';
import { importPackage, type ImportedSource } from '../outside/developer.js';
import { makeRepository, showRepository } from '../outside/forge.js';
import { GitHubIssues, type SeenIssue } from '../outside/github-issues.js';
import { clearsign, clearsignAsStranger } from '../outside/signed-comments.js';
import { installAsVisitor } from '../outside/visitor.js';
import { giveCommand, stepLine, untilBuilt, untilOver, type BuildStatus } from './build-watch.js';
import { comment, commentResult, type CommentAnswer } from './comment.js';
import { LogTail } from './log-tail.js';
import { auditStep, followCalls, published, pushStep, type MainJobOptions } from './main-job.js';
import { rowText, untilRow, type StatusRow } from './status-row.js';

type DemoOptions = Omit<MainJobOptions, 'package'>;

const packageName = 'hello';
const buildVm = 'build-debian';
/** What a release team would have; for so long nobody watches a demonstration. */
const minAgeDays = 5;

/** All that the steps share. */
interface Day {
  options: DemoOptions;
  farm: Farm;
  issues: GitHubIssues;
  source: ImportedSource;
  /** the one distribution that is promoted */
  dist: string;
  /** number of the status issue */
  issue: number;
  /** the line that the issue's text offers for signing */
  command: string;
}

function check(holds: boolean, otherwise: string): void {
  if (!holds) throw new Error(otherwise);
}

/** The farm with packages that wait so many days in testing. @returns the farm as it is then */
async function raiseWith({ state, dist, display, provisioner }: DemoOptions, days: number): Promise<Farm> {
  const settings = await state.settings();
  settings.releaseTeam = { github: settings.releaseTeam?.github ?? (await newGitHub()), minAgeDays: days };
  state.save(settings);
  return await raiseFarm(
    state,
    join(dist, 'local.mjs'),
    (vm, what) => display.now(vm, what),
    {},
    provisioner,
  );
}

async function newGitHub(): Promise<NonNullable<LocalSettings['releaseTeam']>['github']> {
  const [port, shownPort] = (await freePorts(2)) as [number, number];
  return { port, shownPort, token: `local_${randomBytes(20).toString('hex')}` };
}

async function relay(day: Day, days: number): Promise<void> {
  day.farm.dom0.close();
  day.farm = await raiseWith(day.options, days);
}

export async function runDemoPromotion(options: DemoOptions): Promise<void> {
  const { state, display } = options;
  const farm = await display.step(
    `The farm, and what a release team has beside it: a status page, a GitHub, packages that wait ${minAgeDays} days in testing`,
    async () => {
      const raised = await raiseWith(options, minAgeDays);
      await makeRepository(raised.machine('forge'), packageName, 'source');
      await showRepository(raised.machine('forge'), 'build-logs', 'logs');
      const running = (await raised.dom0.list()).filter((vm) => vm.state === 'running').map((vm) => vm.name);
      return {
        value: raised,
        result: `running: ${running.join(' ')}\nstatus page ${statusPageUrl(raised.settings)}/index.html, GitHub http://127.0.0.1:${raised.settings.releaseTeam?.github.port}`,
      };
    },
  );
  await followCalls(farm, display);
  const tail = new LogTail(state.rootOf('build-logs'));
  tail.follow((_path, line) => display.log(line.replace(/^\S+ (\S+)\.\d+ \+0000 /, '$1 ')));
  let day: Day | undefined;
  try {
    const source = await display.step(
      `The source: ${packageName} from the Debian archive, as a maintainer-signed tag`,
      async () => {
        const made = await importPackage(
          farm.machine('developer'),
          packageName,
          farm.maintainer.fingerprint,
          farm.settings.ports,
          (line) => display.log(line),
        );
        return {
          value: made,
          result: `${made.package} ${made.version}: tag ${made.tag}, commit ${made.commit.slice(0, 12)}, signed by ${farm.maintainer.fingerprint}`,
        };
      },
    );
    await pushStep(farm, source, display);
    const built = await display.step(
      `Build ${source.package} ${source.version} in ${buildVm}, to current-testing`,
      async () => {
        const done = await untilBuilt(farm.machine(buildVm), source.package, source.version, (stage) =>
          display.now(buildVm, `stage: ${stage}`),
        );
        return {
          value: done,
          result: `${done.seconds.map(stepLine).join(', ')}\n${done.uploaded.join(' ')}`,
        };
      },
    );
    day = {
      options,
      farm,
      source,
      issues: new GitHubIssues(
        farm.settings.releaseTeam?.github as { port: number; shownPort: number; token: string },
      ),
      dist: farm.settings.dists[0] as string,
      issue: 0,
      command: '',
    };
    await before(day);
    await tooYoung(day);
    const { used, kept } = await promote(day);
    await after(day);
    await visit(day);
    await refused(day, used);
    await withdrawn(day, kept);
    await display.step(`The pillar again, with the ${minAgeDays} days that hold from now on`, async () => {
      await relay(day as Day, minAgeDays);
      return {
        value: undefined,
        result: `min-age-days: ${(day as Day).farm.pillar['build-envs']['debian']?.promotion?.['min-age-days']}`,
      };
    });
    await auditStep(options, day.farm);
    summary(day, built);
  } finally {
    tail.stop();
    (day?.farm ?? farm).dom0.close();
  }
}

const label = (dist: string, what: string): string => `${release}-${distWord(dist)}-${what}`;

function seen(day: Day, row: StatusRow, issue: SeenIssue): string {
  return [
    `status page: ${rowText(day.source.package, day.dist, row)}`,
    `issue #${issue.number} "${issue.title}", ${issue.state}`,
    `  labels:   ${issue.labels.join(' ')}`,
    ...issue.comments.map(
      ({ author, body }) =>
        `  ${author}: ${body
          .split('\n')
          .filter((line) => line.trim() !== '' && !line.startsWith('<!--'))
          .join(' ')
          .slice(0, 200)}`,
    ),
  ].join('\n');
}

/** The issue as soon as it has these labels and not those; the notifier says things within seconds. */
async function untilIssue(
  { issues, source }: Day,
  has: string[],
  hasNot: string[],
  timeoutMs = 300_000,
): Promise<SeenIssue> {
  const start = `${source.package} ${source.version} (`;
  let last: SeenIssue | undefined;
  for (const until = Date.now() + timeoutMs; Date.now() < until; await sleep(250)) {
    last = await issues.titled(statusRepository, start);
    if (
      last !== undefined &&
      has.every((name) => last?.labels.includes(name)) &&
      !hasNot.some((name) => last?.labels.includes(name))
    )
      return last;
  }
  throw new Error(
    `the issue "${start}…" did not get the labels ${has.join(' ')}; it has ${last?.labels.join(' ') ?? 'not been made'}`,
  );
}

async function before(day: Day): Promise<void> {
  const {
    source,
    dist,
    options: { display },
  } = day;
  await display.step('What everybody sees before: the status page and the issue', async () => {
    const row = await untilRow(
      statusPageUrl(day.farm.settings),
      source.package,
      dist,
      ({ cells }) => cells.get('current-testing')?.startsWith(`${source.version} `) === true,
    );
    check(
      row.cells.get('current')?.startsWith(`${source.version} `) !== true,
      'the status page shows it in current already',
    );
    const issue = await untilIssue(
      day,
      [label(dist, 'cur-test')],
      [label(dist, 'building'), label(dist, 'stable')],
    );
    const words = `Upload-component ${release} ${source.package} ${source.commit} current`;
    const offered = new RegExp(`\`(${words} [^\`]+)\``).exec(issue.body)?.[1];
    if (offered === undefined) throw new Error(`the issue offers no command to sign:\n${issue.body}`);
    day.issue = issue.number;
    // The offered line names every distribution; one is enough here, and the other stays where it is.
    day.command = `${words} ${distWord(dist)}`;
    return { value: undefined, result: `${seen(day, row, issue)}\n  offers to sign: ${offered}` };
  });
}

const say = async (day: Day, author: string, body: string): Promise<CommentAnswer> =>
  await comment(day.options.state, day.farm, buildVm, author, body, day.issue);

/** @throws Error unless the command was accepted */
async function jobOf(day: Day, said: CommentAnswer): Promise<BuildStatus['recent'][number]> {
  const job = /^accepted (\S+)$/.exec(said.answer)?.[1];
  if (job === undefined)
    throw new Error(`the command was not taken: ${said.answer}\n${said.journal.join('\n')}`);
  return await untilOver(day.farm.machine(buildVm), job, (stage) =>
    day.options.display.now(buildVm, `stage: ${stage}`),
  );
}

async function tooYoung(day: Day): Promise<void> {
  const {
    options: { display },
    farm,
    dist,
  } = day;
  await display.step(
    'Too early: alice signs the line and comments, through nginx, HMAC, sys-net and the policy',
    async () => {
      const said = await say(
        day,
        'alice',
        await clearsign(farm.machine('developer'), farm.maintainer.fingerprint, day.command),
      );
      const job = await jobOf(day, said);
      check(
        job.state === 'refused' && job.reason?.code === 'TOO_YOUNG',
        `the promotion ended as ${job.state}: ${job.reason?.code ?? ''} ${job.reason?.detail ?? ''}`,
      );
      check(!(await offers(day, dist, 'current')), 'it is in current all the same');
      return {
        value: undefined,
        result: `${commentResult(said)}\nthe job:                ${job.state} ${job.reason?.code} ${job.reason?.detail}`,
      };
    },
  );
}

/** @returns the comment that was used, and one that was signed the same day and kept back */
async function promote(day: Day): Promise<{ used: string; kept: string }> {
  const {
    options: { display },
  } = day;
  await display.step(
    'The pillar again, with no days to wait, because nobody watches a demonstration for five',
    async () => {
      await relay(day, 0);
      return {
        value: undefined,
        result: `min-age-days: ${day.farm.pillar['build-envs']['debian']?.promotion?.['min-age-days']}, for this demonstration only; the age is read from the public record as before`,
      };
    },
  );
  await followCalls(day.farm, display);
  return await display.step('Alice signs it anew, and comments', async () => {
    const { farm, dist } = day;
    const sign = (): Promise<string> =>
      clearsign(farm.machine('developer'), farm.maintainer.fingerprint, day.command);
    const used = await sign();
    let kept = await sign();
    // Within one second a key makes one signature of one text.
    while (kept === used) kept = await sign();
    const said = await say(day, 'alice', used);
    const job = await jobOf(day, said);
    check(
      job.state === 'done',
      `the promotion ended as ${job.state}: ${job.reason?.code ?? ''} ${job.reason?.detail ?? ''}`,
    );
    check(await offers(day, dist, 'current'), `${codenameOf(dist, 'current')} does not offer it`);
    return {
      value: { used, kept },
      result: `${commentResult(said)}\nthe job:                ${job.state}, ${job.uploaded.join(' ')}\n${job.seconds.map(stepLine).join(', ')}`,
    };
  });
}

async function after(day: Day): Promise<void> {
  const {
    source,
    dist,
    options: { display },
  } = day;
  await display.step('What everybody sees after', async () => {
    const row = await untilRow(
      statusPageUrl(day.farm.settings),
      source.package,
      dist,
      ({ cells }) => cells.get('current')?.startsWith(`${source.version} `) === true,
    );
    const issue = await untilIssue(day, [label(dist, 'stable')], [label(dist, 'cur-test')]);
    const violations = await day.issues.violations();
    check(
      violations.length === 0,
      `requests that are not as GitHub describes them:\n${violations.join('\n')}`,
    );
    const links = await logLinks(day, issue);
    return {
      value: undefined,
      result: `${seen(day, row, issue)}\nevery request to that GitHub was as its published description says; ${links} links to logs in the comments lead to published logs`,
    };
  });
}

/** @returns how many links to logs the comments hold @throws Error where one of them leads nowhere */
async function logLinks({ farm }: Day, { comments }: SeenIssue): Promise<number> {
  const start = logsUrl(farm.settings).split('{')[0] as string;
  const links = new Set(
    comments.flatMap(({ body }) =>
      [...body.matchAll(/\]\((\S+?)\)/g)]
        .map((found) => found[1] as string)
        .filter((link) => link.startsWith(start)),
    ),
  );
  for (const link of links) check((await published(link)).includes(` ${buildVm}: `), `${link} shows no log`);
  check(links.size > 0, 'no comment links to a log');
  return links.size;
}

/** Whether a suite of the public repository offers the version. */
async function offers({ farm, source }: Day, dist: string, suite: Suite): Promise<boolean> {
  const url = aptUrls(farm.settings)[farm.settings.dists.indexOf(dist)] as string;
  const sources = await published(`${url}/dists/${codenameOf(dist, suite)}/main/source/Sources.gz`);
  return gunzipSync(sources)
    .toString('utf8')
    .split('\n\n')
    .some(
      (entry) =>
        entry.includes(`Package: ${source.package}\n`) && entry.includes(`\nVersion: ${source.version}\n`),
    );
}

async function visit(day: Day): Promise<void> {
  const {
    farm,
    dist,
    source,
    options: { display },
  } = day;
  await display.step(`Install it as a visitor who has ${dist}: apt-get, from the suite current`, async () => {
    const url = aptUrls(farm.settings)[farm.settings.dists.indexOf(dist)] as string;
    const key = (await published(`${url}/key.asc`)).toString();
    const found = await installAsVisitor(
      farm.machine('visitor'),
      { dist, url, key, suite: 'current' },
      source.package,
      source.version,
      (line) => display.log(line),
    );
    return {
      value: undefined,
      result: `installed ${found.installed.join(' ')} from ${codenameOf(dist, 'current')}: ${found.urls.join(' ')}${found.says === '' ? '' : `\nit says: ${found.says}`}`,
    };
  });
}

async function refusedStep(
  day: Day,
  title: string,
  author: string,
  body: () => Promise<string>,
  code: string,
  inJournal: string,
): Promise<void> {
  await day.options.display.step(title, async () => {
    const said = await say(day, author, await body());
    check(said.answer === `refused ${code}`, `the answer was: ${said.answer}`);
    check(
      said.journal.some((line) => line.includes(inJournal)),
      `the journal does not say ${inJournal}: ${said.journal.join('\n')}`,
    );
    return { value: undefined, result: commentResult(said) };
  });
}

async function refused(day: Day, used: string): Promise<void> {
  const developer = day.farm.machine('developer');
  await refusedStep(
    day,
    'The same comment once more',
    'alice',
    async () => used,
    'COMMAND_USED',
    'COMMAND_USED',
  );
  await refusedStep(
    day,
    'The same line signed by bob, who may have packages built and nothing else',
    'bob',
    async () => await clearsign(developer, 'bob@developer.example', day.command),
    'NOT_ALLOWED',
    'bob may not say Upload-component',
  );
  await refusedStep(
    day,
    'The same line signed by a stranger, who hears nothing of why',
    'mallory',
    async () => await clearsignAsStranger(developer, day.command),
    'BAD_COMMAND',
    'command: ',
  );
}

async function withdrawn(day: Day, kept: string): Promise<void> {
  const {
    source,
    dist,
    farm,
    options: { display },
  } = day;
  const build = farm.machine(buildVm);
  await display.step('A fault is found: the version is withdrawn, by hand, from every suite', async () => {
    const answer = await giveCommand(build, `withdraw ${source.package} ${source.version}`);
    const name = /^queued (\S+)$/.exec(answer)?.[1];
    if (name === undefined) throw new Error(`the build VM says: ${answer}`);
    const job = await untilOver(build, name, (stage) => display.now(buildVm, `stage: ${stage}`));
    check(
      job.state === 'done',
      `the withdrawal ended as ${job.state}: ${job.reason?.code ?? ''} ${job.reason?.detail ?? ''}`,
    );
    for (const one of farm.settings.dists)
      for (const suite of ['current', 'current-testing'] as const)
        check(!(await offers(day, one, suite)), `${codenameOf(one, suite)} offers it still`);
    const row = await untilRow(
      statusPageUrl(farm.settings),
      source.package,
      dist,
      ({ cells }) => cells.get('current') === '–' && cells.get('current-testing') === '–',
    );
    return {
      value: undefined,
      result: `${answer}\n${job.state}: ${farm.settings.dists.map((one) => `${codenameOf(one, 'current')} and ${codenameOf(one, 'current-testing')}`).join(', ')} offer ${source.version} no more\n${job.seconds.map(stepLine).join(', ')}\nstatus page: ${rowText(source.package, dist, row)}`,
    };
  });
  await refusedStep(
    day,
    'Its old command, signed with the first and kept back until now',
    'alice',
    async () => kept,
    'WITHDRAWN',
    'WITHDRAWN',
  );
  check(!(await offers(day, dist, 'current')), 'the withdrawn version came back');
}

function summary(
  { options: { display }, farm, source, issue }: Day,
  built: BuildStatus['recent'][number],
): void {
  const rows = display.finished.map(
    ({ title, seconds }) => `  ${seconds.toFixed(1).padStart(7)} s  ${title}`,
  );
  const total = display.finished.reduce((sum, { seconds }) => sum + seconds, 0);
  display.say(`
${display.paint('bold', `${source.package} ${source.version} was built, promoted, installed from current, withdrawn, and kept out; all of it was audited.`)}

${rows.join('\n')}
  ${total.toFixed(1).padStart(7)} s  in all

Where things are
  status page        ${statusPageUrl(farm.settings)}/index.html
  published logs     http://127.0.0.1:${farm.settings.ports.http}/logs/
  the issue          http://127.0.0.1:${farm.settings.releaseTeam?.github.shownPort}/   (#${issue}; in memory, gone with the forge)
  the build's logs   ${built.logs.join(' ')}

What to try next
  npm run local -- status                      VMs and jobs
  npm run local -- exec build-debian -- ls /var/lib/build-infra/commands     the commands that were used
  npm run local -- audit                       check it all again
`);
}
