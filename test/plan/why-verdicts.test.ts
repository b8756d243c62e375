/**
 * The verdict about a container in each of its states, what keeps it from being well, when it tries again, and what helps.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Facts } from '../../plan/why/facts.ts';
import { failuresOf } from '../../plan/pauses.ts';
import { judge } from '../../plan/why/why.ts';
import type { Change, ContainerContext, ContainerRequest, Difference } from '../../state/container.ts';
import { driftPolicies } from '../../state/drift.ts';
import type { Fault } from '../../state/faults.ts';
import { SLIRP } from '../harness/fixtures.ts';
import { attachmentTo, contextWith, factsWith, NOW, PORT, saidOf, type Changed } from '../harness/why-facts.ts';

const verdicts = suite('why, the verdict');

const FAULT: Fault = { code: 'DEADLINE', message: 'it took too long' };
const LEFT: Fault = { code: 'INTERFACE_TAKEN', message: 'the link stays', owner: 'pid 7 (nginx)' };
const KERNEL: Fault = { code: 'KERNEL', message: 'rtnetlink ve0: ENODEV' };
const NEW: ContainerRequest = { netns: { mode: 'new' }, networks: {}, ports: [] };
const change = (more: Partial<Change>): Change =>
  ({ kind: 'connect', networks: {}, ports: [], todo: [], led: [], ...more }) as Change;
const verdict = (changed: Changed): string => saidOf(changed)[0] ?? '';
const helps = (changed: Changed): string[] =>
  saidOf(changed).flatMap((text) => (text.startsWith('helps: ') ? [text.slice(7)] : []));
const route = (object: string): Difference => ({ kind: 'route', object, network: 'web', problem: 'missing' });

verdicts('up, and well', () => {
  const alone = { attachments: [], request: NEW };
  const uplink = { settings: SLIRP, made: null, missing: [], endedSoon: 0 };
  const process = { state: 'ready', pid: 7 } as Facts['process'];
  const owner = { name: 'web-server', state: 'up', whole: true, gone: false, verdict: 'web-server is up.' };
  const shares = { ...alone, request: { ...NEW, netns: { mode: 'container' as const, id: 'b' } } };
  assert.equal(saidOf({}), ['c1 is up, and nothing is missing.']);
  assert.equal(saidOf({ publisher: FAULT }), ['c1 is up, and nothing is missing.'], 'it has no ports: nothing helps');
  assert.equal(saidOf({ context: { name: 'db' } }), ['db is up, and nothing is missing.']);
  assert.equal(saidOf({ context: alone }), ['c1 is up on no network, as was requested.']);
  assert.equal(saidOf({ context: { ...alone, request: { ...NEW, netns: { mode: 'host' } } } }), [
    "c1 is up: it uses the host's own network.",
  ]);
  assert.equal(saidOf({ owner, context: shares }), [
    'c1 is up: it shares the network of web-server, and nothing is missing.',
  ]);
  assert.equal(saidOf({ process, context: { ...alone, uplink } }), [
    'c1 is up behind slirp4netns, and nothing is missing.',
  ]);
  const pasta = { ...alone, uplink, ports: [PORT], portHandler: 'pasta' as const };
  assert.equal(saidOf({ process, context: pasta }), ['c1 is up behind slirp4netns, and nothing is missing.']);
});

verdicts('a whole answer', () => {
  assert.equal(judge(factsWith({ context: { name: 'db' }, legal: ['reload', 'teardown'] })), {
    id: 'c1',
    name: 'db',
    state: 'up',
    well: true,
    verdict: 'db is up, and nothing is missing.',
    parts: [
      { part: 'namespace', object: null, condition: 'ok', text: `is at ${contextWith().netns?.path}` },
      { part: 'attachment', object: 'web', condition: 'ok', text: 'eth0 with 10.89.0.2/24 is on bridge cl-web' },
      { part: 'leases', object: null, condition: 'ok', text: 'it holds 10.89.0.2 of web' },
      { part: 'network', object: 'web', condition: 'ok', text: 'is up, on bridge cl-web' },
      { part: 'firewall', object: null, condition: 'ok', text: 'is up' },
    ],
    led: [
      { t: NOW - 8000, text: 'Configure was requested.' },
      { t: NOW - 7990, text: 'It came up.' },
    ],
    blocks: [],
    retry: null,
    unblocks: [],
    legal: ['reload', 'teardown'],
  });
});

verdicts('up, and not well: the first part that is wrong, or else that is waited for', () => {
  const raising = { network: 'web', bridge: 'cl-web', unmanaged: false, state: 'raising', fault: null, attempts: 0 };
  assert.equal(saidOf({ networks: [raising] }), [
    'c1 is up, but network web is raising its bridge.',
    'blocks: Network web is raising its bridge.',
  ]);
  assert.equal(saidOf({ networks: [raising], leased: [] }), [
    'c1 is up, but it has no address of web.',
    'blocks: It has no address of web.',
    'blocks: Network web is raising its bridge.',
  ]);
  const lost = { kind: 'link', object: contextWith().netns?.path ?? '', network: null, problem: 'missing' } as const;
  const again = 'A namespace that is gone does not come back: tear the container down, and create it again.';
  assert.equal(saidOf({ differences: [lost] }), [
    `c1 is up, but its namespace is no longer at ${lost.object}.`,
    `blocks: Its namespace is no longer at ${lost.object}.`,
    `helps: ${again}`,
  ]);
  assert.equal(helps({ differences: [{ ...lost, problem: 'changed' }] }), [again]);
  assert.equal(helps({ differences: [{ ...lost, problem: 'unreadable' }] }), [], 'it may be there');
  assert.equal(helps({ differences: [{ ...lost, network: 'web' }] }), []);
  assert.equal(helps({ differences: [{ ...lost, object: 'outside' }] }), []);
  const handled = { portHandler: 'forwarder' as const, ports: [PORT] };
  assert.equal(saidOf({ context: handled, forwarder: { fault: FAULT } }), [
    'c1 is up, but the port forwarder does not answer: it took too long (DEADLINE).',
    'blocks: The port forwarder does not answer: it took too long (DEADLINE).',
    'helps: See DEADLINE.',
  ]);
  assert.equal(saidOf({ context: { publisher: 'unix:/p', ports: [PORT] }, publisher: FAULT }), [
    'c1 is up, but the outer publisher at unix:/p does not answer: it took too long.',
    'blocks: The outer publisher at unix:/p does not answer: it took too long.',
    'helps: See DEADLINE.',
  ]);
  const fault = { state: 'repairFailed', fault: FAULT, attempts: 1 };
  assert.equal(saidOf({ firewall: { ...fault, state: 'verifyFailed' } }), [
    'c1 is up, but the firewall could not be read or repaired: it took too long (DEADLINE); it is tried again within 1 s.',
    'blocks: The firewall could not be read or repaired: it took too long (DEADLINE); it is tried again within 1 s.',
    'helps: See DEADLINE.',
  ]);
});

verdicts('what is not well with the container whose namespace it shares is the reason', () => {
  const owner = { name: 'b', state: 'degraded', whole: false, gone: false, verdict: 'b is degraded: it took too long' };
  const shares = { attachments: [], request: { ...NEW, netns: { mode: 'container' as const, id: 'b' } } };
  assert.equal(saidOf({ owner, context: shares }), [
    'c1 shares the network of b, and b is degraded: it took too long.',
    'blocks: Its namespace is that of b, which is not well.',
    'helps: `cleat why b` says more.',
  ]);
  assert.equal(saidOf({ context: shares }), [
    'c1 is up, but its namespace is that of b, which is gone.',
    'blocks: Its namespace is that of b, which is gone.',
  ]);
  assert.equal(
    helps({ owner: { ...owner, whole: true }, state: 'created', context: { ...shares, configured: false } }),
    ['`cleat configure c1` makes what was requested.'],
    'it is well itself',
  );
  assert.equal(saidOf({ owner, state: 'created', context: { ...shares, configured: false } }), [
    'c1 has no network yet: it was created, and is not configured.',
    'blocks: Its namespace is that of b, which is not well.',
    'blocks: It is not configured again by itself.',
    'helps: `cleat why b` says more.',
    'helps: `cleat configure c1` makes what was requested.',
  ]);
});

const standing = (changed: Changed, context: Partial<ContainerContext> = {}) =>
  saidOf({ ...changed, context: { attempts: 1, ...context } });

verdicts('created', () => {
  const asked = { configured: false, attachments: [], fault: FAULT };
  const created = { state: 'created', context: asked };
  assert.equal(saidOf(created), [
    'c1 has no network, because configure failed: it took too long (DEADLINE).',
    'blocks: Configure failed: it took too long (DEADLINE).',
    'blocks: It is not configured again by itself.',
    'helps: See DEADLINE.',
    'helps: `cleat configure c1` makes what was requested.',
  ]);
  const history = factsWith().history.slice(0, 1);
  assert.equal(saidOf({ ...created, history, context: { ...asked, fault: null } }), [
    'c1 has no network yet: it was created, and is not configured.',
    'blocks: Nobody has configured it yet.',
    'helps: `cleat configure c1` makes what was requested.',
  ]);
  assert.equal(helps({ ...created, legal: [] }), ['See DEADLINE.'], 'an event that it does not accept does not help');
});

verdicts('degraded, failed, teardownFailed, error', () => {
  const again = 'blocks: It is tried again by itself in 0 s (attempt 2).';
  assert.equal(standing({ state: 'degraded' }, { lastFault: FAULT }), [
    'c1 is degraded: it took too long (DEADLINE).',
    'blocks: The last repair failed: it took too long (DEADLINE).',
    'blocks: It is tried again by itself in 1 s (attempt 2).',
    'helps: See DEADLINE.',
    'helps: `cleat reload c1` tries again at once.',
  ]);
  assert.equal(standing({ state: 'failed' }, { fault: FAULT, change: change({ networks: { web: {} } }) }), [
    'c1 is neither as before nor as requested, because connect could neither be made nor undone: it took too long (DEADLINE).',
    'blocks: It could neither be made nor undone: it took too long (DEADLINE).',
    'blocks: On network web, eth0 with 10.89.0.2/24 may exist in part.',
    'blocks: It is tried again by itself in 1 s (attempt 2).',
    'helps: See DEADLINE.',
    'helps: `cleat teardown c1` removes all of it.',
  ]);
  assert.match(standing({ state: 'failed' })[0] ?? '', 'because a change could neither be made nor undone.');
  const history = [
    { t: NOW - 5000, machine: 'container', event: 'teardown', from: 'up', to: 'tearingDown.choosing', ms: 1 },
    { t: NOW - 4000, machine: 'container', event: 'x', from: 'tearingDown.choosing', to: 'teardownFailed', ms: 1 },
  ];
  assert.equal(standing({ state: 'teardownFailed', history }, { leftovers: [LEFT, KERNEL] }), [
    'c1 cannot be torn down completely: the link stays (INTERFACE_TAKEN).',
    'blocks: This could not be removed: the link stays (INTERFACE_TAKEN).',
    'blocks: This could not be removed: rtnetlink ve0: ENODEV (KERNEL).',
    again,
    'helps: See INTERFACE_TAKEN. Its owner is pid 7 (nginx).',
    'helps: `cleat teardown c1` tries again at once.',
  ]);
  assert.equal(standing({ state: 'error', defect: FAULT }), [
    'c1 is stopped: it took too long (DEADLINE).',
    'blocks: Its machine stopped: it took too long (DEADLINE).',
    'helps: See DEADLINE.',
    'helps: `cleat reload c1` starts its machine again from its snapshot on disk, as any event does.',
  ]);
});

verdicts('at work: the step, for how long if that is long, and the shared machines that are at work, too', () => {
  const history = (ms: number) => [
    { t: NOW - ms, machine: 'container', event: 'x', from: 'up', to: 'connecting.attaching', ms: 1 },
  ];
  const at = (ms: number) => verdict({ state: 'connecting.attaching', history: history(ms) });
  assert.is(at(999), 'c1 is being connected to a network: making a link.');
  assert.is(at(1000), 'c1 is being connected to a network: making a link, for 1 s so far.');
  assert.is(
    verdict({ state: 'connecting.attaching', history: [] }),
    'c1 is being connected to a network: making a link.',
  );
  assert.is(verdict({ state: 'gone', history: [] }), 'c1 is gone: being at work.');
  const raising = { network: 'web', bridge: 'cl-web', unmanaged: false, state: 'raising', fault: null, attempts: 0 };
  const waiting = (state: string) => saidOf({ state, history: [], networks: [raising] }).slice(1);
  assert.equal(waiting('connecting.attaching'), ['blocks: Network web is raising its bridge.']);
  assert.equal(waiting('tearingDown.detaching'), [], 'it is on its way out');
  assert.equal(waiting('gone'), []);
  for (const state of ['created', 'degraded', 'failed', 'error'])
    assert.not.ok(
      waiting(state).some((text) => text.includes('raising')),
      `${state}: it is at rest`,
    );
  const dns = { listen: ['10.89.0.1'], servers: [] };
  const one = { fault: null, attempts: 0 };
  const all = saidOf({
    state: 'connecting.attaching',
    history: [],
    context: { attachments: [{ ...attachmentTo('web'), dns }] },
    firewall: { ...one, state: 'raising' },
    firewalld: { ...one, state: 'changing', fault: FAULT },
    resolver: { ...one, state: 'stopping', named: ['web'] },
  });
  assert.equal(all.slice(1), [
    'blocks: The firewall is being raised.',
    'blocks: The firewalld is being told of the bridges.',
    'blocks: The resolver is being stopped.',
  ]);
  const attachments = { change: change({ networks: { web: {} } }) };
  assert.equal(saidOf({ state: 'connecting.attaching', history: [], context: attachments }).slice(1), []);
});

verdicts('what a shared machine failed with comes before what came of it, and only if it has failed', () => {
  const own = { lastFault: KERNEL, attempts: 1 };
  const dns = { listen: ['10.89.0.1'], servers: [] };
  const context = { ...own, attachments: [{ ...attachmentTo('web'), dns }] };
  const web = { network: 'web', bridge: 'cl-web', unmanaged: false, state: 'up', fault: FAULT, attempts: 0 };
  const of = (more: Changed) => verdict({ state: 'degraded', ...more, context });
  assert.is(of({}), 'c1 is degraded: rtnetlink ve0: ENODEV (KERNEL).');
  assert.is(of({ networks: [web] }), 'c1 is degraded: rtnetlink ve0: ENODEV (KERNEL).');
  const shared = 'c1 is degraded: it took too long (DEADLINE).';
  assert.is(of({ networks: [{ ...web, state: 'repairFailed' }] }), shared);
  assert.is(of({ firewall: { ...web, state: 'verifyFailed' } }), shared);
  assert.is(of({ firewalld: { ...web, state: 'refused' } }), shared);
  assert.is(of({ resolver: { ...web, state: 'restarting', named: ['web'] } }), shared);
  assert.is(
    of({ networks: [web, { ...web, network: 'back', state: 'repairFailed' }] }),
    'c1 is degraded: rtnetlink ve0: ENODEV (KERNEL).',
    'a network that it is not on',
  );
  // Their faults stay with them when it is over, also while drift of them is left.
  const itself = 'c1 is degraded: rtnetlink ve0: ENODEV (KERNEL).';
  const over = { networks: [{ ...web, fault: null }], firewall: web, firewalld: { ...web, state: 'idle' } };
  assert.is(of({ ...over, resolver: { ...web, state: 'serving', named: [] } }), itself);
  const left = [
    { kind: 'link', object: 'cl-web', network: 'web', t: NOW, by: null } as const,
    ...(['table', 'dns'] as const).map((kind) => ({ kind, object: 'x', network: null, t: NOW, by: null })),
  ];
  const policies = driftPolicies(['link=alert', 'table=alert', 'dns=alert']);
  const old = { networks: [web], firewall: web, resolver: { ...web, state: 'serving', named: ['web'] } };
  assert.is(of({ ...old, left, policies }), itself);
  const unneeded = { networks: [{ ...web, unmanaged: true }], firewall: { ...web, state: 'verifyFailed' } };
  assert.is(of(unneeded), itself, 'a network that others manage needs no firewall');
  const both = { attachments: [attachmentTo('web'), attachmentTo('back')] };
  const outOfSync = { ...web, network: 'back', state: 'outOfSync', fault: null };
  assert.is(verdict({ state: 'degraded', networks: [web, outOfSync], context: { ...own, ...both } }), itself);
  const created = { state: 'created', context: { ...context, fault: KERNEL } };
  assert.is(
    verdict({ ...created, networks: [{ ...web, state: 'repairFailed' }] }),
    'c1 has no network, because configure failed: rtnetlink ve0: ENODEV (KERNEL).',
    'configure has said why',
  );
  assert.equal(helps({ networks: [{ ...web, state: 'repairFailed' }], context: own }), ['See DEADLINE.']);
  assert.equal(
    helps({ state: 'degraded', networks: [{ ...web, state: 'repairFailed' }], context: { lastFault: FAULT } }),
    ['See DEADLINE.', '`cleat reload c1` tries again at once.'],
    'each is said once',
  );
});

verdicts('a part as the clause of a sentence', () => {
  const wrong = (changed: Changed) => verdict(changed).replace('c1 is up, but ', '');
  const dns = { listen: ['10.89.0.1'], servers: [] };
  const uplink = { settings: SLIRP, made: null, missing: [], endedSoon: 0 };
  const resolver = { state: 'serving', fault: null, attempts: 0, named: [] };
  assert.is(
    wrong({ resolver, context: { attachments: [{ ...attachmentTo('web'), dns }] } }),
    'its name c1 is not known on web.',
  );
  assert.is(wrong({ differences: [route('x')] }), 'on network web, route x is missing.');
  assert.is(wrong({ context: { attachments: [], request: NEW, uplink } }), 'its uplink slirp4netns does not run.');
  assert.is(
    wrong({ differences: [{ ...route('8080/tcp'), kind: 'port' }], context: { ports: [PORT] } }),
    'its port 8080/tcp is missing.',
  );
  assert.is(wrong({ context: { portHandler: 'forwarder', ports: [PORT] } }), 'the port forwarder does not run.');
});

verdicts(
  'what drift that is left needs: a reload of the links, or of the firewall, and of the uplink; or another policy',
  () => {
    const policies = driftPolicies(['route=alert', 'link=alert', 'port=ignore', 'uplink=alert', 'switch=alert']);
    const drift = (kinds: Difference['kind'][], more: Changed = {}) =>
      helps({
        policies,
        differences: kinds.map((kind) => ({ ...route('x'), kind })),
        context: { ports: [PORT] },
        ...more,
      });
    const full = '`cleat reload --full c1` makes its links, addresses and routes anew.';
    const reload = '`cleat reload c1` puts back what is missing in the firewall.';
    const policy = (...kinds: string[]) =>
      `A daemon that is started with ${kinds.map((kind) => `--drift ${kind}=repair`).join(' ')} puts it back by itself.`;
    assert.equal(drift(['route', 'link', 'route']), [full, policy('route', 'link')]);
    assert.equal(drift(['port']), [reload, policy('port')]);
    assert.equal(drift(['port', 'route']), [full, policy('port', 'route')], 'the one does what the other does');
    assert.equal(drift(['switch']), [policy('switch')], 'no reload writes it');
    assert.equal(drift(['address']), [], 'it is put back by itself');
    const uplink = { settings: SLIRP, made: null, missing: [], endedSoon: 0 };
    assert.equal(drift(['uplink'], { context: { attachments: [], request: NEW, uplink } }), [
      '`cleat reload c1` starts its uplink again.',
      policy('uplink'),
    ]);
    const behind = {
      context: { attachments: [], request: NEW, uplink },
      process: { state: 'ready' } as Facts['process'],
    };
    const tap = {
      policies: driftPolicies(['address=alert']),
      differences: [{ ...route('x'), kind: 'address', network: null } as const],
    };
    assert.equal(helps({ ...tap, ...behind }), [policy('address')], 'it has no links');
    assert.equal(drift(['route'], { legal: [] }), []);
    assert.equal(drift(['route'], { state: 'degraded' }), ['`cleat reload c1` tries again at once.']);
    const link = { ...route('x'), kind: 'link', network: null } as const;
    assert.equal(helps({ policies, differences: [link, route('y')] }), [full, policy('route')], 'a link of no network');
    const port = { ...route('x'), kind: 'port' } as const;
    const inside = { policies, differences: [{ ...route('x'), network: null }, port], context: { ports: [PORT] } };
    assert.equal(helps(inside), [full, policy('route', 'port')], 'what is in the namespace, of whatever network');
    for (const kind of ['table', 'rule'] as const) {
      const left = [{ kind, object: 'x', network: null, t: NOW, by: null }];
      assert.equal(helps({ left, policies: driftPolicies([`${kind}=alert`]) }), [reload, policy(kind)]);
      const needed = [...left, { kind: 'port', object: 'y', network: null, t: NOW, by: null } as const];
      assert.equal(
        helps({ left: needed, policies: driftPolicies([`${kind}=alert`]) }),
        [reload, policy(kind)],
        'what needs it comes back with it',
      );
    }
    for (const kind of ['address', 'neighbour', 'link'] as const)
      assert.equal(drift([kind], { policies: driftPolicies([`${kind}=alert`]) }), [full, policy(kind)]);
    const bridge = [{ kind: 'link', object: 'x', network: 'web', t: NOW, by: null } as const];
    assert.equal(helps({ left: bridge, policies }), [policy('link')], 'a bridge is not a link of its own');
  },
);

verdicts('the next attempt: its number, and the pause that grows with the failures before it', () => {
  const uplink = { settings: SLIRP, made: null, missing: [], endedSoon: 5 };
  const retry = (state: string, context: Partial<ContainerContext>, ago = 0) => {
    const history = [{ t: NOW - ago, machine: 'container', event: 'x', from: 'up', to: state, ms: 1 }];
    return judge(factsWith({ state, history, context })).retry;
  };
  assert.equal(retry('degraded', { attempts: 2 }), { attempt: 3, at: NOW + 2000, in_ms: 2000 });
  assert.equal(retry('degraded', { attempts: 2 }, 500), { attempt: 3, at: NOW + 1500, in_ms: 1500 });
  assert.equal(retry('degraded', { attempts: 2, uplink }), { attempt: 3, at: NOW + 16_000, in_ms: 16_000 });
  for (const state of ['failed', 'teardownFailed'])
    assert.equal(retry(state, { attempts: 2, uplink })?.in_ms, 2000, 'the ends of an uplink do not count');
  assert.equal(judge(factsWith({ state: 'failed', history: [], context: { attempts: 1 } })).retry?.in_ms, 1000);
  const counted = [0, 1, 2, 3, 5].map((endedSoon) => failuresOf({ attempts: 4, uplink: { ...uplink, endedSoon } }));
  assert.equal(counted, [4, 4, 4, 5, 7]);
  assert.is(failuresOf({ attempts: 4 }), 4);
});

verdicts.run();
