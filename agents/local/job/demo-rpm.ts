// SPDX-License-Identifier: GPL-2.0-or-later
// `npm run local -- demo-rpm`: an RPM component of our own in an environment of its own beside the Debian
// one: other VMs, another key, the same logs VM. From a signed tag to a program that real dnf installed,
// built once more, and to what dnf and the gate refuse. As in the main job, every step ends with a
// post-condition that was checked.
import { join } from 'node:path';
import { addComponent, raiseFarm, type Farm } from '../farm/farm.js';
import { dnfUrl, dnfUrls, rpmDist } from '../farm/local-pillar.js';
import { gitUrl, makeRepository, webFolder } from '../outside/forge.js';
import { must } from '../outside/machine.js';
import { installRpmAsVisitor, refusedByDnf } from '../outside/rpm-visitor.js';
import { pushSpecComponent, rpmComponent } from '../outside/spec-developer.js';
import { stepLine, untilBuilt } from './build-watch.js';
import type { Display } from './display.js';
import { LogTail } from './log-tail.js';
import {
  auditStep,
  changedByteStep,
  followCalls,
  published,
  pushStep,
  type MainJobOptions,
} from './main-job.js';
import { rebuild, rebuiltLine } from './rebuild.js';

/** Where a build goes. */
const suite = 'current-testing';
/** A day whose moon everybody can look up: a total eclipse of the sun. */
const knownDay = '2026-08-12';
const knownAnswer = /^2026-08-12 {2}day .* new moon$/;

export async function runDemoRpm(options: Omit<MainJobOptions, 'package'>): Promise<void> {
  const { state, display, dist } = options;
  const farm = await display.step(
    'The farm: a second signing domain beside the first, with VMs and a key of its own',
    async () => {
      addComponent(state, await state.settings(), rpmComponent, 'rpm');
      const raised = await raiseFarm(
        state,
        join(dist, 'local.mjs'),
        (vm, what) => display.now(vm, what),
        {},
        options.provisioner,
        ['debian', 'rpm'],
      );
      const running = (await raised.dom0.list()).filter((vm) => vm.state === 'running').map((vm) => vm.name);
      for (const vm of raised.vms) if (!running.includes(vm.name)) throw new Error(`${vm.name} does not run`);
      const keys = Object.entries(raised.pillar['build-envs']).map(([env, { key }]) => `keys-${env} ${key}`);
      if (new Set(Object.values(raised.pillar['build-envs']).map(({ key }) => key)).size !== 2)
        throw new Error('the two environments do not have two keys');
      return { value: raised, result: `running: ${running.join(' ')}\n${keys.join('\n')}` };
    },
  );
  await followCalls(farm, display);
  const build = farm.machine('build-rpm');
  const tail = new LogTail(state.rootOf('build-logs'));
  tail.follow((_path, line) => display.log(line.replace(/^\S+ (\S+)\.\d+ \+0000 /, '$1 ')));
  const onLine = (line: string): void => display.log(line);
  try {
    const source = await display.step(
      `The source: ${rpmComponent}, a small C program with a spec, as a maintainer-signed tag`,
      async () => {
        await makeRepository(farm.machine('forge'), rpmComponent, 'source');
        const pushed = await pushSpecComponent(
          farm.machine('developer'),
          farm.maintainer.fingerprint,
          farm.settings.ports,
          onLine,
        );
        return {
          value: pushed,
          result: `${pushed.package} ${pushed.version}: tag ${pushed.tag}, commit ${pushed.commit.slice(0, 12)}, signed by ${farm.maintainer.fingerprint}`,
        };
      },
    );
    await pushStep(farm, source, display);
    const job = await display.step(
      `Build ${source.package} ${source.version} in build-rpm: rpmbuild in a clean chroot of ${farm.settings.dists[0]}, rpmsign through the gate`,
      async () => {
        const done = await untilBuilt(build, source.package, source.version, (stage) =>
          display.now('build-rpm', `stage: ${stage}`),
        );
        return {
          value: done,
          result: `${done.seconds.map(stepLine).join(', ')}\n${done.uploaded.join(' ')}`,
        };
      },
    );
    const top = dnfUrls(farm.settings)[0] as string;
    const url = `${top}/${suite}`;
    const repository = { url, key: (await published(`${top}/key.asc`)).toString() };
    const visitor = farm.machine('visitor');
    // The spec's release ends with %{?dist}, which a tag does not say.
    const version = `${source.version}.${farm.settings.dists[0]}`;
    await display.step(
      'Install it as a visitor: dnf over HTTP into an empty installroot, gpgcheck and repo_gpgcheck on',
      async () => {
        const found = await installRpmAsVisitor(
          visitor,
          repository,
          source.package,
          version,
          [`/usr/bin/${rpmComponent}`, knownDay],
          onLine,
        );
        if (found.installed.length !== 2)
          throw new Error(
            `dnf installed ${found.installed.join(' ')}: the package and the one that it requires are two`,
          );
        if (!knownAnswer.test(found.says)) throw new Error(`the installed program says: ${found.says}`);
        return {
          value: undefined,
          result: `installed ${found.installed.join(' ')} from ${url}\nit says: ${found.says}`,
        };
      },
    );
    await mirrorsThatLie(farm, repository.key, source.package, version, display);
    await changedByteStep(
      farm,
      build,
      'rpm',
      await published(`${url}/repodata/repomd.xml`),
      'repomd.xml',
      display,
    );
    const again = await display.step('Rebuild the same tag, fetched and verified anew', async () => {
      const line = rebuiltLine(await rebuild(build, job.job, [], onLine));
      return { value: line, result: line };
    });
    await auditStep(options, farm);
    summary(options, farm, { source: `${source.package} ${source.version}`, again, job });
  } finally {
    tail.stop();
    farm.dom0.close();
  }
}

/**
 * Three mirrors beside the published repository, each with one byte changed; in the last the metadata were
 * made anew to fit, and the visitor does not look at their signature.
 */
async function mirrorsThatLie(
  farm: Farm,
  key: string,
  name: string,
  version: string,
  display: Display,
): Promise<void> {
  const forge = farm.machine('forge');
  const visitor = farm.machine('visitor');
  const changeByte =
    'n=$(($(stat -c %s "$f") * 2 / 3)); b=$(od -An -tu1 -j $n -N 1 "$f" | tr -d " "); printf "\\\\$(printf %03o $((b ^ 1)))" | dd of="$f" bs=1 seek=$n conv=notrunc status=none';
  const cases: [what: string, change: string, metadataSignature: boolean][] = [
    ['one byte of repomd.xml', `f=repodata/repomd.xml; ${changeByte}`, true],
    [
      'one byte of a package',
      `f=$(ls packages/${name}-${version}*.rpm | grep -v src.rpm | head -n 1); ${changeByte}`,
      true,
    ],
    [
      'one byte of a package, and metadata made to fit',
      `f=$(ls packages/${name}-${version}*.rpm | grep -v src.rpm | head -n 1); ${changeByte}; rm -r repodata; createrepo_c --quiet .`,
      false,
    ],
  ];
  await display.step('Mirrors that lie, and what dnf says', async () => {
    const said: string[] = [];
    for (const [what, change, metadataSignature] of cases) {
      // A copy, not links: the packages of generations are shared.
      await must(forge, [
        'sh',
        '-ec',
        `rm -rf ${webFolder}/mirror; cp -rL --no-preserve=mode ${webFolder}/rpm/${rpmDist(farm.settings)}/${suite} ${webFolder}/mirror; cd ${webFolder}/mirror; ${change}`,
      ]);
      const mirror = dnfUrl(farm.settings).replace(/rpm$/, 'mirror');
      said.push(
        `${what}: ${await refusedByDnf(visitor, { url: mirror, key }, name, version, metadataSignature, (line) => display.log(line))}`,
      );
    }
    await must(forge, ['rm', '-rf', `${webFolder}/mirror`]);
    return { value: undefined, result: said.join('\n') };
  });
}

function summary(
  { display, state }: Omit<MainJobOptions, 'package'>,
  farm: Farm,
  done: { source: string; again: string; job: { job: string; logs: string[] } },
): void {
  const rows = display.finished.map(
    ({ title, seconds }) => `  ${seconds.toFixed(1).padStart(7)} s  ${title}`,
  );
  const total = display.finished.reduce((sum, { seconds }) => sum + seconds, 0);
  display.say(`
${display.paint('bold', `${done.source} was built, signed, published, installed with dnf, rebuilt and audited.`)}

${rows.join('\n')}
  ${total.toFixed(1).padStart(7)} s  in all

A rebuild gave ${done.again}

Where things are
  DNF repository     ${dnfUrls(farm.settings)
    .map((url) => `${url}/${suite}`)
    .join(' ')}
                     packages that rpmbuild made in a Debian chroot (${farm.settings.dists[0]}), linked statically: they are no Fedora packages
  published logs     ${gitUrl('build-logs', farm.settings.ports)}   (of both environments; and build-logs-mirror.git)
  this job's logs    ${done.job.logs.join(' ')}
  VMs, one folder each: ${join(state.folder, 'vms')}

What to try next
  npm run local -- exec build-rpm -- bash      look around where the build ran; there is no key to find
  npm run local -- rebuild ${done.job.job}
                                               build it once more, by hand
  npm run local -- audit                       check both environments again
`);
}
