// SPDX-License-Identifier: GPL-2.0-or-later
// What the tool that calls us as "gpg" wants. Signatures and the list of secret keys come from the keys VM;
// all else needs no secret and is done by the real gpg of this VM, which holds none, with the caller's own
// words.
import { AnyRefusal } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import type { SigningMode } from '../../shared/formats/intent.js';
import {
  readFdNumber,
  readGpgArguments,
  type GpgArguments,
} from '../../shared/formats/split-gpg-arguments.js';

export interface SigningCommand {
  kind: 'sign';
  mode: SigningMode;
  armor: boolean;
  digest: string | undefined;
  user: string | undefined;
  /** a descriptor, or a file's name */
  input: number | string;
  /** a file's name, or undefined: stdout */
  output: string | undefined;
  statusFd: number | undefined;
}

export type Command =
  | SigningCommand
  | { kind: 'version' }
  | { kind: 'list-secret-keys'; users: string[] }
  | { kind: 'local'; inheritedFds: number[] };

const signing = ['sign', 'detach-sign', 'detach', 'detach-sig', 'clearsign', 'clear-sign'];
/**
 * With these a signature is something else than what the keys VM makes: better refused than silently left
 * out.
 */
const changesTheSignature = [
  'encrypt',
  'recipient',
  'hidden-recipient',
  'encrypt-to',
  'hidden-encrypt-to',
  'symmetric',
  'decrypt',
  'set-notation',
  'sig-notation',
  'cert-notation',
];

function inheritedFds(untrustedArgs: readonly string[]): number[] {
  const named = untrustedArgs.flatMap(
    (arg) => /^(?:--[a-z]+-fd=|-&|\/dev\/fd\/|\/proc\/self\/fd\/)?([0-9]{1,4})$/.exec(arg)?.[1] ?? [],
  );
  return [...new Set(named.map(Number))].filter((fd) => fd > 2 && fd < 1024);
}

function inputOf({ options, positionals }: GpgArguments): number | string {
  if (positionals.length > 1) throw new Refusal('TWO_FILES', 'one call signs one file');
  const [file] = positionals;
  if (file === undefined || file === '-') return 0;
  const special = options.some(({ name }) => name === 'enable-special-filenames')
    ? /^-&([0-9]{1,4})$/.exec(file)
    : null;
  return special === null ? file : readFdNumber(special[1], 'data');
}

/** gpg's own rule: beside a file, unless the caller named a place; data from a descriptor goes to stdout. */
function outputOf(
  args: GpgArguments,
  input: number | string,
  detached: boolean,
  armor: boolean,
): string | undefined {
  const named = args.options.filter(({ name }) => name === 'output').at(-1)?.value;
  if (named === '-') return undefined;
  if (named !== undefined) return named;
  return typeof input === 'number' ? undefined : `${input}${detached && !armor ? '.sig' : '.asc'}`;
}

/** @throws Refusal INLINE_SIGN, NOT_DONE_HERE, TWO_FILES, BAD_OPTION */
export function readCommand(untrustedArgs: readonly string[]): Command {
  const local: Command = { kind: 'local', inheritedFds: inheritedFds(untrustedArgs) };
  let args: GpgArguments;
  try {
    args = readGpgArguments(untrustedArgs);
  } catch (error) {
    if (error instanceof AnyRefusal) return local;
    throw error;
  }
  const has = (...names: string[]): boolean => args.options.some(({ name }) => names.includes(name));
  const last = (...names: string[]): string | undefined =>
    args.options.filter(({ name }) => names.includes(name)).at(-1)?.value;
  if (has('version')) return { kind: 'version' };
  if (has('list-secret-keys') && has('with-colons'))
    return { kind: 'list-secret-keys', users: args.positionals };
  if (!has(...signing)) return local;
  const strange = args.options.find(({ name }) => changesTheSignature.includes(name));
  if (strange !== undefined)
    throw new Refusal('NOT_DONE_HERE', `--${strange.name} cannot go with a signature by the keys VM`);
  const detached = has('detach-sign', 'detach', 'detach-sig');
  if (!detached && !has('clearsign', 'clear-sign'))
    throw new Refusal('INLINE_SIGN', 'only detached and clear signatures are made');
  const armor =
    args.options.filter(({ name }) => name === 'armor' || name === 'no-armor').at(-1)?.name === 'armor';
  const input = inputOf(args);
  const statusFd = last('status-fd');
  return {
    kind: 'sign',
    mode: detached ? 'detach' : 'clearsign',
    armor,
    digest: last('digest-algo'),
    user: last('local-user') ?? last('default-key'),
    input,
    output: outputOf(args, input, detached, armor),
    statusFd: statusFd === undefined ? undefined : readFdNumber(statusFd, 'status-fd'),
  };
}
