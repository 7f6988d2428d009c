// SPDX-License-Identifier: GPL-2.0-or-later
// The build agent's sender and the receiver, each as it is.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { LogSender, type PublishedLog } from '../../agents/build-vm/logs/log-sender.js';
import { logLink } from '../../agents/shared/formats/log-link.js';
import { writeDirectClient } from '../support/direct-client.js';
import { Rig } from './rig.js';

const rig = await (await Rig.make()).start();
const folder = mkdtempSync(join(tmpdir(), 'bi-sender-'));
t.teardown(async () => {
  await rig.stop();
  rmSync(folder, { recursive: true });
});
const client = writeDirectClient(join(folder, 'client'), 'build-debian', {
  'qubesbuilder.BuildLog': rig.socket,
});

async function send(lines: number): Promise<{ opened: string; published: PublishedLog }> {
  const log = await LogSender.open({
    client,
    header: { job: 'hello-1-000000000000', component: 'hello', stage: 'build' },
    report: () => undefined,
  });
  for (let n = 0; n < lines; n++) {
    log.tool(Buffer.from(`line ${n} ${'of a long build '.repeat(60)}`));
    if (n % 500 === 0) await log.drained();
  }
  return { opened: log.path, published: await log.end(0) };
}

void t.test('the sender learns under which path a log is published, and its link leads to it', async (t) => {
  for (const [lines, ending] of [
    [10, ''],
    [12_000, '.xz'],
  ] as const) {
    const { opened, published } = await send(lines);
    t.equal(published.path, `${opened}${ending}`);
    const url = logLink('https://forge.example/build-logs/blob/main/{path}', published.path, null);
    t.ok(
      rig.file((url ?? '').split('/main/')[1] ?? '').length > 0,
      `${lines} lines: it is in the repository under the path of its link`,
    );
  }
});
