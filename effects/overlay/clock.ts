/**
 * The clock of leases.
 *
 * Guarantees: it goes on while the machine sleeps, or the daemon is stopped, and does not move when somebody sets the time
 * (CLOCK_BOOTTIME, which Node reads as the uptime). performance.now() stands still while a machine sleeps: a host that woke up
 * would believe that it still has its share.
 * Limits: hundredths of a second.
 */
import { uptime } from 'node:os';

export const seconds = (): number => uptime();
