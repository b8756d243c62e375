/**
 * The question for host ports, against the machine that grants them and a host that listens on some: what is in use is
 * replaced when it was random, refused when it was not, and a refusal takes nothing that was there before.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createActor, setup, type AnyActorRef, type EventObject } from 'xstate';
import type { Directory } from '../../effects/ask.ts';
import { lease } from '../../effects/lease.ts';
import type { Kernel } from '../../effects/kernel.ts';
import type { LeaseInput } from '../../machines/container-inputs.ts';
import type { Claims } from '../../machines/plan/ports.ts';
import { portsMachine } from '../../machines/ports.ts';
import type { PortProbe } from '../../native/index.ts';
import type { ResolvedPort } from '../../state/container.ts';
import type { PortMapping } from '../../state/event.ts';
import type { Fault } from '../../state/faults.ts';
import { resolve } from '../harness/fixtures.ts';
import { settled } from '../harness/world.ts';

/** A container without others. */
const alone = () => ({ container: () => null, yields: () => null, departures: () => null, holds: () => false });

/** Asks for ports, on a host that listens on `busy`; what was answered, and who holds what afterwards. */
async function ask(mappings: PortMapping[], busy: number[], adopted: Claims = {}) {
  const ports = createActor(portsMachine, { input: { adopted } });
  ports.start();
  const none = ports as AnyActorRef;
  const directory: Directory = {
    network: () => null,
    firewall: () => none,
    firewalld: () => none,
    ports: () => ports as AnyActorRef,
    resolver: () => none,
  };
  const portProbe = (probes: PortProbe[]) =>
    Promise.resolve(
      probes.flatMap(({ port }, index) =>
        busy.includes(port) ? [{ index, code: 'EADDRINUSE', pid: 42, command: 'nginx' }] : [],
      ),
    );
  const kernel = { outside: () => ({ kernel: { portProbe } }) } as unknown as Kernel;
  const answers: EventObject[] = [];
  const input: LeaseInput = {
    owner: 'me',
    outside: null,
    networks: {},
    ports: mappings,
    inside: null,
    taking: null,
    uplink: false,
  };
  const asker = setup({ actors: { lease: lease(directory, alone, kernel) } }).createMachine({
    invoke: { src: 'lease', input },
    on: {
      leased: { actions: ({ event }) => answers.push(event) },
      refused: { actions: ({ event }) => answers.push(event) },
    },
  });
  const actor = createActor(asker);
  actor.start();
  for (let i = 0; i < 40 && answers.length === 0; i++) await settled();
  actor.stop();
  const [answer] = answers as [({ type: string; ports?: ResolvedPort[]; fault?: Fault } & EventObject)?];
  const held = Object.values(ports.getSnapshot().context.claims).flatMap((all) => all.map(({ hostPort }) => hostPort));
  return { type: answer?.type, ports: answer?.ports?.map(({ hostPort }) => hostPort), fault: answer?.fault, held };
}

const questions = suite('the question for host ports');

questions('a port that the host listens on is refused, with who does', async () => {
  const { type, fault, held } = await ask([{ host_port: 8080, container_port: 80 }], [8080]);
  assert.is(type, 'refused');
  assert.equal([fault?.code, fault?.owner, fault?.errno], ['PORT_TAKEN', 'pid 42 (nginx)', 'EADDRINUSE']);
  assert.equal(held, []);
});

questions('a random one is replaced by the next', async () => {
  assert.equal((await ask([{ container_port: 80 }], [49_152, 49_153])).ports, [49_154]);
});

questions('a random range is replaced, whichever of its ports is in use', async () => {
  assert.equal((await ask([{ container_port: 80, range: 3 }], [49_152])).ports, [49_155]);
  assert.equal((await ask([{ container_port: 80, range: 3 }], [49_153])).ports, [49_155]);
});

questions('not for ever', async () => {
  const { type, held } = await ask(
    [{ container_port: 80 }],
    Array.from({ length: 100 }, (_, n) => 49_152 + n),
  );
  assert.is(type, 'refused');
  assert.equal(held, []);
});

questions('a refusal does not take what was published before', async () => {
  const mine = { host_port: 8080, container_port: 80 };
  const { type, held } = await ask([mine, { host_port: 9090, container_port: 90 }], [9090], { me: [resolve(mine)] });
  assert.is(type, 'refused');
  assert.equal(held, [8080]);
});

questions.run();
