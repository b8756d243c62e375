/**
 * The identity of the daemon: its version and that of its API, its instance, its process.
 *
 * Guarantees: two daemons that run at the same time differ in it.
 */
import { z } from 'zod';

export const Version = z.object({
  version: z.string(),
  api: z.literal('v1'),
  instance: z.string().describe('"main", or a name made of its state directory'),
  pid: z.int(),
  boot_id: z.string(),
  netns: z
    .object({ dev: z.int(), ino: z.int() })
    .describe('the network namespace that it works in, by which a client knows whether it is its own'),
});
export type Version = z.infer<typeof Version>;
