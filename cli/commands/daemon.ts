/**
 * `cleat daemon`: become the daemon; `cleat config`: show what it would be told.
 *
 * Guarantees: flags, environment and file are read by both in the same way (cli/commands/daemon-settings.ts); the rest is in service/main.ts.
 * Limits: beside `replay` (journal.ts), this is the only import from cli/ into service/ (`#daemon`, made by scripts/bundle.ts). It
 * is loaded when this subcommand runs, so no other subcommand loads any code of the daemon.
 */
import { join } from 'node:path';
import { Option, type Command } from 'commander';
import { Session, subcommand } from '../command.ts';
import { Failure } from '../failure.ts';
import { fromEnvironment } from '../places.ts';
import {
  addSettings,
  environmentLayer,
  flagLayer,
  settle,
  SETTINGS,
  type Layer,
  type Value,
} from './daemon-settings.ts';
import { complain } from '../terminal.ts';

const ADDON_HINT =
  'The addon needs libmnl0 and libnftnl11 (their names in Debian), and the processor and the C library that it was built for. ' +
  'Otherwise build cleat on this machine: npm run setup -- --build && npm run build.';

/** Loads the daemon. An addon that this machine cannot load is a failure of whoever has installed it. */
async function theDaemon() {
  try {
    // oxlint-disable-next-line no-restricted-imports -- the import described above
    return await import('#daemon');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== 'MODULE_NOT_FOUND' && code !== 'ERR_DLOPEN_FAILED') throw error;
    const [reason = ''] = message.split('\n');
    throw new Failure({ code: 'NOT_LOADED', message: `the daemon cannot be loaded: ${reason}`, hint: ADDON_HINT });
  }
}

/** Returns the places where settings come from, the weakest first. */
async function layersOf(command: Command): Promise<Layer[]> {
  const { readSettings } = await theDaemon();
  const named = command.opts<{ config?: string }>().config ?? fromEnvironment('CONFIG');
  const found = readSettings(named, process.env);
  if ('message' in found) throw new Failure(found);
  const files = found.files.map(({ path, options }) => ({
    from: () => path,
    values: new Map(Object.entries(options)),
  }));
  return [...files, environmentLayer(process.env), flagLayer(command)];
}

export function addDaemonCommand(program: Command): void {
  const daemon = subcommand(program, 'daemon', 'run the daemon, in the foreground unless --detach is given', [
    'cleat daemon',
    'cleat daemon --detach                         # returns when it serves, and prints its pid',
    'cleat daemon --run-dir /tmp/c/run --state-dir /tmp/c/state --netns-dir /tmp/c/netns',
  ]);
  daemon
    .option('-d, --detach', 'in the background: return when it serves; it writes daemon.log beside its socket')
    .addOption(new Option('--no-detach').hideHelp()); // what --detach adds for the process in the background
  addSettings(daemon);
  daemon.action(async (flags: { detach?: boolean }, command: Command) => {
    const settings = Object.fromEntries(settle(await layersOf(command)));
    if (flags.detach === true) return detach(settings, command);
    const { main } = await theDaemon();
    await main(settings, complain);
  });

  const config = subcommand(
    program,
    'config',
    'show the settings that a daemon would start with, and where each comes from',
    ['cleat config', 'cleat config --config /etc/cleat/cleat.toml --format json'],
  );
  addSettings(config);
  config.action(async (_flags: unknown, command: Command) => {
    const layers = await layersOf(command);
    const { refuses } = await theDaemon();
    const refusal = refuses(Object.fromEntries(settle(layers)));
    if (refusal !== null) throw new Failure(refusal);
    const settings = explainSettings(layers);
    const rows = settings.map(({ key, value, from }) => [key, toText(value), from]);
    await new Session(command).table(settings, ['SETTING', 'VALUE', 'FROM'], rows);
  });
}

async function detach({ socket, runDir, logLevel }: Record<string, Value>, command: Command): Promise<void> {
  const session = new Session(command);
  const { startDetached } = await import('../process/detach.ts');
  const args = [...process.argv.slice(2), '--no-detach'];
  const place = socket ?? (runDir === undefined ? session.socket : join(String(runDir), 'cleat.sock'));
  const pid = await startDetached(args, String(place), logLevel === undefined ? { CLEAT_LOG_LEVEL: 'warn' } : {});
  session.say({ pid, socket: place }, String(pid));
}

interface Explained {
  key: string;
  value: Value | null;
  from: string;
}

/** Returns each setting with the place that decides it; of pairs, each name. */
function explainSettings(layers: readonly Layer[]): Explained[] {
  return SETTINGS.flatMap((setting): Explained[] => {
    const { name, kind, usual } = setting;
    const key = setting.key ?? setting.flag.split(' ')[0] ?? setting.flag;
    const found = new Map<string, Explained>();
    for (const layer of layers) {
      const value = layer.values.get(name);
      if (value === undefined) continue;
      const from = layer.from(setting);
      if (kind !== 'pairs' || !Array.isArray(value)) found.set(key, { key, value, from });
      else
        for (const word of value) {
          const [left = '', right = ''] = word.split('=');
          found.set(left, { key: `${key}.${left}`, value: right, from });
        }
    }
    return found.size === 0 ? [{ key, value: usual, from: 'default' }] : [...found.values()];
  });
}

const toText = (value: Value | null): string =>
  value === null ? '' : Array.isArray(value) ? value.join(' ') : String(value);
