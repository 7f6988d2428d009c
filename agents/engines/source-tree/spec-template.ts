// SPDX-License-Identifier: GPL-2.0-or-later
// From `X.spec.in` to `X.spec`, as Qubes' builder fills it. A spec that is there as it is, is taken as it is.
import { printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import { moduleArchive } from './build-file.js';
import { readVersionFiles } from './package-version.js';
import { readTreeFile } from './tree-file.js';

const specLimitBytes = 4 * 1024 * 1024;
/** The builder's default, and the only one that there is. */
const backend = 'xen';

export interface SpecStamp {
  /** seconds since 1970, of the tag */
  time: number;
  /** where the rest of the history is */
  url: string;
  /** those that the tree lists, with the commits that it pins */
  modules?: Record<string, string> | undefined;
}

const days = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** The history is not here, and in the package it would be of no use to anybody who can read it there. */
function changelog({ time, url }: SpecStamp): string {
  const date = new Date(time * 1000);
  const day = String(date.getUTCDate()).padStart(2, '0');
  return `* ${days[date.getUTCDay()] as string} ${months[date.getUTCMonth()] as string} ${day} ${date.getUTCFullYear()} build-infra <build-infra@localhost>\n- For the complete changelog see: ${url.replaceAll('%', '%%')}`;
}

/**
 * @param path the spec's in the tree; what is read is `<path>.in` where there is one
 * @returns undefined where there is neither
 * @throws Refusal BAD_SPEC where something is to be filled in and nothing says what
 */
export function readSpec(tree: string, path: string, stamp: SpecStamp): Buffer | undefined {
  const template = readTreeFile(tree, `${path}.in`, specLimitBytes);
  if (template === undefined) return readTreeFile(tree, path, specLimitBytes);
  const files = readVersionFiles(tree);
  // Bytes stay what they are: latin1 there and back.
  const withModules = Object.entries(stamp.modules ?? {}).reduce(
    (text, [name, commit]) => text.replaceAll(`@${name}@`, moduleArchive(name, commit)),
    template.toString('latin1'),
  );
  return Buffer.from(
    withModules.replace(/@([A-Z][A-Z_]*)([0-9]*)@/g, (all, word: string, number: string) => {
      const line = Number(number);
      // Others are the build's own, which has its sed.
      const value =
        word === 'VERSION'
          ? files?.version[line]
          : word === 'REL'
            ? files?.rel?.[line]
            : number !== ''
              ? all
              : word === 'BACKEND_VMM'
                ? backend
                : word === 'CHANGELOG'
                  ? changelog(stamp)
                  : all;
      if (value === undefined)
        throw new Refusal(
          'BAD_SPEC',
          `${path}.in says ${printable(all)}, and nothing in the tree says what that is`,
        );
      return value;
    }),
    'latin1',
  );
}
