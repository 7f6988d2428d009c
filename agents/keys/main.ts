// SPDX-License-Identifier: GPL-2.0-or-later
// The keys VM's agent. It wires and decides nothing.
import { readFileSync } from 'node:fs';
import { systemClock } from '../shared/clock.js';
import { makeFolder } from '../shared/durable-files.js';
import { readDocument } from '../shared/json-document.js';
import { startOrSay } from '../shared/calls/agent-start.js';
import { printable } from '../shared/refusal.js';
import { reportToStderr, serveSockets } from '../shared/calls/socket-service.js';
import { readKeysConfig } from './documents.js';
import { gpgService } from './gpg-service.js';
import { readJournalKey } from './journal-key.js';
import { Ledger } from './ledger.js';
import { logReceived } from './log-received.js';
import { logsKeyVerifier } from './logs-key.js';
import { SigningKeys } from './signing-keys.js';
import { Spool } from './spool.js';
import { rootPrefix as root } from '../shared/root-prefix.js';

const settings = `${root}/rw/config/build-infra`;
const stateFolder = `${root}/var/lib/build-infra`;
const report = reportToStderr;

async function start(): Promise<void> {
  process.umask(0o077);
  makeFolder(stateFolder, 0o700);
  const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  // For make-keys, before there is a configuration: makes the journal key, and the journal that has to be
  // there before it.
  if (process.argv[2] === '--journal-key') {
    process.stdout.write(
      `journal-key ${readJournalKey(stateFolder)?.public ?? Ledger.open({ stateFolder, bootId, grantSeconds: 1, clock: systemClock }).journalKey}\n`,
    );
    return;
  }
  const config = readDocument(readFileSync(`${settings}/keys.json`), 64 * 1024, readKeysConfig);
  const gpg = { program: '/usr/bin/gpg', home: `${root}/home/user/.gnupg` };
  const keys = await SigningKeys.load(gpg, config.signingKeys);
  const verify = logsKeyVerifier({
    fingerprint: config.logsKey,
    publicKeyFile: readFileSync(`${settings}/public-keys/${config.logsKey}.asc`),
    stateFolder,
  });
  const ledger = Ledger.open({
    stateFolder,
    bootId,
    grantSeconds: config.grantSeconds,
    clock: systemClock,
    journalKey: config.journalKey,
  });
  const spool = new Spool(`${stateFolder}/spool`, {
    each: config.payloadBytes,
    total: config.payloadBytes * 4,
  });
  setInterval(() => {
    try {
      ledger.expire();
    } catch (error) {
      report(`keys agent: ${printable((error as Error).message)}`);
    }
  }, 15_000);

  process.umask(0o007);
  await serveSockets(
    [
      logReceived({ config, ledger, verify, report }),
      gpgService({ config, ledger, keys, gpg, spool, report }),
    ],
    { report, folder: `${root}/run/build-infra`, callers: 2 },
  );
  report(
    `keys agent of ${config.vm}: ready; journal at entry ${ledger.position.seq}, head ${ledger.head?.commit ?? 'none'}, journal key ${ledger.journalKey}${config.journalKey === null ? ', which nobody has pinned' : ''}`,
  );
}

startOrSay('keys agent', start);
