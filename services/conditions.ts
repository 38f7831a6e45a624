// Conditional requests for GET and HEAD (RFC 9110, 13): may the answer be sent, is it known already, or refused?
import type { IncomingHttpHeaders } from 'node:http';

/** What the conditions are held against: the strong ETag with its quotes, and the date in Last-Modified, if any. */
export interface Validators {
  etag: string;
  lastModified?: Date | undefined;
}

export type Verdict = 'proceed' | 'not-modified' | 'precondition-failed';

/**
 * Evaluates If-Match, If-Unmodified-Since, If-None-Match and If-Modified-Since in the order of RFC 9110, 13.2.2.
 * If-Modified-Since must name the very second of Last-Modified to be 'not-modified': an older file may have been
 * renamed over a newer one. A date that cannot be read is ignored, as 13.1.3 and 13.1.4 demand.
 */
export function evaluateConditions(headers: IncomingHttpHeaders, current: Validators): Verdict {
  const modified = seconds(current.lastModified);
  const unmodifiedSince = httpDate(headers['if-unmodified-since']);
  if (headers['if-match'] !== undefined) {
    if (!listed(headers['if-match'], current.etag, 'strong')) return 'precondition-failed';
  } else if (unmodifiedSince !== undefined && modified !== undefined && modified > unmodifiedSince) {
    return 'precondition-failed';
  }
  if (headers['if-none-match'] !== undefined) {
    return listed(headers['if-none-match'], current.etag, 'weak') ? 'not-modified' : 'proceed';
  }
  const since = httpDate(headers['if-modified-since']);
  return since !== undefined && since === modified ? 'not-modified' : 'proceed';
}

/**
 * True if Range may be honoured: there is no If-Range, or it names the present file by strong ETag or exact date
 * (RFC 9110, 13.1.5).
 */
export function rangeApplies(headers: IncomingHttpHeaders, current: Validators): boolean {
  const ifRange = headers['if-range'];
  if (ifRange === undefined) return true;
  const validator = String(ifRange).trim();
  if (validator.startsWith('"')) return validator === current.etag;
  const date = httpDate(validator);
  return date !== undefined && date === seconds(current.lastModified);
}

function listed(field: string, etag: string, comparison: 'strong' | 'weak'): boolean {
  if (field.trim() === '*') return true;
  for (const [, weak, tag] of field.matchAll(/(W\/)?("[^"]*")/g)) {
    if (tag === etag && (comparison === 'weak' || weak === undefined)) return true;
  }
  return false;
}

/** Seconds since the epoch of a date in one of the forms of RFC 9110, 5.6.7; undefined if it is none. */
function httpDate(text: string | undefined): number | undefined {
  if (text === undefined || !/^[A-Z][a-z]{2,8},? /.test(text)) return undefined;
  // The asctime form names no zone and means GMT; Date.parse would take it for local time.
  const time = Date.parse(text.endsWith('GMT') ? text : `${text} GMT`);
  return Number.isNaN(time) ? undefined : time / 1000;
}

function seconds(date: Date | undefined): number | undefined {
  return date === undefined ? undefined : Math.floor(date.getTime() / 1000);
}
