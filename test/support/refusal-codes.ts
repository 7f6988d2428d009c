// SPDX-License-Identifier: GPL-2.0-or-later
// What the compiler knows of the codes with which agents say no: the unions in which they are listed, and
// every code that is thrown.
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const agents = join(dirname(fileURLToPath(import.meta.url)), '../../../agents');
const agentOf = (file: string): string => relative(agents, file).split('/')[0] as string;
const { options } = ts.parseJsonConfigFileContent(
  ts.readConfigFile(join(agents, 'tsconfig.base.json'), (path) => ts.sys.readFile(path)).config,
  ts.sys,
  agents,
);

function literals(type: ts.Type): string[] {
  return (type.isUnion() ? type.types : [type]).flatMap((one) => (one.isStringLiteral() ? [one.value] : []));
}

let unions: ts.Program | undefined;

/** The members of an exported union of codes, such as `KeysCode` of `keys/refusals.ts`. */
export function codesOf(file: string, name: string): Set<string> {
  const files = readdirSync(agents)
    .map((agent) => join(agents, agent, 'refusals.ts'))
    .filter((path) => existsSync(path));
  unions ??= ts.createProgram(
    [...files, join(agents, 'doctor/finding.ts'), join(agents, 'audit/findings.ts')],
    { ...options, noLib: true, types: [] },
  );
  const declared = unions
    .getSourceFile(join(agents, file))
    ?.statements.find((statement) => ts.isTypeAliasDeclaration(statement) && statement.name.text === name);
  if (declared === undefined) throw new Error(`${file} has no type ${name}`);
  return new Set(literals(unions.getTypeChecker().getTypeAtLocation(declared)));
}

/** The union of an agent, `keys` → `KeysCode`. */
export function refusalCodes(agent: string): Set<string> {
  const name = agent
    .split('-')
    .map((word) => `${word.slice(0, 1).toUpperCase()}${word.slice(1)}`)
    .join('');
  return codesOf(`${agent}/refusals.ts`, `${name}Code`);
}

export interface SeenCodes {
  /** agent → codes of the refusals that its files make */
  thrown: Map<string, Set<string>>;
  /** codes that one of the doctor's checks can say */
  doctor: Set<string>;
  /** string literals of the code of the audit and of the readers that it uses, types and comparisons apart */
  audit: Set<string>;
  /** `file: expression`, where a code is compared with a word and the compiler knows no union for it */
  unchecked: string[];
}

/** Reads all agents as the compiler does: takes some seconds. */
export function seenCodes(): SeenCodes {
  const files = readdirSync(agents, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(agents, name));
  const program = ts.createProgram(files, { ...options, noEmit: true, composite: false });
  const checker = program.getTypeChecker();
  const seen: SeenCodes = { thrown: new Map(), doctor: new Set(), audit: new Set(), unchecked: [] };

  const isA = (type: ts.Type, name: string): boolean =>
    type.symbol?.name === name ||
    (type.getBaseTypes() ?? []).some((base) => isA(base, name)) ||
    (type.isUnion() && type.types.some((one) => isA(one, name)));
  const isComparison = (node: ts.Node): node is ts.BinaryExpression =>
    ts.isBinaryExpression(node) &&
    [ts.SyntaxKind.EqualsEqualsEqualsToken, ts.SyntaxKind.ExclamationEqualsEqualsToken].includes(
      node.operatorToken.kind,
    );

  /** What is given for the parameter `code`; a code that is only passed on was made elsewhere. */
  function given(call: ts.CallExpression | ts.NewExpression): string[] {
    const at = checker.getResolvedSignature(call)?.parameters.findIndex(({ name }) => name === 'code') ?? -1;
    const argument = call.arguments?.[at];
    return argument === undefined || ts.isPropertyAccessExpression(argument)
      ? []
      : literals(checker.getTypeAtLocation(argument));
  }

  function visit(node: ts.Node, agent: string, file: string): void {
    if (ts.isTypeNode(node)) return;
    if (ts.isNewExpression(node)) {
      const made = checker.getTypeAtLocation(node);
      if (isA(made, 'OwnRefusal'))
        for (const code of given(node)) (seen.thrown.get(agent) as Set<string>).add(code);
    }
    if (ts.isCallExpression(node) && agent === 'doctor')
      for (const code of given(node)) seen.doctor.add(code);
    if (
      ts.isStringLiteral(node) &&
      (agent === 'audit' || agent === 'published' || file.startsWith('shared/openpgp/')) &&
      !isComparison(node.parent)
    )
      seen.audit.add(node.text);
    if (isComparison(node)) {
      for (const [one, other] of [
        [node.left, node.right],
        [node.right, node.left],
      ] as const) {
        if (!ts.isStringLiteral(one) || !ts.isPropertyAccessExpression(other) || other.name.text !== 'code')
          continue;
        if (
          isA(checker.getTypeAtLocation(other.expression), 'AnyRefusal') &&
          literals(checker.getTypeAtLocation(other)).length === 0
        )
          seen.unchecked.push(`${file}: ${node.getText()}`);
      }
    }
    ts.forEachChild(node, (child) => visit(child, agent, file));
  }
  for (const source of program.getSourceFiles()) {
    if (source.isDeclarationFile || !source.fileName.startsWith(agents)) continue;
    const agent = agentOf(source.fileName);
    if (!seen.thrown.has(agent)) seen.thrown.set(agent, new Set());
    visit(source, agent, relative(agents, source.fileName));
  }
  return seen;
}
