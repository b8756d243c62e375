/**
 * The API's answers as this client reads them. The API's own description is GET /v1/openapi.json.
 *
 * Guarantees: types only, nothing runs. What is on disk too has its shape from state/.
 * Limits: an answer is not checked against these: the daemon is trusted, and a newer one may say more.
 */
import type { Fault } from '../state/faults.ts';
import type { Drift } from '../state/container.ts';
import type { AttachmentOptions, NetnsSource } from '../state/event.ts';

/** `code` is one of state/faults.ts, or one of this client's: USAGE, UNREACHABLE, NO_ANSWER. */
export type ApiError = Omit<Fault, 'code'> & { code: string; hint?: string };

export interface PublishedPort {
  host_ip: string;
  host_port: number;
  container_port: number;
  protocol: string;
  range: number;
}

/** libnetwork's StatusBlock. */
export interface StatusBlock {
  interfaces: Record<string, { mac_address: string; subnets: { ipnet: string; gateway?: string }[] }>;
}

export interface Container {
  id: string;
  name: string;
  /** "up", "created", "configuring.leasing", ... */
  state: string;
  legal: string[];
  created: string;
  netns: NetnsSource & { path: string | null };
  outside: string | null;
  bound_to: number | null;
  networks: Record<string, StatusBlock>;
  requested_networks: Record<string, AttachmentOptions>;
  /** The program that leads out instead of networks. */
  uplink: { program: string; addresses: { address: string; prefix: number }[] } | null;
  ports: PublishedPort[];
  /** Paths of the files kept for it, null when none were asked for. */
  files: { resolv_conf: string; hosts: string } | null;
  drift: Drift[];
  /** Torn down, but others still use its namespace. */
  owner_gone: boolean;
  /** Why it is not up. */
  fault: Fault | null;
  leftovers: Fault[];
  /** In the answer to an event: what may not be what was meant. */
  warnings?: string[];
}

export interface Gone {
  id: string;
  state: 'gone';
  warnings?: string[];
}

/** One line of the answer to POST /v1/events with many events. */
export interface EventAnswer {
  line: number;
  status: number;
  body: Container | Gone | { error: ApiError };
}

export interface Finding {
  kind: string;
  object: string;
  problem: string;
  owner?: string;
  removable?: true;
}

export interface Audit {
  clean: boolean;
  findings: Finding[];
}

/** The audit afterwards, and what became of what was found before. */
export interface Repair extends Audit {
  removed: Finding[];
  refused: (Finding & { fault: Fault })[];
}

export interface Doctor {
  checks: { name: string; ok: boolean; severity: string; text: string; hint?: string }[];
}

export interface Version {
  version: string;
  api: string;
  instance: string;
  pid: number;
  boot_id: string;
}
