/**
 * Adds Docker's routes that show containers: those that cleat knows, however they were made.
 *
 * Guarantees: nothing is changed. Without `all`, those that run are listed.
 * Limits: containers are made and removed on the daemon's own socket.
 */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { Inspection } from '../../../state/answers/container/inspection.ts';
import { FaultError } from '../../../state/faults.ts';
import type { Containers } from '../../containers/containers.ts';
import { dockerContainer, dockerInspection, type Shown } from '../../fronts/docker/docker-container.ts';
import { choosesContainers, CONTAINER_FILTERS, filtersOf } from '../../fronts/docker/docker-filters.ts';
import { parse } from '../../requests/parse.ts';
import type { ContainerSnapshot } from '../../records/snapshot.ts';

const switched = z.enum(['0', '1', 'false', 'true'], 'it is 0, 1, true or false').default('0');
const isOn = (word: string): boolean => word === '1' || word === 'true';

const size = switched.refine((word) => !isOn(word), 'cleat knows no size of a container');
const Listed = z.strictObject({
  all: switched,
  limit: z
    .string()
    .regex(/^\d{1,6}$/, 'a limit is a number')
    .transform(Number)
    .default(0),
  size,
  filters: z.string().optional(),
});
const Looked = z.strictObject({ size });

export interface DockerContainerParts {
  containers: Pick<Containers, 'all'>;
  /** Null when there is no such container. */
  inspect: (id: string) => Promise<Inspection | null>;
  /** Returns a container without a look into the kernel. */
  outline: (snapshot: ContainerSnapshot) => Shown;
  /** Returns the id of a container. Throws NO_SUCH_CONTAINER. */
  idOf: (ref: string) => string;
}

export function addDockerContainerRoutes(
  api: FastifyInstance,
  { containers, inspect, outline, idOf }: DockerContainerParts,
): void {
  api.get('/containers/json', ({ query }) => {
    const { all, limit, filters } = parse(Listed, query);
    // A limit asks for the latest of all, as in Docker.
    const chosen = choosesContainers(filtersOf(filters, CONTAINER_FILTERS), isOn(all) || limit > 0);
    const now = Date.now();
    const shown = containers
      .all()
      .sort((a, b) => b.context.createdAt - a.context.createdAt)
      .map((snapshot) => dockerContainer(outline(snapshot), now))
      .filter(chosen);
    return limit > 0 ? shown.slice(0, limit) : shown;
  });
  api.get<{ Params: { ref: string } }>('/containers/:ref/json', async ({ params: { ref }, query }) => {
    parse(Looked, query);
    const inspection = await inspect(idOf(ref));
    if (inspection === null) throw new FaultError('NO_SUCH_CONTAINER', `No such container: ${ref}`);
    return dockerInspection(inspection);
  });
}
