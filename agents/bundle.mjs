// SPDX-License-Identifier: GPL-2.0-or-later
// Compiles every project and makes one readable file per program in dist/, with comments and names kept
// (treeshake off). Beside each bundle lies <name>.modules.json: what it was made of, which a test pins.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import commonjs from '@rollup/plugin-commonjs';
import json from '@rollup/plugin-json';
import { nodeResolve } from '@rollup/plugin-node-resolve';
import { rollup } from '@rollup/wasm-node';
import { parse } from 'yaml';

const top = dirname(dirname(fileURLToPath(import.meta.url)));

/** Program name in dist/ → its compiled entry file. */
const programs = {
  'build-agent': 'out/agents/build-vm/main.js',
  'gpg-client': 'out/agents/build-vm/gpg-client/main.js',
  'build-logs-agent': 'out/agents/build-logs/main.js',
  'keys-agent': 'out/agents/keys/main.js',
  'sys-net-agent': 'out/agents/sys-net/main.js',
  'build-infra-notifier': 'out/agents/notifier/main.js',
  'build-infra-vm': 'out/agents/vm-commands/main.js',
  'build-infra-command': 'out/agents/command/alone.js',
  'build-infra': 'out/agents/local/build-infra.js',
  local: 'out/agents/local/main.js',
};

const banner = `#!/usr/bin/env node
// SPDX-License-Identifier: GPL-2.0-or-later
// Made by "npm run bundle" from the sources of build-infra and the packages named in the .modules.json beside it.
`;
const requireShim = `import { createRequire as createRequireOfBundle } from 'node:module';
const require = createRequireOfBundle(import.meta.url);
`;

/** The doctor knows the manifests as data: a VM has no YAML reader, and nothing is to be written twice. */
const manifests = {
  name: 'manifests',
  transform(code, id) {
    if (!id.endsWith('/out/agents/doctor/embedded-manifests.js')) return null;
    const data = ['build', 'keys', 'build-logs', 'sys-net'].map((role) =>
      parse(readFileSync(join(top, 'salt/build-infra/manifests', `${role}.yaml`), 'utf8')),
    );
    const made = code.replace(
      'embeddedManifests = []',
      () => `embeddedManifests = ${JSON.stringify(data, null, 1)}`,
    );
    if (made === code) throw new Error('the doctor has no place for the manifests');
    return { code: made, map: null };
  },
};

const { version } = JSON.parse(readFileSync(join(top, 'package.json'), 'utf8'));

/** Every program knows its version. */
const versionOf = {
  name: 'version',
  transform(code, id) {
    if (!id.endsWith('/out/agents/shared/command-line/version.js')) return null;
    const made = code.replace("version = 'unbundled'", () => `version = ${JSON.stringify(version)}`);
    if (made === code) throw new Error('there is no place for the version');
    return { code: made, map: null };
  },
};

function compile() {
  for (const folder of ['out', 'dist']) rmSync(join(top, folder), { recursive: true, force: true });
  execFileSync(process.execPath, [join(top, 'node_modules/typescript/bin/tsc'), '-b', top], {
    stdio: 'inherit',
  });
}

async function bundle(name, entry) {
  const built = await rollup({
    input: join(top, entry),
    treeshake: false,
    external: (id) => id.startsWith('node:') || builtinModules.includes(id),
    plugins: [
      manifests,
      versionOf,
      nodeResolve({ exportConditions: ['node'], preferBuiltins: true }),
      commonjs(),
      json(),
    ],
    onwarn(warning, warn) {
      if (!['CIRCULAR_DEPENDENCY', 'THIS_IS_UNDEFINED', 'UNUSED_EXTERNAL_IMPORT'].includes(warning.code))
        warn(warning);
    },
  });
  const { output } = await built.generate({ format: 'es', inlineDynamicImports: true });
  await built.close();
  const chunk = output[0];
  const code = chunk.code.replace(/^#!.*\n/, '');
  const shim = /\brequire\(/.test(code) ? requireShim : '';
  writeFileSync(join(top, 'dist', `${name}.mjs`), banner + shim + code, { mode: 0o755 });
  const modules = chunk.moduleIds
    .filter((id) => !id.startsWith('\0'))
    .map((id) => relative(top, id.replace(/\?.*$/, '')));
  const builtins = [...new Set(chunk.imports.map((id) => id.replace(/^node:/, '')))].sort();
  writeFileSync(
    join(top, 'dist', `${name}.modules.json`),
    `${JSON.stringify({ modules: [...new Set(modules)].sort(), builtins }, null, 1)}\n`,
  );
  return modules;
}

/** Licence texts of every package that ended up in a bundle (openpgp is LGPL: relinking is this script). */
function notices(modules) {
  const packages = new Set();
  for (const id of modules) {
    const found = /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(id);
    if (found) packages.add(found[1]);
  }
  const parts = [...packages].sort().map((name) => {
    const folder = join(top, 'node_modules', name);
    const about = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    const file = ['LICENSE', 'LICENSE.md', 'license', 'LICENCE', 'LICENSE.txt', 'license.md']
      .map((f) => join(folder, f))
      .find(existsSync);
    return `== ${name} ${about.version} (${about.license})\n\n${file ? readFileSync(file, 'utf8') : 'No licence file in the package.\n'}`;
  });
  writeFileSync(join(top, 'dist', 'NOTICES.txt'), parts.join('\n'));
}

/** What the shell and man(1) read, made by the programs from their own tables. */
function manualsOf(program) {
  for (const [suffix, ...words] of [
    ['8', 'man-page'],
    ['bash', 'completion', 'bash'],
  ]) {
    const made = execFileSync(process.execPath, [join(top, 'dist', `${program}.mjs`), ...words]);
    writeFileSync(join(top, 'dist', `${program}.${suffix}`), made);
  }
}

compile();
mkdirSync(join(top, 'dist'), { recursive: true });
const all = [];
for (const [name, entry] of Object.entries(programs)) all.push(...(await bundle(name, entry)));
notices(all);
for (const program of ['build-infra', 'build-infra-vm']) manualsOf(program);
