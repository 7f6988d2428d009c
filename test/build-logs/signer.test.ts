// SPDX-License-Identifier: GPL-2.0-or-later
// What counts as a signature of the logs key on a publication of before.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { gpgSigner } from '../../agents/build-logs/signer.js';
import { GpgHome } from '../support/gpg-home.js';

const home = GpgHome.of(t);
const text = 'tree x\n\nsubject\n';
const gpg = (...args: string[]): string => home.gpg(args, text).toString();
const fingerprint = home.makeKey('logs <l@x>');

await t.test(
  'one over bytes is good, one over a text is none, also where it was taken out of a clear-signed message',
  async (t) => {
    const signer = gpgSigner(home.folder, fingerprint);
    t.ok(await signer.verifies(Buffer.from(text), gpg('--armor', '-b')));
    t.notOk(await signer.verifies(Buffer.from('other\n'), gpg('--armor', '-b')));
    t.notOk(await signer.verifies(Buffer.from(text), gpg('--armor', '-b', '--textmode')));
    const clear = gpg('--clearsign');
    t.notOk(
      await signer.verifies(
        Buffer.from(text.slice(0, -1)),
        clear.slice(clear.indexOf('-----BEGIN PGP SIGNATURE')),
      ),
    );
  },
);

await t.test(
  "a gpg that does not come to its end is no answer: a signature of ours would be taken for a stranger's",
  async (t) => {
    const signature = gpg('--armor', '-b');
    const killed = join(home.folder, 'killed-gpg');
    writeFileSync(killed, '#!/bin/sh\nkill -9 $$\n', { mode: 0o755 });
    for (const program of [join(home.folder, 'no-gpg'), killed]) {
      const signer = gpgSigner(home.folder, fingerprint, program);
      await t.rejects(
        signer.verifies(Buffer.from(text), signature),
        { message: /gpg did not come to its end/ },
        program,
      );
      await t.rejects(signer.sign(Buffer.from(text)), { message: /gpg did not come to its end/ }, program);
    }
  },
);
