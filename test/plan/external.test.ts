/**
 * What programs of others are told, and what their answers mean: pure conversations, answered here.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { cni, otherThanAsked } from '../../plan/external/cni.ts';
import type { Answer, Call, Conversation, Subject } from '../../plan/external/conversation.ts';
import { answered, carrierOf, externalOf, ofCni, serversOf, withPorts } from '../../plan/external/external.ts';
import { netavark } from '../../plan/external/netavark.ts';
import { missingInside } from '../../plan/kernel/expected-external.ts';
import type { Attachment, ResolvedPort } from '../../state/container.ts';
import { conflist, type ExternalTerms } from '../../state/external.ts';
import type { FaultError } from '../../state/faults.ts';
import { libnetworkOf } from '../../plan/networks/external.ts';
import { definition, externalLease, leaseOf, TOKEN } from '../harness/fixtures.ts';

const PORT: ResolvedPort = {
  protocol: 'tcp',
  hostIp: '',
  hostPort: 8080,
  containerPort: 80,
  range: 2,
  outerIp: null,
};

const terms = (plugins: object[], more: object = {}): ExternalTerms => ({
  driver: 'cni',
  file: '/x',
  list: conflist(JSON.stringify({ cniVersion: '1.0.0', name: 'net', plugins, ...more }), '/x'),
  path: ['/one', '/two'],
});

function attachment(of: ExternalTerms, more: Partial<Attachment> = {}, wish: object = {}): Subject['attachment'] {
  const { terms: _terms, ...lease } = externalLease('x');
  return {
    ...lease,
    ordinal: 0,
    hostLink: 've0',
    link: 'eth0',
    alias: 'cleat:main:c1:7:x',
    aliases: [],
    gatewayPriority: 0,
    external: externalOf({ id: 'c1', name: 'one', pod: null, token: TOKEN }, of, wish),
    ...more,
  } as Subject['attachment'];
}
const subject = (of: Attachment): Subject => ({
  attachment: of as Subject['attachment'],
  netns: '/run/netns/c',
  spare: '/run/spare',
  given: null,
});

const said = (status: number, stdout: string, stderr = ''): Answer => {
  let json: unknown;
  try {
    json = JSON.parse(stdout);
  } catch {
    json = undefined;
  }
  return { problem: null, status, signal: null, json, stdout, stderr };
};

/** Leads a conversation with these answers, one for each call. */
function lead<Made>(conversation: Conversation<Made>, answers: Answer[]) {
  const calls: Call[] = [];
  let step = conversation.next();
  while (step.done !== true) {
    calls.push(step.value);
    const answer = answers.shift();
    if (answer === undefined) throw new Error(`nobody answers ${step.value.doing}`);
    step = conversation.next(answer);
  }
  assert.is(answers.length, 0, 'more calls were expected');
  return { calls, made: step.value };
}
const types = (calls: Call[]) =>
  calls.map(({ env, stdin }) => `${env['CNI_COMMAND']} ${(JSON.parse(stdin) as { type: string }).type}`);

const external = suite('external networks');

external('a chain passes the result on, and is removed in reverse order with the last one', () => {
  const one = attachment(terms([{ type: 'a' }, { type: 'b' }, { type: 'c' }]));
  const added = lead(cni.add(subject(one)), [said(0, '{"n": 1}'), said(0, '{"n": 2}'), said(0, '{"n": 3}')]);
  assert.equal(types(added.calls), ['ADD a', 'ADD b', 'ADD c']);
  assert.equal(
    added.calls.map(({ stdin }) => (JSON.parse(stdin) as { prevResult?: unknown }).prevResult),
    [undefined, { n: 1 }, { n: 2 }],
  );
  assert.equal(added.made, { result: { n: 3 } });
  assert.equal(added.calls[0]!.programs, ['/one/a', '/two/a']);
  const made = answered(one, { n: 3 });
  const removed = lead(cni.remove(subject(made)), [said(0, ''), said(0, ''), said(0, '')]);
  assert.equal(types(removed.calls), ['DEL c', 'DEL b', 'DEL a']);
  assert.ok(removed.calls.every(({ stdin }) => stdin.includes('"prevResult":{"n":3}')));
  assert.is(removed.made, null);
});

external('a chain ends with its first failure; a removal goes on, and reports the first', () => {
  const one = attachment(terms([{ type: 'a' }, { type: 'b' }]));
  const no = said(1, '{"code": 11, "msg": "later"}', 'why');
  const added = lead(cni.add(subject(one)), [no]);
  assert.equal(added.made, {
    fault: {
      code: 'EXTERNAL_FAILED',
      message: 'plugin a of conflist net (ADD) failed: later (code 11); it said: why',
      object: 'a',
    },
  });
  const removed = lead(cni.remove(subject(one)), [no, said(2, '')]);
  assert.is((removed.made as { fault: { object: string } }).fault.object, 'b');
});

external('addresses are those of the interface in the container', () => {
  const result = {
    interfaces: [
      { name: 'cni0', mac: '02:00:00:00:00:01' },
      { name: 'eth0', mac: '02:00:00:00:00:0A', sandbox: '/n' },
    ],
    ips: [
      { address: '10.1.0.1/24', interface: 0 },
      { address: '10.1.0.2/24', interface: 1, gateway: '10.1.0.1' },
      { address: 'fd00::2/64' },
      { address: 'nonsense', interface: 1 },
    ],
    dns: { nameservers: ['10.1.0.1', 'x; rm'], search: ['example.com', 'a b'] },
  };
  const found = ofCni({ link: 'eth0' }, result);
  assert.equal(found, {
    mac: '02:00:00:00:00:0a',
    addresses: [
      { address: '10.1.0.2', prefix: 24, gateway: '10.1.0.1' },
      { address: 'fd00::2', prefix: 64, gateway: null },
    ],
  });
  const made = answered(attachment(terms([{ type: 'a' }])), result);
  assert.equal(made.addresses, found.addresses);
  assert.equal(made.external?.result, result);
  assert.equal(serversOf(made), { servers: ['10.1.0.1'], search: ['example.com'] });
  for (const odd of [{}, { ips: 1 }, { ips: [1], interfaces: [null] }, { interfaces: { a: 1 }, ips: [{ address: 5 }] }])
    assert.equal(ofCni({ link: 'eth0' }, odd), { addresses: [], mac: '' });
});

external('what was asked for and not given is a fault', () => {
  const one = subject(
    attachment(terms([{ type: 'a' }]), {}, { static_ips: ['10.1.0.9'], static_mac: '02:00:00:00:00:09' }),
  );
  assert.is(otherThanAsked(one, { ips: ['10.1.0.9'], mac: '02:00:00:00:00:09' }), null);
  assert.match(otherThanAsked(one, { ips: ['10.1.0.2'], mac: '02:00:00:00:00:09' })?.message ?? '', /10\.1\.0\.9/);
  assert.match(otherThanAsked(one, { ips: ['10.1.0.9'], mac: '02:00:00:00:00:01' })?.message ?? '', /MAC/);
});

external('ports are those of the first program that can publish them', () => {
  const without = attachment(terms([{ type: 'a' }]), { network: 'w' });
  const able = attachment(terms([{ type: 'p', capabilities: { portMappings: true } }]));
  assert.is(carrierOf(withPorts([without], [PORT])), undefined);
  const both = withPorts([without, able, { ...able, network: 'second' }], [PORT]);
  assert.is(carrierOf(both)?.network, 'x');
  assert.is(both.filter((one) => (one.external?.ports.length ?? 0) > 0).length, 1);
  // One that has answered was given its ports, or none.
  assert.is(carrierOf(withPorts([answered(able, {})], [PORT])), undefined);
  const { calls } = lead(cni.add(subject(both[1]!)), [said(0, '{}')]);
  assert.match(
    calls[0]!.stdin,
    /"portMappings":\[\{"hostPort":8080,"containerPort":80.*"hostPort":8081,"containerPort":81/,
  );
});

external('netavark is told each port with its host address', () => {
  const of: ExternalTerms = { driver: 'netavark', programs: ['/n'], config: '/c', network: { name: 'x' } };
  const [one] = withPorts([{ ...attachment(of), ...leaseOf('x'), network: 'x' }], [{ ...PORT, hostIp: '192.0.2.1' }]);
  const { calls } = lead(netavark.add(subject(one!)), [said(0, '{"x": {}}')]);
  const { port_mappings: ports } = JSON.parse(calls[0]!.stdin) as { port_mappings: object[] };
  assert.equal(ports, [{ host_ip: '192.0.2.1', host_port: 8080, container_port: 80, protocol: 'tcp', range: 2 }]);
});

external('netavark is told the metric that the container has for its default route, and none if it has none', () => {
  const options = (own: object, defaultMetric: number | null) => {
    const of: ExternalTerms = { driver: 'netavark', programs: ['/n'], config: '/c', network: { name: 'x', ...own } };
    const one = { ...attachment(of), ...leaseOf('x'), network: 'x', defaultMetric };
    const { calls } = lead(netavark.add(subject(one)), [said(0, '{"x": {}}')]);
    return (JSON.parse(calls[0]!.stdin) as { network_info: { x: { options?: object } } }).network_info.x.options;
  };
  assert.equal(options({}, 101), { metric: '101' });
  assert.equal(options({ options: { isolate: 'true', metric: '100' } }, 101), { isolate: 'true', metric: '101' });
  assert.equal(options({ options: { no_default_route: 'true' } }, null), { no_default_route: 'true' });
  assert.is(options({}, null), undefined);
});

external('an address has the prefix of the subnet that it is in, and of no text that is none', () => {
  const of = (ipam: object) => terms([{ type: 'p', capabilities: { ips: true }, ipam }]);
  const told = (ipam: object) => {
    const { calls } = lead(cni.add(subject(attachment(of(ipam), {}, { static_ips: ['10.9.0.5'] }))), [said(0, '{}')]);
    return (JSON.parse(calls[0]!.stdin) as { runtimeConfig: { ips: string[] } }).runtimeConfig.ips;
  };
  assert.equal(told({ ranges: [[{ subnet: '10.8.0.0/16' }], [{ subnet: '10.9.0.0/24' }]] }), ['10.9.0.5/24']);
  assert.equal(told({ subnet: 'none' }), ['10.9.0.5']);
});

external('netavark is told the same twice; what it refuses to remove is made and removed in a spare namespace', () => {
  const of: ExternalTerms = { driver: 'netavark', programs: ['/n'], config: '/c', network: { name: 'x' } };
  const one = { ...attachment(of), ...leaseOf('x'), network: 'x' };
  const result = { interfaces: { eth0: { mac_address: '02:00:00:00:00:05', subnets: [{ ipnet: '10.9.0.2/24' }] } } };
  const added = lead(netavark.add(subject(one)), [said(0, JSON.stringify({ x: result }))]);
  assert.equal(added.made, { result });
  assert.equal(added.calls[0]!.args, ['--config', '/c', 'setup', '/run/netns/c']);
  assert.is(answered(one, result).mac, '02:00:00:00:00:05');
  const removed = lead(netavark.remove(subject(one)), [said(0, '')]);
  assert.is(removed.calls[0]!.stdin, added.calls[0]!.stdin);
  const no = said(1, '{"error": "no such bridge"}');
  const stubborn = lead(netavark.remove(subject(one)), [no, said(0, '{}'), said(0, '')]);
  assert.is(stubborn.made, null);
  assert.equal(
    stubborn.calls.map(({ args, spare }) => `${args[2]} ${args[3]} ${spare ?? false}`),
    ['teardown /run/netns/c false', 'setup /run/spare true', 'teardown /run/spare true'],
  );
  const hopeless = lead(netavark.remove(subject(one)), [no, no]);
  const { message } = (hopeless.made as { fault: { message: string } }).fault;
  assert.match(message, /no such bridge/);
  assert.not.match(message, /\{/, 'the reason itself, not the JSON that it came in');
});

external('a conflist is checked, and a single plugin is a list of one', () => {
  const single = conflist('{"cniVersion": "0.4.0", "name": "n", "type": "bridge", "bridge": "b0"}', '/f');
  assert.equal(single, { cniVersion: '0.4.0', name: 'n', plugins: [{ type: 'bridge', bridge: 'b0' }] });
  for (const bad of ['', '[]', '{}', 'null', '{"cniVersion":"1.0.0","name":"n","plugins":[{}]}', '"x"']) {
    assert.throws(
      () => conflist(bad, '/f'),
      (error: FaultError) => error.fault.code === 'CONFLIST_UNUSABLE' && error.fault.message.startsWith('/f: '),
    );
  }
});

external(
  'CHECK, and the result for DEL, are for plugins from 0.4.0 on; without an answer, DEL gets what ADD was given',
  () => {
    const told = (cniVersion: string, result: object | null, given: object | null) => {
      const one = attachment(terms([{ type: 'a' }], { cniVersion }));
      const about = { ...subject({ ...one, external: { ...one.external, result } } as Attachment), given } as Subject;
      const checks = lead(cni.check(about), cniVersion.startsWith('0.3') ? [] : [said(0, '')]).calls.length;
      const [call] = lead(cni.remove(about), [said(0, '')]).calls;
      return [checks, (JSON.parse(call!.stdin) as { prevResult?: unknown }).prevResult];
    };
    for (const version of ['0.3.0', '0.3.1']) assert.equal(told(version, { n: 1 }, { n: 2 }), [0, undefined]);
    for (const version of ['0.4.0', '1.0.0', '1.1.0']) {
      assert.equal(told(version, { n: 1 }, { n: 2 }), [1, { n: 1 }]);
      assert.equal(told(version, null, { n: 2 }), [1, { n: 2 }]);
      assert.equal(told(version, null, null), [1, undefined]);
    }
  },
);

external('a plugin that fails is blamed in its own words, or by how it ended', () => {
  const blamed = (stdout: string): string => {
    const { made } = lead(cni.add(subject(attachment(terms([{ type: 'a' }])))), [said(3, stdout)]);
    return (made as { fault: { message: string } }).fault.message;
  };
  assert.match(
    blamed('{"code": 7, "msg": "no such colour", "details": "blue"}'),
    /failed: no such colour; blue \(code 7\)$/,
  );
  assert.match(blamed('{"msg": "no such colour"}'), /failed: no such colour$/);
  for (const wordless of ['', '[]', '{}', '{"msg": ""}', '{"code": 7}'])
    assert.match(blamed(wordless), /failed: it ended with status 3, /);
});

external('what a plugin is given is to be kept before it runs', () => {
  const one = attachment(terms([{ type: 'a' }, { type: 'b' }]));
  const { calls } = lead(cni.add(subject(one)), [said(0, '{"n": 1}'), said(0, '{"n": 2}')]);
  assert.equal(
    calls.map(({ given }) => given),
    [undefined, { n: 1 }],
  );
});

external('netavark gets the routes of a network that has some', () => {
  const web = definition('web', '10.89.0.0/24', '10.89.0.1');
  const routes = [{ destination: '10.1.0.0/16', gateway: '10.89.0.9' }];
  assert.not('routes' in libnetworkOf(web));
  assert.equal(libnetworkOf({ ...web, routes })['routes'], routes);
});

external('what others have taken away is a difference', () => {
  const made = answered(attachment(terms([{ type: 'a' }])), {
    interfaces: [{ name: 'eth0', mac: '02:00:00:00:00:0a', sandbox: '/n' }],
    ips: [{ address: '10.1.0.2/24' }],
  });
  const link = { index: 3, name: 'eth0', mac: '02:00:00:00:00:0a', mtu: 1500, up: true, master: 0, alias: '' };
  const address = { link: 3, address: '10.1.0.2', prefix: 24 };
  const objects = (links: object[], addresses: object[]) =>
    missingInside([made], { links, addresses } as never).map(
      ({ kind, object, problem }) => `${kind} ${object} ${problem}`,
    );
  assert.equal(objects([link], [address]), []);
  assert.equal(objects([], [address]), ['link eth0 missing']);
  assert.equal(objects([{ ...link, up: false, mac: '02:00:00:00:00:0b' }], []), [
    'link mac 02:00:00:00:00:0a on eth0 changed',
    'link up on eth0 changed',
    'address 10.1.0.2/24 on eth0 missing',
  ]);
});

external.run();
