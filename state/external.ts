/**
 * Attachments that a program of others makes: what the program was given, and what it answered.
 *
 * Guarantees: a snapshot has the whole request, so that the teardown replays it word for word, whatever has become of the
 * files that it was read from. Field names of others (conflist, libnetwork) are theirs.
 * Limits: the members of a plugin's configuration are the plugin's: they are passed on, and only `type`, `capabilities` and
 * `ipam` are read.
 */
import { z } from 'zod';
import { FaultError } from './faults.ts';

/** The drivers whose networks other programs make. */
export const EXTERNAL_DRIVERS = ['cni', 'netavark'] as const;
export type ExternalDriver = (typeof EXTERNAL_DRIVERS)[number];

/** The versions of the CNI specification that differ in what a runtime does. */
export const CNI_VERSIONS = ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;

/** The specification's rule for names of networks. */
const CNI_NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

export const CniPlugin = z.looseObject({
  /** The name of an executable in one of the plugin directories: never a path. */
  type: z.string().max(100).regex(CNI_NAME, 'the type of a plugin is the name of its executable, without a path'),
  capabilities: z.record(z.string(), z.boolean()).optional(),
});
export type CniPlugin = z.infer<typeof CniPlugin>;

/** A network configuration list (SPEC.md, section 1). */
export const CniList = z.looseObject({
  cniVersion: z.enum(CNI_VERSIONS, `cniVersion is one of ${CNI_VERSIONS.join(', ')}`),
  name: z.string().max(100).regex(CNI_NAME, 'the name of a network is letters, digits, "_", "." and "-"'),
  disableCheck: z.boolean().optional(),
  plugins: z.array(CniPlugin).min(1, 'a conflist has at least one plugin').max(32),
});
export type CniList = z.infer<typeof CniList>;

/** Holds what a network gives to each of its containers: the program, and the configuration as it is at that moment. */
export const ExternalTerms = z.discriminatedUnion('driver', [
  z.object({
    driver: z.literal('cni'),
    /** The conflist was read from this file. */
    file: z.string(),
    list: CniList,
    /** The directories of the plugins (CNI_PATH). */
    path: z.array(z.string()),
  }),
  z.object({
    driver: z.literal('netavark'),
    /** The places where the executable may be. */
    programs: z.array(z.string()),
    /** The directory of netavark's own files (--config). */
    config: z.string(),
    /** The network in libnetwork's form. */
    network: z.looseObject({ name: z.string() }),
  }),
]);
export type ExternalTerms = z.infer<typeof ExternalTerms>;

/** A published port as a program gets it. */
const ExternalPort = z.object({
  protocol: z.enum(['tcp', 'udp', 'sctp']),
  hostIp: z.string(),
  hostPort: z.int(),
  containerPort: z.int(),
  range: z.int(),
});
export type ExternalPort = z.infer<typeof ExternalPort>;

/** Is part of an attachment that a program of others makes. */
export const External = z.object({
  terms: ExternalTerms,
  container: z.object({
    /** As the program knows it: the same for no other container, in no generation. */
    id: z.string(),
    name: z.string(),
  }),
  /** The addresses that the request asked for. */
  ips: z.array(z.string()),
  mac: z.string().nullable(),
  /** The published ports that the program carries. All of the container's, or none. */
  ports: z.array(ExternalPort),
  /** Holds the answer of the program, word for word. Null until it has answered. */
  result: z.record(z.string(), z.unknown()).nullable(),
});
export type External = z.infer<typeof External>;

/**
 * Parses the text of a conflist, or of the configuration of a single plugin, which is a list of one. `file` is for the
 * message.
 */
export function conflist(text: string, file: string): CniList {
  const refuse = (why: string) => new FaultError('CONFLIST_UNUSABLE', `${file}: ${why}`, { object: file });
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw refuse(`it is not JSON (${error instanceof Error ? error.message : String(error)})`);
  }
  const parsed = CniList.safeParse(asList(json));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw refuse(`${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'it is not a conflist'}`);
}

function asList(json: unknown): unknown {
  if (typeof json !== 'object' || json === null || 'plugins' in json || !('type' in json)) return json;
  const { cniVersion, name, ...plugin } = json as Record<string, unknown>;
  return { cniVersion, name, plugins: [plugin] };
}
