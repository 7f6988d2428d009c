// SPDX-License-Identifier: GPL-2.0-or-later
// What a distribution's configuration tells this engine: where Qubes' builder is, and its words for what we
// call otherwise.
import type { Check } from '../../shared/json-document.js';
import { checkWith } from '../../shared/json-schema.js';
import { plainNamePattern } from '../../shared/formats/names.js';
import type { EngineJob, EngineTemplateJob } from '../contract.js';

interface Untold {
  builder: string;
  conf: string;
  distribution: string;
  release: string;
  repository?: string;
  components?: string[];
}

export interface BuilderOptions {
  /** path of the checkout; `qb` is in it */
  builder: string;
  /** path of its builder.yml */
  conf: string;
  /** in its words: `vm-trixie`, `host-fc41` */
  distribution: string;
  packageSet: 'host' | 'vm';
  /** the part after the package set */
  distName: string;
  /** `r4.3`: its repositories have it in their path */
  release: string;
  /** where a build goes */
  repository: string;
  /** its name for the job's component */
  component: string;
}

/** What is needed whatever is built. */
export type BuilderPlace = Pick<BuilderOptions, 'builder' | 'conf' | 'release'> &
  Partial<Pick<BuilderOptions, 'distribution' | 'repository'>>;

const pathPattern = '^(?:/[A-Za-z0-9_][A-Za-z0-9._+-]*)+$';

const check: Check<Untold> = checkWith({
  type: 'object',
  additionalProperties: false,
  required: ['builder', 'conf', 'distribution', 'release'],
  properties: {
    builder: { type: 'string', pattern: pathPattern },
    conf: { type: 'string', pattern: pathPattern },
    distribution: { type: 'string', pattern: '^(?:host|vm)-[a-z0-9][a-z0-9-]{0,40}$' },
    release: { type: 'string', pattern: '^r[0-9]+\\.[0-9]+$' },
    // Promotion to `current` is a command of its own, after days.
    repository: { enum: ['current-testing', 'security-testing', 'unstable'] },
    components: {
      type: 'array',
      maxItems: 1000,
      items: { type: 'string', pattern: `${plainNamePattern.slice(0, -1)}=[A-Za-z0-9][A-Za-z0-9_+-]{0,63}$` },
    },
  },
});

const checkPlace: Check<Pick<BuilderOptions, 'builder' | 'conf'>> = checkWith({
  type: 'object',
  additionalProperties: false,
  required: ['builder', 'conf'],
  properties: {
    builder: { type: 'string', pattern: pathPattern },
    conf: { type: 'string', pattern: pathPattern },
  },
});

/**
 * Of a template: what is in it says its entry of the same name in builder.yml. @throws Refusal BAD_DOCUMENT
 */
export function readTemplateOptions(job: EngineTemplateJob): BuilderPlace {
  return { ...checkPlace(job.options ?? {}), release: job.template.release };
}

/** @throws Refusal BAD_DOCUMENT */
export function readBuilderOptions(job: Pick<EngineJob, 'component' | 'options'>): BuilderOptions {
  const {
    builder,
    conf,
    distribution,
    release,
    repository = 'current-testing',
    components = [],
  } = check(job.options ?? {});
  const names = new Map(components.map((pair) => pair.split('=') as [string, string]));
  const dash = distribution.indexOf('-');
  return {
    builder,
    conf,
    distribution,
    release,
    repository,
    packageSet: distribution.slice(0, dash) as 'host' | 'vm',
    distName: distribution.slice(dash + 1),
    component: names.get(job.component) ?? job.component,
  };
}
