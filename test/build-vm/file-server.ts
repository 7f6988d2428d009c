// SPDX-License-Identifier: GPL-2.0-or-later
// A real https server under an authority of its own, made here, which curl is told of as an operator would;
// and it misbehaves on request.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer as createPlainServer, type Server as PlainServer } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export type Answer = Buffer | ((request: IncomingMessage, response: ServerResponse) => void);

export class FileServer {
  readonly folder = mkdtempSync(join(tmpdir(), 'bi-files-'));
  /** by path; what is not here is 404 */
  readonly answers = new Map<string, Answer>();
  readonly asked: string[] = [];
  #server: Server | undefined;
  #plain: PlainServer | undefined;

  async start(): Promise<void> {
    const [key, certificate] = [join(this.folder, 'key.pem'), join(this.folder, 'certificate.pem')];
    execFileSync(
      'openssl',
      [
        'req',
        '-x509',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:prime256v1',
        '-nodes',
        '-days',
        '3',
        '-subj',
        '/CN=files',
        '-addext',
        'subjectAltName=IP:127.0.0.1',
        '-keyout',
        key,
        '-out',
        certificate,
      ],
      { stdio: 'ignore' },
    );
    const answer = (request: IncomingMessage, response: ServerResponse): void => {
      const path = request.url ?? '';
      this.asked.push(path);
      const its = this.answers.get(path);
      if (its === undefined) response.writeHead(404).end('there is no such file');
      else if (typeof its === 'function') its(request, response);
      else response.writeHead(200, { 'Content-Length': its.length }).end(its);
    };
    this.#server = createServer({ key: readFileSync(key), cert: readFileSync(certificate) }, answer);
    this.#plain = createPlainServer(answer);
    for (const server of [this.#server, this.#plain])
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    process.env['CURL_CA_BUNDLE'] = certificate;
    process.env['no_proxy'] = '127.0.0.1';
  }

  url(path: string): string {
    return `https://127.0.0.1:${(this.#server?.address() as AddressInfo).port}${path}`;
  }

  plainUrl(path: string): string {
    return `http://127.0.0.1:${(this.#plain?.address() as AddressInfo).port}${path}`;
  }

  end(): void {
    for (const server of [this.#server, this.#plain]) {
      server?.closeAllConnections();
      server?.close();
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}
