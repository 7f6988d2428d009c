// SPDX-License-Identifier: GPL-2.0-or-later
// Certificates of an authority made for the test, and a proxy that does CONNECT, remembers all that it saw,
// and misbehaves on request.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { join } from 'node:path';

export interface Certified {
  /** PEM */
  key: string;
  cert: string;
  /** path of the authority's certificate, as NODE_EXTRA_CA_CERTS takes it */
  authority: string;
}

/** A certificate for `name` by an authority of its own. */
export function certify(folder: string, name: string): Certified {
  mkdirSync(folder, { recursive: true });
  const at = (file: string): string => join(folder, file);
  const fresh = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
  const run = (...args: string[]): unknown =>
    execFileSync('openssl', ['req', '-x509', ...fresh, ...args], { stdio: 'ignore' });
  run(
    '-keyout',
    at('ca.key'),
    '-out',
    at('ca.crt'),
    '-subj',
    '/CN=authority of the test',
    '-addext',
    'basicConstraints=critical,CA:TRUE',
    '-addext',
    'keyUsage=critical,keyCertSign',
  );
  run(
    '-keyout',
    at('key'),
    '-out',
    at('crt'),
    '-subj',
    `/CN=${name}`,
    '-CA',
    at('ca.crt'),
    '-CAkey',
    at('ca.key'),
    '-addext',
    'basicConstraints=critical,CA:FALSE',
    '-addext',
    `subjectAltName=DNS:${name}`,
  );
  return {
    key: readFileSync(at('key'), 'utf8'),
    cert: readFileSync(at('crt'), 'utf8'),
    authority: at('ca.crt'),
  };
}

/**
 * answer: instead of a tunnel. silent: never. hang: a tunnel that leads nowhere. close: a tunnel that ends at
 * once. elsewhere: to another port. junk: bytes before those of the far end. drop: no answer at all
 */
export type ProxyMood =
  | { kind: 'answer'; status: string }
  | { kind: 'silent' | 'hang' | 'close' | 'junk' | 'drop' }
  | { kind: 'elsewhere'; port: number };

export class ConnectProxy {
  /** what comes next, one for each connection; then it behaves */
  readonly moods: ProxyMood[] = [];
  readonly connects: string[] = [];
  /** every byte that clients sent */
  seen = '';
  /** user:password that it wants */
  login: string | undefined;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(port: number) {
    this.#server = createServer((client) => this.#serve(client, port));
  }

  /** @param port on this machine, to which every name leads */
  static async start(port: number): Promise<ConnectProxy> {
    const proxy = new ConnectProxy(port);
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => undefined).once('close', () => this.#sockets.delete(socket));
  }

  #serve(client: Socket, port: number): void {
    this.#keep(client);
    client.on('data', (part) => (this.seen += part.toString('latin1')));
    let head = '';
    const onHead = (part: Buffer): void => {
      head += part.toString('latin1');
      if (!head.includes('\r\n\r\n')) return;
      client.off('data', onHead);
      this.#answer(client, head, port);
    };
    client.on('data', onHead);
  }

  #answer(client: Socket, head: string, port: number): void {
    this.connects.push(/^(\S+ \S+) HTTP\/1\.1\r\n/.exec(head)?.[1] ?? head);
    const mood = this.moods.shift();
    const asked = /^proxy-authorization: Basic (\S+)\r$/im.exec(head)?.[1];
    if (this.login !== undefined && asked !== Buffer.from(this.login).toString('base64'))
      return void client.end(
        'HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\n\r\n',
      );
    if (mood?.kind === 'answer')
      return void client.end(`HTTP/1.1 ${mood.status}\r\ncontent-length: 0\r\n\r\n`);
    if (mood?.kind === 'silent') return;
    if (mood?.kind === 'drop') return void client.destroy();
    const far =
      mood?.kind === 'hang' || mood?.kind === 'close'
        ? undefined
        : connect(mood?.kind === 'elsewhere' ? mood.port : port, '127.0.0.1');
    client.write(`HTTP/1.1 200 Connection established\r\n\r\n${mood?.kind === 'junk' ? 'welcome' : ''}`);
    if (mood?.kind === 'close') client.end();
    if (far === undefined) return;
    this.#keep(far);
    far.pipe(client).pipe(far);
  }
}
