// SPDX-License-Identifier: GPL-2.0-or-later
// Rules about the installed tree that no rendering shows: the names that `qubesctl top.enable` makes of
// paths, what a packaged formula must not bring, and what works with salt-call but not through salt-ssh.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { test } from 'tap';
import { parse } from 'yaml';
import { installedTree } from './rig.js';

const formula = 'srv/formulas/base/build-infra';
const pillar = 'srv/pillar/base';
/** Qubes has these two. */
const saltenvs = ['base', 'user'];

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true })
    .flatMap((entry) =>
      entry.isDirectory() ? filesBelow(join(folder, entry.name)) : [join(folder, entry.name)],
    )
    .sort();
}

/**
 * As topd names a top by its path below its file root. It loses what stands before a component that ends in
 * the name of a saltenv.
 */
export function topName(path: string): { name: string; trap: string | null } {
  const parts = path.replace(/\.top$/, '').split('/');
  const trap = parts.find((part) => saltenvs.some((saltenv) => part.endsWith(saltenv)));
  if (parts[parts.length - 1] === 'init') parts.pop();
  const name = parts.join('.');
  if (trap !== undefined) return { name, trap: `${trap} ends in the name of a saltenv` };
  return {
    name,
    trap: name === name.toLowerCase() ? null : `${name} is enabled in lower case, and not found`,
  };
}

await test('topd names our tops as the documentation says', async (t) => {
  const root = installedTree();
  const tops = (below: string): string[] =>
    filesBelow(join(root, below))
      .filter((path) => path.endsWith('.top'))
      .map((path) => relative(join(root, below), path));
  t.strictSame(
    tops(formula).map(topName),
    ['build-infra', 'build-infra.ssh-proxy', 'build-infra.webhooks'].map((name) => ({ name, trap: null })),
  );
  t.strictSame(tops(pillar).map(topName), [{ name: 'build-infra', trap: null }]);
});

await test('the traps of topd are known to this test', async (t) => {
  t.match(topName('db-base/init.top').trap, /saltenv/);
  t.match(topName('db-user/thing.top').trap, /saltenv/);
  t.match(topName('build-infra/MixedCase.top').trap, /lower case/);
  t.strictSame(topName('build-infra/init.top'), { name: 'build-infra', trap: null });
});

await test("the tree brings one formula, one pillar and one drop-in, and nothing that would take the place of the machine's own", async (t) => {
  const root = installedTree();
  const files = filesBelow(root).map((path) => relative(root, path));
  for (const path of files)
    t.match(
      path,
      /^(?:srv\/formulas\/base\/build-infra\/build-infra\/|srv\/pillar\/base\/build-infra\/|etc\/salt\/minion\.d\/qubes-build-infra\.conf$)/,
      path,
    );
  // A drop-in merges its lists; a top.sls, a _tops or a _modules of ours would count for the whole machine.
  t.strictSame(
    files.filter((path) =>
      /(?:^|\/)(?:top\.sls|_tops|_modules|_states|_grains|_utils|_renderers|_pillar|_runners)(?:\/|$)/.test(
        path,
      ),
    ),
    [],
  );
  for (const path of files)
    for (const part of path.slice(formula.length).split('/').slice(0, -1))
      t.notOk(
        path.startsWith(formula) && saltenvs.some((saltenv) => part.endsWith(saltenv)),
        `${path}: no folder ends in a saltenv`,
      );
  t.notOk(
    files.includes('srv/pillar/base/build-infra/farm.yaml'),
    "the administrator's own description is not in the package",
  );
  t.ok(files.includes('srv/pillar/base/build-infra/farm.example.yaml'));
  const dropIn = parse(
    readFileSync(join(root, 'etc/salt/minion.d/qubes-build-infra.conf'), 'utf8'),
  ) as unknown;
  t.strictSame(dropIn, { file_roots: { base: ['/srv/formulas/base/build-infra'] } });
  t.ok(
    'qubes-build-infra.conf' > 'f_defaults.conf',
    "it is read after the machine's own, so our root comes last",
  );
});

await test('every source of a manifest lies in the installed tree', async (t) => {
  const root = join(installedTree(), formula, 'build-infra');
  for (const path of filesBelow(join(root, 'manifests'))) {
    for (const [, word, source] of readFileSync(path, 'utf8').matchAll(
      /\b(source|template): ([\w./-]+\.?[\w-]+)/g,
    )) {
      if (word === 'template' && !(source as string).includes('/')) continue;
      const found = join(root, source as string);
      t.ok(existsSync(found) && statSync(found).isFile(), `${relative(root, path)}: ${source}`);
    }
  }
});

await test('what is rendered in a VM neither imports another template nor asks the VM while it renders', async (t) => {
  const root = join(installedTree(), formula, 'build-infra');
  const files = filesBelow(root);
  const managed = files.filter(
    (path) =>
      path.endsWith('.jinja') && (dirname(path).endsWith('/templates') || path.endsWith('policy.jinja')),
  );
  t.ok(managed.length > 5);
  for (const path of managed)
    t.notMatch(
      readFileSync(path, 'utf8'),
      /\{%-?\s*(?:import|include|from|extends|import_yaml|import_json)\b/,
      `${relative(root, path)}: salt-ssh ships it alone`,
    );
  // Each call in a VM's state file is a round trip, and its answer is the VM's own word.
  const ofVms = files
    .filter((path) => path.endsWith('.sls') || path.endsWith('.top') || path.endsWith('.jinja'))
    .filter((path) => !relative(root, path).startsWith('dom0/') && !path.endsWith('absent.sls'));
  for (const path of ofVms) {
    const calls = [...readFileSync(path, 'utf8').matchAll(/salt\[['"]([\w.]+)['"]\]|salt\.([\w.]+)\(/g)].map(
      ([, a, b]) => a ?? b,
    );
    t.strictSame(
      calls.filter((call) => !['pillar.get', 'slsutil.merge'].includes(call as string)),
      [],
      relative(root, path),
    );
  }
});

await test('no pillar and no top branches on a grain but the id', async (t) => {
  // Both are rendered in dom0 for every VM, with dom0's grains.
  const root = installedTree();
  for (const path of filesBelow(root).filter(
    (one) => one.endsWith('.top') || one.startsWith(join(root, 'srv/pillar')),
  )) {
    if (path.endsWith('.yaml')) continue;
    const grains = [
      ...readFileSync(path, 'utf8').matchAll(
        /(?:__grains__|grains)(?:\[['"]([\w:]+)['"]\]|\.get\(['"]([\w:]+)['"]|\.(\w+))/g,
      ),
    ].map(([, a, b, c]) => a ?? b ?? c);
    t.strictSame(
      grains.filter((grain) => grain !== 'id'),
      [],
      relative(root, path),
    );
  }
});

await test('every file says its licence', async (t) => {
  const root = installedTree();
  for (const path of filesBelow(root)) {
    const name = relative(root, path);
    if (name.includes('/dist/')) continue;
    t.match(readFileSync(path, 'utf8').slice(0, 400), /SPDX-License-Identifier: GPL-2\.0-or-later/, name);
  }
});
