// SPDX-License-Identifier: GPL-2.0-or-later
// SVG badges: for a component as a whole, and for what one repository has of it. White on dark colours, with
// the same words for who does not see them.
import { partsOf, suiteOf, suites } from '../../shared/formats/suites.js';
import type { ChainState } from './chain-status.js';
import { type ComponentStatus, type DistStatus } from './farm-status.js';
import { html } from './markup.js';

const colours = {
  good: '#14632f',
  testing: '#0b52a8',
  go: '#7a4300',
  bad: '#a4161a',
  none: '#525a66',
} as const;
export interface Badge {
  label: string;
  message: string;
  look: keyof typeof colours;
}

/**
 * Nothing measures text here, so its width is told: 6.2 px for each character of 11 px, as most fonts need at
 * most.
 */
const widthOf = (text: string): number => Math.round(text.length * 6.2) + 12;

export function badgeSvg({ label, message, look }: Badge): string {
  const [left, right] = [widthOf(label), widthOf(message)];
  const text = (words: string, x: number, width: number): ReturnType<typeof html> =>
    html`<text x="${x + width / 2}" y="14" textLength="${width - 12}" lengthAdjust="spacingAndGlyphs">${words}</text>`;
  return html`<svg xmlns="http://www.w3.org/2000/svg" width="${left + right}" height="20" role="img" aria-label="${label}: ${message}">
<title>${label}: ${message}</title>
<rect width="${left + right}" height="20" rx="3" fill="#33383f"/>
<path d="M${left} 0h${right - 3}a3 3 0 0 1 3 3v14a3 3 0 0 1 -3 3h-${right - 3}z" fill="${colours[look]}"/>
<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">
${text(label, 0, left)}
${text(message, left, right)}
</g>
</svg>
`.text;
}

const isOpen = new Set<ChainState>(['waiting', 'building', 'queued']);
const moves = new Set<string>(['promotion', 'withdrawal']);

/**
 * What most needs to be known: a failure before a delay, a delay before work, and then how far the newest
 * version has come everywhere.
 */
export function componentBadge({ name, attention, dists, newestTag }: ComponentStatus): Badge {
  const live = dists.filter((dist) => !dist.retired);
  for (const state of ['failed', 'refused', 'waiting', 'building', 'queued'] as const) {
    const found: { version: string; kind?: string } | null | undefined =
      attention.find((one) => one.state === state) ??
      live.find(({ newest }) => newest?.state === state && isOpen.has(state))?.newest;
    if (found)
      return {
        label: name,
        message: [found.version, ...(moves.has(found.kind ?? '') ? [found.kind] : []), state].join(' '),
        look: isOpen.has(state) ? 'go' : 'bad',
      };
  }
  if (newestTag !== null && !newestTag.built)
    return { label: name, message: `${newestTag.version} not built`, look: 'bad' };
  const places = live.map(placeOfNewest);
  const behind = places.sort((a, b) => a.rank - b.rank)[0];
  return behind === undefined || behind.version === undefined
    ? { label: name, message: 'none', look: 'none' }
    : {
        label: name,
        message: `${behind.version} ${behind.repository}`,
        look: partsOf(behind.repository ?? '')?.suite === 'current' ? 'good' : 'testing',
      };
}

function placeOfNewest({ newest, published }: DistStatus): {
  rank: number;
  version?: string;
  repository?: string;
} {
  const its = published.filter((one) => one.version === newest?.version);
  const isCurrent = ({ repository }: { repository: string }): boolean =>
    partsOf(repository)?.suite === 'current';
  const best = its.find(isCurrent) ?? its[0];
  return best === undefined
    ? { rank: 0 }
    : { rank: isCurrent(best) ? 2 : 1, version: best.version, repository: best.repository };
}

/** Of every repository of a distribution, by its name. */
export function repositoryBadges(
  component: string,
  { dist, suites: word, published }: DistStatus,
): Map<string, Badge> {
  const found = new Map(published.map((one) => [one.repository, one]));
  // One without suites has no others.
  const names = published.some((one) => partsOf(one.repository) === undefined)
    ? [...found.keys()]
    : suites.map((suite) => suiteOf(word, suite));
  return new Map(
    names.map((name) => {
      const version = found.get(name)?.version;
      return [
        name,
        {
          label: `${component} ${dist} ${name}`,
          message: version ?? 'none',
          look: version === undefined ? 'none' : partsOf(name)?.suite === 'current' ? 'good' : 'testing',
        },
      ];
    }),
  );
}
