// SPDX-License-Identifier: GPL-2.0-or-later
// The command `build-infra provision`: what it says, what it refuses, and who may run it.
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import t, { test } from 'tap';
import { planFarm } from '../../agents/local/provision/planned-farm.js';
import { provision } from '../../agents/local/provision/provision.js';
import { oneCommand } from '../support/one-command.js';
import { lay } from './provisioned-tree.js';
import { exampleFarm, exampleText, isRoot, top, workshop } from './provision-farm.js';

const cli = (args: string[], wrap: string[] = []): ReturnType<typeof spawnSync> => {
  const program = oneCommand('local/provision/main.js', 'provisionCommand', 1);
  const [first, ...rest] = [
    ...wrap,
    process.execPath,
    '--input-type=module',
    '-e',
    program,
    '--',
    ...args,
  ] as [string, ...string[]];
  return spawnSync(first, rest, { encoding: 'utf8', cwd: '/' });
};

const work = mkdtempSync(join(tmpdir(), 'bi-farm-'));
t.teardown(() => rmSync(work, { recursive: true, force: true }));
chmodSync(work, 0o755);
const farmPath = join(work, 'farm.yaml');
writeFileSync(farmPath, exampleText);

await test('the command says what changed, and ends with 1 and one line where it refuses', async (t) => {
  const { folder, dist } = workshop(t);
  const args = [
    '--pillar',
    farmPath,
    '--root',
    join(folder, 'root'),
    '--dist',
    dist,
    ...(isRoot ? [] : ['--no-owner']),
  ];
  t.match(cli([...args, '--vm', 'keys-debian']), { status: 0, stdout: /^changed: [1-9][0-9]*\n$/ });
  t.match(cli([...args, '--vm', 'keys-debian']), { status: 0, stdout: 'changed: 0\n' });
  t.match(cli([...args, '--vm', 'keys-fedora']), {
    status: 1,
    stdout: '',
    stderr: /^build-infra provision: refused UNKNOWN_VM [^\n]*\n$/,
  });
  t.match(cli([...args.slice(2), '--vm', 'keys-debian']), {
    status: 2,
    stderr: /^build-infra provision: --vm NAME|--pillar FILE/,
  });
  t.match(cli([...args, '--vm', 'keys-debian', '--frob']), { status: 2 });
  t.match(cli(['--pillar', join(folder, 'none.yaml'), '--list']), {
    status: 1,
    stdout: '',
    stderr: /^build-infra provision: refused NO_PILLAR [^\n]*\n$/,
  });
  const { vms } = planFarm({ file: farmPath });
  t.strictSame(JSON.parse(String(cli(['--pillar', farmPath, '--list']).stdout)), vms);
});

await test('a VM that the pillar does not make is refused, and a missing bundle says what to run', async (t) => {
  const { root, run } = lay(t);
  t.throws(() => run('keys-fedora'), { code: 'UNKNOWN_VM' });
  t.throws(
    () =>
      provision({ farm: exampleFarm(), vm: 'keys-debian', root, dist: join(root, 'none'), owners: isRoot }),
    { code: 'NO_SOURCE', message: /npm run bundle/ },
  );
});

await test(
  'an ordinary user is told how, and does it in a user namespace',
  { skip: isRoot && spawnSync('setpriv', ['--version']).status !== 0 ? 'needs setpriv' : false },
  async (t) => {
    const { folder, dist } = workshop(t);
    const root = join(folder, 'user/root');
    mkdirSync(dirname(root));
    chmodSync(folder, 0o755);
    const become = isRoot ? ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'] : [];
    if (isRoot) chownSync(dirname(root), 65534, 65534);
    const args = ['--pillar', farmPath, '--root', root, '--dist', dist, '--vm', 'keys-debian'];
    if (
      isRoot &&
      spawnSync(become[0] as string, [
        ...become.slice(1),
        'test',
        '-r',
        join(top, 'out/agents/local/provision/main.js'),
      ]).status !== 0
    )
      return t.comment('the checkout is not readable by others');
    t.match(cli(args, become), {
      status: 1,
      stderr: /refused NOT_ROOT .*unshare --map-root-user --map-auto/,
    });
    t.match(cli([...args, '--no-owner'], become), { status: 0, stdout: /^changed: / });
    if (isRoot) return t.comment('the user namespace is tried as an ordinary user only');
    const inNamespace = ['--map-root-user', '--map-auto'];
    // What belongs to the VM's accounts can only be removed where they are known. Runs before the workshop's
    // own.
    t.teardown(() => spawnSync('unshare', [...inNamespace, 'rm', '-rf', root]));
    const again = cli(args, ['unshare', ...inNamespace]);
    if (/unshare|newuidmap/.test(String(again.stderr)))
      return t.comment(`user namespaces are not allowed here: ${String(again.stderr).trim()}`);
    t.match(again, { status: 0 });
    const owner = execFileSync(
      'unshare',
      [...inNamespace, 'stat', '-c', '%u:%g %a', join(root, 'home/user/.gnupg')],
      { encoding: 'utf8' },
    );
    t.equal(owner, '1000:1000 700\n');
    return undefined;
  },
);
