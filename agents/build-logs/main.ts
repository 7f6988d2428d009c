// SPDX-License-Identifier: GPL-2.0-or-later
// The build-logs agent: reads its configuration and starts. BUILD_INFRA_ROOT puts every path under another
// folder (tests).
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readDocument } from '../shared/json-document.js';
import { reportToStderr } from '../shared/calls/socket-service.js';
import { qrexecClient } from '../shared/calls/qrexec-call.js';
import { startOrSay } from '../shared/calls/agent-start.js';
import { startAgent } from './agent.js';
import { checkConfig } from './config.js';
import { rootPrefix as root } from '../shared/root-prefix.js';

const at = (path: string): string => join(root === '' ? '/' : root, path);

async function start(): Promise<void> {
  const agent = await startAgent({
    config: readDocument(
      readFileSync(at('/rw/config/build-infra/build-logs.json')),
      1024 * 1024,
      checkConfig,
    ),
    stateFolder: at('/var/lib/build-infra'),
    socketFolder: at('/run/build-infra'),
    gnupgHome: at('/home/user/.gnupg'),
    sshConfig: at('/rw/config/build-infra/ssh_config'),
    qrexecClient: at(qrexecClient),
    report: reportToStderr,
  });
  reportToStderr('build-logs agent: ready');
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.once(signal, () => void agent.close().finally(() => process.exit(0)));
}

startOrSay('build-logs agent', start);
