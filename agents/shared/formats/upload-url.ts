// SPDX-License-Identifier: GPL-2.0-or-later
// Where a repository is put: ssh://user@host[:port]/path.

export interface Destination {
  login: string;
  port: string;
  path: string;
}

/** @param upload as build.json's pattern has it */
export function readDestination(upload: string): Destination {
  const url = new URL(upload);
  return {
    login: url.username === '' ? url.hostname : `${url.username}@${url.hostname}`,
    port: url.port,
    path: url.pathname,
  };
}
