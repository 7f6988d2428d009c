// SPDX-License-Identifier: GPL-2.0-or-later
// The webhook over HTTP, on a Unix socket behind nginx. Everything before the signature check works on bytes
// of a stranger; the order of the checks below is the security argument. No answer says more than its one
// line.
import { chmodSync, existsSync, unlinkSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { printable } from '../shared/refusal.js';
import { Refusal } from './refusals.js';
import { systemClock, type Clock } from '../shared/clock.js';
import type { Reporter } from '../shared/calls/socket-service.js';
import { commentKey, decideComment } from './comment-event.js';
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
  ['DISK_FULL', 503],
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
  /** from the headers to the end of the body: whoever sends a byte now and then is cut off all the same */
  bodyTimeoutMs?: number;
}

const shippedBodyTimeoutMs = 20_000;

/**
 * A body of this size is always read: ordinary webhooks are smaller, and no larger ones can keep them out.
 */
const smallBytes = 64 * 1024;
/** Of larger ones so much is in memory at once: of the forge, and of everybody else. */
const largeBytes = 64 * 1024 * 1024;

interface BodyRoom {
  /** bytes that are in memory now */
  used: number;
}

const otherEvent = (event: string): Extract<PushDecision, { kind: 'ignored' }> => ({
  kind: 'ignored',
  code: 'OTHER_EVENT',
  detail: event,
});

function readBody(
  request: IncomingMessage,
  limitBytes: number,
  timeoutMs: number,
  room: BodyRoom,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let chunks: Buffer[] = [];
    let size = 0;
    const finish = (outcome: () => void): void => {
      clearTimeout(timer);
      request.off('data', onData);
      room.used -= size;
      size = 0;
      outcome();
      chunks = [];
    };
    const refuse = (refusal: Refusal): void => finish(() => reject(refusal));
    const timer = setTimeout(
      () => refuse(new Refusal('TOO_SLOW', `the body did not come within ${timeoutMs / 1000} s`)),
      timeoutMs,
    );
    const onData = (chunk: Buffer): void => {
      size += chunk.length;
      room.used += chunk.length;
      if (size > limitBytes) return refuse(new Refusal('TOO_LARGE', `more than ${limitBytes} bytes`));
      if (size > smallBytes && room.used > largeBytes)
        return refuse(new Refusal('BUSY', 'too many large bodies at once'));
      chunks.push(chunk);
    };
    request.on('data', onData);
    request.on('end', () => finish(() => resolve(Buffer.concat(chunks))));
    request.on('error', () => refuse(new Refusal('CUT_OFF', 'the sender went away')));
    request.on('close', () => refuse(new Refusal('CUT_OFF', 'the sender went away')));
  });
}

interface Rooms {
  forge: BodyRoom;
  others: BodyRoom;
}

/**
 * One request, in order: method and path, content type, announced size, signature header, body, signature;
 * then what GitHub says.
 */
async function decide(request: IncomingMessage, options: ReceiverOptions, rooms: Rooms): Promise<Answer> {
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
  const room = request.headers['x-forge'] === '1' ? rooms.forge : rooms.others;
  const untrustedBody = await readBody(
    request,
    config.webhook.bodyBytes,
    options.bodyTimeoutMs ?? shippedBodyTimeoutMs,
    room,
  );
  return await decideBody(request, untrustedBody, claimed, options);
}

async function decideBody(
  request: IncomingMessage,
  untrustedBody: Buffer,
  claimed: Buffer,
  options: ReceiverOptions,
): Promise<Answer> {
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
  const keys = [bodyHash(untrustedBody)];
  const now = new Date((options.clock ?? systemClock).wall());
  const accepted =
    decision.kind === 'command'
      ? await spool.accept(delivery, [...keys, commentKey(decision.comment)], decision.comment, takers, now)
      : await spool.accept(delivery, keys, decision.push, config.buildVms, now);
  if (accepted === 'known') return { status: 200, line: `known ${delivery}` };
  options.onAccepted();
  return { status: 202, line: `accepted ${delivery}` };
}

/**
 * What is refused early is read and dropped to its end, or to the end of its time: nginx takes a connection
 * that ends while it sends for a broken agent.
 */
function drained(request: IncomingMessage, timeoutMs: number): Promise<boolean> {
  if (request.complete || request.destroyed) return Promise.resolve(true);
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), Math.max(0, timeoutMs));
    const finish = (): void => {
      clearTimeout(timer);
      resolve(true);
    };
    request.once('close', finish).once('end', finish).resume();
  });
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  options: ReceiverOptions,
  rooms: Rooms,
): Promise<void> {
  const started = process.hrtime.bigint();
  let reply: Answer;
  try {
    reply = await decide(request, options, rooms);
  } catch (error) {
    if (error instanceof Refusal) {
      reply = { status: statusOf.get(error.code) ?? 400, line: error.line() };
    } else {
      options.report(`webhook: fault: ${printable(String((error as Error).stack ?? error))}`);
      reply = { status: 500, line: 'fault' };
    }
  }
  // Of the same time: a body is not waited for twice.
  const left =
    (options.bodyTimeoutMs ?? shippedBodyTimeoutMs) -
    Number((process.hrtime.bigint() - started) / 1_000_000n);
  const isRead = await drained(request, left);
  if (!isRead) response.setHeader('Connection', 'close');
  response.writeHead(reply.status, {
    'Content-Type': 'text/plain',
    'Content-Length': Buffer.byteLength(reply.line) + 1,
  });
  response.end(`${reply.line}\n`, () => {
    if (!isRead) request.destroy();
  });
  const name = (header: string): string => printable(String(request.headers[header] ?? '-')).slice(0, 60);
  const ms = Number((process.hrtime.bigint() - started) / 1_000_000n);
  options.report(
    `webhook: ${name('x-real-ip')} ${printable(request.method ?? '-')} ${printable(request.url ?? '-').slice(0, 60)} ${name('x-github-event')} ${name('x-github-delivery')}: ${reply.status} ${reply.line} (${ms} ms)`,
  );
}

/**
 * Node accepts one connection of a listening socket in each turn of its event loop. In a flood a turn takes
 * as long as twenty webhooks, and the kernel turns nginx away once 4096 wait at a socket: so there are more
 * of them, of the agent's own. While it is off, nginx comes back to the first one, where systemd lets it
 * wait.
 */
export const moreSockets = Array.from(
  { length: 15 },
  (_, n) => `/var/lib/build-infra/webhook-${n + 1}.http.sock`,
);

/** HTTP servers with one and the same room, not yet listening. */
export function createReceivers(options: ReceiverOptions, count: number): Server[] {
  const rooms = { forge: { used: 0 }, others: { used: 0 } };
  return Array.from({ length: count }, () => createReceiver(options, rooms));
}

/** The HTTP server, not yet listening. */
export function createReceiver(
  options: ReceiverOptions,
  rooms: Rooms = { forge: { used: 0 }, others: { used: 0 } },
): Server {
  // nginx keeps its connections for 60 s: it must be the one to close them, or it would send a webhook into
  // one that is just being closed.
  const timeouts = {
    headersTimeout: 10_000,
    requestTimeout: 60_000,
    keepAliveTimeout: 90_000,
    connectionsCheckingInterval: 5_000,
  };
  const server = createServer({ maxHeaderSize: 16 * 1024, ...timeouts }, (request, response) => {
    void answer(request, response, options, rooms);
  });
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
    server.listen({ ...socket, backlog: 4096 }, resolve);
  });
  if ('path' in socket) chmodSync(socket.path, 0o660);
}
