/**
 * Oracles: the rules for an address, a host port and a shared namespace, as machines that know nothing of cleat.
 *
 * Guarantees: each gets what was seen, one event at a time, and an impossible event leads to `violated`, which is
 * final. Two host addresses overlap when they are equal, or when one is every address of a family that the other is of
 * ("" is every address of both).
 * Limits: as good as their witness; the auditor finds what is missing.
 */
import { assign, createActor, setup, type ActorRefFrom } from 'xstate';

interface By {
  by: string;
}

/** free -> owned -> free. A second owner is a violation, and so is a drop by another than the owner. */
export const addressOwnership = setup({
  types: { context: {} as { owner: string | null }, events: {} as ({ type: 'take' } & By) | ({ type: 'drop' } & By) },
  guards: { mine: ({ context, event }) => context.owner === event.by },
  actions: { own: assign({ owner: ({ event }) => event.by }), free: assign({ owner: null }) },
}).createMachine({
  id: 'address',
  context: { owner: null },
  initial: 'free',
  states: {
    free: { on: { take: { target: 'owned', actions: 'own' }, drop: 'violated' } },
    owned: {
      on: {
        take: [{ guard: 'mine' }, { target: 'violated' }],
        drop: [{ guard: 'mine', target: 'free', actions: 'free' }, { target: 'violated' }],
      },
    },
    violated: {},
  },
});

/** One port number of one protocol, on any host address. */
interface At extends By {
  hostIp: string;
}
type PortWord = ({ type: 'take' } & At) | ({ type: 'drop' } & At) | { type: 'give'; by: string; to: string };

/** The owners, and their host addresses. While one gives it to another (`give`), both may have it, and nobody else. */
export const portOwnership = setup({
  types: {
    context: {} as { holders: At[]; gift: { by: string; to: string } | null },
    events: {} as PortWord,
  },
  guards: {
    contested: ({ context: { holders, gift }, event }) =>
      event.type === 'take' &&
      holders.some(
        ({ by, hostIp }) =>
          by !== event.by && overlap(hostIp, event.hostIp) && !(gift?.by === by && gift.to === event.by),
      ),
    strange: ({ context: { holders }, event }) =>
      event.type === 'drop' && !holders.some(({ by, hostIp }) => by === event.by && hostIp === event.hostIp),
    last: ({ context: { holders } }) => holders.length === 1,
  },
  actions: {
    add: assign({
      holders: ({ context, event }) =>
        event.type === 'take' ? [...context.holders, { by: event.by, hostIp: event.hostIp }] : context.holders,
    }),
    remove: assign({
      holders: ({ context: { holders }, event }) =>
        holders.filter(({ by, hostIp }) => event.type !== 'drop' || by !== event.by || hostIp !== event.hostIp),
      gift: ({ context: { gift }, event }) => (gift?.by === event.by ? null : gift),
    }),
    note: assign({ gift: ({ event }) => (event.type === 'give' ? { by: event.by, to: event.to } : null) }),
  },
}).createMachine({
  id: 'port',
  context: { holders: [], gift: null },
  initial: 'free',
  states: {
    free: { on: { take: { target: 'held', actions: 'add' }, drop: 'violated', give: 'violated' } },
    held: {
      on: {
        take: [{ guard: 'contested', target: 'violated' }, { actions: 'add' }],
        drop: [
          { guard: 'strange', target: 'violated' },
          { guard: 'last', target: 'free', actions: 'remove' },
          { actions: 'remove' },
        ],
        give: { actions: 'note' },
      },
    },
    violated: {},
  },
});

type NamespaceWord = { type: 'pin' } | { type: 'unpin' } | ({ type: 'enter' } & By) | ({ type: 'leave' } & By);

/** A pinned namespace that others share: each user finds it there, and it goes after the last of them. */
export const sharedNamespace = setup({
  types: { context: {} as { users: string[] }, events: {} as NamespaceWord },
  guards: { used: ({ context }) => context.users.length > 0 },
  actions: {
    enter: assign({
      users: ({ context, event }) => (event.type === 'enter' ? [...context.users, event.by] : context.users),
    }),
    leave: assign({
      users: ({ context, event }) => context.users.filter((user) => event.type !== 'leave' || user !== event.by),
    }),
  },
}).createMachine({
  id: 'namespace',
  context: { users: [] },
  initial: 'absent',
  states: {
    absent: { on: { pin: 'pinned', enter: 'violated', leave: 'violated' } },
    pinned: {
      on: {
        enter: { actions: 'enter' },
        leave: { actions: 'leave' },
        unpin: [{ guard: 'used', target: 'violated' }, { target: 'absent' }],
      },
    },
    violated: {},
  },
});

function overlap(a: string, b: string): boolean {
  const every = (ip: string) => ['', '0.0.0.0', '::'].includes(ip);
  const families = (ip: string) => (ip === '' ? [4, 6] : ip.includes(':') ? [6] : [4]);
  return a === b || ((every(a) || every(b)) && families(a).some((family) => families(b).includes(family)));
}

/** The kind of each thing, and its events. */
export interface Words {
  address: Parameters<ActorRefFrom<typeof addressOwnership>['send']>[0];
  port: PortWord;
  namespace: NamespaceWord;
}
const KINDS = { address: addressOwnership, port: portOwnership, namespace: sharedNamespace };

/** Any number of things, each with its machine. */
export class Specifications {
  readonly violations: string[] = [];
  /** The number of accepted events. */
  told = 0;
  readonly #actors = new Map<string, { send(word: object): void; getSnapshot(): { value: unknown } }>();

  tell<Kind extends keyof Words>(kind: Kind, name: string, word: Words[Kind]): void {
    const key = `${kind} ${name}`;
    let actor = this.#actors.get(key);
    if (actor === undefined) {
      actor = createActor(KINDS[kind] as typeof addressOwnership).start() as never;
      this.#actors.set(key, actor);
    }
    const before = actor.getSnapshot().value;
    actor.send(word);
    this.told++;
    if (before !== 'violated' && actor.getSnapshot().value === 'violated')
      this.violations.push(`${key}, ${String(before)}: ${JSON.stringify(word)}`);
  }
}
