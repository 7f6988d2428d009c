// SPDX-License-Identifier: GPL-2.0-or-later
// A "gpg" for tools in the build VM: debsign -p, dpkg-buildpackage -p, git config gpg.program, gpgme, and, with --reprepro-sign, reprepro.
// It holds no secret: it can only ask. Exit status 2 is a refusal, with one line that says why.
import { spawnSync } from 'node:child_process';
import { constants } from 'node:os';
import { basename } from 'node:path';
import { printable, Refusal } from '../../shared/refusal.js';
import { complain, writeTo } from './caller-streams.js';
import { readCommand } from './command-line.js';
import { readSettings } from './settings.js';
import { listSecretKeys, signForCaller, signForReprepro } from './signing.js';

/** Callers read the version (debsign, rpm, gpgme): we behave as this one. */
const version = `gpg (GnuPG) 2.2.40
libgcrypt 1.10.1
Copyright (C) 2022 g10 Code GmbH
License GNU GPL-3.0-or-later <https://gnu.org/licenses/gpl.html>
This is free software: you are free to change and redistribute it.
There is NO WARRANTY, to the extent permitted by law.

Signatures by build-infra's keys VM; everything else by /usr/bin/gpg.
`;

function runLocalGpg(args: readonly string[], inheritedFds: readonly number[]): number {
  const stdio: ('ignore' | number)[] = Array.from({ length: Math.max(2, ...inheritedFds) + 1 }, () => 'ignore');
  for (const fd of [0, 1, 2, ...inheritedFds]) stdio[fd] = fd;
  const run = spawnSync('/usr/bin/gpg', args, { stdio });
  if (run.error !== undefined) throw run.error;
  return run.status ?? 128 + (run.signal === null ? 0 : constants.signals[run.signal]);
}

async function main(args: readonly string[]): Promise<number> {
  if (args[0] === '--reprepro-sign') return signForReprepro(args.slice(1), readSettings());
  // reprepro's "SignWith: !program" takes no arguments of ours: a symbolic link of this name will do.
  if (basename(process.argv[1] ?? '') === 'reprepro-sign') return signForReprepro(args, readSettings());
  const command = readCommand(args);
  switch (command.kind) {
    case 'version':
      writeTo(1, Buffer.from(version));
      return 0;
    case 'local': return runLocalGpg(args, command.inheritedFds);
    case 'list-secret-keys': return listSecretKeys(command.users, readSettings());
    case 'sign': return signForCaller(command, readSettings());
  }
}

void main(process.argv.slice(2))
  .catch((error: unknown) => {
    complain(error instanceof Refusal ? `build-infra: ${error.line()}` : `build-infra: fault: ${printable(String(error))}`);
    return 2;
  })
  .then((status) => process.exit(status));
