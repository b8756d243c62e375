// slow: 100 s, changes that nothing announces are found at the next sweep, seconds later
/**
 * Changes by others under cleat, of every kind, one at a time: they are noticed, named by ps, inspect, audit and
 * doctor, and reverted, also by a daemon that was not running when they happened. Prints the matrix.
 *
 * Limits: the names are read from a daemon whose policy is to leave everything (alert), because one that repairs is
 * quicker than the request.
 */
// proving: 1800
import { execFileSync } from 'node:child_process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { AuditReport } from '../../state/answers/audit.ts';
import type { Check } from '../../state/answers/doctor.ts';
import { table as tableOf } from '../../cli/table.ts';
import { DRIFT_KINDS } from '../../state/drift.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import { addressOf, on, pathOf, port, TestDaemon, type Answer } from '../harness/daemon.ts';
import { pauseAfter } from '../harness/native.ts';
import { calm, inspectKernel, type Picture } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { effort, proved, spread } from '../harness/proof.ts';

requirePrivateNamespace();

/** A sweep begins after ten seconds; the rest is for a machine with other work. */
const PATIENCE_MS = 40_000;

interface World {
  daemon: TestDaemon;
  bridge: string;
  table: string;
  /** A container on two networks with IPv6 and a published port. */
  path: string;
  address: string;
  /** The host link of that container on web. */
  link: string;
  /** The namespace of container b, whose port the forwarder carries. */
  forwarded: string;
}

interface Change {
  what: string;
  /** True for objects that containers share, which doctor names; ps and inspect name the others. */
  shared: boolean;
  /** False if the audit does not compare the object, because no file says what it should be. */
  audited?: false;
  command: (world: World) => string;
  /** The container whose object is changed: a, unless this says b. */
  container?: 'b';
}

const forwarded = (what: string, command: string): Change => ({
  what: `${what} for the forwarder inside`,
  shared: false,
  container: 'b',
  command: (world) => inside({ ...world, path: world.forwarded }, command),
});

const inside = ({ path }: World, command: string): string => `nsenter --net=${path} -- sh -c '${command}'`;

const bridgeSwitch = (what: string, family: string, name: string, value: 0 | 1): Change => ({
  what,
  shared: true,
  command: ({ bridge }) => `echo ${value} > /proc/sys/${family}/conf/${bridge}/${name}`,
});

const CHANGES: Change[] = [
  {
    what: 'net.ipv4.ip_forward turned off',
    shared: true,
    audited: false,
    command: () => 'echo 0 > /proc/sys/net/ipv4/ip_forward',
  },
  {
    what: 'forwarding of IPv6 turned off',
    shared: true,
    audited: false,
    command: () => 'echo 0 > /proc/sys/net/ipv6/conf/all/forwarding',
  },
  {
    what: 'accept_ra of an uplink turned to 1',
    shared: true,
    audited: false,
    command: () => 'echo 1 > /proc/sys/net/ipv6/conf/up0/accept_ra',
  },
  bridgeSwitch('route_localnet of a bridge turned off', 'net/ipv4', 'route_localnet', 0),
  bridgeSwitch('arp_filter of a bridge turned off', 'net/ipv4', 'arp_filter', 0),
  bridgeSwitch('accept_redirects of a bridge turned on', 'net/ipv6', 'accept_redirects', 1),
  bridgeSwitch('accept_ra of a bridge turned on', 'net/ipv6', 'accept_ra', 1),
  {
    what: 'the MAC of a bridge changed',
    shared: true,
    command: ({ bridge }) => `ip link set ${bridge} address 02:00:00:99:99:99`,
  },
  {
    what: 'the MTU of a bridge changed',
    shared: true,
    audited: false,
    command: ({ bridge }) => `ip link set ${bridge} mtu 1400`,
  },
  {
    what: 'an address of a bridge taken',
    shared: true,
    command: ({ bridge }) => `ip address del 10.70.0.1/24 dev ${bridge}`,
  },
  { what: 'a bridge taken down', shared: true, command: ({ bridge }) => `ip link set ${bridge} down` },
  {
    what: 'a neighbour on a bridge replaced',
    shared: true,
    command: ({ bridge, address }) =>
      `ip neigh replace ${address} lladdr 02:00:00:99:99:99 dev ${bridge} nud permanent`,
  },
  {
    what: 'a neighbour on a bridge taken',
    shared: true,
    command: ({ bridge, address }) => `ip neigh del ${address} dev ${bridge}`,
  },
  {
    what: 'a chain with another policy',
    shared: true,
    command: ({ table }) =>
      `nft "add chain inet ${table} forward { type filter hook forward priority 0 ; policy drop ; }"`,
  },
  {
    what: 'the table dormant',
    shared: true,
    command: ({ table }) => `nft "add table inet ${table} { flags dormant ; }"`,
  },
  {
    what: 'a chain flushed',
    shared: true,
    audited: false,
    command: ({ table }) => `nft flush chain inet ${table} forward`,
  },
  {
    what: 'an element taken',
    shared: true,
    audited: false,
    command: ({ table, bridge }) => `nft delete element inet ${table} bridges { ${bridge} }`,
  },
  { what: 'a published port taken', shared: false, command: ({ table }) => `nft flush map inet ${table} ports4` },
  { what: 'the MTU of a host link changed', shared: false, command: ({ link }) => `ip link set ${link} mtu 1300` },
  { what: 'a host link taken down', shared: false, command: ({ link }) => `ip link set ${link} down` },
  { what: 'a host link off its bridge', shared: false, command: ({ link }) => `ip link set ${link} nomaster` },
  { what: 'a host link deleted', shared: false, command: ({ link }) => `ip link del ${link}` },
  { what: 'lo taken down inside', shared: false, command: (world) => inside(world, 'ip link set lo down') },
  { what: 'a link taken down inside', shared: false, command: (world) => inside(world, 'ip link set eth0 down') },
  {
    what: 'the MAC inside changed',
    shared: false,
    command: (world) => inside(world, 'ip link set eth0 address 02:00:00:98:98:98'),
  },
  { what: 'the MTU inside changed', shared: false, command: (world) => inside(world, 'ip link set eth0 mtu 1300') },
  {
    what: 'an address taken inside',
    shared: false,
    command: (world) => inside(world, `ip address del ${world.address}/24 dev eth0`),
  },
  {
    what: 'a route taken inside',
    shared: false,
    command: (world) => inside(world, 'ip route del default via 10.70.0.1'),
  },
  { what: 'a rule taken inside', shared: false, command: (world) => inside(world, 'ip rule del pref 32000') },
  forwarded('the rule taken', 'ip rule del pref 99'),
  forwarded('the rule of IPv6 taken', 'ip -6 rule del pref 99'),
  forwarded('the route taken', 'ip route flush table 0x636c6561'),
  forwarded('tcp_fwmark_accept turned off', 'echo 0 > /proc/sys/net/ipv4/tcp_fwmark_accept'),
  {
    what: 'the neighbour of the gateway replaced inside',
    shared: false,
    command: (world) => inside(world, 'ip neigh replace 10.70.0.1 lladdr 02:00:00:97:97:97 dev eth0 nud permanent'),
  },
  {
    what: 'IPv6 turned off inside',
    shared: false,
    command: (world) => inside(world, 'echo 1 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6'),
  },
  {
    what: 'accept_redirects turned on inside',
    shared: false,
    command: (world) => inside(world, 'echo 1 > /proc/sys/net/ipv4/conf/eth0/accept_redirects'),
  },
];

const sh = (command: string): string =>
  execFileSync('sh', ['-c', command], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

async function raise(drift: string[]): Promise<World> {
  const daemon = new TestDaemon();
  daemon.drift = drift;
  await daemon.start();
  const subnets = [{ subnet: '10.70.0.0/24' }, { subnet: 'fd00:70::/64' }];
  await daemon.network({ name: 'web', subnets });
  await daemon.network({ name: 'back', subnets: [{ subnet: '10.71.0.0/24' }] });
  const view = await daemon.up('a', { networks: on('web', 'back'), port_mappings: [port(8080, 80)] });
  const b = await daemon.up('b', { networks: on('web'), port_mappings: [port(8081, 80)], port_handler: 'forwarder' });
  const bridge = (await daemon.get<NetworkDefinition>('/v1/networks/web')).body.network_interface;
  const table = /inet (cleat\S*)/.exec(sh('nft list tables'))?.[1] ?? '';
  const links = JSON.parse(sh('ip -j link')) as { ifname: string; master?: string; ifalias?: string }[];
  const link = links.find(({ master, ifalias = '' }) => master === bridge && ifalias.includes(':a:'))?.ifname ?? '';
  assert.ok(table !== '' && link !== '');
  return { daemon, bridge, table, path: pathOf(view), address: addressOf(view, 'web'), link, forwarded: pathOf(b) };
}

/**
 * Reads host and container, without values that differ for each new link: its numbers, and the MAC that the kernel
 * chose.
 */
function picture({ path, forwarded: other }: World): string {
  const made = (JSON.parse(sh('ip -j link show type veth')) as { ifalias?: string; address: string }[]).filter(
    ({ ifalias = '' }) => ifalias.startsWith('cleat:'),
  );
  const text = (one: Picture) =>
    made
      .reduce((all, { address }) => all.replaceAll(address, 'MAC'), JSON.stringify(one))
      .replaceAll(/\\"(ifindex|link_index|iflink)\\": \d+/g, '')
      .replaceAll(/\\"handle\\":\d+/g, '')
      .replaceAll(/@if\d+/g, '')
      .replaceAll(
        /\\"(root_id|bridge_id|designated_root|designated_bridge|id|no|port_id|[a-z_]*timer|rtnl_link_stats|ageing)\\": [^,]*,/g,
        '',
      );
  const spaces = [path, other].map((space) => {
    const { mounts: _mounts, ...rest } = inspectKernel(space);
    return sorted(text(rest));
  });
  return sorted(text(inspectKernel())) + spaces.join('');
}

/** Sorts the objects, because their order changes when one is removed and restored. */
const sorted = (json: string): string =>
  Object.values(JSON.parse(json) as Picture)
    .flat()
    .sort()
    .join('\n');

async function seconds(holds: () => boolean | Promise<boolean>): Promise<number | null> {
  const began = performance.now();
  while (performance.now() - began < PATIENCE_MS) {
    const looked = performance.now();
    if (await holds()) return (performance.now() - began) / 1000;
    await pauseAfter(looked);
  }
  return null;
}

/** A daily run tries some of them, as different as possible; npm run prove tries all. */
const TRIED = spread(CHANGES, effort('changes', 4, CHANGES.length));
const rows: string[][] = [];
const cell = (value: number | null | undefined): string =>
  value === undefined ? '-' : value === null ? 'NEVER' : `${value.toFixed(1)} s`;
const matrix = suite('what others change');

matrix.before(() => {
  sh('ip link add up0 type veth peer name up1; echo 1 > /proc/sys/net/ipv6/conf/up0/accept_ra');
});

matrix('every change by others is reverted within a bounded time', async () => {
  const world = await raise([]);
  await calm();
  await calm(world.path);
  const before = picture(world);
  const missing: string[] = [];
  for (const { what, command } of TRIED) {
    sh(command(world));
    const back = await seconds(() => picture(world) === before);
    rows.push([what, cell(back)]);
    if (back !== null) continue;
    missing.push(`${what} is not put back:\n${difference(before, picture(world))}`);
    break;
  }
  await world.daemon.down('a', 'b');
  await world.daemon.stop();
  assert.equal(missing, []);
});

function difference(before: string, now: string): string {
  const [was, is] = [new Set(before.split('\n')), new Set(now.split('\n'))];
  return [
    ...[...was].filter((line) => !is.has(line)).map((line) => `- ${line}`),
    ...[...is].filter((line) => !was.has(line)).map((line) => `+ ${line}`),
  ].join('\n');
}

matrix('every change by others is reverted by a daemon that was not running when it happened', async () => {
  const world = await raise([]);
  await calm();
  await calm(world.path);
  const before = picture(world);
  for (const [i, { what, command }] of TRIED.entries()) {
    await world.daemon.kill();
    sh(command(world));
    await world.daemon.start();
    const back = await seconds(() => picture(world) === before);
    rows[i]?.push(cell(back));
    assert.ok(back !== null, `${what} is not put back by the next daemon:\n${difference(before, picture(world))}`);
  }
  await world.daemon.down('a', 'b');
  await world.daemon.stop();
});

matrix("every change by others is named in the daemon's views when the policy is to leave it", async () => {
  const silent: string[] = [];
  for (const [i, { what, shared, audited = true, command, container = 'a' }] of TRIED.entries()) {
    const world = await raise(DRIFT_KINDS.map((kind) => `${kind}=alert`));
    const { daemon } = world;
    sh(command(world));
    type View = { drift: unknown[] };
    const said = await seconds(async () => {
      if (!shared) return (await daemon.get<View>(`/v1/containers/${container}`)).body.drift.length > 0;
      const { body } = await daemon.get<{ checks: Check[] }>('/v1/doctor');
      return body.checks.some(({ name, ok }) => name === 'drift' && !ok);
    });
    const listed = shared
      ? undefined
      : await seconds(async () => {
          const { body } = await daemon.get<{ id: string; drift: unknown[] }[]>('/v1/containers');
          return body.some(({ id, drift }) => id === container && drift.length > 0);
        });
    const audit: Answer<AuditReport> = await daemon.get('/v1/audit');
    const found = audited ? (audit.body.clean ? null : 0) : undefined;
    rows[i]?.push(
      ...(shared ? ['-', '-', cell(said)] : [cell(listed), cell(said), '-']),
      audited ? (found === null ? 'NEVER' : 'yes') : '-',
    );
    if (said === null || listed === null || found === null) silent.push(what);
    await daemon.down('a', 'b');
    await daemon.stop();
  }
  assert.equal(silent, [], 'changed in silence');
});

matrix.after(async () => {
  const lines = await tableOf(
    ['changed by others', 'put back', 'after a restart', 'ps', 'inspect', 'doctor', 'audit'],
    rows,
  );
  console.log(lines.join('\n'));
  proved('changes by others, three ways each', rows.length);
});

matrix.run();
