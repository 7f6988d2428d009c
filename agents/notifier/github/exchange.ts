// SPDX-License-Identifier: GPL-2.0-or-later
// One request, one answer, by Node's own client: no redirect is followed (it would carry the token away), no cookie kept, the answer bounded
// in bytes and the whole exchange in time. Who answers is GitHub, a proxy, or whoever stands in their place.
import { request as httpRequest, type ClientRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { printable, Refusal } from '../../shared/refusal.js';

export interface Exchanged {
  method: string;
  url: string;
  headers: Record<string, string>;
  body?: string;
}

export interface Answer {
  status: number;
  headers: ReadonlyMap<string, string>;
  body: Buffer;
}

export interface ExchangeLimits {
  timeoutMs: number;
  answerBytes: number;
  /** as the environment of the VM has it */
  proxy?: { http?: string | undefined; https?: string | undefined; no?: string | undefined };
}

/** The VM's proxy settings, either spelling. */
export function proxyOf(environment: NodeJS.ProcessEnv): Required<ExchangeLimits>['proxy'] {
  const read = (name: string): string | undefined => environment[name] || environment[name.toUpperCase()] || undefined;
  return { http: read('http_proxy'), https: read('https_proxy'), no: read('no_proxy') };
}

function proxyFor(url: URL, proxy: ExchangeLimits['proxy']): URL | undefined {
  const address = url.protocol === 'https:' ? proxy?.https : proxy?.http;
  const spared = (proxy?.no ?? '').split(',').map((one) => one.trim().replace(/^\*?\.?/, '').toLowerCase()).filter((one) => one !== '');
  if (address === undefined || (proxy?.no ?? '').trim() === '*' || spared.some((one) => url.hostname === one || url.hostname.endsWith(`.${one}`))) return undefined;
  return new URL(address.includes('://') ? address : `http://${address}`);
}

const authorizationOf = (proxy: URL): Record<string, string> => (proxy.username === '' ? {} : {
  'proxy-authorization': `Basic ${Buffer.from(`${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`).toString('base64')}`,
});

/** A TLS connection to the far host through the proxy, which sees its name only. */
function tunnel(url: URL, proxy: URL, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const far = `${url.hostname}:${url.port === '' ? 443 : url.port}`;
    const asked = httpRequest({ host: proxy.hostname, port: proxy.port === '' ? 80 : proxy.port, method: 'CONNECT', path: far, headers: { host: far, ...authorizationOf(proxy) }, agent: false, signal });
    asked.once('error', reject);
    asked.once('connect', (answer: IncomingMessage, socket: Socket) => {
      if (answer.statusCode !== 200) {
        socket.destroy();
        return reject(new Error(`the proxy answered ${String(answer.statusCode)}`));
      }
      const secured = connectTls({ socket, servername: url.hostname });
      secured.once('error', reject);
      secured.once('secureConnect', () => resolve(secured));
    });
    asked.once('response', (answer: IncomingMessage) => {
      answer.destroy();
      reject(new Error(`the proxy answered ${String(answer.statusCode)}`));
    });
    asked.end();
  });
}

async function open(exchanged: Exchanged, limits: ExchangeLimits, signal: AbortSignal): Promise<ClientRequest> {
  const url = new URL(exchanged.url);
  const proxy = proxyFor(url, limits.proxy);
  const length = exchanged.body === undefined ? {} : { 'content-length': String(Buffer.byteLength(exchanged.body)) };
  const options: RequestOptions = {
    method: exchanged.method, host: url.hostname, port: url.port === '' ? undefined : url.port, path: `${url.pathname}${url.search}`,
    headers: { ...exchanged.headers, host: url.host, 'accept-encoding': 'identity', connection: 'close', ...length }, agent: false, signal, maxHeaderSize: 32 * 1024,
  };
  if (url.protocol === 'https:') {
    if (proxy === undefined) return httpsRequest(options);
    const socket = await tunnel(url, proxy, signal);
    return httpRequest({ ...options, createConnection: () => socket });
  }
  if (proxy === undefined) return httpRequest(options);
  return httpRequest({ ...options, host: proxy.hostname, port: proxy.port === '' ? 80 : proxy.port, path: exchanged.url, headers: { ...options.headers as Record<string, string>, ...authorizationOf(proxy) } });
}

/**
 * @throws Refusal GITHUB_UNREACHABLE (no connection, broken off, too slow), ANSWER_TOO_LARGE; whether the request was acted on is then unknown.
 *   No message holds a header of the request.
 */
export async function exchange(exchanged: Exchanged, limits: ExchangeLimits): Promise<Answer> {
  const ended = new AbortController();
  const timer = setTimeout(() => ended.abort(), limits.timeoutMs);
  try {
    const asked = await open(exchanged, limits, ended.signal);
    return await new Promise<Answer>((resolve, reject) => {
      asked.once('error', reject);
      asked.once('response', (answer: IncomingMessage) => {
        const parts: Buffer[] = [];
        let size = 0;
        answer.on('data', (part: Buffer) => {
          size += part.length;
          if (size > limits.answerBytes) {
            reject(new Refusal('ANSWER_TOO_LARGE', `the answer is larger than ${limits.answerBytes} bytes`));
            asked.destroy();
            return;
          }
          parts.push(part);
        });
        answer.once('error', reject);
        answer.once('aborted', () => reject(new Error('the answer was broken off')));
        answer.once('end', () => {
          const headers = new Map(Object.entries(answer.headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(', ') : value ?? '']));
          resolve({ status: answer.statusCode ?? 0, headers, body: Buffer.concat(parts) });
        });
      });
      asked.end(exchanged.body);
    });
  } catch (error) {
    if (error instanceof Refusal) throw error;
    if (ended.signal.aborted) throw new Refusal('GITHUB_UNREACHABLE', `no answer within ${limits.timeoutMs / 1000} s`);
    throw new Refusal('GITHUB_UNREACHABLE', printable(String((error as NodeJS.ErrnoException).code ?? (error as Error).message)));
  } finally {
    clearTimeout(timer);
  }
}
