// SPDX-License-Identifier: GPL-2.0-or-later
// Reads a command line by the program's table and runs the command that it names. Nothing runs that was not
// understood whole.
import { parseArgs } from 'node:util';
import { AnyRefusal, printable } from '../refusal.js';
import { bashCompletion } from './completion.js';
import { commandHelp, programHelp } from './help.js';
import { manPage } from './man-page.js';
import { nearest } from './nearest.js';
import {
  Misuse,
  optionsOf,
  type CommandCall,
  type CommandRow,
  type OptionRow,
  type ProgramTable,
} from './program.js';
import { version } from './version.js';

type Token =
  | { kind: 'option'; name: string; value: string | undefined; inline: boolean }
  | { kind: 'word'; value: string };

interface Written {
  tokens: readonly Token[];
  after: readonly string[];
}

/**
 * Where the value of an option ends is known from the whole program: `--state DIR jobs` and `jobs --state
 * DIR` are the same.
 */
function readTokens(table: ProgramTable, argv: readonly string[]): Written {
  const known = table.commands.flatMap((command) => optionsOf(table, command));
  const options: Record<string, { type: 'string' | 'boolean'; short?: string }> = Object.create(
    null,
  ) as never;
  for (const { name, short, value } of known) {
    options[name] = {
      type: value === undefined ? 'boolean' : 'string',
      ...(short === undefined ? {} : { short }),
    };
  }
  const end = argv.indexOf('--');
  const [own, after] = end < 0 ? [argv, []] : [argv.slice(0, end), argv.slice(end + 1)];
  const { tokens } = parseArgs({
    args: [...own],
    options,
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  return {
    after,
    tokens: tokens.flatMap((token): Token[] => {
      if (token.kind === 'positional') return [{ kind: 'word', value: token.value }];
      if (token.kind !== 'option') return [];
      return [{ kind: 'option', name: token.name, value: token.value, inline: token.inlineValue === true }];
    }),
  };
}

/** The commands that a person may type. */
const commandsOf = (table: ProgramTable): string[] =>
  table.commands.flatMap(({ words, hidden }) => (hidden === true || words === '' ? [] : [words]));

const wordsIn = ({ words }: CommandRow): string[] => words.split(' ').filter((word) => word !== '');

/** The row with the most words that the line begins with. @throws Misuse */
function findCommand(table: ProgramTable, words: readonly string[]): CommandRow {
  const [found] = table.commands
    .filter((command) => wordsIn(command).every((word, index) => words[index] === word))
    .sort((a, b) => wordsIn(b).length - wordsIn(a).length);
  const meant =
    found !== undefined && (found.words !== '' || found.takes !== undefined || words.length === 0);
  // `jobs shwo` is not `jobs` with a word too many, where `jobs` takes none.
  const [first = '', second] = words;
  const verbs = commandsOf(table)
    .filter((own) => own.startsWith(`${first} `))
    .map((own) => own.split(' ')[1] ?? '');
  const lost =
    found?.words === first && found.takes === undefined && second !== undefined && verbs.length > 0;
  if (meant && !lost) return found;
  throw new Misuse(unknown(table, first, second, verbs));
}

function unknown(
  table: ProgramTable,
  first: string,
  second: string | undefined,
  verbs: readonly string[],
): string {
  const known = [...new Set(commandsOf(table).map((own) => own.split(' ')[0] ?? ''))];
  if (first === '') return `a command is missing: one of ${known.join(', ')}`;
  const elsewhere = table.elsewhere?.[first];
  if (elsewhere !== undefined) return `"${first}" is no command here: ${elsewhere}`;
  if (verbs.length === 0) return `there is no command "${first}"${offer(nearest(first, known))}`;
  if (second === undefined) return `"${first}" needs one of: ${verbs.join(', ')}`;
  return `"${first}" has no command "${second}"${offer(nearest(second, verbs))}`;
}

const offer = (name: string | undefined): string => (name === undefined ? '' : `; the nearest is "${name}"`);

/** `COMPONENT [VERSION]`, `FILE...`, `[DIST]...` → how many words. */
export function wordCounts(takes = ''): { least: number; most: number } {
  const parts = takes
    .replace(/ ?-- .*$/, '')
    .split(' ')
    .filter((part) => part !== '');
  const endless = parts.some((part) => part.endsWith('...'));
  return {
    least: parts.filter((part) => !part.startsWith('[')).length,
    most: endless ? Infinity : parts.length,
  };
}

/** The row of an option that was written. @throws Misuse with the nearest, where there is none */
function findOption(written: string, known: readonly OptionRow[]): OptionRow {
  const row = known.find(({ name, short }) => name === written || short === written);
  if (row !== undefined) return row;
  const near = nearest(written, [...new Set(known.map(({ name }) => name))]);
  const dashes = written.length === 1 ? '-' : '--';
  throw new Misuse(
    `there is no option ${dashes}${written}${near === undefined ? '' : `; the nearest is --${near}`}`,
  );
}

function checkOption(
  { name: written, value, inline }: Token & { kind: 'option' },
  known: readonly OptionRow[],
): void {
  const { name, value: wanted } = findOption(written, known);
  if (wanted === undefined && value !== undefined) throw new Misuse(`--${name} takes no value`);
  if (wanted === undefined) return;
  // `--component --json`: the value was forgotten, and is not one that begins with dashes.
  const forgotten = value === undefined || value === '' || (!inline && value.startsWith('--'));
  if (forgotten) throw new Misuse(`--${name} needs a value: ${wanted}`);
}

function callOf(table: ProgramTable, command: CommandRow, { tokens, after }: Written): CommandCall {
  const known = optionsOf(table, command);
  let left = command.words === '' ? 0 : command.words.split(' ').length;
  const rest = tokens.filter((token) => token.kind === 'option' || left-- <= 0);
  for (const token of rest) if (token.kind === 'option') checkOption(token, known);
  const words = rest.flatMap((token) => (token.kind === 'word' ? [token.value] : []));
  const { least, most } = wordCounts(command.takes);
  if (words.length < least) throw new Misuse(`${command.takes ?? ''} is missing`);
  if (words.length > most)
    throw new Misuse(
      `it takes ${most === 0 ? 'no further words' : (command.takes ?? '')}, and "${words[most] ?? ''}" is one too many`,
    );
  const takesAfter = / ?-- /.test(command.takes ?? '');
  if (after.length > 0 && !takesAfter) throw new Misuse(`nothing may follow "--"`);
  if (after.length === 0 && takesAfter) throw new Misuse(`${command.takes ?? ''} is needed`);
  const values = (wanted: string): string[] =>
    rest.flatMap((token) => (token.kind === 'option' && token.name === wanted ? [token.value ?? ''] : []));
  return {
    words,
    after,
    inOrder: rest.map((token) =>
      token.kind === 'option' ? { name: token.name, value: token.value ?? '' } : { value: token.value },
    ),
    has: (name) => values(name).length > 0,
    value: (name) => values(name).at(-1),
    values,
  };
}

/** The command that a line names, and what it says. @throws Misuse, if it cannot be understood whole */
export function readLine(
  table: ProgramTable,
  argv: readonly string[],
): { command: CommandRow; call: CommandCall } {
  return understand(table, readTokens(table, argv));
}

function understand(table: ProgramTable, written: Written): { command: CommandRow; call: CommandCall } {
  // Before the command is looked for: the value of an option that nobody knows looks like a word.
  const known = table.commands.flatMap((row) => optionsOf(table, row));
  for (const token of written.tokens) if (token.kind === 'option') findOption(token.name, known);
  const command = findCommand(
    table,
    written.tokens.flatMap((token) => (token.kind === 'word' ? [token.value] : [])),
  );
  try {
    return { command, call: callOf(table, command, written) };
  } catch (error) {
    if (error instanceof Misuse) error.command = command.words;
    throw error;
  }
}

/** A command line of one command alone. @throws Misuse */
export function readCall(
  command: Pick<CommandRow, 'takes' | 'options'>,
  argv: readonly string[],
): CommandCall {
  const row: CommandRow = { ...command, words: '', does: '', run: () => 0 };
  const table: ProgramTable = { name: '', does: '', commands: [row] };
  return callOf(table, row, readTokens(table, argv));
}

export interface Streams {
  out: (text: string) => void;
  complain: (text: string) => void;
}

const asked = (tokens: readonly Token[], ...names: readonly string[]): boolean =>
  tokens.some((token) => token.kind === 'option' && names.includes(token.name));

function about(table: ProgramTable, { tokens }: Written): string | undefined {
  const words = tokens.flatMap((token) => (token.kind === 'word' ? [token.value] : []));
  const [first, second] = words;
  if (asked(tokens, 'version')) return `${table.name} ${version}\n`;
  if (first === 'completion' && words.length === 2 && second === 'bash') return bashCompletion(table);
  if (first === 'man-page' && words.length === 1) return manPage(table);
  if (first === 'help') return helpOf(table, words.slice(1));
  return asked(tokens, 'help', 'h') ? helpOf(table, words) : undefined;
}

function helpOf(table: ProgramTable, words: readonly string[]): string {
  if (words.length === 0) return programHelp(table);
  const exact = table.commands.filter(
    ({ words: own }) =>
      own !== '' && (own === words.join(' ') || own.startsWith(`${words[0] ?? ''} `) || own === words[0]),
  );
  if (exact.length > 0) {
    const best = exact.find(
      ({ words: own }) => own === words.slice(0, own.split(' ').length).join(' ') && own.includes(' '),
    );
    return (best === undefined ? exact : [best]).map((command) => commandHelp(table, command)).join('\n');
  }
  return commandHelp(table, findCommand(table, words));
}

/** A reader that went away (`… | head`) has read what it wanted. */
function endQuietlyWithoutReader(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
      process.exit(process.exitCode ?? 0);
    });
  }
}

/**
 * @param argv what follows the program's name
 * @returns the exit status: the command's own; 0 for help; 1 for a refusal; 2 for a line that was not
 * understood, and for a fault
 */
export async function runProgram(
  table: ProgramTable,
  argv: readonly string[],
  streams?: Streams,
): Promise<number> {
  if (streams === undefined) endQuietlyWithoutReader();
  const out = streams?.out ?? ((text: string): void => void process.stdout.write(text));
  const complain = streams?.complain ?? ((text: string): void => void process.stderr.write(text));
  const said = (command: string): string => `${table.name} ${command}`.trim().replace(/ --$/, '');
  let name = table.name;
  try {
    const written = readTokens(table, argv);
    const told = about(table, written);
    if (told !== undefined) {
      out(told);
      return 0;
    }
    const { command, call } = understand(table, written);
    name = said(command.words);
    return await command.run(call);
  } catch (error) {
    if (error instanceof Misuse) {
      const at = said(error.command ?? name.slice(table.name.length).trim());
      complain(
        `${at}: ${printable(error.message)}\n(${at.startsWith(table.name) ? at : table.name} --help tells more)\n`,
      );
    } else if (error instanceof AnyRefusal) complain(`${name}: ${error.line()}\n`);
    else complain(`${name}: fault: ${printable((error as Error).message)}\n`);
    return error instanceof AnyRefusal ? 1 : 2;
  }
}
