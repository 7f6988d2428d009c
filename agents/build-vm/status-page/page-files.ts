// SPDX-License-Identifier: GPL-2.0-or-later
// The files of the page. What belongs to a component is made anew only when something of that component
// changed.
import { createHash } from 'node:crypto';
import { matches, plainNamePattern } from '../../shared/formats/names.js';
import { isOver, type Job } from '../jobs/job-document.js';
import { badgeSvg, componentBadge, repositoryBadges } from './badge.js';
import { componentPage, jobsShown } from './component-page.js';
import type { ComponentStatus, FarmStatus } from './farm-status.js';
import { frontPage } from './front-page.js';

export interface PageFile {
  /** relative, of names as config.ts and names.ts allow them */
  path: string;
  /** undefined: as in the page that these files were made for last */
  content: string | undefined;
}

/** What a component's files were made from; a job that is over does not change without its end changing. */
function fingerprint(component: ComponentStatus, jobs: readonly Job[], logsUrl: string | null): string {
  const parts = jobs.map((job) => (isOver(job) ? `${job.job} ${job.ended}` : JSON.stringify(job)));
  return createHash('sha256')
    .update(JSON.stringify([component, logsUrl, ...parts]))
    .digest('hex');
}

function filesOfComponent(
  component: ComponentStatus,
  jobs: readonly Job[],
  logsUrl: string | null,
): Map<string, () => string> {
  const folder = `components/${component.name}`;
  const badges = component.dists.flatMap((dist) =>
    [...repositoryBadges(component.name, dist)].map(([name, badge]): [string, () => string] => [
      `${folder}/badges/${dist.dist}/${name}.svg`,
      () => badgeSvg(badge),
    ]),
  );
  return new Map([
    [`${folder}/index.html`, () => componentPage(component, jobs, logsUrl)],
    [
      `${folder}/jobs.json`,
      () =>
        `${JSON.stringify({ format: 'build-infra/status-page-jobs@1', component: component.name, jobs }, null, 1)}\n`,
    ],
    [`${folder}/badge.svg`, () => badgeSvg(componentBadge(component))],
    // Names of distributions and repositories are ours; a path is made of nothing else.
    ...badges.filter(([path]) =>
      path
        .slice(folder.length + 1)
        .replace(/\.svg$/, '')
        .split('/')
        .every((name) => matches(plainNamePattern, name)),
    ),
  ]);
}

export class PageFiles {
  readonly #made = new Map<string, string>();

  /** Forgets what was made: the next files are all whole. */
  forget(): void {
    this.#made.clear();
  }

  /** @param jobs those that `status` was made from */
  *of(status: FarmStatus, jobs: readonly Job[]): Iterable<PageFile> {
    yield { path: 'index.html', content: frontPage(status) };
    yield { path: 'status.json', content: `${JSON.stringify(status, null, 1)}\n` };
    const byComponent = new Map<string, Job[]>();
    for (const job of jobs) {
      const its = byComponent.get(job.component);
      if (its === undefined) byComponent.set(job.component, [job]);
      else its.push(job);
    }
    for (const component of status.components) {
      if (!matches(plainNamePattern, component.name)) continue;
      const its = (byComponent.get(component.name) ?? [])
        .sort((a, b) => b.number - a.number)
        .slice(0, jobsShown);
      const now = fingerprint(component, its, status.logsUrl);
      const isSame = this.#made.get(component.name) === now;
      for (const [path, make] of filesOfComponent(component, its, status.logsUrl))
        yield { path, content: isSame ? undefined : make() };
      this.#made.set(component.name, now);
    }
  }
}
