// SPDX-License-Identifier: GPL-2.0-or-later
// The packing that comes after some hundred publications, here after a few: nothing of the history is lost to
// it.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { startAgent } from '../../agents/build-logs/agent.js';
import { checkConfig } from '../../agents/build-logs/config.js';
import { GitRepository } from '../../agents/build-logs/git-repository.js';
import { readDocument } from '../../agents/shared/json-document.js';
import { until } from '../support/until.js';
import { Rig, textOf } from './rig.js';

/** The agent in this process: a setting that no configuration has can only be given to it here. */
async function startWith(
  rig: Rig,
  packEvery: number,
  report: (line: string) => void,
): Promise<{ close: () => Promise<void> }> {
  return startAgent({
    config: readDocument(
      readFileSync(join(rig.root, 'rw/config/build-infra/build-logs.json')),
      1 << 20,
      checkConfig,
    ),
    stateFolder: rig.state,
    socketFolder: join(rig.root, 'run/build-infra'),
    gnupgHome: rig.gnupg,
    sshConfig: join(rig.root, 'rw/config/build-infra/ssh_config'),
    qrexecClient: join(rig.root, 'usr/bin/qrexec-client-vm'),
    packEvery,
    report,
  });
}

const packs = (repository: string): string[] =>
  readdirSync(join(repository, 'objects/pack')).filter((name) => name.endsWith('.pack'));
const loose = (rig: Rig, repository: string): number =>
  Number((/^count: ([0-9]+)$/m.exec(rig.git(repository, 'count-objects', '-v')) as RegExpExecArray)[1]);

void t.test(
  'after the periodic repack the history still reads, and the next publications and a next start work',
  async (t) => {
    const rig = await Rig.make();
    t.teardown(() => rig.stop());
    const repository = join(rig.state, 'repository.git');
    const reported: string[] = [];
    let agent = await startWith(rig, 5, (line) => reported.push(line));
    const publish = async (): Promise<void> => {
      t.equal((await rig.ask(rig.intent())).result, 'published', reported.join('\n'));
    };
    const first = (await rig.call().end('before the first pack\n'))[0] as string;
    const seen = new Set<string>();
    // More than one repack, so that packs are joined too while intents come.
    for (let i = 0; i < 24; i++) {
      await publish();
      for (const pack of packs(repository)) seen.add(pack);
    }
    await until('there is a pack', () => packs(repository).length > 0);
    t.ok(seen.size >= 2, `${seen.size} packs were made`);
    t.ok(loose(rig, repository) < 60, `${loose(rig, repository)} loose objects of some 130 are left`);
    t.notMatch(reported.join('\n'), /git repack|publication failed/);
    rig.git(repository, 'fsck', '--full', '--strict');
    await publish();
    await agent.close();

    agent = await startWith(rig, 5, () => undefined);
    t.teardown(() => agent.close());
    t.equal(
      (await rig.ask(rig.intent({ logs: [first] }))).result,
      'published',
      'a log from before the first pack is found',
    );
    t.strictSame(textOf(rig.file(first, 'mirror')), ['before the first pack']);
    await rig.allPushed();
    for (const remote of ['origin', 'mirror'])
      t.equal(rig.checkHistory(remote), Number(rig.git(repository, 'rev-list', '--count', 'main').trim()));
  },
);

void t.test('objects that were packed under a reader which runs already are read', async (t) => {
  const rig = await Rig.make();
  t.teardown(() => rig.stop());
  const repository = await GitRepository.open(join(rig.folder, 'alone.git'));
  t.teardown(() => repository.stop());
  const written = new Map<string, string>();
  let root: string | null = null;
  let head: string | null = null;
  for (let round = 0; round < 6; round++) {
    for (let i = 0; i < 20; i++) {
      const body = `round ${round} file ${i}`;
      const { id } = repository.objects.write('blob', Buffer.from(body));
      written.set(id, body);
      root = await repository.withFiles(root, new Map([[`r${round}/f${i}`, id]]));
    }
    const commit: string = repository.objects.write(
      'commit',
      Buffer.from(
        `tree ${root}\n${head === null ? '' : `parent ${head}\n`}author a <a@b> 1 +0000\ncommitter a <a@b> 1 +0000\n\nx\n`,
      ),
    ).id;
    await repository.moveBranch(head, commit);
    head = commit;
    await repository.pack();
    const wrong = [];
    for (const [id, body] of written)
      if ((await repository.object(id, 'blob'))?.toString() !== body) wrong.push(id);
    t.strictSame(wrong, [], `round ${round}`);
  }
  t.ok(packs(repository.path).length >= 1);
  t.equal(rig.git(repository.path, 'rev-list', '--count', 'main').trim(), '6');
});
