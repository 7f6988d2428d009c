// SPDX-License-Identifier: GPL-2.0-or-later
// The part of XML 1.0 that createrepo_c writes: elements, attributes, text, the predefined entities. No
// comment, CDATA, processing instruction, document type or doubled attribute: what two readers could read in
// two ways is not read at all. Pure.

export interface Element {
  /** as written, with its prefix */
  name: string;
  attributes: Map<string, string>;
  children: Element[];
  /** of the element itself, in one piece */
  text: string;
}

const entities = new Map([
  ['amp', '&'],
  ['lt', '<'],
  ['gt', '>'],
  ['quot', '"'],
  ['apos', "'"],
]);
const depthLimit = 16;
const namePattern = '[A-Za-z_][A-Za-z0-9_.:-]*';
const declaration = /^<\?xml version="1\.0" encoding="UTF-8"\?>\s*/;
const tagPattern = new RegExp(`<(/?)(${namePattern})((?:\\s+${namePattern}="[^"<]*")*)\\s*(/?)>`, 'y');
const attributePattern = new RegExp(`(${namePattern})="([^"]*)"`, 'g');

function decoded(text: string): string | undefined {
  let good = !/[^\t\n\r -\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/u.test(text);
  const whole = text.replace(/&([^;]{0,12});?/g, (all, name: string) => {
    const code = /^#(?:x([0-9a-fA-F]{1,6})|([0-9]{1,7}))$/.exec(name);
    const number =
      code === null
        ? undefined
        : Number.parseInt(code[1] ?? (code[2] as string), code[1] === undefined ? 10 : 16);
    const found =
      number === undefined
        ? entities.get(name)
        : number >= 0x20 && number <= 0x10ffff
          ? String.fromCodePoint(number)
          : undefined;
    if (found === undefined || !all.endsWith(';')) good = false;
    return found ?? '';
  });
  return good ? whole : undefined;
}

function attributesOf(text: string): Map<string, string> | undefined {
  const attributes = new Map<string, string>();
  for (const [, name, value] of text.matchAll(attributePattern)) {
    const plain = decoded(value as string);
    if (plain === undefined || attributes.has(name as string)) return undefined;
    attributes.set(name as string, plain);
  }
  return attributes;
}

/** The document's element, or undefined for anything but the subset above. */
export function readXml(text: string): Element | undefined {
  const root: Element = { name: '', attributes: new Map(), children: [], text: '' };
  const open: Element[] = [root];
  const tag = new RegExp(tagPattern);
  for (let at = declaration.exec(text)?.[0].length ?? 0; at < text.length;) {
    const inner = open.at(-1) as Element;
    const next = text.indexOf('<', at);
    const before = decoded(text.slice(at, next < 0 ? undefined : next));
    if (before === undefined || (inner === root && before.trim() !== '')) return undefined;
    inner.text += before;
    if (next < 0) break;
    tag.lastIndex = next;
    const [whole, closing, name, words, empty] = tag.exec(text) ?? [];
    if (whole === undefined || name === undefined) return undefined;
    at = next + whole.length;
    if (closing === '/') {
      if (words !== '' || empty !== '' || inner === root || inner.name !== name) return undefined;
      open.pop();
      continue;
    }
    const attributes = attributesOf(words ?? '');
    if (attributes === undefined || (inner === root && root.children.length > 0)) return undefined;
    const element: Element = { name, attributes, children: [], text: '' };
    inner.children.push(element);
    if (empty === '') open.push(element);
    if (open.length > depthLimit) return undefined;
  }
  return open.length === 1 ? root.children[0] : undefined;
}

/** The one child of that name; undefined where there is none or more than one. */
export function oneChild(element: Element, name: string): Element | undefined {
  const found = element.children.filter((child) => child.name === name);
  return found.length === 1 ? found[0] : undefined;
}
