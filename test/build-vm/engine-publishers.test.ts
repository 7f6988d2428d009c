// SPDX-License-Identifier: GPL-2.0-or-later
// Engines that sign and publish, and what the agent makes of them: real debsign and rpmsign, and engines of
// sh that lie.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  publishWithEngine,
  refuseOtherPublished,
  signWithEngine,
  type EnginePublishing,
} from '../../agents/build-vm/stages/engine-stages.js';
import { packageRepositories } from '../../agents/build-vm/repositories/package-repositories.js';
import { hashFile } from '../../agents/shared/files/frozen-files.js';
import type { Job } from '../../agents/build-vm/jobs/job-document.js';
import { Keys, tinyPackage } from './forge.js';
import { buildHere, codeOf, epoch, Lines, makePlace, rpmJob, tinySpec, writeTree } from './rpm-packages.js';
import { evidenceOf } from './jobs.js';

const needsRoot =
  process.getuid?.() === 0
    ? {}
    : { skip: 'an engine gets a process space of its own, which needs root here' };
const keys = new Keys();
const signer = keys.make('signer');
const other = keys.make('other');
const built = makePlace();
t.teardown(() => {
  keys.end();
  built.end();
});
const gpg = (key = signer): string =>
  `gpg --homedir '${keys.home}' --batch --yes --pinentry-mode loopback --passphrase '' -u ${key.fingerprint}`;

/** An upload of this machine's own dpkg-buildpackage. */
function buildDebs(into: string): void {
  const place = makePlace();
  const tree = writeTree(
    place.make('tree'),
    Object.fromEntries(
      tinyPackage('1.2-1').map((file) => [
        file.path,
        file.path === 'debian/source/format' ? '3.0 (quilt)\n' : (file.content ?? ''),
      ]),
    ),
  );
  chmodSync(join(tree, 'debian/rules'), 0o755);
  execFileSync('tar', [
    '--create',
    '--gzip',
    '--file',
    join(place.folder, 'hello-tiny_1.2.orig.tar.gz'),
    '--exclude=debian',
    '--directory',
    tree,
    '.',
  ]);
  execFileSync('dpkg-buildpackage', ['-us', '-uc', '-F', '-d'], {
    cwd: tree,
    stdio: 'ignore',
    env: { ...process.env, SOURCE_DATE_EPOCH: String(epoch) },
  });
  rmSync(tree, { recursive: true });
  cpSync(place.folder, into, { recursive: true });
  place.end();
}
buildDebs(built.make('deb'));
buildHere(tinySpec(), built.make('rpm'));
writeFileSync(
  join(built.folder, 'rpm/demo-rpm-1.2-1.x86_64.buildinfo'),
  'Format: 1.0\nSource: demo-rpm-1.2-1.src.rpm\n',
);
// Signed as the tools do it.
cpSync(join(built.folder, 'deb'), built.make('deb-signed'), { recursive: true });
cpSync(join(built.folder, 'rpm'), built.make('rpm-signed'), { recursive: true });
const client = join(built.folder, 'client');
writeFileSync(client, `#!/bin/sh\nexec ${gpg()} "$@"\n`, { mode: 0o755 });
execFileSync(
  'sh',
  [
    '-c',
    `cd '${built.folder}/deb-signed' && debsign --no-conf -k${signer.fingerprint} -p'${client}' *.changes && cd ../rpm-signed && rpmsign --addsign --rpmv3 --define '__gpg ${client}' --define '_gpg_name ${signer.fingerprint}' --digest-algo=sha256 *.rpm
  for i in *.buildinfo; do (cat "$i"; echo Signed-Checksums-Sha256:; echo ' abc 1 demo') | ${gpg()} --clearsign > "$i.new" && mv "$i.new" "$i"; done`,
  ],
  { stdio: 'ignore', env: { ...process.env, HOME: built.folder } },
);

type Kind = 'deb' | 'rpm';
interface Vm {
  folder: string;
  frozen: string;
  job: Job;
  log: Lines;
  options: EnginePublishing;
  sign: (script: string) => Promise<string>;
  publish: (script: string) => Promise<string>;
}

function setUp(test: Test, kind: Kind): Vm {
  const place = makePlace();
  test.teardown(() => place.end());
  const frozen = join(place.folder, 'artifacts/fc41');
  mkdirSync(join(frozen, '..'));
  cpSync(join(built.folder, kind), frozen, { recursive: true });
  writeFileSync(join(place.folder, 'key.asc'), signer.armored);
  const job = { ...rpmJob(place.folder), evidence: evidenceOf() };
  const engine = join(place.folder, 'the-engine');
  const log = new Lines();
  const options: EnginePublishing = {
    engine: [engine],
    packages: kind,
    folder: place.folder,
    work: place.make('work'),
    cache: place.make('cache'),
    buildSeconds: 60,
    engineOptions: undefined,
    gpg: client,
    signingKey: signer.fingerprint,
    publicKey: { path: join(place.folder, 'key.asc'), text: signer.armored },
    repository: {
      upload: 'ssh://h/x',
      url: 'http://127.0.0.1:1/x',
      sshConfig: '/x',
      folder: join(place.folder, 'own'),
    },
    jobs: [],
    noteSwitch: () => undefined,
  };
  const write = (script: string): void =>
    writeFileSync(
      engine,
      `#!/bin/bash
field() { perl -MJSON::PP -0777 -ne "print decode_json(\\$_)->{$1}" "$job"; }
announce() { (cd "$output" && for name in "$@"; do printf '{"name":"%s","size":%s,"sha256":"%s"}\\n' "$name" "$(stat -Lc %s "$name")" "$(sha256sum < "$name" | cut -c -64)"; done) | paste -s -d , | sed "s/.*/{\\"format\\":\\"build-infra\\/artifacts@1\\",\\"artifacts\\":[&]$more}/" > "$work/a.json"; mv "$work/a.json" "$output/artifacts.json"; }
good() { cp '${built.folder}/${kind}-signed/'* "$output"; }
all() { announce $(cd "$output" && ls); }
job=$1 output=$(field output) work=$(field work) more=
${script}
`,
      { mode: 0o755 },
    );
  return {
    folder: place.folder,
    frozen,
    job,
    log,
    options,
    sign: (script) => {
      write(script);
      return codeOf(() => signWithEngine(job, 'fc41', options, log));
    },
    publish: (script) => {
      write(script);
      return codeOf(() => publishWithEngine(job, 'fc41', options, log));
    },
  };
}

for (const kind of ['deb', 'rpm'] as const) {
  void t.test(
    `${kind}: what was signed is the frozen upload and its signatures, or it is not taken`,
    needsRoot,
    async (t) => {
      const binary = kind === 'deb' ? '*.deb' : '*.noarch.rpm';
      const bad: [what: string, script: string, code: string][] = [
        ['signs nothing', `cp '${built.folder}/${kind}/'* "$output"; all`, 'BAD_SIGNATURE'],
        ['leaves one out', `good; rm "$output"/${binary}; all`, 'BAD_ARTIFACT'],
        ['adds one', 'good; echo x > "$output/more.deb"; all', 'BAD_ARTIFACT'],
        [
          'changes a package',
          `good; for i in "$output"/${binary}; do printf x >> "$i"; done; all`,
          'BAD_ARTIFACT',
        ],
        [
          'hands out a link to what was built',
          `good; for i in "$output"/${binary}; do rm "$i"; ln -s "$(field artifacts)/\${i##*/}" "$i"; done; all`,
          'BAD_ARTIFACT',
        ],
        [
          'fails as the gate says it',
          'echo "build-infra: refused NO_GRANT none of it" >&2; printf \'{"format":"build-infra/engine-failure@1","code":"SIGN_FAILED","detail":"x"}\' > "$output/failure.json"; exit 1',
          'SIGN_FAILED',
        ],
      ];
      for (const [what, script, code] of bad) {
        const vm = setUp(t, kind);
        t.equal(await vm.sign(script), code, `${what}\n${vm.log.text().slice(-500)}`);
        t.notOk(existsSync(join(vm.folder, 'signed/fc41')), what);
      }
      const vm = setUp(t, kind);
      t.equal(await vm.sign('good; all'), 'none', vm.log.text().slice(-1000));
      t.same(readdirSync(join(vm.folder, 'signed/fc41')).sort(), readdirSync(vm.frozen).sort());
      t.equal(await vm.sign('exit 9'), 'none', 'signed once, the engine is not called again');
      for (const name of readdirSync(join(vm.folder, 'signed/fc41')))
        chmodSync(join(vm.folder, 'signed/fc41', name), 0o644);
      cpSync(vm.frozen, join(vm.folder, 'signed/fc41'), { recursive: true, force: true });
      t.equal(
        await vm.sign('exit 9'),
        'ENGINE_FAILED',
        'and what lies there is looked at again: the engine is to sign anew',
      );
      t.notOk(existsSync(join(vm.folder, 'signed/fc41')));
      t.equal(await vm.sign('good; all'), 'none', vm.log.text().slice(-1000));
    },
  );
}

/** The code for an upload of which `change` made something else, all of it signed well again. */
async function verified(
  test: Test,
  kind: Kind,
  change: (folder: string) => void,
  version = '1.2-1',
): Promise<string> {
  const place = makePlace();
  test.teardown(() => place.end());
  cpSync(join(built.folder, `${kind}-signed`), place.make('signed'), { recursive: true });
  change(join(place.folder, 'signed'));
  const frozen = join(built.folder, kind);
  const files = readdirSync(frozen).map((name) => hashFile(frozen, name));
  return codeOf(() =>
    packageRepositories[kind].verifySigned({
      signed: join(place.folder, 'signed'),
      frozen,
      files,
      version,
      key: { armored: signer.armored, fingerprint: signer.fingerprint },
      work: join(place.folder, 'check'),
    }),
  );
}

function resign(folder: string, ending: string, change: (text: string) => string, key = signer): void {
  const name = readdirSync(folder).find((one) => one.endsWith(ending)) as string;
  const text = execFileSync(
    'sh',
    ['-c', `gpg --homedir '${keys.home}' --batch -q -d "$0" 2> /dev/null`, join(folder, name)],
    { encoding: 'utf8' },
  );
  writeFileSync(
    join(folder, name),
    execFileSync('sh', ['-c', `${gpg(key)} --clearsign`], {
      input: change(text),
      stdio: ['pipe', 'pipe', 'ignore'],
    }),
  );
}

/** The checksums of `ending` in the .changes are made true again. */
function fixChanges(folder: string, ending: string): void {
  const name = readdirSync(folder).find((one) => one.endsWith(ending)) as string;
  const bytes = readFileSync(join(folder, name));
  resign(folder, '.changes', (text) =>
    text.replace(
      new RegExp(
        `^ ([0-9a-f]+) [0-9]+ (\\S+ \\S+ )?${name.replaceAll('.', '\\.').replaceAll('+', '\\+')}$`,
        'gm',
      ),
      (_line, hash: string, section = '') => {
        const kind = hash.length === 64 ? 'sha256' : hash.length === 40 ? 'sha1' : 'md5';
        return ` ${createHash(kind).update(bytes).digest('hex')} ${bytes.length} ${section as string}${name}`;
      },
    ),
  );
}

void t.test('a signed text says what the frozen one said', async (t) => {
  t.equal(await verified(t, 'deb', () => undefined), 'none');
  for (const ending of ['.dsc', '.buildinfo']) {
    t.equal(
      await verified(t, 'deb', (folder) => {
        resign(folder, ending, (text) => text);
        fixChanges(folder, ending);
      }),
      ending === '.dsc' ? 'none' : 'none',
      'signed once more, with nothing changed',
    );
    t.equal(
      await verified(t, 'deb', (folder) => {
        resign(folder, ending, (text) => `${text.trimEnd()}\nMore: 1\n`);
        fixChanges(folder, ending);
      }),
      'BAD_ARTIFACT',
      `${ending} with a field more`,
    );
    t.equal(
      await verified(t, 'deb', (folder) => {
        resign(folder, ending, (text) => text, other);
        fixChanges(folder, ending);
      }),
      'BAD_SIGNATURE',
      `${ending} signed by another key`,
    );
    t.equal(
      await verified(t, 'deb', (folder) => resign(folder, ending, (text) => text.replace('1.2-1', '1.2-2'))),
      'BAD_ARTIFACT',
    );
  }
  t.equal(
    await verified(t, 'deb', (folder) =>
      resign(folder, '.changes', (text) => text.replace(/^Description:.*\n(?: .*\n)*/m, '')),
    ),
    'BAD_ARTIFACT',
    'a .changes with a field less',
  );
  t.equal(
    await verified(t, 'deb', (folder) =>
      resign(folder, '.changes', (text) =>
        text.replace(/^( [0-9a-f]{64} [0-9]+ \S+\.dsc)$/m, (line) => line.replace(/[0-9a-f]{8}/, '00000000')),
      ),
    ),
    'BAD_ARTIFACT',
    'a .changes of another .dsc',
  );
  t.equal(await verified(t, 'deb', () => undefined, '1.2-2'), 'VERSION_MISMATCH');
  t.equal(await verified(t, 'rpm', () => undefined), 'none', 'two signatures in each package');
  t.equal(await verified(t, 'rpm', () => undefined, '1.3-1'), 'VERSION_MISMATCH');
  t.equal(
    await verified(t, 'rpm', (folder) => resign(folder, '.buildinfo', (text) => text.replace('1.0', '1.1'))),
    'BAD_ARTIFACT',
  );
  t.equal(
    await verified(t, 'rpm', (folder) => resign(folder, '.buildinfo', (text) => text, other)),
    'BAD_SIGNATURE',
  );
  t.equal(
    await verified(t, 'rpm', (folder) =>
      execFileSync(
        'sh',
        [
          '-c',
          `cd '${folder}' && rpmsign --resign --define '__gpg ${client}-other' --define '_gpg_name x' *.src.rpm`,
        ],
        { stdio: 'ignore', env: { ...process.env, HOME: folder } },
      ),
    ),
    'BAD_SIGNATURE',
  );
});
writeFileSync(
  `${client}-other`,
  `#!/bin/sh\nfor i; do shift; case "$i" in x) i=${other.fingerprint} ;; esac; set -- "$@" "$i"; done\nexec gpg --homedir '${keys.home}' --batch --yes "$@"\n`,
  { mode: 0o755 },
);

void t.test(
  'after publishing an engine says where, and shows the index that was signed',
  needsRoot,
  async (t) => {
    const inRelease = `printf 'Suite: x\\n' | ${gpg()} --clearsign > "$output/InRelease"`;
    const where = (path: string, suite = ',\\"suite\\":\\"x\\"'): string =>
      `more=',\\"published\\":{\\"path\\":\\"${path.replaceAll('/', '\\/')}\\"${suite}}'`;
    const bad: [what: string, script: string, code: string][] = [
      ['does not say where', `${inRelease}; all`, 'ENGINE_FAILED'],
      ['names no suite', `${where('vm', '')}; ${inRelease}; all`, 'ENGINE_FAILED'],
      [
        'names a repository that nobody has',
        `${where('vm', ',\\"suite\\":\\"x\\",\\"repository\\":\\"stable\\"')}; ${inRelease}; all`,
        'ENGINE_FAILED',
      ],
      ['names a path that leads up', `${where('../other')}; ${inRelease}; all`, 'ENGINE_FAILED'],
      ['names another host', `${where('vm@evil.example')}; ${inRelease}; all`, 'ENGINE_FAILED'],
      ['shows no index', `${where('vm')}; good; all`, 'BAD_ARTIFACT'],
      [
        'shows an index without a signature',
        `${where('vm')}; echo 'Suite: x' > "$output/InRelease"; all`,
        'BAD_SIGNATURE',
      ],
      [
        'shows an index signed by another key',
        `${where('vm')}; printf 'Suite: x\\n' | ${gpg(other)} --clearsign > "$output/InRelease"; all`,
        'BAD_SIGNATURE',
      ],
      ['published nothing that the world sees', `${where('vm')}; ${inRelease}; all`, 'READ_BACK_FAILED'],
    ];
    const vm = setUp(t, 'deb');
    t.equal(await vm.sign('good; all'), 'none');
    for (const [what, script, code] of bad)
      t.equal(await vm.publish(script), code, `${what}\n${vm.log.text().slice(-500)}`);
  },
);

void t.test(
  'a name that another job published with other bytes is refused before the engine is called',
  (t) => {
    const file = { name: 'a.deb', size: 1, sha256: 'a'.repeat(64) };
    const job = (id: string, dist: string, sha256: string): Job =>
      ({ job: id, uploaded: [{ dist, files: [{ ...file, sha256 }] }] }) as unknown as Job;
    const mine = job('mine', 'x', '');
    t.doesNotThrow(() =>
      refuseOtherPublished(
        mine,
        'x',
        [file],
        [mine, job('same', 'x', file.sha256), job('elsewhere', 'y', 'b'.repeat(64))],
      ),
    );
    t.throws(() => refuseOtherPublished(mine, 'x', [file], [job('other', 'x', 'b'.repeat(64))]), {
      code: 'ALREADY_PUBLISHED',
    });
    t.end();
  },
);
