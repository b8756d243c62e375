/**
 * Every error that cleat can answer with: one table, code -> HTTP status and a hint for the reader.
 *
 * Guarantees: a code is stable and never reused; docs/errors.md lists exactly these (a test compares).
 * FaultError is the only error class (docs/decisions/0048).
 * A fault is plain JSON, because it is kept in snapshots and journals and sent over the socket as it is.
 */
import { z } from 'zod';

export const FAULTS = {
  BAD_REQUEST: [400, 'Mend the request; where a field is wrong, `issues` says which and why.'],
  UNSUPPORTED: [400, 'Leave out what the message names: cleat cannot do it, and does not do half of what is asked.'],
  BODY_TOO_LARGE: [413, 'A request is at most 1 MiB; send several events as separate lines or requests.'],
  BODY_TOO_SLOW: [408, 'Send a body at once; events over time are a stream (content-type application/x-ndjson).'],
  LIMIT_REACHED: [429, 'Free some of what the message names, or start the daemon with a higher --limit.'],
  NOT_ALLOWED: [403, 'Namespace paths, pids, outsides, networks on links of others and repairs are for root.'],
  NO_SUCH_CONTAINER: [404, '`cleat ps` lists the containers.'],
  NO_SUCH_NETWORK: [404, '`cleat network ls` lists the networks, `cleat network create NAME` makes one.'],
  NO_SUCH_ROUTE: [404, 'GET /v1/openapi.json describes the API.'],
  METHOD_NOT_ALLOWED: [405, 'The header Allow has the methods of this path.'],
  UNSUPPORTED_MEDIA_TYPE: [415, 'Send application/json, or many events as application/x-ndjson.'],
  CONTAINER_EXISTS: [409, 'Take it down first (`cleat rm ID`), or use another id or name.'],
  NETWORK_EXISTS: [409, 'Use another name, or remove it first (`cleat network rm NAME`).'],
  NETWORK_IN_USE: [409, 'Disconnect the containers named first; `cleat network rm -f NAME` does that, too.'],
  ILLEGAL_EVENT: [
    409,
    'Send one of the legal events, or wait: `cleat wait --condition STATE ID`, GET /v1/containers/ID?wait=STATE.',
  ],
  STATE_UNREACHABLE: [409, 'It is on its way out: wait for gone, and create it again.'],
  WAIT_TIMEOUT: [504, 'Nothing was changed by waiting: wait again, or see `cleat inspect` for how it is.'],
  NO_SUCH_PLAN: [
    404,
    'A plan is kept ten minutes, for who made it, and is applied once: make it again with --dry-run.',
  ],
  PLAN_OUTDATED: [409, 'Nothing was changed: make the plan again with --dry-run, and read what it does now.'],
  SUPERSEDED: [409, 'A later event took over before this one was finished.'],
  ADDRESS_TAKEN: [409, 'Choose another address, or leave the choice to cleat.'],
  ADDRESS_OUTSIDE_SUBNET: [400, 'Choose an address inside one of the subnets of the network.'],
  MAC_TAKEN: [409, 'Choose another MAC address, or leave the choice to cleat.'],
  SUBNET_FULL: [409, 'Tear down containers of this network, or widen it: `cleat network update --help`.'],
  SUBNET_RESERVED: [400, 'Choose a subnet of private addresses, such as 10.90.0.0/24 or fd00:90::/64 (docs/cli.md).'],
  SUBNET_OVERLAPS: [409, 'Choose a subnet that no other network has.'],
  NO_FREE_SUBNET: [409, 'Give a subnet explicitly, or the daemon more pools: --default-subnet-pool.'],
  STORE_UNREACHABLE: [
    503,
    'Bring etcd back, or correct --etcd and its certificates. It is asked again by itself; what runs keeps its network.',
  ],
  NO_STORE: [409, 'Start the daemon with --etcd and --advertise (docs/overlay.md): overlay networks live on etcd.'],
  OVERLAY_DIFFERS: [409, 'Leave these options out to join the overlay as it is, or use another name.'],
  OVERLAY_FENCED: [
    503,
    'Wait: the share is claimed again as soon as etcd answers; `cleat network peers NAME` says how it is.',
  ],
  NO_SHARE_LEFT: [
    409,
    'Remove the network from hosts that are gone, or wait for shares at rest; the message counts both.',
  ],
  VTEP_ADDRESS_MISSING: [
    409,
    'Give this host the address, or start the daemon with one that it has: --advertise. Others send there.',
  ],
  TUNNEL_FAILED: [500, 'The message has what wg or wireguard-go said; mend that, or install them. It is tried again.'],
  ROUTE_IN_THE_WAY: [
    409,
    'Remove the route that the message names, or give the overlay another pool. It is tried again.',
  ],
  INTERFACE_TAKEN: [409, 'Choose another interface name, or leave the choice to cleat.'],
  BRIDGE_MISSING: [
    409,
    'Make the bridge of the unmanaged network first (ip link add NAME type bridge); it is tried again.',
  ],
  PARENT_MISSING: [
    409,
    'Name a link of the host as the parent (--opt parent=NAME; `ip link` lists them), or make it: it is tried again.',
  ],
  DRIVER_UNSUPPORTED: [409, 'Load the module of the kernel that the message names (modprobe), or use another driver.'],
  IPAM_UNSUPPORTED: [400, 'Give a subnet with an --ip-range that DHCP does not use, or --ipam-driver none.'],
  PORT_TAKEN: [409, 'Choose another host port, or free this one at its owner.'],
  PORT_PRIVILEGED: [
    403,
    'Choose a port from 1024 on, or let users have this one, as root, with the sysctl that the message names.',
  ],
  NO_FREE_PORT: [409, 'No host port between 49152 and 65535 is free for this protocol.'],
  PORTS_NEED_NETWORK: [400, 'Publish ports on a container with a bridge network that is not internal.'],
  MODE_NOT_SUPPORTED: [409, 'Only containers with a namespace of their own have networks and ports of their own.'],
  NOT_CONNECTED: [409, '`cleat ps` shows the networks of the container, `cleat connect NETWORK ID` adds one.'],
  ALREADY_CONNECTED: [409, 'To change its options, take it off first: `cleat disconnect NETWORK ID`.'],
  NOT_PUBLISHED: [409, '`cleat port ID` shows the published ports of the container.'],
  DNS_UNAVAILABLE: [409, 'Install aardvark-dns (Debian: apt install aardvark-dns), or use a network without DNS.'],
  DNS_FAILED: [500, 'The resolver did not answer as it should; `cleat doctor` says what is known of it.'],
  UPLINK_FAILED: [500, 'The message has what slirp4netns or pasta said; mend its options, or install it.'],
  EXTERNAL_FAILED: [
    500,
    'The message has what the plugin or netavark said: mend its configuration or install it; removals are tried again.',
  ],
  CONFLIST_UNUSABLE: [400, 'Mend or name the conflist (--opt conflist=/etc/cni/net.d/NAME.conflist).'],
  FORWARDER_FAILED: [500, 'The forwarder of published ports did not answer as it should: end it, and publish again.'],
  FIREWALLD_FAILED: [500, 'Mend what firewalld says (`systemctl status firewalld`); it is asked again by itself.'],
  PUBLISHER_FAILED: [502, 'The outer port publisher refused or did not answer; `cleat doctor` says where it is.'],
  NETWORK_UPDATE_FAILED: [409, 'Nothing was changed: the container named could not follow.'],
  NO_SUCH_PROCESS: [409, 'The process has ended, or its pid is wrong.'],
  EXIT_FD_UNUSABLE: [409, 'Name the read end of a pipe, a connected socket or a pidfd, whose other end is still open.'],
  NOT_A_NAMESPACE: [400, 'Give the path of a network namespace, such as one under /run/netns.'],
  NAME_TAKEN_IN_KERNEL: [409, 'Something else on this machine made it: remove or rename that, then try again.'],
  USER_TAKEN: [409, 'Make a system user of the name given (sysusers.d(5)), with a uid and gid of its own.'],
  CAPABILITY_MISSING: [500, 'Give the daemon the capabilities that it lacks (docs/cli.md, its unit), and restart it.'],
  NO_IPV6: [409, 'Leave IPv6 out, or boot the kernel with it (without ipv6.disable=1).'],
  SWITCH_READ_ONLY: [500, 'Set the switch that the message names where /proc/sys can be written, then try again.'],
  KERNEL: [500, 'The kernel refused: errno, system call and object say what.'],
  DEADLINE: [504, 'It took too long; `cleat inspect` shows what is left, which is tried again by itself.'],
  STATE_UNWRITABLE: [507, 'Free space in or mend the run and state directories; `cleat inspect` shows what is left.'],
  UNREADABLE_STATE: [500, 'The file was set aside as *.unreadable: look at it and remove it.'],
  STATE_IN_USE: [409, 'Another daemon runs on these directories: stop it, or use other --run-dir and --state-dir.'],
  STATE_UNSAFE: [500, 'Give it to the user of the daemon alone (chown, chmod go-w), or use another directory.'],
  SOCKET_UNSUITABLE: [500, 'Pass the daemon one listening Unix stream socket that has a path (docs/cli.md), or none.'],
  NOT_A_JOURNAL: [400, 'Give a file that `cleat export` has written, as it was.'],
  JOURNAL_VERSION: [400, 'Replay the file with the version of cleat that has written it, which its first line names.'],
  JOURNAL_CUT_OFF: [400, 'Export it again, or copy the whole file: what is missing cannot be replayed.'],
  UNFINISHED: [500, 'What is left is listed, and is tried again by itself; send teardown to try at once.'],
  INTERNAL: [
    500,
    'A defect in cleat: report it with the journal of the container, which goes on from its snapshot at the next event.',
  ],
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
  /** The owner of a resource that is taken: a container id, "network NAME", or "pid 42 (nginx)". */
  owner: z.string().optional(),
  /** The events that would be accepted now. */
  legal: z.array(z.string()).optional(),
  issues: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
});
export type Fault = z.infer<typeof Fault>;

/** The exception that carries a fault. */
export class FaultError extends Error {
  readonly fault: Fault;
  constructor(code: FaultCode, message: string, more: Omit<Partial<Fault>, 'code' | 'message'> = {}) {
    super(message);
    this.name = 'FaultError';
    this.fault = { code, message, ...more };
  }

  static of(fault: Fault): FaultError {
    return Object.assign(new FaultError(fault.code, fault.message), { fault });
  }
}

/** Why a file of ours could not be written, as a fault, about `object` where the reason does not name it. */
export function unwritable(error: unknown, object?: string): FaultError {
  if (error instanceof FaultError) return error;
  const { message = String(error), code } = error as Partial<NodeJS.ErrnoException>;
  return new FaultError('STATE_UNWRITABLE', `cannot write: ${message}`, {
    ...(code === undefined ? {} : { errno: code }),
    ...(object === undefined ? {} : { object }),
  });
}
