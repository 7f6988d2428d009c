// SPDX-License-Identifier: GPL-2.0-or-later
// What the gpg client needs to know of this VM: which key its environment signs with, and for which job it is
// asked.
import { readFileSync } from 'node:fs';
import { Refusal } from '../refusals.js';
import { fingerprintPattern, matches, vmNamePattern } from '../../shared/formats/names.js';
import type { HashedFile } from '../../shared/formats/intent.js';
import type { Publication } from '../configuration/config.js';

export interface Settings {
  /** this VM, as others know it */
  vm: string;
  /** where its intents are looked for before a key is used; null: nowhere */
  publication: Publication | null;
  /** full fingerprint of the environment's key; its public part is in publicKeyFile */
  signingKey: string;
  publicKeyFile: string;
  qrexecClient: string;
  /** the real gpg, for all that needs no secret */
  localGpg: string;
}

/**
 * Only what is used here is read: the build agent checks the whole document. @throws Refusal NO_CONFIGURATION
 */
export function readSettings(root: string): Settings {
  const folder = `${root}/rw/config/build-infra`;
  let config: Record<string, unknown>;
  try {
    config = JSON.parse(readFileSync(`${folder}/build.json`, 'utf8')) as Record<string, unknown>;
  } catch {
    throw new Refusal('NO_CONFIGURATION', `${folder}/build.json cannot be read`);
  }
  const { vm, signingKey, publication } = config;
  if (!matches(fingerprintPattern, signingKey))
    throw new Refusal('NO_CONFIGURATION', `${folder}/build.json names no signingKey`);
  if (!matches(vmNamePattern, vm)) throw new Refusal('NO_CONFIGURATION', `${folder}/build.json names no vm`);
  return {
    vm,
    publication: publicationOf(publication, folder),
    signingKey,
    publicKeyFile: `${folder}/public-keys/${signingKey}.asc`,
    qrexecClient: `${root}/usr/bin/qrexec-client-vm`,
    localGpg: '/usr/bin/gpg',
  };
}

/** What is not said plainly is not taken for "nowhere". */
function publicationOf(value: unknown, folder: string): Publication | null {
  if (value === null) return null;
  const { url, logsKey } = (value ?? {}) as Record<string, unknown>;
  if (typeof url !== 'string' || !matches(fingerprintPattern, logsKey))
    throw new Refusal(
      'NO_CONFIGURATION',
      `${folder}/build.json does not say where publications are read back (publication)`,
    );
  return { url, logsKey };
}

/**
 * Why something is signed: written by the build agent into the file that the environment variable
 * BUILD_INFRA_JOB names.
 */
export interface JobContext {
  job: string;
  component: string;
  version: string;
  dist: string;
  logs: string[];
  artifacts: HashedFile[];
}

/**
 * The fields go into the intent as they are: the build-logs VM checks them. @param text of $BUILD_INFRA_JOB,
 * where it is set @throws Refusal BAD_JOB_FILE
 */
export function readJobContext(text: string | undefined, now: Date): JobContext {
  if (text === undefined) {
    const time = now.toISOString().replace(/[-:]|\.[0-9]+/g, '');
    return {
      job: `manual-${time}`,
      component: 'manual',
      version: '0',
      dist: 'none',
      logs: [],
      artifacts: [],
    };
  }
  let value: Partial<JobContext>;
  try {
    value = (JSON.parse(text) as Partial<JobContext> | null) ?? {};
  } catch {
    throw new Refusal('BAD_JOB_FILE', 'the file that BUILD_INFRA_JOB names is no JSON document');
  }
  const { job, component, version, dist, logs, artifacts } = value;
  if (job === undefined || component === undefined || version === undefined)
    throw new Refusal(
      'BAD_JOB_FILE',
      'the file that BUILD_INFRA_JOB names tells no job, component and version',
    );
  return { job, component, version, dist: dist ?? 'none', logs: logs ?? [], artifacts: artifacts ?? [] };
}
