// SPDX-License-Identifier: GPL-2.0-or-later
import t from 'tap';
import {
  clearsignLimitBytes,
  publishedPayloadLimitBytes,
  publishedPurposes,
  type HashedFile,
  type IntentIsPublic,
  type IntentReply,
} from '../../agents/shared/formats/intent.js';
import { gitObjectId } from '../../agents/shared/formats/git-commit.js';
import type { FakeKeysVm } from './fake-keys-vm.js';
import { until } from '../support/until.js';
import { Rig, sha256, textOf } from './rig.js';

const rig = await (await Rig.make({ sources: ['build-debian', 'build-fedora'] })).start();
t.teardown(() => rig.stop());

const code = (reply: IntentReply): string => (reply.result === 'refused' ? reply.code : reply.result);

async function logOf(source: string): Promise<string> {
  return (await rig.call('', source).end('a line\n'))[0] as string;
}

void t.test('an intent is published with what its VM has logged, and granted', async (t) => {
  const log = rig.call().send(`${rig.header()}hello\nworld\n`);
  const path = (await log.line(/^opened /)).split(' ')[1] as string;
  await log.line(/^synced 2$/);
  const document = JSON.stringify(rig.intent({ logs: [path] }));
  const reply = await rig.ask(document);
  if (reply.result !== 'published') throw new Error(JSON.stringify(reply));
  t.equal(reply.intent, sha256(`${document}\n`), 'the newline belongs to it');
  for (const remote of ['origin', 'mirror']) {
    t.strictSame(textOf(rig.file(path, remote, reply.commit)), ['hello', 'world']);
    t.equal(
      rig
        .file(
          `intents/build-debian/${new Date().toISOString().slice(0, 10)}/${reply.intent}.json`,
          remote,
          reply.commit,
        )
        .toString(),
      `${document}\n`,
    );
  }
  const keysVm = rig.keys.get('build-debian');
  t.equal(keysVm?.head, reply.commit);
  t.strictSame(keysVm?.receipts.at(-1)?.remotes, ['mirror', 'origin']);
  t.equal(JSON.parse(keysVm?.journal.at(-1) ?? '').result, reply.grantedUntil);
  const end = await log.end('> end status=0\n');
  t.match(end.at(-1), /^published /);
});

void t.test(
  'that it is public is said before the keys VM has it, with the commits that show it',
  async (t) => {
    const keysVm = rig.keys.get('build-debian') as FakeKeysVm;
    const { line, payloads } = rig.input(rig.intent());
    const receipts = keysVm.receipts.length;
    let grant = (): void => undefined;
    keysVm.before = () => new Promise((resolve) => (grant = resolve));
    const call = rig.call('intent').send(Buffer.concat([Buffer.from(line), payloads]));
    call.socket.end();
    const early = JSON.parse(await call.line(/"result":"public"/)) as IntentIsPublic;
    t.equal(early.intent, sha256(line));
    for (const remote of ['origin', 'mirror'])
      t.equal(rig.git(rig.remote(remote), 'rev-parse', 'main').trim(), early.commit);
    const ids = early.commits.map((body) => gitObjectId('commit', Buffer.from(body, 'base64')));
    t.strictSame(
      ids,
      rig.git(rig.remote('origin'), 'rev-list', `--max-count=${ids.length}`, 'main').trim().split('\n'),
    );
    t.ok(ids.length > 1);
    t.strictSame(
      [call.lines.length, call.ended, keysVm.receipts.length],
      [1, false, receipts],
      'nothing is granted yet',
    );
    await until('the receipt', () => (grant(), call.ended));
    keysVm.before = () => Promise.resolve();
    t.match(JSON.parse(call.lines.at(-1) as string), { result: 'published', commit: early.commit });
  },
);

void t.test('what a VM had sent before its intent is in the same commit, acknowledged or not', async (t) => {
  const log = rig.call().send(`${rig.header()}`);
  const path = (await log.line(/^opened /)).split(' ')[1] as string;
  log.send('the very last line\n');
  const reply = await rig.ask(rig.intent({ logs: [path] }));
  if (reply.result !== 'published') throw new Error(JSON.stringify(reply));
  t.match(textOf(rig.file(path, 'origin', reply.commit)), ['the very last line']);
  await log.end('> end status=0\n');
});

void t.test('a document of several intents is one grant each', async (t) => {
  const { format: _format, ...one } = rig.intent();
  const { format: _again, ...two } = rig.intent();
  const reply = await rig.ask({ format: 'build-infra/intent@1', intents: [one, two] });
  t.equal(reply.result, 'published');
  t.equal(rig.keys.get('build-debian')?.receipts.at(-1)?.grants.length, 2);
});

void t.test('50 intents at once share one or two publications', async (t) => {
  const replies = await Promise.all(Array.from({ length: 50 }, () => rig.ask(rig.intent())));
  t.ok(replies.every((reply) => reply.result === 'published'));
  t.ok(new Set(replies.map((reply) => reply.result === 'published' && reply.commit)).size <= 2);
});

void t.test('refused:', async (t) => {
  const commits = rig.git(rig.remote('origin'), 'rev-list', '--count', 'main');
  const foreign = await logOf('build-fedora');
  const own = await logOf('build-debian');
  t.equal((await rig.ask(rig.intent({ logs: [own] }))).result, 'published', 'the same with nothing wrong');
  const cases: [string, unknown, string][] = [
    ['an unknown field', rig.intent({ extra: 1 }), 'BAD_DOCUMENT'],
    ['an unknown purpose', rig.intent({ purpose: 'fun' as 'other' }), 'BAD_DOCUMENT'],
    [
      'a payload without size',
      rig.intent({ payload: { name: 'x', sha256: '0'.repeat(64) } as never }),
      'BAD_DOCUMENT',
    ],
    [
      'a field that stands twice',
      JSON.stringify(rig.intent()).replace('"job":', '"job":"another","job":'),
      'AMBIGUOUS_JSON',
    ],
    [
      'a number in another spelling',
      JSON.stringify(rig.intent()).replace(/"size":([0-9]+)/, '"size":$1.0'),
      'AMBIGUOUS_JSON',
    ],
    [
      'a letter in another spelling',
      JSON.stringify(rig.intent()).replace('"job":', '"j\\u006fb":'),
      'AMBIGUOUS_JSON',
    ],
    ['no JSON', '{"format":', 'NOT_JSON'],
    ['nothing', '', 'NOT_JSON'],
    ['a document that is too large', ' '.repeat(300_000), 'TOO_LARGE'],
    ['a key that is not allowed', rig.intent({ key: 'B'.repeat(40) }), 'KEY_NOT_ALLOWED'],
    [
      'a log that does not exist',
      rig.intent({ logs: ['build-debian/2020-01-01/log_2020-01-01_00-00-00'] }),
      'LOG_UNKNOWN',
    ],
    ['a log of another VM', rig.intent({ logs: [foreign] }), 'LOG_UNKNOWN'],
    ['a path that is no log', rig.intent({ logs: ['intents/x'] }), 'BAD_DOCUMENT'],
  ];
  for (const [what, document, expected] of cases) t.equal(code(await rig.ask(document)), expected, what);
  t.equal(code(await rig.ask(rig.intent(), 'build-other')), 'UNKNOWN_SOURCE', 'a VM that is not configured');
  t.equal(
    Number(rig.git(rig.remote('origin'), 'rev-list', '--count', 'main')),
    Number(commits) + 3,
    'nothing of it was published',
  );
});

void t.test('what the keys VM would refuse by its size is refused before anybody reads it', async (t) => {
  const commits = (): number => Number(rig.git(rig.remote('origin'), 'rev-list', '--count', 'main'));
  const of = (
    size: number,
    mode: 'detach' | 'clearsign',
    purpose: 'rpm-header' | 'other' = 'rpm-header',
  ): Record<string, unknown> =>
    rig.intent({
      purpose,
      mode,
      payload: { name: 'x', size, sha256: sha256(`${mode} ${size} ${Math.random()}`) },
    });
  const all = 268_435_456;
  const before = commits();
  for (const [what, document] of [
    ['a detached signature', of(all + 1, 'detach')],
    ['a clear one', of(clearsignLimitBytes + 1, 'clearsign')],
    ['a clear one of what a detached one may have', of(all, 'clearsign')],
    ['of another purpose', of(all + 1, 'detach', 'other')],
    ['the largest that a document may name', of(4 * 1024 ** 3, 'detach')],
    [
      'one of two in a document',
      {
        format: 'build-infra/intent@1',
        intents: [of(1, 'detach'), of(all + 1, 'detach')].map(({ format: _, ...intent }) => intent),
      },
    ],
  ] as const)
    t.match(
      await rig.ask(document),
      { result: 'refused', code: 'TOO_LARGE', detail: /keys-debian signs at most \d+ bytes/ },
      what,
    );
  t.equal(commits(), before, 'nothing of it was published');
  t.match(
    [await rig.ask(of(all, 'detach')), await rig.ask(of(clearsignLimitBytes, 'clearsign'))],
    [{ result: 'published' }, { result: 'published' }],
    'what it takes is',
  );
});

void t.test(
  'the same document a second time is refused: whoever wants the bytes again says so with another nonce',
  async (t) => {
    const document = rig.intent();
    t.equal((await rig.ask(document)).result, 'published');
    t.equal(code(await rig.ask(document)), 'INTENT_KNOWN');
    t.equal((await rig.ask({ ...document, nonce: '0'.repeat(32) })).result, 'published');
  },
);

void t.test('payloads that have to be public are published in the commit of their intent', async (t) => {
  const day = new Date().toISOString().slice(0, 10);
  const [one, two, header] = [Buffer.from('Package: one\n'), Buffer.alloc(0), Buffer.from('a header')];
  const of = (purpose: string, payload: HashedFile): object => {
    const { format: _format, ...intent } = rig.intent({ purpose: purpose as 'other', payload });
    return intent;
  };
  const a = rig.payload(one);
  const b = rig.payload(two);
  const h = rig.payload(header);
  const document = {
    format: 'build-infra/intent@1',
    intents: [of('rpm-header', h), of('deb-dsc', a), of('apt-release', b), of('deb-dsc', a)],
  };
  const { line } = rig.input(document);
  const reply = await rig.send(Buffer.concat([Buffer.from(line), one, two]));
  if (reply.result !== 'published') throw new Error(JSON.stringify(reply));
  const folder = `payloads/build-debian/${day}/${reply.intent}`;
  t.same(
    rig
      .git(
        rig.remote('mirror'),
        'diff-tree',
        '-r',
        '--no-commit-id',
        '--name-only',
        reply.commit,
        '--',
        'payloads',
        'intents',
      )
      .trim()
      .split('\n')
      .sort(),
    [
      `intents/build-debian/${day}/${reply.intent}.json`,
      `${folder}/${a.sha256}`,
      `${folder}/${b.sha256}`,
    ].sort(),
  );
  t.same(rig.file(`${folder}/${a.sha256}`, 'mirror', reply.commit), one);
  t.same(rig.file(`${folder}/${b.sha256}`, 'mirror', reply.commit), two);
});

void t.test(
  'anything but these payloads, in this order, is refused before anything is published:',
  async (t) => {
    const commits = (): number => Number(rig.git(rig.remote('origin'), 'rev-list', '--count', 'main'));
    const before = commits();
    const [a, b] = [Buffer.from('the first payload\n'), Buffer.from('the second one, which is longer\n')];
    const document = (): { line: string; payloads: Buffer } => {
      const intents = [a, b, a].map((bytes) => {
        const { format: _format, ...intent } = rig.intent({
          purpose: 'deb-changes',
          payload: rig.payload(bytes),
        });
        return intent;
      });
      return rig.input({ format: 'build-infra/intent@1', intents });
    };
    const { line, payloads } = document();
    t.same(payloads, Buffer.concat([a, b]));
    const whole = Buffer.concat([Buffer.from(line), payloads]);
    for (let cut = line.length - 1; cut < whole.length; cut++)
      t.equal(
        code(await rig.send(whole.subarray(0, cut))),
        'PAYLOAD_MISSING',
        `${whole.length - cut} bytes are missing`,
      );
    for (const cut of [0, 1, 40, line.length - 2])
      t.equal(
        code(await rig.send(whole.subarray(0, cut))),
        'NOT_JSON',
        `the document ends after ${cut} bytes`,
      );
    t.equal(code(await rig.send(Buffer.concat([whole, Buffer.from('\n')]))), 'TOO_LARGE', 'one byte more');
    t.equal(
      code(await rig.send(Buffer.concat([Buffer.from(line), a, a, b]))),
      'PAYLOAD_DIFFERS',
      'one twice',
    );
    t.equal(
      code(await rig.send(Buffer.concat([Buffer.from(line), b, a]))),
      'PAYLOAD_DIFFERS',
      'another order',
    );
    t.equal(
      code(await rig.send(Buffer.concat([Buffer.from(line), a, Buffer.from('\n'), b]))),
      'PAYLOAD_DIFFERS',
      'a newline between them',
    );
    for (let at = 0; at < payloads.length; at += 7) {
      const other = Buffer.from(payloads);
      other[at] = (other[at] as number) ^ 1;
      t.equal(
        code(await rig.send(Buffer.concat([Buffer.from(line), other]))),
        'PAYLOAD_DIFFERS',
        `another byte ${at}`,
      );
    }
    const large = Buffer.alloc(publishedPayloadLimitBytes + 1, 'x');
    for (const purpose of publishedPurposes)
      t.equal(
        code(await rig.ask(rig.intent({ purpose, payload: rig.payload(large) }))),
        'TOO_LARGE',
        `${purpose} of ${large.length} bytes`,
      );
    t.equal(
      code(await rig.ask(rig.intent({ purpose: 'other', payload: { ...rig.payload(a), size: 0 } }))),
      'PAYLOAD_DIFFERS',
      'no bytes of a payload that has some',
    );
    const sizes = [a.length, 5].map((size) => {
      const { format: _format, ...intent } = rig.intent({ payload: { ...rig.payload(a), size } });
      return intent;
    });
    t.equal(
      code(await rig.ask({ format: 'build-infra/intent@1', intents: sizes })),
      'PAYLOAD_DIFFERS',
      'one SHA-256 with two sizes',
    );
    const many = Array.from({ length: 17 }, (_, i) => {
      const { format: _format, ...intent } = rig.intent({
        purpose: 'apt-release',
        payload: rig.payload(Buffer.alloc(publishedPayloadLimitBytes, String.fromCharCode(65 + i))),
      });
      return intent;
    });
    t.equal(
      code(await rig.ask({ format: 'build-infra/intent@1', intents: many })),
      'TOO_LARGE',
      'more than one document may bring',
    );
    t.equal(commits(), before, 'nothing of it was published');
    t.equal((await rig.send(whole)).result, 'published', 'the same with nothing wrong');
  },
);

void t.test(
  'payloads of the largest size, from many callers at once, are published one after the other',
  async (t) => {
    const replies = await Promise.all(
      Array.from({ length: 40 }, (_, i) =>
        rig.ask(
          rig.intent({
            purpose: 'apt-release',
            payload: rig.payload(Buffer.alloc(publishedPayloadLimitBytes, `${i} `)),
          }),
        ),
      ),
    );
    t.ok(
      replies.every((reply) => reply.result === 'published'),
      JSON.stringify(replies[0]),
    );
    t.equal(
      (
        await rig.ask(
          rig.intent({
            purpose: 'rpm-header',
            payload: { name: 'large.rpm', size: 2 ** 28, sha256: sha256('h') },
          }),
        )
      ).result,
      'published',
      'and a header needs no bytes',
    );
    t.equal(
      (
        await rig.ask(
          rig.intent({
            purpose: 'other',
            payload: { name: 'image', size: publishedPayloadLimitBytes + 1, sha256: sha256('i') },
          }),
        )
      ).result,
      'published',
      'nor what is large and no metadata',
    );
  },
);

void t.test('the history that came of all this is signed, in line, and true', async (t) => {
  t.ok(rig.checkHistory('origin') > 5);
  t.equal(rig.checkHistory('mirror'), rig.checkHistory('origin'));
});
