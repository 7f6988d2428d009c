// SPDX-License-Identifier: GPL-2.0-or-later
// Every cell of the tables on tokens (which may stand where) and on targets (which matches what).
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { test } from 'tap';
import { chosenTarget, evaluate, type Verdict } from '../../agents/local/policy/evaluate.js';
import { loadPolicy } from '../../agents/local/policy/policy-files.js';
import { cleanService, cleanTarget, splitService } from '../../agents/local/policy/request.js';
import { PolicyError } from '../../agents/local/policy/rule.js';
import { adminUuid, SystemInfo, systemVm } from '../../agents/local/policy/system-info.js';
import { folderOf } from '../support/folders.js';

const folder = folderOf(t);

const uuidOfA = '11111111-1111-1111-1111-11111111111a';
const uuidOfB = '11111111-1111-1111-1111-11111111111b';
const uuidOfDvm = '11111111-1111-1111-1111-11111111111d';
const system = new SystemInfo([
  systemVm({ name: 'a', uuid: uuidOfA, defaultDispvm: 'dvm', running: true, tags: ['ta'] }),
  systemVm({ name: 'b', uuid: uuidOfB, tags: ['tb'] }),
  systemVm({ name: 'c', type: 'TemplateVM', tags: ['tb'], running: true }),
  systemVm({ name: 'dvm', uuid: uuidOfDvm, templateForDispvms: true, tags: ['td'] }),
  systemVm({ name: 'dvm2', templateForDispvms: true }),
  systemVm({ name: 'plain' }),
  systemVm({ name: 'hidden', internal: true }),
  systemVm({ name: 'disp1', type: 'DispVM', running: true, guivm: null }),
]);

function ask(
  rules: string,
  target: string,
  options: { source?: string; service?: string } = {},
): Verdict | 'syntax error' {
  writeFileSync(join(folder, '30-user.policy'), `${rules}\n`);
  try {
    return evaluate(loadPolicy([folder]), system, {
      source: options.source ?? 'a',
      target,
      service: options.service ?? 's.X',
    });
  } catch (error) {
    if (error instanceof PolicyError) return 'syntax error';
    throw error;
  }
}

const result = (verdict: Verdict | 'syntax error'): string =>
  verdict === 'syntax error' ? verdict : verdict.result;
const reason = (verdict: Verdict | 'syntax error'): string =>
  verdict !== 'syntax error' && verdict.result === 'deny' ? verdict.reason : result(verdict);
const target = (verdict: Verdict | 'syntax error'): string =>
  verdict !== 'syntax error' && verdict.result === 'allow' ? verdict.target : reason(verdict);

test('each token is legal only where it may stand', async (t) => {
  const rows: [token: string, source: boolean, target: boolean, redirect: boolean, ask: boolean][] = [
    ['b', true, true, true, true],
    [`uuid:${uuidOfB}`, true, true, true, true],
    ['*', true, true, false, false],
    ['@anyvm', true, true, false, false],
    ['@adminvm', true, true, true, true],
    ['dom0', true, true, true, true],
    [`uuid:${adminUuid}`, true, true, true, true],
    ['@default', false, true, false, true],
    ['@dispvm', false, true, true, true],
    ['@dispvm:dvm', true, true, true, true],
    ['@dispvm:@tag:td', true, true, false, false],
    ['@tag:tb', true, true, false, false],
    ['@type:AppVM', true, true, false, false],
    ['@other', false, false, false, false],
    ['@tag:', false, false, false, false],
    ['@type:', false, false, false, false],
    ['@dispvm:', false, false, false, false],
    ['@ANYVM', false, false, false, false],
    ['$anyvm', true, true, true, true],
    ['"a"', true, true, true, true],
    ['default', true, true, true, true],
    ['**b', true, true, true, true],
  ];
  for (const [token, asSource, asTarget, asRedirect, asked] of rows) {
    t.equal(result(ask(`s.X * ${token} b deny`, 'b')) !== 'syntax error', asSource, `${token} as SOURCE`);
    t.equal(result(ask(`s.X * a ${token} deny`, 'b')) !== 'syntax error', asTarget, `${token} as TARGET`);
    t.equal(
      result(ask(`s.X * a b allow target=${token}`, 'b')) !== 'syntax error',
      asRedirect,
      `${token} as target=`,
    );
    t.equal(
      result(ask(`s.X * a b ask default_target=${token}`, 'b')) !== 'syntax error',
      asRedirect,
      `${token} as default_target=`,
    );
    const word = cleanTarget(Buffer.from(token.replaceAll('$', '@')));
    if (token.startsWith('@') || token === 'b')
      t.equal(reason(ask('s.X * a * ask target=c', word)) === 'ask', asked, `a caller asks for ${token}`);
  }
});

test('each TARGET token matches exactly the requests of its row', async (t) => {
  const requests = [
    'b',
    'dom0',
    '@adminvm',
    '@default',
    '@dispvm',
    '@dispvm:dvm',
    '@dispvm:dvm2',
    'nosuch',
    `uuid:${uuidOfB}`,
  ];
  const rows: Record<string, string> = {
    '*': 'xxxxxxxxx',
    '@anyvm': 'x..xxxxxx',
    '@adminvm': '.xx......',
    dom0: '.xx......',
    [`uuid:${adminUuid}`]: '.xx......',
    '@default': '...x...x.',
    '@dispvm': '....x....',
    '@dispvm:dvm': '....xx...',
    '@dispvm:@tag:td': '....xx...',
    '@type:AppVM': 'x.......x',
    '@tag:tb': 'x.......x',
    '@type:AdminVM': '.x.......',
    b: 'x.......x',
    [`uuid:${uuidOfB}`]: 'x.......x',
  };
  for (const [token, cells] of Object.entries(rows)) {
    for (const [index, request] of requests.entries()) {
      // The rule before the last says where a match goes, so that a match cannot be mistaken for a later
      // denial.
      const verdict = ask(`s.X * a ${token} allow target=c\n* * * * deny`, request);
      t.equal(
        target(verdict),
        cells[index] === 'x' ? 'c' : 'denied by policy',
        `${token} against ${request}`,
      );
    }
  }
});

test('a template by its uuid matches who asks for it, and no plain @dispvm', async (t) => {
  const rule = `s.X * a @dispvm:uuid:${uuidOfDvm} allow target=c`;
  t.equal(target(ask(rule, '@dispvm:dvm')), 'c');
  t.equal(target(ask(rule, '@dispvm')), 'no rule matches');
});

test('each SOURCE token matches by the calling VM', async (t) => {
  const rows: [token: string, sources: string][] = [
    ['*', 'a c disp1'],
    ['@anyvm', 'a c disp1'],
    ['a', 'a'],
    [`uuid:${uuidOfA}`, 'a'],
    ['@tag:ta', 'a'],
    ['@tag:tb', 'c'],
    ['@type:TemplateVM', 'c'],
    ['@type:DispVM', 'disp1'],
    ['@type:AppVM', 'a'],
    ['@type:appvm', ''],
    ['@adminvm', ''],
    ['@dispvm:dvm', ''],
    ['@dispvm:@tag:td', ''],
    ['A', ''],
  ];
  for (const [token, sources] of rows) {
    for (const source of ['a', 'c', 'disp1']) {
      t.equal(
        result(ask(`s.X * ${token} b allow`, 'b', { source })),
        sources.split(' ').includes(source) ? 'allow' : 'deny',
        `${token} when ${source} calls`,
      );
    }
  }
});

test('what a caller asked for is normalised before any rule is looked at', async (t) => {
  const all = 's.X * a * allow target=c';
  t.equal((ask(all, '') as { requested: string }).requested, '@default', 'nothing');
  t.equal((ask(all, 'nosuch') as { requested: string }).requested, '@default', 'a VM that does not exist');
  for (const bad of ['@dispvm:nosuch', '@dispvm:plain', '@anyvm', '@tag:tb', '@type:AppVM', '@default2', '@'])
    t.equal(result(ask(all, bad)), 'deny', bad);
});

test('service and argument match exactly', async (t) => {
  const rows: [rule: string, service: string, matches: boolean][] = [
    ['s.X *', 's.X', true],
    ['s.X *', 's.X+y', true],
    ['s.X +', 's.X', true],
    ['s.X +', 's.X+', true],
    ['s.X +', 's.X+y', false],
    ['s.X +y', 's.X+y', true],
    ['s.X +y', 's.X', false],
    ['s.X +y', 's.X+Y', false],
    ['s.X +y+z', 's.X+y+z', true],
    ['* *', 's.X+y', true],
    ['s.x *', 's.X', false],
  ];
  for (const [rule, service, matches] of rows)
    t.equal(
      result(ask(`${rule} a b allow`, 'b', { service })),
      matches ? 'allow' : 'deny',
      `${rule} for ${service}`,
    );
  t.same(splitService('s.X'), { service: 's.X', argument: '+' });
  t.same(splitService('s.X+a+b'), { service: 's.X', argument: '+a+b' });
  t.equal(result(ask('* * * * allow', 'b', { service: '+x' })), 'deny', 'a service without a name');
});

test('the first rule that matches decides, even into a dead end', async (t) => {
  t.equal(result(ask('s.X * a b deny\ns.X * a b allow', 'b')), 'deny');
  t.equal(result(ask('s.X * a b allow\ns.X * a b deny', 'b')), 'allow');
  t.match(reason(ask('s.X * a b allow target=nosuch\ns.X * a b allow', 'b')), /no such target/);
  t.equal(reason(ask('other * a b allow', 'b')), 'no rule matches');
});

test('allow: redirects, defaults and dead ends', async (t) => {
  t.equal(
    target(ask('s.X * a * allow target=c\ns.X * a c deny', 'b')),
    'c',
    'the redirected call is not evaluated again',
  );
  t.equal(target(ask('s.X * a b allow target=@dispvm', 'b')), '@dispvm:dvm');
  t.match(reason(ask('s.X * c b allow target=@dispvm', 'b', { source: 'c' })), /no default_dispvm/);
  t.equal(target(ask('s.X * a b allow target=dom0', 'b')), 'dom0');
  t.equal(target(ask('s.X * a b allow target=@adminvm', 'b')), 'dom0');
  t.match(reason(ask('s.X * a * allow', '@default')), /neither/);
  t.match(reason(ask('s.X * a @anyvm allow', 'nosuch')), /neither/);
  t.equal(result(ask('s.X * a @default allow', 'b')), 'syntax error', 'allow for @default without target=');
  t.match(reason(ask('s.X * a a allow', 'a')), /itself/, 'loopback by name');
  t.match(reason(ask('s.X * a * allow target=a', 'b')), /itself/, 'loopback by redirect');
  t.equal(
    target(ask('s.X * a a allow', `uuid:${uuidOfA}`)),
    'a',
    'loopback by uuid gets through, as measured',
  );
  t.match(ask('s.X * a b allow', 'b'), { user: null, autostart: true, notify: false, targetUuid: uuidOfB });
  t.match(ask('s.X * a b allow user=root notify=yes autostart=yes', 'b'), {
    user: 'root',
    autostart: true,
    notify: true,
  });
  t.match(ask('s.X * a b allow user=', 'b'), { user: null }, 'an empty user= is the default user');
  t.match(ask('s.X * a b allow user=no%such', 'b'), { user: 'no%such' });
});

test('autostart=no lets a call through to a running target only, and tells whom the rule wants told', async (t) => {
  t.match(ask('s.X * a b allow autostart=no', 'b'), { result: 'deny', notify: false });
  t.match(ask('s.X * a b allow autostart=no notify=yes', 'b'), { result: 'deny', notify: true });
  t.equal(target(ask('s.X * a c allow autostart=no', 'c')), 'c');
  t.equal(target(ask('s.X * a dom0 allow autostart=no', 'dom0')), 'dom0');
  t.equal(result(ask('s.X * a @dispvm allow autostart=no', '@dispvm')), 'deny');
});

test('deny notifies unless it says no', async (t) => {
  t.match(ask('s.X * a b deny', 'b'), { result: 'deny', notify: true });
  t.match(ask('s.X * a b deny notify=no', 'b'), { result: 'deny', notify: false });
});

test('ask offers what any rule would allow, less what a higher rule denies', async (t) => {
  const offered = (rules: string, options: { source?: string } = {}): unknown =>
    (ask(rules, '@default', options) as { targets?: string[] }).targets ??
    reason(ask(rules, '@default', options));
  t.same(offered('s.X * a * ask'), [
    '@dispvm:dvm',
    '@dispvm:dvm2',
    'b',
    'c',
    'disp1',
    'dom0',
    'dvm',
    'dvm2',
    'plain',
  ]);
  t.same(
    offered('s.X * a @anyvm ask'),
    ['@dispvm:dvm', '@dispvm:dvm2', 'b', 'c', 'disp1', 'dvm', 'dvm2', 'plain'],
    'never dom0, itself or an internal VM',
  );
  t.same(
    offered('s.X * a @tag:tb deny\ns.X * a @default ask\ns.X * a @tag:tb allow\ns.X * a plain allow'),
    ['plain'],
    'a higher deny takes away',
  );
  t.same(offered('s.X * a @default ask\ns.X * a b allow\ns.X * a b deny'), ['b'], 'a lower deny does not');
  t.same(offered('s.X * a @default ask target=b\ns.X * a c allow'), ['b'], 'target= leaves that one');
  t.same(
    offered('s.X * a @default ask\ns.X * a plain allow target=c'),
    ['c'],
    "a rule's target= counts instead of its TARGET",
  );
  t.same(offered('s.X * a @default ask\ns.X * a @dispvm allow'), ['@dispvm:dvm']);
  t.same(offered('s.X * a @default ask\ns.X * a @adminvm allow'), ['dom0']);
  t.same(offered('s.X * a @default ask\ns.X * a @dispvm:@tag:td allow'), ['@dispvm:dvm']);
  t.match(offered('s.X * a @default ask\ns.X * b c allow'), /no target to choose/);
  t.same(
    offered('s.X * a @default ask\ns.X * a @dispvm:nosuch deny\ns.X * a b allow'),
    'the rule asks, but there is no target to choose from',
    'a rule over which the real one stumbles',
  );
});

test('ask offers its own target= as it is written, and where it leads shows when it is chosen', async (t) => {
  const rows: [redirect: string, offered: string, leadsTo: string | null][] = [
    ['b', 'b', 'b'],
    ['dom0', 'dom0', 'dom0'],
    ['@adminvm', 'dom0', 'dom0'],
    [`uuid:${adminUuid}`, 'dom0', 'dom0'],
    [`uuid:${uuidOfB}`, `uuid:${uuidOfB}`, 'b'],
    ['@dispvm', '@dispvm', null],
    ['@dispvm:dvm', '@dispvm:dvm', '@dispvm:dvm'],
    ['@dispvm:nosuch', '@dispvm:nosuch', null],
    ['nosuch', 'nosuch', null],
    ['uuid:nosuch', 'uuid:nosuch', null],
    ['hidden', 'hidden', 'hidden'],
    ['a', 'a', null],
    [`uuid:${uuidOfA}`, `uuid:${uuidOfA}`, 'a'],
  ];
  for (const [redirect, offered, leadsTo] of rows) {
    const verdict = ask(`s.X * a * ask target=${redirect} user=root`, 'c');
    if (verdict === 'syntax error' || verdict.result !== 'ask')
      return t.fail(`${redirect}: ${reason(verdict)}`);
    t.same(verdict.targets, [offered], `target=${redirect}`);
    const chosen = chosenTarget(verdict, offered, 'a', system);
    t.equal(chosen?.target ?? null, leadsTo, `target=${redirect}, chosen`);
    if (chosen !== null) t.match(chosen, { result: 'allow', user: 'root', requested: 'c' });
    for (const answer of [null, 'plain', ''])
      t.equal(
        chosenTarget(verdict, answer, 'a', system),
        null,
        `target=${redirect}, answered with ${answer}`,
      );
  }
});

test('ask with autostart=no offers what runs', async (t) => {
  const offered = (rules: string): unknown =>
    (ask(rules, '@default') as { targets?: string[] }).targets ?? reason(ask(rules, '@default'));
  t.same(offered('s.X * a * ask autostart=no'), ['c', 'disp1', 'dom0'], 'no disposable, none that is halted');
  t.same(
    offered('s.X * a @default ask autostart=no\ns.X * a * allow target=b'),
    'the rule asks, but there is no target to choose from',
  );
  for (const redirect of ['b', 'nosuch', '@dispvm', '@dispvm:dvm', `uuid:${uuidOfB}`])
    t.match(
      offered(`s.X * a * ask autostart=no target=${redirect}`),
      /no target to choose/,
      `target=${redirect}`,
    );
  for (const redirect of ['c', 'dom0', `uuid:${uuidOfA}`])
    t.same(offered(`s.X * a * ask autostart=no target=${redirect}`), [redirect], `target=${redirect}`);
  t.match(
    ask('s.X * a * ask autostart=no default_target=b', '@default'),
    { result: 'ask', defaultTarget: null },
    'what is not offered is not preselected',
  );
});

test('ask preselects default_target= only if it is offered, and never by uuid', async (t) => {
  const preselected = (rules: string, asked = '@default'): unknown =>
    (ask(rules, asked) as { defaultTarget?: string | null }).defaultTarget;
  t.equal(preselected('s.X * a * ask default_target=b'), 'b');
  t.equal(preselected('s.X * a * ask default_target=hidden'), null);
  t.equal(preselected(`s.X * a * ask default_target=uuid:${uuidOfB}`), null);
  t.equal(preselected('s.X * a * ask', 'b'), null, 'what the caller asked for is not preselected');
  t.match(ask('s.X * disp1 * ask', 'b', { source: 'disp1' }), { result: 'ask', guivm: null });
});

test('what a VM sends is cleaned, cut, and never refused for its characters', async (t) => {
  t.equal(cleanService(Buffer.from('p.Show+a/b c')), 'p.Show+a_b_c');
  t.equal(cleanService(Buffer.from('s$:@é')), 's_____');
  t.equal(cleanTarget(Buffer.from('@tag:a+b/c')), '@tag:a_b_c');
  t.equal(cleanTarget(Buffer.from('x'.repeat(70))).length, 63);
});
