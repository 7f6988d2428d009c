// SPDX-License-Identifier: GPL-2.0-or-later
// Leaves out of the mutants what is only said to people: the words of an error, of a refusal after its code,
// of a line for the local log. A test of them would be the same words written twice.
import { declareValuePlugin, PluginKind } from '@stryker-mutator/api/plugin';

/** Function or class → the first argument that is for people. */
const spoken = new Map([
  ['Error', 0],
  ['Refusal', 1],
  ['bad', 1],
  ['refuse', 0],
  ['report', 0],
  ['#broken', 0],
  ['CallerGone', 0],
]);

function nameOf(callee) {
  if (callee.type === 'Identifier') return callee.name;
  if (callee.type !== 'MemberExpression') return '';
  return callee.property.type === 'PrivateName'
    ? `#${callee.property.id.name}`
    : (callee.property.name ?? '');
}

export const strykerPlugins = [
  declareValuePlugin(PluginKind.Ignore, 'messages', {
    shouldIgnore({ parent, key, listKey }) {
      if (listKey !== 'arguments' || (parent?.type !== 'CallExpression' && parent?.type !== 'NewExpression'))
        return undefined;
      return key >= (spoken.get(nameOf(parent.callee)) ?? Infinity) ? 'words for people' : undefined;
    },
  }),
];
