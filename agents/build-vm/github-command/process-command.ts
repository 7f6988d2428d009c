// SPDX-License-Identifier: GPL-2.0-or-later
// From a comment to what is done about it. Who calls, and every byte that comes, is untrusted until two
// programs have found one person's signature over one line. The order of the checks is the argument
// (decisions 090 to 093).
import { parseCommand, timestampSeconds, type Command } from '../../shared/formats/command.js';
import { AnyRefusal, printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import type { Reporter } from '../../shared/calls/socket-service.js';
import {
  isChainDone,
  isOver,
  orderedBy,
  uploadedDists,
  type BuildJob,
  type Job,
} from '../jobs/job-document.js';
import {
  isMeantHere,
  meantDists,
  refuseDistsWithoutRight,
  refuseOtherRelease,
  refuseAskedWithoutRight,
  refuseWithoutRight,
} from './authorisation.js';
import { readClearsigned } from './clearsigned.js';
import type { CommandRights, CommandsConfig } from '../configuration/commands-config.js';
import { signerOf } from './opinions.js';
import { readPeopleKeys } from './people-keys.js';
import type { Promotions } from './promotions.js';
import { readSignaturePacket } from './signature-packet.js';
import { commandFormat, commandIdentity, type CommandRecord, type UsedCommands } from './used-commands.js';

export interface CommandOptions {
  config: CommandsConfig;
  /** our distributions, in their order */
  dists: readonly string[];
  components: readonly string[];
  templates: readonly string[];
  publicKeys: string;
  work: string;
  used: UsedCommands;
  jobs: () => readonly Job[];
  /** the job that builds the component's newest version tag */
  build: (component: string) => Promise<string>;
  /** queues the job again */
  retry: (job: string) => void;
  promotions: Promotions;
  /** leaves the answer to a refused command where the notifier finds it; again for the same command changes nothing. @throws what is wrong with a disk */
  answer: (record: CommandRecord & { signature: string; code: string }) => void;
  report: Reporter;
  now?: () => Date;
}

/**
 * `later` is no answer: nothing was done, the command is as good as before, and whoever brought it is to
 * bring it again.
 */
export type CommandAnswer = { kind: 'accepted'; job: string } | { kind: 'refused' | 'later'; code: string };

export function answerLine(answer: CommandAnswer): string {
  return `${answer.kind} ${answer.kind === 'accepted' ? answer.job : answer.code}\n`;
}

/** Nobody's fault and soon over: such a command is not used up. */
const passing = new Set<string>(['FORGE_UNREACHABLE', 'TIMED_OUT'] satisfies Refusal['code'][]);
/**
 * Until the signer is known every refusal sounds the same: a stranger learns neither who may command nor how
 * far a forgery got.
 */
export const strangersCode = 'BAD_COMMAND' satisfies Refusal['code'];
/** So far two clocks may differ. */
export const aheadSeconds = 300;
/**
 * A template's timestamp, around the time of the signature and the time when the command came: upstream's
 * bounds.
 */
const templateSeconds = { before: 3600, after: 300 };
/** Records outlive the window by this, in which clocks may differ. */
const keptLongerSeconds = 86_400;
/**
 * What came in time is carried out so long after its window, since a VM may be off for a while; whoever
 * waited longer has asked again.
 */
const resumedLaterSeconds = 86_400;
const waitingLimit = 16;
/** So many refusals of one signer are answered in an hour: what more of them come is a fault of somebody's program, or a stolen key. */
export const answersLimit = 10;
const answersMs = 3600_000;

interface Signed {
  command: Command;
  line: string;
  /** seconds since 1970 */
  created: number;
  /** base64; of a command that a kill broke off it is in its record */
  signature?: string;
  person: CommandRights;
}

export class CommandProcessor {
  readonly #options: CommandOptions;
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  constructor(options: CommandOptions) {
    this.#options = options;
  }

  /**
   * What a kill broke off between its use and its outcome. Call it before the first command; those that come
   * meanwhile wait.
   */
  resume(): Promise<void> {
    for (const record of this.#options.used.unanswered()) this.#answer(record);
    const mine = this.#resume(this.#options.used.taken());
    this.#last = mine.catch(() => undefined);
    return mine;
  }

  async #resume(broken: readonly CommandRecord[]): Promise<void> {
    for (const record of broken) {
      try {
        await this.#resumeOne(record);
      } catch (error) {
        // The others are not to blame.
        this.#options.report(
          `command ${record.command.slice(0, 12)} of ${record.signer.name}, "${record.line}": fault: ${printable(String((error as Error).stack ?? error))}`,
        );
      }
    }
  }

  async #resumeOne(record: CommandRecord): Promise<void> {
    const { config } = this.#options;
    const created = Date.parse(record.signed) / 1000;
    const person = config.people.find(({ fingerprint }) => fingerprint === record.signer.fingerprint);
    const isLate = created < this.#now().getTime() / 1000 - config.windowSeconds - resumedLaterSeconds;
    await this.#carryOut(
      record,
      isLate
        ? 'too late'
        : person && { command: parseCommand(record.line).command, line: record.line, created, person },
      true,
    );
  }

  /** One at a time: a crowd of forgeries costs one gpgv at a time. @throws what is a fault */
  async process(untrustedComment: Buffer): Promise<CommandAnswer> {
    if (this.#waiting >= waitingLimit) return { kind: 'later', code: 'BUSY' };
    this.#waiting++;
    const mine = this.#last.then(() => this.#process(untrustedComment));
    this.#last = mine.catch(() => undefined);
    try {
      return await mine;
    } finally {
      this.#waiting--;
    }
  }

  async #process(untrustedComment: Buffer): Promise<CommandAnswer> {
    const { report } = this.#options;
    let signed: Signed;
    try {
      signed = await this.#verified(untrustedComment);
    } catch (error) {
      if (!(error instanceof AnyRefusal)) throw error;
      report(`command: ${error.line()}`);
      return passing.has(error.code)
        ? { kind: 'later', code: error.code }
        : { kind: 'refused', code: strangersCode };
    }
    try {
      return await this.#once(signed);
    } catch (error) {
      if (!(error instanceof AnyRefusal)) throw error;
      report(`command of ${signed.person.name}, "${signed.line}": ${error.line()}`);
      return { kind: 'refused', code: error.code };
    }
  }

  /** Form, grammar, then the signature. @throws Refusal: who sent it is not known */
  async #verified(untrustedComment: Buffer): Promise<Signed> {
    const { config, publicKeys, work, report } = this.#options;
    const message = readClearsigned(untrustedComment);
    const facts = readSignaturePacket(message.untrustedPacket, message.hash);
    const { command } = parseCommand(message.line);
    const keys = await readPeopleKeys(publicKeys, config.people, report);
    const { rights } = await signerOf(message, facts, { keys, work, now: this.#now() });
    return {
      command,
      line: message.line,
      created: facts.created,
      signature: message.untrustedPacket.toString('base64'),
      person: rights,
    };
  }

  /**
   * Time, then once, then everything else: whatever is refused from here on stays refused, so that nobody can
   * choose a better moment.
   */
  async #once(signed: Signed): Promise<CommandAnswer> {
    const { config, used } = this.#options;
    const { line, created, person } = signed;
    const now = this.#now().getTime() / 1000;
    if (created > now + aheadSeconds) throw new Refusal('FROM_THE_FUTURE', 'signed later than now');
    const isForgotten =
      used.isForgotten(new Date(created * 1000)) || created < now - config.windowSeconds - keptLongerSeconds;
    if (!isForgotten) used.prune(new Date((now - config.windowSeconds - keptLongerSeconds) * 1000));
    const record: CommandRecord = {
      format: commandFormat,
      command: commandIdentity(person.fingerprint, created, line),
      line,
      signer: { name: person.name, fingerprint: person.fingerprint },
      signed: new Date(created * 1000).toISOString(),
      received: this.#now().toISOString(),
      state: 'taken',
      job: null,
      code: null,
      ...(signed.signature === undefined ? {} : { signature: signed.signature }),
    };
    if (isForgotten) throw new Refusal('TOO_OLD', 'signed too long ago');
    if (created < now - config.windowSeconds) {
      // Noted, so that its signer is answered once. What is too old to be noted may be anybody's find.
      if (used.take(record)) return this.#carryOut(record, 'too late');
      throw new Refusal('TOO_OLD', 'signed too long ago');
    }
    if (!used.take(record)) throw new Refusal('COMMAND_USED', 'a command is used once');
    return this.#carryOut(record, signed);
  }

  /** @param signed undefined where the person's right is gone since */
  async #carryOut(
    record: CommandRecord,
    signed: Signed | 'too late' | undefined,
    resumed = false,
  ): Promise<CommandAnswer> {
    const { used, report } = this.#options;
    const by = `command ${record.command.slice(0, 12)} of ${record.signer.name}, "${record.line}"`;
    try {
      if (signed === 'too late')
        throw new Refusal('TOO_OLD', 'it came too late, or was broken off too long ago');
      if (signed === undefined) throw new Refusal('NOT_ALLOWED', 'the key is no longer configured');
      const job = await this.#act(record, signed, resumed);
      used.finish(record.command, { state: 'accepted', job, code: null });
      used.answered(record.command);
      report(`${by}: accepted ${job}`);
      return { kind: 'accepted', job };
    } catch (error) {
      if (!(error instanceof AnyRefusal)) throw error;
      report(`${by}: ${error.line()}`);
      if (passing.has(error.code)) {
        used.release(record.command);
        return { kind: 'later', code: error.code };
      }
      used.finish(record.command, { state: 'refused', job: null, code: error.code });
      this.#answer({ ...record, state: 'refused', code: error.code });
      return { kind: 'refused', code: error.code };
    }
  }

  /**
   * Only here, after two programs found a known person's signature, and once: whoever brings it again hears that it was used, and nobody else
   * hears anything. Where nothing can be written it is tried again at the next start.
   */
  #answer(record: CommandRecord): void {
    const { used, jobs, answer, report } = this.#options;
    const { signature, code, line, signer } = record;
    if (signature === undefined || code === null) return;
    try {
      const { command } = parseCommand(line);
      const job = command.verb === 'Retry' ? jobs().find((one) => one.job === command.job) : undefined;
      const tooMany =
        used.refusedSince(signer.fingerprint, new Date(Date.parse(record.received) - answersMs)) >
        answersLimit;
      if (tooMany)
        report(
          `commands of ${signer.name}: more than ${answersLimit} were refused within an hour, and the others are not answered`,
        );
      else if (isMeantHere(command, this.#options, job)) answer({ ...record, signature, code });
      used.answered(record.command);
    } catch (error) {
      report(
        `command ${record.command.slice(0, 12)} of ${signer.name}: not answered yet: ${printable(String((error as Error).message))}`,
      );
    }
  }

  /** Returns the job. Done twice, as after a kill, it comes to the same. @throws Refusal */
  async #act(record: CommandRecord, { command, created, person }: Signed, resumed: boolean): Promise<string> {
    const { config, components, dists, promotions } = this.#options;
    const job =
      command.verb === 'Retry' ? this.#options.jobs().find((one) => one.job === command.job) : undefined;
    refuseWithoutRight(person, command, job);
    refuseOtherRelease(config, command);
    if ('component' in command && !components.includes(command.component))
      throw new Refusal('UNKNOWN_COMPONENT', 'no such component is configured here');
    const asked = {
      command: record.command,
      line: record.line,
      signer: record.signer,
      signed: record.signed,
    };
    switch (command.verb) {
      case 'Build-component':
        return this.#options.build(command.component);
      case 'Retry':
        // Whoever takes up again what a command asked for makes it; whether its signer still may is asked
        // when it is made.
        if (job !== undefined)
          refuseAskedWithoutRight(
            person,
            orderedBy(job)?.line,
            job.dists.filter((dist) => !isChainDone(job, dist)),
          );
        return this.#retry(record, command.job, job, resumed);
      case 'Upload-component': {
        const builds = this.#built(command.component, command.commit);
        const meant = meantDists(command.dists, config, dists, builds.flatMap(uploadedDists));
        refuseDistsWithoutRight(person, meant);
        const [built, ...others] = new Set(
          meant.map((dist) => builds.find((one) => uploadedDists(one).includes(dist)) as BuildJob),
        );
        if (built === undefined || others.length > 0)
          throw new Refusal(
            'SEVERAL_BUILDS',
            'it was rebuilt for some of these distributions: a command for those, and one for the others',
          );
        return promotions.start({
          ...asked,
          verb: command.verb,
          release: command.release,
          job: built,
          dists: meant,
          repository: command.repository,
        });
      }
      case 'Rebuild-component': {
        const { verb, release, number } = command;
        const built = this.#built(command.component, command.commit).find(
          (one) => one.rebuild === undefined,
        ) as BuildJob;
        const meant = meantDists(command.dists, config, dists, uploadedDists(built));
        refuseDistsWithoutRight(person, meant);
        return promotions.start({ ...asked, verb, release, job: built, dists: meant, number });
      }
      case 'Upload-template': {
        const { verb, release, template, version, timestamp, repository } = command;
        return promotions.start({ ...asked, verb, release, template, version, timestamp, repository });
      }
      case 'Build-template': {
        const { verb, release, template, timestamp } = command;
        for (const [time, what] of [
          [created, 'of the signature'],
          [Date.parse(record.received) / 1000, 'at which the command came'],
        ] as const) {
          const ahead = (timestampSeconds(timestamp) as number) - time;
          if (ahead < -templateSeconds.before || ahead > templateSeconds.after)
            throw new Refusal('BAD_TIMESTAMP', `the timestamp is far from the time ${what}`);
        }
        return promotions.start({ ...asked, verb, release, template, timestamp });
      }
    }
  }

  #retry(record: CommandRecord, id: string, job: Job | undefined, resumed: boolean): string {
    if (job === undefined) throw new Refusal('UNKNOWN_JOB', 'there is no such job');
    // Before the kill it was queued: nothing of it has failed since, or it ended after the command came.
    if (resumed && (isOver(job) ? (job.ended as string) > record.received : job.reasons.length === 0))
      return id;
    this.#options.retry(id);
    return id;
  }

  /**
   * Newest first, the jobs whose source was verified to be that commit and whose packages the world has, for
   * one distribution at least: never what is checked out somewhere.
   */
  #built(component: string, commit: string): BuildJob[] {
    const built = this.#options
      .jobs()
      .filter((job) => job.kind === 'build')
      .filter(
        (job) => job.component === component && job.uploaded.length > 0 && job.evidence?.commit === commit,
      );
    if (built.length === 0)
      throw new Refusal('UNKNOWN_COMMIT', 'nothing that was built and published here is of that commit');
    return built.sort((a, b) => b.number - a.number);
  }

  #now(): Date {
    return this.#options.now?.() ?? new Date();
  }
}
