// SPDX-License-Identifier: GPL-2.0-or-later
// What a program's command line can hold, as data.

export interface OptionRow {
  /** without the two dashes */
  readonly name: string;
  readonly short?: string;
  /** what its value is, in capitals; an option without it is a switch */
  readonly value?: string;
  readonly does: string;
}

/** What a person has written, checked against the row of its command. */
export interface CommandCall {
  /** what is not an option and not the command itself */
  readonly words: readonly string[];
  /** what follows `--`, untouched */
  readonly after: readonly string[];
  /** options and words in the order in which they were written; a word has no name */
  readonly inOrder: readonly { readonly name?: string; readonly value: string }[];
  readonly has: (name: string) => boolean;
  /** the last value of this option */
  readonly value: (name: string) => string | undefined;
  readonly values: (name: string) => readonly string[];
}

export interface CommandRow {
  /** as a person types it: `jobs show`; the empty string is the program without a command */
  readonly words: string;
  /** the words that it needs: `COMPONENT VERSION`, `[FILE]`, `FILE...`, `[DIST]...`, `VM -- COMMAND...` */
  readonly takes?: string;
  /** a part of a sentence in the present: `lists all jobs, newest first` */
  readonly does: string;
  /** where and as whom it works, if not everywhere: `in build-<env>, as root` */
  readonly where?: string;
  readonly options?: readonly OptionRow[];
  /** lines of its own help, after the options */
  readonly more?: string;
  /** for programs, not for people: in no help, man page or completion */
  readonly hidden?: true;
  /** @returns the exit status */
  readonly run: (call: CommandCall) => number | Promise<number>;
}

export interface ProgramTable {
  /** as a person types it */
  readonly name: string;
  /** one line */
  readonly does: string;
  readonly commands: readonly CommandRow[];
  /** options that every command takes */
  readonly options?: readonly OptionRow[];
  /** what each exit status means, where it is not 0 done, 1 refused, 2 not understood or a fault */
  readonly exit?: string;
  /**
   * commands of another program of ours, and where they are to be given: a person who types one learns that
   */
  readonly elsewhere?: Readonly<Record<string, string>>;
}

/** The options that every program has. */
export const commonOptions: readonly OptionRow[] = [
  { name: 'help', short: 'h', does: 'prints this' },
  { name: 'version', does: 'prints the version' },
];

export function optionsOf(table: ProgramTable, command: CommandRow): readonly OptionRow[] {
  return [...(command.options ?? []), ...(table.options ?? []), ...commonOptions];
}

/**
 * A command line that cannot be understood: one line that says why. The program prints it and ends with 2.
 */
export class Misuse extends Error {
  override readonly name = 'Misuse';
  /** of which command, where that is known */
  command?: string;
}
