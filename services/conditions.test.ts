import { describe, expect, it } from 'vitest';
import { evaluateConditions, rangeApplies } from './conditions.ts';

const etag = '"abc"';
const lastModified = new Date('1994-11-06T08:49:37.250Z');
const same = 'Sun, 06 Nov 1994 08:49:37 GMT';
const earlier = 'Sun, 06 Nov 1994 08:49:36 GMT';
const later = 'Sun, 06 Nov 1994 08:49:38 GMT';
const current = { etag, lastModified };

describe('evaluateConditions', () => {
  it.each([
    [{}, 'proceed'],
    [{ 'if-none-match': '"abc"' }, 'not-modified'],
    [{ 'if-none-match': '"x", W/"abc"' }, 'not-modified'],
    [{ 'if-none-match': '*' }, 'not-modified'],
    [{ 'if-none-match': '"x"' }, 'proceed'],
    [{ 'if-match': '"abc"' }, 'proceed'],
    [{ 'if-match': '*' }, 'proceed'],
    [{ 'if-match': 'W/"abc"' }, 'precondition-failed'],
    [{ 'if-match': '"x"' }, 'precondition-failed'],
    [{ 'if-modified-since': same }, 'not-modified'],
    [{ 'if-modified-since': 'Sunday, 06-Nov-94 08:49:37 GMT' }, 'not-modified'],
    [{ 'if-modified-since': 'Sun Nov  6 08:49:37 1994' }, 'not-modified'],
    [{ 'if-modified-since': earlier }, 'proceed'],
    // A newer date is no proof: an older file may have been renamed over a newer one.
    [{ 'if-modified-since': later }, 'proceed'],
    [{ 'if-modified-since': 'yesterday' }, 'proceed'],
    [{ 'if-unmodified-since': same }, 'proceed'],
    [{ 'if-unmodified-since': later }, 'proceed'],
    [{ 'if-unmodified-since': earlier }, 'precondition-failed'],
  ] as const)('%j gives %s', (headers, verdict) => {
    expect(evaluateConditions(headers, current)).toBe(verdict);
  });

  it('lets an ETag condition silence the date beside it', () => {
    expect(evaluateConditions({ 'if-none-match': '"x"', 'if-modified-since': same }, current)).toBe(
      'proceed',
    );
    expect(evaluateConditions({ 'if-match': etag, 'if-unmodified-since': earlier }, current)).toBe('proceed');
  });

  it('fails on If-Match before it looks at If-None-Match', () => {
    expect(evaluateConditions({ 'if-match': '"x"', 'if-none-match': etag }, current)).toBe(
      'precondition-failed',
    );
  });

  it('ignores dates when the file has none', () => {
    expect(evaluateConditions({ 'if-modified-since': same, 'if-unmodified-since': earlier }, { etag })).toBe(
      'proceed',
    );
  });
});

describe('rangeApplies', () => {
  it.each([
    [undefined, true],
    [etag, true],
    [`W/${etag}`, false],
    ['"x"', false],
    [same, true],
    [later, false],
    ['nonsense', false],
  ])('If-Range %s: %s', (value, applies) => {
    expect(rangeApplies(value === undefined ? {} : { 'if-range': value }, current)).toBe(applies);
  });
});
