/**
 * Plans the start of an uplink for either program.
 *
 * Guarantees: pure. A launch has everything that the keeper needs. An option that the executable does not support is a fault,
 * or is listed as missing.
 */
import type { ContainerContext, ExitDescriptor, ProcessIdentity, ResolvedPort } from '../../state/container.ts';
import type { Fault } from '../../state/faults.ts';
import type { UplinkFeatures, UplinkProgram, UplinkSettings } from '../../state/uplink.ts';
import { PASTA_READY_FD, pastaArguments, pastaLink, reachesLoopback } from './pasta.ts';
import {
  SLIRP_EXIT_FD,
  SLIRP_IPV6,
  SLIRP_LINK,
  SLIRP_NETNS_FD,
  SLIRP_READY_FD,
  slirpArguments,
  uplinkAddresses,
} from './slirp4netns.ts';

/** Name of the API socket in the program's directory. */
const API_SOCKET = 'api';

export interface UplinkInput {
  /** start: make it, and leave nothing behind on failure. stop: remove it. repair: restore missing parts, and keep the rest. */
  verb: 'start' | 'stop' | 'repair';
  owner: string;
  /** Below <run-dir>/uplinks; holds all files of this uplink. */
  directory: string;
  /** Path of the outside namespace, which the program sends from; null for the daemon's own. */
  outside: string | null;
  /** Path of the container's namespace. */
  netns: string;
  /** The uplink also ends with this process. */
  boundTo: ProcessIdentity | null;
  /** And when the other end of this is closed. */
  exit?: ExitDescriptor;
  settings: UplinkSettings;
  /** slirp4netns: true if it carries published ports. */
  apiSocket: boolean;
  /** pasta: the ports that it publishes as long as it runs. */
  ports: ResolvedPort[];
}

export interface Launch {
  args: string[];
  /** Hardening options that this executable does not support. */
  missing: string[];
  /** Descriptor numbers in the program; null for none. */
  exitFd: number | null;
  readyFd: number | null;
  /**
   * Descriptor number, in the program, of a network namespace of its own. slirp4netns makes its link there, and we move it, so
   * the program needs no capability (native/keeper/child.h). Null: pasta enters the container's namespace itself.
   */
  netnsFd: number | null;
  /** True if the container may reach the host's loopback; the program then runs as the user that the firewall allows that. */
  hostLoopback: boolean;
}

/** The process to start: everything that its keeper needs. */
export interface UplinkProcess extends Launch {
  program: UplinkProgram;
  file: string;
  directory: string;
  outside: string | null;
  netns: string;
  boundTo: ProcessIdentity | null;
  exit?: ExitDescriptor;
}

/** The input of `startUplink`. */
export interface UplinkStart extends UplinkProcess {
  /** A running program is left alone if all of this exists. */
  verify: UplinkVerify;
}

/** The input of `verifyUplink`: the objects that must exist when the program reports that it is ready. */
export interface UplinkVerify {
  program: UplinkProgram;
  directory: string;
  outside: string | null;
  netns: string;
  /** Null: the only tap device in the namespace. */
  link: string | null;
  /** The address that the link must have; null: any. */
  address: { address: string; prefix: number } | null;
  /** slirp4netns: the program's namespace from which the link is moved (Launch), and the addresses that it gets. */
  brings: { netnsFd: number; addresses: { address: string; prefix: number; gateway: string }[] } | null;
  /** The ports on which the program itself must listen, in the outside. */
  ports: ResolvedPort[];
}

/**
 * Returns true from the planned start of an uplink until nothing of the container is left; the table is held for it that long.
 */
export const mayRunUplink = ({
  uplink,
  configured,
  change,
}: Pick<ContainerContext, 'uplink' | 'configured' | 'change'>): boolean =>
  uplink !== undefined && (configured || change !== null);

export function planLaunch(input: UplinkInput, features: UplinkFeatures): Launch | { fault: Fault } {
  const { settings, netns, ports, apiSocket } = input;
  if (settings.program === 'pasta') {
    const planned = pastaArguments(settings, features, netns, ports);
    if ('fault' in planned) return planned;
    const hostLoopback = reachesLoopback(settings);
    return { args: planned.args, missing: [], exitFd: null, readyFd: PASTA_READY_FD, netnsFd: null, hostLoopback };
  }
  const planned = slirpArguments(
    settings,
    features,
    { netns: `/proc/self/fd/${SLIRP_NETNS_FD}` },
    apiSocket ? API_SOCKET : null,
  );
  if ('fault' in planned) return planned;
  const { args, missing } = planned;
  const { hostLoopback } = settings;
  return { args, missing, exitFd: SLIRP_EXIT_FD, readyFd: SLIRP_READY_FD, netnsFd: SLIRP_NETNS_FD, hostLoopback };
}

export function planVerify({ settings, directory, outside, netns, ports }: UplinkInput): UplinkVerify {
  const { program } = settings;
  const common = { program, directory, outside, netns };
  if (program === 'pasta') return { ...common, link: pastaLink(settings), address: null, brings: null, ports };
  const addresses = uplinkAddresses(settings.cidr);
  const { guest, gateway, prefix } = SLIRP_IPV6;
  const mine = 'fault' in addresses ? null : { address: addresses.guest, prefix: addresses.prefix };
  return {
    ...common,
    link: SLIRP_LINK,
    address: mine,
    brings: {
      netnsFd: SLIRP_NETNS_FD,
      addresses: [
        ...(mine === null || 'fault' in addresses ? [] : [{ ...mine, gateway: addresses.gateway }]),
        ...(settings.ipv6 ? [{ address: guest, prefix, gateway }] : []),
      ],
    },
    ports: [],
  };
}
