// SPDX-License-Identifier: GPL-2.0-or-later
// The commands that a release manager may sign, as the status issue shows them. Text to copy: nothing here is ever obeyed.
import type { SubjectKind } from '../shared/formats/notification.js';

export interface CommandFacts {
  kind: SubjectKind;
  release: string;
  component: string;
  version: string;
  commit: string | null;
  /** `vm-bookworm`, … */
  dists: readonly string[];
}

/** `Upload-component <release> <component> <sha> <repo> <dists>`: repository → the one line to sign. Empty where there is nothing to name. */
export function uploadCommands(facts: CommandFacts): { repository: string; command: string }[] {
  switch (facts.kind) {
    case 'component': {
      const { commit, dists } = facts;
      if (commit === null || dists.length === 0) return [];
      return ['current', 'security-testing'].map((repository) => ({ repository, command: `Upload-component ${facts.release} ${facts.component} ${commit} ${repository} ${dists.join(',')}` }));
    }
    case 'template':
      return ['templates-itl', 'templates-community'].map((repository) => ({ repository, command: `Upload-template ${facts.release} ${facts.component} ${facts.version} ${repository}` }));
    case 'iso':
      return [];
  }
}
