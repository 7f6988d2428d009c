// SPDX-License-Identifier: GPL-2.0-or-later
// The sources that a spec names, taken from the verified tree and from nowhere else (decision 081); what was
// downloaded lies in it (decision 116).
import { closeSync, existsSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder } from '../../shared/durable-files.js';
import { Refusal } from '../refusals.js';
import { builderId } from '../chroot/jail.js';
import { freezeFile, openPlainFile } from '../../shared/files/frozen-files.js';
import { runLogged, type LineSink } from '../../shared/programs/logged-program.js';
import { isTreeArchived, moduleArchive } from '../source-tree/build-file.js';
import { formulaFiles } from '../source-tree/formula.js';
import { isInTree } from '../source-tree/tree-file.js';
import type { PlannedBuild } from './spec-query.js';

const tarMs = 600_000;

/**
 * The tarball that a spec may name without there being such a file: it is the tree itself. A spec of several
 * of one tree names it as another one of them does.
 */
export function treeTarball(
  tree: string,
  { source, spec }: Pick<PlannedBuild, 'source' | 'spec'>,
  others: readonly string[] = [],
): { file: string; folder: string } | undefined {
  const own = `${source.name}-${source.version}`;
  if (!spec.isListed) return { file: `${own}.tar.gz`, folder: own };
  if (!isTreeArchived(tree)) return undefined;
  const [file, ...more] = source.files.filter(
    (name) => name.endsWith('.tar.gz') && !isInTree(tree, name) && !others.includes(name),
  );
  return file === undefined || more.length > 0
    ? undefined
    : { file, folder: file.slice(0, -'.tar.gz'.length) };
}

/**
 * The folder `from` as `folder` in a tarball that is the same bytes each time. gzip of one piece and one
 * thread; -n: neither name nor time.
 */
function archiveCommand(file: string, folder: string, epoch: number, from: string): string[] {
  return [
    'tar',
    '--create',
    '--file',
    file,
    '--use-compress-program=gzip -n9',
    '--sort=name',
    `--mtime=@${epoch}`,
    '--owner=0',
    '--group=0',
    '--numeric-owner',
    '--format=gnu',
    '--mode=u+rwX,go+rX,go-w',
    '--hard-dereference',
    `--transform=flags=rSh;s,^\\.,${folder},`,
    '--directory',
    from,
    '.',
  ];
}

/**
 * Fills `<build>/SOURCES` and `<build>/SPECS`, owned by the build's user.
 * @param build the folder that is /build in the jail
 * @param modules submodules at the top of the tree whose archives are sources, with the commits that it pins
 * @throws Refusal SOURCE_NOT_IN_TREE, NO_SOURCE_PACKAGE
 */
export async function prepareSources(
  tree: string,
  plan: PlannedBuild,
  build: string,
  epoch: number,
  log: LineSink,
  modules: Readonly<Record<string, string>> = {},
): Promise<void> {
  for (const name of ['BUILD', 'BUILDROOT', 'RPMS', 'SOURCES', 'SPECS', 'SRPMS'])
    makeFolder(join(build, name));
  const run = async (argv: readonly string[]): Promise<void> => {
    const status = await runLogged(argv, log, { timeoutMs: tarMs });
    if (status !== 0) throw new Refusal('NO_SOURCE_PACKAGE', `${argv[0]} ended with ${status}`);
  };
  const beside = join(tree, plan.spec.folder);
  writeFileSync(join(build, 'SPECS', plan.spec.file), plan.spec.text);
  const archives = new Map(
    Object.entries(modules).map(([name, commit]) => [moduleArchive(name, commit), name]),
  );
  const made = treeTarball(tree, plan, [...archives.keys()]);
  const more = join(build, 'MORE');
  makeFolder(more);
  const formula = formulaFiles(tree);
  for (const [name, content] of formula) {
    writeFileSync(join(more, name), content);
    utimesSync(join(more, name), epoch, epoch);
  }
  for (const file of new Set(plan.source.files)) {
    const module = archives.get(file);
    // A patch beside the spec, or a plain file at the top for a spec in packaging/.
    const folder = [beside, tree].find((candidate) => existsSync(join(candidate, file)));
    if (module !== undefined) {
      log.say(`source ${file}: made of the submodule ${module}`);
      await run(archiveCommand(join(build, 'SOURCES', file), module, epoch, join(tree, module)));
    } else if (folder !== undefined) {
      closeSync(openPlainFile(folder, file).fd);
      freezeFile(folder, join(build, 'SOURCES'), file);
      log.say(`source ${file}: from the tree`);
    } else if (file === made?.file) {
      log.say(`source ${file}: made of the tree`);
      await run([
        ...archiveCommand(join(build, 'SOURCES', file), made.folder, epoch, tree),
        ...(formula.length === 0 ? [] : ['--directory', more, ...formula.map(([name]) => `./${name}`)]),
      ]);
      for (const [name] of formula) log.say(`${name}: made of the tree's FORMULA`);
    } else {
      throw new Refusal(
        'SOURCE_NOT_IN_TREE',
        `the spec names the source ${file}, which is not in the tree; what its .qubesbuilder lists would be`,
      );
    }
  }
  rmSync(more, { recursive: true });
  await run(['chown', '--recursive', '--no-dereference', `${builderId}:${builderId}`, build]);
}
