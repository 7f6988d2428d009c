// SPDX-License-Identifier: GPL-2.0-or-later
// job.json is of one kind and has the fields of that kind alone, and what is not stops the agent: it is
// written by nobody else.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import {
  readJob,
  type Job,
  type ObeyedCommand,
  type RebuildOrder,
  type TemplateOrder,
} from '../../agents/shared/formats/job.js';
import { configFor, evidenceOf, jobOf, queueFor } from './jobs.js';

const command: ObeyedCommand = {
  sha256: 'd'.repeat(64),
  line: 'Build-template r4.3 debian-13 202611221000',
  signer: { name: 'alice', fingerprint: 'A'.repeat(40) },
  signed: '2026-11-22T10:00:00.000Z',
};
const template: TemplateOrder = { name: 'debian-13', release: 'r4.3', timestamp: '202611221000', command };
const rebuild: RebuildOrder = {
  of: 'one-1-aaaaaaaaaaaa',
  number: 1,
  sources: { bookworm: { source: 'one', version: '1', packages: '1+b1' } },
  command,
};
const upload = {
  dist: 'bookworm',
  url: 'https://packages.example/bookworm',
  suite: 'bookworm-current',
  release: '000001-aaaaaaaaaaaa',
  files: [{ name: 'one_1.dsc', size: 1, sha256: 'a'.repeat(64) }],
};
const build = jobOf(configFor(['bookworm']), 'one', '1', 1, ['fetch', 'build bookworm'], {
  evidence: evidenceOf(),
  line: '1',
  suites: 'lts',
  rebuild,
  specs: ['one', 'two'],
  modules: { one: 'a'.repeat(40) },
  closes: [{ commit: 'a'.repeat(40), subject: 'x', issues: ['#1'] }],
  uploaded: [upload],
  switched: [{ ...upload, repository: 'current' }],
  cancelled: '2026-11-22T10:00:00.000Z',
  waiting: [{ dist: null, code: 'X', detail: '', since: '' }],
  reasons: [{ stage: 'sign', dist: 'bookworm', code: 'X', detail: '' }],
  reason: { code: 'X', detail: '' },
});
const {
  rebuild: _r,
  evidence: _e,
  line: _l,
  suites: _s,
  specs: _p,
  modules: _m,
  closes: _c,
  ...plain
} = build;
const noTag = { tag: '', tagObject: '', url: '', evidence: null } as const;
const jobs: Job[] = [
  build,
  { ...plain, ...noTag, kind: 'template', template },
  {
    ...build,
    kind: 'promotion',
    configuration: null,
    change: { of: build.job, suite: 'lts-current', command },
  },
  {
    ...plain,
    ...noTag,
    template,
    kind: 'promotion',
    configuration: null,
    change: { of: build.job, suite: 'templates-itl', command },
  },
  {
    ...build,
    kind: 'withdrawal',
    configuration: null,
    change: { of: build.job, suite: null, command: null },
  },
  { ...plain, ...noTag, kind: 'renewal', configuration: null, change: null },
];
const bytesOf = (document: unknown): Buffer => Buffer.from(JSON.stringify(document));

for (const job of jobs) {
  void t.test(
    `a ${job.kind}${'template' in job ? ' of a template' : ''} is read as it was written, and has every field of its kind and no other`,
    (t) => {
      t.strictSame(readJob(bytesOf(job)), job);
      const optional = new Set([
        'cancelled',
        'switched',
        'line',
        'suites',
        'rebuild',
        'specs',
        'modules',
        'closes',
      ]);
      for (const name of Object.keys(job))
        if (!optional.has(name))
          t.throws(
            () => readJob(bytesOf({ ...job, [name]: undefined })),
            { code: 'BAD_DOCUMENT' },
            `without ${name}`,
          );
      const strange = { ...('rebuild' in job ? { template } : { rebuild }), odd: 1 };
      for (const [name, value] of Object.entries(strange))
        t.throws(() => readJob(bytesOf({ ...job, [name]: value })), { code: 'BAD_DOCUMENT' }, `with ${name}`);
      t.end();
    },
  );
}

void t.test('what is no job of this version stops the agent', (t) => {
  for (const [what, document] of Object.entries({
    'another format': { ...build, format: 'build-infra/job@9' },
    'another kind': { ...build, kind: 'odd' },
    'another name': { ...build, job: 'one-2-bbbbbbbbbbbb' },
    'no object': 1,
  })) {
    const { folder, again } = queueFor(t);
    mkdirSync(join(folder, 'jobs', build.job), { recursive: true });
    writeFileSync(join(folder, 'jobs', build.job, 'job.json'), bytesOf(document));
    t.throws(again, /not a job of this version/, what);
  }
  t.end();
});

void t.test('a field of another kind does not compile', (t) => {
  const read = (job: Job): unknown[] => [
    // @ts-expect-error only what is made of a template has one
    job.template,
    // @ts-expect-error only what is made of a tag has one
    job.rebuild,
    // @ts-expect-error what moves nothing has none
    job.change.of,
  ];
  t.throws(() => read(build));
  t.end();
});
