/**
 * What a change of a container means for its ports and names: what is to come and what is to go, on the way there and on
 * every way back.
 *
 * A port is written "HOST -> ADDRESS:PORT" here; "+" is what comes, "-" is what goes.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import * as change from '../../machines/plan/change.ts';
import type { Attachment, ContainerContext, ResolvedPort, PortRequest } from '../../state/container.ts';
import { pinOf, containerInput, leaseOf, resolve } from '../harness/fixtures.ts';

const P80 = resolve({ host_port: 8080, container_port: 80 });
const P90 = resolve({ host_port: 9090, container_port: 90 });

const attachment = (network: string, more: Partial<Attachment> = {}): Attachment => ({
  ...leaseOf(network),
  ordinal: 0,
  hostLink: `ve-${network}`,
  link: `to-${network}`,
  alias: `cleat:main:c1:7:${network}`,
  aliases: [],
  gatewayPriority: 0,
  ...more,
});
const WEB = attachment('web', { defaultMetric: 90 });
const BACK = attachment('back', { ordinal: 1 });
/** WEB with another address, as an update of its network makes it. */
const MOVED = attachment('web', {
  defaultMetric: 90,
  addresses: [{ address: '10.89.0.99', prefix: 24, gateway: null }],
});

const context = (more: Partial<ContainerContext> = {}): ContainerContext => ({
  ...containerInput(),
  identity: { dev: 4, ino: 7 },
  attachments: [WEB, BACK],
  ports: [P80],
  nextOrdinal: 2,
  configured: true,
  ownerGone: false,
  change: null,
  operation: { n: 0, type: '', network: null },
  fault: null,
  leftovers: [],
  attempts: 0,
  drift: [],
  ...more,
});
const changing = (what: Partial<change.Change>, more: Partial<ContainerContext> = {}): ContainerContext => {
  const before = context(more);
  return { ...before, change: change.begin(before, what) };
};

const difference = ({ targets, replacing }: change.PublishInput): string[] => [
  ...targets.map(({ hostPort, address, containerPort }) => `+ ${hostPort} -> ${address}:${containerPort}`),
  ...replacing.map(({ hostPort, address, containerPort }) => `- ${hostPort} -> ${address}:${containerPort}`),
];
const [TO_WEB, TO_BACK, TO_MOVED] = ['8080 -> 10.89.0.2:80', '8080 -> 10.89.1.2:80', '8080 -> 10.89.0.99:80'];

const plan = suite('plan of changes');

plan('a change begins with where ports lead now, and with nothing else that was not said', () => {
  assert.equal(change.begin(context(), { ports: [P90], force: true }), {
    networks: {},
    wanted: [],
    ports: [P90],
    todo: [],
    before: [],
    led: ['10.89.0.2'],
    taking: null,
    taker: null,
    force: true,
  });
  assert.equal(change.begin(context(), {}), {
    networks: {},
    wanted: [],
    ports: [],
    todo: [],
    before: [],
    led: ['10.89.0.2'],
    taking: null,
    taker: null,
    force: false,
  });
  assert.equal(change.changeOf(context()), change.NO_CHANGE);
  assert.is(change.changeOf(changing({ force: true })).force, true);
});

plan('ports lead to the first network, or to what the uplink has made', () => {
  assert.equal(change.leadsTo(context()), ['10.89.0.2']);
  assert.equal(change.leadsTo(context(), [BACK]), ['10.89.1.2']);
  const addresses = ['10.0.2.100', '10.0.2.101', 'fd00::100'].map((address) => ({
    address,
    prefix: 24,
    gateway: null,
  }));
  const made = { name: 'tap0', mac: '', mtu: 1500, addresses };
  const behind = context({ attachments: [], uplink: { settings: {} as never, made, missing: [], endedSoon: 0 } });
  assert.equal(change.leadsTo(behind), ['10.0.2.100', 'fd00::100']);
  const notYet = { ...behind, uplink: { ...behind.uplink!, made: null } };
  assert.equal(change.leadsTo(notYet), []);
});

plan('stranded is what leads nowhere; with pasta, or before the uplink is there, that cannot be said', () => {
  const v6 = resolve({ host_port: 81, container_port: 81, host_ip: '2001:db8::1' });
  const of = (more: Partial<ContainerContext>, attachments = [WEB]) =>
    change.stranded(context(more), [P80, v6], attachments).map(({ hostPort }) => hostPort);
  assert.equal(of({}), [81]);
  assert.equal(of({}, []), [8080, 81]);
  assert.equal(of({ portHandler: 'forwarder' }), []);
  assert.equal(of({ portHandler: 'pasta' }, []), []);
  const uplink = { settings: {} as never, made: null, missing: [], endedSoon: 0 };
  assert.equal(of({ uplink }, []), []);
  assert.equal(
    of({ uplink: { ...uplink, made: { name: 'tap0', mac: '', mtu: 1500, addresses: [] } } }, []),
    [8080, 81],
  );
});

plan('an addition: new ports come, and all lead where the attachments say now', () => {
  const adding = changing({ ports: [P90] });
  assert.equal(difference(change.exposure(adding)), ['+ 9090 -> 10.89.0.2:90']);
  assert.equal(change.allPorts(adding), [P80, P90]);
  assert.equal(change.allPorts(changing({ ports: [P80, P90] })), [P80, P90]);
  // A network that leads out instead comes with the change: what was there goes in the same transaction.
  const first = { ...changing({ networks: { web: {} } }, { attachments: [BACK] }), attachments: [WEB, BACK] };
  assert.equal(difference(change.exposure(first)), [`+ ${TO_WEB}`, `- ${TO_BACK}`]);
  assert.equal(difference(change.restoration(first)), [`+ ${TO_BACK}`, `- ${TO_WEB}`]);
  assert.not(change.changesPorts(change.exposure(changing({}))));
  assert.ok(change.changesPorts(change.exposure(adding)) && change.changesPorts(change.restoration(adding)));
  assert.equal(difference(change.restoration(adding)), ['- 9090 -> 10.89.0.2:90']);
});

plan('what another gives away goes in the same transaction, and stays its own affair on the way back', () => {
  const target = { protocol: 'tcp' as const, hostIp: '', hostPort: 9090, address: '10.89.7.7', containerPort: 1 };
  const taking = { owner: 'c2:3', ports: [P90], targets: [target] };
  const over = changing({ ports: [P90], taking });
  const exposure = change.exposure(over);
  assert.equal(difference(exposure), ['+ 9090 -> 10.89.0.2:90', '- 9090 -> 10.89.7.7:1']);
  assert.equal(
    [...exposure.targets, ...exposure.replacing].map(({ owner }) => owner),
    ['c1:7', 'c2:3'],
  );
  assert.equal(difference(change.restoration(over)), ['- 9090 -> 10.89.0.2:90']);
});

plan('a network goes: ports lead to what stays, or nowhere, and back again', () => {
  const going = changing({ networks: { web: {} } });
  assert.equal([change.staying(going), change.leaving(going)], [[BACK], [WEB]]);
  assert.equal(difference(change.diversion(going)), [`+ ${TO_BACK}`, `- ${TO_WEB}`]);
  assert.equal(difference(change.reversal(going)), [`+ ${TO_WEB}`, `- ${TO_BACK}`]);
  const last = changing({ networks: { web: {} } }, { attachments: [WEB] });
  assert.equal(difference(change.diversion(last)), [`- ${TO_WEB}`]);
  assert.equal(difference(change.reversal(last)), [`+ ${TO_WEB}`]);
  assert.equal(difference(change.diversion(changing({ networks: { back: {} } }))), []);
});

plan('ports go, and all that may be there goes at the end', () => {
  const both = { ports: [P80, P90] };
  assert.equal(difference(change.withdrawal(changing({ ports: [P80] }, both))), [`- ${TO_WEB}`]);
  const removal = change.removal(changing({ ports: [P80, P90], led: ['10.89.0.2', '10.89.1.2'] }));
  assert.equal(difference(removal), [
    `- ${TO_WEB}`,
    `- ${TO_BACK}`,
    '- 9090 -> 10.89.0.2:90',
    '- 9090 -> 10.89.1.2:90',
  ]);
  assert.is(removal.leaving, true);
  assert.equal(difference(change.assertion(changing({ ports: [P90] }))), [`+ ${TO_WEB}`]);
});

plan('a network under other terms: ports follow, and go back with it; wherever they may lead is known', () => {
  const adjusted = { ...changing({ networks: { web: {} }, before: [WEB] }), attachments: [MOVED, BACK] };
  assert.equal(difference(change.exposure(adjusted)), [`+ ${TO_MOVED}`, `- ${TO_WEB}`]);
  assert.equal(change.whereLed(adjusted), ['10.89.0.2', '10.89.0.99', '10.89.1.2']);
  // Turned round: the attachments are what they were, and `before` what they were to become.
  const both = [
    MOVED,
    attachment('back', { ordinal: 1, addresses: [{ address: '10.89.1.99', prefix: 24, gateway: null }] }),
  ];
  const back = {
    ...context({ attachments: [BACK] }),
    change: { ...change.NO_CHANGE, before: both, led: ['10.89.1.2'] },
  };
  assert.equal(difference(change.reinstatement(back)), ['+ 8080 -> 10.89.1.2:80', '- 8080 -> 10.89.1.99:80']);
  assert.equal(change.whereLed(back), ['10.89.1.2', '10.89.1.99']);
  const turned = { ...adjusted, attachments: [WEB, BACK], change: { ...adjusted.change!, before: [MOVED, BACK] } };
  assert.equal(difference(change.reinstatement(turned)), [`+ ${TO_WEB}`, `- ${TO_MOVED}`]);
});

plan(
  'who is told: the firewall of the outside, the forwarder with the namespace, or slirp4netns by its directory',
  () => {
    const through = (portHandler?: ContainerContext['portHandler'], more: Partial<ContainerContext> = {}) => {
      const {
        targets: _targets,
        replacing: _replacing,
        ...rest
      } = change.assertion(context({ outside: '/run/netns/o', ...(portHandler && { portHandler }), ...more }));
      return rest;
    };
    const outside = '/run/netns/o';
    const { token } = context();
    assert.equal(through(), { outside });
    assert.equal(through('slirp4netns'), { outside, through: { handler: 'slirp4netns', directory: token } });
    const netns = { path: pinOf('1'), dev: 4, ino: 7 };
    assert.equal(through('forwarder'), { outside, through: { handler: 'forwarder', netns } });
    assert.equal(through('forwarder', { netns: null }), { outside });
    assert.equal(through('forwarder', { identity: null }), { outside });
    assert.equal(through('pasta'), { outside });
    // Whatever it is that is to be changed.
    const behind = changing({ ports: [P90] }, { portHandler: 'slirp4netns', outside });
    for (const input of [change.exposure(behind), change.removal(behind), change.withdrawal(behind)]) {
      assert.equal([input.outside, input.through], [outside, { handler: 'slirp4netns', directory: token }]);
    }
  },
);

plan('names of a change are those of its networks', () => {
  const dns = { listen: ['10.89.0.1'], servers: ['192.0.2.53'] };
  const named = changing(
    { networks: { web: {} } },
    {
      attachments: [
        { ...WEB, dns },
        { ...BACK, dns },
      ],
    },
  );
  assert.equal(change.namesOfChange(named), [
    {
      network: 'web',
      internal: false,
      listen: ['10.89.0.1'],
      servers: ['192.0.2.53'],
      addresses: ['10.89.0.2'],
      names: ['c1'],
      netns: pinOf('1'),
    },
  ]);
});

plan('what was granted: named to the last link, what is new of the ports, and once for guards and actions', () => {
  const taking = { owner: 'c2:3', ports: [P90], targets: [] };
  const given = [{ protocol: 'tcp' as const, hostIp: '', hostPort: 9090, address: '10.89.7.7', containerPort: 1 }];
  const asking = changing(
    { networks: { back: { gateway_priority: 7 } }, taking },
    { attachments: [WEB], nextOrdinal: 5 },
  );
  const granted = { leases: [leaseOf('back')], ports: [P80, P90], inside: ['eth0'], given };
  const answer = change.planned(asking, granted);
  assert.ok('context' in answer);
  const { attachments, nextOrdinal, change: now } = answer.context;
  assert.equal(
    attachments.map(({ network, ordinal, link, gatewayPriority }) => [network, ordinal, link, gatewayPriority]),
    [
      ['web', 0, 'to-web', 0],
      ['back', 5, 'eth1', 7],
    ],
  );
  assert.is(nextOrdinal, 6);
  assert.equal(now, { ...asking.change, ports: [P90], todo: ['back'], taking: { ...taking, targets: given } });
  assert.is(change.planned(asking, granted), answer);
  assert.is.not(change.planned({ ...asking }, granted), answer);
  assert.equal(answer.context.ports, [P80]);
  const alone = change.planned(changing({}), { leases: [], ports: [], inside: [], given });
  assert.is('context' in alone ? alone.context.change?.taking : undefined, null);
  const clash = change.planned(changing({ networks: { inner: { interface_name: 'to-web' } } }), {
    ...granted,
    leases: [leaseOf('inner')],
  });
  assert.is('fault' in clash ? clash.fault.code : '', 'INTERFACE_TAKEN');
});

plan('an addition that is complete is part of the container and of what it asks for', () => {
  const wanted: PortRequest[] = [{ host_port: 9090, container_port: 90 }];
  const request = {
    netns: { mode: 'new' as const },
    networks: { web: {} },
    ports: [{ host_port: 8080, container_port: 80 }],
  };
  const adding = changing({ networks: { back: { aliases: ['b'] } }, wanted, ports: [P90] }, { request });
  assert.equal(change.adopted(adding), {
    request: { ...request, networks: { web: {}, back: { aliases: ['b'] } }, ports: [...request.ports, ...wanted] },
    ports: [P80, P90],
    configured: true,
    change: null,
  });
  // At configure what is wanted is what the request says already.
  assert.equal(change.adopted({ ...adding, configured: false }).request?.ports, request.ports);
});

plan('published ports that a wish names by its host side, one by one', () => {
  const range = resolve({ host_port: 8000, container_port: 80, range: 4 });
  const outer: ResolvedPort = { ...resolve({ host_port: 7000, container_port: 70 }), outerIp: '192.0.2.1' };
  const covered = (...wishes: PortRequest[]) =>
    change.coveredBy([range, outer], wishes).map((port) => `${port.hostPort}->${port.containerPort}+${port.range}`);
  assert.equal(covered({ host_port: 8001, container_port: 1, range: 2 }), ['8001->81+1', '8002->82+1']);
  assert.equal(covered({ host_port: 8003, container_port: 1 }), ['8003->83+1']);
  assert.equal(covered({ host_port: 8000, container_port: 1, protocol: 'tcp' }), ['8000->80+1']);
  assert.equal(covered({ host_port: 8000, container_port: 1, protocol: 'udp' }), []);
  assert.equal(covered({ host_port: 8000, container_port: 1, host_ip: '192.0.2.1' }), []);
  assert.equal(covered({ host_port: 7000, container_port: 1 }), []);
  assert.equal(covered({ host_port: 7000, container_port: 1, host_ip: '', outer_ip: '192.0.2.1' }), ['7000->70+1']);
  assert.equal(covered({ host_port: 7000, container_port: 1, host_ip: '192.0.2.1' }), ['7000->70+1']);
  assert.equal(covered({ container_port: 80 }), []);
  const two = [8003, 8001].map((host_port) => ({ host_port, container_port: 1 }));
  assert.equal(covered(...two), ['8001->81+1', '8003->83+1']);
});

plan.run();
