// SPDX-License-Identifier: GPL-2.0-or-later
// Debian packages: metadata by reprepro, signed through the gate, and the proof by apt.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Refusal } from '../../refusals.js';
import { rebuiltVersion } from '../../../engines/source-tree/package-version.js';
import type { HashedFile } from '../../../shared/formats/intent.js';
import { readChanges } from '../../../shared/formats/control-file.js';
import { hashFile, readPlainFile } from '../../../shared/files/frozen-files.js';
import { codenameOf, type AnySuite } from '../../../shared/formats/suites.js';
import type { LineSink } from '../../../shared/programs/logged-program.js';
import { verifyClearSigned } from '../../signatures/one-signature.js';
import { signedFolder } from '../../gate/signed-files.js';
import { rebuildOf, type Job, type Upload } from '../../jobs/job-document.js';
import type { PackageRepository } from '../package-repository.js';
import {
  beginChange,
  bringOut,
  bringOutUpload,
  type ChangeOptions,
  type RepositoryChange,
} from '../repository-change.js';
import type { Generation } from '../repository-generations.js';
import { tryAgain } from '../upload-generation.js';
import {
  codenamesIn,
  makeGeneration,
  poolOf,
  suiteHas,
  suitesIn,
  type AptChange,
  type PublicationOptions,
} from './apt-publication.js';
import { readBack, readBackAbsence } from './apt-read-back.js';
import { changesOf, verifyEngineUpload } from './engine-upload.js';
import { sourceOf } from './published-source.js';
import { signUploadFor } from './sign-upload.js';

const changesLimitBytes = 4 * 1024 * 1024;

/** The place of one distribution, and what is done there. */
export async function beginAptChange(
  job: Job,
  dist: string,
  suite: AnySuite,
  options: ChangeOptions,
  log: LineSink,
): Promise<{ change: RepositoryChange; url: string; make: (change: AptChange) => Promise<Generation> }> {
  const {
    config: { apt, env },
    paths,
    publicKey,
  } = options;
  if (apt === undefined) throw new Refusal('CONFIG_CHANGED', 'there is no APT repository any more');
  const publication: PublicationOptions = {
    folder: join(paths.apt, env, dist),
    apt,
    dist,
    suite,
    gpg: paths.gpg,
    publicKey,
  };
  const change = await beginChange(job, dist, publication.folder, apt.upload, options, log);
  return {
    change,
    url: `${apt.url}/${dist}`,
    make: (wanted) => makeGeneration({ job: job.job }, wanted, change.gpgJob, publication, log),
  };
}

/** Of a .changes: its files with itself. */
function readUpload(
  signed: string,
  changesName: string,
): { files: HashedFile[]; source: { name: string; version: string } } {
  const { files, source, sourceVersion } = readChanges(
    readPlainFile(signed, changesName, changesLimitBytes).toString('utf8'),
  );
  return {
    files: [...files.map((file) => hashFile(signed, file.name)), hashFile(signed, changesName)],
    source: { name: source, version: sourceVersion },
  };
}

export const aptRepository: PackageRepository = {
  suitesIn,
  sign: signUploadFor,
  verifySigned: verifyEngineUpload,

  rebuilt(names, tagVersion, number) {
    const found = sourceOf(names, tagVersion);
    return { ...found, packages: rebuiltVersion(found.version, number) };
  },

  async publish(job, dist, suite, options, log): Promise<Upload> {
    const signed = signedFolder(options.jobFolder, dist);
    const changesName = readdirSync(signed).find((name) => name.endsWith('.changes'));
    if (changesName === undefined) throw new Refusal('NO_CHANGES', 'there is no signed .changes');
    const { files, source } = readUpload(signed, changesName);
    const { change, url, make } = await beginAptChange(job, dist, suite, options, log);
    const generation = await make({ kind: 'include', changes: join(signed, changesName), files });
    const codename = codenameOf(dist, suite);
    return await bringOutUpload(
      change,
      generation,
      { dist, url, suite: codename, release: generation.release, files },
      {},
      options,
      log,
      () =>
        readBack(
          (name) => join(signed, name),
          files,
          source,
          { url, codename, publicKey: options.publicKey, folder: change.work },
          log,
        ),
    );
  },

  async promote(job, dist, { from, to, files }, options, log): Promise<Upload> {
    // A rebuild's own files have none.
    const { source, version } =
      rebuildOf(job)?.sources[dist] ??
      sourceOf(
        files.map(({ name }) => name),
        job.version,
      );
    const { change, url, make } = await beginAptChange(job, dist, to, options, log);
    const { last } = change;
    const codename = codenameOf(dist, to);
    // After a kill there may be one of this job's own, and testing may have gone on meanwhile: then what was
    // copied is there.
    if (
      last === undefined ||
      ![codenameOf(dist, from), codename].some((one) => suiteHas(last, one, source, version))
    ) {
      throw new Refusal('NOT_IN_SUITE', `${source} ${version} is not in ${from} of ${dist} any more`);
    }
    const pool = poolOf(join(last.folder, 'pool'));
    for (const file of files) {
      const folder = pool.get(file.name);
      if (folder === undefined || hashFile(folder, file.name).sha256 !== file.sha256)
        throw new Refusal('NOT_IN_SUITE', `${file.name} with its published bytes is not in ${from}`);
    }
    const generation = await make({ kind: 'copy', from, source, version });
    const made = poolOf(join(generation.folder, 'pool'));
    return await bringOutUpload(
      change,
      generation,
      { dist, url, suite: codename, release: generation.release, files: [...files] },
      {},
      options,
      log,
      () =>
        readBack(
          (name) => join(made.get(name) ?? generation.folder, name),
          files,
          { name: source, version },
          { url, codename, publicKey: options.publicKey, folder: change.work },
          log,
        ),
    );
  },

  async withdraw(job, dist, made, options, log): Promise<boolean> {
    const { source, version } = sourceOf(made.names, job.version);
    const { change, url, make } = await beginAptChange(job, dist, 'current-testing', options, log);
    const { last, own } = change;
    if (last === undefined) return false;
    // What bears the same name and version with other bytes is another's: reading back finds it, and a person
    // has to look.
    const pool = poolOf(join(last.folder, 'pool'));
    const isOurs = made.files.some(
      ({ name, sha256 }) =>
        name.endsWith('.dsc') && pool.has(name) && hashFile(pool.get(name) as string, name).sha256 === sha256,
    );
    let generation = last;
    if (
      own !== undefined ||
      (isOurs && codenamesIn(last.folder, dist).some((codename) => suiteHas(last, codename, source, version)))
    ) {
      generation = await make({ kind: 'remove', source, version });
      await bringOut(change, generation, {}, log);
    }
    log.say(`generation ${generation.release} is what the world has to see`);
    await tryAgain(log, () =>
      readBackAbsence(
        { name: source, version },
        { url, dist, publicKey: options.publicKey, folder: change.work, generation: generation.folder },
        log,
      ),
    );
    return true;
  },

  async verifyPublished({ suite }, index, { armored, fingerprint }): Promise<void> {
    if (suite === undefined)
      throw new Refusal('ENGINE_FAILED', 'its artifacts.json does not say where it published');
    await verifyClearSigned(
      readPlainFile(index, 'InRelease', changesLimitBytes).toString('utf8'),
      'InRelease',
      armored,
      fingerprint,
    );
  },

  async readBack({ url, suite, signed, files, publicKey, folder }, log): Promise<HashedFile[]> {
    const { source, version } = readChanges(
      readPlainFile(signed, changesOf(files), changesLimitBytes).toString('utf8'),
    );
    return await readBack(
      (name) => join(signed, name),
      files,
      { name: source, version },
      { url, codename: suite as string, publicKey, folder },
      log,
    );
  },
};
