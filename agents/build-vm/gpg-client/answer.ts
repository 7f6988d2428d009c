// SPDX-License-Identifier: GPL-2.0-or-later
// One call of "gpg", from its words to its exit status.
import { AnyRefusal, printable } from '../../shared/refusal.js';
import type { ReadBack } from '../publication/read-back.js';
import type { Caller } from './caller.js';
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

async function answer(
  program: string,
  args: readonly string[],
  root: string,
  caller: Caller,
  readBack: ReadBack,
): Promise<number> {
  if (args[0] === '--reprepro-sign')
    return signForReprepro(args.slice(1), readSettings(root), caller, readBack);
  // reprepro's "SignWith: !program" takes no arguments of ours: a symbolic link of this name will do.
  if (program === 'reprepro-sign') return signForReprepro(args, readSettings(root), caller, readBack);
  const command = readCommand(args);
  switch (command.kind) {
    case 'version':
      await caller.write(1, Buffer.from(version));
      return 0;
    case 'local':
      return caller.runLocalGpg(args, command.inheritedFds);
    case 'list-secret-keys':
      return listSecretKeys(command.users, readSettings(root), caller);
    case 'sign':
      return signForCaller(command, readSettings(root), caller, readBack);
  }
}

/**
 * @param program the name it was called by, without a folder
 * @param root prefix of all paths of ours; '' on a real VM
 * @param readBack how publications are looked for
 * @returns the exit status; 2 is a refusal or a fault, and the caller was told why in one line
 */
export async function answerCall(
  program: string,
  args: readonly string[],
  root: string,
  caller: Caller,
  readBack: ReadBack,
): Promise<number> {
  try {
    return await answer(program, args, root, caller, readBack);
  } catch (error) {
    await caller.complain(
      error instanceof AnyRefusal
        ? `build-infra: ${error.line()}`
        : `build-infra: fault: ${printable(String(error))}`,
    );
    return 2;
  }
}
