/**
 * What a create event says of its way out and of who carries its ports, with everything decided.
 *
 * Guarantees: refuses what does not go together, with nothing changed: a program beside networks, options that the program
 * does not have (in the reference's words), ports that their handler cannot carry.
 * Limits: whether the program is there and can do what is asked is seen when it starts.
 */
import { existsSync } from 'node:fs';
import { uplinkFile } from '../effects/uplink-probe.ts';
import { coalesce } from '../machines/plan/port-list.ts';
import { parsePasta } from '../machines/plan/pasta.ts';
import { parseSlirp } from '../machines/plan/slirp4netns.ts';
import type { ContainerContext, PortRequest } from '../state/container.ts';
import type { CreateEvent, PortMapping } from '../state/event.ts';
import { FaultError } from '../state/faults.ts';
import type { PortHandler, UplinkProgram, UplinkSettings } from '../state/uplink.ts';

export type UplinkPrograms = Readonly<Record<UplinkProgram, { file: string; options: readonly string[] }>>;

/** Where they are unless somebody says otherwise, and without options. */
export const USUAL_PROGRAMS: UplinkPrograms = {
  slirp4netns: { file: uplinkFile('slirp4netns'), options: [] },
  pasta: { file: uplinkFile('pasta'), options: [] },
};

/** Who can carry the ports of what. */
const HANDLERS: Record<UplinkProgram | 'networks', readonly PortHandler[]> = {
  networks: ['firewall', 'forwarder'],
  slirp4netns: ['forwarder', 'slirp4netns'],
  pasta: ['pasta', 'forwarder'],
};

export function wayOut(event: CreateEvent, programs: UplinkPrograms): Pick<ContainerContext, 'uplink' | 'portHandler'> {
  const { uplink, id } = event;
  if (uplink === undefined) return handled(event, 'networks', 'firewall');
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

function handled(event: CreateEvent, what: UplinkProgram | 'networks', usual: PortHandler) {
  const handler = event.port_handler ?? usual;
  if (!HANDLERS[what].includes(handler)) {
    const message = `container ${event.id}: ports of ${what} are carried by ${HANDLERS[what].join(' or ')}, not by ${handler}`;
    throw new FaultError('BAD_REQUEST', message);
  }
  refuseUncarried(event.id, handler, event.port_mappings ?? []);
  return handler === 'firewall' ? {} : { portHandler: handler };
}

/** The programs carry the answers of a container port of UDP by the last of its host ports alone, whichever was asked. */
const ONE_UDP_PORT: readonly PortHandler[] = ['slirp4netns', 'pasta'];

/** What only the kernel can carry, or only who knows by which host port a client came. `before`: what there is already. */
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
  if ('fault' in list) return; // refused for that, by who is asked next
  const ports = list.ports.filter(({ protocol }) => protocol === 'udp');
  const double = ports.find((port, i) => ports.slice(i + 1).some((other) => answersAlike(port, other)));
  if (double === undefined) return;
  const message = `container ${id}: ${handler} carries one udp host port to a container port, and ${double.container_port}/udp would have two`;
  throw new FaultError('BAD_REQUEST', message);
}

/** Datagrams of both lead to one container port, over the same family. */
function answersAlike(a: PortRequest, b: PortRequest): boolean {
  const [one = '', other = ''] = [a.host_ip, b.host_ip];
  const family = one === '' || other === '' || one.includes(':') === other.includes(':');
  const end = ({ container_port: port, range = 1 }: PortRequest) => port + range;
  return family && a.container_port < end(b) && b.container_port < end(a);
}
