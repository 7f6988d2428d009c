// SPDX-License-Identifier: GPL-2.0-or-later
// The APT repository: every signature in it stands in a published journal, over these very bytes; and what is signed fixes, hash by
// hash, every file that apt would install.
import { printable } from '../shared/refusal.js';
import { AnnouncedSignatures, sha256, type Announcements } from './announced-signature.js';
import { filesOfIndex, isAmbiguous, readClearSigned, readHashList, readStanzas, type ListedFile } from './apt-control.js';
import type { FindingCode, Findings } from './findings.js';
import { indexLimitBytes, indexText } from './index-text.js';
import { judgeCleartext, judgeDetached } from './public-keys.js';
import type { PublishedFiles } from './published-files.js';

const releaseLimitBytes = 64 * 1024 * 1024;

export interface AptExpectations extends Announcements {
  /** suites that the auditor names: each must be there */
  suites: ReadonlySet<string>;
  /** suites that audited intents speak of, looked for where the place cannot be listed: an upload may have failed, but not all of them */
  announced: ReadonlySet<string>;
  /** names of signed .changes and .buildinfo to look for beside the .dsc */
  signedNames: ReadonlySet<string>;
}

export class AptAudit {
  readonly #files: PublishedFiles;
  readonly #expected: AptExpectations;
  readonly #findings: Findings;
  readonly #signatures: AnnouncedSignatures;
  readonly #poolChecked = new Set<string>();
  readonly #signedChecked = new Set<string>();

  constructor(files: PublishedFiles, expected: AptExpectations, findings: Findings) {
    this.#files = files;
    this.#expected = expected;
    this.#findings = findings;
    this.#signatures = new AnnouncedSignatures(expected, 'apt-signatures', findings);
  }

  async run(): Promise<void> {
    const listed = await this.#files.list('dists');
    const found = (listed ?? []).map((path) => /^dists\/(.+)\/(?:InRelease|Release|Release\.gpg)$/.exec(path)?.[1]).filter((suite): suite is string => suite !== undefined && !suite.includes('/binary-') && !suite.endsWith('/source'));
    const { suites, announced } = this.#expected;
    let there = 0;
    for (const suite of [...new Set([...found, ...suites, ...announced])].sort()) {
      if (await this.#suite(suite)) there += 1;
      else if (suites.has(suite) || found.includes(suite)) this.#missing(suite);
    }
    const [first] = [...announced].sort();
    if (there === 0 && first !== undefined && !suites.has(first)) this.#missing(first);
    for (const path of (await this.#files.list('pool')) ?? []) {
      if (/\.(?:dsc|changes|buildinfo)$/.test(path)) await this.#clearSigned(path);
    }
  }

  #wrong(check: 'apt-signatures' | 'apt-files', code: FindingCode, path: string, expected: string, found: string): void {
    this.#signatures.wrong(check, code, path, expected, found);
  }

  #missing(suite: string): void {
    this.#wrong('apt-signatures', 'FILE_MISSING', `dists/${suite}/InRelease`, 'a signed InRelease', 'nothing');
  }

  /** Whether there is a Release file of any kind. */
  async #suite(suite: string): Promise<boolean> {
    const at = (name: string): string => `dists/${suite}/${name}`;
    const inRelease = await this.#clearSigned(at('InRelease'));
    const release = await this.#files.read(at('Release'), releaseLimitBytes);
    const detached = await this.#files.read(at('Release.gpg'), 1024 * 1024);
    if (release !== undefined || detached !== undefined) await this.#detached(at('Release.gpg'), release, detached);
    const text = inRelease ?? release?.toString('utf8');
    if (text === undefined) return this.#signedChecked.has(at('InRelease')) || detached !== undefined;
    if (inRelease !== undefined && release !== undefined && inRelease.trimEnd() !== release.toString('utf8').trimEnd()) {
      this.#wrong('apt-signatures', 'RELEASE_DIFFERS', at('Release'), 'the text of InRelease', `sha256:${sha256(release)}`);
    }
    const [about] = readStanzas(text);
    // A Release that was announced for one suite is no Release of another.
    const names = [about?.get('codename'), about?.get('suite')];
    if (!names.includes(suite)) this.#wrong('apt-signatures', 'RELEASE_DIFFERS', at('Release'), `Codename or Suite: ${suite}`, names.filter((name) => name !== undefined).map(printable).join(', ') || 'neither');
    await this.#indices(suite, text);
    return true;
  }

  /** The signed text of a file, judged; undefined where there is no such file, or nothing in it is signed. */
  async #clearSigned(path: string): Promise<string | undefined> {
    if (this.#signedChecked.has(path)) return undefined;
    const bytes = await this.#files.read(path, releaseLimitBytes);
    if (bytes === undefined) return undefined;
    this.#signedChecked.add(path);
    this.#findings.looked('apt-signatures');
    const message = bytes.toString('utf8');
    const cleartext = Buffer.from(message, 'utf8').equals(bytes) ? readClearSigned(message) : undefined;
    if (cleartext === undefined) {
      this.#wrong('apt-signatures', 'NOT_SIGNED', path, 'one clear-signed message and nothing else', `${bytes.length} bytes sha256:${sha256(bytes)}`);
      return undefined;
    }
    // A keys VM signs no text without its last newline, which stands before the signature and is not signed (RFC 9580, section 7.1).
    await this.#signatures.judge(path, await judgeCleartext(message, cleartext.text, this.#expected.signingKey), bytes, sha256(`${cleartext.text}\n`), 'clearsign');
    return cleartext.text;
  }

  async #detached(path: string, data: Buffer | undefined, signature: Buffer | undefined): Promise<void> {
    this.#findings.looked('apt-signatures');
    if (signature === undefined) return this.#wrong('apt-signatures', 'NOT_SIGNED', path, 'a signature of Release', 'nothing');
    if (data === undefined) return this.#wrong('apt-signatures', 'FILE_MISSING', path.replace(/\.gpg$/, ''), 'what Release.gpg signs', 'nothing');
    await this.#signatures.judge(path, await judgeDetached(data, signature, this.#expected.signingKey), signature, sha256(data), 'detach');
  }

  /** Everything that Release lists and is there has the listed hash; of each index at least one form is there. */
  async #indices(suite: string, release: string): Promise<void> {
    const at = (name: string): string => `dists/${suite}/${name}`;
    const [about, ...others] = readStanzas(release);
    const listed = about === undefined || isAmbiguous(about) || others.length > 0 ? undefined : readHashList(about.get('sha256'));
    if (listed === undefined || listed.length === 0) return this.#wrong('apt-files', 'BAD_INDEX', at('Release'), 'one stanza with one SHA256 list', 'something else');
    const forms = new Map<string, ListedFile[]>();
    for (const file of listed) {
      const stem = file.path.replace(/\.(?:gz|xz|bz2|zst|lz4)$/, '');
      forms.set(stem, [...forms.get(stem) ?? [], file]);
    }
    for (const [stem, files] of forms) {
      let readable: { file: ListedFile; path: string } | undefined;
      let there = 0;
      for (const file of files) {
        const found = await this.#files.hash(at(file.path));
        if (found === undefined) continue;
        there += 1;
        if (this.#compare(at(file.path), file, found) && /(?:Packages|Sources)(?:\.gz|\.xz)?$/.test(file.path)) readable ??= { file, path: at(file.path) };
      }
      // reprepro lists an empty index and may not write it.
      if (there === 0 && !files.some((file) => file.size === 0)) this.#wrong('apt-files', 'FILE_MISSING', at(stem), `sha256:${(files[0] as ListedFile).sha256}`, 'nothing');
      if (readable !== undefined) await this.#pool(readable.path);
    }
  }

  #compare(path: string, expected: ListedFile, found: { size: number; sha256: string } | undefined): boolean {
    this.#findings.looked('apt-files');
    if (found === undefined) {
      this.#wrong('apt-files', 'FILE_MISSING', path, `${expected.size} bytes sha256:${expected.sha256}`, 'nothing');
    } else if (found.size !== expected.size) {
      this.#wrong('apt-files', 'WRONG_SIZE', path, `${expected.size} bytes`, `${found.size} bytes sha256:${found.sha256}`);
    } else if (found.sha256 !== expected.sha256) {
      this.#wrong('apt-files', 'WRONG_SHA256', path, `sha256:${expected.sha256}`, `sha256:${found.sha256}`);
    } else {
      return true;
    }
    return false;
  }

  async #pool(indexPath: string): Promise<void> {
    const bytes = await this.#files.read(indexPath, indexLimitBytes) ?? Buffer.alloc(0);
    const text = await indexText(indexPath, bytes);
    const files = text === undefined ? undefined : filesOfIndex(/Sources(?:\.gz|\.xz)?$/.test(indexPath) ? 'Sources' : 'Packages', text.toString('utf8'));
    if (files === undefined) return this.#wrong('apt-files', 'BAD_INDEX', indexPath, 'stanzas with name, size and SHA-256', 'something else');
    for (const file of files) {
      const key = `${file.path} ${file.size} ${file.sha256}`;
      if (this.#poolChecked.has(key)) continue;
      this.#poolChecked.add(key);
      this.#compare(file.path, file, await this.#files.hash(file.path));
      if (!file.path.endsWith('.dsc')) continue;
      await this.#clearSigned(file.path);
      const folder = file.path.slice(0, file.path.lastIndexOf('/') + 1);
      for (const name of this.#expected.signedNames) await this.#clearSigned(`${folder}${name}`);
    }
  }
}
