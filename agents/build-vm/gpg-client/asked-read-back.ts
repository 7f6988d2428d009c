// SPDX-License-Identifier: GPL-2.0-or-later
// The look at what is public, by the build agent's program: git and OpenPGP are no part of this one. It is believed only at its end: status 0, no signal, one answer, and that one the expected one.
import { execFile } from 'node:child_process';
import { cleanEnvironment } from '../../shared/calls/qrexec-call.js';
import { RelayedRefusal } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import type { ReadBack } from '../publication/read-back.js';

/** Above the limits that the program has for its own work. */
const timeoutMs = 300_000;
const answerLimitBytes = 4096;

export const askedReadBack = (root: string): ReadBack => ({
  demand: ({ url, logsKey }, { commit, source, size, sha256 }) => new Promise((resolve, reject) => {
    const argv = [`${root}/usr/lib/build-infra/build-agent.mjs`, 'read-back', url, logsKey, source, commit, String(size), sha256];
    execFile(process.execPath, argv, { env: { ...cleanEnvironment, BUILD_INFRA_ROOT: root }, timeout: timeoutMs, killSignal: 'SIGKILL', maxBuffer: answerLimitBytes }, (error, stdout, stderr) => {
      if (error === null && stdout === `seen ${commit}\n`) return resolve();
      const refused = error?.code === 1 ? /^refused ([A-Z][A-Z0-9_]{0,63}) ([^\n]*)\n$/.exec(stdout) : null;
      if (refused !== null) return reject(new RelayedRefusal(refused[1] as string, refused[2] as string));
      const how = error?.signal ?? error?.code ?? 0;
      reject(new Refusal('PUBLICATION_NOT_SEEN', `the look at ${url} ended (${how}) without an answer; nothing is signed${stderr === '' ? '' : `: ${stderr.trim()}`}`));
    });
  }),
});
