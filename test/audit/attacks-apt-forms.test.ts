// SPDX-License-Identifier: GPL-2.0-or-later
// APT repositories that clients read in another way than the announced one: forms, spellings, lists, copies,
// places.
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import tap from 'tap';
import { readClearSigned, readStanzas } from '../../agents/shared/formats/deb822.js';
import { formAttacks } from './apt-attacks.js';
import { good, keys } from './attack.js';
import { Farm, journalKey, removedAfter } from './farm.js';
import { audit } from '../../agents/audit/audit.js';
import { readOptions } from '../../agents/audit/options.js';

interface Case {
  name: string;
  expected: string[];
  change: (farm: Farm) => void;
  path: string | undefined;
}
const attacks: Case[] = [];
formAttacks(
  (name, expected, change, { path } = {}) => void attacks.push({ name, expected, change, path }),
  keys,
);

// An audit can look at many repositories at once, each with one thing wrong; so many keep their findings
// within what an audit keeps.
const atOnce = 10;
for (let from = 0; from < attacks.length; from += atOnce) {
  void tap.test(`attacks from the ${from + 1}th on`, { timeout: 300_000 }, async (t) => {
    const farm = removedAfter(t, new Farm(keys, good));
    const some = attacks.slice(from, from + atOnce).map((one, i) => {
      const apt = join(farm.top, `apt-${i}`);
      cpSync(farm.apt, apt, { recursive: true });
      // The same logs, a repository of its own.
      one.change(Object.create(farm, { apt: { value: apt } }) as Farm);
      return { ...one, apt };
    });
    const options = readOptions([
      '--logs',
      farm.logs.path,
      '--logs-key',
      join(farm.top, 'logs.asc'),
      ...[farm.apt, ...some.map(({ apt }) => apt)].flatMap((apt) => ['--apt', apt]),
      '--signing-key',
      join(farm.top, 'signing.asc'),
      '--journal-key',
      `keys-debian=${journalKey.public}`,
    ]);
    const { findings } = await audit(options);
    // They share one history, in which the last one's Release is the newest of the suite: of all others it is
    // told that they are old.
    const all = findings.rows
      .flatMap((row) => row.findings.map((finding) => ({ ...finding, what: `${row.name} ${finding.code}` })))
      .filter(({ code }) => code !== 'OLD_RELEASE');
    t.ok(
      findings.rows.every((row) => row.wrong === row.findings.length),
      'all findings are kept',
    );
    t.same(
      all.filter(({ path }) => path === undefined || path.startsWith(`${farm.apt}/`)),
      [],
      'nothing is wrong with the good one and with the logs',
    );
    for (const { name, expected, apt, path } of some) {
      const own = all.filter((finding) => finding.path?.startsWith(`${apt}/`) === true);
      t.same([...new Set(own.map(({ what }) => what))].sort(), [...expected].sort(), name);
      if (path !== undefined)
        t.ok(
          own.some((finding) => finding.path === `${apt}/${path}`),
          `${name}: names ${path}`,
        );
    }
  });
}

void tap.test(
  'a message with 130,000 headers is refused at once, and each shape that gpg does not write',
  (t) => {
    const body = 'Hash: SHA256\n\nOrigin: x\n';
    const tail = '-----BEGIN PGP SIGNATURE-----\n\niHUE\n=abcd\n-----END PGP SIGNATURE-----\n';
    const message = `-----BEGIN PGP SIGNED MESSAGE-----\n${body}${tail}`;
    t.same(readClearSigned(message), { text: 'Origin: x' });
    const started = process.cpuUsage();
    for (const many of [
      message.replace('SIGNATURE-----\n\n', `SIGNATURE-----\n${'Comment: x\n'.repeat(130_000)}\n`),
      message.replace('Origin: x\n', '-----BEGIN PGP SIGNATURE-----\n'.repeat(130_000)),
      message.replace('Hash: SHA256\n', 'Hash: SHA256\n'.repeat(130_000)),
      message.replace('iHUE\n', 'iHUE\n'.repeat(130_000)),
    ])
      t.equal(readClearSigned(many), undefined);
    t.ok(process.cpuUsage(started).user < 1_000_000, 'in under a second of CPU');
    for (const odd of [
      ` ${message}`,
      `${message}x`,
      `${message}${message}`,
      message.replace(/\n/g, '\r\n'),
      message.replace('Origin', '-Origin'),
      message.replace('SHA256', 'SHA1'),
      message.replace('SHA256', 'SHA256,SHA512'),
      message.replace('Hash: SHA256\n', ''),
      message.replace('Hash: SHA256\n', 'Hash: SHA256\nComment: x\n'),
      message.replace('=abcd', '=abcd\n=abcd'),
    ])
      t.equal(readClearSigned(odd), undefined, JSON.stringify(odd));
    t.end();
  },
);

void tap.test('stanzas have one spelling', (t) => {
  t.same(
    readStanzas('A: 1\nB:\n x\n  y\n\nA: 2\n')?.map((one) => [...one]),
    [
      [
        ['A', '1'],
        ['B', '\nx\n y'],
      ],
      [['A', '2']],
    ],
  );
  for (const odd of [
    'A : 1\n',
    'A:1\n',
    ' A: 1\n',
    'A: 1\na: 2\n',
    'A: 1\n \n',
    'A: 1\n\n\nB: 2\n',
    '\nA: 1\n',
    '# A\nA: 1\n',
    'A: 1\r\n',
    'A: 1\n\t\nB: 2\n',
    'A: \u0000\n',
    'A\n',
  ])
    t.equal(readStanzas(odd), undefined, JSON.stringify(odd));
  t.end();
});
