// SPDX-License-Identifier: GPL-2.0-or-later
import { commonOptions, type CommandRow, type OptionRow, type ProgramTable } from './program.js';

const width = 100;

/** `-h, --help`, `--component NAME` */
export function spelled({ name, short, value }: OptionRow): string {
  return `${short === undefined ? '' : `-${short}, `}--${name}${value === undefined ? '' : ` ${value}`}`;
}

/** `build-infra jobs show JOB [--json]` */
export function synopsis(table: ProgramTable, { words, takes, options = [] }: CommandRow): string {
  const each = options.map(({ name, value }) => `[--${name}${value === undefined ? '' : ` ${value}`}]`);
  const shown = each.length > 3 ? ['[OPTION]...'] : each;
  return [table.name, words, takes ?? '', ...shown].filter((part) => part !== '').join(' ');
}

/** Breaks at blanks; every line after the first begins with `indent`. */
export function wrapped(text: string, first: number, indent: string): string {
  let [out, column] = ['', first];
  for (const word of text.split(' ')) {
    if (column + word.length + 1 > width && column > indent.length) {
      out += `\n${indent}`;
      column = indent.length;
    } else if (out !== '') {
      out += ' ';
      column++;
    }
    out += word;
    column += word.length;
  }
  return out;
}

/**
 * A left column of names, a right one of what they do. A name that is too long stands on a line of its own.
 */
function columns(rows: readonly (readonly [string, string])[]): string {
  const left = Math.min(34, Math.max(...rows.map(([name]) => name.length)) + 2);
  const indent = ' '.repeat(left + 2);
  return rows
    .map(([name, text]) => {
      const own = name.length + 2 > left;
      return `  ${own ? `${name}\n${indent}` : name.padEnd(left)}${wrapped(text, left + 2, indent)}\n`;
    })
    .join('');
}

const optionRows = (options: readonly OptionRow[]): string =>
  columns(options.map((option) => [spelled(option), option.does]));

/** `lists jobs` → `Lists jobs.` */
export const sentence = (does: string): string => `${does[0]?.toUpperCase() ?? ''}${does.slice(1)}.`;

/** The help of one command. */
export function commandHelp(table: ProgramTable, command: CommandRow): string {
  const options = [...(command.options ?? []), ...(table.options ?? []), ...commonOptions];
  const where = command.where === undefined ? '' : ` Works ${command.where}.`;
  const what = `${sentence(command.does)}${where}`;
  const more = command.more === undefined ? '' : `\n${command.more.trim()}\n`;
  return `usage: ${wrapped(synopsis(table, command), 7, '         ')}\n${wrapped(what, 0, '')}\n\n${optionRows(options)}${more}`;
}

/** The help of the whole program: one line for each command. */
export function programHelp(table: ProgramTable): string {
  const shown = table.commands.filter(({ hidden }) => hidden !== true);
  const rows = shown.map((command): [string, string] => [
    [table.name, command.words, command.takes ?? ''].filter((part) => part !== '').join(' '),
    `${command.does}${command.where === undefined ? '' : ` (${command.where})`}`,
  ]);
  const each = shown.length > 1 ? `\n${table.name} COMMAND --help tells the options of one command.\n` : '';
  const options = shown.length > 1 ? [] : (shown[0]?.options ?? []);
  const every = [...options, ...(table.options ?? []), ...commonOptions];
  const usage =
    shown.length > 1 ? `${table.name} COMMAND [OPTION]...` : synopsis(table, shown[0] as CommandRow);
  const head = `usage: ${wrapped(usage, 7, '         ')}\n${sentence(table.does)}\n\n`;
  return `${head}${shown.length > 1 ? `${columns(rows)}\n` : ''}${optionRows(every)}${each}${exitLine(table)}`;
}

export function exitLine({ exit = '0 done, 1 refused, 2 not understood, or a fault' }: ProgramTable): string {
  return `Exit status: ${exit}.\n`;
}
