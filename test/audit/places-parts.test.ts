// SPDX-License-Identifier: GPL-2.0-or-later
// Folders, servers and keys as the audit reads them, and commits as it judges them, each part alone.
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readKey } from 'openpgp';
import tap from 'tap';
import { Budget, defaultLimits, type Limits } from '../../agents/published/budget.js';
import { BudgetedFiles } from '../../agents/published/files/budgeted-files.js';
import { Findings } from '../../agents/audit/findings.js';
import { PublishedHistory } from '../../agents/audit/history.js';
import { findKey, judgeCleartext, judgeDetached, originsOf } from '../../agents/audit/public-keys.js';
import { hashOf } from '../../agents/published/files/published-files.js';
import type { PublishedGit } from '../../agents/published/history/published-git.js';
import type { ReadCommit } from '../../agents/published/history/read-commit.js';
import type { ReadingThread, Said } from '../../agents/published/history/thread.js';
import { originNotation } from '../../agents/shared/formats/signature-origin.js';
import { folderOf } from '../support/folders.js';
import { filesOf, serveWeb } from '../support/web-server.js';
import { sha256 } from './farm.js';
import { pens } from './pens.js';

const top = folderOf(tap);
const budgetOf = (limits: Partial<Limits> = {}): Budget => new Budget({ ...defaultLimits, ...limits });

void tap.test('files of a folder and of a server are plain files in it', async (t) => {
  const folder = join(top, 'files');
  mkdirSync(join(folder, 'a/b'), { recursive: true });
  for (const path of ['x', 'a/y', 'a/b/z+1', 'packed', 'short'])
    writeFileSync(join(folder, path), `file ${path}`);
  symlinkSync('x', join(folder, 'link'));
  symlinkSync('/etc/hostname', join(folder, 'out'));
  symlinkSync('nothing', join(folder, 'broken'));
  const files = filesOf(folder, (path) => path.replace(/^\/r\//, ''));
  const address = await serveWeb(t, (request, response) => {
    const path = request.url ?? '';
    if (path === '/r/gone') return void response.writeHead(410).end();
    if (path === '/r/broken') return void response.writeHead(500).end();
    if (path === '/r/packed') return void response.writeHead(200, { 'content-encoding': 'gzip' }).end('x');
    if (path === '/r/moved') return void response.writeHead(302, { location: '/r/x' }).end();
    if (path === '/r/short') {
      response.writeHead(200, { 'content-length': '100' });
      response.write('x');
      return void setTimeout(() => response.destroy(), 20);
    }
    t.equal(request.headers['accept-encoding'], 'identity');
    files(request, response);
  });
  const url = `${address}/r`;
  const budget = budgetOf();
  for (const source of [folder, `file://${folder}`, `${url}//`]) {
    const files = new BudgetedFiles(source, budget);
    for (const path of ['x', 'a/y', 'a/b/z+1'])
      t.equal((await files.read(path, 100))?.toString(), `file ${path}`, `${source} ${path}`);
    for (const path of [
      'nothing',
      'a',
      '',
      '/x',
      'a//y',
      './x',
      'a/../x',
      '../files/x',
      'x?y',
      'x#y',
      'a\\y',
      'a b',
      'é',
      'x'.repeat(501),
    ])
      t.equal(await files.read(path, 100), undefined, `${source} ${path}`);
    await t.rejects(files.read('x', 5), { name: 'Unreadable', message: 'x is larger than 5 bytes' });
    t.equal((await files.read('x', 6))?.length, 6);
    t.match(await files.hash('x', 100), { size: 6, sha256: sha256('file x') });
    t.equal(await files.hash('nothing', 100), undefined);
    t.equal(await files.open('nothing'), undefined);
  }
  const here = new BudgetedFiles(folder, budget);
  t.same(await here.list(''), ['a/b/z+1', 'a/y', 'broken', 'link', 'out', 'packed', 'short', 'x']);
  t.same(await here.list('a'), ['a/b/z+1', 'a/y']);
  t.same(await here.list('none'), []);
  t.same(
    [(await here.read('link', 100))?.toString(), await here.read('out', 100), await here.read('broken', 100)],
    ['file x', undefined, undefined],
  );
  mkdirSync(join(folder, 'http:/y'), { recursive: true });
  t.same(
    await new BudgetedFiles(`${folder}/http://y`, budget).list(''),
    [],
    'a path that looks like an address further on',
  );
  const there = new BudgetedFiles(url, budget);
  t.equal(await there.list(''), undefined);
  t.equal(await there.read('gone', 100), undefined);
  t.equal((await there.read('moved', 100))?.toString(), 'file x');
  await t.rejects(there.read('broken', 100), { name: 'Unreadable', message: `${url}/broken: HTTP 500` });
  await t.rejects(there.read('packed', 100), {
    name: 'Unreadable',
    message: `${url}/packed: an answer packed with gzip`,
  });
  await t.rejects(there.read('short', 100), { name: 'Unreadable', message: /\/short: / });
  await t.rejects(new BudgetedFiles('http://127.0.0.1:1/', budget).read('x', 1), {
    name: 'Unreadable',
    message: /^http:\/\/127\.0\.0\.1:1\/x: /,
  });
  t.throws(() => new BudgetedFiles('ftp://x/', budget), {
    name: 'Unreadable',
    message: /only a path, file:/,
  });
  t.throws(() => new BudgetedFiles(join(top, 'nowhere'), budget), {
    name: 'Unreadable',
    message: /is not there/,
  });
  const poor = budgetOf({ readMiB: 1 });
  poor.spend('bytes', 1024 * 1024 - 6);
  await new BudgetedFiles(folder, poor).read('x', 100);
  await t.rejects(new BudgetedFiles(folder, poor).hash('x', 100), { message: /--max-read/ });
  t.same(await hashOf([Buffer.from('ab'), Buffer.from('c')]), {
    size: 3,
    sha256: sha256('abc'),
    sha1: 'a9993e364706816aba3e25717850c26c9cd0d89d',
    md5: '900150983cd24fb0d6963f7d28e17f72',
  });
  t.equal(
    (await hashOf([Buffer.from('ab'), Buffer.from('c'), Buffer.from('d')], 2)).size,
    3,
    'one piece too many shows it',
  );
});

void tap.test('keys are found by fingerprint or file, and judge what they made', async (t) => {
  const file = join(top, 'signing.asc');
  writeFileSync(file, pens.export('signing'));
  const two = join(top, 'two.asc');
  writeFileSync(two, Buffer.concat([pens.export('stranger'), pens.export('signing')]));
  const { signing, stranger, logs } = pens.fingerprint;
  const key = await findKey(file, '--signing-key', []);
  t.equal(key.getFingerprint().toUpperCase(), signing);
  const asked: string[] = [];
  const place = (files: Record<string, Buffer>) => (path: string) => {
    asked.push(path);
    return Promise.resolve(files[path]);
  };
  t.equal(
    (
      await findKey(signing, 'x', [
        place({}),
        place({ [`keys/${signing}.asc`]: Buffer.from('junk'), 'key.asc': readFileSync(two) }),
      ])
    )
      .getFingerprint()
      .toUpperCase(),
    signing,
  );
  t.same(asked, [`keys/${signing}.asc`, 'key.asc', `keys/${signing}.asc`, 'key.asc']);
  t.equal(
    (
      await findKey(stranger, 'x', [
        place({ [`keys/${stranger}.asc`]: Buffer.from(key.write()), 'key.asc': readFileSync(two) }),
      ])
    )
      .getFingerprint()
      .toUpperCase(),
    stranger,
  );
  t.equal(
    (await findKey(signing, 'x', [place({ 'key.asc': Buffer.from(key.write()) })]))
      .getFingerprint()
      .toUpperCase(),
    signing,
    'without armor',
  );
  await t.rejects(findKey(logs, '--logs-key', [place({ 'key.asc': readFileSync(two) })]), {
    name: 'Unreadable',
    message: /^--logs-key: no key [0-9A-F]+ is published as/,
  });
  await t.rejects(findKey(two, '--logs-key', []), {
    name: 'Unreadable',
    message: /does not hold exactly one public key/,
  });
  await t.rejects(findKey(join(top, 'gp.asc'), '--logs-key', []), {
    name: 'Unreadable',
    message: /neither a fingerprint/,
  });
  writeFileSync(join(top, 'junk.asc'), 'junk');
  await t.rejects(findKey(join(top, 'junk.asc'), '--logs-key', []), {
    message: /does not hold exactly one public key/,
  });
  const data = Buffer.from('text\nmore\n');
  const code = async (...words: Parameters<typeof pens.sign>): Promise<string | undefined> =>
    (await judgeDetached(data, pens.sign(...words), key))?.code;
  t.equal(await code('signing', 'detach', data), undefined);
  t.equal(await code('signing', 'detach', data, ['--digest-algo', 'SHA256']), undefined);
  t.equal(await code('signing', 'detach', data, ['--digest-algo', 'SHA384']), undefined);
  t.equal(await code('stranger', 'detach', data), 'WRONG_KEY');
  t.equal(await code('signing', 'detach', 'other'), 'BAD_SIGNATURE');
  t.equal(await code('signing', 'detach', data, ['--textmode']), 'BAD_SIGNATURE');
  t.equal(await code('signing', 'detach', data, ['--digest-algo', 'SHA1']), 'BAD_SIGNATURE');
  const armored = pens.sign('signing', 'detach', data).toString();
  const binary = Buffer.from((/\n\n([^=]*=*)\n=/.exec(armored)?.[1] ?? '').replaceAll('\n', ''), 'base64');
  t.equal(await judgeDetached(data, binary, key), undefined);
  t.match(await judgeDetached(data, Buffer.concat([binary, binary]), key), {
    code: 'BAD_SIGNATURE',
    found: '2 signatures',
  });
  t.match(await judgeDetached(data, Buffer.from('junk'), key), { code: 'BAD_SIGNATURE' });
  const message = pens.sign('signing', 'clearsign', data).toString();
  t.equal(await judgeCleartext(message, 'text\nmore', key), undefined);
  t.match(await judgeCleartext(message, 'text\nmOre', key), {
    code: 'BAD_SIGNATURE',
    found: 'two readers of the message see two texts',
  });
  t.match(await judgeCleartext(message, 'textmore', key), {
    found: 'two readers of the message see two texts',
  });
  t.equal(await judgeCleartext(message, 'text  \nmore\t', key), undefined, 'blanks at ends are not signed');
  t.match(await judgeCleartext(message.replace('more', 'mOre'), 'text\nmOre', key), {
    code: 'BAD_SIGNATURE',
  });
  t.match(await judgeCleartext('junk', 'junk', key), { code: 'BAD_SIGNATURE' });
  t.match(await judgeCleartext(pens.sign('stranger', 'clearsign', data).toString(), 'text\nmore', key), {
    code: 'WRONG_KEY',
    found: `signed by key ${stranger.slice(-16)}`,
  });
  const over = armored.slice(armored.indexOf('-----BEGIN'));
  t.match(
    await judgeCleartext(
      message.slice(0, message.indexOf('-----BEGIN PGP SIGNATURE')) +
        pens.sign('signing', 'detach', 'text\r\nmore').toString(),
      'text\nmore',
      key,
    ),
    { code: 'BAD_SIGNATURE', found: 'a signature of class 0, not 1' },
  );
  const named = [
    '--sig-notation',
    'origin@build-infra.invalid=x',
    '--sig-notation',
    'other@build-infra.invalid=y',
  ];
  const words = [
    ...named,
    '--sig-notation',
    `${originNotation}=one`,
    '--sig-notation',
    `${originNotation}=two`,
  ];
  for (const mode of ['detach', 'clearsign'] as const)
    t.same(
      (await originsOf(pens.sign('signing', mode, data, words))).filter((value) => value !== 'x'),
      ['one', 'two'],
    );
  t.same(await originsOf(Buffer.from(over)), []);
  t.same(await originsOf(binary), []);
});

void tap.test('commits are judged as they are read', async (t) => {
  const logsKey = await readKey({ armoredKey: pens.export('logs').toString() });
  const time = Date.parse('2026-11-29T12:00:00.000Z');
  const base: ReadCommit = {
    tree: 't',
    parents: ['p'],
    time,
    signedAt: time,
    message: { subject: 'x', files: [], seq: 1 },
  };
  const judged = async (
    reads: ReadCommit[],
    end: Said = { end: 'done' },
    ended: string | number = 0,
  ): Promise<{ codes: string[]; counts: number[]; commits: unknown[] }> => {
    const findings = new Findings();
    const git = {
      budget: budgetOf({ objects: 10, readMiB: 1 }),
      answerThread: () =>
        Promise.resolve({ pipes: { questions: 0, answers: 1 }, ended: Promise.resolve(ended) }),
    } as unknown as PublishedGit;
    const thread = {
      async *windows(_: unknown, onEnd: (end: Said) => Promise<void>) {
        yield {
          commits: reads.map((commit) => ({ commit, changes: [], bad: [] })),
          objects: reads.length,
          bytes: 10,
        };
        await onEnd(end);
      },
    } as unknown as ReadingThread;
    const commits: unknown[] = [];
    for await (const window of new PublishedHistory(
      git,
      reads.map((_, i) => `id ${i}`),
      logsKey,
      findings,
    ).windows(thread))
      commits.push(...window.map(({ commit }) => commit));
    for (const one of findings.rows.flatMap((row) => row.findings)) t.ok(one.expected && one.found, one.code);
    return {
      codes: findings.rows.flatMap((row) =>
        row.findings.map((one) => `${row.name} ${one.code} ${one.commit}`),
      ),
      counts: findings.rows.slice(1, 3).map(({ count }) => count),
      commits,
    };
  };
  const next = (change: Partial<ReadCommit>, seq = 2): ReadCommit => ({
    ...base,
    message: { subject: 'x', files: [], seq },
    ...change,
  });
  const good = await judged([base, next({})]);
  t.same(good, {
    codes: [],
    counts: [2, 2],
    commits: [
      { id: 'id 0', tree: 't', time, message: base.message },
      { id: 'id 1', tree: 't', time, message: { subject: 'x', files: [], seq: 2 } },
    ],
  });
  const minute = 60_000;
  const cases: [string, ReadCommit, string[]][] = [
    ['too large', { tooLarge: 5_000_000, parents: [] }, ['commits-signed BAD_COMMIT']],
    ['a merge', next({ parents: ['p', 'q'] }), ['one-line MERGE']],
    ['not signed', next({ refusal: { code: 'NOT_SIGNED', detail: 'x' } }), ['commits-signed NOT_SIGNED']],
    ['no commit', next({ refusal: { code: 'OTHER', detail: 'x' } }), ['commits-signed BAD_COMMIT']],
    ['another seq', next({}, 3), ['one-line SEQ_GAP']],
    ['no publication', next({ message: undefined, badMessage: 'x' }), ['file-lines BAD_PUBLICATION']],
    ['no time', next({ time: undefined }), ['one-line BAD_COMMIT']],
    ['signed later', next({ signedAt: time + 10 * minute + 1000 }), ['one-line COMMIT_TIME']],
    ['signed before', next({ signedAt: time - 10 * minute - 1000 }), ['one-line COMMIT_TIME']],
    ['signed in ten minutes', next({ signedAt: time + 10 * minute }), []],
    ['signed ten minutes before', next({ signedAt: time - 10 * minute }), []],
    ['going back an hour', next({ time: time - 60 * minute, signedAt: time - 60 * minute }), []],
    [
      'going back more',
      next({ time: time - 60 * minute - 1000, signedAt: time - 60 * minute }),
      ['one-line COMMIT_TIME'],
    ],
  ];
  for (const [what, read, codes] of cases)
    t.same(
      (await judged([base, read])).codes,
      codes.map((code) => `${code} id 1`),
      what,
    );
  t.same(
    (
      await judged([
        base,
        next({ time: time - minute, signedAt: time - minute }),
        next({ time: time - 60 * minute - 1000, signedAt: time - 60 * minute }, 3),
      ])
    ).codes,
    ['one-line COMMIT_TIME id 2'],
    'the latest one counts',
  );
  t.same((await judged([next({ tooLarge: 5_000_000 })])).commits, [
    { id: 'id 0', tree: undefined, time: undefined, message: undefined },
  ]);
  const signed = Buffer.from('what is signed');
  const unjudged = (signer: 'logs' | 'stranger', more: string[] = []): Partial<ReadCommit> => ({
    signedAt: undefined,
    unjudged: { signed: signed.toString(), signature: pens.sign(signer, 'detach', signed, more).toString() },
  });
  const now = Math.floor(Date.now() / 1000) * 1000;
  t.same((await judged([{ ...base, ...unjudged('logs'), time: now }])).codes, []);
  t.same(
    (await judged([{ ...base, ...unjudged('logs') }])).codes,
    [Math.abs(now - time) > 10 * minute ? 'one-line COMMIT_TIME id 0' : ''].filter((code) => code !== ''),
  );
  const odd = Buffer.from('\u00e9', 'latin1');
  t.same(
    (
      await judged([
        {
          ...base,
          time: now,
          signedAt: undefined,
          unjudged: {
            signed: odd.toString('latin1'),
            signature: pens.sign('logs', 'detach', odd).toString(),
          },
        },
      ])
    ).codes,
    [],
    'bytes that are no ASCII',
  );
  t.same((await judged([{ ...base, ...unjudged('stranger') }])).codes, ['commits-signed WRONG_KEY id 0']);
  t.same((await judged([{ ...base, ...unjudged('logs', ['--textmode']) }])).codes, [
    'commits-signed BAD_SIGNATURE id 0',
  ]);
  for (const [end, ended, message] of [
    [{ end: 'objects' }, 0, /--max-objects of 10/],
    [{ end: 'bytes' }, 0, /--max-read of 1 MiB/],
    [{ end: 'git', why: 'said x' }, 0, /^said x$/],
    [{ end: 'git' }, 0, /^git cat-file ended early with 0$/],
    [{ end: 'git' }, 'SIGKILL', /early with SIGKILL/],
    [{ end: 'done' }, 3, /^git cat-file ended with 3$/],
  ] as const) {
    await t.rejects(judged([base], end as Said, ended), { name: 'Unreadable', message }, String(message));
  }
});
