// SPDX-License-Identifier: GPL-2.0-or-later
// The release team's day as `npm run local -- demo-promotion` shows it, on a farm that has nothing yet but
// clean chroots; and that what it says is so.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import t from 'tap';
import { LocalState } from '../../agents/local/farm/local-state.js';
import { giveChroots } from '../support/clean-chroots.js';
import { localCommand } from '../support/local-command.js';

const { folder, local } = localCommand(t, 'team-');
const state = new LocalState(folder);
giveChroots(state);

/** What stayed on the screen of the step whose title begins so. */
function step(out: string, title: string): string {
  const lines = out.split('\n');
  const start = lines.findIndex((line) => new RegExp(`^✓ \\d\\d:\\d\\d ${title}`).test(line));
  const rest = start < 0 ? [] : lines.slice(start + 1);
  return rest
    .slice(
      0,
      rest.findIndex((line) => !line.startsWith('        ')),
    )
    .map((line) => line.slice(8))
    .join('\n');
}

await t.test(
  'from a signed tag to current by one signed comment, and what nobody gets through',
  async (t) => {
    const { status, out } = await local('demo-promotion');
    if (status !== 0) return t.fail(out.slice(-5000));
    const [own] = (await state.settings()).dists as [string];
    const word = `vm-${own}`;

    const before = step(out, 'What everybody sees before');
    t.match(before, new RegExp(`status page: hello ${own} \\| .*current-testing: \\S+ .*\\| current: – `));
    t.match(before, new RegExp(`labels: +.*r4\\.3-${word}-cur-test`));
    t.notMatch(before, /-stable/);
    const command = /offers to sign: (Upload-component r4\.3 hello [0-9a-f]{40} current) /.exec(
      before,
    )?.[1] as string;
    t.ok(command, 'the issue says what to sign');

    t.match(step(out, 'Too early'), /refused TOO_YOUNG in current-testing for 0\.00 days; 5 are needed/);
    t.match(step(out, 'The pillar again, with no days'), /min-age-days: 0, for this demonstration only/);
    t.match(
      step(out, 'Alice signs it anew'),
      new RegExp(`"${command} ${word}": accepted promotion-hello-[\\s\\S]*the job: +done`),
    );

    const after = step(out, 'What everybody sees after');
    t.match(after, /\| current: \d\S+ /);
    t.match(after, new RegExp(`labels: +.*r4\\.3-${word}-stable`));
    t.notMatch(after, new RegExp(`r4\\.3-${word}-cur-test`));
    t.match(after, /build-bot: .*uploaded/i);
    t.match(
      after,
      /build-bot: Package .* was refused for `current` and stays where it was .*Reason: `TOO_YOUNG`/,
    );
    t.match(after, /[1-9]\d* links to logs in the comments lead to published logs/);
    t.match(step(out, 'Install it as a visitor'), new RegExp(`installed hello=\\S+ from ${own}-current: `));

    t.match(
      step(out, 'The same comment once more'),
      /journal: command of alice, .*COMMAND_USED[\s\S]*answer to sys-net: +refused COMMAND_USED/,
    );
    t.match(
      step(out, 'The same line signed by bob'),
      /bob may not say Upload-component[\s\S]*answer to sys-net: +refused NOT_ALLOWED/,
    );
    t.match(step(out, 'The same line signed by a stranger'), /answer to sys-net: +refused BAD_COMMAND/);
    t.match(
      step(out, 'A fault is found'),
      /^queued withdrawal-hello-[\s\S]*newest: .* \| current-testing: – \| current: –/,
    );
    t.match(
      step(out, 'Its old command'),
      new RegExp(`"${command} ${word}": refused WITHDRAWN [\\s\\S]*answer to sys-net: +refused WITHDRAWN`),
    );
    t.match(out, /ok +every signature in the APT repositor/);
    t.match(out, /was built, promoted, installed from current, withdrawn, and kept out/);
  },
);

await t.test(
  'afterwards packages wait five days again, and what was withdrawn is offered by no suite',
  async (t) => {
    t.match(readFileSync(join(folder, 'pillar.yaml'), 'utf8'), /min-age-days: 5\n/);
    const version = /done +withdrawal-hello-(\S+)-[0-9a-f]{12}/.exec(
      (await local('status')).out,
    )?.[1] as string;
    t.ok(version);
    const settings = await state.settings();
    for (const own of settings.dists) {
      for (const suite of ['current-testing', 'current', 'security-testing']) {
        const answer = await fetch(
          `http://127.0.0.1:${settings.ports.http}/debian/${own}/dists/${own}-${suite}/main/source/Sources.gz`,
        );
        t.equal(answer.status, 200);
        t.notMatch(gunzipSync(Buffer.from(await answer.arrayBuffer())).toString(), `Version: ${version}\n`);
      }
    }
  },
);
