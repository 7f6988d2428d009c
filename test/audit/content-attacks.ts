// SPDX-License-Identifier: GPL-2.0-or-later
// Attacks on the files of the logs repository: what a commit says of them, how they grow, what they are
// called, and what their lines are.
import { execFileSync } from 'node:child_process';
import { intentFormat } from '../../agents/shared/formats/intent.js';
import { intentPath, payloadPath, type PublishedFile } from '../../agents/shared/formats/publication.js';
import { log, sha256, type Keys } from './farm.js';
import type { Attack } from './unwritten-farm.js';

/** Another log than the good farm's, and a line of one. */
export const other = log.replace('21-00-00', '22-00-00');
export const line = (text = 'hello', time = '2026-11-21 21:00:05.000000', vm = 'build-debian: '): string =>
  `${time} +0000 ${vm}${text}\n`;
const packed = new Map<string, Buffer>();
export function xz(data: Buffer | string): Buffer {
  const name = sha256(data);
  const known = packed.get(name) ?? execFileSync('xz', ['-c'], { input: data });
  packed.set(name, known);
  return known;
}

export function contentAttacks(attack: Attack): void {
  attack(
    'a file rewritten, with a true line',
    ['files-grow FILE_REWRITTEN'],
    ({ logs }) =>
      void logs.commit({
        put: {
          [log]: Buffer.concat([
            Buffer.from('X'),
            (logs.content.get(log) as Buffer).subarray(1),
            Buffer.from('more\n'),
          ]),
        },
      }),
    { commit: 'head', path: log },
  );
  // What the audit remembers of a file to save work is of the version before, or worth nothing.
  for (const [what, untold] of [
    ['untold', { lines: (): [] => [] }],
    [
      'with a line of another size',
      { lines: (all: readonly PublishedFile[]): PublishedFile[] => all.map((one) => ({ ...one, size: 1 })) },
    ],
  ] as const) {
    attack(
      `a file that grew ${what}, and without that went on`,
      [`file-lines ${what === 'untold' ? 'CHANGE_WITHOUT_LINE' : 'WRONG_SIZE'}`, 'files-grow FILE_REWRITTEN'],
      (farm) => {
        const first = farm.logs.content.get(log) as Buffer;
        farm.logs.commit({ put: { [log]: farm.grow() }, ...untold });
        farm.logs.commit({
          put: {
            [log]: Buffer.concat([
              first,
              Buffer.from(`2026-11-21 21:00:09.000000 +0000 build-debian: ${'x'.repeat(200)}\n`),
            ]),
          },
        });
      },
      { path: log },
    );
  }
  attack(
    'a file cut short',
    ['files-grow FILE_REWRITTEN'],
    ({ logs }) => void logs.commit({ put: { [log]: (logs.content.get(log) as Buffer).subarray(0, -1) } }),
    { commit: 'head', path: log },
  );
  attack(
    'a file removed',
    ['files-grow FILE_REMOVED'],
    ({ logs }) => void logs.commit({ remove: [log], put: {} }),
    { commit: 'head', path: log },
  );
  attack(
    'a log packed, but changed by it',
    ['files-grow FILE_REWRITTEN'],
    ({ logs }) =>
      void logs.commit({ remove: [log], put: { [`${log}.xz`]: xz('another log\n'.repeat(100)) } }),
    { commit: 'head', path: `${log}.xz` },
  );
  attack(
    'a log replaced by what is no .xz',
    ['files-grow BAD_XZ'],
    ({ logs }) => void logs.commit({ remove: [log], put: { [`${log}.xz`]: 'not xz' } }),
    { commit: 'head', path: `${log}.xz` },
  );
  attack(
    'a file changed without a line',
    ['file-lines CHANGE_WITHOUT_LINE'],
    (farm) => void farm.logs.commit({ put: { [log]: farm.grow() }, lines: () => [] }),
    { commit: 'head', path: log },
  );
  attack(
    'a line without a change',
    ['file-lines LINE_WITHOUT_CHANGE'],
    (farm) => void farm.logs.commit({ put: {}, lines: () => [{ path: log, size: 1, sha256: sha256('x') }] }),
    { commit: 'head', path: log },
  );
  attack(
    'a wrong SHA-256 in a line',
    ['file-lines WRONG_SHA256'],
    (farm) =>
      void farm.logs.commit({
        put: { [log]: farm.grow() },
        lines: (lines) => lines.map((line) => ({ ...line, sha256: sha256('x') })),
      }),
    { commit: 'head', path: log },
  );
  attack(
    'a wrong size in a line',
    ['file-lines WRONG_SIZE'],
    (farm) =>
      void farm.logs.commit({
        put: { [log]: farm.grow() },
        lines: (lines) => lines.map((line) => ({ ...line, size: 1 })),
      }),
    { commit: 'head', path: log },
  );
  attack(
    'a file of no known kind',
    ['file-lines BAD_PATH'],
    ({ logs }) => void logs.commit({ put: { 'build-debian/index.html': '<script>' } }),
    { commit: 'head', path: 'build-debian/index.html' },
  );
}

export function lineAttacks(attack: Attack, keys: Pick<Keys, 'fingerprint'>): void {
  for (const path of [
    'build-debian/hello/log_2026-02-31_21-00-00',
    'build-debian/hello/log_2026-13-01_21-00-00',
    'build-debian/hello/log_2026-11-21_25-00-00',
    'build-debian/hello/log_2026-11-21_21-60-00',
    'build-debian/hello/log_0000-00-00_00-00-00',
  ]) {
    attack(
      `a log of a time that is none: ${path.slice(-19)}`,
      ['file-lines BAD_PATH'],
      ({ logs }) => void logs.commit({ put: { [path]: line() } }),
      { commit: 'head', path },
    );
  }
  attack(
    'an intent of a day that is none',
    ['file-lines BAD_PATH'],
    (farm) => {
      const { document, sha256: hash } = farm.intent([
        { purpose: 'deb-dsc', name: 'x.dsc', mode: 'clearsign', payload: Buffer.from('x') },
      ]);
      farm.logs.commit({ put: { [intentPath('build-debian', '2026-02-30', hash)]: document } });
    },
    { commit: 'head' },
  );
  attack(
    'one intent of two VMs',
    ['intents INTENT_TWICE'],
    ({ logs }) => {
      const document = JSON.stringify({
        format: intentFormat,
        job: 'hello-2.10-3-0123456789ab',
        component: 'hello',
        version: '2.10-3',
        dist: 'bookworm',
        purpose: 'deb-dsc',
        key: keys.fingerprint.signing,
        mode: 'clearsign',
        payload: { name: 'x.dsc', size: 1, sha256: sha256('x') },
        logs: [],
        artifacts: [],
      });
      for (const vm of ['build-debian', 'build-fedora'])
        logs.commit({
          put: {
            [intentPath(vm, '2026-11-21', sha256(document))]: document,
            [payloadPath(vm, '2026-11-21', sha256(document), sha256('x'))]: 'x',
          },
        });
    },
    { commit: 'head' },
  );
  attack(
    'an empty journal',
    ['file-lines EMPTY_FILE'],
    ({ logs }) => void logs.commit({ put: { 'journal/keys-other/00000000.jsonl': '' } }),
    { commit: 'head' },
  );
  attack(
    'an empty key',
    ['file-lines EMPTY_FILE'],
    ({ logs }) => void logs.commit({ put: { [`keys/${keys.fingerprint.logs}.asc`]: '' } }),
    { commit: 'head' },
  );

  attack(
    'an .xz that is none',
    ['files-grow BAD_XZ'],
    ({ logs }) => void logs.commit({ put: { [`${other}.xz`]: 'no xz at all' } }),
    { commit: 'head', path: `${other}.xz` },
  );
  attack(
    'an .xz that is empty',
    ['files-grow BAD_XZ'],
    ({ logs }) => void logs.commit({ put: { [`${other}.xz`]: '' } }),
    { commit: 'head', path: `${other}.xz` },
  );
  attack(
    'an .xz that is cut short',
    ['files-grow BAD_XZ'],
    ({ logs }) => void logs.commit({ put: { [`${other}.xz`]: xz(line()).subarray(0, -4) } }),
    { commit: 'head', path: `${other}.xz` },
  );
  attack(
    'an .xz with bytes behind its end',
    ['files-grow BAD_XZ'],
    ({ logs }) =>
      void logs.commit({ put: { [`${other}.xz`]: Buffer.concat([xz(line()), Buffer.from('more')]) } }),
    { commit: 'head', path: `${other}.xz` },
  );
  attack(
    'an .xz with padding at its end',
    ['files-grow BAD_XZ'],
    ({ logs }) =>
      void logs.commit({ put: { [`${other}.xz`]: Buffer.concat([xz(line()), Buffer.alloc(4)]) } }),
    { commit: 'head', path: `${other}.xz` },
  );
  attack(
    'an .xz with padding between its streams',
    ['files-grow BAD_XZ'],
    ({ logs }) =>
      void logs.commit({
        put: { [`${other}.xz`]: Buffer.concat([xz(line()), Buffer.alloc(4), xz(line())]) },
      }),
    { commit: 'head', path: `${other}.xz` },
  );
  attack(
    'an .lzma that is called .xz',
    ['files-grow BAD_XZ'],
    ({ logs }) =>
      void logs.commit({
        put: { [`${other}.xz`]: execFileSync('xz', ['-c', '--format=lzma'], { input: line() }) },
      }),
    { commit: 'head', path: `${other}.xz` },
  );
  attack(
    'an .xz to which no stream was appended',
    ['files-grow BAD_XZ'],
    ({ logs }) => {
      logs.commit({ put: { [`${other}.xz`]: xz(line()) } });
      logs.commit({ put: { [`${other}.xz`]: Buffer.concat([xz(line()), Buffer.from('x')]) } });
    },
    { commit: 'head', path: `${other}.xz` },
  );
  attack(
    'a log that was packed and begins again under its old name',
    ['files-grow LOG_TWICE'],
    ({ logs }) => {
      logs.commit({ remove: [log], put: { [`${log}.xz`]: xz(logs.content.get(log) as Buffer) } });
      logs.commit({ put: { [log]: line() } });
    },
    { commit: 'head', path: log },
  );
  attack(
    'a log beside its .xz',
    ['files-grow LOG_TWICE'],
    ({ logs }) => void logs.commit({ put: { [`${log}.xz`]: xz(logs.content.get(log) as Buffer) } }),
    { commit: 'head', path: `${log}.xz` },
  );

  for (const [what, text] of [
    ['without a stamp', 'hello\n'],
    ['with a stamp of another spelling', line('x', '2026-11-21T21:00:05.000000')],
    ['of a day that is none', line('x', '2026-02-31 21:00:05.000000')],
    ['of an hour that is none', line('x', '2026-11-21 24:00:05.000000')],
    ['with a stamp that goes back', line() + line('x', '2026-11-21 21:00:04.999999')],
    [
      'that says wrongly how far its clock went back',
      line() +
        line('clock set back from 2026-11-21 21:00:09.000000 +0000', '2026-11-21 21:00:01.000000', '> '),
    ],
    ['of another VM', line('x', undefined, 'build-fedora: ')],
    ['that a sender wrote for the receiver', line('x', undefined, '>')],
    ['of after its commit', line('x', '2099-11-21 21:00:05.000000')],
    ['with a control byte', line('\u001b[31m')],
    ['with a tab', line('a\tb')],
    ['with CR', line('a\r')],
    ['with text that is not ASCII', line('é')],
    ['over 64 KiB', line('x'.repeat(64 * 1024 + 1))],
    ['that does not end', line().trimEnd()],
    ['that is blank', '\n'],
  ] as const) {
    attack(
      `a log with a line ${what}`,
      ['files-grow BAD_LINE'],
      ({ logs }) => void logs.commit({ put: { [other]: line() + text } }),
      { commit: 'head', path: other },
    );
    attack(
      `a packed log with a line ${what}`,
      ['files-grow BAD_LINE'],
      ({ logs }) => void logs.commit({ put: { [`${other}.xz`]: Buffer.concat([xz(line()), xz(text)]) } }),
      { commit: 'head', path: `${other}.xz` },
    );
  }
}
