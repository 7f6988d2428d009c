// SPDX-License-Identifier: GPL-2.0-or-later
// docs/formats.md, "Refused command": what the build agent leaves in its outbox when a person whose signature it verified asked for something
// that it will not do. Where the answer goes is not in it: GitHub shows where the signed text was posted, and whoever carried it is not asked.
import { checkWith, object, text } from '../json-schema.js';
import type { Check } from '../json-document.js';
import { plainNamePattern, sha256Pattern } from './names.js';
import { checkNotification, instantPattern, type Notification } from './notification.js';

export const refusedCommandFormat = 'build-infra/refused-command@1';

export interface RefusedCommand {
  format: typeof refusedCommandFormat;
  /** the same for the same command in the same environment: it is answered once */
  key: string;
  time: string;
  env: string;
  /** as it was signed */
  line: string;
  /** when, by the signature */
  signed: string;
  /** the signature packet in base64 without line ends: by it the comment is found */
  signature: string;
  code: string;
}

export const refusedCommandSchema = object({
  format: { const: refusedCommandFormat },
  key: text(sha256Pattern),
  time: text(instantPattern),
  env: text(plainNamePattern),
  line: text('^[\\x20-\\x7e]{1,255}$'),
  signed: text(instantPattern),
  signature: text('^[A-Za-z0-9+/]{40,8192}={0,2}$'),
  code: text('^[A-Z][A-Z0-9_]{0,63}$'),
});

/** @throws Refusal BAD_DOCUMENT */
export const checkRefusedCommand: Check<RefusedCommand> = checkWith(refusedCommandSchema);

/** Whatever may lie in an outbox. */
export type OutboxDocument = Notification | RefusedCommand;

/** @throws Refusal BAD_DOCUMENT */
export const checkOutboxDocument: Check<OutboxDocument> = (untrusted) => {
  const isRefused =
    typeof untrusted === 'object' &&
    untrusted !== null &&
    'format' in untrusted &&
    untrusted.format === refusedCommandFormat;
  return isRefused ? checkRefusedCommand(untrusted) : checkNotification(untrusted);
};

export const isRefusedCommand = (document: OutboxDocument): document is RefusedCommand =>
  document.format === refusedCommandFormat;
