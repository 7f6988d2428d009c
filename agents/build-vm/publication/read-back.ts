// SPDX-License-Identifier: GPL-2.0-or-later
// Before a key is used this VM looks itself whether its intent is public: the logs VM's word alone would be
// enough for a signature that nobody hears of. One fetch serves all who wait when it begins; one that began
// before somebody's answer came does not count for him.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readIfThere } from '../../shared/durable-files.js';
import type { GitCommit } from '../../shared/formats/git-commit.js';
import { intentPath, readPublicationMessage } from '../../shared/formats/publication.js';
import { Refusal } from '../refusals.js';
import type { Publication } from '../configuration/config.js';
import { pathsUnder, type Paths } from '../configuration/paths.js';
import { PublishedRecord } from './published-record.js';

/** What the logs VM says that it published. */
export interface Announced {
  commit: string;
  /** raw: it and what lies below it, as far as the logs VM hands them out; believed for their ids alone */
  commits: readonly Buffer[];
  /** this VM */
  source: string;
  /** of the document, in bytes */
  size: number;
  sha256: string;
}

const fetchMs = 60_000;
/** Of a copy that is not kept: the intent was published a moment ago. */
const onceDepth = 500;

/** @throws Refusal NO_PUBLIC_KEY */
export function recordOf(
  { url, logsKey }: Publication,
  paths: Paths,
  { timeoutMs = fetchMs, ...copy }: { folder: string; depth?: number; timeoutMs?: number },
): PublishedRecord {
  const armored = readIfThere(join(paths.publicKeys, `${logsKey}.asc`))?.toString('utf8');
  if (armored === undefined) throw new Refusal('NO_PUBLIC_KEY', `${logsKey}.asc is not in public-keys`);
  return new PublishedRecord({
    url,
    logsKey: { armored, fingerprint: logsKey },
    forge: { sshConfig: paths.sshConfig, timeoutMs },
    ...copy,
  });
}

/** @throws Refusal PUBLICATION_NOT_SEEN */
function demandNamed(
  { commit, source, sha256, size }: Announced,
  found: GitCommit | undefined,
  url: string,
): void {
  if (found === undefined)
    throw new Refusal(
      'PUBLICATION_NOT_SEEN',
      `${url} does not show commit ${commit}, in which the logs VM says it published this intent; nothing is signed`,
    );
  const { files } = readPublicationMessage(found.message);
  const ours = files.some(
    (file) =>
      file.sha256 === sha256 &&
      file.size === size &&
      file.path === intentPath(source, file.path.split('/')[2] ?? '', sha256),
  );
  if (!ours)
    throw new Refusal(
      'PUBLICATION_NOT_SEEN',
      `commit ${commit} in ${url} does not publish this intent; nothing is signed`,
    );
}

function notSeen(error: unknown, url: string): unknown {
  return error instanceof Refusal && error.code === 'RECORD_UNREACHABLE'
    ? new Refusal('PUBLICATION_NOT_SEEN', `${url} cannot be read: ${error.detail}; nothing is signed`)
    : error;
}

export interface ReadBack {
  /**
   * Returns once the intent was seen in public.
   * @throws Refusal PUBLICATION_NOT_SEEN, RECORD_REWRITTEN, BAD_RECORD, NO_PUBLIC_KEY
   */
  demand: (publication: Publication, announced: Announced) => Promise<void>;
}

interface Waiting {
  announced: Announced;
  resolve: () => void;
  reject: (error: unknown) => void;
}

interface Lane {
  record: PublishedRecord;
  waiting: Waiting[];
  busy: boolean;
}

/** For an agent that stays: one copy, and one fetch after the other. */
export class KeptReadBack implements ReadBack {
  readonly #paths: Paths;
  readonly #lanes = new Map<string, Lane>();

  constructor(root: string) {
    this.#paths = pathsUnder(root);
  }

  demand(publication: Publication, announced: Announced): Promise<void> {
    const name = `${publication.url} ${publication.logsKey}`;
    let lane = this.#lanes.get(name);
    if (lane === undefined)
      this.#lanes.set(
        name,
        (lane = {
          record: recordOf(publication, this.#paths, { folder: this.#paths.record }),
          waiting: [],
          busy: false,
        }),
      );
    const here = lane;
    return new Promise((resolve, reject) => {
      here.waiting.push({ announced, resolve, reject });
      if (!here.busy) void this.#serve(here, publication.url);
    });
  }

  async #serve(lane: Lane, url: string): Promise<void> {
    const { record, waiting } = lane;
    lane.busy = true;
    while (waiting.length > 0) {
      const served = waiting.splice(0);
      try {
        const seen = await record.seen(
          served.map(({ announced }) => announced.commit),
          served.flatMap(({ announced }) => announced.commits),
        );
        for (const { announced, resolve, reject } of served) {
          try {
            demandNamed(announced, seen.get(announced.commit), url);
            resolve();
          } catch (error) {
            reject(error);
          }
        }
      } catch (error) {
        for (const { reject } of served) reject(notSeen(error, url));
      }
    }
    // In the same step as the look at who waits: whoever comes a moment later begins anew.
    lane.busy = false;
  }
}

/**
 * For one signature of a program that ends with it: the newest commits, into a folder that is gone
 * afterwards.
 */
export const readBackOnce = (root: string): ReadBack => ({
  async demand(publication, announced) {
    const folder = mkdtempSync(join(tmpdir(), 'read-back-'));
    try {
      const seen = await recordOf(publication, pathsUnder(root), {
        folder: join(folder, 'record.git'),
        depth: onceDepth,
      }).seen([announced.commit]);
      demandNamed(announced, seen.get(announced.commit), publication.url);
    } catch (error) {
      throw notSeen(error, publication.url);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
});
