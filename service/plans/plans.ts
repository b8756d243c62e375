/**
 * Makes plans, which say what an event would do, and takes them out for the event that does exactly that.
 *
 * Guarantees: to make a plan changes nothing and holds nothing. Applied, it gives the addresses, MACs and ports that it has named,
 * or is refused with PLAN_OUTDATED and changes nothing. It is made again first and compared; the container is compared once more
 * in the turn in which it gets the event; and the leases and ports when they are granted (effects/lease.ts).
 * Limits: docs/decisions/0054.
 */
import { createHash } from 'node:crypto';
import type { Plan } from '../../state/answers/container/plan.ts';
import type { LifecycleEvent } from '../../state/event.ts';
import { FaultError } from '../../state/faults.ts';
import { stateName } from '../../plan/states.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import type { Admitted, AppliedPlan } from '../containers/admission.ts';
import type { Containers } from '../containers/containers.ts';
import { warningsOf } from '../events/warnings.ts';
import type { Networks } from '../networks/networks.ts';
import { refuseUnfinished, unstopped, type ContainerSnapshot } from '../records/snapshot.ts';
import { publishedPort, statusBlock } from '../views/view.ts';
import { basisOf, differences, standing, type Basis } from './basis.ts';
import { foresee, type Foreseen, type ForesightParts } from './foresight.ts';
import { PlanStore, type KeptPlan } from './plan-store.ts';

export interface PlansParts extends ForesightParts {
  containers: Containers;
  networks: Networks;
}

/** Says who asks. `limited` is true if the limits of users count for this one. */
export interface Planner {
  uid: number;
  limited: boolean;
}

/** Holds a plan and what it rests on. */
interface Made {
  plan: Plan;
  basis: Basis;
  admitted: Admitted;
  foreseen: Foreseen;
}

export class Plans {
  readonly #parts: PlansParts;
  readonly #store = new PlanStore();

  constructor(parts: PlansParts) {
    this.#parts = parts;
  }

  /** Foresees an event, and keeps the plan. Rejects with the fault that the event would be refused with. */
  async make(event: LifecycleEvent, planner: Planner): Promise<Plan> {
    const { plan, basis, admitted, foreseen } = await this.#make(event, planner);
    const { granted } = foreseen;
    this.#store.keep(plan.hash, {
      uid: planner.uid,
      event: plan.event,
      basis,
      promised: granted === null ? null : { leases: granted.leases, ports: granted.ports },
      token: admitted.before === null ? admitted.input.token : undefined,
      text: JSON.stringify(plan),
    });
    return plan;
  }

  /** Returns a plan as it was answered. Throws NO_SUCH_PLAN. */
  read(hash: string, { uid }: Planner): string {
    return this.#store.get(uid, hash).text;
  }

  /** Takes a plan out, to apply it. Rejects with PLAN_OUTDATED if another one would be made now. */
  async take(hash: string, planner: Planner): Promise<{ event: LifecycleEvent; applied: AppliedPlan }> {
    const kept = this.#store.take(planner.uid, hash);
    const now = await this.#make(kept.event, planner, kept.token).catch((error: unknown) => {
      if (!(error instanceof FaultError)) throw error;
      throw outdated(kept, [`the event would be refused: ${error.fault.message} (${error.fault.code})`]);
    });
    const moved = differences(kept.basis, now.basis);
    if (moved.length > 0) throw outdated(kept, moved);
    return { event: kept.event, applied: appliedOf(kept) };
  }

  async #make(said: LifecycleEvent, planner: Planner, token?: string): Promise<Made> {
    const { containers, networks } = this.#parts;
    const coming = said.type === 'create' ? await networks.comingDefault() : null;
    const networkName = (text: string) => (text === coming?.name ? text : networks.get(text).name);
    const admitted = await containers.foresee(said, planner.limited ? planner.uid : null, { token, networkName });
    const event = admitted.said;
    const foreseen = await foresee(this.#parts, admitted);
    refuseUnfinished(unstopped(foreseen.end), event.type);
    const follower = this.#followerOf(foreseen.end, admitted.before);
    const basis = basisOf(event.id, admitted, foreseen, {
      follower,
      definition: (name) => networks.all().find((definition) => definition.name === name),
      container: (id) => containers.get(id) ?? null,
    });
    const notes = [
      ...this.#warnings(event, foreseen.end),
      ...(follower === null ? [] : [`container ${follower}, which it leaves alone, goes as well`]),
      ...(coming === null ? [] : [firstMade(coming)]),
    ];
    return { plan: planOf(event, admitted, foreseen, notes), basis, admitted, foreseen };
  }

  #warnings(event: LifecycleEvent, end: ContainerSnapshot): string[] {
    const { networks, shared } = this.#parts;
    return warningsOf(
      event,
      end,
      () => networks.all(),
      (outside) => shared.present(outside).firewalld().snapshot.context.fault,
    );
  }

  /**
   * Returns the container whose namespace this one uses, if that was torn down before and is kept for this one alone, which goes;
   * null otherwise.
   */
  #followerOf(end: ContainerSnapshot, before: ContainerSnapshot | null): string | null {
    const { neighbours } = this.#parts.containers;
    const of = before?.context.netns?.of ?? null;
    if (of === null || end.status !== 'done' || neighbours.usersOf(of).length > 1) return null;
    const owner = neighbours.container(of)?.getSnapshot().context;
    return owner?.ownerGone === true ? owner.id : null;
  }
}

function appliedOf({ event, basis, promised, token }: KeptPlan): AppliedPlan {
  const subject = `container ${event.id}`;
  return {
    token,
    verify: (before) => {
      const moved = differences({ [subject]: basis[subject] ?? '' }, { [subject]: standing(before) });
      if (moved.length > 0) throw outdated({ event }, moved);
    },
    promise: (machineEvent) => (promised === null ? machineEvent : { ...machineEvent, promised }),
  };
}

const outdated = ({ event }: Pick<KeptPlan, 'event'>, moved: readonly string[]): FaultError =>
  new FaultError('PLAN_OUTDATED', `the ${event.type} of ${event.id} is not what was planned: ${moved.join('; ')}`);

const firstMade = ({ name, subnets }: NetworkDefinition): string =>
  `network ${name} does not exist yet: it is made first, with ${subnets.map(({ subnet }) => subnet).join(', ')}`;

function planOf(event: LifecycleEvent, { before }: Admitted, { end, steps }: Foreseen, notes: string[]): Plan {
  const had = before?.context;
  const attachments = end.context.attachments.filter(
    ({ network }) => !(had?.attachments ?? []).some((other) => other.network === network),
  );
  const hadPorts = new Set((had?.ports ?? []).map((port) => JSON.stringify(port)));
  const ports = end.context.ports.filter((port) => !hadPorts.has(JSON.stringify(port)));
  const plan: Omit<Plan, 'hash'> = {
    id: event.id,
    event,
    from: before === null ? null : stateName(before),
    to: stateName(end),
    steps,
    grants: {
      networks: Object.fromEntries(attachments.map((attachment) => [attachment.network, statusBlock(attachment)])),
      ports: ports.map(publishedPort),
    },
    notes,
  };
  return { hash: createHash('sha256').update(JSON.stringify(plan)).digest('hex'), ...plan };
}
