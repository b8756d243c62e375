/**
 * Permanent neighbour entries, as `ip neighbour` shows them: of a container on its bridge, and of the gateways inside,
 * in both families. They survive everything that changes addresses or links, and go with the container.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { AuditReport } from '../../state/answers/audit.ts';
import type { ContainerView } from '../../state/answers/container/container.ts';
import { addressOf, on, pathOf, TestDaemon } from '../harness/daemon.ts';
import { macOf } from '../harness/frames.ts';
import { inside, ipJson } from '../harness/picture.ts';
import { scratch, until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const known = suite('permanent neighbours');
let bridge: string;

interface Entry {
  dst: string;
  dev: string;
  lladdr?: string;
}

/** "ADDRESS MAC" of each on a link. */
const onLink = (link: string, netns?: string): string[] =>
  ipJson<Entry[]>(netns, 'neighbour', 'show', 'nud', 'permanent', 'dev', link)
    .map(({ dst, lladdr = '' }) => `${dst} ${lladdr}`)
    .sort();

const sorted = (...lines: string[]): string[] => lines.sort();

/** The expected entries of these containers on the bridge of web, and inside each of them. */
function whole(...containers: ContainerView[]): void {
  const outside = containers.flatMap((container) => {
    const mac = macOf(pathOf(container), 'eth0');
    return [`${addressOf(container, 'web')} ${mac}`, `${addressOf(container, 'web', 6)} ${mac}`];
  });
  assert.equal(onLink(bridge), sorted(...outside));
  const gateways = sorted(`10.60.0.1 ${macOf(undefined, bridge)}`, `fd00:60::1 ${macOf(undefined, bridge)}`);
  for (const container of containers) assert.equal(onLink('eth0', pathOf(container)), gateways);
}

async function findings(): Promise<string[]> {
  const { body } = await daemon.get<AuditReport>('/v1/audit');
  return body.findings.map(({ problem, kind, object, owner = '' }) => `${problem} ${kind} ${object} ${owner}`.trim());
}

known.before(async () => {
  await daemon.start();
  const subnets = [{ subnet: '10.60.0.0/24' }, { subnet: 'fd00:60::/64' }];
  bridge = (await daemon.network({ name: 'web', subnets })).network_interface;
});
known.after(async () => {
  await daemon.stop();
});
known.after.each(async () => {
  const { body } = await daemon.get<ContainerView[]>('/v1/containers');
  await daemon.down(...body.map(({ id }) => id));
});

known('permanent neighbours are made with the container, kept by a full reload, and gone with it', async () => {
  const a = await daemon.up('a', { networks: on('web') });
  const b = await daemon.up('b', { networks: on('web') });
  whole(a, b);
  await daemon.done({ type: 'reload', id: 'a', full: true });
  whole(a, b);
  await daemon.down('a');
  whole(b);
});

known('a container communicates without any neighbour request', async () => {
  const a = await daemon.up('a', { networks: on('web') });
  // Nobody listens there: the ICMP error of the host has come back through the host's own table (RFC 792).
  const say =
    'import socket,sys\ns=socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET,socket.SOCK_DGRAM)';
  const hear =
    's.connect((sys.argv[1],9))\ns.settimeout(5)\ns.send(b"x")\ntry: s.recv(9)\nexcept ConnectionRefusedError: print("refused")';
  for (const gateway of ['10.60.0.1', 'fd00:60::1']) {
    assert.is(inside(pathOf(a), 'python3', '-c', `${say}\n${hear}`, gateway), 'refused\n');
  }
  const asked = ipJson<Entry[]>(undefined, 'neighbour', 'show', 'dev', bridge).map(({ dst }) => dst);
  assert.equal(asked.sort(), sorted(addressOf(a, 'web'), addressOf(a, 'web', 6)));
});

known('connect and disconnect add and remove permanent neighbours', async () => {
  const other = await daemon.network({ name: 'other', subnets: [{ subnet: '10.61.0.0/24' }] });
  const a = await daemon.up('a', { networks: on('web') });
  const both = await daemon.done({ type: 'connect', id: 'a', network: 'other' });
  assert.equal(onLink(other.network_interface), [`${addressOf(both, 'other')} ${macOf(pathOf(a), 'eth1')}`]);
  assert.equal(onLink('eth1', pathOf(a)), [`10.61.0.1 ${macOf(undefined, other.network_interface)}`]);
  const b = await daemon.up('b', { networks: on('other') });
  await daemon.done({ type: 'disconnect', id: 'a', network: 'other' });
  assert.equal(onLink(other.network_interface), [`${addressOf(b, 'other')} ${macOf(pathOf(b), 'eth0')}`]);
  whole(a);
});

known('an update of the network adds the neighbours of its new subnets', async () => {
  const { network_interface: link } = await daemon.network({ name: 'moving', subnets: [{ subnet: '10.62.0.0/24' }] });
  const a = await daemon.up('a', { networks: on('moving') });
  const update = { subnets: [{ subnet: '10.63.0.0/24' }, { subnet: 'fd00:63::/64' }], options: { mtu: '1400' } };
  const { status, text } = await daemon.request('PATCH', '/v1/networks/moving', update);
  assert.is(status, 200, text);
  const leased = ipJson<{ addr_info: { local: string; scope: string }[] }[]>(pathOf(a), 'address', 'show', 'eth0');
  const addresses = leased.flatMap(({ addr_info }) => addr_info.filter(({ scope }) => scope === 'global'));
  assert.is(addresses.length, 3);
  const mac = macOf(pathOf(a), 'eth0');
  assert.equal(onLink(link), sorted(...addresses.map(({ local }) => `${local} ${mac}`)));
  const gateways = ['10.62.0.1', '10.63.0.1', 'fd00:63::1'].map((address) => `${address} ${macOf(undefined, link)}`);
  assert.equal(onLink('eth0', pathOf(a)), sorted(...gateways));
});

known('neighbours that the kernel forgets when a link goes down are restored', async () => {
  const a = await daemon.up('a', { networks: on('web') });
  const b = await daemon.up('b', { networks: on('web') });
  const isWhole = () => {
    try {
      whole(a, b);
      return true;
    } catch {
      return false;
    }
  };
  const cases: [string, () => unknown][] = [
    ['the bridge', () => execFileSync('ip', ['link', 'set', bridge, 'down'])],
    ['the bridge, and up again', () => execFileSync('ip', ['-batch', '-'], { input: bounced(bridge) })],
    ['the bridge itself', () => execFileSync('ip', ['link', 'del', bridge])],
    ['inside', () => inside(pathOf(a), 'ip', 'link', 'set', 'eth0', 'down')],
  ];
  for (const [what, take] of cases) {
    take();
    await until(what, isWhole);
  }
  assert.equal(await findings(), []);
});

known('a bridge whose MAC was changed gets its own back', async () => {
  const a = await daemon.up('a', { networks: on('web') });
  const mac = macOf(undefined, bridge);
  // The watch gets no notification of the change itself, but one of the link that goes down.
  execFileSync('ip', ['-batch', '-'], { input: `link set ${bridge} address 02:00:00:00:00:01\n${bounced(bridge)}` });
  await until('its MAC', () => macOf(undefined, bridge) === mac && onLink(bridge).length === 2);
  whole(a);
});

known('the audit finds missing neighbours, and those without an owner', async () => {
  const a = await daemon.up('a', { networks: on('web') });
  const mac = macOf(pathOf(a), 'eth0');
  const address = addressOf(a, 'web');
  assert.equal(await findings(), []);
  execFileSync('ip', ['neighbour', 'del', address, 'dev', bridge]);
  execFileSync('ip', [
    'neighbour',
    'add',
    '10.60.0.99',
    'lladdr',
    '02:00:00:00:00:99',
    'dev',
    bridge,
    'nud',
    'permanent',
  ]);
  assert.equal(await findings(), [
    `leaked neighbour 10.60.0.99 at 02:00:00:00:00:99 on ${bridge}`,
    `missing neighbour ${address} at ${mac} on ${bridge} a`,
  ]);
});

known('a daemon that died in the middle of a teardown leaves no neighbour', async () => {
  const b = await daemon.up('b', { networks: on('web') });
  await daemon.up('a', { networks: on('web') });
  await daemon.stop();
  const points = scratch();
  daemon.environment = { CLEAT_FAILPOINTS: points };
  await daemon.start();
  writeFileSync(`${points}/order`, 'SIGKILL awaitLinksGone:durable#1');
  await daemon.event({ type: 'teardown', id: 'a' }).catch(() => {}); // it may answer before it dies
  await until('it dies', () => !existsSync(`/proc/${daemon.pid}/exe`));
  assert.is(onLink(bridge).length, 4);
  daemon.environment = {};
  await daemon.kill();
  await daemon.start();
  await daemon.gone('a');
  whole(b);
});

const bounced = (link: string) => `link set ${link} down\nlink set ${link} up\n`;

known.run();
