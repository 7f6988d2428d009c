// SPDX-License-Identifier: GPL-2.0-or-later
// Signs .dsc, .buildinfo and .changes with debsign, which calls our gpg: that one asks for an intent, then
// for a signature. What was signed before a kill is kept: it was published as an intent, and would have to be
// published again.
import { chmodSync, copyFileSync, existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder } from '../../../shared/durable-files.js';
import { AnyRefusal } from '../../../shared/refusal.js';
import { Refusal } from '../../refusals.js';
import type { HashedFile } from '../../../shared/formats/intent.js';
import { readChanges, type Changes } from '../../../shared/formats/control-file.js';
import { becomeDurably } from '../../../shared/files/durable-folder.js';
import { hashFile, readPlainFile } from '../../../shared/files/frozen-files.js';
import { artifactsFolder, rebuildOf, type Job } from '../../jobs/job-document.js';
import { hearingRefusals } from '../../gate/refusals-heard.js';
import { runLogged, type LineSink } from '../../../shared/programs/logged-program.js';
import { verifyClearSigned } from '../../signatures/one-signature.js';
import { isBuiltOfTag, rebuiltVersion } from '../../../engines/source-tree/package-version.js';
import { removeDamaged, signedFolder, writeGpgJob, type SignOptions } from '../../gate/signed-files.js';
import { rootEnvironment } from '../../configuration/paths.js';

const signMs = 1800_000;
const textLimitBytes = 16 * 1024 * 1024;

const isSigned = (name: string): boolean => /\.(?:dsc|buildinfo|changes)$/.test(name);

/** A rebuild's number where it was commanded, over the source that is published, and nowhere else. */
function isOfJob({ source, version, sourceVersion }: Changes, job: Job, dist: string): boolean {
  const rebuild = rebuildOf(job);
  if (rebuild === undefined) return sourceVersion === version && isBuiltOfTag(version, job.version);
  const published = rebuild.sources[dist];
  return (
    published !== undefined &&
    source === published.source &&
    sourceVersion === published.version &&
    version === rebuiltVersion(published.version, rebuild.number)
  );
}

async function verifySigned(
  folder: string,
  job: Job,
  dist: string,
  options: SignOptions,
): Promise<HashedFile[]> {
  const changesName = readdirSync(folder).find((name) => name.endsWith('.changes')) ?? '';
  for (const name of readdirSync(folder).filter(isSigned)) {
    await verifyClearSigned(
      readPlainFile(folder, name, textLimitBytes).toString('utf8'),
      name,
      options.publicKey,
      options.signingKey,
    );
  }
  const changes = readChanges(readPlainFile(folder, changesName, textLimitBytes).toString('utf8'));
  if (!isOfJob(changes, job, dist))
    throw new Refusal(
      'VERSION_MISMATCH',
      `the signed .changes is of ${changes.version}, source ${changes.sourceVersion}`,
    );
  const frozen = job.artifacts.find((made) => made.dist === dist)?.files ?? [];
  return [
    ...changes.files.map((announced) => {
      const file = hashFile(folder, announced.name);
      const before = frozen.find((built) => built.name === file.name);
      if (
        file.sha256 !== announced.sha256 ||
        before === undefined ||
        (!isSigned(file.name) && before.sha256 !== file.sha256)
      ) {
        throw new Refusal('BAD_ARTIFACT', `${file.name} is not the file that was built`);
      }
      return file;
    }),
    hashFile(folder, changesName),
  ];
}

async function debsign(
  folder: string,
  job: Job,
  dist: string,
  options: SignOptions,
  log: LineSink,
): Promise<void> {
  const jobFile = join(options.folder, `gpg-job-${dist}.json`);
  writeGpgJob(jobFile, job, dist);
  const temporary = join(options.folder, `debsign-${dist}.tmp`);
  rmSync(temporary, { recursive: true, force: true });
  makeFolder(temporary, 0o700);
  const changesName = readdirSync(folder).find((name) => name.endsWith('.changes'));
  if (changesName === undefined) throw new Refusal('NO_CHANGES', 'there is no .changes to sign');
  // debsign evaluates names that it finds there: whatever made the file, it is read strictly first.
  readChanges(readPlainFile(folder, changesName, textLimitBytes).toString('utf8'));
  // TMPDIR on the same file system: debsign's last step is then a rename, so a kill leaves no half file.
  const hearing = hearingRefusals(log);
  const status = await runLogged(
    ['debsign', '--no-conf', '--no-re-sign', `-k${options.signingKey}`, `-p${options.gpg}`, changesName],
    hearing,
    {
      cwd: folder,
      timeoutMs: signMs,
      env: { ...rootEnvironment, BUILD_INFRA_JOB: jobFile, TMPDIR: temporary, HOME: temporary },
    },
  );
  if (status !== 0) throw hearing.refusal('SIGN_FAILED', `debsign ended with ${status}; its log says why`);
}

/**
 * As it was built, or signed before a kill. Half a copy is neither, and what debsign changed without signing
 * it is changed again.
 */
async function isWhole(part: string, file: HashedFile, options: SignOptions): Promise<boolean> {
  if (!existsSync(join(part, file.name))) return false;
  try {
    if (!isSigned(file.name)) return hashFile(part, file.name).sha256 === file.sha256;
    await verifyClearSigned(
      readPlainFile(part, file.name, textLimitBytes).toString('utf8'),
      file.name,
      options.publicKey,
      options.signingKey,
    );
    return true;
  } catch (error) {
    if (error instanceof AnyRefusal) return false;
    throw error;
  }
}

/** @returns the signed upload's files. @throws Refusal SIGN_FAILED, BAD_SIGNATURE, BAD_ARTIFACT */
export async function signUploadFor(
  job: Job,
  dist: string,
  options: SignOptions,
  log: LineSink,
): Promise<HashedFile[]> {
  const signed = signedFolder(options.folder, dist);
  if (existsSync(signed)) {
    try {
      const files = await verifySigned(signed, job, dist, options);
      log.say('the signed files are there from before');
      return files;
    } catch (error) {
      removeDamaged(signed, error, log);
    }
  }
  const part = `${signed}.part`;
  makeFolder(part);
  for (const file of job.artifacts.find((made) => made.dist === dist)?.files ?? []) {
    if (await isWhole(part, file, options)) continue;
    rmSync(join(part, file.name), { recursive: true, force: true });
    copyFileSync(join(artifactsFolder(options.folder, dist), file.name), join(part, file.name));
    chmodSync(join(part, file.name), 0o644);
  }
  await debsign(part, job, dist, options, log);
  let files: HashedFile[];
  try {
    files = await verifySigned(part, job, dist, options);
  } catch (error) {
    // Whatever a kill left half done here is not worth repairing: the next attempt starts from the frozen
    // files.
    rmSync(part, { recursive: true });
    throw error;
  }
  await becomeDurably(part, signed);
  return files;
}
