// SPDX-License-Identifier: GPL-2.0-or-later
// Run in the copy of the repository that Stryker works in: has the compiled tests use light-tap.mjs in tap's
// place.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';

const light = '../../../test/mutation/light-tap.mjs';
for (const name of readdirSync('out/test', { recursive: true })) {
  if (!name.endsWith('.js')) continue;
  const text = readFileSync(`out/test/${name}`, 'utf8');
  const last = name.endsWith('.test.js') ? `\nawait (await import('${light}')).ended();\n` : '';
  writeFileSync(`out/test/${name}`, text.replace("from 'tap';", `from '${light}';`) + last);
}
