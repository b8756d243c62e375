/**
 * Every simple path of the attachment's machine, pure and driven: whatever fails, it answers once, and when it does not
 * answer `attached` or `stuck`, no link is left. Repairing, replacing and revising never remove what existed before.
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

/** The verb that it gets; `revert` is a repair of an attachment that had been changed. */
const KINDS: Record<string, Pick<AttachmentInput, 'verb' | 'predecessor'>> = {
  attach: { verb: 'attach', predecessor: null },
  detach: { verb: 'detach', predecessor: null },
  repair: { verb: 'repair', predecessor: null },
  revert: { verb: 'repair', predecessor: earlier },
  replace: { verb: 'replace', predecessor: earlier },
  revise: { verb: 'revise', predecessor: earlier },
};

const inputOf = (kind: string): AttachmentInput => ({
  ...KINDS[kind]!,
  attachment,
  netns: '/run/netns/x',
  owned: true,
  outside: null,
  owner: 'c1:7',
});

const EFFECTS = {
  all: ['ensureLink', 'ensureAddresses', 'replaceLink', 'reviseLink', 'removeLink'],
  undoes: 'removeLink',
};
const events = endingsOf(EFFECTS) as unknown as EventFrom<typeof attachmentMachine>[];

const pathsOf = (kind: string) =>
  getSimplePaths(attachmentMachine, {
    input: inputOf(kind),
    events,
    serializeState: ({ value, context }) => JSON.stringify([value, context.outcome, context.fault?.message]),
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
});

for (const kind of Object.keys(KINDS)) {
  for (const { state, steps } of pathsOf(kind)) {
    paths(`${kind}: ${titleOf(steps)}`, async () => {
      let links = kind === 'attach' ? 0 : 1;
      const scripted = new Scripted(EFFECTS, (id, ok) => {
        // A link may be there although making it failed; one that could not be removed is.
        if (id === 'ensureLink') links = 1;
        if (id === 'removeLink' && ok) links = 0;
      });
      const effect = (id: string) =>
        fromPromise<void, AttachmentInput>(({ input }) => {
          assert.equal([input.attachment.hostLink, input.predecessor], ['ve0', inputOf(kind).predecessor]);
          return scripted.run<void>(id);
        });
      const machine = attachmentMachine.provide({
        actors: Object.fromEntries(EFFECTS.all.map((id) => [id, effect(id)])),
      });
      const actor = createActor(machine, { input: inputOf(kind) });
      const answered = await scripted.drive(actor, steps);
      assert.is(answered, state.status === 'done');
      if (!answered) return;
      const { output } = actor.getSnapshot();
      assert.equal(output, state.output);
      assert.is(links, { attached: 1, detached: 0, stuck: 1 }[output?.outcome ?? 'stuck']);
      const failed = steps.some(({ event }) => event.type.startsWith('xstate.error'));
      assert.is(output?.fault !== null, failed);
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
