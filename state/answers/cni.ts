/**
 * Says what a CNI plugin answers: the result of ADD, and errors (SPEC.md, "ADD Success", "Error").
 *
 * Guarantees: fields as in the version that the configuration names: `version` of an address up to 0.4.0, `mtu` since 1.1.0. What
 * earlier plugins of a chain have answered is in it, with fields of theirs that are not known here.
 */
import { z } from 'zod';
import { CniVersion } from '../fronts/cni.ts';

export const CniResult = z.object({
  cniVersion: CniVersion,
  interfaces: z.array(
    z.looseObject({
      name: z.string(),
      mac: z.string().optional(),
      mtu: z.int().optional().describe('Since 1.1.0'),
      sandbox: z.string().optional().describe('The path of the namespace; absent for links of the host'),
    }),
  ),
  ips: z.array(
    z.looseObject({
      version: z.enum(['4', '6']).optional().describe('Up to 0.4.0'),
      address: z.string(),
      gateway: z.string().optional(),
      interface: z.int().nullish().describe('An index into `interfaces`'),
    }),
  ),
  routes: z.array(z.looseObject({ dst: z.string(), gw: z.string().optional() })),
  dns: z.looseObject({
    nameservers: z.array(z.string()).nullish(),
    domain: z.string().nullish(),
    search: z.array(z.string()).nullish(),
    options: z.array(z.string()).nullish(),
  }),
});
export type CniResult = z.infer<typeof CniResult>;

export const CniError = z.object({
  cniVersion: z.string(),
  code: z.int().describe('Up to 99 those of the specification; 100: refused, 999: failed'),
  msg: z.string(),
  details: z.string().optional(),
});
export type CniError = z.infer<typeof CniError>;
