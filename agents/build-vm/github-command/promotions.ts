// SPDX-License-Identifier: GPL-2.0-or-later
// What a command may ask for beyond building: handed over only after every check, with what this environment
// itself knows to be true.
import type { ComponentRepository, TemplateRepository } from '../../shared/formats/command.js';
import { Refusal } from '../refusals.js';
import type { BuildJob } from '../jobs/job-document.js';

interface Asked {
  /**
   * the command's identity, 64 hex digits: asked for twice with one, as after a kill, it is the same
   * promotion
   */
  command: string;
  /** the line that was signed */
  line: string;
  signer: { name: string; fingerprint: string };
  /** ISO 8601 */
  signed: string;
  release: string;
}

export type Promotion = Asked &
  (
    | { verb: 'Upload-component'; job: BuildJob; dists: string[]; repository: ComponentRepository }
    | { verb: 'Rebuild-component'; job: BuildJob; dists: string[]; number: number }
    | {
        verb: 'Upload-template';
        template: string;
        version: string;
        timestamp: string;
        repository: TemplateRepository;
      }
    | { verb: 'Build-template'; template: string; timestamp: string }
  );

export interface Promotions {
  /**
   * Returns the name of a job that is on disk and will be done. `job` of an upload is the newest one that was
   * published for a distribution at least (it may have failed for others) and whose evidence names the
   * command's commit; of a rebuild, the one that published the source; `dists` are distributions that it was
   * published for.
   * @throws Refusal: final, the command is used up; with a code of `passing` (process-command.ts) it may come
   * again
   */
  start: (promotion: Promotion) => Promise<string>;
}

export const noPromotions: Promotions = {
  start: async ({ verb }) => {
    throw new Refusal('NOT_HERE', `this agent does no ${verb} yet`);
  },
};
