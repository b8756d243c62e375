/**
 * Adds the routes of `cleat-cni`: the commands of a CNI plugin.
 *
 *   POST   /v1/cni/add       the result, as the plugin prints it
 *   POST   /v1/cni/del, /v1/cni/check, /v1/cni/gc, /v1/cni/status    204
 *
 * The body is {"env": the CNI_ variables, "config": the network configuration}, both as the runtime gave them.
 *
 * Guarantees: for root and the daemon's own user, because a runtime names namespaces by path. An error has the status of its
 * fault, and is the error of the specification, which the plugin prints as it is.
 * Limits: what is wrong before a route is found (the size of the body, HTTP itself) is told in the form of the API.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { LifecycleEvent } from '../../state/event.ts';
import { FAULTS } from '../../state/faults.ts';
import { cniError } from '../fronts/cni/cni-error.ts';
import { Cni, type CniParts } from '../fronts/cni/cni.ts';
import { readRequest, versionOf, type Raw } from '../fronts/cni/cni-request.ts';
import type { Send } from '../fronts/attachments.ts';
import type { ContainerSnapshot } from '../records/snapshot.ts';
import { authoriseEngine, peerOf } from '../requests/authorise.ts';
import { faultOfRequest } from '../requests/refusals.ts';
import type { Call } from '../requests/requests.ts';

interface CniRouteParts extends CniParts {
  send: (event: LifecycleEvent, call: Call) => Promise<ContainerSnapshot>;
}

export function addCniRoutes(api: FastifyInstance, parts: CniRouteParts): void {
  const cni = new Cni(parts);
  const command = (word: string, work: (raw: Raw, send: Send) => Promise<object | void>) => {
    api.post(`/v1/cni/${word.toLowerCase()}`, (request, reply) => answer(request, reply, word, work));
  };

  async function answer(
    request: FastifyRequest,
    reply: FastifyReply,
    word: string,
    work: (raw: Raw, send: Send) => Promise<object | void>,
  ): Promise<FastifyReply> {
    const peer = peerOf(request.raw.socket);
    const call = { peer, wait: true, headers: request.headers };
    try {
      authoriseEngine(peer);
      const done = await work(readRequest(request.body), (event) => parts.send(event, call));
      return await (done === undefined ? reply.code(204).send() : reply.send(done));
    } catch (error) {
      const fault = faultOfRequest(error);
      return reply.code(FAULTS[fault.code][0]).send(cniError(fault, word, versionOf(request.body)));
    }
  }

  command('ADD', (raw, send) => cni.add(raw, send));
  command('DEL', (raw, send) => cni.del(raw, send));
  command('CHECK', (raw) => cni.check(raw));
  command('GC', (raw, send) => cni.gc(raw, send));
  command('STATUS', (raw) => cni.status(raw));
}
