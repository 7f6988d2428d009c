// SPDX-License-Identifier: GPL-2.0-or-later
// The APT repository: every signature in it stands in a published journal, over these very bytes; and what is
// signed fixes, hash by hash, every file that apt would install.
import { printable } from '../shared/refusal.js';
import type { SignedNames } from './announced-names.js';
import { AnnouncedSignatures, sha256, type Announcements } from './announced-signature.js';
import { readClearSigned } from '../shared/formats/deb822.js';
import {
  filesBeside,
  filesOfIndex,
  readRelease,
  type Algorithm,
  type ListedFile,
  type Release,
} from '../published/packages/apt-lists.js';
import type { BudgetedFiles } from '../published/files/budgeted-files.js';
import type { FindingCode, Findings } from './findings.js';
import { indexLimitBytes, indexText } from '../published/packages/index-text.js';
import { judgeCleartext, judgeDetached } from './public-keys.js';
import { hashOf, type HashedBytes } from '../published/files/published-files.js';

const releaseLimitBytes = 16 * 1024 * 1024;
const detachedLimitBytes = 64 * 1024;
/**
 * What stands beside dists/ and pool/: the keys, and in the folder of a reprepro its own. Nothing that a
 * client asks for.
 */
const besides =
  /^(?:key\.asc|keys\/[0-9A-F]{40}\.asc|made-by\.json|conf\/(?:distributions|options|sign-hook)|db\/(?:version|[a-z.]+\.db))$/;
const algorithms: readonly Algorithm[] = ['sha256', 'sha1', 'md5'];

export interface AptExpectations extends Announcements {
  /** suites that the auditor names: each must be there */
  suites: ReadonlySet<string>;
  /**
   * suites that audited intents speak of, looked for where the place cannot be listed: an upload may have
   * failed, but not all of them
   */
  announced: ReadonlySet<string>;
  /** names of signed .changes and .buildinfo to look for beside the .dsc */
  signedNames: SignedNames;
}

/** Name and version, number of a rebuild, architecture. */
const rebuiltName = /^(.+_[^_]+?)(?:\+b([0-9]{1,3}))?(_[a-z0-9-]+\.u?deb)$/;

/** 0: it was not rebuilt, or is no package. */
function rebuildOf(path: string): { package: string; number: number } {
  const [, version = path, number = '0', architecture = ''] = rebuiltName.exec(path) ?? [];
  return { package: `${version}${architecture}`, number: Number(number) };
}

export class AptAudit {
  readonly #files: BudgetedFiles;
  readonly #expected: AptExpectations;
  readonly #findings: Findings;
  readonly #signatures: AnnouncedSignatures;
  readonly #poolChecked = new Set<string>();
  readonly #signedChecked = new Map<string, string | undefined>();
  /** packages of a .changes that are not there */
  readonly #gone: ListedFile[] = [];
  /** what Packages name: the highest number of a rebuild, by all else that is in a package's path */
  readonly #rebuilds = new Map<string, number>();
  /** every path that something signed names */
  readonly #named = new Set<string>();

  constructor(files: BudgetedFiles, expected: AptExpectations, findings: Findings) {
    this.#files = files;
    this.#expected = expected;
    this.#findings = findings;
    this.#signatures = new AnnouncedSignatures(expected, 'apt-signatures', findings);
  }

  async run(): Promise<void> {
    const listed = await this.#files.list('dists');
    const found = (listed ?? [])
      .map((path) => /^dists\/(.+)\/(?:InRelease|Release|Release\.gpg)$/.exec(path)?.[1])
      .filter(
        (suite): suite is string =>
          suite !== undefined && !suite.includes('/binary-') && !suite.endsWith('/source'),
      );
    const { suites, announced } = this.#expected;
    let there = 0;
    for (const suite of [...new Set([...found, ...suites, ...announced])].sort()) {
      if (await this.#suite(suite)) there += 1;
      else if (suites.has(suite) || found.includes(suite)) this.#missing(suite);
    }
    const [first] = [...announced].sort();
    if (there === 0 && first !== undefined && !suites.has(first)) this.#missing(first);
    for (const path of (await this.#files.list('pool')) ?? []) {
      if (/\.(?:dsc|changes|buildinfo)$/.test(path)) await this.#signedList(path);
    }
    for (const file of this.#gone) if (!this.#isRebuilt(file.path)) await this.#poolFile(file);
    if (there > 0) for (const path of (await this.#files.list('')) ?? []) await this.#unlisted(path);
  }

  /** What nothing signed names can still be handed to somebody by its path. */
  async #unlisted(path: string): Promise<void> {
    if (this.#named.has(path) || besides.test(path)) return;
    const byHash = /^dists\/.+\/by-hash\/SHA256\/([0-9a-f]{64})$/.exec(path)?.[1];
    if (byHash === undefined)
      return this.#wrong(
        'apt-files',
        'UNLISTED_FILE',
        path,
        'files that something signed names',
        'a file that nothing names',
      );
    // An index of an earlier generation: whoever asks for a hash gets these bytes or none.
    this.#findings.looked('apt-files');
    const found = await this.#files.hash(path, indexLimitBytes);
    if (found?.sha256 !== byHash)
      this.#wrong('apt-files', 'WRONG_SHA256', path, `sha256:${byHash}`, `sha256:${found?.sha256 ?? ''}`);
  }

  #wrong(
    check: 'apt-signatures' | 'apt-files',
    code: FindingCode,
    path: string,
    expected: string,
    found: string,
  ): void {
    this.#signatures.wrong(check, code, path, expected, found);
  }

  #missing(suite: string): void {
    this.#wrong(
      'apt-signatures',
      'FILE_MISSING',
      `dists/${suite}/InRelease`,
      'a signed InRelease',
      'nothing',
    );
  }

  /** Whether there is a Release file of any kind. */
  async #suite(suite: string): Promise<boolean> {
    const at = (name: string): string => `dists/${suite}/${name}`;
    const inRelease = await this.#clearSigned(at('InRelease'));
    const release = await this.#files.read(at('Release'), releaseLimitBytes);
    const detached = await this.#files.read(at('Release.gpg'), detachedLimitBytes);
    for (const name of ['InRelease', 'Release', 'Release.gpg']) this.#named.add(at(name));
    if (release !== undefined || detached !== undefined)
      await this.#detached(at('Release.gpg'), release, detached);
    const text = inRelease ?? release?.toString('utf8');
    if (text === undefined) return this.#signedChecked.has(at('InRelease')) || detached !== undefined;
    if (
      inRelease !== undefined &&
      release !== undefined &&
      !release.equals(Buffer.from(`${inRelease}\n`)) &&
      !release.equals(Buffer.from(inRelease))
    ) {
      this.#wrong(
        'apt-signatures',
        'RELEASE_DIFFERS',
        at('Release'),
        'the text of InRelease',
        `sha256:${sha256(release)}`,
      );
    }
    const read = readRelease(text);
    if (read === undefined) {
      this.#wrong(
        'apt-files',
        'BAD_INDEX',
        at('Release'),
        'one stanza of the fields that this farm writes, whose lists of hashes agree',
        'something else',
      );
      return true;
    }
    // A Release that was announced for one suite is no Release of another.
    const names = [read.about.get('Codename'), read.about.get('Suite')];
    if (!names.includes(suite))
      this.#wrong(
        'apt-signatures',
        'RELEASE_DIFFERS',
        at('Release'),
        `Codename or Suite: ${suite}`,
        names
          .filter((name) => name !== undefined)
          .map(printable)
          .join(', ') || 'neither',
      );
    await this.#indices(suite, read);
    return true;
  }

  /** The signed text of a file, judged; undefined where there is no such file, or nothing in it is signed. */
  async #clearSigned(path: string): Promise<string | undefined> {
    if (this.#signedChecked.has(path)) return this.#signedChecked.get(path);
    const bytes = await this.#files.read(path, releaseLimitBytes);
    if (bytes === undefined) return undefined;
    this.#signedChecked.set(path, undefined);
    this.#findings.looked('apt-signatures');
    const message = bytes.toString('utf8');
    const cleartext = Buffer.from(message, 'utf8').equals(bytes) ? readClearSigned(message) : undefined;
    if (cleartext === undefined) {
      this.#wrong(
        'apt-signatures',
        'NOT_SIGNED',
        path,
        'one clear-signed message and nothing else',
        `${bytes.length} bytes sha256:${sha256(bytes)}`,
      );
      return undefined;
    }
    // A keys VM signs no text without its last newline, which stands before the signature and is not signed
    // (RFC 9580, section 7.1).
    await this.#signatures.judge(
      path,
      await judgeCleartext(message, cleartext.text, this.#expected.signingKey),
      bytes,
      sha256(`${cleartext.text}\n`),
      'clearsign',
    );
    this.#signedChecked.set(path, cleartext.text);
    return cleartext.text;
  }

  /** A .dsc, .changes or .buildinfo: signed, and what it names beside itself is there. */
  async #signedList(path: string): Promise<void> {
    if (this.#signedChecked.has(path)) return;
    const text = await this.#clearSigned(path);
    if (text === undefined) return;
    this.#named.add(path);
    const kind = /\.(dsc|changes)$/.exec(path)?.[1] as 'dsc' | 'changes' | undefined;
    if (kind === undefined) return;
    const listed = filesBeside(kind, text);
    if (listed === undefined)
      return this.#wrong(
        'apt-files',
        'BAD_INDEX',
        path,
        'one stanza whose lists of hashes agree',
        'something else',
      );
    for (const { path: name, ...file } of listed) {
      const beside = { path: path.replace(/[^/]+$/, name), ...file };
      if (
        kind === 'changes' &&
        rebuiltName.test(name) &&
        (await this.#files.hash(beside.path, file.size)) === undefined
      )
        this.#gone.push(beside);
      else await this.#poolFile(beside);
    }
  }

  async #detached(path: string, data: Buffer | undefined, signature: Buffer | undefined): Promise<void> {
    this.#findings.looked('apt-signatures');
    if (signature === undefined)
      return this.#wrong('apt-signatures', 'NOT_SIGNED', path, 'a signature of Release', 'nothing');
    if (data === undefined)
      return this.#wrong(
        'apt-signatures',
        'FILE_MISSING',
        path.replace(/\.gpg$/, ''),
        'what Release.gpg signs',
        'nothing',
      );
    await this.#signatures.judge(
      path,
      await judgeDetached(data, signature, this.#expected.signingKey),
      signature,
      sha256(data),
      'detach',
    );
  }

  /**
   * Everything that Release lists and is there has the listed hashes, also by-hash; all forms of an index are
   * the same text, and one at least is there.
   */
  async #indices(suite: string, release: Release): Promise<void> {
    const at = (name: string): string => `dists/${suite}/${name}`;
    const forms = new Map<string, ListedFile[]>();
    for (const file of release.files) {
      const stem = file.path.replace(/\.gz$/, '');
      forms.set(stem, [...(forms.get(stem) ?? []), file]);
    }
    for (const [stem, files] of forms) {
      const plain = files.find(({ path }) => path === stem);
      let text: Buffer | undefined;
      let there = 0;
      for (const file of files) {
        const path = at(file.path);
        const bytes = await this.#index(path, file);
        if (bytes === undefined) continue;
        there += 1;
        const unpacked = typeof bytes === 'string' ? undefined : indexText(path, bytes, this.#files.budget);
        if (typeof bytes !== 'string' && unpacked === undefined)
          this.#wrong('apt-files', 'BAD_INDEX', path, 'one gzip member', 'something else');
        if (unpacked === undefined) continue;
        const same =
          text?.equals(unpacked) ??
          (plain === undefined || this.#differs(plain, await hashOf([unpacked])) === undefined);
        if (!same)
          this.#wrong(
            'apt-files',
            'INDEX_FORMS_DIFFER',
            path,
            `the text that another form of it holds`,
            `sha256:${sha256(unpacked)}`,
          );
        text ??= unpacked;
        if (/(?:Packages|Sources)$/.test(stem) && (text === unpacked || !same))
          await this.#pool(path, unpacked);
      }
      // reprepro lists an empty index and may not write it.
      if (there === 0 && !files.some((file) => file.size === 0))
        this.#wrong(
          'apt-files',
          'FILE_MISSING',
          at(stem),
          `sha256:${(files[0] as ListedFile).hashes.sha256}`,
          'nothing',
        );
    }
  }

  /**
   * One form of an index, and the copy of it under its hash. undefined where neither is there, 'wrong' where
   * one is another than the listed one.
   */
  async #index(path: string, file: ListedFile): Promise<Buffer | 'wrong' | undefined> {
    const copy = `${path.slice(0, path.lastIndexOf('/'))}/by-hash/SHA256/${file.hashes.sha256}`;
    for (const one of [path, copy]) this.#named.add(one);
    let good: Buffer | undefined;
    let wrong = false;
    // A client can be told to ask by hash where Release does not say so.
    for (const one of [path, copy]) {
      const found = await this.#files.hash(one, file.size);
      if (found === undefined) continue;
      if (this.#compare(one, file, found)) good ??= await this.#files.read(one, indexLimitBytes);
      else wrong = true;
    }
    return wrong ? 'wrong' : good;
  }

  /** In what a file is another than the listed one. */
  #differs(
    expected: ListedFile,
    found: HashedBytes,
  ): { code: FindingCode; expected: string; found: string } | undefined {
    if (found.size !== expected.size)
      return {
        code: 'WRONG_SIZE',
        expected: `${expected.size} bytes`,
        found: found.size > expected.size ? 'more' : `${found.size} bytes sha256:${found.sha256}`,
      };
    const algorithm = algorithms.find((one) => (expected.hashes[one] ?? found[one]) !== found[one]);
    return algorithm === undefined
      ? undefined
      : {
          code: 'WRONG_SHA256',
          expected: `${algorithm}:${expected.hashes[algorithm]}`,
          found: `${algorithm}:${found[algorithm]}`,
        };
  }

  #compare(path: string, expected: ListedFile, found: HashedBytes | undefined): boolean {
    this.#findings.looked('apt-files');
    const differs =
      found === undefined
        ? {
            code: 'FILE_MISSING' as const,
            expected: `${expected.size} bytes sha256:${expected.hashes.sha256}`,
            found: 'nothing',
          }
        : this.#differs(expected, found);
    if (differs !== undefined) this.#wrong('apt-files', differs.code, path, differs.expected, differs.found);
    return differs === undefined;
  }

  /**
   * A rebuild of the same source took its place: the pool keeps packages that a suite has, and the papers of
   * a source for as long as one has that.
   */
  #isRebuilt(path: string): boolean {
    const { package: its, number } = rebuildOf(path);
    return (this.#rebuilds.get(its) ?? 0) > number;
  }

  async #poolFile(file: ListedFile): Promise<void> {
    const key = JSON.stringify(file);
    if (this.#poolChecked.has(key)) return;
    this.#poolChecked.add(key);
    this.#named.add(file.path);
    this.#compare(file.path, file, await this.#files.hash(file.path, file.size));
  }

  async #pool(indexPath: string, text: Buffer): Promise<void> {
    const files = filesOfIndex(
      /Sources(?:\.gz)?$/.test(indexPath) ? 'Sources' : 'Packages',
      text.toString('utf8'),
    );
    if (files === undefined)
      return this.#wrong(
        'apt-files',
        'BAD_INDEX',
        indexPath,
        'stanzas with name, size and SHA-256, each package once',
        'something else',
      );
    for (const file of files) {
      const { package: its, number } = rebuildOf(file.path);
      if (number > (this.#rebuilds.get(its) ?? 0)) this.#rebuilds.set(its, number);
      await this.#poolFile(file);
      if (!file.path.endsWith('.dsc')) continue;
      for (const path of [file.path, ...this.#expected.signedNames.besides(file.path)])
        await this.#signedList(path);
    }
  }
}
