/**
 * Owners: what leases, ports and names belong to. An owner is one life of a container and is written `id:generation`.
 *
 * Guarantees: pure; an id that has a colon of its own is returned whole.
 */

/** Returns the id of the container that an owner is a life of. */
export const containerIdOf = (owner: string): string => owner.replace(/:\d+$/, '');
