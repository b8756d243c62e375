/**
 * The kernel interface of effects, for tests of effects without a daemon.
 *
 * Guarantees: a failure after the end of an effect fails the test.
 */
import { Kernel } from '../../effects/kernel.ts';

export const GROUP = 0x4c1e_a700;

/** `privateKeyOf`: the key of this host in an overlay. */
export const testKernel = (table = 'cleat', privateKeyOf?: (network: string) => string): Kernel =>
  new Kernel(
    { name: 'main', table, group: GROUP, doomedGroup: GROUP + 1 },
    (what, error) => {
      throw new Error(`${what} failed`, { cause: error });
    },
    null,
    privateKeyOf,
  );
