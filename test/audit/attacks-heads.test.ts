// SPDX-License-Identifier: GPL-2.0-or-later
// Attacks on journals by whoever publishes them: everything in good commits with true lines, chained and hashed as it has to be. Only the
// keys VM's own signature is missing, or belongs to something else.
import tap from 'tap';
import { readOptions } from '../../agents/audit/options.js';
import { journalHeadLine, type JournalHead } from '../../agents/shared/formats/journal-head.js';
import { journalPath, type JournalEntry } from '../../agents/shared/formats/journal.js';
import { runAudit, argumentsFor, verdict } from './run-audit.js';
import { attack, good, keys } from './attack.js';
import { Farm, journalKey, journalKeyOf, sha256, type Wanted } from './farm.js';

const entriesPath = journalPath('keys-debian', 1);
const headsPath = 'journal/keys-debian/heads-00000000.jsonl';
const one: Wanted = { purpose: 'other', name: 'notes', mode: 'detach', payload: Buffer.from('sign me') };
const without = (files: Record<string, string>, path: string): Record<string, string> => Object.fromEntries(Object.entries(files).filter(([name]) => name !== path));
const refused = ({ logs }: Farm): Record<string, string> => logs.journal(['refused', 'NO_GRANT']);
const lines = (farm: Farm, path: string): string[] => (farm.logs.content.get(path) as Buffer).toString().trimEnd().split('\n');

/** Signs with the farm's key behind a history of its own, as the two VMs could do together, and then publishes entries for it. */
function madeUpUse(farm: Farm): Record<string, string> {
  const intent = farm.intent([one]);
  const published = farm.logs.commit({ put: { ...intent.put } });
  const use = farm.use(one, intent.sha256, published);
  return farm.logs.journal(['granted', farm.logs.until, use], ['claimed', '', use], ['signed', `sha256:${sha256('a signature from a private history')}`, use]);
}

attack('entries made up by whoever carries the journal, without a head', ['journal-heads HEAD_MISSING'], (farm) => farm.logs.commit({ put: without(madeUpUse(farm), headsPath) }), { commit: 'head' });
attack('entries made up, with heads signed by another key', ['journal-heads HEAD_MISSING', 'journal-heads HEAD_SIGNATURE'], (farm) => {
  farm.logs.headKey = journalKeyOf('build-logs').secret;
  farm.logs.commit({ put: madeUpUse(farm) });
}, { commit: 'head' });
attack('entries made up, with the last head again', ['journal-heads HEAD_ENTRY', 'journal-heads HEAD_MISSING', 'journal-heads HEAD_ORDER'], (farm) => {
  const last = lines(farm, headsPath).at(-1) as string;
  const before = (farm.logs.content.get(headsPath) as Buffer).toString();
  farm.logs.commit({ put: { ...madeUpUse(farm), [headsPath]: `${before}${last}\n` } });
}, { commit: 'head' });
attack('a true head changed to name the made up entry', ['journal-heads HEAD_MISSING', 'journal-heads HEAD_SIGNATURE'], (farm) => {
  const before = (farm.logs.content.get(headsPath) as Buffer).toString();
  const head = JSON.parse(lines(farm, headsPath).at(-1) as string) as JournalHead;
  const made = madeUpUse(farm);
  const told = JSON.parse((made[headsPath] as string).trimEnd().split('\n').at(-1) as string) as JournalHead;
  farm.logs.commit({ put: { ...made, [headsPath]: `${before}${journalHeadLine({ ...told, signature: head.signature })}\n` } });
}, { commit: 'head' });
attack('the entries of a head replaced by others that chain as well', ['journal-heads HEAD_ENTRY', 'journal-heads HEAD_MISSING'], (farm) => {
  const real = refused(farm);
  farm.logs.takeBack(1);
  farm.logs.commit({ put: { ...without(madeUpUse(farm), headsPath), [headsPath]: real[headsPath] as string } });
}, { commit: 'head' });
attack('a whole journal made up in a history of its own, beside a keys VM that knows nothing of it', ['journal-heads HEAD_MISSING', 'journal-heads HEAD_SIGNATURE'], (farm) => {
  farm.logs.keysVm = 'keys-fedora';
  farm.logs.headKey = journalKeyOf('build-logs').secret;
  farm.logs.forgetJournal();
  farm.logs.commit({ put: farm.logs.journal(['start', 'boot-of-nobody']) });
  farm.logs.commit({ put: madeUpUse(farm) });
}, {}, () => ['--journal-key', `keys-fedora=${journalKeyOf('keys-fedora').public}`]);
attack('a keys VM that does not exist, with heads of its own', ['journal-heads NOT_PINNED'], (farm) => {
  farm.logs.keysVm = 'keys-invented';
  farm.logs.headKey = journalKeyOf('keys-invented').secret;
  farm.logs.forgetJournal();
  farm.logs.commit({ put: farm.logs.journal(['start', 'boot-of-nobody']) });
  farm.logs.commit({ put: madeUpUse(farm) });
});
attack('heads of a keys VM that does not exist, without entries', ['journal-heads HEAD_ENTRY', 'journal-heads NOT_PINNED'], (farm) => {
  const [head] = Object.values(farm.logs.journalHead({ keysVm: 'keys-invented', seq: 1 })) as [string];
  const line = head.trimEnd().split('\n').at(-1) as string;
  farm.logs.commit({ put: { 'journal/keys-invented/heads-00000000.jsonl': `${line}\n` } });
});

attack('heads dropped from one publication, and there again in the next', ['journal-heads HEAD_ENTRY', 'journal-heads HEAD_MISSING'], (farm) => {
  const first = without(refused(farm), headsPath);
  farm.logs.commit({ put: first });
  farm.logs.commit({ put: refused(farm) });
});
attack('a head that comes after its entries', ['journal-heads HEAD_ENTRY', 'journal-heads HEAD_MISSING'], (farm) => {
  const files = refused(farm);
  farm.logs.commit({ put: without(files, headsPath) });
  farm.logs.commit({ put: { [headsPath]: files[headsPath] as string } });
});
attack('entries beyond the head', ['journal-heads HEAD_MISSING'], (farm) => {
  const head = refused(farm)[headsPath] as string;
  farm.logs.commit({ put: { [entriesPath]: refused(farm)[entriesPath] as string, [headsPath]: head } });
}, { commit: 'head' });

const spoiled: [string, string[], (farm: Farm) => Partial<JournalHead>][] = [
  ['that remembers a commit which is not in the history', ['journal-heads HEAD_COMMIT'], () => ({ commit: 'd'.repeat(40) })],
  ['that remembers an older commit than before', ['journal-heads HEAD_COMMIT'], () => ({ commit: null })],
  ['of another boot', ['journal-heads HEAD_BOOT'], () => ({ boot: 'another boot' })],
  ['that is older than its entry', ['journal-heads HEAD_TIME'], () => ({ time: '2026-11-20T00:00:00.000Z' })],
  ['for another entry', ['journal-heads HEAD_ENTRY', 'journal-heads HEAD_MISSING'], () => ({ entry: sha256('other') })],
  ['of another keys VM', ['journal-heads BAD_HEAD'], () => ({ keysVm: 'keys-fedora' })],
];
for (const [what, codes, change] of spoiled) {
  attack(`a head ${what}`, codes, (farm) => {
    const { [entriesPath]: entries } = refused(farm);
    farm.logs.takeBackHead();
    farm.logs.commit({ put: { [entriesPath]: entries as string, [headsPath]: Object.values(farm.logs.journalHead(change(farm)))[0] as string } });
  }, { commit: 'head' });
}
attack('a head that remembers the very commit which publishes it, or a later one', ['journal-heads HEAD_COMMIT'], (farm) => {
  // The id of a later commit cannot be known: what a build-logs VM can do is show an old history beside a newer head.
  farm.logs.commit({ put: refused(farm) });
  const later = new Farm(keys, farm);
  const id = later.logs.commit({ put: {} });
  later.remove();
  const { [entriesPath]: entries } = refused(farm);
  farm.logs.takeBackHead();
  farm.logs.commit({ put: { [entriesPath]: entries as string, [headsPath]: Object.values(farm.logs.journalHead({ commit: id }))[0] as string } });
}, { commit: 'head' });
attack('a head in another spelling', ['journal-heads BAD_HEAD', 'journal-heads HEAD_MISSING'], (farm) => {
  const files = refused(farm);
  const at = (files[headsPath] as string).lastIndexOf('{"format"') + 1;
  farm.logs.commit({ put: { ...files, [headsPath]: `${(files[headsPath] as string).slice(0, at)} ${(files[headsPath] as string).slice(at)}` } });
}, { commit: 'head' });

void tap.test('an entry that was there before its last head cannot be older than it', async (t) => {
  const farm = new Farm(keys, good);
  t.teardown(() => farm.remove());
  farm.logs.commit({ put: farm.logs.journalHeadInFuture() });
  farm.logs.commit({ put: refused(farm) });
  t.ok((await verdict(farm)).codes.includes('journal-chain JOURNAL_TIME'));
});

void tap.test('a journal without any head is wrong from its first entry on, and one without a pinned key too', async (t) => {
  const farm = new Farm(keys);
  t.teardown(() => farm.remove());
  farm.logs.commit({ put: without(farm.logs.journal(['start', 'b0075a1d-0000-4000-8000-000000000000']), headsPath) });
  farm.put('key.asc', keys.export('signing'));
  const logsOnly = argumentsFor(farm).slice(0, 4);
  const unpinned = await runAudit(logsOnly);
  t.equal(unpinned.status, 1);
  t.match(unpinned.out, /NOT_PINNED[^]*HEAD_MISSING/);
  const pinned = await runAudit([...logsOnly, '--journal-key', `keys-debian=${journalKey.public}`]);
  t.match(pinned.out, /HEAD_MISSING/);
  t.notMatch(pinned.out, /NOT_PINNED/);
});

void tap.test('the report says for each keys VM how old its newest head is; a key that was replaced counts still', async (t) => {
  const other = `keys-fedora=${'ab'.repeat(32)}`;
  const { out } = await runAudit([...argumentsFor(good), '--journal-key', `keys-debian=${journalKeyOf('new').public}`, '--journal-key', other]);
  t.match(out, /\n {2}keys-debian: newest journal head \d+ (?:day|hour|minute|second)s? old \(entry \d+, 2026-11-21T21:00:\d\d\.000Z\)\n {2}keys-fedora: 0 journal entries and no head\n/);
  const json = JSON.parse((await runAudit([...argumentsFor(good), '--json'])).out) as { journals: { keysVm: string; entries: number; head: { seq: number; time: string; ageSeconds: number } }[] };
  const entries = lines(good, entriesPath);
  t.match(json.journals, [{ keysVm: 'keys-debian', entries: entries.length, head: { seq: entries.length } }]);
  t.equal(json.journals[0]?.head.ageSeconds, json.journals[0]?.head.ageSeconds as number);
  t.ok(Math.abs((Date.now() - Date.parse(json.journals[0]?.head.time as string)) / 1000 - (json.journals[0]?.head.ageSeconds as number)) < 60);
  t.equal((JSON.parse(entries.at(-1) as string) as JournalEntry).seq, entries.length);
});

void tap.test('a key that is none, or names no VM, is a misuse', async (t) => {
  for (const pin of ['keys-debian', `keys-debian=${'AB'.repeat(32)}`, `=${journalKey.public}`, `keys debian=${journalKey.public}`, `keys-debian=${journalKey.public}\n`]) {
    t.throws(() => readOptions([...argumentsFor(good), '--journal-key', pin]), { name: 'Misuse', message: /--journal-key needs VM=HEX/ });
  }
});
