// SPDX-License-Identifier: GPL-2.0-or-later
// Attacks on journals by whoever publishes them: everything in good commits with true lines, chained and
// hashed as it has to be. Only the keys VM's own signature is missing, or belongs to something else.
import { journalHeadLine, type JournalHead } from '../../agents/shared/formats/journal-head.js';
import { journalPath } from '../../agents/shared/formats/journal.js';
import { journalKeyOf, sha256, type Farm, type Wanted } from './farm.js';
import type { Attack } from './unwritten-farm.js';

export const entriesPath = journalPath('keys-debian', 1);
export const headsPath = 'journal/keys-debian/heads-00000000.jsonl';
const one: Wanted = { purpose: 'other', name: 'notes', mode: 'detach', payload: Buffer.from('sign me') };
export const without = (files: Record<string, string>, path: string): Record<string, string> =>
  Object.fromEntries(Object.entries(files).filter(([name]) => name !== path));
export const refused = ({ logs }: Farm): Record<string, string> => logs.journal(['refused', 'NO_GRANT']);
export const lines = (farm: Farm, path: string): string[] =>
  (farm.logs.content.get(path) as Buffer).toString().trimEnd().split('\n');

/**
 * Signs with the farm's key behind a history of its own, as the two VMs could do together, and then publishes
 * entries for it.
 */
function madeUpUse(farm: Farm): Record<string, string> {
  const intent = farm.intent([one]);
  const published = farm.logs.commit({ put: { ...intent.put } });
  const use = farm.use(one, intent.sha256, published);
  return farm.logs.journal(
    ['granted', farm.logs.until, use],
    ['claimed', '', use],
    ['signed', `sha256:${sha256('a signature from a private history')}`, use],
  );
}

/** @param laterCommit the id of a commit that comes after the farm's last */
export function headAttacks(attack: Attack, laterCommit: (farm: Farm) => string): void {
  attack(
    'entries made up by whoever carries the journal, without a head',
    ['journal-heads HEAD_MISSING'],
    (farm) => farm.logs.commit({ put: without(madeUpUse(farm), headsPath) }),
    { commit: 'head' },
  );
  attack(
    'entries made up, with heads signed by another key',
    ['journal-heads HEAD_MISSING', 'journal-heads HEAD_SIGNATURE'],
    (farm) => {
      farm.logs.headKey = journalKeyOf('build-logs').secret;
      farm.logs.commit({ put: madeUpUse(farm) });
    },
    { commit: 'head' },
  );
  attack(
    'entries made up, with the last head again',
    ['journal-heads HEAD_ENTRY', 'journal-heads HEAD_MISSING', 'journal-heads HEAD_ORDER'],
    (farm) => {
      const last = lines(farm, headsPath).at(-1) as string;
      const before = (farm.logs.content.get(headsPath) as Buffer).toString();
      farm.logs.commit({ put: { ...madeUpUse(farm), [headsPath]: `${before}${last}\n` } });
    },
    { commit: 'head' },
  );
  attack(
    'a true head changed to name the made up entry',
    ['journal-heads HEAD_MISSING', 'journal-heads HEAD_SIGNATURE'],
    (farm) => {
      const before = (farm.logs.content.get(headsPath) as Buffer).toString();
      const head = JSON.parse(lines(farm, headsPath).at(-1) as string) as JournalHead;
      const made = madeUpUse(farm);
      const told = JSON.parse(
        (made[headsPath] as string).trimEnd().split('\n').at(-1) as string,
      ) as JournalHead;
      farm.logs.commit({
        put: {
          ...made,
          [headsPath]: `${before}${journalHeadLine({ ...told, signature: head.signature })}\n`,
        },
      });
    },
    { commit: 'head' },
  );
  attack(
    'the entries of a head replaced by others that chain as well',
    ['journal-heads HEAD_ENTRY', 'journal-heads HEAD_MISSING'],
    (farm) => {
      const real = refused(farm);
      farm.logs.takeBack(1);
      farm.logs.commit({
        put: { ...without(madeUpUse(farm), headsPath), [headsPath]: real[headsPath] as string },
      });
    },
    { commit: 'head' },
  );
  attack(
    'a whole journal made up in a history of its own, beside a keys VM that knows nothing of it',
    ['journal-heads HEAD_MISSING', 'journal-heads HEAD_SIGNATURE'],
    (farm) => {
      farm.logs.keysVm = 'keys-fedora';
      farm.logs.headKey = journalKeyOf('build-logs').secret;
      farm.logs.forgetJournal();
      farm.logs.commit({ put: farm.logs.journal(['start', 'boot-of-nobody']) });
      farm.logs.commit({ put: madeUpUse(farm) });
    },
    {},
    () => ['--journal-key', `keys-fedora=${journalKeyOf('keys-fedora').public}`],
  );
  attack('a keys VM that does not exist, with heads of its own', ['journal-heads NOT_PINNED'], (farm) => {
    farm.logs.keysVm = 'keys-invented';
    farm.logs.headKey = journalKeyOf('keys-invented').secret;
    farm.logs.forgetJournal();
    farm.logs.commit({ put: farm.logs.journal(['start', 'boot-of-nobody']) });
    farm.logs.commit({ put: madeUpUse(farm) });
  });
  attack(
    'heads of a keys VM that does not exist, without entries',
    ['journal-heads HEAD_ENTRY', 'journal-heads NOT_PINNED'],
    (farm) => {
      const [head] = Object.values(farm.logs.journalHead({ keysVm: 'keys-invented', seq: 1 })) as [string];
      const line = head.trimEnd().split('\n').at(-1) as string;
      farm.logs.commit({ put: { 'journal/keys-invented/heads-00000000.jsonl': `${line}\n` } });
    },
  );

  attack(
    'heads dropped from one publication, and there again in the next',
    ['journal-heads HEAD_ENTRY', 'journal-heads HEAD_MISSING'],
    (farm) => {
      const first = without(refused(farm), headsPath);
      farm.logs.commit({ put: first });
      farm.logs.commit({ put: refused(farm) });
    },
  );
  attack(
    'a head that comes after its entries',
    ['journal-heads HEAD_ENTRY', 'journal-heads HEAD_MISSING'],
    (farm) => {
      const files = refused(farm);
      farm.logs.commit({ put: without(files, headsPath) });
      farm.logs.commit({ put: { [headsPath]: files[headsPath] as string } });
    },
  );
  attack(
    'entries beyond the head',
    ['journal-heads HEAD_MISSING'],
    (farm) => {
      const head = refused(farm)[headsPath] as string;
      farm.logs.commit({ put: { [entriesPath]: refused(farm)[entriesPath] as string, [headsPath]: head } });
    },
    { commit: 'head' },
  );

  const spoiled: [string, string[], (farm: Farm) => Partial<JournalHead>][] = [
    [
      'that remembers a commit which is not in the history',
      ['journal-heads HEAD_COMMIT'],
      () => ({ commit: 'd'.repeat(40) }),
    ],
    ['that remembers an older commit than before', ['journal-heads HEAD_COMMIT'], () => ({ commit: null })],
    ['of another boot', ['journal-heads HEAD_BOOT'], () => ({ boot: 'another boot' })],
    [
      'that is older than its entry',
      ['journal-heads HEAD_TIME'],
      () => ({ time: '2026-11-20T00:00:00.000Z' }),
    ],
    [
      'for another entry',
      ['journal-heads HEAD_ENTRY', 'journal-heads HEAD_MISSING'],
      () => ({ entry: sha256('other') }),
    ],
    ['of another keys VM', ['journal-heads BAD_HEAD'], () => ({ keysVm: 'keys-fedora' })],
  ];
  for (const [what, codes, change] of spoiled) {
    attack(
      `a head ${what}`,
      codes,
      (farm) => {
        const { [entriesPath]: entries } = refused(farm);
        farm.logs.takeBackHead();
        farm.logs.commit({
          put: {
            [entriesPath]: entries as string,
            [headsPath]: Object.values(farm.logs.journalHead(change(farm)))[0] as string,
          },
        });
      },
      { commit: 'head' },
    );
  }
  attack(
    'a head that remembers the very commit which publishes it, or a later one',
    ['journal-heads HEAD_COMMIT'],
    (farm) => {
      // The id of a later commit cannot be known: what a build-logs VM can do is show an old history beside a
      // newer head.
      farm.logs.commit({ put: refused(farm) });
      const id = laterCommit(farm);
      const { [entriesPath]: entries } = refused(farm);
      farm.logs.takeBackHead();
      farm.logs.commit({
        put: {
          [entriesPath]: entries as string,
          [headsPath]: Object.values(farm.logs.journalHead({ commit: id }))[0] as string,
        },
      });
    },
    { commit: 'head' },
  );
  attack(
    'a head in another spelling',
    ['journal-heads BAD_HEAD', 'journal-heads HEAD_MISSING'],
    (farm) => {
      const files = refused(farm);
      const at = (files[headsPath] as string).lastIndexOf('{"format"') + 1;
      farm.logs.commit({
        put: {
          ...files,
          [headsPath]: `${(files[headsPath] as string).slice(0, at)} ${(files[headsPath] as string).slice(at)}`,
        },
      });
    },
    { commit: 'head' },
  );
}
