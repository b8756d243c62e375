/**
 * Describes the events that a person can send to a container: what each asks for, and the request that it becomes.
 *
 * Guarantees: pure. Nothing is sent whose fields are incomplete; the daemon judges the rest, and its answer is shown as it is.
 */
import { portText } from './format.ts';
import { networksOf } from './search.ts';
import type { ContainerView } from './wire.ts';

export interface Field {
  name: string;
  label: string;
  kind: 'choice' | 'text' | 'check';
  /** Of a choice. */
  choices: string[];
  hint: string;
}

export interface EventForm {
  type: string;
  /** What sending it does, in a sentence. */
  says: string;
  fields: Field[];
  /** True: it cannot be undone, so it is asked about once more. */
  final: boolean;
}

const SAYS: Record<string, string> = {
  configure: 'Makes what was requested: links, addresses, rules and ports.',
  connect: 'Adds a network.',
  disconnect: 'Removes a network, with its links and names.',
  reload: 'Restores what is missing in the firewall; the full one replaces the links, too.',
  publish: 'Adds published ports.',
  unpublish: 'Removes published ports; connections through them end.',
  teardown: 'Removes the whole network of the container. This cannot be undone.',
};

const choice = (name: string, label: string, choices: string[]): Field => ({
  name,
  label,
  kind: 'choice',
  choices,
  hint: '',
});

export function formOf(type: string, view: ContainerView, networks: readonly string[]): EventForm {
  const mine = networksOf(view);
  const fields: Record<string, Field[]> = {
    connect: [
      choice(
        'network',
        'Network',
        networks.filter((name) => !mine.includes(name)),
      ),
    ],
    disconnect: [choice('network', 'Network', mine)],
    reload: [{ name: 'full', label: 'Full: replace the links', kind: 'check', choices: [], hint: '' }],
    publish: [{ name: 'ports', label: 'Ports', kind: 'text', choices: [], hint: '8080:80/tcp' }],
    unpublish: [choice('port', 'Port', view.ports.map(portText))],
  };
  return { type, says: SAYS[type] ?? '', fields: fields[type] ?? [], final: type === 'teardown' };
}

export interface PortMapping {
  host_ip?: string;
  host_port?: number;
  container_port: number;
  protocol?: string;
  range?: number;
}

/** Parses [HOSTIP:][HOSTPORT:]PORT[/PROTO], several separated by spaces or commas; null if one cannot be understood. */
export function parsePorts(text: string): PortMapping[] | null {
  const ports: PortMapping[] = [];
  for (const word of text.split(/[\s,]+/).filter(Boolean)) {
    const match = /^(?:(\[[^\]]+\]|\d+\.\d+\.\d+\.\d+):)?(?:(\d*):)?(\d+)(?:\/(tcp|udp|sctp))?$/.exec(word);
    if (match === null) return null;
    const [, ip, host, container, protocol] = match;
    ports.push({
      ...(ip === undefined ? {} : { host_ip: ip.replace(/^\[|\]$/g, '') }),
      ...(host === undefined || host === '' ? {} : { host_port: Number(host) }),
      container_port: Number(container),
      ...(protocol === undefined ? {} : { protocol }),
    });
  }
  return ports.length === 0 ? null : ports;
}

/** Returns the event to send, or the reason why it cannot be sent yet. */
export function requestOf(
  type: string,
  view: ContainerView,
  values: Readonly<Record<string, string | boolean>>,
): { event: Record<string, unknown> } | { lacks: string } {
  const { id } = view;
  const text = (name: string): string => String(values[name] ?? '').trim();
  switch (type) {
    case 'connect':
    case 'disconnect':
      return text('network') === ''
        ? { lacks: 'Choose a network.' }
        : { event: { type, id, network: text('network') } };
    case 'reload':
      return { event: values.full === true ? { type, id, full: true } : { type, id } };
    case 'publish': {
      const ports = parsePorts(text('ports'));
      return ports === null
        ? { lacks: 'Write ports as HOST:CONTAINER, for example 8080:80/tcp.' }
        : { event: { type, id, port_mappings: ports } };
    }
    case 'unpublish': {
      const port = view.ports.find((mapping) => portText(mapping) === text('port'));
      return port === undefined ? { lacks: 'Choose a port.' } : { event: { type, id, port_mappings: [port] } };
    }
    default:
      return { event: { type, id } };
  }
}
