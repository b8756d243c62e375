/**
 * Host ports as text for people, and as keys that distinguish them.
 *
 * Guarantees: pure. "" is any address of the host, and is left out.
 */

/** "8080", or "8080-8089" for a range of ten. */
export const span = (first: number, range: number): string =>
  range > 1 ? `${first}-${first + range - 1}` : String(first);

/** "[::1]:8080/tcp", "127.0.0.1:8080-8089/udp", "8080/tcp". */
export function portText(protocol: string, hostIp: string, first: number, range = 1): string {
  const at = hostIp === '' ? '' : hostIp.includes(':') ? `[${hostIp}]:` : `${hostIp}:`;
  return `${at}${span(first, range)}/${protocol}`;
}

export const portKey = (protocol: string, hostIp: string, port: number): string => `${protocol} ${hostIp} ${port}`;
