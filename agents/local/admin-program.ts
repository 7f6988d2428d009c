// SPDX-License-Identifier: GPL-2.0-or-later
// The command build-infra outside the farm: for an administrator, a maintainer and an auditor. Each command
// loads what it needs.
import type { ProgramTable } from '../shared/command-line/program.js';
import { auditCommand } from '../audit/main.js';
import { makeCommandRow } from '../command/make.js';
import { explainCommand } from './policy/explain.js';
import { provisionCommand } from './provision/main.js';
import { upgradeCommand } from './upgrade/main.js';

const inVm = (user: string): string => `it is a command of a VM of the farm: run "build-infra" in ${user}`;

export const adminProgram: ProgramTable = {
  name: 'build-infra',
  does: 'what a person does outside the farm: checks what is public, signs commands, lays and explains a farm',
  commands: [auditCommand, makeCommandRow, provisionCommand, explainCommand, upgradeCommand],
  elsewhere: {
    doctor: inVm('any of them'),
    ...Object.fromEntries(
      ['status', 'jobs', 'trigger', 'retry', 'withdraw'].map((word) => [word, inVm('build-<env>, as root')]),
    ),
    ...Object.fromEntries(
      ['up', 'down', 'exec', 'logs', 'rebuild', 'demo-rpm', 'demo-promotion'].map((word) => [
        word,
        `it is a command of the local farm: npm run local -- ${word}`,
      ]),
    ),
  },
};
