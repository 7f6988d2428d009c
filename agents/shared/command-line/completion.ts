// SPDX-License-Identifier: GPL-2.0-or-later
// Completion for bash, made from the program's table: the commands, and of each the options; a value is a
// file name.
import { optionsOf, type ProgramTable } from './program.js';

/**
 * For each command its options, one line of a shell's `case`. Every name here is ours: letters, digits and
 * dashes.
 */
function cases(table: ProgramTable): string {
  const commands = table.commands.filter(({ hidden }) => hidden !== true);
  const rows = [...commands].sort((a, b) => b.words.length - a.words.length);
  return rows
    .map((command) => {
      const options = optionsOf(table, command).map(({ name }) => `--${name}`);
      return `    ${command.words === '' ? '*' : `"${command.words}"*`}) options="${options.join(' ')}" ;;\n`;
    })
    .join('');
}

/** After how many words which words may come: `jobs` → `show cancel`. */
function nextWords(table: ProgramTable): string {
  const commands = table.commands
    .filter(({ hidden, words }) => hidden !== true && words !== '')
    .map(({ words }) => words.split(' '));
  const next = new Map<string, Set<string>>();
  for (const words of commands) {
    words.forEach((word, at) => {
      const before = words.slice(0, at).join(' ');
      next.set(before, (next.get(before) ?? new Set()).add(word));
    });
  }
  return [...next].map(([before, words]) => `    "${before}") words="${[...words].join(' ')}" ;;\n`).join('');
}

function completing(table: ProgramTable): string {
  return `  case "$typed" in
${nextWords(table)}    *) words="" ;;
  esac
  case "$typed" in
${cases(table)}    *) options="--help --version" ;;
  esac
`;
}

const functionName = (table: ProgramTable): string => `_${table.name.replace(/[^a-z]/g, '_')}`;

export function bashCompletion(table: ProgramTable): string {
  const name = functionName(table);
  return `# bash completion of ${table.name}
${name}() {
  local current="\${COMP_WORDS[COMP_CWORD]}" typed="" words options word
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    [[ $word == -* ]] || typed="\${typed:+$typed }$word"
  done
${completing(table)}  if [[ $current == -* ]]; then
    COMPREPLY=($(compgen -W "$options" -- "$current"))
  else
    COMPREPLY=($(compgen -W "$words" -- "$current") $(compgen -f -- "$current"))
  fi
}
complete -o filenames -F ${name} ${table.name}
`;
}
