// SPDX-License-Identifier: GPL-2.0-or-later
// Both ends of the receipt, and the audit after it, for real: what build-logs publishes convinces the keys
// agent and build-infra audit.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { oneCommand } from '../support/one-command.js';
import { until } from '../support/until.js';
import { realKeysVm } from './real-keys-vm.js';
import { Rig } from './rig.js';

void t.test(
  'the keys agent grants what build-logs publishes, and the audit finds nothing wrong',
  async (t) => {
    const rig = await Rig.make();
    t.teardown(() => rig.stop());
    const {
      machine: { signingKey: key },
      journalKey,
    } = await realKeysVm(t, rig);
    await rig.start();

    await rig.call().end('a raw log before the first intent\n');
    const log = rig.call().send(`${rig.header()}hello\n`);
    const path = (await log.line(/^opened/)).split(' ')[1] as string;
    for (let i = 0; i < 3; i++)
      t.match(await rig.ask(rig.intent({ key, logs: [path] })), {
        result: 'published',
        grantedUntil: /^\d{4}-/,
      });
    const replies = await Promise.all(
      Array.from({ length: 20 }, () => rig.ask(rig.intent({ key, logs: [path] }))),
    );
    t.ok(
      replies.every((reply) => reply.result === 'published'),
      JSON.stringify(replies[0]),
    );
    const block = Array.from({ length: 60_000 }, (_, i) => `line ${i} of a long build with some text\n`).join(
      '',
    );
    for (let i = 0; i < 3; i++) log.send(block);
    await log.line(/^synced 180001$/);
    t.match(await rig.ask(rig.intent({ key, logs: [path] })), { result: 'published' });
    await rig.kill();
    // What a full disk once left in the copy of the journal: a line glued to a torn one, and more behind it.
    const copy = join(rig.root, 'var/lib/build-infra/journal/keys-debian.jsonl');
    const lines = readFileSync(copy, 'utf8').split('\n');
    writeFileSync(
      copy,
      [...lines.slice(0, 4), `${(lines[4] as string).slice(0, 50)}${lines[5]}`, ...lines.slice(6)].join('\n'),
    );
    await rig.start();
    t.match(await rig.ask(rig.intent({ key })), { result: 'published' });
    t.strictSame(
      readFileSync(copy, 'utf8')
        .split('\n')
        .slice(0, lines.length - 1),
      lines.slice(0, -1),
      'its copy is whole again',
    );
    t.match(readFileSync(`${copy}.damaged`, 'utf8'), lines[5]);
    const end = await rig
      .call()
      .send(rig.header({ continues: { path, lines: 180_001 } }))
      .end('> end status=0\n');
    t.match(end.at(-1), /^published/);
    await until('the journal is published', () => {
      try {
        return (
          rig.file('journal/keys-debian/00000000.jsonl').toString().split('"event":"granted"').length - 1 ===
          25
        );
      } catch {
        return false;
      }
    });
    await rig.allPushed();
    rig.checkHistory('mirror');

    const publicKey = join(rig.folder, 'logs.asc');
    writeFileSync(publicKey, rig.publicLogsKey);
    const script = oneCommand('audit/main.js', 'auditCommand', 1);
    const table = execFileSync(
      process.execPath,
      [
        '--input-type=module',
        '-e',
        script,
        '--',
        '--logs',
        rig.remote('origin'),
        '--logs',
        rig.remote('mirror'),
        '--logs-key',
        publicKey,
        '--journal-key',
        `keys-debian=${journalKey}`,
      ],
      { encoding: 'utf8' },
    );
    t.comment(table);
  },
);
