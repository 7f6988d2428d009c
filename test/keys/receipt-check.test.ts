// SPDX-License-Identifier: GPL-2.0-or-later
// What a receipt has to prove, check by check, on commits made here: who signed them is the affair of
// log-received.test.ts, with real keys.
import t from 'tap';
import { readKeysConfig } from '../../agents/keys/documents.js';
import type { Head } from '../../agents/keys/ledger.js';
import { checkReceipt, type ProvenReceipt } from '../../agents/keys/receipt-check.js';
import { gitObjectId } from '../../agents/shared/formats/git-commit.js';
import { intentFormat, type Intent } from '../../agents/shared/formats/intent.js';
import {
  intentPath,
  payloadPath,
  writePublicationMessage,
  type PublishedFile,
} from '../../agents/shared/formats/publication.js';
import { receiptFormat, type GrantRequest, type Receipt } from '../../agents/shared/formats/receipt.js';
import { AnyRefusal } from '../../agents/shared/refusal.js';
import { Refusal } from '../../agents/keys/refusals.js';
import { sha256 } from './keys-machine.js';

const key = 'AB'.repeat(20);
const otherKey = 'CD'.repeat(20);
const config = readKeysConfig({
  format: 'build-infra/keys-config@1',
  vm: 'keys-debian',
  source: 'build-debian',
  logsVm: 'build-logs',
  logsKey: key,
  requiredRemotes: ['mirror', 'origin'],
  signingKeys: [key],
  anchor: null,
  journalKey: null,
  grantSeconds: 900,
  payloadBytes: 1024,
});

interface Made {
  id: string;
  seq: number;
  encoded: string;
}

function commit(
  seq: number,
  parents: readonly (Made | string)[],
  files: readonly PublishedFile[] = [],
): Made {
  const lines = parents
    .map((parent) => `parent ${typeof parent === 'string' ? parent : parent.id}\n`)
    .join('');
  const raw = Buffer.from(
    `tree ${'a'.repeat(40)}\n${lines}author a\ncommitter a\ngpgsig s\n\n${writePublicationMessage({ subject: 'x', files: [...files], seq })}`,
  );
  return { id: gitObjectId('commit', raw), seq, encoded: raw.toString('base64') };
}
/** From `first` on, one after the other. */
function chain(length: number, first: Made = commit(1, [])): Made[] {
  const made = [first];
  while (made.length < length) made.push(commit((made.at(-1) as Made).seq + 1, [made.at(-1) as Made]));
  return made;
}
const receiptOf = (
  commits: readonly Made[],
  changes: Partial<Receipt> = {},
  intents: readonly string[] = [],
): Receipt => ({
  format: receiptFormat,
  source: 'build-debian',
  commit: commits.at(-1)?.id ?? 'f'.repeat(40),
  remotes: ['origin', 'other', 'mirror'],
  grants: [],
  journal: null,
  proof: {
    commits: commits.map(({ encoded }) => encoded),
    intents: intents.map((document) => Buffer.from(document).toString('base64')),
  },
  ...changes,
});

interface Circumstances {
  head?: Head | null;
  anchor?: string | null;
  verify?: (id: string) => Promise<void>;
  own?: (file: PublishedFile) => number | undefined;
}
const check = (
  receipt: Receipt,
  { head = null, anchor = null, verify = () => Promise.resolve(), own = () => undefined }: Circumstances = {},
): Promise<ProvenReceipt> => checkReceipt(receipt, { ...config, anchor }, head, ({ id }) => verify(id), own);
const codeOf = (receipt: Receipt, circumstances: Circumstances = {}): Promise<string> =>
  check(receipt, circumstances).then(
    () => 'proven',
    (error: unknown) => {
      if (error instanceof AnyRefusal) return error.code;
      throw error;
    },
  );

await t.test('every remote that is required has to be there, and more may be', async (t) => {
  t.equal(await codeOf(receiptOf(chain(1))), 'proven');
  for (const remotes of [[], ['origin'], ['mirror'], ['other']])
    t.equal(await codeOf(receiptOf(chain(1), { remotes })), 'REMOTE_MISSING');
  await t.rejects(check(receiptOf(chain(1), { remotes: [] })), { message: /mirror, origin/ });
});

await t.test('a proof is a chain of commits, from the first to the last one', async (t) => {
  const [first, second] = chain(2) as [Made, Made];
  const cases: [string, Made[]][] = [
    ['proven', chain(5)],
    ['NOT_ONE_PARENT', [commit(2, [first, second])]],
    ['NOT_ONE_PARENT', [first, commit(2, [first, second])]],
    ['NOT_A_CHAIN', [first, commit(2, [second])]],
    ['NOT_A_CHAIN', [first, commit(2, [])]],
    ['BAD_SEQ', [first, commit(1, [first])]],
    ['BAD_SEQ', [first, commit(3, [first])]],
    ['BAD_SEQ', [first, second, commit(4, [second])]],
    ['BAD_DOCUMENT', [{ ...first, encoded: `${first.encoded}=` }]],
    ['BAD_COMMIT', [{ ...first, encoded: 'AAAA' }]],
  ];
  for (const [code, commits] of cases) t.equal(await codeOf(receiptOf(commits)), code);
  await t.rejects(check(receiptOf([{ ...first, encoded: `${first.encoded}\n` }])), {
    code: 'BAD_DOCUMENT',
    field: '/proof',
  });
  t.equal(await codeOf(receiptOf(chain(3), { commit: first.id })), 'WRONG_COMMIT');
  t.match(await check(receiptOf(chain(3))), {
    head: { commit: chain(3).at(-1)?.id, seq: 3, published: 0 },
    grants: [],
  });
});

await t.test('the first receipt begins with the root, or with what is anchored', async (t) => {
  const [one, two, three, four] = chain(4) as [Made, Made, Made, Made];
  const otherRoot = commit(1, [], [{ path: 'a/b', size: 1, sha256: sha256('x') }]);
  const cases: [string, Made[], string | null][] = [
    ['NOT_FROM_ROOT', [two], null],
    ['NOT_FROM_ROOT', [commit(2, [])], null],
    ['NOT_FROM_ROOT', [commit(1, [two])], null],
    ['proven', [one, two, three], two.id],
    ['proven', [two, three], two.id],
    ['proven', [three, four], two.id],
    ['proven', [one], one.id],
    ['NOT_FROM_ANCHOR', [one], two.id],
    ['NOT_FROM_ANCHOR', [four], two.id],
    ['NOT_FROM_ANCHOR', [two, three, four], three.id],
    ['NOT_FROM_ANCHOR', chain(3, otherRoot), two.id],
    ['NOT_FROM_ANCHOR', [commit(2, []), commit(3, [commit(2, [])])], commit(3, [commit(2, [])]).id],
  ];
  for (const [code, commits, anchor] of cases)
    t.equal(
      await codeOf(receiptOf(commits), { anchor }),
      code,
      `${commits.map(({ seq }) => seq).join()} with ${anchor}`,
    );
});

await t.test(
  'a later receipt goes on from the commit that is remembered, and what does not is called by its name',
  async (t) => {
    const made = chain(6);
    const at = (from: number, to: number): Made[] => made.slice(from - 1, to);
    const head = { commit: (made[2] as Made).id, seq: 3, published: 0 };
    const other = chain(6, commit(1, [], [{ path: 'a/b', size: 1, sha256: sha256('x') }]));
    const cases: [string, Made[]][] = [
      ['proven', at(4, 4)],
      ['proven', at(4, 6)],
      ['BAD_SEQ', [commit(5, [made[2] as Made])]],
      ['BAD_SEQ', [commit(3, [made[2] as Made])]],
      ['FORK', other.slice(2, 3)],
      ['FORK', other.slice(1, 5)],
      ['FORK', other.slice(3, 4)],
      ['ALREADY_RECEIVED', at(3, 3)],
      ['ALREADY_RECEIVED', at(1, 3)],
      ['STARTS_EARLY', at(3, 4)],
      ['STARTS_EARLY', at(1, 6)],
      ['GAP', at(5, 6)],
      ['GAP', other.slice(4)],
      ['OLD_RECEIPT', at(1, 2)],
      ['OLD_RECEIPT', other.slice(0, 1)],
    ];
    for (const [code, commits] of cases)
      t.equal(await codeOf(receiptOf(commits), { head }), code, commits.map(({ seq }) => seq).join());
    await t.rejects(check(receiptOf(at(6, 6)), { head }), { message: /from seq 4 to 5 are missing/ });
  },
);

await t.test('a receipt without commits asks for the journal alone', async (t) => {
  const [one] = chain(1) as [Made];
  const head = { commit: one.id, seq: 1, published: 2 };
  const grant: GrantRequest = { sha256: sha256('x'), size: 1, key, mode: 'detach', intent: sha256('y') };
  const empty = (changes: Partial<Receipt> = {}): Receipt =>
    receiptOf([], { commit: one.id, journal: { seq: 2, sha256: sha256('x') }, ...changes });
  const proven = await check(empty(), { head });
  t.same([proven.head, proven.grants, proven.timesAsked(grant)], [head, [], 0]);
  t.equal(await codeOf(empty()), 'EMPTY_PROOF');
  t.equal(await codeOf(empty({ commit: 'a'.repeat(40) }), { head }), 'EMPTY_PROOF');
  t.equal(await codeOf(empty({ grants: [grant] }), { head }), 'EMPTY_PROOF');
  t.equal(await codeOf(empty({ proof: { commits: [], intents: ['AAAA'] } }), { head }), 'EMPTY_PROOF');
  for (const journal of [null, { seq: 1, sha256: sha256('x') }])
    t.equal(await codeOf(empty({ journal }), { head }), 'JOURNAL_BEHIND');
  t.equal(
    await codeOf(empty({ journal: null }), { head: { commit: one.id, seq: 1 } }),
    'proven',
    'an earlier release remembered no number',
  );
});

await t.test('each commit is looked at, and a wrong one ends the work', async (t) => {
  const commits = chain(200);
  const seen: string[] = [];
  t.equal(await codeOf(receiptOf(commits), { verify: async (id) => void seen.push(id) }), 'proven');
  t.same(seen.sort(), commits.map(({ id }) => id).sort());
  seen.length = 0;
  const verify = async (id: string): Promise<void> => {
    seen.push(id);
    await new Promise((resolve) => setImmediate(resolve));
    throw new Refusal('BAD_SIGNATURE', id);
  };
  await t.rejects(check(receiptOf(commits), { verify }), { code: 'BAD_SIGNATURE', detail: commits[0]?.id });
  t.ok(seen.length < 200, `${seen.length} were looked at`);
  t.equal(
    await codeOf(receiptOf(chain(3)), {
      verify: (id) =>
        id === commits[2]?.id ? Promise.reject(new Refusal('BAD_SIGNATURE', '')) : Promise.resolve(),
    }),
    'BAD_SIGNATURE',
  );
});

await t.test(
  'what is published as the journal of this VM is compared, and held by whoever sends the receipt',
  async (t) => {
    const file = (name: string, vm = 'keys-debian'): PublishedFile => ({
      path: `journal/${vm}/${name}`,
      size: 1,
      sha256: sha256('x'),
    });
    const root = commit(
      1,
      [],
      [file('a'), file('b'), file('c', 'keys-fedora'), { ...file('d'), path: 'x/journal/keys-debian/d' }],
    );
    const asked: string[] = [];
    const own = ({ path }: PublishedFile): number => (asked.push(path), path.endsWith('a') ? 5 : 3);
    const journal = { seq: 5, sha256: sha256('y') };
    t.match(await check(receiptOf([root], { journal }), { own }), { head: { published: 5 } });
    t.same(asked, ['journal/keys-debian/a', 'journal/keys-debian/b']);
    t.equal(await codeOf(receiptOf([root], { journal: { ...journal, seq: 4 } }), { own }), 'JOURNAL_BEHIND');
    t.equal(await codeOf(receiptOf([root], { journal }), {}), 'STATE_LOST');
    const next = commit(2, [root], [file('a')]);
    const head = { commit: root.id, seq: 1, published: 7 };
    t.equal(await codeOf(receiptOf([next], { journal }), { head }), 'JOURNAL_ALTERED');
    t.equal(
      await codeOf(receiptOf([next], { journal }), { head, own }),
      'JOURNAL_BEHIND',
      'what was published earlier counts as well',
    );
    t.match(await check(receiptOf([next], { journal: { ...journal, seq: 7 } }), { head, own }), {
      head: { published: 7 },
    });
    t.match(await check(receiptOf([commit(2, [root])]), { head: { commit: root.id, seq: 1 } }), {
      head: { published: 0 },
    });
  },
);

const day = '2026-11-21';
const intent = (payload: string, changes: Partial<Intent> = {}): Intent => ({
  job: 'hello-2.10-0123456789ab',
  component: 'hello',
  version: '2.10',
  dist: 'bookworm',
  purpose: 'rpm-header',
  key,
  mode: 'detach',
  payload: { name: 'payload', size: Buffer.byteLength(payload), sha256: sha256(payload) },
  logs: [],
  artifacts: [],
  ...changes,
});
const documentOf = (...intents: Intent[]): string => JSON.stringify({ format: intentFormat, intents });
const fileOf = (document: string, changes: Partial<PublishedFile> = {}): PublishedFile => ({
  path: intentPath('build-debian', day, sha256(document)),
  size: document.length,
  sha256: sha256(document),
  ...changes,
});
const grantOf = (document: string, payload: string, changes: Partial<GrantRequest> = {}): GrantRequest => ({
  sha256: sha256(payload),
  size: payload.length,
  key,
  mode: 'detach',
  intent: sha256(document),
  ...changes,
});

await t.test(
  'an intent is believed where one of these commits names it, at its place and with its size',
  async (t) => {
    const document = documentOf(intent('p'));
    const tried = (files: PublishedFile[], documents = [document]): Promise<string> =>
      codeOf(receiptOf([commit(1, [], files)], { grants: [grantOf(document, 'p')] }, documents));
    const hash = sha256(document);
    t.equal(await tried([fileOf(document)]), 'proven');
    t.equal(
      await codeOf(
        receiptOf([...chain(2, commit(1, [], [fileOf(document)]))], { grants: [grantOf(document, 'p')] }, [
          document,
        ]),
      ),
      'proven',
      'in the first of two',
    );
    t.equal(await tried([fileOf(document)], []), 'NOT_IN_INTENT');
    t.equal(await tried([fileOf(document)], [documentOf(intent('q'))]), 'INTENT_NOT_PUBLISHED');
    const paths = [
      intentPath('build-fedora', day, hash),
      `intents/build-debian/x/${day}/${hash}.json`,
      `intents/build-debian/${day}/${hash}.json2`,
      `intents/build-debian/${day}/${hash}`,
      `intents/build-debian/${hash}.json`,
      `x/build-debian/${day}/${hash}.json`,
      `intents/build-debian/${day}x/${hash}.json`,
      intentPath('build-debian', day, sha256('other')),
    ];
    for (const path of paths)
      t.equal(await tried([fileOf(document, { path })]), 'INTENT_NOT_PUBLISHED', path);
    t.equal(await tried([fileOf(document, { size: document.length + 1 })]), 'INTENT_NOT_PUBLISHED');
    t.equal(await tried([fileOf(document, { sha256: sha256('other') })]), 'INTENT_NOT_PUBLISHED');
  },
);

await t.test(
  'a grant is what an intent asks for in every respect, with a key of this VM, as often as it stands there',
  async (t) => {
    const document = documentOf(
      intent('p'),
      intent('p'),
      intent('q', { key: otherKey }),
      intent('r', { mode: 'clearsign' }),
    );
    const one = commit(1, [], [fileOf(document)]);
    const tried = (...grants: GrantRequest[]): Promise<string> =>
      codeOf(receiptOf([one], { grants }, [document]));
    const grants = [grantOf(document, 'p'), grantOf(document, 'r', { mode: 'clearsign' })];
    const proven = await check(receiptOf([one], { grants }, [document]));
    t.same(proven.grants, grants);
    t.same(
      grants.map((grant) => proven.timesAsked(grant)),
      [2, 1],
    );
    const wrong: Partial<GrantRequest>[] = [
      { sha256: sha256('o') },
      { size: 2 },
      { key: otherKey },
      { mode: 'clearsign' },
      { intent: sha256('other') },
    ];
    for (const changes of wrong)
      t.equal(
        await tried(grants[1] as GrantRequest, grantOf(document, 'p', changes)),
        'NOT_IN_INTENT',
        JSON.stringify(changes),
      );
    t.equal(await tried(grantOf(document, 'q', { key: otherKey })), 'FOREIGN_KEY');
    t.equal(await codeOf(receiptOf([one], {}, ['{}'])), 'INTENT_NOT_PUBLISHED');
    const twice = document.replace('"intents"', '"intents":[],"intents"');
    t.equal(await codeOf(receiptOf([commit(1, [], [fileOf(twice)])], {}, [twice])), 'AMBIGUOUS_JSON');
    t.equal(
      await codeOf(receiptOf([one], { proof: { commits: [one.encoded], intents: ['A'] } })),
      'BAD_DOCUMENT',
    );
  },
);

await t.test(
  'a payload that has to be public stands in the commit of its intent, one that has not need not',
  async (t) => {
    const document = documentOf(
      intent('h'),
      intent('p', { purpose: 'apt-release' }),
      intent('s', { purpose: 'other' }),
    );
    const hash = sha256(document);
    const line = (payload: string, changes: Partial<PublishedFile> = {}): PublishedFile => ({
      path: payloadPath('build-debian', day, hash, sha256(payload)),
      size: payload.length,
      sha256: sha256(payload),
      ...changes,
    });
    const tried = (...payloads: PublishedFile[]): Promise<string> =>
      codeOf(receiptOf([commit(1, [], [fileOf(document), ...payloads])], {}, [document]));
    t.equal(await tried(line('p'), line('s')), 'proven');
    const hidden: PublishedFile[][] = [
      [],
      [line('p')],
      [line('s')],
      [line('p', { size: 2 }), line('s')],
      [line('p', { sha256: sha256('s') }), line('s')],
      [line('p', { path: payloadPath('build-debian', '2026-11-22', hash, sha256('p')) }), line('s')],
      [line('p', { path: payloadPath('build-debian', day, sha256('x'), sha256('p')) }), line('s')],
      [line('p', { path: payloadPath('build-fedora', day, hash, sha256('p')) }), line('s')],
    ];
    for (const payloads of hidden)
      t.equal(await tried(...payloads), 'PAYLOAD_NOT_PUBLISHED', JSON.stringify(payloads));
    const first = commit(1, [], [fileOf(document)]);
    t.equal(
      await codeOf(receiptOf([first, commit(2, [first], [line('p'), line('s')])], {}, [document])),
      'PAYLOAD_NOT_PUBLISHED',
      'a later commit is too late',
    );
  },
);
