/**
 * Every simple path of the uplink's machine, pure and driven: whatever fails, it answers once; a start that fails has taken
 * everything away, or says that it could not, and a repair that fails has taken nothing.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createActor, fromPromise, type EventFrom } from 'xstate';
import { getSimplePaths } from 'xstate/graph';
import type { UplinkInput, UplinkStart, UplinkVerify } from '../../machines/plan/uplink.ts';
import { uplinkMachine } from '../../machines/uplink.ts';
import type { UplinkFeatures, UplinkLink } from '../../state/uplink.ts';
import { FAULT } from '../harness/fixtures.ts';
import { settled } from '../harness/world.ts';

const FEATURES: UplinkFeatures = {
  flags: ['--api-socket', '--cidr', '--disable-host-loopback', '--mtu', '--netns-type'],
};
/** It does not even know namespaces by path. */
const OLD: UplinkFeatures = { flags: ['--api-socket'] };
const LINK: UplinkLink = { name: 'tap0', mac: '', mtu: 1500, addresses: [] };
const SECOND = { ...FAULT, message: 'and again' };

const inputOf = (verb: UplinkInput['verb']): UplinkInput => ({
  verb,
  owner: 'c1:7',
  directory: '/run/cleat/uplinks/x',
  outside: null,
  netns: '/run/netns/x',
  boundTo: { pid: 12, startTime: 34 },
  settings: {
    program: 'slirp4netns',
    file: '/usr/bin/slirp4netns',
    cidr: '10.0.2.0/24',
    mtu: 1500,
    ipv6: false,
    hostLoopback: false,
    outboundAddr: null,
    outboundAddr6: null,
  },
  apiSocket: true,
  ports: [],
});

const EFFECTS = ['probeUplink', 'startUplink', 'verifyUplink', 'stopUplink'] as const;
const OUTPUTS: Record<string, unknown[]> = { probeUplink: [FEATURES, OLD], verifyUplink: [LINK] };
const events = EFFECTS.flatMap((id) => [
  ...(OUTPUTS[id] ?? [undefined]).map((output) => ({ type: `xstate.done.actor.${id}`, actorId: id, output })),
  { type: `xstate.error.actor.${id}`, actorId: id, error: { fault: id === 'stopUplink' ? SECOND : FAULT } },
]) as unknown as EventFrom<typeof uplinkMachine>[];

const pathsOf = (verb: UplinkInput['verb']) =>
  getSimplePaths(uplinkMachine, {
    input: inputOf(verb),
    events,
    serializeState: ({ value, context }) =>
      JSON.stringify([value, context.outcome, context.fault?.message, context.launch === null]),
    filterEvents: (snapshot, event) => snapshot.can(event),
    limit: 1000,
  });

const paths = suite('uplink paths');

paths('are as many as there are ways to fail', () => {
  const ends = (verb: UplinkInput['verb']) =>
    pathsOf(verb)
      .filter(({ state }) => state.status === 'done')
      .map(({ state, steps }) => {
        const effects = steps.slice(1).map(({ event }) => {
          const [, how, , id] = event.type.split('.');
          const old = 'output' in event && event.output === OLD;
          return `${how === 'done' ? '' : '!'}${(id ?? '').replace('Uplink', '')}${old ? '(old)' : ''}`;
        });
        return `${effects.join(' ')}: ${state.output?.outcome}`;
      })
      .sort();
  assert.equal(ends('stop'), ['!stop: stuck', 'stop: stopped']);
  assert.equal(ends('repair'), [
    '!probe: stuck',
    'probe !start: stuck',
    'probe start !verify: stuck',
    'probe start verify: ready',
    'probe(old): stuck',
  ]);
  const undone = ['!probe', 'probe !start', 'probe start !verify', 'probe(old)'];
  const both = undone.flatMap((way) => [`${way} !stop: stuck`, `${way} stop: stopped`]);
  assert.equal(ends('start'), [...both, 'probe start verify: ready'].sort());
});

for (const verb of ['start', 'repair', 'stop'] as const) {
  for (const { state, steps } of pathsOf(verb)) {
    const title = steps.map(({ event, state: to }) => `${event.type} ${String(to.value)}`).join(' > ');

    paths(`${verb}: ${title}`, async () => {
      let there = verb !== 'start';
      const waiting: { id: string; end: (ok: boolean, output: unknown) => void }[] = [];
      const asked = <Output>(id: (typeof EFFECTS)[number]): Promise<Output> =>
        new Promise((resolve, reject) => {
          const end = (ok: boolean, output: unknown) => {
            if (id === 'startUplink') there = true; // in part, although it failed
            if (id === 'stopUplink' && ok) there = false;
            if (ok) resolve(output as Output);
            else reject(Object.assign(new Error(id), { fault: id === 'stopUplink' ? SECOND : FAULT }));
          };
          waiting.push({ id, end });
        });
      const { settings, directory, netns } = inputOf(verb);
      const machine = uplinkMachine.provide({
        actors: {
          probeUplink: fromPromise(({ input }) => {
            assert.equal(input, { program: settings.program, file: settings.file });
            return asked<UplinkFeatures>('probeUplink');
          }),
          startUplink: fromPromise<void, UplinkStart>(({ input }) => {
            assert.equal([input.directory, input.netns, input.boundTo], [directory, netns, { pid: 12, startTime: 34 }]);
            assert.equal(input.args.slice(-2), [`${netns}`, 'tap0']);
            assert.equal(input.missing, ['--enable-sandbox', '--enable-seccomp']);
            return asked<void>('startUplink');
          }),
          verifyUplink: fromPromise<UplinkLink, UplinkVerify>(({ input }) => {
            assert.equal([input.link, input.address], ['tap0', { address: '10.0.2.100', prefix: 24 }]);
            return asked<UplinkLink>('verifyUplink');
          }),
          stopUplink: fromPromise(({ input }) => {
            assert.equal(input, { directory });
            return asked<void>('stopUplink');
          }),
        },
      });
      const actor = createActor(machine, { input: inputOf(verb) });
      actor.start();
      for (const { event, state: expected } of steps.slice(1)) {
        const [, how, , id] = event.type.split('.');
        const effect = waiting.shift();
        assert.is(effect?.id, id);
        effect?.end(how === 'done', 'output' in event ? event.output : undefined);
        await settled();
        assert.is(actor.getSnapshot().value, expected.value);
      }
      if (state.status !== 'done') {
        actor.stop();
        return;
      }
      const { output } = actor.getSnapshot();
      assert.equal(output, state.output);
      assert.is(waiting.length, 0);
      if (output?.outcome === 'ready') assert.equal([there, output.link, output.fault], [true, LINK, null]);
      if (output?.outcome === 'stopped') assert.is(there, false);
      if (verb === 'repair') assert.ok(there);
      const failed = steps.some(
        ({ event }) => event.type.startsWith('xstate.error') || ('output' in event && event.output === OLD),
      );
      assert.is(output?.fault !== null, failed);
    });
  }
}

paths('what failed first is what is told: the reason, not that undoing it failed too', () => {
  const stuck = pathsOf('start').filter(({ state }) => state.value === 'stuck');
  const told = new Set(stuck.map(({ state }) => state.output?.fault?.message));
  assert.is(stuck.length, 4);
  assert.equal(told, new Set([FAULT.message, '--netns-type not supported']));
});

paths.run();
