/**
 * Reads a request of a CNI runtime.
 *
 * Guarantees: throws BAD_REQUEST with the path of what is wrong, which begins with `env` or `config`, or UNSUPPORTED for a field
 * that is not known, with its value, as the specification asks.
 */
import type { z } from 'zod';
import { FaultError } from '../../../state/faults.ts';
import { CNI_VERSIONS, CniRequest, CniVersion } from '../../../state/fronts/cni.ts';
import { parse } from '../../requests/parse.ts';

export type Raw = z.infer<typeof CniRequest>;

export const readRequest = (body: unknown): Raw => parse(CniRequest, body);

/** Returns the version to answer in: that of the configuration, if there is such a version. */
export function versionOf(body: unknown): CniVersion {
  const { data } = CniRequest.safeParse(body);
  return CniVersion.safeParse(data?.config.cniVersion).data ?? CNI_VERSIONS[CNI_VERSIONS.length - 1] ?? '1.1.0';
}

/** Reads one half of the request. */
export function read<T>(schema: z.ZodType<T>, half: 'env' | 'config', raw: Raw): T {
  const result = schema.safeParse(raw[half]);
  if (result.success) return result.data;
  const { issues } = result.error;
  const unknown = issues.find(({ code }) => code === 'unrecognized_keys');
  if (unknown?.code === 'unrecognized_keys') {
    const [key = ''] = unknown.keys;
    const path = [...unknown.path, key];
    const value = path.reduce<unknown>((at, step) => (at as Record<PropertyKey, unknown>)[step], raw[half]);
    throw new FaultError('UNSUPPORTED', `the field ${path.join('.')}: ${JSON.stringify(value)} is not supported`);
  }
  const found = issues.slice(0, 20).map(({ path, message }) => ({ path: [half, ...path].join('.'), message }));
  const { path = half, message = 'not understood' } = found[0] ?? {};
  throw new FaultError('BAD_REQUEST', `${path.replace(/^(env|config)\./, '')}: ${message}`, { issues: found });
}
