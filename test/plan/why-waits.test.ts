/**
 * Who waits for whom, who has what was asked for, and which faults a state is due to.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { OtherFact } from '../../plan/why/facts.ts';
import type { Change, ContainerContext } from '../../state/container.ts';
import type { PortMapping } from '../../state/event.ts';
import type { Fault } from '../../state/faults.ts';
import { attachmentTo, contextWith, PORT, saidOf } from '../harness/why-facts.ts';

const waits = suite('why, who waits for whom');

const NOTHING = { networks: {}, ports: [], todo: [], led: [] };
const other = (name: string, context: Partial<ContainerContext>, more: Partial<OtherFact> = {}): OtherFact => ({
  name,
  state: 'draining',
  departing: true,
  context: contextWith({ owner: `${name}:9`, attachments: [], ...context }),
  ...more,
});
const asking = (
  networks: Change['networks'],
  wanted: PortMapping[],
  others: OtherFact[],
  state = 'configuring.leasing',
): string[] =>
  saidOf({
    state,
    networks: [],
    context: {
      configured: false,
      attachments: [],
      change: { kind: 'configure', ...NOTHING, networks, wanted },
      request: { netns: { mode: 'new' }, networks: {}, ports: [] },
    },
    others,
  }).filter((text) => !text.includes('has no bridge now'));

const { mac } = attachmentTo('web');
const address = '10.89.0.2';
const onWeb = { attachments: [attachmentTo('web')] };

waits('for what it asked for by name: an address, a MAC address, a port', () => {
  const b = other('b', { attachments: [attachmentTo('back'), attachmentTo('web')], ports: [PORT] });
  const port = { container_port: 80, host_port: 8080 };
  assert.equal(asking({ web: { static_ips: [address], static_mac: mac } }, [port], [b]), [
    `c1 is being configured, and waits for b, which still has ${address}, ${mac} and host port 8080/tcp.`,
    `blocks: It waits for b, which is being torn down and still has ${address}, ${mac} and host port 8080/tcp.`,
  ]);
  const has = (networks: Change['networks'], others = [b]) => asking(networks, [], others)[1];
  assert.equal(asking({ web: { static_mac: mac } }, [port], [b, other('d', { ports: [PORT] })]), [
    `c1 is being configured, and waits for b, which still has ${mac} and host port 8080/tcp.`,
    `blocks: It waits for b, which is being torn down and still has ${mac} and host port 8080/tcp.`,
    'blocks: It waits for d, which is being torn down and still has host port 8080/tcp.',
  ]);
  assert.is(
    asking({}, [port], [other('d', { ports: [PORT] })])[0],
    'c1 is being configured, and waits for d, which still has host port 8080/tcp.',
  );
  const last = other('b', onWeb, { state: 'gone' });
  assert.is(
    has({ web: { static_ips: [address] } }, [last]),
    `blocks: It waits for b, which is gone and still has ${address}.`,
  );
  assert.is(
    has({ web: { static_mac: mac } }),
    `blocks: It waits for b, which is being torn down and still has ${mac}.`,
  );
  assert.is(has({ back: { static_ips: [address] } }, [other('b', onWeb)]), undefined, 'the address of another network');
});

waits('for any address of a network that may be full, if it did not ask for one that is taken', () => {
  const may = 'blocks: It may wait for b, which is being torn down and still has what it asked for.';
  const verdict = 'c1 is being configured: asking for its addresses and host ports, for 8 s so far.';
  const both = other('b', { attachments: [attachmentTo('back'), attachmentTo('web')] });
  assert.equal(asking({ web: {} }, [], [both]), [verdict, may]);
  assert.equal(asking({ web: { static_ips: ['10.89.0.77'], static_mac: '02:00:00:00:00:77' } }, [], [both]), [
    verdict,
    may,
  ]);
  assert.equal(
    asking({ web: {} }, [], [other('b', onWeb, { state: 'gone' })])[1],
    may.replace('being torn down', 'gone'),
  );
  assert.equal(asking({ web: {} }, [], [other('b', { attachments: [attachmentTo('back')] })]), [verdict]);
  assert.equal(asking({ web: {} }, [], [other('b', onWeb, { state: 'up', departing: false })]), [verdict], 'it stays');
  // Who has what it named is the one, and nobody else is.
  const named = asking(
    { web: { static_ips: [address] } },
    [],
    [other('a', { attachments: [{ ...attachmentTo('web'), addresses: [] }] }), both],
  );
  assert.equal(
    named.filter((text) => text.startsWith('blocks')),
    [`blocks: It waits for b, which is being torn down and still has ${address}.`],
  );
  assert.equal(
    asking({ web: {} }, [], [both], 'configuring.attaching'),
    ['c1 is being configured: making a link.'],
    'it has what it asked for',
  );
});

waits('for a port if both have asked for one in common', () => {
  const b = other('b', { ports: [{ ...PORT, range: 2 }] });
  const isAwaited = (...wishes: Omit<PortMapping, 'container_port'>[]) =>
    asking(
      {},
      wishes.map((wish) => ({ container_port: 80, ...wish })),
      [b],
    ).length > 1;
  const found = [8078, 8079, 8080, 8081, 8082].map((host_port) => isAwaited({ host_port }));
  assert.equal(found, [false, false, true, true, false]);
  assert.equal(
    [8078, 8079].map((host_port) => isAwaited({ host_port, range: 2 })),
    [false, true],
  );
  assert.not.ok(isAwaited({ host_port: 8080, protocol: 'udp' }));
  assert.not.ok(isAwaited({ range: 9000 }), 'any port will do');
  assert.ok(isAwaited({ host_port: 1 }, { host_port: 8080 }));
  assert.is(
    asking({}, [{ container_port: 80, host_port: 8080 }], [b])[1],
    'blocks: It waits for b, which is being torn down and still has host port 8080-8081/tcp.',
  );
});

waits('ports change hands: who gives, who takes', () => {
  const taking: Change = {
    kind: 'publish',
    ...NOTHING,
    wanted: [],
    taking: { owner: 'b:9', ports: [PORT], targets: [] },
  };
  const blocks = (change: Change, state: string, others: OtherFact[]) =>
    saidOf({ state, context: { change }, others }).slice(1);
  const takes = 'blocks: It takes over 8080/tcp from';
  const b = other('web-server', { owner: 'b:9' }, { state: 'up', departing: false });
  assert.equal(blocks(taking, 'publishing.exposing', [other('a', {}), b]), [`${takes} web-server.`]);
  assert.equal(blocks(taking, 'publishing.exposing', []), [`${takes} b.`], 'its id is in the name of the owner');
  const yielding: Change = { kind: 'yield', ...NOTHING, ports: [PORT], taker: 'b:9' };
  assert.equal(blocks(yielding, 'yielding.waiting', [b]), [
    'blocks: It waits for web-server, which takes over 8080/tcp.',
  ]);
  assert.equal(blocks(yielding, 'yielding.releasingPorts', [b]), [], 'the taker has them');
});

waits('a container that was torn down stays for those who use its namespace', () => {
  const kept = (users: string[]) => saidOf({ context: { ownerGone: true }, users });
  assert.equal(kept(['b']), [
    'c1 was torn down, but its network stays, because b still uses its namespace.',
    'blocks: It was torn down, and stays until b no longer uses its namespace.',
    'helps: Tear down those who use its namespace, or `cleat create c1` again, with the same settings.',
  ]);
  const path = contextWith().netns?.path ?? '';
  const lost = { kind: 'link', object: path, network: null, problem: 'missing' } as const;
  assert.is(
    saidOf({ context: { ownerGone: true }, users: ['b'], differences: [lost] })[0],
    `c1 is up, but its namespace is no longer at ${path}.`,
    'what is wrong comes first',
  );
  assert.equal(kept(['b', 'd']).slice(0, 2), [
    'c1 was torn down, but its network stays, because b and d still use its namespace.',
    'blocks: It was torn down, and stays until b and d no longer use its namespace.',
  ]);
});

waits('a full network: who has its addresses', () => {
  const full = (message: string, others: OtherFact[], code: Fault['code'] = 'SUBNET_FULL') =>
    saidOf({
      state: 'created',
      context: {
        configured: false,
        attachments: [],
        fault: { code, message },
        request: { netns: { mode: 'new' }, networks: { web: {}, back: {} }, ports: [] },
      },
      others,
    }).filter((text) => text.includes('addresses of'));
  const both = { attachments: [attachmentTo('back'), attachmentTo('web')] };
  const others = [other('b', onWeb), other('d', { attachments: [attachmentTo('back')] }), other('e', both)];
  const message = 'no address is free on network web';
  assert.equal(full(message, others), ['blocks: The addresses of network web are those of b and e.']);
  assert.equal(full(message, [other('d', { attachments: [attachmentTo('back')] })]), [], 'nobody has one');
  assert.equal(full(message, others, 'PORT_TAKEN'), [], 'another fault');
  assert.equal(full('network web has a subnet without addresses', others), [], 'no network is named at the end');
});

const FAULT: Fault = { code: 'PORT_TAKEN', message: 'host port 8080/tcp is in use' };
const LAST: Fault = { code: 'DEADLINE', message: 'it took too long' };
const LEFT: Fault = { code: 'KERNEL', message: 'the link stays' };

waits('the faults that a state is due to', () => {
  const all = { fault: FAULT, lastFault: LAST, leftovers: [LEFT] };
  const faults = (state: string, context: Partial<ContainerContext>, defect: Fault | null = null) =>
    saidOf({ state, context, defect }).filter((text) => /\([A-Z_]+\)/.test(text) && text.startsWith('blocks'));
  const [fault, last, left] = [
    'host port 8080/tcp is in use (PORT_TAKEN).',
    'it took too long (DEADLINE).',
    'the link stays (KERNEL).',
  ];
  assert.equal(faults('degraded', all), [`blocks: The last repair failed: ${last}`]);
  assert.equal(faults('degraded', { ...all, lastFault: null }), [`blocks: The last repair failed: ${fault}`]);
  assert.equal(faults('degraded', {}), []);
  const neither = 'blocks: It could neither be made nor undone:';
  assert.equal(faults('failed', all), [`${neither} ${fault}`, `${neither} ${left}`]);
  assert.equal(faults('failed', { ...all, fault: null }), [`${neither} ${left}`]);
  assert.equal(faults('teardownFailed', all), [`blocks: This could not be removed: ${left}`]);
  for (const state of ['abandoning', 'rollingBack.restoring']) {
    assert.equal(faults(state, all), [`blocks: A step failed: ${fault}`]);
    assert.equal(faults(state, {}), []);
  }
  assert.equal(faults('created', all), [`blocks: Configure failed: ${fault}`]);
  assert.equal(
    faults('created', { ...all, operation: { n: 3, type: 'connect', network: 'web' } }),
    [],
    'another one failed',
  );
  assert.equal(faults('up', all), [], 'the operation that failed has left it as it was');
  assert.equal(faults('error', all, LAST), [`blocks: Its machine stopped: ${last}`]);
});

waits.run();
