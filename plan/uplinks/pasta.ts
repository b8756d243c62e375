/**
 * pasta (passt 2023_03): turns its options, in Podman's form, into settings, and settings into arguments.
 *
 * Guarantees: pure. Only the options listed here are accepted, in long form or as a letter, with a value of their kind. A
 * privileged daemon starts pasta, so options that name a file, a descriptor, a user, a namespace or a command are refused. If
 * an option is repeated, pasta takes the last one; a container's options come after the engine's. The defaults are Podman's:
 * --config-net, no automatic forwarding, the gateway is not the host, name queries go to an address of their own.
 * Limits: host ports are published by their owner's list, never by -t or -u (only `none`, as a word of its own). pasta
 * takes one host address per host port and protocol, and no port while it runs.
 *
 * Found by trying: pasta stays in the foreground (--foreground) and writes its pid (--pid) once all is set up, so a pipe as
 * that file reports when it is ready. Started by another user than root, it stays that user. It keeps CAP_NET_BIND_SERVICE and
 * CAP_SYS_ADMIN of its capabilities, in an empty root directory of its own and behind seccomp. Without --netns-only it looks
 * for a user namespace to enter. Data that a server in the container sends before the client has sent any can be lost. A port
 * for every address succeeds with one family. The host itself reaches a published UDP port only over loopback, and only if both
 * port numbers are equal.
 */
import ipaddr from 'ipaddr.js';
import type { ResolvedPort } from '../../state/container.ts';
import type { Fault } from '../../state/faults.ts';
import type { PastaSettings, UplinkFeatures } from '../../state/uplink.ts';
import { span } from '../ports/port-text.ts';

const KINDS = {
  none: () => true,
  mtu: (text: string) => /^\d{1,5}$/.test(text) && Number(text) <= 65_520,
  address: isAddress,
  server: (text: string) => text === 'none' || isAddress(text),
  mask: (text: string) => /^([1-9]|[12]\d|3[0-2])$/.test(text) || ipaddr.IPv4.isValidFourPartDecimal(text),
  mac: (text: string) => /^[\da-f]{2}(:[\da-f]{2}){5}$/i.test(text),
  // dev_valid_name() in net/core/dev.c, without names that look like an option.
  link: (text: string) => /^[^\s/:-][^\s/:]{0,14}$/.test(text) && text !== '.' && text !== '..',
  domains: (text: string) => /^[\w.]([\w. -]{0,250})$/.test(text),
  none_only: (text: string) => text === 'none',
  ports: (text: string) => text === 'none' || text === 'auto' || /^[~\d][\d,:~-]{0,250}$/.test(text),
} satisfies Record<string, (text: string) => boolean>;

type Kind = keyof typeof KINDS;

function isAddress(text: string): boolean {
  return ipaddr.IPv4.isValidFourPartDecimal(text) || (ipaddr.IPv6.isValid(text) && !text.includes('%'));
}

/** The long option, its letter, the kind of its value. */
const OPTIONS: readonly (readonly [long: string, letter: string, kind: Kind])[] = [
  ['--mtu', '-m', 'mtu'],
  ['--address', '-a', 'address'],
  ['--netmask', '-n', 'mask'],
  ['--mac-addr', '-M', 'mac'],
  ['--gateway', '-g', 'address'],
  ['--interface', '-i', 'link'],
  ['--outbound', '-o', 'address'],
  ['--outbound-if4', '', 'link'],
  ['--outbound-if6', '', 'link'],
  ['--dns', '-D', 'server'],
  ['--dns-forward', '', 'address'],
  ['--search', '-S', 'domains'],
  ['--dhcp-dns', '', 'none'],
  ['--dhcp-search', '', 'none'],
  ['--no-tcp', '', 'none'],
  ['--no-udp', '', 'none'],
  ['--no-icmp', '', 'none'],
  ['--no-dhcp', '', 'none'],
  ['--no-ndp', '', 'none'],
  ['--no-dhcpv6', '', 'none'],
  ['--no-ra', '', 'none'],
  ['--no-map-gw', '', 'none'],
  ['--ipv4-only', '-4', 'none'],
  ['--ipv6-only', '-6', 'none'],
  ['--ns-ifname', '-I', 'link'],
  ['--ns-mac-addr', '', 'mac'],
  ['--config-net', '', 'none'],
  ['--tcp-ports', '-t', 'none_only'],
  ['--udp-ports', '-u', 'none_only'],
  ['--tcp-ns', '-T', 'ports'],
  ['--udp-ns', '-U', 'ports'],
];

/** An option of Podman, not of pasta: it means the absence of --no-map-gw. */
const MAP_GATEWAY = '--map-gw';
/**
 * The addresses that containers send name queries to. Each leads to the first name server of its family in the host's
 * resolv.conf, even if that is on the host's loopback or has the copied address. The IPv4 address is Podman's; the IPv6 address
 * is in a range that nobody uses (RFC 9780).
 */
const DNS_FORWARD = ['169.254.1.1', '100:0:0:1::53'];
/** Options that only cleat may set: the published ports are known only when pasta starts. */
const OURS = ['--tcp-ports', '--udp-ports', '--no-map-gw', '--config-net'];

/** `engine` and `container`: one item per word of the command line, as between the commas of `--network pasta:`. */
export function parsePasta(
  engine: readonly string[],
  container: readonly string[],
  file: string,
): { settings: PastaSettings } | { fault: Fault } {
  const args: string[] = [];
  const seen = new Set<string>();
  let mapGateway = false;
  const words = [...engine, ...container];
  for (let i = 0; i < words.length; i++) {
    const word = words[i] ?? '';
    if (word === MAP_GATEWAY) {
      mapGateway = true;
      continue;
    }
    const at = word.startsWith('--') ? word.indexOf('=') : -1;
    const name = at < 0 ? word : word.slice(0, at);
    const [long, , kind] = OPTIONS.find(([long, letter]) => name === long || (letter !== '' && name === letter)) ?? [];
    if (long === undefined || kind === undefined) return bad(`unknown option for pasta: ${JSON.stringify(word)}`);
    if (kind === 'none' && at >= 0) return bad(`pasta option ${long} takes no value`);
    const value = kind === 'none' ? null : at >= 0 ? word.slice(at + 1) : words[++i];
    if (value === undefined) return bad(`pasta option ${long} needs a value`);
    if (value !== null && !KINDS[kind](value)) return bad(invalid(long, value));
    seen.add(long);
    if (!OURS.includes(long)) args.push(...(value === null ? [long] : [long, value]));
  }
  for (const long of ['--tcp-ns', '--udp-ns']) if (!seen.has(long)) args.push(long, 'none');
  if (!mapGateway) args.push('--no-map-gw');
  if (!seen.has('--dns-forward')) args.push(...DNS_FORWARD.flatMap((address) => ['--dns-forward', address]));
  if (seen.has('--ipv4-only') && seen.has('--ipv6-only'))
    return bad('pasta options --ipv4-only and --ipv6-only exclude each other');
  return { settings: { program: 'pasta', file, args } };
}

const invalid = (long: string, value: string): string =>
  `invalid value of ${long} for pasta: ${JSON.stringify(value)}` +
  (long === '--tcp-ports' || long === '--udp-ports' ? ' (ports are published by the list of ports)' : '');

/**
 * The descriptor in the program that it writes its pid to when it is ready. It is standard output, because later versions close
 * all descriptors from 3 on.
 */
export const PASTA_READY_FD = 1;

export function pastaArguments(
  settings: PastaSettings,
  { flags, cut }: UplinkFeatures,
  netns: string,
  ports: readonly ResolvedPort[],
): { args: string[] } | { fault: Fault } {
  // If the help is cut off, the program itself must judge.
  const unknown = cut === true ? undefined : settings.args.find((arg) => arg.startsWith('--') && !flags.includes(arg));
  if (unknown !== undefined) return bad(`${unknown} not supported by pasta`);
  const refused = refusal(ports);
  if (refused !== null) return bad(refused);
  const published = (['tcp', 'udp'] as const).flatMap((protocol) => {
    const specs = ports.filter((port) => port.protocol === protocol).map(specOf);
    return (specs.length === 0 ? ['none'] : specs).flatMap((spec) => [`--${protocol}-ports`, spec]);
  });
  // Without this option, earlier versions write only to the system's log; later ones do not know it.
  const stderr = flags.includes('--stderr') ? ['--stderr'] : [];
  // Later versions do not start if their user may not read the directory of the pins, where they watch for the end of the
  // namespace. Earlier ones start without the watch.
  const quit = cut === true ? ['--no-netns-quit'] : [];
  const args = ['--config-net', ...settings.args, ...published, '--foreground', '--quiet', ...stderr, ...quit];
  return { args: [...args, '--pid', `/proc/self/fd/${PASTA_READY_FD}`, '--netns-only', '--netns', netns] };
}

/**
 * True if the container reaches the host's loopback: by the gateway's address, or by ports of the container's own loopback that
 * lead to the host's (-T, -U).
 */
export const reachesLoopback = (settings: PastaSettings): boolean =>
  mapsGateway(settings) || ['--tcp-ns', '--udp-ns'].some((option) => valuesOf(settings, option).at(-1) !== 'none');

/** True if the gateway's address is the host's loopback. */
export const mapsGateway = ({ args }: PastaSettings): boolean => !args.includes('--no-map-gw');

/** Returns at most one server for each family: pasta takes the last of several. */
export function pastaServers(settings: PastaSettings): string[] {
  const servers = valuesOf(settings, '--dns-forward');
  const last = (v6: boolean) => servers.findLast((server) => server.includes(':') === v6) ?? [];
  return [last(false), last(true)].flat();
}

const valuesOf = ({ args }: PastaSettings, option: string): string[] =>
  args.flatMap((word, i) => (word === option ? (args[i + 1] ?? []) : []));

/** Returns the requested name of the link that pasta makes; null means the name of the outside's link that it copies. */
export function pastaLink(settings: PastaSettings): string | null {
  return valuesOf(settings, '--ns-ifname').at(-1) ?? null;
}

function refusal(ports: readonly ResolvedPort[]): string | null {
  const seen = new Map<string, string>();
  for (const { protocol, hostIp, hostPort, range } of ports) {
    if (protocol === 'sctp') return 'sctp not supported by pasta';
    for (let port = hostPort; port < hostPort + range; port++) {
      const key = `${port}/${protocol}`;
      if (seen.has(key)) return `pasta cannot publish host port ${key} twice, even at different host addresses`;
      seen.set(key, hostIp);
    }
  }
  return null;
}

/** Returns [address/]first[-last]:first[-last] (passt(1), --tcp-ports). */
function specOf({ hostIp, hostPort, containerPort, range }: ResolvedPort): string {
  return `${hostIp === '' ? '' : `${hostIp}/`}${span(hostPort, range)}:${span(containerPort, range)}`;
}

const bad = (message: string): { fault: Fault } => ({ fault: { code: 'BAD_REQUEST', message } });
