// SPDX-License-Identifier: GPL-2.0-or-later
// "Uploaded" means that apt-get, with nothing but the public key and the public URL, gets exactly the bytes
// that were built.
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder } from '../../../shared/durable-files.js';
import { codenamesIn } from './apt-publication.js';
import { Refusal } from '../../refusals.js';
import type { HashedFile } from '../../../shared/formats/intent.js';
import { hashesIn } from '../../../shared/files/frozen-files.js';
import { runLogged, type LineSink } from '../../../shared/programs/logged-program.js';
import { ProgramFailed, proxyEnvironment, runProgram } from '../../../shared/programs/program.js';
import { orTimedOut, transferMs } from '../upload-generation.js';

export interface ReadBackOptions {
  url: string;
  /** the suite's name under dists/ */
  codename: string;
  /** armored, the only key that is trusted */
  publicKey: string;
  /** made anew and removed */
  folder: string;
  /** for each call of apt; by the size of what is read unless told */
  limitMs?: number;
}

function aptOptions(folder: string): string[] {
  return [
    `Dir=${folder}/`,
    'Dir::Etc=etc/',
    'Dir::Etc::SourceList=sources.list',
    'Dir::Etc::SourceParts=-',
    'Dir::Etc::Main=none',
    'Dir::Etc::Parts=-',
    'Dir::Etc::Trusted=none',
    'Dir::Etc::TrustedParts=-',
    'Dir::State=state/',
    'Dir::State::status=status',
    'Dir::Cache=cache/',
    'Dir::Log=log/',
    'APT::Sandbox::User=root',
    'Acquire::Languages=none',
    'Acquire::Retries=2',
    'Acquire::http::No-Cache=true',
    'Acquire::Check-Valid-Until=true',
    'Acquire::Check-Date=true',
    'APT::Get::AllowUnauthenticated=false',
  ].flatMap((option) => ['-o', option]);
}

async function fieldsOf(deb: string): Promise<{ name: string; version: string; architecture: string }> {
  const text = (
    await runProgram(['dpkg-deb', '--field', deb, 'Package', 'Version', 'Architecture'], {
      timeoutMs: 60_000,
    })
  ).toString('utf8');
  const field = (name: string): string =>
    new RegExp(`^${name}: ([A-Za-z0-9.+:~-]+)$`, 'm').exec(text)?.[1] ?? '';
  return { name: field('Package'), version: field('Version'), architecture: field('Architecture') };
}

/**
 * An apt of its own: one repository, one key, nothing of this VM's. @returns how to call it; where it
 * downloads to
 */
function makeApt(
  options: Omit<ReadBackOptions, 'codename'>,
  codenames: readonly string[],
  log: LineSink,
  timeoutMs: number,
): { download: string; apt: (...argv: string[]) => Promise<void> } {
  const { folder } = options;
  if (existsSync(folder)) rmSync(folder, { recursive: true });
  for (const sub of ['etc', 'state/lists/partial', 'cache/archives/partial', 'log', 'download'])
    makeFolder(join(folder, sub));
  writeFileSync(join(folder, 'state/status'), '');
  writeFileSync(join(folder, 'key.asc'), readFileSync(options.publicKey));
  const lines = codenames.flatMap((codename) =>
    ['deb', 'deb-src'].map(
      (type) => `${type} [signed-by=${join(folder, 'key.asc')}] ${options.url} ${codename} main\n`,
    ),
  );
  writeFileSync(join(folder, 'etc/sources.list'), lines.join(''));
  const download = join(folder, 'download');
  const apt = async (...argv: string[]): Promise<void> => {
    const label = `read back: apt-get ${argv.join(' ')}`;
    const status = await runLogged(['apt-get', ...aptOptions(folder), ...argv], log, {
      cwd: download,
      timeoutMs,
      env: proxyEnvironment(),
      label,
    }).catch(orTimedOut('READ_BACK_FAILED', label));
    if (status !== 0)
      throw new Refusal('READ_BACK_FAILED', `apt-get ${argv[0]} from ${options.url} ended with ${status}`);
  };
  return { download, apt };
}

/**
 * @param pathOf where the published file of a name lies here
 * @returns the files that came back: all .deb, the .dsc and what it lists
 * @throws Refusal READ_BACK_FAILED
 */
export async function readBack(
  pathOf: (name: string) => string,
  files: readonly HashedFile[],
  source: { name: string; version: string },
  options: ReadBackOptions,
  log: LineSink,
): Promise<HashedFile[]> {
  const { folder } = options;
  const { apt, download } = makeApt(options, [options.codename], log, options.limitMs ?? transferMs(files));
  try {
    await apt('update', '--error-on=any');
    const debs = files.filter((file) => file.name.endsWith('.deb'));
    const wanted = await Promise.all(debs.map((file) => fieldsOf(pathOf(file.name))));
    if (wanted.length > 0)
      await apt(
        'download',
        ...wanted.map(
          ({ name, version, architecture }) =>
            `${name}${architecture === 'all' ? '' : `:${architecture}`}=${version}`,
        ),
      );
    await apt('source', '--download-only', '--only-source', `${source.name}=${source.version}`);
    const got = new Set(hashesIn(download).values());
    const published = files.filter((file) => /\.deb$|\.dsc$|\.tar\.[a-z0-9]+$/.test(file.name));
    for (const file of published)
      if (!got.has(file.sha256))
        throw new Refusal('READ_BACK_FAILED', `${file.name} did not come back as it was built`);
    log.say(`read back ${published.length} files from ${options.url}, all as built and signed`);
    return published;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * What `apt-cache showsrc` found; a name that is nowhere is told from every other way in which it fails.
 * @throws Refusal READ_BACK_FAILED
 */
export async function offeredSources(asked: Promise<Buffer>): Promise<string> {
  return (
    await asked.catch(orTimedOut('READ_BACK_FAILED', 'apt-cache')).catch((error: unknown) => {
      if (!(error instanceof ProgramFailed)) throw error;
      // The second where every suite is empty: apt keeps no empty index.
      if (
        error.exitCode === 100 &&
        /\bE: (?:No packages found|You must put some 'deb-src' URIs in your sources\.list)$/.test(
          error.complaint,
        )
      )
        return Buffer.alloc(0);
      throw new Refusal('READ_BACK_FAILED', error.message);
    })
  ).toString('utf8');
}

/**
 * A mirror that shows yesterday's metadata, whole and signed, offers nothing new either. @throws Refusal
 * READ_BACK_FAILED
 */
function refuseOtherMetadata(
  lists: string,
  generation: string,
  codenames: readonly string[],
  url: string,
): void {
  for (const codename of codenames) {
    const name = readdirSync(lists).find((one) => one.endsWith(`_dists_${codename}_InRelease`));
    const wanted = readFileSync(join(generation, 'dists', codename, 'InRelease'));
    if (name === undefined || !readFileSync(join(lists, name)).equals(wanted))
      throw new Refusal(
        'READ_BACK_FAILED',
        `${url} gives other metadata of ${codename} than the last that was uploaded`,
      );
  }
}

interface WholeRepository extends Omit<ReadBackOptions, 'codename'> {
  dist: string;
  /** folder of the generation that was uploaded last */
  generation: string;
}

/**
 * apt reads every suite, as the last generation has it; `then` goes on with what it read. @throws Refusal
 * READ_BACK_FAILED
 */
async function readBackMetadata(
  { dist, generation, ...options }: WholeRepository,
  log: LineSink,
  then: (limitMs: number) => Promise<void>,
): Promise<void> {
  const { folder, limitMs = transferMs([]) } = options;
  const codenames = codenamesIn(generation, dist);
  const { apt } = makeApt(options, codenames, log, limitMs);
  try {
    await apt('update', '--error-on=any');
    refuseOtherMetadata(join(folder, 'state/lists'), generation, codenames, options.url);
    await then(limitMs);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * Packages of this source that an index of apt's offers. A field that says no other source, or no other
 * version of it, is left out there.
 */
function offeredPackages(lists: string, source: { name: string; version: string }): string[] {
  const indices = readdirSync(lists).filter((name) => name.endsWith('_Packages'));
  return indices.flatMap((index) =>
    readFileSync(join(lists, index), 'utf8')
      .split('\n\n')
      .flatMap((paragraph) => {
        const field = (name: string): string | undefined =>
          new RegExp(`^${name}: (.*)$`, 'm').exec(paragraph)?.[1];
        const [, name = field('Package'), version = field('Version')] =
          /^(\S+)(?: \((\S+)\))?$/.exec(field('Source') ?? '') ?? [];
        return name === source.name && version === source.version
          ? [`${field('Package') ?? ''} ${field('Version') ?? ''}`]
          : [];
      }),
  );
}

/**
 * That no suite offers this source package's version any more, nor a package that was made of it. @throws
 * Refusal READ_BACK_FAILED
 */
export async function readBackAbsence(
  source: { name: string; version: string },
  options: WholeRepository,
  log: LineSink,
): Promise<void> {
  await readBackMetadata(options, log, async (limitMs) => {
    const offered = await offeredSources(
      runProgram(['apt-cache', ...aptOptions(options.folder), 'showsrc', '--only-source', source.name], {
        timeoutMs: limitMs,
      }),
    );
    if (offered.split('\n').includes(`Version: ${source.version}`))
      throw new Refusal(
        'READ_BACK_FAILED',
        `${source.name} ${source.version} is still offered by ${options.url}`,
      );
    const [left] = offeredPackages(join(options.folder, 'state/lists'), source);
    if (left !== undefined)
      throw new Refusal(
        'READ_BACK_FAILED',
        `${left}, of ${source.name} ${source.version}, is still offered by ${options.url}`,
      );
    log.say(`read back ${options.url}: ${source.name} ${source.version} is offered by no suite`);
  });
}

/**
 * That apt takes the Release of every suite, and that these are the last ones. @throws Refusal
 * READ_BACK_FAILED
 */
export async function readBackReleases(options: WholeRepository, log: LineSink): Promise<void> {
  await readBackMetadata(options, log, async () =>
    log.say(`read back ${options.url}: the Release of every suite is the new one`),
  );
}
