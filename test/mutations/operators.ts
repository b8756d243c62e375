/**
 * Small changes of a program, each of which changes its behaviour: mutants, which show whether the tests would notice.
 *
 * Guarantees: the same source gives the same mutants in the same order; each is one replacement of text, and parses.
 * Limits: works on the output of tsc, where types are gone and everything else is as it was written. A mutant may be
 * equivalent to the original; nothing here can tell. Imports and the descriptions of states are left alone.
 *
 * The parser is acorn, as prettier brings it along (prettier/plugins/acorn).
 */
import { parsers } from 'prettier/plugins/acorn';

export interface Mutation {
  /** Position in the source, in UTF-16 units. */
  start: number;
  end: number;
  /** The text in place of source.slice(start, end). */
  text: string;
  /** Name of the module's declaration that contains it; '' outside of one. */
  within: string;
}

/** A node of ESTree, with the fields that are read here. */
export interface Node {
  type: string;
  start: number;
  end: number;
  [key: string]: unknown;
}

const FLIPPED: Record<string, readonly string[]> = {
  '<': ['<=', '>='],
  '<=': ['<', '>'],
  '>': ['>=', '<='],
  '>=': ['>', '<'],
  '===': ['!=='],
  '!==': ['==='],
  '+': ['-'],
  '-': ['+'],
  '*': ['/'],
  '/': ['*'],
  '%': ['*'],
  '&': ['|'],
  '|': ['&'],
  '^': ['&'],
  '<<': ['>>'],
  '>>': ['<<'],
};

/** Calls that can be left out: they return a value of the kind that they are called on. */
const LEFT_OUT = new Set([
  'filter',
  'sort',
  'toSorted',
  'reverse',
  'slice',
  'toLowerCase',
  'trim',
  'padStart',
  'padEnd',
]);

const SWAPPED = new Map([
  ['some', 'every'],
  ['every', 'some'],
  ['find', 'findLast'],
  ['startsWith', 'endsWith'],
  ['endsWith', 'startsWith'],
  ['min', 'max'],
  ['max', 'min'],
  ['floor', 'ceil'],
  ['ceil', 'floor'],
]);

const PLAIN = new Set([
  'Identifier',
  'Literal',
  'MemberExpression',
  'CallExpression',
  'ArrayExpression',
  'TemplateLiteral',
]);

/** Returns true for the description of a state, which has no effect on the machine. */
const isDescription = (parent: Node, key: string): boolean =>
  parent.type === 'Property' && key === 'value' && (parent['key'] as Node)['name'] === 'description';

export const parse = (source: string): Node => parsers.acorn.parse(source, { filepath: 'module.js' } as never) as Node;

export function mutationsOf(source: string): Mutation[] {
  const program = parse(source);
  const found: Mutation[] = [];
  for (const { node, within } of declarations(program)) visit(node, null, '', within);
  return found.filter(({ start, end, text }) => source.slice(start, end) !== text);

  function visit(node: Node, parent: Node | null, key: string, within: string): void {
    const put = (at: { start: number; end: number }, text: string): void => {
      found.push({ start: at.start, end: at.end, text, within });
    };
    mutate(node, parent, key, source, put);
    if (node.type === 'ImportDeclaration') return;
    for (const [name, child] of childrenOf(node)) if (!isDescription(node, name)) visit(child, node, name, within);
  }
}

type Put = (at: { start: number; end: number }, text: string) => void;

function mutate(node: Node, parent: Node | null, key: string, source: string, put: Put): void {
  // A part that was in parentheses may need them in its new place.
  const textOf = ({ type, start, end }: Node): string =>
    PLAIN.has(type) ? source.slice(start, end) : `(${source.slice(start, end)})`;
  switch (node.type) {
    case 'IfStatement':
    case 'ConditionalExpression':
      for (const value of ['true', 'false']) put(node['test'] as Node, value);
      break;
    case 'WhileStatement':
    case 'ForStatement':
      if (node['test'] !== null) put(node['test'] as Node, 'false');
      break;
    case 'LogicalExpression':
      put(node, textOf(node['left'] as Node));
      put(node, textOf(node['right'] as Node));
      break;
    case 'BinaryExpression': {
      const [left, right] = [node['left'] as Node, node['right'] as Node];
      const operator = node['operator'] as string;
      if (operator === '+' && [left, right].some(isText)) break;
      const gap = source.slice(left.end, right.start);
      for (const other of FLIPPED[operator] ?? []) {
        put({ start: left.end, end: right.start }, gap.replace(operator, other));
      }
      break;
    }
    case 'UnaryExpression':
      if (['!', '-'].includes(node['operator'] as string)) put(node, textOf(node['argument'] as Node));
      break;
    case 'Literal':
      if (parent?.type !== 'Property' || key !== 'key' || parent['computed'] === true) literal(node, put);
      break;
    case 'TemplateLiteral':
      put(node, '``');
      break;
    case 'ArrayExpression':
    case 'ObjectExpression':
      without(node, (node['elements'] ?? node['properties']) as (Node | null)[], put);
      break;
    case 'ExpressionStatement':
      if (node['directive'] === undefined) put(node, ';');
      break;
    case 'ContinueStatement':
    case 'BreakStatement':
      put(node, ';');
      break;
    case 'AssignmentPattern':
      put(node, textOf(node['left'] as Node));
      break;
    case 'CallExpression':
      call(node, textOf, put);
      break;
    default:
  }
}

function literal(node: Node, put: Put): void {
  const { value } = node;
  if (node['regex'] !== undefined) return regex(node, put);
  if (typeof value === 'boolean') put(node, String(!value));
  else if (typeof value === 'number') put(node, String(value + 1));
  else if (typeof value === 'bigint') put(node, `${value + 1n}n`);
  else if (typeof value === 'string') put(node, value === '' ? "'?'" : "''");
}

/** Without one of its anchors, with one repetition fewer, or exactly one. */
function regex(node: Node, put: Put): void {
  const text = node['raw'] as string;
  const { flags } = node['regex'] as { flags: string };
  for (const match of text.matchAll(/(?<![\\[])\^|(?<!\\)\$|(?<=[\])\w])[+*?](?!\?)|\{(\d+),(\d+)\}/g)) {
    const [whole, least = '', most = ''] = match;
    const others = least === '' ? [''] : [`{${least},${Number(most) - 1}}`, `{${Number(least) + 1},${most}}`];
    for (const other of others) {
      const changed = text.slice(0, match.index) + other + text.slice(match.index + whole.length);
      if (isRegex(changed.slice(1, changed.lastIndexOf('/')), flags)) put(node, changed);
    }
  }
}

function isRegex(pattern: string, flags: string): boolean {
  try {
    return new RegExp(pattern, flags) instanceof RegExp;
  } catch {
    return false;
  }
}

/** Each element with the comma behind it, or in front of the last. */
function without(list: Node, elements: readonly (Node | null)[], put: Put): void {
  // A comma after the only element goes with it.
  if (elements.length === 1) return put({ start: list.start + 1, end: list.end - 1 }, '');
  elements.forEach((element, i) => {
    if (element === null || isDescription(element, 'value')) return;
    const [before, after] = [elements[i - 1], elements[i + 1]];
    if (after) put({ start: element.start, end: after.start }, '');
    else put({ start: before ? before.end : element.start, end: element.end }, '');
  });
}

function call(node: Node, textOf: (at: Node) => string, put: Put): void {
  const callee = node['callee'] as Node;
  const property = callee['property'] as Node | undefined;
  if (callee.type !== 'MemberExpression' || property === undefined || callee['computed'] === true) return;
  const name = property['name'] as string;
  if (LEFT_OUT.has(name)) put(node, textOf(callee['object'] as Node));
  const other = SWAPPED.get(name);
  if (other !== undefined) put(property, other);
}

const isText = ({ type, value }: Node): boolean =>
  type === 'TemplateLiteral' || (type === 'Literal' && typeof value === 'string');

/** The top-level statements of the module, each with a name where it has one. */
function declarations(program: Node): { node: Node; within: string }[] {
  return (program['body'] as Node[]).map((node) => {
    const declared = (node['declaration'] as Node | null | undefined) ?? node;
    const [first] = (declared['declarations'] as Node[] | undefined) ?? [declared];
    return { node, within: ((first?.['id'] as Node | undefined)?.['name'] ?? '') as string };
  });
}

export function childrenOf(node: Node): [string, Node][] {
  const isNode = (value: unknown): value is Node =>
    typeof value === 'object' && value !== null && typeof (value as Node).type === 'string';
  return Object.entries(node).flatMap(([key, value]) =>
    key === 'comments'
      ? []
      : [value]
          .flat()
          .filter(isNode)
          .map((child): [string, Node] => [key, child]),
  );
}
