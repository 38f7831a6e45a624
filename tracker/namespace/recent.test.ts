// Which remembered names may be read while the database is away: the order of look-ups and writes, step by step.
import { expect, it } from 'vitest';
import { RecentNames } from './recent.ts';
import type { FoundFile } from './types.ts';

const file = (key: string, fid: number): FoundFile => ({
  kind: 'file',
  key,
  fid,
  size: 1,
  sha256: '',
  contentType: 'text/plain',
  mtime: new Date(0),
  classId: 1,
  class: 'default',
  meta: {},
  devices: [],
});

function names(bytes = 100_000) {
  const recent = new RecentNames(bytes);
  return {
    recent,
    fid: (key: string, domain = 1) => recent.recall(domain, key)?.fid,
    /** A look-up that has begun; it ends with what it found. */
    begin(key: string, domain = 1) {
      const order = recent.lookUp();
      return (fid?: number) =>
        recent.remember(domain, key, fid === undefined ? undefined : file(key, fid), order);
    },
  };
}
const done = async () => {};

it('remembers what was found last, whatever order the answers come in', () => {
  const { begin, fid } = names();
  const first = begin('a');
  const second = begin('a');
  second(2);
  first(1);
  expect(fid('a')).toBe(2);
  begin('a')();
  expect(fid('a')).toBeUndefined();
  expect(fid('a', 2)).toBeUndefined();
});

it('never gives what a look-up found that began before a write of this tracker ended', async () => {
  const { recent, begin, fid } = names();
  begin('a')(1);
  const before = begin('a');
  const write = Promise.withResolvers<void>();
  const writing = recent.forget(1, ['a'], () => write.promise);
  // Its outcome is not known yet: neither what was there nor what is found now.
  expect(fid('a')).toBeUndefined();
  const meanwhile = begin('a');
  meanwhile(1);
  expect(fid('a')).toBeUndefined();
  const late = begin('a');
  write.resolve();
  await writing;
  before(1);
  late(1);
  expect(fid('a')).toBeUndefined();
  begin('a')(2);
  expect(fid('a')).toBe(2);
});

it('forgets a key also when its write failed, since it may have come through', async () => {
  const { recent, begin, fid } = names();
  begin('a')(1);
  await expect(recent.forget(1, ['a'], () => Promise.reject(new Error('away')))).rejects.toThrow('away');
  expect(fid('a')).toBeUndefined();
});

it('forgets all of a domain, and no other, when any of its keys may have changed', async () => {
  const { recent, begin, fid } = names();
  begin('a/b')(1);
  begin('a/b', 2)(2);
  const before = begin('c');
  await recent.forget(1, ['a'], async (all) => all());
  before(3);
  expect([fid('a/b'), fid('c'), fid('a/b', 2)]).toEqual([undefined, undefined, 2]);
  begin('a/b')(4);
  begin('a')(5);
  expect([fid('a/b'), fid('a')]).toEqual([4, 5]);
  await recent.forget(1, 'all', done);
  expect(fid('a/b')).toBeUndefined();
});

it('takes no more memory than it may', () => {
  const { begin, fid } = names(10_000);
  for (let i = 0; i < 1_000; i++) begin(`key-${i}`)(i);
  expect(fid('key-999')).toBe(999);
  expect(fid('key-900')).toBeUndefined();
});
