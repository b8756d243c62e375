/**
 * Networks on a host with a VPN: real routes, rules and tables. A chosen network avoids narrower routes of the host, a
 * named one is made with a warning, and none of it keeps the daemon from starting.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Plan } from '../../state/answers/container/plan.ts';
import type { NetworkDefinition, NetworkRequest } from '../../state/network.ts';
import type { Check } from '../../state/answers/doctor.ts';
import { openOutside } from '../../native/index.ts';
import { on, TestDaemon, type Answer } from '../harness/daemon.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { clear } from '../harness/rounds.ts';

requirePrivateNamespace();

const ip = (...args: string[]): string => execFileSync('ip', args, { encoding: 'utf8' });
/** `ip -batch`: one line each. */
const batch = (family: '-4' | '-6', lines: Iterable<string>): void => {
  execFileSync('ip', [family, '-batch', '-'], { input: [...lines].join('\n') });
};

interface Policy {
  /** "[TYPE ]CIDR[ table N]", out through tun0. */
  routes?: string[];
  /** "-4 rule add ..." */
  rules?: string[];
}

function change(verb: 'add' | 'del', { routes = [], rules = [] }: Policy): void {
  for (const family of ['-4', '-6'] as const) {
    const mine = routes.filter((route) => route.includes(':') === (family === '-6'));
    const lines = mine.map((route) => `route ${verb} ${route}${/^[a-z]+ /.test(route) ? '' : ' dev tun0'}`);
    if (lines.length > 0) batch(family, lines);
  }
  for (const rule of rules) ip(...rule.replace('rule add', `rule ${verb}`).split(' '));
}

async function having(policy: Policy, body: () => Promise<void>): Promise<void> {
  change('add', policy);
  try {
    await body();
  } finally {
    change('del', policy);
  }
}

/** A daemon that starts on a host like this. */
async function beside(policy: Policy, pools: string[], body: (daemon: TestDaemon) => Promise<void>): Promise<void> {
  const other = new TestDaemon();
  other.subnetPools = pools;
  await having(policy, async () => {
    try {
      await other.start();
      await body(other);
      await clear(other);
    } finally {
      await other.stop();
    }
  });
}

type Made = Answer<NetworkDefinition & { warnings?: string[]; error?: { code: string; message: string } }>;
const create = (daemon: TestDaemon, request: NetworkRequest): Promise<Made> =>
  daemon.request('POST', '/v1/networks', request);
const subnetOf = async (daemon: TestDaemon, name: string, index = 0): Promise<string | undefined> =>
  (await daemon.get<NetworkDefinition>(`/v1/networks/${name}`)).body.subnets?.[index]?.subnet;
const checks = async (daemon: TestDaemon, name: string): Promise<Check[]> =>
  (await daemon.get<{ checks: Check[] }>('/v1/doctor')).body.checks.filter((check) => check.name === name);

/** A daemon that started before these routes; its default network has 10.89.0.0/24. */
const daemon = new TestDaemon();
const vpn = suite('networks beside a VPN');
const VPN_TABLE = 52;

vpn.before(async () => {
  ip('link', 'add', 'tun0', 'type', 'veth', 'peer', 'name', 'tun1');
  for (const link of ['tun0', 'tun1']) ip('link', 'set', link, 'up');
  await daemon.start();
});
vpn.after(async () => {
  await daemon.stop();
});

/** Returns the subnet that is chosen now. */
async function chosen(request: Omit<NetworkRequest, 'name'> = {}): Promise<string | undefined> {
  const { body } = await create(daemon, { name: 'chosen', ...request });
  if (body.error !== undefined) return body.error.code;
  await remove('chosen');
  return body.subnets.at(-1)?.subnet;
}
/** Returns the warning for a named subnet. */
async function warned(...subnets: string[]): Promise<string> {
  const { body } = await create(daemon, { name: 'named', subnets: subnets.map((subnet) => ({ subnet })) });
  if (body.error !== undefined) return body.error.code;
  await remove('named');
  return body.warnings?.join() ?? '';
}
const remove = async (name: string) => assert.is((await daemon.request('DELETE', `/v1/networks/${name}`)).status, 204);

vpn('OpenVPN: two halves of the world are no obstacle, also in 64 pieces, and in IPv6', async () => {
  const halves = ['0.0.0.0/1', '128.0.0.0/1', '::/1', '8000::/1', '2000::/3'];
  const pieces = Array.from({ length: 64 }, (_, i) => `${i * 4}.0.0.0/6`);
  await beside({ routes: [...halves, ...pieces] }, [], async (late) => {
    assert.is(await subnetOf(late, 'cleat'), '10.89.0.0/24');
    assert.is(await warned('10.60.0.0/24', 'fd00:60::/64'), '');
    await late.up('a');
    assert.ok((await checks(late, 'routes'))[0]?.ok);
  });
});

vpn('with a route to 10.0.0.0/8, a choice avoids it, and a named subnet is made with a warning', async () => {
  await beside({ routes: ['10.0.0.0/8'] }, [], async (late) => {
    assert.is(await subnetOf(late, 'cleat'), '172.16.0.0/24');
    assert.is((await create(late, { name: 'next' })).body.subnets[0]?.subnet, '172.16.1.0/24');
    const { status, body } = await create(late, { name: 'net', subnets: [{ subnet: '10.60.0.0/24' }] });
    assert.is(status, 201);
    assert.equal(body.warnings, [
      'subnet 10.60.0.0/24 overlaps with the route 10.0.0.0/8 by tun0 of the host: ' +
        'either the containers or what is behind that route may be out of reach',
    ]);
    assert.not('warnings' in (await late.get<object>('/v1/networks/net')).body);
    await late.up('a', { networks: on('net') });
    // It must not be cleat's own.
    const again = await create(late, { name: 'other', subnets: [{ subnet: '10.60.0.128/25' }] });
    assert.is(again.body.error?.code, 'SUBNET_OVERLAPS');
    assert.is(again.body.error?.message, 'subnet 10.60.0.128/25 overlaps with network net');
    // Nor is the route through cleat's own bridge an obstacle.
    const more: Made = await late.request('PATCH', '/v1/networks/net', { subnets: [{ subnet: '10.61.0.0/24' }] });
    assert.equal(more.body.warnings?.length, 1);
    assert.match(more.body.warnings?.[0] ?? '', /^subnet 10\.61\.0\.0\/24 overlaps with the route 10\.0\.0\.0\/8/);
  });
});

vpn('tables that a rule refers to count, whatever the rule matches, and others do not', async () => {
  const routes = [`10.89.1.0/24 table ${VPN_TABLE}`, `fd00:1::/48 table ${VPN_TABLE}`, '10.89.2.0/24 table 77'];
  await having({ routes }, async () => {
    assert.is(await chosen(), '10.89.1.0/24');
    assert.is(await warned('fd00:1:0:7::/64'), '');
    for (const match of ['', ' not fwmark 0xca6c', ' iif tun0', ' uidrange 7-9']) {
      const rules = ['-4', '-6'].map((family) => `${family} rule add${match} priority 5270 table ${VPN_TABLE}`);
      await having({ rules }, async () => {
        assert.is(await chosen(), '10.89.2.0/24', match);
        assert.match(await warned('fd00:1:0:7::/64'), /the route fd00:1::\/48 by tun0 \(table 52\) of the host/, match);
      });
    }
  });
});

vpn('WireGuard: its default route in an own table and the suppressed main one are no obstacles', async () => {
  const quick = {
    routes: ['0.0.0.0/0 table 51820', '10.0.0.0/9'],
    rules: [
      '-4 rule add not fwmark 0xca6c priority 5210 table 51820',
      '-4 rule add priority 5200 table main suppress_prefixlength 0',
    ],
  };
  await having(quick, async () => assert.is(await chosen(), '10.128.0.0/24'));
  // Without its usual rule, routes of the main table up to /9 are never used.
  ip('-4', 'rule', 'add', 'priority', '5200', 'table', 'main', 'suppress_prefixlength', '9');
  ip('-4', 'rule', 'del', 'priority', '32766');
  try {
    await having({ routes: ['10.0.0.0/9'] }, async () => assert.is(await chosen(), '10.89.1.0/24'));
  } finally {
    ip('-4', 'rule', 'add', 'priority', '32766', 'table', 'main');
    ip('-4', 'rule', 'del', 'priority', '5200');
  }
});

vpn('addresses of the host, routes to nowhere, and a rule for one destination are obstacles', async () => {
  const policy = {
    routes: ['blackhole 10.89.1.0/24', 'throw 10.89.2.0/24', '0.0.0.0/0 table 60', 'unreachable fd00:2::/64'],
    rules: ['-4 rule add to 10.89.3.0/24 priority 100 table 60', '-4 rule add to 10.89.4.0/24 priority 101 prohibit'],
  };
  ip('address', 'add', '10.89.5.9/32', 'dev', 'lo');
  try {
    await having(policy, async () => {
      assert.is(await chosen(), '10.89.2.0/24');
      assert.match(await warned('10.89.1.0/24'), /the blackhole route 10\.89\.1\.0\/24 of the host/);
      assert.is(await warned('10.89.2.0/24'), '');
      assert.match(
        await warned('10.89.3.0/24'),
        /the route 0\.0\.0\.0\/0 by tun0 \(table 60\), for packets to 10\.89\.3\.0\/24, of the host/,
      );
      assert.match(await warned('10.89.4.0/24'), /the prohibit rule for 10\.89\.4\.0\/24 of the host/);
      assert.match(await warned('10.89.5.0/24'), /the local route 10\.89\.5\.9\/32 by lo \(table local\) of the host/);
      assert.match(await warned('fd00:2::/64'), /the unreachable route fd00:2::\/64 by lo of the host/);
    });
  } finally {
    ip('address', 'del', '10.89.5.9/32', 'dev', 'lo');
  }
});

vpn('routes with a nexthop object count like any other', async () => {
  ip('nexthop', 'add', 'id', '7', 'dev', 'tun0');
  ip('route', 'add', '10.60.0.0/16', 'nhid', '7');
  // If the kernel shows only the id of a route's nexthop, its link is unknown, but its destination is known.
  for (const [mode, by] of Object.entries({ '0': '', '1': 'by tun0 ' })) {
    execFileSync('sysctl', ['-q', '-w', `net.ipv4.nexthop_compat_mode=${mode}`]);
    assert.match(await warned('10.60.7.0/24'), new RegExp(`the route 10.60.0.0/16 ${by}of the host`));
  }
  ip('nexthop', 'del', 'id', '7');
});

vpn('without a free subnet the daemon starts, says so in three places, and tries again on request', async () => {
  const wide = ['10.0.0.0/8', '192.168.0.0/16'];
  const last = { routes: ['172.16.0.0/12'] };
  change('add', last);
  await beside({ routes: wide }, [], async (late) => {
    const why = /no free IPv4 subnet is left in 10\.89\.0\.0\/16, .*192\.168\.0\.0\/16/;
    await until('it is logged', () => late.log().includes('"there is no default network: no free IPv4 subnet'));
    const [check] = await checks(late, 'default-network');
    assert.equal([check?.ok, check?.severity], [false, 'error']);
    assert.match(check?.text ?? '', why);
    const program = new URL('../../bundle/cleat.cjs', import.meta.url).pathname;
    const environment = { ...process.env, CLEAT_SOCKET: late.socket };
    const list = spawnSync(process.execPath, [program, 'network', 'ls'], { encoding: 'utf8', env: environment });
    assert.is(list.status, 0);
    assert.match(list.stderr, why);
    const refused = await late.event({ type: 'create', id: 'a' });
    assert.is(refused.body.error?.code, 'NO_SUCH_NETWORK');
    assert.match(refused.body.error?.message ?? '', why);
    // Other networks can be used meanwhile, and so can this one once there is room.
    assert.is((await create(late, { name: 'net', subnets: [{ subnet: '10.60.0.0/24' }] })).status, 201);
    await late.up('b', { networks: on('net') });
    change('del', last);
    // A plan says that it would be made, and does not make it.
    const { body: plan } = await late.request<Plan>('POST', '/v1/events?dry_run=true', { type: 'create', id: 'a' });
    assert.equal(plan.notes, ['network cleat does not exist yet: it is made first, with 172.16.0.0/24']);
    assert.is((await late.get('/v1/networks/cleat')).status, 404);
    assert.is((await late.request('POST', `/v1/plans/${plan.hash}/apply`, {})).status, 200);
    await late.done({ type: 'configure', id: 'a' });
    assert.is(await subnetOf(late, 'cleat'), '172.16.0.0/24');
    assert.equal(await checks(late, 'default-network'), []);
  });
});

vpn("the daemon's pools replace the default ones of each family", async () => {
  const pools = ['100.64.0.0/16,20', 'fd00:99::/48,64'];
  await beside({ routes: ['100.64.0.0/20', 'fd00:99::/64'] }, pools, async (late) => {
    assert.is(await subnetOf(late, 'cleat'), '100.64.16.0/20');
    const { body } = await create(late, { name: 'net', ipv6_enabled: true });
    assert.equal(
      body.subnets.map(({ subnet }) => subnet),
      ['100.64.32.0/20', 'fd00:99:0:1::/64'],
    );
  });
  const wrong = new TestDaemon();
  wrong.subnetPools = ['10.0.0.0/8'];
  const failed = await wrong.start().then(
    () => false,
    () => true,
  );
  assert.ok(failed);
  assert.match(wrong.log(), /default subnet pool 10\.0\.0\.0\/8: it is BASE,SIZE/);
});

vpn('doctor names a VPN that comes up later, with the network that it covers', async () => {
  await create(daemon, { name: 'net', subnets: [{ subnet: '10.60.0.0/24' }, { subnet: 'fd00:60::/64' }] });
  await daemon.up('a', { networks: on('net') });
  assert.ok((await checks(daemon, 'routes'))[0]?.ok);
  const policy = {
    routes: ['10.60.0.0/16', `fd00::/8 table ${VPN_TABLE}`],
    rules: [`-6 rule add priority 5270 table ${VPN_TABLE}`],
  };
  await having(policy, async () => {
    assert.equal(
      (await checks(daemon, 'routes')).map(({ ok, severity, text }) => [ok, severity, text]),
      [
        ['10.60.0.0/24', 'route 10.60.0.0/16 by tun0'],
        ['fd00:60::/64', 'route fd00::/8 by tun0 (table 52)'],
      ].map(([subnet, route]) => [
        false,
        'warning',
        `network net: its subnet ${subnet} overlaps with the ${route} of the host`,
      ]),
    );
  });
  assert.ok((await checks(daemon, 'routes'))[0]?.ok);
  await clear(daemon);
  await remove('net');
});

vpn('only obstacles leave the dump of a large table', async () => {
  const COUNT = 20_000;
  const outside = openOutside();
  // 20.0.0.0/24 and on: none in a private block.
  const large = Array.from({ length: COUNT }, (_, i) => `20.${Math.floor(i / 256)}.${i % 256}.0/24`);
  await having({ routes: [...large, '10.89.1.0/24'] }, async () => {
    const into = [{ destination: '10.0.0.0', prefix: 8 }];
    const found = (await outside.routes(undefined, into)).map(({ destination, prefix }) => `${destination}/${prefix}`);
    assert.ok(found.includes('10.89.1.0/24'));
    assert.ok(found.length < 10, `${found.length} routes`);
    assert.is(await chosen(), '10.89.2.0/24');
  });
});

vpn.run();
