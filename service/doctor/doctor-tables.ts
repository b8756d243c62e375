/**
 * Checks of `doctor`: how full are the kernel's tables that all containers share?
 *
 * Guarantees: changes nothing. The time it takes does not depend on how full the tables are.
 * Limits: the neighbour tables are those of the whole machine. Only the initial network namespace reports how often they were
 * full.
 */
import { existsSync, readFileSync } from 'node:fs';
import { shareLimit } from '../../plan/kernel/share.ts';
import type { Outside } from '../../native/index.ts';
import type { Limits } from '../../state/limits.ts';
import type { Check } from '../../state/answers/doctor.ts';

/** The share from which a table counts as nearly full, whatever fills it. */
const NEARLY_FULL = 0.9;

export async function tableChecks(native: Outside, limits: Limits): Promise<Check[]> {
  const neighbours = (await native.neighbourUse()).map((table) => {
    const path = `/proc/net/stat/${table.family === 4 ? 'arp_cache' : 'ndisc_cache'}`;
    const statistics = existsSync(path) ? readFileSync(path, 'utf8') : null;
    return neighbourCheck(table, shareLimit(limits['neighbours-per-container'], table.maximum), statistics);
  });
  return [await connectionCheck(native, limits['tracked-per-container']), ...neighbours];
}

async function connectionCheck(native: Outside, asked: number | null): Promise<Check> {
  const { entries, maximum } = await native.conntrackUse();
  const ok = entries < maximum * NEARLY_FULL || maximum === 0;
  const limit = shareLimit(asked, maximum);
  return {
    name: 'connections',
    ok,
    severity: 'warning',
    text: `${entries} connections are tracked, of ${maximum} that can be; one container may have ${limit}`,
    ...(ok
      ? {}
      : {
          hint: 'raise net.netfilter.nf_conntrack_max, or start the daemon with a lower --limit tracked-per-container=N',
        }),
  };
}

/**
 * Checks one neighbour table. `statistics`: a line of names, and one line for each CPU, in hexadecimal (neigh_stat_seq_show in
 * net/core/neighbour.c); null outside the initial network namespace. Permanent neighbours count towards no threshold.
 */
export function neighbourCheck(
  { family, entries, maximum }: { family: 4 | 6; entries: number; maximum: number },
  limit: number,
  statistics: string | null,
): Check {
  const full = statistics === null ? 0 : timesFull(statistics);
  const since = statistics === null ? '' : `; since it started there was no room for one ${full} times`;
  return {
    name: 'neighbours',
    ok: true,
    severity: 'note',
    text:
      `this machine has ${entries} IPv${family} neighbours, permanent ones included, and may have ${maximum} others; ` +
      `one container may have ${limit}${since}`,
    ...(full === 0 ? {} : { hint: `raise net.ipv${family}.neigh.default.gc_thresh3 (1, 2 and 3)` }),
  };
}

function timesFull(statistics: string): number {
  const [names = [], ...cpus] = statistics
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/));
  const column = names.indexOf('table_fulls');
  return cpus.reduce((sum, values) => sum + Number.parseInt(values[column] ?? '0', 16), 0);
}
