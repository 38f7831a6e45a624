// Tables of hosts and devices, for their lists and for `cistern status`.
import { formatAge, formatBytes, formatSeconds, plural } from './format.ts';
import type { Column, Output } from './output.ts';
import type { Device, Host } from './types.ts';

export function hostColumns(out: Output): Column<Host>[] {
  return [
    { head: 'host', cell: (h) => h.name },
    { head: 'zone', cell: (h) => h.zone || '-' },
    {
      head: 'state',
      cell: (h) => h.state,
      paint: (h) => (h.state === 'up' ? out.color.green : out.color.red),
    },
    { head: 'seen', cell: (h) => (out.terminal ? formatAge(h.seen) : h.seen) },
    { head: 'clock', cell: (h) => `${h.clockOffset} ms`, right: true },
    { head: 'devices', cell: (h) => h.devices.join(',') || '-' },
    { head: 'url', cell: (h) => h.url },
  ];
}

export function deviceColumns(out: Output): Column<Device>[] {
  const bytes = (n: number) => (out.terminal ? formatBytes(n) : String(n));
  return [
    { head: 'device', right: true, cell: (d) => String(d.id) },
    { head: 'host', cell: (d) => d.host },
    { head: 'state', cell: (d) => d.state, paint: (d) => (d.state === 'alive' ? String : out.color.yellow) },
    {
      head: 'now',
      cell: (d) => (d.observed === 'down' ? 'down' : d.condition),
      paint: (d) => (d.observed === 'up' && d.condition === 'ok' ? out.color.green : out.color.red),
    },
    { head: 'free', right: true, cell: (d) => bytes(d.free) },
    { head: 'total', right: true, cell: (d) => bytes(d.total) },
    { head: 'blobs', right: true, cell: (d) => String(d.blobs) },
    {
      head: 'errors',
      right: true,
      cell: (d) => String(d.errors),
      paint: (d) => (d.errors === 0 ? String : out.color.red),
    },
    {
      head: 'scrubbed',
      cell: ({ scrub }) => {
        if (scrub?.completed == null) return '-';
        const at = new Date(scrub.completed).toISOString();
        return out.terminal ? formatAge(at) : at;
      },
    },
    { head: 'weight', right: true, cell: (d) => String(d.weight) },
    { head: 'why', cell: (d) => [standing(d), d.why].filter(Boolean).join('; ') },
  ];
}

/** How far a device is on its way in or out; '' if it is on none. */
export function standing({ observed, drain, reviving, missed, state }: Device): string {
  if (reviving) return state === 'dead' ? 'reviving: what is on record is given up' : 'reviving: compared';
  if (state === 'dead' && observed === 'up') return 'dead, but its disk answers';
  if (drain !== undefined) return drained(drain);
  return missed ? 'missed: its copies are made elsewhere' : '';
}

function drained(drain: NonNullable<Device['drain']>): string {
  const { empty, replicas, bytes = 0, acceptsUntil, rate, secondsLeft } = drain;
  if (empty) return 'empty';
  if (replicas === undefined) return 'draining: not counted yet';
  if (replicas === 0) {
    return `draining: nothing is left, uploads may still come${acceptsUntil ? ` until ${acceptsUntil}` : ''}`;
  }
  const speed = rate === undefined ? '' : `, ${formatBytes(rate)}/s`;
  const time = secondsLeft === undefined ? '' : `, about ${formatSeconds(secondsLeft)}`;
  return `draining: ${plural(replicas, 'copy', 'copies')} (${formatBytes(bytes)}) left${speed}${time}`;
}
