/**
 * The WireGuard link of an overlay: made by the kernel if it can, otherwise by the program wireguard-go, and configured by wg(8),
 * which does not care which of them it is (docs/decisions/0075).
 *
 * Guarantees: running it twice gives the same result, and changes nothing of a link that is as it should be: sessions with other hosts
 * go on. A link that does not answer, or whose helper is stopped, is made anew. A link of others is never touched. The private key is
 * in a pipe to wg(8) and nowhere else.
 * Limits: wg(8) takes milliseconds, as each program does. Once made by wireguard-go, a link stays its until it is made anew.
 */
import type { Kernel } from '../kernel.ts';
import type { Link, Outside } from '../../native/index.ts';
import { tunnelAlias, tunnelName, usablePeers, type OverlaySeen } from '../../plan/kernel/expected-overlay.ts';
import { compareWireguard, configurationOf, type Report } from '../../plan/kernel/expected-wireguard.ts';
import { ETHERNET_MTU } from '../../plan/networks/mtu.ts';
import { FaultError } from '../../state/faults.ts';
import { isStopped } from '../processes/process.ts';
import { refuse, stranger } from '../refusal.ts';
import { isOurs } from './vxlan.ts';
import { helpersOf, startHelper, stopHelpers } from './wireguard-helper.ts';
import { configure, missing, showLink } from './wireguard-tool.ts';

/** Makes or restores the link, without peers. */
export async function makeWireguard(
  kernel: Kernel,
  outside: string | null,
  definition: OverlaySeen,
  name: string,
): Promise<void> {
  const { kernel: native } = kernel.outside(outside);
  const { instance } = kernel;
  const alias = tunnelAlias(instance.name, definition.name);
  const found = await native.link(name);
  const helpers = await helpersOf(name, native.identity());
  // A helper makes its link without a group, and a crash may have come before the alias.
  const isIts = (link: Link) => link.alias === '' && helpers.length > 0;
  if (found !== null && !isOurs(instance, found, alias) && !isIts(found)) throw stranger(name, found.alias);
  const isCarried = helpers.length === 1 && !helpers.some(isStopped);
  const works = found !== null && (found.kind === 'wireguard' || isCarried) && (await answers(kernel, outside, name));
  if (!works) {
    await stopHelpers(name, native.identity());
    if ((await native.link(name)) !== null) refuse(await native.rtnl([{ op: 'link.del', name }]), name);
    await make(kernel, outside, native, name);
  }
  const mtu = Number(definition.options.mtu ?? ETHERNET_MTU);
  const link = await native.link(name);
  refuse(
    await native.rtnl([
      { op: 'link.set', name, alias, group: instance.group, ...(works ? {} : { noLinkLocal: true }) },
      ...(link?.mtu === mtu ? [] : [{ op: 'link.set', name, mtu } as const]),
    ]),
    name,
  );
}

async function make(kernel: Kernel, outside: string | null, native: Outside, name: string): Promise<void> {
  const { group } = kernel.instance;
  const made = await native.rtnl([{ op: 'link.add', kind: 'wireguard', name, group }]);
  if (made[0]?.code !== 'EOPNOTSUPP') return refuse(made, name);
  const why = missing();
  if (why !== null) throw FaultError.of(why);
  const helper = await startHelper(native, name, kernel.entered(outside));
  kernel.scopes?.own('wireguard', helper);
  if (!(await answers(kernel, outside, name)))
    throw new FaultError('TUNNEL_FAILED', `wireguard-go has made ${name}, but does not answer`, { object: name });
}

const answers = async (kernel: Kernel, outside: string | null, name: string): Promise<boolean> =>
  (await showLink(kernel.entered(outside), name)) !== null;

/** Gives the link its key, its port and exactly the peers of the definition. Does nothing for other backends. */
export async function configureWireguard(
  kernel: Kernel,
  outside: string | null,
  definition: OverlaySeen,
): Promise<void> {
  const { backend, port } = definition.overlay;
  const name = tunnelName(definition);
  if (backend !== 'wireguard' || name === null) return;
  const netns = kernel.entered(outside);
  const peers = usablePeers(definition);
  const report: Report = (kind, object, problem) => ({ kind, object, network: definition.name, problem });
  const differences = async () => compareWireguard(definition, peers, name, await showLink(netns, name), report);
  if ((await differences()).length === 0) return;
  const text = configurationOf(definition, peers, kernel.privateKeyOf(definition.id));
  await configure(netns, name, text, port);
  const [left] = await differences();
  if (left === undefined) return;
  const message = `network ${definition.name}: not as it was configured: ${left.object}`;
  throw new FaultError('TUNNEL_FAILED', message, { object: name });
}
