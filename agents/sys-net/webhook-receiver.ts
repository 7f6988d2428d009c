// SPDX-License-Identifier: GPL-2.0-or-later
// The webhook over HTTP, on a Unix socket behind nginx. Everything before the signature check works on bytes
// of a stranger; the order of the checks below is the security argument. No answer says more than its one
// line.
import { chmodSync, existsSync, unlinkSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { printable } from '../shared/refusal.js';
import { Refusal } from './refusals.js';
import { systemClock, type Clock } from '../shared/clock.js';
import { Room } from '../shared/room.js';
import type { Reporter } from '../shared/calls/socket-service.js';
import { decideComment } from './comment-event.js';
import type { WebhookConfig } from './config.js';
import type { DeliverySpool } from './delivery-spool.js';
import { decidePush, isDeliveryId, type PushDecision } from './push-event.js';
import { bodyHash, isSignedBy, readSignatureHeader } from './webhook-signature.js';

/** HTTP status of each refusal; whatever is not here is 400. docs: README.md, "Answers". */
const statusOf = new Map<Refusal['code'], number>([
  ['NOT_SIGNED', 401],
  ['BAD_SIGNATURE', 403],
  ['UNKNOWN_PATH', 404],
  ['BAD_METHOD', 405],
  ['TOO_SLOW', 408],
  ['NO_LENGTH', 411],
  ['TOO_LARGE', 413],
  ['BAD_CONTENT_TYPE', 415],
  ['BUSY', 503],
  ['SPOOL_FULL', 503],
]);

interface Answer {
  status: number;
  line: string;
}

export interface ReceiverOptions {
  config: WebhookConfig;
  secret: Uint8Array;
  spool: DeliverySpool;
  report: Reporter;
  /** after a delivery has been spooled */
  onAccepted: () => void;
  clock?: Clock;
  /** for the whole body; nginx has it complete already, so it is short */
  bodyTimeoutMs?: number;
}

const otherEvent = (event: string): Extract<PushDecision, { kind: 'ignored' }> => ({
  kind: 'ignored',
  code: 'OTHER_EVENT',
  detail: event,
});

function readBody(request: IncomingMessage, limitBytes: number, timeoutMs: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const timer = setTimeout(
      () => reject(new Refusal('TOO_SLOW', 'the body did not come in time')),
      timeoutMs,
    );
    const finish = (outcome: () => void): void => {
      clearTimeout(timer);
      outcome();
    };
    request.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size <= limitBytes) chunks.push(chunk);
      else finish(() => reject(new Refusal('TOO_LARGE', `more than ${limitBytes} bytes`)));
    });
    request.on('end', () => finish(() => resolve(Buffer.concat(chunks))));
    request.on('error', (error) => finish(() => reject(error)));
    request.on('close', () => finish(() => reject(new Error('the sender went away'))));
  });
}

/**
 * One request, in order: method and path, content type, announced size, signature header, body, signature;
 * then what GitHub says.
 */
async function decide(request: IncomingMessage, options: ReceiverOptions, bodies: Room): Promise<Answer> {
  const { config } = options;
  if (request.url !== '/github') throw new Refusal('UNKNOWN_PATH', 'only /github');
  if (request.method !== 'POST') throw new Refusal('BAD_METHOD', 'only POST');
  if (!/^application\/json(?:; ?charset=utf-8)?$/i.test(request.headers['content-type'] ?? '')) {
    throw new Refusal('BAD_CONTENT_TYPE', 'the webhook must be set to application/json');
  }
  const length = request.headers['content-length'];
  if (length === undefined) throw new Refusal('NO_LENGTH', 'Content-Length is missing');
  if (Number(length) > config.webhook.bodyBytes)
    throw new Refusal('TOO_LARGE', `more than ${config.webhook.bodyBytes} bytes`);
  const claimed = readSignatureHeader(request.headers['x-hub-signature-256']);
  if (claimed === undefined)
    throw new Refusal('NOT_SIGNED', 'X-Hub-Signature-256 is missing or not sha256=<64 hex>');
  const leave = bodies.enterNow(Number(length));
  if (leave === undefined) throw new Refusal('BUSY', 'too many large bodies at once');
  try {
    const untrustedBody = await readBody(request, config.webhook.bodyBytes, options.bodyTimeoutMs ?? 30_000);
    return decideBody(request, untrustedBody, claimed, options);
  } finally {
    leave();
  }
}

function decideBody(
  request: IncomingMessage,
  untrustedBody: Buffer,
  claimed: Buffer,
  options: ReceiverOptions,
): Answer {
  const { config, spool } = options;
  if (!isSignedBy(options.secret, untrustedBody, claimed))
    throw new Refusal('BAD_SIGNATURE', 'the signature is not by our secret over this body');

  const event = request.headers['x-github-event'];
  if (typeof event !== 'string' || !/^[a-z_]{1,50}$/.test(event))
    throw new Refusal('BAD_EVENT', 'X-GitHub-Event is missing or misspelt');
  const delivery = request.headers['x-github-delivery'];
  if (!isDeliveryId(delivery)) throw new Refusal('BAD_DELIVERY', 'X-GitHub-Delivery is missing or no UUID');
  if (event === 'ping') return { status: 200, line: 'pong' };
  const takers = config.commands?.buildVms ?? [];
  const comments = event === 'issue_comment' && takers.length > 0;
  const decision = comments
    ? decideComment(untrustedBody, config)
    : event === 'push'
      ? decidePush(untrustedBody, config)
      : otherEvent(event);
  if (decision.kind === 'ignored')
    return { status: 202, line: `ignored ${decision.code} ${decision.detail}` };
  const body = bodyHash(untrustedBody);
  if (spool.knows(delivery, body)) return { status: 200, line: `known ${delivery}` };
  const now = new Date((options.clock ?? systemClock).wall());
  if (decision.kind === 'command') spool.accept(delivery, body, decision.comment, takers, now);
  else spool.accept(delivery, body, decision.push, config.buildVms, now);
  options.onAccepted();
  return { status: 202, line: `accepted ${delivery}` };
}

/**
 * What is refused early is read and dropped to its end: nginx takes an answer that comes while it sends for a
 * broken agent.
 */
function drained(request: IncomingMessage, timeoutMs: number): Promise<void> {
  if (request.complete || request.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(() => request.destroy(), timeoutMs);
    request.once('close', () => {
      clearTimeout(timer);
      resolve();
    });
    request.once('end', () => {
      clearTimeout(timer);
      resolve();
    });
    request.resume();
  });
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  options: ReceiverOptions,
  bodies: Room,
): Promise<void> {
  const started = process.hrtime.bigint();
  let reply: Answer;
  try {
    reply = await decide(request, options, bodies);
  } catch (error) {
    if (error instanceof Refusal) {
      reply = { status: statusOf.get(error.code) ?? 400, line: error.line() };
    } else {
      options.report(`webhook: fault: ${printable(String((error as Error).stack ?? error))}`);
      reply = { status: 500, line: 'fault' };
    }
  }
  await drained(request, options.bodyTimeoutMs ?? 30_000);
  response.writeHead(reply.status, {
    'Content-Type': 'text/plain',
    'Content-Length': Buffer.byteLength(reply.line) + 1,
  });
  response.end(`${reply.line}\n`);
  const name = (header: string): string => printable(String(request.headers[header] ?? '-')).slice(0, 60);
  const ms = Number((process.hrtime.bigint() - started) / 1_000_000n);
  options.report(
    `webhook: ${name('x-real-ip')} ${printable(request.method ?? '-')} ${printable(request.url ?? '-').slice(0, 60)} ${name('x-github-event')} ${name('x-github-delivery')}: ${reply.status} ${reply.line} (${ms} ms)`,
  );
}

/** The HTTP server, not yet listening. */
export function createReceiver(options: ReceiverOptions): Server {
  // Of strangers, in memory, by their announced sizes: at most four of the largest.
  const bodies = new Room(4 * options.config.webhook.bodyBytes);
  const server = createServer(
    {
      maxHeaderSize: 16 * 1024,
      headersTimeout: 10_000,
      requestTimeout: 60_000,
      keepAliveTimeout: 5_000,
      connectionsCheckingInterval: 5_000,
    },
    (request, response) => {
      void answer(request, response, options, bodies);
    },
  );
  server.maxConnections = 64;
  server.maxHeadersCount = 100;
  server.on('clientError', (_error, socket) => {
    if (socket.writable)
      socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
  });
  return server;
}

/**
 * Listens on a socket that systemd handed over, or makes one that nginx, as the same user, may connect to.
 * @throws what listen(2) says
 */
export async function listenForNginx(
  server: Server,
  socket: { fd: number } | { path: string },
): Promise<void> {
  if ('path' in socket && existsSync(socket.path)) unlinkSync(socket.path);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(socket, resolve);
  });
  if ('path' in socket) chmodSync(socket.path, 0o660);
}
