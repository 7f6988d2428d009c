// SPDX-License-Identifier: GPL-2.0-or-later
// The page tells two months before a key of this environment ends, whoever's it is, and of one that can sign
// no more.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { Config } from '../../agents/build-vm/configuration/config.js';
import { farmStatus } from '../../agents/build-vm/status-page/farm-status.js';
import { frontPage } from '../../agents/build-vm/status-page/front-page.js';
import { neededKeys } from '../../agents/build-vm/status-page/needed-keys.js';
import { farm } from './farm-states.js';
import { Keys, writeKeys, type TestKey } from './forge.js';

const folder = mkdtempSync(join(tmpdir(), 'nk-'));
const keys = new Keys();
t.teardown(() => {
  keys.end();
  rmSync(folder, { recursive: true });
});
const day = 86_400_000;

const subkey = (name: string, expire: string): TestKey => {
  keys.gpg(['--quick-add-key', keys.exported(name).fingerprint, 'ed25519', 'sign', expire]);
  return keys.exported(name);
};
const revoked = (name: string): TestKey => {
  const { fingerprint } = keys.make(name);
  const certificate = readFileSync(join(keys.home, 'openpgp-revocs.d', `${fingerprint}.rev`), 'utf8');
  keys.gpg(['--import'], certificate.replace(':-----BEGIN', '-----BEGIN'));
  return keys.exported(name);
};
keys.make('carol');
keys.make('dora');
keys.make('erna', '100d');
const all: Record<string, TestKey> = {
  signing: keys.make('signing', '100d'),
  logs: keys.make('logs', '100d'),
  alice: keys.make('alice', '100d'),
  bob: keys.make('bob', '100d'),
  carol: subkey('carol', '100d'),
  dora: keys.exported('dora'),
  erna: subkey('erna', '3y'),
  gone: revoked('gone'),
};
writeKeys(folder, Object.values(all));
/** Not before the keys. */
const made = new Date();
const of = (name: string): { name: string; fingerprint: string } => ({
  name,
  fingerprint: (all[name] as TestKey).fingerprint,
});
const config = {
  signingKey: of('signing').fingerprint,
  publication: { url: '', logsKey: of('logs').fingerprint },
  components: [{ name: 'hello', maintainers: ['alice', 'carol', 'dora', 'erna', 'gone'].map(of) }],
  commands: { people: ['alice', 'bob'].map(of) },
} as unknown as Config;

await t.test('whose key ends, and when', async (t) => {
  const needed = await neededKeys(config, folder, made);
  const at = (days: number): Record<string, string> => {
    const { keys: ending } = farmStatus({
      ...farm([]),
      keys: needed,
      made: new Date(made.getTime() + days * day),
    });
    return Object.fromEntries(ending.map(({ whose, code }) => [whose, code]));
  };
  const ending = ['the keys VM', 'the logs VM', 'alice', 'bob', 'carol', 'erna'];
  t.strictSame(at(39), { gone: 'KEY_NOT_USABLE' });
  t.strictSame(at(41), {
    ...Object.fromEntries(ending.map((whose) => [whose, 'KEY_ENDS'])),
    gone: 'KEY_NOT_USABLE',
  });
  const after = Object.fromEntries(
    ending.filter((whose) => whose !== 'carol').map((whose) => [whose, 'KEY_EXPIRED']),
  );
  t.strictSame(
    at(101),
    { ...after, gone: 'KEY_NOT_USABLE' },
    "carol's primary key signs on; erna's subkey does not without its primary key",
  );
});

await t.test('the front page says it first', async (t) => {
  const needed = await neededKeys(config, folder, made);
  const page = frontPage(
    farmStatus({ ...farm([]), keys: needed, made: new Date(made.getTime() + 41 * day) }),
  );
  const date = new Date(made.getTime() + 100 * day).toISOString().slice(0, 10);
  t.match(
    page,
    new RegExp(
      `key of alice <span class="why"><code>KEY_ENDS</code> ends on ${date}: <code>${of('alice').fingerprint}`,
    ),
  );
  t.match(page, /key of gone <span class="why"><code>KEY_NOT_USABLE<\/code> <code>/);
  t.match(page, /7 to look at/);
});

await t.test('a file that is gone or damaged is told of too', async (t) => {
  writeFileSync(join(folder, `${of('dora').fingerprint}.asc`), 'no key\n');
  rmSync(join(folder, `${of('bob').fingerprint}.asc`));
  const { keys: told } = farmStatus({ ...farm([]), keys: await neededKeys(config, folder, made), made });
  t.strictSame(told.map(({ whose, code }) => [whose, code]).sort(), [
    ['bob', 'KEY_NOT_USABLE'],
    ['dora', 'KEY_NOT_USABLE'],
    ['gone', 'KEY_NOT_USABLE'],
  ]);
});
