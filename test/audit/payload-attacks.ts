// SPDX-License-Identifier: GPL-2.0-or-later
// Attacks on what has to be public before it is signed: a payload that is missing, another, late, early, or
// too large.
import { publishedPayloadLimitBytes } from '../../agents/shared/formats/intent.js';
import { sha256, type Wanted } from './farm.js';
import type { Attack } from './unwritten-farm.js';

export const small: Wanted = {
  purpose: 'apt-release',
  name: 'Release',
  mode: 'detach',
  payload: Buffer.from('Codename: x\nSHA256:\n'),
};

export function payloadAttacks(attack: Attack): void {
  for (const purpose of [
    'deb-dsc',
    'deb-buildinfo',
    'deb-changes',
    'apt-release',
    'rpm-repomd',
    'link',
    'other',
  ] as const) {
    attack(
      `a payload of ${purpose} that is not published`,
      ['payloads PAYLOAD_NOT_PUBLISHED'],
      (farm) => {
        const { path, document } = farm.intent([{ ...small, purpose }]);
        farm.logs.commit({ put: { [path]: document } });
      },
      { commit: 'head' },
    );
  }
  attack(
    'a payload that is published by the next commit',
    ['payloads PAYLOAD_NOT_PUBLISHED', 'payloads PAYLOAD_WITHOUT_INTENT'],
    (farm) => {
      const { path, document, put } = farm.intent([small]);
      farm.logs.commit({ put: { [path]: document } });
      farm.logs.commit({ put: Object.fromEntries(Object.entries(put).filter(([name]) => name !== path)) });
    },
  );
  attack(
    'a payload that was published before its intent',
    ['payloads PAYLOAD_NOT_PUBLISHED', 'payloads PAYLOAD_WITHOUT_INTENT'],
    (farm) => {
      const { path, document, put } = farm.intent([small]);
      farm.logs.commit({ put: Object.fromEntries(Object.entries(put).filter(([name]) => name !== path)) });
      farm.logs.commit({ put: { [path]: document } });
    },
  );
  attack(
    'a payload with other bytes',
    ['payloads PAYLOAD_DIFFERS'],
    (farm) => {
      const { path, document, put } = farm.intent([small]);
      farm.logs.commit({
        put: {
          ...Object.fromEntries(Object.keys(put).map((name) => [name, 'Codename: y\nSHA256:\n'])),
          [path]: document,
        },
      });
    },
    { commit: 'head' },
  );
  attack(
    'a payload that has grown',
    ['payloads PAYLOAD_DIFFERS'],
    (farm) => {
      const { path, put } = farm.intent([small]);
      farm.logs.commit({ put });
      farm.logs.commit({
        put: Object.fromEntries(
          Object.entries(put)
            .filter(([name]) => name !== path)
            .map(([name, data]) => [name, `${data.toString()}\n`]),
        ),
      });
    },
    { commit: 'head' },
  );
  attack(
    'a payload that no intent names',
    ['payloads PAYLOAD_WITHOUT_INTENT'],
    (farm) => {
      const { put } = farm.intent([small]);
      farm.logs.commit({
        put: { ...put, [`payloads/build-debian/2026-11-21/${sha256('x')}/${sha256('y')}`]: 'y' },
      });
    },
    { commit: 'head' },
  );
  attack(
    'a payload beside the place that payloads have',
    ['file-lines BAD_PATH'],
    (farm) =>
      void farm.logs.commit({ put: { [`payloads/build-debian/2026-11-21/${sha256('x')}/notes`]: 'y' } }),
    { commit: 'head' },
  );
  attack(
    'a Release that is too large to be published',
    ['payloads PAYLOAD_TOO_LARGE'],
    (farm) => {
      farm.logs.commit({
        put: farm.intent([
          {
            ...small,
            payload: Buffer.concat([small.payload, Buffer.alloc(publishedPayloadLimitBytes, '#')]),
          },
        ]).put,
      });
    },
    { commit: 'head' },
  );
  attack(
    'one payload with two sizes',
    ['payloads PAYLOAD_DIFFERS'],
    (farm) => {
      const { document, put, path } = farm.intent([small, { ...small, mode: 'clearsign' }]);
      const bad = document
        .replace(`"size":${small.payload.length}`, `"size":${small.payload.length}`)
        .replace(new RegExp(`"size":${small.payload.length}(?!.*"size")`), '"size":3');
      const hash = sha256(bad);
      farm.logs.commit({
        put: Object.fromEntries(
          Object.entries(put).map(([name, data]) => [
            name.replace(sha256(document), hash),
            name === path ? bad : data,
          ]),
        ),
      });
    },
    { commit: 'head' },
  );
}
