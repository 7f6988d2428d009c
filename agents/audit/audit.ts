// SPDX-License-Identifier: GPL-2.0-or-later
// The audit, in order: fetch, agree, walk the commits once, oldest first, then hold the package repositories against what was found.
import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PublicKey } from 'openpgp';
import { printable } from '../shared/refusal.js';
import { AptAudit } from './apt-repository.js';
import { Budget } from './budget.js';
import { BudgetedFiles } from './budgeted-files.js';
import { DnfAudit } from './dnf-repository.js';
import { Findings } from './findings.js';
import { chooseHistory, PublishedHistory } from './history.js';
import { PublishedIntents } from './intents.js';
import { PublishedJournals } from './journal.js';
import type { AuditOptions } from './options.js';
import { findKey, type KeyPlace } from './public-keys.js';
import { pathKind, PublishedContent } from './published-content.js';
import { openPublished } from './published-files.js';
import { PublishedGit } from './published-git.js';
import { TreeWalk } from './tree-walk.js';

export interface AuditResult {
  head: string;
  commits: number;
  findings: Findings;
}

const keyLimitBytes = 1024 * 1024;

/** @throws Unreadable: nothing can be said */
export async function audit(options: AuditOptions): Promise<AuditResult> {
  const scratch = mkdtempSync(join(tmpdir(), 'audit-'));
  const budget = new Budget(options.limits);
  const git = new PublishedGit(scratch, budget);
  try {
    return await budget.within(async () => {
      const result = await auditWith(git, options);
      await git.close();
      return result;
    });
  } finally {
    // A git that was just ended may still be writing.
    await rm(scratch, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  }
}

async function auditWith(git: PublishedGit, options: AuditOptions): Promise<AuditResult> {
  const findings = new Findings();
  const repositories = options.repositories.map((one) => ({ ...one, files: new BudgetedFiles(openPublished(one.source), git.budget) }));
  const { budget } = git;
  const ids = await chooseHistory(git, options.logs, options.contains, findings);
  const head = ids.at(-1) as string;

  const places: KeyPlace[] = [(path) => git.file(head, path, keyLimitBytes)];
  for (const { files } of repositories) places.push((path) => files.read(path, keyLimitBytes));
  const logsKey = await findKey(options.logsKey, '--logs-key', places);
  const signingKeys = new Map<string, PublicKey>();
  for (const { signingKey } of repositories) if (!signingKeys.has(signingKey)) signingKeys.set(signingKey, await findKey(signingKey, '--signing-key', places));

  const content = new PublishedContent(git, findings);
  const intents = new PublishedIntents(content, findings);
  const journals = new PublishedJournals(new Map(ids.map((id, i) => [id, i])), intents, findings);
  const trees = new TreeWalk(git);
  let place = 0;
  let treeBefore: string | undefined;
  for await (const window of new PublishedHistory(git, ids, logsKey, findings).windows()) {
    budget.doing = `what comes after commit ${place} of ${ids.length}${repositories.length === 0 ? '' : ', and no package repository,'} was not checked`;
    const walked = await Promise.all(window.map(async (commit, i) => {
      const before = window.slice(0, i).findLast(({ tree }) => tree !== undefined)?.tree ?? treeBefore;
      return { commit, changes: commit.tree === undefined ? { changes: [], bad: [] } : await trees.changes(before, commit.tree, commit.message?.files.length ?? 0) };
    }));
    treeBefore = window.findLast(({ tree }) => tree !== undefined)?.tree ?? treeBefore;
    const bodies = await content.readAhead(walked);
    for (const { commit, changes } of walked) {
      const news = await content.apply(commit, changes, bodies);
      for (const file of news) if (pathKind(file.path) === 'intent') intents.add(commit.id, place, file);
      for (const file of news) if (pathKind(file.path) === 'journal') journals.add(commit.id, file);
      place += 1;
    }
  }

  const signatures = new Map([...journals.signatures].filter(([, signature]) => options.keysVm === undefined || signature.keysVm === options.keysVm));
  for (const { kind, source, signingKey: given, files } of repositories) {
    budget.doing = `${printable(source)} was not checked to its end, nor any repository after it`;
    const signingKey = signingKeys.get(given) as PublicKey;
    const fingerprint = signingKey.getFingerprint().toUpperCase();
    const expected = { place: repositories.length > 1 ? `${source.replace(/\/+$/, '')}/` : '', signingKey, signatures };
    if (kind === 'dnf') {
      await new DnfAudit(source, files, intents, expected, findings).run();
      continue;
    }
    await new AptAudit(files, {
      ...expected, suites: new Set(options.suites), announced: intents.suites(fingerprint), signedNames: intents.payloadNames(fingerprint, ['deb-changes', 'deb-buildinfo']),
    }, findings).run();
  }
  return { head, commits: ids.length, findings };
}
