/**
 * The judgement about a container: from the facts to the sentences that a person reads.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { pauseAfter } from '../../plan/pauses.ts';
import { judge } from '../../plan/why/why.ts';
import type { WhyPart } from '../../state/answers/container/why.ts';
import type { JournalEntry } from '../../state/answers/container/history.ts';
import type { UplinkProcess } from '../../state/answers/container/inspection.ts';
import type { Change, Difference } from '../../state/container.ts';
import { driftPolicies } from '../../state/drift.ts';
import type { Fault } from '../../state/faults.ts';
import { attachmentTo, contextWith, factsWith, NOW, PORT } from '../harness/why-facts.ts';
import { SLIRP } from '../harness/fixtures.ts';

const why = suite('why');

const FAULT: Fault = { code: 'PORT_TAKEN', message: 'host port 8080/tcp is in use', owner: 'pid 42 (nginx)' };
const ROUTE: Difference = {
  kind: 'route',
  object: 'default via 10.89.0.1 on eth0',
  network: 'web',
  problem: 'missing',
};

const texts = ({ led }: ReturnType<typeof judge>): string[] => led.map(({ text }) => text);
const find = ({ parts }: ReturnType<typeof judge>, name: WhyPart['part']): WhyPart | undefined =>
  parts.find(({ part }) => part === name);
const moved = (t: number, event: string, from: string, to: string, more: Partial<JournalEntry> = {}): JournalEntry => ({
  t: NOW + t,
  machine: 'container',
  event,
  from,
  to,
  ms: 1,
  ...more,
});

why('a container that lacks nothing is well, and only then', () => {
  const answer = judge(factsWith());
  assert.equal(
    [answer.well, answer.verdict, answer.blocks, answer.unblocks],
    [true, 'c1 is up, and nothing is missing.', [], []],
  );
  assert.ok(answer.parts.every(({ condition }) => condition === 'ok'));
  assert.equal(texts(answer), ['Configure was requested.', 'It came up.']);
  assert.not.ok(judge(factsWith({ differences: [ROUTE] })).well);
  assert.not.ok(judge(factsWith({ context: { ownerGone: true }, users: ['b'] })).well);
  assert.not.ok(judge(factsWith({ leased: [] })).well, 'it has no lease');
  assert.not.ok(judge(factsWith({ state: 'created' })).well);
});

why('drift: what, where, who, and whether it is put back', () => {
  const left = judge(
    factsWith({
      differences: [ROUTE, { ...ROUTE, kind: 'address', object: '10.89.0.2/24 on eth0' }],
      policies: driftPolicies(['route=alert']),
      history: [
        ...factsWith().history,
        moved(-500, 'drift', 'up', 'up', { drift: [ROUTE], by: 'ip (pid 7)' }),
        moved(-400, 'drift', 'up', 'up', { drift: [{ ...ROUTE, object: 'an older one' }] }),
      ],
    }),
  );
  const trouble = 'route default via 10.89.0.1 on eth0 and address 10.89.0.2/24 on eth0 are missing';
  assert.is(left.verdict, `c1 is up, but on network web, ${trouble}, and are left so (--drift route=alert).`);
  assert.is(texts(left).at(-1), 'Route default via 10.89.0.1 on eth0 was removed or changed by ip (pid 7).');
  assert.not.ok(
    texts(left).some((text) => text.includes('older')),
    'what was put back is not told',
  );
  assert.equal(left.unblocks, [
    '`cleat reload --full c1` makes its links, addresses and routes anew.',
    'A daemon that is started with --drift route=repair puts it back by itself.',
  ]);
  const mended = judge(factsWith({ differences: [ROUTE] }));
  assert.is(mended.verdict, 'c1 is up, but on network web, route default via 10.89.0.1 on eth0 is missing.');
  assert.equal(mended.unblocks, [], 'it is put back by itself');
});

why('drift of what containers share concerns those that depend on it, with who did it', () => {
  const table = { kind: 'table', object: 'inet cleat', network: null, t: NOW - 100, by: 'nft (pid 9)' } as const;
  const policies = driftPolicies(['table=alert', 'link=alert']);
  const answer = judge(factsWith({ left: [table], policies }));
  assert.is(
    answer.verdict,
    'c1 is up, but the firewall table inet cleat is missing or changed, and is left so (--drift table=alert).',
  );
  assert.is(texts(answer).at(-1), 'Table inet cleat was removed or changed by nft (pid 9).');
  assert.is(answer.unblocks[0], '`cleat reload c1` puts back what is missing in the firewall.');
  const bridge = { kind: 'link', object: 'cl-web', network: 'web', t: NOW, by: null } as const;
  const network = judge(factsWith({ left: [bridge], policies }));
  assert.match(network.verdict, /^c1 is up, but network web link cl-web is missing or changed, and is left so/);
});

why('what is not watched is not said to be well without saying so', () => {
  const policies = driftPolicies(['port=ignore', 'table=ignore']);
  const answer = judge(factsWith({ policies, context: { ports: [PORT] } }));
  assert.ok(answer.well);
  assert.match(find(answer, 'ports')?.text ?? '', /\(not watched: --drift port=ignore\)$/);
  assert.match(find(answer, 'firewall')?.text ?? '', /\(not watched: --drift table=ignore\)$/);
});

why('a configure that was refused: the reason, its owner, what helps, and that it is not tried by itself', () => {
  const facts = {
    state: 'created',
    context: {
      configured: false,
      attachments: [],
      fault: FAULT,
      request: { ...contextWith().request, ports: [{ container_port: 80, host_port: 8080 }] },
    },
    history: [
      moved(-900, 'xstate.init', '', 'creating'),
      moved(-800, 'configure', 'created', 'configuring.leasing'),
      moved(-790, 'xstate.error.actor.lease', 'configuring.leasing', 'rollingBack.releasing', { fault: FAULT }),
      moved(-780, 'xstate.done.actor.release', 'rollingBack.releasing', 'created', { fault: FAULT }),
    ],
  };
  const answer = judge(factsWith(facts));
  assert.is(answer.verdict, 'c1 has no network, because configure failed: host port 8080/tcp is in use (PORT_TAKEN).');
  assert.equal(texts(answer), [
    'Configure was requested.',
    'Asking for its addresses and host ports failed: host port 8080/tcp is in use (PORT_TAKEN).',
  ]);
  assert.equal(answer.blocks, [
    'Configure failed: host port 8080/tcp is in use (PORT_TAKEN).',
    'It is not configured again by itself.',
  ]);
  assert.equal(answer.unblocks, [
    'Choose another host port, or free this one at its owner. Its owner is pid 42 (nginx).',
    '`cleat configure c1` makes what was requested.',
  ]);
  // Another event has cleared the fault; the journal still has it.
  const later = judge(factsWith({ ...facts, context: { ...facts.context, fault: null } }));
  assert.is(later.verdict, 'c1 has no network yet: it was created, and is not configured.');
  assert.equal(later.blocks, ['It is not configured again by itself.']);
  assert.ok(texts(later).some((text) => text.includes('PORT_TAKEN')));
});

why('a retry comes when its pause is over, whatever the attempts before it did', () => {
  const history = [
    ...factsWith().history,
    moved(-5000, 'drifted', 'up', 'repairing.repairingLinks'),
    moved(-3000, 'xstate.done.actor.attachment', 'repairing.repairingLinks', 'degraded', { fault: FAULT }),
    moved(-1000, 'drift', 'degraded', 'degraded', { drift: [ROUTE] }),
  ];
  const context = { attempts: 3, lastFault: FAULT };
  const { retry, blocks, led } = judge(factsWith({ state: 'degraded', history, context }));
  assert.equal(retry, { attempt: 4, at: NOW + 1000, in_ms: 1000 });
  assert.ok(blocks.includes('It is tried again by itself in 1 s (attempt 4).'));
  assert.ok(led.some(({ text }) => text === 'A part of it was found missing or changed.'));
  const soon = judge(factsWith({ state: 'degraded', history, context: { ...context, attempts: 1 } }));
  assert.is(soon.retry?.in_ms, 0, 'it is over already');
  assert.equal([1, 2, 3, 6, 7, 20].map(pauseAfter), [1000, 2000, 4000, 32_000, 60_000, 60_000]);
});

why('a start of the daemon does not hide what led there', () => {
  const started = (state: string) => moved(-200, 'xstate.init', '', state);
  const { history } = factsWith();
  assert.equal(texts(judge(factsWith({ history: [...history, started('up')] }))), [
    'Configure was requested.',
    'The daemon was started, and found it up.',
  ]);
  const fell = [
    ...history,
    moved(-900, 'drift', 'up', 'up', { drift: [ROUTE], by: 'ip (pid 7)' }),
    moved(-899, 'drifted', 'up', 'repairing.repairingLinks'),
    moved(-800, 'xstate.done.actor.attachment', 'repairing.repairingLinks', 'degraded', { fault: FAULT }),
    started('degraded'),
  ];
  const context = { attempts: 2, lastFault: FAULT };
  const degraded = judge(factsWith({ state: 'degraded', history: fell, context }));
  assert.equal(texts(degraded), [
    'Route default via 10.89.0.1 on eth0 was removed or changed by ip (pid 7).',
    'A part of it was found missing or changed.',
    'Making the missing parts of a link failed: host port 8080/tcp is in use (PORT_TAKEN).',
  ]);
  assert.is(degraded.retry?.in_ms, 1800, 'its pause began anew');
  const torn = [
    ...history,
    moved(-900, 'process.exited', 'up', 'tearingDown.choosing'),
    moved(-800, 'xstate.done.actor.removeFiles', 'tearingDown.removingFiles', 'teardownFailed'),
    started('teardownFailed'),
  ];
  const left = { leftovers: [FAULT], attempts: 1, boundTo: { pid: 77, startTime: 1 } };
  assert.is(
    texts(judge(factsWith({ state: 'teardownFailed', history: torn, context: left })))[0],
    'The process that it is bound to (pid 77) ended.',
  );
  assert.equal(texts(judge(factsWith({ state: 'created', history: [moved(-9, 'xstate.init', '', 'created')] }))), [
    'It was created.',
  ]);
});

why('ports that lead nowhere: connecting a network helps, in a state that accepts it', () => {
  const request = { netns: { mode: 'new' as const }, networks: {}, ports: [] };
  const facts = { context: { attachments: [], request, ports: [PORT] }, networks: [], leased: [] };
  const answer = judge(factsWith(facts));
  assert.is(
    answer.verdict,
    'c1 is up, but its port 8080/tcp leads nowhere, because it is on no network that takes ports.',
  );
  assert.equal(answer.unblocks, ['`cleat connect NETWORK c1` gives its ports a network to lead to.']);
  const connect = (more: Parameters<typeof factsWith>[0]) =>
    judge(factsWith(more)).unblocks.filter((text) => text.startsWith('`cleat connect'));
  assert.equal(connect({ ...facts, state: 'degraded' }), [], 'the repair comes first');
  assert.equal(
    connect({ context: { ports: [PORT] }, differences: [{ ...ROUTE, kind: 'port' }] }),
    [],
    'drift of ports',
  );
  assert.equal(
    connect({ networks: factsWith().networks.map((one) => ({ ...one, state: 'raising' })) }),
    [],
    'no ports',
  );
});

why('a process that ended takes its container along: which one, as far as it is known', () => {
  const history = [...factsWith().history, moved(-900, 'process.exited', 'up', 'tearingDown.choosing')];
  const ended = (boundTo: { pid: number; startTime: number } | null) =>
    texts(judge(factsWith({ state: 'tearingDown.choosing', history, context: { boundTo } })));
  assert.equal(ended({ pid: 77, startTime: 1 }), ['The process that it is bound to (pid 77) ended.']);
  assert.equal(ended(null), ['The process that it is bound to ended.']);
  const exit = { holder: { pid: 8, startTime: 1 }, fd: 5, kind: 'pipe' as const, dev: 1, ino: 2, process: null };
  const tied = (boundTo: { pid: number; startTime: number } | null) =>
    texts(judge(factsWith({ state: 'tearingDown.choosing', history, context: { boundTo, exit } })));
  const closed = 'the other end of descriptor 5 of process 8 was closed';
  assert.equal(tied(null), [`T${closed.slice(1)}.`]);
  assert.equal(tied({ pid: 77, startTime: 1 }), [`The process that it is bound to (pid 77) ended, or ${closed}.`]);
});

why('an uplink that has ended: since when, how, and what no longer works', () => {
  const process: UplinkProcess = {
    ended: 1,
    down_ms: 0,
    down_since: '2026-01-01T00:00:00.000Z',
    last: 'slirp4netns killed by signal 9',
    state: 'ended',
    pid: null,
    ready_ms: null,
    log: '',
  };
  const uplink = { settings: SLIRP, made: null, missing: [], endedSoon: 0 };
  const request = { netns: { mode: 'new' as const }, networks: {}, ports: [] };
  const context = { uplink, attachments: [], request, ports: [PORT], portHandler: 'slirp4netns' as const };
  const facts = { process, context, networks: [], leased: [], policies: driftPolicies(['uplink=alert']) };
  const difference = { kind: 'uplink', object: 'slirp4netns', network: null, problem: 'missing' } as const;
  const answer = judge(factsWith({ ...facts, differences: [difference] }));
  assert.is(
    answer.verdict,
    'c1 is up, but its uplink slirp4netns does not run, since 2026-01-01T00:00:00.000Z, and is not started again (--drift uplink=alert).',
  );
  assert.is(find(answer, 'ports')?.text, '8080/tcp leads nowhere while slirp4netns does not run');
  assert.ok(answer.unblocks.includes('`cleat reload c1` starts its uplink again.'));
});

why('the reason behind the reason: a shared machine that failed comes first', () => {
  const fault: Fault = { code: 'BRIDGE_MISSING', message: 'the bridge br0 must already exist' };
  const lan = { network: 'web', bridge: 'br0', unmanaged: true, state: 'repairFailed', fault, attempts: 2 };
  const context = { attempts: 2, lastFault: { code: 'KERNEL', message: 'rtnetlink ve0: ENODEV' } as const };
  const answer = judge(factsWith({ state: 'degraded', context, networks: [lan] }));
  assert.is(answer.verdict, 'c1 is degraded: the bridge br0 must already exist (BRIDGE_MISSING).');
  assert.ok(
    answer.blocks.includes(
      'Network web could not be repaired: the bridge br0 must already exist (BRIDGE_MISSING); it is tried again within 2 s.',
    ),
  );
  assert.match(answer.unblocks[0] ?? '', /^Make the bridge/);
  assert.not.ok(answer.unblocks.some((text) => text.startsWith('The kernel refused')));
});

why('shared machines that it does not need are not listed', () => {
  const fault: Fault = { code: 'DNS_FAILED', message: 'aardvark-dns ended' };
  const resolver = { state: 'restarting', fault, attempts: 1, named: [] };
  assert.ok(judge(factsWith({ resolver })).well, 'it has no names');
  const named = { ...attachmentTo('web'), dns: { listen: ['10.89.0.1'], servers: [] } };
  const answer = judge(factsWith({ resolver: { ...resolver, named: ['web'] }, context: { attachments: [named] } }));
  assert.is(
    answer.verdict,
    'c1 is up, but the resolver does not answer: aardvark-dns ended (DNS_FAILED); it is tried again within 1 s.',
  );
  const unnamed = judge(
    factsWith({
      resolver: { state: 'serving', fault: null, attempts: 0, named: [] },
      context: { attachments: [named] },
    }),
  );
  assert.is(unnamed.verdict, 'c1 is up, but its name c1 is not known on web.');
});

why('who waits for whom', () => {
  const change: Change = { kind: 'yield', networks: {}, ports: [PORT], todo: [], led: [], taker: 'b:9' };
  const other = { name: 'b', state: 'publishing.exposing', departing: false, context: contextWith({ owner: 'b:9' }) };
  const yields = judge(factsWith({ state: 'yielding.waiting', context: { change, ports: [PORT] }, others: [other] }));
  assert.is(
    yields.verdict,
    'c1 is giving ports away to another container: waiting for the container that takes its ports over.',
  );
  assert.ok(yields.blocks.includes('It waits for b, which takes over 8080/tcp.'));
  // A network is full: which address it will get is not known.
  const configure: Change = { kind: 'configure', networks: { web: {} }, ports: [], todo: [], led: [], wanted: [] };
  const context = { configured: false, attachments: [], change: configure };
  const leaves = { ...other, state: 'draining', departing: true };
  const full = judge(factsWith({ state: 'configuring.leasing', context, others: [leaves] }));
  assert.ok(full.blocks.includes('It may wait for b, which is being torn down and still has what it asked for.'));
  const raising = factsWith().networks.map((one) => ({ ...one, state: 'raising' }));
  const busy = judge(factsWith({ state: 'configuring.leasing', context, networks: raising }));
  assert.equal(busy.blocks, ['Network web is raising its bridge.']);
});

why.run();
