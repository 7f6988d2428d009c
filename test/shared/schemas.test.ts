// SPDX-License-Identifier: GPL-2.0-or-later
// The JSON documents that cross a VM's border: each schema takes a good document, and none with a field more,
// a field less or a value beyond its bounds.
import t from 'tap';
import { readDocument, readPublicDocument } from '../../agents/shared/json-document.js';
import { checkWith } from '../../agents/shared/json-schema.js';
import {
  intentSchema,
  intentsOf,
  isPublishedPayload,
  publishedPayloads,
  type IntentDocument,
  type Purpose,
} from '../../agents/shared/formats/intent.js';
import { journalEntrySchema } from '../../agents/shared/formats/journal.js';
import { journalHeadSchema } from '../../agents/shared/formats/journal-head.js';
import { logHeaderSchema } from '../../agents/shared/formats/log-stream.js';
import { checkNotification, notificationSchema } from '../../agents/shared/formats/notification.js';
import { receiptReplySchema, receiptSchema } from '../../agents/shared/formats/receipt.js';
import { type AnyRefusal, printable, RelayedRefusal } from '../../agents/shared/refusal.js';

const hash = 'ab'.repeat(32);
const id = 'ab'.repeat(20);
const key = 'AB'.repeat(20);
const many = (length: number, item: unknown): unknown[] => Array.from({ length }, () => item);
const distinct = (length: number): string[] => Array.from({ length }, (_, index) => `d${index}`);

type Json = Record<string, unknown>;
/** `value` with `changed` at a path like a/0/b; undefined takes the field out. */
function put(value: unknown, path: readonly string[], changed: unknown): unknown {
  const [name, ...rest] = path;
  if (name === undefined) return changed;
  if (Array.isArray(value))
    return value.map((item: unknown, index) => (String(index) === name ? put(item, rest, changed) : item));
  return Object.fromEntries([
    ...Object.entries(value as Json).filter(([other]) => other !== name),
    ...(rest.length === 0 && changed === undefined
      ? []
      : [[name, put((value as Json)[name], rest, changed)]]),
  ]);
}
function* objects(
  value: unknown,
  path: readonly string[] = [],
): Generator<{ path: readonly string[]; names: string[] }> {
  if (typeof value !== 'object' || value === null) return;
  if (!Array.isArray(value)) yield { path, names: Object.keys(value) };
  for (const [name, inner] of Object.entries(value)) yield* objects(inner, [...path, name]);
}

interface Kind {
  schema: object;
  good: Json;
  /** fields that may be left out */
  optional?: string[];
  /** path → values that are taken there too */
  also?: Record<string, unknown[]>;
  /** path → values that are not; those of `everywhere` are tried too */
  wrong: Record<string, unknown[]>;
}
const everywhere = [undefined, true, [true], { x: 1 }, 'é\n'];
const sizes = { also: [0, 4 * 1024 ** 3], wrong: [-1, 4 * 1024 ** 3 + 1, 0.5, '1'] };
const intent = {
  job: 'hello-1.0-abc',
  component: 'hello',
  version: '1.0',
  dist: 'bookworm',
  purpose: 'other',
  key,
  mode: 'detach',
  payload: { name: 'p', size: 1, sha256: hash },
  logs: ['v/log_2026-11-21_20-00-00'],
  artifacts: [{ name: 'a', size: 1, sha256: hash }],
};
const head = {
  format: 'build-infra/journal-head@1',
  keysVm: 'keys-debian',
  seq: 1,
  entry: hash,
  commit: id,
  boot: 'boot 1',
  time: '2026-11-21T21:37:52.123Z',
  signature: `${'A'.repeat(86)}==`,
};
const time = {
  wrong: [
    '2026-11-21',
    '2026-11-21T21:37:52Z',
    '2026-11-21T21:37:52.123Z ',
    ' 2026-11-21T21:37:52.123Z',
    '2026-11-21T21:37:52.12Z',
    'x2026-11-21T21:37:52.123Z',
  ],
};
const grant = { sha256: hash, size: 0, key, mode: 'detach', intent: hash };

const intentRules = (at: string): Pick<Kind, 'also' | 'wrong'> => ({
  also: {
    [`${at}purpose`]: [
      'deb-dsc',
      'deb-buildinfo',
      'deb-changes',
      'apt-release',
      'rpm-header',
      'rpm-repomd',
      'link',
    ],
    [`${at}mode`]: ['clearsign'],
    [`${at}payload/size`]: sizes.also,
    [`${at}nonce`]: ['ab'.repeat(8), hash],
    [`${at}logs`]: [[], many(100, intent.logs[0])],
    [`${at}artifacts`]: [[], many(1000, intent.artifacts[0])],
    [`${at}artifacts/0/size`]: sizes.also,
  },
  wrong: {
    [`${at}job`]: ['', '../x'],
    [`${at}component`]: ['Hello'],
    [`${at}version`]: ['x'],
    [`${at}dist`]: ['X'],
    [`${at}purpose`]: ['', 'deb'],
    [`${at}key`]: [hash, 'AB'],
    [`${at}mode`]: ['inline', ''],
    [`${at}payload/name`]: ['.x', 'a/b'],
    [`${at}payload/size`]: sizes.wrong,
    [`${at}payload/sha256`]: [id, key],
    [`${at}nonce`]: ['ab', `${hash}a`, 'AB'.repeat(8), 1],
    [`${at}logs`]: [many(101, intent.logs[0])],
    [`${at}logs/0`]: ['/x'],
    [`${at}artifacts`]: [many(1001, intent.artifacts[0])],
    [`${at}artifacts/0/size`]: sizes.wrong,
  },
});
const notification = {
  format: 'build-infra/notification@1',
  key: hash,
  time: '2026-11-21T21:37:52.123Z',
  event: 'built',
  kind: 'component',
  component: 'hello',
  version: '1.0',
  release: 'r4.3',
  packageSet: 'vm',
  dist: 'bookworm',
  dists: ['bookworm'],
  repository: 'current',
  env: 'debian',
  job: 'hello-1.0-abc',
  tag: 'v1',
  commit: id,
  sourceUrl: 'https://x',
  logs: [{ stage: 'build', dist: 'bookworm', path: 'v/log_2026-11-21_20-00-00', commit: id }],
  reason: { code: 'X', detail: 'y' },
  excerpt: 'z',
  commits: [{ commit: id, subject: 's', issues: ['#1'] }],
};

const kinds: Record<string, Kind> = {
  'an intent': {
    schema: intentSchema,
    good: { format: 'build-infra/intent@1', ...intent },
    also: intentRules('').also ?? {},
    wrong: { format: ['build-infra/intent@2'], ...intentRules('').wrong },
  },
  'several intents': {
    schema: intentSchema,
    good: { format: 'build-infra/intent@1', intents: [intent] },
    also: { ...intentRules('intents/0/').also, intents: [many(200, intent)] },
    wrong: {
      format: ['build-infra/intent@2'],
      intents: [[], many(201, intent)],
      ...intentRules('intents/0/').wrong,
    },
  },
  'a receipt': {
    schema: receiptSchema,
    good: {
      format: 'build-infra/receipt@1',
      source: 'build-debian',
      commit: id,
      remotes: ['origin'],
      grants: [grant],
      journal: { seq: 1, sha256: hash },
      proof: { commits: ['AAAA'], intents: ['BBBB'] },
    },
    also: {
      commit: [hash],
      remotes: [[], many(16, 'origin')],
      grants: [[], many(10000, grant)],
      'grants/0/size': sizes.also,
      'grants/0/mode': ['clearsign'],
      journal: [null],
      'journal/seq': [1e15],
      'proof/commits': [[], many(5000, '')],
      'proof/intents': [[], many(1000, '')],
    },
    wrong: {
      format: ['build-infra/receipt@2'],
      source: ['1x'],
      commit: ['x'],
      remotes: [many(17, 'origin')],
      'remotes/0': ['Origin'],
      grants: [many(10001, grant)],
      'grants/0/sha256': [id],
      'grants/0/size': sizes.wrong,
      'grants/0/key': [hash],
      'grants/0/mode': ['x'],
      'grants/0/intent': [id],
      'journal/seq': [0, 1.5, '1'],
      'journal/sha256': [id],
      'proof/commits': [many(5001, '')],
      'proof/commits/0': [1],
      'proof/intents': [many(1001, '')],
      'proof/intents/0': [1],
    },
  },
  'an accepting reply to a receipt': {
    schema: receiptReplySchema,
    good: {
      format: 'build-infra/receipt-reply@1',
      result: 'accepted',
      head: id,
      granted: 0,
      until: 'x',
      journalHead: head,
    },
    also: { head: [hash], granted: [5] },
    wrong: {
      format: ['x'],
      result: ['refused', 'x'],
      head: [null, 'x'],
      granted: [-1, 0.5, '1'],
      until: [1],
      journalHead: [null],
    },
  },
  'a refusing reply to a receipt': {
    schema: receiptReplySchema,
    good: {
      format: 'build-infra/receipt-reply@1',
      result: 'refused',
      head: id,
      code: 'X',
      detail: 'y',
      journalHead: head,
    },
    also: { head: [null, hash] },
    wrong: {
      format: ['x'],
      result: ['accepted', 'x'],
      head: ['x'],
      code: [1],
      detail: [1],
      journalHead: [null],
    },
  },
  'a journal head': {
    schema: journalHeadSchema,
    good: head,
    also: { commit: [null, hash] },
    wrong: {
      format: ['x'],
      keysVm: ['1'],
      seq: [0, 1.5],
      entry: [id],
      commit: ['x'],
      boot: ['', 'x'.repeat(301), 'a\nb'],
      time: time.wrong,
      signature: [
        'A'.repeat(88),
        `${'A'.repeat(85)}==`,
        `x${'A'.repeat(86)}==`,
        `${'A'.repeat(86)}==x`,
        `${'-'.repeat(86)}==`,
      ],
    },
  },
  'a journal entry': {
    schema: journalEntrySchema,
    good: {
      format: 'build-infra/journal-entry@1',
      seq: 1,
      prev: hash,
      time: head.time,
      event: 'granted',
      source: 'build-debian',
      sha256: hash,
      key,
      mode: 'detach',
      commit: id,
      intent: hash,
      result: 'x',
    },
    also: {
      event: ['start', 'claimed', 'signed', 'refused', 'expired'],
      source: [null],
      sha256: [null],
      key: [null],
      mode: [null, 'clearsign'],
      commit: [null, hash],
      intent: [null],
      result: ['', 'x'.repeat(300)],
    },
    wrong: {
      format: ['x'],
      seq: [0, 1.5],
      prev: [id],
      time: time.wrong,
      event: ['x', ''],
      source: ['1'],
      sha256: [id],
      key: [hash],
      mode: ['x', ''],
      commit: ['x'],
      intent: [id],
      result: ['x'.repeat(301), 'a\nb', 1],
    },
  },
  "a log's header": {
    schema: logHeaderSchema,
    good: {
      job: 'hello-1',
      component: 'hello',
      stage: 'build',
      continues: { path: 'v/log_2026-11-21_20-00-00', lines: 0 },
    },
    optional: ['continues'],
    wrong: {
      job: ['../x'],
      component: ['X'],
      stage: ['X'],
      'continues/path': ['x'],
      'continues/lines': [-1, 0.5],
    },
  },
  'a notification': {
    schema: notificationSchema,
    good: notification,
    also: {
      event: ['building', 'failed', 'uploaded', 'upload-failed', 'refused', 'withdrawn', 'withdraw-failed'],
      kind: ['template', 'iso'],
      release: [null],
      packageSet: [null, 'host'],
      dist: [null],
      dists: [[], distinct(20)],
      repository: [null],
      repositories: [[], distinct(20)],
      tag: [null, 'x'.repeat(200)],
      commit: [null, hash],
      sourceUrl: [null, 'x'.repeat(500)],
      logs: [[], many(200, notification.logs[0])],
      'logs/0/dist': [null],
      'logs/0/commit': [null],
      reason: [null],
      'reason/detail': ['x'.repeat(500)],
      excerpt: [null, 'x'.repeat(8000)],
      commits: [[], many(200, notification.commits[0])],
      'commits/0/subject': ['x'.repeat(200)],
      'commits/0/issues': [[], many(20, '#1'), ['o/n#1', 'https://h/o/n/issues/1']],
    },
    wrong: {
      format: ['x'],
      key: [id],
      time: time.wrong,
      event: ['x'],
      kind: ['x'],
      component: ['X'],
      version: ['x'],
      release: ['R', '', 'x'.repeat(32)],
      packageSet: ['x'],
      dist: ['X'],
      dists: [distinct(21), ['a', 'a'], ['X']],
      repository: ['X'],
      repositories: [distinct(21), ['a', 'a'], ['X'], null],
      env: ['X'],
      job: ['../x'],
      tag: ['x'.repeat(201)],
      commit: ['x'],
      sourceUrl: ['x'.repeat(501)],
      logs: [many(201, notification.logs[0])],
      'logs/0/stage': ['X'],
      'logs/0/path': ['x'],
      'reason/code': ['x', '', 'X'.repeat(65), 'X '],
      'reason/detail': ['x'.repeat(501)],
      excerpt: ['x'.repeat(8001)],
      commits: [many(201, notification.commits[0])],
      'commits/0/commit': ['x'],
      'commits/0/subject': ['x'.repeat(201)],
      'commits/0/issues': [many(21, '#1'), ['#0'], ['x#1']],
    },
  },
};

for (const [what, { schema, good, optional = [], also = {}, wrong }] of Object.entries(kinds))
  await t.test(`${what} is read strictly`, async (t) => {
    const check = checkWith(schema);
    const taken = (value: unknown): boolean => {
      try {
        return check(value) === value;
      } catch (error) {
        if ((error as AnyRefusal).code !== 'BAD_DOCUMENT') throw error;
        return false;
      }
    };
    t.ok(taken(good));
    for (const { path, names } of objects(good)) {
      const at = path.join('/');
      t.notOk(taken(put(good, [...path, 'extra'], 1)), `a field more in ${at}`);
      for (const name of names)
        t.equal(
          taken(put(good, [...path, name], undefined)),
          optional.includes(name),
          `without ${at}/${name}`,
        );
      // No field takes what stands for nothing, or a value of another kind; but a text without bounds takes
      // any text.
      for (const name of names)
        for (const value of everywhere.slice(1, 4))
          t.notOk(taken(put(good, [...path, name], value)), `${at}/${name} is ${JSON.stringify(value)}`);
    }
    for (const value of [null, 1, '', [], {}]) t.notOk(taken(value));
    for (const [path, values] of Object.entries(also))
      for (const value of values)
        t.ok(
          taken(put(good, path.split('/'), value)),
          `${path} may be ${JSON.stringify(value).slice(0, 60)}`,
        );
    for (const [path, values] of Object.entries(wrong))
      for (const value of values)
        t.notOk(
          taken(put(good, path.split('/'), value)),
          `${path} may not be ${JSON.stringify(value).slice(0, 60)}`,
        );
  });

await t.test('a refusal names the field, and says whether it is known at all', async (t) => {
  const check = checkWith({
    type: 'object',
    additionalProperties: false,
    required: ['a'],
    properties: {
      a: { type: 'object', additionalProperties: false, properties: { b: { type: 'integer' } } },
    },
  });
  const refusal = (value: unknown): object => {
    try {
      check(value);
    } catch (error) {
      const { code, field, detail } = error as AnyRefusal;
      return { code, field, detail };
    }
    return {};
  };
  t.same(refusal({ a: { b: 'x' } }), { code: 'BAD_DOCUMENT', field: '/a/b', detail: 'must be integer' });
  t.same(refusal({ a: { c: 1 } }), { code: 'BAD_DOCUMENT', field: '/a/c', detail: 'is not a known field' });
  t.same(refusal({ a: {}, d: 1 }), { code: 'BAD_DOCUMENT', field: '/d', detail: 'is not a known field' });
  t.match(refusal(1), { code: 'BAD_DOCUMENT', field: '/' });
  // A schema that is none is a fault of ours, at its first use.
  for (const schema of [
    { type: 'object', unknownWord: 1 },
    { type: 'strng' },
    { type: 'string', maxLength: '3' },
    { type: 'object', properties: [] },
    { type: 'string', pattern: '(' },
  ]) {
    t.throws(() => checkWith(schema)('x'), { code: undefined }, JSON.stringify(schema));
  }
  t.throws(() => checkNotification({}), { code: 'BAD_DOCUMENT' });
  t.equal(checkNotification(notification), notification);
});

await t.test('a refusal is one printable line, at most 500 characters of it', async (t) => {
  const plain = new RelayedRefusal('NOT_TODAY', 'a\nb\x1bé');
  t.same(
    [plain.name, plain.code, plain.detail, plain.field, plain.message, plain.line()],
    ['Refusal', 'NOT_TODAY', 'a.b..', undefined, 'NOT_TODAY: a.b..', 'refused NOT_TODAY a.b..'],
  );
  const placed = new RelayedRefusal('NOT_TODAY', 'x', '/a');
  t.same([placed.message, placed.line()], ['NOT_TODAY: /a: x', 'refused NOT_TODAY /a: x']);
  t.equal(printable('x'.repeat(501)), 'x'.repeat(500));
  t.equal(printable(' ~\x7f\x00\u2028'), ' ~...');
});

await t.test('a document is measured, decoded, parsed and checked, in this order', async (t) => {
  const check = (value: unknown): unknown => {
    if (value === 1) throw new RelayedRefusal('BAD_DOCUMENT', 'one');
    return value;
  };
  const code = (bytes: Uint8Array, limit = 10, read = readDocument): unknown => {
    try {
      return read(bytes, limit, check);
    } catch (error) {
      return (error as AnyRefusal).code;
    }
  };
  t.equal(code(Buffer.from('         2')), 2);
  t.equal(code(Buffer.from('          2')), 'TOO_LARGE');
  t.equal(code(Buffer.from([0x22, 0xff, 0x22])), 'NOT_UTF8');
  t.equal(code(Buffer.from('\ufeff2')), 'NOT_JSON');
  t.equal(code(Buffer.from('{')), 'NOT_JSON');
  t.equal(code(Buffer.from('1')), 'BAD_DOCUMENT');
  const open = (text: string): unknown => code(Buffer.from(text), 200, readPublicDocument);
  for (const text of [
    '{"a":1,"b":["x \\"y\\\\",2]}',
    ' {\n\t"a" : 1 ,\r"b":[ "x  y" ,2 ]}\n',
    '{"a":"\\n"}',
    '"\\\\"',
    '[1, "a b"]',
    '{ "a": "x \\"yy  zz\\" ww  v" }',
  ])
    t.same(open(text), JSON.parse(text));
  for (const text of [
    '{"a":1,"a":1}',
    '{"a":1,"a":2}',
    '2.0',
    '[1e1]',
    '"\\u0041"',
    '{"\\u0061":1}',
    '[-0]',
    '"\\/"',
    '[ "\\u0041" ]',
  ])
    t.equal(open(text), 'AMBIGUOUS_JSON', text);
  t.equal(open('1'), 'BAD_DOCUMENT');
  t.equal(open('{'), 'NOT_JSON');
});

await t.test('which payloads are published with their intent, each once', async (t) => {
  const file = (sha256: string, size = 1): { name: string; size: number; sha256: string } => ({
    name: sha256,
    size,
    sha256,
  });
  const of = (purpose: Purpose, size: number): boolean =>
    isPublishedPayload({ purpose, payload: file('x', size) });
  const mebibyte = 1024 ** 2;
  for (const purpose of ['deb-dsc', 'deb-buildinfo', 'deb-changes', 'apt-release', 'rpm-repomd'] as const)
    t.same([of(purpose, 1), of(purpose, 99 * mebibyte)], [true, true], purpose);
  for (const purpose of ['link', 'other'] as const)
    t.same([of(purpose, mebibyte), of(purpose, mebibyte + 1)], [true, false], purpose);
  t.same([of('rpm-header', 1), of('rpm-header', 99 * mebibyte)], [false, false]);
  const intents = (
    [
      ['rpm-header', 'h'],
      ['other', 'b'],
      ['rpm-header', 'a'],
      ['apt-release', 'a'],
      ['other', 'b'],
      ['link', 'c'],
    ] as const
  ).map(([purpose, sha256]) => ({ purpose, payload: file(sha256) }));
  t.same(
    publishedPayloads(intents).map(({ sha256 }) => sha256),
    ['b', 'a', 'c'],
  );
  const { format, ...one } = kinds['an intent']?.good as Json;
  t.same(intentsOf({ format, ...one } as unknown as IntentDocument), [one]);
  t.same(intentsOf({ format, intents: [one, one] } as unknown as IntentDocument), [one, one]);
});
