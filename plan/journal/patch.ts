/**
 * The difference of two values of plain JSON as a JSON Patch (RFC 6902), and its application.
 *
 * Guarantees: pure; neither changes its arguments. `patched(before, difference(before, after))` is `after`. Parts that are the
 * same object are not looked into: contexts of a machine share what an event has not changed, so a difference costs what has
 * changed. A path names own members only, so a patch from a stranger reaches no prototype.
 * Limits: the operations add, replace and remove. A list of another length is replaced as a whole. An undefined member counts as
 * absent, as in JSON.
 *
 * Libraries for RFC 6902 compare everything, or do more than this (move, test, undo), and none shares what it has not changed.
 */
import type { PatchOperation } from '../../state/answers/container/history.ts';

type Json = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null;

const escaped = (key: string): string => key.replaceAll('~', '~0').replaceAll('/', '~1');
const unescaped = (token: string): string => token.replaceAll('~1', '/').replaceAll('~0', '~');

/** Returns the operations that lead from one value to another. */
export function difference(before: unknown, after: unknown): PatchOperation[] {
  const found: PatchOperation[] = [];
  compare(before, after, '', found);
  return found;
}

function compare(before: unknown, after: unknown, path: string, found: PatchOperation[]): void {
  if (before === after) return;
  const alike =
    isObject(before) &&
    isObject(after) &&
    Array.isArray(before) === Array.isArray(after) &&
    (!Array.isArray(before) || before.length === (after as unknown as unknown[]).length);
  if (!alike) return void found.push({ op: 'replace', path, value: after });
  for (const key of Object.keys(before)) {
    if (before[key] === undefined || (Object.hasOwn(after, key) && after[key] !== undefined)) continue;
    found.push({ op: 'remove', path: `${path}/${escaped(key)}` });
  }
  for (const key of Object.keys(after)) {
    const value = after[key];
    const was = Object.hasOwn(before, key) ? before[key] : undefined;
    if (value === undefined || value === was) continue; // most members, so their paths are not made
    const at = `${path}/${escaped(key)}`;
    if (was === undefined) found.push({ op: 'add', path: at, value });
    else compare(was, value, at, found);
  }
}

/** Returns the value after these operations. Throws if a path leads nowhere. */
export function patched(value: unknown, operations: readonly PatchOperation[]): unknown {
  return operations.reduce((now, operation) => apply(now, operation.path.split('/').slice(1), operation), value);
}

function apply(value: unknown, [token, ...rest]: readonly string[], operation: PatchOperation): unknown {
  if (token === undefined) return operation.op === 'remove' ? undefined : operation.value;
  if (!isObject(value)) throw new Error(`there is no ${operation.path}`);
  const key = unescaped(token);
  const exists = Object.hasOwn(value, key);
  if (!exists && (rest.length > 0 || operation.op !== 'add')) throw new Error(`there is no ${operation.path}`);
  const copy = (Array.isArray(value) ? [...(value as unknown[])] : { ...value }) as Record<string, unknown>;
  if (rest.length > 0 || operation.op !== 'remove') {
    // Not by assignment, which would set the prototype for `__proto__`.
    const next = apply(value[key], rest, operation);
    Object.defineProperty(copy, key, { value: next, enumerable: true, configurable: true, writable: true });
  } else {
    delete copy[key];
  }
  return copy;
}
