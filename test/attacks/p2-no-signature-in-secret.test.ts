// SPDX-License-Identifier: GPL-2.0-or-later
// P2: the keys VM signs a byte string only if its SHA-256 was named, with key and mode, in a published
// intent, and once per intent. The attacker owns the build VM, or another VM, or the network to one of the
// remotes.
import { execFileSync } from 'node:child_process';
import t from 'tap';
import { askForSignature, publishIntent } from '../../agents/local/job/gate.js';
import { gitFolder, gitUrl } from '../../agents/local/outside/forge.js';
import { must } from '../../agents/local/outside/machine.js';
import { standFarm } from './standing-farm.js';

await t.test('what the build VM may have signed, and what not', async (t) => {
  const { farm, build, logs, net, keys, signingKey } = await standFarm(t);
  const bytes = (text: string): Buffer => Buffer.from(`${text}\n`);
  const ask = (
    data: Buffer,
    vm = 'build-debian',
    key = signingKey,
  ): Promise<{ status: number; signature: Buffer; reason: string }> =>
    askForSignature(farm.dom0, vm, key, data);
  const refused = async (t: Test, data: Buffer, code: RegExp): Promise<void> => {
    const answer = await ask(data);
    t.equal(answer.status, 2);
    t.equal(answer.signature.length, 0);
    t.match(answer.reason, code);
  };
  type Test = typeof t;

  await t.test('bytes that no intent names are refused', async (t) =>
    refused(t, bytes('no intent'), /refused NO_GRANT/),
  );

  await t.test('published bytes are signed once; other bytes, and the same again, are refused', async (t) => {
    const reply = await publishIntent(build, signingKey, bytes('one'), 'one.txt');
    t.match(reply, { result: 'published' });
    await refused(t, bytes('onf'), /refused NO_GRANT/);
    const first = await ask(bytes('one'));
    t.equal(first.status, 0);
    t.ok(first.signature.length > 50);
    await refused(t, bytes('one'), /refused [A-Z_]+/);
    // Published before it was signed: both remotes have the commit.
    for (const name of ['build-logs', 'build-logs-mirror']) {
      const heads = execFileSync('git', [
        'ls-remote',
        gitUrl(name, farm.settings.ports),
        'refs/heads/main',
      ]).toString();
      t.match(heads, /^[0-9a-f]{40}\trefs\/heads\/main/, name);
      const commits = (
        await must(farm.machine('forge'), ['git', '-C', `${gitFolder}/${name}.git`, 'log', '--format=%H'])
      ).split('\n');
      t.ok(reply.result === 'published' && commits.includes(reply.commit), `${name} holds the publication`);
    }
  });

  await t.test('a clear signature is refused where the intent says detached', async (t) => {
    await publishIntent(build, signingKey, bytes('mode'), 'mode.txt');
    const script =
      "printf 'mode\\n' | python3 -c \"import struct,subprocess,sys;a=b'\\0--clearsign\\0-u\\0'+sys.argv[1].encode()+b'\\0';p=subprocess.Popen(['/usr/bin/qrexec-client-vm','@default','qubes.Gpg'],stdin=-1,stdout=-1);p.stdin.write(struct.pack('<I',len(a)-1)+a.ljust(1024,b'\\0')+struct.pack('<iI',0,5)+b'mode\\n'+struct.pack('<iI',0,0));p.stdin.flush();d=b''\nwhile b'refused' not in d and b'SIGNED' not in d:\n  c=p.stdout.read1(65536)\n  if not c: break\n  d+=c\nsys.stdout.write(repr(d))\" \"$1\"";
    const answer = await build.run(['sh', '-c', script, 'ask', signingKey]);
    t.match(answer.stdout, /refused OTHER_KEY_OR_MODE/);
    t.notMatch(answer.stdout, /BEGIN PGP/);
  });

  await t.test('a key that the environment does not have gets no intent published for it', async (t) => {
    const reply = await publishIntent(build, '0'.repeat(40), bytes('key'), 'key.txt');
    t.match(reply, { result: 'refused', code: /KEY/ });
  });

  await t.test('no other VM reaches the gate or can say that something is published', async (t) => {
    const call = (
      machine: typeof build,
      target: string,
      service: string,
    ): Promise<{ status: number; stderr: string }> =>
      machine.run(['/usr/bin/qrexec-client-vm', target, service]);
    for (const [machine, target, service] of [
      [net, 'keys-debian', 'qubes.Gpg'],
      [logs, 'keys-debian', 'qubes.Gpg'],
      [farm.machine('forge'), '@default', 'qubes.Gpg'],
      [build, 'keys-debian', 'qubesbuilder.LogReceived+build-debian'],
      [net, '@default', 'qubesbuilder.LogReceived+build-debian'],
      [logs, '@default', 'qubesbuilder.LogReceived+build-other'],
      [logs, '@default', 'qubesbuilder.LogReceived'],
      [keys, '@default', 'qubesbuilder.BuildLog'],
      [keys, 'sys-net', 'local.ConnectSSH+forge.example'],
      [net, '@default', 'qubesbuilder.BuildLog+intent'],
      [build, '@default', 'local.ConnectSSH+elsewhere.example'],
      [build, 'keys-debian', 'qubes.VMShell'],
    ] as const) {
      const answer = await call(machine, target, service);
      t.equal(answer.status, 126, `${machine.name} → ${target} ${service}`);
      t.match(answer.stderr, /Request refused/);
    }
  });

  await t.test(
    'nothing is signed as long as one required remote does not take the publication',
    async (t) => {
      const forge = farm.machine('forge');
      await must(forge, ['mv', `${gitFolder}/build-logs-mirror.git`, `${gitFolder}/gone.git`]);
      const asked = publishIntent(build, signingKey, bytes('remote'), 'remote.txt');
      await new Promise((resolve) => setTimeout(resolve, 3000));
      await refused(t, bytes('remote'), /refused NO_GRANT/);
      await must(forge, ['mv', `${gitFolder}/gone.git`, `${gitFolder}/build-logs-mirror.git`]);
      t.match(await asked, { result: 'published' }, 'once it does, the same intent is granted');
      t.equal((await ask(bytes('remote'))).status, 0);
    },
  );

  await t.test('a grant does not outlive a restart of the keys VM', async (t) => {
    await publishIntent(build, signingKey, bytes('reboot'), 'reboot.txt');
    await farm.dom0.stopVm('keys-debian');
    await refused(t, bytes('reboot'), /refused GRANT_EXPIRED/);
  });
});
