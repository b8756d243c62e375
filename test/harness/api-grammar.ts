/**
 * Random requests, made from the daemon's own description of its API (service/http/openapi/openapi.ts): what its schemas allow, and
 * the same with a mistake.
 *
 * Guarantees: every path and method of the description occurs, and every property of every schema; the same seed gives
 * the same requests. Values that decide something (ids, networks, addresses) come from short lists, so that requests
 * collide: with existing containers and taken addresses.
 * Limits: the parts of JSON Schema that the description uses. Patterns are not followed: strings come from the lists,
 * or are random.
 */
import fc from 'fast-check';

export interface ApiRequest {
  method: string;
  path: string;
  headers: Record<string, string>;
  /** Null: no body is sent. */
  body: string | null;
}

interface Schema {
  $ref?: string;
  type?: string | string[];
  const?: unknown;
  enum?: unknown[];
  anyOf?: Schema[];
  oneOf?: Schema[];
  properties?: Record<string, Schema>;
  required?: string[];
  additionalProperties?: Schema | boolean;
  items?: Schema;
  minimum?: number;
  maximum?: number;
}

interface Operation {
  parameters?: { name: string; in: 'path' | 'query' | 'header' }[];
  requestBody?: { content: { 'application/json': { schema: Schema } } };
}

export interface Description {
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Schema> };
}

/** Values for a property of this name: existing objects, and values at the limit of what is allowed. */
export type Words = Readonly<Record<string, readonly (string | number)[]>>;

/** Names that every object has already, and names with a meaning for a kernel or a file system. */
const NAMES = ['constructor', 'toString', '__proto__', 'hasOwnProperty', 'all', 'default', 'lo', '.', '..', '../x', ''];
const JUNK: readonly unknown[] = [
  null,
  true,
  -1,
  0.5,
  65_536,
  2 ** 31,
  2 ** 53,
  1e308,
  ' ',
  '\0',
  '-1',
  'ä',
  '💥',
  '\ud800',
  '\r\n',
  [],
  {},
  [null],
  [[[]]],
  { length: 1 },
  'a'.repeat(5000),
  ...NAMES,
];

export function requestsOf(description: Description, words: Words): fc.Arbitrary<ApiRequest> {
  const operations = Object.entries(description.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ method: method.toUpperCase(), path, operation })),
  );
  const grammar = new Grammar(description.components.schemas, words);
  // Most requests are events.
  const weighted = operations.map(({ method, path, operation }) => ({
    weight: path === '/v1/events' && method === 'POST' ? 24 : method === 'GET' ? 1 : 3,
    arbitrary: requestOf(grammar, method, path, operation, words),
  }));
  return fc.oneof(...weighted);
}

function requestOf(grammar: Grammar, method: string, path: string, operation: Operation, words: Words) {
  const { requestBody } = operation;
  const parameters = (operation.parameters ?? []).filter((one) => one.in !== 'header');
  const given = fc.tuple(
    ...parameters.map(({ name }) =>
      fc.oneof({ weight: 5, arbitrary: known(words, name) }, { weight: 1, arbitrary: fc.constantFrom(...NAMES) }),
    ),
  );
  // Each parameter of a query once, not at all, or twice.
  const times = fc.array(fc.constantFrom(0, 1, 1, 2), { minLength: parameters.length, maxLength: parameters.length });
  const schema = requestBody?.content['application/json'].schema;
  const body = schema === undefined ? fc.constant(null) : bodyOf(grammar, schema);
  return fc.tuple(given, times, body).map(([values, counts, text]): ApiRequest => {
    let target = path;
    const query: string[] = [];
    parameters.forEach(({ name, in: where }, i) => {
      const value = encodeURIComponent(String(values[i]));
      if (where === 'path') target = target.replace(`{${name}}`, () => value);
      else for (let n = 0; n < (counts[i] ?? 0); n++) query.push(`${name}=${value}`);
    });
    const headers: Record<string, string> = text === null ? {} : { 'content-type': 'application/json' };
    return { method, path: query.length > 0 ? `${target}?${query.join('&')}` : target, headers, body: text };
  });
}

/** JSON that the schema allows; one time in four, one to three parts of it are changed. */
function bodyOf(grammar: Grammar, schema: Schema): fc.Arbitrary<string> {
  const spoilt = fc.tuple(grammar.value(schema, ''), fc.array(mutation, { minLength: 1, maxLength: 3 }), textMutation);
  return fc.oneof(
    { weight: 3, arbitrary: grammar.value(schema, '').map((value) => JSON.stringify(value)) },
    { weight: 1, arbitrary: spoilt.map(([value, mutations, last]) => last(JSON.stringify(mutate(value, mutations)))) },
  );
}

const ABSENT = fc.constant(null);

class Grammar {
  readonly #schemas: Record<string, Schema>;
  readonly #words: Words;

  constructor(schemas: Record<string, Schema>, words: Words) {
    this.#schemas = schemas;
    this.#words = words;
  }

  /** `name`: the property that has the value. */
  value(schema: Schema, name: string): fc.Arbitrary<unknown> {
    if (schema.$ref !== undefined) return this.value(this.#named(schema.$ref), name);
    if ('const' in schema) return fc.constant(schema.const);
    if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
    const choices = schema.anyOf ?? schema.oneOf;
    if (choices !== undefined) return fc.oneof(...choices.map((choice) => this.value(choice, name)));
    if (schema.type === 'string') return known(this.#words, name);
    if (schema.type === 'boolean') return fc.boolean();
    if (schema.type === 'array') return fc.array(this.value(schema.items ?? {}, name), { maxLength: 3 });
    return schema.type === 'object' ? this.#object(schema, name) : this.#number(schema, name);
  }

  #named(ref: string): Schema {
    const name = ref.slice('#/components/schemas/'.length);
    const schema = this.#schemas[name];
    if (schema === undefined) throw new Error(`${ref} leads nowhere`);
    return schema;
  }

  #number({ minimum = 0, maximum = 0xffff_ffff }: Schema, name: string): fc.Arbitrary<unknown> {
    const any = fc.oneof(fc.integer({ min: minimum, max: maximum }), fc.constantFrom(minimum, maximum));
    const words = this.#words[name];
    return words === undefined ? any : fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...words) }, any);
  }

  #object({ properties, required = [], additionalProperties }: Schema, name: string): fc.Arbitrary<unknown> {
    if (properties === undefined) {
      const schema = typeof additionalProperties === 'object' ? additionalProperties : {};
      return fc
        .array(fc.tuple(known(this.#words, name), this.value(schema, name)), { maxLength: 3 })
        .map((entries) => Object.fromEntries(entries) as unknown);
    }
    const entries = Object.entries(properties).map(([key, schema]) => {
      const value = this.value(schema, key).map((it) => [key, it] as const);
      // Only a few of many optional properties, because each may be the reason why the whole is refused.
      const absent = { weight: Math.max(1, Object.keys(properties).length - required.length - 2), arbitrary: ABSENT };
      return required.includes(key) ? value : fc.oneof({ weight: 1, arbitrary: value }, absent);
    });
    return fc.tuple(...entries).map((all) => Object.fromEntries(all.filter((entry) => entry !== null)) as unknown);
  }
}

/** A value for a property of this name; sometimes any text. */
function known(words: Words, name: string): fc.Arbitrary<string> {
  const list = (words[name] ?? []).map(String);
  const any = fc.oneof(fc.string({ maxLength: 20 }), fc.constantFrom(...NAMES), fc.constantFrom(...list, 'x'));
  if (list.length === 0) return any;
  return fc.oneof({ weight: 12, arbitrary: fc.constantFrom(...list) }, { weight: 1, arbitrary: any });
}

// --- Spoiling ---------------------------------------------------------------------------------------------------

interface Mutation {
  /** The chosen one of all places in the value, from 0 to 1. */
  where: number;
  how: 'replace' | 'remove' | 'add' | 'wrap';
  junk: unknown;
  key: string;
}

const mutation: fc.Arbitrary<Mutation> = fc.record({
  where: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
  how: fc.constantFrom('replace', 'remove', 'add', 'wrap'),
  junk: fc.constantFrom(...JUNK),
  key: fc.constantFrom(...NAMES, 'extra'),
});

function mutate(value: unknown, mutations: readonly Mutation[]): unknown {
  const root = { '': structuredClone(value) };
  for (const { where, how, junk: kind, key } of mutations) {
    const junk = structuredClone(kind);
    const places = placesIn(root);
    const place = places[Math.floor(where * places.length)];
    if (place === undefined) continue;
    const { parent, at } = place;
    const old = parent[at];
    if (how === 'remove') delete parent[at];
    else if (how === 'wrap') parent[at] = Number(where.toString().at(-1)) % 2 === 0 ? [old] : { [key]: old };
    else if (how === 'add' && typeof old === 'object' && old !== null) {
      // As JSON.parse makes it: an own property, whatever its name.
      Object.defineProperty(old, key, { value: junk, enumerable: true, configurable: true, writable: true });
    } else parent[at] = junk;
  }
  return root[''];
}

function placesIn(value: unknown): { parent: Record<string, unknown>; at: string }[] {
  if (typeof value !== 'object' || value === null) return [];
  const parent = value as Record<string, unknown>;
  return Object.keys(parent).flatMap((at) => [{ parent, at }, ...placesIn(parent[at])]);
}

/** Mistakes that only text can have: cut short, nested deep, a key twice, a byte too many. */
const textMutation: fc.Arbitrary<(json: string | undefined) => string> = fc.oneof(
  { weight: 6, arbitrary: fc.constant((json: string | undefined) => json ?? '') },
  fc.double({ min: 0, max: 1, noNaN: true }).map(
    (part) =>
      (json = '') =>
        json.slice(0, Math.floor(json.length * part)),
  ),
  fc.integer({ min: 1, max: 20_000 }).map(
    (deep) =>
      (json = '') =>
        '['.repeat(deep) + json + ']'.repeat(deep),
  ),
  fc.constantFrom('"id":"b",', '"type":"teardown",', '"__proto__":{"id":"a"},').map((twice) => (json = '') => {
    return json.replace('{', `{${twice}`);
  }),
  fc.constantFrom('\0', '\ufeff', '//', ',', '\u2028').map(
    (more) =>
      (json = '') =>
        more + json,
  ),
);
