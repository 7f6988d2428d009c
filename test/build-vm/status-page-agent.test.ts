// SPDX-License-Identifier: GPL-2.0-or-later
// The real agent and its page: what a poll found is shown on the web root, and a web root that is gone keeps
// nothing from going on.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { FarmStatus } from '../../agents/build-vm/status-page/farm-status.js';
import { until } from '../support/until.js';
import { BuildVm, endOutside, makeOutside } from './build-vm.js';
import { tinyPackage } from './forge.js';

const outside = await makeOutside();
t.teardown(() => endOutside(outside));

async function shown(
  where: () => Promise<string>,
  what: (status: FarmStatus) => boolean,
): Promise<FarmStatus> {
  for (
    const end = Date.now() + 60_000;
    Date.now() < end;
    await new Promise((resolve) => setTimeout(resolve, 100))
  ) {
    const text = await where().catch(() => '');
    const status = text === '' ? undefined : (JSON.parse(text) as FarmStatus);
    if (status !== undefined && what(status)) return status;
  }
  throw new Error(`the page does not say so: ${await where().catch(String)}`);
}

void t.test(
  'what a poll saw and what became of it is on the web root, without anybody telling',
  async (t) => {
    const { apt, forge, keys, alice } = outside;
    const repository = forge.create('seen');
    repository.release(keys, [alice], 'v1.0-1', tinyPackage('1.0-1'));
    repository.git(['tag', 'v1.1-1', 'v1.0-1^{commit}']);
    const vm = new BuildVm(outside, 'seen', {
      pollSeconds: 1,
      statusPage: {
        upload: `ssh://127.0.0.1:${apt.sshPort}${apt.folder}/status`,
        url: `http://127.0.0.1:${apt.httpPort}/status`,
      },
    });
    t.teardown(() => vm.end());
    await vm.start();
    const online = async (): Promise<string> => {
      const answer = await fetch(`http://127.0.0.1:${apt.httpPort}/status/status.json`);
      return answer.ok ? await answer.text() : '';
    };
    const status = await shown(
      online,
      ({ components }) => components[0]?.newestTag?.tag === 'v1.1-1' && components[0].jobs === 1,
    );
    t.match(status.components[0], {
      name: 'hello-tiny',
      newestTag: { annotated: false, built: false, reason: { code: 'NOT_ANNOTATED' } },
      dists: [{ dist: 'bookworm', newest: { version: '1.0-1' } }],
    });
    t.equal(
      readFileSync(
        join(vm.root, 'var/lib/build-infra/status-page/current/components/hello-tiny/badge.svg'),
        'utf8',
      ).includes('hello-tiny'),
      true,
    );
  },
);

void t.test(
  'a web root that cannot be reached is said once, and the tag is fetched and the page made all the same',
  async (t) => {
    const repository = outside.forge.create('alone');
    repository.release(outside.keys, [outside.keys.make('mallory')], 'v1.0-1', tinyPackage('1.0-1'));
    const vm = new BuildVm(outside, 'alone', {
      statusPage: { upload: 'ssh://127.0.0.1:1/srv/status', url: 'http://127.0.0.1:1/status' },
    });
    t.teardown(() => vm.end());
    await vm.start();
    const id = (await vm.trigger()).split(' ')[1] as string;
    t.match(await vm.over(id, 60), { state: 'refused', reason: { code: 'UNKNOWN_SIGNER' } });
    const here = async (): Promise<string> =>
      readFileSync(join(vm.root, 'var/lib/build-infra/status-page/current/status.json'), 'utf8');
    t.match(
      (await shown(here, ({ components }) => components[0]?.newestTag?.reason?.code === 'UNKNOWN_SIGNER'))
        .components[0]?.dists,
      [{ newest: { state: 'refused', stage: 'fetch' } }],
    );
    await until('the complaint', () => vm.output.includes('status page: not uploaded'));
    t.equal(vm.output.split('status page: ').length, 2, vm.output);
    t.match(
      vm.output,
      /status page: not uploaded, and tried again quietly: refused UPLOAD_FAILED upload: make [^\n]*Connection refused/,
    );
  },
);
