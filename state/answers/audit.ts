/**
 * The findings of the audit: objects without an owner, and objects that a snapshot names but that are missing; and what a
 * repair did about them.
 */
import { z } from 'zod';
import { DRIFT_KINDS } from '../drift.ts';
import { Fault } from '../faults.ts';

export const Finding = z.object({
  kind: z.enum([...DRIFT_KINDS, 'namespace', 'network', 'snapshot', 'process', 'file']),
  object: z.string(),
  problem: z.enum(['leaked', 'missing', 'changed', 'owned twice', 'unreadable']),
  owner: z.string().optional(),
  removable: z
    .literal(true)
    .optional()
    .describe('It is ours and nobody names it: a repair takes it away. Absent for what a repair leaves as it is'),
});
export type Finding = z.infer<typeof Finding>;

export const AuditReport = z.object({
  clean: z.boolean(),
  containers: z.int(),
  links: z.int(),
  namespaces: z.int(),
  ports: z.int(),
  findings: z.array(Finding),
});
export type AuditReport = z.infer<typeof AuditReport>;

/** The findings of an audit after the repair, and the result for each finding from before. */
export const RepairReport = AuditReport.extend({
  removed: z.array(Finding).describe('What is not there any more'),
  refused: z.array(Finding.extend({ fault: Fault })).describe('What could not be removed, and why'),
});
export type RepairReport = z.infer<typeof RepairReport>;
