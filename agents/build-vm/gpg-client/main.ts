// SPDX-License-Identifier: GPL-2.0-or-later
// A "gpg" for tools in the build VM: debsign -p, dpkg-buildpackage -p, git config gpg.program, gpgme, and,
// with --reprepro-sign, reprepro. It holds no secret: it can only ask. This is the program for where no build
// agent runs that could do it (../gpg-door/).
import { basename } from 'node:path';
import { answerCall } from './answer.js';
import { askedReadBack } from './asked-read-back.js';
import { ownCaller } from './own-caller.js';
import { rootPrefix as root } from '../../shared/root-prefix.js';

process.exit(
  await answerCall(
    basename(process.argv[1] ?? ''),
    process.argv.slice(2),
    root,
    ownCaller,
    askedReadBack(root),
  ),
);
