/**
 * The network part of Docker's Engine API, on a socket of its own (docs/docker.md, docs/decisions/0066).
 *
 *   HEAD, GET  /_ping, GET /version, GET /info
 *   GET        /networks, /networks/:ref; POST /networks/create, /networks/:ref/connect, /networks/:ref/disconnect,
 *              /networks/prune; DELETE /networks/:ref       (docker-network-routes.ts)
 *   GET        /containers/json, /containers/:ref/json      (docker-container-routes.ts)
 *   GET        /events                                      (docker-event-routes.ts)
 *
 * Guarantees: what is asked here is done as on the daemon's own socket, with the same limits, rights and traces
 * (service/requests/). A version in front of a path is checked before anything else. An error is {"message": ...} in Docker's words.
 * Every other route of Docker's API is refused with 501, which no client takes for "there is no such container or image".
 * Limits: shapes and words are translated by service/fronts/docker/, which is pure.
 */
import type { FastifyInstance } from 'fastify';
import { stateName } from '../../../plan/states.ts';
import { FaultError } from '../../../state/faults.ts';
import { ContainerId } from '../../../state/names.ts';
import type { Containers } from '../../containers/containers.ts';
import {
  dockerInfo,
  dockerVersion,
  HEADERS,
  refuseVersion,
  splitVersion,
  type About,
} from '../../fronts/docker/docker-about.ts';
import { dockerState } from '../../fronts/docker/docker-container.ts';
import { asDocker } from '../../fronts/docker/docker-error.ts';
import { NetworkEvents, type NetworkEventsParts } from '../../fronts/docker/network-events.ts';
import type { Connections } from '../../requests/connections.ts';
import { parse } from '../../requests/parse.ts';
import { sendRefusal } from '../../requests/refusals.ts';
import { createServer } from '../server.ts';
import { addDockerContainerRoutes, type DockerContainerParts } from './docker-container-routes.ts';
import { addDockerEventRoutes } from './docker-event-routes.ts';
import { addDockerNetworkRoutes, type DockerNetworkParts } from './docker-network-routes.ts';

type RouteParts = Omit<DockerNetworkParts & DockerContainerParts, 'idOf' | 'containers'>;
export interface DockerApiParts extends RouteParts, Pick<NetworkEventsParts, 'definitions'> {
  connections: Connections;
  containers: Pick<Containers, 'all' | 'get' | 'idOf' | 'bus'>;
  about: About;
}

export function createDockerApi(parts: DockerApiParts): FastifyInstance {
  const { connections, containers, about } = parts;
  const api = createServer({
    connections,
    refusal: asDocker,
    routedBy: (url) => splitVersion(url).path,
  });
  api.addHook('onRequest', (request, reply, done) => {
    reply.headers(HEADERS);
    refuseVersion(splitVersion(request.originalUrl).version);
    done();
  });
  api.setNotFoundHandler(({ method, originalUrl }, reply) => {
    const path = originalUrl.split('?', 1)[0] ?? '';
    const message = `${method} ${path} is not supported: cleat serves the networks of Docker's API alone (docs/docker.md)`;
    return sendRefusal(reply, 501, { message });
  });

  api.route({
    method: ['GET', 'HEAD'],
    url: '/_ping',
    handler: (_request, reply) => reply.type('text/plain').header('cache-control', 'no-cache').send('OK'),
  });
  api.get('/version', () => dockerVersion(about));
  api.get('/info', () =>
    dockerInfo(
      about,
      containers.all().map((snapshot) => dockerState(stateName(snapshot))),
    ),
  );
  const idOf = (ref: string): string => {
    const id = containers.idOf(parse(ContainerId, ref.replace(/^\//, '')));
    if (containers.get(id) === undefined) throw new FaultError('NO_SUCH_CONTAINER', `No such container: ${ref}`);
    return id;
  };
  addDockerNetworkRoutes(api, { ...parts, idOf });
  addDockerContainerRoutes(api, { ...parts, idOf });
  addDockerEventRoutes(api, new NetworkEvents(parts));
  return api;
}
