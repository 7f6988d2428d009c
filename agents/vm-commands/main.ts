// SPDX-License-Identifier: GPL-2.0-or-later
// `build-infra` inside a VM of the farm. It wires and decides nothing. Exit 0: nothing is missing, or done; 1: something is missing, or refused; 2: a fault.
import { parseArgs } from 'node:util';
import { printable } from '../shared/refusal.js';
import { Refusal } from './refusals.js';
import { giveCommand, readStatus } from './build-commands.js';
import { examine } from '../doctor/doctor.js';
import { embeddedManifests } from '../doctor/embedded-manifests.js';
import { listJobs, showJob } from './job-commands.js';
import { thisMachine } from '../doctor/machine.js';

const usage = `usage: build-infra doctor [--online] [--json]   tell what is missing in this VM, one line each; changes nothing
       build-infra status [--json]             in build-<env>, as root: jobs and their state
       build-infra jobs [--component NAME] [--state STATE] [--json]   in build-<env>, as root: all jobs, newest first
       build-infra jobs show JOB [--json]      in build-<env>, as root: everything about one
       build-infra jobs cancel JOB             in build-<env>, as root: end what it builds, and begin nothing more of it
       build-infra trigger COMPONENT           in build-<env>, as root: build the newest signed tag, as a webhook or the poller would
       build-infra retry JOB                   in build-<env>, as root: try a failed or refused job again
       build-infra withdraw COMPONENT VERSION  in build-<env>, as root: take a published version out of every suite, for good

  --online   in build-<env> and logs VMs: also reach every remote and the upload by ssh, with this VM's key
`;

const root = process.env['BUILD_INFRA_ROOT'] ?? '';
const say = (text: string): boolean => process.stdout.write(`${text}\n`);

async function doctor(online: boolean, json: boolean): Promise<number> {
  if (embeddedManifests.length === 0) throw new Error('this program was not bundled: it knows no manifest');
  const machine = thisMachine(root);
  const { roles, report } = await examine(machine, embeddedManifests, online);
  if (json) {
    say(JSON.stringify({ format: 'build-infra/doctor@1', vm: machine.name, roles, ok: report.complete, checks: report.checks, findings: report.findings, remarks: report.remarks }));
    return report.complete ? 0 : 1;
  }
  for (const line of report.lines()) say(line);
  if (report.complete) say([`${machine.name} (${roles.join(', ')}): nothing is missing, ${report.checks} checks`, ...report.remarks].join('; '));
  return report.complete ? 0 : 1;
}

async function command(verb: Parameters<typeof giveCommand>[1], words: string[]): Promise<number> {
  const answer = await giveCommand(root, verb, words);
  say(printable(answer));
  return /^(?:queued|known|cancelled) /.test(answer) ? 0 : 1;
}

async function run(argv: string[]): Promise<number> {
  const [verb, ...rest] = argv;
  const { values, positionals } = parseArgs({ args: rest, strict: true, allowPositionals: true, options: { online: { type: 'boolean' }, json: { type: 'boolean' }, component: { type: 'string' }, state: { type: 'string' }, help: { type: 'boolean', short: 'h' } } });
  const [word, ...more] = positionals;
  if (values.help === true || verb === '--help' || verb === '-h') {
    process.stdout.write(usage);
    return 0;
  }
  const [json, online] = [values.json === true, values.online === true];
  const { component, state } = values;
  if (verb === 'jobs' && word === undefined && !online) {
    const { document, lines } = listJobs(root, { component, state });
    for (const line of json ? [JSON.stringify(document)] : lines) say(line);
    return 0;
  }
  if (component !== undefined || state !== undefined) return misused();
  if (verb === 'jobs' && word === 'show' && more.length === 1 && !online) {
    const { text, lines } = showJob(root, more[0] as string);
    for (const line of json ? [text.trimEnd()] : lines) say(line);
    return 0;
  }
  if (verb === 'jobs' && word === 'cancel' && more.length === 1 && !online && !json) return await command('cancel', more);
  if (verb === 'doctor' && word === undefined) return await doctor(online, json);
  if (verb === 'status' && word === undefined && !online) {
    const { text, lines } = readStatus(root);
    for (const line of json ? [text.trimEnd()] : lines) say(line);
    return 0;
  }
  if ((verb === 'trigger' || verb === 'retry' || verb === 'withdraw') && word !== undefined && more.length === (verb === 'withdraw' ? 1 : 0) && !online && !json) return await command(verb, [word, ...more]);
  return misused();
}

function misused(): number {
  process.stderr.write(usage);
  return 2;
}

try {
  process.exitCode = await run(process.argv.slice(2));
} catch (error) {
  const misuse = ((error as NodeJS.ErrnoException).code ?? '').startsWith('ERR_PARSE_ARGS');
  process.stderr.write(error instanceof Refusal ? `build-infra: ${error.line()}\n` : `build-infra: ${misuse ? '' : 'fault: '}${printable((error as Error).message)}\n${misuse ? usage : ''}`);
  process.exitCode = error instanceof Refusal ? 1 : 2;
}
