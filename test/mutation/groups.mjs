// SPDX-License-Identifier: GPL-2.0-or-later
// Which tests are asked about a mutant of which file. A test that imports the module sees it; of a test that starts an agent as a process
// the mutant's number goes along in the environment. Tests of bundles see none: a bundle was made before.

const started = { analysis: 'off' };
const imported = { analysis: 'perTest' };

/** Folder of agents/ → files in it, and tests below test/. `analysis` as Stryker's coverageAnalysis: a process of its own reports no coverage. */
export const groups = [
  { folder: 'keys', files: ['strict-reader', 'documents'], tests: ['keys/documents'], ...imported },
  { folder: 'keys', files: ['grant-book', 'ledger', 'journal', 'journal-key'], tests: ['keys/journal', 'keys/ledger', 'keys/long-journal', 'keys/full-disk'], ...started },
  { folder: 'keys', files: ['gpg-request'], tests: ['keys/gpg-request'], ...imported },
  { folder: 'shared', files: ['programs/bounded-process'], tests: ['shared/bounded-process'], ...imported },
  { folder: 'keys', files: ['logs-key'], tests: ['keys/logs-key'], ...imported },
  { folder: 'keys', files: ['receipt-check'], tests: ['keys/receipt-check'], ...imported },
  { folder: 'keys', files: ['signer', 'signing-keys', 'made-signature'], tests: ['keys/signer'], ...imported },
  { folder: 'keys', files: ['spool', 'gpg-call'], tests: ['keys/gpg-call'], ...imported },
  { folder: 'keys', files: ['log-received'], tests: ['keys/log-received'], ...started },
  { folder: 'keys', files: ['gpg-service'], tests: ['keys/qubes-gpg', 'keys/gpg-limits'], ...started },
  { folder: 'shared', files: ['json-document', 'json-schema', 'refusal', 'formats/intent', 'formats/receipt', 'formats/notification'], tests: ['shared/schemas'], ...imported },
  { folder: 'shared', files: ['formats/apt-release', 'formats/log-link', 'formats/names', 'formats/signature-origin', 'formats/suites', 'formats/version-order'], tests: ['shared/small-formats'], ...imported },
  { folder: 'shared', files: ['formats/journal', 'formats/journal-head', 'formats/log-stream'], tests: ['shared/small-formats', 'shared/schemas'], ...imported },
  { folder: 'shared', files: ['formats/cleartext', 'formats/split-gpg', 'formats/split-gpg-arguments'], tests: ['shared/wire', 'keys/gpg-request'], ...imported },
  { folder: 'shared', files: ['formats/git-commit', 'formats/publication'], tests: ['shared/git-commit'], ...imported },
  { folder: 'shared', files: ['formats/command'], tests: ['shared/command'], ...imported },
  { folder: 'shared', files: ['durable-files'], tests: ['shared/durable-files'], ...imported },
  { folder: 'shared', files: ['socket-service'], tests: ['shared/socket-service'], ...imported },
  { folder: 'shared', files: ['qrexec-call'], tests: ['shared/qrexec-call'], ...imported },
  { folder: 'shared', files: ['agent-start'], tests: ['shared/agent-start'], ...started },
  { folder: 'build-logs', files: ['line-stamper', 'clock'], tests: ['build-logs/line-stamper', 'build-logs/clock'], ...imported },
  { folder: 'build-logs', files: ['config'], tests: ['build-logs/config'], ...imported },
  { folder: 'build-logs', files: ['signer'], tests: ['build-logs/signer'], ...imported },
  { folder: 'build-logs', files: ['intent-input', 'intent-shares', 'intents-to-publish', 'payload-room', 'disk-space', 'alarms'], tests: ['build-logs/intent-parts'], ...imported },
  { folder: 'build-logs', files: ['receipts', 'journal-store'], tests: ['build-logs/journal-parts'], ...imported },
  { folder: 'build-logs', files: ['log-store', 'log', 'log-writer', 'log-record'], tests: ['build-logs/log-files', 'build-logs/clock'], ...imported },
  { folder: 'audit', files: ['strict-xml', 'apt-control', 'index-text', 'prefix-hash', 'one-text', 'budget', 'findings', 'options'], tests: ['audit/readers'], ...imported },
  { folder: 'audit', files: ['reading/raw-tree'], tests: ['audit/raw-tree'], ...imported },
  { folder: 'audit', files: ['reading/thread'], tests: ['audit/reading-parts', 'audit/git-parts'], ...imported },
  { folder: 'audit', files: ['reading/objects', 'reading/read-commit', 'reading/told-trees', 'reading/versions', 'reading/window-files', 'reading/tree-walk'], tests: ['audit/reading-parts'], ...imported },
  { folder: 'audit', files: ['kept-files', 'published-content', 'growing-file', 'log-lines', 'path-kind', 'intents', 'announced-names', 'published-payloads', 'journal', 'journal-heads'], tests: ['audit/kept-files', 'audit/history-parts'], ...imported },
  { folder: 'audit', files: ['apt-lists'], tests: ['audit/apt-lists'], ...imported },
  { folder: 'audit', files: ['apt-repository', 'earlier-generations'], tests: ['audit/apt-parts'], ...imported },
  { folder: 'audit', files: ['announced-signature', 'announced-purpose', 'signed-metadata'], tests: ['audit/announced-parts'], ...imported },
  { folder: 'audit', files: ['commit-signature', 'reading/quick-signatures'], tests: ['audit/announced-parts', 'audit/commit-signature'], ...imported },
  { folder: 'audit', files: ['dnf-repository', 'dnf-metadata', 'rpm-package'], tests: ['audit/dnf-parts'], ...imported },
  { folder: 'audit', files: ['published-git', 'unpacked', 'audit', 'history'], tests: ['audit/git-parts', 'audit/places-parts'], ...imported },
  { folder: 'audit', files: ['published-files', 'budgeted-files', 'public-keys'], tests: ['audit/places-parts'], ...imported },
  { folder: 'audit', files: ['report'], tests: ['audit/report'], ...imported },
];
