/** Ports that slirp4netns carries, over its API: the real program, and sockets that give invalid answers or none. */
import { existsSync, mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { listForwards } from '../../effects/uplinks/slirp-api.ts';
import { slirpForward, slirpUnforward } from '../../effects/ports/slirp-forward.ts';
import { uplinkFile } from '../../effects/uplinks/uplink-probe.ts';
import type { OwnedTarget } from '../../plan/containers/change.ts';
import { parseSlirp } from '../../plan/uplinks/slirp4netns.ts';
import type { UplinkInput } from '../../plan/uplinks/uplink.ts';
import { dial } from '../harness/agent.ts';
import { faultOf } from '../harness/effects.ts';
import { agentIn, removeNetns } from '../harness/inside.ts';
import { openDescriptors } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { answering } from '../harness/programs.ts';
import { container, makeWorld, runUplink, uplinkInput, Uplinks } from '../harness/uplink.ts';

requirePrivateNamespace();
makeWorld();
const netns = await container('c1');
const inside = await agentIn(netns);
await inside.serve('inside 80', 'tcp', 80);
await inside.serve('inside 90', 'udp', 90);
const uplinks = new Uplinks();
/** A path longer than a socket's may be. */
const directory = join(uplinks.at('c'.repeat(120)), 'd'.repeat(120));

const parsed = parseSlirp({ engine: [], container: [], file: uplinkFile('slirp4netns'), isInterface: () => false });
if ('fault' in parsed) throw new Error(parsed.fault.message);
const { settings } = parsed;
const input = (verb: UplinkInput['verb']): UplinkInput =>
  uplinkInput(verb, { directory, netns, settings, apiSocket: true });

const target = (hostPort: number, containerPort = 80, more: Partial<OwnedTarget> = {}): OwnedTarget => ({
  owner: 'c1:1',
  protocol: 'tcp',
  hostIp: '',
  hostPort,
  address: '10.0.2.100',
  containerPort,
  ...more,
});

const shown = async () =>
  (await listForwards(directory)).map(
    ({ proto, host_addr, host_port, guest_addr, guest_port }) =>
      `${host_addr}:${host_port} ${guest_addr}:${guest_port}/${proto}`,
  );

const forward = suite('ports over the API of slirp4netns');

forward.before.each(async () => {
  const { fault } = await runUplink(input('start'));
  assert.is(fault, null);
});
forward.after.each(async () => {
  await runUplink(input('stop'));
  assert.not.ok(existsSync(directory));
});
forward.after(() => {
  inside.stop();
  removeNetns('c1');
  uplinks.end();
});

forward('ports come, stay on a repeated request, and go, and a repeated removal succeeds', async () => {
  const targets = [target(8080), target(8090, 90, { protocol: 'udp' }), target(8081, 80, { hostIp: '127.0.0.1' })];
  const all = ['0.0.0.0:8080 10.0.2.100:80/tcp', '0.0.0.0:8090 10.0.2.100:90/udp', '127.0.0.1:8081 10.0.2.100:80/tcp'];
  const descriptors = openDescriptors();
  for (let again = 0; again < 2; again++) {
    await slirpForward({ directory, targets, replacing: [] });
    assert.equal(await shown(), all);
  }
  assert.ok(openDescriptors() <= descriptors);
  assert.match(await dial('tcp', '10.99.1.2', 8080), 'inside 80');
  assert.match(await dial('udp', '10.99.1.2', 8090), 'inside 90');
  assert.match(await dial('tcp', '127.0.0.1', 8081), 'inside 80');
  assert.is(await dial('tcp', '10.99.1.2', 8081), 'ECONNREFUSED');
  for (let again = 0; again < 2; again++) {
    await slirpUnforward({ directory, targets: targets.slice(1) });
    assert.equal(await shown(), all.slice(0, 1));
  }
  assert.is(await dial('tcp', '127.0.0.1', 8081), 'ECONNREFUSED');
});

forward('one port replaces another, on the same host port or elsewhere', async () => {
  await slirpForward({ directory, targets: [target(8080, 81), target(8081)], replacing: [] });
  await slirpForward({ directory, targets: [target(8080), target(8082)], replacing: [target(8080, 81), target(8081)] });
  assert.equal(await shown(), ['0.0.0.0:8080 10.0.2.100:80/tcp', '0.0.0.0:8082 10.0.2.100:80/tcp']);
  assert.match(await dial('tcp', '10.99.1.2', 8080), 'inside 80');
});

forward('a port that is in use undoes the whole change', async () => {
  await slirpForward({ directory, targets: [target(8080, 81)], replacing: [] });
  const server = createServer();
  await new Promise<void>((listening) => server.listen(8099, '0.0.0.0', listening));
  try {
    const targets = [target(8080), target(8081), target(8099), target(8100)];
    const fault = await faultOf(slirpForward({ directory, targets, replacing: [target(8080, 81)] }));
    const reason = 'bad request: add_hostfwd: slirp_add_hostfwd failed';
    assert.equal(fault, {
      code: 'UPLINK_FAILED',
      message: `error from slirp4netns while setting up port redirection: ${reason} (0.0.0.0:8099/tcp)`,
      object: '0.0.0.0:8099/tcp',
    });
    assert.equal(await shown(), ['0.0.0.0:8080 10.0.2.100:81/tcp']);
  } finally {
    server.close();
  }
});

forward('a port that it cannot carry is refused before anything is done', async () => {
  for (const one of [
    target(1, 1, { protocol: 'sctp' }),
    target(1, 1, { hostIp: '::1' }),
    target(1, 1, { address: 'fd00::100' }),
  ]) {
    const fault = await faultOf(slirpForward({ directory, targets: [target(8080), one], replacing: [] }));
    assert.match(fault.message, 'it forwards tcp and udp over IPv4');
    await slirpUnforward({ directory, targets: [one] });
  }
  assert.equal(await shown(), []);
});

forward('very many ports are listed and removed completely', async () => {
  const targets = Array.from({ length: 400 }, (_, i) => target(20_000 + i, 80));
  await slirpForward({ directory, targets, replacing: [] });
  assert.is((await shown()).length, 400);
  await slirpUnforward({ directory, targets });
  assert.equal(await shown(), []);
});

forward('ports go with the program, and nothing new can be requested from it', async () => {
  await runUplink(input('stop'));
  await slirpUnforward({ directory, targets: [target(8080)] });
  await slirpForward({ directory, targets: [], replacing: [target(8080)] }); // as when a failed publish is undone
  const fault = await faultOf(slirpForward({ directory, targets: [target(8080)], replacing: [] }));
  assert.equal(fault, {
    code: 'UPLINK_FAILED',
    message: `cannot open connection to ${directory}/program/api: ENOENT`,
    object: `${directory}/program/api`,
    errno: 'ENOENT',
  });
  mkdirSync(join(directory, 'program'), { recursive: true });
});

forward('an invalid answer is an error that shows it, and a missing one is not waited for', async () => {
  const cases: [answer: string | null, message: string][] = [
    ['hello', 'error parsing error status from slirp4netns: "hello"'],
    ['', 'error parsing error status from slirp4netns: ""'],
    ['{"entries":[{"id":1', 'error parsing error status from slirp4netns: "{\\"entries\\":[{\\"id\\":1"'],
    ['null', 'error parsing error status from slirp4netns: "null"'],
    ['{"return":{}}', 'error parsing error status from slirp4netns: "{\\"return\\":{}}"'],
    ['{"entries":[null]}', 'error parsing error status from slirp4netns: "{\\"entries\\":[null]}"'],
    ['{"entries":[{"id":1}]}', 'error parsing error status from slirp4netns: "{\\"entries\\":[{\\"id\\":1}]}"'],
    ['{"error":{"desc":"no"}}', 'error from slirp4netns while setting up port redirection: no'],
    ['{"error":3}', 'error from slirp4netns while setting up port redirection: 3'],
    [null, `cannot read from control socket ${directory}/program/api: no answer after 3000 ms`],
    ['x'.repeat(17 * 1024 * 1024), `cannot read from control socket ${directory}/program/api: too much`],
  ];
  for (const [answer, message] of cases) {
    await runUplink(input('stop'));
    const close = await answering(join(directory, 'program'), 'api', answer);
    try {
      assert.is((await faultOf(listForwards(directory))).message, message);
    } finally {
      await close();
    }
  }
});

forward.run();
