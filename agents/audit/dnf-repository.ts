// SPDX-License-Identifier: GPL-2.0-or-later
// The DNF repository: the signature of repomd.xml and of every package stands in a published journal, over
// these very bytes, after an intent that said what they are; and what is signed fixes, hash by hash, every
// file that dnf would take.
import { join } from 'node:path';
import { codenameOf, partsOf, suitesOf } from '../shared/formats/suites.js';
import { printable } from '../shared/refusal.js';
import type { Purpose } from '../shared/formats/intent.js';
import type { LinesOf } from './announced-names.js';
import { AnnouncedSignatures, sha256, type Announcements } from './announced-signature.js';
import {
  isAbout,
  metadataPath,
  metadataTypes,
  readPrimary,
  readRepomd,
  type Listed,
  type ListedPackage,
  type MetadataFile,
} from '../published/packages/dnf-metadata.js';
import type { BudgetedFiles } from '../published/files/budgeted-files.js';
import type { Findings } from './findings.js';
import { indexLimitBytes, indexText } from '../published/packages/index-text.js';
import type { PublishedIntents } from './intents.js';
import { judgeDetached } from './public-keys.js';
import { readPackage, type RpmPackage } from '../published/packages/rpm-package.js';

const repomdLimitBytes = 16 * 1024 * 1024;
const signatureLimitBytes = 64 * 1024;
const packageLimitBytes = 4 * 1024 ** 3;
const repomdPath = 'repodata/repomd.xml';
/** What stands beside the suites: the keys, and in a generation's own folder who made it. */
const besides = /^(?:key\.asc|keys\/[0-9A-F]{40}\.asc|made-by\.json)$/;

/**
 * Where an auditor's URL stands: the folder of a distribution, whose name is the distribution's, or one of
 * its suites.
 */
export function placeOf(
  source: string,
  linesOf: LinesOf,
): { dist: string; suites: { folder: string; codename: string }[] } {
  const names = source.replace(/\/+$/, '').split('/');
  const last = names.at(-1) ?? '';
  const dist = names.at(-2) ?? '';
  const suite = suitesOf(dist, linesOf(dist)).find((one) => one === last);
  if (suite === undefined)
    return {
      dist: last,
      suites: suitesOf(last, linesOf(last)).map((one) => ({ folder: one, codename: codenameOf(last, one) })),
    };
  return { dist, suites: [{ folder: '', codename: codenameOf(dist, suite) }] };
}

/** Of a server that never ends. What is longer is wrong, and one byte too many shows it. */
async function* limited(chunks: AsyncIterable<Uint8Array>, limitBytes: number): AsyncGenerator<Uint8Array> {
  let size = 0;
  for await (const chunk of chunks) {
    yield chunk;
    size += chunk.length;
    if (size > limitBytes) return;
  }
}

export class DnfAudit {
  readonly #files: BudgetedFiles;
  readonly #intents: PublishedIntents;
  readonly #expected: Announcements;
  readonly #findings: Findings;
  readonly #signatures: AnnouncedSignatures;

  /** every path that something signed names */
  readonly #named = new Set<string>();
  readonly #place: ReturnType<typeof placeOf>;

  constructor(
    place: ReturnType<typeof placeOf>,
    files: BudgetedFiles,
    intents: PublishedIntents,
    expected: Announcements,
    findings: Findings,
  ) {
    this.#place = place;
    this.#files = files;
    this.#intents = intents;
    this.#expected = expected;
    this.#findings = findings;
    this.#signatures = new AnnouncedSignatures(expected, 'dnf-signatures', findings);
  }

  async run(): Promise<void> {
    const there: string[] = [];
    const listed = this.#named;
    const { dist, suites } = this.#place;
    for (const suite of suites) {
      const at = suite.folder === '' ? '' : `${suite.folder}/`;
      const repomd = await this.#files.read(`${at}${repomdPath}`, repomdLimitBytes);
      const signature = await this.#files.read(`${at}${repomdPath}.asc`, signatureLimitBytes);
      if (repomd === undefined && signature === undefined) continue;
      there.push(suite.folder);
      for (const name of [repomdPath, `${repomdPath}.asc`]) listed.add(`${at}${name}`);
      await this.#signed(
        `${at}${repomdPath}.asc`,
        repomd,
        signature === undefined ? [] : [signature],
        'rpm-repomd',
      );
      if (repomd !== undefined)
        for (const one of await this.#metadata(at, suite.codename, repomd)) {
          listed.add(one.path);
          await this.#package(one.path, one);
        }
    }
    const wordOf = (folder: string): string | undefined => partsOf(folder)?.word;
    // Those of a release line come with its first upload, which may be still to come.
    const due = suites.filter(
      ({ folder }) => wordOf(folder) === undefined || there.some((one) => wordOf(one) === wordOf(folder)),
    );
    // Nothing there, and nothing was ever announced: a repository before its first package. All suites are
    // there from the first upload on.
    if (
      there.length > 0 ||
      this.#intents.names.has(this.#expected.signingKey.getFingerprint().toUpperCase(), 'rpm-repomd', dist)
    ) {
      for (const { folder } of due.filter((suite) => !there.includes(suite.folder)))
        this.#signatures.wrong(
          'dnf-signatures',
          'FILE_MISSING',
          join(folder, repomdPath),
          'a signed repomd.xml',
          'nothing',
        );
    }
    if (there.length > 0)
      for (const path of (await this.#files.list('')) ?? [])
        if (!listed.has(path)) await this.#unlisted(path);
  }

  /** What no index names can still be handed to somebody by its path. */
  async #unlisted(path: string): Promise<void> {
    const suite = this.#place.suites
      .map(({ folder }) => (folder === '' ? '' : `${folder}/`))
      .find((at) => path.startsWith(at));
    const inside = suite === undefined ? undefined : path.slice(suite.length);
    if (path.endsWith('.rpm')) return this.#package(path, undefined);
    const named = metadataPath.exec(inside ?? '')?.[1];
    if (named === undefined) {
      if (!besides.test(path))
        this.#signatures.wrong(
          'dnf-files',
          'UNLISTED_FILE',
          path,
          'files that something signed names',
          'a file that nothing names',
        );
      return;
    }
    // Metadata of an earlier generation, for clients in the middle of it: whoever asks for a hash gets these
    // bytes or none.
    this.#findings.looked('dnf-files');
    const found = await this.#files.hash(path, indexLimitBytes);
    if (found?.sha256 !== named)
      this.#signatures.wrong(
        'dnf-files',
        'WRONG_SHA256',
        path,
        `sha256:${named}`,
        `sha256:${found?.sha256 ?? ''}`,
      );
  }

  /** One or more detached signatures over `data`: each good, announced, and for that purpose. */
  async #signed(
    path: string,
    data: Buffer | undefined,
    signatures: readonly Buffer[],
    purpose: Purpose,
  ): Promise<void> {
    const wrong = this.#signatures.wrong.bind(this.#signatures, 'dnf-signatures');
    this.#findings.looked('dnf-signatures');
    if (signatures.length === 0) return wrong('NOT_SIGNED', path, 'a signature', 'none');
    if (data === undefined)
      return wrong('FILE_MISSING', path.replace(/\.asc$/, ''), 'what is signed', 'nothing');
    if (signatures.length > 1)
      wrong('BAD_SIGNATURE', path, 'one signature', `${signatures.length} signatures`);
    for (const signature of signatures) {
      const known = await this.#signatures.judge(
        path,
        await judgeDetached(data, signature, this.#expected.signingKey),
        signature,
        sha256(data),
        'detach',
      );
      if (known === undefined) continue;
      const { intent, sha256: payload } = known.entry;
      const purposes = this.#intents
        .announced(intent)
        .filter((one) => one.payload.sha256 === payload)
        .map((one) => one.purpose);
      if (!purposes.includes(purpose))
        wrong(
          'WRONG_PURPOSE',
          path,
          `an intent with purpose ${purpose}`,
          `intent ${intent}: ${[...new Set(purposes)].join(', ') || 'nothing about these bytes'}`,
        );
    }
  }

  /**
   * Every file that repomd.xml lists has the listed hash. @param at before its paths @returns the packages,
   * with their paths from the top
   */
  async #metadata(at: string, codename: string, repomd: Buffer): Promise<ListedPackage[]> {
    const bad = (path: string, expected: string): ListedPackage[] => {
      this.#signatures.wrong('dnf-files', 'BAD_INDEX', path, expected, 'something else');
      return [];
    };
    const read = readRepomd(repomd.toString('utf8'));
    if (read === undefined)
      return bad(
        `${at}${repomdPath}`,
        'primary, filelists and other, once each, with sizes and SHA-256, as createrepo_c writes them',
      );
    // One key signs all suites of all distributions, and dnf does not look at this: the metadata of one could
    // be served as another's.
    if (read.content !== codename)
      this.#signatures.wrong(
        'dnf-signatures',
        'RELEASE_DIFFERS',
        `${at}${repomdPath}`,
        `<content> ${codename}`,
        printable(read.content ?? 'none'),
      );
    let packages: ListedPackage[] | undefined;
    for (const type of metadataTypes) {
      const file = { ...read.files[type], path: `${at}${read.files[type].path}` };
      this.#named.add(file.path);
      const text = await this.#index(file);
      if (text === undefined) continue;
      if (type === 'primary')
        packages =
          readPrimary(text) ??
          bad(file.path, 'packages with name, size, SHA-256 and a place in this repository, once each');
      else if (packages !== undefined && !isAbout(type, text, packages))
        bad(file.path, 'the packages of primary');
    }
    return (packages ?? []).map((one) => ({ ...one, path: `${at}${one.path}` }));
  }

  /** What an index says, or undefined where it is another than the listed one. */
  async #index(file: MetadataFile): Promise<string | undefined> {
    if (!this.#compare(file, await this.#files.hash(file.path, file.size))) return undefined;
    const bytes = await this.#files.read(file.path, indexLimitBytes);
    const text = bytes === undefined ? undefined : indexText(file.path, bytes, this.#files.budget);
    if (text !== undefined && text.length === file.open.size && sha256(text) === file.open.sha256)
      return text.toString('utf8');
    this.#signatures.wrong(
      'dnf-files',
      'BAD_INDEX',
      file.path,
      `one gzip member: ${file.open.size} bytes sha256:${file.open.sha256}`,
      'something else',
    );
    return undefined;
  }

  #compare(expected: Listed, found: { size: number; sha256: string } | undefined): boolean {
    const { path, size, sha256: hash } = expected;
    const wrong = this.#signatures.wrong.bind(this.#signatures, 'dnf-files');
    this.#findings.looked('dnf-files');
    if (found === undefined) wrong('FILE_MISSING', path, `${size} bytes sha256:${hash}`, 'nothing');
    else if (found.size !== size)
      wrong('WRONG_SIZE', path, `${size} bytes`, `${found.size} bytes sha256:${found.sha256}`);
    else if (found.sha256 !== hash) wrong('WRONG_SHA256', path, `sha256:${hash}`, `sha256:${found.sha256}`);
    else return true;
    return false;
  }

  /** @param expected undefined for a package that no index lists */
  async #package(path: string, expected: ListedPackage | undefined): Promise<void> {
    const chunks = await this.#files.open(path);
    const read =
      chunks === undefined
        ? undefined
        : await readPackage(limited(chunks, expected?.size ?? packageLimitBytes));
    if (expected !== undefined) this.#compare(expected, read);
    if (read === undefined) return;
    if (read.found === undefined)
      return this.#signatures.wrong(
        'dnf-signatures',
        'NOT_SIGNED',
        path,
        'an rpm with a signed header',
        `${read.size} bytes sha256:${read.sha256}`,
      );
    await this.#signed(path, read.found.header, read.found.signatures, 'rpm-header');
    if (!read.found.payloadIsSigned)
      this.#signatures.wrong(
        'dnf-signatures',
        'WRONG_PAYLOAD',
        path,
        'the payload whose SHA-256 the signed header names',
        'another payload, or a header that names none',
      );
    this.#compareNames(path, read.found, expected);
  }

  /** A package under another's name would be installed for it. */
  #compareNames(path: string, found: RpmPackage, expected: ListedPackage | undefined): void {
    const words = ({
      name,
      epoch,
      version,
      release,
      arch,
    }: Omit<RpmPackage, 'header' | 'signatures' | 'payloadIsSigned'>): string =>
      `${name} ${epoch}:${version}-${release} ${arch}`;
    const wanted = expected === undefined ? words(found) : words(expected);
    const file = `${found.name}-${found.version}-${found.release}.${found.arch}.rpm`;
    if (wanted !== words(found))
      this.#signatures.wrong(
        'dnf-files',
        'BAD_INDEX',
        path,
        printable(wanted),
        `a header that says ${printable(words(found))}`,
      );
    else if (path.split('/').at(-1) !== file)
      this.#signatures.wrong('dnf-files', 'BAD_INDEX', path, printable(file), 'another file name');
  }
}
