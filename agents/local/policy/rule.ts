// SPDX-License-Identifier: GPL-2.0-or-later
// One line of policy: SERVICE ARGUMENT SOURCE TARGET ACTION [PARAM=VALUE ...].
import { readToken, type Place, type Token } from './tokens.js';

/** Where a rule stands, for the person who asks why. */
export interface RulePlace {
  file: string;
  /** 1 is the first line */
  line: number;
}

export interface Action {
  kind: 'allow' | 'ask' | 'deny';
  /** target= as written, and as read */
  redirect: { text: string; token: Token } | null;
  defaultTarget: { text: string; token: Token } | null;
  /** null: the VM's default user */
  user: string | null;
  notify: boolean;
  autostart: boolean;
}

export interface Rule {
  at: RulePlace;
  text: string;
  /** null: any */
  service: string | null;
  /** null: any; otherwise with its `+` */
  argument: string | null;
  source: Token;
  target: Token;
  action: Action;
}

/** The policy cannot be read, so every call is denied. */
export class PolicyError extends Error {
  override readonly name = 'PolicyError';
  readonly file: string;
  /** undefined where the whole file or folder is at fault */
  readonly line: number | undefined;
  readonly detail: string;

  constructor(file: string, line: number | undefined, detail: string) {
    super(`${file}${line === undefined ? '' : `:${line}`}: ${detail}`);
    this.file = file;
    this.line = line;
    this.detail = detail;
  }
}

// Python's str.split(): what Qubes' parser splits at. It has no U+FEFF, which JavaScript's \s has.
const blanks = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/;

export function words(line: string): string[] {
  return line.split(blanks).filter((word) => word !== '');
}

const parameters: Readonly<Record<Action['kind'], readonly string[]>> = {
  allow: ['target', 'user', 'notify', 'autostart'],
  ask: ['target', 'user', 'notify', 'autostart', 'default_target'],
  deny: ['notify'],
};

/** @throws PolicyError */
export function readRule(fields: readonly string[], text: string, at: RulePlace): Rule {
  const fail = (detail: string): never => {
    throw new PolicyError(at.file, at.line, detail);
  };
  if (fields.length < 5) fail('a rule has at least 5 fields: SERVICE ARGUMENT SOURCE TARGET ACTION');
  const [service, argument, source, target, actionWord, ...rest] = fields as [
    string,
    string,
    string,
    string,
    string,
    ...string[],
  ];
  const read = (word: string, place: Place): Token => {
    const token = readToken(word, place);
    return typeof token === 'string' ? fail(token) : token;
  };
  checkService(service, argument, fail);
  const sourceToken = read(source, 'source');
  const targetToken = read(target, 'target');
  if (actionWord !== 'allow' && actionWord !== 'ask' && actionWord !== 'deny')
    fail(`unknown action ${actionWord}`);
  const kind = actionWord as Action['kind'];
  const given = new Map<string, string>();
  for (const parameter of rest) {
    const equals = parameter.indexOf('=');
    const name = equals < 0 ? parameter : parameter.slice(0, equals);
    if (equals < 0) fail(`${parameter} is not PARAM=VALUE`);
    if (!parameters[kind].includes(name)) fail(`${kind} has no parameter ${name}`);
    if (given.has(name)) fail(`${name}= is given twice`);
    given.set(name, parameter.slice(equals + 1));
  }
  const yesNo = (name: string, otherwise: boolean): boolean => {
    const value = given.get(name);
    if (value === undefined) return otherwise;
    return value === 'yes' ? true : value === 'no' ? false : fail(`${name}= must be yes or no`);
  };
  const redirect = (name: string): Action['redirect'] => {
    const word = given.get(name);
    return word === undefined ? null : { text: word, token: read(word, 'redirect') };
  };
  const action: Action = {
    kind,
    redirect: redirect('target'),
    defaultTarget: redirect('default_target'),
    user: given.get('user') || null,
    notify: yesNo('notify', kind === 'deny'),
    autostart: yesNo('autostart', true),
  };
  if (targetToken.kind === 'default' && kind === 'allow' && action.redirect === null)
    fail('allow for @default needs target=');
  return {
    at,
    text,
    source: sourceToken,
    target: targetToken,
    action,
    service: service === '*' ? null : service,
    argument: argument === '*' ? null : argument,
  };
}

/** Also of a file in the old format, before it is read: it may hold no rule. @throws what `fail` throws */
export function checkService(service: string, argument: string, fail: (detail: string) => never): void {
  if (service !== '*' && !/^[A-Za-z0-9._-]+$/.test(service))
    fail(`service ${service} has characters other than A-Z a-z 0-9 - . _`);
  if (argument === '*') return;
  if (!argument.startsWith('+')) fail(`argument ${argument} does not start with +`);
  if (!/^\+[A-Za-z0-9._+-]*$/.test(argument))
    fail(`argument ${argument} has characters other than A-Z a-z 0-9 - . _ +`);
  if (service === '*') fail('with service *, the argument must be *');
}
