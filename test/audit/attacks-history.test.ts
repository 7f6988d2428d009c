// SPDX-License-Identifier: GPL-2.0-or-later
// Attacks on the history and the files of the logs repository.
import { execFileSync } from 'node:child_process';
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import tap from 'tap';
import { writePublicationMessage } from '../../agents/shared/formats/publication.js';
import { attack, good, keys } from './attack.js';
import { contentAttacks } from './content-attacks.js';
import { Farm, log, removedAfter } from './farm.js';
import { argumentsFor, runAudit, verdict } from './run-audit.js';

attack(
  'an unsigned commit',
  ['commits-signed NOT_SIGNED'],
  (farm) => void farm.logs.commit({ signer: null, put: { [log]: farm.grow() } }),
  { commit: 'head' },
);
attack(
  'a commit signed by another key',
  ['commits-signed WRONG_KEY'],
  (farm) => void farm.logs.commit({ signer: 'stranger', put: { [log]: farm.grow() } }),
  { commit: 'head' },
);
attack(
  'a commit signed by the signing key',
  ['commits-signed WRONG_KEY'],
  (farm) => void farm.logs.commit({ signer: 'signing', put: { [log]: farm.grow() } }),
  { commit: 'head' },
);
attack(
  'a commit with two signatures',
  ['commits-signed BAD_SIGNATURE'],
  (farm) => void farm.logs.commit({ alsoBy: 'stranger', put: { [log]: farm.grow() } }),
  { commit: 'head' },
);
attack(
  'a commit whose message was changed after signing',
  ['commits-signed BAD_SIGNATURE'],
  (farm) => {
    const { logs } = farm;
    const head = logs.commit({ put: { [log]: farm.grow() } });
    const raw = execFileSync('git', ['--git-dir', logs.path, 'cat-file', 'commit', head]).toString();
    logs.moveHead(logs.object('commit', raw.replace('Publish 1', 'Publish 2')));
  },
  { commit: 'head' },
);
attack(
  'a merge',
  ['one-line MERGE'],
  (farm) => {
    const { logs } = farm;
    const main = logs.head as string;
    const side = logs.commit({ parents: [], put: {} });
    logs.commit({ parents: [main, side], seq: 7, put: { [log]: farm.grow() } });
  },
  { commit: 'head' },
);
attack(
  'a number left out',
  ['one-line SEQ_GAP'],
  (farm) => void farm.logs.commit({ seq: 99, put: { [log]: farm.grow() } }),
  { commit: 'head' },
);
attack(
  'a message of another shape',
  ['file-lines BAD_PUBLICATION', 'file-lines CHANGE_WITHOUT_LINE'],
  (farm) => void farm.logs.commit({ message: 'Update log\n', put: { [log]: farm.grow() } }),
  { commit: 'head' },
);

contentAttacks(attack);
attack(
  'a symlink among the logs: nothing else of its folder is read',
  ['file-lines BAD_FILE_MODE', 'file-lines LINE_WITHOUT_CHANGE'],
  ({ logs }) =>
    void logs.commit({ mode: '120000', put: { 'build-debian/log_2026-11-21_22-00-00': '/etc/passwd' } }),
  { commit: 'head' },
);

void tap.test(
  'a mirror that forked is found, whichever is named first, and the evidence says where',
  async (t) => {
    const farm = removedAfter(t, new Farm(keys, good));
    const mirror = join(farm.top, 'mirror.git');
    cpSync(farm.logs.path, mirror, { recursive: true });
    const common = farm.logs.head;
    farm.logs.commit({ put: { [log]: farm.grow() } });
    execFileSync('git', [
      '--git-dir',
      mirror,
      'update-ref',
      'refs/heads/main',
      forked(farm, mirror, common as string),
    ]);
    for (const order of [
      [farm.logs.path, mirror],
      [mirror, farm.logs.path],
    ]) {
      const result = await verdict(farm, [], order);
      t.same(result.codes, ['mirrors MIRROR_FORKED']);
      t.match(result.checks[0]?.findings[0]?.found, `a different history after ${common}`);
    }
  },
);

function forked(farm: Farm, mirror: string, parent: string): string {
  const tree = execFileSync('git', ['--git-dir', mirror, 'rev-parse', `${parent}^{tree}`])
    .toString()
    .trim();
  const who = `build-logs <build-logs@build-infra.invalid> ${Math.floor(Date.now() / 1000)} +0000`;
  const head = `tree ${tree}\nparent ${parent}\nauthor ${who}\ncommitter ${who}`;
  const message = writePublicationMessage({ subject: 'Publish another story', files: [], seq: 7 });
  const signature = farm.keys
    .sign('logs', 'detach', `${head}\n\n${message}`)
    .toString()
    .trimEnd()
    .split('\n')
    .join('\n ');
  return execFileSync('git', ['--git-dir', mirror, 'hash-object', '-t', 'commit', '-w', '--stdin'], {
    input: `${head}\ngpgsig ${signature}\n\n${message}`,
  })
    .toString()
    .trim();
}

void tap.test('a history that was replaced since the last audit is found', async (t) => {
  const farm = removedAfter(t, new Farm(keys, good));
  const seen = farm.logs.head as string;
  execFileSync('git', ['--git-dir', farm.logs.path, 'update-ref', 'refs/heads/main', `${seen}~1`]);
  const result = await verdict(farm, ['--contains', seen]);
  t.ok(result.codes.includes('mirrors HEAD_LOST'));
  const parent = execFileSync('git', ['--git-dir', farm.logs.path, 'rev-parse', 'main~1']).toString().trim();
  t.notOk((await verdict(farm, ['--contains', parent])).codes.includes('mirrors HEAD_LOST'));
});

void tap.test(
  'the table shows the evidence to a person, and nothing that could draw on the terminal',
  async (t) => {
    const farm = removedAfter(t, new Farm(keys, good));
    farm.logs.commit({ put: { 'build-debian/\u001b[31mred': 'x' }, lines: () => [] });
    const { status, out } = await runAudit(argumentsFor(farm));
    t.equal(status, 1);
    t.match(out, /FAILED +every file is as its commit message says/);
    t.match(
      out,
      new RegExp(
        `BAD_PATH  commit ${farm.logs.head}  build-debian/\\.\\[31mred\\n +expected  .+\\n +found +.+`,
      ),
    );
    t.notMatch(out, /\u001b/);
  },
);
