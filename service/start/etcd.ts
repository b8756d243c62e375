/**
 * Says where etcd is, and where other hosts find this one: the daemon's options, with their defaults.
 *
 * Guarantees: one endpoint at least, and a path of each file that is absolute or begins where the command was given; anything else
 * stops the start with the reason. Whether etcd answers, and is the right one, shows later, and stops nothing.
 */
import { resolve } from 'node:path';
import { FaultError } from '../../state/faults.ts';
import { IpAddress } from '../../state/names.ts';
import type { EtcdOptions } from '../overlay/overlays.ts';

const TTL_S = 30;
const [LEAST_S, MOST_S] = [5, 600];

export interface EtcdFlags {
  etcd?: string[];
  etcdCa?: string;
  etcdCert?: string;
  etcdKey?: string;
  etcdUser?: string;
  etcdPasswordFile?: string;
  etcdTtl?: string;
  advertise?: string;
}

const refuse = (message: string) => new FaultError('BAD_REQUEST', message);

export function etcdOf(flags: EtcdFlags): EtcdOptions | null {
  const { etcd = [], etcdCa, etcdCert, etcdKey, etcdUser, etcdPasswordFile, etcdTtl, advertise } = flags;
  const endpoints = etcd.flatMap((text) => text.split(',')).map(endpointOf);
  if (endpoints.length === 0) {
    const [lonely] = Object.entries({
      etcdCa,
      etcdCert,
      etcdKey,
      etcdUser,
      etcdPasswordFile,
      etcdTtl,
      advertise,
    }).flatMap(([name, value]) =>
      value === undefined ? [] : [`--${name.replace(/[A-Z]/, (letter) => `-${letter.toLowerCase()}`)}`],
    );
    if (lonely !== undefined) throw refuse(`${lonely} says nothing without --etcd`);
    return null;
  }
  if (advertise === undefined)
    throw refuse('--etcd needs --advertise: the address of this host at which others reach it');
  const address = IpAddress.safeParse(advertise).data;
  if (address === undefined || isUseless(address))
    throw refuse(`--advertise takes an address of this host that others reach, not ${advertise}`);
  if ((etcdCert === undefined) !== (etcdKey === undefined))
    throw refuse('--etcd-cert and --etcd-key are a pair: give both, or none');
  if ((etcdUser === undefined) !== (etcdPasswordFile === undefined))
    throw refuse('--etcd-user and --etcd-password-file are a pair: give both, or none');
  const path = (file: string | undefined) => (file === undefined ? null : resolve(file));
  return {
    endpoints,
    ca: path(etcdCa),
    cert: path(etcdCert),
    key: path(etcdKey),
    ...(etcdUser === undefined || etcdPasswordFile === undefined
      ? {}
      : { login: { user: etcdUser, passwordFile: resolve(etcdPasswordFile) } }),
    ttl: ttlOf(etcdTtl),
    advertise: address,
  };
}

function endpointOf(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  const isPlain = url !== null && url.pathname === '/' && url.search + url.hash + url.username === '';
  if (isPlain && ['http:', 'https:'].includes(url.protocol)) return url.origin;
  throw refuse(`--etcd takes http://HOST:PORT or https://HOST:PORT, not ${text}`);
}

function ttlOf(text: string | undefined): number {
  if (text === undefined) return TTL_S;
  const seconds = Number(text);
  if (/^\d{1,3}$/.test(text) && seconds >= LEAST_S && seconds <= MOST_S) return seconds;
  throw refuse(`--etcd-ttl takes whole seconds from ${LEAST_S} to ${MOST_S}, not ${text}`);
}

/** Addresses that lead to whoever uses them: loopback, any, multicast. */
const isUseless = (address: string): boolean => /^(0\.|127\.|22[4-9]\.|23\d\.|::1$|::$|ff)/.test(address);
