import { buffer } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { answerRanges, type ByteRange, MAX_RANGES, rangeNotSatisfiable, selectRanges } from './ranges.ts';

const content = Buffer.from('0123456789');
async function* open({ start, end }: ByteRange) {
  yield content.subarray(start, end + 1);
}

describe('selectRanges', () => {
  it.each([
    [undefined, undefined],
    ['bytes=0-3', [{ start: 0, end: 3 }]],
    ['BYTES=0-3', [{ start: 0, end: 3 }]],
    ['bytes=7-', [{ start: 7, end: 9 }]],
    ['bytes=7-99', [{ start: 7, end: 9 }]],
    ['bytes=-3', [{ start: 7, end: 9 }]],
    ['bytes=-99', [{ start: 0, end: 9 }]],
    [
      'bytes=0-1, 8-9',
      [
        { start: 0, end: 1 },
        { start: 8, end: 9 },
      ],
    ],
    ['bytes=0-4,3-6,7-8', [{ start: 0, end: 8 }]],
    ['bytes=0-1,50-60', [{ start: 0, end: 1 }]],
    ['bytes=10-', 'unsatisfiable'],
    ['bytes=-0', 'unsatisfiable'],
    ['lines=0-3', undefined],
    ['bytes=', undefined],
    ['bytes=a-b', undefined],
    ['0-3', undefined],
  ])('%s', (header, ranges) => {
    expect(selectRanges(header, content.length)).toEqual(ranges);
  });

  it('satisfies no range of an empty file', () => {
    for (const header of ['bytes=0-', 'bytes=0-0', 'bytes=-1']) {
      expect(selectRanges(header, 0)).toBe('unsatisfiable');
    }
  });

  it('serves the whole when too many ranges are asked for', () => {
    const many = (count: number) => `bytes=${Array.from({ length: count }, (_, i) => `${2 * i}-${2 * i}`)}`;
    expect(selectRanges(many(MAX_RANGES), 1000)).toHaveLength(MAX_RANGES);
    expect(selectRanges(many(MAX_RANGES + 1), 1000)).toBeUndefined();
  });
});

describe('answerRanges', () => {
  it('answers one range with its bytes and Content-Range', async () => {
    const answer = answerRanges([{ start: 2, end: 4 }], 10, 'text/plain');
    expect(answer.headers).toEqual({ 'content-length': '3', 'content-range': 'bytes 2-4/10' });
    expect((await buffer(answer.body(open))).toString()).toBe('234');
  });

  it('answers several as multipart/byteranges of exactly the announced length', async () => {
    const answer = answerRanges(
      [
        { start: 8, end: 9 },
        { start: 0, end: 1 },
      ],
      10,
      'text/plain',
    );
    const boundary = /^multipart\/byteranges; boundary=(\w+)$/.exec(
      answer.headers['content-type'] ?? '',
    )?.[1];
    const body = await buffer(answer.body(open));
    expect(body.toString()).toBe(
      [
        `--${boundary}`,
        'Content-Type: text/plain',
        'Content-Range: bytes 8-9/10',
        '',
        '89',
        `--${boundary}`,
        'Content-Type: text/plain',
        'Content-Range: bytes 0-1/10',
        '',
        '01',
        `--${boundary}--`,
        '',
      ].join('\r\n'),
    );
    expect(body.length).toBe(answer.length);
    expect(answer.headers['content-length']).toBe(String(answer.length));
  });

  it('tells the size with a 416', () => {
    expect(rangeNotSatisfiable(10)).toMatchObject({
      status: 416,
      headers: { 'content-range': 'bytes */10' },
    });
  });
});
