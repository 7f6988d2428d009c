// SPDX-License-Identifier: GPL-2.0-or-later
// Chromium without a window, asked over its DevTools protocol through a pipe: one JSON message and a NUL
// each, on descriptors 3 and 4.
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';

export const chromium = '/usr/bin/chromium';
export const noBrowser = existsSync(chromium) ? {} : { skip: 'there is no chromium here' };

type Answer = Record<string, unknown>;
interface Message {
  id?: number;
  method?: string;
  params?: Answer;
  result?: Answer;
  error?: { message: string };
  sessionId?: string;
}

export interface View {
  width: number;
  height?: number;
  dark?: boolean;
}

export class Browser {
  readonly #profile = mkdtempSync(join(tmpdir(), 'bi-web-'));
  readonly #child: ChildProcess;
  readonly #asked = new Map<number, { resolve: (answer: Answer) => void; reject: (error: Error) => void }>();
  readonly #heard: ((message: Message) => void)[] = [];
  #id = 0;
  #session: string | undefined;
  /** what the browser complained about since the last page was opened */
  readonly complaints: string[] = [];

  constructor() {
    this.#child = spawn(
      chromium,
      [
        '--headless=new',
        '--no-sandbox',
        '--disable-gpu',
        '--disable-dev-shm-usage',
        '--disable-background-networking',
        '--disable-component-update',
        '--no-first-run',
        '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1',
        '--remote-debugging-pipe',
        `--user-data-dir=${this.#profile}`,
        'about:blank',
      ],
      {
        stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
        env: { PATH: '/usr/bin:/bin', HOME: this.#profile, LANG: 'C.UTF-8' },
        detached: true,
      },
    );
    let rest = '';
    (this.#child.stdio[4] as Readable).setEncoding('utf8').on('data', (chunk: string) => {
      const parts = `${rest}${chunk}`.split('\0');
      rest = parts.pop() ?? '';
      for (const part of parts) this.#onMessage(JSON.parse(part) as Message);
    });
    this.#child.on('exit', () => {
      for (const { reject } of this.#asked.values()) reject(new Error('chromium ended'));
    });
    (this.#child.stdio[3] as Writable).on('error', () => undefined);
  }

  async start(): Promise<void> {
    const { targetInfos } = (await this.ask('Target.getTargets')) as {
      targetInfos: { type: string; targetId: string }[];
    };
    const target =
      targetInfos.find(({ type }) => type === 'page')?.targetId ??
      (await this.ask('Target.createTarget', { url: 'about:blank' }))['targetId'];
    this.#session = (await this.ask('Target.attachToTarget', { targetId: target, flatten: true }))[
      'sessionId'
    ] as string;
    for (const domain of ['Page', 'Runtime', 'Log', 'Network', 'Audits']) await this.ask(`${domain}.enable`);
  }

  #onMessage(message: Message): void {
    if (message.id !== undefined) {
      const waiting = this.#asked.get(message.id);
      this.#asked.delete(message.id);
      if (message.error !== undefined) waiting?.reject(new Error(message.error.message));
      else waiting?.resolve(message.result ?? {});
      return;
    }
    const params = message.params ?? {};
    if (message.method === 'Log.entryAdded') this.complaints.push(JSON.stringify(params['entry']));
    if (
      message.method === 'Runtime.exceptionThrown' ||
      message.method === 'Runtime.consoleAPICalled' ||
      message.method === 'Page.javascriptDialogOpening'
    )
      this.complaints.push(`${message.method} ${JSON.stringify(params)}`);
    if (message.method === 'Audits.issueAdded')
      this.complaints.push(`issue ${JSON.stringify(params['issue'])}`);
    for (const heard of [...this.#heard]) heard(message);
  }

  ask(method: string, params: Answer = {}): Promise<Answer> {
    const id = ++this.#id;
    return new Promise((resolve, reject) => {
      this.#asked.set(id, { resolve, reject });
      (this.#child.stdio[3] as Writable).write(
        `${JSON.stringify({ id, method, params, ...(this.#session === undefined ? {} : { sessionId: this.#session }) })}\0`,
      );
    });
  }

  #once(method: string): Promise<void> {
    return new Promise((resolve) => {
      const heard = (message: Message): void => {
        if (message.method !== method) return;
        this.#heard.splice(this.#heard.indexOf(heard), 1);
        resolve();
      };
      this.#heard.push(heard);
    });
  }

  async open(url: string, { width, height = 800, dark = false }: View): Promise<void> {
    await this.ask('Emulation.setDeviceMetricsOverride', {
      width,
      height,
      deviceScaleFactor: 1,
      mobile: width < 600,
    });
    await this.ask('Emulation.setEmulatedMedia', {
      features: [{ name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }],
    });
    this.complaints.length = 0;
    const loaded = this.#once('Page.loadEventFired');
    const { errorText } = await this.ask('Page.navigate', { url });
    if (errorText !== undefined) throw new Error(`${url}: ${JSON.stringify(errorText)}`);
    await loaded;
  }

  /** The value of an expression in the page, by the debugger: the page's own policy does not concern it. */
  async value<T>(expression: string): Promise<T> {
    const { result, exceptionDetails } = (await this.ask('Runtime.evaluate', {
      expression,
      returnByValue: true,
    })) as { result: { value: T }; exceptionDetails?: unknown };
    if (exceptionDetails !== undefined) throw new Error(JSON.stringify(exceptionDetails));
    return result.value;
  }

  /** PNG of the whole page. */
  async screenshot(): Promise<Buffer> {
    return Buffer.from(
      (await this.ask('Page.captureScreenshot', { format: 'png', captureBeyondViewport: true }))[
        'data'
      ] as string,
      'base64',
    );
  }

  async end(): Promise<void> {
    const gone = new Promise((resolve) => this.#child.once('exit', resolve));
    try {
      process.kill(-(this.#child.pid as number), 'SIGKILL');
    } catch {
      // It has ended by itself.
    }
    if (this.#child.exitCode === null && this.#child.signalCode === null) await gone;
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 5 });
  }
}
