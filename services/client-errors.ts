// Requests that never came to be one: their head is no HTTP, is too large, or was not finished in time.
import { STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { Problem } from './problems.ts';

const problems: Record<string, () => Problem> = {
  ERR_HTTP_REQUEST_TIMEOUT: () =>
    new Problem('request-timeout', 'The head of the request did not arrive in time. Send it again.'),
  HPE_HEADER_OVERFLOW: () =>
    new Problem('headers-too-large', 'Request line and headers may have 16 KiB together.'),
};

/** Answers on the socket itself, as there is no request to answer, and closes it. */
export function answerClientError(error: Error & { code?: string }, socket: Duplex): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const problem =
    problems[error.code ?? '']?.() ?? new Problem('invalid-request', 'The request is not valid HTTP/1.1.');
  const body = JSON.stringify(problem);
  socket.end(
    `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}\r\nContent-Type: application/problem+json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}
