/**
 * The description of the routes for Docker's clients, as api-grammar.ts takes it: made from the schemas that check them.
 *
 * Limits: the stream of events is not in it, and answers are not described.
 */
import { z } from 'zod';
import { API_VERSION } from '../../service/fronts/docker/docker-about.ts';
import { DOCKER_OPTIONS } from '../../service/fronts/docker/docker-create.ts';
import { DockerConnect, DockerCreate, DockerDisconnect } from '../../state/fronts/docker.ts';
import type { Description, Words } from './api-grammar.ts';

const schemaOf = (schema: z.ZodType) => z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' });
const body = (schema: z.ZodType) => ({
  requestBody: { content: { 'application/json': { schema: schemaOf(schema) } } },
});
const takes = (...names: string[]) => ({
  parameters: names.map((name) => ({ name, in: name === 'network' || name === 'id' ? 'path' : 'query' })),
});

export const DOCKER = `/v${API_VERSION}/`;

export const dockerDescription = {
  paths: Object.fromEntries(
    Object.entries({
      networks: { get: takes('filters') },
      'networks/{network}': { get: takes('network', 'scope', 'verbose'), delete: takes('network') },
      'networks/create': { post: body(DockerCreate) },
      'networks/{network}/connect': { post: { ...takes('network'), ...body(DockerConnect) } },
      'networks/{network}/disconnect': { post: { ...takes('network'), ...body(DockerDisconnect) } },
      'networks/prune': { post: takes('filters') },
      'containers/json': { get: takes('all', 'limit', 'filters') },
      'containers/{id}/json': { get: takes('id') },
    }).map(([path, operations]) => [`${DOCKER}${path}`, operations]),
  ),
  components: { schemas: {} },
} as unknown as Description;

/** Values of Docker's fields, beside those of cleat's. `words`: those of cleat's. */
export function dockerWords(words: Words): Words {
  const { network = [], id = [], subnet = [], gateway = [], static_ips: addresses = [], static_mac: mac = [] } = words;
  return {
    ...words,
    Name: network,
    Container: id,
    Driver: ['bridge', 'bridge', 'default', 'null', 'macvlan', 'overlay'],
    Scope: ['local', 'swarm'],
    Subnet: subnet,
    IPRange: ['10.71.0.128/25', '10.72.0.0/30', '10.0.0.0/8', 'fd00:1::/72', '0.0.0.0/0'],
    Gateway: gateway,
    IPv4Address: addresses,
    IPv6Address: addresses,
    MacAddress: mac,
    Options: [...Object.keys(DOCKER_OPTIONS), 'mtu', 'isolate'],
    DriverOpts: ['com.docker.network.endpoint.ifname'],
    filters: [
      '{"name":{"web":true}}',
      '{"dangling":["true"]}',
      '{"type":["custom"],"label":["a"]}',
      '{"until":["1h"]}',
      '{"__proto__":{"x":true}}',
      '{"name":["(a*)*"]}',
      '{',
    ],
    scope: ['local', 'swarm'],
    verbose: ['true'],
    all: ['1', 'true', '2'],
    limit: ['0', '1', '-1'],
  };
}
