// SPDX-License-Identifier: GPL-2.0-or-later
// The audit, in order: fetch, agree, walk the commits once, oldest first, then hold the package repositories against what was found.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PublicKey } from 'openpgp';
import { AptAudit } from './apt-repository.js';
import { DnfAudit } from './dnf-repository.js';
import { Findings } from './findings.js';
import { checkRemembered, chooseHead, readHistory } from './history.js';
import { PublishedIntents } from './intents.js';
import { PublishedJournals } from './journal.js';
import type { AuditOptions } from './options.js';
import { findKey, type KeyPlace } from './public-keys.js';
import { pathKind, PublishedContent } from './published-content.js';
import { openPublished } from './published-files.js';
import { PublishedGit } from './published-git.js';

export interface AuditResult {
  head: string;
  commits: number;
  findings: Findings;
}

const keyLimitBytes = 1024 * 1024;

/** @throws Unreadable: nothing can be said */
export async function audit(options: AuditOptions): Promise<AuditResult> {
  const scratch = mkdtempSync(join(tmpdir(), 'audit-'));
  const git = new PublishedGit(scratch);
  try {
    return await auditWith(git, options);
  } finally {
    git.close();
    rmSync(scratch, { recursive: true, force: true });
  }
}

async function auditWith(git: PublishedGit, options: AuditOptions): Promise<AuditResult> {
  const findings = new Findings();
  const repositories = options.repositories.map((one) => ({ ...one, files: openPublished(one.source) }));
  const heads = await git.fetch(options.logs);
  const head = await chooseHead(git, options.logs, heads, findings);
  await checkRemembered(git, options.contains, head, findings);

  const places: KeyPlace[] = [(path) => git.readWhole(`${head}:${path}`, keyLimitBytes)];
  for (const { files } of repositories) places.push((path) => files.read(path, keyLimitBytes));
  const logsKey = await findKey(options.logsKey, '--logs-key', places);
  const signingKeys = new Map<string, PublicKey>();
  for (const { signingKey } of repositories) if (!signingKeys.has(signingKey)) signingKeys.set(signingKey, await findKey(signingKey, '--signing-key', places));

  const history = await readHistory(git, head, logsKey, findings);
  const changes = await git.changes(history);
  const content = new PublishedContent(git, findings);
  const intents = new PublishedIntents(content, findings);
  const commits = new Map(history.map((commit, i) => [commit.id, i]));
  const journals = new PublishedJournals(commits, intents, findings);
  for (const [i, commit] of history.entries()) {
    const news = await content.apply(commit, changes.get(commit.id) ?? []);
    for (const file of news) if (pathKind(file.path) === 'intent') intents.add(commit.id, i, file);
    for (const file of news) if (pathKind(file.path) === 'journal') journals.add(commit.id, file);
  }

  const signatures = new Map([...journals.signatures].filter(([, signature]) => options.keysVm === undefined || signature.keysVm === options.keysVm));
  for (const { kind, source, signingKey: given, files } of repositories) {
    const signingKey = signingKeys.get(given) as PublicKey;
    const fingerprint = signingKey.getFingerprint().toUpperCase();
    const expected = { place: repositories.length > 1 ? `${source.replace(/\/+$/, '')}/` : '', signingKey, signatures, commits };
    if (kind === 'dnf') {
      await new DnfAudit(source, files, intents, expected, findings).run();
      continue;
    }
    await new AptAudit(files, {
      ...expected, suites: new Set(options.suites), announced: intents.suites(fingerprint), signedNames: intents.payloadNames(fingerprint, ['deb-changes', 'deb-buildinfo']),
    }, findings).run();
  }
  return { head, commits: history.length, findings };
}
