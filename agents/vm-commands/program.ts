// SPDX-License-Identifier: GPL-2.0-or-later
// The commands of `build-infra` inside a VM of the farm. It wires and decides nothing. Exit 0: nothing is
// missing, or done; 1: something is missing, or refused; 2: a fault.
import { visibleLine } from '../shared/visible-text.js';
import type { CommandCall, CommandRow, OptionRow, ProgramTable } from '../shared/command-line/program.js';
import { giveCommand, readStatus } from './build-commands.js';
import { examine } from '../doctor/doctor.js';
import { embeddedManifests } from '../doctor/embedded-manifests.js';
import { listJobs, showJob } from './job-commands.js';
import { thisMachine } from '../doctor/machine.js';
import { rootPrefix as root } from '../shared/root-prefix.js';

const say = (text: string): boolean => process.stdout.write(`${text}\n`);

async function doctor({ has }: CommandCall): Promise<number> {
  if (embeddedManifests.length === 0) throw new Error('this program was not bundled: it knows no manifest');
  const machine = thisMachine(root);
  const { roles, report } = await examine(machine, embeddedManifests, has('online'));
  if (has('json')) {
    const { complete: ok, checks, findings, remarks } = report;
    say(
      JSON.stringify({
        format: 'build-infra/doctor@1',
        vm: machine.name,
        roles,
        ok,
        checks,
        findings,
        remarks,
      }),
    );
    return ok ? 0 : 1;
  }
  for (const line of report.lines()) say(line);
  if (report.complete) {
    const good = `${machine.name} (${roles.join(', ')}): nothing is missing, ${report.checks} checks`;
    say([good, ...report.remarks].join('; '));
  }
  return report.complete ? 0 : 1;
}

/** What only looks: the document as one line of JSON, or lines for a person. */
function show({ has }: CommandCall, text: string, lines: readonly string[]): number {
  for (const line of has('json') ? [text.trimEnd()] : lines) say(line);
  return 0;
}

const asRoot = 'in build-<env>, as root';
const json: OptionRow = { name: 'json', does: 'prints one JSON document' };

/** A command that the agent obeys: its answer is one line. */
const given = (verb: Parameters<typeof giveCommand>[1], takes: string, does: string): CommandRow => ({
  words: verb === 'cancel' ? 'jobs cancel' : verb,
  takes,
  does,
  where: asRoot,
  run: async ({ words }) => {
    const answer = await giveCommand(root, verb, words);
    say(visibleLine(answer));
    return /^(?:queued|known|cancelled) /.test(answer) ? 0 : 1;
  },
});

export const vmProgram: ProgramTable = {
  name: 'build-infra',
  does: 'what a person does inside a VM of the farm',
  exit: '0 done, or nothing is missing; 1 refused, or something is missing; 2 not understood, or a fault',
  commands: [
    {
      words: 'doctor',
      does: 'tells what is missing in this VM, one line each; changes nothing',
      options: [
        {
          name: 'online',
          does: 'in build-<env> and logs VMs: also reaches every remote and the upload by ssh, with the key of this VM',
        },
        json,
      ],
      run: doctor,
    },
    {
      words: 'status',
      does: 'tells the jobs that run, wait and ended last',
      where: asRoot,
      options: [json],
      run: (call) => {
        const { text, lines } = readStatus(root);
        return show(call, text, lines);
      },
    },
    {
      words: 'jobs',
      does: 'lists all jobs, newest first',
      where: asRoot,
      options: [
        { name: 'component', value: 'NAME', does: 'only jobs of this component' },
        {
          name: 'state',
          value: 'STATE',
          does: 'only jobs in this state: queued, running, done, failed or refused',
        },
        {
          name: 'kind',
          value: 'KIND',
          does: 'only jobs of this kind: build, template, promotion, withdrawal or renewal',
        },
        { name: 'since', value: 'TIME', does: 'only jobs made since that day, 2026-11-22, or that time' },
        { name: 'limit', value: 'NUMBER', does: 'only so many, the newest' },
        json,
      ],
      run: (call) => {
        const { document, lines } = listJobs(root, {
          component: call.value('component'),
          kind: call.value('kind'),
          state: call.value('state'),
          since: call.value('since'),
          limit: call.value('limit'),
        });
        return show(call, JSON.stringify(document), lines);
      },
    },
    {
      words: 'jobs show',
      takes: 'JOB',
      does: 'tells everything about one job',
      where: asRoot,
      options: [json],
      run: (call) => {
        const { text, lines } = showJob(root, call.words[0] as string);
        return show(call, text, lines);
      },
    },
    given('cancel', 'JOB', 'ends what the job builds, and begins nothing more of it'),
    given('trigger', 'COMPONENT', 'builds the newest signed tag, as a webhook or the poller would'),
    given('retry', 'JOB', 'tries a failed or refused job again'),
    given('withdraw', 'COMPONENT VERSION', 'takes a published version out of every suite, for good'),
  ],
  elsewhere: {
    ...Object.fromEntries(
      ['audit', 'command', 'provision', 'policy', 'upgrade-pillar'].map((word) => [
        word,
        'it belongs to the program of a checkout: node dist/build-infra.mjs',
      ]),
    ),
  },
};
