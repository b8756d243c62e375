/**
 * Binds the actors that each machine names to their implementations: effects, and requests to other machines.
 *
 * Guarantees: every effect has the name of its actor, and runs under the rules of effects/effect.ts.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { fromPromise, type AnyActorLogic } from 'xstate';
import * as ask from '../effects/ask.ts';
import { ensureAddresses } from '../effects/links/address.ts';
import { lowerNetwork, programPeers, raiseNetwork, repairNetwork, reviseNetwork } from '../effects/links/bridge.ts';
import { andReview, reviewConntrack, reviewed, thenReview } from '../effects/firewall/conntrack.ts';
import { defineEffect, toFault, type EffectRunner } from '../effects/effect.ts';
import type { ExternalPrograms } from '../effects/external/external.ts';
import { unlessExternal } from '../effects/external/forwarding.ts';
import type { etcEffects } from '../effects/names/etc.ts';
import { fanOut } from '../effects/fan-out.ts';
import { lowerFirewall, raiseFirewall, readSwitches, restoreSwitches } from '../effects/firewall/firewall.ts';
import { changeZones, lookAtZones } from '../effects/firewall/firewalld.ts';
import { repairRuleset } from '../effects/firewall/firewall-repair.ts';
import type { Kernel } from '../effects/kernel.ts';
import { awaitLinksGone, ensureLink, removeLink } from '../effects/links/link.ts';
import { ensureNamespace, prepareNamespace, removeNamespace, type Taking } from '../effects/namespaces/netns.ts';
import { publish, unpublish, type HandlerPlaces } from '../effects/ports/port-handlers.ts';
import { expose, unexpose } from '../effects/ports/publisher.ts';
import { replaceLink, reviseLink } from '../effects/links/relink.ts';
import { resolverEffects, type ResolverParts } from '../effects/names/resolver.ts';
import type { Scopes } from '../effects/processes/scopes.ts';
import { uplinkEffects } from '../effects/uplinks/uplink.ts';
import { attachmentMachine } from '../machines/container/attachment.ts';
import { containerMachine } from '../machines/container/container.ts';
import { firewallMachine } from '../machines/firewall.ts';
import { firewalldMachine } from '../machines/firewalld.ts';
import { hasLease } from '../plan/containers/attachment.ts';
import { lease, type TermsOf } from '../effects/lease.ts';
import { knownInside } from '../plan/addresses/neighbours.ts';
import { networkMachine, type RaiseInput } from '../machines/network.ts';
import { preparedMachine } from '../machines/prepared.ts';
import { rootlessMachine } from '../machines/rootless.ts';
import { resolverMachine } from '../machines/resolver.ts';
import { uplinkMachine } from '../machines/uplink.ts';
import type { DriftPolicies } from '../state/drift.ts';
import { FaultError, type Fault } from '../state/faults.ts';
import type { ExposedStore } from '../state/files/exposed.ts';
import type { NetworkDefinition } from '../state/network.ts';
import type { Neighbours } from './containers/neighbours.ts';
import type { Roster } from './containers/roster.ts';
import type { SharedMachines } from './outsides/outside.ts';
import type { Shared } from './outsides/shared.ts';
import { raisingOf } from './outsides/outside.ts';
import { membersOf, rulesetOf } from './outsides/desired-ruleset.ts';
import { QUIET_MS } from './outsides/prepared-namespaces.ts';
import { uplinkGuard } from './outsides/uplink-guard.ts';

/** The deadline for an uplink to be ready, or to end. effects/uplinks/uplink-process.ts has deadlines of its own. */
const UPLINK_MS = 20_000;
/** The deadline for the bridges of a host together. Each request to firewalld has a deadline of its own (effects/firewall/firewalld.ts). */
const FIREWALLD_MS = 60_000;

/** The deadline for a program of others. Each execution has one of its own (effects/external/program.ts), and there may be many. */
const EXTERNAL_MS = 3_600_000;

/** Returns the actors of a machine, observed while they run: the same types under the same names. */
type Observe = <Actors extends Record<string, AnyActorLogic>>(machine: string, actors: Actors) => Actors;

const unobserved: Observe = (_machine, actors) => actors;

/** The dependencies that only container machines have, besides the kernel. */
interface Own extends Pick<ReturnType<typeof etcEffects>, 'ensureFiles' | 'removeFiles'> {
  exposed: ExposedStore;
  places: HandlerPlaces;
  neighbours: Neighbours;
  externals: ExternalPrograms;
  termsOf: TermsOf;
  scopes: Scopes;
  taking: Taking;
}

export function provideContainer(
  runner: EffectRunner,
  kernel: Kernel,
  shared: Shared,
  { exposed, places, neighbours, externals, termsOf, scopes, taking, ensureFiles, removeFiles }: Own,
  observed: Observe = unobserved,
) {
  const attachment = attachmentMachine.provide({
    actors: observed('attachment', {
      ensureLink: defineEffect(runner, 'add', 'ensureLink', ensureLink(kernel)),
      ensureAddresses: defineEffect(runner, 'add', 'ensureAddresses', ensureAddresses(kernel, knownInside)),
      replaceLink: defineEffect(runner, 'remove', 'replaceLink', replaceLink(kernel, knownInside)),
      reviseLink: defineEffect(runner, 'remove', 'reviseLink', reviseLink(kernel, knownInside)),
      removeLink: defineEffect(runner, 'remove', 'removeLink', removeLink(kernel)),
      addExternal: defineEffect(runner, 'add', 'addExternal', externals.add, EXTERNAL_MS),
      recordAnswer: defineEffect(runner, 'remove', 'recordAnswer', () => Promise.resolve()),
      checkExternal: defineEffect(runner, 'add', 'checkExternal', externals.check, EXTERNAL_MS),
      removeExternal: defineEffect(runner, 'remove', 'removeExternal', externals.remove, EXTERNAL_MS),
    }),
  });
  const boundTo = (owner: string) => neighbours.boundTo(owner);
  const uplink = provideUplink(
    runner,
    uplinkEffects(kernel, places.uplinks, ask.firewallStands(shared), scopes),
    observed,
  );
  return containerMachine.provide({
    actors: observed('container', {
      attachment,
      uplink,
      ensureNamespace: defineEffect(runner, 'add', 'ensureNamespace', ensureNamespace(kernel, taking)),
      removeNamespace: defineEffect(runner, 'remove', 'removeNamespace', removeNamespace(kernel)),
      expose: defineEffect(runner, 'add', 'expose', expose(exposed)),
      unexpose: defineEffect(runner, 'remove', 'unexpose', unexpose(exposed)),
      publish: defineEffect(runner, 'add', 'publish', publish(kernel, places, boundTo)),
      unpublish: defineEffect(runner, 'remove', 'unpublish', unpublish(kernel, places)),
      awaitLinksGone: defineEffect(runner, 'remove', 'awaitLinksGone', awaitLinksGone(kernel)),
      lease: lease(shared, neighbours, kernel, {
        termsOf,
        granted: (owner, network) => externals.granted(owner, network),
      }),
      release: ask.release(shared, (root) => runner.commit(root, 'remove')),
      ensureFiles: defineEffect(runner, 'add', 'ensureFiles', ensureFiles),
      removeFiles: defineEffect(runner, 'remove', 'removeFiles', removeFiles),
      name: ask.name(shared),
      unname: ask.unname(shared),
      verifyFirewall: ask.verifyFirewall(shared),
      awaitVerdict: ask.awaitVerdict(neighbours),
      backOff: ask.backOff(),
    }),
  });
}

/**
 * No snapshot has to name what it makes, so that nothing waits for the disk (machines/prepared.ts). `ended` is told of each attempt, as
 * the bus is of the effects of containers.
 */
export function providePrepared(kernel: Kernel, ended: (effect: string, ms: number, fault: Fault | null) => void) {
  const make = prepareNamespace(kernel);
  const prepare = async (): Promise<number> => {
    const began = performance.now();
    try {
      const netns = await make();
      ended('prepareNamespace', performance.now() - began, null);
      return netns;
    } catch (error) {
      const fault = toFault(error, 'prepareNamespace');
      ended('prepareNamespace', performance.now() - began, fault);
      throw FaultError.of(fault);
    }
  };
  return preparedMachine.provide({
    actors: {
      pause: fromPromise<void, undefined>(({ signal }) => delay(QUIET_MS, undefined, { signal })),
      prepareNamespace: fromPromise<number, undefined>(prepare),
      backOff: ask.backOff(),
    },
  });
}

function provideUplink(runner: EffectRunner, hands: ReturnType<typeof uplinkEffects>, observed: Observe) {
  return uplinkMachine.provide({
    actors: observed('uplink', {
      probeUplink: defineEffect(runner, 'add', 'probeUplink', hands.probeUplink),
      startUplink: defineEffect(runner, 'add', 'startUplink', hands.startUplink, UPLINK_MS),
      verifyUplink: defineEffect(runner, 'add', 'verifyUplink', hands.verifyUplink),
      stopUplink: defineEffect(runner, 'remove', 'stopUplink', hands.stopUplink),
    }),
  });
}

/** The dependencies of the shared machines that are made after them. */
interface Others {
  runDir: string;
  /** The directory of the program that leads out of a rootless daemon's own outside. */
  rootlessHome: string;
  /** The name servers of networks that name none, if not those of the host's resolv.conf. */
  servers: ResolverParts['servers'];
  scopes: Scopes;
  containers: Roster;
  record(definition: NetworkDefinition): void;
  policies: DriftPolicies;
  /** True if the host goes on to forward between its other interfaces, although it did not before its networks were raised. */
  forwardOthers: boolean;
}

export function provideShared(
  runner: EffectRunner,
  kernel: Kernel,
  shared: Shared,
  others: Others,
  observed: Observe = unobserved,
): SharedMachines {
  const recordDefinition = ({ definition }: RaiseInput) => Promise.resolve(others.record(definition));
  const members = (outside: string | null, network: string) => membersOf(others.containers.all(), outside, network);
  const { runDir, scopes } = others;
  const exited = (outside: string | null) => shared.resolverExited(outside);
  const resolver = resolverEffects({ kernel, runDir, exited, servers: others.servers, scopes });
  // The namespace is our own, and nothing but the way out is in it that a table could restrict.
  const wayOut = uplinkEffects(kernel, others.rootlessHome, () => Promise.resolve(), scopes);
  const replies = (outside: string | null) => shared.replies(outside);
  const ruleset = (outside: string | null) => ({
    ...rulesetOf(others.containers.all(), shared.standingIn(outside), outside, raisingOf(shared.networksIn(outside))),
    replies: replies(outside),
  });
  const review = reviewConntrack(kernel, ruleset);
  const forwardOthers = (outside: string | null) => others.forwardOthers || shared.usesExternal(outside);
  const repair = reviewed(repairRuleset(kernel, ruleset, others.policies, forwardOthers), review);
  const table = { isRaised: (outside: string | null) => shared.isRaised(outside), verify: ask.firewallStands(shared) };
  return {
    resolver: resolverMachine.provide({
      actors: observed('resolver', {
        writeZones: defineEffect(runner, 'add', 'writeZones', resolver.writeZones),
        ensureResolver: defineEffect(runner, 'add', 'ensureResolver', resolver.ensureResolver),
        askNames: defineEffect(runner, 'add', 'askNames', resolver.askNames),
        stopResolver: defineEffect(runner, 'remove', 'stopResolver', resolver.stopResolver),
        backOff: ask.backOff(),
      }),
    }),
    firewall: firewallMachine.provide({
      actors: observed('firewall', {
        readSwitches: defineEffect(runner, 'add', 'readSwitches', readSwitches(kernel)),
        raiseFirewall: defineEffect(
          runner,
          'add',
          'raiseFirewall',
          raiseFirewall(kernel, forwardOthers, uplinkGuard, replies),
        ),
        restoreSwitches: defineEffect(runner, 'remove', 'restoreSwitches', restoreSwitches(kernel, uplinkGuard)),
        lowerFirewall: defineEffect(runner, 'remove', 'lowerFirewall', lowerFirewall(kernel)),
        repairRuleset: defineEffect(runner, 'add', 'repairRuleset', repair),
        backOff: ask.backOff(),
      }),
    }),
    firewalld: firewalldMachine.provide({
      actors: observed('firewalld', {
        lookAtZones: defineEffect(runner, 'add', 'lookAtZones', lookAtZones(kernel), FIREWALLD_MS),
        changeZones: defineEffect(runner, 'add', 'changeZones', changeZones, FIREWALLD_MS),
        backOff: ask.backOff(),
      }),
    }),
    rootless: rootlessMachine.provide({
      actors: observed('rootless', { uplink: provideUplink(runner, wayOut, observed), backOff: ask.backOff() }),
    }),
    network: networkMachine.provide({
      actors: observed('network', {
        raiseNetwork: defineEffect(
          runner,
          'add',
          'raiseNetwork',
          unlessExternal(table, andReview(raiseNetwork(kernel), review), null),
        ),
        lowerNetwork: defineEffect(
          runner,
          'remove',
          'lowerNetwork',
          unlessExternal(table, lowerNetwork(kernel), undefined),
        ),
        reviseNetwork: defineEffect(
          runner,
          'add',
          'reviseNetwork',
          unlessExternal(table, thenReview(reviseNetwork(kernel, members), review), undefined),
        ),
        repairNetwork: defineEffect(
          runner,
          'add',
          'repairNetwork',
          unlessExternal(table, repairNetwork(kernel, members), undefined),
        ),
        programPeers: defineEffect(runner, 'add', 'programPeers', programPeers(kernel)),
        recordDefinition: defineEffect(runner, 'add', 'recordDefinition', recordDefinition),
        fanOut: fanOut(others.containers.neighbours, hasLease),
        holdFirewall: ask.holdFirewall(shared),
        releaseFirewall: ask.releaseFirewall(shared),
        backOff: ask.backOff(),
      }),
    }),
  };
}
