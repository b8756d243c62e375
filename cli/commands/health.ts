/**
 * The checks: audit (compares the kernel with the daemon's records), doctor (checks the machine), info, version.
 *
 * Guarantees: `audit --repair` removes exactly what `audit` lists as removable. audit and doctor exit with 1 if something is
 * wrong, so that scripts need not parse the text.
 */
import type { Command } from 'commander';
import { CleatError } from '../../client/error.ts';
import type { Finding, RepairReport } from '../../state/answers/audit.ts';
import { Session, subcommand } from '../command.ts';
import { EXIT } from '../failure.ts';

export function addHealthCommands(program: Command, clientVersion: string): void {
  subcommand(program, 'audit', 'compare the kernel with what should be: what leaked, what is missing', [
    'cleat audit && echo clean',
    'cleat audit --repair',
  ])
    .option('--repair', 'take away what leaked and is removable; what is listed without this option is what would go')
    .action(async ({ repair = false }: { repair?: boolean }, command: Command) => {
      const session = new Session(command);
      const client = await session.client();
      const report = repair ? await client.call('POST /v1/audit/repair') : await client.call('GET /v1/audit');
      if (!report.clean) process.exitCode = EXIT.failed;
      const { removed = [], refused = [] }: Partial<RepairReport> = report;
      if (session.plain && report.clean && removed.length === 0) {
        return session.say(report, 'clean: the kernel holds what it should, and nothing else');
      }
      const row = (first: string, { kind, object, owner = '' }: Finding, last: string) => [
        first,
        kind,
        object,
        owner,
        last,
      ];
      const why = (one: Finding) =>
        refused.find(({ kind, object }) => kind === one.kind && object === one.object)?.fault.message;
      const rows = [
        ...removed.map((one) => row('removed', one, '')),
        ...report.findings.map((one) =>
          row(one.problem, one, why(one) ?? (one.removable === true ? 'by --repair' : '')),
        ),
      ];
      await session.table(report, ['PROBLEM', 'KIND', 'OBJECT', 'OWNER', 'REMOVABLE'], rows);
    });

  subcommand(program, 'doctor', 'check that this machine is fit for cleat', ['cleat doctor']).action(
    async (_flags: unknown, command: Command) => {
      const session = new Session(command);
      const report = await (await session.client()).call('GET /v1/doctor');
      if (report.checks.some(({ ok, severity }) => !ok && severity === 'error')) process.exitCode = EXIT.failed;
      const lines = report.checks.flatMap(({ name, ok, severity, text, hint }) => {
        const verdict = ok ? (severity === 'note' ? 'note' : 'ok') : severity;
        const advice = ok || hint === undefined ? [] : [`${' '.repeat(9)}Hint: ${hint}`];
        return [`${verdict.padEnd(9)}${name}: ${text}`, ...advice];
      });
      session.say(report, lines);
    },
  );

  subcommand(program, 'info', 'what there is: the daemon, its containers by state, its networks by driver', [
    'cleat info',
    "cleat info --format '{{.containers.up}}'",
  ]).action(async (_flags: unknown, command: Command) => {
    const session = new Session(command);
    const client = await session.client();
    const daemon = await client.call('GET /v1/version');
    const containers = await client.call('GET /v1/containers');
    const networks = await client.call('GET /v1/networks');
    const info = {
      client: { version: clientVersion, socket: session.socket },
      daemon,
      containers: {
        all: containers.length,
        up: 0,
        ...count(containers.map(({ state }) => state.split('.')[0] ?? state)),
      },
      networks: { all: networks.length, ...count(networks.map(({ driver }) => driver)) },
    };
    const parts = (counts: Record<string, number>) =>
      Object.entries(counts).map(([name, n]) => (name === 'all' ? String(n) : `${n} ${name}`));
    session.say(info, [
      `client      ${clientVersion}, at ${session.socket}`,
      `daemon      ${daemon.version} (API ${daemon.api}, instance ${daemon.instance}, pid ${daemon.pid})`,
      `containers  ${parts(info.containers).join(', ')}`,
      `networks    ${parts(info.networks).join(', ')}`,
    ]);
  });

  subcommand(program, 'version', 'versions of this client and of the daemon', ['cleat version']).action(
    async (_flags: unknown, command: Command) => {
      const session = new Session(command);
      try {
        const daemon = await (await session.client()).call('GET /v1/version');
        const { version, api, instance, pid } = daemon;
        const words = `daemon ${version} (API ${api}, instance ${instance}, pid ${pid})`;
        session.say({ client: { version: clientVersion }, daemon }, [`client ${clientVersion}`, words]);
      } catch (error) {
        if (!(error instanceof CleatError)) throw error;
        session.say({ client: { version: clientVersion }, daemon: null }, `client ${clientVersion}`);
        throw error;
      }
    },
  );
}

/** Returns how often each word is there. */
function count(words: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const word of words) counts[word] = (counts[word] ?? 0) + 1;
  return counts;
}
