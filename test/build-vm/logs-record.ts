// SPDX-License-Identifier: GPL-2.0-or-later
// Publications as the logs VM makes them: commits with a time of one's choice, signed, that name a log.
import type { Keys, TestKey, TestRepository } from './forge.js';

/** @returns makes one, which becomes the head; `log` is the path of what it publishes */
export function publishRecord(
  keys: Keys,
): (repository: TestRepository, seconds: number, log: string, by: TestKey, parent?: string) => string {
  return (repository, seconds, log, by, parent) => {
    const tree = repository.tree([{ path: 'build-debian/log_a', content: log }]);
    const head = [
      `tree ${tree}`,
      ...(parent === undefined ? [] : [`parent ${parent}`]),
      'author Logs <logs@example.org> 1 +0000',
      `committer Logs <logs@example.org> ${seconds} +0000`,
    ];
    const message = `\n\nA publication\n\nfile ${log} 3 sha256:${'0'.repeat(64)}\nseq: 1\n`;
    const signature = keys
      .sign([by], `${head.join('\n')}${message}`)
      .trimEnd()
      .replaceAll('\n', '\n ');
    const id = repository.git(
      ['hash-object', '-w', '--stdin', '-t', 'commit', '--literally'],
      `${head.join('\n')}\ngpgsig ${signature}${message}`,
    );
    repository.git(['update-ref', 'refs/heads/main', id]);
    return id;
  };
}
