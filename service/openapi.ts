/**
 * The API described by itself: OpenAPI 3.1 made from the same zod schemas that check the requests.
 *
 * Guarantees: a schema changed is a description changed. Limits: answers are described by their main shapes.
 */
import { z } from 'zod';
import { LifecycleEvent } from '../state/event.ts';
import { FAULTS, Fault } from '../state/faults.ts';
import { NetworkDefinition, NetworkRequest, NetworkUpdate } from '../state/network.ts';

const schemas = { LifecycleEvent, Fault, NetworkDefinition, NetworkRequest, NetworkUpdate };

const ref = (name: keyof typeof schemas) => ({ $ref: `#/components/schemas/${name}` });
const json = (schema: object) => ({ 'application/json': { schema } });
const answer = (description: string, schema: object) => ({ description, content: json(schema) });
const error = {
  description: `An error: ${Object.keys(FAULTS).join(', ')}`,
  content: json({ type: 'object', properties: { error: ref('Fault') } }),
};
const object = { type: 'object' };
const stats = {
  type: 'object',
  properties: {
    id: { type: 'string' },
    read: { type: 'string', format: 'date-time' },
    interfaces: { type: ['object', 'null'], description: 'By name: network (or null), rx_bytes, ..., tx_dropped' },
    forwarder: {
      type: ['object', 'null'],
      description: 'Of ports that it carries: connections, most_connections, flows, most_flows; full: ports that wait',
    },
  },
};
const changed = {
  allOf: [ref('NetworkDefinition')],
  properties: {
    warnings: {
      type: 'array',
      items: { type: 'string' },
      description: 'What is done, and may not be what was meant; absent where there is nothing to say',
    },
  },
};
const parameter = (name: string, where: 'path' | 'query', description: string) => ({
  name,
  in: where,
  required: where === 'path',
  description,
  schema: { type: 'string' },
});

export function openApi(): object {
  return {
    openapi: '3.1.0',
    info: { title: 'cleat', version: 'v1', description: 'Container networks over a Unix socket.' },
    paths: {
      '/v1/events': {
        post: {
          summary: 'One lifecycle event, or many as NDJSON. `Prefer: respond-async` answers 202 once it is durable.',
          requestBody: { required: true, content: { ...json(ref('LifecycleEvent')), 'application/x-ndjson': {} } },
          responses: { 200: answer('The container after the event, and `warnings`', object), default: error },
        },
        get: {
          summary: 'What happens, as it happens: NDJSON, or SSE with Accept: text/event-stream',
          parameters: [parameter('id', 'query', 'only this container')],
          responses: { 200: answer('One notification per line', object), default: error },
        },
      },
      '/v1/containers': { get: { summary: 'All containers', responses: { 200: answer('List', { type: 'array' }) } } },
      '/v1/containers/{id}': {
        get: {
          summary:
            'One container in full: NetworkSettings as Docker and Podman have it, `drift` where the kernel differs. ' +
            'Waits for a state when asked to.',
          parameters: [
            parameter('id', 'path', 'container'),
            parameter('wait', 'query', 'until it is in this state or has passed it: up, gone, ...'),
            parameter('timeout', 'query', 'milliseconds'),
          ],
          responses: { 200: answer('The container', object), default: error },
        },
      },
      '/v1/containers/{id}/history': {
        get: {
          summary: 'State changes, oldest first',
          parameters: [parameter('id', 'path', 'container')],
          responses: { 200: answer('List', { type: 'array' }), default: error },
        },
      },
      '/v1/containers/{id}/stats': {
        get: {
          summary: 'Counters of each interface but loopback; null without a namespace of its own (netns host)',
          parameters: [parameter('id', 'path', 'container')],
          responses: { 200: answer('Counters', stats), default: error },
        },
      },
      '/v1/stats': {
        get: {
          summary: 'Counters of all containers; null for one whose namespace cannot be read',
          responses: { 200: answer('List', { type: 'array', items: stats }) },
        },
      },
      '/v1/networks': {
        get: {
          summary: 'All networks',
          responses: { 200: answer('List', { type: 'array', items: ref('NetworkDefinition') }) },
        },
        post: {
          summary: 'Make a network; everything but the name has a default',
          requestBody: { required: true, content: json(ref('NetworkRequest')) },
          responses: { 201: answer('The definition, and `warnings`', changed), default: error },
        },
      },
      '/v1/networks/{name}': {
        get: {
          summary: 'One network, by name or (unique beginning of its) id',
          parameters: [parameter('name', 'path', 'network')],
          responses: { 200: answer('The definition', ref('NetworkDefinition')), default: error },
        },
        patch: {
          summary: 'Change a network under its containers: all of them follow, or nothing changes',
          parameters: [parameter('name', 'path', 'network')],
          requestBody: { required: true, content: json(ref('NetworkUpdate')) },
          responses: { 200: answer('The definition, and `warnings`', changed), default: error },
        },
        delete: {
          summary: 'Remove a network that nobody uses',
          parameters: [parameter('name', 'path', 'network')],
          responses: { 204: { description: 'Removed' }, default: error },
        },
      },
      '/v1/audit': {
        get: {
          summary: 'Kernel, mounts, processes and snapshots compared; `removable`: a repair takes it away',
          responses: { 200: answer('Report', object) },
        },
      },
      '/v1/audit/repair': {
        post: {
          summary: 'Take away what is ours and nobody names; for root',
          responses: { 200: answer('Report afterwards, and what was `removed` and `refused`', object), default: error },
        },
      },
      '/v1/doctor': { get: { summary: 'Is this machine fit', responses: { 200: answer('Checks', object) } } },
      '/v1/version': { get: { summary: 'Version and instance', responses: { 200: answer('Version', object) } } },
    },
    components: {
      schemas: Object.fromEntries(
        Object.entries(schemas).map(([name, schema]) => [
          name,
          z.toJSONSchema(schema, { io: 'input', target: 'draft-2020-12' }),
        ]),
      ),
    },
  };
}
