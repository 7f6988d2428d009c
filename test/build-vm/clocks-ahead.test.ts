// SPDX-License-Identifier: GPL-2.0-or-later
// Other VMs and people have clocks of their own: what one of them signed a few seconds ahead of this VM's
// clock is good, an hour ahead is not.
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { verifyClearSigned } from '../../agents/build-vm/signatures/one-signature.js';
import { signMetadata } from '../../agents/build-vm/repositories/dnf/suite-metadata.js';
import { PublishedRecord } from '../../agents/build-vm/publication/published-record.js';
import { alice, endForge, forge, keys, situation } from './fetching.js';
import { tinyPackage, type Keys } from './forge.js';
import { publishRecord } from './logs-record.js';

t.teardown(endForge);
const silent = {
  say: () => undefined,
  tool: () => true,
  drained: async () => undefined,
  whenFailed: new Promise<never>(() => undefined),
};
const folder = mkdtempSync(join(tmpdir(), 'bi-ahead-'));
t.teardown(() => rmSync(folder, { recursive: true }));

/** As gpg wants its clock set. */
const clock = (seconds: number): string[] => [
  '--faked-system-time',
  `${new Date(Date.now() + seconds * 1000).toISOString().replace(/[-:]|\.\d+Z$/g, '')}!`,
];
const sign = (seconds: number, text: string): string =>
  keys
    .gpg([...clock(seconds), '--armor', '--detach-sign', '--local-user', alice.fingerprint], text)
    .toString();
const codeOf = (act: Promise<unknown>): Promise<string> =>
  act.then(
    () => 'good',
    (error: { code?: string; stack?: string }) => error.code ?? String(error.stack),
  );

/** Each verifies one signature that was made so many seconds ahead. */
const places: [name: string, refusal: string, verify: (seconds: number) => Promise<unknown>][] = [
  [
    'a clear signature that debsign put into a file',
    'BAD_SIGNATURE',
    async (seconds) => {
      const text = keys
        .gpg([...clock(seconds), '--clearsign', '--local-user', alice.fingerprint], 'Source: x\n')
        .toString();
      await verifyClearSigned(text, 'x.dsc', alice.armored, alice.fingerprint);
    },
  ],
  [
    'the signature of repomd.xml',
    'BAD_SIGNATURE',
    async (seconds) => {
      const suite = mkdtempSync(join(folder, 'suite-'));
      mkdirSync(join(suite, 'repodata'));
      writeFileSync(join(suite, 'repodata/repomd.xml'), '<repomd/>\n');
      writeFileSync(join(suite, 'key.asc'), alice.armored);
      writeFileSync(
        join(suite, 'gpg'),
        `#!/bin/sh\nexec gpg --homedir '${keys.home}' ${clock(seconds).join(' ')} "$@"\n`,
      );
      chmodSync(join(suite, 'gpg'), 0o755);
      await signMetadata(
        suite,
        {
          gpg: join(suite, 'gpg'),
          gpgJob: '',
          signingKey: alice.fingerprint,
          publicKey: join(suite, 'key.asc'),
          home: suite,
        },
        silent,
      );
    },
  ],
  [
    'a publication of the logs VM',
    'BAD_RECORD',
    async (seconds) => {
      const name = `record${seconds}`;
      const repository = forge.create(name);
      repository.git(['symbolic-ref', 'HEAD', 'refs/heads/main']);
      publishRecord({ sign: (_by: unknown, text: string) => sign(seconds, text) } as unknown as Keys)(
        repository,
        1_700_000_000,
        'build-debian/log_a',
        alice,
      );
      const record = new PublishedRecord({
        url: forge.url(name),
        logsKey: alice,
        folder: join(folder, name),
        forge: { sshConfig: '/dev/null', timeoutMs: 30_000 },
      });
      await record.newest();
    },
  ],
  [
    'the signature of a tag',
    'BAD_SIGNATURE',
    async (seconds) => {
      const { repository, fetch } = situation(t);
      const text = repository.tagText('v1.0-1', repository.commit(repository.tree(tinyPackage('1.0-1'))));
      repository.ref('v1.0-1', repository.tagObject(text + sign(seconds, text)));
      await fetch();
    },
  ],
];

for (const [name, refusal, verify] of places) {
  void t.test(`${name} may be a few seconds ahead, and not an hour`, async (t) => {
    t.equal(await codeOf(verify(0)), 'good', 'now');
    t.equal(await codeOf(verify(20)), 'good', 'twenty seconds ahead');
    t.equal(await codeOf(verify(3600)), refusal, 'an hour ahead');
  });
}
