// SPDX-License-Identifier: GPL-2.0-or-later
// Publications, promotions and withdrawals while the configuration changes, jobs are given up and connections
// break: what the public repository offers is what the job documents say, and what was withdrawn is gone. The
// engine is a small one, the rest is real.
import {
  chmodSync,
  existsSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import t, { type Test } from 'tap';
import { until } from '../support/until.js';
import { BuildVm, endOutside, makeOutside, type Outside } from './build-vm.js';
import { tinyPackage, type TestRepository } from './forge.js';
import { plainEngine } from './plain-engine.js';

const needsRoot = process.getuid?.() === 0 ? {} : { skip: 'wants root' };
const outside = await makeOutside();
t.teardown(() => endOutside(outside));
const bob = outside.keys.make('bob');

const people = [
  {
    name: 'alice',
    fingerprint: outside.alice.fingerprint,
    verbs: ['Upload-component', 'Retry'],
    components: 'all',
    distributions: 'all',
    repositories: ['current', 'security-testing'],
    templates: 'all',
  },
];
const commands = { releases: ['r4.3'], windowSeconds: 86_400, distributionWords: [], people };

class SuiteVm extends BuildVm {
  readonly name: string;

  constructor(outside: Outside, name: string, dists: readonly string[]) {
    const component = (repository: string): object => ({
      name: repository,
      url: outside.forge.url(repository),
      tag: 'v{version}',
      maintainers: [{ name: 'alice', fingerprint: outside.alice.fingerprint }],
      requiredSignatures: 1,
    });
    super(outside, name, {
      commands,
      components: [name, `${name}-second`].map(component),
      distributions: dists.map((dist) => ({ name: dist, engine: 'plain', packages: 'deb' })),
    });
    this.name = name;
    const engine = join(this.root, '/usr/lib/build-infra/engines/plain');
    writeFileSync(
      engine,
      plainEngine(
        `[ ! -e '${this.root}/fail-'$dist ]; while [ -e '${this.root}/hold-'$dist ]; do sleep 0.05; done`,
      ),
    );
    chmodSync(engine, 0o755);
  }

  override get config(): Record<string, unknown> & {
    components: { maintainers: object[] }[];
    apt: { url: string };
  } {
    return super.config as never;
  }

  async restart(change: Record<string, unknown> = {}): Promise<void> {
    await this.kill();
    this.reconfigure(change);
    await this.start();
  }

  /** The answer to a line of a person in the VM. */
  async order(line: string): Promise<string> {
    const spool = join(this.root, '/var/lib/build-infra/spool');
    const name = `order-${Math.random().toString(16).slice(2)}`;
    writeFileSync(join(spool, `.${name}`), `${line}\n`);
    renameSync(join(spool, `.${name}`), join(spool, `${name}.cmd`));
    return await until(`the answer to ${line}`, () =>
      existsSync(join(spool, 'answers', `${name}.answer`))
        ? readFileSync(join(spool, 'answers', `${name}.answer`), 'utf8').trim()
        : undefined,
    );
  }

  async build(component: string): Promise<string> {
    return (await this.trigger(component)).split(' ')[1] as string;
  }

  ssh(works: boolean): void {
    writeFileSync(
      join(this.root, '/rw/config/build-infra/ssh_config'),
      `${outside.apt.sshConfig()}${works ? '' : '  ProxyCommand false\n'}`,
    );
  }

  /** Source packages and versions that the public repository offers in any suite of a distribution. */
  offered(dist = 'bookworm'): string[] {
    const top = join(outside.apt.folder, this.name, dist, 'dists');
    if (!existsSync(top)) return [];
    const text = ['current-testing', 'current', 'security-testing']
      .map((suite) =>
        gunzipSync(readFileSync(join(top, `${dist}-${suite}`, 'main/source/Sources.gz'))).toString(),
      )
      .join('\n');
    return [
      ...new Set(
        text
          .split('\n\n')
          .flatMap((part) =>
            /^Package: (.*)$/m.test(part)
              ? [`${/^Package: (.*)$/m.exec(part)?.[1]} ${/^Version: (.*)$/m.exec(part)?.[1]}`]
              : [],
          ),
      ),
    ].sort();
  }
}

interface Stand {
  vm: SuiteVm;
  release: (component: string, version: string) => string;
}

function stand(t: Test, name: string, dists: readonly string[] = ['bookworm']): Stand {
  const repositories = new Map<string, TestRepository>(
    [name, `${name}-second`].map((one) => [one, outside.forge.create(one)]),
  );
  const vm = new SuiteVm(outside, name, dists);
  t.teardown(() => vm.end());
  const tree = (component: string, version: string): ReturnType<typeof tinyPackage> =>
    tinyPackage(version).map((file) =>
      file.path.startsWith('debian/') && file.content !== undefined
        ? { ...file, content: file.content.replaceAll(/hello-tiny(?!\.sh)/g, component) }
        : file,
    );
  return {
    vm,
    release: (component, version) =>
      (repositories.get(component) as TestRepository).release(
        outside.keys,
        [outside.alice],
        `v${version}`,
        tree(component, version),
      ).commit,
  };
}

const queued = (answer: string): string => {
  if (!answer.startsWith('queued ')) throw new Error(answer);
  return answer.slice('queued '.length);
};

void t.test(
  'after a change of maintainers promotions go on, and after a component is gone its versions can be withdrawn',
  needsRoot,
  async (t) => {
    const { vm, release } = stand(t, 'moved');
    const commit = release('moved', '1.0-1');
    await vm.start();
    t.match(await vm.over(await vm.build('moved')), { state: 'done' });
    const [own, second] = vm.config.components;
    await vm.restart({
      components: [
        { ...own, maintainers: [...(own?.maintainers ?? []), { name: 'bob', fingerprint: bob.fingerprint }] },
        second,
      ],
    });
    const comment = outside.keys
      .gpg(
        ['--clearsign', '--local-user', outside.alice.fingerprint],
        `Upload-component r4.3 moved ${commit} security-testing all\n`,
      )
      .toString();
    const promotion = await vm.over((await vm.command(comment)).slice('accepted '.length));
    t.match(promotion, { kind: 'promotion', state: 'done' }, vm.receiver.text().slice(-2000));
    await vm.restart({ components: [second] });
    t.match(
      await vm.over(queued(await vm.order('withdraw moved 1.0-1'))),
      { kind: 'withdrawal', state: 'done', reason: null },
      vm.receiver.text().slice(-2000),
    );
    t.strictSame(vm.offered(), []);
  },
);

void t.test(
  'what failed for one distribution does not come after the version was withdrawn, though it is retried',
  needsRoot,
  async (t) => {
    const { vm, release } = stand(t, 'forgood', ['bookworm', 'trixie']);
    release('forgood', '1.0-1');
    writeFileSync(join(vm.root, 'fail-trixie'), '');
    await vm.start();
    const id = await vm.build('forgood');
    t.match(
      await vm.over(id),
      { state: 'failed', uploaded: [{ dist: 'bookworm' }] },
      vm.receiver.text().slice(-3000),
    );
    t.match(await vm.over(queued(await vm.order('withdraw forgood 1.0-1'))), { state: 'done' });
    renameSync(join(vm.root, 'fail-trixie'), join(vm.root, 'no-more'));
    t.equal(await vm.order(`retry ${id}`), `queued ${id}`);
    const again = await until(
      'the end of the retry',
      () => (vm.job(id)?.ended !== null && vm.job(id)?.state !== 'queued' ? vm.job(id) : undefined),
      120,
    );
    t.match(again, { reasons: [{ dist: 'trixie', code: 'WITHDRAWN' }] });
    t.strictSame([vm.offered('bookworm'), vm.offered('trixie')], [[], []]);
  },
);

void t.test(
  'withdrawn while another distribution still builds, it is gone where it was and does not come where it was not',
  needsRoot,
  async (t) => {
    const { vm, release } = stand(t, 'halfway', ['bookworm', 'trixie']);
    release('halfway', '1.0-1');
    writeFileSync(join(vm.root, 'hold-trixie'), '');
    await vm.start();
    const id = await vm.build('halfway');
    await until('bookworm to be published', () => vm.job(id)?.uploaded.length === 1, 120);
    const withdrawal = queued(await vm.order('withdraw halfway 1.0-1'));
    t.match(await vm.over(withdrawal), { state: 'done', dists: ['bookworm', 'trixie'] });
    t.strictSame(vm.offered('bookworm'), []);
    renameSync(join(vm.root, 'hold-trixie'), join(vm.root, 'no-more'));
    t.match(await vm.over(id), {
      state: 'refused',
      reasons: [{ stage: 'sign', dist: 'trixie', code: 'WITHDRAWN' }],
    });
    t.strictSame(vm.offered('trixie'), []);
  },
);

void t.test(
  'on a disk without the repository a withdrawal does not say that it is done',
  needsRoot,
  async (t) => {
    const { vm, release } = stand(t, 'lost');
    release('lost', '1.0-1');
    await vm.start();
    t.match(await vm.over(await vm.build('lost')), { state: 'done' });
    renameSync(join(vm.root, '/var/lib/build-infra/apt'), join(vm.root, 'elsewhere'));
    await vm.restart();
    t.match(await vm.over(queued(await vm.order('withdraw lost 1.0-1'))), {
      state: 'refused',
      reason: { code: 'REPOSITORY_LOST' },
    });
    t.strictSame(vm.offered(), ['lost 1.0-1']);
    await vm.kill();
    rmSync(join(vm.root, '/var/lib/build-infra/apt'), { recursive: true });
    renameSync(join(vm.root, 'elsewhere'), join(vm.root, '/var/lib/build-infra/apt'));
    await vm.start();
    t.match(
      await vm.over(queued(await vm.order('withdraw lost 1.0-1'))),
      { state: 'done' },
      'when it is back it is done',
    );
    t.strictSame(vm.offered(), []);
  },
);

void t.test(
  'what a job signed and never brought to the server does not go out with the next upload',
  needsRoot,
  async (t) => {
    const { vm, release } = stand(t, 'givenup');
    release('givenup', '1.0-1');
    release('givenup-second', '1.0-1');
    vm.ssh(false);
    await vm.start();
    const first = await vm.build('givenup');
    await until('the upload to fail', () => vm.job(first)?.waiting[0]?.code === 'UPLOAD_FAILED', 120);
    const [own, second] = vm.config.components;
    vm.ssh(true);
    await vm.restart({
      components: [
        { ...own, maintainers: [...(own?.maintainers ?? []), { name: 'bob', fingerprint: bob.fingerprint }] },
        second,
      ],
    });
    t.match(await vm.over(first), { state: 'refused', reason: { code: 'CONFIG_CHANGED' }, uploaded: [] });
    t.match(await vm.over(await vm.build('givenup-second')), { state: 'done' });
    t.strictSame(vm.offered(), ['givenup-second 1.0-1']);
  },
);

void t.test(
  "what was switched and not read back is in the job's document, and can be withdrawn",
  needsRoot,
  async (t) => {
    const { vm, release } = stand(t, 'unread');
    release('unread', '1.0-1');
    const { apt } = vm.config;
    vm.reconfigure({ apt: { ...apt, url: apt.url.replace(/:[0-9]+/, ':9') } });
    await vm.start();
    const id = await vm.build('unread');
    await until('the reading back to fail', () => vm.job(id)?.waiting[0]?.code === 'READ_BACK_FAILED', 120);
    t.strictSame(vm.offered(), ['unread 1.0-1'], 'the world sees it already');
    await vm.restart({ apt });
    t.match(await vm.over(id), { state: 'refused', reason: { code: 'CONFIG_CHANGED' }, uploaded: [] });
    t.match(vm.job(id), { switched: [{ dist: 'bookworm', suite: 'bookworm-current-testing', files: [{}] }] });
    t.match(await vm.trigger('unread'), /^refused ROLLBACK /, 'what may be public is not built again');
    t.match(
      await vm.over(queued(await vm.order('withdraw unread 1.0-1'))),
      { state: 'done' },
      vm.receiver.text().slice(-2000),
    );
    t.strictSame(vm.offered(), []);
  },
);

void t.test(
  'a connection that breaks just after the switch leaves nobody in doubt: the server is asked before the next change',
  needsRoot,
  async (t) => {
    const { vm, release } = stand(t, 'doubt');
    release('doubt', '1.0-1');
    release('doubt-second', '1.0-1');
    const link = join(outside.apt.folder, 'doubt/bookworm');
    // What ssh talks through: once the link is another, nothing comes back any more.
    const door = join(vm.root, 'door.mjs');
    writeFileSync(
      door,
      `import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import { connect } from 'node:net';
const link = () => (existsSync('${link}') ? readlinkSync('${link}') : '');
const far = connect(Number(process.argv[2]), '127.0.0.1');
process.stdin.pipe(far);
far.on('data', (data) => setTimeout(() => process.stdout.write(data), 60));
setInterval(() => link() !== readFileSync('${vm.root}/link-before', 'utf8') && process.exit(1), 2);
`,
    );
    const breakAfterSwitch = (): void => {
      writeFileSync(join(vm.root, 'link-before'), existsSync(link) ? readlinkSync(link) : '');
      writeFileSync(
        join(vm.root, '/rw/config/build-infra/ssh_config'),
        `${outside.apt.sshConfig()}  ProxyCommand ${process.execPath} ${door} %p\n`,
      );
    };
    breakAfterSwitch();
    await vm.start();
    const first = await vm.build('doubt');
    await until(
      'the upload to fail',
      () => vm.job(first)?.waiting[0]?.code === 'UPLOAD_FAILED' && existsSync(link),
      120,
    );
    t.strictSame(vm.offered(), ['doubt 1.0-1']);
    const before = readlinkSync(link);
    const [own, second] = vm.config.components;
    vm.ssh(true);
    await vm.restart({
      components: [
        { ...own, maintainers: [...(own?.maintainers ?? []), { name: 'bob', fingerprint: bob.fingerprint }] },
        second,
      ],
    });
    t.match(await vm.over(first), {
      state: 'refused',
      reason: { code: 'CONFIG_CHANGED' },
      uploaded: [],
      switched: [{ dist: 'bookworm', release: before.split('/')[1] }],
    });
    t.match(await vm.over(await vm.build('doubt-second')), { state: 'done' });
    t.strictSame(
      vm.offered(),
      ['doubt 1.0-1', 'doubt-second 1.0-1'],
      'what the world has seen does not vanish by itself',
    );
    breakAfterSwitch();
    const withdrawal = queued(await vm.order('withdraw doubt 1.0-1'));
    await until('its upload to fail', () => vm.job(withdrawal)?.waiting[0]?.code === 'UPLOAD_FAILED', 120);
    t.strictSame(vm.offered(), ['doubt-second 1.0-1']);
    await vm.kill();
    vm.ssh(true);
    await vm.start();
    t.match(await vm.over(withdrawal), { state: 'done' }, 'the same job just goes on');
    t.strictSame(vm.offered(), ['doubt-second 1.0-1']);
  },
);
