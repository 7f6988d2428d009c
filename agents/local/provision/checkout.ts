// SPDX-License-Identifier: GPL-2.0-or-later
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Refusal } from '../refusals.js';

/**
 * The folder above this program that holds salt/build-infra: in a checkout, the top, for dist/ and out/
 * alike.
 */
export function findTree(): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    if (existsSync(join(folder, 'salt/build-infra/manifests'))) return folder;
    if (dirname(folder) === folder)
      throw new Refusal(
        'NO_SOURCE',
        'salt/build-infra is not above this program: name the checkout with --tree',
      );
  }
}
