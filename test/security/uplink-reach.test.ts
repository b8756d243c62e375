// slow: 50 s, an attack counts as failed only when its time is over
/**
 * The parts of its host that a container behind slirp4netns or pasta reaches, whatever it writes into its frames. It
 * reaches neither the host's loopback, nor ports published there, nor any network or bridge; with allow_host_loopback
 * it reaches 127.0.0.1 and ::1, and nothing else. Its name server and the addresses of the host on the LAN stay
 * reachable.
 *
 * Each forbidden packet is sent beside an allowed one by the same way, so that silence is the firewall's work.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { uplinkUsers } from '../../effects/uplinks/uplink-users.ts';
import type { Inspection } from '../../state/answers/container/inspection.ts';
import type { ContainerView } from '../../state/answers/container/container.ts';
import { addressOf, on, pathOf, port } from '../harness/daemon.ts';
import { agentIn, withAgents } from '../harness/inside.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { HOST, LAN, wayOut } from '../harness/way-out.ts';

requirePrivateNamespace();

const HOST6 = '2001:db8:2::1';
/** A port of the host's own, on every address that it has. */
const OWN = 7002;
/** A port published on the host's 127.0.0.1 and ::1, and on its address on the LAN. */
const [ON_LOOPBACK, ON_LAN] = [7003, 7004];
/** The time that an expected packet may take on a busy machine. */
const LONG_MS = 3000;
/** A port on which a container of another network listens, and that is published nowhere. */
const INSIDE = 80;

const execute = (netns: string, program: string, ...args: string[]): string =>
  execFileSync('nsenter', [`--net=${netns}`, '--', program, ...args], { encoding: 'utf8' });

const asks = (server: string) => writeFileSync('/etc/resolv.conf', `nameserver ${server}\n`);

const reach = suite('what an uplink reaches');
// The host's name server is at first on its loopback, like systemd-resolved.
const { daemon, host } = await wayOut(reach, '127.0.0.53');
const resolver = await agentIn(null);
let web: ContainerView, inner: ContainerView;

reach.before(async () => {
  execFileSync('ip', ['-batch', '-'], {
    input: `addr add ${HOST6}/64 dev lan0 nodad\nroute add ::/0 via 2001:db8:2::2 dev lan0\n`,
  });
  for (const protocol of ['tcp', 'udp'] as const) {
    await host.serve('own', protocol, OWN);
    await resolver.serve('names', protocol, 53);
  }
});
reach.after(() => resolver.stop());

/** Containers of networks, which only their own network may reach; one is on an internal network. */
async function neighbours(): Promise<void> {
  for (const [name, subnets, internal] of [
    ['r-web', ['10.60.0.0/24', 'fd00:60::/64'], false],
    ['r-inner', ['10.61.0.0/24', 'fd00:61::/64'], true],
  ] as const) {
    const known = await daemon.get(`/v1/networks/${name}`);
    if (known.status === 404) await daemon.network({ name, internal, subnets: subnets.map((subnet) => ({ subnet })) });
  }
  const port_mappings = [
    port(ON_LOOPBACK, INSIDE, { host_ip: '127.0.0.1' }),
    port(ON_LOOPBACK, INSIDE, { host_ip: '::1' }),
    port(ON_LAN, INSIDE, { host_ip: HOST }),
    port(ON_LAN, INSIDE, { host_ip: HOST, protocol: 'udp' }),
    port(ON_LOOPBACK, INSIDE, { host_ip: '127.0.0.1', protocol: 'udp' }),
  ];
  web = await daemon.up('web', { networks: on('r-web'), port_mappings });
  inner = await daemon.up('inner', { networks: on('r-inner') });
}

interface Target {
  to: string;
  port: number;
}

/** Every address that means the host's loopback, with the listener on it. */
const LOOPBACK: Target[] = ['127.0.0.1', '127.0.0.53', '127.1.2.3', '::1', '0.0.0.0', '::', '::ffff:127.0.0.1'].flatMap(
  (to) => [OWN, ON_LOOPBACK].map((number) => ({ to, port: number })),
);

const networks = (): Target[] => [
  ...[web, inner].flatMap((view, i) =>
    ([4, 6] as const).map((family) => ({ to: addressOf(view, i === 0 ? 'r-web' : 'r-inner', family), port: INSIDE })),
  ),
  ...['10.60.0.1', '10.61.0.1', 'fd00:60::1', 'fd00:61::1'].map((to) => ({ to, port: OWN })),
  { to: '10.60.0.1', port: ON_LOOPBACK },
];

/**
 * Connects by sockets of the container, once its loopback leads out, as it may choose: its 127.0.0.0/8 and ::1 are then
 * on the link of the uplink. Returns the name of the one that answers. A refused connection fails at once, without a
 * wait.
 */
async function answers(view: ContainerView, targets: Target[], patienceMs = 150): Promise<string[]> {
  const found: string[] = [];
  await withAgents([pathOf(view)], async (inside) => {
    for (const { to, port: number } of targets) {
      for (const protocol of ['tcp', 'udp'] as const) {
        const answer = await inside.dial(protocol, to, number, patienceMs);
        if (answer.includes(' ')) found.push(`${protocol} ${to} ${number}: ${answer.split(' ')[0]}`);
      }
    }
  });
  return found;
}

/**
 * Sends packets that the container writes itself: to `to`, out of its link, TCP SYN, UDP and ICMP echo. Returns who
 * answers.
 */
function forged(view: ContainerView, link: string, targets: Target[]): string[] {
  const program = readFileSync(new URL('../../../test/harness/forge.py', import.meta.url), 'utf8');
  const words = targets.map(({ to, port: number }) => `${to},${number}`);
  return execute(pathOf(view), 'python3', '-c', program, link, ...words)
    .split('\n')
    .filter((line) => line !== '');
}

async function shown(id: string): Promise<NonNullable<Inspection['uplink']>> {
  return (await daemon.get<Inspection>(`/v1/containers/${id}`)).body.uplink!;
}

const PROGRAMS = {
  slirp4netns: {
    closed: { program: 'slirp4netns', options: ['enable_ipv6=true'] },
    open: { program: 'slirp4netns', options: ['enable_ipv6=true', 'allow_host_loopback=true'] },
    gateway: '10.0.2.2',
    gateway6: 'fd00::2',
  },
  pasta: {
    closed: { program: 'pasta' },
    open: { program: 'pasta', options: ['--map-gw'] },
    gateway: '192.0.2.2',
    gateway6: '2001:db8:2::2',
  },
} as const;

for (const [name, { closed, open, gateway, gateway6 }] of Object.entries(PROGRAMS)) {
  reach(`the host's loopback and networks are closed, and what listens on the LAN is reached: ${name}`, async () => {
    await neighbours();
    const up = await daemon.up('c', {
      uplink: { ...closed, options: [...('options' in closed ? closed.options : [])] },
    });
    const { interface: link } = await shown('c');
    await withAgents([pathOf(web), pathOf(inner)], async (...served) => {
      for (const agent of served) {
        await agent.serve('inside', 'tcp', INSIDE);
        await agent.serve('inside', 'udp', INSIDE);
      }
      const allowed = [
        { to: HOST, port: OWN },
        { to: HOST6, port: OWN },
        { to: HOST, port: ON_LAN },
      ].filter(() => name === 'slirp4netns'); // pasta's container has the host's addresses itself
      const truth = allowed.flatMap(({ to, port: number }) =>
        ['tcp', 'udp'].map((protocol) => `${protocol} ${to} ${number}: ${number === OWN ? 'own' : 'inside'}`),
      );
      assert.equal(await answers(up, allowed, LONG_MS), truth);
      assert.equal(await answers(up, networks()), []);
      assert.equal(forged(up, link!, [{ to: LAN, port: 7000 }]), [`tcp ${LAN} 7000`, `udp ${LAN} 7000`]);
      assert.equal(
        forged(
          up,
          link!,
          [...LOOPBACK, ...networks()].filter(({ to }) => !to.startsWith('::ffff')),
        ),
        [],
      );
      leadOut(up, link!, gateway, gateway6);
      assert.equal(await answers(up, LOOPBACK), []);
      assert.equal(await answers(up, allowed, LONG_MS), truth, 'and what is true still arrives');
    });
  });

  reach(`an open loopback is 127.0.0.1 and ::1 alone, for this container alone: ${name}`, async () => {
    await neighbours();
    const [shut, opened] = [
      await daemon.up('shut', { uplink: { ...closed, options: [...('options' in closed ? closed.options : [])] } }),
      await daemon.up('open', { uplink: { ...open, options: [...open.options] } }),
    ];
    await withAgents([pathOf(web)], async (inWeb) => {
      await inWeb.serve('inside', 'tcp', INSIDE);
      await inWeb.serve('inside', 'udp', INSIDE);
      const doors = [
        { to: gateway, port: OWN },
        { to: gateway6, port: OWN },
      ];
      const through = doors.flatMap(({ to }) => ['tcp', 'udp'].map((protocol) => `${protocol} ${to} ${OWN}: own`));
      assert.equal(await answers(opened, doors, LONG_MS), through);
      assert.equal(await answers(shut, doors), []);
      assert.equal(await answers(opened, networks()), []);
      const { interface: link } = await shown('open');
      leadOut(opened, link!, gateway, gateway6);
      const others = LOOPBACK.filter(({ to }) => to.startsWith('127.') && to !== '127.0.0.1');
      assert.equal(await answers(opened, others), []);
    });
  });
}

/** Makes the container's own loopback lead out by the uplink. */
function leadOut(view: ContainerView, link: string, gateway: string, gateway6: string): void {
  const ip = (...words: string[]) => execute(pathOf(view), 'ip', ...words);
  ip('link', 'set', 'lo', 'down');
  ip('addr', 'flush', 'dev', 'lo');
  ip('route', 'add', '127.0.0.0/8', 'via', gateway, 'dev', link, 'onlink');
  ip('-6', 'route', 'add', '::1/128', 'via', gateway6, 'dev', link, 'onlink');
  execute(
    pathOf(view),
    'sysctl',
    '-qw',
    'net.ipv4.conf.all.route_localnet=1',
    `net.ipv4.conf.${link}.route_localnet=1`,
  );
}

reach(
  "slirp4netns: its name server is queried, though the host's is on its loopback, and nothing else there",
  async () => {
    const up = await daemon.up('c', { uplink: { program: 'slirp4netns' } });
    assert.equal(await answers(up, [{ to: '10.0.2.3', port: 53 }], LONG_MS), [
      'tcp 10.0.2.3 53: names',
      'udp 10.0.2.3 53: names',
    ]);
    assert.equal(await answers(up, [{ to: '10.0.2.3', port: OWN }]), [], 'another port of the same address');
    // The host queries another one.
    asks('127.0.0.1');
    await until(
      'another server is asked',
      async () => (await answers(up, [{ to: '10.0.2.3', port: 53 }], LONG_MS)).length === 2,
    );
    assert.match(ruleset(), /127\.0\.0\.1 (tcp|udp) dport 53|ip daddr 127\.0\.0\.1.*53/);
    assert.not.match(ruleset(), /127\.0\.0\.53/);
    asks('127.0.0.53');
    await until('as before', () => ruleset().includes('127.0.0.53'));
  },
);

reach('pasta: --dns-forward leads to the server of the host on its loopback', async () => {
  const options = ['--dns-forward', '192.0.2.77'];
  const up = await daemon.up('c', { uplink: { program: 'pasta', options } });
  assert.equal(await answers(up, [{ to: '192.0.2.77', port: 53 }]), ['udp 192.0.2.77 53: names']);
  assert.equal(await answers(up, [{ to: '192.0.2.77', port: OWN }]), []);
});

const ruleset = (): string => execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8' });

reach('the table exists before the program, without forwarding, and goes with the last of them', async () => {
  await until('the one of the test before has gone', () => !ruleset().includes('skuid'));
  const before = ruleset();
  const forwarding = () => readFileSync('/proc/sys/net/ipv4/ip_forward', 'utf8').trim();
  assert.equal([before.includes('skuid'), forwarding()], [false, '0']);
  await daemon.up('c', { uplink: { program: 'slirp4netns' } });
  await daemon.up('d', { uplink: { program: 'pasta' } });
  assert.equal([ruleset().includes('skuid'), forwarding()], [true, '0']);
  await daemon.up('web', { networks: on('web') });
  assert.is(forwarding(), '1');
  await daemon.down('web');
  await until('forwarding is as it was', () => forwarding() === '0');
  await daemon.down('c');
  assert.ok(ruleset().includes('skuid'));
  await daemon.down('d');
  await until('the table is gone', () => ruleset() === before);
});

reach('a killed program restarts with its limits, flushed rules are restored, and a restart keeps both', async () => {
  const up = await daemon.up('c', { uplink: { program: 'slirp4netns', options: ['enable_ipv6=true'] } });
  const closed = async (when: string) => {
    await daemon.clean();
    const direct = { to: '127.0.0.1', port: OWN };
    assert.equal(
      await answers(up, [{ to: HOST, port: OWN }], LONG_MS),
      [`tcp ${HOST} ${OWN}: own`, `udp ${HOST} ${OWN}: own`],
      when,
    );
    assert.equal(forged(up, 'tap0', [direct, { to: '::1', port: OWN }]), [], when);
  };
  await closed('at first');
  const pid = async () => (await shown('c')).process?.pid ?? 0;
  const first = await pid();
  process.kill(first, 'SIGKILL');
  await until('another runs', async () => (await shown('c')).process?.state === 'ready' && (await pid()) !== first);
  await until('it is up', async () => (await daemon.get('/v1/containers/c')).body.state === 'up');
  await closed('after its death');
  execFileSync('nft', ['flush', 'ruleset']);
  await until('the rules are back', () => ruleset().includes('skuid'));
  await closed('after a flush');
  await daemon.kill();
  execFileSync('nft', ['flush', 'ruleset']);
  await daemon.start();
  await until('the rules are back', () => ruleset().includes('skuid'));
  await closed('after a restart');
});

reach('the programs run as their own users, with their rights and descriptors', async () => {
  const { plain, loopback } = uplinkUsers();
  const cases = [
    ['slirp4netns', [], plain, 0x400, 1, 20],
    ['slirp4netns', ['allow_host_loopback=true'], loopback, 0x400, 1, 20],
    ['pasta', [], plain, 0x200400, 1, 200],
    ['pasta', ['--map-gw'], loopback, 0x200400, 1, 200],
  ] as const;
  for (const [program, options, user, capabilities, noNewPrivileges, descriptors] of cases) {
    await daemon.up('c', { uplink: { program, options: [...options] } });
    const pid = (await shown('c')).process?.pid ?? 0;
    const of = (field: string) =>
      new RegExp(`^${field}:[ \\t]*(.*?)[ \\t]*$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    // pasta reports that it is ready a moment before it takes its filter (isolate_postfork of passt).
    await until('it has its filter', () => of('Seccomp') === '2');
    const four = (id: number) => [id, id, id, id].join('\t');
    assert.equal([of('Uid'), of('Gid'), of('Groups')], [four(user.uid), four(user.gid), ''], program);
    assert.is(Number.parseInt(of('CapEff') ?? '', 16), capabilities, program);
    assert.is(Number.parseInt(of('CapPrm') ?? '', 16), capabilities, program);
    assert.is(of('CapAmb'), '0000000000000000', program);
    assert.equal([Number(of('NoNewPrivs')), of('Seccomp')], [noNewPrivileges, '2'], program);
    assert.ok(readdirSync(`/proc/${pid}/fd`).length <= descriptors, program);
    await daemon.down('c');
  }
});

reach.run();
