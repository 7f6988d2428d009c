// SPDX-License-Identifier: GPL-2.0-or-later
// A farm where everything is right passes, in every way that its repositories can be reached.
import { execFileSync } from 'node:child_process';
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import tap from 'tap';
import { filesOf, serveWeb } from '../support/web-server.js';
import { Farm, journalKey, Keys, log, removedAfter } from './farm.js';
import { argumentsFor, runAudit, verdict } from './run-audit.js';

const keys = new Keys();
const farm = new Farm(keys);
farm.build();
tap.teardown(() => {
  farm.remove();
  keys.remove();
});

void tap.test('a good farm passes, and the table says what was looked at', async (t) => {
  const { status, out, err } = await runAudit(argumentsFor(farm));
  t.equal(err, '');
  t.equal(status, 0, out);
  t.match(out, /Audit of 6 commits up to [0-9a-f]{40}\n/);
  t.match(out, /ok +every commit is signed by the logs key +6 commits/);
  t.match(out, /ok +every use of a key follows a published intent +4 signatures/);
  t.match(out, /ok +every signature in the APT repository is in a journal +4 signatures/);
  t.match(out, /\nGood\.\n$/);
});

void tap.test('two fingerprints and two URLs are enough: the keys come with the repositories', async (t) => {
  execFileSync('git', ['--git-dir', farm.logs.path, 'update-server-info']);
  const url = await serveWeb(t, filesOf(farm.top));
  const { status, out, err } = await runAudit([
    '--logs',
    `${url}/logs.git`,
    '--logs-key',
    keys.fingerprint.logs,
    '--apt',
    `${url}/apt`,
    '--signing-key',
    keys.fingerprint.signing,
    '--journal-key',
    `keys-debian=${journalKey.public}`,
    '--json',
  ]);
  t.equal(err, '');
  t.equal(status, 0, out);
  const { checks } = JSON.parse(out) as { checks: { name: string; count: number }[] };
  t.equal(
    checks.find((row) => row.name === 'apt-signatures')?.count,
    4,
    'the suite and the signed files are found through the intents',
  );
  t.equal(checks.find((row) => row.name === 'apt-files')?.count, 6);
});

void tap.test('a mirror that lags behind agrees', async (t) => {
  const mirror = join(farm.top, 'mirror.git');
  cpSync(farm.logs.path, mirror, { recursive: true });
  t.teardown(() => rmSync(mirror, { recursive: true }));
  execFileSync('git', ['--git-dir', mirror, 'update-ref', 'refs/heads/main', 'refs/heads/main~2']);
  const { codes, checks } = await verdict(farm, [], [mirror, `file://${farm.logs.path}`]);
  t.same(codes, []);
  t.equal(checks[0]?.count, 2);
});

void tap.test('a log may become its .xz, and that may grow', async (t) => {
  const own = removedAfter(t, new Farm(keys, farm));
  const xz = (data: Buffer | string): Buffer => execFileSync('xz', ['-c'], { input: data });
  const plain = own.grow();
  const packed = xz(plain);
  const more = '2026-11-21 21:00:01.000000 +0000 build-debian: more\n';
  own.logs.commit({ remove: [log], put: { [`${log}.xz`]: packed } });
  own.logs.commit({ put: { [`${log}.xz`]: Buffer.concat([packed, xz(more)]) } });
  own.logs.commit({ put: { [`${log}.xz`]: xz(Buffer.concat([plain, Buffer.from(`${more}${more}`)])) } });
  t.same((await verdict(own)).codes, []);
});

void tap.test('a farm that has signed nothing yet passes and says so', async (t) => {
  const own = removedAfter(t, new Farm(keys));
  own.logs.commit({ put: { [log]: own.grow() } });
  const { status, out } = await runAudit(argumentsFor(own));
  t.equal(status, 0, out);
  t.match(out, /Good\. Nothing has been signed yet\./);
});

void tap.test('without an APT repository its rows are skipped', async (t) => {
  const { status, out } = await runAudit([
    '--logs',
    farm.logs.path,
    '--logs-key',
    join(farm.top, 'logs.asc'),
    '--journal-key',
    `keys-debian=${journalKey.public}`,
  ]);
  t.equal(status, 0, out);
  t.match(out, /skipped +every signature in the APT/);
});

void tap.test('what cannot be checked ends with 2 and one line', async (t) => {
  const good = argumentsFor(farm);
  const with2 = async (name: string, args: string[], line: RegExp): Promise<void> => {
    const { status, out, err } = await runAudit(args);
    t.equal(status, 2, name);
    t.equal(out, '', name);
    t.match(err, line, name);
  };
  const swap = (name: string, value: string): string[] =>
    good.map((arg, i) => (good[i - 1] === name ? value : arg));
  await with2(
    'no repository there',
    swap('--logs', join(farm.top, 'nowhere.git')),
    /cannot be checked: .*nowhere\.git: git fetch/,
  );
  await with2('a repository helper', swap('--logs', 'ext::sh -c true'), /cannot be checked/);
  await with2('ssh', swap('--logs', 'ssh://host/x.git'), /only a path, file:/);
  await with2(
    'an option as a repository',
    swap('--logs', '--upload-pack=x'),
    /--logs needs a value: URL_OR_PATH/,
  );
  await with2('no APT repository there', swap('--apt', join(farm.top, 'nowhere')), /is not there/);
  await with2(
    'a fingerprint that is nowhere published',
    swap('--logs-key', keys.fingerprint.stranger),
    /no key .* is published/,
  );
  await with2(
    'a short key id',
    swap('--logs-key', keys.fingerprint.logs.slice(-16)),
    /neither a fingerprint/,
  );
  await with2('no keys', ['--logs', farm.logs.path], /--logs-key is missing/);
  await with2('an unknown option', [...good, '--force'], /there is no option --force/);
});
