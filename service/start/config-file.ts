/**
 * The file with the daemon's settings: cleat.toml, and the drop-ins in cleat.toml.d beside it, which win in the order of their names.
 *
 * Guarantees: a file that is not understood in full is refused by name, line or key, and nothing of it is taken. Only regular files
 * are opened, none that every user may write, and none above 1 MiB.
 * Limits: a drop-in replaces a list as a whole, and adds to a table.
 */
import { closeSync, constants, fstatSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, TomlError } from 'smol-toml';
import { z } from 'zod';
import { FaultError } from '../../state/faults.ts';
import { LEVELS } from '../report/log.ts';
import type { MainOptions } from './settings.ts';

const MAX_BYTES = 1024 * 1024;

const Word = z.string('it is a text in quotes').min(1, 'it is empty');
const Words = z.array(Word, 'it is a list: ["..", ".."]');
const Whole = z.int('it is a whole number').transform(String);
const Seconds = z.number('it is a number of seconds').positive('it is above 0').transform(String);
/** A table of NAME = VALUE, which the command line has as NAME=VALUE. */
const Pairs = z
  .record(Word, z.union([Word, z.number()], 'it is a text in quotes, or a number'), 'it is a table of NAME = VALUE')
  .transform((pairs) => Object.entries(pairs).map(([name, value]) => `${name}=${value}`));
const Program = z
  .strictObject(
    { path: Word, options: Words },
    { error: (issue) => (issue.code === 'invalid_type' ? 'it is a table with path and options' : undefined) },
  )
  .partial();

const File = z
  .strictObject({
    state_dir: Word,
    netns_dir: Word,
    docker_socket: Word,
    publisher: Word,
    drift: Pairs,
    forward_others: z.boolean('it is true or false'),
    limits: Pairs,
    prepared_namespaces: Whole,
    default_subnet_pools: Words,
    slirp4netns: Program,
    pasta: Program,
    rootless_uplink: Word,
    cni_plugins: Words,
    netavark: Word,
    plugin_timeout: Seconds,
    etcd: z
      .strictObject(
        { endpoints: Words, ca: Word, cert: Word, key: Word, user: Word, password_file: Word, ttl: Seconds },
        'it is a table: endpoints, ca, ...',
      )
      .partial(),
    advertise: Word,
    forwarder_limits: Pairs,
    exit_when_idle: Seconds,
    log_level: z.enum(LEVELS, `it is one of ${LEVELS.join(', ')}`),
  })
  .partial();

/** A file, and what it says. */
export interface SettingsFile {
  path: string;
  options: MainOptions;
}

/** Returns the settings in the files, the weakest first. `named` is a file that has to exist; the usual one may be missing. */
export function settingsFiles(named: string | undefined, environment: NodeJS.ProcessEnv): SettingsFile[] {
  const file = named ?? usualFile(environment);
  if (file === null) return [];
  const directory = `${file}.d`;
  const first = read(file);
  if (first === null && named !== undefined) throw refusal(file, 'does not exist');
  const dropIns = namesIn(directory).map((name) => ({
    path: join(directory, name),
    text: read(join(directory, name)),
  }));
  return [{ path: file, text: first }, ...dropIns].flatMap(({ path, text }) =>
    text === null ? [] : [understood(path, text)],
  );
}

/** Returns root's file or the user's own; null if nothing says where the latter is. CLEAT_ROOTLESS: inside a user's namespace. */
function usualFile(environment: NodeJS.ProcessEnv): string | null {
  const { CLEAT_ROOTLESS: rootless = '', XDG_CONFIG_HOME: named = '', HOME: home = '' } = environment;
  if (process.getuid?.() === 0 && rootless === '') return '/etc/cleat/cleat.toml';
  if (named.startsWith('/')) return join(named, 'cleat/cleat.toml');
  return home.startsWith('/') ? join(home, '.config/cleat/cleat.toml') : null;
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory)
      .filter((name) => name.endsWith('.toml') && !name.startsWith('.'))
      .sort();
  } catch (error) {
    return absent(directory, error) ?? [];
  }
}

function read(path: string): string | null {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY); // a FIFO does not block
  } catch (error) {
    return absent(path, error);
  }
  try {
    const found = fstatSync(fd);
    if (!found.isFile()) throw refusal(path, 'is not a regular file');
    if ((found.mode & 0o002) !== 0) throw refusal(path, 'can be written by every user: chmod o-w');
    if (found.size > MAX_BYTES) throw refusal(path, `has more than ${MAX_BYTES} bytes`);
    return readFileSync(fd, 'utf8');
  } finally {
    closeSync(fd);
  }
}

/** Returns null if the error says that there is no such file; any other one is a failure. */
function absent(path: string, error: unknown): null {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT' || code === 'ENOTDIR') return null;
  throw refusal(path, `cannot be read: ${message}`);
}

function understood(path: string, text: string): SettingsFile {
  const { data: file, error } = File.safeParse(parseToml(path, text));
  if (file === undefined) throw refusal(path, explain(error.issues[0]));
  const all = {
    stateDir: file.state_dir,
    netnsDir: file.netns_dir,
    dockerSocket: file.docker_socket,
    publisher: file.publisher,
    drift: file.drift,
    forwardOthers: file.forward_others,
    limits: file.limits,
    preparedNamespaces: file.prepared_namespaces,
    subnetPools: file.default_subnet_pools,
    slirp4netns: file.slirp4netns?.path,
    slirp4netnsOptions: file.slirp4netns?.options,
    pasta: file.pasta?.path,
    pastaOptions: file.pasta?.options,
    rootlessUplink: file.rootless_uplink,
    cniPlugins: file.cni_plugins,
    netavark: file.netavark,
    pluginTimeout: file.plugin_timeout,
    etcd: file.etcd?.endpoints,
    etcdCa: file.etcd?.ca,
    etcdCert: file.etcd?.cert,
    etcdKey: file.etcd?.key,
    etcdUser: file.etcd?.user,
    etcdPasswordFile: file.etcd?.password_file,
    etcdTtl: file.etcd?.ttl,
    advertise: file.advertise,
    forwarderLimits: file.forwarder_limits,
    exitWhenIdle: file.exit_when_idle,
    logLevel: file.log_level,
  };
  return { path, options: Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) };
}

function parseToml(path: string, text: string): unknown {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const [what = ''] = error.message.split('\n');
    throw refusal(path, `line ${error.line}, column ${error.column}: ${what}`);
  }
}

function explain(issue: z.core.$ZodIssue | undefined): string {
  const where = issue?.path.join('.') ?? '';
  if (issue?.code !== 'unrecognized_keys') return `${where}: ${issue?.message ?? 'not understood'}`;
  const [unknown = ''] = issue.keys;
  return `there is no setting ${where === '' ? '' : `${where}.`}${unknown}`;
}

const refusal = (path: string, why: string): FaultError =>
  new FaultError('BAD_REQUEST', `${path}: ${why}`, { object: path });
