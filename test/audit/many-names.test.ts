// SPDX-License-Identifier: GPL-2.0-or-later
// Many files named in many intents: twice as many of them must be about twice the work. Counted are the runs
// of each block of the audit's code, which no other load on the machine changes.
import { Session } from 'node:inspector/promises';
import { setFlagsFromString } from 'node:v8';
import tap from 'tap';
import { judgeUse } from '../../agents/audit/announced-purpose.js';
import { Findings } from '../../agents/audit/findings.js';
import { PublishedIntents } from '../../agents/audit/intents.js';
import { JournalHeads } from '../../agents/audit/journal-heads.js';
import { PublishedJournals } from '../../agents/audit/journal.js';
import type { NewBytes, PublishedContent } from '../../agents/audit/published-content.js';
import { PublishedPayloads } from '../../agents/audit/published-payloads.js';
import { intentFormat, type Intent } from '../../agents/shared/formats/intent.js';
import {
  journalFormat,
  journalLine,
  journalLineHash,
  journalPath,
  noEntry,
  type JournalEntry,
} from '../../agents/shared/formats/journal.js';
import { intentPath } from '../../agents/shared/formats/publication.js';
import { sha256 } from './farm.js';

const key = 'A'.repeat(40);
const commit = 'c'.repeat(40);

function document(n: number): { sha256: string; bytes: Buffer; intents: Intent[] } {
  const intents = (['changes', 'buildinfo', 'dsc'] as const).map((kind): Intent => ({
    job: 'hello-2.10-3-0123456789ab',
    component: 'hello',
    version: `2.10-${n}`,
    dist: 'bookworm',
    purpose: `deb-${kind}`,
    key,
    mode: 'clearsign',
    payload: { name: `hello_2.10-${n}_amd64.${kind}`, size: 1, sha256: sha256(`${n} ${kind}`) },
    logs: [],
    artifacts: [],
  }));
  const bytes = Buffer.from(JSON.stringify({ format: intentFormat, intents }));
  return { sha256: sha256(bytes), bytes, intents };
}

/**
 * An audit's part about intents, with n documents, one of them published n times and granted, claimed and
 * used n times.
 */
function judge(n: number): Findings {
  const findings = new Findings();
  const intents = new PublishedIntents({ hasLog: () => true } as unknown as PublishedContent, findings);
  const payloads = new PublishedPayloads(intents, findings);
  const heads = new JournalHeads(new Map(), new Map(), findings);
  const journals = new PublishedJournals(new Map([[commit, 2 * n]]), intents, heads, findings);
  const publish = (
    place: number,
    day: string,
    { sha256: hash, bytes }: ReturnType<typeof document>,
  ): void => {
    const file: NewBytes = {
      path: intentPath('build-debian', day, hash),
      kind: 'intent',
      sha256: hash,
      bytes,
      isNew: true,
    };
    intents.add(commit, place, file);
    payloads.add(commit, place, [file], [], new Map());
  };
  const often = document(0);
  for (let place = 0; place < n; place++) {
    publish(2 * place, '2026-11-21', document(place + 1));
    publish(2 * place + 1, `day ${place}`, often);
  }
  let last = noEntry;
  let seq = 0;
  const entry = (event: JournalEntry['event'], result: string, of: string): void => {
    const line = journalLine({
      format: journalFormat,
      seq: ++seq,
      prev: last,
      time: '2026-11-21T21:00:00.000Z',
      event,
      source: 'build-debian',
      sha256: of,
      key,
      mode: 'clearsign',
      commit,
      intent: often.sha256,
      result,
    });
    last = journalLineHash(line);
    journals.add(commit, {
      path: journalPath('keys-debian', seq),
      kind: 'journal',
      sha256: '',
      bytes: Buffer.from(`${line}\n`),
      isNew: true,
    });
  };
  for (const of of ['granted', 'claimed', 'signed'] as const)
    for (let i = 0; i < n; i++)
      entry(
        of,
        of === 'granted'
          ? '2026-11-21T21:15:00.000Z'
          : of === 'signed'
            ? `sha256:${sha256(`signature ${i}`)}`
            : '',
        sha256(String(i)),
      );
  const names = intents.names.lists(key);
  for (const [i, signature] of [...journals.signatures.values()].entries()) {
    names.besides(`pool/main/h/hello/hello_2.10-${i}.dsc`);
    intents.names.has(key, 'rpm-repomd', `dist${i}`);
    judgeUse(`pool/main/h/hello/hello_2.10-${i}_amd64.changes`, undefined, signature, intents);
  }
  intents.names.suites(key, () => ['lts']);
  return findings;
}

/** Counts how often each block of the audit's code runs; begun before any of it is compiled. */
async function counter(): Promise<{ runsOf: (work: () => void) => Promise<number>; end: () => void }> {
  // Calls that the compiler puts into their callers would not be counted.
  setFlagsFromString('--no-opt');
  const session = new Session();
  session.connect();
  await session.post('Profiler.enable');
  await session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  return {
    runsOf: async (work) => {
      await session.post('Profiler.takePreciseCoverage');
      work();
      const { result } = await session.post('Profiler.takePreciseCoverage');
      return result
        .filter(({ url }) => url.includes('/agents/audit/'))
        .flatMap(({ functions }) => functions)
        .flatMap(({ ranges }) => ranges)
        .reduce((sum, { count }) => sum + count, 0);
    },
    end: () => {
      session.disconnect();
      setFlagsFromString('--opt');
    },
  };
}

void tap.test('twice as many names in twice as many intents are twice the work', async (t) => {
  const { runsOf, end } = await counter();
  judge(2);
  const once = await runsOf(() => judge(200));
  const twice = await runsOf(() => judge(400));
  end();
  t.ok(once > 200 * 50, `${once} runs of blocks are counted`);
  t.ok(twice < 2.1 * once, `${once} runs of blocks, and ${twice}: ${(twice / once).toFixed(2)} times`);
});

void tap.test('the names beside a .dsc are those of its source, once in each folder', async (t) => {
  const findings = new Findings();
  const intents = new PublishedIntents({ hasLog: () => true } as unknown as PublishedContent, findings);
  for (const n of [1, 2]) {
    const one = document(n);
    intents.add(commit, n, {
      path: intentPath('build-debian', '2026-11-21', one.sha256),
      kind: 'intent',
      sha256: one.sha256,
      bytes: one.bytes,
      isNew: true,
    });
  }
  const names = intents.names.lists(key);
  const expected = [
    'hello_2.10-1_amd64.changes',
    'hello_2.10-1_amd64.buildinfo',
    'hello_2.10-2_amd64.changes',
    'hello_2.10-2_amd64.buildinfo',
  ];
  t.same(
    names.besides('pool/main/h/hello/hello_2.10-1.dsc'),
    expected.map((name) => `pool/main/h/hello/${name}`),
  );
  t.same(names.besides('pool/main/h/hello/hello_2.10-2.dsc'), []);
  t.same(names.besides('pool/main/h/hello/other_2.10-2.dsc'), []);
  t.same(
    names.besides('pool/other/hello_2.10-2.dsc'),
    expected.map((name) => `pool/other/${name}`),
  );
});
