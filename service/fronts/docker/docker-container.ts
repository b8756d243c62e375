/**
 * Shows a container as Docker's clients read it, in `docker ps` and `docker inspect`.
 *
 * Guarantees: pure. Its networks, addresses and ports are those that cleat shows itself (service/views/network-settings.ts).
 * Limits: cleat knows no image, command, labels or mounts: these are empty. A container runs as long as it has its network, and "Up"
 * counts from its creation.
 */
import type { DockerContainer, DockerInspection, DockerState } from '../../../state/answers/docker.ts';
import type { Inspection } from '../../../state/answers/container/inspection.ts';

/** Go's zero time: "never" in Docker's answers. */
const NEVER = '0001-01-01T00:00:00Z';

/** The part of a container that matters here: each may be of a snapshot, too. */
export type Shown = Pick<
  Inspection,
  'id' | 'name' | 'hostname' | 'state' | 'created' | 'netns' | 'bound_to' | 'requested_networks' | 'NetworkSettings'
> & { fault: { message: string } | null };

/** States by their first part; any other one is that of a container that runs. */
const STATES: Readonly<Record<string, DockerState>> = {
  creating: 'created',
  created: 'created',
  configuring: 'created',
  abandoning: 'removing',
  tearingDown: 'removing',
  draining: 'removing',
  releasing: 'removing',
  gone: 'removing',
  failed: 'dead',
  teardownFailed: 'dead',
  error: 'dead',
};

/** Returns the state that Docker has for one of cleat's. */
export const dockerState = (state: string): DockerState => STATES[state.split('.')[0] ?? ''] ?? 'running';

const modeOf = ({ netns, requested_networks: requested }: Shown): string => {
  if (netns.mode === 'host') return 'host';
  if (netns.mode === 'container') return `container:${netns.id}`;
  return Object.keys(requested)[0] ?? 'none';
};

/** `now`: milliseconds since the epoch. */
export function dockerContainer(shown: Shown, now: number): DockerContainer {
  const { id, name, state, created, NetworkSettings } = shown;
  const State = dockerState(state);
  return {
    Id: id,
    Names: [`/${name}`],
    Image: '',
    ImageID: '',
    Command: '',
    Created: Math.floor(Date.parse(created) / 1000),
    Ports: Object.entries(NetworkSettings.Ports).flatMap(([port, bindings]) => {
      const [inner, Type = 'tcp'] = port.split('/');
      return bindings.map(({ HostIp, HostPort }) => ({
        IP: HostIp,
        PrivatePort: Number(inner),
        PublicPort: Number(HostPort),
        Type,
      }));
    }),
    Labels: {},
    State,
    Status: statusOf(State, now - Date.parse(created)),
    HostConfig: { NetworkMode: modeOf(shown) },
    NetworkSettings: { Networks: NetworkSettings.Networks },
    Mounts: [],
  };
}

const STATUS: Record<Exclude<DockerState, 'running'>, string> = {
  created: 'Created',
  removing: 'Removal In Progress',
  dead: 'Dead',
};

const statusOf = (state: DockerState, ms: number): string =>
  state === 'running' ? `Up ${humanDuration(ms / 1000)}` : STATUS[state];

/** Says a time as Docker does (go-units, HumanDuration). */
function humanDuration(seconds: number): string {
  const [minutes, hours] = [Math.floor(seconds / 60), Math.round(seconds / 3600)];
  if (seconds < 1) return 'Less than a second';
  if (seconds < 2) return '1 second';
  if (seconds < 60) return `${Math.floor(seconds)} seconds`;
  if (minutes === 1) return 'About a minute';
  if (minutes < 60) return `${minutes} minutes`;
  if (hours === 1) return 'About an hour';
  if (hours < 48) return `${hours} hours`;
  if (hours < 24 * 7 * 2) return `${Math.floor(hours / 24)} days`;
  if (hours < 24 * 30 * 2) return `${Math.floor(hours / 24 / 7)} weeks`;
  if (hours < 24 * 365 * 2) return `${Math.floor(hours / 24 / 30)} months`;
  return `${Math.floor(seconds / 3600 / 24 / 365)} years`;
}

export function dockerInspection(shown: Shown): DockerInspection {
  const { id, name, hostname, state, created, bound_to: pid, fault, NetworkSettings } = shown;
  const Status = dockerState(state);
  return {
    Id: id,
    Created: created,
    Path: '',
    Args: [],
    State: {
      Status,
      Running: Status === 'running',
      Paused: false,
      Restarting: false,
      OOMKilled: false,
      Dead: Status === 'dead',
      Pid: pid ?? 0,
      ExitCode: 0,
      Error: fault?.message ?? '',
      StartedAt: Status === 'running' ? created : NEVER,
      FinishedAt: NEVER,
    },
    Image: '',
    Name: `/${name}`,
    RestartCount: 0,
    Driver: '',
    Platform: 'linux',
    HostConfig: { NetworkMode: modeOf(shown), PortBindings: NetworkSettings.Ports },
    Mounts: [],
    Config: { Hostname: hostname ?? '', Domainname: '', Image: '', Labels: {} },
    NetworkSettings,
  };
}
