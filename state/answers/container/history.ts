/**
 * The history of a container: one entry per change of state, as `history` shows it, and the lines of its journal, which also
 * have what is needed to show any moment again and to replay the whole (docs/decisions/0051).
 *
 * Guarantees: plain JSON. Lines without a kind are those of earlier daemons: changes of state and notes, nothing else.
 * Limits: the shapes alone. plan/journal/ makes and reads what is in them.
 */
import { z } from 'zod';
import { Drift } from '../../container.ts';
import { Fault } from '../../faults.ts';
import { JOURNAL_VERSION } from '../../versions/journal.ts';

export const JournalEntry = z.object({
  t: z.number().describe('Milliseconds since the epoch'),
  machine: z.string().describe('"container", or the child that moved: "attachment"'),
  event: z.string(),
  from: z.string(),
  to: z.string(),
  ms: z.number().describe('How long the state `from` lasted'),
  fault: Fault.optional(),
  drift: z.array(Drift).optional().describe('What others changed, or what was put back; of much, the first sixteen'),
  by: z.string().optional().describe('Who changed it, where the kernel says so'),
});
export type JournalEntry = z.infer<typeof JournalEntry>;

/** Is one operation of a JSON Patch (RFC 6902). */
export const PatchOperation = z.discriminatedUnion('op', [
  z.object({ op: z.literal('add'), path: z.string(), value: z.unknown() }),
  z.object({ op: z.literal('replace'), path: z.string(), value: z.unknown() }),
  z.object({ op: z.literal('remove'), path: z.string() }),
]);
export type PatchOperation = z.infer<typeof PatchOperation>;

/** Exists for a container in the kernel, as far as the effects that have ended say. `of` names the object that it ends with. */
export const KernelObject = z.object({
  kind: z.enum(['namespace', 'link', 'address', 'port', 'uplink', 'files']),
  name: z.string(),
  detail: z.string(),
  of: z.string().optional(),
  range: z.int().min(1).max(65_535).optional().describe('port: so many consecutive ones, on both sides'),
});
export type KernelObject = z.infer<typeof KernelObject>;

const t = z.number().describe('Milliseconds since the epoch');
const patch = z.array(PatchOperation).optional().describe("What changed in the container's context (RFC 6902)");
const children = z
  .record(z.string(), z.string())
  .optional()
  .describe('The machines that it has invoked, and their states');

export const JournalLine = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('start').describe('From here on everything is known that came before'),
    t,
    how: z.enum(['created', 'restored', 'continued']).describe('continued: the file is full, or lines were lost'),
    machine: z.string().describe('Version of the record (the machine) of the container'),
    input: z.unknown().optional().describe('created: the input of the machine'),
    snapshot: z.unknown().optional().describe('restored, continued: the snapshot of the machine'),
    objects: z.array(KernelObject).optional().describe('continued: what exists'),
  }),
  z.object({
    kind: z.literal('event').describe('Sent to the container'),
    t,
    event: z.string(),
    data: z.record(z.string(), z.unknown()).optional().describe('The other members of the event'),
  }),
  z.object({
    kind: z.literal('effect').describe('An effect or a request has ended, and its machine was told'),
    t,
    machine: z.string(),
    name: z.string(),
    ms: z.number().describe('From its state to its end'),
    waited: z.number().optional().describe('The part of `ms` before it began: earlier effects, the snapshot on disk'),
    output: z.unknown().optional(),
    fault: Fault.optional(),
    made: z.array(KernelObject).optional(),
    gone: z.array(KernelObject).optional(),
  }),
  JournalEntry.extend({
    kind: z.literal('passage').describe('A change of state'),
    patch,
    children,
    ended: z.literal(true).optional().describe('The machine has ended'),
  }),
  z.object({
    kind: z.literal('change').describe("A change of the container's context alone"),
    t,
    event: z.string(),
    state: z.string(),
    patch,
    children,
  }),
  JournalEntry.extend({ kind: z.literal('note').describe('Drift, a repair, a limit: `from` and `to` are the state') }),
  z.object({ kind: z.literal('gap').describe('Lines are missing: they could not be written'), t }),
]);
export type JournalLine = z.infer<typeof JournalLine>;
export type JournalStart = Extract<JournalLine, { kind: 'start' }>;

/** Begins an exported journal. */
export const ExportHeader = z.object({
  journal: z.literal(JOURNAL_VERSION).describe('Version of the format'),
  cleat: z.string().describe('Version of the daemon'),
  machine: z.string().describe('Version of the record (the machine) of the container'),
  id: z.string(),
  exported_at: z.number().describe('Milliseconds since the epoch'),
  kernel: z.string(),
  node: z.string(),
  truncated: z.boolean().describe('The beginning of the history is no longer known'),
});
export type ExportHeader = z.infer<typeof ExportHeader>;

/** Ends an exported journal, which shows that nothing is cut off. */
export const ExportEnd = z.object({
  kind: z.literal('end'),
  lines: z.int().describe('The lines between first and last'),
});
export type ExportEnd = z.infer<typeof ExportEnd>;

export const ExportLine = z.union([ExportHeader, JournalLine, ExportEnd]);
export type ExportLine = z.infer<typeof ExportLine>;
