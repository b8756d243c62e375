/**
 * Says what each effect answers when it succeeds, as far as a machine goes on by it.
 *
 * Guarantees: nothing is done. What a program can do is read from its help, as before its start.
 * Limits: what only the kernel or the program decides has a stand-in: the namespace's number, and the addresses that pasta copies
 * from the host. What a program of others would choose is unknown: its answer is empty.
 */
import { probeUplink } from '../../effects/uplinks/uplink-probe.ts';
import type { UplinkVerify } from '../../plan/uplinks/uplink.ts';
import type { UplinkLink } from '../../state/uplink.ts';

type Success = (input: never) => unknown;

/** pasta gives its link the addresses of the host: these stand for one of each family. */
const OF_THE_HOST = ['0.0.0.0', '::'].map((address) => ({ address, prefix: 0, gateway: null }));

const linkOf = ({ link, brings }: UplinkVerify): UplinkLink => ({
  name: link ?? 'eth0',
  mac: '',
  mtu: 0,
  addresses: brings?.addresses ?? OF_THE_HOST,
});

/** Holds the answers by effect. All other effects answer nothing. */
const SUCCESSES: Readonly<Record<string, Success>> = {
  ensureNamespace: () => ({ dev: 0, ino: 0 }),
  unexpose: () => null,
  probeUplink,
  verifyUplink: linkOf,
  addExternal: () => ({}),
  raiseNetwork: () => null,
  readSwitches: () => ({}),
  repairRuleset: () => ({ repaired: [], left: [] }),
  lookAtZones: () => null,
  writeZones: () => ({ changed: true }),
  askNames: () => ({ silent: [] }),
};

export const successOf = (effect: string, input: unknown): unknown => SUCCESSES[effect]?.(input as never);
