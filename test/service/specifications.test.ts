/** The specifications that judge random tests can fail: each gets forged histories, and corrected ones. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ContainerContext } from '../../state/container.ts';
import type { Notification } from '../../state/answers/notification.ts';
import { Hearing } from '../harness/hearing.ts';
import { Specifications, type Words } from '../harness/specifications.ts';
import { see, type Seen } from '../harness/witness.ts';

type Told = { [Kind in keyof Words]: [Kind, string, Words[Kind]] }[keyof Words];

const specifications = suite('specifications');

function verdict(words: readonly Told[]): string[] {
  const told = new Specifications();
  for (const [kind, name, word] of words) told.tell(kind, name, word);
  return told.violations;
}

const take = (by: string): Told => ['address', 'web 10.0.0.2', { type: 'take', by }];
const drop = (by: string): Told => ['address', 'web 10.0.0.2', { type: 'drop', by }];
const publish = (by: string, hostIp = ''): Told => ['port', '80/tcp', { type: 'take', by, hostIp }];
const unpublish = (by: string, hostIp = ''): Told => ['port', '80/tcp', { type: 'drop', by, hostIp }];
const give = (by: string, to: string): Told => ['port', '80/tcp', { type: 'give', by, to }];
const pin: Told = ['namespace', 'a', { type: 'pin' }];
const unpin: Told = ['namespace', 'a', { type: 'unpin' }];
const enter = (by: string): Told => ['namespace', 'a', { type: 'enter', by }];
const leave = (by: string): Told => ['namespace', 'a', { type: 'leave', by }];

const HISTORIES: [what: string, right: Told[], wrong: Told[]][] = [
  ['an address has one owner', [take('a'), drop('a'), take('b')], [take('a'), take('b')]],
  ['an address is given back by its owner', [take('a'), drop('a')], [take('a'), drop('b')]],
  ['a port has one owner', [publish('a'), unpublish('a'), publish('b')], [publish('a'), publish('b')]],
  [
    'every host address is one of them',
    [publish('a', '127.0.0.1'), publish('b', '::')],
    [publish('a', '127.0.0.1'), publish('b', '0.0.0.0')],
  ],
  [
    'two host addresses are two',
    [publish('a', '127.0.0.1'), publish('b', '127.0.0.2')],
    [publish('a', ''), publish('b', '127.0.0.2')],
  ],
  [
    'a port is handed over to who was named',
    [publish('a'), give('a', 'b'), publish('b'), unpublish('a')],
    [publish('a'), give('a', 'b'), publish('c')],
  ],
  [
    'a gift that was taken back is none',
    [publish('a'), give('a', 'b'), publish('b'), unpublish('b')],
    [publish('a'), give('a', 'b'), unpublish('a'), publish('c'), publish('b')],
  ],
  [
    'a namespace stays until its last user has left',
    [pin, enter('s'), enter('t'), leave('s'), leave('t'), unpin],
    [pin, enter('s'), enter('t'), leave('s'), unpin],
  ],
  ['a namespace is there before it is entered', [pin, enter('s')], [enter('s')]],
];

for (const [what, right, wrong] of HISTORIES) {
  specifications(what, () => {
    assert.equal(verdict(right), []);
    assert.is(verdict(wrong).length, 1);
  });
}

/** The part of a record that the specifications read. */
const record = (owner: string, more: Partial<Seen['containers'][number]>): Seen['containers'][number] => ({
  owner,
  outside: null,
  netns: null,
  identity: null,
  attachments: [],
  ports: [],
  change: null,
  ...more,
});
const at = (address: string) =>
  [{ network: 'web', addresses: [{ address, prefix: 24, gateway: null }] }] as ContainerContext['attachments'];
const namespace = (owner: string, of: string | null) => ({
  netns: { path: `/run/${owner}`, owned: of === null, from: null, of },
  identity: { dev: 4, ino: 7 },
});

specifications('a witness sees an address that two owners have', () => {
  const told = new Specifications();
  const first = see(told, new Map(), {
    mounts: new Set(),
    containers: [record('a:1', { attachments: at('10.0.0.2') })],
  });
  const moved = [record('a:1', { attachments: at('10.0.0.3') }), record('b:2', { attachments: at('10.0.0.2') })];
  const next = see(told, first, { mounts: new Set(), containers: moved });
  assert.equal(told.violations, []);
  see(told, next, { mounts: new Set(), containers: [moved[0]!, record('b:2', { attachments: at('10.0.0.3') })] });
  assert.is(told.violations.length, 1);
});

specifications('a witness sees a namespace that goes before its user', () => {
  const told = new Specifications();
  const containers = [record('a:1', namespace('a:1', null)), record('s:2', namespace('s:2', 'a:1'))];
  const first = see(told, new Map(), { mounts: new Set(['/run/a:1', '/run/s:2']), containers });
  assert.equal(told.violations, []);
  see(told, first, { mounts: new Set(['/run/s:2']), containers });
  assert.is(told.violations.length, 1);
});

const said = (type: 'requested' | 'done', event: string): Notification => ({
  type,
  t: 0,
  id: 'a',
  event,
  network: null,
});
const state = (from: string, to: string): Notification => ({ type: 'state', t: 0, id: 'a', from, to });

const ACCOUNTS: [what: string, right: Notification[], wrong: Notification[]][] = [
  [
    'what ends was requested',
    [said('requested', 'create'), said('done', 'create'), said('done', 'drifted')],
    [said('done', 'create')],
  ],
  [
    'what was requested ends once',
    [said('requested', 'create'), said('done', 'create')],
    [said('requested', 'create'), said('done', 'create'), said('done', 'create')],
  ],
  [
    'states follow one another',
    [state('', 'up'), state('up', 'gone'), state('', 'up')],
    [state('', 'up'), state('', 'gone')],
  ],
];

for (const [what, right, wrong] of ACCOUNTS) {
  specifications(`a violation in the daemon's events is found: ${what}`, () => {
    const violations = (account: readonly Notification[]) => {
      const hearing = new Hearing();
      for (const notification of account) hearing.hear(notification);
      return hearing.violations.length + hearing.owed().length;
    };
    assert.is(violations(right), 0);
    assert.is(violations(wrong), 1);
  });
}

specifications("every requested operation in the daemon's events must end", () => {
  const hearing = new Hearing();
  hearing.hear(said('requested', 'create'));
  assert.is(hearing.owed().length, 1);
  // An operation under way at the kill may end, once.
  hearing.died();
  hearing.hear(said('done', 'create'));
  assert.equal([...hearing.owed(), ...hearing.violations], []);
  hearing.hear(said('done', 'create'));
  assert.is(hearing.violations.length, 1);
});

specifications.run();
