// SPDX-License-Identifier: GPL-2.0-or-later
// "Uploaded" means that dnf, with nothing but the public key and the public URL, sees the metadata that was
// signed last and gets exactly the packages that were signed.
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { makeFolder } from '../../../shared/durable-files.js';
import { Refusal } from '../../refusals.js';
import type { HashedFile } from '../../../shared/formats/intent.js';
import { hashFile, hashesIn } from '../../../shared/files/frozen-files.js';
import { runLogged, type LineSink } from '../../../shared/programs/logged-program.js';
import { proxyEnvironment } from '../../../shared/programs/program.js';
import { orTimedOut, transferMs } from '../upload-generation.js';
import { readRpmFile, type RpmFile } from './rpm-file.js';

export interface DnfReadBackOptions {
  /** of one distribution: has repodata/ */
  url: string;
  /** path of the armored key, the only one that is trusted */
  publicKey: string;
  /** the repomd.xml that was uploaded */
  repomd: string;
  /** made anew and removed */
  folder: string;
  /** for each call of dnf; by the size of what is read unless told */
  limitMs?: number;
}

/**
 * A configuration that takes nothing from this VM: no repository, variable, plugin setting or key of its own.
 */
export function dnfConfiguration(root: string, url: string, publicKey: string): string {
  return [
    '[main]',
    'gpgcheck=1',
    'repo_gpgcheck=1',
    'localpkg_gpgcheck=1',
    'reposdir=/nonexistent',
    'varsdir=/nonexistent',
    `pluginconfpath=${root}/etc/plugins`,
    'cachedir=/cache',
    'persistdir=/persist',
    'logdir=/log',
    'metadata_expire=0',
    'retries=2',
    'timeout=60',
    'skip_if_unavailable=0',
    'install_weak_deps=0',
    'module_platform_id=platform:none',
    'zchunk=0',
    'deltarpm=0',
    'best=1',
    '[published]',
    'name=published',
    `baseurl=${url}`,
    `gpgkey=file://${publicKey}`,
    'enabled=1',
    'gpgcheck=1',
    'repo_gpgcheck=1',
    '',
  ].join('\n');
}

function nevra({ name, epoch, version, release, arch }: RpmFile): string {
  return `${name}-${epoch === '' ? '0' : epoch}:${version}-${release}.${arch}`;
}

/**
 * @param signed folder of the signed packages, with `files`
 * @returns the files that came back: all of them
 * @throws Refusal READ_BACK_FAILED
 */
export async function readBackPackages(
  signed: string,
  files: readonly HashedFile[],
  options: DnfReadBackOptions,
  log: LineSink,
): Promise<HashedFile[]> {
  const { folder } = options;
  rmSync(folder, { recursive: true, force: true });
  const root = join(folder, 'root');
  const download = join(folder, 'download');
  for (const made of [root, download, join(root, 'etc/plugins')]) makeFolder(made);
  writeFileSync(join(folder, 'key.asc'), readFileSync(options.publicKey));
  writeFileSync(join(folder, 'dnf.conf'), dnfConfiguration(root, options.url, join(folder, 'key.asc')));
  const dnf = async (...argv: string[]): Promise<void> => {
    // `download` is a plugin of its own; all other plugins stay out.
    const fixed = [
      'dnf',
      '--assumeyes',
      '--config',
      join(folder, 'dnf.conf'),
      '--installroot',
      root,
      '--releasever=0',
      '--disableplugin=*',
      '--enableplugin=download',
      '--color=never',
    ];
    const label = `read back: dnf ${argv.join(' ')}`;
    const status = await runLogged([...fixed, ...argv], log, {
      cwd: folder,
      timeoutMs: options.limitMs ?? transferMs(files),
      env: { ...proxyEnvironment(), HOME: folder, TMPDIR: folder },
      label,
    }).catch(orTimedOut('READ_BACK_FAILED', label));
    if (status !== 0)
      throw new Refusal('READ_BACK_FAILED', `dnf ${argv[0]} from ${options.url} ended with ${status}`);
  };
  try {
    await dnf('makecache');
    const wanted = hash(options.repomd);
    const seen = readdirSync(join(root, 'cache'))
      .map((name) => join(root, 'cache', name, 'repodata/repomd.xml'))
      .filter((path) => existsSync(path))
      .map(hash);
    // Signed and whole, and of yesterday: only we know which one it must be.
    if (seen.length !== 1 || seen[0] !== wanted)
      throw new Refusal(
        'READ_BACK_FAILED',
        `${options.url} gives other metadata than the last that was uploaded`,
      );
    const packages = files.map((file) => readRpmFile(signed, file.name));
    const binaries = packages.filter((one) => !one.isSource).map(nevra);
    const sources = packages.filter((one) => one.isSource).map(nevra);
    if (binaries.length > 0) await dnf('download', '--destdir', download, ...binaries);
    if (sources.length > 0) await dnf('download', '--source', '--destdir', download, ...sources);
    const got = hashesIn(download);
    for (const file of files)
      if (got.get(file.name) !== file.sha256)
        throw new Refusal('READ_BACK_FAILED', `${file.name} did not come back as it was signed`);
    log.say(`read back ${files.length} packages from ${options.url}, all as built and signed`);
    return [...files];
  } finally {
    if (existsSync(folder)) rmSync(folder, { recursive: true, force: true });
  }
}

function hash(path: string): string {
  return hashFile(dirname(path), basename(path)).sha256;
}
