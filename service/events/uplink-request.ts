/**
 * Reads the uplink and the port handler from a create event, with everything decided.
 *
 * Guarantees: refuses combinations that are impossible, with nothing changed: a program beside networks, options that the program
 * does not have (with the reference's message), ports that their handler cannot carry.
 * Limits: the start of the program finds out whether it exists and can do what is requested.
 */
import { existsSync } from 'node:fs';
import { uplinkFile } from '../../effects/uplinks/uplink-probe.ts';
import { coalesce } from '../../plan/ports/port-list.ts';
import { parsePasta } from '../../plan/uplinks/pasta.ts';
import { parseSlirp } from '../../plan/uplinks/slirp4netns.ts';
import type { ContainerContext, PortRequest } from '../../state/container.ts';
import type { CreateEvent, PortMapping } from '../../state/event.ts';
import { FaultError } from '../../state/faults.ts';
import type { PortHandler, UplinkProgram, UplinkSettings } from '../../state/uplink.ts';

export type UplinkPrograms = Readonly<Record<UplinkProgram, { file: string; options: readonly string[] }>>;

/** The default paths of the programs, without options. */
export const USUAL_PROGRAMS: UplinkPrograms = {
  slirp4netns: { file: uplinkFile('slirp4netns'), options: [] },
  pasta: { file: uplinkFile('pasta'), options: [] },
};

/** The port handlers that can carry the ports of networks and of each uplink. */
const HANDLERS: Record<UplinkProgram | 'networks' | 'rootless networks', readonly PortHandler[]> = {
  networks: ['firewall', 'forwarder'],
  // Their outside is not the host, whose ports are published.
  'rootless networks': ['forwarder'],
  slirp4netns: ['forwarder', 'slirp4netns'],
  pasta: ['pasta', 'forwarder'],
};

/** `rootless`: its outside is that of an ordinary user's daemon. */
export function wayOut(
  event: CreateEvent,
  programs: UplinkPrograms,
  rootless: boolean,
): Pick<ContainerContext, 'uplink' | 'portHandler'> {
  const { uplink, id } = event;
  if (uplink === undefined) {
    return rootless ? handled(event, 'rootless networks', 'forwarder') : handled(event, 'networks', 'firewall');
  }
  const mode = event.netns?.mode ?? 'new';
  if (mode === 'host' || mode === 'container') {
    throw new FaultError(
      'BAD_REQUEST',
      `container ${id} shares a namespace (${mode}): it has no ${uplink.program} of its own`,
    );
  }
  if (Object.keys(event.networks ?? {}).length > 0) {
    throw new FaultError(
      'BAD_REQUEST',
      `cannot set multiple networks without bridge network mode, selected mode ${uplink.program}`,
    );
  }
  const { settings, portHandler } = settle(uplink.program, uplink.options ?? [], programs);
  return {
    uplink: { settings, made: null, missing: [], endedSoon: 0 },
    ...handled(event, uplink.program, portHandler),
  };
}

/** Returns the settings of a program with the daemon's options alone. Throws BAD_REQUEST for one that it does not have. */
export const usualSettings = (program: UplinkProgram, programs: UplinkPrograms): UplinkSettings =>
  settle(program, [], programs).settings;

function settle(
  program: UplinkProgram,
  container: readonly string[],
  programs: UplinkPrograms,
): { settings: UplinkSettings; portHandler: PortHandler } {
  const { file, options: engine } = programs[program];
  const parsed =
    program === 'slirp4netns'
      ? parseSlirp({ engine, container, file, isInterface })
      : { portHandler: 'pasta' as const, ...parsePasta(engine, container, file) };
  if ('fault' in parsed) throw new FaultError(parsed.fault.code, parsed.fault.message);
  return parsed;
}

const isInterface = (name: string): boolean => /^[^/\s]{1,15}$/.test(name) && existsSync(`/sys/class/net/${name}`);

function handled(event: CreateEvent, what: keyof typeof HANDLERS, usual: PortHandler) {
  const handler = event.port_handler ?? usual;
  if (!HANDLERS[what].includes(handler)) {
    const message = `container ${event.id}: ports of ${what} are carried by ${HANDLERS[what].join(' or ')}, not by ${handler}`;
    throw new FaultError('BAD_REQUEST', message);
  }
  refuseUncarried(event.id, handler, event.port_mappings ?? []);
  return handler === 'firewall' ? {} : { portHandler: handler };
}

/** These programs send the answers of a UDP container port from the last of its host ports, whichever port the client asked. */
const ONE_UDP_PORT: readonly PortHandler[] = ['slirp4netns', 'pasta'];

/**
 * Refuses ports that only the kernel can carry, or only a handler that knows the host port of each client. `before`: existing
 * ports.
 */
export function refuseUncarried(
  id: string,
  handler: PortHandler,
  asked: readonly PortMapping[],
  before: readonly PortRequest[] = [],
): void {
  if (handler !== 'firewall' && asked.some(({ protocol }) => protocol === 'sctp'))
    throw new FaultError('BAD_REQUEST', `container ${id}: ${handler} carries tcp and udp, not sctp`);
  if (!ONE_UDP_PORT.includes(handler)) return;
  const list = coalesce([...before, ...asked]);
  if ('fault' in list) return; // a later check refuses this fault
  const ports = list.ports.filter(({ protocol }) => protocol === 'udp');
  const double = ports.find((port, i) => ports.slice(i + 1).some((other) => answersAlike(port, other)));
  if (double === undefined) return;
  const message = `container ${id}: ${handler} carries one udp host port to a container port, and ${double.container_port}/udp would have two`;
  throw new FaultError('BAD_REQUEST', message);
}

/** Returns true if datagrams of both ports lead to one container port, over the same family. */
function answersAlike(a: PortRequest, b: PortRequest): boolean {
  const [one = '', other = ''] = [a.host_ip, b.host_ip];
  const family = one === '' || other === '' || one.includes(':') === other.includes(':');
  const end = ({ container_port: port, range = 1 }: PortRequest) => port + range;
  return family && a.container_port < end(b) && b.container_port < end(a);
}
