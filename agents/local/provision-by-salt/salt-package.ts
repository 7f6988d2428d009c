// SPDX-License-Identifier: GPL-2.0-or-later
// What dom0 gets of us: the RPM, made on the spot of this checkout (two seconds), and unpacked. Salt never
// sees the checkout.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';

const bytesLimit = 1 << 28;

function must(
  program: string,
  args: readonly string[],
  options: { input?: Buffer; env?: NodeJS.ProcessEnv } = {},
): Buffer {
  const done = spawnSync(program, args, { maxBuffer: bytesLimit, timeout: 300_000, ...options });
  if (done.error !== undefined)
    throw new Error(
      `${program} could not be run (${done.error.message}): npm run local installs what --provisioner salt needs`,
    );
  if (done.status !== 0)
    throw new Error(`${program} ended with ${done.status ?? done.signal}: ${done.stderr.toString().trim()}`);
  return done.stdout;
}

/**
 * Makes the RPM and unpacks it. @param tree the checkout, with dist/ @param folder emptied; @returns where
 * the tree of dom0 lies
 */
export function unpackedPackage(tree: string, folder: string): string {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  // This package goes nowhere: no commit has to tell its time.
  const env = { PATH: process.env['PATH'], SOURCE_DATE_EPOCH: '1' };
  must(process.execPath, [join(tree, 'packaging/make-rpm.mjs'), '--tree', tree, '--out', folder], { env });
  const rpm = readdirSync(folder).find((name) => name.endsWith('.noarch.rpm'));
  if (rpm === undefined) throw new Error('make-rpm.mjs made no package');
  const archive = must('rpm2archive', ['-'], { input: readFileSync(join(folder, rpm)) });
  const root = join(folder, 'root');
  mkdirSync(root);
  must('tar', ['--extract', '--gzip', '--preserve-permissions', '--directory', root], { input: archive });
  return root;
}

/**
 * Folders of a VM that its files of the template go to: everything that the manifests name outside a VM's own
 * volume.
 */
export function templateFolders(manifests: string): string[] {
  const own = /^\/(rw|home|usr\/local)\//;
  const paths = readdirSync(manifests).flatMap((name) => {
    const { template, vm } = parse(readFileSync(join(manifests, name), 'utf8')) as {
      template?: { files?: { path: string }[] };
      vm: { files: { path: string }[] };
    };
    return [...(template?.files ?? []), ...vm.files].map(({ path }) => path);
  });
  return [
    ...new Set(paths.filter((path) => !own.test(path)).map((path) => path.slice(0, path.lastIndexOf('/')))),
  ].sort();
}
