/**
 * Decides whether the daemon traces, and loads what that needs.
 *
 * Guarantees: without an endpoint nothing of OpenTelemetry is loaded. An endpoint on the command line that is no URL ends the
 * start with a fault; one in the standard variables does not, because they may be meant for others: the packages log it.
 * Limits: OTEL_SDK_DISABLED=true and OTEL_TRACES_EXPORTER=none turn traces off whoever gave the endpoint.
 */
import { FaultError } from '../../state/faults.ts';
import type { Log } from '../report/log.ts';
import { Traces } from './traces.ts';

/** Has the variables that name an endpoint; the one for traces alone goes first. */
const ENDPOINTS = ['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT', 'OTEL_EXPORTER_OTLP_ENDPOINT'];

type Environment = Readonly<Record<string, string | undefined>>;

export async function openTraces(
  endpoint: string | null,
  { log, version, environment }: { log: Log; version: string; environment: Environment },
): Promise<Traces | null> {
  const given = endpoint ?? ENDPOINTS.map((name) => environment[name]?.trim()).find((url) => url);
  if (given === undefined || isOff(environment)) return null;
  const url = URL.canParse(given) ? new URL(given) : null;
  if (endpoint !== null && !['http:', 'https:'].includes(url?.protocol ?? ''))
    throw new FaultError('BAD_REQUEST', `the OTLP endpoint ${endpoint} is no URL that begins with http:// or https://`);
  // It is shown without a user and a password.
  const shown = url === null ? given : `${url.origin}${url.pathname}`;
  // oxlint-disable-next-line no-restricted-imports -- a bundle of its own (scripts/bundle.ts)
  const { connect } = await import('#traces');
  return new Traces(connect({ endpoint, shown, version, log }));
}

const isOff = (environment: Environment): boolean =>
  environment['OTEL_SDK_DISABLED']?.trim().toLowerCase() === 'true' ||
  environment['OTEL_TRACES_EXPORTER']?.trim() === 'none';
