// SPDX-License-Identifier: GPL-2.0-or-later
// What the doctor says: one line for each thing that is missing, with the next step in it.
import { printable } from '../shared/refusal.js';
import { NotAllowed } from './machine.js';

/** Stable. docs/deploy.md, section 14, says what to do, in this order. */
export type FindingCode =
  | 'KEY_ENDS'
  | 'KEY_EXPIRED'
  | 'KEY_REVOKED'
  | 'NO_ROLE'
  | 'CUSTOM_PERSIST'
  | 'OLD_NODE'
  | 'NO_PACKAGE'
  | 'NO_FILE'
  | 'NO_FOLDER'
  | 'NO_LINK'
  | 'NOT_A_FILE'
  | 'NOT_A_FOLDER'
  | 'NOT_A_LINK'
  | 'WRONG_OWNER'
  | 'WRONG_MODE'
  | 'WRONG_LINK'
  | 'DANGLING_LINK'
  | 'BAD_CONFIGURATION'
  | 'OTHER_CONFIGURATION'
  | 'OPTION_HALF_ON'
  | 'SERVICE_SHADOWED'
  | 'NO_PRIVATE_VOLUME'
  | 'STATE_NOT_KEPT'
  | 'NO_SIGNING_KEY'
  | 'NO_LOGS_KEY'
  | 'SIGNING_KEY_NOT_CONFIGURED'
  | 'LOGS_KEY_NOT_CONFIGURED'
  | 'WAITS_FOR_KEY'
  | 'OTHER_SIGNING_KEY'
  | 'OTHER_LOGS_KEY'
  | 'KEY_RING_UNREADABLE'
  | 'KEY_IN_BUILD_VM'
  | 'NO_PUBLIC_KEY'
  | 'WRONG_PUBLIC_KEY'
  | 'NO_SSH_KEY'
  | 'OPEN_SSH_KEY'
  | 'BAD_SSH_KEY'
  | 'NO_HOST_KEY'
  | 'BAD_SSH_CONFIG'
  | 'NO_WEBHOOK_SECRET'
  | 'OPEN_WEBHOOK_SECRET'
  | 'BAD_WEBHOOK_SECRET'
  | 'NO_CERTIFICATE'
  | 'NO_CERTIFICATE_KEY'
  | 'OPEN_CERTIFICATE_KEY'
  | 'OTHER_CERTIFICATE_KEY'
  | 'BAD_CERTIFICATE'
  | 'CERTIFICATE_EXPIRED'
  | 'CERTIFICATE_ENDS'
  | 'NO_SOCKET'
  | 'NOT_A_SOCKET'
  | 'WRONG_SOCKET'
  | 'NOT_LISTENING'
  | 'UNIT_NOT_ACTIVE'
  | 'SYSTEMD_SILENT'
  | 'OLD_CONFIGURATION'
  | 'JOURNAL_KEY_NOT_PINNED'
  | 'BEGINS_LATE'
  | 'JOURNAL_KEY_LOST'
  | 'NO_JOURNAL_KEY'
  | 'KEYS_VM_ALARM'
  | 'GATE_STOPPED'
  | 'REMOTE_ALARM'
  | 'RELEASE_NOT_RENEWED'
  | 'PUBLICATION_NOT_READ'
  | 'JOB_DAMAGED'
  | 'NOTIFIER_SET_ASIDE'
  | 'NETWORK_DEVICE'
  | 'NETWORK_ROUTE'
  | 'WAY_OUT'
  | 'PASSWORDLESS_ROOT'
  | 'LITTLE_SPACE'
  | 'WRONG_CLOCK'
  | 'CLOCK_BEHIND_JOURNAL'
  | 'UNREACHABLE'
  | 'REMOTE_FORKED'
  | 'NOT_LOOKED_AT';

export interface Finding {
  code: FindingCode;
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
  check(good: boolean, code: FindingCode, what: string, next: string): boolean {
    this.#checks++;
    if (!good) this.findings.push({ code, level: 'missing', what: printable(what), next: printable(next) });
    return good;
  }

  note(code: FindingCode, what: string, next: string): void {
    this.findings.push({ code, level: 'note', what: printable(what), next: printable(next) });
  }

  /** Runs checks of one kind; what this account may not see is a finding of its own, never silence. */
  async group(work: () => void | Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof NotAllowed)) throw error;
      this.check(
        false,
        'NOT_LOOKED_AT',
        `this account may not look there: ${error.path}`,
        'run the doctor as root; in dom0: qvm-run -u root -p VM build-infra doctor',
      );
    }
  }

  lines(): string[] {
    return this.findings.map(
      ({ code, level, what, next }) => `${level === 'note' ? 'note: ' : ''}${code} ${what}; ${next}`,
    );
  }
}
