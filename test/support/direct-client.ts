// SPDX-License-Identifier: GPL-2.0-or-later
// A qrexec-client-vm for tests of one agent alone: it connects straight to the service sockets in a folder
// and says who is calling. The real path (policy, sandboxes) is tested in test/local and test/attacks.
import { writeFileSync } from 'node:fs';

/**
 * Writes an executable that takes `TARGET SERVICE[+ARG]` like qrexec-client-vm, copies stdin and stdout,
 * half-closes at the end of stdin.
 * @param routes service name → socket path; a service that is not there ends with 126 as a denied call does
 */
export function writeDirectClient(path: string, source: string, routes: Record<string, string>): string {
  const script = `#!/usr/bin/python3 -ISE
import socket, sys, threading, os
routes = ${JSON.stringify(routes)}
service, _, argument = sys.argv[2].partition('+')
if service not in routes:
    sys.stderr.write('Request refused\\n'); sys.exit(126)
s = socket.socket(socket.AF_UNIX)
try: s.connect(routes[service])
except OSError: sys.exit(125)
s.sendall(f'{service}+{argument} ${source}'.encode() + b'\\0')
def up():
    try:
        while (b := os.read(0, 65536)): s.sendall(b)
        s.shutdown(socket.SHUT_WR)
    except OSError: pass
threading.Thread(target=up, daemon=True).start()
while (b := s.recv(65536)):
    os.write(1, b)
os._exit(0)
`;
  writeFileSync(path, script, { mode: 0o755 });
  return path;
}
