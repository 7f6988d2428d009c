// SPDX-License-Identifier: GPL-2.0-or-later
import { request } from 'node:http';

/** Posts to a Unix socket or a loopback port. Resolves to status and body. */
export function post(
  to: { socketPath: string } | { port: number },
  body: Buffer,
  headers: Record<string, string>,
  path = '/github',
  method = 'POST',
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const call = request({ host: '127.0.0.1', ...to, path, method, headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }),
      );
    });
    call.on('error', reject);
    call.end(body);
  });
}
