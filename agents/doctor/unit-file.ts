// SPDX-License-Identifier: GPL-2.0-or-later
// What the doctor reads of a systemd unit: where it listens, as whom, and what it waits for.

export interface UnitFile {
  name: string;
  /** paths that must exist, or the unit is not started */
  conditions: string[];
  sockets: string[];
  socketUser: string;
  socketGroup: string;
  /** three or four octal digits */
  socketMode: string;
}

export function readUnitFile(name: string, text: string): UnitFile {
  const values = new Map<string, string[]>();
  for (const line of text.split('\n')) {
    const found = /^([A-Za-z]+)=(.*)$/.exec(line.trim());
    if (found !== null)
      values.set(found[1] as string, [...(values.get(found[1] as string) ?? []), found[2] as string]);
  }
  const last = (key: string, otherwise: string): string => values.get(key)?.at(-1) ?? otherwise;
  return {
    name,
    conditions: values.get('ConditionPathExists') ?? [],
    sockets: (values.get('ListenStream') ?? []).filter((path) => path.startsWith('/')),
    socketUser: last('SocketUser', 'root'),
    socketGroup: last('SocketGroup', 'root'),
    socketMode: last('SocketMode', '0666'),
  };
}
