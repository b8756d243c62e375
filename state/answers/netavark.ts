/**
 * The answer to `netavark setup`: what each network has given, by its name (types.StatusBlock of libnetwork).
 *
 * Guarantees: each member is there, as in netavark's own answer; a subnet without a gateway has null.
 */
import { z } from 'zod';
import { NetworkName } from '../names.ts';

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
