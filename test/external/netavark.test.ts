// slow: 40 s, netavark takes a tenth of a second for each step
/**
 * Networks made by the real netavark, driven by cleat: containers reach each other and their ports are reached, and nothing of a
 * container is left, also where netavark alone refuses to remove it: without its namespace, or half made.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Inspection } from '../../state/answers/container/inspection.ts';
import { addressOf, on, pathOf, port, TestDaemon } from '../harness/daemon.ts';
import { rules } from '../harness/conflist.ts';
import { withAgents } from '../harness/inside.ts';
import { commandLines, until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const NETAVARK = '/usr/lib/podman/netavark';
const daemon = new TestDaemon();
const { directory } = daemon;
const program = `${directory}/netavark`;
daemon.externals = { netavark: program };
const netavark = suite('networks of netavark');

const links = (): string[] =>
  (JSON.parse(execFileSync('ip', ['-json', 'link'], { encoding: 'utf8' })) as { ifname: string }[])
    .map(({ ifname }) => ifname)
    .filter((name) => name !== 'lo');
/** Rules about a container or a network, without the chains that netavark keeps for all. */
const left = (): string[] => rules().filter((line) => /10\.85\.|dport/.test(line));

/** Writes down what it is told, and asks the real one. `more`: what it does before. */
const stand = (more = ''): void => {
  writeFileSync(
    program,
    `#!/bin/sh
input=$(cat)
printf '%s\\t%s\\n' "$*" "$input" >> ${directory}/said
${more}
printf %s "$input" | ${NETAVARK} "$@"
`,
  );
  chmodSync(program, 0o755);
};
const told = (): { words: string; request: string }[] => {
  const path = `${directory}/said`;
  const lines = existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n') : [];
  rmSync(path, { force: true });
  return lines.map((line) => ({ words: line.split('\t')[0] ?? '', request: line.split('\t')[1] ?? '' }));
};

netavark.before(async () => {
  stand();
  await daemon.start();
  await daemon.network({ name: 'old', driver: 'netavark', subnets: [{ subnet: '10.85.0.0/24' }] });
  await daemon.network({ name: 'web' });
});
netavark.after(async () => void (await daemon.stop()));

/** A test whose containers have all gone at its end, with everything that was made for them. */
const check = (what: string, body: () => Promise<void>): void => {
  netavark(what, async () => {
    told();
    await body();
    await daemon.clean();
    assert.equal(left(), []);
    await until('the links have gone', () => links().length === 0);
  });
};

check('two containers reach each other, and a published port is reached', async () => {
  const a = await daemon.up('a', { networks: on('old'), port_mappings: [port(8080, 80)] });
  const b = await daemon.up('b', { networks: { old: { static_ips: ['10.85.0.77'] } } });
  assert.is(addressOf(b, 'old'), '10.85.0.77');
  await withAgents([pathOf(a), pathOf(b)], async (inA, inB) => {
    await inA.serve('a', 'tcp', 80);
    assert.match(await inB.dial('tcp', addressOf(a, 'old'), 80), /^a /);
    assert.match(await inB.dial('tcp', '10.85.0.1', 8080), /^a /);
  });
  const { body } = await daemon.get<Inspection>('/v1/containers/a');
  assert.equal(body.drift, []);
  assert.is(body.NetworkSettings.Networks['old']!.IPAddress, addressOf(a, 'old'));
  // Addresses are leased by cleat: nobody else gets one.
  await daemon.done({ type: 'create', id: 'c', networks: { old: { static_ips: ['10.85.0.77'] } } });
  const { body: refused } = await daemon.event({ type: 'configure', id: 'c' });
  assert.is(refused.error?.code, 'ADDRESS_TAKEN');
  await daemon.down('a', 'b', 'c');
});

check('teardown gets the request of setup, word for word, from another daemon', async () => {
  const a = await daemon.up('a', {
    networks: { web: {}, old: { aliases: ['db'], static_mac: '02:00:00:00:00:31' } },
    port_mappings: [port(8080, 80)],
  });
  await daemon.kill();
  await daemon.start();
  await daemon.done({ type: 'reload', id: 'a' });
  await daemon.down('a');
  const [setup, teardown, ...more] = told();
  assert.is(more.length, 0);
  assert.match(setup!.words, /^--config \S+ setup \S+$/);
  assert.is(teardown!.words, setup!.words.replace(' setup ', ' teardown '));
  assert.is(teardown!.request, setup!.request);
  const request = JSON.parse(setup!.request) as { networks: object; port_mappings: object[]; container_name: string };
  assert.is(request.container_name, 'a');
  // The ports are those of the network of cleat.
  assert.equal(request.port_mappings, []);
  assert.equal(Object.values(request.networks), [
    {
      static_ips: [addressOf(a, 'old')],
      static_mac: '02:00:00:00:00:31',
      interface_name: 'eth1',
      aliases: ['db', 'a'],
    },
  ]);
});

check('beside a network of cleat, each has a default route of the metric that cleat has planned', async () => {
  const defaults = (netns: string): (number | undefined)[] => {
    const text = execFileSync('nsenter', [`--net=${netns}`, 'ip', '-json', 'route', 'show', 'default'], {
      encoding: 'utf8',
    });
    return (JSON.parse(text) as { metric?: number }[]).map(({ metric }) => metric);
  };
  const a = await daemon.up('a', { networks: { old: {}, web: {} } });
  assert.equal(defaults(pathOf(a)), [100, 101]);
  const again = await daemon.done({ type: 'reload', id: 'a', full: true });
  assert.is(again.state, 'up');
  assert.equal(defaults(pathOf(a)), [100, 101]);
  // The higher priority has the lower metric, whoever makes the route.
  const b = await daemon.up('b', { networks: { web: {}, old: { gateway_priority: 1 } } });
  assert.equal(defaults(pathOf(b)), [90, 100]);
  await daemon.down('a', 'b');
});

check('what others take away is made again', async () => {
  const a = await daemon.up('a', { networks: on('old'), port_mappings: [port(8080, 80)] });
  execFileSync('nsenter', [`--net=${pathOf(a)}`, 'ip', 'link', 'del', 'eth0']);
  await until('the link is back', async () => {
    const { body } = await daemon.get<Inspection>('/v1/containers/a');
    return body.state === 'up' && body.drift.length === 0;
  });
  const again = await daemon.done({ type: 'reload', id: 'a', full: true });
  assert.is(addressOf(again, 'old'), addressOf(a, 'old'));
  await daemon.down('a');
});

check('a namespace that is gone keeps nothing of the rest', async () => {
  const a = await daemon.up('a', { networks: on('old'), port_mappings: [port(8080, 80)] });
  await daemon.kill();
  execFileSync('umount', ['-l', pathOf(a)]);
  rmSync(pathOf(a));
  await daemon.start();
  await daemon.down('a');
});

check('its own words are in the fault, and everything is undone', async () => {
  stand(`case "$*" in *setup*) printf '{"error": "no such colour"}'; echo more >&2; exit 1 ;; esac`);
  await daemon.done({ type: 'create', id: 'a', networks: on('old') });
  const { body } = await daemon.event({ type: 'configure', id: 'a' });
  assert.is(body.error?.code, 'EXTERNAL_FAILED', JSON.stringify(body));
  assert.match(body.error?.message ?? '', /no such colour; it said: more/);
  stand();
  await daemon.down('a');
});

check('kill -9 while netavark sets up, before and after it has: the next daemon makes it whole', async () => {
  for (const [when, script] of Object.entries({
    before: `if [ ! -e ${directory}/before ]; then touch ${directory}/before; sleep 1000; fi`,
    after: `if [ ! -e ${directory}/after ]; then printf %s "$input" | ${NETAVARK} "$@"; touch ${directory}/after; sleep 1000; fi`,
  })) {
    stand(script);
    await daemon.done({ type: 'create', id: 'a', networks: on('old'), port_mappings: [port(8080, 80)] });
    const answer = daemon.event({ type: 'configure', id: 'a' }).catch(() => null);
    await until('netavark works', () => existsSync(`${directory}/${when}`));
    await daemon.kill();
    await answer;
    await daemon.start();
    const { status, text } = await daemon.get('/v1/containers/a?wait=up&timeout=15000');
    assert.is(status, 200, text);
    const busy = [...commandLines().values()].filter((words) => words.includes(program));
    assert.equal(busy, []);
    assert.ok(
      left().some((line) => line.includes('--dport 8080')),
      `${when}: its port is published`,
    );
    await daemon.clean();
    await daemon.down('a');
  }
});

netavark.run();
