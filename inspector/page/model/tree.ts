/**
 * Makes any JSON a tree that can be opened step by step.
 *
 * Guarantees: pure; every value of the JSON is in the tree once.
 */

export interface Branch {
  key: string;
  /** Says what a leaf holds, or what is inside: "3 in list", "empty". */
  text: string;
  kind: 'null' | 'boolean' | 'number' | 'string' | 'list' | 'object';
  inside: Branch[];
}

export function branchOf(key: string, value: unknown): Branch {
  if (value === null || value === undefined) return { key, text: 'null', kind: 'null', inside: [] };
  if (Array.isArray(value)) {
    const inside = value.map((item, i) => branchOf(String(i), item));
    return { key, text: inside.length === 0 ? 'empty list' : `${inside.length} in list`, kind: 'list', inside };
  }
  if (typeof value === 'object') {
    const inside = Object.entries(value).map(([name, item]) => branchOf(name, item));
    return { key, text: inside.length === 0 ? 'empty' : '', kind: 'object', inside };
  }
  if (typeof value === 'string') return { key, text: value === '' ? '""' : value, kind: 'string', inside: [] };
  if (typeof value === 'number') return { key, text: String(value), kind: 'number', inside: [] };
  return { key, text: JSON.stringify(value), kind: 'boolean', inside: [] };
}
