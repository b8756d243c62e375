/**
 * Judges a container: from the facts about it to sentences that a stranger understands.
 *
 * Guarantees: pure. The verdict is one sentence that says in what state the container is, and the first reason. A container is
 * well if it is up, each part of it is as it should be, and nothing blocks it (docs/decisions/0050).
 */
import { topState } from '../states.ts';
import type { Why, WhyPart } from '../../state/answers/container/why.ts';
import type { Facts } from './facts.ts';
import { causes, sharedFaults } from './causes.ts';
import { clauseOf, obstaclesOf, retryOf } from './obstacles.ts';
import { ownParts } from './parts.ts';
import { remediesOf } from './remedies.ts';
import { sharedParts } from './shared.ts';
import { stepOf, underWay } from './states.ts';
import { arrival, storyOf } from './story.ts';
import { awaited } from './waits.ts';
import { faultText, listOf, spanText, stopped } from './words.ts';

export function judge(facts: Facts): Why {
  const { context, state, legal } = facts;
  const { id, name } = context;
  const parts = [...ownParts(facts), ...sharedParts(facts)];
  const retry = retryOf(facts);
  const blocks = obstaclesOf(facts, parts, retry);
  const well = state === 'up' && blocks.length === 0;
  return {
    id,
    name,
    state,
    well,
    verdict: `${name} ${stopped(well ? wellText(facts) : unwellText(facts, parts))}`,
    parts,
    led: storyOf(facts),
    blocks,
    retry,
    unblocks: well ? [] : remediesOf(facts, parts),
    legal: [...legal],
  };
}

function wellText({ context: { request, uplink, attachments }, owner }: Facts): string {
  const { netns } = request;
  if (netns.mode === 'host') return "is up: it uses the host's own network";
  if (netns.mode === 'container')
    return `is up: it shares the network of ${owner?.name ?? netns.id}, and nothing is missing`;
  if (uplink !== undefined) return `is up behind ${uplink.settings.program}, and nothing is missing`;
  if (attachments.length === 0) return 'is up on no network, as was requested';
  return 'is up, and nothing is missing';
}

function unwellText(facts: Facts, parts: readonly WhyPart[]): string {
  const { context, state, users, owner } = facts;
  // What others depend on, too, is the reason behind the reason.
  const shared = state === 'degraded' ? sharedFaults(facts, parts) : [];
  const [fault] = [...shared, ...causes(facts)];
  const because = fault === undefined ? '' : `: ${faultText(fault)}`;
  const [wrong] = [
    ...parts.filter(({ condition }) => condition === 'wrong'),
    ...parts.filter(({ condition }) => condition === 'waiting'),
  ];
  switch (topState({ value: state })) {
    case 'error':
      return `is stopped${because}`;
    case 'created':
      return fault === undefined
        ? 'has no network yet: it was created, and is not configured'
        : `has no network, because configure failed${because}`;
    case 'up':
      if (owner?.whole === false) return `shares the network of ${owner.name}, and ${owner.verdict}`;
      // Nothing is wrong: it stays for others.
      if (wrong === undefined)
        return `was torn down, but its network stays, because ${listOf(users)} still ${users.length === 1 ? 'uses' : 'use'} its namespace`;
      return `is up, but ${clauseOf(wrong)}`;
    case 'degraded':
      return `is degraded${because}`;
    case 'failed':
      return `is neither as before nor as requested, because ${context.change?.kind ?? 'a change'} could neither be made nor undone${because}`;
    case 'teardownFailed':
      return `cannot be torn down completely${because}`;
    default:
      return workText(facts);
  }
}

/** Returns what is being done, with what it waits for or how long the step has taken so far. */
function workText(facts: Facts): string {
  const { state, now } = facts;
  const doing = `is ${underWay(state) ?? state}`;
  const waits = awaited(facts).find(({ what }) => what.length > 0);
  if (waits !== undefined) return `${doing}, and waits for ${waits.other.name}, which still has ${listOf(waits.what)}`;
  const since = arrival(facts);
  const long = since === null || now - since.t < 1000 ? '' : `, for ${spanText(now - since.t)} so far`;
  return `${doing}: ${stepOf(state)}${long}`;
}
