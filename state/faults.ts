/**
 * Every error cleat can answer with: one table, code -> HTTP status and what the reader can do.
 *
 * Guarantees: a code is stable and never reused; docs/errors.md lists exactly these (a test compares).
 * A fault is plain JSON, because it is kept in snapshots and journals and sent over the socket as it is.
 */
import { z } from 'zod';

export const FAULTS = {
  BAD_REQUEST: [400, 'Mend the request; where a field is wrong, `issues` says which and why.'],
  BODY_TOO_LARGE: [413, 'A request is at most 1 MiB; send several events as separate lines or requests.'],
  NOT_ALLOWED: [403, 'Namespace paths, pids and outsides are for root; ask for a new namespace instead.'],
  NO_SUCH_CONTAINER: [404, '`cleat ps` lists the containers.'],
  NO_SUCH_NETWORK: [404, '`cleat network ls` lists the networks.'],
  NO_SUCH_ROUTE: [404, 'GET /v1/openapi.json describes the API.'],
  CONTAINER_EXISTS: [409, 'Tear the container down first, or use another id.'],
  NETWORK_EXISTS: [409, 'Use another name, or remove the network first.'],
  NETWORK_IN_USE: [409, 'Tear down or disconnect the containers named first.'],
  ILLEGAL_EVENT: [409, 'Send one of the legal events, or wait: GET /v1/containers/ID?wait=STATE.'],
  SUPERSEDED: [409, 'A later event took over before this one was finished.'],
  ADDRESS_TAKEN: [409, 'Choose another address, or leave the choice to cleat.'],
  ADDRESS_OUTSIDE_SUBNET: [400, 'Choose an address inside one of the subnets of the network.'],
  MAC_TAKEN: [409, 'Choose another MAC address, or leave the choice to cleat.'],
  SUBNET_FULL: [409, 'Tear down containers of this network, or make a network with a larger subnet.'],
  SUBNET_OVERLAPS: [409, 'Choose a subnet that neither the host nor another network uses.'],
  NO_FREE_SUBNET: [409, 'All of the pools are in use: give a subnet explicitly.'],
  INTERFACE_TAKEN: [409, 'Choose another interface name, or leave the choice to cleat.'],
  PORT_TAKEN: [409, 'Choose another host port, or free this one at its owner.'],
  NO_FREE_PORT: [409, 'No host port between 49152 and 65535 is free for this protocol.'],
  PORTS_NEED_NETWORK: [400, 'Publish ports on a container with a bridge network that is not internal.'],
  MODE_NOT_SUPPORTED: [409, 'Only containers with a namespace of their own have networks and ports of their own.'],
  NOT_CONNECTED: [409, '`cleat inspect` shows the networks of the container.'],
  ALREADY_CONNECTED: [409, 'Disconnect the container from this network first to change its options.'],
  NOT_PUBLISHED: [409, '`cleat inspect` shows the published ports of the container.'],
  DNS_UNAVAILABLE: [409, 'Install aardvark-dns (Debian: apt install aardvark-dns), or use a network without DNS.'],
  DNS_FAILED: [500, 'The resolver did not answer as it should; `cleat doctor` says what is known of it.'],
  UPLINK_FAILED: [500, 'The message has what slirp4netns or pasta said; mend its options, or install it.'],
  FORWARDER_FAILED: [500, 'The forwarder of published ports did not answer as it should: end it, and publish again.'],
  PUBLISHER_FAILED: [502, 'The outer port publisher refused or did not answer; `cleat doctor` says where it is.'],
  NETWORK_UPDATE_FAILED: [409, 'Nothing was changed: the container named could not follow.'],
  NO_SUCH_PROCESS: [409, 'The process has ended, or its pid is wrong.'],
  NOT_A_NAMESPACE: [400, 'Give the path of a network namespace, such as one under /run/netns.'],
  NAME_TAKEN_IN_KERNEL: [409, 'Something else on this machine made it: remove or rename that, then try again.'],
  KERNEL: [500, 'The kernel refused: errno, system call and object say what.'],
  DEADLINE: [504, 'It took too long and was undone; `cleat inspect` shows what is left.'],
  STATE_UNWRITABLE: [507, 'Free space in or mend the run and state directories; nothing was changed.'],
  UNREADABLE_STATE: [500, 'The file was set aside as *.unreadable: look at it and remove it.'],
  STATE_IN_USE: [409, 'Another daemon runs on these directories: stop it, or use other --run-dir and --state-dir.'],
  STATE_UNSAFE: [500, 'Give it to the user of the daemon alone (chown, chmod go-w), or use another directory.'],
  UNFINISHED: [500, 'What is left is listed, and is tried again by itself; send teardown to try at once.'],
  INTERNAL: [500, 'A defect in cleat: please report it with the journal of the container.'],
} as const satisfies Record<string, readonly [status: number, hint: string]>;

export type FaultCode = keyof typeof FAULTS;

export const Fault = z.object({
  code: z.enum(Object.keys(FAULTS) as [FaultCode, ...FaultCode[]]),
  message: z.string(),
  /** The effect or step that failed. */
  step: z.string().optional(),
  errno: z.string().optional(),
  syscall: z.string().optional(),
  object: z.string().optional(),
  /** Who has what was asked for: a container id, "network NAME", or "pid 42 (nginx)". */
  owner: z.string().optional(),
  /** Events that would be accepted now. */
  legal: z.array(z.string()).optional(),
  issues: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
});
export type Fault = z.infer<typeof Fault>;

/** A fault on its way through code that throws. */
export class FaultError extends Error {
  readonly fault: Fault;
  constructor(code: FaultCode, message: string, more: Omit<Partial<Fault>, 'code' | 'message'> = {}) {
    super(message);
    this.name = 'FaultError';
    this.fault = { code, message, ...more };
  }
}
