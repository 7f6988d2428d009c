// SPDX-License-Identifier: GPL-2.0-or-later
// One thing wrong per case, all else as it should be: exactly that is found, with its evidence.
import { execFileSync } from 'node:child_process';
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import tap from 'tap';
import { writePublicationMessage } from '../../agents/shared/formats/publication.js';
import { Farm, Keys, log, sha256, type Wanted } from './farm.js';
import { runAudit, argumentsFor, verdict } from './run-audit.js';

const keys = new Keys();
const key = keys.fingerprint;
const good = new Farm(keys);
good.build();
tap.teardown(() => {
  good.remove();
  keys.remove();
});

const dsc = 'pool/main/h/hello/hello_2.10-3.dsc';
const deb = 'pool/main/h/hello/hello_2.10-3_amd64.deb';
const one: Wanted = { purpose: 'other', name: 'notes', mode: 'detach', payload: Buffer.from('sign me') };

/** @param expected "check CODE" of everything that must be found, and nothing else */
function attack(name: string, expected: string[], change: (farm: Farm) => void, evidence: { commit?: 'head'; path?: string } = {}): void {
  void tap.test(name, async (t) => {
    const farm = new Farm(keys, good);
    t.teardown(() => farm.remove());
    change(farm);
    const result = await verdict(farm);
    t.equal(result.ok, false);
    t.same(result.codes, [...expected].sort());
    const finding = result.checks.find((row) => row.name === expected[0]?.split(' ')[0])?.findings[0];
    if (evidence.commit === 'head') t.equal(finding?.commit, farm.logs.head);
    if (evidence.path !== undefined) t.equal(finding?.path, evidence.path);
    t.ok(finding?.expected && finding.found, 'says what was expected and what was found');
  });
}

attack('an unsigned commit', ['commits-signed NOT_SIGNED'], (farm) => void farm.logs.commit({ signer: null, put: { [log]: farm.grow() } }), { commit: 'head' });
attack('a commit signed by another key', ['commits-signed WRONG_KEY'], (farm) => void farm.logs.commit({ signer: 'stranger', put: { [log]: farm.grow() } }), { commit: 'head' });
attack('a commit signed by the signing key', ['commits-signed WRONG_KEY'], (farm) => void farm.logs.commit({ signer: 'signing', put: { [log]: farm.grow() } }), { commit: 'head' });
attack('a commit whose message was changed after signing', ['commits-signed BAD_SIGNATURE'], (farm) => {
  const { logs } = farm;
  const head = logs.commit({ put: { [log]: farm.grow() } });
  const raw = execFileSync('git', ['--git-dir', logs.path, 'cat-file', 'commit', head]).toString();
  logs.head = logs.git(['hash-object', '-t', 'commit', '-w', '--stdin'], raw.replace('Publish 1', 'Publish 2'));
  logs.git(['update-ref', 'refs/heads/main', logs.head]);
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
attack('a file cut short', ['files-grow FILE_REWRITTEN'], ({ logs }) => void logs.commit({ put: { [log]: (logs.content.get(log) as Buffer).subarray(0, -1) } }), { commit: 'head', path: log });
attack('a file removed', ['files-grow FILE_REMOVED'], ({ logs }) => void logs.commit({ remove: [log], put: {} }), { commit: 'head', path: log });
attack('a log packed, but changed by it', ['files-grow FILE_REWRITTEN'], ({ logs }) => void logs.commit({ remove: [log], put: { [`${log}.xz`]: execFileSync('xz', ['-c'], { input: 'another log\n'.repeat(100) }) } }), { commit: 'head', path: `${log}.xz` });
attack('a log replaced by what is no .xz', ['files-grow BAD_XZ'], ({ logs }) => void logs.commit({ remove: [log], put: { [`${log}.xz`]: 'not xz' } }), { commit: 'head', path: `${log}.xz` });
attack('a file changed without a line', ['file-lines CHANGE_WITHOUT_LINE'], (farm) => void farm.logs.commit({ put: { [log]: farm.grow() }, lines: () => [] }), { commit: 'head', path: log });
attack('a line without a change', ['file-lines LINE_WITHOUT_CHANGE'], (farm) => void farm.logs.commit({ put: {}, lines: () => [{ path: log, size: 1, sha256: sha256('x') }] }), { commit: 'head', path: log });
attack('a wrong SHA-256 in a line', ['file-lines WRONG_SHA256'], (farm) => void farm.logs.commit({ put: { [log]: farm.grow() }, lines: (lines) => lines.map((line) => ({ ...line, sha256: sha256('x') })) }), { commit: 'head', path: log });
attack('a wrong size in a line', ['file-lines WRONG_SIZE'], (farm) => void farm.logs.commit({ put: { [log]: farm.grow() }, lines: (lines) => lines.map((line) => ({ ...line, size: 1 })) }), { commit: 'head', path: log });
attack('a symlink among the logs', ['file-lines BAD_FILE_MODE'], ({ logs }) => void logs.commit({ mode: '120000', put: { 'build-debian/log_2026-11-21_22-00-00': '/etc/passwd' } }), { commit: 'head' });
attack('a file of no known kind', ['file-lines BAD_PATH'], ({ logs }) => void logs.commit({ put: { 'build-debian/index.html': '<script>' } }), { commit: 'head', path: 'build-debian/index.html' });

attack('an intent with an unknown field', ['intents BAD_INTENT'], (farm) => {
  const { path, document } = farm.intent([one]);
  const bad = document.replace('"intents"', '"urgent":true,"intents"');
  farm.logs.commit({ put: { [path.replace(/[0-9a-f]{64}/, sha256(bad))]: bad } });
}, { commit: 'head' });
attack('an intent under another name', ['intents INTENT_NAME'], (farm) => {
  const { path, document } = farm.intent([one]);
  farm.logs.commit({ put: { [path.replace(/[0-9a-f]{64}/, sha256('x'))]: document } });
}, { commit: 'head' });
attack('an intent that names a log which is not published', ['intents LOG_NOT_PUBLISHED'], (farm) => {
  const { path, document } = farm.intent([one], { logs: ['build-debian/log_2026-11-21_23-00-00'] });
  farm.logs.commit({ put: { [path]: document } });
}, { commit: 'head' });

attack('a gap in the journal', ['journal-chain JOURNAL_GAP'], ({ logs }) => void logs.commit({ put: logs.journalLines([{ event: 'refused', result: 'NO_GRANT', seq: 99 }]) }), { commit: 'head' });
attack('a journal entry that does not follow on the one before', ['journal-chain JOURNAL_CHAIN'], ({ logs }) => void logs.commit({ put: logs.journalLines([{ event: 'refused', result: 'NO_GRANT', prev: sha256('x') }]) }), { commit: 'head' });
attack('an entry changed after its publication', ['files-grow FILE_REWRITTEN'], ({ logs }) => {
  const path = 'journal/keys-debian/00000000.jsonl';
  logs.commit({ put: { [path]: (logs.content.get(path) as Buffer).toString().replace('"event":"granted"', '"event":"refused"') } });
}, { commit: 'head' });
attack('a journal whose clock went back', ['journal-chain JOURNAL_TIME'], ({ logs }) => void logs.commit({ put: logs.journalLines([{ event: 'refused', result: 'NO_GRANT', time: '2026-11-20T00:00:00.000Z' }]) }), { commit: 'head' });
attack('an entry with an unknown event', ['journal-chain BAD_ENTRY'], ({ logs }) => void logs.commit({ put: logs.journalLines([{ event: 'lent' as never, result: '' }]) }), { commit: 'head' });

/** Grants, claims and signs `one` with an intent that was published before, but for `change`. */
function sign(farm: Farm, events: ('granted' | 'claimed' | 'signed')[], change: Record<string, string> = {}, commit?: string): void {
  const intent = farm.intent([one]);
  const published = farm.logs.commit({ put: { [intent.path]: intent.document } });
  const use = { ...farm.use(one, intent.sha256, commit ?? published), ...change };
  const result = { granted: farm.logs.until, claimed: '', signed: `sha256:${sha256('a signature')}` };
  farm.logs.commit({ put: farm.logs.journalLines(events.map((event) => ({ event, result: result[event], ...use }))) });
}
const all: ('granted' | 'claimed' | 'signed')[] = ['granted', 'claimed', 'signed'];
attack('a grant without an intent', ['journal-grants NO_INTENT'], (farm) => sign(farm, all, { intent: sha256('no such intent') }), { commit: 'head' });
attack('a grant for other bytes than the intent names', ['journal-grants NO_INTENT'], (farm) => sign(farm, all, { sha256: sha256('other bytes') }), { commit: 'head' });
attack('a grant for another mode than the intent names', ['journal-grants NO_INTENT'], (farm) => sign(farm, all, { mode: 'clearsign' }), { commit: 'head' });
attack('a grant for another key than the intent names', ['journal-grants NO_INTENT'], (farm) => sign(farm, all, { key: key.stranger }), { commit: 'head' });
attack('a grant for the intent of another VM', ['journal-grants NO_INTENT'], (farm) => sign(farm, all, { source: 'build-fedora' }), { commit: 'head' });
attack('a grant by a commit that is not in the history', ['journal-grants UNKNOWN_COMMIT'], (farm) => sign(farm, all, {}, 'f'.repeat(40)), { commit: 'head' });
attack('an intent published after the commit that granted it', ['journal-grants INTENT_LATER'], (farm) => sign(farm, all, {}, farm.logs.head), { commit: 'head' });
attack('an entry published with the very commit that it names as its proof', ['journal-grants UNKNOWN_COMMIT'], (farm) => {
  const intent = farm.intent([one]);
  farm.logs.commit({ put: { [intent.path]: intent.document, ...farm.logs.journal(['granted', farm.logs.until, farm.use(one, intent.sha256, 'e'.repeat(40))]) } });
}, { commit: 'head' });
attack('a signature that was not claimed', ['journal-grants NO_CLAIM'], (farm) => sign(farm, ['granted', 'signed']), { commit: 'head' });
attack('a signature without a grant', ['journal-grants NO_GRANT'], (farm) => sign(farm, ['claimed', 'signed']), { commit: 'head' });
attack('two signatures for one grant', ['journal-grants SIGNED_TWICE'], (farm) => sign(farm, ['granted', 'claimed', 'signed', 'claimed', 'signed']), { commit: 'head' });
attack('one claim, two signatures', ['journal-grants NO_CLAIM'], (farm) => sign(farm, ['granted', 'claimed', 'signed', 'signed']), { commit: 'head' });
attack('two grants for one intent', ['journal-grants GRANTED_TWICE'], (farm) => sign(farm, ['granted', 'claimed', 'signed', 'granted']), { commit: 'head' });
attack('a claim after the grant ended', ['journal-grants CLAIMED_LATE'], (farm) => {
  const intent = farm.intent([one]);
  const use = farm.use(one, intent.sha256, farm.logs.commit({ put: { [intent.path]: intent.document } }));
  farm.logs.commit({ put: farm.logs.journal(['granted', farm.logs.lastTime, use], ['claimed', '', use]) });
}, { commit: 'head' });
attack('a claim after a reboot', ['journal-grants CLAIMED_LATE'], (farm) => {
  const intent = farm.intent([one]);
  const use = farm.use(one, intent.sha256, farm.logs.commit({ put: { [intent.path]: intent.document } }));
  farm.logs.commit({ put: farm.logs.journal(['granted', farm.logs.until, use], ['start', 'another-boot'], ['claimed', '', use]) });
}, { commit: 'head' });

attack('an InRelease that is signed by the right key in secret', ['apt-signatures SIGNATURE_NOT_IN_JOURNAL'], (farm) => {
  farm.put('dists/bookworm/InRelease', keys.sign('signing', 'clearsign', readFileSync(join(farm.apt, 'dists/bookworm/Release'))));
}, { path: 'dists/bookworm/InRelease' });
attack('a suite that nobody announced', ['apt-signatures SIGNATURE_NOT_IN_JOURNAL'], (farm) => {
  farm.put('dists/backdoor/InRelease', keys.sign('signing', 'clearsign', readFileSync(join(farm.apt, 'dists/bookworm/Release')).toString().replace('Suite: bookworm', 'Suite: backdoor')));
  cpSync(join(farm.apt, 'dists/bookworm/main'), join(farm.apt, 'dists/backdoor/main'), { recursive: true });
}, { path: 'dists/backdoor/InRelease' });
attack('an announced Release served as another suite', ['apt-signatures RELEASE_DIFFERS'], (farm) => {
  cpSync(join(farm.apt, 'dists/bookworm'), join(farm.apt, 'dists/stable'), { recursive: true });
}, { path: 'dists/stable/Release' });
attack('an InRelease signed by a stranger', ['apt-signatures SIGNATURE_NOT_IN_JOURNAL', 'apt-signatures WRONG_KEY'], (farm) => {
  farm.put('dists/bookworm/InRelease', keys.sign('stranger', 'clearsign', readFileSync(join(farm.apt, 'dists/bookworm/Release'))));
}, { path: 'dists/bookworm/InRelease' });
attack('a line before the signed text of InRelease', ['apt-signatures NOT_SIGNED'], (farm) => {
  farm.put('dists/bookworm/InRelease', `Suite: x\n${readFileSync(join(farm.apt, 'dists/bookworm/InRelease')).toString()}`);
}, { path: 'dists/bookworm/InRelease' });
attack('a Release that is not what was signed', ['apt-signatures BAD_SIGNATURE', 'apt-signatures RELEASE_DIFFERS', 'apt-signatures WRONG_PAYLOAD'], (farm) => {
  farm.put('dists/bookworm/Release', `${readFileSync(join(farm.apt, 'dists/bookworm/Release')).toString()}Label: x\n`);
});
attack('a Release without Release.gpg', ['apt-signatures NOT_SIGNED'], (farm) => rmSync(join(farm.apt, 'dists/bookworm/Release.gpg')), { path: 'dists/bookworm/Release.gpg' });
attack('a suite that was announced and is gone', ['apt-signatures FILE_MISSING'], (farm) => rmSync(join(farm.apt, 'dists/bookworm'), { recursive: true }), { path: 'dists/bookworm/InRelease' });
attack('a .changes in the pool that was signed in secret', ['apt-signatures SIGNATURE_NOT_IN_JOURNAL'], (farm) => farm.put('pool/main/h/hello/hello_2.10-3_amd64.changes', keys.sign('signing', 'clearsign', 'Format: 1.8\n')));
attack('a .dsc without its signature', ['apt-files WRONG_SIZE', 'apt-signatures NOT_SIGNED'], (farm) => farm.put(dsc, 'Format: 3.0 (native)\nSource: hello\n'), { path: dsc });
attack('a package changed in the pool', ['apt-files WRONG_SHA256'], (farm) => farm.put(deb, 'the pAckage'), { path: deb });
attack('a package that is gone from the pool', ['apt-files FILE_MISSING'], (farm) => rmSync(join(farm.apt, deb)), { path: deb });
attack('a changed index', ['apt-files WRONG_SHA256'], (farm) => {
  const path = join(farm.apt, 'dists/bookworm/main/binary-amd64/Packages');
  writeFileSync(path, readFileSync(path).toString().replace('2.10-3', '2.10-4'));
}, { path: 'dists/bookworm/main/binary-amd64/Packages' });

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
  const who = 'build-logs <build-logs@farm.example> 1795296601 +0000';
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

void tap.test('a signature in the journal of another keys VM does not count when one is named', async (t) => {
  const farm = new Farm(keys, good);
  t.teardown(() => farm.remove());
  t.same((await verdict(farm, ['--keys-vm', 'keys-debian'])).codes, []);
  t.same((await verdict(farm, ['--keys-vm', 'keys-fedora'])).codes, ['apt-signatures SIGNATURE_NOT_IN_JOURNAL']);
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
