// SPDX-License-Identifier: GPL-2.0-or-later
// RPM packages: metadata by createrepo_c, signed through the gate, and the proof by dnf.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Refusal } from '../../refusals.js';
import { indexNames } from '../../../engines/contract.js';
import { rebuiltRelease } from '../../../engines/source-tree/package-version.js';
import type { HashedFile } from '../../../shared/formats/intent.js';
import { hashFile } from '../../../shared/files/frozen-files.js';
import { codenameOf, suitesOf, type AnySuite } from '../../../shared/formats/suites.js';
import type { LineSink } from '../../../shared/programs/logged-program.js';
import { signedFolder } from '../../gate/signed-files.js';
import type { PackageJob, Upload } from '../../jobs/job-document.js';
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
  makeRpmGeneration,
  suitesIn,
  type DnfChange,
  type RpmPublicationOptions,
} from './dnf-publication.js';
import { readBackPackages, type DnfReadBackOptions } from './dnf-read-back.js';
import { verifyEnginePackages } from './engine-packages.js';
import { sourceOfPackages } from './published-source.js';
import { signPackagesFor } from './sign-packages.js';

/** What nothing refers to yet, then what refers to it. */
export function uploadedParts(
  { folder }: Generation,
  dist: string,
): { packages: string[]; metadata: string[] } {
  const suites = suitesIn(folder, dist);
  return {
    packages: suites.map((suite) => `${suite}/packages`),
    metadata: suites.map((suite) => `${suite}/repodata`),
  };
}

interface DnfPlace {
  change: RepositoryChange;
  make: (change: DnfChange) => Promise<Generation>;
  /** of a suite, as that generation has it */
  client: (suite: AnySuite, generation: Generation) => DnfReadBackOptions;
  bringOutUpload: (generation: Generation, packages: string, files: readonly HashedFile[]) => Promise<Upload>;
}

/** The place of one distribution, and what is done there. */
async function beginDnfChange(
  job: PackageJob,
  dist: string,
  suite: AnySuite,
  options: ChangeOptions,
  log: LineSink,
): Promise<DnfPlace> {
  const {
    config: { dnf, env, signingKey },
    paths,
    publicKey,
  } = options;
  if (dnf === undefined) throw new Refusal('CONFIG_CHANGED', 'there is no DNF repository any more');
  const publication: RpmPublicationOptions = {
    folder: join(paths.dnf, env),
    suite,
    gpg: paths.gpg,
    signingKey,
    publicKey,
  };
  const change = await beginChange(job, dist, join(publication.folder, dist), dnf.upload, options, log);
  const client: DnfPlace['client'] = (one, generation) => ({
    url: `${dnf.url.replace(/\/+$/, '')}/${dist}/${one}`,
    publicKey,
    repomd: join(generation.folder, one, 'repodata', indexNames.rpm),
    folder: change.work,
  });
  return {
    change,
    client,
    make: (wanted) =>
      makeRpmGeneration(
        { job: job.job, dist, sourceDateEpoch: job.sourceDateEpoch ?? 0 },
        wanted,
        change.gpgJob,
        publication,
        log,
      ),
    bringOutUpload: (generation, packages, files) => {
      const read = client(suite, generation);
      const upload = {
        dist,
        url: read.url,
        suite: codenameOf(dist, suite),
        release: generation.release,
        files: [...files],
      };
      return bringOutUpload(change, generation, upload, uploadedParts(generation, dist), options, log, () =>
        readBackPackages(packages, files, read, log),
      );
    },
  };
}

export const dnfRepository: PackageRepository = {
  suitesIn,
  sign: signPackagesFor,
  verifySigned: verifyEnginePackages,
  // The index is signed beside it, which dnf reads back.
  verifyPublished: async () => undefined,

  rebuilt(names, _, number) {
    const found = sourceOfPackages(names);
    return { ...found, packages: rebuiltRelease(found.version, number) };
  },

  async publish(job, dist, suite, options, log): Promise<Upload> {
    const signed = signedFolder(options.jobFolder, dist);
    const files = (job.artifacts.find((made) => made.dist === dist)?.files ?? []).map((file) =>
      hashFile(signed, file.name),
    );
    if (files.length === 0) throw new Refusal('NO_PACKAGES', `there is nothing signed for ${dist}`);
    const place = await beginDnfChange(job, dist, suite, options, log);
    return await place.bringOutUpload(await place.make({ kind: 'include', signed, files }), signed, files);
  },

  async promote(job, dist, { from, to, files }, options, log): Promise<Upload> {
    const place = await beginDnfChange(job, dist, to, options, log);
    const generation = await place.make({ kind: 'copy', from, files });
    return await place.bringOutUpload(generation, join(generation.folder, to, 'packages'), files);
  },

  async withdraw(job, dist, { files, names }, options, log): Promise<boolean> {
    const { change, client, make } = await beginDnfChange(
      job,
      dist,
      suitesOf(dist)[0] as AnySuite,
      options,
      log,
    );
    const { last, own } = change;
    if (last === undefined) return false;
    const there = ({ folder }: Generation): string[] =>
      suitesIn(folder, dist).flatMap((suite) =>
        names.filter((name) => existsSync(join(folder, suite, 'packages', name))),
      );
    let generation = last;
    if (own !== undefined || there(last).length > 0) {
      generation = await make({ kind: 'remove', files });
      await bringOut(change, generation, uploadedParts(generation, dist), log);
    }
    const others = there(generation);
    if (others.length > 0)
      throw new Refusal(
        'NOT_IN_SUITE',
        `${others[0]} is published with other bytes than those of ${job.component} ${job.version}: look whose it is`,
      );
    for (const suite of suitesIn(generation.folder, dist)) {
      const read = client(suite, generation);
      if (existsSync(read.repomd)) await tryAgain(log, () => readBackPackages('', [], read, log));
    }
    return true;
  },

  async readBack({ url, signed, files, index, publicKey, folder }, log): Promise<HashedFile[]> {
    return await readBackPackages(
      signed,
      files.filter((file) => file.name.endsWith('.rpm')),
      { url, publicKey, folder, repomd: join(index, indexNames.rpm) },
      log,
    );
  },
};
