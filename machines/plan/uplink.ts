/**
 * How an uplink is started, whichever program it is.
 *
 * Guarantees: pure. Everything the keeper needs to be told is in a launch; what the executable cannot do is a fault, or
 * listed as missing.
 */
import type { ProcessIdentity, ResolvedPort } from '../../state/container.ts';
import type { Fault } from '../../state/faults.ts';
import type { UplinkFeatures, UplinkProgram, UplinkSettings } from '../../state/uplink.ts';
import { PASTA_READY_FD, pastaArguments, pastaLink } from './pasta.ts';
import {
  SLIRP_EXIT_FD,
  SLIRP_IPV6,
  SLIRP_LINK,
  SLIRP_READY_FD,
  slirpArguments,
  uplinkAddresses,
} from './slirp4netns.ts';

/** Name of the API socket in the uplink's directory. */
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
  ownMounts: boolean;
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
  /** To be put on it: the program does not do it itself. */
  ipv6: { address: string; prefix: number; gateway: string } | null;
  /** The program itself listens there, in the outside. */
  ports: ResolvedPort[];
}

export function planLaunch(input: UplinkInput, features: UplinkFeatures): Launch | { fault: Fault } {
  const { settings, netns, ports, apiSocket } = input;
  if (settings.program === 'pasta') {
    const planned = pastaArguments(settings, features, netns, ports);
    if ('fault' in planned) return planned;
    return { args: planned.args, missing: [], exitFd: null, readyFd: PASTA_READY_FD, ownMounts: false };
  }
  const planned = slirpArguments(settings, features, { netns }, apiSocket ? API_SOCKET : null);
  if ('fault' in planned) return planned;
  const { args, missing, sandbox } = planned;
  return { args, missing, exitFd: SLIRP_EXIT_FD, readyFd: SLIRP_READY_FD, ownMounts: sandbox };
}

export function planVerify({ settings, directory, outside, netns, ports }: UplinkInput): UplinkVerify {
  const { program } = settings;
  const common = { program, directory, outside, netns };
  if (program === 'pasta') return { ...common, link: pastaLink(settings), address: null, ipv6: null, ports };
  const addresses = uplinkAddresses(settings.cidr);
  const { guest, gateway, prefix } = SLIRP_IPV6;
  return {
    ...common,
    link: SLIRP_LINK,
    address: 'fault' in addresses ? null : { address: addresses.guest, prefix: addresses.prefix },
    ipv6: settings.ipv6 ? { address: guest, prefix, gateway } : null,
    ports: [],
  };
}
