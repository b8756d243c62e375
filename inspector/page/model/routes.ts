/**
 * Keeps in the fragment of the address which part of the page is shown, so that a link leads back and the browser's buttons work.
 *
 * Guarantees: pure; any text is a route, and an unknown one is the list of containers.
 */

export type Route =
  | { place: 'containers'; id: string | null }
  | { place: 'shared'; key: string | null }
  | { place: 'map' }
  | { place: 'drift' };

export function parseRoute(fragment: string): Route {
  const [place = '', ...rest] = fragment.replace(/^#?\/?/, '').split('/');
  const subject = rest.length === 0 || rest[0] === '' ? null : decoded(rest.join('/'));
  switch (place) {
    case 'shared':
      return { place, key: subject };
    case 'map':
    case 'drift':
      return { place };
    default:
      return { place: 'containers', id: subject };
  }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function fragmentOf(route: Route): string {
  const subject = route.place === 'containers' ? route.id : route.place === 'shared' ? route.key : null;
  return `#/${route.place}${subject === null ? '' : `/${encodeURIComponent(subject)}`}`;
}
