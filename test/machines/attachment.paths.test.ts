/**
 * Every simple path of the attachment's machine, pure and driven: whatever fails, it answers once, and when it does not
 * answer `attached` or `stuck`, no link is left. Repairing, replacing and revising never remove what existed before; a program of
 * others, which cannot do that, is asked to make everything anew.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createActor, fromPromise, type EventFrom } from 'xstate';
import { getSimplePaths } from 'xstate/graph';
import { attachmentMachine, type AttachmentInput } from '../../machines/container/attachment.ts';
import type { Attachment } from '../../state/container.ts';
import { FAULT, leaseOf } from '../harness/fixtures.ts';
import { answersOf, endingsOf, Scripted, titleOf } from '../harness/simple-paths.ts';

const attachment: Attachment = {
  ...leaseOf('web'),
  ordinal: 0,
  hostLink: 've0',
  link: 'eth0',
  mac: '02:00:00:00:00:01',
  alias: 'cleat:main:c1:web',
  aliases: [],
  gatewayPriority: 0,
};
const earlier: Attachment = { ...attachment, hostLink: 've1', mtu: 9000 };

const external: Attachment = {
  ...attachment,
  external: {
    terms: {
      driver: 'cni',
      file: '/x.conflist',
      list: { cniVersion: '1.0.0', name: 'x', plugins: [{ type: 'bridge' }] },
      path: ['/plugins'],
    },
    container: { id: 'c1-0', name: 'c1' },
    ips: [],
    mac: null,
    ports: [],
    result: { ips: [] },
  },
};
const RESULT = { ips: [{ address: '10.1.0.2/24' }] };

/** The verb that it gets; `revert` is a repair of an attachment that had been changed. */
const KINDS: Record<string, Pick<AttachmentInput, 'verb' | 'predecessor'>> = {
  attach: { verb: 'attach', predecessor: null },
  detach: { verb: 'detach', predecessor: null },
  repair: { verb: 'repair', predecessor: null },
  revert: { verb: 'repair', predecessor: earlier },
  replace: { verb: 'replace', predecessor: earlier },
  revise: { verb: 'revise', predecessor: earlier },
};
const EXTERNAL_KINDS: Record<string, AttachmentInput['verb']> = {
  'attach external': 'attach',
  'detach external': 'detach',
  'repair external': 'repair',
  'replace external': 'replace',
};

const inputOf = (kind: string): AttachmentInput => ({
  ...(KINDS[kind] ?? { verb: EXTERNAL_KINDS[kind]!, predecessor: null }),
  attachment: kind in KINDS ? attachment : external,
  netns: '/run/netns/x',
  owned: true,
  outside: null,
  owner: 'c1:7',
});

const EFFECTS = {
  all: ['ensureLink', 'ensureAddresses', 'replaceLink', 'reviseLink', 'removeLink'],
  undoes: 'removeLink',
};
const EXTERNAL = {
  all: ['addExternal', 'recordAnswer', 'checkExternal', 'removeExternal'],
  undoes: 'removeExternal',
};
const events = [EFFECTS, { ...EXTERNAL, outputs: { addExternal: [RESULT] } }].flatMap((effects) =>
  endingsOf(effects),
) as unknown as EventFrom<typeof attachmentMachine>[];

const pathsOf = (kind: string) =>
  getSimplePaths(attachmentMachine, {
    input: inputOf(kind),
    events,
    serializeState: ({ value, context }) =>
      JSON.stringify([value, context.outcome, context.fault?.message, context.result]),
    filterEvents: (snapshot, event) => snapshot.can(event),
    limit: 1000,
  });

const paths = suite('attachment paths');

paths('there are as many paths as ways to fail', () => {
  const ends = (kind: string) => answersOf(pathsOf(kind));
  assert.is(ends('attach').length, 5);
  assert.equal(ends('detach'), ['!removeLink: stuck', 'removeLink: detached']);
  const whole = 'ensureLink ensureAddresses';
  const cut = ['!ensureLink: stuck', 'ensureLink !ensureAddresses: stuck'];
  assert.equal(ends('repair'), [...cut, `${whole}: attached`]);
  assert.equal(ends('revert'), [...cut, `${whole} !reviseLink: stuck`, `${whole} reviseLink: attached`]);
  assert.equal(ends('replace'), ['!replaceLink: stuck', 'replaceLink: attached']);
  assert.equal(ends('revise'), ['!reviseLink: stuck', 'reviseLink: attached']);
  const added = 'addExternal recordAnswer: attached';
  const undone = (outcome: string) =>
    ['!addExternal', 'addExternal !recordAnswer'].flatMap((way) => [
      `${way} !removeExternal: stuck`,
      `${way} removeExternal: ${outcome}`,
    ]);
  assert.equal(ends('attach external'), [...undone('detached'), added].sort());
  assert.equal(ends('detach external'), ['!removeExternal: stuck', 'removeExternal: detached']);
  const again = undone('stuck').concat(added);
  const anew = ['!removeExternal: stuck', ...again.map((way) => `removeExternal ${way}`)];
  assert.equal(ends('replace external'), anew.sort());
  assert.equal(
    ends('repair external'),
    [...anew.map((way) => `!checkExternal ${way}`), 'checkExternal: attached'].sort(),
  );
});

for (const kind of Object.keys({ ...KINDS, ...EXTERNAL_KINDS })) {
  for (const { state, steps } of pathsOf(kind)) {
    paths(`${kind}: ${titleOf(steps)}`, async () => {
      let links = kind.startsWith('attach') ? 0 : 1;
      const effects = kind in KINDS ? EFFECTS : EXTERNAL;
      const scripted = new Scripted(effects, (id, ok) => {
        // A link may be there although making it failed; one that could not be removed is.
        if (id === 'ensureLink' || id === 'addExternal') links = 1;
        if ((id === 'removeLink' || id === 'removeExternal') && ok) links = 0;
      });
      const effect = (id: string) =>
        fromPromise<never, AttachmentInput>(({ input }) => {
          assert.equal([input.attachment.hostLink, input.predecessor], ['ve0', inputOf(kind).predecessor]);
          return scripted.run<never>(id);
        });
      const machine = attachmentMachine.provide({
        actors: Object.fromEntries(effects.all.map((id) => [id, effect(id)])),
      });
      const actor = createActor(machine, { input: inputOf(kind) });
      const answered = await scripted.drive(actor, steps);
      assert.is(answered, state.status === 'done');
      if (!answered) return;
      const { output } = actor.getSnapshot();
      assert.equal(output, state.output);
      // A program that could not make it anew has removed it all the same.
      const removed = steps.at(-1)?.event.type === 'xstate.done.actor.removeExternal';
      assert.is(links, { attached: 1, detached: 0, stuck: removed ? 0 : 1 }[output?.outcome ?? 'stuck']);
      const failed = steps.some(({ event }) => event.type.startsWith('xstate.error') && !event.type.includes('check'));
      assert.is(output?.fault !== null, failed);
      const added = output?.outcome === 'attached' && steps.some(({ event }) => event.type.endsWith('.addExternal'));
      assert.equal(output?.result, added ? RESULT : null);
    });
  }
}

paths('the first failure is reported, not a failure to undo it', () => {
  const both = pathsOf('attach').filter(
    ({ state, steps }) =>
      state.value === 'stuck' && steps.filter(({ event }) => event.type.includes('error')).length === 2,
  );
  assert.is(both.length, 2);
  for (const { state } of both) assert.is(state.output?.fault?.message, FAULT.message);
});

paths.run();
