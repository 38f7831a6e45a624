import { expect, test } from 'vitest';
import { escapeControls, formatAge, formatBytes, parseExpiry, parsePast } from './format.ts';

test('sizes have one decimal and never 1024 of a unit', () => {
  expect([0, 1, 1023, 1024, 1536, 1024 ** 2 - 1, 1024 ** 2, 5 * 1024 ** 4].map(formatBytes)).toEqual([
    '0 B',
    '1 B',
    '1023 B',
    '1.0 KiB',
    '1.5 KiB',
    '1.0 MiB',
    '1.0 MiB',
    '5.0 TiB',
  ]);
});

test('ages are one unit, and never negative', () => {
  const now = Date.parse('2026-11-23T10:00:00Z');
  const ages = [
    '2026-11-23T10:00:05Z',
    '2026-11-23T09:59:48Z',
    '2026-11-23T08:00:00Z',
    '2026-11-01T10:00:00Z',
  ];
  expect(ages.map((at) => formatAge(at, now))).toEqual(['0 s ago', '12 s ago', '2 h ago', '22 days ago']);
  expect(formatAge(null)).toBe('-');
});

test('an expiry is a time from now or a date', () => {
  const now = Date.parse('2026-11-23T10:00:00Z');
  expect(parseExpiry('30d', now)).toBe('2026-12-23T10:00:00.000Z');
  expect(parseExpiry('12h', now)).toBe('2026-11-23T22:00:00.000Z');
  expect(parseExpiry('2027-01-31')).toBe('2027-01-31T00:00:00.000Z');
  for (const bad of ['30', 'tomorrow', '2027-13-01', '5x', '']) expect(parseExpiry(bad), bad).toBeUndefined();
});

test('names cannot command a terminal, nor hide what they are', () => {
  expect(escapeControls('a\u001b[2Jb\nc\td\u0007\u009b31m')).toBe('a\\e[2Jb\\nc\\td\\u{7}\\u{9b}31m');
  expect(escapeControls('photo\u202egpj.exe\u2028\ud800')).toBe('photo\\u{202e}gpj.exe\\u{2028}\\u{d800}');
  const harmless = 'Grüße 日本 👩‍👩‍👧 100% "x" \\n';
  expect(escapeControls(harmless)).toBe(harmless);
});

test('a time in the past is so long ago, or a time, in UTC unless it has a zone', () => {
  const now = Date.parse('2026-11-23T10:00:00Z');
  const past = (text: string) => parsePast(text, now);
  expect(['30s ago', '2h ago', '90 minutes ago', '1 day ago', '3 weeks ago'].map(past)).toEqual([
    '2026-11-23T09:59:30.000Z',
    '2026-11-23T08:00:00.000Z',
    '2026-11-23T08:30:00.000Z',
    '2026-11-22T10:00:00.000Z',
    '2026-11-02T10:00:00.000Z',
  ]);
  expect(past('2026-11-22')).toBe('2026-11-22T00:00:00Z');
  expect(past('2026-11-22 14:05')).toBe('2026-11-22T14:05:00Z');
  expect(past('2026-11-22T14:05:06.123456+01:00')).toBe('2026-11-22T14:05:06.123456+01:00');
  for (const wrong of ['', '2h', 'yesterday', '2 moons ago', '2026-13-01', '14:00'])
    expect(past(wrong)).toBeUndefined();
});
