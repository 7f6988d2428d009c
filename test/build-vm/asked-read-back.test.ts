// SPDX-License-Identifier: GPL-2.0-or-later
// The gpg client has the build agent's program look for it, and believes one answer at its end. What the look
// itself finds: intent-read-back.test.ts, keys/read-back.test.ts.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { askedReadBack } from '../../agents/build-vm/gpg-client/asked-read-back.js';

const root = mkdtempSync(join(tmpdir(), 'asked-'));
t.teardown(() => rmSync(root, { recursive: true }));
const folder = join(root, 'usr/lib/build-infra');
mkdirSync(folder, { recursive: true });
const program = join(folder, 'build-agent.mjs');
const publication = { url: 'https://forge.example/logs.git', logsKey: 'A'.repeat(40) };
const commit = '0123456789'.repeat(4);
const announced = { commit, commits: [], source: 'build-debian', size: 12, sha256: 'b'.repeat(64) };
const demand = (code: string): Promise<void> => {
  writeFileSync(program, `const say = (text) => process.stdout.write(text);\n${code}`);
  return askedReadBack(root).demand(publication, announced);
};

await t.test('it is told what is looked for, and where', async (t) => {
  await demand(
    `import { writeFileSync } from 'node:fs';\nwriteFileSync(${JSON.stringify(join(root, 'argv'))}, JSON.stringify([process.env.BUILD_INFRA_ROOT, ...process.argv.slice(2)]));\nsay('seen ${commit}\\n');`,
  );
  t.strictSame(JSON.parse(readFileSync(join(root, 'argv'), 'utf8')), [
    root,
    'read-back',
    publication.url,
    publication.logsKey,
    'build-debian',
    commit,
    '12',
    'b'.repeat(64),
  ]);
});

await t.test('a refusal is handed on as it is', async (t) => {
  await t.rejects(demand(`say('refused RECORD_REWRITTEN it is another one\\n'); process.exitCode = 1;`), {
    code: 'RECORD_REWRITTEN',
    detail: 'it is another one',
  });
});

const seen = `say('seen ${commit}\\n');`;
const unbelieved: [string, string][] = [
  ['no word', ''],
  ['another word', `say('yes\\n');`],
  ['another commit', `say('seen ${'f'.repeat(40)}\\n');`],
  ['no end of the line', `say('seen ${commit}');`],
  ['two answers', seen + seen],
  ['an answer, and a refusal behind it', `${seen} say('refused PUBLICATION_NOT_SEEN x\\n');`],
  ['an answer, and status 1', `${seen} process.exitCode = 1;`],
  ['an answer, and a fault', `${seen} throw new Error('broken');`],
  [
    'an answer, and a signal',
    `process.stdout.write('seen ${commit}\\n', () => process.kill(process.pid, 'SIGKILL'));`,
  ],
  ['a refusal with status 0', `say('refused RECORD_REWRITTEN x\\n');`],
  ['an answer without end', `${seen} for (;;) say('x'.repeat(65536));`],
];
for (const [what, code] of unbelieved) {
  await t.test(`nothing is seen by ${what}`, async (t) => {
    await t.rejects(demand(code), {
      code: 'PUBLICATION_NOT_SEEN',
      detail: /ended \(.*\) without an answer.*nothing is signed/,
    });
  });
}

await t.test('nothing is seen where the program is not there', async (t) => {
  rmSync(program);
  await t.rejects(askedReadBack(root).demand(publication, announced), { code: 'PUBLICATION_NOT_SEEN' });
});
