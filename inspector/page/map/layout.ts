/**
 * Lays out the map of the host: from the left, the host ports, the bridges and programs, and the containers.
 *
 * Guarantees: pure. Rows do not overlap, and a line leads straight from a port through the bridge to its container. A group shows
 * a few of its containers until it is opened.
 */
import type { Box } from '../charts/chart.ts';
import { portText } from '../model/format.ts';
import { addressesOf } from '../model/search.ts';
import type { ContainerView } from '../model/wire.ts';
import { selected, type Group } from './groups.ts';

export interface OutsideBox extends Box {
  name: string;
}

export interface GroupBox extends Box {
  group: Group;
  /** How many containers are not shown. */
  hidden: number;
}

export interface Card extends Box {
  view: ContainerView;
  addresses: string[];
}

export interface PortBox extends Box {
  text: string;
  owner: string;
}

export interface Line {
  path: string;
  /** The container that it belongs to. */
  owner: string;
  kind: 'port' | 'link' | 'also';
}

export interface HostMap {
  width: number;
  height: number;
  outsides: OutsideBox[];
  groups: GroupBox[];
  cards: Card[];
  ports: PortBox[];
  lines: Line[];
}

const PORT = { h: 20, gap: 4 };
const ROW_GAP = 8;
const GROUP_GAP = 18;
const HEAD = 34;
const EDGE = 16;
/** How many of a group are shown before it is opened, and after: more would make the page slow. */
const FEW = 8;
const MANY = 200;
const PORTS_SHOWN = 4;

/** Says where the columns are, and how wide. */
interface Columns {
  port: { x: number; w: number };
  group: { x: number; w: number };
  card: { x: number; w: number };
}
const WIDE: Columns = { port: { x: 16, w: 208 }, group: { x: 320, w: 232 }, card: { x: 660, w: 300 } };
const NARROW: Columns = { port: { x: 10, w: 128 }, group: { x: 158, w: 128 }, card: { x: 310, w: 190 } };
/** The width from which on the wide columns have room. */
const ROOM = 760;

interface Options {
  chosen: string | null;
  /** Holds the keys of the groups that are opened. */
  opened: ReadonlySet<string>;
  /** The width that there is, in pixels. */
  room: number;
}

export function layoutMap(groups: readonly Group[], { chosen, opened, room }: Options): HostMap {
  const columns = room < ROOM ? NARROW : WIDE;
  const width = columns.card.x + columns.card.w + EDGE;
  const map: HostMap = { width, height: 0, outsides: [], groups: [], cards: [], ports: [], lines: [] };
  let y = 0;
  for (const outside of new Set([null, ...groups.map((group) => group.outside)])) {
    const mine = groups.filter((group) => group.outside === outside);
    if (mine.length === 0) continue;
    const top = y;
    y += HEAD;
    for (const group of mine) y = placeGroup(map, columns, group, y, chosen, opened.has(group.key)) + GROUP_GAP;
    map.outsides.push({ x: 0, y: top, w: width, h: y - top, name: outside ?? 'this host' });
    y += GROUP_GAP;
  }
  joinOthers(map, columns, groups);
  map.height = Math.max(0, y - GROUP_GAP);
  return map;
}

function placeGroup(
  map: HostMap,
  columns: Columns,
  group: Group,
  top: number,
  chosen: string | null,
  open: boolean,
): number {
  const { x, w } = columns.group;
  const shown = selected(group.members, chosen, open ? MANY : FEW);
  const hidden = group.members.length - shown.length;
  let y = top;
  for (const { view } of shown) y = placeCard(map, columns, view, y) + ROW_GAP;
  const own = 30 + 15 * group.facts.length + (hidden > 0 || open ? 24 : 0);
  const h = Math.max(y - ROW_GAP - top, own);
  map.groups.push({ x, y: top, w, h, group, hidden });
  return top + h;
}

function placeCard(map: HostMap, { port, group, card }: Columns, view: ContainerView, y: number): number {
  const addresses = addressesOf(view);
  const ports = view.ports.slice(0, PORTS_SHOWN).map(portText);
  const hidden = view.ports.length - ports.length;
  if (hidden > 0) ports.push(`and ${hidden} more`);
  const h = Math.max(26 + 15 * Math.max(1, addresses.length), ports.length * (PORT.h + PORT.gap) - PORT.gap);
  map.cards.push({ x: card.x, y, w: card.w, h, view, addresses });
  const middle = y + h / 2;
  map.lines.push({ path: `M${group.x + group.w} ${middle}H${card.x}`, owner: view.id, kind: 'link' });
  const first = middle - (ports.length * (PORT.h + PORT.gap) - PORT.gap) / 2;
  for (const [i, text] of ports.entries()) {
    const top = first + i * (PORT.h + PORT.gap);
    const at = top + PORT.h / 2;
    map.ports.push({ x: port.x, y: top, w: port.w, h: PORT.h, text, owner: view.id });
    map.lines.push({ path: `M${port.x + port.w} ${at}H${group.x}`, owner: view.id, kind: 'port' });
  }
  return y + h;
}

/** Draws the lines of containers to the other networks that they are on. */
function joinOthers(map: HostMap, columns: Columns, groups: readonly Group[]): void {
  const boxes = new Map(map.groups.map((box) => [box.group.key, box]));
  const also = new Map(groups.flatMap(({ members }) => members.map(({ view, also }) => [view.id, also] as const)));
  const used = new Map<string, number>();
  for (const card of map.cards) {
    for (const [n, key] of (also.get(card.view.id) ?? []).entries()) {
      const box = boxes.get(key);
      if (box === undefined) continue;
      const turn = used.get(key) ?? 0;
      used.set(key, turn + 1);
      const from = card.y + card.h / 2 + 5 * (n + 1);
      const to = Math.min(box.y + 14 + 5 * turn, box.y + box.h - 6);
      const [right, left] = [columns.group.x + columns.group.w, columns.card.x];
      const bend = right + (left - right) / 2;
      map.lines.push({
        path: `M${left} ${from}C${bend} ${from} ${bend} ${to} ${right} ${to}`,
        owner: card.view.id,
        kind: 'also',
      });
    }
  }
}
