/**
 * Says to Docker's clients what they talk to, and in which versions of the API.
 *
 * Guarantees: a client that is newer or older than the API here is told so in Docker's words, before anything is done. What is not
 * known is empty, not invented.
 * Limits: one shape of answers serves all versions: a field that a version does not know is passed over by its clients.
 */
import { availableParallelism, arch, hostname, release, totalmem } from 'node:os';
import { FaultError } from '../../../state/faults.ts';
import { DRIVERS } from '../../../state/network.ts';
import type { DockerState } from '../../../state/answers/docker.ts';

/** That of Docker 28.2, which the tests use, and that of the client in Debian 12 (20.10). */
export const API_VERSION = '1.50';
const MIN_API_VERSION = '1.41';

export interface About {
  version: string;
  instance: string;
}

export const HEADERS = {
  'api-version': API_VERSION,
  'docker-experimental': 'false',
  ostype: 'linux',
  server: 'cleat (linux)',
  swarm: 'inactive',
};

/** Numbers that are in the order of versions. */
function rank(version: string): number {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major * 10_000 + minor;
}

/** Splits /v1.50/networks into the version, null if none is named, and the path. */
export function splitVersion(url: string): { version: string | null; path: string } {
  const [whole = '', version = null] = /^\/v(\d{1,4}\.\d{1,4})(?=\/)/.exec(url) ?? [];
  return { version, path: url.slice(whole.length) };
}

export function refuseVersion(version: string | null): void {
  if (version === null) return;
  const client = `client version ${version} is too`;
  if (rank(version) > rank(API_VERSION)) {
    throw new FaultError('BAD_REQUEST', `${client} new. Maximum supported API version is ${API_VERSION}`);
  }
  if (rank(version) >= rank(MIN_API_VERSION)) return;
  const upgrade = 'please upgrade your client to a newer version';
  throw new FaultError('BAD_REQUEST', `${client} old. Minimum supported API version is ${MIN_API_VERSION}, ${upgrade}`);
}

const GO_ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'amd64' };
const goArch = (): string => GO_ARCHITECTURES[arch()] ?? arch();

export function dockerVersion({ version }: About): object {
  const shared = { Version: version, ApiVersion: API_VERSION, MinAPIVersion: MIN_API_VERSION };
  const machine = { Os: 'linux', Arch: goArch(), KernelVersion: release() };
  const unknown = { GitCommit: '', GoVersion: '', BuildTime: '' };
  return {
    Platform: { Name: 'cleat: networks alone' },
    Components: [
      { Name: 'Engine', Version: version, Details: { ...unknown, ...machine, ...shared, Experimental: 'false' } },
    ],
    ...shared,
    ...unknown,
    ...machine,
    Experimental: false,
  };
}

/** What `docker info` shows, and what `docker inspect` asks before it looks for services of a swarm. */
export function dockerInfo({ version, instance }: About, states: readonly DockerState[]): object {
  const count = (state: DockerState) => states.filter((one) => one === state).length;
  return {
    ID: instance,
    Name: hostname(),
    ServerVersion: version,
    Containers: states.length,
    ContainersRunning: count('running'),
    ContainersPaused: 0,
    ContainersStopped: states.length - count('running'),
    Images: 0,
    Driver: '',
    Plugins: { Volume: [], Network: [...DRIVERS], Authorization: null, Log: [] },
    SystemTime: new Date().toISOString(),
    KernelVersion: release(),
    OperatingSystem: 'Linux',
    OSType: 'linux',
    Architecture: arch() === 'x64' ? 'x86_64' : arch(),
    NCPU: availableParallelism(),
    MemTotal: totalmem(),
    Swarm: { NodeID: '', NodeAddr: '', LocalNodeState: 'inactive', ControlAvailable: false, Error: '' },
    Warnings: [],
  };
}
