// SPDX-License-Identifier: GPL-2.0-or-later
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { KeysMachine } from '../keys/keys-machine.js';
import { writeDirectClient } from '../support/direct-client.js';
import type { Rig } from './rig.js';

/** A real keys VM, started, in place of the fake one of a rig that is not started yet. */
export async function realKeysVm(
  t: { teardown: (act: () => unknown) => void },
  rig: Rig,
): Promise<{ machine: KeysMachine; journalKey: string }> {
  const machine = new KeysMachine({ logsKey: rig.logsKey, payloadBytes: 268435456 });
  t.teardown(() => machine.close());
  writeFileSync(
    join(machine.root, 'rw/config/build-infra/public-keys', `${rig.logsKey}.asc`),
    rig.publicLogsKey,
  );
  const journalKey = /^journal-key (.*)$/m.exec(machine.run('--journal-key'))?.[1] as string;
  machine.configure({ journalKey });
  await machine.start();
  writeDirectClient(join(rig.root, 'usr/bin/qrexec-client-vm.build-debian'), 'build-logs', {
    'qubesbuilder.LogReceived': join(machine.root, 'run/build-infra/qubesbuilder.LogReceived.sock'),
  });
  rig.writeConfig({
    sources: [
      {
        vm: 'build-debian',
        keysVm: 'keys-debian',
        keys: [machine.signingKey],
        journalKey,
        payloadBytes: 268435456,
      },
    ],
  });
  return { machine, journalKey };
}
