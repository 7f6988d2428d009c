// SPDX-License-Identifier: GPL-2.0-or-later
// The grammar of commands: what is made is read as itself, what is read was spelled in the one way there is.
import t from 'tap';
import {
  commandVerbs,
  makeCommand,
  makeOlderCommand,
  parseCommand,
  type Command,
  type UploadComponent,
} from '../../agents/shared/formats/command.js';
import { AnyRefusal } from '../../agents/shared/refusal.js';

/** Repeatable: a failure names its seed. */
class Dice {
  #state: number;
  constructor(seed: number) {
    this.#state = seed;
  }

  /** mulberry32 */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  }

  of<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)] as T;
  }

  text(alphabet: string, least: number, most: number): string {
    return Array.from({ length: least + this.below(most - least + 1) }, () => this.of([...alphabet])).join(
      '',
    );
  }
}

const plain = 'abcxyz019';
const name = (dice: Dice): string =>
  dice.of([
    'hello',
    'linux-kernel',
    'gtk+2.0',
    'a',
    '0',
    'repo',
    'all',
    'current',
    dice.text(plain, 1, 1) + dice.text(`${plain}.+-`, 0, 63),
  ]);
const release = (dice: Dice): string => dice.of(['r4.3', '4.2', 'rdevel', dice.text(plain, 1, 31)]);
const commit = (dice: Dice): string =>
  dice.of([40, 64].map((length) => dice.text('0123456789abcdef', length, length)));
const number = (dice: Dice, from: number, to: number): string =>
  String(from + dice.below(to - from + 1)).padStart(2, '0');
const minute = (dice: Dice): string =>
  `${2000 + dice.below(100)}${number(dice, 1, 12)}${number(dice, 1, 28)}${number(dice, 0, 23)}${number(dice, 0, 59)}`;
const distWord = (dice: Dice): string =>
  dice
    .of([
      'trixie',
      'vm-trixie',
      'host-fc41',
      'centos-stream9',
      'alle',
      dice.of(['vm-', 'host-', 'dom0-', '']) + dice.text(plain, 2, 12),
    ])
    .replace(/^all$/, 'al');
const someDists = (dice: Dice, word: (dice: Dice) => string): string[] => [
  ...new Set(Array.from({ length: 1 + dice.below(6) }, () => word(dice))),
];

function randomCommand(dice: Dice): Command {
  const verb = dice.of(commandVerbs);
  switch (verb) {
    case 'Upload-component':
      return {
        verb,
        release: release(dice),
        component: name(dice),
        commit: commit(dice),
        repository: dice.of(['current', 'security-testing']),
        dists: dice.below(3) === 0 ? 'all' : someDists(dice, distWord),
      };
    case 'Upload-template':
      return {
        verb,
        release: release(dice),
        template: name(dice),
        version: dice.of(['4.3.0', '4.3', '4', '1.2.3.4']),
        timestamp: minute(dice),
        repository: dice.of(['templates-itl', 'templates-community']),
      };
    case 'Build-template':
      return { verb, release: release(dice), template: name(dice), timestamp: minute(dice) };
    case 'Build-component':
      return { verb, release: release(dice), component: name(dice) };
    case 'Rebuild-component':
      return {
        verb,
        release: release(dice),
        component: name(dice),
        commit: commit(dice),
        number: 1 + dice.below(999),
        dists: dice.below(3) === 0 ? 'all' : someDists(dice, distWord),
      };
    case 'Retry':
      return {
        verb,
        job: `${dice.of(['hello-2.10-3', 'hello-1_2.0~rc1+b1-1'])}-${dice.text('0123456789abcdef', 12, 12)}`,
      };
  }
}

const code = (action: () => unknown): string => {
  try {
    action();
    return 'none';
  } catch (error) {
    return error instanceof AnyRefusal ? error.code : String(error);
  }
};

void t.test('ten thousand random commands: what was made is read as the same command', (t) => {
  let many = 0;
  for (let i = 0; i < 10_000; i++) {
    const command = randomCommand(new Dice(i));
    // The grammar has an end at 255 bytes, and says so to who makes a command.
    if (code(() => makeCommand(command)) === 'BAD_COMMAND') {
      t.ok(JSON.stringify(command).length > 255, `seed ${i} is long`);
      continue;
    }
    const read = parseCommand(makeCommand(command));
    if (JSON.stringify(read) !== JSON.stringify({ command, grammar: 'current' }))
      t.fail(`seed ${i}: ${makeCommand(command)} is read as ${JSON.stringify(read)}`);
    if (command.verb === 'Upload-component' && command.dists !== 'all' && command.dists.length > 1) many++;
  }
  t.ok(many > 500, 'many of them name several distributions');
  t.end();
});

void t.test(
  'fifty thousand damaged and random lines: what is read at all was spelled in its one way',
  (t) => {
    const alphabet = 'aA0-.,+~_ \t\r\n\0é"\'$;/';
    let read = 0;
    for (let i = 0; i < 50_000; i++) {
      const dice = new Dice(1_000_000 + i);
      const command = randomCommand(dice);
      const words = code(() => makeCommand(command)) === 'none' ? makeCommand(command) : 'Retry x';
      const at = dice.below(words.length + 1);
      const line = dice.of([
        words.slice(0, at) + dice.text(alphabet, 0, 2) + words.slice(at + dice.below(3)),
        dice.text(alphabet, 0, 60),
        words.replace(/^Upload-component/, 'Upload'),
        `${words} repo`,
        words
          .split(' ')
          .sort(() => dice.below(3) - 1)
          .join(' '),
        words.toUpperCase(),
        words.replace(' ', '  '),
      ]);
      try {
        const { command: found, grammar } = parseCommand(line);
        const made = grammar === 'older' ? makeOlderCommand(found as UploadComponent) : makeCommand(found);
        if (made !== line) t.fail(`${JSON.stringify(line)} is read, and made as ${made}`);
        read++;
      } catch (error) {
        if (!(error instanceof AnyRefusal) || error.code !== 'BAD_COMMAND')
          t.fail(`${JSON.stringify(line)}: ${String(error)}`);
      }
    }
    t.ok(read > 1000, 'some of them are commands');
    t.end();
  },
);

const sha = '0123456789abcdef0123456789abcdef01234567';

void t.test("a rebuild's number is one of 1 to 999, in its one spelling", (t) => {
  t.match(parseCommand(`Rebuild-component r4.3 hello ${sha} 12 bookworm,vm-trixie`).command, {
    verb: 'Rebuild-component',
    number: 12,
    dists: ['bookworm', 'vm-trixie'],
  });
  for (const number of ['0', '01', '1000', 'b1', '+b1', '1.0', '-1'])
    t.equal(
      code(() => parseCommand(`Rebuild-component r4.3 hello ${sha} ${number} all`)),
      'BAD_COMMAND',
      number,
    );
  for (const line of [
    `Rebuild-component r4.3 hello ${sha} 1`,
    `Rebuild-component r4.3 hello ${sha} all`,
    `Rebuild-component hello ${sha} 1 all`,
    `Rebuild-component r4.3 hello ${sha} 1 all trixie`,
  ])
    t.equal(
      code(() => parseCommand(line)),
      'BAD_COMMAND',
      line,
    );
  t.end();
});

void t.test("upstream's older grammar is read, with no, one and many distributions", (t) => {
  const older = (dists: string): unknown =>
    parseCommand(`Upload core-admin ${sha} r4.2 current ${dists}repo`);
  const command = {
    verb: 'Upload-component',
    component: 'core-admin',
    commit: sha,
    release: 'r4.2',
    repository: 'current',
  };
  t.same(older(''), { command: { ...command, dists: 'all' }, grammar: 'older' });
  t.same(older('vm-trixie '), { command: { ...command, dists: ['vm-trixie'] }, grammar: 'older' });
  t.same(older('dom0-fc41 vm-trixie '), {
    command: { ...command, dists: ['dom0-fc41', 'vm-trixie'] },
    grammar: 'older',
  });
  // Without its closing word a command for one distribution must not become one for all.
  for (const line of ['', ' vm-trixie', ' vm-trixie dom0-fc41', ' vm-trixie repo x'])
    t.equal(
      code(() => parseCommand(`Upload core-admin ${sha} r4.2 current${line}`)),
      'BAD_COMMAND',
      line,
    );
  for (const seed of Array.from({ length: 1000 }, (_, i) => i)) {
    const dice = new Dice(seed);
    const made: UploadComponent = {
      ...randomCommand(dice),
      verb: 'Upload-component',
      release: 'r4.2',
      component: name(dice).slice(0, 40),
      commit: commit(dice),
      repository: 'current',
      dists: dice.below(3) === 0 ? 'all' : ['vm-a', 'host-b'],
    };
    const { verb, component, commit: id, release: of, repository, dists } = made;
    t.same(parseCommand(makeOlderCommand(made)), {
      command: { verb, component, commit: id, release: of, repository, dists },
      grammar: 'older',
    });
  }
  t.end();
});

void t.test('several distributions in one command, which upstream could not', (t) => {
  const line = `Upload-component r4.3 hello ${sha} current host-fc41,vm-trixie,bookworm`;
  t.match(parseCommand(line), { command: { dists: ['host-fc41', 'vm-trixie', 'bookworm'] } });
  t.end();
});

const good = `Upload-component r4.3 hello ${sha} current all`;
const bad: Record<string, string> = {
  nothing: '',
  'a space before': ` ${good}`,
  'a space after': `${good} `,
  'two spaces': good.replace(' ', '  '),
  'a tab': good.replace(' ', '\t'),
  'a line end': `${good}\n`,
  'a second line': `${good}\n${good}`,
  'a letter that only looks right': good.replace('o', '\u043e'),
  'another case of the verb': good.replace('Upload', 'upload'),
  'a verb that nobody knows': 'Delete-component r4.3 hello',
  'a word too many': `${good} x`,
  'a word too few': good.replace(' all', ''),
  'a short commit': good.replace(sha, sha.slice(1)),
  'a commit in upper case': good.replace(sha, sha.toUpperCase()),
  'a branch in place of the commit': good.replace(sha, 'main'),
  'the repository where builds go': good.replace('current', 'current-testing'),
  'a component that is a path': good.replace('hello', '../hello'),
  'a component in upper case': good.replace('hello', 'Hello'),
  'an option in place of a component': good.replace('hello', '--force'),
  "a shell's characters": good.replace('hello', '$(id)'),
  'distributions with spaces': good.replace('all', 'vm-trixie host-fc41'),
  'an empty distribution': good.replace('all', 'trixie,'),
  'an empty distribution in between': good.replace('all', 'trixie,,bookworm'),
  'a distribution twice': good.replace('all', 'trixie,trixie'),
  'all beside a distribution': good.replace('all', 'all,trixie'),
  'more than 255 bytes': `Upload-component r4.3 hello ${sha} current ${Array.from({ length: 20 }, (_, i) => `distribution-${i}`).join(',')}`,
  'a minute that no day has': 'Build-template r4.3 debian-13 202611222460',
  'a day that no month has': 'Build-template r4.3 debian-13 202602300000',
  'a minute with a digit more before it': 'Build-template r4.3 debian-13 9202611221200',
  'a minute with a digit more behind it': 'Build-template r4.3 debian-13 2026112212009',
  'a template without timestamp': 'Upload-template r4.3 debian-13 4.3.0 templates-itl',
  'a template for testing': 'Upload-template r4.3 debian-13 4.3.0-202611221200 templates-itl-testing',
  'a job that is a path': 'Retry ../../etc',
  'the older grammar without its last word': `Upload hello ${sha} r4.2 current`,
  'the older grammar with a plain distribution, which could be anything': `Upload hello ${sha} r4.2 current trixie repo`,
  'the older grammar with its last word twice': `Upload hello ${sha} r4.2 current repo repo`,
  'the older grammar with the new order of words': `Upload r4.2 hello ${sha} current repo`,
};
for (const [what, line] of Object.entries(bad)) {
  void t.test(`no command: ${what}`, (t) => {
    t.equal(
      code(() => parseCommand(line)),
      'BAD_COMMAND',
    );
    t.end();
  });
}

void t.test('what cannot be spelled is not made', (t) => {
  const command = {
    verb: 'Upload-component',
    release: 'r4.3',
    component: 'hello',
    commit: sha,
    repository: 'current',
    dists: ['trixie'],
  } as const;
  t.equal(
    code(() => makeCommand({ ...command, component: 'hello r4.3' })),
    'BAD_COMMAND',
  );
  t.equal(
    code(() => makeCommand({ ...command, dists: ['trixie,bookworm'] })),
    'BAD_COMMAND',
  );
  t.equal(
    code(() => makeCommand({ ...command, dists: ['all'] })),
    'BAD_COMMAND',
  );
  t.equal(
    code(() => makeCommand({ ...command, dists: [] })),
    'BAD_COMMAND',
  );
  t.equal(
    code(() => makeOlderCommand({ ...command, dists: ['trixie'] })),
    'BAD_COMMAND',
  );
  t.end();
});
