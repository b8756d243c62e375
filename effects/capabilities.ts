/**
 * The capabilities (capabilities(7)) that the daemon needs: which of them are missing, and what fails without them.
 *
 * Guarantees: pure, except that it reads /proc/self/status. A missing capability is known before an operation fails for lack
 * of it.
 * Limits: read once, since our process never gains any. In a user namespace a capability has no effect on objects of another
 * user namespace; such a refusal is reported as the kernel returns it.
 */
import { readFileSync } from 'node:fs';
import type { Fault } from '../state/faults.ts';

/** The numbers (linux/capability.h) of all capabilities that the daemon uses. */
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

/** The daemon can do nothing without these. */
export const ESSENTIAL: readonly Capability[] = ['NET_ADMIN', 'SYS_ADMIN'];

/** Needed to run a program as another user with fewer rights. KEPT also gives it files of its own and ends it. */
const ANOTHER_USER: readonly Capability[] = ['SETUID', 'SETGID', 'SETPCAP'];
const KEPT: readonly Capability[] = [...ANOTHER_USER, 'CHOWN', 'KILL'];

/**
 * The capabilities that each helper needs beside the essential ones. The daemon passes them on, or uses them on the helper's
 * objects.
 */
const HELPERS = {
  'aardvark-dns': [...KEPT, 'NET_BIND_SERVICE', 'DAC_READ_SEARCH'],
  forwarder: ANOTHER_USER, // it ends by itself
  slirp4netns: [...KEPT, 'DAC_READ_SEARCH', 'SYS_PTRACE'],
  pasta: [...KEPT, 'NET_BIND_SERVICE'],
  'wireguard-go': KEPT,
} as const satisfies Record<string, readonly Capability[]>;

export type Helper = keyof typeof HELPERS;
export const HELPER_NAMES = Object.keys(HELPERS) as Helper[];

/** Returns the capabilities that the daemon needs for this helper. */
export const capabilitiesFor = (helper: Helper): readonly Capability[] => HELPERS[helper];

let effective: bigint | null = null;

function has(number: number): boolean {
  effective ??= BigInt(`0x${/^CapEff:\s*([\da-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'}`);
  return ((effective >> BigInt(number)) & 1n) === 1n;
}

export const lacking = (): Capability[] => CAPABILITIES.filter((name) => !has(NUMBERS[name]));

/**
 * CAP_MKNOD. It is no member of the list, since only a few machines need it (tun.ts). In a user namespace it is of no use
 * (mknod(2)).
 */
export const mayMakeDevices = (): boolean => has(27) && isInitialUserNamespace();

/** Every id is its own there, and all are mapped (user_namespaces(7)). */
export const isInitialUserNamespace = (): boolean =>
  readFileSync('/proc/self/uid_map', 'utf8').trim().split(/\s+/).join(' ') === '0 0 4294967295';

/** Adds the missing capabilities to a fault of permission, because they are the most likely reason. */
export function whyDenied(fault: Fault): Fault {
  if (fault.code !== 'KERNEL' || !['EPERM', 'EACCES'].includes(fault.errno ?? '') || lacking().length === 0)
    return fault;
  return {
    ...fault,
    code: 'CAPABILITY_MISSING',
    message: `${fault.message} (the daemon lacks ${listed(lacking())})`,
  };
}

/** Returns "CAP_A, CAP_B". */
export const listed = (names: readonly Capability[]): string => names.map((name) => `CAP_${name}`).join(', ');
