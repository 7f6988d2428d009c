// SPDX-License-Identifier: GPL-2.0-or-later

/**
 * An answer "no" with a stable code. Everything else that is thrown is a fault, which also ends in "no".
 * `code` is UPPER_SNAKE; `detail` is one printable line for a person and never holds secrets.
 */
export abstract class AnyRefusal extends Error {
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

/**
 * Our own code refuses. Each agent binds this class in its `refusals.ts` to the closed union of its codes;
 * another code does not compile.
 */
export class OwnRefusal<Code extends string> extends AnyRefusal {
  declare readonly code: Code;
}

/** Another program or VM refused. Its code is text of theirs, which no union of ours holds. */
export class RelayedRefusal extends AnyRefusal {}

/**
 * OwnRefusal as one agent uses it: it throws its own codes, and may catch those of the folders on lower
 * floors as well.
 */
export interface RefusalOf<Thrown extends string, Caught extends string> {
  new (code: Thrown, detail: string, field?: string): OwnRefusal<Thrown>;
  readonly prototype: OwnRefusal<Caught>;
}

/**
 * Replaces every byte outside 0x20-0x7e, so that an untrusted name cannot draw on a terminal; at most 500
 * characters.
 */
export function printable(untrustedText: string): string {
  return untrustedText.replace(/[^\x20-\x7e]/g, '.').slice(0, 500);
}
