// SPDX-License-Identifier: GPL-2.0-or-later
// Finds what a lost webhook would have missed: asks each component's forge for its tags, nothing more, and
// triggers as a webhook does.
import { AnyRefusal, printable } from '../../shared/refusal.js';
import type { Refusal } from '../refusals.js';
import type { Reporter } from '../../shared/calls/socket-service.js';
import type { Trigger } from './trigger.js';

// What a poll finds again and again without anyone having to hear of it.
const quiet = new Set<string>(['ROLLBACK', 'NO_VERSION_TAG', 'NOT_ANNOTATED'] satisfies Refusal['code'][]);

export interface PollerOptions {
  components: readonly string[];
  trigger: Trigger;
  pollSeconds: number;
  report: Reporter;
}

/** One round over all components, one after the other. */
export async function pollOnce({ components, trigger, report }: PollerOptions): Promise<void> {
  for (const component of components) {
    try {
      const answer = await trigger.trigger(component);
      if (answer.kind === 'queued') report(`poll: ${component}: queued ${answer.job}`);
    } catch (error) {
      if (error instanceof AnyRefusal && quiet.has(error.code)) continue;
      report(`poll: ${component}: ${error instanceof AnyRefusal ? error.line() : printable(String(error))}`);
    }
  }
}

/** Polls soon after the start (at most 30 s) and then every pollSeconds, counted from the end of a round. */
export function startPoller(options: PollerOptions): { stop: () => void } {
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;
  const round = async (): Promise<void> => {
    await pollOnce(options);
    if (!stopped) timer = setTimeout(() => void round(), options.pollSeconds * 1000);
  };
  timer = setTimeout(() => void round(), Math.min(options.pollSeconds, 30) * 1000);
  return {
    stop: () => {
      stopped = true;
      clearTimeout(timer);
    },
  };
}
