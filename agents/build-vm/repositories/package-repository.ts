// SPDX-License-Identifier: GPL-2.0-or-later
// What a kind of packages has to bring so that its packages are signed, published, moved, taken back and read
// back. One folder beside this file for each kind, and one line in package-repositories.ts.
import type { EngineArtifacts } from '../../engines/contract.js';
import type { HashedFile } from '../../shared/formats/intent.js';
import type { AnySuite } from '../../shared/formats/suites.js';
import type { LineSink } from '../../shared/programs/logged-program.js';
import type { SignOptions } from '../gate/signed-files.js';
import type { MakingJob, PromotionJob, Upload, WithdrawalJob } from '../jobs/job-document.js';
import type { ChangeOptions } from './repository-change.js';

/** What was made of a version for a distribution. */
export interface Made {
  /** with the bytes that the world may have seen */
  files: readonly HashedFile[];
  /** of everything that was built */
  names: readonly string[];
}

/** What an engine signed, beside what was frozen before. */
export interface SignedCheck {
  /** as announced after `sign` @param frozen as announced after `build`, with `files` */
  signed: string;
  frozen: string;
  files: readonly HashedFile[];
  /** of the job: the tag's */
  version: string;
  key: PublicKey;
  /** a folder to make and remove */
  work: string;
}

export interface PublicKey {
  armored: string;
  fingerprint: string;
}

/** What an engine published, to be read back. */
export interface PublishedByEngine {
  url: string;
  suite: string | undefined;
  /** folder of the signed files, with `files` */
  signed: string;
  files: readonly HashedFile[];
  /** folder of the signed index, as it was announced */
  index: string;
  /** path of the armored key */
  publicKey: string;
  /** made anew and removed */
  folder: string;
}

export interface PackageRepository {
  /**
   * What this kind calls the source of an upload, by the names of its files; its version; and that of
   * packages which are rebuilt of it. @throws Refusal NOT_IN_SUITE, NO_REBUILD
   */
  rebuilt: (
    names: readonly string[],
    tagVersion: string,
    number: number,
  ) => { source: string; version: string; packages: string };
  /** The suites of a generation. @param folder of it */
  suitesIn: (folder: string, dist: string) => readonly AnySuite[];
  /**
   * @returns the signed upload's files. @throws Refusal SIGN_FAILED, BAD_SIGNATURE, BAD_ARTIFACT,
   * VERSION_MISMATCH, NO_CHANGES
   */
  sign: (job: MakingJob, dist: string, options: SignOptions, log: LineSink) => Promise<HashedFile[]>;
  /**
   * What was signed, into a suite. @throws Refusal ALREADY_PUBLISHED, PUBLISH_FAILED, BAD_SIGNATURE,
   * BAD_ARTIFACT, NO_CHANGES, NO_PACKAGES, UPLOAD_FAILED, READ_BACK_FAILED
   */
  publish: (
    job: MakingJob,
    dist: string,
    suite: AnySuite,
    options: ChangeOptions,
    log: LineSink,
  ) => Promise<Upload>;
  /**
   * Published bytes, into another suite. @throws Refusal NOT_IN_SUITE, PUBLISH_FAILED, BAD_SIGNATURE,
   * UPLOAD_FAILED, READ_BACK_FAILED
   */
  promote: (
    job: PromotionJob,
    dist: string,
    move: { from: AnySuite; to: AnySuite; files: readonly HashedFile[] },
    options: ChangeOptions,
    log: LineSink,
  ) => Promise<Upload>;
  /**
   * Out of every suite. @returns false where no repository is on this disk. @throws Refusal REPOSITORY_LOST,
   * NOT_IN_SUITE, PUBLISH_FAILED, BAD_SIGNATURE, UPLOAD_FAILED, READ_BACK_FAILED
   */
  withdraw: (
    job: WithdrawalJob,
    dist: string,
    made: Made,
    options: ChangeOptions,
    log: LineSink,
  ) => Promise<boolean>;
  /**
   * Of an engine that publishes itself: a signature is all that may have come to what was frozen. @throws
   * Refusal BAD_ARTIFACT, BAD_SIGNATURE, VERSION_MISMATCH, NO_CHANGES, BAD_CONTROL_FILE
   */
  verifySigned: (check: SignedCheck) => Promise<void>;
  /**
   * Of an engine that publishes itself: what it says of where it did. @param index folder of the signed index
   * @throws Refusal ENGINE_FAILED, BAD_SIGNATURE
   */
  verifyPublished: (
    said: NonNullable<EngineArtifacts['published']>,
    index: string,
    key: PublicKey,
  ) => Promise<void>;
  /**
   * Of an engine that publishes itself: by the kind's real client. @returns the files that came back @throws
   * Refusal READ_BACK_FAILED
   */
  readBack: (published: PublishedByEngine, log: LineSink) => Promise<HashedFile[]>;
}
