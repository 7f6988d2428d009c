// SPDX-License-Identifier: GPL-2.0-or-later
// Receipts: what the build-logs VM, or somebody in its place, can and cannot make the keys VM believe.
import { connect } from 'node:net';
import t from 'tap';
import {
  journalLine,
  journalLineHash,
  journalPath,
  noEntry,
  type JournalEntry,
} from '../../agents/shared/formats/journal.js';
import type { PublishedFile } from '../../agents/shared/formats/publication.js';
import type { Receipt } from '../../agents/shared/formats/receipt.js';
import { KeysMachine, sha256, type Published } from './keys-machine.js';

const machine = new KeysMachine();
t.before(() => machine.start());
t.teardown(() => machine.close());

const codeOf = async (receipt: unknown): Promise<string> => {
  const { reply } = await machine.send(receipt);
  return reply.result === 'refused' ? reply.code : 'accepted';
};
const document = (payload: string, changes = {}): string =>
  machine.document([machine.intent(payload, changes)]);
/** What was out of step honestly is worth no entry of the journal. */
const entries = (): number => machine.journal().length;
const granted = (): number => machine.journal().filter(({ event }) => event === 'granted').length;
const encoded = (...commits: Published[]): string[] => commits.map(({ raw }) => raw.toString('base64'));

await t.test('the first receipt must begin at the root commit', async (t) => {
  machine.publish([]);
  const second = machine.publish([]);
  const before = entries();
  t.equal(
    await codeOf(machine.receipt([], { proof: { commits: encoded(second), intents: [] } })),
    'NOT_FROM_ROOT',
  );
  const { journalHead, ...said } = (
    await machine.send(machine.receipt([], { proof: { commits: encoded(second), intents: [] } }))
  ).reply;
  t.same(said, {
    format: 'build-infra/receipt-reply@1',
    result: 'refused',
    head: null,
    code: 'NOT_FROM_ROOT',
    detail: 'the first receipt must begin with the root commit',
  });
  t.equal(journalHead.seq, before);
  t.equal(entries(), before);
});

await t.test(
  'a true receipt is accepted, grants what its intents ask for, and brings back the journal',
  async (t) => {
    const wish = document('a\n');
    const commit = machine.publish([machine.file(wish)]);
    const { reply, entries } = await machine.send(machine.receipt([wish]));
    t.match(reply, { result: 'accepted', head: commit.commit, granted: 1 });
    t.same(entries.map(({ event }) => event).at(-1), 'granted');
    t.same(entries, machine.journal());
    t.match(entries.at(-1), {
      source: 'build-debian',
      sha256: sha256('a\n'),
      key: machine.signingKey,
      mode: 'detach',
      commit: commit.commit,
      intent: sha256(wish),
    });
  },
);

await t.test('only the entries that the build-logs VM does not have come back', async (t) => {
  const journal = machine.journal();
  const last = journal.at(-1);
  machine.publish([]);
  const line = JSON.stringify(last);
  const { entries } = await machine.send(
    machine.receipt([], { journal: { seq: last?.seq as number, sha256: sha256(line) } }),
  );
  t.same(entries, []);
});

await t.test('the same receipt again grants nothing and says which commit is remembered', async (t) => {
  const wish = document('again\n');
  const commit = machine.publish([machine.file(wish)]);
  const receipt = machine.receipt([wish]);
  t.equal(await codeOf(receipt), 'accepted');
  const before = entries();
  t.match((await machine.send(receipt)).reply, {
    result: 'refused',
    code: 'ALREADY_RECEIVED',
    head: commit.commit,
  });
  t.equal(entries(), before);
});

await t.test('an older receipt, one that starts early and one with a gap are told apart', async (t) => {
  const before = entries();
  t.equal(
    await codeOf(
      machine.receipt([], {
        commit: (machine.history[1] as Published).commit,
        proof: { commits: encoded(...machine.history.slice(0, 2)), intents: [] },
      }),
    ),
    'OLD_RECEIPT',
  );
  machine.publish([]);
  t.equal(
    await codeOf(machine.receipt([], { proof: { commits: encoded(...machine.history), intents: [] } })),
    'STARTS_EARLY',
  );
  const last = machine.publish([]);
  t.equal(await codeOf(machine.receipt([], { proof: { commits: encoded(last), intents: [] } })), 'GAP');
  t.equal(entries(), before);
  t.equal(await codeOf(machine.receipt([])), 'accepted');
});

await t.test('no commits and no grants ask for journal entries alone', async (t) => {
  t.equal(await codeOf(machine.receipt([], { proof: { commits: [], intents: [] } })), 'accepted');
  const before = entries();
  t.equal(
    await codeOf(machine.receipt([document('none\n')], { proof: { commits: [], intents: [] } })),
    'EMPTY_PROOF',
  );
  t.equal(entries(), before);
});

/** Each changes one thing in a receipt that is true otherwise, and is followed by the true one. */
const lies: [string, string, (receipt: Receipt, wish: string) => unknown][] = [
  ['a required remote is missing', 'REMOTE_MISSING', (receipt) => ({ ...receipt, remotes: ['origin'] })],
  ['the source is another VM', 'WRONG_SOURCE', (receipt) => ({ ...receipt, source: 'build-fedora' })],
  ['there is an unknown field', 'BAD_DOCUMENT', (receipt) => ({ ...receipt, trusted: true })],
  ['the proof ends elsewhere', 'WRONG_COMMIT', (receipt) => ({ ...receipt, commit: 'ab'.repeat(20) })],
  [
    'a commit is not base64',
    'BAD_DOCUMENT',
    (receipt) => ({ ...receipt, proof: { ...receipt.proof, commits: [`${receipt.proof.commits[0]}\n`] } }),
  ],
  [
    'a commit has one changed byte',
    'BAD_SIGNATURE',
    (receipt) => ({
      ...receipt,
      proof: {
        ...receipt.proof,
        commits: [
          Buffer.from(
            Buffer.from(receipt.proof.commits[0] as string, 'base64')
              .toString()
              .replace('publication', 'Publication'),
          ).toString('base64'),
        ],
      },
    }),
  ],
  [
    'the intent is other bytes than those published',
    'INTENT_NOT_PUBLISHED',
    (receipt, wish) => ({
      ...receipt,
      proof: { ...receipt.proof, intents: [Buffer.from(`${wish} `).toString('base64')] },
    }),
  ],
  [
    'the intent is missing',
    'NOT_IN_INTENT',
    (receipt) => ({ ...receipt, proof: { ...receipt.proof, intents: [] } }),
  ],
  [
    'a grant is for other bytes',
    'NOT_IN_INTENT',
    (receipt) => ({ ...receipt, grants: [{ ...receipt.grants[0], sha256: sha256('other') }] }),
  ],
  [
    'a grant is for another size',
    'NOT_IN_INTENT',
    (receipt) => ({ ...receipt, grants: [{ ...receipt.grants[0], size: 99 }] }),
  ],
  [
    'a grant is for another mode',
    'NOT_IN_INTENT',
    (receipt) => ({ ...receipt, grants: [{ ...receipt.grants[0], mode: 'clearsign' }] }),
  ],
  [
    'a grant stands twice',
    'ALREADY_GRANTED',
    (receipt) => ({ ...receipt, grants: [receipt.grants[0], receipt.grants[0]] }),
  ],
  [
    'one grant of two is false',
    'NOT_IN_INTENT',
    (receipt) => ({
      ...receipt,
      grants: [receipt.grants[0], { ...receipt.grants[0], sha256: sha256('other') }],
    }),
  ],
  [
    'the journal entry is not ours',
    'JOURNAL_FORK',
    (receipt) => ({ ...receipt, journal: { seq: 1, sha256: sha256('other') } }),
  ],
  [
    'the journal is longer than ours',
    'JOURNAL_FORK',
    (receipt) => ({ ...receipt, journal: { seq: 100000, sha256: sha256('other') } }),
  ],
];
for (const [what, code, lie] of lies) {
  await t.test(`a receipt is refused whole when ${what}`, async (t) => {
    const wish = document(`${what}\n`);
    machine.publish([machine.file(wish)]);
    const receipt = machine.receipt([wish]);
    const before = granted();
    t.equal(await codeOf(lie(receipt, wish)), code);
    t.equal(granted(), before);
    t.equal(machine.events().at(-1), `refused ${code}`);
    t.equal(await codeOf(receipt), 'accepted');
  });
}

/** Each publishes something that the logs key would not, and then goes on from the remembered head. */
const badCommits: [string, string, (wish: string) => Published][] = [
  ['is not signed', 'NOT_SIGNED', (wish) => machine.makeCommit([machine.file(wish)], { signWith: null })],
  [
    'is signed by a stranger',
    'BAD_SIGNATURE',
    (wish) => machine.makeCommit([machine.file(wish)], { signWith: machine.otherKey }),
  ],
  [
    'counts wrongly',
    'BAD_SEQ',
    (wish) => machine.makeCommit([machine.file(wish)], { seq: machine.history.length + 2 }),
  ],
  [
    'has two parents',
    'NOT_ONE_PARENT',
    (wish) =>
      machine.makeCommit([machine.file(wish)], {
        parents: machine.history.slice(-2).map(({ commit }) => commit),
      }),
  ],
  [
    'replaces the last one',
    'FORK',
    (wish) =>
      machine.makeCommit([machine.file(wish)], {
        parents: [(machine.history.at(-2) as Published).commit],
        seq: machine.history.length,
      }),
  ],
  [
    'follows on another history',
    'FORK',
    (wish) =>
      machine.makeCommit([machine.file(wish)], { parents: [(machine.history.at(-2) as Published).commit] }),
  ],
  ['does not name the intent', 'INTENT_NOT_PUBLISHED', () => machine.makeCommit([])],
  [
    'names the intent for another VM',
    'INTENT_NOT_PUBLISHED',
    (wish) => machine.makeCommit([machine.file(wish, 'build-fedora')]),
  ],
  [
    'names the intent under another name',
    'INTENT_NOT_PUBLISHED',
    (wish) =>
      machine.makeCommit([
        { ...machine.file(wish), path: `intents/build-debian/2026-11-21/${sha256('x')}.json` },
      ]),
  ],
  [
    'names the intent with another size',
    'INTENT_NOT_PUBLISHED',
    (wish) => machine.makeCommit([{ ...machine.file(wish), size: 1 }]),
  ],
  ['has a message of another form', 'BAD_PUBLICATION', () => machine.makeCommit([], { message: 'hello\n' })],
];
for (const [what, code, make] of badCommits) {
  await t.test(`nothing is granted when the commit ${what}`, async (t) => {
    const wish = document(`commit ${what}\n`);
    const bad = make(wish);
    const before = granted();
    t.equal(
      await codeOf(
        machine.receipt([wish], {
          commit: bad.commit,
          proof: { commits: encoded(bad), intents: [Buffer.from(wish).toString('base64')] },
        }),
      ),
      code,
    );
    t.equal(granted(), before);
    t.match(
      machine.journal().at(-1),
      { event: 'refused', result: code, commit: code === 'FORK' ? bad.commit : null },
      'of two histories the other one is named',
    );
  });
}

await t.test('a signed commit in front hides no bad one behind it', async (t) => {
  const wish = document('behind\n');
  const good = machine.makeCommit([]);
  const bad = machine.makeCommit([machine.file(wish)], {
    parents: [good.commit],
    seq: machine.history.length + 2,
    signWith: machine.otherKey,
  });
  t.equal(
    await codeOf(
      machine.receipt([wish], {
        commit: bad.commit,
        proof: { commits: encoded(good, bad), intents: [Buffer.from(wish).toString('base64')] },
      }),
    ),
    'BAD_SIGNATURE',
  );
});

await t.test('a signed commit behind hides no bad one, wherever it stands before it', async (t) => {
  for (const bad of [0, 1, 2]) {
    const wish = document(`in front ${bad}\n`);
    const chain: Published[] = [];
    for (let at = 0; at < 4; at++) {
      const parents = at === 0 ? {} : { parents: [(chain[at - 1] as Published).commit] };
      chain.push(
        machine.makeCommit(at === bad ? [machine.file(wish)] : [], {
          ...parents,
          seq: machine.history.length + 1 + at,
          ...(at === bad ? { signWith: machine.otherKey } : {}),
        }),
      );
    }
    const before = granted();
    const head = machine.history.at(-1)?.commit;
    const { reply } = await machine.send(
      machine.receipt([wish], {
        commit: chain[3]?.commit as string,
        proof: { commits: encoded(...chain), intents: [Buffer.from(wish).toString('base64')] },
      }),
    );
    t.match(
      reply,
      { result: 'refused', code: 'BAD_SIGNATURE', head, detail: new RegExp(chain[bad]?.commit as string) },
      `the commit ${bad} of 4`,
    );
    t.equal(granted(), before);
  }
});

for (const [what, code, changes] of [
  ['skips a number', 'BAD_SEQ', { seq: 3 }],
  ['has another parent', 'NOT_A_CHAIN', { seq: 2, other: true }],
] as const) {
  await t.test(`nothing is believed when the second commit of a proof ${what}`, async (t) => {
    const count = machine.history.length;
    const first = machine.makeCommit([]);
    const parent = 'other' in changes ? (machine.history.at(-1) as Published).commit : first.commit;
    const second = machine.makeCommit([], { parents: [parent], seq: count + changes.seq });
    t.equal(
      await codeOf(
        machine.receipt([], {
          commit: second.commit,
          proof: { commits: encoded(first, second), intents: [] },
        }),
      ),
      code,
    );
  });
}

await t.test('two good signatures on one commit are one too many', async (t) => {
  const wish = document('double\n');
  const commit = machine.makeCommit([machine.file(wish)]);
  const text = commit.raw.toString();
  const signed = text.replace(/gpgsig (?:.|\n )*\n/, '');
  const both = machine.logsHome
    .gpg(['--armor', '-b', '-u', machine.logsKey, '-u', machine.otherKey], signed)
    .toString()
    .trimEnd()
    .replaceAll('\n', '\n ');
  const raw = Buffer.from(signed.replace('\n\n', `\ngpgsig ${both}\n \n\n`));
  const { gitObjectId } = await import('../../agents/shared/formats/git-commit.js');
  t.equal(
    await codeOf(
      machine.receipt([wish], {
        commit: gitObjectId('commit', raw),
        proof: { commits: [raw.toString('base64')], intents: [Buffer.from(wish).toString('base64')] },
      }),
    ),
    'BAD_SIGNATURE',
  );
});

await t.test(
  'grants nothing where a payload that has to be public is not in the commit of its intent:',
  async (t) => {
    const payload = 'Origin: farm\n';
    const cases: [string, (lines: PublishedFile[]) => PublishedFile[]][] = [
      ['no line', () => []],
      ['another size', (lines) => lines.map((line) => ({ ...line, size: line.size + 1 }))],
      ['other bytes', (lines) => lines.map((line) => ({ ...line, sha256: sha256('other') }))],
      [
        'another day',
        (lines) => lines.map((line) => ({ ...line, path: line.path.replace('2026-11-21', '2026-11-22') })),
      ],
      [
        'another VM',
        (lines) =>
          lines.map((line) => ({ ...line, path: line.path.replace('build-debian', 'build-fedora') })),
      ],
      [
        'another intent',
        (lines) => lines.map((line) => ({ ...line, path: line.path.replace(/[0-9a-f]{64}/, sha256('x')) })),
      ],
      ['the first of two only', (lines) => lines.slice(0, 1)],
    ];
    const wish = machine.document([
      machine.intent(payload, { purpose: 'apt-release' }),
      machine.intent('two\n', { purpose: 'rpm-repomd' }),
      machine.intent('h', { purpose: 'rpm-header' }),
    ]);
    for (const [what, payloads] of cases) {
      const bad = machine.makeCommit([machine.file(wish)], { payloads });
      t.equal(
        await codeOf(
          machine.receipt([wish], {
            commit: bad.commit,
            proof: { commits: encoded(bad), intents: [Buffer.from(wish).toString('base64')] },
          }),
        ),
        'PAYLOAD_NOT_PUBLISHED',
        what,
      );
    }
    // Named by the next commit of the same receipt: then the intent was public before its payload.
    const file = machine.file(wish);
    let lines: PublishedFile[] = [];
    const first = machine.makeCommit([file], { payloads: (all) => ((lines = all), []) });
    const second = machine.makeCommit(lines, { seq: machine.history.length + 2, parents: [first.commit] });
    t.equal(
      await codeOf(
        machine.receipt([wish], {
          commit: second.commit,
          proof: { commits: encoded(first, second), intents: [Buffer.from(wish).toString('base64')] },
        }),
      ),
      'PAYLOAD_NOT_PUBLISHED',
      'a later commit',
    );
    machine.publish([machine.file(wish)]);
    t.equal(await codeOf(machine.receipt([wish])), 'accepted', 'the same with nothing wrong');
  },
);

await t.test('an intent with an unknown field grants nothing, though it is published', async (t) => {
  const wish = `${JSON.stringify({ format: 'build-infra/intent@1', ...machine.intent('field\n'), urgent: true })}\n`;
  const bad = machine.makeCommit([machine.file(wish)]);
  t.equal(
    await codeOf(
      machine.receipt([wish], {
        commit: bad.commit,
        proof: { commits: encoded(bad), intents: [Buffer.from(wish).toString('base64')] },
      }),
    ),
    'BAD_DOCUMENT',
  );
});

await t.test('a key that this VM does not have is not granted, though an intent asks for it', async (t) => {
  const wish = document('foreign\n', { key: machine.otherKey });
  const bad = machine.makeCommit([machine.file(wish)]);
  t.equal(
    await codeOf(
      machine.receipt([wish], {
        commit: bad.commit,
        proof: { commits: encoded(bad), intents: [Buffer.from(wish).toString('base64')] },
      }),
    ),
    'FOREIGN_KEY',
  );
});

await t.test('an intent that was granted once is not granted again when it is published again', async (t) => {
  const wish = document('once\n');
  machine.publish([machine.file(wish)]);
  t.equal(await codeOf(machine.receipt([wish])), 'accepted');
  const second = machine.makeCommit([machine.file(wish, 'build-debian', '2026-11-22')]);
  t.equal(
    await codeOf(
      machine.receipt([wish], {
        commit: second.commit,
        proof: { commits: encoded(second), intents: [Buffer.from(wish).toString('base64')] },
      }),
    ),
    'ALREADY_GRANTED',
  );
});

await t.test('a receipt from any other VM is refused before it is read', async (t) => {
  const wish = document('from\n');
  machine.publish([machine.file(wish)]);
  const receipt = machine.receipt([wish]);
  const before = granted();
  t.match(
    (await machine.sendRaw(Buffer.from(JSON.stringify(receipt)), 'build-debian'))[0],
    /^refused NOT_LOGS_VM /,
  );
  t.match(machine.journal().at(-1), { event: 'refused', source: 'build-debian', result: 'NOT_LOGS_VM' });
  t.match(
    JSON.parse(
      (
        await machine.sendRaw(Buffer.from(JSON.stringify(receipt)), 'build-logs', 'build-fedora')
      )[0] as string,
    ),
    { code: 'WRONG_SOURCE' },
  );
  t.equal(granted(), before);
  t.equal(await codeOf(receipt), 'accepted');
});

await t.test('eight receipts may be on their way at once, and one more when one has come', async (t) => {
  const open = await Promise.all(
    Array.from({ length: 8 }, async () => {
      const socket = connect({
        path: `${machine.root}/run/build-infra/qubesbuilder.LogReceived.sock`,
        allowHalfOpen: true,
      });
      // What follows the descriptor shows that the call is in its service.
      await new Promise((resolve) =>
        socket.write('qubesbuilder.LogReceived+build-debian build-logs\0{', resolve),
      );
      return socket;
    }),
  );
  const again = async (): Promise<string> => (await machine.sendRaw(Buffer.from('x')))[0] as string;
  for (let tries = 0; tries < 200 && !(await again()).startsWith('refused BUSY '); tries++)
    await new Promise((resolve) => setTimeout(resolve, 10));
  t.match(await again(), /^refused BUSY /);
  const answered = new Promise((resolve) => open[0]?.on('data', resolve));
  open[0]?.end();
  await answered;
  t.match(JSON.parse(await again()), { code: 'NOT_JSON' });
  for (const socket of open) socket.destroy();
});

await t.test('a receipt over its size is refused', async (t) => {
  t.match(await machine.sendRaw(Buffer.alloc(4 * 1024 * 1024 + 1, 0x20)), [/^refused TOO_LARGE /]);
});

await t.test(
  'an intent in which a field stands twice is not signed, whichever of the two it asks for',
  async (t) => {
    const wish = document('shown to some\n');
    const hidden = document('shown to others\n');
    const payload = /"payload":\{[^}]*\}/;
    const both = wish.replace(payload, `${payload.exec(hidden)?.[0]},${payload.exec(wish)?.[0]}`);
    t.same(JSON.parse(both), JSON.parse(wish));
    machine.publish([machine.file(both)]);
    t.equal(await codeOf(machine.receipt([both])), 'AMBIGUOUS_JSON');
    t.equal(await codeOf(machine.receipt([])), 'accepted');
    const spaced = JSON.stringify(JSON.parse(document('spaced\n')), null, 2);
    machine.publish([machine.file(spaced)]);
    t.equal(await codeOf(machine.receipt([spaced])), 'accepted');
  },
);

await t.test('a journal that was rewritten on its way into the repository ends all signing', async (t) => {
  const line = (entry: JournalEntry): string => `${journalLine(entry)}\n`;
  const publishing = (
    entries: readonly JournalEntry[],
    path = journalPath('keys-debian', 1),
  ): { path: string; size: number; sha256: string } => {
    const body = entries.map(line).join('');
    return { path, size: Buffer.byteLength(body), sha256: sha256(body) };
  };
  const position = (): Receipt['journal'] => {
    const last = machine.journal().at(-1) as JournalEntry;
    return { seq: last.seq, sha256: journalLineHash(journalLine(last)) };
  };
  const tried = async (files: Parameters<typeof machine.publish>[0]): Promise<string> => {
    machine.publish(files);
    const code = await codeOf(machine.receipt([], { journal: position() }));
    if (code !== 'accepted')
      t.match(machine.journal().at(-1), {
        event: 'refused',
        result: code,
        commit: machine.history.pop()?.commit,
      });
    return code;
  };
  const journal = machine.journal().slice(0, 256);
  t.ok(journal.length > 3);
  t.equal(await tried([publishing(journal.slice(0, 2))]), 'accepted');
  t.equal(await tried([publishing(journal)]), 'accepted');
  // The second entry left out, and all after it numbered and chained anew, as whoever carries the journal
  // could.
  let last = noEntry;
  const rewritten = journal
    .filter((_, index) => index !== 1)
    .map((entry, index) => {
      const chained = { ...entry, seq: index + 1, prev: last };
      last = journalLineHash(journalLine(chained));
      return chained;
    });
  t.equal(await tried([publishing(rewritten)]), 'JOURNAL_ALTERED');
  t.equal(await tried([publishing(journal.slice(1))]), 'JOURNAL_ALTERED');
  t.equal(await tried([publishing(journal, journalPath('keys-debian', 257))]), 'JOURNAL_ALTERED');
  t.equal(await tried([publishing(journal, 'journal/keys-debian/000000000.jsonl')]), 'JOURNAL_ALTERED');
  t.equal(await tried([{ ...publishing(journal), size: 1e14 }]), 'JOURNAL_ALTERED');
  t.equal(await tried([publishing(rewritten, journalPath('keys-fedora', 1))]), 'accepted');
});
