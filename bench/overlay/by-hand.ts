/**
 * A host of an overlay made by hand: a bridge, a container, a VXLAN link, and the one route, neighbour and forwarding entry to the other
 * host. A rule masquerades what leaves the overlay, so that connections are tracked as they are on any host with containers.
 *
 * Limits: IPv4; two hosts.
 */
import { execFileSync } from 'node:child_process';
import { RUN } from '../arena.ts';
import type { Host, Hosts } from './hosts.ts';

const POOL = '10.99.0.0/16';
const MTU = 1450;
const LINK = 'vx0';

const macOf = (n: number): string => `02:be:0c:ff:00:${n.toString(16).padStart(2, '0')}`;

/** Makes host `n`, and returns its container. `other`: the number of the other host. */
export async function hostByHand(hosts: Hosts, n: number, other: number): Promise<Host> {
  const host = await hosts.host(n);
  const container = `${RUN}/hand${n}`;
  const address = `10.99.${n}.2`;
  await hosts.outside.netnsCreate(container, {});
  const peer = { name: 'eth0', mtu: MTU, up: true, netns: container };
  await hosts.must(
    [
      { op: 'link.add', kind: 'bridge', name: 'br0', mtu: MTU, up: true },
      { op: 'address.add', link: 'br0', address: `10.99.${n}.1`, prefix: 24 },
      { op: 'link.add', kind: 'veth', name: 'ct0', mtu: MTU, master: 'br0', up: true, peer },
      {
        op: 'link.add',
        kind: 'vxlan',
        name: LINK,
        mac: macOf(n),
        mtu: MTU,
        vxlan: { vni: 77, local: host.address, port: 4789 },
        up: true,
      },
      { op: 'address.add', link: LINK, address: `10.99.${n}.0`, prefix: 32 },
      { op: 'link.set', name: LINK, up: true },
      { op: 'neighbour.replace', link: LINK, address: `10.99.${other}.0`, mac: macOf(other) },
      { op: 'fdb.replace', link: LINK, mac: macOf(other), destination: `192.0.2.${other}` },
      {
        op: 'route.add',
        destination: `10.99.${other}.0`,
        prefix: 24,
        gateway: `10.99.${other}.0`,
        link: LINK,
        onlink: true,
      },
    ],
    host.netns,
  );
  await hosts.must(
    [
      { op: 'address.add', link: 'eth0', address, prefix: 24 },
      { op: 'route.add', destination: '0.0.0.0', prefix: 0, gateway: `10.99.${n}.1`, link: 'eth0' },
    ],
    container,
  );
  await hosts.outside.sysctlWrite({ 'net/ipv4/ip_forward': '1' }, host.netns);
  const rules = `table ip hand { chain post { type nat hook postrouting priority srcnat; ip saddr ${POOL} ip daddr != ${POOL} masquerade; }; }`;
  execFileSync('nsenter', [`--net=${host.netns}`, 'nft', '-f', '-'], { input: rules });
  return { netns: container, address };
}
