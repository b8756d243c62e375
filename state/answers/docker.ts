/**
 * What clients of Docker's Engine API are answered (moby, api/types): the fields that cleat knows something of.
 *
 * Guarantees: types, nothing that runs. A field that a client's decoder needs in another type than null is always there.
 */
import type { NetworkSettings } from './container/network-settings.ts';

export interface DockerError {
  message: string;
}

export interface DockerEndpointResource {
  Name: string;
  EndpointID: string;
  MacAddress: string;
  /** With the prefix: 10.89.0.2/24. */
  IPv4Address: string;
  IPv6Address: string;
}

export interface DockerNetwork {
  Name: string;
  Id: string;
  Created: string;
  Scope: 'local';
  Driver: string;
  EnableIPv4: boolean;
  EnableIPv6: boolean;
  IPAM: {
    Driver: string;
    Options: Record<string, string>;
    Config: { Subnet: string; IPRange?: string; Gateway?: string }[];
  };
  Internal: boolean;
  Attachable: false;
  Ingress: false;
  ConfigFrom: { Network: '' };
  ConfigOnly: false;
  Containers: Record<string, DockerEndpointResource>;
  Options: Record<string, string>;
  Labels: Record<string, string>;
}

/** The states of Docker that a container of cleat can be in. */
export type DockerState = 'created' | 'running' | 'removing' | 'dead';

export interface DockerContainer {
  Id: string;
  Names: string[];
  Image: string;
  ImageID: string;
  Command: string;
  /** Seconds since the epoch. */
  Created: number;
  Ports: { IP?: string; PrivatePort: number; PublicPort?: number; Type: string }[];
  Labels: Record<string, string>;
  State: DockerState;
  Status: string;
  HostConfig: { NetworkMode: string };
  NetworkSettings: { Networks: NetworkSettings['Networks'] };
  Mounts: [];
}

export interface DockerInspection {
  Id: string;
  Created: string;
  Path: string;
  Args: [];
  State: {
    Status: DockerState;
    Running: boolean;
    Paused: false;
    Restarting: false;
    OOMKilled: false;
    Dead: boolean;
    Pid: number;
    ExitCode: 0;
    Error: string;
    StartedAt: string;
    FinishedAt: string;
  };
  Image: string;
  Name: string;
  RestartCount: 0;
  Driver: string;
  Platform: 'linux';
  HostConfig: { NetworkMode: string; PortBindings: NetworkSettings['Ports'] };
  Mounts: [];
  Config: { Hostname: string; Domainname: string; Image: string; Labels: Record<string, string> };
  NetworkSettings: NetworkSettings;
}

export interface DockerEvent {
  Type: 'network';
  Action: 'create' | 'connect' | 'disconnect' | 'update' | 'destroy';
  Actor: { ID: string; Attributes: Record<string, string> };
  scope: 'local';
  /** Seconds, and nanoseconds, since the epoch. */
  time: number;
  timeNano: number;
}
