// SPDX-License-Identifier: GPL-2.0-or-later
// A caller at the other end of the door. Its files and descriptors are not ours (it may see other mounts):
// each step is asked of it, and it answers.
import { Refusal } from '../refusals.js';
import { payloadMemoryBytes, type Caller } from '../gpg-client/caller.js';
import { CallerGone, type Messages } from './messages.js';
import type { Room } from '../../shared/room.js';

const answerLimitBytes = 4096;
/** Of what becomes an intent, which is far smaller. */
const jobFileLimitBytes = 4 * 1024 * 1024;

export class DistantCaller implements Caller {
  readonly jobFile: string | undefined;
  readonly #messages: Messages;
  readonly #room: Room;
  readonly #startedMs: number | undefined;
  /** gives back what is held of the room, at the end */
  readonly #held: (() => void)[] = [];

  /** @param startedMs when it started, by performance.now() */
  constructor(messages: Messages, room: Room, jobFile: string | undefined, startedMs: number | undefined) {
    this.#messages = messages;
    this.#room = room;
    this.jobFile = jobFile;
    this.#startedMs = startedMs;
  }

  elapsedMs(): number | undefined {
    return this.#startedMs === undefined ? undefined : performance.now() - this.#startedMs;
  }

  async read(input: number | string): Promise<Buffer> {
    // Read while a payload is held: waiting for room then, callers would wait for each other.
    if (input === this.jobFile) return await this.#readJobFile(input);
    this.#messages.send(
      typeof input === 'number' ? 'readfd' : 'readfile',
      payloadMemoryBytes,
      Buffer.from(String(input)),
    );
    const answer = await this.#messages.next(payloadMemoryBytes, async (bytes, gone) => {
      this.#held.push(await this.#room.enter(bytes, gone));
    });
    if (answer.verb === 'toolarge')
      throw new Refusal('TOO_LARGE', `more than ${payloadMemoryBytes} bytes to sign`);
    if (answer.verb === 'nofile')
      throw new Refusal('NO_SUCH_FILE', `${input}: ${answer.body.toString('utf8')}`);
    return wordOf(answer);
  }

  async #readJobFile(path: string): Promise<Buffer> {
    this.#messages.send('readfile', jobFileLimitBytes, Buffer.from(path));
    const answer = await this.#messages.next(jobFileLimitBytes);
    if (answer.verb === 'toolarge') throw new Refusal('BAD_JOB_FILE', `more than ${jobFileLimitBytes} bytes`);
    if (answer.verb === 'nofile')
      throw new Refusal('NO_SUCH_FILE', `${path}: ${answer.body.toString('utf8')}`);
    return wordOf(answer);
  }

  async isOpen(fd: number): Promise<boolean> {
    return (await this.#ask('isopen', fd)).toString('latin1') === '1';
  }

  async write(fd: number, data: Uint8Array): Promise<void> {
    await this.#ask('write', fd, data);
  }

  async writeFile(path: string, data: Uint8Array): Promise<void> {
    await this.#ask('put', 0, Buffer.concat([Buffer.from(`${path}\0`), data]));
  }

  async complain(line: string): Promise<void> {
    await this.#ask('complain', 0, Buffer.from(`${line}\n`));
  }

  async stillThere(): Promise<void> {
    await this.#ask('here', 0);
  }

  /** The caller's program becomes gpg, so nothing follows and its status is its own. */
  async runLocalGpg(): Promise<number> {
    this.#messages.send('local', 0);
    return 0;
  }

  leave(): void {
    for (const give of this.#held.splice(0)) give();
  }

  async #ask(verb: string, number: number, body?: Uint8Array): Promise<Buffer> {
    this.#messages.send(verb, number, body);
    return wordOf(await this.#messages.next(answerLimitBytes));
  }
}

function wordOf({ verb, body }: { verb: string; body: Buffer }): Buffer {
  if (verb === 'yes') return body;
  if (verb === 'no') throw new Error(body.toString('utf8'));
  throw new CallerGone('the caller says what was not asked');
}
