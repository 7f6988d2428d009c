// SPDX-License-Identifier: GPL-2.0-or-later
// A farm's package repositories, judged by the parts of the audit that look at them, against a history that
// was never written.
import { readKey, type PublicKey } from 'openpgp';
import tap, { type Test } from 'tap';
import { judgeUse } from '../../agents/audit/announced-purpose.js';
import { AptAudit } from '../../agents/audit/apt-repository.js';
import { Budget, defaultLimits, type Limits } from '../../agents/published/budget.js';
import { BudgetedFiles } from '../../agents/published/files/budgeted-files.js';
import { DnfAudit, placeOf } from '../../agents/audit/dnf-repository.js';
import { signaturesOfGenerations } from '../../agents/audit/earlier-generations.js';
import { Findings, type Row } from '../../agents/audit/findings.js';
import type { Signature } from '../../agents/audit/journal.js';
import { SignedMetadata, type Ending, type Served, type Unseen } from '../../agents/audit/signed-metadata.js';
import { type Farm, removedAfter } from './farm.js';
import { pens } from './pens.js';
import { judge, servedFarm, type Attack, type UnwrittenLogs } from './unwritten-farm.js';

export const signingKey: PublicKey = await readKey({ armoredKey: pens.export('signing').toString() });
export const good = servedFarm();
good.build();
tap.teardown(() => good.remove());

export interface Looked {
  codes: string[];
  rows: readonly Row[];
  unseen: Unseen[];
  endings: Ending[];
}

export interface Looking {
  dnf?: boolean | string;
  apt?: boolean;
  suites?: readonly string[];
  now?: number;
  limits?: Partial<Limits>;
}

/** As audit.ts has them judged. */
export async function look(
  farm: Farm,
  { dnf = false, apt = true, suites = [], now = Date.now(), limits = {} }: Looking = {},
): Promise<Looked> {
  const {
    intents,
    journals: { signatures },
    payloads,
  } = await judge(farm as Farm & { logs: UnwrittenLogs });
  const findings = new Findings();
  const commits = new Map((farm.logs as UnwrittenLogs).commits.map(({ commit: { id } }, i) => [id, i]));
  const fingerprint = farm.keys.fingerprint.signing;
  const served: Served[] = [];
  const seen = new Set<Signature>();
  const budget = new Budget({ ...defaultLimits, ...limits });
  const looked = new Set<string>();
  for (const [kind, source] of [
    ...(apt ? [['apt', farm.apt]] : []),
    ...(dnf === false ? [] : [['dnf', dnf === true ? farm.dnf : dnf]]),
  ] as ['apt' | 'dnf', string][]) {
    const where = placeOf(source, () => []);
    const { dist, suites: folders } = where;
    looked.add(`${kind} ${fingerprint}`);
    const met = (path: string, signature: Signature): void => {
      seen.add(signature);
      const bad = judgeUse(path, kind === 'dnf' ? dist : undefined, signature, intents);
      if (bad !== undefined && (kind === 'apt' || bad.code !== 'WRONG_PURPOSE'))
        findings.wrong(`${kind}-signatures`, { ...bad, path });
      const folder =
        kind === 'apt'
          ? /^dists\/(.+)\/(?:InRelease|Release\.gpg)$/.exec(path)?.[1]
          : /^(.*?)\/?repodata\/repomd\.xml\.asc$/.exec(path)?.[1];
      const suite = kind === 'apt' ? folder : folders.find((one) => one.folder === folder)?.codename;
      if (suite !== undefined) served.push({ kind, place: '', suite, path, signature });
    };
    for (const signature of await signaturesOfGenerations(source, signatures, budget)) seen.add(signature);
    const expected = { place: '', signingKey, signatures, commits, met };
    const files = new BudgetedFiles(source, budget);
    if (kind === 'dnf') await new DnfAudit(where, files, intents, expected, findings).run();
    else
      await new AptAudit(
        files,
        {
          ...expected,
          suites: new Set(suites),
          announced: intents.names.suites(fingerprint),
          signedNames: intents.names.lists(fingerprint),
        },
        findings,
      ).run();
  }
  const metadata = new SignedMetadata(signatures.values(), payloads.known, intents, findings, now);
  metadata.judge(served);
  const endings = metadata.endings(served);
  return {
    codes: [
      ...new Set(findings.rows.flatMap((row) => row.findings.map(({ code }) => `${row.name} ${code}`))),
    ].sort(),
    rows: findings.rows,
    unseen: metadata.unseen(served, seen, looked),
    endings,
  };
}

export const attackServed =
  (looking: Looking = {}): Attack =>
  (name, expected, change, evidence = {}) => {
    void tap.test(name, async (t: Test) => {
      const farm = removedAfter(t, servedFarm(good));
      change(farm);
      const { codes, rows } = await look(farm, looking);
      t.same(codes, [...expected].sort());
      const findings = rows.find((row) => row.name === expected[0]?.split(' ')[0])?.findings ?? [];
      if (evidence.path !== undefined)
        t.ok(
          findings.some(({ path }) => path === evidence.path),
          `names ${evidence.path}: ${findings.map(({ path }) => path).join()}`,
        );
      t.ok(findings[0]?.expected && findings[0].found, 'says what was expected and what was found');
    });
  };
