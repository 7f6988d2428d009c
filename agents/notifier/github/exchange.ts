// SPDX-License-Identifier: GPL-2.0-or-later
// One request, one answer, by Node's own client: no redirect is followed (it would carry the token away), no
// cookie kept, the answer bounded in bytes and the whole exchange in time. Who answers is GitHub, a proxy, or
// whoever stands in their place.
import {
  request as httpRequest,
  type ClientRequest,
  type IncomingMessage,
  type RequestOptions,
} from 'node:http';
import { request as httpsRequest } from 'node:https';
import { isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';

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
  const read = (name: string): string | undefined =>
    environment[name] || environment[name.toUpperCase()] || undefined;
  return { http: read('http_proxy'), https: read('https_proxy'), no: read('no_proxy') };
}

function proxyFor(url: URL, proxy: ExchangeLimits['proxy']): URL | undefined {
  const address = url.protocol === 'https:' ? proxy?.https : proxy?.http;
  const spared = (proxy?.no ?? '')
    .split(',')
    .map((one) =>
      one
        .trim()
        .replace(/^\*?\.?/, '')
        .toLowerCase(),
    )
    .filter((one) => one !== '');
  if (
    address === undefined ||
    (proxy?.no ?? '').trim() === '*' ||
    spared.some((one) => url.hostname === one || url.hostname.endsWith(`.${one}`))
  )
    return undefined;
  const found = URL.canParse(address.includes('://') ? address : `http://${address}`)
    ? new URL(address.includes('://') ? address : `http://${address}`)
    : undefined;
  // To the proxy itself nothing is secret but its own password; what goes through it is.
  if (found?.protocol !== 'http:') throw new Error('the address of the proxy does not begin with http://');
  return found;
}

const authorizationOf = (proxy: URL): Record<string, string> =>
  proxy.username === ''
    ? {}
    : {
        'proxy-authorization': `Basic ${Buffer.from(`${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`).toString('base64')}`,
      };

/**
 * A TLS connection to the far host through the proxy, which sees its name only. No error holds the proxy's
 * address: it may have a password.
 */
function tunnel(url: URL, proxy: URL, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const far = `${url.hostname}:${url.port === '' ? 443 : url.port}`;
    const asked = httpRequest({
      host: proxy.hostname,
      port: proxy.port === '' ? 80 : proxy.port,
      method: 'CONNECT',
      path: far,
      headers: { host: far, ...authorizationOf(proxy) },
      agent: false,
      signal,
    });
    const refused = ({ statusCode }: IncomingMessage): void =>
      reject(
        new Error(
          `the proxy answered ${String(statusCode)}${statusCode === 407 ? ': it needs a name and password, or other ones' : ''}`,
        ),
      );
    asked.once('error', (error: NodeJS.ErrnoException) =>
      reject(new Error(`the proxy: ${error.code ?? error.message}`)),
    );
    asked.once('connect', (answer: IncomingMessage, socket: Socket, head: Buffer) => {
      if (answer.statusCode !== 200) {
        socket.destroy();
        return refused(answer);
      }
      // The signal ends the request that asked for the tunnel, not what goes through it.
      signal.addEventListener('abort', () => socket.destroy(), { once: true });
      if (head.length > 0) socket.unshift(head);
      const secured = connectTls({
        socket,
        host: url.hostname,
        ...(isIP(url.hostname) === 0 ? { servername: url.hostname } : {}),
      });
      secured.once('error', reject);
      secured.once('close', () => reject(new Error('the proxy closed the connection')));
      secured.once('secureConnect', () => resolve(secured));
    });
    asked.once('response', (answer: IncomingMessage) => {
      answer.destroy();
      refused(answer);
    });
    asked.end();
  });
}

async function open(
  exchanged: Exchanged,
  limits: ExchangeLimits,
  signal: AbortSignal,
): Promise<ClientRequest> {
  const url = new URL(exchanged.url);
  const proxy = proxyFor(url, limits.proxy);
  const length =
    exchanged.body === undefined ? {} : { 'content-length': String(Buffer.byteLength(exchanged.body)) };
  const options: RequestOptions = {
    method: exchanged.method,
    host: url.hostname,
    port: url.port === '' ? undefined : url.port,
    path: `${url.pathname}${url.search}`,
    headers: {
      ...exchanged.headers,
      host: url.host,
      'accept-encoding': 'identity',
      connection: 'close',
      ...length,
    },
    agent: false,
    signal,
    maxHeaderSize: 32 * 1024,
  };
  if (url.protocol === 'https:') {
    if (proxy === undefined) return httpsRequest(options);
    const socket = await tunnel(url, proxy, signal);
    // Without the word `agent`: with it, even as false, Node takes no connection of ours and makes a plain
    // one, which would carry the token in clear.
    const { agent: _none, ...tunnelled } = options;
    return httpRequest({ ...tunnelled, createConnection: () => socket });
  }
  if (proxy === undefined) return httpRequest(options);
  return httpRequest({
    ...options,
    host: proxy.hostname,
    port: proxy.port === '' ? 80 : proxy.port,
    path: exchanged.url,
    headers: { ...(options.headers as Record<string, string>), ...authorizationOf(proxy) },
  });
}

/**
 * @throws Refusal GITHUB_UNREACHABLE (no connection, broken off, too slow), ANSWER_TOO_LARGE; whether the
 * request was acted on is then unknown.
 *   No message holds a header of the request.
 */
export async function exchange(exchanged: Exchanged, limits: ExchangeLimits): Promise<Answer> {
  const ended = new AbortController();
  const { timeoutMs } = limits;
  const timer = setTimeout(() => ended.abort(), timeoutMs);
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
          const headers = new Map(
            Object.entries(answer.headers).map(([name, value]) => [
              name,
              Array.isArray(value) ? value.join(', ') : (value ?? ''),
            ]),
          );
          resolve({ status: answer.statusCode ?? 0, headers, body: Buffer.concat(parts) });
        });
      });
      asked.end(exchanged.body);
    });
  } catch (error) {
    if (error instanceof Refusal) throw error;
    if (ended.signal.aborted)
      throw new Refusal('GITHUB_UNREACHABLE', `no answer within ${timeoutMs / 1000} s`);
    const why = String((error as NodeJS.ErrnoException).code ?? (error as Error).message);
    throw new Refusal(
      'GITHUB_UNREACHABLE',
      printable(
        /CERT|SELF_SIGNED|LEAF_SIGNATURE/.test(why)
          ? `the certificate of ${new URL(exchanged.url).host} is not trusted: ${why}`
          : why,
      ),
    );
  } finally {
    clearTimeout(timer);
  }
}
