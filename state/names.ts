/**
 * The schemas of names: ids, interface names, addresses. Every other schema is built from these.
 *
 * Guarantees: a valid name is safe as a file name, as a link name and inside an nftables comment, and has one canonical form
 * (addresses lower case and compressed, MACs lower case).
 * Limits: syntax only. The machines check if an address is free or a network exists.
 */
import ipaddr from 'ipaddr.js';
import { z } from 'zod';

/** CNI's rule for container ids (SPEC.md). */
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

/** Together with its generation an id must fit a firewall comment (128 bytes, libnftnl). */
export const ContainerId = z
  .string()
  .max(100)
  .regex(NAME, 'an id is letters, digits, "_", "." and "-", beginning with a letter or digit');

/** 64 characters, so that an id (64 hex digits) is valid too. */
export const NetworkName = z
  .string()
  .max(64)
  .regex(NAME, 'a network name is letters, digits, "_", "." and "-", beginning with a letter or digit');

/**
 * Labels of letters, digits, "-" and "_" (RFC 1123, with the underscore that container names may have), 253 characters in all.
 */
export const DnsName = z
  .string()
  .max(253)
  .regex(
    /^[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,62})(\.[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,62}))*$/,
    'a host name is labels of letters, digits, "-" and "_", with dots between',
  );

/**
 * dev_valid_name() of the kernel: at most 15 bytes, no "/", no white space, not "." or ".."; ":" is for aliases. Excludes names
 * with another meaning in net.ipv4.conf (devinet.c: sysctl_dev_name_is_allowed()).
 */
export const InterfaceName = z
  .string()
  .min(1)
  .max(15)
  .regex(/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/, 'an interface name is at most 15 letters, digits, "_", "." and "-"')
  .refine((name) => name !== 'all' && name !== 'default', 'no interface can be called "all" or "default"');

const canonical = (text: string): string => ipaddr.process(text).toString();

export const Ipv4 = z.ipv4();
export const Ipv6 = z.ipv6().transform(canonical);
export const IpAddress = z.union([z.ipv4(), z.ipv6()], { error: 'not an IPv4 or IPv6 address' }).transform(canonical);

/** A subnet in CIDR form, its host bits cleared: "10.89.0.7/24" reads as "10.89.0.0/24". */
export const Cidr = z
  .union([z.cidrv4(), z.cidrv6()], { error: 'not a subnet like 10.89.0.0/24 or fd00::/64' })
  .transform((text) => {
    const [address, prefix] = ipaddr.parseCIDR(text);
    const network =
      address.kind() === 'ipv4'
        ? ipaddr.IPv4.networkAddressFromCIDR(text).toString()
        : ipaddr.IPv6.networkAddressFromCIDR(text).toString();
    return `${network}/${prefix}`;
  });

/** Unicast only: the lowest bit of the first byte is the group bit (IEEE 802). */
export const MacAddress = z
  .string()
  .regex(/^[0-9a-fA-F][02468aceACE](:[0-9a-fA-F]{2}){5}$/, 'not a unicast MAC address like 02:00:5e:10:00:01')
  .transform((text) => text.toLowerCase())
  .refine((mac) => mac !== '00:00:00:00:00:00', 'the zero MAC address is not usable');

/** Absolute, without "..", and bounded; later it is opened and checked to be a namespace. */
export const NamespacePath = z
  .string()
  .max(1024)
  .regex(/^\/[^\0]*$/, 'a namespace path is absolute')
  .refine((path) => !path.split('/').includes('..'), 'a namespace path has no ".."');

export const Pid = z.int().min(1).max(4_194_304);
export const PortNumber = z.int().min(1).max(65_535);
export const Mtu = z.int().min(68).max(65_535);

/** http://HOST[:PORT] or unix:///PATH, and nothing else; a path must fit sockaddr_un (unix(7)). */
export const PublisherUrl = z
  .string()
  .max(300)
  .regex(
    /^(http:\/\/([a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:.]+\])(:[1-9]\d{0,4})?\/?|unix:\/\/\/[^\0\s?#%]+)$/,
    'a publisher is http://HOST[:PORT] or unix:///PATH',
  )
  .transform((text) => text.replace(/^(http:.*)\/$/, '$1'))
  .refine((text) => URL.canParse(text), 'the host or the port of the publisher is not one')
  .refine(
    (text) => !text.startsWith('unix:') || Buffer.byteLength(text) - 7 <= 107,
    'the path of the socket is too long',
  );
