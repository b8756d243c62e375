/**
 * Names an event as people read it: in the charts, in the documents, and in the timeline.
 *
 * Guarantees: pure; done(ensureLink), failed(ensureLink), always, done (of a nested state), or the event as it is.
 */
export function eventName(type: string): string {
  const child = /^xstate\.(done|error)\.actor\.(?:\d+\.)?(.+)$/.exec(type);
  if (child !== null) return `${child[1] === 'done' ? 'done' : 'failed'}(${child[2]})`;
  if (type.startsWith('xstate.done.state.')) return 'done';
  if (type === 'xstate.init') return 'start';
  return type === '' ? 'always' : type;
}
