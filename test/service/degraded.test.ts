// slow: 25 s, a machine gives up only after pauses that grow
// as user: proving
/**
 * A container that lacks something says why for as long as it lasts, accepts the events that help, and is whole again
 * once nothing stands in the way.
 */
import { execFileSync } from 'node:child_process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ContainerView } from '../../state/answers/container/container.ts';
import { addressOf, on, pathOf, port, TestDaemon } from '../harness/daemon.ts';
import { addNetns, removeNetns, withAgents } from '../harness/inside.ts';
import { until } from '../harness/native.ts';
import { inside, ipJson } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { rounds } from '../harness/rounds.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const degraded = suite('degraded');
const twice = rounds(degraded, daemon);

degraded.before(async () => {
  addNetns('elsewhere');
  await daemon.start();
  for (const [name, n] of Object.entries({ web: 81, back: 82, more: 83 })) {
    await daemon.network({ name, subnets: [{ subnet: `10.${n}.0.0/24` }, { subnet: `fd00:${n}::/64` }] });
  }
});
degraded.after(async () => {
  await daemon.stop();
});

const shown = async (id: string) => (await daemon.get(`/v1/containers/${id}`)).body as ContainerView;

/** A foreign link has the name of the container's own, which therefore cannot be restored. */
async function takeName(id: string, path: string): Promise<void> {
  process.kill(daemon.pid, 'SIGSTOP'); // an earlier repair would be quicker
  inside(path, 'ip', 'link', 'del', 'eth0');
  inside(path, 'ip', 'link', 'add', 'eth0', 'type', 'ifb');
  process.kill(daemon.pid, 'SIGCONT');
  await until('it is degraded', async () => (await shown(id)).state === 'degraded');
}
const giveName = (path: string) => inside(path, 'ip', 'link', 'del', 'eth0');

/** The container is up and lacks nothing, and the host reaches it on these networks, over both families. */
async function isWhole(id: string, ...networks: string[]): Promise<void> {
  await until('it is whole', async () => {
    const { state, drift } = await shown(id);
    return state === 'up' && drift.length === 0;
  });
  const view = await shown(id);
  await withAgents([pathOf(view), null], async (agent, host) => {
    await agent.serve(id, 'tcp', 80);
    for (const network of networks) {
      for (const family of [4, 6] as const) {
        assert.match(await host.dial('tcp', addressOf(view, network, family), 80, 2000), new RegExp(`^${id} `));
      }
    }
  });
  await daemon.clean();
}

/** Checks that the container is degraded, with the reason, except in moments in which it tries again. */
async function says(id: string, code: string, after: string): Promise<void> {
  let said = '';
  const expected = `degraded ${code}`;
  const look = async () => {
    const { state, fault } = await shown(id);
    said = state.startsWith('repairing') ? said : `${state} ${fault?.code}`;
    return said !== '';
  };
  await until(`it rests ${after}`, look);
  assert.is(said, expected, after);
}

for (const full of [false, true]) {
  twice(
    `a degraded container takes every event, says why all the while, and reload ${full ? '--full ' : ''}repairs it`,
    async () => {
      const up = await daemon.up('a', { networks: on('web', 'back') });
      const path = pathOf(up);
      await takeName('a', path);
      await says('a', 'INTERFACE_TAKEN', 'at first');
      await daemon.done({ type: 'connect', id: 'a', network: 'more' });
      await says('a', 'INTERFACE_TAKEN', 'after connect');
      await daemon.done({ type: 'publish', id: 'a', port_mappings: [port(8080, 80), port(8081, 80)] });
      await says('a', 'INTERFACE_TAKEN', 'after publish');
      await daemon.done({ type: 'unpublish', id: 'a', port_mappings: [port(8081, 80)] });
      await says('a', 'INTERFACE_TAKEN', 'after unpublish');
      await daemon.done({ type: 'disconnect', id: 'a', network: 'more' });
      await says('a', 'INTERFACE_TAKEN', 'after disconnect');
      const options = { static_ips: ['10.9.9.9'] };
      const refused = await daemon.event({ type: 'connect', id: 'a', network: 'more', options });
      assert.is(refused.body.error?.code, 'ADDRESS_OUTSIDE_SUBNET');
      await says('a', 'INTERFACE_TAKEN', 'after what was refused');
      await daemon.kill();
      await daemon.start();
      await says('a', 'INTERFACE_TAKEN', 'after a kill');
      giveName(path);
      const { state, fault, ports } = await daemon.done({ type: 'reload', id: 'a', full });
      assert.equal([state, fault, ports.length], ['up', null, 1]);
      await isWhole('a', 'web', 'back');
      await daemon.down('a');
    },
  );
}

const FLUSHES = {
  'all routes of its link flushed': [
    ['-4', 'route', 'flush', 'dev', 'eth0'],
    ['-6', 'route', 'flush', 'dev', 'eth0'],
  ],
  'the routes to its subnets deleted': [
    ['-4', 'route', 'del', '10.81.0.0/24', 'dev', 'eth0'],
    ['-6', 'route', 'del', 'fd00:81::/64', 'dev', 'eth0'],
  ],
};
for (const [what, commands] of Object.entries(FLUSHES)) {
  twice(`${what}: the objects come back`, async () => {
    const up = await daemon.up('a', { networks: on('web') });
    const routes = () =>
      ['-4', '-6'].map((family) => inside(pathOf(up), 'ip', family, 'route').match(/^(default|10|fd)/gm)?.length);
    const before = routes();
    for (const command of commands) inside(pathOf(up), 'ip', ...command);
    await until('they are there', () => routes().join() === before.join());
    await isWhole('a', 'web');
    await daemon.down('a');
  });
}

const hostLinkOf = (id: string): string => {
  const links = ipJson<{ ifname: string; ifalias?: string }[]>(undefined, 'link');
  return links.find(({ ifalias = '' }) => ifalias.includes(`:${id}:`))?.ifname ?? '';
};
const BENT = {
  renamed: (link: string) => `link set ${link} down\nlink set ${link} name bent0\nlink set bent0 up`,
  'moved away': (link: string) => `link set ${link} netns elsewhere`,
};
function bend(commands: string): void {
  process.kill(daemon.pid, 'SIGSTOP'); // an earlier repair would be quicker
  execFileSync('ip', ['-batch', '-'], { input: commands });
  process.kill(daemon.pid, 'SIGCONT');
}

for (const [how, commands] of Object.entries(BENT)) {
  twice(
    `a host link that is ${how} by others is replaced by a new pair, and nothing of the old one stays`,
    async () => {
      const up = await daemon.up('a', { networks: on('web') });
      const link = hostLinkOf('a');
      bend(commands(link));
      await until('it is there again', () => hostLinkOf('a') === link);
      await isWhole('a', 'web');
      assert.is(inside(pathOf(up), 'ip', '-o', 'link').trim().split('\n').length, 2);
      await daemon.down('a');
    },
  );

  twice(`a host link that is ${how} and not restored goes with a disconnect, and with a teardown`, async () => {
    daemon.drift = ['link=ignore', 'address=ignore', 'route=ignore', 'neighbour=ignore'];
    await daemon.kill();
    await daemon.start();
    const path = addNetns('theirs');
    await daemon.up('a', { netns: { mode: 'path', path }, networks: on('web') });
    bend(commands(hostLinkOf('a')));
    await daemon.done({ type: 'disconnect', id: 'a', network: 'web' });
    assert.is(inside(path, 'ip', '-o', 'link').trim().split('\n').length, 1, 'lo alone');
    await daemon.done({ type: 'connect', id: 'a', network: 'web' });
    bend(commands(hostLinkOf('a')));
    await daemon.down('a');
    assert.is(inside(path, 'ip', '-o', 'link').trim().split('\n').length, 1, 'lo alone');
    removeNetns('theirs');
    daemon.drift = [];
    await daemon.kill();
    await daemon.start();
  });
}

degraded.run();
