/**
 * How the machines that containers share are said to be, for a container that depends on them: which are listed, in each of
 * their states, with their faults, their next attempts and the drift that is left.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Facts, NetworkFact, OverlayFact } from '../../plan/why/facts.ts';
import { FIREWALL, FIREWALLD, NETWORK, RESOLVER } from '../../plan/why/states.ts';
import { judge } from '../../plan/why/why.ts';
import type { Change, ContainerRequest } from '../../state/container.ts';
import { DRIFT_KINDS, driftPolicies, type DriftKind } from '../../state/drift.ts';
import type { Fault } from '../../state/faults.ts';
import { SLIRP } from '../harness/fixtures.ts';
import { attachmentTo, factsWith, NOW, partsOf, PORT, type Changed } from '../harness/why-facts.ts';

const shared = suite('why, the machines that containers share');

const FAULT: Fault = { code: 'KERNEL', message: 'the kernel said no' };
const LEAVING = 'tearingDown.detaching';
const NEW: ContainerRequest = { netns: { mode: 'new' }, networks: {}, ports: [] };
const up = { state: 'up', fault: null, attempts: 0 };
const web: NetworkFact = { network: 'web', bridge: 'cl-web', unmanaged: false, ...up };
const left = (kind: DriftKind, object: string, network: string | null = null): Facts['left'][number] => ({
  kind,
  object,
  network,
  t: NOW,
  by: null,
});
const listed = (changed: Changed): string[] =>
  judge(factsWith(changed))
    .parts.filter(({ part }) => ['network', 'firewall', 'firewalld', 'resolver', 'forwarder'].includes(part))
    .map(({ part, object }) => (object === null ? part : `${part} ${object}`));

shared('an overlay says since when nothing is attached, what etcd has answered, and when the lease ends', () => {
  const at = (ms: number) => NOW + ms;
  const open = { network: 'web', state: 'holding.leased', fault: null, attempts: 0, shares: ['10.7.1.0/24'] };
  const calm = { ...open, closedAt: null, leaseEnds: at(20_000), outage: null, renumbered: null };
  const told = (more: Partial<OverlayFact>, context: Changed = {}) => {
    const why = judge(factsWith({ overlays: [{ ...calm, ...more }], networks: [web], ...context }));
    const found = why.parts.find(({ part }) => part === 'overlay');
    return { ...why, said: `${found?.condition}: ${found?.text}` };
  };
  assert.is(told({}).said, 'ok: is open; has 10.7.1.0/24 for this host');
  assert.is(told({}).well, true);
  const members = 'no member of etcd answers: http://192.0.2.1:2379: no answer after 2000 ms';
  const outage = { since: at(-12_000), why: members };
  assert.is(
    told({ outage }).said,
    `ok: is open; has 10.7.1.0/24 for this host; etcd began not to answer 12 s ago (${members}), and the other hosts are those ` +
      'that were known then',
  );
  const fault: Fault = { code: 'OVERLAY_FENCED', message: 'etcd has not renewed the share in time' };
  const fenced = told({ state: 'fenced', fault, closedAt: at(-3000), leaseEnds: at(2000), outage });
  assert.is(
    fenced.said,
    "wrong: is fenced: nothing is attached to it until its share is proven to be this host's: etcd has not renewed the share in " +
      'time (OVERLAY_FENCED); nothing was attached since 3 s ago; etcd began not to answer 12 s ago ' +
      `(${members}), and the other hosts are those that were known then; the lease of its share ends in 2 s if it is not renewed, ` +
      'and the share is claimed again then',
  );
  assert.is(fenced.well, false);
  assert.match(fenced.blocks.join(' '), /Overlay web is fenced|overlay web is fenced/);
  const unreachable: Fault = { code: 'STORE_UNREACHABLE', message: members };
  assert.is(
    told({ state: 'unclaimed', fault: unreachable, attempts: 2, closedAt: at(-9000), leaseEnds: null, outage }).said,
    `wrong: has no share for this host, and nothing is attached to it: ${members} (STORE_UNREACHABLE); nothing was attached since ` +
      '9 s ago; etcd began not to answer 12 s ago, and the other hosts are those that were known then',
  );
  assert.match(
    told({ state: 'claiming', leaseEnds: at(-5) }).said,
    /^waiting: is claiming .*; the lease of its share has ended/,
  );
  const renumbered = { at: at(-60_000), from: ['10.7.9.0/24'], to: ['10.7.1.0/24'] };
  assert.match(
    told({ renumbered }).said,
    /its containers got addresses of 10.7.1.0\/24 in place of 10.7.9.0\/24 60 s ago$/,
  );
  const absent = judge(factsWith({ overlays: [{ ...calm, state: 'absent' }] }));
  assert.match(JSON.stringify(absent.parts), /started without --etcd/);
  const degraded = told({ state: 'fenced', fault }, { state: 'degraded' });
  assert.match(degraded.verdict, /is degraded: etcd has not renewed the share in time \(OVERLAY_FENCED\)/);
});

shared('in each of its states, a machine is described', () => {
  const told = (meanings: typeof NETWORK) =>
    Object.entries(meanings).map(([state, { condition, text }]) => `${state}: ${condition}, ${text}`);
  const back = 'takes a change back that a container could not follow';
  const defect = 'wrong, has been stopped by a defect in cleat, and is started again within a second';
  assert.equal(told(NETWORK), [
    'deciding: waiting, is being started',
    'down: ok, has no bridge now, because no container is on it: the first one raises it',
    'securing: waiting, waits for the firewall before it raises its bridge',
    'raising: waiting, is raising its bridge',
    'up: ok, is up',
    'programming: waiting, is being given the other hosts of its overlay',
    'revising: waiting, is being changed',
    'propagating: waiting, is passing a change on to its containers',
    `recordingRollback: waiting, ${back}`,
    `reverting: waiting, ${back}`,
    `restoring: waiting, ${back}`,
    'outOfSync: wrong, does not follow its definition',
    'repairing: waiting, is being repaired',
    'repairFailed: wrong, could not be repaired',
    'lowering: waiting, is removing its bridge; who needs it waits until that is done',
    'releasingFirewall: waiting, has removed its bridge, and waits for the firewall; who needs it waits until that is done',
    'lowerFailed: wrong, could not be lowered',
    `error: ${defect}`,
  ]);
  assert.equal(told(FIREWALL), [
    'deciding: waiting, is being started',
    'down: ok, has no table now, because nothing needs one: the first network or uplink raises it',
    'reading: waiting, is being raised',
    'raising: waiting, is being raised',
    'up: ok, is up',
    'opening: waiting, is being opened for the first network',
    'verifying: ok, is up, and is just being compared with what it should be',
    'verifyFailed: wrong, could not be read or repaired',
    'restoring: ok, is up, and forwarding is being switched back',
    'restoreFailed: wrong, is up, but could not switch forwarding back',
    'lowering: waiting, is being removed; who needs it waits until that is done',
    'lowerFailed: wrong, could not be removed',
    `error: ${defect}`,
  ]);
  assert.equal(told(RESOLVER), [
    'deciding: waiting, is being started',
    'idle: ok, does not run, because no container has names',
    'writing: ok, is being told of new names',
    'starting: ok, is being told of new names',
    'asking: ok, is being asked for new names',
    'serving: ok, answers',
    'steadying: ok, answers again, after a failure',
    'restarting: wrong, does not answer',
    'stopping: waiting, is being stopped',
    'stopFailed: wrong, could not be stopped',
    `error: ${defect}`,
  ]);
  assert.equal(told(FIREWALLD), [
    'deciding: waiting, is being looked at',
    'idle: ok, knows the bridges, if it runs',
    'looking: ok, is being looked at',
    'changing: waiting, is being told of the bridges',
    'refused: wrong, has not taken the bridges into its trusted zone',
    'error: wrong, is not told of bridges, because of a defect in cleat, and is told within a second',
  ]);
});

shared('the way out of an ordinary user’s networks concerns who is on one', () => {
  const rootless = { state: 'up', fault: null, attempts: 0 };
  const parts = (changed: Changed) => partsOf('rootless', { rootless, ...changed }).length;
  assert.is(parts({ networks: [web] }), 1);
  assert.is(parts({ context: { attachments: [], request: NEW } }), 0);
});

shared('its fault is said while it fails, with its next attempt if it makes one', () => {
  const is = (more: Partial<NetworkFact>) => partsOf('network', { networks: [{ ...web, ...more }] });
  assert.equal(is({}), ['web, ok: is up, on bridge cl-web']);
  assert.equal(is({ unmanaged: true }), ['web, ok: is up, on bridge cl-web, which others manage']);
  const onParent = { unmanaged: true, driver: 'macvlan', bridge: 'eth0' } as const;
  assert.equal(is(onParent), ['web, ok: is up, with macvlan links on eth0']);
  assert.equal(is({ state: 'raising', fault: FAULT }), ['web, waiting: is raising its bridge'], 'it is over');
  assert.equal(is({ state: 'raising', fault: FAULT, attempts: 1 }), [
    'web, waiting: is raising its bridge: the kernel said no (KERNEL)',
  ]);
  assert.equal(is({ state: 'repairFailed', fault: FAULT, attempts: 4 }), [
    'web, wrong: could not be repaired: the kernel said no (KERNEL); it is tried again within 8 s',
  ]);
  assert.equal(is({ state: 'repairFailed', fault: FAULT }), [
    'web, wrong: could not be repaired: the kernel said no (KERNEL)',
  ]);
  assert.equal(is({ state: 'outOfSync' }), ['web, wrong: does not follow its definition']);
  assert.equal(is({ state: 'newlyInvented' }), ['web, waiting: is newlyInvented']);
});

shared('a network that is down is wrong for those that are on it alone', () => {
  const down = { ...web, state: 'down' };
  const first = 'has no bridge now, because no container is on it: the first one raises it';
  assert.equal(partsOf('network', { networks: [down] }), ['web, wrong: is down']);
  const planned = { attachments: [], request: { ...NEW, networks: { web: {} } } };
  assert.equal(partsOf('network', { networks: [down], context: planned }), [`web, ok: ${first}`]);
  assert.equal(partsOf('network', { networks: [], context: planned }), [`web, ok: ${first}`]);
  assert.equal(partsOf('network', { networks: [], defined: new Set(), context: planned }), [
    'web, wrong: does not exist',
  ]);
});

shared('drift that is left is said of the machine that owns it, and that others depend on', () => {
  const policies = driftPolicies(DRIFT_KINDS.map((kind) => `${kind}=alert`));
  const is = (kind: Parameters<typeof partsOf>[0], ...drift: Facts['left'][number][]) =>
    partsOf(kind, { left: drift, policies });
  for (const kind of ['link', 'address', 'neighbour', 'switch', 'route'] as const)
    assert.match(
      is('network', left(kind, 'x', 'web'))[0] ?? '',
      /^web, wrong: \w+ x is missing or changed, and is left so/,
    );
  for (const kind of ['table', 'rule', 'port', 'dns', 'uplink'] as const)
    assert.equal(is('network', left(kind, 'x', 'web')), ['web, ok: is up, on bridge cl-web'], kind);
  assert.equal(is('network', left('link', 'x', 'back')), ['web, ok: is up, on bridge cl-web']);
  assert.equal(is('network', left('link', 'a', 'web'), left('link', 'b', 'web'), left('route', 'c', 'web')), [
    'web, wrong: link a, link b and route c are missing or changed, and are left so (--drift link=alert, route=alert)',
  ]);
  assert.equal(is('firewall', left('table', 'inet cleat'), left('rule', 'b'), left('port', 'c'), left('link', 'd')), [
    'wrong: table inet cleat and rule b are missing or changed, and are left so (--drift table=alert, rule=alert)',
  ]);
  assert.equal(
    partsOf('firewall', {
      left: [left('rule', 'a'), left('table', 'set b')],
      policies: driftPolicies(['table=alert']),
    }),
    ['wrong: rule a and table set b are missing or changed, and are left so (--drift table=alert)'],
    'a rule that needs a set which is left',
  );
  const failed = { ...web, state: 'repairFailed', fault: FAULT, attempts: 1 };
  assert.equal(
    partsOf('network', { networks: [failed], left: [left('link', 'a', 'web')] }),
    ['web, wrong: could not be repaired: the kernel said no (KERNEL); it is tried again within 1 s'],
    'its own failure comes first',
  );
});

shared('what is not watched is said with what is well', () => {
  const policies = driftPolicies(['table=ignore', 'rule=ignore']);
  const raising = { ...up, state: 'raising' };
  assert.equal(partsOf('firewall', {}), ['ok: is up']);
  assert.equal(partsOf('firewall', { policies }), ['ok: is up (not watched: --drift table=ignore, rule=ignore)']);
  assert.equal(partsOf('firewall', { policies, firewall: raising }), ['waiting: is being raised']);
});

shared('the resolver is listed for a container with names, with its own drift', () => {
  const dns = { listen: ['10.89.0.1'], servers: [] };
  const context = { attachments: [attachmentTo('back'), { ...attachmentTo('web'), dns }] };
  const resolver = { ...up, state: 'serving', named: ['web'] };
  const is = (changed: Changed) => partsOf('resolver', { resolver, context, ...changed });
  assert.equal(is({}), ['ok: answers']);
  assert.equal(is({ resolver: null }), []);
  assert.equal(is({ context: {} }), [], 'no network of it has names');
  assert.equal(is({ left: [left('dns', '10.89.0.1'), left('table', 'x')], policies: driftPolicies(['dns=alert']) }), [
    'wrong: name server 10.89.0.1 is missing or changed, and is left so (--drift dns=alert)',
  ]);
});

shared('which machines a container depends on', () => {
  const firewalld = { ...up, state: 'refused', fault: FAULT };
  assert.equal(listed({ firewalld }), ['network web', 'firewall', 'firewalld']);
  assert.equal(listed({ firewalld: { ...up, state: 'idle' } }), ['network web', 'firewall'], 'it may not run');
  assert.equal(listed({ firewall: null }), ['network web']);
  assert.equal(listed({ firewalld, context: { netns: null } }), [], "the host's own network");
  const shares: ContainerRequest = { ...NEW, netns: { mode: 'container', id: 'b' } };
  assert.equal(listed({ firewalld, context: { request: shares } }), [], 'that of another container');
  // Networks that others manage need no firewall of ours.
  const networks = [{ ...web, unmanaged: true }];
  assert.equal(listed({ firewalld, networks }), ['network web']);
  const both = { attachments: [attachmentTo('web'), attachmentTo('back')] };
  const back = { ...web, network: 'back' };
  assert.equal(listed({ firewalld, networks: [...networks, back], context: both }), [
    'network web',
    'network back',
    'firewall',
    'firewalld',
  ]);
  const uplink = { settings: SLIRP, made: null, missing: [], endedSoon: 0 };
  assert.equal(listed({ firewalld, context: { attachments: [], request: NEW, uplink } }), ['firewall']);
  assert.equal(listed({ firewalld, context: { attachments: [], request: NEW } }), []);
  const change = { kind: 'connect', networks: { inner: {} }, ports: [], todo: [], led: [] } as Change;
  const asked = { attachments: [attachmentTo('web')], request: { ...NEW, networks: { back: {} } }, change };
  assert.equal(listed({ firewall: null, context: asked }), ['network back', 'network inner', 'network web']);
  assert.equal(listed({ firewall: null, state: LEAVING, context: asked }), ['network inner', 'network web']);
});

shared('the forwarder', () => {
  const is = ({ context, ...more }: Changed) =>
    partsOf('forwarder', { context: { portHandler: 'forwarder', ports: [PORT], ...context }, ...more });
  assert.equal(is({}), ['wrong: does not run']);
  assert.equal(is({ forwarder: { fault: FAULT } }), ['wrong: does not answer: the kernel said no (KERNEL)']);
  assert.equal(is({ forwarder: { carried: 0 } }), ['wrong: runs, but carries none of its ports']);
  assert.equal(is({ forwarder: { carried: 1 } }), ['ok: runs, and carries its ports']);
  assert.equal(is({ state: LEAVING }), []);
  assert.equal(is({ context: { ports: [] } }), []);
  assert.equal(is({ context: { configured: false } }), []);
  assert.equal(partsOf('forwarder', { context: { ports: [PORT] } }), [], 'the firewall publishes them');
});

shared.run();
