/**
 * Adds the rules of HTTP that hold for every route, by the description of the API: which routes there are, which parameters a route
 * knows, what their values look like, and which methods a path has.
 *
 * Guarantees: a route that is not described cannot be added. A parameter that the description does not name, that is given twice, or whose
 * value is not as described is refused before anything is done: a misspelt one must not be taken for one that is absent. A method that
 * a path does not have is refused with the methods that it has (RFC 9110, section 15.5.6).
 */
import type { FastifyInstance } from 'fastify';
import { FaultError } from '../../state/faults.ts';
import { sendFault } from '../requests/refusals.ts';
import type { Operation, Parameter, Paths } from './openapi/openapi-words.ts';

/** Returns the path as the description has it. */
const described = (url: string): string => url.replace(/:(\w+)/g, '{$1}');

export function addRouteRules(api: FastifyInstance, paths: Paths): void {
  const patterns = Object.entries(paths).map(([path, operations]) => ({
    matches: new RegExp(`^${path.replaceAll('.', '\\.').replace(/\{\w+\}/g, '[^/]+')}$`),
    allow: Object.keys(operations).map((method) => method.toUpperCase()),
  }));
  const operationOf = (method: string, url: string): Operation | undefined =>
    paths[described(url)]?.[method.toLowerCase()];

  api.addHook('onRoute', ({ method, url }) => {
    if (typeof method !== 'string' || operationOf(method, url) === undefined)
      throw new Error(`${String(method)} ${url} is not described (openapi.ts)`);
  });

  api.addHook('onRequest', ({ method, query, routeOptions: { url } }, _reply, done) => {
    const operation = url === undefined ? undefined : operationOf(method, url);
    const why = operation === undefined ? null : whyNot(query as Record<string, unknown>, operation);
    if (why === null) return done();
    done(new FaultError('BAD_REQUEST', `${method} ${described(url ?? '')} ${why}`));
  });

  api.setNotFoundHandler((request, reply) => {
    const { method, url } = request;
    const path = url.split('?', 1)[0] ?? '';
    const allow = patterns.find(({ matches }) => matches.test(path))?.allow.join(', ');
    if (allow === undefined) {
      return sendFault(reply, { code: 'NO_SUCH_ROUTE', message: `${method} ${url}: no such route` });
    }
    reply.header('allow', allow);
    return sendFault(reply, { code: 'METHOD_NOT_ALLOWED', message: `${path} has no ${method}: it has ${allow}` });
  });
}

/** Returns what is wrong with the parameters of a query, null if nothing is. */
function whyNot(query: Record<string, unknown>, { parameters = [] }: Operation): string | null {
  const known = parameters.filter((one) => one.in === 'query');
  for (const [name, value] of Object.entries(query)) {
    const parameter = known.find((one) => one.name === name);
    if (parameter === undefined) {
      const names = known.length === 0 ? 'none' : known.map((one) => one.name).join(', ');
      return `has no parameter ${name} (it has ${names})`;
    }
    const wrong = whyNotValue(value, parameter);
    if (wrong !== null) return `takes ${name} ${wrong}`;
  }
  return null;
}

function whyNotValue(value: unknown, { schema: { type } }: Parameter): string | null {
  if (type === 'array') return null;
  if (typeof value !== 'string') return 'once';
  if (type === 'integer' && !/^\d{1,15}$/.test(value)) return 'as a number of milliseconds';
  return type === 'boolean' && value !== 'true' && value !== 'false' ? 'as true or false' : null;
}
