/**
 * What led a container to its state: drift, the event that it left its last good state with, and the failure that came of it.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { judge } from '../../plan/why/why.ts';
import type { JournalEntry } from '../../state/answers/container/history.ts';
import type { UplinkProcess } from '../../state/answers/container/inspection.ts';
import type { Difference, Drift } from '../../state/container.ts';
import type { Fault } from '../../state/faults.ts';
import { factsWith, NOW, type Changed } from '../harness/why-facts.ts';

const story = suite('why, what led there');

const FAULT: Fault = { code: 'PORT_TAKEN', message: 'host port 8080/tcp is in use' };
const LATER: Fault = { code: 'DEADLINE', message: 'it took too long' };
const ROUTE: Drift = { kind: 'route', object: 'default on eth0', network: 'web' };
const missing = (drift: Drift): Difference => ({ ...drift, problem: 'missing' });

/** One at a time, each a second after the one before, and the last a second ago. */
const journal = (...entries: ([string, string, string] | [string, string, string, Partial<JournalEntry>])[]) =>
  entries.map(([event, from, to, more], i): JournalEntry => ({
    t: NOW - (entries.length - i) * 1000,
    machine: 'container',
    event,
    from,
    to,
    ms: 1,
    ...more,
  }));
const told = (changed: Changed): string[] =>
  judge(factsWith(changed)).led.map(({ t, text }) => `${(t - NOW) / 1000} s: ${text}`);

const CREATED = ['xstate.init', '', 'creating'] as const;
const MADE = ['xstate.done.actor.ensureNamespace', 'creating', 'created'] as const;
const CONFIGURE = ['configure', 'created', 'configuring.leasing'] as const;
const UP = ['xstate.done.actor.attachment', 'configuring.attaching', 'up'] as const;

story('a pin that a start could not put back, until it is back', () => {
  const path = '/run/netns/pin';
  const fault: Fault = { code: 'KERNEL', message: 'mount: EBUSY' };
  const pin: Drift = { kind: 'link', object: path, network: null };
  const unpinned = (why: Fault) => ['unpinned', 'up', 'up', { fault: why }] as [string, string, string, object];
  const repaired = (drift: Drift) => ['repaired', 'up', 'up', { drift: [drift] }] as [string, string, string, object];
  const led = (more: Changed, ...entries: [string, string, string, object][]) =>
    told({
      state: 'up',
      context: { netns: { path, owned: true, from: null, of: null } },
      history: journal([...UP], ...entries),
      ...more,
    }).filter((line) => line.includes('pinned'));
  const why = 'Its namespace could not be pinned again: mount: EBUSY (KERNEL).';
  const isMissing = { differences: [missing(ROUTE), missing(pin)] };
  assert.equal(led(isMissing, unpinned(LATER), unpinned(fault)), [`-1 s: ${why}`]);
  assert.equal(led(isMissing, unpinned(fault), repaired(ROUTE)), [`-2 s: ${why}`]);
  assert.equal(led({ state: 'degraded' }, unpinned(fault)), [`-1 s: ${why}`]);
  assert.equal(led(isMissing, unpinned(fault), repaired(pin)), []);
  assert.equal(led({ differences: [missing(ROUTE)] }, unpinned(fault)), []);
  assert.equal(led(isMissing, ['unpinned', 'up', 'up', {}]), []);
  assert.equal(led(isMissing), []);
});

story('each event that a container leaves a good state with', () => {
  const process = { last: 'killed by signal 9' } as UplinkProcess;
  const led = (event: string, more: Changed = {}) =>
    told({
      state: 'repairing.repairingLinks',
      history: journal([...CREATED], [...MADE], [event, 'created', 'repairing.repairingLinks']),
      ...more,
    });
  for (const event of ['configure', 'connect', 'disconnect', 'reload', 'publish', 'unpublish', 'teardown'])
    assert.equal(led(event), [`-1 s: ${event[0]?.toUpperCase()}${event.slice(1)} was requested.`]);
  assert.equal(led('lastUserGone'), ['-1 s: The last container that used its namespace has gone.']);
  assert.equal(led('resume'), ['-1 s: It was created again.']);
  assert.equal(led('adjust'), ['-1 s: A network of it was changed.']);
  assert.equal(led('yield'), ['-1 s: Another container began to take ports over.']);
  assert.equal(led('lost'), ['-1 s: Its uplink ended.']);
  assert.equal(led('lost', { process }), ['-1 s: Its uplink ended: killed by signal 9.']);
  assert.equal(led('lost', { process: { ...process, last: null } }), ['-1 s: Its uplink ended.']);
  assert.equal(led('drifted'), ['-1 s: A part of it was found missing or changed.']);
  assert.equal(led('error'), ['-1 s: A defect in cleat stopped its machine.']);
  assert.equal(led('surprise'), ['-1 s: Surprise came.']);
});

story('how it began, if it has not been asked for anything', () => {
  assert.equal(told({ state: 'created', history: journal([...CREATED], [...MADE]) }), ['-2 s: It was created.']);
  const note = { ...journal(['drift', 'up', 'up'])[0]!, t: NOW - 9000 };
  const restarted = journal(
    ['xstate.init', '', 'created'],
    ['xstate.done.actor.x', 'created', 'other'],
    ['xstate.init', '', 'created'],
  );
  assert.equal(told({ state: 'created', history: restarted }), ['-1 s: The daemon was started, and found it so.']);
  assert.equal(told({ state: 'created', history: [note, ...restarted.slice(0, 1)] }), ['-3 s: It was created.']);
  assert.equal(told({ state: 'created', history: [] }), [], 'the journal does not go back');
  assert.equal(told({ history: [] }), []);
});

story('the event that left the last good state is told, and steps of its own are not', () => {
  const torn = journal(
    [...CREATED],
    [...MADE],
    [...CONFIGURE],
    [...UP],
    ['teardown', 'up', 'tearingDown.choosing'],
    ['xstate.done.actor.x', 'tearingDown.choosing', 'draining'],
  );
  assert.equal(told({ state: 'draining', history: torn }), ['-2 s: Teardown was requested.']);
  // A teardown can come in any state; another event cannot.
  const midway = (event: string) =>
    journal([...CREATED], [...MADE], [...CONFIGURE], [event, 'configuring.leasing', 'tearingDown.choosing']);
  for (const event of ['teardown', 'process.exited', 'lastUserGone'])
    assert.match(told({ state: 'tearingDown.choosing', history: midway(event) })[0] ?? '', /^-1 s: /, event);
  assert.equal(told({ state: 'tearingDown.choosing', history: midway('reload') }), ['-2 s: Configure was requested.']);
  // It was torn down once, and made again.
  const again = journal(['teardown', 'up', 'tearingDown.choosing'], ['resume', 'tearingDown.choosing', 'up']);
  assert.equal(told({ history: again })[0], '-2 s: Teardown was requested.');
  const anew = journal(['teardown', 'up', 'tearingDown.choosing'], ['resume', 'draining', 'created'], [...CONFIGURE]);
  assert.equal(told({ state: 'configuring.leasing', history: anew }), ['-1 s: Configure was requested.']);
  const since = journal(['xstate.done.actor.x', 'created', 'other'], ['connect', 'failed', 'connecting.leasing']);
  assert.equal(told({ state: 'connecting.leasing', history: since }), ['-1 s: Connect was requested.'], 'it left none');
  const inner = journal([...CONFIGURE], ['reload', 'created', 'linking', { machine: 'attachment' }]);
  assert.equal(
    told({ state: 'configuring.leasing', history: inner }),
    ['-2 s: Configure was requested.'],
    'its own machine',
  );
  assert.equal(
    told({ history: journal([...CONFIGURE], [...UP], ['reload', 'up', 'up']) }),
    ['-3 s: Configure was requested.', '-2 s: It came up.'],
    'an event that changed nothing',
  );
  const ups = journal(
    [...CONFIGURE],
    [...UP],
    ['drifted', 'up', 'repairing.x'],
    ['xstate.done.actor.y', 'repairing.x', 'up'],
  );
  assert.equal(told({ history: ups }), ['-2 s: A part of it was found missing or changed.', '-1 s: It came up.']);
});

story('the failure that came of it: the step in which it first happened, and how long that took', () => {
  const failed = (...more: Parameters<typeof journal>) => journal([...CREATED], [...MADE], [...CONFIGURE], ...more);
  const said = (history: JournalEntry[], state = 'created') => told({ state, history }).slice(1);
  assert.equal(
    said(
      failed(
        ['xstate.error.actor.lease', 'configuring.leasing', 'rollingBack.restoring', { fault: FAULT, ms: 999 }],
        ['xstate.done.actor.x', 'rollingBack.restoring', 'created', { fault: FAULT, ms: 5000 }],
      ),
    ),
    ['-2 s: Asking for its addresses and host ports failed: host port 8080/tcp is in use (PORT_TAKEN).'],
  );
  assert.equal(
    said(failed(['xstate.error.actor.lease', 'configuring.leasing', 'created', { fault: FAULT, ms: 1000 }])),
    ['-1 s: Asking for its addresses and host ports failed, after 1 s: host port 8080/tcp is in use (PORT_TAKEN).'],
  );
  // The last of several, which may have come with an event of XState other than an error.
  assert.equal(
    said(
      failed(
        ['xstate.error.actor.lease', 'configuring.leasing', 'rollingBack.restoring', { fault: FAULT }],
        ['xstate.done.actor.attachment', 'rollingBack.restoring', 'failed', { fault: LATER }],
        ['xstate.after.1000', 'failed', 'rollingBack.restoring', { fault: FAULT }],
      ),
      'failed',
    ),
    ['-2 s: Putting back what was changed failed: it took too long (DEADLINE).'],
  );
  const stale = journal(
    ['connect', 'created', 'connecting.leasing', { fault: FAULT }],
    ['xstate.error.actor.lease', 'connecting.leasing', 'rollingBack.restoring', { fault: FAULT }],
    ['xstate.done.actor.x', 'rollingBack.restoring', 'created'],
  );
  assert.equal(
    told({ state: 'created', history: stale }),
    [
      '-3 s: Connect was requested.',
      '-2 s: Asking for its addresses and host ports failed: host port 8080/tcp is in use (PORT_TAKEN).',
    ],
    'what an event found is not its failure, and a step that went well afterwards hides none',
  );
  const none: Parameters<typeof journal> = [
    ['xstate.error.actor.x', 'configuring.leasing', 'configuring.leasing', { fault: FAULT }],
    ['xstate.error.actor.x', 'linking', 'failed', { fault: FAULT, machine: 'attachment' }],
    ['connect', 'created', 'connecting.leasing', { fault: FAULT }],
  ];
  for (const entry of none.slice(0, 2)) assert.equal(said(failed(entry)), [], 'it is no step of its machine');
  assert.equal(told({ state: 'connecting.leasing', history: failed(...none.slice(2)) }), [
    '-1 s: Connect was requested.',
  ]);
  const before: Parameters<typeof journal>[0] = ['xstate.error.actor.x', 'creating', 'created', { fault: FAULT }];
  assert.equal(told({ state: 'configuring.leasing', history: journal(before, [...CONFIGURE]) }), [
    '-1 s: Configure was requested.',
  ]);
  assert.equal(
    told({ state: 'created', history: journal(before, ['xstate.done.actor.x', 'created', 'up']) }),
    ['-2 s: Making its namespace failed: host port 8080/tcp is in use (PORT_TAKEN).'],
    'the journal does not go back to what began it',
  );
});

story('drift that is still there, or that the event came of, is told once and with who did it', () => {
  const drift = (...some: Drift[]): [string, string, string, Partial<JournalEntry>] => [
    'drift',
    'up',
    'up',
    { drift: some },
  ];
  const by = (who: string, ...some: Drift[]): ReturnType<typeof drift> => [
    'drift',
    'up',
    'up',
    { drift: some, by: who },
  ];
  const RULE: Drift = { kind: 'rule', object: 'x', network: null };
  const head = [[...CONFIGURE], [...UP]] as Parameters<typeof journal>;
  const still = (...entries: Parameters<typeof journal>) =>
    told({ history: journal(...head, ...entries), differences: [missing(ROUTE), missing(RULE)] }).slice(2);
  assert.equal(still(drift(ROUTE)), ['-1 s: Route default on eth0 was removed or changed by others.']);
  assert.equal(still(by('nft (pid 9)', RULE, ROUTE)), [
    '-1 s: Rule x and route default on eth0 were removed or changed by nft (pid 9).',
  ]);
  assert.equal(
    still(by('nft (pid 9)', RULE, ROUTE), by('ip (pid 7)', ROUTE, { ...ROUTE, object: 'gone' })),
    [
      '-2 s: Rule x was removed or changed by nft (pid 9).',
      '-1 s: Route default on eth0 was removed or changed by ip (pid 7).',
    ],
    'as it came last, and without what was put back',
  );
  assert.equal(still(['repaired', 'up', 'up', { drift: [ROUTE] }], drift()), [], 'no drift, or none of it');
  assert.equal(still(['drift', 'up', 'up']), []);
  assert.equal(told({ history: journal(drift(ROUTE)) }), [], 'no event came of it');
  const led = (event: string, ms: number, some = ROUTE) =>
    told({
      state: 'repairing.x',
      history: journal(
        ...head,
        ['drift', 'up', 'up', { drift: [some], t: NOW - 1000 + ms }],
        [event, 'up', 'repairing.x'],
      ),
    });
  const cause = 'Route default on eth0 was removed or changed by others.';
  for (const ms of [-99, 0, 99])
    assert.ok(
      led('drifted', ms).some((text) => text.endsWith(cause)),
      `${ms} ms`,
    );
  for (const ms of [-100, 100])
    assert.not.ok(
      led('drifted', ms).some((text) => text.endsWith(cause)),
      `${ms} ms`,
    );
  assert.equal(led('lost', -50), [`-1.05 s: ${cause}`, '-1 s: Its uplink ended.']);
  assert.equal(led('reload', -50), ['-1 s: Reload was requested.']);
  const uplink: Drift = { kind: 'uplink', object: 'pasta', network: null };
  assert.equal(led('lost', 0, uplink), ['-1 s: Its uplink ended.'], 'the event says so itself');
  assert.ok(led('drifted', 0, uplink).includes('-1 s: Uplink pasta was removed or changed by others.'));
});

story('what is left of shared objects is told among the rest, in order', () => {
  const one = { kind: 'table', object: 'inet cleat', network: null } as const;
  const left = [
    { ...one, t: NOW - 500, by: null },
    { ...one, object: 'inet other', t: NOW - 8500, by: 'nft (pid 9)' },
  ];
  assert.equal(told({ left }), [
    '-8.5 s: Table inet other was removed or changed by nft (pid 9).',
    '-8 s: Configure was requested.',
    '-7.99 s: It came up.',
    '-0.5 s: Table inet cleat was removed or changed by others.',
  ]);
});

story.run();
