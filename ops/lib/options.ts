// Values of options and arguments: parsed, or refused with a sentence.
import { InvalidArgumentError } from 'commander';
import { parseExpiry, parsePast } from './format.ts';

/** A whole number from 1 on. */
export function positive(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('It is not a whole number above 0.');
}

/** A whole number from 0 on. */
export function natural(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('It is not a whole number.');
}

/** Several of them, for an argument that may be repeated. */
export function positives(text: string, before: number[] | undefined): number[] {
  return [...(before ?? []), positive(text)];
}

const UNITS: Record<string, number> = { '': 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3 };

/** '50M' -> bytes a second; 'none' -> 0. Of a null commander would make an empty string, so 'default' stays. */
export function byteRate(text: string): number | 'default' {
  if (text === 'default') return text;
  if (text === 'none') return 0;
  const [, digits, unit] = /^([1-9]\d{0,8})([KMG]?)$/i.exec(text) ?? [];
  if (digits !== undefined) return Number(digits) * (UNITS[(unit ?? '').toUpperCase()] as number);
  throw new InvalidArgumentError("Write bytes a second ('500K', '50M', '1G'), 'none' or 'default'.");
}

/** 'a,b' and repeated options, as one list. */
export function list(text: string, before: string[] | undefined): string[] {
  return [...(before ?? []), ...text.split(',').filter((part) => part !== '')];
}

/** '30d' or a date, as a time in ISO 8601. */
export function expiry(text: string): string {
  const at = parseExpiry(text);
  if (at !== undefined) return at;
  throw new InvalidArgumentError("Write a time from now ('12h', '30d') or a date ('2027-01-31').");
}

/** '2h ago' or a time, as RFC 3339. */
export function past(text: string): string {
  const at = parsePast(text);
  if (at !== undefined) return at;
  throw new InvalidArgumentError("Write '2h ago' or a time ('2026-11-23 14:00', in UTC, or with a zone).");
}
