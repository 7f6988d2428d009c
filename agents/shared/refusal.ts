// SPDX-License-Identifier: GPL-2.0-or-later

/**
 * An answer "no" with a stable code. Everything else that is thrown is a fault, which also ends in "no".
 * `code` is UPPER_SNAKE; `detail` is one printable line for a person and never holds secrets.
 */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly code: string;
  readonly detail: string;
  readonly field: string | undefined;

  constructor(code: string, detail: string, field?: string) {
    super(`${code}: ${field === undefined ? '' : `${field}: `}${printable(detail)}`);
    this.code = code;
    this.detail = printable(detail);
    this.field = field;
  }

  /** The one line a caller sees: `refused CODE detail`. */
  line(): string {
    return `refused ${this.code} ${this.field === undefined ? '' : `${this.field}: `}${this.detail}`;
  }
}

/** Replaces every byte outside 0x20-0x7e, so that an untrusted name cannot draw on a terminal; at most 500 characters. */
export function printable(untrustedText: string): string {
  return untrustedText.replace(/[^\x20-\x7e]/g, '.').slice(0, 500);
}
