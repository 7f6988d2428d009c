// SPDX-License-Identifier: GPL-2.0-or-later
// A finished job built once more from its tag, by an engine of a few lines of sh; what it makes differs in
// one way at a time.
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { buildFor } from '../../agents/build-vm/stages/build-stage.js';
import type { Config } from '../../agents/build-vm/configuration/config.js';
import { fetchSource, fetchTarget } from '../../agents/build-vm/stages/fetch-stage.js';
import { newJob, type Job } from '../../agents/build-vm/jobs/job-document.js';
import { pathsUnder } from '../../agents/build-vm/configuration/paths.js';
import { isReproduced, rebuildJob, type Compared } from '../../agents/build-vm/stages/rebuild.js';
import { alice, endForge, forge, keys } from './fetching.js';
import { tinyPackage, writeKeys } from './forge.js';
import { codeOf, Lines } from './rpm-packages.js';

t.teardown(endForge);

/** Makes one package and its papers from the tree and from whatever lies in `more`. */
const engine = (more: string): string => `#!/bin/sh
set -eu
field() { sed -n "s/^ *\\"$1\\": \\"\\(.*\\)\\",\\{0,1\\}$/\\1/p" "$2"; }
out=$(field output "$1"); tree=$(field sourceTree "$1")
cat "$tree/debian/changelog" > "$out/x_1_all.deb"
printf 'Format: 1.0\\nBuild-Date: %s\\nSource: x\\n' "$(date +%s%N)" > "$out/x_1_all.buildinfo"
printf 'Format: 1.8\\nChecksums-Sha256:\\n %s 9 x_1_all.buildinfo\\n' "$(sha256sum < "$out/x_1_all.buildinfo" | cut -d ' ' -f 1)" > "$out/x_1_all.changes"
if test -f "${more}"; then . "${more}"; fi
cd "$out"
for file in x*; do
  printf '%s{"name":"%s","size":%s,"sha256":"%s"}' "\${comma-}" "$file" "$(stat -c %s "$file")" "$(sha256sum "$file" | cut -d ' ' -f 1)"; comma=,
done > list
printf '{"format":"build-infra/artifacts@1","artifacts":[%s]}' "$(cat list)" > artifacts.json
rm list
`;

let count = 0;

interface Standing {
  job: Job;
  again: (dists?: string[]) => Promise<Compared[]>;
  more: string;
  root: string;
  config: Config;
  retag: (files?: Parameters<typeof tinyPackage>[1]) => void;
}

/** A VM's folder in which a job was fetched and built. */
async function standing(test: Test): Promise<Standing> {
  const root = mkdtempSync(join(tmpdir(), 'bi-again-'));
  test.teardown(() => rmSync(root, { recursive: true, force: true }));
  const paths = pathsUnder(root);
  const more = join(root, 'more.sh');
  for (const folder of [paths.engines[0] as string, paths.publicKeys]) mkdirSync(folder, { recursive: true });
  writeFileSync(join(paths.engines[0] as string, 'small'), engine(more));
  chmodSync(join(paths.engines[0] as string, 'small'), 0o755);
  writeKeys(paths.publicKeys, [alice]);
  const name = `again${count++}`;
  const repository = forge.create(name);
  const { object } = repository.release(keys, [alice], 'v1.0-1', tinyPackage('1.0-1'));
  const component = {
    name: 'hello-tiny',
    url: forge.url(name),
    tag: 'v{version}',
    requiredSignatures: 1,
    maintainers: [{ name: 'alice', fingerprint: alice.fingerprint }],
  };
  const config = {
    env: 'debian',
    signingKey: 'F'.repeat(40),
    components: [component],
    buildSeconds: 60,
    distributions: ['one', 'two'].map((dist) => ({ name: dist, engine: 'small', packages: 'deb' })),
    apt: {},
  } as unknown as Config;
  const job = newJob(
    config,
    component,
    { tag: 'v1.0-1', tagObject: object, version: '1.0-1' },
    1,
    new Date(),
  );
  const folder = join(paths.jobs, job.job);
  mkdirSync(folder, { recursive: true });
  const log = new Lines();
  const found = await fetchSource(
    job,
    component,
    {
      forge: { sshConfig: '/dev/null', timeoutMs: 30_000 },
      publicKeys: paths.publicKeys,
      folder,
      highest: undefined,
      targets: config.distributions.map(fetchTarget),
      componentsOf: () => [],
      now: new Date(),
    },
    log,
  );
  Object.assign(job, { evidence: found.evidence, sourceDateEpoch: found.sourceDateEpoch });
  for (const dist of job.dists) {
    const files = await buildFor(
      job,
      dist,
      {
        engine: [join(paths.engines[0] as string, 'small')],
        folder,
        work: paths.work,
        cache: paths.cache,
        buildSeconds: 60,
        packages: 'deb',
        engineOptions: undefined,
      },
      log,
    );
    job.artifacts.push({ dist, files });
  }
  writeFileSync(join(folder, 'job.json'), JSON.stringify(job));
  // As after a job: the tree is gone.
  rmSync(join(folder, 'source'), { recursive: true });
  return {
    job,
    more,
    root,
    config,
    again: (dists) =>
      rebuildJob(
        job.job,
        { config, paths: { ...paths, sshConfig: '/dev/null' }, ...(dists === undefined ? {} : { dists }) },
        log,
      ),
    retag: (files = []) => void repository.release(keys, [alice], 'v1.0-1', tinyPackage('1.0-1', files)),
  };
}

const verdicts = (compared: Compared[]): string[] =>
  compared.map(({ dist, name, verdict }) => `${dist} ${name} ${verdict}`);

void t.test(
  'the same tag gives the same bytes, but for the time of the build in its papers, and leaves nothing behind',
  async (t) => {
    const { again, root } = await standing(t);
    const compared = await again();
    t.same(
      verdicts(compared),
      ['one', 'two'].flatMap((dist) => [
        `${dist} x_1_all.buildinfo same-but-time`,
        `${dist} x_1_all.changes same-but-time`,
        `${dist} x_1_all.deb same`,
      ]),
    );
    t.ok(isReproduced(compared));
    t.same(readdirSync(join(root, 'var/lib/build-infra/rebuild')), []);
    t.same(
      verdicts(await again(['two'])).map((line) => line.slice(0, 3)),
      ['two', 'two', 'two'],
      'one distribution alone',
    );
  },
);

for (const [what, script, verdict] of [
  ['a package that comes out differently', 'echo >> "$out/x_1_all.deb"', 'one x_1_all.deb differs'],
  ['a package that does not come', 'rm "$out/x_1_all.deb"', 'one x_1_all.deb missing'],
  ['a package that was not there', 'echo > "$out/x_2_all.deb"', 'one x_2_all.deb new'],
  [
    'papers that say something else',
    'echo Source: y >> "$out/x_1_all.buildinfo"',
    'one x_1_all.buildinfo differs',
  ],
] as const) {
  void t.test(`${what} is told`, async (t) => {
    const { again, more } = await standing(t);
    writeFileSync(more, script);
    const compared = await again(['one']);
    t.ok(verdicts(compared).includes(verdict), verdicts(compared).join(', '));
    t.notOk(isReproduced(compared));
  });
}

void t.test('a tag that is another one now is not built', async (t) => {
  const { again, retag, root } = await standing(t);
  retag([{ path: 'more', content: 'more\n' }]);
  t.equal(await codeOf(() => again()), 'TAG_MOVED');
  t.same(readdirSync(join(root, 'var/lib/build-infra/rebuild')), []);
});

void t.test('a tag whose maintainer is not trusted any more is not built', async (t) => {
  const { again, config } = await standing(t);
  Object.assign(config.components[0] as object, {
    maintainers: [{ name: 'alice', fingerprint: 'A'.repeat(40) }],
  });
  t.not(await codeOf(() => again()), 'none');
});

void t.test('only a job of this VM that built something is built again', async (t) => {
  const { job, config, root } = await standing(t);
  const again = (id: string): Promise<string> =>
    codeOf(() => rebuildJob(id, { config, paths: pathsUnder(root) }, new Lines()));
  t.equal(await again('hello-tiny-9-aaaaaaaaaaaa'), 'NO_SUCH_JOB');
  t.equal(await again('../../../etc'), 'NO_SUCH_JOB');
  writeFileSync(
    join(root, 'var/lib/build-infra/jobs', job.job, 'job.json'),
    JSON.stringify({ ...job, artifacts: [] }),
  );
  t.equal(await again(job.job), 'NO_SUCH_JOB');
  t.notOk(existsSync(join(root, 'var/lib/build-infra/rebuild', job.job)));
});
