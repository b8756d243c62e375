/**
 * The request for host ports, against the machine that grants them and a host that listens on some: a port in use is
 * replaced if it was random, refused if it was not, and a refusal removes nothing that was there before.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createActor, toPromise, type AnyActorRef } from 'xstate';
import type { Directory } from '../../effects/ask.ts';
import { lease, NO_EXTERNALS } from '../../effects/lease.ts';
import type { Kernel } from '../../effects/kernel.ts';
import type { LeaseInput } from '../../machines/container/container-inputs.ts';
import type { Claims } from '../../plan/ports/ports.ts';
import { portsMachine } from '../../machines/ports.ts';
import type { PortProbe } from '../../native/index.ts';
import type { ResolvedPort } from '../../state/container.ts';
import type { PortMapping } from '../../state/event.ts';
import type { Fault, FaultError } from '../../state/faults.ts';
import { resolve } from '../harness/fixtures.ts';

/** A container alone. */
const alone = { container: () => null, yields: () => null, departures: () => null, holds: () => false };

/** Requests ports on a host that listens on `busy`; returns the answer and the owners of all ports afterwards. */
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
    rootless: () => null,
  };
  const portProbe = (probes: PortProbe[]) =>
    Promise.resolve(
      probes.flatMap(({ port }, index) =>
        busy.includes(port) ? [{ index, code: 'EADDRINUSE', pid: 42, command: 'nginx' }] : [],
      ),
    );
  const kernel = { listening: () => ({ portProbe }) } as unknown as Kernel;
  const input: LeaseInput = {
    owner: 'me',
    outside: null,
    networks: {},
    ports: mappings,
    inside: null,
    taking: null,
    uplink: false,
  };
  const actor = createActor(lease(directory, alone, kernel, NO_EXTERNALS), { input });
  actor.start();
  const answer = await toPromise(actor).then(
    (granted) => ({ type: 'leased', ports: granted.ports }),
    (error: FaultError) => ({ type: 'refused', fault: error.fault }),
  );
  const held = Object.values(ports.getSnapshot().context.claims).flatMap((all) => all.map(({ hostPort }) => hostPort));
  const { type, ports: given, fault }: { type: string; ports?: ResolvedPort[]; fault?: Fault } = answer;
  return { type, ports: given?.map(({ hostPort }) => hostPort), fault, held };
}

const questions = suite('the question for host ports');

questions('a port that the host listens on is refused, and the error names the process', async () => {
  const { type, fault, held } = await ask([{ host_port: 8080, container_port: 80 }], [8080]);
  assert.is(type, 'refused');
  assert.equal([fault?.code, fault?.owner, fault?.errno], ['PORT_TAKEN', 'pid 42 (nginx)', 'EADDRINUSE']);
  assert.equal(held, []);
});

questions('a random port that is in use is replaced by the next', async () => {
  assert.equal((await ask([{ container_port: 80 }], [49_152, 49_153])).ports, [49_154]);
});

questions('a random range is replaced, whichever of its ports is in use', async () => {
  assert.equal((await ask([{ container_port: 80, range: 3 }], [49_152])).ports, [49_155]);
  assert.equal((await ask([{ container_port: 80, range: 3 }], [49_153])).ports, [49_155]);
});

questions('the search for a free port ends', async () => {
  const { type, held } = await ask(
    [{ container_port: 80 }],
    Array.from({ length: 100 }, (_, n) => 49_152 + n),
  );
  assert.is(type, 'refused');
  assert.equal(held, []);
});

questions('a refusal does not remove earlier published ports', async () => {
  const mine = { host_port: 8080, container_port: 80 };
  const { type, held } = await ask([mine, { host_port: 9090, container_port: 90 }], [9090], { me: [resolve(mine)] });
  assert.is(type, 'refused');
  assert.equal(held, [8080]);
});

questions.run();
