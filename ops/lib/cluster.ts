// Tables of hosts and devices, for their lists and for `cistern status`.
import { formatAge, formatBytes } from './format.ts';
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
    { head: 'why', cell: (d) => d.why ?? '' },
  ];
}
