// SPDX-License-Identifier: GPL-2.0-or-later
// Takes one in so many of a folder's mutants, the same ones each time. An ignored node takes all that is in
// it along, and blocks hold most of a file: so no node is ignored here, but each line is given Stryker's own
// comment that leaves out the kinds of change that are not in the sample of that line.
import { createHash } from 'node:crypto';
import { declareValuePlugin, PluginKind } from '@stryker-mutator/api/plugin';

const kinds = [
  'ArithmeticOperator',
  'ArrayDeclaration',
  'ArrowFunction',
  'AssignmentOperator',
  'BlockStatement',
  'BooleanLiteral',
  'ConditionalExpression',
  'EqualityOperator',
  'LogicalOperator',
  'MethodExpression',
  'ObjectLiteral',
  'OptionalChaining',
  'Regex',
  'StringLiteral',
  'UnaryOperator',
  'UpdateOperator',
];
const oneIn = Number(process.env.MUTATE_SAMPLE ?? 1);

/**
 * By the line's own text, so that a change elsewhere in the file moves nothing into the sample or out of it.
 */
const isLeftOut = (kind, line) =>
  createHash('sha256').update(`${kind} ${line.trim()}`).digest().readUInt32BE(0) % oneIn !== 0;

export const strykerPlugins = [
  declareValuePlugin(PluginKind.Ignore, 'sample', {
    shouldIgnore(path) {
      if (oneIn === 1 || path.node.type !== 'Program') return undefined;
      const lines = path.hub.file.code.split('\n');
      const seen = new Set();
      path.traverse({
        enter({ node }) {
          const line = node.loc.start.line;
          if (seen.has(line)) return;
          seen.add(line);
          const names = kinds.filter((kind) => isLeftOut(kind, lines[line - 1]));
          if (names.length > 0)
            (node.leadingComments ??= []).push({
              type: 'CommentBlock',
              value: ` Stryker disable next-line ${names.join(',')}: not in the sample `,
              loc: node.loc,
            });
        },
      });
      return undefined;
    },
  }),
];
