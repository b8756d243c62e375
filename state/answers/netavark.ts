/**
 * Says what `netavark setup` is answered, what each network has given, by its name (types.StatusBlock of libnetwork), and what
 * `netavark create` is: a network (types.Network).
 *
 * Guarantees: each member of the first is there, as in netavark's own answer; a subnet without a gateway has null.
 */
import { z } from 'zod';
import { NetworkName } from '../names.ts';
import { NetworkDefinition } from '../network.ts';

const Interface = z.object({
  mac_address: z.string(),
  subnets: z.array(z.object({ gateway: z.string().nullable(), ipnet: z.string() })),
});

export const NetavarkAnswer = z.record(
  NetworkName,
  z.object({
    dns_search_domains: z.array(z.string()),
    dns_server_ips: z.array(z.string()),
    interfaces: z.record(z.string(), Interface),
  }),
);
export type NetavarkAnswer = z.infer<typeof NetavarkAnswer>;

export const NetavarkNetwork = z
  .object(NetworkDefinition.shape)
  .omit({ engine: true, network_dns_servers: true })
  .extend({
    network_dns_servers: NetworkDefinition.shape.network_dns_servers.unwrap().optional(),
  });
export type NetavarkNetwork = z.infer<typeof NetavarkNetwork>;
