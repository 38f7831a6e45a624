// Sizes, times, durations and names as people read and write them.

/** 4711 -> '4.6 KiB'. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];
  let value = bytes;
  let unit = 0;
  // 1023.95 would be shown as '1024.0'.
  while (Math.abs(value) >= 1023.95 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** '2026-11-23T10:00:00.000Z' -> '2026-11-23 10:00:00'; times are in UTC everywhere in Cistern. */
export function formatTime(iso: string | null | undefined): string {
  return iso ? iso.slice(0, 19).replace('T', ' ') : '-';
}

/** How long ago: '3 s ago', '5 min ago', '2 h ago', '4 days ago'; '-' for never. */
export function formatAge(iso: string | null | undefined, now = Date.now()): string {
  if (!iso) return '-';
  return `${formatSeconds(Math.max(0, now - Date.parse(iso)) / 1000)} ago`;
}

/** 75 -> '1 min'. One unit is enough to judge by. */
export function formatSeconds(seconds: number): string {
  if (seconds < 1) return '0 s';
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} days`;
}

/** plural(1, 'file') -> '1 file'; plural(2, 'copy', 'copies') -> '2 copies'. */
export function plural(n: number, one: string, many = `${one}s`): string {
  return `${n.toLocaleString('en-US')} ${n === 1 ? one : many}`;
}

const secondsOf: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86400, w: 604800 };

/** '30d' or a date -> the time in ISO 8601; undefined if it is neither. Units: s, m, h, d, w. */
export function parseExpiry(text: string, now = Date.now()): string | undefined {
  const span = /^(\d{1,6})([smhdw])$/.exec(text);
  if (span)
    return new Date(now + Number(span[1]) * (secondsOf[span[2] as string] as number) * 1000).toISOString();
  const at = /^\d{4}-\d{2}-\d{2}/.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(at) ? undefined : new Date(at).toISOString();
}

const unitsOf: Record<string, string> = {
  second: 's',
  min: 'm',
  minute: 'm',
  hour: 'h',
  day: 'd',
  week: 'w',
};

/**
 * '2h ago', '90 minutes ago', or a time as people write it (in UTC unless it has a zone) -> RFC 3339, as exact as it was
 * given; undefined if it is neither.
 */
export function parsePast(text: string, now = Date.now()): string | undefined {
  const ago = /^(\d{1,6}) ?([a-z]+?)s? ago$/.exec(text.trim());
  if (ago) {
    const unit = ago[2] as string;
    const seconds = secondsOf[unitsOf[unit] ?? unit];
    return seconds === undefined ? undefined : new Date(now - Number(ago[1]) * seconds * 1000).toISOString();
  }
  const at = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d(?:\.\d{1,6})?)?)? ?(Z|UTC|[+-]\d\d:\d\d)?$/i.exec(
    text.trim(),
  );
  if (!at) return undefined;
  const zone = at[4] === undefined || /^(z|utc)$/i.test(at[4]) ? 'Z' : at[4];
  const time = `${at[1]}T${at[2] ?? '00:00'}${at[3] ?? ':00'}${zone}`;
  return Number.isNaN(Date.parse(time)) ? undefined : time;
}

// Controls, and characters that are not seen or turn the direction of what follows: a name could hide with them what
// it is, or command the terminal.
const unsafe = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
const short: Record<string, string> = { '\n': '\\n', '\r': '\\r', '\t': '\\t', '\u001b': '\\e' };

/** Makes a text safe to be shown on a terminal: control characters become escapes such as `\n` and `\u{202e}`. */
export function escapeControls(text: string): string {
  return text.replace(unsafe, (c) => {
    const code = c.codePointAt(0) as number;
    // Emoji are joined by these two; they do no harm.
    if (code === 0x200d || code === 0x200c) return c;
    return short[c] ?? `\\u{${code.toString(16)}}`;
  });
}
