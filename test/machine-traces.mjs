// SPDX-License-Identifier: GPL-2.0-or-later
// What a whole run of the tests may not change: device nodes (sandboxes share them), accounts and services
// (all of /etc, and systemd's units), mounts, and no process of a test goes on. Looked at once before and
// once after. On a machine where others work meanwhile, their changes are found too.
import { lstatSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';

/** `from`: one line for each entry below a folder. */
const folders = [
  {
    name: 'dev',
    skip: /^dev\/(?:pts|shm|mqueue|hugepages|fd|loop\d+|dm-\d+|mapper\/.*)(?:\/|$)/,
    line: (about) => `${kind(about)} ${mode(about)} device ${about.rdev}`,
  },
  // The network's own file.
  ...['etc', 'usr/lib/systemd/system', 'run/systemd/system'].map((name) => ({
    name,
    skip: /^etc\/(?:resolv\.conf|mtab)$/,
    line: (about, path) =>
      `${kind(about)} ${mode(about)} ${about.isDirectory() ? '' : `${about.size} bytes of ${about.mtime.toISOString()}`}${about.isSymbolicLink() ? ` -> ${readlinkSync(path)}` : ''}`,
  })),
];
const kind = (about) =>
  about.isDirectory() ? 'folder' : about.isFile() ? 'file' : about.isSymbolicLink() ? 'link' : 'node';
const mode = (about) => `${(about.mode & 0o7777).toString(8)} ${about.uid}:${about.gid}`;

function walk(root, name, { skip, line }, seen) {
  let names;
  try {
    names = readdirSync(join(root, name));
  } catch {
    return;
  }
  for (const one of names) {
    const below = `${name}/${one}`;
    const about = skip.test(below) ? undefined : lstatSync(join(root, below), { throwIfNoEntry: false });
    if (about === undefined) continue;
    seen.set(`/${below}`, line(about, join(root, below)));
    if (about.isDirectory()) walk(root, below, { skip, line }, seen);
  }
}

/** @param root of another tree, in its own test. @returns what there is → how it is */
export function lookAtMachine(root = '/') {
  const seen = new Map();
  for (const folder of folders) walk(root, folder.name, folder, seen);
  for (const line of readFileSync(join(root, 'proc/self/mountinfo'), 'utf8').trim().split('\n')) {
    const [id, , , , path, ...rest] = line.split(' ');
    seen.set(`the mount ${id} on ${path}`, rest.slice(rest.indexOf('-') + 1).join(' '));
  }
  return seen;
}

/** One line for each difference. */
export function changesOf(before, after) {
  return [...new Set([...before.keys(), ...after.keys()])]
    .filter((name) => before.get(name) !== after.get(name))
    .map((name) =>
      !before.has(name)
        ? `${name} is new: ${after.get(name)}`
        : !after.has(name)
          ? `${name} is gone: ${before.get(name)}`
          : `${name} was ${before.get(name)}, is ${after.get(name)}`,
    );
}

/**
 * The processes whose parent is `reaper` (it adopts what a test leaves behind), but for `except`: one line
 * for each.
 */
export function childrenOf(reaper, except) {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== except)
    .flatMap((pid) => {
      try {
        // After the name, which may hold anything, state and parent.
        const [state, parent] = readFileSync(`/proc/${pid}/stat`, 'utf8')
          .replace(/^.*\) /s, '')
          .split(' ');
        return Number(parent) !== reaper || state === 'Z'
          ? []
          : [
              `process ${pid} goes on: ${readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').slice(0, 200)}`,
            ];
      } catch {
        return [];
      }
    });
}
