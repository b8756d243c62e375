/**
 * The effect of a container's change on its ports and names: what is added and what is removed, on the way there and on
 * every way back.
 *
 * A port is written "HOST -> ADDRESS:PORT" here; "+" is added, "-" is removed.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import * as change from '../../plan/containers/change.ts';
import { carrierOf } from '../../plan/external/external.ts';
import type { Attachment, ContainerContext, ResolvedPort, PortRequest } from '../../state/container.ts';
import { pinOf, containerInput, externalLease, leaseOf, resolve } from '../harness/fixtures.ts';

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
type Begun = Parameters<typeof change.begin>[1];
const changing = (what: Begun, more: Partial<ContainerContext> = {}): ContainerContext => {
  const before = context(more);
  return { ...before, change: change.begin(before, what) };
};

/** Ports that come by themselves. */
const PUBLISH = { kind: 'publish' as const, wanted: [], taking: null };

const difference = ({ targets, replacing }: change.PublishInput): string[] => [
  ...targets.map(({ hostPort, address, containerPort }) => `+ ${hostPort} -> ${address}:${containerPort}`),
  ...replacing.map(({ hostPort, address, containerPort }) => `- ${hostPort} -> ${address}:${containerPort}`),
];
const [TO_WEB, TO_BACK, TO_MOVED] = ['8080 -> 10.89.0.2:80', '8080 -> 10.89.1.2:80', '8080 -> 10.89.0.99:80'];

const plan = suite('plan of changes');

plan('a change begins with the present targets of the ports, and nothing else', () => {
  assert.equal(change.begin(context(), { kind: 'disconnect', ports: [P90], force: true }), {
    kind: 'disconnect',
    networks: {},
    ports: [P90],
    todo: [],
    led: ['10.89.0.2'],
    force: true,
  });
  assert.equal(change.begin(context(), { kind: 'reload' }), {
    kind: 'reload',
    networks: {},
    ports: [],
    todo: [],
    led: ['10.89.0.2'],
  });
  assert.equal(change.changeOf(context()), { kind: 'none', networks: {}, ports: [], todo: [], led: [] });
  const begun = changing({ kind: 'reload' });
  assert.is(change.changeOf(begun), begun.change);
  const of = (what: Begun) => {
    const { change: now } = changing(what);
    return [change.wantedBy(now), change.takenBy(now), change.replacedBy(now)];
  };
  const wanted = [{ host_port: 9090, container_port: 90 }];
  const taking = { owner: 'c2:3', ports: [P90], targets: [] };
  assert.equal(of({ kind: 'publish', wanted, taking }), [wanted, taking, []]);
  assert.equal(of({ kind: 'configure', wanted }), [wanted, null, []]);
  assert.equal(of({ kind: 'teardown', before: [WEB] }), [[], null, [WEB]]);
  assert.equal(of({ kind: 'connect' }), [[], null, []]);
  assert.equal([change.wantedBy(null), change.takenBy(null), change.replacedBy(null)], [[], null, []]);
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

plan('ports that lead nowhere are stranded; with pasta, or before the uplink is ready, that is unknown', () => {
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

plan('ports are not stranded while the address that plugins will give is unknown to the forwarder', () => {
  const of = (portHandler: ContainerContext['portHandler'], more: Partial<Attachment>) => {
    const external = { ports: [], result: null, ...more.external } as never;
    const one = attachment('x', { addresses: [], ...more, external });
    return change.stranded(context({ ...(portHandler && { portHandler }), attachments: [one] }), [P80], [one]).length;
  };
  assert.is(of('forwarder', {}), 0);
  assert.is(of(undefined, {}), 1, 'the program gets them before');
  assert.is(of('forwarder', { internal: true }), 1);
  assert.is(of('forwarder', { external: { result: {} } as never }), 1, 'it has answered without an address');
  const known = { addresses: WEB.addresses };
  assert.is(of('forwarder', known), 0);
  assert.is(of('forwarder', { ...known, internal: true }), 1);
});

plan('the program of an external network gets ports, unless the forwarder carries them', () => {
  const { change: begun, ...rest } = changing(
    { kind: 'configure', networks: { x: {} }, wanted: [] },
    { attachments: [] },
  );
  const granted = { leases: [externalLease('x')], ports: [P80], inside: [], given: [] };
  const carrier = (portHandler: ContainerContext['portHandler']) => {
    const answer = change.planned({ ...rest, change: begun, ...(portHandler && { portHandler }) }, granted);
    return 'context' in answer ? carrierOf(answer.context.attachments)?.network : answer.fault.message;
  };
  assert.is(carrier(undefined), 'x');
  assert.is(carrier('forwarder'), undefined);
});

plan('an addition adds ports, and all ports lead where the attachments now say', () => {
  const adding = changing({ ...PUBLISH, ports: [P90] });
  assert.equal(difference(change.exposure(adding)), ['+ 9090 -> 10.89.0.2:90']);
  assert.equal(change.allPorts(adding), [P80, P90]);
  assert.equal(change.allPorts(changing({ ...PUBLISH, ports: [P80, P90] })), [P80, P90]);
  // A network that leads out instead comes with the change: what was there goes in the same transaction.
  const first = {
    ...changing({ kind: 'connect', networks: { web: {} } }, { attachments: [BACK] }),
    attachments: [WEB, BACK],
  };
  assert.equal(difference(change.exposure(first)), [`+ ${TO_WEB}`, `- ${TO_BACK}`]);
  assert.equal(difference(change.restoration(first)), [`+ ${TO_BACK}`, `- ${TO_WEB}`]);
  assert.not(change.changesPorts(change.exposure(changing({ kind: 'connect' }))));
  assert.ok(change.changesPorts(change.exposure(adding)) && change.changesPorts(change.restoration(adding)));
  assert.equal(difference(change.restoration(adding)), ['- 9090 -> 10.89.0.2:90']);
});

plan('ports that another container gives away move in the same transaction, and return on rollback', () => {
  const target = { protocol: 'tcp' as const, hostIp: '', hostPort: 9090, address: '10.89.7.7', containerPort: 1 };
  const taking = { owner: 'c2:3', ports: [P90], targets: [target] };
  const over = changing({ ...PUBLISH, ports: [P90], taking });
  const exposure = change.exposure(over);
  assert.equal(difference(exposure), ['+ 9090 -> 10.89.0.2:90', '- 9090 -> 10.89.7.7:1']);
  assert.equal(
    [...exposure.targets, ...exposure.replacing].map(({ owner }) => owner),
    ['c1:7', 'c2:3'],
  );
  assert.equal(difference(change.restoration(over)), ['- 9090 -> 10.89.0.2:90']);
});

plan('when a network goes, ports lead to the remaining ones, or nowhere, and back again', () => {
  const going = changing({ kind: 'connect', networks: { web: {} } });
  assert.equal([change.staying(going), change.leaving(going)], [[BACK], [WEB]]);
  assert.equal(difference(change.diversion(going)), [`+ ${TO_BACK}`, `- ${TO_WEB}`]);
  assert.equal(difference(change.reversal(going)), [`+ ${TO_WEB}`, `- ${TO_BACK}`]);
  const last = changing({ kind: 'connect', networks: { web: {} } }, { attachments: [WEB] });
  assert.equal(difference(change.diversion(last)), [`- ${TO_WEB}`]);
  assert.equal(difference(change.reversal(last)), [`+ ${TO_WEB}`]);
  assert.equal(difference(change.diversion(changing({ kind: 'connect', networks: { back: {} } }))), []);
});

plan('when ports go, everything that may be there goes at the end', () => {
  const both = { ports: [P80, P90] };
  assert.equal(difference(change.withdrawal(changing({ kind: 'unpublish', ports: [P80] }, both))), [`- ${TO_WEB}`]);
  const removal = change.removal(
    changing({ kind: 'teardown', before: [], ports: [P80, P90], led: ['10.89.0.2', '10.89.1.2'] }),
  );
  assert.equal(difference(removal), [
    `- ${TO_WEB}`,
    `- ${TO_BACK}`,
    '- 9090 -> 10.89.0.2:90',
    '- 9090 -> 10.89.1.2:90',
  ]);
  assert.is(removal.leaving, true);
  assert.equal(difference(change.assertion(changing({ ...PUBLISH, ports: [P90] }))), [`+ ${TO_WEB}`]);
});

plan('ports follow a network under a changed lease, return with it, and all their targets are known', () => {
  const adjusted = {
    ...changing({ kind: 'adjust', networks: { web: {} }, before: [WEB] }),
    attachments: [MOVED, BACK],
  };
  assert.equal(difference(change.exposure(adjusted)), [`+ ${TO_MOVED}`, `- ${TO_WEB}`]);
  assert.equal(change.whereLed(adjusted), ['10.89.0.2', '10.89.0.99', '10.89.1.2']);
  // Reversed: the attachments are what they were, and `before` is what they were to become.
  const both = [
    MOVED,
    attachment('back', { ordinal: 1, addresses: [{ address: '10.89.1.99', prefix: 24, gateway: null }] }),
  ];
  const back = {
    ...context({ attachments: [BACK] }),
    change: change.begin(context(), { kind: 'adjust', before: both, led: ['10.89.1.2'] }),
  };
  assert.equal(difference(change.reinstatement(back)), ['+ 8080 -> 10.89.1.2:80', '- 8080 -> 10.89.1.99:80']);
  assert.equal(change.whereLed(back), ['10.89.1.2', '10.89.1.99']);
  const turned = {
    ...adjusted,
    attachments: [WEB, BACK],
    change: change.begin(adjusted, { ...(adjusted.change as never as { kind: 'adjust' }), before: [MOVED, BACK] }),
  };
  assert.equal(difference(change.reinstatement(turned)), [`+ ${TO_WEB}`, `- ${TO_MOVED}`]);
});

plan('a change goes to the firewall, to the forwarder with the namespace, or to slirp4netns', () => {
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
  const behind = changing({ ...PUBLISH, ports: [P90] }, { portHandler: 'slirp4netns', outside });
  for (const input of [change.exposure(behind), change.removal(behind), change.withdrawal(behind)]) {
    assert.equal([input.outside, input.through], [outside, { handler: 'slirp4netns', directory: token }]);
  }
});

plan('the names of a change are those of its networks', () => {
  const dns = { listen: ['10.89.0.1'], servers: ['192.0.2.53'] };
  const named = changing(
    { kind: 'connect', networks: { web: {} } },
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

plan('a grant names every link and adds only new ports', () => {
  const taking = { owner: 'c2:3', ports: [P90], targets: [] };
  const given = [{ protocol: 'tcp' as const, hostIp: '', hostPort: 9090, address: '10.89.7.7', containerPort: 1 }];
  const asking = changing(
    { kind: 'publish', wanted: [], networks: { back: { gateway_priority: 7 } }, taking },
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
  assert.equal(answer.context.ports, [P80]);
  const alone = change.planned(changing({ kind: 'connect' }), { leases: [], ports: [], inside: [], given });
  assert.is('context' in alone ? change.takenBy(alone.context.change) : undefined, null);
  assert.equal('context' in alone ? alone.context.change : undefined, {
    ...change.begin(context(), { kind: 'connect' }),
    ports: [],
    todo: [],
  });
  const idle = change.planned(context(), { leases: [], ports: [], inside: [], given });
  assert.is('context' in idle ? idle.context.change : undefined, null);
  const clash = change.planned(changing({ kind: 'connect', networks: { inner: { interface_name: 'to-web' } } }), {
    ...granted,
    leases: [leaseOf('inner')],
  });
  assert.is('fault' in clash ? clash.fault.code : '', 'INTERFACE_TAKEN');
});

plan('a complete addition is part of the container and of its request', () => {
  const wanted: PortRequest[] = [{ host_port: 9090, container_port: 90 }];
  const request = {
    netns: { mode: 'new' as const },
    networks: { web: {} },
    ports: [{ host_port: 8080, container_port: 80 }],
  };
  const adding = changing(
    { kind: 'publish', networks: { back: { aliases: ['b'] } }, wanted, taking: null, ports: [P90] },
    { request },
  );
  assert.equal(change.adopted(adding), {
    request: { ...request, networks: { web: {}, back: { aliases: ['b'] } }, ports: [...request.ports, ...wanted] },
    ports: [P80, P90],
    configured: true,
    change: null,
  });
  // At configure the request already contains what is wanted.
  assert.equal(change.adopted({ ...adding, configured: false }).request?.ports, request.ports);
});

plan('a port request finds published ports by their host side, one by one', () => {
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
