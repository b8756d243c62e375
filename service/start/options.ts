/**
 * The settings that a daemon is started with. `cleat daemon` builds them from its command line (main.ts).
 *
 * Guarantees: a type, nothing that runs.
 */
import type { ExternalPlaces } from '../../effects/external/terms.ts';
import type { DriftPolicies } from '../../state/drift.ts';
import type { ForwarderLimits } from '../../state/forwarder.ts';
import type { Limits } from '../../state/limits.ts';
import type { SubnetPool } from '../../state/network.ts';
import type { UplinkSettings } from '../../state/uplink.ts';
import type { EtcdOptions } from '../overlay/overlays.ts';
import type { UplinkPrograms } from '../events/uplink-request.ts';
import type { Log } from '../report/log.ts';

export interface RootlessOptions {
  /** Path of the namespace that is its own outside. */
  outside: string;
  /** The program that leads out of it. */
  uplink: UplinkSettings;
  /** The directory of what CNI plugins and netavark write, in place of the machine's own (effects/external/sandbox.ts). */
  sandbox: string;
}

export interface DaemonOptions {
  runDir: string;
  stateDir: string;
  netnsDir: string;
  socket: string;
  /** The descriptor of that socket, if it was passed to us: then it is not ours to make, nor to remove. */
  socketFd: number | null;
  /** The socket on which Docker's clients find networks (docs/docker.md); null for none. */
  dockerSocket: string | null;
  /** After how many seconds of having nothing to do the daemon ends by itself; null: never. */
  exitWhenIdle: number | null;
  /** The API of the outer publisher (gvproxy), which publishes ports on the host of this virtual machine; null for none. */
  publisher: string | null;
  /** The policy for each kind of drift. */
  drift: DriftPolicies;
  /** Also forward between other interfaces if the host did not do so before its first network. */
  forwardOthers: boolean;
  /** For each program of user-mode networking: its path, and the options that come before a container's own. */
  uplinks: UplinkPrograms;
  /** Set for a daemon of an ordinary user (docs/decisions/0061); null for one with the rights of root. */
  rootless: RootlessOptions | null;
  /** Programs of others that make networks: where CNI plugins and netavark are, and what one execution may take. */
  externals: Omit<ExternalPlaces, 'config'> & { patienceMs: number };
  /** The etcd that overlay networks live on; null: there are no overlay networks. */
  etcd: EtcdOptions | null;
  limits: Limits;
  /** How many namespaces are made before a container asks for one; 0: none. */
  preparedNamespaces: number;
  /** Limits of each container's use of the forwarder. */
  forwarderLimits: Partial<ForwarderLimits>;
  /** The pools from which automatic subnets are taken; none: the default pools. */
  subnetPools: readonly SubnetPool[];
  /** The base URL of the OTLP endpoint that traces go to; null if the standard variables say so, or nobody does. */
  otlpEndpoint: string | null;
  log: Log;
}
