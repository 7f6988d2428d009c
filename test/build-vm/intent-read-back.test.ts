// SPDX-License-Identifier: GPL-2.0-or-later
// What is looked at in public before a key is used: from a real repository over git. The logs VM that says
// "published" and the server are the attacker's.
import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, connect, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  KeptReadBack,
  readBackOnce,
  type Announced,
  type ReadBack,
} from '../../agents/build-vm/publication/read-back.js';
import { Forge, Keys, type TestKey, type TestRepository } from './forge.js';

const forge = new Forge();
const keys = new Keys();
await forge.start();
t.teardown(() => {
  forge.end();
  keys.end();
});
const logs = keys.make('logs');
const stranger = keys.make('stranger');
const vm = 'build-debian';
let made = 0;

/** A server's door that counts who comes, and holds back what the server says as long as it is told to. */
class Way {
  readonly server: Server;
  port = 0;
  calls = 0;
  held: (() => void)[] | undefined;

  constructor() {
    this.server = createServer((caller) => {
      this.calls++;
      const server = connect(forge.port, '127.0.0.1');
      for (const socket of [caller, server]) socket.on('error', () => undefined);
      caller.pipe(server);
      const answer = (): Socket => server.pipe(caller);
      if (this.held === undefined) answer();
      else this.held.push(answer);
    });
  }

  open(): Promise<void> {
    return new Promise((resolve) =>
      this.server.listen(0, '127.0.0.1', () => {
        this.port = (this.server.address() as { port: number }).port;
        resolve();
      }),
    );
  }

  release(): void {
    for (const answer of this.held?.splice(0) ?? []) answer();
    this.held = undefined;
  }
}

class Farm {
  readonly name = `public${++made}`;
  readonly root = join(forge.folder, `${this.name}-vm`);
  readonly repository: TestRepository = forge.create(this.name);
  readonly way = new Way();
  head: string | undefined;
  seq = 0;
  readonly raw = new Map<string, Buffer>();

  async open(test: Test): Promise<this> {
    this.repository.git(['config', 'uploadpack.allowFilter', 'true']);
    mkdirSync(join(this.root, 'rw/config/build-infra/public-keys'), { recursive: true });
    mkdirSync(join(this.root, 'var/lib/build-infra'), { recursive: true });
    writeFileSync(join(this.root, `rw/config/build-infra/public-keys/${logs.fingerprint}.asc`), logs.armored);
    await this.way.open();
    test.teardown(() => {
      this.way.server.close();
      rmSync(this.root, { recursive: true, force: true });
    });
    return this;
  }

  get publication(): { url: string; logsKey: string } {
    return { url: `git://127.0.0.1:${this.way.port}/${this.name}.git`, logsKey: logs.fingerprint };
  }

  /** A commit on the last one. @returns what an honest logs VM answers about its first document */
  commit(
    by: TestKey = logs,
    documents: readonly string[] = [randomBytes(8).toString('hex')],
    parent = this.head,
    source = vm,
  ): Announced {
    const tree = this.repository.tree([{ path: 'x', content: String(this.seq) }]);
    const hashes = documents.map((document) => ({
      sha256: createHash('sha256').update(document).digest('hex'),
      size: document.length,
    }));
    const lines = hashes
      .map(({ sha256, size }) => `file intents/${source}/2026-11-21/${sha256}.json ${size} sha256:${sha256}`)
      .sort();
    const head = [
      `tree ${tree}`,
      ...(parent === undefined || parent === '' ? [] : [`parent ${parent}`]),
      'author Logs <logs@example.org> 1700000000 +0000',
      'committer Logs <logs@example.org> 1700000000 +0000',
    ].join('\n');
    const message = `\n\nA publication\n\n${lines.join('\n')}\nseq: ${++this.seq}\n`;
    const signature = keys
      .sign([by], head + message)
      .trimEnd()
      .replaceAll('\n', '\n ');
    const commit = this.repository.git(
      ['hash-object', '-w', '--stdin', '-t', 'commit', '--literally'],
      `${head}\ngpgsig ${signature}${message}`,
    );
    const [first] = hashes as [{ sha256: string; size: number }];
    const raw = Buffer.from(`${head}\ngpgsig ${signature}${message}`);
    this.raw.set(commit, raw);
    return { commit, commits: [], source, ...first };
  }

  show(commit: string): void {
    this.head = commit;
    this.repository.git(['update-ref', 'refs/heads/main', commit]);
  }

  publish(...more: Parameters<Farm['commit']>): Announced {
    const announced = this.commit(...more);
    this.show(announced.commit);
    return announced;
  }
}

const ways: [string, (root: string) => ReadBack][] = [
  ['by an agent that stays', (root) => new KeptReadBack(root)],
  ['by a client alone', readBackOnce],
];
for (const [way, make] of ways)
  await t.test(way, async (t) => {
    const farm = await new Farm().open(t);
    const readBack = make(farm.root);
    const demand = (announced: Announced): Promise<void> => readBack.demand(farm.publication, announced);
    const first = farm.publish();

    await t.test('what is in public is seen: as the head, further back, and one of many', async (t) => {
      await t.resolves(demand(first));
      const second = farm.publish();
      await t.resolves(demand(second));
      await t.resolves(demand(first));
      const documents = ['one', 'two', 'three'];
      await t.resolves(demand(farm.publish(logs, documents)));
      for (let i = 0; i < 5; i++) farm.publish();
      await t.resolves(demand(second));
    });

    const lies: [string, () => Announced, string, RegExp][] = [
      [
        'a commit that was made and is on no remote that this VM asks',
        () => farm.commit(),
        'PUBLICATION_NOT_SEEN',
        /does not show commit/,
      ],
      [
        'a commit beside the history',
        () => farm.commit(logs, ['beside'], first.commit),
        'PUBLICATION_NOT_SEEN',
        /does not show commit/,
      ],
      [
        'a commit that nobody ever made',
        () => ({ ...first, commit: '0123456789'.repeat(4) }),
        'PUBLICATION_NOT_SEEN',
        /does not show commit/,
      ],
      ['no commit', () => ({ ...first, commit: '--all' }), 'PUBLICATION_NOT_SEEN', /does not show commit/],
      [
        'a commit that publishes another document',
        () => ({ ...farm.publish(), sha256: first.sha256 }),
        'PUBLICATION_NOT_SEEN',
        /does not publish this intent/,
      ],
      [
        'a commit from before, with other documents',
        () => ({ ...farm.publish(), commit: first.commit }),
        'PUBLICATION_NOT_SEEN',
        /does not publish this intent/,
      ],
      [
        'another size',
        () => ({ ...farm.publish(), size: 1 }),
        'PUBLICATION_NOT_SEEN',
        /does not publish this intent/,
      ],
      [
        'the intent of another VM',
        () => ({ ...farm.publish(logs, ['theirs'], farm.head, 'build-fedora'), source: vm }),
        'PUBLICATION_NOT_SEEN',
        /does not publish this intent/,
      ],
    ];
    for (const [what, lie, code, words] of lies) {
      await t.test(`refused: ${what}`, async (t) => {
        await t.rejects(demand(lie()), { code, detail: words });
        await t.resolves(demand(farm.publish()), 'and the next honest one is seen');
      });
    }

    await t.test('refused: a history that the logs key did not sign, in front or below', async (t) => {
      const good = farm.head as string;
      await t.rejects(demand(farm.publish(stranger)), { code: 'BAD_RECORD' }, 'as the head');
      const below = farm.commit(stranger, ['below'], good);
      await t.rejects(demand({ ...below, commit: (farm.show(below.commit), below.commit) }), {
        code: 'BAD_RECORD',
      });
      farm.publish();
      await t.rejects(demand(below), { code: 'BAD_RECORD' }, 'below a good one');
      farm.show(good);
      // What was fetched was signed, and is no part of it now.
      if (way === 'by a client alone') await t.resolves(demand(farm.publish()));
    });

    await t.test('refused: a remote that is away', async (t) => {
      const other = await new Farm().open(t);
      const announced = other.publish();
      await t.resolves(make(other.root).demand(other.publication, announced));
      const away = `${other.repository.folder}.away`;
      other.repository.moveTo(away);
      await t.rejects(make(other.root).demand(other.publication, announced), {
        code: 'PUBLICATION_NOT_SEEN',
        detail: /cannot be read/,
      });
      other.repository.moveTo(away.replace(/\.away$/, ''));
      await t.resolves(make(other.root).demand(other.publication, announced));
    });

    await t.test('refused: a logs key that is not here, or another one under its name', async (t) => {
      const other = await new Farm().open(t);
      const announced = other.publish();
      await t.rejects(
        async () => make(other.root).demand({ ...other.publication, logsKey: 'A'.repeat(40) }, announced),
        { code: 'NO_PUBLIC_KEY' },
      );
      writeFileSync(
        join(other.root, `rw/config/build-infra/public-keys/${logs.fingerprint}.asc`),
        stranger.armored,
      );
      await t.rejects(make(other.root).demand(other.publication, announced), { code: 'BAD_RECORD' });
    });
  });

await t.test('one fetch serves all who wait, and none that began before the answer', async (t) => {
  const farm = await new Farm().open(t);
  const readBack = new KeptReadBack(farm.root);
  const demand = (announced: Announced): Promise<void> => readBack.demand(farm.publication, announced);
  await demand(farm.publish());
  const warm = farm.way.calls;
  const fifty = Array.from({ length: 50 }, (_, i) => (i % 10 === 0 ? farm.publish() : undefined)).filter(
    (one) => one !== undefined,
  );
  await Promise.all(Array.from({ length: 50 }, (_, i) => demand(fifty[i % fifty.length] as Announced)));
  // The first one begins a fetch at once, and all who came after that share the next.
  t.equal(farm.way.calls - warm, 2);

  const before = farm.way.calls;
  farm.way.held = [];
  const early = demand(farm.publish());
  while (farm.way.held.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  // The server has read its branch or will yet: either way this one is not served by that fetch.
  await new Promise((resolve) => setTimeout(resolve, 200));
  const late = [farm.publish(), farm.publish(), farm.publish()].map(demand);
  farm.way.release();
  await Promise.all([early, ...late]);
  t.equal(farm.way.calls - before, 2);
});

await t.test(
  'with the commits that the logs VM hands out nothing is fetched, and they prove nothing',
  async (t) => {
    const farm = await new Farm().open(t);
    const kept = new KeptReadBack(farm.root);
    const copy = join(farm.root, 'var/lib/build-infra/record.git');
    const demand = (announced: Announced): Promise<void> => kept.demand(farm.publication, announced);
    const told = (announced: Announced, ...more: string[]): Announced => ({
      ...announced,
      commits: [announced.commit, ...more].map((commit) => farm.raw.get(commit) as Buffer),
    });
    /** @returns whether it was seen without a fetch, which would have brought it into the copy */
    const cheaply = async (announced: Announced): Promise<boolean> => {
      const calls = farm.way.calls;
      await demand(announced);
      const fetched =
        spawnSync('git', ['--git-dir', copy, 'cat-file', '-e', announced.commit], {
          env: { ...process.env, GIT_ALLOW_PROTOCOL: 'none' },
        }).status === 0;
      return farm.way.calls - calls === 1 && !fetched;
    };
    await demand(farm.publish());
    t.equal(await cheaply(told(farm.publish())), true);
    t.equal(await cheaply(told(farm.publish())), true, 'on top of one that was never fetched');
    const between = farm.publish();
    t.equal(await cheaply(told(farm.publish(), between.commit)), true, 'two further on');
    farm.publish();
    t.equal(await cheaply(told(farm.publish())), false, 'one in between is not handed out');
    const earlier = farm.publish();
    farm.publish();
    t.equal(await cheaply(told(earlier)), false, 'the remote has gone on');
    const many = [farm.publish(), farm.publish()].map((one) => told(one));
    await Promise.all(many.map(demand));

    const head = farm.head as string;
    const lies: [string, () => Announced, string][] = [
      ['one that is nowhere', () => told(farm.commit()), 'PUBLICATION_NOT_SEEN'],
      ['one below which the head stands', () => told(farm.commit(), head), 'PUBLICATION_NOT_SEEN'],
      [
        'other bytes for the head',
        () => ({
          ...farm.publish(),
          commits: [Buffer.from('x'), farm.raw.get(head) as Buffer],
          sha256: 'a'.repeat(64),
        }),
        'PUBLICATION_NOT_SEEN',
      ],
      [
        'the head, with another document',
        () => ({ ...told(farm.publish()), sha256: 'a'.repeat(64) }),
        'PUBLICATION_NOT_SEEN',
      ],
      [
        'one from before, with the head',
        () => ({ ...told(farm.publish()), commit: head }),
        'PUBLICATION_NOT_SEEN',
      ],
      ["a stranger's head", () => told(farm.publish(stranger)), 'BAD_RECORD'],
      [
        'a history beside ours',
        () => told(farm.publish(logs, ['beside'], between.commit), between.commit),
        'RECORD_REWRITTEN',
      ],
      ['a history without ours', () => told(farm.publish(logs, ['alone'], '')), 'RECORD_REWRITTEN'],
      ['one that was the head', () => (farm.show(between.commit), told(between)), 'RECORD_REWRITTEN'],
    ];
    for (const [what, lie, code] of lies) {
      const good = farm.head as string;
      await t.rejects(demand(lie()), { code }, what);
      if (code !== 'PUBLICATION_NOT_SEEN') farm.show(good);
      await t.resolves(demand(told(between)), `and honest ones are seen after ${what}`);
    }

    farm.way.held = [];
    const early = demand(told(farm.publish()));
    while (farm.way.held.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    await new Promise((resolve) => setTimeout(resolve, 200));
    const calls = farm.way.calls;
    const late = demand(told(farm.publish()));
    farm.way.release();
    await Promise.all([early, late]);
    t.ok(farm.way.calls - calls >= 1, 'a look from before does not count');
    await t.resolves(
      new KeptReadBack(farm.root).demand(farm.publication, told(farm.publish())),
      'after a restart',
    );
  },
);

await t.test(
  'a history that was put in the place of another is refused, at once and after a restart',
  async (t) => {
    const farm = await new Farm().open(t);
    const kept = new KeptReadBack(farm.root);
    const first = farm.publish();
    const second = farm.publish();
    await kept.demand(farm.publication, second);
    // What was seen is noted beside the next fetch.
    await kept.demand(farm.publication, second);
    const other = farm.commit(logs, ['other'], first.commit);
    farm.show(other.commit);
    for (const readBack of [kept, kept, new KeptReadBack(farm.root)])
      await t.rejects(readBack.demand(farm.publication, other), { code: 'RECORD_REWRITTEN' });
    farm.show(first.commit);
    await t.rejects(kept.demand(farm.publication, first), { code: 'RECORD_REWRITTEN' }, 'cut short');
    farm.show(second.commit);
    await t.resolves(kept.demand(farm.publication, farm.publish()));
  },
);

await t.test('a copy that is broken is made anew', async (t) => {
  const farm = await new Farm().open(t);
  const readBack = new KeptReadBack(farm.root);
  await readBack.demand(farm.publication, farm.publish());
  const folder = join(farm.root, 'var/lib/build-infra/record.git');
  for (const name of readdirSync(join(folder, 'objects/pack')))
    writeFileSync(join(folder, 'objects/pack', name), 'not a pack');
  await t.resolves(readBack.demand(farm.publication, farm.publish()));
  writeFileSync(join(folder, 'refs/build-infra/fetched.lock'), '');
  await t.resolves(readBack.demand(farm.publication, farm.publish()));
  rmSync(folder, { recursive: true });
  await t.resolves(readBack.demand(farm.publication, farm.publish()));
});
