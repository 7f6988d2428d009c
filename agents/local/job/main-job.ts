// SPDX-License-Identifier: GPL-2.0-or-later
// `npm run local`: from a signed tag to an installed package, through the real gate. Every step ends with a
// post-condition that was checked; the first that does not hold ends the job.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { addComponent, raiseFarm, type Farm, type Provisioner } from '../farm/farm.js';
import { aptUrls, dnfUrls, fullNameOf } from '../farm/local-pillar.js';
import { envsOf, type LocalEnv, type LocalSettings, type LocalState } from '../farm/local-state.js';
import { importPackage, type ImportedSource } from '../outside/developer.js';
import { importForeign, nameOf, readMaintainers, type ForeignSource } from '../outside/foreign-source.js';
import { gitUrl, makeRepository, webFolder } from '../outside/forge.js';
import { must, type Machine } from '../outside/machine.js';
import { keysVmOf } from '../provision/vms.js';
import { installAsVisitor } from '../outside/visitor.js';
import { codenameOf } from '../../shared/formats/suites.js';
import { stepLine, untilBuilt } from './build-watch.js';
import type { Display } from './display.js';
import { askForSignature, publishIntent } from './gate.js';
import { LogTail } from './log-tail.js';
import { githubPushPayload, sendWebhook } from './webhook.js';
import { runProcess } from '../../shared/programs/bounded-process.js';

export interface MainJobOptions {
  state: LocalState;
  package: string;
  /** in place of a package of Debian's archive */
  source?: ForeignSource;
  /** dist/, where the bundles are */
  dist: string;
  display: Display;
  /** undefined: by the manifests */
  provisioner?: Provisioner | undefined;
}

interface AuditReport {
  ok: boolean;
  table: string;
}

/** The environments of which something was published so far. */
export function publishedEnvs(state: LocalState, settings: LocalSettings): LocalEnv[] {
  return envsOf(settings).filter((env) => existsSync(join(state.rootOf('forge'), webFolder, env)));
}

/**
 * What an outsider needs: two URLs, two fingerprints and a journal key (and the mirror, to see that both say
 * the same); one more of each for a second environment.
 */
export function auditArguments(
  farm: Pick<Farm, 'settings' | 'pillar'>,
  envs: readonly LocalEnv[] = ['debian'],
): string[] {
  const { settings, pillar } = farm;
  const logsKey = pillar['logs-vms']['build-logs']?.key as string;
  const repositories = {
    debian: aptUrls(settings).flatMap((url) => ['--apt', url]),
    rpm: dnfUrls(settings).flatMap((url) => ['--dnf', url]),
  };
  return [
    '--logs',
    gitUrl('build-logs', settings.ports),
    '--logs',
    gitUrl('build-logs-mirror', settings.ports),
    '--logs-key',
    logsKey,
    ...envs.flatMap((env) => [
      ...repositories[env],
      '--signing-key',
      pillar['build-envs'][env]?.key as string,
    ]),
    ...Object.entries(pillar['build-envs']).flatMap(([env, { 'journal-key': key }]) =>
      key === null || key === undefined ? [] : ['--journal-key', `${keysVmOf(env)}=${key}`],
    ),
  ];
}

const auditMs = 3600_000;

async function runAudit(dist: string, farm: Farm, envs: readonly LocalEnv[]): Promise<AuditReport> {
  const { status, stdout, stderr } = await runProcess({
    program: process.execPath,
    args: [join(dist, 'build-infra.mjs'), 'audit', ...auditArguments(farm, envs)],
    env: process.env,
    limitBytes: 16 * 1024 * 1024,
    timeoutMs: auditMs,
  });
  return { ok: status === 0, table: `${stdout.toString('utf8')}${status === 0 ? '' : stderr}` };
}

export async function runMainJob(options: MainJobOptions): Promise<void> {
  const { state, display, dist } = options;
  const tell = (vm: string, what: string): void => display.now(vm, what);

  const farm = await display.step('The farm: VMs, keys made inside them, policy', async () => {
    const raised = await raiseFarm(state, join(dist, 'local.mjs'), tell, {}, options.provisioner);
    const running = (await raised.dom0.list()).filter((vm) => vm.state === 'running').map((vm) => vm.name);
    for (const vm of raised.vms)
      if (vm.env !== 'rpm' && !running.includes(vm.name)) throw new Error(`${vm.name} does not run`);
    return { value: raised, result: `running: ${running.join(' ')}` };
  });
  await followCalls(farm, display);
  const tail = new LogTail(state.rootOf('build-logs'));
  tail.follow((_path, line) => display.log(line.replace(/^\S+ (\S+)\.\d+ \+0000 /, '$1 ')));
  try {
    const source = await importStep(options, farm);
    // The farm may have been raised anew for it, on another connection.
    const build = farm.machine('build-debian');
    await pushStep(farm, source, display);
    const job = await display.step(
      `Build ${source.package} ${source.version} in build-debian, every line to build-logs, every signature through the gate`,
      async () => {
        const done = await untilBuilt(build, source.package, source.version, (stage) =>
          display.now('build-debian', `stage: ${stage}`),
        );
        return {
          value: done,
          result: `${done.seconds.map(stepLine).join(', ')}\n${done.uploaded.join(' ')}`,
        };
      },
    );
    for (const [index, url] of aptUrls(farm.settings).entries()) {
      const dist = farm.settings.dists[index] as string;
      await display.step(
        `Install it as a visitor who has ${dist}: apt-get over HTTP in a throw-away root`,
        async () => {
          const key = await published(`${url}/key.asc`);
          const visit = await installAsVisitor(
            farm.machine('visitor'),
            { dist, url, key: key.toString() },
            source.package,
            source.debianVersion ?? source.version,
            (line) => display.log(line),
          );
          return {
            value: undefined,
            result: `installed ${visit.installed.join(' ')} from ${visit.urls.join(' ')}${visit.says === '' ? '' : `\nit says: ${visit.says}`}`,
          };
        },
      );
    }
    const release = await published(
      `${aptUrls(farm.settings)[0]}/dists/${codenameOf(farm.settings.dists[0] as string, 'current-testing')}/Release`,
    );
    await changedByteStep(farm, build, 'debian', release, 'Release', display);
    await auditStep(options, farm);
    summary(options, farm, source, job);
  } finally {
    tail.stop();
    farm.dom0.close();
  }
}

/** A component that the farm does not know yet goes into the pillar, and the VMs are provisioned again. */
async function importStep(options: MainJobOptions, farm: Farm): Promise<ImportedSource> {
  const { state, display, dist, source: foreign } = options;
  const name = foreign === undefined ? options.package : nameOf(foreign);
  const title =
    foreign === undefined
      ? `The source: ${name} from the Debian archive, as a maintainer-signed tag`
      : `The source: ${name} as it is in ${foreign.repository}, at the tag ${foreign.tag} that its maintainers signed`;
  return await display.step(title, async () => {
    const maintainers = foreign === undefined ? undefined : await readMaintainers(foreign.keyFiles);
    if (addComponent(state, farm.settings, name, 'debian', maintainers)) {
      farm.dom0.close();
      Object.assign(
        farm,
        await raiseFarm(
          state,
          join(dist, 'local.mjs'),
          (vm, what) => display.now(vm, what),
          {},
          options.provisioner,
        ),
      );
      await followCalls(farm, display);
    }
    await makeRepository(farm.machine('forge'), name, 'source');
    const source =
      foreign === undefined
        ? await importPackage(
            farm.machine('developer'),
            name,
            farm.maintainer.fingerprint,
            farm.settings.ports,
            (line) => display.log(line),
          )
        : await importForeign(farm.machine('forge'), foreign);
    const by = (maintainers ?? [farm.maintainer]).map(({ fingerprint }) => fingerprint).join(' or ');
    return {
      value: source,
      result: `${source.package} ${source.version}: tag ${source.tag}, commit ${source.commit.slice(0, 12)}, to be signed by ${by}`,
    };
  });
}

/** What calls dom0 decides, while they come. */
export async function followCalls(farm: Farm, display: Display): Promise<void> {
  await farm.dom0.onEvent((event) => {
    if (event.event === 'call')
      display.now(
        event.source,
        `-> ${event.target ?? 'nobody'}: ${event.service}${event.verdict === 'deny' ? ` (denied: ${event.reason})` : ''}`,
      );
  });
}

export async function pushStep(farm: Farm, source: ImportedSource, display: Display): Promise<void> {
  await display.step('The webhook, as GitHub sends it', async () => {
    const secret = (
      await must(farm.machine('sys-net'), ['cat', '/rw/config/build-infra/webhook-secret'])
    ).trim();
    const payload = githubPushPayload({
      fullName: fullNameOf(source.package),
      tag: source.tag,
      tagObject: source.tagObject,
      commit: source.commit,
      pusher: { name: 'alice', email: 'alice@developer.example' },
    });
    const answer = await sendWebhook(farm.settings.ports.webhook, secret, payload);
    if (answer.status !== 202) throw new Error(`sys-net answered ${answer.status}: ${answer.body.trim()}`);
    return { value: undefined, result: `sys-net answered 202 ${answer.body.trim()}` };
  });
}

export async function auditStep(
  { state, dist, display }: Pick<MainJobOptions, 'state' | 'dist' | 'display'>,
  farm: Farm,
): Promise<void> {
  await display.step(
    'Audit what was published, as an outsider with two URLs and two fingerprints',
    async () => {
      const report = await runAudit(dist, farm, publishedEnvs(state, farm.settings));
      if (!report.ok) throw new Error(`the audit found something:\n${report.table}`);
      return { value: undefined, result: report.table.trimEnd() };
    },
  );
}

/**
 * One published intent: its bytes are signed once; one changed byte, and the same bytes again, are refused.
 * @param like what they are made of
 */
export async function changedByteStep(
  farm: Farm,
  build: Machine,
  env: LocalEnv,
  like: Buffer,
  name: string,
  display: Display,
): Promise<void> {
  await display.step('The gate: one changed byte', async () => {
    const key = farm.pillar['build-envs'][env]?.key as string;
    const bytes = Buffer.concat([like, Buffer.from(`# ${new Date().toISOString()}\n`)]);
    const changed = Buffer.from(bytes);
    changed[0] = (changed[0] as number) ^ 1;
    const reply = await publishIntent(build, key, bytes, name);
    if (reply.result !== 'published')
      throw new Error(`the intent was refused: ${reply.code} ${reply.detail}`);
    const other = await askForSignature(farm.dom0, build.name, key, changed);
    const first = await askForSignature(farm.dom0, build.name, key, bytes);
    const again = await askForSignature(farm.dom0, build.name, key, bytes);
    if (other.status === 0 || other.signature.length > 0)
      throw new Error('the gate signed bytes that no intent names');
    if (first.status !== 0 || first.signature.length === 0)
      throw new Error(`the gate refused the very bytes of the intent: ${first.reason}`);
    if (again.status === 0 || again.signature.length > 0)
      throw new Error('the gate signed twice for one intent');
    const short = createHash('sha256').update(bytes).digest('hex').slice(0, 12);
    return {
      value: undefined,
      result: `intent for sha256 ${short}… published in ${reply.commit.slice(0, 12)}\none byte changed:    ${other.reason}\nthe bytes it names:  signed (${first.signature.length} bytes)\nthe same once more:  ${again.reason}`,
    };
  });
}

export async function published(url: string): Promise<Buffer> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: HTTP ${response.status}`);
  return Buffer.from(await response.arrayBuffer());
}

function summary(
  options: MainJobOptions,
  farm: Farm,
  source: ImportedSource,
  { job, logs }: { job: string; logs: string[] },
): void {
  const { display, state } = options;
  const rows = display.finished.map(
    ({ title, seconds }) => `  ${seconds.toFixed(1).padStart(7)} s  ${title}`,
  );
  const total = display.finished.reduce((sum, { seconds }) => sum + seconds, 0);
  const policy = readFileSync(join(state.policyFolder, '30-build-infra.policy'), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#')).length;
  display.say(`
${display.paint('bold', `${source.package} ${source.version} was built, signed, published, installed and audited.`)}

${rows.join('\n')}
  ${total.toFixed(1).padStart(7)} s  in all

Where things are
  APT repositories   ${aptUrls(farm.settings).join(' ')}
  published logs     ${gitUrl('build-logs', farm.settings.ports)}   (and build-logs-mirror.git)
  this job's logs    ${logs.join(' ')}
  VMs, one folder each: ${join(state.folder, 'vms')}; the policy that ruled them (${policy} lines): ${join(state.policyFolder, '30-build-infra.policy')}

What to try next
  npm run local -- status                      VMs and jobs
  npm run local -- exec build-debian -- bash   look around where the build ran; there is no key to find
  npm run local -- exec build-debian -- sh -c 'echo secret | /usr/lib/build-infra/gpg -b -a'     ask for a signature: it becomes public first
  npm run local -- --package NAME              another Debian source package
  npm run local -- rebuild ${job}
                                               build it once more, from its tag: the same bytes
  npm run local -- demo-rpm                    an RPM, in a second environment with a key of its own
  npm run local -- audit                       check it all again
  npm run local -- down                        stop every VM
`);
}
