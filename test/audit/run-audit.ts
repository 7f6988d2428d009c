// SPDX-License-Identifier: GPL-2.0-or-later
import { spawn, type ChildProcess } from 'node:child_process';
import { writeFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { audit } from '../../agents/audit/audit.js';
import type { Row } from '../../agents/audit/findings.js';
import { readOptions } from '../../agents/audit/options.js';
import { asJson, asTable } from '../../agents/audit/report.js';
import type { Ending, Unseen } from '../../agents/audit/signed-metadata.js';
import { oneCommand } from '../support/one-command.js';
import { journalKey, type Farm } from './farm.js';

export interface Ran {
  status: number | null;
  out: string;
  err: string;
}

/** The audit as a process of its own, as a person runs it. @param started gets the process */
export function runAudit(
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
  started: (child: ChildProcess) => void = () => undefined,
): Promise<Ran> {
  const folder = mkdtempSync(join(tmpdir(), 'ra-'));
  const script = join(folder, 'run.mjs');
  writeFileSync(script, oneCommand('audit/main.js', 'auditCommand', 2));
  const child = spawn(process.execPath, [script, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  });
  started(child);
  let out = '';
  let err = '';
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
  return new Promise((resolve) =>
    child.on('close', (status) => {
      rmSync(folder, { recursive: true, force: true });
      resolve({ status, out, err });
    }),
  );
}

export function argumentsFor(farm: Farm, logs: readonly string[] = [farm.logs.path]): string[] {
  return [
    '--logs',
    ...logs,
    '--logs-key',
    join(farm.top, 'logs.asc'),
    '--apt',
    farm.apt,
    '--signing-key',
    join(farm.top, 'signing.asc'),
    '--journal-key',
    `keys-debian=${journalKey.public}`,
  ];
}

export interface Verdict {
  ok: boolean;
  commits: number;
  checks: readonly Row[];
  /** "check CODE" of every finding, once each, sorted */
  codes: string[];
  unseen: readonly Unseen[];
  endings: readonly Ending[];
  /** what a person is shown, and what a program */
  table: string;
  json: string;
}

/** The audit inside this process, which saves each case the start of one. */
export async function verdict(
  farm: Farm,
  extra: readonly string[] = [],
  logs?: readonly string[],
  now?: number,
): Promise<Verdict> {
  const options = readOptions([...argumentsFor(farm, logs), ...extra]);
  const result = await audit(options, now);
  const { commits, findings, unseen, endings } = result;
  const codes = findings.rows.flatMap((row) => row.findings.map((finding) => `${row.name} ${finding.code}`));
  return {
    ok: findings.ok,
    commits,
    checks: findings.rows,
    codes: [...new Set(codes)].sort(),
    unseen,
    endings,
    table: asTable(result, new Set(options.repositories.map(({ kind }) => kind))),
    json: asJson(result),
  };
}
