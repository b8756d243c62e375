/**
 * Checks of `doctor`: on each address of the host, do clients elsewhere get answers from published ports, where the host's
 * routing goes by the source (reply-routes.ts)?
 *
 * Answers leave by the way of the address that the client asked (effects/firewall/replies.ts). The checks name ports whose requests are
 * dropped even so. Either a strict rp_filter could not be loosened, because /proc/sys is read-only, for example; or the routing
 * policy leads containers nowhere, and then any rp_filter drops packets that have no way back.
 * Guarantees: changes nothing and sends nothing.
 * Limits: those of reply-routes.ts. Rules of the routing policy that select by the incoming interface are taken into account here
 * and not by the firewall: ports that they keep from answering are not named. Checks the daemon's own outside only.
 */
import type { Kernel } from '../../effects/kernel.ts';
import { contains, familyOf, parseSubnet } from '../../plan/addresses/address.ts';
import { containerIdOf } from '../../plan/owner.ts';
import type { Outside, Way } from '../../native/index.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import type { Check } from '../../state/answers/doctor.ts';
import { astray, effectiveFilters, STRICT, type Answering, type Astray } from '../networks/reply-routes.ts';
import type { ContainerSnapshot } from '../records/snapshot.ts';
import { rulesetOf } from '../outsides/desired-ruleset.ts';

type Port = ReturnType<typeof rulesetOf>['ports'][number];

/** The number of ports that a text names; it counts the rest. */
const NAMED = 5;

export async function answerChecks(
  kernel: Kernel,
  networks: readonly NetworkDefinition[],
  containers: readonly ContainerSnapshot[],
): Promise<Check[]> {
  const { ports } = rulesetOf(containers, [], null);
  const found = ports.length === 0 ? [] : await unanswered(kernel, publishing(networks, ports));
  if (found.length > 0) return found;
  const text = 'answers from published ports leave by the way that the host itself answers by';
  return [{ name: 'answers', ok: true, severity: 'warning', text }];
}

/** Returns, for each address of the host and each network, the first destination that gets no answer. */
async function unanswered(kernel: Kernel, answering: readonly Publishing[]): Promise<Check[]> {
  const { kernel: native } = kernel.outside(null);
  const found = new Map<string, Check>();
  for (const one of await astray(native, kernel.instance, answering)) {
    const { address } = one;
    const { source, ports: all } = one.answering;
    const key = `${address} ${source}`;
    const ports = all.filter(({ hostIp }) => ['', '0.0.0.0', '::', address].includes(hostIp));
    if (found.has(key) || ports.length === 0) continue;
    if (await isDropped(native, one)) found.set(key, dropped(one, ports));
  }
  return [...found.values()];
}

/** Returns true if rp_filter drops the request. A loose filter drops it too if there is no way back from the container's address. */
async function isDropped(native: Outside, { address, own, way }: Astray): Promise<boolean> {
  if (familyOf(address) !== 4) return false;
  const filter = (await effectiveFilters(native, [own.link])).get(own.link) ?? 0;
  return way === null ? filter > 0 : filter === STRICT;
}

function dropped(one: Astray, ports: readonly Port[]): Check {
  const loosen = `sysctl net.ipv4.conf.${one.own.link.replaceAll('.', '/')}.rp_filter=2 (any way back will do)`;
  return {
    name: 'answers',
    ok: false,
    severity: 'warning',
    text:
      `${textOf(one, ports)}, and there rp_filter drops what is for containers of network ${one.answering.network}, whose ` +
      `way back is ${wayText(one.way)}`,
    hint: `${one.way === null ? 'give' : `${loosen}, or give`} those containers --port-handler forwarder, which answers from a socket of the host`,
  };
}

function textOf({ address, own, destination }: Astray, ports: readonly Port[]): string {
  const named = ports
    .slice(0, NAMED)
    .map(({ hostPort, protocol, owner }) => `${hostPort}/${protocol} of ${containerIdOf(owner)}`);
  const more = ports.length > NAMED ? ` and ${ports.length - NAMED} more` : '';
  return (
    `ports published on ${address} (${named.join(', ')}${more}) do not answer clients ${destination.clients}: from that ` +
    `address the host sends ${wayText(own)}`
  );
}

interface Publishing extends Answering {
  ports: Port[];
}

/** Returns the networks that have published ports, per family, with these ports. */
function publishing(networks: readonly NetworkDefinition[], ports: readonly Port[]): Publishing[] {
  const subnets = networks.flatMap((definition) =>
    definition.subnets.map(({ subnet }) => ({ definition, subnet: parseSubnet(subnet), ports: [] as Port[] })),
  );
  for (const port of ports) subnets.find(({ subnet }) => contains(subnet, port.address))?.ports.push(port);
  return subnets.flatMap(({ definition, ports: mine }) => {
    const { name: network, network_interface: bridge } = definition;
    const [first] = mine;
    if (first === undefined) return [];
    return [{ network, bridge, source: first.address, ports: mine }];
  });
}

const wayText = (way: Way | null): string =>
  way === null ? 'nowhere' : `by ${way.link}${way.gateway === null ? '' : ` (gateway ${way.gateway})`}`;
