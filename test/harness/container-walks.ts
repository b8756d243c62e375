/**
 * The walks of the container machine in every variant, each with the kinds of step that it takes.
 */
import { walksOf, withNames, type NamedStep } from './container-model.ts';
import { VARIANTS } from './container-variants.ts';

export interface ContainerWalk {
  variant: string;
  steps: NamedStep[];
  /** "created configure -> configuring.leasing" */
  kinds: Set<string>;
}

export const WALKS = Object.entries(VARIANTS).flatMap(([variant, of]) =>
  withNames(walksOf(of)).map((steps): ContainerWalk => ({ variant, steps, kinds: new Set(kindsOf(steps)) })),
);

export function kindsOf(steps: readonly NamedStep[]): string[] {
  return steps.slice(1).map(({ event, name, edges }, n) => {
    const { outcome = '' } = (event.output ?? {}) as { outcome?: string };
    return `${steps[n]?.name} ${event.type} ${outcome} ${edges.join(' ')} -> ${name}`;
  });
}
