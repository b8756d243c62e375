/**
 * The effects of machines/uplink.ts, with its names.
 *
 * Guarantees: a start keeps a program that runs as it should, and replaces one that does not. Nothing is started in a namespace
 * of the host (NOT_A_NAMESPACE; the own outside of a rootless daemon is none), nor before the outside has the table that
 * restricts uplinks. When a start returns, the namespace is as before except for the link. (pasta copies the addresses of the
 * outside to its link while it starts, so IPv6 must be on during that time.)
 * Limits: a crash in between leaves IPv6 on for links that are made later in this namespace.
 */
import { resolve } from 'node:path';
import type { UplinkStart, UplinkVerify } from '../../plan/uplinks/uplink.ts';
import type { Child } from '../../native/index.ts';
import { removeIfEmpty } from '../shared-directory.ts';
import type { Kernel } from '../kernel.ts';
import { refuseHostNamespace } from '../namespaces/netns.ts';
import { requireIpv6 } from '../namespaces/switches.ts';
import type { Scopes } from '../processes/scopes.ts';
import { findUplink } from './uplink-keeper.ts';
import { failedIn, verifyUplink } from './uplink-link.ts';
import { probeUplink } from './uplink-probe.ts';
import { ensureUplink, removeUplink } from './uplink-process.ts';

/** Turns IPv6 on, and makes addresses usable at once. */
const OPEN = { 'net/ipv6/conf/default/disable_ipv6': '0', 'net/ipv6/conf/default/accept_dad': '0' };

type UplinkKernel = Pick<Kernel, 'outside' | 'listening' | 'own'>;

/** `home`: the directory of all uplinks. `guarded`: resolves when the outside's table restricts uplinks. */
export const uplinkEffects = (
  kernel: UplinkKernel,
  home: string,
  guarded: (outside: string | null) => Promise<void>,
  scopes: Pick<Scopes, 'own'>,
) => {
  const at = <Input extends { directory: string }>(input: Input): Input => ({
    ...input,
    directory: resolve(home, input.directory),
  });
  return {
    probeUplink,
    startUplink: async (input: UplinkStart): Promise<void> => {
      const keeper = await startUplink(kernel, guarded)({ ...at(input), verify: at(input.verify) });
      scopes.own('uplink', keeper);
    },
    verifyUplink: (input: UplinkVerify) => verifyUplink(kernel)(at(input)),
    stopUplink: async (input: { directory: string }): Promise<void> => {
      await removeUplink(at(input).directory);
      removeIfEmpty(home);
    },
  };
};

const startUplink = (kernel: UplinkKernel, guarded: (outside: string | null) => Promise<void>) => {
  const verify = verifyUplink(kernel);
  return async (input: UplinkStart): Promise<Child> => {
    const { outside, netns } = input;
    // The path may lead elsewhere by now than when the container was created.
    const found = await kernel.outside(outside).kernel.netnsIdentify(netns).catch(failedIn(netns));
    if (netns !== kernel.own) refuseHostNamespace(kernel, outside, found, netns);
    const addresses = input.verify.brings?.addresses.map(({ address }) => address) ?? [];
    await requireIpv6(kernel.outside(outside).kernel, input.program, addresses);
    await guarded(outside);
    // A running program that has lost its link, for example, does not make another one.
    const stands = findUplink(input.directory)?.state === 'ready';
    if (stands && !(await verify(input.verify).then(Boolean, () => false))) await removeUplink(input.directory);
    return input.program === 'pasta' ? withIpv6(kernel, input, () => ensureUplink(input)) : ensureUplink(input);
  };
};

async function withIpv6<T>(
  kernel: Pick<Kernel, 'outside'>,
  { outside, netns }: UplinkStart,
  work: () => Promise<T>,
): Promise<T> {
  const { kernel: native } = kernel.outside(outside);
  const keys = Object.keys(OPEN);
  const values = await native.sysctlRead(keys, netns);
  const before = keys.flatMap((key, i): [string, string][] =>
    typeof values[i] === 'string' ? [[key, values[i]]] : [],
  );
  if (before.length === 0) return work(); // a kernel without IPv6
  await native.sysctlWrite(OPEN, netns);
  try {
    return await work();
  } finally {
    await native.sysctlWrite(Object.fromEntries(before), netns);
  }
}
