// SPDX-License-Identifier: GPL-2.0-or-later
// Text of others as people see it, in whatever language, without what draws on a terminal or turns the
// direction of text around: a name is not to look like another one.

/** Control and format characters, lone surrogates, what has no meaning yet, and line separators. */
const invisible = /[\p{C}\p{Zl}\p{Zp}]/gu;

/** Of one line: nothing in it ends the line. */
export function visibleLine(untrustedText: string): string {
  return untrustedText.replace(invisible, '.');
}

/** Where tabs and ends of lines mean nothing, as in HTML. */
export function visibleText(untrustedText: string): string {
  return untrustedText.replace(invisible, (one) => (one === '\t' || one === '\n' ? one : '.'));
}
