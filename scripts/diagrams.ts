/**
 * Generates documents from the code: a diagram and a table of each machine (docs/diagrams/), the table of faults
 * (docs/errors.md), and the diagram of a container's life between the markers in README.md.
 *
 *   node dist/scripts/diagrams.js            write them
 *   node dist/scripts/diagrams.js --check    fail, and name those that are out of date
 *
 * Guarantees: the same machines make the same text; the diagrams show the machine objects that run.
 * Limits: Mermaid's stateDiagram-v2 as GitHub draws it: one label per arrow, so events of one arrow share it.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { AnyStateMachine, AnyStateNode } from 'xstate';
import { FAULTS } from '../state/faults.ts';
import { MACHINES, arrowsOf, childrenOf, descendants, initialOf, pathOf, type Arrow } from './machine-graph.ts';

const MADE = '<!-- Made by `npm run docs` from the code; changes here are overwritten. -->';

const idOf = (node: AnyStateNode): string => (node.path.length === 0 ? node.key : node.path.join('_'));

/** Joins the arrows between the same two states. */
function merged(arrows: readonly Omit<Arrow, 'id'>[], name: (node: AnyStateNode) => string): string[] {
  const labels = new Map<string, string[]>();
  for (const { source, target, label } of arrows) {
    const ends = `${name(source)} --> ${name(target)}`;
    const known = labels.get(ends);
    if (known === undefined) labels.set(ends, [label]);
    else if (!known.includes(label)) known.push(label);
  }
  return [...labels].map(([ends, all]) => `${ends}: ${all.join(', ')}`);
}

/** Draws nested states as nested boxes. An arrow is written in the smallest box that holds both its ends. */
export function stateDiagram(machine: AnyStateMachine): string {
  const { root } = machine;
  const arrows = [root, ...descendants(root)].flatMap(arrowsOf).filter(({ source }) => source !== root);
  const within = (node: AnyStateNode, box: AnyStateNode): boolean =>
    box === root || box.path.every((key, i) => node.path[i] === key);
  const home = ({ source, target }: Arrow): AnyStateNode => {
    let box = source.parent ?? root;
    while (!within(target, box)) box = box.parent ?? root;
    return box;
  };
  const lines = ['stateDiagram-v2'];
  const box = (node: AnyStateNode, indent: string): void => {
    for (const first of initialOf(node)) lines.push(`${indent}[*] --> ${idOf(first)}`);
    for (const child of childrenOf(node)) {
      if (node !== root) lines.push(`${indent}state "${child.key}" as ${idOf(child)}`);
      if (childrenOf(child).length > 0) {
        lines.push(`${indent}state ${idOf(child)} {`);
        box(child, `${indent}  `);
        lines.push(`${indent}}`);
      }
    }
    const mine = arrows.filter((arrow) => home(arrow) === node);
    lines.push(...merged(mine, idOf).map((arrow) => `${indent}${arrow}`));
    for (const child of childrenOf(node)) if (child.type === 'final') lines.push(`${indent}${idOf(child)} --> [*]`);
  };
  box(root, '  ');
  return lines.join('\n');
}

/** Draws only the top-level states and the transitions between them. */
export function compactDiagram(machine: AnyStateMachine): string {
  const { root } = machine;
  const top = (node: AnyStateNode): AnyStateNode =>
    node.parent === root || node.parent === undefined ? node : top(node.parent);
  const arrows = descendants(root)
    .flatMap(arrowsOf)
    .map(({ source, target, label }) => ({ source: top(source), target: top(target), label }))
    .filter(({ source, target, label }) => source !== target && !label.startsWith('always ['))
    .map((arrow) => ({ ...arrow, label: arrow.label.replace(/ \[.*\]$/, '') }));
  const passed = descendants(root)
    .flatMap(arrowsOf)
    .map(({ source, target, label }) => ({ source: top(source), target: top(target), label }))
    .filter(({ source, target, label }) => source !== target && label.startsWith('always ['))
    .filter(({ source, target }) => !arrows.some((arrow) => arrow.source === source && arrow.target === target))
    .map((arrow) => ({ ...arrow, label: arrow.label.replace(/^always \[(.*)\]$/, '$1') }));
  const lines = ['stateDiagram-v2', '  direction LR'];
  for (const first of initialOf(root)) lines.push(`  [*] --> ${idOf(first)}`);
  lines.push(...merged([...arrows, ...passed], idOf).map((line) => `  ${line}`));
  for (const node of childrenOf(root)) if (node.type === 'final') lines.push(`  ${idOf(node)} --> [*]`);
  const always = new Map<string, string[]>();
  for (const { target, label } of arrowsOf(root))
    always.set(idOf(target), [...(always.get(idOf(target)) ?? []), label]);
  for (const [target, labels] of always)
    lines.push(`  note right of ${target}: from any state, on ${labels.join(' or ')}`);
  return lines.join('\n');
}

/** Lists the events that every state accepts, so that the diagram need not have an arrow from each. */
function everywhere(machine: AnyStateMachine): string {
  const names = arrowsOf(machine.root).map(({ target, label }) => `\`${label}\` to \`${pathOf(target)}\``);
  return names.length === 0 ? '' : `\nIn every state that does not say otherwise: ${names.join(', ')}.\n`;
}

function table(machine: AnyStateMachine): string {
  const rows = descendants(machine.root).map((node) => {
    const invokes = node.invoke.map(({ id }) => `\`${id}\``).join(', ');
    const tags = node.tags.length > 0 ? ` (${node.tags.join(', ')})` : '';
    return `| \`${pathOf(node)}\`${tags} | ${node.description ?? ''} | ${invokes} |`;
  });
  return ['| state | description | invokes |', '| --- | --- | --- |', ...rows].join('\n');
}

export function machinePage(name: string): string {
  const [machine, title, folder = ''] = MACHINES[name] ?? [];
  if (machine === undefined) throw new Error(`no machine ${name}`);
  const fence = '```';
  return `${MADE}

# ${title}

The \`${name}\` machine, [machines/${folder}${name}.ts](../../machines/${folder}${name}.ts).
${everywhere(machine)}
${fence}mermaid
${stateDiagram(machine)}
${fence}

${table(machine)}
`;
}

/** Formats a Markdown table as prettier does: columns padded, `*` of plain text escaped. */
function aligned(rows: string[][]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  const line = (row: string[], fill = ' ') =>
    `| ${row.map((cell, i) => cell.padEnd(widths[i] ?? 0, fill)).join(' | ')} |`;
  const [head = [], ...body] = rows;
  return [
    line(head),
    line(
      head.map(() => ''),
      '-',
    ),
    ...body.map((row) => line(row)),
  ].join('\n');
}

export function errorsPage(): string {
  const escaped = (hint: string) => hint.replaceAll('|', '\\|').replace(/\*(?=[^`]*(?:`[^`]*`[^`]*)*$)/g, '\\*');
  const rows = Object.entries(FAULTS).map(([code, [status, hint]]) => [`\`${code}\``, String(status), escaped(hint)]);
  return `${MADE}

# Errors

Every fault has one of these codes, with a \`message\` about the case at hand; a code is stable and never reused.
The table is [state/faults.ts](../state/faults.ts).

${aligned([['code', 'HTTP status', 'what to do'], ...rows])}
`;
}

/** Returns README.md with up-to-date diagrams between `<!-- diagram:NAME -->` and `<!-- /diagram -->`. */
export function withDiagrams(readme: string): string {
  return readme.replace(
    /(<!-- diagram:(\w+) -->\n)[\s\S]*?(<!-- \/diagram -->)/g,
    (whole, open: string, name: string, close: string) => {
      const machine = MACHINES[name]?.[0];
      return machine === undefined ? whole : `${open}\n\`\`\`mermaid\n${compactDiagram(machine)}\n\`\`\`\n\n${close}`;
    },
  );
}

/** Maps each path in the repository to its generated content. */
export function documents(root: string): Map<string, string> {
  const pages = new Map(Object.keys(MACHINES).map((name) => [`docs/diagrams/${name}.md`, machinePage(name)]));
  pages.set('docs/errors.md', errorsPage());
  const readme = join(root, 'README.md');
  if (existsSync(readme)) pages.set('README.md', withDiagrams(readFileSync(readme, 'utf8')));
  return pages;
}

/** Returns the documents that are out of date. */
export function stale(root: string): string[] {
  return [...documents(root)].flatMap(([path, text]) => {
    const full = join(root, path);
    return existsSync(full) && readFileSync(full, 'utf8') === text ? [] : [path];
  });
}

function main(root: string): void {
  if (process.argv.includes('--check')) {
    const old = stale(root);
    if (old.length === 0) return;
    console.error(`not what the code says: ${old.join(' ')} (npm run docs)`);
    process.exitCode = 1;
    return;
  }
  for (const [path, text] of documents(root)) {
    mkdirSync(join(root, path, '..'), { recursive: true });
    writeFileSync(join(root, path), text);
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) main(resolve(import.meta.dirname, '../..'));
