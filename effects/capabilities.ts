/**
 * The capabilities (capabilities(7)) that the daemon works with: which of them it lacks, and what cannot be done then.
 *
 * Guarantees: pure but for a look at /proc/self/status. What is lacking is known before it is missed.
 * Limits: read once, since a process of ours never gains any. In a user namespace a capability may be there and count for
 * nothing over what belongs to another one; what the kernel then refuses is told as it comes.
 */
import { readFileSync } from 'node:fs';
import type { Fault } from '../state/faults.ts';

/** Their numbers (linux/capability.h): all that the daemon uses. */
const NUMBERS = {
  CHOWN: 0,
  DAC_READ_SEARCH: 2,
  KILL: 5,
  SETGID: 6,
  SETUID: 7,
  SETPCAP: 8,
  NET_BIND_SERVICE: 10,
  NET_BROADCAST: 11,
  NET_ADMIN: 12,
  SYS_PTRACE: 19,
  SYS_ADMIN: 21,
} as const;

export type Capability = keyof typeof NUMBERS;
export const CAPABILITIES = Object.keys(NUMBERS) as Capability[];

/** Without these there is nothing that the daemon could do. */
export const ESSENTIAL: readonly Capability[] = ['NET_ADMIN', 'SYS_ADMIN'];

/** To make a program another user's, with fewer rights; to give it files of its own; to end it again. */
const ANOTHER_USER: readonly Capability[] = ['SETUID', 'SETGID', 'SETPCAP'];
const KEPT: readonly Capability[] = [...ANOTHER_USER, 'CHOWN', 'KILL'];

/** Each helper takes these beside the essential ones: the daemon hands them on, or uses them on what belongs to the helper. */
const HELPERS = {
  'aardvark-dns': [...KEPT, 'NET_BIND_SERVICE', 'DAC_READ_SEARCH'],
  forwarder: ANOTHER_USER, // it ends by itself
  slirp4netns: [...KEPT, 'DAC_READ_SEARCH', 'SYS_PTRACE'],
  pasta: [...KEPT, 'NET_BIND_SERVICE'],
} as const satisfies Record<string, readonly Capability[]>;

export type Helper = keyof typeof HELPERS;
export const HELPER_NAMES = Object.keys(HELPERS) as Helper[];

/** As the daemon needs them for this helper. */
export const capabilitiesFor = (helper: Helper): readonly Capability[] => HELPERS[helper];

let effective: bigint | null = null;

function has(number: number): boolean {
  effective ??= BigInt(`0x${/^CapEff:\s*([\da-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'}`);
  return ((effective >> BigInt(number)) & 1n) === 1n;
}

export const lacking = (): Capability[] => CAPABILITIES.filter((name) => !has(NUMBERS[name]));

/** CAP_MKNOD: of use on few machines (tun.ts), so that nobody lacks it. */
export const mayMakeDevices = (): boolean => has(27);

/** When the kernel does not permit something to a daemon that lacks a capability, that is most likely the reason. */
export function whyDenied(fault: Fault): Fault {
  if (fault.code !== 'KERNEL' || !['EPERM', 'EACCES'].includes(fault.errno ?? '') || lacking().length === 0)
    return fault;
  return {
    ...fault,
    code: 'CAPABILITY_MISSING',
    message: `${fault.message} (the daemon lacks ${listed(lacking())})`,
  };
}

/** "CAP_A, CAP_B" */
export const listed = (names: readonly Capability[]): string => names.map((name) => `CAP_${name}`).join(', ');
