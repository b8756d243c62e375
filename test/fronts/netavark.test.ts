// slow: 30 s, it runs the helper some two hundred times
/**
 * cleat-netavark with a real daemon, as Podman runs it: what containers get, who reaches whom, what changes while they run, and
 * that nothing is left. Also what goes wrong between an engine and its helper: calls that come twice, too late, at once, or from a
 * helper that was killed, and a daemon that is killed in between.
 */
import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openOutside } from '../../native/index.ts';
import type { NetavarkSetup, NetworkInfo } from '../../state/fronts/netavark.ts';
import { TestDaemon } from '../harness/daemon.ts';
import { dig } from '../harness/dns.ts';
import { addNetns, removeNetns, withAgents } from '../harness/inside.ts';
import { until } from '../harness/native.ts';
import { asUser, sayAs } from '../harness/peer.ts';
import { dual, id64, mapping, Netavark, NETAVARK, network, request } from '../harness/netavark.ts';
import { assertComesBackTo, inspectKernel, ipJson, type Picture } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const HOST = '192.0.2.1';
const daemon = new TestDaemon();
const netavark = new Netavark(daemon.socket);
const outside = openOutside();
const tests = suite('cleat-netavark');
const NAMES = ['a', 'b', 'c'] as const;
let paths: Record<string, string>;
let far: string;
let before: Picture;

tests.before(async () => {
  far = addNetns('far');
  execFileSync('ip', ['-batch', '-'], {
    input: `link add lan0 type veth peer name eth0 netns far
      addr add ${HOST}/24 dev lan0
      link set lan0 addrgenmode none
      link set lan0 up\n`,
  });
  execFileSync('ip', ['-n', 'far', '-batch', '-'], {
    input: `addr add 192.0.2.2/24 dev eth0
      link set eth0 up
      route add default via ${HOST}\n`,
  });
  await daemon.start();
  before = inspectKernel();
});
tests.before.each(() => {
  paths = Object.fromEntries(NAMES.map((name) => [name, addNetns(name)]));
});
/** Whatever a test does, nothing of it is left. */
tests.after.each(async () => {
  for (const name of NAMES.filter((one) => existsSync(path(one)))) removeNetns(name);
  const { body } = await daemon.get<{ id: string }[]>('/v1/containers');
  await daemon.down(...body.map(({ id }) => id));
  await daemon.clean();
  await until('networks of the engine are forgotten', async () => (await networks()).length === 0);
  await assertComesBackTo(before, () => inspectKernel());
});
tests.after(async () => {
  await daemon.stop();
});

const networks = async (): Promise<string[]> =>
  (await daemon.get<{ name: string; engine?: string }[]>('/v1/networks')).body.flatMap(({ name, engine }) =>
    engine === undefined ? [] : [name],
  );
const path = (name: string): string => paths[name] ?? '';
const setup = (name: string, host: number, infos: NetworkInfo[], change: Partial<NetavarkSetup> = {}) =>
  netavark.setup(path(name), request(name, host, infos, change));
const teardown = (name: string, infos: NetworkInfo[]) => netavark.teardown(path(name), request(name, 1, infos));
const addresses = (name: string): string[] =>
  ipJson<{ ifname: string; addr_info: { local: string; scope: string }[] }[]>(path(name), 'address').flatMap(
    ({ ifname, addr_info }) =>
      addr_info.flatMap(({ local, scope }) => (scope === 'global' ? [`${ifname} ${local}`] : [])),
  );
const view = async (name: string) => (await daemon.get(`/v1/containers/${id64(name)}`)).body;
const hasLink = (name: string): boolean =>
  ipJson<{ ifname: string }[]>(undefined, 'link').some(({ ifname }) => ifname === name);

tests('two containers have addresses, names of each other, and ports that lead in from outside', async () => {
  const web = dual('web', 1, { dns_enabled: true });
  const ports = [mapping(8080, 80, { protocol: 'tcp,udp' }), mapping(9000, 7000, { range: 3 })];
  const answer = await setup('a', 5, [web], { port_mappings: ports });
  const { mac_address: mac = '' } = answer.web?.interfaces.eth0 ?? {};
  assert.equal(answer, {
    web: {
      dns_search_domains: ['dns.podman'],
      dns_server_ips: ['10.89.1.1', 'fd00:89:1::1'],
      interfaces: {
        eth0: {
          mac_address: mac,
          subnets: [
            { gateway: '10.89.1.1', ipnet: '10.89.1.5/24' },
            { gateway: 'fd00:89:1::1', ipnet: 'fd00:89:1::5/64' },
          ],
        },
      },
    },
  });
  assert.match(mac, /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/);
  await setup('b', 6, [web]);
  assert.equal(addresses('a'), ['eth0 10.89.1.5', 'eth0 fd00:89:1::5']);
  for (const name of ['a', 'a.dns.podman', id64('a').slice(0, 12)])
    assert.is(await dig(outside, path('b'), '10.89.1.1', name), 'NOERROR 10.89.1.5', name);
  assert.is(await dig(outside, path('b'), 'fd00:89:1::1', 'a', 'AAAA'), 'NOERROR fd00:89:1::5');
  await withAgents([path('a'), path('b'), far], async (a, b, client) => {
    await a.serve('a', 'tcp', 80);
    await a.serve('a', 'udp', 80);
    await a.serve('a', 'tcp', 7002);
    assert.is(await client.dial('tcp', HOST, 8080), 'a 192.0.2.2');
    assert.is(await client.dial('udp', HOST, 8080), 'a 192.0.2.2');
    assert.is(await client.dial('tcp', HOST, 9002), 'a 192.0.2.2');
    assert.is(await b.dial('tcp', 'fd00:89:1::5', 80), 'a fd00:89:1::6');
  });
  await teardown('a', [web]);
  assert.is(await dig(outside, path('b'), '10.89.1.1', 'a'), 'NXDOMAIN');
  assert.equal(addresses('a'), []);
  assert.ok(hasLink('podman1'), 'b is still on it');
  await teardown('b', [web]);
  assert.not.ok(hasLink('podman1'), 'the last one takes the bridge along');
  await until('the network is forgotten', async () => (await networks()).length === 0);
});

tests("host's ends are the lowest vethN that is free, or what the engine chooses", async () => {
  const [web, db] = [network('web', 1), network('db', 2)];
  const ends = () =>
    ipJson<{ ifname: string; master?: string }[]>(undefined, 'link')
      .flatMap(({ ifname, master }) => (master === undefined ? [] : [`${ifname} on ${master}`]))
      .sort();
  execFileSync('ip', ['link', 'add', 'veth1', 'type', 'veth', 'peer', 'name', 'other']);
  try {
    await setup('a', 5, [web, db]);
    assert.equal(ends(), ['veth0 on podman1', 'veth2 on podman2']);
    const asked = request('b', 6, [web]);
    const [[name, wish] = ['', {}]] = Object.entries(asked.networks);
    const chosen = { [name]: { ...wish, options: { host_interface_name: 'mine' } } };
    await netavark.setup(path('b'), { ...asked, networks: chosen as NetavarkSetup['networks'] });
    // Asked again, it is the same.
    await setup('a', 5, [web, db]);
    assert.equal(ends(), ['mine on podman1', 'veth0 on podman1', 'veth2 on podman2']);
    await teardown('a', [web, db]);
    await Promise.all([setup('a', 7, [web]), setup('c', 8, [web])]);
    assert.equal(ends(), ['mine on podman1', 'veth0 on podman1', 'veth2 on podman1']);
  } finally {
    execFileSync('ip', ['link', 'delete', 'veth1']);
  }
});

tests('networks reach each other unless they are isolated, and those of another request form are', async () => {
  const free = [network('one', 1), network('two', 2)] as const;
  const reach = async (one: NetworkInfo, two: NetworkInfo, list = false): Promise<boolean> => {
    const inForm = (name: string, host: number, info: NetworkInfo) => {
      const asked = request(name, host, [info]);
      const [[network_, wish] = ['', {}]] = Object.entries(asked.networks);
      return list ? { ...asked, networks: [{ name: network_, ...wish }] as NetavarkSetup['networks'] } : asked;
    };
    await netavark.setup(path('a'), inForm('a', 5, one));
    await netavark.setup(path('b'), inForm('b', 6, two));
    const answer = await withAgents([path('a'), path('b')], async (a, b) => {
      await b.serve('b', 'tcp', 80);
      return a.dial('tcp', '10.89.2.6', 80, 500);
    });
    await teardown('a', [one]);
    await teardown('b', [two]);
    return answer.startsWith('b ');
  };
  const with_ = (info: NetworkInfo, isolate: string) => ({ ...info, options: { isolate } });
  assert.ok(await reach(...free), 'netavark 1 leaves them open');
  assert.not.ok(await reach(...free, true), 'netavark 2 does not');
  assert.not.ok(await reach(free[0], with_(free[1], 'strict')));
  assert.not.ok(await reach(with_(free[0], 'true'), with_(free[1], 'true')));
});

tests('while it runs: connected, reloaded, disconnected, and its ports follow', async () => {
  const [one, two, inner] = [network('one', 1), dual('two', 2), network('in', 3, { internal: true })] as const;
  const port_mappings = [mapping(8080, 80)];
  const first = await setup('a', 5, [one], { port_mappings });
  const second = request('a', 5, [two], { port_mappings });
  const wish = { interface_name: 'eth1', static_ips: ['10.89.2.5', 'fd00:89:2::5'] };
  await netavark.setup(path('a'), { ...second, networks: { two: wish } });
  assert.equal(addresses('a'), ['eth0 10.89.1.5', 'eth1 10.89.2.5', 'eth1 fd00:89:2::5']);
  const answers = () =>
    withAgents([path('a'), far], async (a, client) => {
      await a.serve('a', 'tcp', 80);
      return client.dial('tcp', HOST, 8080);
    });
  assert.is(await answers(), 'a 192.0.2.2');

  // `podman network reload`: everything goes and comes again, with the MACs that were given, while conmon holds the port.
  const conmon = spawn('python3', ['-c', 'import socket; s = socket.create_server(("", 8080)); input()']);
  await until('the port is held', () => execFileSync('ss', ['-tln'], { encoding: 'utf8' }).includes(':8080'));
  const both = request('a', 5, [one, two], { port_mappings });
  const static_mac = first.one?.interfaces.eth0?.mac_address ?? '';
  const [has] = Object.values(both.networks);
  both.networks = { one: { ...has, static_mac }, two: wish } as NetavarkSetup['networks'];
  await netavark.teardown(path('a'), both);
  assert.equal(addresses('a'), []);
  const again = await netavark.setup(path('a'), both);
  assert.is(again.one?.interfaces.eth0?.mac_address, static_mac);
  assert.is(await answers(), 'a 192.0.2.2');

  await netavark.teardown(path('a'), request('a', 5, [one], { port_mappings }));
  assert.equal(addresses('a'), ['eth1 10.89.2.5', 'eth1 fd00:89:2::5']);
  assert.not.ok(hasLink('podman1'));
  assert.is(await answers(), 'a 192.0.2.2', 'the ports lead to the other network');

  await setup('a', 5, [inner], {
    port_mappings,
    networks: { in: { interface_name: 'eth0', static_ips: ['10.89.3.5'] } },
  });
  await netavark.teardown(path('a'), request('a', 5, [two], { port_mappings }));
  assert.equal(addresses('a'), ['eth0 10.89.3.5'], 'an internal network is left');
  await setup('a', 5, [one], {
    port_mappings,
    networks: { one: { interface_name: 'eth1', static_ips: ['10.89.1.5'] } },
  });
  assert.is(await answers(), 'a 192.0.2.2', 'and is no obstacle to ports');
  conmon.kill();
  await netavark.teardown(path('a'), request('a', 5, [one, inner]));
});

tests('calls that come twice, too late, or for a namespace that is gone', async () => {
  const [one, two] = [network('one', 1), network('two', 2)] as const;
  assert.equal(await setup('a', 5, [one]), await setup('a', 5, [one]), 'twice is once');
  await setup('a', 7, [one]);
  assert.equal(addresses('a'), ['eth0 10.89.1.7'], 'what was asked for last, where an answer was lost');
  await teardown('a', [two]);
  assert.equal(addresses('a'), ['eth0 10.89.1.7'], 'it was not on that network');
  removeNetns('a');
  await teardown('a', [one]);
  await teardown('a', [one]);
  paths.a = addNetns('a');
  await setup('a', 5, [one, two]);
  removeNetns('a');
  paths.a = addNetns('a');
  await setup('a', 5, [one, two]);
  assert.equal(addresses('a'), ['eth0 10.89.1.5', 'eth1 10.89.2.5'], 'started again without a teardown');
  await teardown('a', [one, two]);
});

tests(
  'a helper that is killed while it works leaves what it asked for, or nothing, and the next call is right',
  async () => {
    const infos = [network('one', 1, { dns_enabled: true }), network('two', 2)];
    const input = JSON.stringify(request('a', 5, infos, { port_mappings: [mapping(8080, 80)] }));
    for (let ms = 0; ms < 40; ms += 10) {
      for (const verb of ['setup', 'teardown']) {
        const child = spawn(NETAVARK, [verb, path('a')], {
          stdio: ['pipe', 'ignore', 'inherit'],
          env: { CLEAT_SOCKET: daemon.socket },
        });
        const ended = new Promise((resolve) => child.once('close', resolve));
        child.stdin?.end(input);
        await sleep(ms);
        child.kill('SIGKILL');
        await ended;
        await (verb === 'setup' ? setup('a', 5, infos) : teardown('a', infos));
        assert.equal(addresses('a').length, verb === 'setup' ? 2 : 0, `${verb} after ${ms} ms`);
      }
    }
  },
);

tests('a daemon that is killed and started in between knows the container and its networks', async () => {
  const web = network('web', 1, { dns_enabled: true });
  await setup('a', 5, [web], { port_mappings: [mapping(8080, 80)] });
  await daemon.kill();
  assert.match(await netavark.refusal(['setup', path('b')], request('b', 6, [web])), /no daemon at .*cleat.sock/);
  await daemon.start();
  await setup('b', 6, [{ ...web, created: '2024-01-01T00:00:00Z' }]);
  assert.is(await dig(outside, path('b'), '10.89.1.1', 'a'), 'NOERROR 10.89.1.5');
  await teardown('a', [web]);
  await daemon.kill();
  await daemon.start();
  await teardown('b', [web]);
});

tests('many at once', async () => {
  const infos = [network('one', 1), network('two', 2)];
  const many = Array.from({ length: 12 }, (_, i) => `m${i}`);
  for (const name of many) paths[name] = addNetns(name);
  const all = (work: (name: string, i: number) => Promise<unknown>) => Promise.all(many.map(work));
  await all((name, i) => setup(name, 10 + i, infos, { port_mappings: [mapping(9000 + i, 80)] }));
  await all((name) => teardown(name, infos.slice(0, 1)));
  await all((name, i) => setup(name, 10 + i, infos));
  // The end of some and the start of others.
  await all((name, i) =>
    i % 2 === 0 ? teardown(name, infos) : teardown(name, infos).then(() => setup(name, 10 + i, infos)),
  );
  await all((name) => teardown(name, infos));
  for (const name of many) removeNetns(name);
});

tests('a definition that Podman has changed', async () => {
  const web = network('web', 1, { dns_enabled: true });
  await setup('a', 5, [web]);
  const servers = async () =>
    (await daemon.get<{ network_dns_servers: string[] }>('/v1/networks/web')).body.network_dns_servers;
  const update = (list: string) => netavark.run(['update', 'web', '--network-dns-servers', list]);
  assert.is((await update('192.0.2.53,192.0.2.54')).code, 0);
  assert.equal(await servers(), ['192.0.2.53', '192.0.2.54']);
  await setup('b', 6, [{ ...web, network_dns_servers: ['192.0.2.55'] }]);
  assert.equal(await servers(), ['192.0.2.55'], 'an update that was missed comes with the definition');
  assert.is((await update('')).code, 0);
  assert.equal(await servers(), []);
  assert.match(
    await netavark.refusal(['update', 'web', '--network-dns-servers', 'x']),
    /network_dns_servers.0: not an IPv4/,
  );
  assert.equal(
    await netavark
      .run(['update', 'none', '--network-dns-servers', '192.0.2.53'])
      .then(({ code, stdout }) => [code, stdout]),
    [0, ''],
  );

  const moved = { ...web, subnets: [{ subnet: '10.89.7.0/24', gateway: '10.89.7.1' }] };
  const c = request('c', 5, [moved]);
  assert.match(await netavark.refusal(['setup', path('c')], c), /^network web is being used by .*\(NETWORK_IN_USE\)$/);
  await teardown('a', [web]);
  await teardown('b', [web]);
  await netavark.setup(path('c'), c);
  assert.equal(addresses('c'), ['eth0 10.89.7.5']);
  await netavark.teardown(path('c'), c);
});

tests("two engines, and cleat's own networks and containers beside them", async () => {
  const web = network('web', 1);
  await setup('a', 5, [web], { container_name: 'same' });
  await setup('b', 6, [{ ...web, created: '2024-01-01T00:00:00Z' }], { container_name: 'same' });
  assert.is((await view('a')).name, 'same');
  assert.is((await view('b')).name, id64('b'), 'a name is taken, so the second is called by its id');
  assert.match(
    await netavark.refusal(['setup', path('c')], request('c', 6, [web])),
    /^address 10\.89\.1\.6 is in use by .* on web \(ADDRESS_TAKEN\)$/,
  );
  // A container of the socket on the network of Podman holds it, too.
  await daemon.up('own', { networks: { web: {} } });
  await teardown('a', [web]);
  await teardown('b', [web]);
  assert.equal(await networks(), ['web']);
  await daemon.down('own');
  await until('it is forgotten', async () => (await networks()).length === 0);

  await daemon.network({ name: 'web', subnets: [{ subnet: '10.50.0.0/24' }] });
  assert.match(
    await netavark.refusal(['setup', path('a')], request('a', 5, [web])),
    /is called web: .*\(NETWORK_EXISTS\)/,
  );
  await teardown('a', [web]);
  assert.is((await netavark.run(['update', 'web', '--network-dns-servers', '192.0.2.53'])).code, 0);
  assert.equal((await daemon.get<{ network_dns_servers: string[] }>('/v1/networks/web')).body.network_dns_servers, []);
  await daemon.request('DELETE', '/v1/networks/web');
});

tests('what cannot be carried out changes nothing, and is an error of netavark', async () => {
  const [web, db] = [network('web', 1), network('db', 2)] as const;
  await setup('b', 6, [db]);
  const fails = async (message: RegExp, input: unknown, netns = path('a')) => {
    assert.match(await netavark.refusal(['setup', netns], input), message);
    assert.equal(addresses('a'), [], `${message}`);
    assert.equal(await networks(), ['db'], `${message}`);
  };
  const good = request('a', 5, [web]);
  await fails(/BAD_REQUEST/, '');
  await fails(/BAD_REQUEST/, '{');
  await fails(/container_id: /, {});
  await fails(/container_id: an id is letters/, { ...good, container_id: '../../etc/passwd' });
  await fails(/^the request on stdin is larger than 1 MiB$/, 'x'.repeat(2 ** 20 + 1));
  await fails(/BAD_REQUEST/, '\0'.repeat(2 ** 20));
  await fails(/network info for network web not found/, { ...good, network_info: {} });
  await fails(/NOT_A_NAMESPACE/, good, '/run/netns/gone');
  await fails(/NOT_A_NAMESPACE/, good, '/etc/passwd');
  await fails(/a namespace path has no ".."/, good, '/run/netns/../netns/a');
  await fails(/BAD_REQUEST/, good, 'a\n\x1b[31m%00');
  // The second of its networks refuses: the first is undone.
  await fails(/10\.89\.2\.6 is in use by/, request('a', 6, [web, db]));
  await fails(/ADDRESS_OUTSIDE_SUBNET/, {
    ...good,
    networks: { web: { interface_name: 'eth0', static_ips: ['10.1.1.1'] } },
  });
  const known = await setup('a', 5, [db], { port_mappings: [mapping(8080, 80)] });
  assert.match(
    await netavark.refusal(['setup', path('c')], request('c', 7, [web], { port_mappings: [mapping(8080, 80)] })),
    /PORT_TAKEN/,
  );
  assert.equal(await networks(), ['db']);
  // A further network that cannot be made leaves the others as they are.
  const lan = network('lan', 3, { network_interface: 'lan0' });
  assert.match(await netavark.refusal(['setup', path('a')], request('a', 5, [lan])), /INTERFACE_TAKEN/);
  assert.equal(await setup('a', 5, [db], { port_mappings: [mapping(8080, 80)] }), known);
  await teardown('a', [db]);
  await teardown('b', [db]);
});

tests("a network on a parent: the container is a host of the LAN, and its ports are nobody's concern", async () => {
  const lan = network('lan', 1, {
    driver: 'macvlan',
    network_interface: 'lan0',
    subnets: [{ subnet: '192.0.2.0/24', gateway: '192.0.2.2' }],
    options: { mode: 'bridge' },
  });
  const answer = await setup('a', 9, [lan], { port_mappings: [mapping(8080, 80)] });
  assert.equal(answer.lan?.interfaces.eth0?.subnets, [{ gateway: '192.0.2.2', ipnet: '192.0.2.9/24' }]);
  assert.equal((await view('a')).ports, []);
  await withAgents([path('a'), far], async (a, client) => {
    await a.serve('a', 'tcp', 80);
    assert.is(await client.dial('tcp', '192.0.2.9', 80), 'a 192.0.2.2');
  });
  await teardown('a', [lan]);
});

tests('only root speaks for an engine, and only root reserves host ports', async () => {
  const { directory } = daemon;
  chmodSync(directory, 0o755);
  chmodSync(daemon.socket, 0o666);
  const user = asUser(65_534, 65_534);
  const web = request('a', 5, [network('web', 1)]);
  for (const [verb, input] of [
    [`setup?netns=${path('a')}`, web],
    [`teardown?netns=${path('a')}`, web],
    ['update?network=web', { network_dns_servers: [] }],
    ['create', {}],
  ] as const)
    assert.is(sayAs(daemon, user, input, `/v1/netavark/${verb}`), '403 NOT_ALLOWED', verb);
  assert.is(sayAs(daemon, user, { type: 'create', id: 'u', ports_reserved: true }), '403 NOT_ALLOWED');
  assert.equal(await networks(), []);
});

tests('the longest request is not too long', async () => {
  const port_mappings = Array.from({ length: 4096 }, (_, i) => mapping(10_000 + i, 10_000 + i, { host_ip: HOST }));
  await setup('a', 5, [network('web', 1)], { port_mappings });
  const { ports = [] } = await view('a');
  assert.equal(
    ports.map(({ host_port, range }) => [host_port, range]),
    [[10_000, 4096]],
  );
  await teardown('a', [network('web', 1)]);
});

tests.run();
