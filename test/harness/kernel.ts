/**
 * The kernel as effects have it, for tests of effects without a daemon.
 *
 * Guarantees: what fails behind an effect fails the test.
 */
import { Kernel } from '../../effects/kernel.ts';

export const GROUP = 0x4c1e_a700;

export const testKernel = (table = 'cleat'): Kernel =>
  new Kernel({ name: 'main', table, group: GROUP, doomedGroup: GROUP + 1 }, (what, error) => {
    throw new Error(`${what} failed`, { cause: error });
  });
