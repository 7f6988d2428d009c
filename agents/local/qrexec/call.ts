// SPDX-License-Identifier: GPL-2.0-or-later
// One call, from the bytes a VM sent to the moment its two ends have met. Here it is decided; the data never
// passes here.
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { chosenTarget, evaluate, type Verdict } from '../policy/evaluate.js';
import {
  cleanService,
  cleanTarget,
  serviceBytes,
  serviceNameBytes,
  splitService,
} from '../policy/request.js';
import { PolicyError, type Rule } from '../policy/rule.js';
import type { SystemInfo } from '../policy/system-info.js';
import type { CallEvent, EndedEvent } from './events.js';
import { newCallId, removeIfThere, type Vm } from './vm.js';

export interface CallContext {
  policy: () => readonly Rule[] | PolicyError;
  system: () => SystemInfo;
  vm: (name: string) => Vm | undefined;
  /** the chosen target, or null for "no" */
  answer: (verdict: Verdict & { result: 'ask' }, source: string, service: string) => Promise<string | null>;
  report: (event: CallEvent | EndedEvent) => void;
}

const requestBytes = 70_000;
const requestTimeoutMs = 30_000;
const meetTimeoutMs = 120_000;

interface UntrustedRequest {
  target: Buffer;
  service: Buffer;
}

/** TARGET, NUL, SERVICE, NUL, what a relay would add, NUL; undefined where that does not come. */
function readRequest(connection: Socket): Promise<UntrustedRequest | undefined> {
  return new Promise((resolve) => {
    let seen = Buffer.alloc(0);
    const finish = (request: UntrustedRequest | undefined): void => {
      clearTimeout(timer);
      connection.off('data', onData).off('close', onClose);
      connection.resume();
      resolve(request);
    };
    const onData = (chunk: Buffer): void => {
      seen = Buffer.concat([seen, chunk]);
      const first = seen.indexOf(0);
      const second = first < 0 ? -1 : seen.indexOf(0, first + 1);
      if (second >= 0 && seen.indexOf(0, second + 1) >= 0)
        finish({ target: seen.subarray(0, first), service: seen.subarray(first + 1, second) });
      else if (seen.length > requestBytes) finish(undefined);
    };
    const onClose = (): void => finish(undefined);
    const timer = setTimeout(() => finish(undefined), requestTimeoutMs);
    connection.on('data', onData).on('close', onClose);
  });
}

const denied = (reason: string): Verdict => ({
  result: 'deny',
  reason,
  requested: '',
  notify: false,
  rule: null,
});

async function decide(
  context: CallContext,
  source: string,
  target: string,
  untrusted: UntrustedRequest,
  service: string,
): Promise<Verdict> {
  if (untrusted.service.length > serviceBytes)
    return denied(`SERVICE+ARGUMENT is longer than ${serviceBytes} bytes`);
  const rules = context.policy();
  if (rules instanceof PolicyError) return denied(`the policy cannot be read: ${rules.message}`);
  const verdict = evaluate(rules, context.system(), { source, target, service });
  if (verdict.result !== 'ask') return verdict;
  const chosen = chosenTarget(
    verdict,
    await context.answer(verdict, source, service),
    source,
    context.system(),
  );
  return chosen ?? { ...denied('asked, and nobody said yes'), rule: verdict.rule };
}

/** Serves one connection from the VM `source`: the socket it came in on is what says so. */
export async function serveCall(context: CallContext, source: Vm, connection: Socket): Promise<void> {
  const untrusted = await readRequest(connection);
  if (untrusted === undefined) return void connection.destroy();
  const asked = cleanTarget(untrusted.target);
  const service = cleanService(untrusted.service);
  const verdict = await decide(context, source.spec.name, asked, untrusted, service);
  const id = newCallId();
  const report = (target: string | null, reason: string): void => {
    const rule =
      verdict.rule === null ? null : `${verdict.rule.file}:${verdict.rule.line}: ${verdict.rule.text}`;
    context.report({
      event: 'call',
      id,
      time: new Date().toISOString(),
      source: source.spec.name,
      asked,
      target,
      service,
      verdict: reason === '' ? 'allow' : 'deny',
      reason,
      rule,
    });
  };
  if (verdict.result !== 'allow') {
    report(null, verdict.result === 'deny' ? verdict.reason : 'not answered');
    return void connection.end('refused\n');
  }
  const target = context.vm(verdict.target);
  if (target === undefined) {
    report(
      verdict.target,
      verdict.target === 'dom0' ? 'dom0 runs no service here' : 'this stand-in makes no disposables',
    );
    return void connection.end(verdict.target === 'dom0' ? 'exit 127\n' : 'refused\n');
  }
  if (splitService(service).service.length > serviceNameBytes) {
    report(verdict.target, 'the name of the service is too long');
    return void connection.end('exit 125\n');
  }
  try {
    await target.start();
  } catch (error) {
    report(verdict.target, (error as Error).message);
    return void connection.end('refused\n');
  }
  const leave = target.places.take(source.domid, target.domid);
  if (leave === undefined) {
    report(verdict.target, `${verdict.target} has no place left for callers of this side`);
    return void connection.end('refused\n');
  }
  if (connection.closed) leave();
  else connection.once('close', leave);
  report(verdict.target, '');
  await meet(context, { id, source, target, service, user: verdict.user }, connection);
}

interface Meeting {
  id: string;
  source: Vm;
  target: Vm;
  service: string;
  user: string | null;
}

/** Brings the two ends together. The caller keeps its connection to dom0 open as long as the call lasts. */
async function meet(
  context: CallContext,
  { id, source, target, service, user }: Meeting,
  connection: Socket,
): Promise<void> {
  if (connection.destroyed) return;
  const begun = process.hrtime.bigint();
  let status: number | null = null;
  const link = join(source.vchan, id);
  const timer = setTimeout(() => connection.end('exit 1\n'), meetTimeoutMs);
  connection.once('close', () => {
    clearTimeout(timer);
    target.forget(id);
    removeIfThere(link);
    context.report({
      event: 'ended',
      id,
      source: source.spec.name,
      target: target.spec.name,
      service,
      status,
      seconds: Number(process.hrtime.bigint() - begun) / 1e9,
    });
  });
  const parts = splitService(service);
  const request = {
    op: 'call',
    service: parts.service,
    argument: parts.argument.slice(1),
    source: source.spec.name,
    user: user ?? target.spec.defaultUser ?? 'user',
  };
  try {
    await target.prepare(id, request, {
      met: () => {
        clearTimeout(timer);
        removeIfThere(link);
      },
      ended: (found) => {
        status = found;
      },
    });
    // The caller's VM may have been killed meanwhile, before its connection was seen to close: nothing is put
    // into its folder any more.
    if (connection.destroyed || source.state === 'halted') return;
    target.moveMeetingTo(source, id);
    connection.write(`meet /run/qubes/vchan/${id}\n`);
  } catch {
    connection.end('refused\n');
  }
}
