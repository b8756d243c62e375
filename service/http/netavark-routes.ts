/**
 * Adds the routes of `cleat-netavark`: netavark's verbs, with the JSON of netavark as it is.
 *
 *   POST   /v1/netavark/setup?netns=PATH       the container is on the networks of the request; answers what it got there
 *   POST   /v1/netavark/teardown?netns=PATH    it is on none of them any more
 *   POST   /v1/netavark/create                 completes and checks a definition; nothing is made
 *   POST   /v1/netavark/update?network=NAME    the network's servers for names of others
 *
 * Guarantees: each request names a namespace or a network of an engine, so each is for root and the daemon's own user. A
 * teardown of what is gone is done. An update of a network that no container is on is done: the next setup brings the definition.
 * Limits: an error is that of the API; the executable turns it into netavark's form.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { LifecycleEvent } from '../../state/event.ts';
import { FaultError } from '../../state/faults.ts';
import { NetavarkCreate, NetavarkSetup, NetavarkTeardown, NetavarkUpdate } from '../../state/fronts/netavark.ts';
import { NetworkUpdate } from '../../state/network.ts';
import type { Attachments } from '../fronts/attachments.ts';
import { createNetwork } from '../fronts/netavark-create.ts';
import { isNetavarks, namesOf, toAnswer, toAttachment } from '../fronts/netavark.ts';
import type { Networks } from '../networks/networks.ts';
import type { ContainerSnapshot } from '../records/snapshot.ts';
import { authoriseEngine, peerOf } from '../requests/authorise.ts';
import { parse } from '../requests/parse.ts';
import type { Call } from '../requests/requests.ts';

interface NetavarkRouteParts {
  attachments: Attachments;
  networks: Pick<Networks, 'all' | 'surroundings' | 'update'>;
  send: (event: LifecycleEvent, call: Call) => Promise<ContainerSnapshot>;
}

export function addNetavarkRoutes(api: FastifyInstance, { attachments, networks, send }: NetavarkRouteParts): void {
  const parameter = (request: FastifyRequest, name: string): string => {
    authoriseEngine(peerOf(request.raw.socket));
    const { [name]: value } = request.query as Record<string, unknown>;
    if (typeof value !== 'string') throw new FaultError('BAD_REQUEST', `the parameter ${name} is missing`);
    return value;
  };
  const asCaller = ({ raw, headers }: FastifyRequest) => {
    const call = { peer: peerOf(raw.socket), wait: true, headers };
    return (event: LifecycleEvent) => send(event, call);
  };

  api.post('/v1/netavark/setup', async (request) => {
    const netns = parameter(request, 'netns');
    const setup = parse(NetavarkSetup, request.body);
    const attachment = toAttachment(netns, setup);
    if (Object.keys(attachment.networks).length === 0) return {};
    return toAnswer(setup, await attachments.attach(attachment, asCaller(request)));
  });
  api.post('/v1/netavark/teardown', async (request, reply) => {
    parameter(request, 'netns'); // it may be gone, and another container may have it by now
    const { container_id: id, networks: names } = parse(NetavarkTeardown, request.body);
    await attachments.detach(id, namesOf(names), asCaller(request));
    return reply.code(204).send();
  });
  api.post('/v1/netavark/create', async (request) => {
    authoriseEngine(peerOf(request.raw.socket));
    return createNetwork(parse(NetavarkCreate, request.body), await networks.surroundings());
  });
  api.post('/v1/netavark/update', async (request, reply) => {
    const name = parameter(request, 'network');
    const { network_dns_servers } = parse(NetavarkUpdate, request.body);
    const update = parse(NetworkUpdate, { network_dns_servers });
    const isKnown = () => networks.all().some((one) => one.name === name && isNetavarks(one));
    if (isKnown()) {
      await networks.update(name, update).catch((error: unknown) => {
        if (isKnown()) throw error; // else its last container has just gone
      });
    }
    return reply.code(204).send();
  });
}
