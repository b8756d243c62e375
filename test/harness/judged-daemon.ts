/**
 * A daemon whose every answer is compared with its description (service/http/openapi/openapi.ts) for that route and status.
 *
 * Guarantees: a member that the schema does not name is an error. Clients must accept unknown members of a newer daemon;
 * from this one such a member would be undescribed.
 */
import { z } from 'zod';
import { openApi } from '../../service/http/openapi/openapi.ts';
import { TestDaemon, type Answer, type Body } from './daemon.ts';

interface Response {
  content?: Record<string, { schema: object }>;
}

interface Description {
  paths: Record<string, Record<string, { responses: Record<string, Response> }>>;
  components: { schemas: NonNullable<z.core.JSONSchema.JSONSchema['$defs']> };
}

/** Zod looks up references of a schema in $defs. */
const text = JSON.stringify(await openApi()).replaceAll('#/components/schemas/', '#/$defs/');

const { paths, components } = JSON.parse(text, (_key, node: unknown) => {
  const open = typeof node === 'object' && node !== null && 'type' in node && node.type === 'object';
  return open && 'properties' in node ? { ...node, additionalProperties: false } : node;
}) as Description;

const routes = Object.entries(paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, { responses }]) => ({
    name: `${method.toUpperCase()} ${path}`,
    pattern: new RegExp(`^${method.toUpperCase()} ${path.replace(/\{\w+\}/g, '[^/?]+')}(\\?.*)?$`),
    responses,
  })),
);

/** The answer to a request for a path that is no route. */
const REFUSED: Response = { content: { 'application/json': { schema: { $ref: '#/$defs/ErrorAnswer' } } } };

const readers = new Map<string, z.ZodType>();

function readerOf(schema: object): z.ZodType {
  const key = JSON.stringify(schema);
  const reader = readers.get(key) ?? z.fromJSONSchema({ $defs: components.schemas, ...schema });
  readers.set(key, reader);
  return reader;
}

export class JudgedDaemon extends TestDaemon {
  /** "GET /v1/containers 200 application/json": what has been answered. */
  readonly #answered = new Set<string>();

  /** Rejects when the answer is not as described. */
  override async request<T = Body>(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Answer<T>> {
    const answer = await super.request<T>(method, path, body, headers);
    const type = answer.headers['content-type']?.split(';')[0] ?? '';
    this.judge(`${method} ${path}`, answer.status, type, answer.text);
    return answer;
  }

  judge(request: string, status: number, type: string, body: string): void {
    const route = routes.find(({ pattern }) => pattern.test(request));
    const described = route?.responses[status] ?? (status >= 400 ? (route?.responses.default ?? REFUSED) : null);
    const what = `${request} ${status} ${type}`.trim();
    if (described === null) throw new Error(`${what} is not described`);
    this.#answered.add(`${route?.name} ${status} ${type}`.trim());
    const { content } = described;
    if (content === undefined) {
      if (body !== '') throw new Error(`${what} is to be empty: ${body}`);
      return;
    }
    const schema = content[type]?.schema;
    if (schema === undefined) throw new Error(`${what}: this content is not described`);
    if (type === 'text/plain') return; // what it says is for others than clients of ours
    const parts = type === 'application/json' ? [body] : body.split('\n').filter((line) => line !== '');
    for (const part of parts) {
      const { error } = readerOf(schema).safeParse(JSON.parse(part));
      if (error !== undefined) throw new Error(`${what} is not as described: ${z.prettifyError(error)}\n${part}`);
    }
  }

  /** Returns the described answers, errors apart, that have not occurred yet. */
  missing(): string[] {
    return routes
      .flatMap(({ name, responses }) =>
        Object.entries(responses)
          .filter(([status]) => status !== 'default')
          .flatMap(([status, { content = { '': { schema: {} } } }]) =>
            Object.keys(content).map((type) => `${name} ${status} ${type}`.trim()),
          ),
      )
      .filter((one) => !this.#answered.has(one));
  }
}
