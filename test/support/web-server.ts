// SPDX-License-Identifier: GPL-2.0-or-later
import { readFileSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

/** A web server until the test is over. @returns its address, without a slash at the end */
export async function serveWeb(
  t: { teardown: (act: () => unknown) => void },
  answer: RequestListener,
): Promise<string> {
  const web = createServer(answer);
  await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    web.closeAllConnections();
    web.close();
  });
  return `http://127.0.0.1:${(web.address() as AddressInfo).port}`;
}

/** Answers with the files of a folder. @param pathOf which file a request is for */
export const filesOf =
  (folder: string, pathOf = (path: string): string => path): RequestListener =>
  (request, response) => {
    try {
      response.end(
        readFileSync(join(folder, pathOf(decodeURIComponent((request.url ?? '').replace(/\?.*/, ''))))),
      );
    } catch {
      response.writeHead(404).end();
    }
  };
