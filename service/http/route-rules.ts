/**
 * Adds the rules of HTTP that hold for every route, by the description of the API: which parameters a route knows, and which methods a
 * path has.
 *
 * Guarantees: a parameter that the description does not name is refused before anything is done: a misspelt one must not be taken for
 * one that is absent. A method that a path does not have is refused with the methods that it has (RFC 9110, section 15.5.6).
 */
import type { FastifyInstance } from 'fastify';
import { FaultError } from '../../state/faults.ts';
import { sendFault } from '../requests/refusals.ts';
import type { Paths } from './openapi.ts';

export function addRouteRules(api: FastifyInstance, paths: Paths): void {
  const patterns = Object.entries(paths).map(([path, operations]) => ({
    matches: new RegExp(`^${path.replace(/\{\w+\}/g, '[^/]+')}$`),
    allow: Object.keys(operations).map((method) => method.toUpperCase()),
  }));

  api.addHook('onRequest', (request, _reply, done) => {
    const { method, query, routeOptions } = request;
    const path = routeOptions.url?.replace(/:(\w+)/g, '{$1}') ?? '';
    const operation = paths[path]?.[method.toLowerCase()];
    const names = (operation?.parameters ?? []).filter((one) => one.in === 'query').map(({ name }) => name);
    const unknown = Object.keys(query as object).find((name) => !names.includes(name));
    if (operation === undefined || unknown === undefined) return done();
    const known = names.length === 0 ? 'none' : names.join(', ');
    done(new FaultError('BAD_REQUEST', `${method} ${path} has no parameter ${unknown} (it has ${known})`));
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
