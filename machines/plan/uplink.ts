/**
 * How an uplink is started, whichever program it is.
 *
 * Guarantees: pure. Everything the keeper needs to be told is in a launch; what the executable cannot do is a fault, or
 * listed as missing.
 */
import type { ContainerContext, ProcessIdentity, ResolvedPort } from '../../state/container.ts';
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
  /**
   * start: make it, and leave nothing when that fails. stop: take it away. repair: make what is missing of it, and leave
   * what stands.
   */
  verb: 'start' | 'stop' | 'repair';
  owner: string;
  /** Below <run-dir>/uplinks: everything of this uplink that is no process is in there. */
  directory: string;
  /** Path of the outside namespace, null for the daemon's own: the program works from there. */
  outside: string | null;
  /** Path of the container's namespace. */
  netns: string;
  /** It ends with this process, too. */
  boundTo: ProcessIdentity | null;
  settings: UplinkSettings;
  /** slirp4netns: it is to carry published ports. */
  apiSocket: boolean;
  /** pasta: the ports that it publishes, from its start to its end. */
  ports: ResolvedPort[];
}

export interface Launch {
  args: string[];
  /** Hardening that this executable does not know. */
  missing: string[];
  /** Numbers in the program; null for none. */
  exitFd: number | null;
  readyFd: number | null;
  /**
   * Number in the program of a network namespace of its own. slirp4netns makes its link there, from where it is taken, and
   * so needs no capability (native/keeper/child.h). Null: pasta enters the container's namespace itself.
   */
  netnsFd: number | null;
  /** Its container may reach the host's loopback: it runs as the user that the firewall lets there. */
  hostLoopback: boolean;
}

/** The process to be: everything its keeper is told. */
export interface UplinkProcess extends Launch {
  program: UplinkProgram;
  file: string;
  directory: string;
  outside: string | null;
  netns: string;
  boundTo: ProcessIdentity | null;
}

/** What `startUplink` is given. */
export interface UplinkStart extends UplinkProcess {
  /** One that runs already is left as it is when all this is there. */
  verify: UplinkVerify;
}

/** What `verifyUplink` is given: what has to be there when the program says that it is ready. */
export interface UplinkVerify {
  program: UplinkProgram;
  directory: string;
  outside: string | null;
  netns: string;
  /** Null: the only tap device in there. */
  link: string | null;
  /** Has to be on it; null: any. */
  address: { address: string; prefix: number } | null;
  /** slirp4netns: the link is to be taken from this namespace of the program's (Launch), and the addresses put on it. */
  brings: { netnsFd: number; addresses: { address: string; prefix: number; gateway: string }[] } | null;
  /** The program itself listens there, in the outside. */
  ports: ResolvedPort[];
}

/** From the moment that one is to be started until nothing of the container is left: then the table is held for it. */
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
