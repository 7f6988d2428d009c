// SPDX-License-Identifier: GPL-2.0-or-later
// Attacks on the history and the files of the logs repository.
import { execFileSync } from 'node:child_process';
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import tap from 'tap';
import { writePublicationMessage, type PublishedFile } from '../../agents/shared/formats/publication.js';
import { attack, good, keys } from './attack.js';
import { Farm, log, sha256 } from './farm.js';
import { argumentsFor, runAudit, verdict } from './run-audit.js';

attack('an unsigned commit', ['commits-signed NOT_SIGNED'], (farm) => void farm.logs.commit({ signer: null, put: { [log]: farm.grow() } }), { commit: 'head' });
attack('a commit signed by another key', ['commits-signed WRONG_KEY'], (farm) => void farm.logs.commit({ signer: 'stranger', put: { [log]: farm.grow() } }), { commit: 'head' });
attack('a commit signed by the signing key', ['commits-signed WRONG_KEY'], (farm) => void farm.logs.commit({ signer: 'signing', put: { [log]: farm.grow() } }), { commit: 'head' });
attack('a commit with two signatures', ['commits-signed BAD_SIGNATURE'], (farm) => void farm.logs.commit({ alsoBy: 'stranger', put: { [log]: farm.grow() } }), { commit: 'head' });
attack('a commit whose message was changed after signing', ['commits-signed BAD_SIGNATURE'], (farm) => {
  const { logs } = farm;
  const head = logs.commit({ put: { [log]: farm.grow() } });
  const raw = execFileSync('git', ['--git-dir', logs.path, 'cat-file', 'commit', head]).toString();
  logs.moveHead(logs.object('commit', raw.replace('Publish 1', 'Publish 2')));
}, { commit: 'head' });
attack('a merge', ['one-line MERGE'], (farm) => {
  const { logs } = farm;
  const main = logs.head as string;
  const side = logs.commit({ parents: [], put: {} });
  logs.commit({ parents: [main, side], seq: 7, put: { [log]: farm.grow() } });
}, { commit: 'head' });
attack('a number left out', ['one-line SEQ_GAP'], (farm) => void farm.logs.commit({ seq: 99, put: { [log]: farm.grow() } }), { commit: 'head' });
attack('a message of another shape', ['file-lines BAD_PUBLICATION', 'file-lines CHANGE_WITHOUT_LINE'], (farm) => void farm.logs.commit({ message: 'Update log\n', put: { [log]: farm.grow() } }), { commit: 'head' });

attack('a file rewritten, with a true line', ['files-grow FILE_REWRITTEN'], ({ logs }) => void logs.commit({ put: { [log]: Buffer.concat([Buffer.from('X'), (logs.content.get(log) as Buffer).subarray(1), Buffer.from('more\n')]) } }), { commit: 'head', path: log });
// What the audit remembers of a file to save work is of the version before, or worth nothing.
for (const [what, untold] of [['untold', { lines: (): [] => [] }], ['with a line of another size', { lines: (all: readonly PublishedFile[]): PublishedFile[] => all.map((one) => ({ ...one, size: 1 })) }]] as const) {
  attack(`a file that grew ${what}, and without that went on`, [`file-lines ${what === 'untold' ? 'CHANGE_WITHOUT_LINE' : 'WRONG_SIZE'}`, 'files-grow FILE_REWRITTEN'], (farm) => {
    const first = farm.logs.content.get(log) as Buffer;
    farm.logs.commit({ put: { [log]: farm.grow() }, ...untold });
    farm.logs.commit({ put: { [log]: Buffer.concat([first, Buffer.from(`2026-11-21 21:00:09.000000 +0000 build-debian: ${'x'.repeat(200)}\n`)]) } });
  }, { path: log });
}
attack('a file cut short', ['files-grow FILE_REWRITTEN'], ({ logs }) => void logs.commit({ put: { [log]: (logs.content.get(log) as Buffer).subarray(0, -1) } }), { commit: 'head', path: log });
attack('a file removed', ['files-grow FILE_REMOVED'], ({ logs }) => void logs.commit({ remove: [log], put: {} }), { commit: 'head', path: log });
attack('a log packed, but changed by it', ['files-grow FILE_REWRITTEN'], ({ logs }) => void logs.commit({ remove: [log], put: { [`${log}.xz`]: execFileSync('xz', ['-c'], { input: 'another log\n'.repeat(100) }) } }), { commit: 'head', path: `${log}.xz` });
attack('a log replaced by what is no .xz', ['files-grow BAD_XZ'], ({ logs }) => void logs.commit({ remove: [log], put: { [`${log}.xz`]: 'not xz' } }), { commit: 'head', path: `${log}.xz` });
attack('a file changed without a line', ['file-lines CHANGE_WITHOUT_LINE'], (farm) => void farm.logs.commit({ put: { [log]: farm.grow() }, lines: () => [] }), { commit: 'head', path: log });
attack('a line without a change', ['file-lines LINE_WITHOUT_CHANGE'], (farm) => void farm.logs.commit({ put: {}, lines: () => [{ path: log, size: 1, sha256: sha256('x') }] }), { commit: 'head', path: log });
attack('a wrong SHA-256 in a line', ['file-lines WRONG_SHA256'], (farm) => void farm.logs.commit({ put: { [log]: farm.grow() }, lines: (lines) => lines.map((line) => ({ ...line, sha256: sha256('x') })) }), { commit: 'head', path: log });
attack('a wrong size in a line', ['file-lines WRONG_SIZE'], (farm) => void farm.logs.commit({ put: { [log]: farm.grow() }, lines: (lines) => lines.map((line) => ({ ...line, size: 1 })) }), { commit: 'head', path: log });
attack('a symlink among the logs: nothing else of its folder is read', ['file-lines BAD_FILE_MODE', 'file-lines LINE_WITHOUT_CHANGE'], ({ logs }) => void logs.commit({ mode: '120000', put: { 'build-debian/log_2026-11-21_22-00-00': '/etc/passwd' } }), { commit: 'head' });
attack('a file of no known kind', ['file-lines BAD_PATH'], ({ logs }) => void logs.commit({ put: { 'build-debian/index.html': '<script>' } }), { commit: 'head', path: 'build-debian/index.html' });

void tap.test('a mirror that forked is found, whichever is named first, and the evidence says where', async (t) => {
  const farm = new Farm(keys, good);
  t.teardown(() => farm.remove());
  const mirror = join(farm.top, 'mirror.git');
  cpSync(farm.logs.path, mirror, { recursive: true });
  const common = farm.logs.head;
  farm.logs.commit({ put: { [log]: farm.grow() } });
  execFileSync('git', ['--git-dir', mirror, 'update-ref', 'refs/heads/main', forked(farm, mirror, common as string)]);
  for (const order of [[farm.logs.path, mirror], [mirror, farm.logs.path]]) {
    const result = await verdict(farm, [], order);
    t.same(result.codes, ['mirrors MIRROR_FORKED']);
    t.match(result.checks[0]?.findings[0]?.found, `a different history after ${common}`);
  }
});

function forked(farm: Farm, mirror: string, parent: string): string {
  const tree = execFileSync('git', ['--git-dir', mirror, 'rev-parse', `${parent}^{tree}`]).toString().trim();
  const who = `build-logs <build-logs@build-infra.invalid> ${Math.floor(Date.now() / 1000)} +0000`;
  const head = `tree ${tree}\nparent ${parent}\nauthor ${who}\ncommitter ${who}`;
  const message = writePublicationMessage({ subject: 'Publish another story', files: [], seq: 7 });
  const signature = farm.keys.sign('logs', 'detach', `${head}\n\n${message}`).toString().trimEnd().split('\n').join('\n ');
  return execFileSync('git', ['--git-dir', mirror, 'hash-object', '-t', 'commit', '-w', '--stdin'], { input: `${head}\ngpgsig ${signature}\n\n${message}` }).toString().trim();
}

void tap.test('a history that was replaced since the last audit is found', async (t) => {
  const farm = new Farm(keys, good);
  t.teardown(() => farm.remove());
  const seen = farm.logs.head as string;
  execFileSync('git', ['--git-dir', farm.logs.path, 'update-ref', 'refs/heads/main', `${seen}~1`]);
  const result = await verdict(farm, ['--contains', seen]);
  t.ok(result.codes.includes('mirrors HEAD_LOST'));
  const parent = execFileSync('git', ['--git-dir', farm.logs.path, 'rev-parse', 'main~1']).toString().trim();
  t.notOk((await verdict(farm, ['--contains', parent])).codes.includes('mirrors HEAD_LOST'));
});

void tap.test('the table shows the evidence to a person, and nothing that could draw on the terminal', async (t) => {
  const farm = new Farm(keys, good);
  t.teardown(() => farm.remove());
  farm.logs.commit({ put: { 'build-debian/\u001b[31mred': 'x' }, lines: () => [] });
  const { status, out } = await runAudit(argumentsFor(farm));
  t.equal(status, 1);
  t.match(out, /FAILED +every file is as its commit message says/);
  t.match(out, new RegExp(`BAD_PATH  commit ${farm.logs.head}  build-debian/\\.\\[31mred\\n +expected  .+\\n +found +.+`));
  t.notMatch(out, /\u001b/);
});
