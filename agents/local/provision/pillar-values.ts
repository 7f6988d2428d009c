// SPDX-License-Identifier: GPL-2.0-or-later
// What no text of a pillar may be, wherever it stands: a secret, or a key of the example. Salt refuses the same (salt/pillar/build-infra/farm_values.py).
import { Refusal } from '../refusals.js';

/** The shipped example's: fingerprints and a journal key whose secret halves were thrown away. */
export const exampleKeys: ReadonlySet<string> = new Set([
  '959FF0BA783C2887E5AF23E17567AB25712AACB5',
  '7B8E947132A9A3B9D8463CFD99BB92B08104097D',
  'C8A5F4F192E076E42610D5B578CB8B96440FCE84',
  '0E6FA9BDE69F6658FB12AAA8EBEF4EF4B461FB9D',
  '94ee7c0e989ab893fc029c97a6377bc0769315a68305c51d55c422a5ec35bdf8',
]);
/** Of GitHub and GitLab; what other forges call a token looks like anything. */
const tokenPattern = /gh[a-z]_[A-Za-z0-9]{20}|github_pat_[A-Za-z0-9_]{20}|gl[a-z]{2,5}-[A-Za-z0-9_-]{20}/;
/** `ssh://git@HOST` names an account; everywhere else what stands before the @ is a secret. */
const credentialsPattern = /^(?:ssh:\/\/[^/?#]*:[^/?#]*@|(?!ssh:)[a-z]+:\/\/[^/?#]*@)/;
const parameterPattern = /[?&](?:[a-z_-]*token|password|secret|api_?key)=/i;

/** @throws Refusal SECRET_IN_PILLAR or EXAMPLE_KEY, for the first one */
export function checkValues(value: unknown, field: readonly string[] = []): void {
  if (typeof value === 'string') checkText(value, field.join('.'));
  else if (Array.isArray(value)) value.forEach((one, place) => checkValues(one, [...field, String(place)]));
  else if (typeof value === 'object' && value !== null) {
    for (const [name, one] of Object.entries(value)) {
      if (exampleKeys.has(name)) refuseExample([...field, name].join('.'));
      checkValues(one, [...field, name]);
    }
  }
}

function checkText(text: string, field: string): void {
  if (exampleKeys.has(text)) refuseExample(field);
  if (credentialsPattern.test(text)) throw new Refusal('SECRET_IN_PILLAR', 'the address holds a password or token; secrets are made inside the VM that uses them', field);
  if (tokenPattern.test(text) || parameterPattern.test(text)) throw new Refusal('SECRET_IN_PILLAR', 'holds a token; secrets are made inside the VM that uses them', field);
}

function refuseExample(field: string): never {
  throw new Refusal('EXAMPLE_KEY', 'is a key of the example, whose secret half nobody has: null until a VM of yours has made its own, and the keys of your own people', field);
}
