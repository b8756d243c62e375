/**
 * Which parts of a module does a test run through, in whatever process? The module is changed so that it says so itself: V8's
 * own counts are lost with a daemon that is killed.
 *
 * Guarantees: each part that a process enters is one line in the file that CLEAT_REACHED names, "service/view.js 1234": the
 * module, and where the part begins. A part is a block, a branch, a case, or the right side of &&, || and ??. The module
 * does what it did.
 * Limits: what comes behind a return is of the part that it is in. A process that may not write the file, or is not given
 * its name, says nothing.
 */
import { childrenOf, parse, type Node } from './operators.ts';

interface Part {
  start: number;
  end: number;
  /** The texts that are inserted before the part and after it. */
  around: readonly [string, string];
}

const told = (start: number): string => `$reached(${start})`;
const expression = ({ start, end }: Node): Part => ({ start, end, around: [`(${told(start)}, `, ')'] });
const statement = ({ type, start, end }: Node): Part =>
  type === 'BlockStatement'
    ? { start: start + 1, end, around: [` ${told(start + 1)};`, ''] }
    : { start, end, around: [`{ ${told(start)}; `, ' }'] };

function partsOf(node: Node): Part[] {
  const at = (key: string): Node[] => [node[key] as Node | Node[] | null | undefined].flat().filter((part) => !!part);
  switch (node.type) {
    case 'ConditionalExpression':
      return [...at('consequent'), ...at('alternate')].map(expression);
    case 'LogicalExpression':
      return at('right').map(expression);
    case 'ArrowFunctionExpression':
      return at('body').map((body) => (body.type === 'BlockStatement' ? statement : expression)(body));
    case 'IfStatement':
      return [...at('consequent'), ...at('alternate')].map(statement);
    case 'SwitchCase': {
      const [first] = at('consequent');
      return first ? [{ start: first.start, end: node.end, around: [`${told(first.start)}; `, ''] }] : [];
    }
    case 'TryStatement':
      return [...at('block'), ...at('finalizer')].map(statement);
    case 'FunctionDeclaration':
    case 'FunctionExpression':
    case 'CatchClause':
    case 'ForStatement':
    case 'ForInStatement':
    case 'ForOfStatement':
    case 'WhileStatement':
      return at('body').map(statement);
    default:
      return [];
  }
}

function allParts(source: string): Part[] {
  const under = (node: Node): Part[] => [...partsOf(node), ...childrenOf(node).flatMap(([, child]) => under(child))];
  return under(parse(source));
}

/** The innermost part around a place, as it is called in the file; "service/view.js 0" is the module. */
export function partAt(source: string, name: string, place: number): string {
  const around = allParts(source).filter(({ start, end }) => start <= place && place < end);
  return `${name} ${Math.max(0, ...around.map(({ start }) => start))}`;
}

/** The module that says what it runs through. */
export function telling(source: string, name: string): string {
  const inserts = allParts(source).flatMap(({ start, end, around: [before, behind] }) => [
    { at: start, text: before },
    { at: end, text: behind },
  ]);
  let text = source;
  for (const insert of inserts.sort((a, b) => b.at - a.at)) {
    text = text.slice(0, insert.at) + insert.text + text.slice(insert.at);
  }
  return `${text}
import { appendFileSync as $append } from 'node:fs';
function $reached(start) {
  const seen = ($reached.seen ??= new Set());
  const file = globalThis.process.env.CLEAT_REACHED;
  if (file === undefined || seen.has(start)) return;
  seen.add(start);
  try { $append(file, ${JSON.stringify(`${name} `)} + start + '\\n'); } catch {}
}
$reached(0);
`;
}
