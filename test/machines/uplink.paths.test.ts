/**
 * Every simple path of the uplink's machine, pure and driven: whatever fails, it answers once; a start that fails has
 * removed everything, or reports that it could not, and a repair that fails has removed nothing.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createActor, fromPromise, type EventFrom } from 'xstate';
import { getSimplePaths } from 'xstate/graph';
import type { UplinkInput, UplinkStart, UplinkVerify } from '../../plan/uplinks/uplink.ts';
import { uplinkMachine } from '../../machines/uplink.ts';
import type { UplinkFeatures, UplinkLink } from '../../state/uplink.ts';
import { FAULT, SLIRP } from '../harness/fixtures.ts';
import { answersOf, endingsOf, Scripted, titleOf } from '../harness/simple-paths.ts';

const FEATURES: UplinkFeatures = {
  flags: ['--api-socket', '--cidr', '--disable-host-loopback', '--mtu', '--netns-type'],
};
/** It does not even know namespaces by path. */
const OLD: UplinkFeatures = { flags: ['--api-socket'] };
const LINK: UplinkLink = { name: 'tap0', mac: '', mtu: 1500, addresses: [] };

const inputOf = (verb: UplinkInput['verb']): UplinkInput => ({
  verb,
  owner: 'c1:7',
  directory: '/run/cleat/uplinks/x',
  outside: null,
  netns: '/run/netns/x',
  boundTo: { pid: 12, startTime: 34 },
  settings: SLIRP,
  apiSocket: true,
  ports: [],
});

const EFFECTS = {
  all: ['probeUplink', 'startUplink', 'verifyUplink', 'stopUplink'],
  undoes: 'stopUplink',
  outputs: { probeUplink: [FEATURES, OLD], verifyUplink: [LINK] },
};
const events = endingsOf(EFFECTS) as unknown as EventFrom<typeof uplinkMachine>[];

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

paths('there are as many paths as ways to fail', () => {
  const ends = (verb: UplinkInput['verb']) =>
    answersOf(pathsOf(verb), (id, output) => `${id.replace('Uplink', '')}${output === OLD ? '(old)' : ''}`);
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
    paths(`${verb}: ${titleOf(steps)}`, async () => {
      let there = verb !== 'start';
      const scripted = new Scripted(EFFECTS, (id, ok) => {
        if (id === 'startUplink') there = true; // in part, although it failed
        if (id === 'stopUplink' && ok) there = false;
      });
      const { settings, directory, netns } = inputOf(verb);
      const machine = uplinkMachine.provide({
        actors: {
          probeUplink: fromPromise(({ input }) => {
            assert.equal(input, { program: settings.program, file: settings.file });
            return scripted.run<UplinkFeatures>('probeUplink');
          }),
          startUplink: fromPromise<void, UplinkStart>(({ input }) => {
            assert.equal([input.directory, input.netns, input.boundTo], [directory, netns, { pid: 12, startTime: 34 }]);
            // Its link is made in a namespace of its own (Launch.netnsFd), not in the container's.
            assert.equal([input.netnsFd, ...input.args.slice(-2)], [5, '/proc/self/fd/5', 'tap0']);
            assert.equal(input.missing, ['--enable-sandbox', '--enable-seccomp']);
            return scripted.run<void>('startUplink');
          }),
          verifyUplink: fromPromise<UplinkLink, UplinkVerify>(({ input }) => {
            assert.equal([input.link, input.address], ['tap0', { address: '10.0.2.100', prefix: 24 }]);
            return scripted.run<UplinkLink>('verifyUplink');
          }),
          stopUplink: fromPromise(({ input }) => {
            assert.equal(input, { directory });
            return scripted.run<void>('stopUplink');
          }),
        },
      });
      const actor = createActor(machine, { input: inputOf(verb) });
      const answered = await scripted.drive(actor, steps);
      assert.is(answered, state.status === 'done');
      if (!answered) return;
      const { output } = actor.getSnapshot();
      assert.equal(output, state.output);
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

paths('the first failure is reported, not a failure to undo it', () => {
  const stuck = pathsOf('start').filter(({ state }) => state.value === 'stuck');
  const told = new Set(stuck.map(({ state }) => state.output?.fault?.message));
  assert.is(stuck.length, 4);
  assert.equal(told, new Set([FAULT.message, '--netns-type not supported']));
});

paths.run();
