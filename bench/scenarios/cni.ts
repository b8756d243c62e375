/**
 * Scenario `cni`: the chain of the CNI plugins (bridge with host-local, portmap, firewall) and cleat as one plugin, with two
 * ports, in turn.
 *
 * Guarantees: everybody gets a namespace that exists. The executable's own cost is the difference between cleat as a plugin and
 * the same requests over a connection that stays open.
 */
import { figure } from '../budgets.ts';
import { ownCost, pluginContender, postContender } from '../contenders/cni-plugin.ts';
import { emptyReport, ms, p50, quantile, times, type Report } from '../report.ts';
import { noteErrors, takeTurns } from '../rounds.ts';
import { pick, type Context, type Scenario } from '../scenario.ts';

const COLUMNS = ['', 'n', 'p50', 'p90', 'to cleat'];

export const cniChain: Scenario = { name: 'cni', run };

async function run(context: Context): Promise<Report[]> {
  const daemon = await context.cleat();
  const client = daemon?.client() ?? null;
  const mine =
    daemon === null || client === null
      ? []
      : [pluginContender(context.floor, daemon.socket), postContender(context.floor, client)];
  const chain = context.peers.filter(({ name }) => name === 'CNI');
  const results = await takeTurns({
    contenders: [...mine, ...chain],
    warmUp: 10,
    rounds: pick(context, 30, 8),
    peerEvery: 1,
    peerSeconds: pick(context, 15, 3),
    ports: 2,
    firstPort: 30_000,
    nextId: context.nextId,
  });
  const reports = (['create', 'teardown'] as const).map((side) => {
    const title = side === 'create' ? 'CNI: ADD, 2 ports' : 'CNI: DEL until nothing is left, 2 ports';
    const report = emptyReport(title, COLUMNS);
    const of = (name: string) => results.get(name)?.[side] ?? [];
    const plugin = p50(of('cleat as a plugin'));
    for (const [name] of results) {
      const values = of(name);
      if (values.length === 0) continue;
      const middle = p50(values);
      report.rows.push([name, String(values.length), ms(middle), ms(quantile(values, 0.9)), times(middle / plugin)]);
    }
    const added = plugin - p50(of('its requests alone'));
    if (side === 'create') report.checks.push(figure('CNI executable, its own cost', added));
    else report.notes.push(`the executable adds ${ms(added)}`);
    return report;
  });
  noteErrors(reports[0]!, results, chain);
  const { version, nothing } = await ownCost();
  reports[0]?.notes.push(`VERSION, without the daemon: ${ms(version)}; a program that does nothing: ${ms(nothing)}`);
  client?.close();
  return reports;
}
