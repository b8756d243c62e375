/**
 * The spans of a trace have one clock, whatever the clock of the host does while the trace lasts.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Work, type SpanSource } from '../../service/traces/work.ts';

interface Times {
  name: string;
  start: number;
  end: number;
}

const clock = suite('clock of a trace');

clock('a span lies within the one above, and ends once, although the clock of the host is set meanwhile', () => {
  const seen: Times[] = [];
  const spans = {
    start: (name: string, { startTime }: { startTime: number }) => {
      const times = { name, start: startTime, end: 0 };
      seen.push(times);
      const span = {
        spanContext: () => ({ traceId: '', spanId: '', traceFlags: 1 }),
        setAttributes: () => span,
        end: (t: number) => {
          assert.is(times.end, 0, `${name} has ended already`);
          times.end = t;
        },
      };
      return span;
    },
    fail: () => {},
  } as unknown as SpanSource;
  const now = Date.now;
  try {
    const operation = new Work(spans, 'operation', { attributes: {} });
    Date.now = () => now() - 3_600_000;
    const effect = new Work(spans, 'effect', { parent: operation, attributes: {} });
    Date.now = () => now() + 3_600_000;
    effect.end();
    effect.end();
    operation.end();
  } finally {
    Date.now = now;
  }
  const [operation, effect] = seen as [Times, Times];
  assert.ok(Math.abs(operation.start - now()) < 600_000, 'it begins now');
  assert.ok(operation.start <= effect.start && effect.start <= effect.end && effect.end <= operation.end);
});

clock.run();
