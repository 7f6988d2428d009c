// SPDX-License-Identifier: GPL-2.0-or-later
// Rooms and floors: a folder imports from the floors below its own, never from its own floor's other rooms, and never from above. So
// whoever reads a room knows what it can lead to, and no import closes a circle. docs/architecture.md, "Where a line belongs".
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const agents = join(dirname(fileURLToPath(import.meta.url)), '../../../agents');

/** From the ground up; rooms of one floor do not know each other. `.` is what lies at the top of the folder, `main.ts` above all. */
const houses: Record<string, readonly (readonly string[])[]> = {
  '.': [['shared'], ['audit', 'build-logs', 'command', 'doctor', 'engines', 'keys', 'notifier', 'sys-net'], ['build-vm', 'local', 'vm-commands']],
  'shared': [['.'], ['formats', 'openpgp'], ['calls'], ['programs'], ['files']],
  'engines': [['chroot', 'source-tree'], ['.'], ['debian', 'qubesbuilder'], ['rpm']],
  'build-vm': [
    ['configuration', 'logs', 'signatures'], ['jobs'], ['outbox', 'source'], ['gate', 'github-command', 'publication', 'triggers'],
    ['gpg-client', 'repositories'], ['gpg-door', 'promotion', 'status-page'], ['stages'], ['.'],
  ],
  'audit': [['reading'], ['.']],
  'notifier': [['github'], ['.']],
  'local': [['outside', 'policy', 'provision', 'upgrade'], ['vm'], ['qrexec'], ['farm'], ['job', 'provision-by-salt'], ['.']],
};

function sources(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true }).filter((entry) => entry.isFile() && entry.name.endsWith('.ts')).map((entry) => join(entry.parentPath, entry.name));
}
/** Files of ours that a file imports, also for a type alone. */
function importsOf(file: string): string[] {
  return [...readFileSync(file, 'utf8').matchAll(/\bfrom '(\.[^']+)'|\bimport\('(\.[^']+)'\)/g)].map((found) => resolve(dirname(file), (found[1] ?? found[2]) as string).replace(/\.js$/, '.ts'));
}
const files = sources(agents);
const imports = new Map(files.map((file) => [file, importsOf(file).filter((one) => one.endsWith('.ts'))]));

for (const [house, floors] of Object.entries(houses)) {
  t.test(`agents/${house}: imports go down`, (t) => {
    const base = join(agents, house);
    const roomOf = (file: string): string => {
      const [first, second] = relative(base, file).split('/');
      return second === undefined ? '.' : first as string;
    };
    const floorOf = new Map(floors.flatMap((rooms, floor) => rooms.map((room) => [room, floor] as const)));
    const own = files.filter((file) => !relative(base, file).startsWith('..'));
    t.ok(own.length > 0);
    t.strictSame([...new Set(own.map(roomOf))].filter((room) => !floorOf.has(room)), [], 'each room has its floor');
    t.strictSame([...floorOf.keys()].filter((room) => !own.some((file) => roomOf(file) === room)), [], 'each floor that is named is there');
    const wrong = own.flatMap((file) => (imports.get(file) ?? [])
      .filter((other) => !relative(base, other).startsWith('..') && roomOf(other) !== roomOf(file) && (floorOf.get(roomOf(other)) ?? 0) >= (floorOf.get(roomOf(file)) ?? 0))
      .map((other) => `${relative(agents, file)} imports ${relative(agents, other)}`));
    t.strictSame(wrong, []);
    t.end();
  });
}

t.test('no import closes a circle of files', (t) => {
  const state = new Map<string, 'open' | 'done'>();
  const circles: string[] = [];
  const visit = (file: string, path: readonly string[]): void => {
    if (state.get(file) === 'done') return;
    if (state.get(file) === 'open') {
      circles.push([...path.slice(path.indexOf(file)), file].map((one) => relative(agents, one)).join(' -> '));
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
