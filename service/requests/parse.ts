/**
 * Checks what a client sent against its schema.
 *
 * Guarantees: throws BAD_REQUEST with the first issue in the message and all of them, up to twenty, as `issues`.
 */
import type { ZodError } from 'zod';
import { FaultError } from '../../state/faults.ts';

export function parse<T>(
  schema: { safeParse(json: unknown): { success: true; data: T } | { success: false; error: ZodError } },
  json: unknown,
): T {
  if (json === undefined) throw new FaultError('BAD_REQUEST', 'the request has no body');
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  const issues = result.error.issues.slice(0, 20).map(({ path, message }) => ({ path: path.join('.'), message }));
  const first = issues[0];
  const where = first === undefined || first.path === '' ? '' : `${first.path}: `;
  throw new FaultError('BAD_REQUEST', `${where}${first?.message ?? 'not understood'}`, { issues });
}
