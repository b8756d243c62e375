// slow: 60 s, changes that nothing announces are found at the next sweep, seconds later
// as user: proving
/**
 * Changes by others under a running daemon are reverted, and nothing else is touched: the table and its parts, bridges,
 * links, addresses and routes, on a real kernel, with the tools that people use. Connections go on. What the policy
 * leaves is left and shown.
 * Limits: that it is fast is measured elsewhere; here it only has to happen. Over 400 lines because every change is made
 * under one daemon and compared with one picture of the host.
 */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Notification } from '../../state/answers/notification.ts';
import type { ContainerView } from '../../state/answers/container/container.ts';
import type { Why } from '../../state/answers/container/why.ts';
import { dial } from '../harness/agent.ts';
import { addressOf, loopbackClient, on, pathOf, port, TestDaemon } from '../harness/daemon.ts';
import { follow } from '../harness/hearing.ts';
import { withAgents } from '../harness/inside.ts';
import { carries, assertComesBackTo, inside, inspect, ipJson } from '../harness/picture.ts';
import { isRootless } from '../harness/host.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { clear } from '../harness/rounds.ts';
import { Transfer } from '../harness/transfer.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const drift = suite('drift');
const seen: Notification[] = [];

const sh = (command: string): string => execFileSync('sh', ['-c', command], { encoding: 'utf8' });

async function start(...policies: string[]): Promise<void> {
  daemon.drift = policies;
  await daemon.start();
  await follow(daemon.socket, (notification) => seen.push(notification));
}

drift.before(async () => {
  sh('sysctl -qw net.bridge.bridge-nf-call-ip6tables=0 2>/dev/null || true'); // for ports on [::1]: docs/firewall.md
  await start();
  for (const [name, subnet] of [
    ['web', '10.50.0.0/24'],
    ['back', '10.51.0.0/24'],
  ] as const) {
    await daemon.network({ name, subnets: [{ subnet }, { subnet: `fd00:${subnet.split('.')[1]}::/64` }] });
  }
});
drift.after(async () => {
  await daemon.stop();
});

// Removes the ones that a failed test left behind, so that the next test starts clean.
drift.before.each(async () => {
  await clear(daemon);
  await until('nothing left', () => table() === '');
});

const table = (): string => /table inet (cleat\S*)/.exec(sh('nft list tables'))?.[1] ?? '';

/** The ruleset as text, without values that differ for each new rule. */
function ruleset(): string {
  return inspectRules()
    .map((line) => line.replace(/"handle":\s*\d+,?\s*/g, ''))
    .sort()
    .join('\n');
}
const inspectRules = (): string[] => inspect(daemon)['ruleset'] ?? [];

/** Links, addresses and routes of a namespace as text, without numbers that differ for each new link. */
function network(netns?: string): string {
  const links = ipJson<Record<string, unknown>[]>(netns, 'address').filter(
    ({ ifname, linkinfo }) => linkinfo !== null && !String(ifname).startsWith('run'),
  );
  const lines = links.map((link) =>
    JSON.stringify([
      link['ifname'],
      link['master'],
      link['mtu'],
      carries(link['flags'] as string[]),
      (link['addr_info'] as Record<string, unknown>[])
        .filter(({ scope }) => scope === 'global')
        .map(({ local, prefixlen }) => `${String(local)}/${String(prefixlen)}`)
        .sort(),
    ]),
  );
  const routes = ['-4', '-6'].flatMap((family) =>
    ipJson<Record<string, unknown>[]>(netns, family, 'route').map(({ dst, gateway, dev, metric }) =>
      JSON.stringify([dst, gateway, dev, metric]),
    ),
  );
  return [...lines, ...routes]
    .filter((line) => !line.includes('"fe80'))
    .sort()
    .join('\n');
}

/** Waits for it, as long as a slow machine may take. What nobody announces is found by a sweep, ten seconds after the last one. */
async function until(
  what: string | (() => string),
  so: () => boolean | Promise<boolean>,
  patience = 30_000,
): Promise<void> {
  const deadline = performance.now() + patience;
  while (!(await so())) {
    if (performance.now() > deadline) {
      throw new Error(`${typeof what === 'string' ? what : what()}: not within ${patience} ms\n${daemon.log()}`);
    }
    await sleep(5);
  }
}

/** Two containers, one on each network, the first with a published port of each kind. */
async function pair(): Promise<[ContainerView, ContainerView]> {
  const ports = [port(8080, 80), port(8081, 81, { host_ip: '127.0.0.1' })];
  const a = await daemon.up('a', { networks: on('web'), port_mappings: ports });
  return [a, await daemon.up('b', { networks: on('back') })];
}

const said = (type: string): Notification[] => seen.filter((notification) => notification.type === type);
const kinds = (type: string): string[] => [
  ...new Set(
    said(type).flatMap((notification) => ('drift' in notification ? notification.drift.map(({ kind }) => kind) : [])),
  ),
];

/** Counts how often the daemon changed nftables while `work` ran. */
async function transactions(work: () => Promise<void>): Promise<string[]> {
  const monitor = spawn('nft', ['monitor'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines: string[] = [];
  createInterface({ input: monitor.stdout }).on('line', (line) => lines.push(line));
  const mark = async (name: string) => {
    await until('nft monitor', () => {
      sh(`nft add table inet ${name}; nft delete table inet ${name}`);
      return lines.some((line) => line.includes(`add table inet ${name}`));
    });
  };
  await mark('begins');
  const from = lines.length;
  await work();
  await mark('ends');
  monitor.kill();
  const during = lines.slice(from);
  const ours = during.filter((line) => /new generation .* \((?!nft)/.test(line));
  if (ours.length > 0) console.log(`${during.join('\n')}\n${JSON.stringify(seen)}`);
  return ours;
}

/** A user's forwarder goes on for some seconds without a port, and would be in a picture. */
const forwarderEnded = () => until('the forwarder has ended', () => !existsSync(`${daemon.runDir}/forwarder`));

/** Runs the break, and waits until everything is as before, and the daemon has reported it. */
function repaired(title: string, kind: string, breaking: (a: ContainerView, b: ContainerView) => string): void {
  drift(title, async () => {
    await forwarderEnded();
    const before = inspect(daemon);
    const [a, b] = await pair();
    const was = { rules: ruleset(), host: network(), a: network(pathOf(a)), b: network(pathOf(b)) };
    const now = () => ({ rules: ruleset(), host: network(), a: network(pathOf(a)), b: network(pathOf(b)) });
    seen.length = 0;
    sh(breaking(a, b));
    await until(`${kind} repaired`, () => kinds('repaired').includes(kind));
    await until('as it was', () => JSON.stringify(now()) === JSON.stringify(was));
    assert.equal(
      said('drift').filter((notification) => notification.type === 'drift' && notification.action !== 'repair'),
      [],
    );
    const { body } = await daemon.get('/v1/containers/a');
    assert.equal([body.state, body.drift, body.fault], ['up', [], null]);
    assert.is((await daemon.get<{ clean: boolean }>('/v1/audit')).body.clean, true);
    await withAgents([pathOf(a), pathOf(b)], async (inA, inB) => {
      await Promise.all([inA.serve('a', 'tcp', 80), inA.serve('a', 'tcp', 81)]);
      const dials: [how: string, answer: Promise<string>][] = [
        ['port from loopback', dial('tcp', '127.0.0.1', 8080)],
        ['port from loopback 6', dial('tcp', '::1', 8080)],
        ['port on loopback', dial('tcp', '127.0.0.1', 8081)],
        ['port from the other network', inB.dial('tcp', '10.51.0.1', 8080)],
        ['address from the other network', inB.dial('tcp', addressOf(a, 'web'), 80)],
        ['address 6 from the host', dial('tcp', addressOf(a, 'web', 6), 80)],
      ];
      assert.equal(
        await Promise.all(dials.map(async ([how, answer]) => `${how}: ${(await answer).split(' ')[0]}`)),
        dials.map(([how]) => `${how}: ${EXPECTED[how] ?? 'a'}`),
      );
    });
    await clear(daemon);
    await assertComesBackTo(before, () => inspect(daemon));
  });
}

/** It carries no port of an ordinary user: the forwarder, which does, is killed in test/rootless/life.test.ts. */
const FIREWALL_CARRIES = !isRootless;

/** Everything else leads to the container. A user's ports are the host's, which is not at the gateway of a network. */
const EXPECTED: Record<string, string> = {
  'address from the other network': 'timeout',
  ...(isRootless ? { 'port from the other network': 'ECONNREFUSED' } : {}),
};

const bridge = (subnet: string): string =>
  ipJson<{ ifname: string; addr_info: { local: string }[] }[]>(undefined, 'address').find(({ addr_info }) =>
    addr_info.some(({ local }) => local === subnet),
  )?.ifname ?? '';
const web = (): string => bridge('10.50.0.1');
const hostLink = ({ id }: ContainerView): string =>
  ipJson<{ ifname: string; ifalias?: string }[]>(undefined, 'link').find(({ ifalias = '' }) =>
    ifalias.includes(`:${id}:`),
  )?.ifname ?? '';
const enter = (container: ContainerView, command: string): string => `nsenter --net=${pathOf(container)} -- ${command}`;

// --- The table ----------------------------------------------------------------------------------------------------

drift('a table that nobody changes is not written to', async () => {
  await pair();
  // More than two looks of the watch on answers, and any that the marks of `transactions` cause.
  assert.equal(await transactions(() => new Promise((resolve) => setTimeout(resolve, 2500))), []);
  await clear(daemon);
});

drift('nft flush ruleset: one transaction restores everything, and connections go on', async () => {
  await forwarderEnded();
  const before = inspect(daemon);
  const [a] = await pair();
  const was = ruleset();
  // Not through a published port: without the table nothing is translated, and the host answers itself.
  const transfer = await Transfer.start(pathOf(a), 80, addressOf(a, 'web'), 80);
  seen.length = 0;
  const ours = await transactions(async () => {
    sh('nft flush ruleset');
    await until('the rules', () => ruleset() === was);
  });
  assert.is(ours.length, 1, ours.join('\n'));
  const [first] = said('drift');
  assert.ok(first?.type === 'drift' && first.by?.startsWith('nft') === true, JSON.stringify(first));
  await transfer.stop();
  await clear(daemon);
  await assertComesBackTo(before, () => inspect(daemon));
});

repaired('nft flush ruleset: isolation and ports are back', 'table', () => 'nft flush ruleset');
repaired('the table is deleted', 'table', () => `nft delete table inet ${table()}`);
repaired('a base chain is flushed', 'table', () => `nft flush chain inet ${table()} prerouting`);
repaired('the chain of a network is flushed', 'rule', () => `nft flush chain inet ${table()} to-${web()}`);
repaired('a rule is put before ours', 'rule', () => `nft insert rule inet ${table()} to-${web()} accept`);
repaired(
  'a network is taken out of the dispatch',
  'rule',
  () => `nft delete element inet ${table()} forward_to '{ "${web()}" }'`,
);
if (FIREWALL_CARRIES) {
  repaired('a published port is deleted', 'port', () => `nft delete element inet ${table()} ports4 '{ tcp . 8080 }'`);
  repaired('a published port is led elsewhere', 'port', () => {
    const element = `element inet ${table()} ports4 { tcp . 8080`;
    return `printf 'delete ${element} }\\nadd ${element} : 10.51.0.99 . 80 }\\n' | nft -f -`;
  });
}

drift('what others add to the table, and their own tables, are left alone', async () => {
  await pair();
  const name = table();
  sh(`nft add chain inet ${name} theirs; nft add rule inet ${name} theirs counter; nft add table inet theirs`);
  sh(`nft add element inet ${name} ports4 '{ tcp . 9999 : 10.50.0.99 . 99 }'`);
  seen.length = 0;
  sh(`nft flush chain inet ${name} forward`);
  await until('repaired', () => said('repaired').length > 0);
  assert.match(sh(`nft list chain inet ${name} theirs`), /counter/);
  assert.match(sh(`nft list map inet ${name} ports4`), /9999/);
  sh(`nft delete chain inet ${name} theirs; nft delete table inet theirs`);
  sh(`nft delete element inet ${name} ports4 '{ tcp . 9999 }'`);
  await clear(daemon);
});

// --- Links, addresses, routes ---------------------------------------------------------------------------------------

repaired('the bridge is deleted', 'link', () => `ip link del ${web()}`);
repaired('the bridge is down', 'link', () => `ip link set ${web()} down`);
repaired('an address of the bridge is deleted', 'address', () => `ip addr del 10.50.0.1/24 dev ${web()}`);
repaired('the IPv6 address of the bridge is deleted', 'address', () => `ip addr del fd00:50::1/64 dev ${web()}`);
repaired('the route of the bridge is deleted', 'route', () => `ip route del 10.50.0.0/24 dev ${web()}`);
repaired(
  'the local route of the bridge is deleted',
  'route',
  () => `ip -6 route del local ::1 dev ${web()} table local`,
);
repaired('a link is taken from its bridge', 'link', (a) => `ip link set ${hostLink(a)} nomaster`);
repaired('bridge and rules go together', 'link', () => `ip link del ${web()}; nft flush ruleset`);
repaired("the host's end of a link is down", 'link', (a) => `ip link set ${hostLink(a)} down`);
repaired("the host's end of a link is deleted", 'link', (a) => `ip link del ${hostLink(a)}`);
repaired('the link inside is deleted', 'link', (a) => enter(a, 'ip link del eth0'));
repaired('the link inside is down', 'link', (a) => enter(a, 'ip link set eth0 down'));
repaired('an address inside is deleted', 'address', (a) => enter(a, `ip addr del ${addressOf(a, 'web')}/24 dev eth0`));
repaired('the IPv6 address inside is deleted', 'address', (a) =>
  enter(a, `ip addr del ${addressOf(a, 'web', 6)}/64 dev eth0`),
);
repaired('the default route inside is deleted', 'route', (a) => enter(a, 'ip route del default'));

drift('a busy namespace of another program does not hide changes in others', async () => {
  sh('ip netns add stranger; ip link add s0 type veth peer name s1 netns stranger; ip -n stranger link set s1 up');
  try {
    sh('ip -n stranger addr add 192.0.2.1/24 dev s1; ip -n stranger addr del 192.0.2.1/24 dev s1');
    await sleep(50); // has been looked for, and not been found
    const a = await daemon.up('a', { networks: on('web') });
    seen.length = 0;
    sh(enter(a, 'ip route del default'));
    await until('repaired', () => kinds('repaired').includes('route'));
  } finally {
    sh('ip link del s0; ip netns del stranger');
  }
});

// --- Policies -------------------------------------------------------------------------------------------------------

drift('alert leaves drift and shows it until it is repaired, and ignore does neither', async () => {
  await daemon.stop();
  await start('route=alert', 'port=ignore', 'rule=alert');
  const [a] = await pair();
  seen.length = 0;
  sh(enter(a, 'ip route del default'));
  const state = async () => (await daemon.get('/v1/containers/a')).body;
  await until('noticed', async () => (await state()).drift?.length === 1);
  assert.equal((await state()).drift?.[0]?.kind, 'route');
  assert.is((await state()).state, 'up');
  await until('said', () => said('drift').length > 0);
  assert.ok(said('drift').every((notification) => notification.type === 'drift' && notification.action === 'alert'));
  assert.not.match(inside(pathOf(a), 'ip', 'route'), /default/);

  sh(`nft flush chain inet ${table()} to-${web()}`);
  const doctor = async () => JSON.stringify((await daemon.get<object>('/v1/doctor')).body);
  await until('in doctor', async () => (await doctor()).includes(`chain to-${web()}`));

  // Another repair reports nothing about these.
  seen.length = 0;
  if (FIREWALL_CARRIES) sh(`nft delete element inet ${table()} ports4 '{ tcp . 8080 }'`);
  sh(`ip addr del 10.50.0.1/24 dev ${web()}`);
  await until('repaired', () => said('repaired').length > 0);
  assert.equal(kinds('repaired'), ['address']);
  assert.not.match(inside(pathOf(a), 'ip', 'route'), /default via 10/);
  assert.not.match(sh(`nft list map inet ${table()} ports4`), /8080/);
  assert.equal(
    (await state()).drift?.map(({ kind }) => kind),
    ['route'],
  );

  await daemon.done({ type: 'reload', id: 'a', full: true });
  await until('mended', async () => (await state()).drift?.length === 0);
  assert.match(inside(pathOf(a), 'ip', 'route'), /default/);
  await daemon.stop();
  await start();
  await until('the rules', () => sh(`nft list chain inet ${table()} to-${web()}`).includes('drop'));
  await until('the port', () => !FIREWALL_CARRIES || sh(`nft list map inet ${table()} ports4`).includes('8080'));
  await clear(daemon);
});

// --- Without the daemon, and while it is busy -------------------------------------------------------------------------

drift('what was removed while there was no daemon is restored soon after the start', async () => {
  await forwarderEnded();
  const before = inspect(daemon);
  const [a, b] = await pair();
  const was = [ruleset(), network(), network(pathOf(a)), network(pathOf(b))];
  await daemon.kill();
  sh(`nft flush ruleset; ip link del ${web()}; ip link del ${hostLink(b)}`);
  sh(enter(a, 'ip addr flush dev eth0'));
  seen.length = 0;
  await start();
  await until(
    'as it was',
    () => JSON.stringify([ruleset(), network(), network(pathOf(a)), network(pathOf(b))]) === JSON.stringify(was),
  );
  await clear(daemon);
  await assertComesBackTo(before, () => inspect(daemon));
});

drift('an unmounted pin is mounted again as long as a process lives in the namespace, with the same one', async () => {
  const a = await daemon.up('a', { networks: on('web'), port_mappings: [port(8080, 80)] });
  const path = pathOf(a);
  const namespace = statSync(path).ino;
  // For a moment the file does not exist.
  const isPinned = () => statSync(path, { throwIfNoEntry: false })?.ino === namespace;
  await withAgents([path, null], async (agent, host) => {
    await agent.serve('a', 'tcp', 80);
    sh(`umount ${path}`);
    assert.not.ok(isPinned());
    await until('pinned again', isPinned);
    await until('said', () => seen.some(({ type, id }) => type === 'repaired' && id === 'a'));
    assert.is(await host.dial('tcp', '127.0.0.1', 8080), `a ${loopbackClient(a, 'web')}`);
    assert.equal((await daemon.get<ContainerView>('/v1/containers/a')).body.drift, []);
    await daemon.kill();
    sh(`umount ${path}`);
    await start();
    assert.ok(isPinned(), 'the next daemon has pinned it before its first answer');
    await daemon.kill();
    sh(`umount ${path}; rm ${path}; mkdir ${path}`); // nothing can be mounted there
    await start();
    await until('why says it', async () => {
      const { led } = (await daemon.get<Why>('/v1/containers/a/why')).body;
      return led.some(({ text }) => text.startsWith('Its namespace could not be pinned again: '));
    });
    assert.match(daemon.log(), /"msg":"the pin of container a: /);
    sh(`rmdir ${path}`);
    await until('pinned by the watch', isPinned);
    assert.is((await daemon.event({ type: 'reload', id: 'a', full: true })).status, 200);
    assert.is(await host.dial('tcp', '127.0.0.1', 8080), `a ${loopbackClient(a, 'web')}`);
  });
  await daemon.down('a');
  assert.throws(() => statSync(path), /ENOENT/);
});

drift('an unmounted pin of a namespace without a process is named, and not made again', async () => {
  const a = await daemon.up('a', { networks: on('web') });
  sh(`umount ${pathOf(a)}`);
  await until('named', async () => {
    const { body } = await daemon.get<ContainerView>('/v1/containers/a');
    return body.drift.some(({ object }) => object === pathOf(a));
  });
  await daemon.down('a');
});

drift('a storm of drift while containers come and go ends with everything right', async () => {
  await forwarderEnded();
  const before = inspect(daemon);
  const [a] = await pair();
  let stop = false;
  const storm = (async () => {
    while (!stop) {
      sh(`nft flush ruleset; ip link set ${hostLink(a)} nomaster 2>/dev/null || true`);
      await sleep(15);
    }
  })();
  const answers: number[] = [];
  for (let i = 0; i < 12; i++) {
    await daemon.event({ type: 'create', id: `s${i}`, networks: on('web'), port_mappings: [port(9000 + i, 80)] });
    answers.push((await daemon.event({ type: 'configure', id: `s${i}` })).status);
    if (i % 2 === 0) await daemon.event({ type: 'teardown', id: `s${i}` });
  }
  stop = true;
  await storm;
  // Some may have been refused, because the table went in the middle of their operation. None may be half done.
  assert.ok(
    answers.some((status) => status === 200),
    answers.join(),
  );
  // A container that failed in the storm waits before it tries again, longer the second time, and one after the other.
  let found = '';
  const clean = async () => {
    const { body, text } = await daemon.get<{ clean: boolean }>('/v1/audit');
    found = text;
    return body.clean;
  };
  await until(() => `clean, instead of ${found}`, clean, 30_000);
  await until('the port', async () => {
    const { body } = await daemon.get<ContainerView[]>('/v1/containers');
    const map = sh(`nft list map inet ${table()} ports4`);
    return body
      .filter(({ state }) => state === 'up')
      .every(({ ports }) =>
        ports.every((p) => !FIREWALL_CARRIES || p.host_ip !== '' || map.includes(`tcp . ${p.host_port} `)),
      );
  });
  await clear(daemon);
  await assertComesBackTo(before, () => inspect(daemon));
});

drift.run();
