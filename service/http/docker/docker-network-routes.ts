/**
 * Adds Docker's routes of networks.
 *
 * Guarantees: `bridge` is the network that containers get without a choice, unless another one has this name; clients look for it
 * under this name. It is never removed. A prune leaves it, networks of engines, and what somebody uses at that moment.
 * Limits: docs/decisions/0066 says why Docker's networks `host` and `none` are none here.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { FaultError } from '../../../state/faults.ts';
import { DockerConnect, DockerCreate, DockerDisconnect } from '../../../state/fronts/docker.ts';
import { DEFAULT_NETWORK, type NetworkDefinition } from '../../../state/network.ts';
import type { Containers } from '../../containers/containers.ts';
import { toAttachmentOptions, toNetworkRequest } from '../../fronts/docker/docker-create.ts';
import { inDockersWords } from '../../fronts/docker/docker-error.ts';
import {
  choosesNetworks,
  choosesPrunable,
  filtersOf,
  NETWORK_FILTERS,
  PRUNE_FILTERS,
} from '../../fronts/docker/docker-filters.ts';
import { dockerNetwork } from '../../fronts/docker/docker-network.ts';
import type { Networks } from '../../networks/networks.ts';
import { peerOf } from '../../requests/authorise.ts';
import { parse } from '../../requests/parse.ts';
import type { Requests } from '../../requests/requests.ts';

const Listed = z.strictObject({ filters: z.string().optional() });
/** `verbose` adds services of a swarm in Docker. */
const Looked = z.strictObject({ scope: z.string().optional(), verbose: z.string().optional() });
const Nothing = z.strictObject({});

export interface DockerNetworkParts {
  requests: Requests;
  containers: Pick<Containers, 'all'>;
  networks: Pick<Networks, 'all' | 'get'>;
  /** Returns the id of a container. Throws NO_SUCH_CONTAINER. */
  idOf: (ref: string) => string;
}
interface Ref {
  Params: { ref: string };
}

const callOf = ({ raw, headers }: FastifyRequest) => ({ peer: peerOf(raw.socket), wait: true, headers });

export function addDockerNetworkRoutes(
  api: FastifyInstance,
  { requests, containers, networks, idOf }: DockerNetworkParts,
): void {
  const find = (ref: string): Promise<NetworkDefinition> =>
    inDockersWords({ network: ref }, () => {
      const isDefault = ref === 'bridge' && !networks.all().some(({ name }) => name === ref);
      return networks.get(isDefault ? DEFAULT_NETWORK : ref);
    });
  const contexts = () => containers.all().map(({ context }) => context);
  const isUsed = (network: string): boolean =>
    contexts().some(({ request, attachments }) =>
      [...Object.keys(request.networks), ...attachments.map((one) => one.network)].includes(network),
    );

  api.get('/networks', ({ query }) => {
    const { filters } = parse(Listed, query);
    const chosen = choosesNetworks(filtersOf(filters, NETWORK_FILTERS), isUsed);
    return networks
      .all()
      .map((definition) => dockerNetwork(definition, []))
      .filter(chosen);
  });
  api.get<Ref>('/networks/:ref', async ({ params: { ref }, query }) => {
    const { scope = 'local' } = parse(Looked, query);
    const found = await find(ref);
    if (scope !== 'local') throw new FaultError('NO_SUCH_NETWORK', `network ${ref} not found in scope ${scope}`);
    return dockerNetwork(found, contexts());
  });
  api.post('/networks/create', async (request, reply) => {
    parse(Nothing, request.query);
    const create = parse(DockerCreate, request.body);
    const { id, warnings = [] } = await inDockersWords({ network: create.Name }, () =>
      requests.createNetwork(toNetworkRequest(create), callOf(request)),
    );
    return reply.code(201).send({ Id: id, Warning: warnings.join('; ') });
  });
  api.post<Ref>('/networks/:ref/connect', async (request, reply) => {
    parse(Nothing, request.query);
    const { Container, EndpointConfig } = parse(DockerConnect, request.body);
    const { name } = await find(request.params.ref);
    const options = toAttachmentOptions(EndpointConfig ?? {});
    await inDockersWords({ network: name, container: Container }, () =>
      requests.send({ type: 'connect', id: idOf(Container), network: name, options }, callOf(request)),
    );
    return reply.code(200).send();
  });
  api.post<Ref>('/networks/:ref/disconnect', async (request, reply) => {
    parse(Nothing, request.query);
    const { Container, Force } = parse(DockerDisconnect, request.body);
    const { name } = await find(request.params.ref);
    const force = Force === true ? { force: true } : {};
    await inDockersWords({ network: name, container: Container }, () =>
      requests.send({ type: 'disconnect', id: idOf(Container), network: name, ...force }, callOf(request)),
    );
    return reply.code(200).send();
  });
  api.delete<Ref>('/networks/:ref', async (request, reply) => {
    parse(Nothing, request.query);
    const { ref } = request.params;
    const { name } = await find(ref);
    if (name === DEFAULT_NETWORK) {
      throw new FaultError('NOT_ALLOWED', `${ref} is a pre-defined network and cannot be removed`);
    }
    await inDockersWords({ network: name }, () => requests.removeNetwork(name, request));
    return reply.code(204).send();
  });
  api.post('/networks/prune', async (request) => {
    const { filters } = parse(Listed, request.query);
    const chosen = choosesPrunable(filtersOf(filters, PRUNE_FILTERS), Date.now());
    const NetworksDeleted: string[] = [];
    for (const definition of networks.all()) {
      const { name, engine } = definition;
      if (name === DEFAULT_NETWORK || engine !== undefined || isUsed(name) || !chosen(definition)) continue;
      if (await removes(() => requests.removeNetwork(name, request))) NetworksDeleted.push(name);
    }
    return { NetworksDeleted };
  });
}

/** Returns false if somebody has begun to use the network, or has removed it, in the meantime. */
async function removes(remove: () => Promise<void>): Promise<boolean> {
  try {
    await remove();
    return true;
  } catch (error) {
    const isOvertaken = error instanceof FaultError && ['NETWORK_IN_USE', 'NO_SUCH_NETWORK'].includes(error.fault.code);
    if (!isOvertaken) throw error;
    return false;
  }
}
