// SPDX-License-Identifier: GPL-2.0-or-later
// `npm run qb`: real components by their real tags through the real qubes-builderv2, with the agent before
// and behind it. By hand: it needs a checkout of the builder, what that needs (Debian 13), root, and clones
// of the components. docs/engines.md, "The real builder".
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { BuildVm, endOutside, makeOutside } from './build-vm.js';

const usage = `usage: npm run qb -- --builder DIR --maintainer FINGERPRINT... [--distribution vm-trixie] [--mirror URL] [--keep] NAME=REPOSITORY@TAG...

  --builder DIR    a checkout of qubes-builderv2; the maintainers' keys are taken from its qubesbuilder/plugins/fetch/keys
  --mirror URL     where pbuilder takes Debian's packages from
  --keep           leave the build VM's folder, and say where it is
  NAME=REPOSITORY@TAG   a component, a clone or address of it, and the tag that is built
`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    builder: { type: 'string' },
    maintainer: { type: 'string', multiple: true },
    distribution: { type: 'string', default: 'vm-trixie' },
    mirror: { type: 'string' },
    keep: { type: 'boolean' },
  },
});
const wanted = positionals.map((word) => /^([A-Za-z0-9][A-Za-z0-9+-]*)=(.+)@([^@]+)$/.exec(word));
if (
  values.builder === undefined ||
  values.maintainer === undefined ||
  wanted.length === 0 ||
  wanted.includes(null)
) {
  process.stderr.write(usage);
  process.exit(2);
}
const builder = resolve(values.builder);
const { distribution } = values;
const maintainers = values.maintainer.map((fingerprint, index) => ({
  name: `maintainer-${index + 1}`,
  fingerprint,
}));
const kind = distribution.includes('-fc') ? 'rpm' : 'deb';
const name = distribution.replace(/^[a-z]+-/, '');
let failed = 0;

const outside = await makeOutside();
const folder = mkdtempSync(join(tmpdir(), 'real-qb-'));
try {
  for (const found of wanted) {
    const [, component, repository, tag] = found as RegExpExecArray as unknown as [
      string,
      string,
      string,
      string,
    ];
    const git = outside.forge.create(component);
    execFileSync(
      'git',
      [
        '--git-dir',
        git.folder,
        'fetch',
        '--quiet',
        repository,
        '+refs/heads/*:refs/heads/*',
        `+refs/tags/${tag}:refs/tags/${tag}`,
      ],
      { stdio: 'inherit' },
    );
    const conf = join(folder, `${component}.yml`);
    writeFileSync(
      conf,
      JSON.stringify({
        git: {
          baseurl: `git://127.0.0.1:${outside.forge.port}`,
          prefix: '',
          branch: 'main',
          maintainers: values.maintainer,
        },
        'artifacts-dir': '/nonexistent/artifacts',
        'qubes-release': 'r4.3',
        distributions: [distribution],
        components: [{ [component]: {} }],
        executor: { type: 'local', options: { directory: '/builder-local' } },
        stages: [
          'fetch',
          'prep',
          'build',
          ...['sign', 'publish', 'upload'].map((stage) => ({ [stage]: { executor: { type: 'local' } } })),
        ],
        'repository-publish': { components: 'current-testing' },
        ...(values.mirror === undefined ? {} : { mirrors: { debian: [values.mirror] } }),
      }),
    );
    const place = {
      upload: `ssh://127.0.0.1:${outside.apt.sshPort}${outside.apt.folder}/${component}`,
      url: `http://127.0.0.1:${outside.apt.httpPort}/${component}`,
    };
    const vm = new BuildVm(outside, component, {
      components: [
        {
          name: component,
          url: outside.forge.url(component),
          tag: 'v{version}',
          maintainers,
          requiredSignatures: 1,
        },
      ],
      distributions: [
        {
          name,
          engine: 'qubesbuilderv2',
          packages: kind,
          publisher: 'engine',
          options: { builder, conf, distribution, release: 'r4.3' },
        },
      ],
      apt: { ...place, origin: 'x', label: 'x' },
      dnf: place,
      buildSeconds: 7200,
    });
    // As our client does it: what needs no secret is the local gpg's, with what its home has.
    vm.beforeSigning('case "$*" in *--export*) exec /usr/bin/gpg "$@" ;; esac\n');
    for (const { fingerprint } of maintainers)
      copyFileSync(
        join(builder, 'qubesbuilder/plugins/fetch/keys', `${fingerprint}.asc`),
        join(vm.root, '/rw/config/build-infra/public-keys', `${fingerprint}.asc`),
      );
    mkdirSync('/builder-local', { recursive: true });
    try {
      await vm.start();
      const answer = await vm.trigger(component);
      process.stdout.write(`${component} ${tag}: ${answer}\n`);
      const id = answer.split(' ')[1] ?? '';
      const job = answer.startsWith('queued') ? await vm.over(id, 7200) : undefined;
      const log = join(process.cwd(), `${component}.log`);
      writeFileSync(log, vm.receiver.text());
      for (const line of vm.receiver.text().split('\n'))
        if (
          /^(?:== |> )?(?:signed by|the builder (?:fetched|may take)|signed|read back|uploaded|refused)/.test(
            line,
          )
        )
          process.stdout.write(`  ${line}\n`);
      process.stdout.write(
        `${component}: ${job?.state ?? 'no job'}${job?.reason ? ` ${job.reason.code} ${job.reason.detail}` : ''}, its log: ${log}\n`,
      );
      if (job?.state !== 'done') failed++;
    } finally {
      if (values.keep === true) process.stdout.write(`kept: ${vm.root}\n`);
      else await vm.end();
    }
  }
} finally {
  await endOutside(outside);
  if (existsSync(folder)) rmSync(folder, { recursive: true });
}
process.exit(failed === 0 ? 0 : 1);
