// SPDX-License-Identifier: GPL-2.0-or-later
// Commands that are good, and what is asked of a good signature: who, what, when, and once.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Job } from '../../agents/build-vm/jobs/job-document.js';
import { Refusal } from '../../agents/build-vm/refusals.js';
import { noPromotions } from '../../agents/build-vm/github-command/promotions.js';
import { until } from '../support/until.js';
import {
  alice,
  bob,
  clearsign,
  commit,
  desk,
  everything,
  gpgTime,
  job,
  keys,
  secondsAgo,
  upload,
} from './commands.js';

t.teardown(() => keys.end());
const build = 'Build-component r4.3 hello';

void t.test('a command that gpg signed is carried out', async (t) => {
  const d = await desk(t);
  t.equal(await d.ask(clearsign(build)), 'accepted hello-1.0-000000000001');
  t.same(d.done, ['build hello']);
  t.match(d.log.join('\n'), /command [0-9a-f]{12} of alice, "Build-component r4\.3 hello": accepted hello/);
});

for (const hash of ['SHA256', 'SHA384', 'SHA512']) {
  void t.test(`a signature with ${hash} is taken`, async (t) => {
    t.match(
      await (await desk(t)).ask(clearsign(build, alice, { more: ['--digest-algo', hash] })),
      /^accepted /,
    );
  });
}

void t.test('a signature by RSA or ECDSA, or by a subkey, is taken', async (t) => {
  const rsa =
    keys.gpg([
      '--faked-system-time',
      '20260101T000000',
      '--quick-gen-key',
      'rsa <rsa@example.org>',
      'rsa3072',
      'sign',
      'never',
    ]) && keys.exported('rsa');
  const ecdsa =
    keys.gpg([
      '--faked-system-time',
      '20260101T000000',
      '--quick-gen-key',
      'ecdsa <ecdsa@example.org>',
      'nistp256',
      'sign',
      'never',
    ]) && keys.exported('ecdsa');
  keys.gpg([
    '--faked-system-time',
    '20260101T000000',
    '--quick-gen-key',
    'withsub <withsub@example.org>',
    'ed25519',
    'cert',
    'never',
  ]);
  keys.gpg([
    '--faked-system-time',
    '20260101T000000',
    '--quick-add-key',
    keys.exported('withsub').fingerprint,
    'ed25519',
    'sign',
    'never',
  ]);
  const withsub = keys.exported('withsub');
  const people = [rsa, ecdsa, withsub].map((key) => ({
    name: key.name,
    fingerprint: key.fingerprint,
    ...everything,
  }));
  const d = await desk(t, { people, keys: [rsa, ecdsa, withsub] });
  for (const key of [rsa, ecdsa, withsub])
    t.match(await d.ask(clearsign(build, key)), /^accepted /, key.name);
});

void t.test(
  'what a browser, an API or a terminal does to line ends and blanks changes nothing, and is the same use',
  async (t) => {
    const signed = clearsign(build);
    const forms = {
      'as gpg wrote it': signed,
      'CRLF, as browsers send it': signed.replaceAll('\n', '\r\n'),
      'without the last line end': signed.trimEnd(),
      'CRLF without the last': signed.trimEnd().replaceAll('\n', '\r\n'),
      'blanks at the ends of lines': signed.replaceAll('\n', '  \n'),
      'without the checksum': signed.replace(/^=.*\n/m, ''),
    };
    for (const [what, form] of Object.entries(forms))
      t.match(await (await desk(t)).ask(form), /^accepted /, what);
    const d = await desk(t);
    t.match(await d.ask(signed), /^accepted /);
    for (const [what, form] of Object.entries(forms))
      t.equal(await d.ask(form), 'refused COMMAND_USED', what);
    t.equal(d.done.length, 1);
  },
);

void t.test('an upload names what was built, and gets the job that built it', async (t) => {
  const d = await desk(t);
  const newer = job({ dists: ['bookworm', 'trixie'] });
  d.jobs.push(newer, job({ state: 'failed' }), job({ component: 'other' }), job({ evidence: null }));
  t.equal(await d.ask(clearsign(upload)), 'accepted promotion-1');
  t.match(d.promoted[0], {
    verb: 'Upload-component',
    job: { job: newer.job },
    dists: ['bookworm', 'trixie'],
    repository: 'current',
    release: 'r4.3',
    signer: { name: 'alice', fingerprint: alice.fingerprint },
    line: upload,
  });
});

void t.test(
  'a commit that was checked out, fetched or failed, but not built and published here, is refused',
  async (t) => {
    const d = await desk(t);
    d.jobs.length = 0;
    for (const state of ['queued', 'running', 'failed', 'refused'] as const) d.jobs.push(job({ state }));
    d.jobs.push(job({ component: 'other' }));
    t.equal(await d.ask(clearsign(upload)), 'refused UNKNOWN_COMMIT');
    t.same(d.done, []);
  },
);

void t.test("distributions, one, several and all, by our names and by upstream's", async (t) => {
  const d = await desk(t);
  const dists = async (words: string): Promise<unknown> => {
    const answer = await d.ask(clearsign(upload.replace('all', words)));
    return answer.startsWith('accepted')
      ? d.promoted.at(-1) !== undefined && (d.promoted.at(-1) as { dists: string[] }).dists
      : answer;
  };
  t.same(await dists('trixie'), ['trixie']);
  t.same(await dists('vm-trixie'), ['trixie']);
  t.same(await dists('vm-trixie,bookworm'), ['trixie', 'bookworm']);
  t.same(await dists('host-fc41,vm-bookworm'), ['bookworm'], "host-fc41 is another environment's");
  t.equal(await dists('host-fc41'), 'refused OTHER_DISTRIBUTION');
  t.equal(await dists('trixie,vm-trixie'), 'refused DISTRIBUTION_TWICE');
  t.equal(await dists('sid'), 'refused NOT_BUILT');
  t.equal(await dists('trixie,sid'), 'refused NOT_BUILT', 'all or nothing');
  t.equal(
    await d.ask(clearsign(`Upload hello ${commit} r4.3 current vm-trixie vm-bookworm repo`)),
    `accepted promotion-${d.done.length}`,
    "upstream's older grammar",
  );
  t.same((d.promoted.at(-1) as { dists: string[] }).dists, ['trixie', 'bookworm']);
});

void t.test(
  'a rebuild is of the job that published the source, and its packages are moved apart from those that were not rebuilt',
  async (t) => {
    const d = await desk(t);
    d.jobs.length = 0;
    const base = job();
    const rebuilt = job({
      rebuild: {
        of: base.job,
        number: 1,
        sources: {},
        command: { sha256: '', line: '', signer: { name: '', fingerprint: '' }, signed: '' },
      },
      dists: ['trixie'],
    });
    d.jobs.push(base, rebuilt, job({ component: 'other' }));
    const rebuild = `Rebuild-component r4.3 hello ${commit} 2 all`;
    t.match(await d.ask(clearsign(rebuild)), /^accepted /);
    t.match(d.promoted.at(-1), {
      verb: 'Rebuild-component',
      job: { job: base.job },
      dists: ['bookworm', 'trixie'],
      number: 2,
      line: rebuild,
      signer: { name: 'alice' },
    });
    t.equal(await d.ask(clearsign(rebuild.replace('all', 'sid'))), 'refused NOT_BUILT');
    t.equal(await d.ask(clearsign(rebuild.replace(commit, 'e'.repeat(40)))), 'refused UNKNOWN_COMMIT');
    t.equal(await d.ask(clearsign(upload)), 'refused SEVERAL_BUILDS');
    for (const [dist, of] of [
      ['trixie', rebuilt],
      ['bookworm', base],
    ] as const) {
      t.match(await d.ask(clearsign(upload.replace('all', dist))), /^accepted /);
      t.match(d.promoted.at(-1), { verb: 'Upload-component', job: { job: of.job }, dists: [dist] });
    }
  },
);

void t.test('what is allowed by no list is refused, each list for itself', async (t) => {
  const template = 'Upload-template r4.3 debian-13 4.3.0-202611221200 templates-itl';
  const rights = {
    verbs: ['Upload-component', 'Upload-template', 'Build-component', 'Retry'],
    components: ['hello'],
    distributions: ['trixie'],
    repositories: ['current', 'templates-itl'],
    templates: ['debian-13'],
  } as typeof everything;
  const trixie = upload.replace('all', 'trixie');
  const answers = async (line: string, change: Partial<typeof everything> = {}): Promise<string> => {
    const d = await desk(t, {
      people: [{ name: 'alice', fingerprint: alice.fingerprint, ...rights, ...change }],
    });
    d.jobs.push(job({ job: 'other-1-000000000000', component: 'other', state: 'failed' }));
    return d.ask(clearsign(line));
  };
  t.match(await answers(trixie), /^accepted /);
  t.match(await answers(template), /^accepted /);
  t.equal(await answers(trixie, { verbs: ['Build-component'] }), 'refused NOT_ALLOWED', 'the verb');
  t.equal(await answers(trixie, { components: ['other'] }), 'refused NOT_ALLOWED', 'the component');
  t.equal(await answers(trixie, { distributions: ['bookworm'] }), 'refused NOT_ALLOWED', 'the distribution');
  t.equal(
    await answers(upload),
    'refused NOT_ALLOWED',
    'all is more than the one distribution that is allowed',
  );
  t.equal(
    await answers(upload.replace('all', 'trixie,bookworm')),
    'refused NOT_ALLOWED',
    'one of two distributions',
  );
  t.equal(
    await answers(trixie, { repositories: ['security-testing'] }),
    'refused NOT_ALLOWED',
    'the repository',
  );
  t.equal(await answers(template, { templates: ['fedora-42'] }), 'refused NOT_ALLOWED', 'the template');
  const rebuild = `Rebuild-component r4.3 hello ${commit} 1 trixie`;
  t.equal(await answers(rebuild), 'refused NOT_ALLOWED', 'the verb, though builds and uploads are allowed');
  t.match(await answers(rebuild, { verbs: ['Rebuild-component'] }), /^accepted /);
  t.equal(
    await answers(rebuild.replace('trixie', 'all'), { verbs: ['Rebuild-component'] }),
    'refused NOT_ALLOWED',
    'a distribution',
  );
  t.equal(
    await answers(rebuild, { verbs: ['Rebuild-component'], components: ['other'] }),
    'refused NOT_ALLOWED',
    'the component of a rebuild',
  );
  t.equal(await answers('Build-component r4.3 other'), 'refused NOT_ALLOWED', 'the component of a build');
  t.equal(await answers('Retry other-1-000000000000'), 'refused NOT_ALLOWED', 'the component of a job');
  for (const list of ['verbs', 'components', 'distributions', 'repositories'] as const) {
    const left = Object.fromEntries(
      Object.entries(rights).filter(([key]) => key !== list),
    ) as typeof everything;
    const d = await desk(t, { people: [{ name: 'alice', fingerprint: alice.fingerprint, ...left }] });
    t.equal(await d.ask(clearsign(trixie)), 'refused NOT_ALLOWED', `no list of ${list} at all`);
  }
});

void t.test('a command of another release or of a component that is not here is refused', async (t) => {
  const d = await desk(t);
  t.equal(await d.ask(clearsign('Build-component r4.2 hello')), 'refused OTHER_RELEASE');
  t.equal(await d.ask(clearsign('Build-component r4.3 nobody')), 'refused UNKNOWN_COMPONENT');
  t.equal(await d.ask(clearsign('Retry hello-1-000000000000')), 'refused UNKNOWN_JOB');
});

void t.test('a failed job is retried', async (t) => {
  const d = await desk(t);
  const failed = job({ state: 'failed' });
  d.jobs.push(failed);
  t.equal(await d.ask(clearsign(`Retry ${failed.job}`)), `accepted ${failed.job}`);
  t.same(d.done, [`retry ${failed.job}`]);
});

void t.test('who retries a promotion needs the right to make it', async (t) => {
  const change: Job['change'] = {
    of: 'hello-2.10-3-000000000001',
    suite: 'current',
    command: {
      sha256: 'd'.repeat(64),
      line: upload,
      signer: { name: 'alice', fingerprint: alice.fingerprint },
      signed: '2026-11-20T10:00:00.000Z',
    },
  };
  const rights = {
    verbs: ['Retry', 'Upload-component'],
    components: ['hello'],
    distributions: ['trixie'],
    repositories: ['current'],
  } as typeof everything;
  const answer = async (change_: Partial<typeof everything>, dists: string[]): Promise<string> => {
    const d = await desk(t, {
      people: [{ name: 'bob', fingerprint: bob.fingerprint, ...rights, ...change_ }],
    });
    d.jobs.push(
      job({
        job: 'promotion-hello-2.10-3-00000000000a',
        kind: 'promotion',
        state: 'failed',
        change,
        dists,
        reasons: [{ stage: 'promote', dist: 'trixie', code: 'UPLOAD_FAILED', detail: '' }],
        finished: dists
          .filter((dist) => dist !== 'trixie')
          .map((dist) => ({ stage: 'promote', dist, started: '', ended: '', commandSeconds: null })),
      }),
    );
    return await d.ask(clearsign('Retry promotion-hello-2.10-3-00000000000a', bob));
  };
  t.match(await answer({}, ['trixie']), /^accepted promotion-/);
  t.match(
    await answer({}, ['bookworm', 'trixie']),
    /^accepted promotion-/,
    'bookworm is done and stays as it is',
  );
  t.equal(await answer({ verbs: ['Retry'] }, ['trixie']), 'refused NOT_ALLOWED', 'the verb');
  t.equal(
    await answer({ repositories: ['security-testing'] }, ['trixie']),
    'refused NOT_ALLOWED',
    'the repository',
  );
  t.equal(
    await answer({ distributions: ['bookworm'] }, ['trixie']),
    'refused NOT_ALLOWED',
    'the distribution',
  );
});

void t.test('who retries what was commanded needs the right to command it', async (t) => {
  const command = (
    line: string,
  ): { sha256: string; line: string; signer: { name: string; fingerprint: string }; signed: string } => ({
    sha256: 'd'.repeat(64),
    line,
    signer: { name: 'alice', fingerprint: alice.fingerprint },
    signed: '2026-11-20T10:00:00.000Z',
  });
  const rights = {
    verbs: ['Retry', 'Rebuild-component', 'Build-template'],
    components: ['hello'],
    distributions: ['trixie'],
    repositories: [],
    templates: ['debian-13'],
  } as unknown as typeof everything;
  const answer = async (which: Partial<Job>, change: Partial<typeof everything> = {}): Promise<string> => {
    const d = await desk(t, {
      people: [{ name: 'bob', fingerprint: bob.fingerprint, ...rights, ...change }],
    });
    d.jobs.push(
      job({
        job: 'hello-2.10-3-00000000000a',
        state: 'failed',
        dists: ['trixie'],
        uploaded: [],
        reasons: [{ stage: 'build', dist: 'trixie', code: 'BUILD_FAILED', detail: '' }],
        ...which,
      }),
    );
    return await d.ask(clearsign('Retry hello-2.10-3-00000000000a', bob));
  };
  const rebuild: Partial<Job> = {
    rebuild: {
      of: 'x',
      number: 1,
      sources: {},
      command: command(`Rebuild-component r4.3 hello ${commit} 1 all`),
    },
  };
  const template: Partial<Job> = {
    kind: 'template',
    template: {
      name: 'debian-13',
      release: 'r4.3',
      timestamp: '202611221200',
      command: command('Build-template r4.3 debian-13 202611221200'),
    },
  };
  t.match(await answer(rebuild), /^accepted /);
  t.equal(await answer(rebuild, { verbs: ['Retry'] }), 'refused NOT_ALLOWED', 'the verb');
  t.equal(await answer(rebuild, { distributions: ['bookworm'] }), 'refused NOT_ALLOWED', 'the distribution');
  t.equal(await answer(rebuild, { components: ['other'] }), 'refused NOT_ALLOWED', 'the component');
  t.match(
    await answer({
      ...rebuild,
      dists: ['bookworm', 'trixie'],
      finished: [{ stage: 'publish', dist: 'bookworm', started: '', ended: '', commandSeconds: null }],
    }),
    /^accepted /,
    'bookworm is done',
  );
  t.match(await answer(template), /^accepted /);
  t.equal(
    await answer(template, { verbs: ['Retry', 'Rebuild-component'] }),
    'refused NOT_ALLOWED',
    'the verb for a template',
  );
  t.match(
    await answer({}, { verbs: ['Retry'], distributions: [] }),
    /^accepted /,
    'what a tag asked for takes no other right',
  );
});

void t.test('the window: a command is not too old, and not from the future', async (t) => {
  const d = await desk(t, { config: { windowSeconds: 3600 } });
  const signedAt = (seconds: number): string => clearsign(build, alice, { at: gpgTime(secondsAgo(seconds)) });
  t.match(await d.ask(signedAt(3500)), /^accepted /);
  t.equal(await d.ask(signedAt(3700)), 'refused TOO_OLD');
  t.match(await d.ask(signedAt(-200)), /^accepted /, 'clocks differ a little');
  t.equal(await d.ask(signedAt(-400)), 'refused FROM_THE_FUTURE');
  t.equal(d.done.length, 2);
});

void t.test('a template is built for about the minute in which its command was signed', async (t) => {
  const d = await desk(t);
  const at = (seconds: number): string =>
    clearsign(`Build-template r4.3 debian-13 ${gpgTime(secondsAgo(seconds)).replace('T', '').slice(0, 12)}`);
  t.match(await d.ask(at(0)), /^accepted /);
  t.equal(await d.ask(at(3 * 3600)), 'refused BAD_TIMESTAMP');
  t.equal(await d.ask(at(-3600)), 'refused BAD_TIMESTAMP');
});

void t.test(
  "a template's command that was held back for hours builds nothing, and one that a kill broke off does when it comes to it",
  async (t) => {
    let late = 2 * 3600;
    const now = (): Date => new Date(Date.now() + late * 1000);
    const d = await desk(t, { options: { now } });
    const at = gpgTime(new Date()).replace('T', '').slice(0, 12);
    t.equal(await d.ask(clearsign(`Build-template r4.3 debian-13 ${at}`)), 'refused BAD_TIMESTAMP');
    late = 0;
    const killed = { start: () => new Promise<string>(() => undefined) };
    await d.restart({ now, promotions: killed });
    void d.ask(clearsign(`Build-template r4.3 fedora-42 ${at}`)).catch(() => undefined);
    await until('it to be taken', () => readdirSync(join(d.folder, 'commands')).length === 3);
    late = 2 * 3600;
    await d.restart({ now });
    t.match(d.promoted, [{ verb: 'Build-template', template: 'fedora-42' }]);
  },
);

void t.test(
  'the same words signed again, a second later or by somebody else, are another command',
  async (t) => {
    const d = await desk(t);
    t.match(await d.ask(clearsign(build, alice, { at: gpgTime(secondsAgo(20)) })), /^accepted /);
    t.match(await d.ask(clearsign(build, alice, { at: gpgTime(secondsAgo(10)) })), /^accepted /);
    t.match(await d.ask(clearsign(build, bob, { at: gpgTime(secondsAgo(10)) })), /^accepted /);
    t.equal(d.done.length, 3);
  },
);

void t.test('a hundred deliveries of one command at once come to one', async (t) => {
  const d = await desk(t);
  const signed = clearsign(build);
  const answers = await Promise.all(Array.from({ length: 100 }, () => d.ask(signed)));
  t.equal(answers.filter((answer) => answer.startsWith('accepted')).length, 1);
  t.equal(d.done.length, 1);
  t.ok(answers.includes('later BUSY'), 'a crowd is asked to come again');
});

void t.test('a command that was refused stays refused: nobody chooses a better moment for it', async (t) => {
  const d = await desk(t);
  d.jobs.length = 0;
  const signed = clearsign(upload);
  t.equal(await d.ask(signed), 'refused UNKNOWN_COMMIT');
  d.jobs.push(job());
  t.equal(await d.ask(signed), 'refused COMMAND_USED');
});

void t.test(
  'an old upload cannot bring back a withdrawn package: used once, then too old, whatever the clock says',
  async (t) => {
    let now = new Date();
    const d = await desk(t, { config: { windowSeconds: 3600 }, options: { now: () => now } });
    const signed = clearsign(upload);
    t.match(await d.ask(signed), /^accepted /);
    await d.restart();
    t.equal(await d.ask(signed), 'refused COMMAND_USED', 'after a restart');
    now = new Date(Date.now() + 30 * 3600_000);
    t.equal(await d.ask(signed), 'refused TOO_OLD', 'after the window');
    t.match(await d.ask(clearsign(build, bob, { at: gpgTime(now) })), /^accepted /);
    t.equal(
      readdirSync(join(d.folder, 'commands')).filter((name) => name.length > 64).length,
      1,
      'by then its record is gone',
    );
    await d.restart();
    now = new Date();
    t.equal(await d.ask(signed), 'refused TOO_OLD', 'after the clock was set back');
    t.equal(d.promoted.length, 1);
  },
);

void t.test('where everything that was used is lost, nothing that was signed before counts', async (t) => {
  const d = await desk(t, { begins: secondsAgo(60) });
  t.equal(await d.ask(clearsign(build, alice, { at: gpgTime(secondsAgo(90)) })), 'refused TOO_OLD');
  t.match(await d.ask(clearsign(build, alice, { at: gpgTime(secondsAgo(30)) })), /^accepted /);
  await d.restart();
  t.equal(
    await d.ask(clearsign(build, alice, { at: gpgTime(secondsAgo(90)) })),
    'refused TOO_OLD',
    'also at the next start',
  );
});

void t.test(
  'killed between the use and the outcome, it is carried out after the start, and never twice',
  async (t) => {
    const d = await desk(t);
    const signed = clearsign(upload);
    const never = new Promise<string>(() => undefined);
    await d.restart({ promotions: { start: () => never } });
    void d.ask(signed);
    while (!readdirSync(join(d.folder, 'commands')).some((name) => name.length > 64))
      await new Promise((resolve) => setTimeout(resolve, 5));
    await d.restart();
    t.same(d.done, [`promote ${upload}`], 'carried out by the next process');
    t.equal(await d.ask(signed), 'refused COMMAND_USED');
    await d.restart();
    t.equal(d.done.length, 1);
  },
);

void t.test(
  'what a fault or a kill broke off is not carried out long after its window, and keeps no other from being',
  async (t) => {
    let now = new Date();
    const d = await desk(t, { config: { windowSeconds: 3600 }, options: { now: () => now } });
    const full = async (): Promise<string> => {
      throw new Error('ENOSPC: no space left on device');
    };
    await d.restart({ promotions: { start: full }, build: full });
    const signed = clearsign(upload);
    await t.rejects(d.ask(signed));
    await t.rejects(d.ask(clearsign(build)));
    await d.restart({ promotions: { start: full } });
    t.same(d.done, ['build hello'], 'the second one, though the first meets the same fault');
    t.match(d.log.join('\n'), /Upload-component .*: fault: .*ENOSPC/);
    now = new Date(now.getTime() + 20 * 3600_000);
    await d.restart({ promotions: { start: full } });
    now = new Date(now.getTime() + 20 * 86_400_000);
    await d.restart();
    t.same(d.done, ['build hello'], 'weeks later it is too late');
    t.equal(
      JSON.parse(
        readFileSync(
          join(
            d.folder,
            'commands',
            readdirSync(join(d.folder, 'commands')).find((name) =>
              readFileSync(join(d.folder, 'commands', name), 'utf8').includes('Upload-component'),
            ) ?? '',
          ),
          'utf8',
        ),
      ).code,
      'TOO_OLD',
    );
  },
);

void t.test('killed after a retry was queued, the job is not queued once more', async (t) => {
  const d = await desk(t);
  const failed = job({ state: 'failed' });
  d.jobs.push(failed);
  await d.restart({
    retry: () => {
      throw new Error('killed');
    },
  });
  await t.rejects(d.ask(clearsign(`Retry ${failed.job}`)));
  failed.state = 'running';
  await d.restart();
  t.same(d.done, []);
  t.same(readdirSync(join(d.folder, 'commands')).length, 2, 'the command and the floor');
});

void t.test('a forge that is away uses no command up', async (t) => {
  const d = await desk(t);
  const signed = clearsign(build);
  await d.restart({
    build: async () => {
      throw new Refusal('FORGE_UNREACHABLE', 'away');
    },
  });
  t.equal(await d.ask(signed), 'later FORGE_UNREACHABLE');
  await d.restart();
  t.match(await d.ask(signed), /^accepted /);
});

void t.test('as long as this agent promotes nothing it says so, after every check', async (t) => {
  const d = await desk(t, { options: { promotions: noPromotions } });
  t.equal(await d.ask(clearsign(upload)), 'refused NOT_HERE');
  t.equal(await d.ask(clearsign(upload.replace('hello', 'other'))), 'refused UNKNOWN_COMMIT');
});
