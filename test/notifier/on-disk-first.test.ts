// SPDX-License-Identifier: GPL-2.0-or-later
// The order in which the notifier's bundle talks to GitHub and notes what was said, as the kernel saw it:
// what a power cut could make it forget it would say twice, or in another order.
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import {
  cannotRecord,
  inOrder,
  notOnDisk,
  onlyThen,
  recorded,
  recordingTo,
  renaming,
  syncing,
  writing,
  type Step,
  type SystemCall,
} from '../support/system-calls.js';
import { notification, place, token } from './notifying.js';

const bundle = fileURLToPath(new URL('../../../dist/build-infra-notifier.mjs', import.meta.url));
const skip = cannotRecord();
const said = [notification({ event: 'building' }), notification({ event: 'built' })] as const;
const refused = notification({ component: 'poison' });

await t.test(
  'what was said is noted before the next thing is said, and what is set aside is kept before it is noted',
  { skip },
  async (t) => {
    const here = await place(t);
    const root = join(here.folder, 'root');
    const settings = join(root, 'rw/config/build-infra');
    const outbox = join(root, 'var/lib/build-infra/outbox');
    const state = join(root, 'var/lib/build-infra/notifier');
    const record = join(here.folder, 'record');
    for (const folder of [settings, outbox, state]) mkdirSync(folder, { recursive: true });
    writeFileSync(join(settings, 'notify.json'), JSON.stringify(here.config));
    writeFileSync(join(settings, 'notify-token'), token, { mode: 0o400 });
    const put = (number: number, document: object & { key: string }): void => {
      const name = `${String(number).padStart(12, '0')}-${document.key}.json`;
      writeFileSync(join(here.folder, name), JSON.stringify(document));
      renameSync(join(here.folder, name), join(outbox, name));
    };
    // The first one is refused when it is said; the others follow.
    here.github.plan({
      method: 'POST',
      path: /\/issues$/,
      how: { kind: 'status', status: 422, message: 'Validation Failed' },
    });
    for (const [index, document] of [refused, ...said].entries()) put(index + 1, document);

    const [command, ...args] = [...recordingTo(record), process.execPath, bundle];
    const notifier: ChildProcess = spawn(command, args, {
      env: { PATH: process.env['PATH'], BUILD_INFRA_ROOT: root },
      stdio: 'ignore',
    });
    t.teardown(() => notifier.kill('SIGKILL'));

    const ledger = join(state, 'ledger');
    const noted = (document: { key: string }, outcome: 'done' | 'aside'): Step[] => [
      writing(ledger, new RegExp(`^${document.key} .* ${outcome}\n`)),
      syncing(ledger),
    ];
    const saying = (request: RegExp): Step => onlyThen(writing(/^TCP/, request));
    const calls = await recorded(record, noted(said[1], 'done')[0] as Step);

    await t.test('in order', (t) => {
      const [first, second] = said;
      inOrder(calls, [
        saying(/^POST \/repos\/example\/updates-status\/issues .*"title":"hello/s),
        ...noted(first, 'done'),
        saying(/^POST \/repos\/example\/updates-status\/issues\/\d+\/comments /),
        writing(ledger, new RegExp(`^${second.key} `)),
      ]);
      t.end();
    });

    await t.test('set aside', (t) => {
      const aside = join(state, 'aside', `000000000001-${refused.key}.json`);
      const kept = (path: string, text: RegExp): Step[] => {
        const temporary = new RegExp(`/\\.${path.slice(path.lastIndexOf('/') + 1)}\\.\\d+\\.tmp$`);
        return [
          writing(temporary, text),
          syncing(temporary),
          renaming(temporary, path),
          syncing(join(state, 'aside')),
        ];
      };
      const steps = inOrder(calls, [
        ...kept(`${aside}.reason`, /GITHUB_REFUSED/),
        ...kept(aside, /"poison"/),
        ...noted(refused, 'aside').map((step, index) => (index === 0 ? onlyThen(step) : step)),
      ]);
      t.strictSame(
        notOnDisk(calls, state, steps.at(-2) as SystemCall),
        [],
        'nothing else of the state either',
      );
      t.end();
    });
  },
);
