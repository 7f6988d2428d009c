// SPDX-License-Identifier: GPL-2.0-or-later
// What a tag was found to be, bound to every signature that comes of it: the log of the fetch holds it as one
// line, and each intent names that line's SHA-256 among its artifacts. So whoever reads an intent knows who
// signed which source, and it cannot be told otherwise later.
import { createHash } from 'node:crypto';
import type { HashedFile } from '../../shared/formats/intent.js';
import type { Evidence } from '../jobs/job-document.js';

/** As intents call it (docs/formats.md, "Intent"). */
export const sourceEvidenceName = 'source-evidence.json';

/**
 * One line without its newline: ASCII, with everything else as JSON's escapes, so that the receiver of logs
 * changes nothing of it. In a log it stands after `> evidence `.
 */
export function sourceEvidence(evidence: Evidence): string {
  return JSON.stringify(evidence).replace(
    /[^\x20-\x7e]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

export function hashedEvidence(evidence: Evidence): HashedFile {
  const bytes = Buffer.from(sourceEvidence(evidence), 'utf8');
  return {
    name: sourceEvidenceName,
    size: bytes.length,
    sha256: createHash('sha256').update(bytes).digest('hex'),
  };
}
