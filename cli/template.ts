/**
 * The templates of --format, in the syntax of Go's that Docker and Podman have: '{{.id}} {{.netns.path}}', '{{json .ports}}',
 * 'table {{.ID}}\t{{.Ports}}'; and lists of columns: 'id,ports'.
 *
 * Guarantees: pure. A field is one of the API's answer (.host_port), or a column of the table, which is text (.Ports); capitals and
 * underscores make no difference if there is no field of exactly this name. What is no field is refused by name.
 * Limits: fields and `json`; no conditions, no loops, no functions: jq has these.
 */
import { usage } from './failure.ts';

/** An answer as it is shown: what the API has sent, and the columns of its row. */
export interface Shown {
  answer: unknown;
  columns: Readonly<Record<string, string>>;
}

type Part = string | { path: string[]; json: boolean };

export interface Template {
  parts: Part[];
  /** The heading of each column, if the template begins with "table". */
  headings: string[] | null;
}

const HINT =
  "Fields: '{{.id}} {{.netns.path}}', '{{json .ports}}', 'table {{.ID}}\\t{{.Ports}}'. `--format json | jq` does the rest.";

export function parseTemplate(text: string): Template {
  const table = /^table\s+/.exec(text);
  const rest = text.slice(table?.[0].length ?? 0);
  const parts = rest.split(/(\{\{[^]*?\}\})/).map((piece): Part => {
    const [, inner] = /^\{\{([^]*)\}\}$/.exec(piece) ?? [];
    if (inner === undefined) {
      if (/\{\{|\}\}/.test(piece)) throw usage(`invalid --format "${text}": ${piece} is not closed`, HINT);
      return piece.replaceAll('\\t', '\t').replaceAll('\\n', '\n');
    }
    const [, json, path] = /^\s*(json\s+)?\.((?:[\w-]+(?:\.[\w-]+)*)?)\s*$/.exec(inner) ?? [];
    if (path === undefined) throw usage(`invalid --format "${text}": ${piece} is no field`, HINT);
    return { path: path === '' ? [] : path.split('.'), json: json !== undefined };
  });
  const fields = parts.filter((part) => typeof part !== 'string');
  return { parts, headings: table === null ? null : fields.map(({ path }) => (path.at(-1) ?? '').toUpperCase()) };
}

/** Returns where the columns of a list such as "id,ports" stand among these headings. */
export function columnsOf(text: string, headings: readonly string[]): number[] {
  return text.split(',').map((name) => {
    const at = headings.findIndex((heading) => plain(heading) === plain(name.trim()));
    if (at === -1)
      throw usage(
        `invalid --format "${text}": there is no column "${name}"`,
        `Columns: ${headings.join(', ')}. ${HINT}`,
      );
    return at;
  });
}

/** Returns the text of one answer. `safe` is applied to each value. */
export function render({ parts }: Template, shown: Shown, safe: (text: string) => string): string {
  return parts.map((part) => (typeof part === 'string' ? part : safe(textOf(part, shown)))).join('');
}

function textOf({ path, json }: Exclude<Part, string>, shown: Shown): string {
  const value = path.reduce<unknown>((at, name, i) => fieldOf(at, name, i === 0 ? shown.columns : {}), shown.answer);
  if (json || (typeof value === 'object' && value !== null)) return JSON.stringify(value ?? null);
  if (value === null || value === undefined) return '';
  return typeof value === 'string' ? value : JSON.stringify(value);
}

const plain = (name: string): string => name.toLowerCase().replaceAll(/[ _-]/g, '');

function fieldOf(at: unknown, name: string, columns: Shown['columns']): unknown {
  if (at === null || at === undefined) return undefined;
  const object = typeof at === 'object' ? (at as Record<string, unknown>) : {};
  if (Object.hasOwn(object, name)) return object[name];
  for (const all of [columns, object]) {
    const key = Object.keys(all).find((known) => plain(known) === plain(name));
    if (key !== undefined) return all[key];
  }
  const known = [...new Set([...Object.keys(object), ...Object.keys(columns)])].join(', ');
  throw usage(`--format: there is no field "${name}"`, known === '' ? undefined : `There are ${known}.`);
}
