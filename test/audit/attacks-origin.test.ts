// SPDX-License-Identifier: GPL-2.0-or-later
// Signatures that are good, by the right key, and in the journal, and yet were not made as this history says;
// and signatures of another class than is due.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import tap from 'tap';
import type { SignatureOrigin } from '../../agents/shared/formats/signature-origin.js';
import { attack, good, keys } from './attack.js';
import { Farm, removedAfter, withOrigin } from './farm.js';
import { lay, lies, other, places, signed, type Place } from './origin-attacks.js';
import {
  buildDnf,
  buildPackage,
  makeMetadata,
  rpmsign,
  signMetadata,
  signPackage,
  testing,
} from './rpm-farm.js';
import { verdict } from './run-audit.js';

await buildDnf(good, ['moon']);
const withDnf = (farm: Farm): string[] => ['--dnf', farm.dnf];

for (const place of places) {
  for (const [how, code, words] of lies(good.logs.head as string))
    attack(
      `${place.name} that names ${how}`,
      [`${place.check} ${code}`],
      (farm) => signed(farm, place, words),
      { path: place.path },
      withDnf,
    );
}

void tap.test('the same words, true, are no finding', async (t) => {
  const farm = removedAfter(t, new Farm(keys, good));
  for (const place of places) signed(farm, place, withOrigin);
  t.same((await verdict(farm, withDnf(farm))).codes, []);
});

for (const [how, code, change] of [
  ['no origin', 'NO_ORIGIN', undefined],
  [
    'a commit that nobody else saw',
    'UNKNOWN_ORIGIN',
    (origin: SignatureOrigin) => ({ ...origin, commit: other(origin.commit) }),
  ],
  ['another claim', 'WRONG_ORIGIN', (origin: SignatureOrigin) => ({ ...origin, claim: other(origin.claim) })],
] as const)
  void tap.test(`a package whose signature names ${how}`, async (t) => {
    const farm = removedAfter(t, new Farm(keys, good));
    const path = buildPackage('star', join(farm.dnf, testing, 'packages'));
    await signPackage(farm, path, 'rpm-header', undefined, (origin) => rpmsign(farm, path, change?.(origin)));
    makeMetadata(farm);
    signMetadata(farm);
    t.same((await verdict(farm, withDnf(farm))).codes, [`dnf-signatures ${code}`]);
  });

/** Anybody can add to a signature's part that is not hashed. */
attack(
  'a Release.gpg that names its origin where nobody signed it',
  ['apt-signatures NO_ORIGIN'],
  (farm) => {
    const place = places[1] as Place;
    const wanted = place.wanted(farm);
    const claimed = farm.claimAll([wanted]);
    const packet = keys.gpg(
      ['--local-user', keys.fingerprint.signing, '--no-armor', '-b', '-o', '-'],
      wanted.payload,
    );
    const [name, value] = (withOrigin(claimed.origins[0] as SignatureOrigin)[1] as string).split('=') as [
      string,
      string,
    ];
    const subpacket = Buffer.concat([
      Buffer.from([20, 128, 0, 0, 0, 0, name.length, 0, value.length]),
      Buffer.from(name + value),
    ]);
    const added = Buffer.concat([Buffer.from([subpacket.length]), subpacket]);
    const body = packet.subarray(2);
    const at = 6 + body.readUInt16BE(4);
    const size = body.readUInt16BE(at);
    const unhashed = Buffer.concat([body.subarray(at + 2, at + 2 + size), added]);
    const length = Buffer.alloc(2);
    length.writeUInt16BE(unhashed.length);
    const grown = Buffer.concat([body.subarray(0, at), length, unhashed, body.subarray(at + 2 + size)]);
    const head = Buffer.from([0x89, 0, 0]);
    head.writeUInt16BE(grown.length, 1);
    const signature = Buffer.concat([head, grown]);
    farm.publishSigned(claimed, [signature]);
    lay(farm, place, signature);
  },
  { path: 'dists/bookworm/Release.gpg' },
);

void tap.test(
  'two signatures over the same bytes by one intent, each of its own claim, in any order',
  async (t) => {
    for (const [how, which, codes] of [
      ['in order', [0, 1], []],
      ['out of order', [1, 0], []],
      ['both of the first', [0, 0], ['apt-signatures WRONG_ORIGIN']],
    ] as const) {
      const farm = new Farm(keys, good);
      const place = places[1] as Place;
      const wanted = place.wanted(farm);
      const claimed = farm.claimAll([wanted, wanted]);
      const signatures = which.map((i, n) =>
        keys.sign('signing', 'detach', wanted.payload, [
          ...withOrigin(claimed.origins[i] as SignatureOrigin),
          '--digest-algo',
          n === 0 ? 'SHA512' : 'SHA256',
        ]),
      );
      farm.publishSigned(claimed, signatures);
      lay(farm, place, signatures[0] as Buffer);
      // The same suite in a second place.
      const second = new Farm(keys, farm);
      lay(second, place, signatures[1] as Buffer);
      t.same((await verdict(farm, ['--apt', second.apt])).codes, codes, how);
      second.remove();
      farm.remove();
    }
  },
);

for (const place of places.slice(1))
  attack(
    `a signature over a text as ${place.name}`,
    [`${place.check} BAD_SIGNATURE`],
    (farm) => signed(farm, place, (origin) => [...withOrigin(origin), '--textmode']),
    { path: place.path },
    withDnf,
  );
attack(
  'a signature over bytes in a clear-signed message',
  ['apt-signatures BAD_SIGNATURE'],
  (farm) => {
    const place = places[0] as Place;
    const wanted = place.wanted(farm);
    const claimed = farm.claimAll([wanted]);
    const words = withOrigin(claimed.origins[0] as SignatureOrigin);
    const clear = keys.sign('signing', 'clearsign', wanted.payload, words).toString();
    // gpg takes it: over what stands between, with CRLF.
    const over = keys
      .sign('signing', 'detach', wanted.payload.toString().slice(0, -1).replaceAll('\n', '\r\n'), words)
      .toString();
    const message = Buffer.from(clear.slice(0, clear.indexOf('-----BEGIN PGP SIGNATURE')) + over);
    farm.publishSigned(claimed, [message]);
    lay(farm, place, message);
  },
  { path: 'dists/bookworm/InRelease' },
);
attack(
  'the signature of InRelease, which anybody can take out, as Release.gpg',
  ['apt-signatures BAD_SIGNATURE', 'apt-signatures SIGNATURE_NOT_IN_JOURNAL'],
  (farm) => {
    const message = readFileSync(join(farm.apt, 'dists/bookworm/InRelease')).toString();
    lay(farm, places[1] as Place, Buffer.from(message.slice(message.indexOf('-----BEGIN PGP SIGNATURE'))));
  },
  { path: 'dists/bookworm/Release.gpg' },
);
attack(
  'a publication whose commit is signed over a text',
  ['commits-signed BAD_SIGNATURE'],
  (farm) => {
    const { sign } = keys;
    farm.logs.keys.sign = (signer, mode, data, more = []) =>
      sign.call(keys, signer, mode, data, [...more, '--textmode']);
    farm.logs.commit({});
    farm.logs.keys.sign = sign;
  },
  { commit: 'head' },
);
