/**
 * A plan in words: every effect of every machine has some, and a plan is read from top to bottom.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { planText, WORDS } from '../../cli/plan-text.ts';
import type { Plan } from '../../state/answers/container/plan.ts';
import { firewalldMachine } from '../../machines/firewalld.ts';
import { MACHINES } from '../harness/machines.ts';

const PLAN: Plan = {
  hash: 'abc',
  id: 'web',
  event: { type: 'configure', id: 'web' },
  from: 'created',
  to: 'up',
  steps: [
    {
      machine: 'container',
      state: 'configuring.leasing',
      effect: 'lease',
      input: { networks: { back: {} }, ports: [{ host_port: 8080, container_port: 80 }], taking: null },
    },
    { machine: 'container', state: 'configuring.attaching' },
    {
      machine: 'attachment',
      state: 'addressing',
      effect: 'ensureAddresses',
      input: { attachment: { addresses: [{ address: '10.90.0.5', prefix: 24 }] } },
    },
    {
      machine: 'container',
      state: 'configuring.publishing',
      effect: 'publish',
      input: {
        targets: [80, 81, 82, 83].map((containerPort) => ({
          protocol: 'tcp',
          hostIp: containerPort === 81 ? '::1' : '',
          hostPort: 8000 + containerPort,
          address: '10.90.0.5',
          containerPort,
        })),
        replacing: [],
      },
    },
    { machine: 'container', state: 'configuring.else', effect: 'ofANewerDaemon' },
    { machine: 'container', state: 'up' },
  ],
  grants: {
    networks: {
      back: {
        interfaces: { eth0: { mac_address: '02:00:00:00:00:05', subnets: [{ ipnet: '10.90.0.5/24' }] } },
      },
    },
    ports: [{ host_ip: '', host_port: 8080, container_port: 80, protocol: 'tcp', range: 1 }],
  },
  notes: ['it may not be what was meant'],
};

const texts = suite('plan-text');

texts('each actor of each machine has words', () => {
  const machines = new Set(Object.keys(MACHINES));
  const actors = [...Object.values(MACHINES), firewalldMachine].flatMap(({ implementations }) =>
    Object.keys(implementations.actors),
  );
  const effects = [...new Set(actors)].filter((name) => !machines.has(name));
  assert.ok(effects.length > 30, effects.join(' '));
  assert.equal(
    effects.filter((name) => !Object.hasOwn(WORDS, name)),
    [],
  );
  assert.equal(
    Object.keys(WORDS).filter((name) => !effects.includes(name)),
    [],
  );
  // Words for every input, also for one that says nothing.
  for (const say of Object.values(WORDS)) assert.not.match(say({}), /undefined|\[object/);
});

texts('a plan is its steps, what it gives, and how it is applied', () => {
  assert.equal(planText(PLAN), [
    'configure web: created -> up',
    '  1. container configuring.leasing: request addresses on back and host ports',
    '  2. container configuring.attaching',
    '  3. attachment addressing: add 10.90.0.5/24 and routes',
    '  4. container configuring.publishing: lead *:8080/tcp to 10.90.0.5:80, [::1]:8081/tcp to 10.90.0.5:81, ' +
      '*:8082/tcp to 10.90.0.5:82 and 1 more',
    '  5. container configuring.else: ofANewerDaemon',
    '  6. container up',
    'It gets eth0 on back: 10.90.0.5/24, MAC 02:00:00:00:00:05',
    'It gets *:8080->80/tcp',
    'Note: it may not be what was meant',
    'Nothing was done. This does it: cleat apply --plan abc',
  ]);
});

texts('a link on a parent, and its network, have words of their own', () => {
  const definition = { driver: 'macvlan', network_interface: 'up0', subnets: [] };
  const attachment = { link: 'eth0', bridge: 'up0', child: { kind: 'macvlan', mode: 'bridge', bclim: null } };
  const said = (effect: string, input: object) => WORDS[effect]?.(input);
  assert.is(said('ensureLink', { attachment }), 'make the link eth0, a macvlan on up0');
  assert.is(said('raiseNetwork', { definition }), 'look at the parent up0');
  assert.is(said('lowerNetwork', { definition }), 'make no change');
});

texts('a plan without steps says so', () => {
  const nothing: Plan = { ...PLAN, from: null, steps: [], grants: { networks: {}, ports: [] }, notes: [] };
  assert.equal(planText(nothing), [
    'configure web: no container -> up',
    '  no effect runs',
    'Nothing was done. This does it: cleat apply --plan abc',
  ]);
});

texts.run();
