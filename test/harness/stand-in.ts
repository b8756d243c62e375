/**
 * Stand-ins for machines that others make requests to.
 *
 * Limits: they have no state; a test says what each of them answers.
 */
import { createActor, fromCallback, type AnyActorRef, type EventObject } from 'xstate';
import type { PortRequest } from '../../state/container.ts';

export type Request = EventObject & { from: AnyActorRef; ports: PortRequest[] };

/** A machine that answers like this; `break` is a defect of it. `got`: the types of its events. */
export function standIn(answer: (request: Request) => object | null) {
  const got: string[] = [];
  const actor = createActor(
    fromCallback<Request>(({ receive }) =>
      receive((event) => {
        got.push(event.type);
        if (event.type === 'break') throw new Error('planted');
        const said = answer(event);
        if (said !== null) event.from.send(said);
      }),
    ),
  );
  actor.subscribe({ error: () => {} });
  actor.start();
  return { got, ref: actor as AnyActorRef, fail: () => actor.send({ type: 'break' } as Request) };
}
