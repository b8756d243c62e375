/**
 * The words that the description of the API is written in (openapi.ts): references to schemas, answers, parameters.
 *
 * Guarantees: each keeps what it is given as a literal type, so that the types of `cleat/client` can be inferred (client/routes.ts).
 */
import { FAULTS } from '../../../state/faults.ts';
import type { schemas } from './openapi-schemas.ts';

export interface Parameter {
  name: string;
  in: 'path' | 'query' | 'header';
  required: boolean;
  description: string;
  schema: { type: 'string' | 'integer' | 'boolean' | 'array' };
}
export interface Operation {
  summary: string;
  requestBody?: object;
  responses: object;
  parameters?: readonly Parameter[];
}
/** Holds the paths of OpenAPI, with the operations of each by method in lower case. */
export type Paths = Readonly<Record<string, Readonly<Record<string, Operation>>>>;

type SchemaName = keyof typeof schemas;

export const STRING = { type: 'string' } as const;
export const ref = <Name extends SchemaName>(name: Name) => ({ $ref: `#/components/schemas/${name}` }) as const;
export const list = <Name extends SchemaName>(name: Name) => ({ type: 'array', items: ref(name) }) as const;
export const anyOf = <const Schemas extends readonly object[]>(...schemas: Schemas) => ({ anyOf: schemas }) as const;
export const json = <Schema extends object>(schema: Schema) => ({ 'application/json': { schema } }) as const;
export const lines = <Schema extends object>(schema: Schema) => ({ 'application/x-ndjson': { schema } }) as const;
export const sse = <Schema extends object>(schema: Schema) => ({ 'text/event-stream': { schema } }) as const;
export const answer = <Schema extends object>(description: string, schema: Schema) => ({
  description,
  content: json(schema),
});
/** Adds headers to an answer, with what each says. */
export const withHeaders = <Answer extends object>(
  answered: Answer,
  ...headers: (readonly [name: string, description: string])[]
) => ({
  ...answered,
  headers: Object.fromEntries(headers.map(([name, description]) => [name, { description, schema: STRING }])),
});
export const text = (description: string) =>
  ({ description, content: { 'text/plain': { schema: { type: 'string' } } } }) as const;
export const body = <Name extends SchemaName>(name: Name) => ({ required: true, content: json(ref(name)) });
export const error = answer(`An error: ${Object.keys(FAULTS).join(', ')}`, ref('ErrorAnswer'));

export const INTEGER = { type: 'integer', minimum: 0 } as const;
export const BOOLEAN = { type: 'boolean' } as const;

export const optional =
  <In extends 'query' | 'header'>(where: In) =>
  <Name extends string, const Schema extends object = typeof STRING>(
    name: Name,
    description: string,
    schema?: Schema,
  ) => ({
    name,
    in: where,
    required: false as const,
    description,
    schema: (schema ?? STRING) as Schema,
  });
export const query = optional('query');
export const header = optional('header');
export const required = <Name extends string, In extends 'path' | 'query'>(
  name: Name,
  where: In,
  description: string,
) => ({
  name,
  in: where,
  required: true as const,
  description,
  schema: STRING,
});
