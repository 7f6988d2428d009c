// SPDX-License-Identifier: GPL-2.0-or-later
// The look at what is public, by the build agent's program: git and OpenPGP are no part of this one. It is
// believed only at its end: status 0, no signal, one answer, and that one the expected one.
import { cleanEnvironment } from '../../shared/calls/qrexec-call.js';
import { runProcess } from '../../shared/programs/bounded-process.js';
import { RelayedRefusal } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import type { ReadBack } from '../publication/read-back.js';

/** Above the limits that the program has for its own work. */
const timeoutMs = 300_000;
const answerLimitBytes = 4096;

export const askedReadBack = (root: string): ReadBack => ({
  async demand({ url, logsKey }, { commit, source, size, sha256 }) {
    const args = [
      `${root}/usr/lib/build-infra/build-agent.mjs`,
      'read-back',
      url,
      logsKey,
      source,
      commit,
      String(size),
      sha256,
    ];
    const { status, stdout, stderr } = await runProcess({
      program: process.execPath,
      args,
      env: { ...cleanEnvironment, BUILD_INFRA_ROOT: root },
      timeoutMs,
      limitBytes: answerLimitBytes,
    });
    const answer = stdout.toString('utf8');
    if (status === 0 && answer === `seen ${commit}\n`) return;
    const refused = status === 1 ? /^refused ([A-Z][A-Z0-9_]{0,63}) ([^\n]*)\n$/.exec(answer) : null;
    if (refused !== null) throw new RelayedRefusal(refused[1] as string, refused[2] as string);
    throw new Refusal(
      'PUBLICATION_NOT_SEEN',
      `the look at ${url} ended (${status}) without an answer; nothing is signed${stderr === '' ? '' : `: ${stderr.trim()}`}`,
    );
  },
});
