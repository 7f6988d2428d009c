// SPDX-License-Identifier: GPL-2.0-or-later
// What the doctor says: one line for each thing that is missing, with the next step in it. Codes are stable: docs/deploy.md has the table.
import { printable } from '../shared/refusal.js';
import { NotAllowed } from './machine.js';

export interface Finding {
  code: string;
  /** a note is said and does not count: the VM works without it */
  level: 'missing' | 'note';
  /** what is wrong, and where */
  what: string;
  /** what to do, and in which VM */
  next: string;
}

/** Takes findings in the order in which they are to be mended, and counts what was looked at. */
export class Report {
  readonly findings: Finding[] = [];
  /** what could not be looked at in the usual way, for the closing line */
  readonly remarks: string[] = [];
  #checks = 0;

  get checks(): number {
    return this.#checks;
  }

  get complete(): boolean {
    return this.findings.every(({ level }) => level === 'note');
  }

  /** One thing looked at. @returns whether it is as it should be */
  check(good: boolean, code: string, what: string, next: string): boolean {
    this.#checks++;
    if (!good) this.findings.push({ code, level: 'missing', what: printable(what), next: printable(next) });
    return good;
  }

  note(code: string, what: string, next: string): void {
    this.findings.push({ code, level: 'note', what: printable(what), next: printable(next) });
  }

  /** Runs checks of one kind; what this account may not see is a finding of its own, never silence. */
  async group(work: () => void | Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof NotAllowed)) throw error;
      this.check(false, 'NOT_LOOKED_AT', `this account may not look there: ${error.path}`, 'run the doctor as root; in dom0: qvm-run -u root -p VM build-infra doctor');
    }
  }

  lines(): string[] {
    return this.findings.map(({ code, level, what, next }) => `${level === 'note' ? 'note: ' : ''}${code} ${what}; ${next}`);
  }
}
