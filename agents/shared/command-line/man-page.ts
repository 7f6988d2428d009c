// SPDX-License-Identifier: GPL-2.0-or-later
// A man page in man(7), made from the program's table.
import { commonOptions, type CommandRow, type OptionRow, type ProgramTable } from './program.js';
import { exitLine, sentence, spelled } from './help.js';
import { version } from './version.js';

/** Text as roff takes it: no escape, no request, and dashes that can be copied. */
function roff(text: string): string {
  const plain = text.replaceAll('\\', '\\e').replaceAll('-', '\\-');
  return plain.replace(/^(['.])/gm, '\\&$1');
}

const optionEntry = (option: OptionRow): string => `.TP\n.B ${roff(spelled(option))}\n${roff(option.does)}\n`;

function commandEntry(
  table: ProgramTable,
  { words, takes = '', does, where, options = [], more }: CommandRow,
): string {
  const title = [table.name, words, takes].filter((part) => part !== '').join(' ');
  const details = options.length === 0 ? '' : `.RS\n${options.map(optionEntry).join('')}.RE\n`;
  const verbatim = more === undefined ? '' : `.RS\n.nf\n${roff(more.trim())}\n.fi\n.RE\n`;
  const place = where === undefined ? '' : ` Works ${where}.`;
  return `.TP\n.B ${roff(title)}\n${roff(`${sentence(does)}${place}`)}\n${details}${verbatim}`;
}

/** @returns the page, for section 8 */
export function manPage(table: ProgramTable): string {
  const commands = table.commands.filter(({ hidden }) => hidden !== true);
  const page = table.name.replaceAll(' ', '-');
  return `.\\" SPDX-License-Identifier: GPL-2.0-or-later
.TH "${roff(page.toUpperCase())}" 8 "" "build\\-infra ${roff(version)}" "build\\-infra"
.SH NAME
${roff(page)} \\- ${roff(table.does)}
.SH COMMANDS
${commands.map((command) => commandEntry(table, command)).join('')}.SH OPTIONS
${[...(table.options ?? []), ...commonOptions].map(optionEntry).join('')}.SH EXIT STATUS
${roff(exitLine(table).replace('Exit status: ', ''))}`;
}
