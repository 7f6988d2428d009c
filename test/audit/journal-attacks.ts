// SPDX-License-Identifier: GPL-2.0-or-later
// Attacks on intents and journals: each is published in a good commit with true lines.
import type { Attack } from './unwritten-farm.js';
import { sha256, type Farm, type Keys, type Wanted } from './farm.js';

export function journalAttacks(attack: Attack, keys: Pick<Keys, 'fingerprint'>): void {
  const one: Wanted = { purpose: 'other', name: 'notes', mode: 'detach', payload: Buffer.from('sign me') };

  attack(
    'an intent with an unknown field',
    ['intents BAD_INTENT'],
    (farm) => {
      const { path, document } = farm.intent([one]);
      const bad = document.replace('"intents"', '"urgent":true,"intents"');
      farm.logs.commit({ put: { [path.replace(/[0-9a-f]{64}/, sha256(bad))]: bad } });
    },
    { commit: 'head' },
  );
  attack(
    'an intent that tells the first-field reader something else than the last-field reader',
    ['intents BAD_INTENT'],
    (farm) => {
      const { path, document } = farm.intent([one]);
      const bad = document.replace('"intents"', '"intents":[],"intents"');
      farm.logs.commit({ put: { [path.replace(/[0-9a-f]{64}/, sha256(bad))]: bad } });
    },
    { commit: 'head' },
  );
  attack(
    'an intent under another name',
    ['intents INTENT_NAME'],
    (farm) => {
      const { path, document } = farm.intent([one]);
      farm.logs.commit({ put: { [path.replace(/[0-9a-f]{64}/, sha256('x'))]: document } });
    },
    { commit: 'head' },
  );
  attack(
    'an intent that names a log which is not published',
    ['intents LOG_NOT_PUBLISHED'],
    (farm) => {
      farm.logs.commit({ put: farm.intent([one], { logs: ['build-debian/log_2026-11-21_23-00-00'] }).put });
    },
    { commit: 'head' },
  );

  attack(
    'a gap in the journal',
    ['journal-chain JOURNAL_GAP'],
    ({ logs }) =>
      void logs.commit({ put: logs.journalLines([{ event: 'refused', result: 'NO_GRANT', seq: 99 }]) }),
    { commit: 'head' },
  );
  attack(
    'a journal entry that does not follow on the one before',
    ['journal-chain JOURNAL_CHAIN'],
    ({ logs }) =>
      void logs.commit({
        put: logs.journalLines([{ event: 'refused', result: 'NO_GRANT', prev: sha256('x') }]),
      }),
    { commit: 'head' },
  );
  attack(
    'an entry changed after its publication',
    ['files-grow FILE_REWRITTEN'],
    ({ logs }) => {
      const path = 'journal/keys-debian/00000000.jsonl';
      logs.commit({
        put: {
          [path]: (logs.content.get(path) as Buffer)
            .toString()
            .replace('"event":"granted"', '"event":"refused"'),
        },
      });
    },
    { commit: 'head' },
  );
  attack(
    'a journal whose clock went back',
    ['journal-chain JOURNAL_TIME'],
    ({ logs }) =>
      void logs.commit({
        put: logs.journalLines([{ event: 'refused', result: 'NO_GRANT', time: '2026-11-20T00:00:00.000Z' }]),
      }),
    { commit: 'head' },
  );
  attack(
    'an entry with an unknown event',
    ['journal-chain BAD_ENTRY'],
    ({ logs }) => void logs.commit({ put: logs.journalLines([{ event: 'lent' as never, result: '' }]) }),
    { commit: 'head' },
  );

  /** Grants, claims and signs `one` with an intent that was published before, but for `change`. */
  function sign(
    farm: Farm,
    events: ('granted' | 'claimed' | 'signed')[],
    change: Record<string, string> = {},
    commit?: string,
  ): void {
    const intent = farm.intent([one]);
    const published = farm.logs.commit({ put: intent.put });
    const use = { ...farm.use(one, intent.sha256, commit ?? published), ...change };
    const result = { granted: farm.logs.until, claimed: '', signed: `sha256:${sha256('a signature')}` };
    farm.logs.commit({
      put: farm.logs.journalLines(events.map((event) => ({ event, result: result[event], ...use }))),
    });
  }
  const all: ('granted' | 'claimed' | 'signed')[] = ['granted', 'claimed', 'signed'];
  attack(
    'a grant without an intent',
    ['journal-grants NO_INTENT'],
    (farm) => sign(farm, all, { intent: sha256('no such intent') }),
    { commit: 'head' },
  );
  attack(
    'a grant for other bytes than the intent names',
    ['journal-grants NO_INTENT'],
    (farm) => sign(farm, all, { sha256: sha256('other bytes') }),
    { commit: 'head' },
  );
  attack(
    'a grant for another mode than the intent names',
    ['journal-grants NO_INTENT'],
    (farm) => sign(farm, all, { mode: 'clearsign' }),
    { commit: 'head' },
  );
  attack(
    'a grant for another key than the intent names',
    ['journal-grants NO_INTENT'],
    (farm) => sign(farm, all, { key: keys.fingerprint.stranger }),
    { commit: 'head' },
  );
  attack(
    'a grant for the intent of another VM',
    ['journal-grants NO_INTENT'],
    (farm) => sign(farm, all, { source: 'build-fedora' }),
    { commit: 'head' },
  );
  attack(
    'a grant by a commit that is not in the history',
    ['journal-grants UNKNOWN_COMMIT'],
    (farm) => sign(farm, all, {}, 'f'.repeat(40)),
    { commit: 'head' },
  );
  attack(
    'an intent published after the commit that granted it',
    ['journal-grants INTENT_LATER'],
    (farm) => sign(farm, all, {}, farm.logs.head),
    { commit: 'head' },
  );
  attack(
    'an entry published with the very commit that it names as its proof',
    ['journal-grants UNKNOWN_COMMIT'],
    (farm) => {
      const intent = farm.intent([one]);
      farm.logs.commit({
        put: {
          ...intent.put,
          ...farm.logs.journal(['granted', farm.logs.until, farm.use(one, intent.sha256, 'e'.repeat(40))]),
        },
      });
    },
    { commit: 'head' },
  );
  attack(
    'a signature that was not claimed',
    ['journal-grants NO_CLAIM'],
    (farm) => sign(farm, ['granted', 'signed']),
    { commit: 'head' },
  );
  attack(
    'a signature without a grant',
    ['journal-grants NO_GRANT'],
    (farm) => sign(farm, ['claimed', 'signed']),
    { commit: 'head' },
  );
  attack(
    'two signatures for one grant',
    ['journal-grants SIGNED_TWICE'],
    (farm) => sign(farm, ['granted', 'claimed', 'signed', 'claimed', 'signed']),
    { commit: 'head' },
  );
  attack(
    'one claim, two signatures',
    ['journal-grants NO_CLAIM'],
    (farm) => sign(farm, ['granted', 'claimed', 'signed', 'signed']),
    { commit: 'head' },
  );
  attack(
    'two grants for one intent',
    ['journal-grants GRANTED_TWICE'],
    (farm) => sign(farm, ['granted', 'claimed', 'signed', 'granted']),
    { commit: 'head' },
  );
  attack(
    'a claim after the grant ended',
    ['journal-grants CLAIMED_LATE'],
    (farm) => {
      const use = farm.announce(one);
      farm.logs.commit({
        put: farm.logs.journal(['granted', farm.logs.lastTime, use], ['claimed', '', use]),
      });
    },
    { commit: 'head' },
  );
  attack(
    'a claim after a reboot',
    ['journal-grants CLAIMED_LATE'],
    (farm) => {
      const use = farm.announce(one);
      farm.logs.commit({
        put: farm.logs.journal(
          ['granted', farm.logs.until, use],
          ['start', 'another-boot'],
          ['claimed', '', use],
        ),
      });
    },
    { commit: 'head' },
  );
}
