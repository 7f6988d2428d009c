// SPDX-License-Identifier: GPL-2.0-or-later
// A job that builds a template: of a signed command and the configuration, where other builds are of a tag.
// Decision 103
import { createHash } from 'node:crypto';
import { timestampSeconds } from '../../shared/formats/command.js';
import type { HashedFile } from '../../shared/formats/intent.js';
import { jobIdPattern, matches } from '../../shared/formats/names.js';
import { templatesDist } from '../../shared/formats/suites.js';
import { Refusal } from '../refusals.js';
import { templatePackage, type Config, type Distribution, type Template } from '../configuration/config.js';
import { templateDigests } from './job-configuration.js';
import {
  jobFormat,
  type Job,
  type ObeyedCommand,
  type TemplateJob,
  type TemplateOrder,
} from './job-document.js';

/** `X.Y.0-<timestamp>` of release rX.Y, as upstream numbers templates. */
export function templateVersion(release: string, timestamp: string): string {
  return `${release.slice(1)}.0-${timestamp}`;
}

/** A template is gigabytes, and goes through Tor: for each step of an upload. */
export const templateUploadMs = 6 * 3600_000;

/** The one configured here for that release. @throws Refusal UNKNOWN_TEMPLATE */
export function configuredTemplate(config: Config, name: string, release: string): Template {
  const template = config.templates?.find((one) => one.name === name && one.releases.includes(release));
  if (template === undefined)
    throw new Refusal('UNKNOWN_TEMPLATE', `no template ${name} of ${release} is configured here`);
  return template;
}

/**
 * In place of a distribution, for the stages. Whoever builds it, the agent signs and publishes: what is
 * promoted later is what it froze.
 */
export function templateDistribution(template: Template, release: string): Distribution {
  return {
    name: templatesDist(release),
    engine: template.engine,
    packages: 'rpm',
    publisher: 'agent',
    ...(template.options === undefined ? {} : { options: template.options }),
  };
}

/** The same order with the same configuration is the same job. @throws Refusal BAD_VERSION */
export function newTemplateJob(
  config: Config,
  template: Template,
  order: TemplateOrder,
  number: number,
  now: Date,
): TemplateJob {
  const { release, timestamp, command } = order;
  const component = templatePackage(template.name);
  const version = templateVersion(release, timestamp);
  const configuration = templateDigests(config, template, release);
  const digest = createHash('sha256')
    .update(
      JSON.stringify([
        'template',
        config.env,
        template.name,
        release,
        timestamp,
        command.sha256,
        configuration,
      ]),
    )
    .digest('hex')
    .slice(0, 12);
  const job = `${component}-${version}-${digest}`;
  if (!matches(jobIdPattern, job)) throw new Refusal('BAD_VERSION', 'template and version make no job name');
  return {
    format: jobFormat,
    job,
    kind: 'template',
    template: order,
    change: null,
    number,
    component,
    version,
    tag: '',
    tagObject: '',
    url: '',
    env: config.env,
    dists: [templatesDist(release)],
    created: now.toISOString(),
    state: 'queued',
    priority: 0,
    configuration,
    running: [],
    waiting: [],
    finished: [],
    logs: [],
    evidence: null,
    sourceDateEpoch: timestampSeconds(timestamp) ?? null,
    artifacts: [],
    uploaded: [],
    reasons: [],
    reason: null,
    ended: null,
  };
}

/** The only file that an engine may make of it. */
export function templateFile({ component, version }: Pick<Job, 'component' | 'version'>): string {
  return `${component}-${version}.noarch.rpm`;
}

/** As intents call it (docs/formats.md, "Intent"). */
const commandEvidenceName = 'signed-command.json';

/**
 * One line without its newline, which stands in the log of the build after `> evidence `: who commanded what,
 * for everything that is signed of it.
 */
export function commandEvidence({ sha256, line, signer, signed }: ObeyedCommand): string {
  return JSON.stringify({
    sha256,
    line,
    signer: { name: signer.name, fingerprint: signer.fingerprint },
    signed,
  });
}

export function hashedCommand(command: ObeyedCommand): HashedFile {
  const bytes = Buffer.from(commandEvidence(command), 'utf8');
  return {
    name: commandEvidenceName,
    size: bytes.length,
    sha256: createHash('sha256').update(bytes).digest('hex'),
  };
}
