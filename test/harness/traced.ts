/**
 * Daemons that send traces, and the collectors that take them.
 *
 * Guarantees: both end with the test that began them, however it ends.
 */
import type { Check } from '../../state/answers/doctor.ts';
import { Collector } from './collector.ts';
import { on, TestDaemon } from './daemon.ts';

/** Returns what begins a collector and a daemon in the tests of a suite. */
export function traced(tests: { after: { each: (hook: () => Promise<void>) => void } }) {
  const daemons: TestDaemon[] = [];
  const collectors: Collector[] = [];
  tests.after.each(async () => {
    for (const daemon of daemons.splice(0)) await daemon.kill();
    for (const collector of collectors.splice(0)) await collector.close();
  });
  return {
    listening: async (): Promise<Collector> => {
      const collector = new Collector();
      collectors.push(collector);
      await collector.listen();
      return collector;
    },
    /** The caller starts it. */
    newDaemon: (environment: Record<string, string> = {}): TestDaemon => {
      const daemon = new TestDaemon();
      daemon.environment = environment;
      daemons.push(daemon);
      return daemon;
    },
  };
}

/** Leads a container through a whole life. */
export async function life(daemon: TestDaemon, id: string): Promise<void> {
  await daemon.up(id, { networks: on('cleat') });
  await daemon.down(id);
}

/** Returns what doctor says of traces; undefined if the daemon sends none. */
export async function check(daemon: TestDaemon): Promise<Check | undefined> {
  const { body } = await daemon.get<{ checks: Check[] }>('/v1/doctor');
  return body.checks.find(({ name }) => name === 'traces');
}
