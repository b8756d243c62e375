/**
 * What the auditor finds: something that nobody names, or something named that is not there.
 *
 * Guarantees: types alone.
 */
export interface Finding {
  kind: 'link' | 'namespace' | 'port' | 'address' | 'neighbour' | 'table' | 'snapshot' | 'uplink' | 'dns';
  object: string;
  problem: 'leaked' | 'missing' | 'owned twice' | 'unreadable';
  owner?: string;
}
