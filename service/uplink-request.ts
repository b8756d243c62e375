/**
 * What a create event says of its way out and of who carries its ports, with everything decided.
 *
 * Guarantees: refuses what does not go together, with nothing changed: a program beside networks, options that the program
 * does not have (in the reference's words), ports that their handler cannot carry.
 * Limits: whether the program is there and can do what is asked is seen when it starts.
 */
import { existsSync } from 'node:fs';
import { uplinkFile } from '../effects/uplink-probe.ts';
import { parsePasta } from '../machines/plan/pasta.ts';
import { parseSlirp } from '../machines/plan/slirp4netns.ts';
import type { ContainerContext } from '../state/container.ts';
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
  refuseSctp(event.id, handler, event.port_mappings ?? []);
  return handler === 'firewall' ? {} : { portHandler: handler };
}

/** Only the kernel can carry it. */
export function refuseSctp(id: string, handler: PortHandler, mappings: readonly PortMapping[]): void {
  if (handler === 'firewall' || mappings.every(({ protocol }) => protocol !== 'sctp')) return;
  throw new FaultError('BAD_REQUEST', `container ${id}: ${handler} carries tcp and udp, not sctp`);
}
