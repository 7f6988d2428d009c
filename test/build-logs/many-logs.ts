// SPDX-License-Identifier: GPL-2.0-or-later
// Makes a logs repository with very many logs in it, laid out and signed as the agent does it, for the
// benchmark of a publication.
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { writePublicationMessage, type PublishedFile } from '../../agents/shared/formats/publication.js';
import type { Signer } from '../../agents/build-logs/signer.js';

/** One root commit with `count` small logs, `perDay` in each day's folder. */
export async function makeRepository(
  path: string,
  count: number,
  vm: string,
  signer: Signer,
  perDay = 200,
): Promise<void> {
  rmSync(path, { recursive: true, force: true });
  execFileSync('git', ['init', '--quiet', '--bare', '--initial-branch=main', path]);
  const importer = spawn('git', ['--git-dir', path, 'fast-import', '--quiet'], {
    stdio: ['pipe', 'ignore', 'inherit'],
  });
  const files: PublishedFile[] = [];
  const changes: string[] = [];
  for (let i = 0; i < count; i++) {
    const day = new Date(Date.UTC(2025, 0, 1) + Math.floor(i / perDay) * 86_400_000)
      .toISOString()
      .slice(0, 10);
    const log = `${day} 00:00:00.000000 +0000 > starting log\n${day} 00:00:00.000000 +0000 ${vm}: log ${i}\n`;
    const name = `${vm}/${day}/log_${day}_00-00-${String(i % 60).padStart(2, '0')}.${i % perDay}`;
    files.push({ path: name, size: log.length, sha256: createHash('sha256').update(log).digest('hex') });
    changes.push(`M 100644 inline ${name}\ndata ${log.length}\n${log}\n`);
  }
  // The tree is all that is needed of this commit; the signed one is made over it below.
  importer.stdin.write(
    'commit refs/heads/import\ncommitter a <a@example.invalid> 1700000000 +0000\ndata 0\n\n',
  );
  for (const change of changes) if (!importer.stdin.write(change)) await once(importer.stdin, 'drain');
  importer.stdin.end();
  await once(importer, 'close');
  const git = (...argv: string[]): string =>
    execFileSync('git', ['--git-dir', path, ...argv], { encoding: 'utf8' }).trim();
  const tree = git('rev-parse', 'refs/heads/import^{tree}');
  // The message names a few of them only: it is one commit in place of thousands.
  const head = `tree ${tree}\nauthor build-logs <build-logs@example.invalid> 1700000000 +0000\ncommitter build-logs <build-logs@example.invalid> 1700000000 +0000`;
  const message = `\n\n${writePublicationMessage({ subject: `Import ${count} logs`, files: files.slice(0, 100), seq: 1 })}`;
  const signature = (await signer.sign(Buffer.from(head + message))).trimEnd().replaceAll('\n', '\n ');
  const id = execFileSync('git', ['--git-dir', path, 'hash-object', '-t', 'commit', '-w', '--stdin'], {
    input: `${head}\ngpgsig ${signature}${message}`,
    encoding: 'utf8',
  }).trim();
  git('update-ref', 'refs/heads/main', id);
  git('update-ref', '-d', 'refs/heads/import');
  git('repack', '-adq');
}
