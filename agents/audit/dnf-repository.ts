// SPDX-License-Identifier: GPL-2.0-or-later
// The DNF repository: the signature of repomd.xml and of every package stands in a published journal, over these very bytes, after an intent that
// said what they are; and what is signed fixes, hash by hash, every file that dnf would take.
import { join } from 'node:path';
import { codenameOf, suitesOf } from '../shared/formats/suites.js';
import { printable } from '../shared/refusal.js';
import type { Purpose } from '../shared/formats/intent.js';
import { AnnouncedSignatures, sha256, type Announcements } from './announced-signature.js';
import { readPrimary, readRepomd, type Listed, type ListedPackage, type MetadataFile } from './dnf-metadata.js';
import type { Findings } from './findings.js';
import { indexLimitBytes, indexText } from './index-text.js';
import type { PublishedIntents } from './intents.js';
import { judgeDetached } from './public-keys.js';
import type { PublishedFiles } from './published-files.js';
import { readPackage, type RpmPackage } from './rpm-package.js';

const repomdLimitBytes = 16 * 1024 * 1024;
const repomdPath = 'repodata/repomd.xml';

/** Where an auditor's URL stands: the folder of a distribution, whose name is the distribution's, or one of its suites. */
function placeOf(source: string): { dist: string; suites: { folder: string; codename: string }[] } {
  const names = source.replace(/\/+$/, '').split('/');
  const last = names.at(-1) ?? '';
  const dist = names.at(-2) ?? '';
  const suite = suitesOf(dist).find((one) => one === last);
  if (suite === undefined) return { dist: last, suites: suitesOf(last).map((one) => ({ folder: one, codename: codenameOf(last, one) })) };
  return { dist, suites: [{ folder: '', codename: codenameOf(dist, suite) }] };
}

export class DnfAudit {
  readonly #files: PublishedFiles;
  readonly #intents: PublishedIntents;
  readonly #expected: Announcements;
  readonly #findings: Findings;
  readonly #signatures: AnnouncedSignatures;

  readonly #place: ReturnType<typeof placeOf>;

  /** @param source as the auditor gave it: its last names are the distribution's, and perhaps the suite's */
  constructor(source: string, files: PublishedFiles, intents: PublishedIntents, expected: Announcements, findings: Findings) {
    this.#place = placeOf(source);
    this.#files = files;
    this.#intents = intents;
    this.#expected = expected;
    this.#findings = findings;
    this.#signatures = new AnnouncedSignatures(expected, 'dnf-signatures', findings);
  }

  async run(): Promise<void> {
    const there: string[] = [];
    const listed = new Set<string>();
    const { dist, suites } = this.#place;
    for (const suite of suites) {
      const at = suite.folder === '' ? '' : `${suite.folder}/`;
      const repomd = await this.#files.read(`${at}${repomdPath}`, repomdLimitBytes);
      const signature = await this.#files.read(`${at}${repomdPath}.asc`, 1024 * 1024);
      if (repomd === undefined && signature === undefined) continue;
      there.push(suite.folder);
      await this.#signed(`${at}${repomdPath}.asc`, repomd, signature === undefined ? [] : [signature], 'rpm-repomd');
      if (repomd !== undefined) for (const one of await this.#metadata(at, suite.codename, repomd)) {
        listed.add(one.path);
        await this.#package(one.path, one);
      }
    }
    // Nothing there, and nothing was ever announced: a repository before its first package. All suites are there from the first upload on.
    if (there.length > 0 || this.#intents.isAnnounced(this.#expected.signingKey.getFingerprint().toUpperCase(), 'rpm-repomd', dist)) {
      for (const { folder } of suites.filter((suite) => !there.includes(suite.folder))) this.#signatures.wrong('dnf-signatures', 'FILE_MISSING', join(folder, repomdPath), 'a signed repomd.xml', 'nothing');
    }
    // What no index names can be handed to somebody by its path.
    for (const path of (await this.#files.list('')) ?? []) if (path.endsWith('.rpm') && !listed.has(path)) await this.#package(path, undefined);
  }

  /** One or more detached signatures over `data`: each good, announced, and for that purpose. */
  async #signed(path: string, data: Buffer | undefined, signatures: readonly Buffer[], purpose: Purpose): Promise<void> {
    const wrong = this.#signatures.wrong.bind(this.#signatures, 'dnf-signatures');
    this.#findings.looked('dnf-signatures');
    if (signatures.length === 0) return wrong('NOT_SIGNED', path, 'a signature', 'none');
    if (data === undefined) return wrong('FILE_MISSING', path.replace(/\.asc$/, ''), 'what is signed', 'nothing');
    if (signatures.length > 1) wrong('BAD_SIGNATURE', path, 'one signature', `${signatures.length} signatures`);
    for (const signature of signatures) {
      const known = await this.#signatures.judge(path, await judgeDetached(data, signature, this.#expected.signingKey), signature, sha256(data), 'detach');
      if (known === undefined) continue;
      const { intent, sha256: payload } = known.entry;
      const purposes = this.#intents.named(intent).flatMap(({ intents }) => intents).filter((one) => one.payload.sha256 === payload).map((one) => one.purpose);
      if (!purposes.includes(purpose)) wrong('WRONG_PURPOSE', path, `an intent with purpose ${purpose}`, `intent ${intent}: ${[...new Set(purposes)].join(', ') || 'nothing about these bytes'}`);
    }
  }

  /** Every file that repomd.xml lists has the listed hash. @param at before its paths @returns the packages, with their paths from the top */
  async #metadata(at: string, codename: string, repomd: Buffer): Promise<ListedPackage[]> {
    const bad = (path: string, expected: string): ListedPackage[] => {
      this.#signatures.wrong('dnf-files', 'BAD_INDEX', path, expected, 'something else');
      return [];
    };
    const read = readRepomd(repomd.toString('utf8'));
    if (read === undefined) return bad(`${at}${repomdPath}`, 'one list of metadata files with sizes and SHA-256, one of them primary');
    // One key signs all suites of all distributions, and dnf does not look at this: the metadata of one could be served as another's.
    if (read.content !== codename) this.#signatures.wrong('dnf-signatures', 'RELEASE_DIFFERS', `${at}${repomdPath}`, `<content> ${codename}`, printable(read.content ?? 'none'));
    const files = read.files.map((file) => ({ ...file, path: `${at}${file.path}` }));
    for (const file of files) this.#compare(file, await this.#files.hash(file.path));
    const primary = files.find(({ type }) => type === 'primary') as MetadataFile;
    const bytes = await this.#files.read(primary.path, indexLimitBytes);
    if (bytes === undefined || sha256(bytes) !== primary.sha256) return [];
    const text = await indexText(primary.path, bytes);
    if (text === undefined || (primary.open ?? primary.sha256) !== sha256(text)) return bad(primary.path, `packed text sha256:${primary.open ?? primary.sha256}`);
    const packages = readPrimary(text.toString('utf8'));
    return packages?.map((one) => ({ ...one, path: `${at}${one.path}` })) ?? bad(primary.path, 'packages with name, size, SHA-256 and a place in this repository');
  }

  #compare(expected: Listed, found: { size: number; sha256: string } | undefined): boolean {
    const { path, size, sha256: hash } = expected;
    const wrong = this.#signatures.wrong.bind(this.#signatures, 'dnf-files');
    this.#findings.looked('dnf-files');
    if (found === undefined) wrong('FILE_MISSING', path, `${size} bytes sha256:${hash}`, 'nothing');
    else if (found.size !== size) wrong('WRONG_SIZE', path, `${size} bytes`, `${found.size} bytes sha256:${found.sha256}`);
    else if (found.sha256 !== hash) wrong('WRONG_SHA256', path, `sha256:${hash}`, `sha256:${found.sha256}`);
    else return true;
    return false;
  }

  /** @param expected undefined for a package that no index lists */
  async #package(path: string, expected: ListedPackage | undefined): Promise<void> {
    const chunks = await this.#files.open(path);
    const read = chunks === undefined ? undefined : await readPackage(chunks);
    if (expected !== undefined) this.#compare(expected, read);
    if (read === undefined) return;
    if (read.found === undefined) return this.#signatures.wrong('dnf-signatures', 'NOT_SIGNED', path, 'an rpm with a signed header', `${read.size} bytes sha256:${read.sha256}`);
    await this.#signed(path, read.found.header, read.found.signatures, 'rpm-header');
    if (!read.found.payloadIsSigned) this.#signatures.wrong('dnf-signatures', 'WRONG_PAYLOAD', path, 'the payload whose SHA-256 the signed header names', 'another payload, or a header that names none');
    this.#compareNames(path, read.found, expected);
  }

  /** A package under another's name would be installed for it. */
  #compareNames(path: string, found: RpmPackage, expected: ListedPackage | undefined): void {
    const words = ({ name, epoch, version, release, arch }: Omit<RpmPackage, 'header' | 'signatures' | 'payloadIsSigned'>): string => `${name} ${epoch}:${version}-${release} ${arch}`;
    const wanted = expected === undefined ? words(found) : words(expected);
    const file = `${found.name}-${found.version}-${found.release}.${found.arch}.rpm`;
    if (wanted !== words(found)) this.#signatures.wrong('dnf-files', 'BAD_INDEX', path, printable(wanted), `a header that says ${printable(words(found))}`);
    else if (path.split('/').at(-1) !== file) this.#signatures.wrong('dnf-files', 'BAD_INDEX', path, printable(file), 'another file name');
  }
}
