/**
 * What Docker's clients ask for and are answered, translated: the meaning of each field and option, what is refused, filters, versions,
 * sentences. No daemon. Over 400 lines because each option, filter and refusal is a row of a table.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { API_VERSION, refuseVersion, splitVersion } from '../../service/fronts/docker/docker-about.ts';
import {
  dockerContainer,
  dockerInspection,
  dockerState,
  type Shown,
} from '../../service/fronts/docker/docker-container.ts';
import { toAttachmentOptions, toNetworkRequest } from '../../service/fronts/docker/docker-create.ts';
import { asDocker, inDockersWords } from '../../service/fronts/docker/docker-error.ts';
import {
  choosesContainers,
  choosesEvents,
  choosesNetworks,
  choosesPrunable,
  CONTAINER_FILTERS,
  EVENT_FILTERS,
  filtersOf,
  momentOf,
  NETWORK_FILTERS,
  PRUNE_FILTERS,
} from '../../service/fronts/docker/docker-filters.ts';
import { dockerNetwork } from '../../service/fronts/docker/docker-network.ts';
import { parse } from '../../service/requests/parse.ts';
import type { DockerEvent } from '../../state/answers/docker.ts';
import { FAULTS, FaultError, type FaultCode } from '../../state/faults.ts';
import { DockerCreate, DockerEndpoint } from '../../state/fronts/docker.ts';
import { planNetwork } from '../../plan/networks/network.ts';
import { containerMachine } from '../../machines/container/container.ts';

const translation = suite('translation of docker');

/** As Docker 28 sends it. */
const BARE = {
  Driver: 'bridge',
  Scope: '',
  IPAM: { Driver: 'default', Options: {}, Config: [] },
  Internal: false,
  Attachable: false,
  Ingress: false,
  ConfigOnly: false,
  ConfigFrom: null,
  Options: {},
  Labels: {},
  Name: 'web',
};
const translate = (more: object = {}) => toNetworkRequest(parse(DockerCreate, { ...BARE, ...more }));
const config = (...Config: object[]) => ({ IPAM: { Driver: 'default', Options: {}, Config } });
const connect = (endpoint: object) => toAttachmentOptions(parse(DockerEndpoint, endpoint));

function faultOf(work: () => unknown): { code: FaultCode; message: string } {
  try {
    work();
  } catch (error) {
    if (error instanceof FaultError) return error.fault;
    throw error;
  }
  throw new Error('it was not refused');
}

/** [what is sent, the code, a part of the message] */
type Refused = [sent: object, code: FaultCode, message: RegExp];
const allRefused = (rows: readonly Refused[], work: (sent: object) => unknown): void => {
  for (const [sent, code, message] of rows) {
    const fault = faultOf(() => work(sent));
    assert.is(fault.code, code, JSON.stringify(sent));
    assert.match(fault.message, message);
  }
};

translation('a network as Docker sends it, with nothing chosen', () => {
  const bare = { name: 'web', driver: 'bridge', labels: {} };
  assert.equal(translate(), bare);
  // An older client says this, and leaves most out; one written in Go says null.
  assert.equal(translate({ CheckDuplicate: true, Driver: '' }), bare);
  assert.equal(translate({ IPAM: null, Options: null, Labels: {}, Driver: 'default', Scope: 'local' }), bare);
  assert.equal(toNetworkRequest(parse(DockerCreate, { Name: 'web' })), { name: 'web', driver: 'bridge' });
});

translation('each option and field of a network', () => {
  const rows: [sent: object, request: object][] = [
    [
      { Internal: true, Labels: { a: 'b' } },
      { internal: true, labels: { a: 'b' } },
    ],
    [{ EnableIPv6: true }, { ipv6_enabled: true }],
    [{ EnableIPv4: true }, {}],
    [
      { EnableIPv4: false, EnableIPv6: true },
      { ipv6_enabled: true, ipv4_enabled: false },
    ],
    [{ IPAM: { Driver: 'null' } }, { ipam_options: { driver: 'none' } }],
    [
      config({ Subnet: '10.1.0.0/24', Gateway: '10.1.0.9' }),
      { subnets: [{ subnet: '10.1.0.0/24', gateway: '10.1.0.9' }] },
    ],
    [
      config({ Subnet: '10.1.0.0/24', IPRange: '10.1.0.128/25' }),
      { subnets: [{ subnet: '10.1.0.0/24', lease_range: { start_ip: '10.1.0.128', end_ip: '10.1.0.254' } }] },
    ],
    [
      config({ Subnet: '10.1.0.0/24', IPRange: '10.1.0.0/25' }),
      { subnets: [{ subnet: '10.1.0.0/24', lease_range: { start_ip: '10.1.0.1', end_ip: '10.1.0.127' } }] },
    ],
    [
      { ...config({ Subnet: 'fd00:1::/64', IPRange: 'fd00:1::/72' }), EnableIPv6: true },
      {
        subnets: [
          { subnet: 'fd00:1::/64', lease_range: { start_ip: 'fd00:1::1', end_ip: 'fd00:1::ff:ffff:ffff:ffff' } },
        ],
        ipv6_enabled: true,
        ipv4_enabled: true,
      },
    ],
    [
      { ...config({ Subnet: 'fd00:1::/64' }, { Subnet: '10.1.0.0/24' }), EnableIPv6: true },
      { subnets: [{ subnet: 'fd00:1::/64' }, { subnet: '10.1.0.0/24' }], ipv6_enabled: true },
    ],
    [
      { ...config({ Subnet: 'fd00:1::/64' }), EnableIPv6: true, EnableIPv4: false },
      { subnets: [{ subnet: 'fd00:1::/64' }], ipv6_enabled: true },
    ],
    [
      {
        Options: {
          'com.docker.network.bridge.name': 'br7',
          'com.docker.network.driver.mtu': '1400',
          'com.docker.network.bridge.enable_ip_masquerade': 'F',
          'com.docker.network.bridge.enable_icc': '1',
          'com.docker.network.bridge.gateway_mode_ipv4': 'nat',
          isolate: 'true',
        },
      },
      {
        network_interface: 'br7',
        options: { mtu: '1400', 'com.docker.network.bridge.enable_ip_masquerade': 'false', isolate: 'true' },
      },
    ],
    [
      { Options: { 'com.docker.network.host_ipv4': '192.0.2.1', 'com.docker.network.host_ipv6': 'fd00::1' } },
      { options: { outbound_addr4: '192.0.2.1', outbound_addr6: 'fd00::1' } },
    ],
    [
      { Driver: 'macvlan', Options: { parent: 'lan0', macvlan_mode: 'private' } },
      { driver: 'macvlan', network_interface: 'lan0', options: { mode: 'private' } },
    ],
    [
      { Driver: 'ipvlan', Options: { parent: 'lan0', ipvlan_mode: 'l3', ipvlan_flag: 'bridge' } },
      { driver: 'ipvlan', network_interface: 'lan0', options: { mode: 'l3' } },
    ],
    [
      { Driver: 'vlan', Options: { parent: 'lan0', vlan: '7' } },
      { driver: 'vlan', network_interface: 'lan0', options: { vlan: '7' } },
    ],
  ];
  for (const [sent, request] of rows) {
    assert.equal(translate(sent), { name: 'web', driver: 'bridge', labels: {}, ...request }, JSON.stringify(sent));
  }
});

translation('what cleat has not is refused with what asks for it', () => {
  const option = (name: string, value: string, more: object = {}) => ({ Options: { [name]: value }, ...more });
  allRefused(
    [
      ...['bridge', 'host', 'none', 'default'].map((Name): Refused => [
        { Name },
        'NOT_ALLOWED',
        new RegExp(`^operation is not permitted on predefined ${Name} network$`),
      ]),
      [{ Name: '../x' }, 'BAD_REQUEST', /a network name is letters/],
      [
        { Driver: 'weave' },
        'UNSUPPORTED',
        /^could not find plugin weave: cleat has the drivers bridge, overlay, macvlan/,
      ],
      [{ Driver: 'host' }, 'UNSUPPORTED', /^could not find plugin host/],
      [{ Scope: 'swarm' }, 'UNSUPPORTED', /scope swarm/],
      [{ Scope: 'x' }, 'BAD_REQUEST', /invalid scope x/],
      [{ Attachable: true }, 'UNSUPPORTED', /attachable/],
      [{ Ingress: true }, 'UNSUPPORTED', /ingress/],
      [{ ConfigOnly: true }, 'UNSUPPORTED', /configurations/],
      [{ ConfigFrom: { Network: 'x' } }, 'UNSUPPORTED', /configurations/],
      [{ EnableIPv4: false }, 'BAD_REQUEST', /IPv4 or IPv6 must be enabled/],
      [config({ Subnet: 'fd00::/64' }), 'BAD_REQUEST', /IPv6 is not enabled \(--ipv6\)/],
      [
        { ...config({ Subnet: '10.1.0.0/24' }), EnableIPv4: false, EnableIPv6: true },
        'BAD_REQUEST',
        /IPv4 is not enabled/,
      ],
      [config({ Gateway: '10.1.0.1' }), 'BAD_REQUEST', /must have a corresponding subnet/],
      [config({}), 'BAD_REQUEST', /must have a corresponding subnet/],
      [config({ Subnet: '10.1.0.0/24', IPRange: '10.2.0.0/25' }), 'BAD_REQUEST', /invalid ip-range 10\.2\.0\.0\/25/],
      [config({ Subnet: '10.1.0.0/24', IPRange: '10.0.0.0/8' }), 'BAD_REQUEST', /not inside subnet/],
      [config({ Subnet: '10.1.0.0/24', IPRange: 'fd00::/64' }), 'BAD_REQUEST', /not inside subnet/],
      [config({ Subnet: 'x' }), 'BAD_REQUEST', /not a subnet/],
      [config({ Subnet: 'x', IPRange: '10.2.0.0/25' }), 'BAD_REQUEST', /invalid subnet x: invalid CIDR address/],
      [config({ Subnet: '10.1.0.0/24', AuxiliaryAddresses: { a: '10.1.0.5' } }), 'UNSUPPORTED', /auxiliary addresses/],
      [{ IPAM: { Options: { a: 'b' } } }, 'UNSUPPORTED', /options of the IPAM driver/],
      [{ IPAM: { Driver: 'dhcp' } }, 'UNSUPPORTED', /IPAM driver dhcp/],
      [{ Surprise: true }, 'BAD_REQUEST', /Surprise/],
      [option('colour', 'red'), 'UNSUPPORTED', /unknown option colour/],
      [option('constructor', 'x'), 'UNSUPPORTED', /unknown option constructor/],
      [option('com.docker.network.bridge.enable_icc', 'false'), 'UNSUPPORTED', /enable_icc=false .* reach each other/],
      [option('com.docker.network.bridge.gateway_mode_ipv4', 'routed'), 'UNSUPPORTED', /gateway_mode_ipv4=routed/],
      [option('com.docker.network.bridge.host_binding_ipv4', '127.0.0.1'), 'UNSUPPORTED', /where it is published/],
      [option('parent', 'lan0'), 'UNSUPPORTED', /parent is not supported by driver bridge/],
      [option('macvlan_mode', 'private'), 'UNSUPPORTED', /macvlan_mode is not supported by driver bridge/],
      [option('com.docker.network.bridge.name', 'x', { Driver: 'macvlan' }), 'UNSUPPORTED', /by driver macvlan/],
      [option('com.docker.network.driver.mtu', '1'), 'BAD_REQUEST', /mtu is a number of bytes/],
      [option('com.docker.network.bridge.enable_ip_masquerade', 'maybe'), 'BAD_REQUEST', /enable_ip_masquerade/],
    ],
    translate,
  );
});

translation("each field of a container's attachment, and what is refused", () => {
  // The whole of what Docker 28 sends.
  const sent = {
    IPAMConfig: { IPv4Address: '10.1.0.4', IPv6Address: 'fd00::4' },
    Links: null,
    Aliases: ['db'],
    MacAddress: '02-00-00-00-00-0A',
    DriverOpts: { 'com.docker.network.endpoint.ifname': 'lan0' },
    GwPriority: 3,
    NetworkID: 'x',
    EndpointID: '',
    Gateway: '',
    IPAddress: '10.1.0.9',
    IPPrefixLen: 0,
    IPv6Gateway: '',
    GlobalIPv6Address: '',
    GlobalIPv6PrefixLen: 0,
    DNSNames: null,
  };
  assert.equal(connect(sent), {
    static_ips: ['10.1.0.4', 'fd00::4'],
    static_mac: '02:00:00:00:00:0a',
    interface_name: 'lan0',
    aliases: ['db'],
    gateway_priority: 3,
  });
  assert.equal(connect({ IPAMConfig: {}, Aliases: [], MacAddress: '', DriverOpts: {}, GwPriority: 0 }), {});
  assert.equal(connect({}), {});
  allRefused(
    [
      [{ Links: ['a:b'] }, 'UNSUPPORTED', /links/],
      [{ IPAMConfig: { LinkLocalIPs: ['169.254.1.1'] } }, 'UNSUPPORTED', /link-local/],
      [{ DriverOpts: { 'com.docker.network.endpoint.sysctls': 'a=b' } }, 'UNSUPPORTED', /endpoint\.sysctls/],
      [{ IPAMConfig: { IPv4Address: 'x' } }, 'BAD_REQUEST', /not an IPv4 or IPv6 address/],
      [{ MacAddress: '01:00:00:00:00:00' }, 'BAD_REQUEST', /unicast MAC/],
      [{ Aliases: ['a b'] }, 'BAD_REQUEST', /host name/],
      [{ GwPriority: 1.5 }, 'BAD_REQUEST', /GwPriority/],
    ],
    connect,
  );
});

// --- Answers --------------------------------------------------------------------------------------------------------

const around = {
  networks: [],
  routes: [],
  links: [],
  pools: [],
  defaultLink: null,
  bridgePrefix: 'cleat',
  id: 'ab'.repeat(32),
  now: '2026-01-02T03:04:05.678Z',
  resolver: true,
};
function defined(sent: object) {
  const plan = planNetwork(translate(sent), around);
  if ('fault' in plan) throw new Error(plan.fault.message);
  return plan.definition;
}

translation('a network is shown as it was asked for, and makes the same network again', () => {
  const rows: object[] = [
    {},
    { EnableIPv6: true, Internal: true, Labels: { a: 'b' } },
    config({ Subnet: '10.1.0.0/24', Gateway: '10.1.0.9', IPRange: '10.1.0.128/25' }),
    config({ Subnet: '10.1.0.0/24', IPRange: '10.1.0.0/25' }),
    config({ Subnet: '10.1.0.0/24', IPRange: '10.1.0.0/24' }),
    config({ Subnet: '10.1.0.0/24', IPRange: '10.1.0.64/32' }),
    { ...config({ Subnet: 'fd00:1::/64', IPRange: 'fd00:1::/72' }), EnableIPv6: true, EnableIPv4: false },
    { Options: { 'com.docker.network.bridge.name': 'br7', 'com.docker.network.driver.mtu': '1400', isolate: 'false' } },
    { Options: { 'com.docker.network.host_ipv4': '192.0.2.1' } },
    { ...config({ Subnet: '10.1.0.0/24' }), Driver: 'macvlan', Options: { parent: 'lan0', macvlan_mode: 'private' } },
  ];
  for (const sent of rows) {
    const definition = defined(sent);
    const { Id, Created, Containers: _none, ...shown } = dockerNetwork(definition, []);
    assert.equal([Id, Created], [around.id, around.now]);
    const { EnableIPv4, EnableIPv6, ...others } = shown;
    assert.equal(defined({ ...others, EnableIPv4, EnableIPv6 }), definition, JSON.stringify(shown));
  }
  const { IPAM } = dockerNetwork(defined(config({ Subnet: '10.1.0.0/24', IPRange: '10.1.0.128/25' })), []);
  assert.equal(IPAM.Config, [{ Subnet: '10.1.0.0/24', IPRange: '10.1.0.128/25', Gateway: '10.1.0.1' }]);
});

translation('a range that is no block is left out, and IPv4 comes first', () => {
  const six = defined({ ...config({ Subnet: 'fd00:1::/64' }, { Subnet: '10.1.0.0/24' }), EnableIPv6: true });
  const [first, second] = dockerNetwork(six, []).IPAM.Config;
  assert.equal([first?.Subnet, second?.Subnet], ['10.1.0.0/24', 'fd00:1::/64']);
  const subnets = [
    { subnet: '10.1.0.0/24', gateway: '10.1.0.1', lease_range: { start_ip: '10.1.0.9', end_ip: '10.1.0.20' } },
  ];
  assert.equal(dockerNetwork({ ...six, subnets }, []).IPAM.Config, [{ Subnet: '10.1.0.0/24', Gateway: '10.1.0.1' }]);
  const from = [{ subnet: '10.1.0.0/24', gateway: '10.1.0.1', lease_range: { start_ip: '10.1.0.128' } }];
  assert.is(dockerNetwork({ ...six, subnets: from }, []).IPAM.Config[0]?.IPRange, '10.1.0.128/25');
});

const settings = (networks: object, ports: object = {}) =>
  ({ Networks: networks, Ports: ports }) as unknown as Shown['NetworkSettings'];
const shown: Shown = {
  id: 'web',
  name: 'front',
  hostname: null,
  state: 'up',
  created: '2026-01-02T03:04:05.678Z',
  netns: { mode: 'new', path: '/run/netns/x' },
  bound_to: 42,
  requested_networks: { back: {} },
  NetworkSettings: settings(
    { back: { NetworkID: 'ab' } },
    { '80/tcp': [{ HostIp: '0.0.0.0', HostPort: '8080' }], '53/udp': [{ HostIp: '127.0.0.1', HostPort: '53' }] },
  ),
  fault: null,
};
const NOW = Date.parse(shown.created) + 90_000;

translation('a container, in the list and alone', () => {
  const { Id, Names, State, Status, Ports, HostConfig, Created } = dockerContainer(shown, NOW);
  assert.equal([Id, Names, State, Status], ['web', ['/front'], 'running', 'Up About a minute']);
  assert.is(Created, 1_767_323_045);
  assert.equal(HostConfig, { NetworkMode: 'back' });
  assert.equal(Ports, [
    { IP: '0.0.0.0', PrivatePort: 80, PublicPort: 8080, Type: 'tcp' },
    { IP: '127.0.0.1', PrivatePort: 53, PublicPort: 53, Type: 'udp' },
  ]);
  const alone = dockerInspection(shown);
  assert.equal([alone.Name, alone.State.Pid, alone.State.Running, alone.State.Error], ['/front', 42, true, '']);
  const dead = dockerInspection({ ...shown, state: 'failed', bound_to: null, fault: { message: 'why' } });
  assert.equal([dead.State.Status, dead.State.Dead, dead.State.Pid, dead.State.Error], ['dead', true, 0, 'why']);
  const modeOf = (more: Partial<Shown>) => dockerInspection({ ...shown, ...more }).HostConfig.NetworkMode;
  assert.is(modeOf({ netns: { mode: 'host', path: null } }), 'host');
  assert.is(modeOf({ netns: { mode: 'container', id: 'pod', path: null } }), 'container:pod');
  assert.is(modeOf({ requested_networks: {} }), 'none');
});

translation("each state of a container is one of Docker's", () => {
  const states = Object.keys(containerMachine.states);
  const by = (wanted: string) => states.filter((state) => dockerState(state) === wanted).sort();
  assert.equal(by('created'), ['configuring', 'created', 'creating']);
  assert.equal(by('removing'), ['abandoning', 'draining', 'gone', 'releasing', 'tearingDown']);
  assert.equal(by('dead'), ['failed', 'teardownFailed']);
  assert.ok(by('running').includes('up') && by('running').includes('degraded'));
  assert.is(dockerState('tearingDown.removingFiles'), 'removing');
  assert.is(dockerState('error'), 'dead');
});

translation('how long a container is up, in the words of Docker', () => {
  const rows: [seconds: number, words: string][] = [
    [0.5, 'Less than a second'],
    [1, '1 second'],
    [59, '59 seconds'],
    [60, 'About a minute'],
    [120, '2 minutes'],
    [3600, 'About an hour'],
    [47 * 3600, '47 hours'],
    [50 * 3600, '2 days'],
    [15 * 86_400, '2 weeks'],
    [70 * 86_400, '2 months'],
    [800 * 86_400, '2 years'],
  ];
  for (const [seconds, words] of rows) {
    const now = Date.parse(shown.created) + seconds * 1000;
    assert.is(dockerContainer(shown, now).Status, `Up ${words}`, String(seconds));
  }
});

// --- Filters --------------------------------------------------------------------------------------------------------

const json = (filters: object) => JSON.stringify(filters);
/** As newer clients write it. */
const set = (...values: string[]) => Object.fromEntries(values.map((value) => [value, true]));

translation('filters of networks', () => {
  const web = dockerNetwork(defined({ Labels: { stage: 'test', tier: '' } }), []);
  const chosen = (filters: object, used = false) =>
    choosesNetworks(filtersOf(json(filters), NETWORK_FILTERS), () => used)(web);
  const rows: [filters: object, yes: boolean, used?: boolean][] = [
    [{}, true],
    [{ name: set('we') }, true],
    [{ name: ['we'] }, true],
    [{ name: set('^eb') }, false],
    [{ name: set('eb$') }, true],
    [{ name: set('^we$') }, false],
    [{ name: set('^web$') }, true],
    [{ name: set('x', 'web') }, true],
    [{ id: set('abab') }, true],
    [{ id: set('cd') }, false],
    [{ driver: set('bridge') }, true],
    [{ driver: set('macvlan') }, false],
    [{ label: set('stage') }, true],
    [{ label: set('stage=test', 'tier') }, true],
    [{ label: set('stage=test', 'none') }, false],
    [{ label: set('stage=x') }, false],
    [{ label: set('constructor') }, false],
    [{ type: set('custom') }, true],
    [{ type: set('builtin') }, false],
    [{ scope: set('local') }, true],
    [{ scope: set('swarm') }, false],
    [{ dangling: set('true') }, true],
    [{ dangling: set('true') }, false, true],
    [{ dangling: set('0') }, true, true],
    [{ name: set('web'), driver: set('macvlan') }, false],
  ];
  for (const [filters, yes, used] of rows) assert.is(chosen(filters, used), yes, json(filters));
  assert.ok(choosesNetworks(new Map([['type', ['builtin']]]), () => false)({ ...web, Name: 'cleat' }));
  allRefused(
    [
      [{ colour: set('red') }, 'BAD_REQUEST', /^invalid filter 'colour': cleat has driver, id/],
      [{ type: set('x') }, 'BAD_REQUEST', /^invalid filter 'type=x'$/],
      [{ dangling: set('maybe') }, 'BAD_REQUEST', /^invalid filter 'dangling=maybe'$/],
      [{ name: set('(a+)+$') }, 'BAD_REQUEST', /^invalid filter 'name=\(a\+\)\+\$'$/],
      [{ name: 'web' }, 'BAD_REQUEST', /^invalid filter/],
      [{ name: { web: 'yes' } }, 'BAD_REQUEST', /^invalid filter/],
    ],
    chosen,
  );
  for (const text of ['{', '[]', 'null', '1']) {
    assert.match(faultOf(() => filtersOf(text, NETWORK_FILTERS)).message, /^invalid filter/, text);
  }
  assert.is(filtersOf('', NETWORK_FILTERS).size, 0);
  assert.equal(filtersOf('{"name":{"__proto__":true}}', NETWORK_FILTERS).get('name'), ['__proto__']);
});

translation('filters of containers', () => {
  const web = dockerContainer(shown, NOW);
  const made = dockerContainer({ ...shown, state: 'created' }, NOW);
  const chosen = (filters: object, all = false, one = web) =>
    choosesContainers(filtersOf(json(filters), CONTAINER_FILTERS), all)(one);
  assert.equal([chosen({}), chosen({}, false, made), chosen({}, true, made)], [true, false, true]);
  assert.equal(
    [chosen({ name: set('^front') }), chosen({ name: set('^/front$') }), chosen({ name: set('web') })],
    [true, true, false],
  );
  assert.equal([chosen({ id: set('we') }), chosen({ id: set('front') })], [true, false]);
  assert.equal(
    [chosen({ network: set('back') }), chosen({ network: set('ab') }), chosen({ network: set('x') })],
    [true, true, false],
  );
  assert.equal(
    [chosen({ status: set('created') }, false, made), chosen({ status: set('created') }, true)],
    [true, false],
  );
  assert.is(chosen({ label: set('a') }), false);
  assert.match(faultOf(() => chosen({ status: set('x') })).message, /^invalid filter 'status=x'$/);
  assert.match(faultOf(() => chosen({ ancestor: set('x') })).message, /^invalid filter 'ancestor'/);
});

translation('filters of events and of what is pruned', () => {
  const event: DockerEvent = {
    Type: 'network',
    Action: 'connect',
    Actor: { ID: 'ab'.repeat(32), Attributes: { container: 'web', name: 'back', type: 'bridge' } },
    scope: 'local',
    time: 1,
    timeNano: 1e9,
  };
  const tells = (filters: object) => choosesEvents(filtersOf(json(filters), EVENT_FILTERS))(event);
  for (const filters of [
    {},
    { type: set('network') },
    { event: set('connect', 'create') },
    { network: set('back') },
    { network: set('abab') },
    { container: set('web') },
    { label: set('type=bridge') },
  ])
    // prettier-ignore
    assert.ok(tells(filters), json(filters));
  for (const filters of [
    { event: set('create') },
    { network: set('x') },
    { container: set('db') },
    { scope: set('swarm') },
  ])
    assert.not.ok(tells(filters), json(filters));
  for (const filters of [{ type: set('image') }, { event: set('pull') }, { image: set('x') }])
    assert.match(faultOf(() => tells(filters)).message, /^invalid filter/);

  const network = { created: '2026-01-02T03:00:00Z', labels: { stage: 'test' } };
  const now = Date.parse('2026-01-02T04:00:00Z');
  const prunes = (filters: object) => choosesPrunable(filtersOf(json(filters), PRUNE_FILTERS), now)(network);
  for (const filters of [
    {},
    { until: set('30m') },
    { until: set('2026-01-02T03:00:01Z') },
    { label: set('stage') },
    { 'label!': set('x') },
  ])
    // prettier-ignore
    assert.ok(prunes(filters), json(filters));
  for (const filters of [
    { until: set('1h30m') },
    { until: set('1') },
    { 'label!': set('stage=test') },
    { label: set('x') },
  ])
    assert.not.ok(prunes(filters), json(filters));
  assert.match(faultOf(() => prunes({ until: set('soon') })).message, /^invalid moment 'soon'/);
  assert.match(faultOf(() => prunes({ until: set('1h', '2h') })).message, /more than one until/);
  assert.is(momentOf('1.5', 0), 1500);
  assert.is(momentOf('1h1m1s1ms', 0), -3_661_001);
});

// --- Versions and errors ----------------------------------------------------------------------------------------

translation('a version in front of a path, and versions that are too old or too new', () => {
  assert.equal(splitVersion('/v1.50/networks?a=b'), { version: '1.50', path: '/networks?a=b' });
  assert.equal(splitVersion('/networks/v1.50'), { version: null, path: '/networks/v1.50' });
  assert.equal(splitVersion('/v1.50'), { version: null, path: '/v1.50' });
  for (const version of [null, '1.41', '1.44', API_VERSION]) refuseVersion(version);
  for (const version of ['1.51', '2.0', '1.999'])
    assert.match(
      faultOf(() => refuseVersion(version)).message,
      /^client version .* is too new\. Maximum supported .* 1\.50$/,
    );
  for (const version of ['1.40', '1.4', '1.24', '0.99'])
    assert.match(
      faultOf(() => refuseVersion(version)).message,
      /^client version .* is too old\. Minimum supported .* 1\.41, /,
    );
});

translation("faults in Docker's words, with Docker's statuses", async () => {
  const about = { network: 'web', container: 'c1' };
  const said = (code: FaultCode) =>
    inDockersWords(about, () => {
      throw new FaultError(code, 'as cleat says it', { owner: 'c2' });
    }).catch((error: FaultError) => asDocker(error.fault));
  const rows: [FaultCode, number, string][] = [
    ['NO_SUCH_NETWORK', 404, 'network web not found'],
    ['NETWORK_EXISTS', 409, 'network with name web already exists'],
    ['NETWORK_IN_USE', 403, 'error while removing network: network web has active endpoints (c2)'],
    ['ALREADY_CONNECTED', 403, 'endpoint with name c1 already exists in network web'],
    ['NOT_CONNECTED', 500, 'container c1 is not connected to network web'],
    ['ADDRESS_TAKEN', 403, 'Address already in use: as cleat says it'],
    ['SUBNET_FULL', 409, 'no available addresses on this pool: as cleat says it'],
    ['BAD_REQUEST', 400, 'as cleat says it'],
    ['NO_SUCH_CONTAINER', 404, 'as cleat says it'],
  ];
  const ambiguous = inDockersWords(about, () => {
    throw new FaultError('NO_SUCH_NETWORK', 'more than one result for network ID a');
  });
  await ambiguous.catch(({ message }: Error) => {
    assert.is(message, 'network web is ambiguous: more than one result for network ID a');
  });
  for (const [code, status, message] of rows) assert.equal(await said(code), { status, body: { message } });
  for (const code of Object.keys(FAULTS) as FaultCode[]) {
    const { status, body } = asDocker({ code, message: 'x' });
    assert.ok(status >= 400 && status < 600 && body.message === 'x', code);
  }
});

translation.run();
