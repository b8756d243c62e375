/**
 * Writes numbers, times and ports as people read them.
 *
 * Guarantees: pure; a duration has three significant digits at most, so that columns stay narrow.
 */
import type { ContainerView, Fault } from './wire.ts';

/** Returns 0.42 ms, 12 ms, 1.3 s, 4 min, 3 h, 2 d. */
export function duration(ms: number): string {
  if (ms < 0.0005) return '0 ms';
  if (ms < 1000) return `${Number(ms.toPrecision(ms < 10 ? 2 : 3))} ms`;
  const seconds = ms / 1000;
  if (seconds < 60) return `${Number(seconds.toPrecision(2))} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

const two = (n: number): string => String(n).padStart(2, '0');

/** Returns 14:03:07.042, in the time of the reader. */
export function clock(t: number): string {
  const date = new Date(t);
  const parts = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(':');
  return `${parts}.${String(date.getMilliseconds()).padStart(3, '0')}`;
}

export const dateOf = (t: number): string => new Date(t).toLocaleDateString(undefined, { dateStyle: 'medium' });

/** Returns *:8080->80/tcp, as `cleat ps` writes it. */
export function portText({
  host_ip,
  host_port,
  container_port,
  protocol,
  range,
}: ContainerView['ports'][number]): string {
  const host = host_ip === '' ? '*' : host_ip.includes(':') ? `[${host_ip}]` : host_ip;
  const upTo = (port: number): string => (range > 1 ? `${port}-${port + range - 1}` : String(port));
  return `${host}:${upTo(host_port)}->${upTo(container_port)}/${protocol}`;
}

/** Returns LINK_BUSY: the message (step, errno). */
export function faultText({ code, message, step, errno }: Fault): string {
  const where = [step, errno].filter((part) => part !== undefined).join(', ');
  return `${code}: ${message}${where === '' ? '' : ` (${where})`}`;
}

export const plural = (n: number, word: string): string => `${n} ${word}${n === 1 ? '' : 's'}`;
