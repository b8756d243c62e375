// timeout: 240
/**
 * User-mode networking as a container and its clients find it: the real slirp4netns and pasta, their ports, their ends, and
 * a daemon that is killed meanwhile.
 *
 * Limits: nothing is resolved: there is no name server to ask. That a mount of ours outlives slirp4netns' sandbox is seen in
 * effects/uplink-process.test.ts.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Check } from '../../service/doctor.ts';
import type { Inspection } from '../../service/inspect.ts';
import type { Happening } from '../../state/happening.ts';
import type { ContainerView } from '../../service/view.ts';
import type { ContainerStats } from '../../state/stats.ts';
import type { Agent } from '../harness/agent.ts';
import { on, pathOf, port, TestDaemon } from '../harness/daemon.ts';
import { follow } from '../harness/hearing.ts';
import { addNetns, agentIn, ended, endSleepers, sleeper, withAgents } from '../harness/inside.ts';
import { until } from '../harness/native.ts';
import { calm, comesBackTo, inspect, ipJson, type Picture } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { clear } from '../harness/rounds.ts';
import { Transfer } from '../harness/transfer.ts';

requirePrivateNamespace();

const HOST = '192.0.2.1';
const LAN = '192.0.2.2';
const SLIRP = { program: 'slirp4netns' } as const;

type SlirpShown = Extract<NonNullable<Inspection['uplink']>, { program: 'slirp4netns' }>;

const daemon = new TestDaemon();
const uplink = suite('uplink');
const seen: Happening[] = [];
let before: Picture;
let lan: Agent, host: Agent;

uplink.before(async () => {
  const netns = addNetns('lan');
  execFileSync('ip', ['link', 'add', 'lan0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', netns]);
  execFileSync('ip', ['-batch', '-'], {
    input: `addr add ${HOST}/24 dev lan0\nlink set lan0 up\nroute add default via ${LAN}\n`,
  });
  execFileSync('ip', ['-n', 'lan', '-batch', '-'], { input: `addr add ${LAN}/24 dev eth0\nlink set eth0 up\n` });
  await calm();
  [lan, host] = await Promise.all([agentIn(netns), agentIn(null)]);
  await lan.serve('lan', 'tcp', 7000);
  await lan.serve('lan', 'udp', 7000);
  await host.serve('host', 'tcp', 7001);
  await daemon.start();
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.50.0.0/24' }] });
  await daemon.network({ name: 'back', subnets: [{ subnet: '10.51.0.0/24' }] });
  before = inspect(daemon);
});
// Those that a failed test left behind: the next one tells its own story.
uplink.before.each(async () => {
  if (daemon.pid === 0) await daemon.start();
  await clear(daemon);
});
uplink.after(async () => {
  lan.stop();
  host.stop();
  endSleepers();
  await daemon.kill();
});

const shown = async (id: string): Promise<Inspection> => (await daemon.get<Inspection>(`/v1/containers/${id}`)).body;
const process_ = async (id: string) => {
  const { uplink: found } = await shown(id);
  if (!found?.process?.pid) throw new Error(`${id} has no process: ${JSON.stringify(found)}`);
  return found.process as typeof found.process & { pid: number };
};
/** Whether it is up with a process that is not this one. */
const another = async (id: string, pid: number) => {
  const { state, uplink: found } = await shown(id);
  const now = found?.process?.pid ?? null;
  return state === 'up' && found?.process?.state === 'ready' && now !== null && now !== pid;
};
const isUp = async (id: string) => (await daemon.get<ContainerView>(`/v1/containers/${id}`)).body.state === 'up';
/** Everything is torn down: as before, processes too. */
async function nothingLeft(...ids: string[]): Promise<void> {
  await daemon.down(...ids);
  await comesBackTo(before, () => inspect(daemon));
  await daemon.clean();
}

uplink('slirp4netns: an interface, a way out, and no way in to the host', async () => {
  const up = await daemon.up('a', { uplink: SLIRP, files: true });
  const { process, ...facts } = (await shown('a')).uplink as SlirpShown;
  assert.is(facts.interface, 'tap0');
  assert.equal(facts.addresses, [{ address: '10.0.2.100', prefix: 24, gateway: '10.0.2.2' }]);
  assert.equal(facts.dns, ['10.0.2.3']);
  assert.equal([facts.mtu, facts.cidr, facts.missing], [65_520, '10.0.2.0/24', []]);
  assert.equal([process?.state, process?.ended], ['ready', 0]);
  assert.match(readFileSync(`${daemon.runDir}/etc/a/resolv.conf`, 'utf8'), /^nameserver 10\.0\.2\.3$/m);
  const { NetworkSettings: settings, drift } = await shown('a');
  assert.equal([settings.IPAddress, settings.Gateway, settings.IPPrefixLen], ['10.0.2.100', '10.0.2.2', 24]);
  assert.equal(drift, []);
  const links = ipJson<{ ifname: string; mtu: number }[]>(pathOf(up), 'link');
  assert.equal(links.find(({ ifname }) => ifname === 'tap0')?.mtu, 65_520);
  await withAgents([pathOf(up)], async (inside) => {
    assert.is(await inside.dial('tcp', LAN, 7000, 2000), `lan ${HOST}`);
    assert.is(await inside.dial('udp', LAN, 7000, 2000), `lan ${HOST}`);
    assert.not.match(await inside.dial('tcp', '10.0.2.2', 7001, 500), /^host/);
  });
  const stats = (await daemon.get<ContainerStats>('/v1/containers/a/stats')).body.interfaces?.tap0;
  assert.is(stats?.network, 'slirp4netns');
  assert.ok((stats?.tx_bytes ?? 0) > 0);
  await nothingLeft('a');
});

uplink('slirp4netns: every option, the engine before the container', async () => {
  await daemon.stop();
  daemon.uplinks = { slirp4netnsOptions: ['mtu=1400', 'cidr=10.7.0.0/24'] };
  await daemon.start();
  const options = ['cidr=10.9.0.0/16', 'allow_host_loopback=true', 'enable_ipv6=true', `outbound_addr=${HOST}`];
  const up = await daemon.up('a', { uplink: { ...SLIRP, options } });
  const found = (await shown('a')).uplink as SlirpShown;
  assert.equal(
    found.addresses.map(({ address, prefix }) => `${address}/${prefix}`),
    ['10.9.0.100/16', 'fd00::100/64'],
  );
  assert.is(found.mtu, 1400);
  await withAgents([pathOf(up)], async (inside) => {
    assert.is(await inside.dial('tcp', LAN, 7000, 2000), `lan ${HOST}`);
    assert.match(await inside.dial('tcp', '10.9.0.2', 7001, 2000), /^host/);
  });
  await daemon.down('a');
  await daemon.stop();
  daemon.uplinks = {};
  await daemon.start();
  await comesBackTo(before, () => inspect(daemon));
});

for (const [what, create] of [
  ['behind slirp4netns', { uplink: SLIRP }],
  ['on a bridge', { networks: on('web'), port_handler: 'forwarder' }],
  ['behind pasta', { uplink: { program: 'pasta' }, port_handler: 'forwarder' }],
] as const) {
  uplink(`the forwarder ${what}: who asks keeps the address, and ports come and go while it runs`, async () => {
    const up = await daemon.up('a', {
      ...create,
      port_mappings: [port(8080, 80), port(8080, 80, { protocol: 'udp' }), port(8081, 80, { host_ip: '127.0.0.1' })],
    });
    await withAgents([pathOf(up)], async (inside) => {
      await inside.serve('a', 'tcp', 80);
      await inside.serve('a', 'udp', 80);
      assert.is(await lan.dial('tcp', HOST, 8080, 2000), `a ${LAN}`);
      assert.match(await lan.dial('udp', HOST, 8080, 2000), /^a /);
      assert.match(await host.dial('tcp', '127.0.0.1', 8080, 2000), /^a (?!127\.)/);
      assert.match(await host.dial('tcp', '::1', 8080, 2000), /^a /);
      assert.match(await host.dial('tcp', '127.0.0.1', 8081, 2000), /^a (?!127\.)/);
      assert.is(await lan.dial('tcp', HOST, 8081, 500), 'ECONNREFUSED');
      await daemon.clean();

      await daemon.done({ type: 'publish', id: 'a', port_mappings: [port(9000, 80, { range: 3 })] });
      const taken = await daemon.event({
        type: 'create',
        id: 'b',
        networks: on('web'),
        port_mappings: [port(9001, 1)],
      });
      assert.is(taken.status, 200);
      assert.is((await daemon.event({ type: 'configure', id: 'b' })).body.error?.code, 'PORT_TAKEN');
      await daemon.down('b');
      // range 3 leads to 80, 81, 82: only the first is served.
      assert.is(await lan.dial('tcp', HOST, 9000, 2000), `a ${LAN}`);
      await daemon.done({ type: 'unpublish', id: 'a', port_mappings: [port(9000, 80, { range: 3 })] });
      assert.is(await lan.dial('tcp', HOST, 9000, 500), 'ECONNREFUSED');
      assert.is(await lan.dial('tcp', HOST, 8080, 2000), `a ${LAN}`);
    });
    await nothingLeft('a');
  });
}

uplink('ports follow the network that leads out, and change hands: no dial is refused by the forwarder', async () => {
  const create = { networks: on('web'), port_handler: 'forwarder' } as const;
  const [a, b] = [await daemon.up('a', { ...create, port_mappings: [port(8080, 80)] }), await daemon.up('b', create)];
  await withAgents([pathOf(a), pathOf(b)], async (inA, inB) => {
    await inA.serve('a', 'tcp', 80);
    await inB.serve('b', 'tcp', 80);
    const answers: string[] = [];
    let over = false;
    const dialling = (async () => {
      while (!over) answers.push(await lan.dial('tcp', HOST, 8080, 2000));
    })();
    await daemon.done({ type: 'connect', id: 'a', network: 'back', options: { gateway_priority: 3 } });
    await daemon.clean();
    await daemon.done({ type: 'disconnect', id: 'a', network: 'back' });
    await daemon.done({ type: 'publish', id: 'b', port_mappings: [port(8080, 80)], from: 'a' });
    over = true;
    await dialling;
    answers.push(await lan.dial('tcp', HOST, 8080, 2000));
    assert.equal([...new Set(answers)].sort(), [`a ${LAN}`, `b ${LAN}`]);
    assert.is(answers.at(-1), `b ${LAN}`);
  });
  await nothingLeft('a', 'b');
});

uplink('slirp4netns carries ports over its API socket, and they come and go while it runs', async () => {
  const up = await daemon.up('a', {
    uplink: { ...SLIRP, options: ['port_handler=slirp4netns'] },
    port_mappings: [port(8080, 80), port(8080, 80, { protocol: 'udp' })],
  });
  assert.is((await shown('a')).port_handler, 'slirp4netns');
  await withAgents([pathOf(up)], async (inside) => {
    await inside.serve('a', 'tcp', 80);
    await inside.serve('a', 'udp', 80);
    assert.match(await lan.dial('tcp', HOST, 8080, 2000), /^a /);
    assert.match(await lan.dial('udp', HOST, 8080, 2000), /^a /);
    await daemon.done({ type: 'publish', id: 'a', port_mappings: [port(9000, 80)] });
    assert.match(await lan.dial('tcp', HOST, 9000, 2000), /^a /);
    await daemon.done({ type: 'unpublish', id: 'a', port_mappings: [port(8080, 80)] });
    assert.is(await lan.dial('tcp', HOST, 8080, 500), 'ECONNREFUSED');
    assert.match(await lan.dial('udp', HOST, 8080, 2000), /^a /);
    const no6 = await daemon.event({ type: 'publish', id: 'a', port_mappings: [port(9001, 80, { host_ip: '::1' })] });
    assert.is(no6.body.error?.code, 'PORTS_NEED_NETWORK');
    assert.ok(await isUp('a'));
  });
  await nothingLeft('a');
});

uplink('pasta: the addresses of the host, ports told at its start, and not changed after', async () => {
  // UDP: of a server that speaks first, this pasta loses what it says (machines/plan/pasta.ts).
  const mappings = [port(8080, 80, { protocol: 'udp' })];
  const up = await daemon.up('a', { uplink: { program: 'pasta' }, port_mappings: mappings });
  const { uplink: found } = await shown('a');
  assert.equal(
    found?.addresses.map(({ address, prefix }) => `${address}/${prefix}`),
    [`${HOST}/24`],
  );
  assert.is((await shown('a')).port_handler, 'pasta');
  await withAgents([pathOf(up)], async (inside) => {
    await inside.serve('a', 'udp', 80);
    assert.is(await inside.dial('tcp', LAN, 7000, 2000), `lan ${HOST}`);
    assert.match(await lan.dial('udp', HOST, 8080, 2000), /^a /);
    const more = await daemon.event({ type: 'publish', id: 'a', port_mappings: [port(9000, 80)] });
    assert.equal([more.status, more.body.error?.code], [409, 'MODE_NOT_SUPPORTED']);
    await daemon.done({ type: 'reload', id: 'a' });
    assert.match(await lan.dial('udp', HOST, 8080, 2000), /^a /);
  });
  await nothingLeft('a');
});

uplink('kill -9 of the daemon: the program and every connection go on, and are taken up again', async () => {
  const up = await daemon.up('a', { uplink: SLIRP, port_mappings: [port(8080, 80), port(9000, 4000)] });
  const { pid } = await process_('a');
  const transfer = await Transfer.start(pathOf(up), 4000, '127.0.0.1', 9000);
  await daemon.kill();
  await withAgents([pathOf(up)], async (inside) => {
    await inside.serve('a', 'tcp', 80);
    assert.is(await lan.dial('tcp', HOST, 8080, 2000), `a ${LAN}`);
    await daemon.start();
    assert.is((await process_('a')).pid, pid);
    assert.is(await lan.dial('tcp', HOST, 8080, 2000), `a ${LAN}`);
    await daemon.done({ type: 'publish', id: 'a', port_mappings: [port(8081, 80)] });
    assert.is(await lan.dial('tcp', HOST, 8081, 2000), `a ${LAN}`);
  });
  assert.ok((await transfer.stop()) > 0);
  await daemon.clean();
  await nothingLeft('a');
});

uplink(
  'a program that ends is missed at once, runs again with its ports, and inspect says how long it was away',
  async () => {
    await follow(daemon.socket, (happening) => seen.push(happening));
    const up = await daemon.up('a', {
      uplink: { ...SLIRP, options: ['port_handler=slirp4netns'] },
      port_mappings: [port(8080, 80)],
    });
    const { pid } = await process_('a');
    seen.length = 0;
    process.kill(pid, 'SIGKILL');
    await until('it runs again', () => another('a', pid));
    const now = await process_('a');
    assert.not.equal(now.pid, pid);
    assert.is(now.ended, 1);
    assert.match(now.last ?? '', /killed by signal/);
    await until('said', () => seen.some(({ type }) => type === 'repaired'));
    assert.ok((await process_('a')).down_ms > 0);
    const kinds = seen.filter((one) => one.type === 'drift').map((one) => one.drift[0]?.kind);
    assert.equal(kinds, ['uplink']);
    assert.equal(
      [...new Set(seen.filter((one) => one.type === 'state').map((one) => one.to))].filter((to) => !to.includes('.')),
      ['up'],
    );
    await withAgents([pathOf(up)], async (inside) => {
      await inside.serve('a', 'tcp', 80);
      assert.match(await lan.dial('tcp', HOST, 8080, 2000), /^a /);
      assert.is(await inside.dial('tcp', LAN, 7000, 2000), `lan ${HOST}`);
    });
    // Again, and hardly begun: this time it waits a moment, and says why.
    process.kill(now.pid, 'SIGKILL');
    await until('it waits', async () => (await shown('a')).state === 'degraded');
    assert.match((await shown('a')).fault?.message ?? '', /killed by signal 9/);
    await until('it runs again', () => isUp('a'));
    assert.is((await process_('a')).ended, 2);
    await nothingLeft('a');
  },
);

uplink('a program whose link is deleted is started again: it would run on, and lead nowhere', async () => {
  const up = await daemon.up('a', { uplink: SLIRP, port_mappings: [port(8080, 80)] });
  const { pid } = await process_('a');
  execFileSync('nsenter', [`--net=${pathOf(up)}`, 'ip', 'link', 'del', 'tap0']);
  await until('it runs again', () => another('a', pid));
  await ended(pid);
  const { ended: times, last } = await process_('a');
  assert.equal([times, last], [1, 'slirp4netns has lost its link']);
  assert.equal((await shown('a')).drift, []);
  await withAgents([pathOf(up)], async (inside) => {
    await inside.serve('a', 'tcp', 80);
    assert.is(await inside.dial('tcp', LAN, 7000, 2000), `lan ${HOST}`);
    assert.is(await lan.dial('tcp', HOST, 8080, 2000), `a ${LAN}`);
  });
  await nothingLeft('a');
});

uplink('left alone, one without its link is shown as that, and told of once', async () => {
  await daemon.stop();
  daemon.drift = ['uplink=alert'];
  await daemon.start();
  const up = await daemon.up('a', { uplink: SLIRP });
  const { pid } = await process_('a');
  await follow(daemon.socket, (happening) => seen.push(happening));
  seen.length = 0;
  execFileSync('nsenter', [`--net=${pathOf(up)}`, 'ip', 'link', 'del', 'tap0']);
  await until('told', () => seen.some(({ type }) => type === 'drift'));
  await daemon.done({ type: 'publish', id: 'a', port_mappings: [port(8080, 80)] }); // at rest again, looked at again
  const { down_since: since, last, pid: now } = await process_('a');
  assert.equal([last, now], ['slirp4netns has lost its link', pid]);
  assert.ok(since !== null);
  assert.equal(seen.filter(({ type }) => type === 'drift' || type === 'repaired').length, 1);
  await daemon.stop();
  daemon.drift = [];
  await daemon.start();
  await nothingLeft('a');
});

uplink('reload starts it anew: another process, the same ports, and what was taken from its link is back', async () => {
  const up = await daemon.up('a', { uplink: SLIRP, port_mappings: [port(8080, 80)] });
  const { pid } = await process_('a');
  execFileSync('nsenter', [`--net=${pathOf(up)}`, 'ip', 'route', 'del', 'default']);
  assert.equal(
    (await shown('a')).drift.map(({ kind }) => kind),
    ['route'],
  );
  await daemon.done({ type: 'reload', id: 'a' });
  const now = await process_('a');
  assert.not.equal(now.pid, pid);
  assert.is(now.ended, 0);
  await ended(pid);
  assert.equal((await shown('a')).drift, []);
  await withAgents([pathOf(up)], async (inside) => {
    await inside.serve('a', 'tcp', 80);
    assert.is(await inside.dial('tcp', LAN, 7000, 2000), `lan ${HOST}`);
    assert.is(await lan.dial('tcp', HOST, 8080, 2000), `a ${LAN}`);
  });
  await nothingLeft('a');
});

uplink('a forwarder that ends is started again, with the ports of everybody', async () => {
  const [a, b] = [
    await daemon.up('a', { uplink: SLIRP, port_mappings: [port(8080, 80)] }),
    await daemon.up('b', { networks: on('web'), port_handler: 'forwarder', port_mappings: [port(8090, 80)] }),
  ];
  const pid = Number(
    execFileSync('sh', ['-c', "ss -Hltnp 'sport = :8080' | grep -o 'pid=[0-9]*' | head -1"], {
      encoding: 'utf8',
    }).replace(/\D/g, ''),
  );
  assert.ok(pid > 1);
  await withAgents([pathOf(a), pathOf(b)], async (inA, inB) => {
    await inA.serve('a', 'tcp', 80);
    await inB.serve('b', 'tcp', 80);
    process.kill(pid, 'SIGKILL');
    await until('both are there again', async () => {
      const answers = [await lan.dial('tcp', HOST, 8080, 500), await lan.dial('tcp', HOST, 8090, 500)];
      return answers.join() === `a ${LAN},b ${LAN}`;
    });
  });
  await until('at rest', async () => (await isUp('a')) && (await isUp('b')));
  await daemon.clean();
  await nothingLeft('a', 'b');
});

uplink('it ends with the process that is named, daemon or not', async () => {
  const bound = await sleeper();
  await daemon.up('a', { uplink: SLIRP, bound_to: bound.pid!, port_mappings: [port(8080, 80)] });
  const { pid } = await process_('a');
  await daemon.kill();
  bound.kill('SIGKILL');
  await ended(pid);
  await daemon.start();
  await daemon.gone('a');
  await comesBackTo(before, () => inspect(daemon));
  await daemon.clean();
});

uplink('a process of its own, and a namespace of others', async () => {
  const guest = await sleeper();
  await daemon.up('a', { netns: { mode: 'pid', pid: guest.pid! }, uplink: SLIRP });
  const path = addNetns('theirs');
  await daemon.up('b', { netns: { mode: 'path', path }, uplink: SLIRP });
  await withAgents([`/proc/${guest.pid}/ns/net`, path], async (inA, inB) => {
    assert.is(await inA.dial('tcp', LAN, 7000, 2000), `lan ${HOST}`);
    assert.is(await inB.dial('tcp', LAN, 7000, 2000), `lan ${HOST}`);
  });
  await daemon.down('b');
  assert.equal(
    ipJson<{ ifname: string }[]>(path, 'link').map(({ ifname }) => ifname),
    ['lo'],
  );
  execFileSync('ip', ['netns', 'del', 'theirs']);
  guest.kill('SIGKILL');
  await daemon.gone('a');
  await comesBackTo(before, () => inspect(daemon));
});

// --- What cannot be ---------------------------------------------------------------------------------------------

const REFUSED: [what: string, create: object, message: RegExp][] = [
  ['an option without a value', { options: ['mtu'] }, /^unknown option for slirp4netns: "mtu"$/],
  ['an unknown option', { options: ['color=red'] }, /^unknown option for slirp4netns: "color=red"$/],
  ['a cidr that is none', { options: ['cidr=10.0.0'] }, /^invalid cidr "10\.0\.0"$/],
  ['a cidr without room', { options: ['cidr=10.0.2.0/30'] }, /not within given subnet/],
  ['an unknown port handler', { options: ['port_handler=x'] }, /^unknown port_handler for slirp4netns: "x"$/],
  ['an interface that is not there', { options: ['outbound_addr=nope0'] }, /^invalid outbound_addr "nope0"$/],
];
for (const [what, more, message] of REFUSED) {
  uplink(`refused, and nothing is changed: ${what}`, async () => {
    const { status, body } = await daemon.event({ type: 'create', id: 'a', uplink: { ...SLIRP, ...more } });
    assert.equal([status, body.error?.code], [400, 'BAD_REQUEST']);
    assert.match(body.error?.message ?? '', message);
    assert.equal(inspect(daemon), before);
  });
}

uplink('refused: a network beside it, a namespace of others, a handler that cannot', async () => {
  const refusal = async (more: object) =>
    (await daemon.event({ type: 'create', id: 'a', ...more })).body.error?.message ?? '';
  assert.match(await refusal({ uplink: SLIRP, networks: on('web') }), /multiple networks/);
  assert.match(await refusal({ uplink: SLIRP, netns: { mode: 'host' } }), /shares a namespace/);
  assert.match(await refusal({ uplink: SLIRP, port_handler: 'firewall' }), /carried by forwarder or slirp4netns/);
  assert.match(await refusal({ networks: on('web'), port_handler: 'pasta' }), /carried by firewall or forwarder/);
  assert.match(
    await refusal({ uplink: { program: 'pasta', options: ['--pcap', '/etc/x'] } }),
    /unknown option for pasta/,
  );
  assert.match(
    await refusal({ uplink: SLIRP, port_mappings: [port(8080, 80, { protocol: 'sctp' })] }),
    /carries tcp and udp, not sctp/,
  );
  await daemon.up('a', { uplink: SLIRP });
  const connect = await daemon.event({ type: 'connect', id: 'a', network: 'web' });
  assert.equal([connect.status, connect.body.error?.code], [409, 'MODE_NOT_SUPPORTED']);
  assert.match(connect.body.error?.message ?? '', /"slirp4netns" is not supported/);
  await nothingLeft('a');
});

for (const [what, script, message] of [
  ['prints and dies', 'echo "no luck" >&2; exit 3', /no luck/],
  ['does nothing for ever', 'exec sleep 1000', /^slirp4netns was not ready after 5000 ms/],
  ['cannot be executed', null, /EACCES/],
  ['is not there', undefined, /could not find slirp4netns/],
] as const) {
  uplink(`a program that ${what}: a fault, and nothing is left`, async () => {
    const file = `${daemon.directory}/program`;
    if (script !== undefined) {
      // What it says of itself is what the real one says.
      const help = '[ "$1" = --help ] && exec /usr/bin/slirp4netns --help';
      writeFileSync(file, script === null ? '' : `#!/bin/sh\n${help}\n${script}\n`);
      if (script !== null) chmodSync(file, 0o755);
    }
    await daemon.stop();
    daemon.uplinks = { slirp4netns: file };
    await daemon.start();
    const { checks } = (await daemon.get<{ checks: Check[] }>('/v1/doctor')).body;
    const { ok, text } = checks.find(({ name }) => name === 'slirp4netns') ?? { ok: null, text: '' };
    assert.equal([ok, text.includes(file)], [Boolean(script), true], text);
    await daemon.done({ type: 'create', id: 'a', uplink: SLIRP });
    const { status, body } = await daemon.event({ type: 'configure', id: 'a' });
    assert.ok(['UPLINK_FAILED', 'DEADLINE'].includes(body.error?.code ?? ''), `${status} ${body.error?.code}`);
    assert.match(body.error?.message ?? '', message);
    assert.is((await shown('a')).state, 'created');
    assert.equal(existsSync(`${daemon.runDir}/uplinks`) ? readdirSync(`${daemon.runDir}/uplinks`) : [], []);
    await daemon.down('a');
    await daemon.stop();
    daemon.uplinks = {};
    if (script !== undefined) execFileSync('rm', ['-f', file]);
    await daemon.start();
    await comesBackTo(before, () => inspect(daemon));
  });
}

uplink('a port that somebody listens on: a fault, and the program has gone again', async () => {
  await host.serve('busy', 'tcp', 8099);
  for (const options of [[], ['port_handler=slirp4netns']]) {
    await daemon.done({ type: 'create', id: 'a', uplink: { ...SLIRP, options }, port_mappings: [port(8099, 80)] });
    const { body } = await daemon.event({ type: 'configure', id: 'a' });
    assert.is(body.error?.code, 'PORT_TAKEN');
    await nothingLeft('a');
  }
});

uplink.run();
