// SPDX-License-Identifier: GPL-2.0-or-later
// P1: the build VM holds no signing key and can never read one. The attacker is root in build-debian.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { standFarm } from './standing-farm.js';

await t.test('root in the build VM finds no secret key, and no way to another VM', async (t) => {
  const { build, keys, state } = await standFarm(t);
  const secret = readdirSync(join(state.rootOf('keys-debian'), 'home/user/.gnupg/private-keys-v1.d'));
  t.equal(secret.length, 1, 'the keys VM has one secret key');
  const root = async (script: string): Promise<string> =>
    (await build.run(['sh', '-c', script], { user: 'root' })).stdout.trim();

  t.equal(
    await root(`find / -xdev -path /proc -prune -o -name '${secret[0]}' -print 2>/dev/null`),
    '',
    'its file is nowhere',
  );
  t.equal(
    await root('find / -xdev -path /proc -prune -o -path "*private-keys-v1.d/*.key" -print 2>/dev/null'),
    '',
    'there is no other secret key',
  );
  t.equal(await root(`ls -d ${state.folder} 2>/dev/null`), '', 'the folder that holds the VMs is not there');
  t.equal(
    await root(
      'for p in /proc/[0-9]*; do cat $p/cmdline 2>/dev/null | tr "\\0" " "; echo; done | grep -c "keys[-]agent" || true',
    ),
    '0',
    'the keys agent is not among its processes',
  );
  t.match(await root('cat /rw/config/build-infra/public-keys/*.asc'), /BEGIN PGP PUBLIC KEY BLOCK/);
  t.notMatch(await root('cat /rw/config/build-infra/public-keys/*.asc'), /PRIVATE/);
  const interfaces = (await keys.run(['cut', '-d:', '-f1', '-s', '/proc/net/dev'])).stdout
    .split(/\s+/)
    .filter((name) => name !== '' && name !== 'lo');
  t.strictSame(interfaces, [], 'the keys VM has no network interface but its own loopback');
});

await t.test('the gate hands out no secret key and decrypts nothing', async (t) => {
  const { build, signingKey } = await standFarm(t);
  const ask = async (args: string[]): Promise<{ status: number; stdout: string; stderr: string }> => {
    const script = `import os,struct,subprocess,sys
args = sys.argv[1:]
area = b'\\0' + b''.join(a.encode() + b'\\0' for a in args)
p = subprocess.Popen(['/usr/bin/qrexec-client-vm', '@default', 'qubes.Gpg'], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
p.stdin.write(struct.pack('<I', len(area) - 1) + area.ljust(1024, b'\\0') + struct.pack('<iI', 0, 0)); p.stdin.flush()
status = None
while status is None:
    head = p.stdout.read(8)
    if len(head) < 8: sys.exit(99)
    fd, size = struct.unpack('<iI', head)
    if fd < 0: status = -(fd + 1)
    elif size: os.write(1 if fd == 0 else 2, p.stdout.read(size))
p.stdin.close()
sys.exit(status)
`;
    return await build.run(['python3', '-c', script, ...args]);
  };
  const listed = await ask(['--list-secret-keys', '--with-colons']);
  t.equal(listed.status, 0, 'listing works, so the wire does');
  t.match(listed.stdout, signingKey);
  for (const args of [
    ['--export-secret-keys', signingKey],
    ['--export-secret-subkeys', signingKey],
    ['--decrypt', '-'],
    ['--symmetric', '-'],
    ['--sign', '-u', signingKey],
    ['--encrypt', '-r', signingKey],
    ['--export-ownertrust'],
    ['--import'],
    ['--homedir', '/tmp', '-b'],
  ]) {
    const answer = await ask(args);
    t.not(answer.status, 0, args.join(' '));
    t.not(answer.status, 99, `${args[0]}: an answer, not a broken line`);
    t.equal(answer.stdout, '', `${args[0]}: nothing comes out`);
    t.match(answer.stderr, /refused [A-Z_]+/, `${args[0]}: it says why`);
  }
});
