// SPDX-License-Identifier: GPL-2.0-or-later
// qubesbuilder.ProcessGithubCommand: a comment in, one short line out. Where no commands are configured
// nobody may command anything.
import { AnyRefusal, printable } from '../../shared/refusal.js';
import { readAll, type Reporter, type Service } from '../../shared/calls/socket-service.js';
import type { Config } from '../configuration/config.js';
import type { JobQueue } from '../jobs/job-queue.js';
import type { Paths } from '../configuration/paths.js';
import { commentLimitBytes } from './clearsigned.js';
import {
  aheadSeconds,
  answerLine,
  CommandProcessor,
  strangersCode,
  type CommandAnswer,
  type CommandOptions,
} from './process-command.js';
import { noPromotions, type Promotions } from './promotions.js';
import { UsedCommands } from './used-commands.js';

export interface CommandServiceOptions {
  config: Config;
  paths: Paths;
  queue: JobQueue;
  build: (component: string) => Promise<string>;
  retry: (job: string) => void;
  promotions?: Promotions;
  answer: CommandOptions['answer'];
  report: Reporter;
}

const inputTimeoutMs = 30_000;

/** Also goes on with the commands that a kill broke off. */
export function commandService(options: CommandServiceOptions): Service {
  const { config, paths, queue, report } = options;
  const commands = config.commands ?? { releases: [], windowSeconds: 60, distributionWords: [], people: [] };
  const processor = new CommandProcessor({
    config: commands,
    dists: config.distributions.map(({ name }) => name),
    components: config.components.map(({ name }) => name),
    templates: (config.templates ?? []).map(({ name }) => name),
    publicKeys: paths.publicKeys,
    work: paths.work,
    used: new UsedCommands(paths.commands, new Date(Date.now() - aheadSeconds * 1000)),
    jobs: () => queue.all(),
    build: options.build,
    retry: options.retry,
    promotions: options.promotions ?? noPromotions,
    answer: options.answer,
    report,
  });
  processor
    .resume()
    .catch((error: unknown) =>
      report(`commands: fault: ${printable(String((error as Error).stack ?? error))}`),
    );
  return {
    name: 'qubesbuilder.ProcessGithubCommand',
    argument: '^$',
    handle: async ({ source, stream }) => {
      let answer: CommandAnswer;
      try {
        answer = await processor.process(await readAll(stream, commentLimitBytes, inputTimeoutMs));
      } catch (error) {
        if (!(error instanceof AnyRefusal)) throw error;
        answer = { kind: 'refused', code: strangersCode };
      }
      report(`qubesbuilder.ProcessGithubCommand from ${source}: ${answerLine(answer).trim()}`);
      stream.end(answerLine(answer));
    },
  };
}
