/**
 * How each part of a container is said to be, in each of its conditions: its namespace, its attachments, its uplink, its names,
 * its ports, its publisher, its leases.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { UplinkProcess } from '../../state/answers/container/inspection.ts';
import type { Change, ContainerRequest, Difference } from '../../state/container.ts';
import { driftPolicies } from '../../state/drift.ts';
import { SLIRP } from '../harness/fixtures.ts';
import { attachmentTo, contextWith, partsOf, PORT, type Changed } from '../harness/why-facts.ts';

const parts = suite('why, the parts of a container');

const WORKING = 'configuring.attaching';
const LEAVING = 'tearingDown.detaching';
const PATH = contextWith().netns?.path ?? '';
const missing = (kind: Difference['kind'], object: string, network: string | null = 'web'): Difference => ({
  kind,
  object,
  network,
  problem: 'missing',
});
const change = (more: Partial<Change> = {}): Change =>
  ({ kind: 'configure', networks: {}, ports: [], todo: [], led: [], wanted: [], ...more }) as Change;
const NEW: ContainerRequest = { netns: { mode: 'new' }, networks: {}, ports: [] };

parts('the namespace', () => {
  const is = (changed: Changed) => partsOf('namespace', changed);
  const lost = (problem: Difference['problem'], object = PATH, more: Changed = {}) =>
    is({ differences: [{ kind: 'link', object, network: null, problem }], ...more });
  assert.equal(is({}), [`ok: is at ${PATH}`]);
  assert.equal(is({ context: { netns: null } }), ["ok: is the host's own, in which nothing is made for it"]);
  assert.equal(is({ context: { identity: null }, state: 'creating' }), ['waiting: is not made yet']);
  assert.equal(is({ state: LEAVING }), [`waiting: at ${PATH} is being removed`]);
  assert.equal(is({ state: 'abandoning', context: { identity: null } }), ['waiting: was never made']);
  assert.equal(lost('missing'), [`wrong: is no longer at ${PATH}`]);
  assert.equal(lost('changed'), [`wrong: is not the one at ${PATH}`]);
  assert.equal(lost('unreadable'), [`wrong: cannot be read at ${PATH}`]);
  assert.equal(lost('missing', 'outside'), ['wrong: is no longer at outside']);
  const outside = { context: { outside: '/run/netns/out' } };
  assert.equal(lost('missing', '/run/netns/out', outside), ['wrong: is no longer at /run/netns/out']);
  assert.equal(lost('missing', 'outside', outside), [`ok: is at ${PATH}`], 'not the one that it is in');
  assert.equal(is({ differences: [missing('link', PATH)] }), [`ok: is at ${PATH}`], 'a link of a network by this name');
});

parts('the namespace of another container', () => {
  const owner = { name: 'web-server', state: 'up', whole: true, gone: false, verdict: 'web-server is up.' };
  const context = { request: { ...NEW, netns: { mode: 'container' as const, id: 'b' } }, attachments: [] };
  const is = (changed: Changed) => partsOf('namespace', { context, networks: [], leased: [], ...changed });
  assert.equal(is({ owner }), ['ok: is that of web-server']);
  assert.equal(is({}), ['wrong: is that of b, which is gone']);
  assert.equal(is({ owner: { ...owner, whole: false } }), ['wrong: is that of web-server, which is not well']);
  assert.equal(is({ owner: { ...owner, gone: true } }), [
    'ok: is that of web-server, which was torn down: its network stays until its last user has gone',
  ]);
  assert.equal(is({ owner, state: LEAVING }), ['waiting: is that of web-server']);
});

parts('the attachments', () => {
  const is = (changed: Changed) => partsOf('attachment', changed);
  const eth0 = 'eth0 with 10.89.0.2/24';
  assert.equal(is({}), [`web, ok: ${eth0} is on bridge cl-web`]);
  assert.equal(is({ state: LEAVING }), [`web, waiting: ${eth0} is being removed`]);
  const drift = ['link', 'address', 'route', 'neighbour', 'switch', 'rule'] as const;
  for (const kind of drift)
    assert.match(is({ differences: [missing(kind, 'x')] })[0] ?? '', `web, wrong: ${kind} x is missing`);
  for (const kind of ['port', 'table', 'dns', 'uplink'] as const)
    assert.equal(is({ differences: [missing(kind, 'x')] }), is({}), `${kind} is not on its link`);
  assert.equal(is({ differences: [missing('link', 'x', 'back')] }), is({}), 'of another network');
  const policies = driftPolicies(['link=alert', 'route=ignore', 'rule=alert']);
  assert.equal(
    is({
      policies,
      differences: [missing('link', 'a'), missing('link', 'b'), missing('route', 'c'), missing('address', 'd')],
    }),
    [
      'web, wrong: link a, link b, route c and address d are missing, and are left so (--drift link=alert, route=ignore)',
    ],
  );
  assert.equal(is({ policies, differences: [missing('link', 'a')] }), [
    'web, wrong: link a is missing, and is left so (--drift link=alert)',
  ]);
  const busy = { context: { change: change({ networks: { web: {} } }) } };
  assert.equal(is({ state: 'connecting.attaching', ...busy }), [`web, waiting: ${eth0} is being made or changed`]);
  assert.equal(is({ state: 'repairing.repairingLinks', context: { change: change({ todo: ['web'] }) } }), [
    `web, waiting: ${eth0} is being made or changed`,
  ]);
  assert.equal(is({ state: 'failed', ...busy }), [`web, wrong: ${eth0} may exist in part`]);
  assert.equal(is({ state: 'failed', context: { change: change({ networks: { back: {} } }) } }), [
    `web, ok: ${eth0} is on bridge cl-web`,
    'back, waiting: is made by `configure`',
  ]);
  const request = { ...NEW, networks: { web: {}, back: {} } };
  const asked = { attachments: [], configured: false, request };
  assert.equal(is({ state: 'created', context: asked }), [
    'web, waiting: is made by `configure`',
    'back, waiting: is made by `configure`',
  ]);
  assert.equal(is({ state: WORKING, context: { request, change: change({ networks: { inner: {} } }) } }), [
    `web, ok: ${eth0} is on bridge cl-web`,
    'back, waiting: is not made yet',
    'inner, waiting: is not made yet',
  ]);
  assert.equal(is({ state: LEAVING, context: asked }), [], 'nothing is made any more');
});

const process: UplinkProcess = {
  state: 'ready',
  ended: 0,
  down_ms: 0,
  down_since: null,
  last: null,
  pid: 7,
  ready_ms: 1,
  log: '',
};
const down = { ...process, state: 'ended' as const, pid: null };
const made = {
  name: 'tap0',
  mac: '02:00:00:00:00:01',
  mtu: 65_520,
  addresses: [{ address: '10.0.2.100', prefix: 24, gateway: null }],
};
const uplink = { settings: SLIRP, made: null, missing: [], endedSoon: 0 };
const behind = { uplink, attachments: [], request: NEW };

parts('the uplink', () => {
  const is = ({ context, ...more }: Changed = {}) =>
    partsOf('uplink', { process, networks: [], leased: [], context: { ...behind, ...context }, ...more });
  assert.equal(partsOf('uplink', { process }), []);
  assert.equal(is(), ['slirp4netns, ok: runs (pid 7)']);
  assert.equal(is({ process: { ...process, pid: null } }), ['slirp4netns, ok: runs (pid unknown)']);
  assert.equal(is({ context: { uplink: { ...uplink, made } } }), [
    'slirp4netns, ok: runs (pid 7), and has 10.0.2.100/24 on tap0',
  ]);
  assert.equal(is({ state: LEAVING }), ['slirp4netns, waiting: is being ended']);
  assert.equal(is({ state: LEAVING, process: null }), ['slirp4netns, waiting: has ended']);
  assert.equal(is({ state: LEAVING, process: { ...down, state: 'none' } }), ['slirp4netns, waiting: has ended']);
  assert.equal(is({ state: WORKING }), ['slirp4netns, waiting: is being started, ended or told of ports']);
  assert.equal(is({ state: 'created', context: { configured: false } }), [
    'slirp4netns, waiting: is started by `configure`',
  ]);
  assert.equal(is({ process: null }), ['slirp4netns, wrong: does not run']);
  assert.equal(is({ process: down }), ['slirp4netns, wrong: does not run']);
  assert.equal(is({ process: { ...down, down_since: 'noon' }, policies: driftPolicies(['uplink=ignore']) }), [
    'slirp4netns, wrong: does not run, since noon, and is not started again (--drift uplink=ignore)',
  ]);
  const drift = (...differences: Difference[]) => is({ differences });
  assert.equal(drift(missing('address', '10.0.2.100/24 on tap0', null)), [
    'slirp4netns, wrong: address 10.0.2.100/24 on tap0 is missing',
  ]);
  for (const other of [missing('port', 'x', null), missing('link', 'x'), missing('link', PATH, null)])
    assert.equal(drift(other), ['slirp4netns, ok: runs (pid 7)'], other.object);
});

parts('the names', () => {
  const dns = { listen: ['10.89.0.1'], servers: [] };
  const named = (...networks: string[]) => networks.map((network) => ({ ...attachmentTo(network), dns }));
  const resolver = { state: 'serving', fault: null, attempts: 0, named: ['web', 'back'] };
  const is = ({ context, ...more }: Changed = {}) =>
    partsOf('names', { resolver, context: { attachments: named('web'), ...context }, ...more });
  assert.equal(is({ context: { attachments: [attachmentTo('web')] } }), [], 'a network without names');
  assert.equal(is(), ['ok: c1 is known on web']);
  assert.equal(is({ context: { attachments: named('web', 'back').map((one) => ({ ...one, aliases: ['db'] })) } }), [
    'ok: c1 and db are known on web and back',
  ]);
  assert.equal(is({ state: LEAVING }), ['waiting: c1 is being removed']);
  const half = { resolver: { ...resolver, named: ['back'] }, context: { attachments: named('web', 'back') } };
  assert.equal(is(half), ['wrong: c1 is not known on web']);
  assert.equal(is({ ...half, state: WORKING }), ['waiting: c1 is not known on web']);
  assert.equal(is({ resolver: null }), ['wrong: c1 is not known on web']);
});

parts('the ports', () => {
  const range = { ...PORT, hostPort: 9000, range: 2 };
  const is = ({ context, ...more }: Changed = {}) =>
    partsOf('ports', { context: { ports: [PORT], ...context }, ...more });
  assert.equal(is({ context: { ports: [] } }), []);
  assert.equal(is(), ['ok: 8080/tcp leads to 10.89.0.2, by the firewall']);
  assert.equal(is({ context: { ports: [PORT, range] } }), [
    'ok: 8080/tcp and 9000-9001/tcp lead to 10.89.0.2, by the firewall',
  ]);
  assert.equal(is({ context: { ports: [range] } }), ['ok: 9000-9001/tcp lead to 10.89.0.2, by the firewall']);
  assert.equal(is({ context: { portHandler: 'forwarder' } }), ['ok: 8080/tcp leads to 10.89.0.2, by the forwarder']);
  assert.equal(is({ policies: driftPolicies(['port=ignore']) }), [
    'ok: 8080/tcp leads to 10.89.0.2, by the firewall (not watched: --drift port=ignore)',
  ]);
  assert.equal(is({ state: LEAVING }), ['waiting: 8080/tcp is being removed']);
  assert.equal(is({ state: LEAVING, context: { ports: [PORT, range] } }), [
    'waiting: 8080/tcp and 9000-9001/tcp are being removed',
  ]);
  assert.equal(is({ state: LEAVING, context: { ports: [] } }), []);
  const ports = [{ container_port: 80, host_port: 8080 }, { container_port: 53 }];
  const asked = { configured: false, ports: [], request: { ...NEW, ports } };
  assert.equal(is({ state: 'created', context: asked }), [
    'waiting: 8080/tcp and one for 53/tcp are published by `configure`',
  ]);
  assert.equal(is({ state: WORKING, context: { ...asked, request: { ...NEW, ports: ports.slice(0, 1) } } }), [
    'waiting: 8080/tcp is not published yet',
  ]);
  assert.equal(is({ state: 'created', context: { ...asked, request: NEW } }), []);
  assert.equal(is({ differences: [missing('port', '8080/tcp', null), missing('route', 'x')] }), [
    'wrong: port 8080/tcp is missing',
  ]);
  assert.equal(is({ state: 'publishing.exposing' }), ['waiting: 8080/tcp is being made sure of']);
  for (const state of ['degraded', 'failed'])
    assert.equal(is({ state }), ['waiting: 8080/tcp is made sure of when the repair succeeds'], state);
  assert.equal(is({ state: 'failed', context: { ports: [PORT, range] } }), [
    'waiting: 8080/tcp and 9000-9001/tcp are made sure of when the repair succeeds',
  ]);
  assert.equal(is({ context: { ports: [range], attachments: [] } }), [
    'waiting: 9000-9001/tcp lead nowhere, because it is on no network that takes ports',
  ]);
});

parts('the ports behind an uplink', () => {
  const is = (context: Changed['context'], more: Changed = {}) =>
    partsOf('ports', { process, networks: [], leased: [], ...more, context: { ...behind, ports: [PORT], ...context } });
  assert.equal(is({ uplink: { ...uplink, made }, portHandler: 'slirp4netns' }), [
    'ok: 8080/tcp leads to 10.0.2.100, by the uplink',
  ]);
  assert.equal(
    is({ portHandler: 'pasta' }),
    ['ok: 8080/tcp leads to it, by the uplink'],
    'it has the addresses of the host',
  );
  assert.equal(is({ portHandler: 'pasta' }, { process: down }), [
    'wrong: 8080/tcp leads nowhere while slirp4netns does not run',
  ]);
  assert.equal(is({ portHandler: 'pasta' }, { process: null }), [
    'wrong: 8080/tcp leads nowhere while slirp4netns does not run',
  ]);
});

parts('the outer publisher', () => {
  const is = ({ context, ...more }: Changed = {}) =>
    partsOf('publisher', { context: { publisher: 'unix:/p', ports: [PORT], ...context }, ...more });
  assert.equal(is({ context: { publisher: null } }), []);
  assert.equal(is({ context: { ports: [] } }), [], 'no port is to be published');
  const one = [{ container_port: 80 }];
  assert.equal(is(), ['ok: at unix:/p answers']);
  assert.equal(is({ context: { request: { ...NEW, ports: one } } }), ['ok: at unix:/p answers']);
  assert.equal(is({ context: { ports: [], request: { ...NEW, ports: one } } }), ['ok: at unix:/p answers']);
  assert.equal(is({ publisher: { code: 'PUBLISHER_FAILED', message: 'nobody listens' } }), [
    'wrong: at unix:/p does not answer: nobody listens',
  ]);
});

parts('the leases', () => {
  const is = (changed: Changed = {}) => partsOf('leases', changed);
  assert.equal(is(), ['ok: it holds 10.89.0.2 of web']);
  assert.equal(is({ context: { ports: [PORT] } }), ['ok: it holds 10.89.0.2 of web and host port 8080/tcp']);
  assert.equal(is({ context: { attachments: [] } }), []);
  const both = { attachments: [attachmentTo('web'), attachmentTo('back', 1)] };
  assert.equal(is({ leased: [], context: both }), ['wrong: it has no address of web and back']);
  assert.equal(is({ context: both }), ['wrong: it has no address of back']);
  assert.equal(is({ leased: [], state: WORKING }), ['ok: it holds 10.89.0.2 of web'], 'it may just be asking');
  assert.equal(is({ state: LEAVING }), ['waiting: 10.89.0.2 of web is kept until nothing uses it any more']);
  assert.equal(is({ state: LEAVING, context: both }), [
    'waiting: 10.89.0.2 of web and 10.89.1.2 of back are kept until nothing uses them any more',
  ]);
});

parts.run();
