/**
 * Every simple path of the attachment's machine, pure and driven: whatever fails, it answers once, and when it does not say
 * `attached` or `stuck`, no link is left.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createActor, fromPromise, type EventFrom } from 'xstate';
import { getSimplePaths } from 'xstate/graph';
import { attachmentMachine, type AttachmentInput } from '../../machines/attachment.ts';
import type { Attachment } from '../../state/container.ts';
import { FAULT, leaseOf } from '../harness/fixtures.ts';
import { settled } from '../harness/world.ts';

const attachment: Attachment = {
  ...leaseOf('web'),
  ordinal: 0,
  hostLink: 've0',
  link: 'eth0',
  mac: '02:00:00:00:00:01',
  alias: 'cleat:main:c1:web',
  aliases: [],
};
const inputOf = (verb: AttachmentInput['verb']): AttachmentInput => ({
  verb,
  attachment,
  netns: '/run/netns/x',
  owned: true,
  outside: null,
  owner: 'c1:7',
});

const EFFECTS = ['ensureLink', 'ensureAddresses', 'removeLink'] as const;
const SECOND = { ...FAULT, message: 'and again' };
const events = EFFECTS.flatMap((id) => [
  { type: `xstate.done.actor.${id}`, actorId: id },
  { type: `xstate.error.actor.${id}`, actorId: id, error: { fault: id === 'removeLink' ? SECOND : FAULT } },
]) as unknown as EventFrom<typeof attachmentMachine>[];

const pathsOf = (verb: AttachmentInput['verb']) =>
  getSimplePaths(attachmentMachine, {
    input: inputOf(verb),
    events,
    serializeState: ({ value, context }) => JSON.stringify([value, context.outcome, context.fault?.message]),
    filterEvents: (snapshot, event) => snapshot.can(event),
    limit: 1000,
  });

const paths = suite('attachment paths');

paths('are as many as there are ways to fail', () => {
  const attach = pathsOf('attach');
  const detach = pathsOf('detach');
  console.log(`attach: ${attach.length} paths, detach: ${detach.length} paths`);
  const ends = (all: typeof attach) =>
    all
      .filter(({ state }) => state.status === 'done')
      .map(({ steps }) =>
        steps
          .map(({ event }) => event.type.split('.').slice(1, 4).join(' '))
          .slice(1)
          .join(', '),
      );
  assert.equal(ends(detach), ['done actor removeLink', 'error actor removeLink']);
  assert.is(ends(attach).length, 5);
});

for (const verb of ['attach', 'detach'] as const) {
  for (const { state, steps } of pathsOf(verb)) {
    const title = steps.map(({ event, state: to }) => `${event.type} ${String(to.value)}`).join(' > ');

    paths(`${verb}: ${title}`, async () => {
      let links = verb === 'attach' ? 0 : 1;
      const waiting: { id: string; end: (ok: boolean) => void }[] = [];
      const scripted = (id: (typeof EFFECTS)[number]) =>
        fromPromise<void, AttachmentInput>(({ input }) => {
          assert.is(input.attachment.hostLink, 've0');
          return new Promise<void>((resolve, reject) => {
            const end = (ok: boolean) => {
              // A link may be there although making it failed; one that could not be removed is.
              if (id === 'ensureLink') links = 1;
              if (id === 'removeLink' && ok) links = 0;
              if (ok) resolve();
              else reject(Object.assign(new Error(id), { fault: id === 'removeLink' ? SECOND : FAULT }));
            };
            waiting.push({ id, end });
          });
        });
      const machine = attachmentMachine.provide({
        actors: {
          ensureLink: scripted('ensureLink'),
          ensureAddresses: scripted('ensureAddresses'),
          removeLink: scripted('removeLink'),
        },
      });
      const actor = createActor(machine, { input: inputOf(verb) });
      actor.start();
      for (const { event, state: expected } of steps.slice(1)) {
        const [, how, , id] = event.type.split('.');
        const effect = waiting.shift();
        assert.is(effect?.id, id);
        effect?.end(how === 'done');
        await settled();
        assert.is(actor.getSnapshot().value, expected.value);
      }
      if (state.status !== 'done') {
        actor.stop();
        return;
      }
      const { output } = actor.getSnapshot();
      assert.equal(output, state.output);
      assert.is(links, { attached: 1, detached: 0, stuck: 1 }[output?.outcome ?? 'stuck']);
      const failed = steps.some(({ event }) => event.type.startsWith('xstate.error'));
      assert.is(output?.fault !== null, failed);
    });
  }
}

paths('what failed first is what is told: the reason, not that undoing it failed too', () => {
  const both = pathsOf('attach').filter(
    ({ state, steps }) =>
      state.value === 'stuck' && steps.filter(({ event }) => event.type.includes('error')).length === 2,
  );
  assert.is(both.length, 2);
  for (const { state } of both) assert.is(state.output?.fault?.message, FAULT.message);
});

paths.run();
