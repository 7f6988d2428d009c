// SPDX-License-Identifier: GPL-2.0-or-later
// build-infra policy explain: what it prints and how it exits.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { test } from 'tap';
import { explain, explainCommand } from '../../agents/local/policy/explain.js';
import { readCall } from '../../agents/shared/command-line/run-program.js';
import { folderOf } from '../support/folders.js';

const folder = folderOf(t);
const policy = join(folder, '30-user.policy');
const qubes = join(folder, 'qubes.json');
writeFileSync(
  qubes,
  JSON.stringify({
    vms: [
      { name: 'a', tags: ['x'], running: true },
      { name: 'b', default_dispvm: null, guivm: 'dom0' },
      { name: 'c', type: 'TemplateVM' },
    ],
  }),
);

function run(...args: string[]): { status: number; out: string; complaint: string } {
  let out = '';
  let complaint = '';
  const call = readCall(explainCommand, ['--policy', folder, '--qubes', qubes, ...args]);
  const status = explain(
    call,
    (text) => {
      out += text;
    },
    (text) => {
      complaint += text;
    },
  );
  return { status, out, complaint };
}

test('an allowed call shows target, user, autostart, notify and the line that decided', async (t) => {
  writeFileSync(policy, '# comment\ns.X  +arg a @default allow target=b user=root\n');
  const { status, out } = run('a', '', 's.X+arg');
  t.equal(status, 0);
  t.match(out, /^allow\n/);
  for (const part of [
    /target: +b\n/,
    /user: +root\n/,
    /autostart: +yes\n/,
    /notify: +no\n/,
    /30-user\.policy:2\n +s\.X \+arg a @default allow target=b user=root\n/,
  ])
    t.match(out, part);
  t.match(JSON.parse(run('a', '$default', 's.X+arg', '--json').out), {
    result: 'allow',
    target: 'b',
    user: 'root',
    autostart: true,
    notify: false,
    rule: { file: policy, line: 2 },
  });
});

test('an asking rule shows what is offered and what is preselected', async (t) => {
  writeFileSync(policy, 's.X * a * ask default_target=c\n');
  const { status, out } = run('a', 'b', 's.X');
  t.equal(status, 0);
  t.match(out, /^ask\n[^]*offered: +b c dom0\n +default: +c\n/);
});

test('a denied call shows the reason and exits with 1', async (t) => {
  writeFileSync(policy, 's.X * a b deny notify=no\n');
  t.match(run('a', 'b', 's.X'), {
    status: 1,
    out: /^deny\n[^]*reason: +denied by policy\n[^]*30-user\.policy:1/,
  });
  t.match(run('a', 'c', 's.X'), { status: 1, out: /no rule matches\n[^]*decided by: +no rule/ });
  t.match(JSON.parse(run('--json', 'a', 'c', 's.X').out), {
    result: 'deny',
    reason: 'no rule matches',
    rule: null,
  });
});

test('a broken policy shows file and line and exits with 2', async (t) => {
  writeFileSync(policy, '\ns.X * a b\n');
  t.match(run('a', 'b', 's.X'), { status: 2, complaint: /30-user\.policy:2: a rule has/ });
  t.match(JSON.parse(run('--json', 'a', 'b', 's.X').out), { result: 'error', file: policy, line: 2 });
});

test('a wrong command line is a misuse; a document with an unknown field exits with 2', async (t) => {
  writeFileSync(policy, '');
  for (const args of [
    ['a', 'b'],
    ['a', 'b', 's.X', '--verbose'],
    ['a', 'b', 's.X', '--policy'],
  ])
    t.throws(() => run(...args), { name: 'Misuse' }, args.join(' '));
  const bad = join(folder, 'bad.json');
  writeFileSync(bad, JSON.stringify({ vms: [{ name: 'a', tag: 'x' }] }));
  t.match(run('--qubes', bad, 'a', 'b', 's.X'), { status: 2, complaint: /unknown field "tag"/ });
});

test('the service is shown as the policy sees it: cleaned', async (t) => {
  writeFileSync(policy, 's.X +a_b a b allow\n');
  t.equal(run('a', 'b', 's.X+a/b').status, 0);
});
