// SPDX-License-Identifier: GPL-2.0-or-later
// Run by full-disk.test.ts on a file system of 128 KiB: node full-disk.js FOLDER. Prints what happened, one
// word each.
import { closeSync, fdatasyncSync, openSync, statSync, truncateSync, unlinkSync, writeSync } from 'node:fs';
import { Ledger } from '../../agents/keys/ledger.js';

const folder = process.argv[2] as string;
const options = {
  stateFolder: folder,
  bootId: 'boot',
  grantSeconds: 900,
  clock: { wall: () => 1_795_000_000_000, steady: () => 0 },
};
const key = 'A'.repeat(40);
const request = { sha256: 'a'.repeat(64), size: 1, key, mode: 'detach' as const, intent: 'f'.repeat(64) };
const said: string[] = [];
const attempt = (work: () => unknown): void => {
  try {
    work();
    said.push('done');
  } catch (error) {
    said.push((error as { code?: string }).code ?? String(error));
  }
};

function fill(): void {
  const fd = openSync(`${folder}/filler`, 'w');
  try {
    for (;;) writeSync(fd, Buffer.alloc(512));
  } catch {
    fdatasyncSync(fd);
    closeSync(fd);
  }
}

let ledger = Ledger.open(options);
const claim = (): unknown => ledger.claim('build-debian', request.sha256, key, 'detach');
attempt(() => ledger.accept({ commit: 'a'.repeat(40), seq: 1 }, 'build-debian', [request, request], () => 2));
fill();
for (let i = 0; i < 30; i++) {
  try {
    ledger.refused({ source: 'build-debian', result: 'FILLING' });
  } catch {
    break;
  }
}
attempt(claim);
attempt(() => ledger.accept({ commit: 'b'.repeat(40), seq: 2 }, 'build-debian', [], () => 0));
unlinkSync(`${folder}/filler`);
attempt(claim);
attempt(() => ledger.accept({ commit: 'b'.repeat(40), seq: 2 }, 'build-debian', [], () => 0));
ledger.close();
ledger = Ledger.open(options);
attempt(claim);
attempt(claim);

// Room for head.json with the receipt's lines, not for the lines in the journal.
const many = Array.from({ length: 60 }, () => ({ ...request, sha256: 'b'.repeat(64) }));
fill();
truncateSync(`${folder}/filler`, statSync(`${folder}/filler`).size - 40 * 1024);
attempt(() => ledger.accept({ commit: 'c'.repeat(40), seq: 3 }, 'build-debian', many, () => 60));
unlinkSync(`${folder}/filler`);
attempt(() => ledger.refused({ source: 'build-debian', result: 'LATER' }));
ledger.close();
ledger = Ledger.open(options);
said.push(ledger.head?.commit.slice(0, 1) ?? 'none');
for (let i = 0; i < 60; i++) ledger.claim('build-debian', 'b'.repeat(64), key, 'detach');
attempt(() => ledger.claim('build-debian', 'b'.repeat(64), key, 'detach'));
process.stdout.write(said.join(' '));
