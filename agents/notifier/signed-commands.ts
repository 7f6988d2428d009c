// SPDX-License-Identifier: GPL-2.0-or-later
// The commands that a release manager may sign, as the status issue shows them, spelled by the grammar that
// the build VM reads them with. Text to copy: nothing here is ever obeyed.
import {
  componentRepositories,
  makeCommand,
  templateRepositories,
  type Command,
} from '../shared/formats/command.js';
import type { SubjectKind } from '../shared/formats/notification.js';
import { Refusal } from './refusals.js';

export interface CommandFacts {
  kind: SubjectKind;
  release: string;
  component: string;
  version: string;
  commit: string | null;
  /** `vm-bookworm`, … */
  dists: readonly string[];
}

export interface ShownCommand {
  repository: string;
  command: string;
}

function commandsFor(facts: CommandFacts): (Command & { repository: string })[] {
  switch (facts.kind) {
    case 'component': {
      const { release, component, commit, dists } = facts;
      if (commit === null || dists.length === 0) return [];
      return componentRepositories.map((repository) => ({
        verb: 'Upload-component',
        release,
        component,
        commit,
        repository,
        dists,
      }));
    }
    case 'template': {
      const { release, component: template } = facts;
      const [version = '', timestamp = ''] = facts.version.split('-');
      return templateRepositories.map((repository) => ({
        verb: 'Upload-template',
        release,
        template,
        version,
        timestamp,
        repository,
      }));
    }
    case 'iso':
      return [];
  }
}

/**
 * Repository → the one line to sign. Nothing where there is nothing to name, or where no command could be
 * spelled: a line that is refused helps nobody.
 */
export function uploadCommands(facts: CommandFacts): ShownCommand[] {
  return commandsFor(facts).flatMap((command) => {
    try {
      return [{ repository: command.repository, command: makeCommand(command) }];
    } catch (error) {
      if (error instanceof Refusal) return [];
      throw error;
    }
  });
}
