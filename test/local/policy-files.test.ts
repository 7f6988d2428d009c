// SPDX-License-Identifier: GPL-2.0-or-later
// Which files make the policy, in which order, and that one mistake anywhere denies everything.
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test, type Test } from 'tap';
import { loadPolicy } from '../../agents/local/policy/policy-files.js';
import { PolicyError } from '../../agents/local/policy/rule.js';
import { PolicyCache } from '../../agents/local/qrexec/policy-cache.js';
import { folderOf } from '../support/folders.js';

type Files = Record<string, string | Buffer>;

function filesIn(t: Test, files: Files): string {
  const folder = folderOf(t);
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return folder;
}

/** The services of the rules, in order; one word each tells which rule came from where. */
const order = (folders: string[], compatFolder?: string): string =>
  loadPolicy(folders, compatFolder === undefined ? {} : { compatFolder })
    .map((rule) => rule.service)
    .join(' ');
const rule = (service: string): string => `${service} * a b deny\n`;

function fails(t: Test, folders: string[], what: string, expected: RegExp = /./, line?: number): void {
  try {
    loadPolicy(folders, { compatFolder: '/nonexistent' });
    t.fail(`${what}: was accepted`);
  } catch (error) {
    if (!(error instanceof PolicyError)) throw error;
    t.match(error.message, expected, what);
    if (line !== undefined) t.equal(error.line, line, `${what}: the line`);
  }
}

test('files of both folders are read as one list, sorted by name bytewise', async (t) => {
  const run = filesIn(t, { '50-b.policy': rule('run50'), '30-user.policy': rule('run30') });
  const etc = filesIn(t, {
    '30-user.policy': rule('etc30'),
    '40-c.policy': rule('etc40'),
    'a.policy': rule('a'),
    '_.policy': rule('underscore'),
    '-.policy': rule('dash'),
  });
  t.equal(order([run, etc]), 'dash run30 etc40 run50 underscore a');
  t.equal(order([etc, run]), 'dash etc30 etc40 run50 underscore a');
});

test('only regular files named *.policy count', async (t) => {
  const folder = filesIn(t, {
    '10.policy': rule('yes'),
    '20.policy~': rule('no'),
    '20.policy.rpmsave': rule('no'),
    README: 'not a policy',
    'X.POLICY': rule('no'),
    '.hidden.policy': rule('no'),
    'folder.policy/x.policy': rule('no'),
    'sub/30.policy': rule('no'),
    '40-empty.policy': '',
  });
  symlinkSync('/nonexistent', join(folder, '50-dangling.policy'));
  symlinkSync('README.real', join(folder, '60-link.policy'));
  writeFileSync(join(folder, 'README.real'), rule('linked'));
  t.equal(order([folder]), 'yes linked');
});

test('a counted file with another character in its name, or a missing folder, denies everything', async (t) => {
  for (const name of ['User.policy', 'a b.policy', 'a+b.policy', 'é.policy'])
    fails(t, [filesIn(t, { '10.policy': rule('x'), [name]: '' })], name, /name/);
  fails(t, [filesIn(t, {}), '/nonexistent-policy'], 'a missing folder', /cannot be read/);
});

test('one mistake in a line denies everything, and says where', async (t) => {
  const bad: Record<string, string> = {
    'too few fields': 's.X * a b',
    'a glob in the service': 's.* * a b deny',
    'an empty service with +': '+x * a b deny',
    'an argument without +': 's.X x a b deny',
    'a bad character in the argument': 's.X +x/y a b deny',
    'service * with an argument': '* +x a b deny',
    'an unknown action': 's.X * a b permit',
    capitals: 's.X * a b ALLOW',
    'a comma': 's.X * a b allow,target=c',
    'an inline comment': 's.X * a b deny # no',
    'an unknown parameter': 's.X * a b allow x=y',
    'deny with target=': 's.X * a b deny target=c',
    'allow with default_target=': 's.X * a b allow default_target=c',
    twice: 's.X * a b allow user=a user=b',
    'not yes or no': 's.X * a b allow notify=maybe',
    'autostart in capitals': 's.X * a b allow autostart=YES',
    'a byte order mark': '\ufeff# comment',
    'an unknown directive': '!exclude x',
    'two words for !include': '!include a b',
    'a missing include': '!include nosuch',
    'a missing include-dir': '!include-dir nosuch',
    'too few words for !include-service': '!include-service s.X nosuch',
    'an empty target=': 's.X * a b allow target=',
    'an empty target= of ask': 's.X * a b ask target=',
    'an empty default_target=': 's.X * a b ask default_target=',
    'an included folder': '!include .',
    'an included device': '!include /dev/null',
    'an included device in the old format': '!include-service s.X * /dev/null',
    'a glob in the service of an old file': '!include-service s.* * 10-good.policy',
    'an argument without + of an old file': '!include-service s.X x 10-good.policy',
    'a word for !compat-4.0': '!compat-4.0 x',
    'no folder for !compat-4.0': '!compat-4.0',
  };
  for (const [what, line] of Object.entries(bad)) {
    const folder = filesIn(t, { '10-good.policy': rule('good'), '20-bad.policy': `# first\n\n${line}\n` });
    fails(t, [folder], what, /20-bad\.policy/, 3);
  }
  fails(t, [filesIn(t, { '10.policy': Buffer.from([0x23, 0xff, 0x0a]) })], 'not UTF-8', /UTF-8/);
});

test('what is included is a plain file: of a pipe no end is waited for', async (t) => {
  for (const [name, line] of [
    ['in this format', '!include pipe'],
    ['in the old one', '!include-service s.X * pipe'],
  ] as const) {
    const folder = filesIn(t, { '10.policy': `${line}\n` });
    execFileSync('mkfifo', [join(folder, 'pipe')]);
    fails(t, [folder], name, /plain file/, 1);
  }
  const linked = filesIn(t, { '10.policy': '!include link\n', x: rule('x') });
  symlinkSync('x', join(linked, 'link'));
  t.equal(order([linked]), 'x', 'a link to one is followed');
});

test('blanks are what Python splits at, and lines end as in Python', async (t) => {
  t.equal(
    order([
      filesIn(t, {
        '10.policy':
          '  one\u00a0*\u2003a\x0bb\x1cdeny  \r\ntwo * a b deny\rthree\t*\fa b\u3000deny\n  # comment\n \n',
      }),
    ]),
    'one two three',
  );
});

test('includes are relative to the folder of the top file, also inside an included file', async (t) => {
  const top = filesIn(t, {
    'p/10.policy': `${rule('before')}!include include/first\n!include-dir include/dir\n${rule('after')}`,
    'p/include/first': `${rule('first')}!include include/second\n!include ../up\n`,
    'p/include/second': rule('second'),
    'p/include/dir/20.policy': rule('dir20'),
    'p/include/dir/10.policy': rule('dir10'),
    'p/include/dir/README': 'no',
    up: `${rule('up')}`,
  });
  writeFileSync(join(top, 'p/20.policy'), `!include ${join(top, 'up')}\n`);
  t.equal(order([join(top, 'p')]), 'before first second up dir10 dir20 after up');
});

test('a file that includes itself, also by a detour, denies everything', async (t) => {
  fails(t, [filesIn(t, { '10.policy': '!include 10.policy\n' })], 'directly', /itself/);
  fails(
    t,
    [filesIn(t, { '10.policy': '!include x\n', x: '!include y\n', y: '!include ./x\n' })],
    'by a detour',
    /itself/,
  );
  t.equal(
    order([filesIn(t, { '10.policy': '!include x\n!include x\n', x: rule('x') })]),
    'x x',
    'twice one after the other is fine',
  );
});

test('!include-service reads the old format', async (t) => {
  const folder = filesIn(t, {
    '10.policy': '!include-service s.X +arg old\n!include-service * * any\n',
    old: '$anyvm $dispvm allow,target=$dispvm:dvm,user=root\n$include:nested\n!include nested\n',
    nested: 'a b deny notify=no\n',
    any: '* * deny\n',
  });
  const rules = loadPolicy([folder]);
  t.same(
    rules.map((one) => [
      one.service,
      one.argument,
      one.source.kind,
      one.target.kind,
      one.action.kind,
      one.action.redirect?.text ?? null,
      one.action.user,
    ]),
    [
      ['s.X', '+arg', 'anyvm', 'dispvm', 'allow', '@dispvm:dvm', 'root'],
      ['s.X', '+arg', 'name', 'name', 'deny', null, null],
      ['s.X', '+arg', 'name', 'name', 'deny', null, null],
      [null, null, 'any', 'any', 'deny', null, null],
    ],
  );
  fails(
    t,
    [filesIn(t, { '10.policy': '!include-service * +x old\n', old: 'a b deny\n' })],
    'service * with an argument',
  );
  const old = (line: string): string =>
    filesIn(t, {
      '10.policy': '!include-service s.X * old\n',
      old: `${line}\n`,
      x: 'a b deny\n',
      '@x': 'a c deny\n',
    });
  for (const line of [
    '$include:x',
    '$include: x',
    '$include:  x',
    '!include\tx',
    'a,b,deny',
    'a b deny,',
    'a b ,deny',
    ', a b deny',
  ])
    t.equal(order([old(line)]), 's.X', `${line} is read`);
  t.equal(
    loadPolicy([old('$include:$x')])[0]?.target.kind === 'name' && order([old('$include:$x')]),
    's.X',
    '$ is @ in a path too',
  );
  for (const line of [
    '$include:',
    '$include: ',
    '$include:x y',
    '$include:x, y',
    '@include:x',
    '@include x',
    '$include x',
    '!include:x',
    '!includex',
    '! include x',
    ',',
    'a $include:x deny',
  ]) {
    fails(t, [old(line)], `${line} is refused`, /./);
  }
  fails(
    t,
    [filesIn(t, { '10.policy': '!include-service s.X * old\n', old: 'a b deny\n!include-dir x\n' })],
    'a directive that the old format does not have',
  );
});

test('!compat-4.0 takes argument files first and closes each with denies', async (t) => {
  const compat = filesIn(t, {
    's.X': 'a b allow\n',
    's.X+arg': 'a c allow\n',
    '.hidden': 'bad',
    'x.rpmsave': 'bad',
    'x.rpmnew': 'bad',
    'x.swp': 'bad',
    'bad name': 'bad',
  });
  const folder = filesIn(t, { '35-compat.policy': '!compat-4.0\n', '90.policy': rule('last') });
  t.same(
    loadPolicy([folder], { compatFolder: compat }).map(
      (one) => `${one.service} ${one.argument ?? '*'} ${one.target.kind} ${one.action.kind}`,
    ),
    [
      's.X +arg name allow',
      's.X +arg anyvm deny',
      's.X +arg adminvm deny',
      's.X * name allow',
      'last * name deny',
    ],
  );
});

test('the running policy follows its files, and a mistake in one stops everything until it is mended', async (t) => {
  const folder = filesIn(t, { '10.policy': rule('one') });
  const cache = new PolicyCache([folder]);
  const now = (): string => {
    const rules = cache.current();
    return rules instanceof PolicyError ? 'broken' : rules.map((one) => one.service).join(' ');
  };
  t.equal(now(), 'one');
  writeFileSync(join(folder, '20.policy'), rule('two'));
  t.equal(now(), 'one two');
  writeFileSync(join(folder, '20.policy'), 'mistake\n');
  t.equal(now(), 'broken');
  writeFileSync(join(folder, '20.policy'), '!include later\n');
  t.equal(now(), 'broken');
  writeFileSync(join(folder, 'later'), rule('later'));
  t.equal(now(), 'one later');
  rmSync(join(folder, '10.policy'));
  t.equal(now(), 'later');
});
