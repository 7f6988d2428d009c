// SPDX-License-Identifier: GPL-2.0-or-later
// Rooms and floors: a folder imports from the floors below its own, never from its own floor's other rooms,
// and never from above. So whoever reads a room knows what it can lead to, and no import closes a circle.
// docs/architecture.md, "Where a line belongs".
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const agents = join(dirname(fileURLToPath(import.meta.url)), '../../../agents');

/**
 * From the ground up; rooms of one floor do not know each other. `.` is what lies at the top of the folder,
 * `main.ts` above all; `refusals.ts`, the list of its codes, lies below everything.
 */
const houses: Record<string, readonly (readonly string[])[]> = {
  '.': [
    ['shared'],
    ['published'],
    ['audit', 'build-logs', 'command', 'doctor', 'engines', 'keys', 'notifier', 'sys-net'],
    ['build-vm', 'local', 'vm-commands'],
  ],
  shared: [['.'], ['command-line', 'formats', 'openpgp'], ['calls'], ['programs'], ['files']],
  engines: [['refusals.ts'], ['chroot', 'source-tree'], ['.'], ['debian', 'qubesbuilder'], ['rpm']],
  'build-vm': [
    ['refusals.ts'],
    ['configuration', 'logs', 'signatures'],
    ['jobs'],
    ['outbox', 'source'],
    ['gate', 'github-command', 'publication', 'triggers'],
    ['gpg-client', 'repositories'],
    ['gpg-door', 'promotion', 'status-page'],
    ['stages'],
    ['.'],
  ],
  audit: [['refusals.ts'], ['.']],
  published: [['.'], ['files', 'history', 'packages'], ['logs']],
  notifier: [['refusals.ts'], ['github'], ['.']],
  local: [
    ['refusals.ts'],
    ['outside', 'policy', 'provision', 'upgrade'],
    ['vm'],
    ['qrexec'],
    ['farm'],
    ['job', 'provision-by-salt'],
    ['.'],
  ],
};

/** Wings, and who may import them besides whoever is in there. A new tenant of one adds itself here. */
const wings: Record<string, readonly string[]> = { published: ['audit', 'build-vm'], engines: ['build-vm'] };

function sources(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => join(entry.parentPath, entry.name));
}
/** Files of ours that a file imports, also for a type alone. */
function importsOf(file: string): string[] {
  return [...readFileSync(file, 'utf8').matchAll(/\bfrom '(\.[^']+)'|\bimport\('(\.[^']+)'\)/g)].map(
    (found) => resolve(dirname(file), (found[1] ?? found[2]) as string).replace(/\.js$/, '.ts'),
  );
}
const files = sources(agents);
const imports = new Map(files.map((file) => [file, importsOf(file).filter((one) => one.endsWith('.ts'))]));

for (const [house, floors] of Object.entries(houses)) {
  t.test(`agents/${house}: imports go down`, (t) => {
    const base = join(agents, house);
    const floorOf = new Map(floors.flatMap((rooms, floor) => rooms.map((room) => [room, floor] as const)));
    const roomOf = (file: string): string => {
      const [first, second] = relative(base, file).split('/');
      return second === undefined && !floorOf.has(first as string) ? '.' : (first as string);
    };
    const own = files.filter((file) => !relative(base, file).startsWith('..'));
    t.ok(own.length > 0);
    t.strictSame(
      [...new Set(own.map(roomOf))].filter((room) => !floorOf.has(room)),
      [],
      'each room has its floor',
    );
    t.strictSame(
      [...floorOf.keys()].filter((room) => !own.some((file) => roomOf(file) === room)),
      [],
      'each floor that is named is there',
    );
    const wrong = own.flatMap((file) =>
      (imports.get(file) ?? [])
        .filter(
          (other) =>
            !relative(base, other).startsWith('..') &&
            roomOf(other) !== roomOf(file) &&
            (floorOf.get(roomOf(other)) ?? 0) >= (floorOf.get(roomOf(file)) ?? 0),
        )
        .map((other) => `${relative(agents, file)} imports ${relative(agents, other)}`),
    );
    t.strictSame(wrong, []);
    t.end();
  });
}

for (const [wing, tenants] of Object.entries(wings)) {
  t.test(`agents/${wing} is a wing: it imports agents/shared, and its tenants alone import it`, (t) => {
    const folderOf = (file: string): string => relative(agents, file).split('/')[0] as string;
    const across = [...imports]
      .flatMap(([file, others]) => others.map((other): [string, string] => [folderOf(file), folderOf(other)]))
      .filter(([from, to]) => from !== to);
    t.strictSame([...new Set(across.filter(([from]) => from === wing).map(([, to]) => to))], ['shared']);
    t.strictSame([...new Set(across.filter(([, to]) => to === wing).map(([from]) => from))].sort(), tenants);
    t.end();
  });
}

t.test('no import closes a circle of files', (t) => {
  const state = new Map<string, 'open' | 'done'>();
  const circles: string[] = [];
  const visit = (file: string, path: readonly string[]): void => {
    if (state.get(file) === 'done') return;
    if (state.get(file) === 'open') {
      circles.push(
        [...path.slice(path.indexOf(file)), file].map((one) => relative(agents, one)).join(' -> '),
      );
      return;
    }
    state.set(file, 'open');
    for (const other of imports.get(file) ?? []) visit(other, [...path, file]);
    state.set(file, 'done');
  };
  for (const file of files) visit(file, []);
  t.strictSame(circles, []);
  t.end();
});
