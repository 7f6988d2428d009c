// SPDX-License-Identifier: GPL-2.0-or-later
// Where the stand-in keeps what lives as long as it runs. Short, because a Unix socket's path has at most 107
// bytes.
import { createHash } from 'node:crypto';
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { execFileSync } from 'node:child_process';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * The run folder that belongs to a state folder: the same for everyone who names the same one. Not in
 * $XDG_RUNTIME_DIR: a farm that was left running outlives the login, and the next login must find it.
 */
export function runFolderFor(stateFolder: string): string {
  const hash = createHash('sha256').update(resolve(stateFolder)).digest('hex').slice(0, 8);
  return `/tmp/build-infra-${hash}`;
}

/** Makes the run folder, for this user alone; refuses one that somebody else put there. */
export function makeRunFolder(folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const found = lstatSync(folder);
  if (!found.isDirectory() || found.uid !== process.geteuid?.())
    throw new Error(`${folder} belongs to somebody else`);
  chmodSync(folder, 0o700);
}

/**
 * The folder of the programs that run inside a VM (agents/local/vm in the checkout that this code came from).
 */
export function programFolder(): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    const candidate = join(folder, 'agents/local/vm');
    if (existsSync(join(candidate, 'vm_init.py'))) return candidate;
    if (folder === dirname(folder))
      throw new Error('agents/local/vm with its Python programs was not found above this program');
  }
}

const inVmPrograms = [
  'vm_init.py',
  'unit_files.py',
  'unit_service.py',
  'process_tree.py',
  'qrexec_agent.py',
  'qrexec_service.py',
  'rpc_config.py',
  'qrexec_client_vm.py',
  'qrexec_local_program.py',
  'qrexec_streams.py',
] as const;

const clientStub = `#!/usr/bin/python3 -ISE
# SPDX-License-Identifier: GPL-2.0-or-later
import sys
sys.path.insert(0, '/usr/lib/qubes')
import qrexec_client_vm
qrexec_client_vm.main()
`;

/** Whether /usr/bin/node would be another Node than this one, or none. */
function isOtherNode(): boolean {
  return !existsSync('/usr/bin/node') || realpathSync('/usr/bin/node') !== realpathSync(process.execPath);
}

/**
 * The part of a VM's /usr that stands for the qubes packages, to lie over the host's. Compiled once here,
 * because a call waits for its client to start. Where it has a bin/node, that is an empty file to bind this
 * very Node to.
 */
export function makeQubesLayer(layer: string): void {
  rmSync(layer, { recursive: true, force: true });
  const library = join(layer, 'lib/qubes');
  mkdirSync(library, { recursive: true });
  mkdirSync(join(layer, 'bin'), { recursive: true });
  for (const name of inVmPrograms) cpSync(join(programFolder(), name), join(library, name));
  const compileAll =
    'import py_compile,sys\nfor f in sys.argv[1:]: py_compile.compile(f, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)';
  execFileSync(
    '/usr/bin/python3',
    ['-I', '-c', compileAll, ...inVmPrograms.map((name) => join(library, name))],
    { timeout: 60_000 },
  );
  symlinkSync('vm_init.py', join(library, 'vm-init'));
  symlinkSync('qrexec_agent.py', join(library, 'qrexec-agent'));
  for (const path of [join(layer, 'bin/qrexec-client-vm'), join(library, 'qrexec-client-vm')])
    writeFileSync(path, clientStub, { mode: 0o755 });
  if (isOtherNode()) writeFileSync(join(layer, 'bin/node'), '', { mode: 0o755 });
  for (const folder of ['', 'bin', 'lib', 'lib/qubes', 'lib/qubes/__pycache__'])
    chmodSync(join(layer, folder), 0o755);
}
