// SPDX-License-Identifier: GPL-2.0-or-later
// Mutated repositories handed to real clients: what a client takes and no announced list names unambiguously
// must not be called good by the audit.
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, normalize } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { readOptions } from '../../agents/audit/options.js';
import { audit } from '../../agents/audit/audit.js';
import { Farm, journalKey, sha256, type Keys } from '../audit/farm.js';
import { buildDnf, buildPackage, rpmsign } from '../audit/rpm-farm.js';
import { aptDownloads, suiteRoot } from './apt-client.js';
import { aptMutant, type AptMutant } from './apt-mutants.js';
import { dnfMutant, type DnfParts } from './dnf-mutants.js';
import { Random } from './random.js';

export interface Tally {
  /**
   * by kind: how many were made, how many each client took, of how many it took other bytes than the
   * announced ones, how many the audit called good
   */
  kinds: Map<string, { made: number; taken: number; evil: number; good: number }>;
  /** taken by a client, not announced, and called good */
  missed: string[];
  /**
   * called good, although no client took the announced package: a finding of none, for a person to look at
   */
  goodAndRefused: string[];
}

export const emptyTally = (): Tally => ({ kinds: new Map(), missed: [], goodAndRefused: [] });

export function count(
  tally: Tally,
  kind: string,
  about: { taken: boolean; evil: boolean; good: boolean },
): void {
  const known = tally.kinds.get(kind) ?? { made: 0, taken: 0, evil: 0, good: 0 };
  tally.kinds.set(kind, {
    made: known.made + 1,
    taken: known.taken + Number(about.taken),
    evil: known.evil + Number(about.evil),
    good: known.good + Number(about.good),
  });
}

/** Static files, as they stand: nothing can be listed, so nothing is found only because it lies there. */
export async function serve(top: string): Promise<{ url: string; server: Server }> {
  const server = createServer((request, response) => {
    try {
      const bytes = readFileSync(join(top, normalize(`/${decodeURIComponent(request.url ?? '')}`)));
      response.setHeader('content-length', bytes.length).end(bytes);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server };
}

export function put(folder: string, path: string, data: Buffer | string): void {
  mkdirSync(dirname(join(folder, path)), { recursive: true });
  writeFileSync(join(folder, path), data);
}

/** Whether the audit calls each repository good, all of them in one run. */
export async function goodOnes(
  farm: Farm,
  kind: 'apt' | 'dnf',
  urls: readonly string[],
): Promise<Set<string>> {
  const options = readOptions([
    '--logs',
    farm.logs.path,
    '--logs-key',
    join(farm.top, 'logs.asc'),
    ...urls.flatMap((url) => [`--${kind}`, url]),
    '--signing-key',
    join(farm.top, 'signing.asc'),
    '--journal-key',
    `keys-debian=${journalKey.public}`,
  ]);
  const { findings } = await audit(options);
  for (const row of findings.rows) {
    if (!row.name.startsWith('apt-') && !row.name.startsWith('dnf-') && !row.ok)
      throw new Error(`the farm itself is not good: ${JSON.stringify(row)}`);
    if (row.wrong > row.findings.length)
      throw new Error('more findings than are kept: fewer repositories in one run');
  }
  // They share one history, in which one Release is the newest of the suite: that all others are old is no
  // verdict about what they hold.
  const bad = findings.rows.flatMap((row) =>
    row.findings.filter(({ code }) => code !== 'OLD_RELEASE').map((finding) => finding.path ?? ''),
  );
  return new Set(urls.filter((url) => !bad.some((path) => path.startsWith(`${url}/`))));
}

const batch = 24;

/** @param suites whose apt is asked beside this machine's own */
export async function fuzzApt(
  keys: Keys,
  seed: number,
  wanted: number,
  suites: readonly string[],
): Promise<Tally> {
  const tally = emptyTally();
  const random = new Random(seed);
  const top = mkdtempSync(join(tmpdir(), 'fuzz-'));
  const { url, server } = await serve(top);
  try {
    for (let from = 0; from < wanted; from += batch) {
      const farm = new Farm(keys);
      farm.logs.commit({ put: { ...farm.logs.journal(['start', 'b0075a1d-0000-4000-8000-000000000000']) } });
      const sources = Array.from({ length: Math.min(batch, wanted - from) }, (_, i) => {
        const name = `hello${from + i}`;
        const deb = Buffer.from(`the package ${name}`);
        return {
          name,
          uri: `${url}/${seed}/${name}`,
          folder: join(top, String(seed), name),
          deb,
          mutant: aptMutant(random, name, deb, Buffer.from(`no package ${name}`)),
        };
      });
      const signatures = farm.signAll(
        sources.flatMap(({ mutant }) =>
          (['clearsign', 'detach'] as const).map((mode) => ({
            purpose: 'apt-release' as const,
            name: 'Release',
            mode,
            payload: Buffer.from(mutant.release),
          })),
        ),
      );
      for (const [i, { folder, mutant }] of sources.entries())
        write(folder, mutant, signatures.slice(2 * i, 2 * i + 2) as [Buffer, Buffer]);
      const good = await goodOnes(
        farm,
        'apt',
        sources.map(({ uri }) => uri),
      );
      const roots = [undefined, ...suites.map(suiteRoot)];
      const answers = await Promise.all(
        roots.map((root) =>
          aptDownloads(sources, keys.export('signing'), join('/tmp', `fuzz-apt-${process.pid}`), root),
        ),
      );
      for (const source of sources) {
        const got = answers.map((answer) => answer.get(source.name)).filter((bytes) => bytes !== undefined);
        const evil = got.some((bytes) => !bytes.equals(source.deb));
        const isGood = good.has(source.uri);
        count(tally, source.mutant.kind, { taken: got.length > 0, evil, good: isGood });
        if (evil && isGood)
          tally.missed.push(
            `${source.name} of seed ${seed}: ${source.mutant.kind}\n${source.mutant.release}\n${[...source.mutant.files].map(([path, data]) => `${path}: ${data.toString('latin1')}`).join('\n')}`,
          );
        if (isGood && got.length === 0)
          tally.goodAndRefused.push(`${source.name} of seed ${seed}: ${source.mutant.kind}`);
      }
      farm.remove();
      rmSync(join(top, String(seed)), { recursive: true, force: true });
    }
  } finally {
    server.close();
    server.closeAllConnections();
    rmSync(top, { recursive: true, force: true });
  }
  return tally;
}

function write(folder: string, mutant: AptMutant, [inRelease, detached]: [Buffer, Buffer]): void {
  for (const [path, data] of mutant.files) put(folder, path, data);
  put(folder, 'dists/bookworm/Release', mutant.releaseFile ?? mutant.release);
  put(folder, 'dists/bookworm/Release.gpg', detached);
  const text =
    mutant.inRelease === undefined
      ? inRelease.toString('latin1')
      : mutant.inRelease(inRelease.toString('latin1'));
  if (text !== undefined) put(folder, 'dists/bookworm/InRelease', Buffer.from(text, 'latin1'));
}

const pythonClient = join(dirname(fileURLToPath(import.meta.url)), '../../../test/fuzz/dnf-client.py');

/** What dnf took of each repository: the package's SHA-256, or undefined. */
async function dnfDownloads(
  urls: readonly string[],
  key: string,
  root: string,
): Promise<(string | undefined)[]> {
  const answers: (string | undefined)[] = [];
  let crashed = 0;
  while (answers.length < urls.length) {
    const asked = urls.slice(answers.length);
    const child = spawn('/usr/bin/python3', [pythonClient], {
      stdio: ['pipe', 'pipe', 'ignore'],
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LANG: 'C.UTF-8', HOME: root },
    });
    child.stdin.on('error', () => undefined);
    child.stdin.end(
      asked
        .map(
          (url, i) =>
            `${JSON.stringify({ name: 'moon', url, key, root: join(root, String(answers.length + i)) })}\n`,
        )
        .join(''),
    );
    const before = answers.length;
    // dnf prints what it imports: only our own lines are JSON.
    for await (const line of createInterface({ input: child.stdout }))
      if (line.startsWith('{')) answers.push((JSON.parse(line) as { sha256?: string }).sha256);
    if (answers.length === before && before === crashed) throw new Error('dnf does not start');
    // A mutant on which it crashes is taken by nobody.
    if (answers.length < urls.length) crashed = answers.push(undefined);
  }
  return answers;
}

/** The same for dnf, with signatures of metadata and packages demanded. */
export async function fuzzDnf(keys: Keys, seed: number, wanted: number): Promise<Tally> {
  const tally = emptyTally();
  const random = new Random(seed);
  const top = mkdtempSync(join(tmpdir(), 'fuzz-'));
  const { url, server } = await serve(top);
  const farm = new Farm(keys);
  try {
    farm.build();
    await buildDnf(farm, ['moon']);
    const folder = join(farm.dnf, 'current-testing');
    const text = (type: string): string =>
      gunzipSync(
        readFileSync(
          join(
            folder,
            'repodata',
            readdirSync(join(folder, 'repodata')).find((name) => name.endsWith(`-${type}.xml.gz`)) as string,
          ),
        ),
      ).toString();
    const goodName = 'moon-1-1.noarch.rpm';
    // Signed by the right key in secret: dnf has nothing against it.
    const evil = buildPackage('moon', join(farm.top, 'secret'));
    rpmsign(farm, evil);
    const parts: DnfParts = {
      primary: text('primary'),
      filelists: text('filelists'),
      other: text('other'),
      codename: 'fc41-current-testing',
      goodName,
      good: readFileSync(join(folder, 'packages', goodName)),
      evilName: 'moon-1-1.evil.noarch.rpm',
      evil: readFileSync(evil),
    };
    if (parts.good.equals(parts.evil)) throw new Error('both packages are the same');
    const key = join(farm.top, 'signing.asc');
    for (let from = 0; from < wanted; from += batch) {
      const mutants = Array.from({ length: Math.min(batch, wanted - from) }, (_, i) => ({
        at: `${from + i}/fc41/current-testing`,
        mutant: dnfMutant(random, parts),
      }));
      const signatures = farm.signAll(
        mutants.map(({ mutant }) => ({
          purpose: 'rpm-repomd' as const,
          name: 'repomd.xml',
          mode: 'detach' as const,
          payload: Buffer.from(mutant.repomd),
        })),
        'fc41',
      );
      for (const [i, { at, mutant }] of mutants.entries()) {
        for (const [path, data] of mutant.files) put(join(top, at), path, data);
        put(join(top, at), 'repodata/repomd.xml', mutant.served ?? mutant.repomd);
        put(join(top, at), 'repodata/repomd.xml.asc', signatures[i] as Buffer);
      }
      const urls = mutants.map(({ at }) => `${url}/${at}`);
      const good = await goodOnes(farm, 'dnf', urls);
      const answers = await dnfDownloads(urls, key, join(top, 'roots'));
      for (const [i, { at, mutant }] of mutants.entries()) {
        const isGood = good.has(urls[i] as string);
        const isEvil = answers[i] !== undefined && answers[i] !== sha256(parts.good);
        count(tally, `dnf: ${mutant.kind}`, { taken: answers[i] !== undefined, evil: isEvil, good: isGood });
        if (isEvil && isGood)
          tally.missed.push(`${at} of seed ${seed}: ${mutant.kind}\n${mutant.served ?? mutant.repomd}`);
        if (isGood && answers[i] === undefined)
          tally.goodAndRefused.push(`${at} of seed ${seed}: ${mutant.kind}`);
        rmSync(join(top, at), { recursive: true, force: true });
      }
      rmSync(join(top, 'roots'), { recursive: true, force: true });
    }
  } finally {
    farm.remove();
    server.close();
    server.closeAllConnections();
    rmSync(top, { recursive: true, force: true });
  }
  return tally;
}
