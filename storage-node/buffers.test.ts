import { expect, test } from 'vitest';
import { giveBuffer, takeBuffer } from './buffers.ts';

test('a buffer that was given back is taken again, by one only, for any size that it has room for', () => {
  const first = takeBuffer(70_000);
  expect(first.length).toBe(70_000);
  giveBuffer(first);
  const second = takeBuffer(100_000);
  expect(second.length).toBe(100_000);
  expect(second.buffer).toBe(first.buffer);
  expect(takeBuffer(100_000).buffer).not.toBe(first.buffer);
});

test('one in use is given to nobody else, and an empty one is a buffer too', () => {
  const many = Array.from({ length: 100 }, () => takeBuffer(65_552));
  expect(new Set(many.map(({ buffer }) => buffer)).size).toBe(100);
  expect(takeBuffer(0).length).toBe(0);
});

test('what is kept is bounded', () => {
  const size = 8 * 1024 ** 2;
  const many = Array.from({ length: 10 }, () => takeBuffer(size));
  for (const buffer of many) giveBuffer(buffer);
  const before = new Set(many.map(({ buffer }) => buffer));
  const again = many.map(() => takeBuffer(size)).filter(({ buffer }) => before.has(buffer));
  expect(again.length).toBeGreaterThan(0);
  expect(again.length).toBeLessThanOrEqual(4);
});

test('a part of another buffer is refused', () => {
  expect(() => giveBuffer(Buffer.allocUnsafeSlow(5000))).toThrow('not a buffer of takeBuffer');
});
