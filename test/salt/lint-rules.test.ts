// SPDX-License-Identifier: GPL-2.0-or-later
// The linter of the matrix finds what it is there for: a state that is right gives no line, the same with one
// slip gives that one line.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'tap';
import { makeRig, salted } from './rig.js';

const managed = (change: string): string =>
  `
planted:
  file.managed:
    - name: /rw/config/planted
    - source: salt://planted/there.txt
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - test: before
before:
  test.nop
`.replace(...(change.split(' => ', 2) as [string, string]));
const vm = (change: string): string =>
  `
planted:
  qvm.vm:
    - name: build-planted
    - actions: [present, prefs, features, tags, shutdown]
    - present:
      - class: AppVM
      - template: debian-13
      - label: red
    - prefs:
      - netvm: none
      - memory: 400
      - autostart: true
    - features:
      - enable: [service.planted]
      - set:
        - vm-config.planted: '1'
    - tags:
      - add: [planted]
    - shutdown:
      - flags: [wait]
`.replace(...(change.split(' => ', 2) as [string, string]));
const command = (change: string): string =>
  `
planted:
  cmd.run:
    - name: qvm-planted
    - unless: 'false'
`.replace(...(change.split(' => ', 2) as [string, string]));
const none = 'planted => planted';

const cases: [what: string, sls: string, line: RegExp | null][] = [
  ['a file that is right', managed(none), null],
  ['onchange for onchanges', managed('- require: => - onchange:'), /file\.managed has no argument onchange$/],
  [
    'an argument of another state',
    managed("- mode: '0644' => - mode: '0644'\n    - recurse: [user]"),
    /has no argument recurse/,
  ],
  ['a state that there is not', managed('file.managed => file.manged'), /there is no state file\.manged/],
  ['an argument left out', managed('file.managed => file.line'), /file\.line has no argument source/],
  [
    'a requisite of another kind',
    managed('- test: before => - file: before'),
    /require: there is no file: before/,
  ],
  [
    'a requisite that is not there',
    managed('- test: before => - test: after'),
    /require: there is no test: after/,
  ],
  [
    'a source that is not there',
    managed('there.txt => their.txt'),
    /there is no salt:\/\/planted\/their\.txt/,
  ],
  ['a mode without quotes', managed("'0644' => 0644"), /mode is 644, not four digits/],
  ['a mode of three digits', managed("'0644' => '644'"), /mode is '644', not four digits/],
  ['a mode that is kept', managed("'0644' => keep"), /mode is 'keep', not four digits/],
  ['no mode', managed("    - mode: '0644'\n => "), /file\.managed without mode/],
  ['no owner', managed('    - user: root\n => '), /file\.managed without user/],
  ['no group', managed('    - group: root\n => '), /file\.managed without group/],
  [
    'one file twice',
    `${managed(none)}\nagain:\n  file.absent:\n    - name: /rw/config/planted\n`,
    /belongs to (?:planted|again)\d+ already/,
  ],
  ['a command that is right', command(none), null],
  [
    'a command that runs every time',
    command("    - unless: 'false'\n => "),
    /cmd\.run without creates, unless, onlyif or onchanges/,
  ],
  ['a key server', 'planted:\n  gpg.present:\n    - keys: [X]\n', /gpg\.present is not for this formula/],
  [
    'git in a state',
    'planted:\n  git.latest:\n    - name: https://forge.example/x\n    - target: /rw/x\n',
    /git\.latest is not for this formula/,
  ],
  ['a VM that is right', vm(none), null],
  ['a slip in a sub-action', vm('- prefs: => - pref:'), /qvm\.vm pref: there is no such action/],
  [
    'a slip in an argument of present',
    vm('template: debian-13 => templat: debian-13'),
    /qvm\.vm present has no argument templat$/,
  ],
  [
    'a preference that Qubes ignores',
    vm('- memory: 400 => - shutdown-timeout: 60'),
    /qvm\.vm prefs has no argument shutdown-timeout/,
  ],
  ['None with a capital', vm('netvm: none => netvm: None'), /netvm is 'None', which is no name/],
  ['a netvm that is null', vm('netvm: none => netvm: null'), /netvm is None, not of type str/],
  ['memory as text', vm("memory: 400 => memory: '400'"), /memory is '400', not of type int/],
  ['"yes" for true', vm("autostart: true => autostart: 'yes'"), /autostart is 'yes', not of type bool/],
  [
    'a feature that is a number',
    vm("vm-config.planted: '1' => vm-config.planted: 1"),
    /set is not a list of one feature and its text/,
  ],
  ['one name where a list belongs', vm('- add: [planted] => - add: planted'), /add is not a list of names/],
  ['an unknown flag', vm('[wait] => [waits]'), /qvm\.vm shutdown has no flag waits/],
  ['a colour that Qubes does not have', vm('label: red => label: pink'), /there is no label pink/],
  [
    'an action that is not listed',
    vm('prefs, features => features'),
    /qvm\.vm prefs does not stand under actions/,
  ],
  ['a blank in the name of a VM', vm('name: build-planted => name: build planted'), /is no name of a VM/],
  [
    'a clone without source',
    'planted:\n  qvm.clone:\n    - name: planted\n    - from: debian-13\n',
    /qvm\.clone has no argument from/,
  ],
];

await test('the linter knows each slip, and nothing else', salted, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'build-infra-planted-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(join(folder, 'planted'));
  writeFileSync(join(folder, 'planted/there.txt'), 'x\n');
  const rig = makeRig(t, { farm: null, fileRoots: [folder] });
  // All in one run, each in a file and with names of its own.
  const files = new Map(
    cases.map(([, sls], index) => [
      `case${index}`,
      sls.replace(/\b(planted|before|after|again)\b(?!\/)/g, `$1${index}`),
    ]),
  );
  const { errors, lint } = await rig.lintPlanted(files);
  t.strictSame(errors, []);
  for (const [index, [what, , line]] of cases.entries()) {
    const found = lint.filter((one) => one.startsWith(`case${index}: `));
    t.equal(found.length, line === null ? 0 : 1, `${what}: ${found.join('; ')}`);
    if (line !== null) t.match(found[0], line, what);
  }
});
