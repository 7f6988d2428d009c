// SPDX-License-Identifier: GPL-2.0-or-later
// The hand-written readers accept exactly what the JSON Schemas accept: compared on good documents and on
// thousands of mutations of them.
import t from 'tap';
import { checkWith } from '../../agents/shared/json-schema.js';
import { readDocument, type Check } from '../../agents/shared/json-document.js';
import { intentSchema } from '../../agents/shared/formats/intent.js';
import { receiptSchema } from '../../agents/shared/formats/receipt.js';
import { keysConfigSchema, readIntent, readKeysConfig, readReceipt } from '../../agents/keys/documents.js';

const hash = 'ab'.repeat(32);
const key = 'AB'.repeat(20);
const file = { name: 'hello_2.10.dsc', size: 12, sha256: hash };
const intent = {
  job: 'hello-2.10-0123456789ab',
  component: 'hello',
  version: '1:2.10~rc1-1',
  dist: 'bookworm',
  purpose: 'deb-dsc',
  key,
  mode: 'clearsign',
  payload: file,
  logs: ['build-debian/2026-11-21/log_2026-11-21_20-00-00.1.xz'],
  artifacts: [file, { ...file, size: 0 }],
};
const config = {
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
  payloadBytes: 268435456,
};
const receipt = {
  format: 'build-infra/receipt@1',
  source: 'build-debian',
  commit: 'ab'.repeat(20),
  remotes: ['origin'],
  grants: [{ sha256: hash, size: 0, key, mode: 'detach', intent: hash }],
  journal: { seq: 1, sha256: hash },
  proof: { commits: ['AAAA'], intents: [] },
};

const kinds: { name: string; schema: object; read: Check<unknown>; good: unknown[] }[] = [
  {
    name: 'configuration',
    schema: keysConfigSchema,
    read: readKeysConfig,
    good: [config, { ...config, anchor: hash }],
  },
  {
    name: 'receipt',
    schema: receiptSchema,
    read: readReceipt,
    good: [receipt, { ...receipt, journal: null, grants: [], remotes: [] }],
  },
  {
    name: 'intent',
    schema: intentSchema,
    read: readIntent,
    good: [
      { format: 'build-infra/intent@1', ...intent },
      { format: 'build-infra/intent@1', ...intent, nonce: '0123456789abcdef' },
      { format: 'build-infra/intent@1', intents: [intent, { ...intent, nonce: hash }] },
    ],
  },
];

const strangers: unknown[] = [
  null,
  true,
  0,
  -1,
  1.5,
  900,
  901,
  4294967296,
  4294967297,
  1e300,
  '',
  'x',
  'X',
  hash,
  hash.toUpperCase(),
  `${hash}\n`,
  key,
  `${key} `,
  '2026',
  '../x',
  'é',
  '\u0000',
  '__proto__',
  [],
  [null],
  ['x'],
  [1],
  [[]],
  {},
  { x: 1 },
  Array.from({ length: 16 }, () => 'x'),
  Array.from({ length: 17 }, () => 'x'),
  Array.from({ length: 17 }, () => key),
  Array.from({ length: 201 }, () => intent),
  Array.from({ length: 1001 }, () => file),
  Array.from({ length: 5001 }, () => ''),
  Array.from({ length: 10001 }, () => receipt.grants[0]),
  JSON.parse('{"__proto__":{"a":1}}'),
];

/** Every document that differs from `value` in one place. */
function* mutations(value: unknown): Generator<unknown> {
  yield* strangers;
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++)
      for (const changed of mutations(value[i]))
        yield value.map((item: unknown, index) => (index === i ? changed : item));
    yield [...value, null];
  } else if (typeof value === 'object' && value !== null) {
    const fields = Object.entries(value);
    for (const extra of ['extra', '__proto__', 'constructor', 'nonce', 'intents', 'format'])
      yield JSON.parse(
        `{${fields.map(([name, inner]) => `${JSON.stringify(name)}:${JSON.stringify(inner)},`).join('')}${JSON.stringify(extra)}:1}`,
      );
    for (const [name, inner] of fields) {
      yield Object.fromEntries(fields.filter(([other]) => other !== name));
      for (const changed of mutations(inner))
        yield Object.fromEntries(fields.map(([other, kept]) => [other, other === name ? changed : kept]));
    }
  } else if (typeof value === 'string') {
    for (const changed of [
      `${value}\n`,
      `\n${value}`,
      `${value}/x`,
      value.slice(1),
      value.slice(0, -1),
      value.toUpperCase(),
      value.toLowerCase(),
      value + value,
    ])
      yield changed;
  }
}

function accepts(check: Check<unknown>, value: unknown): unknown {
  try {
    return check(value);
  } catch (error) {
    if ((error as { code?: string }).code !== 'BAD_DOCUMENT') throw error;
    return undefined;
  }
}

for (const { name, schema, read, good } of kinds) {
  await t.test(`the reader of a ${name} agrees with the schema`, async (t) => {
    const check = checkWith(schema);
    let compared = 0;
    let accepted = 0;
    const disagreements: string[] = [];
    for (const document of good) {
      t.same(read(document), document);
      for (const mutated of mutations(document)) {
        const bySchema = accepts(check, mutated) !== undefined;
        const byReader = accepts(read, mutated);
        compared++;
        if (bySchema) accepted++;
        if (bySchema !== (byReader !== undefined)) disagreements.push(JSON.stringify(mutated).slice(0, 2000));
      }
    }
    t.same(disagreements.slice(0, 3), []);
    t.ok(compared > 1000 && accepted > 10, `${compared} compared, ${accepted} of them acceptable`);
  });
}

await t.test('what is refused is named by its place', async (t) => {
  t.throws(() => readReceipt({ ...receipt, grants: [{ ...receipt.grants[0], key: 'x' }] }), {
    code: 'BAD_DOCUMENT',
    field: '/grants/0/key',
  });
  t.throws(() => readReceipt({ ...receipt, extra: 1 }), { code: 'BAD_DOCUMENT', field: '/extra' });
  t.throws(() => readDocument(Buffer.from('{"format":'), 100, readReceipt), { code: 'NOT_JSON' });
  t.throws(() => readDocument(Buffer.from([0x22, 0xff, 0x22]), 100, readReceipt), { code: 'NOT_UTF8' });
  t.throws(() => readDocument(Buffer.alloc(101, 0x20), 100, readReceipt), { code: 'TOO_LARGE' });
});
