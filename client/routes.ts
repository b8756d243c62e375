/**
 * The routes of the API as types, inferred from its description (service/http/openapi/openapi.ts) and the schemas that this names: what each
 * route takes, and what it answers.
 *
 * Guarantees: nothing is written twice: a route, a parameter or a member that the description gets is known here.
 */
import type { z } from 'zod';
import type { paths } from '../service/http/openapi/openapi.ts';
import type { schemas } from '../service/http/openapi/openapi-schemas.ts';

type Paths = typeof paths;
type Schemas = typeof schemas;

/** Holds each operation under "METHOD /path". */
type Operations = {
  [Path in keyof Paths]: {
    [Method in keyof Paths[Path] & string as `${Uppercase<Method>} ${Path}`]: Paths[Path][Method];
  };
}[keyof Paths];
type Merged<Union> = (Union extends unknown ? (one: Union) => void : never) extends (all: infer All) => void
  ? All
  : never;
type Routes = Merged<Operations>;

/** Is the value that a schema of a parameter, an answer or a body describes. */
type Described<Schema> = Schema extends { $ref: `#/components/schemas/${infer Name extends keyof Schemas}` }
  ? z.infer<Schemas[Name]>
  : Schema extends { type: 'array'; items: infer Item }
    ? Described<Item>[]
    : Schema extends { anyOf: readonly (infer One)[] }
      ? Described<One>
      : Schema extends { enum: readonly (infer Value)[] }
        ? Value
        : Schema extends { type: 'integer' }
          ? number
          : Schema extends { type: 'boolean' }
            ? boolean
            : Schema extends { type: 'object' }
              ? Record<string, unknown>
              : string;

interface Parameter {
  name: string;
  in: string;
  required: boolean;
  schema: unknown;
}
type ParameterOf<Operation> = Operation extends { parameters: readonly (infer One extends Parameter)[] } ? One : never;
type Named<One extends Parameter> = { [Each in One as Each['name']]: Described<Each['schema']> };
type ParametersOf<Operation> = Named<Extract<ParameterOf<Operation>, { required: true }>> &
  Partial<Named<Extract<ParameterOf<Operation>, { required: false }>>>;

type BodyOf<Operation> = Operation extends {
  requestBody: { content: { 'application/json': { schema: infer Schema } } };
}
  ? {
      body: Schema extends { $ref: `#/components/schemas/${infer Name extends keyof Schemas}` }
        ? z.input<Schemas[Name]>
        : never;
    }
  : unknown;

type SuccessStatus = 200 | 201 | 202 | 204;
type Success<Operation> = Operation extends { responses: infer Responses }
  ? Responses[Extract<keyof Responses, SuccessStatus | `${SuccessStatus}`>]
  : never;
type Answer<Response> = Response extends { content: infer Content }
  ? Content extends { 'application/json': { schema: infer Schema } }
    ? Described<Schema>
    : Content extends { 'text/plain': unknown }
      ? string
      : never
  : null;
type Line<Response> = Response extends { content: { 'application/x-ndjson': { schema: infer Schema } } }
  ? Described<Schema>
  : never;

/** What a route takes: its parameters by their names, whether of the path, the query or a header, and its body. */
export type InputOf<Route extends keyof Routes> = ParametersOf<Routes[Route]> & BodyOf<Routes[Route]>;
export type AnswerTo<Route extends keyof Routes> = Answer<Success<Routes[Route]>>;
export type LineOf<Route extends keyof Routes> = Line<Success<Routes[Route]>>;

/** The routes that answer with one text. */
export type CallRoute = { [Route in keyof Routes]: [AnswerTo<Route>] extends [never] ? never : Route }[keyof Routes];
/** The routes that answer a GET with lines. */
export type LineRoute = {
  [Route in keyof Routes & `GET ${string}`]: [LineOf<Route>] extends [never] ? never : Route;
}[keyof Routes & `GET ${string}`];

/** Leaves out the input where none is needed. */
export type Arguments<Input, Options> = object extends Input
  ? [input?: Input, options?: Options]
  : [input: Input, options?: Options];
